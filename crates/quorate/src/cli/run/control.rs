//! `quorate run pause`, `resume` and `priority`.

use clap::Args;
use quorate_proto::v1;

use crate::cli::{Context, reference};
use crate::exit::{Code, Error};
use crate::render::control::{RunPaused, RunPrioritySet, RunResumed};

/// `quorate run pause`.
#[derive(Args, Debug)]
pub(super) struct Pause {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    run: String,
    /// Why, for whoever asks: 'run status' and 'task why' show it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// `quorate run resume`.
#[derive(Args, Debug)]
pub(super) struct Resume {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    run: String,
}

/// `quorate run priority`.
#[derive(Args, Debug)]
pub(super) struct Priority {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    run: String,
    /// 0 (last) to 100 (first)
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100))]
    priority: u32,
}

impl Pause {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = context.client()?;
        let id = reference::resolve(context, &client, &self.run).await?.run.unwrap_or_default().id;
        let request =
            v1::PauseRunRequest { run: reference::by_id(&id), reason: self.reason, request_id: String::new() };
        let v1::PauseRunResponse { run_id, revision } = client.pause_run(request).await?;
        context.output.show(&RunPaused { run_id, revision })?;
        context.output.hint(&format!("what runs goes on; the rest does after 'quorate run resume {id}'"));
        Ok(Code::Ok)
    }
}

impl Resume {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = context.client()?;
        let id = reference::resolve(context, &client, &self.run).await?.run.unwrap_or_default().id;
        let request = v1::ResumeRunRequest { run: reference::by_id(&id), request_id: String::new() };
        let v1::ResumeRunResponse { run_id, revision } = client.resume_run(request).await?;
        context.output.show(&RunResumed { run_id, revision })?;
        Ok(Code::Ok)
    }
}

impl Priority {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = context.client()?;
        let id = reference::resolve(context, &client, &self.run).await?.run.unwrap_or_default().id;
        let priority = self.priority;
        let request = v1::SetRunPriorityRequest { run: reference::by_id(&id), priority, request_id: String::new() };
        let v1::SetRunPriorityResponse { run_id, revision } = client.set_run_priority(request).await?;
        context.output.show(&RunPrioritySet { run_id, priority, revision })?;
        Ok(Code::Ok)
    }
}
