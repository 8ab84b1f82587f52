//! `quorate job history`, `diff`, `revert` and `delete`.

use clap::Args;
use quorate_proto::v1;

use crate::cli::stale::Stale;
use crate::cli::{Context, PAGE_ROWS, reference};
use crate::exit::{Code, Error};
use crate::render::job::JobSubmitted;
use crate::render::version::{JobDeleted, JobDiff, JobHistory};

/// `quorate job history`.
#[derive(Args, Debug)]
pub(super) struct History {
    /// [namespace/]job
    job: String,
    /// Show at most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    stale: Stale,
}

/// `quorate job diff`.
#[derive(Args, Debug)]
pub(super) struct Diff {
    /// [namespace/]job
    job: String,
    /// The version to begin with
    from: u32,
    /// The one to compare it with
    to: u32,
    #[command(flatten)]
    stale: Stale,
}

/// `quorate job revert`.
#[derive(Args, Debug)]
pub(super) struct Revert {
    /// [namespace/]job
    job: String,
    /// The version to go back to
    #[arg(value_name = "VERSION")]
    to: u32,
}

/// `quorate job delete`.
#[derive(Args, Debug)]
pub(super) struct Delete {
    /// [namespace/]job
    job: String,
}

impl History {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = self.stale.client(context)?;
        let job = named(context, &self.job)?;
        let mut history = JobHistory::of(&job);
        let mut page_token = String::new();
        loop {
            let page_size = self.limit.saturating_sub(history.len()).min(PAGE_ROWS);
            let request = v1::ListJobVersionsRequest { job: Some(job.clone()), page_size, page_token };
            page_token = history.take(client.list_job_versions(request).await?);
            if page_token.is_empty() || history.len() >= self.limit {
                break;
            }
        }
        context.output.show_read(&history, client.staleness())?;
        if history.more {
            context.output.hint("there are more: raise --limit");
        }
        Ok(Code::Ok)
    }
}

impl Diff {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = self.stale.client(context)?;
        let job = named(context, &self.job)?;
        let Self { from, to, .. } = self;
        let request = v1::DiffJobVersionsRequest { job: Some(job.clone()), from, to };
        let v1::DiffJobVersionsResponse { revision, changes } = client.diff_job_versions(request).await?;
        let (namespace, name) = (job.namespace, job.name);
        context.output.show_read(&JobDiff { namespace, job: name, from, to, changes, revision }, client.staleness())?;
        Ok(Code::Ok)
    }
}

impl Revert {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = context.client()?;
        let job = named(context, &self.job)?;
        let request_id = client.mint_request_id();
        let request = v1::RevertJobRequest { job: Some(job.clone()), version: self.to, request_id: request_id.clone() };
        let response = client.revert_job(request).await?;
        let run_id = response.run_id.clone();
        context.output.show(&JobSubmitted::new(&job.namespace, &job.name, &request_id, response))?;
        let request = v1::GetRunRequest { run: reference::by_id(&run_id) };
        let told = client.get_run(request).await?.run.unwrap_or_default().args;
        if !told.is_empty() {
            context.output.hint(&format!("it is told what the first run of that version was: {told}"));
        }
        context.output.hint(&format!("follow it with 'quorate run wait {run_id}' or 'quorate run status {run_id}'"));
        Ok(Code::Ok)
    }
}

impl Delete {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = context.client()?;
        let job = named(context, &self.job)?;
        let request = v1::DeleteJobRequest { job: Some(job.clone()), request_id: String::new() };
        let v1::DeleteJobResponse {} = client.delete_job(request).await?;
        context.output.show(&JobDeleted { namespace: job.namespace, job: job.name })?;
        Ok(Code::Ok)
    }
}

/// A job as it is named on the command line.
fn named(context: &Context, text: &str) -> Result<v1::JobRef, Error> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name),
        None => (context.connection()?.namespace.to_string(), text),
    };
    Ok(v1::JobRef { namespace, name: name.to_owned() })
}
