//! Calls of the service `Runs`; its streams are in `watch` and `logs`.

use quorate_proto::v1;
use quorate_proto::v1::runs_client::RunsClient;
use tonic::transport::Channel;

use super::Client;
use crate::{Error, MESSAGE_BYTES_MAX};

impl Client {
    /// One run and what became of its steps.
    pub async fn get_run(&self, request: v1::GetRunRequest) -> Result<v1::GetRunResponse, Error> {
        self.read(request, |channel, request| async move { runs(channel).get_run(request).await }).await
    }

    /// Runs, the newest first, a page of them.
    pub async fn list_runs(&self, request: v1::ListRunsRequest) -> Result<v1::ListRunsResponse, Error> {
        self.read(request, |channel, request| async move { runs(channel).list_runs(request).await }).await
    }

    /// The tasks of a run, a page of them.
    pub async fn list_tasks(&self, request: v1::ListTasksRequest) -> Result<v1::ListTasksResponse, Error> {
        self.read(request, |channel, request| async move { runs(channel).list_tasks(request).await }).await
    }

    /// The attempts of a run, a page of them.
    pub async fn list_attempts(&self, request: v1::ListAttemptsRequest) -> Result<v1::ListAttemptsResponse, Error> {
        self.read(request, |channel, request| async move { runs(channel).list_attempts(request).await }).await
    }

    /// What has happened to a run, a page of it.
    pub async fn list_run_events(&self, request: v1::ListRunEventsRequest) -> Result<v1::ListRunEventsResponse, Error> {
        self.read(request, |channel, request| async move { runs(channel).list_run_events(request).await }).await
    }

    /// What the attempts of a run that are running use now.
    pub async fn get_usage(&self, request: v1::GetUsageRequest) -> Result<v1::GetUsageResponse, Error> {
        self.read(request, |channel, request| async move { runs(channel).get_usage(request).await }).await
    }

    /// Wants a run to end. An empty `request_id` is filled in.
    pub async fn cancel_run(&self, mut request: v1::CancelRunRequest) -> Result<v1::CancelRunResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { runs(channel).cancel_run(request).await };
        self.change(request, request_id, send).await
    }

    /// Cancels the runs of a page that fit. An empty `request_id` is filled in.
    pub async fn cancel_runs(&self, mut request: v1::CancelRunsRequest) -> Result<v1::CancelRunsResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { runs(channel).cancel_runs(request).await };
        self.change(request, request_id, send).await
    }

    /// Wants a run to end, with all that would come after its work. An empty `request_id` is filled in.
    pub async fn abandon_run(&self, mut request: v1::AbandonRunRequest) -> Result<v1::AbandonRunResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { runs(channel).abandon_run(request).await };
        self.change(request, request_id, send).await
    }

    /// Places nothing more of a run until it is resumed. An empty `request_id` is filled in.
    pub async fn pause_run(&self, mut request: v1::PauseRunRequest) -> Result<v1::PauseRunResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { runs(channel).pause_run(request).await };
        self.change(request, request_id, send).await
    }

    /// Places tasks of a run again. An empty `request_id` is filled in.
    pub async fn resume_run(&self, mut request: v1::ResumeRunRequest) -> Result<v1::ResumeRunResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { runs(channel).resume_run(request).await };
        self.change(request, request_id, send).await
    }

    /// Says where the tasks of a run stand in the queue. An empty `request_id` is filled in.
    pub async fn set_run_priority(
        &self,
        mut request: v1::SetRunPriorityRequest,
    ) -> Result<v1::SetRunPriorityResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { runs(channel).set_run_priority(request).await };
        self.change(request, request_id, send).await
    }

    /// Leaves a word at a run. An empty `request_id` is filled in.
    pub async fn annotate_run(&self, mut request: v1::AnnotateRunRequest) -> Result<v1::AnnotateRunResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { runs(channel).annotate_run(request).await };
        self.change(request, request_id, send).await
    }

    /// Takes a task out of its quarantine. An empty `request_id` is filled in.
    pub async fn release_task(&self, mut request: v1::ReleaseTaskRequest) -> Result<v1::ReleaseTaskResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { runs(channel).release_task(request).await };
        self.change(request, request_id, send).await
    }

    /// Why a task is not running.
    pub async fn explain_task(&self, request: v1::ExplainTaskRequest) -> Result<v1::ExplainTaskResponse, Error> {
        self.read(request, |channel, request| async move { runs(channel).explain_task(request).await }).await
    }

    /// When tasks of a run that wait for room begin at the latest, as far as is known.
    pub async fn get_expected_starts(
        &self,
        request: v1::GetExpectedStartsRequest,
    ) -> Result<v1::GetExpectedStartsResponse, Error> {
        self.read(request, |channel, request| async move { runs(channel).get_expected_starts(request).await }).await
    }

    /// Whether a node could take a task, and why not.
    pub async fn explain_placement(
        &self,
        request: v1::ExplainPlacementRequest,
    ) -> Result<v1::ExplainPlacementResponse, Error> {
        self.read(request, |channel, request| async move { runs(channel).explain_placement(request).await }).await
    }
}

pub(super) fn runs(channel: Channel) -> RunsClient<Channel> {
    RunsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}
