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
