//! `quorate run restart`.

use clap::Args;
use quorate_proto::v1;

use crate::cli::{Context, reference};
use crate::exit::{Code, Error};
use crate::render::job::JobSubmitted;

/// What `run restart --help` ends with.
const EXAMPLES: &str = "\
Examples:
  quorate run restart nightly                   the latest run of a job: what did not succeed, and what waits for it
  quorate run restart 4f1c --from score         also score, though it succeeded, and all that waits for it";

/// `quorate run restart`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Restart {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    run: String,
    /// Run this task again although it succeeded, and all that waits for it; may be given several times
    #[arg(long, value_name = "TASK")]
    from: Vec<String>,
}

impl Restart {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = context.client()?;
        let run = reference::resolve(context, &client, &self.run).await?.run.unwrap_or_default();
        let request_id = client.mint_request_id();
        let request =
            v1::RestartRunRequest { run: reference::by_id(&run.id), from: self.from, request_id: request_id.clone() };
        let response = client.restart_run(request).await;
        let response = response.map_err(|error| Error::of_older(error, "how to restart a run"))?;
        let run_id = response.run_id.clone();
        context.output.show(&JobSubmitted::new(&run.namespace, &run.job, &request_id, response))?;
        context.output.hint(&format!("follow it with 'quorate run wait {run_id}' or 'quorate run status {run_id}'"));
        Ok(Code::Ok)
    }
}
