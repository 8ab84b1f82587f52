//! Calls of the service `Jobs`.

use std::sync::atomic::Ordering;

use quorate_proto::v1;
use quorate_proto::v1::jobs_client::JobsClient;
use tonic::transport::Channel;

use super::Client;
use crate::{Error, MESSAGE_BYTES_MAX};

impl Client {
    /// Submits a job. When this succeeds, the run is committed and will not be lost. An empty
    /// `request_id` is filled in; to repeat a submit over several calls, give one.
    pub async fn submit_job(&self, mut request: v1::SubmitJobRequest) -> Result<v1::SubmitJobResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { jobs(channel).submit_job(request).await };
        let answer = self.change(request, request_id, send).await?;
        if answer.request_window_ms > 0 {
            self.shared.request_window_ms.store(answer.request_window_ms, Ordering::Relaxed);
        }
        Ok(answer)
    }

    /// Submits a job if its newest version is the one that is named. An empty `request_id` is filled in.
    pub async fn submit_job_at(&self, mut request: v1::SubmitJobAtRequest) -> Result<v1::SubmitJobResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { jobs(channel).submit_job_at(request).await };
        self.change(request, request_id, send).await
    }

    /// Submits a job with what its run is told. An empty `request_id` is filled in. A server from before there was such
    /// a thing answers that it does not know the method.
    pub async fn submit_flow(&self, mut request: v1::SubmitFlowRequest) -> Result<v1::SubmitJobResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { jobs(channel).submit_flow(request).await };
        self.change(request, request_id, send).await
    }

    /// Tries a run that has ended a second time. An empty `request_id` is filled in.
    pub async fn restart_run(&self, mut request: v1::RestartRunRequest) -> Result<v1::SubmitJobResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { jobs(channel).restart_run(request).await };
        self.change(request, request_id, send).await
    }

    /// Submits the spec of an earlier version once more. An empty `request_id` is filled in.
    pub async fn revert_job(&self, mut request: v1::RevertJobRequest) -> Result<v1::SubmitJobResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { jobs(channel).revert_job(request).await };
        self.change(request, request_id, send).await
    }

    /// Hides a job until its name is submitted again. An empty `request_id` is filled in.
    pub async fn delete_job(&self, mut request: v1::DeleteJobRequest) -> Result<v1::DeleteJobResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { jobs(channel).delete_job(request).await };
        self.change(request, request_id, send).await
    }

    /// The versions of a job, the newest first, a page of them.
    pub async fn list_job_versions(
        &self,
        request: v1::ListJobVersionsRequest,
    ) -> Result<v1::ListJobVersionsResponse, Error> {
        self.read(request, |channel, request| async move { jobs(channel).list_job_versions(request).await }).await
    }

    /// How one version of a job differs from another.
    pub async fn diff_job_versions(
        &self,
        request: v1::DiffJobVersionsRequest,
    ) -> Result<v1::DiffJobVersionsResponse, Error> {
        self.read(request, |channel, request| async move { jobs(channel).diff_job_versions(request).await }).await
    }

    /// What submitting the job would do; changes nothing.
    pub async fn plan_job(&self, request: v1::PlanJobRequest) -> Result<v1::PlanJobResponse, Error> {
        self.read(request, |channel, request| async move { jobs(channel).plan_job(request).await }).await
    }

    /// Jobs by name, a page of them.
    pub async fn list_jobs(&self, request: v1::ListJobsRequest) -> Result<v1::ListJobsResponse, Error> {
        self.read(request, |channel, request| async move { jobs(channel).list_jobs(request).await }).await
    }
}

fn jobs(channel: Channel) -> JobsClient<Channel> {
    JobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}
