//! Jobs, as the script has them.

use v1::jobs_server::Jobs;

use super::*;

#[tonic::async_trait]
impl Jobs for Script {
    async fn submit_job(
        &self,
        request: Request<v1::SubmitJobRequest>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        self.next(request.into_inner().request_id).await?;
        Ok(Response::new(v1::SubmitJobResponse { run_id: "run".into(), ..Default::default() }))
    }

    async fn submit_flow(&self, _: Request<v1::SubmitFlowRequest>) -> Result<Response<v1::SubmitJobResponse>, Status> {
        no()
    }

    async fn restart_run(&self, _: Request<v1::RestartRunRequest>) -> Result<Response<v1::SubmitJobResponse>, Status> {
        no()
    }

    async fn plan_job(&self, _: Request<v1::PlanJobRequest>) -> Result<Response<v1::PlanJobResponse>, Status> {
        no()
    }

    async fn submit_job_at(
        &self,
        _: Request<v1::SubmitJobAtRequest>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        no()
    }

    async fn list_job_versions(
        &self,
        _: Request<v1::ListJobVersionsRequest>,
    ) -> Result<Response<v1::ListJobVersionsResponse>, Status> {
        no()
    }

    async fn diff_job_versions(
        &self,
        _: Request<v1::DiffJobVersionsRequest>,
    ) -> Result<Response<v1::DiffJobVersionsResponse>, Status> {
        no()
    }

    async fn revert_job(&self, _: Request<v1::RevertJobRequest>) -> Result<Response<v1::SubmitJobResponse>, Status> {
        no()
    }

    async fn delete_job(&self, _: Request<v1::DeleteJobRequest>) -> Result<Response<v1::DeleteJobResponse>, Status> {
        no()
    }

    async fn list_jobs(&self, request: Request<v1::ListJobsRequest>) -> Result<Response<v1::ListJobsResponse>, Status> {
        let tolerance = Tolerance::of(request.metadata()).expect("the client asks for what there is");
        let asked = match tolerance {
            None => "list".to_owned(),
            Some(tolerance) => format!("list {tolerance:?}"),
        };
        self.next(asked).await?;
        let mut answer = Response::new(v1::ListJobsResponse::default());
        if tolerance.is_some() {
            let asked = self.asked().len() as u64;
            let staleness = Staleness { revision: quorate_state::Revision(100 - asked), age_ms: Some(10 * asked) };
            staleness.write(answer.metadata_mut());
        }
        Ok(answer)
    }
}
