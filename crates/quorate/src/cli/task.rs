//! `quorate task`: questions about one task.

use clap::{Args, Subcommand};
use quorate_proto::v1;

use super::Context;
use super::reference::{self, TaskArg};
use super::stale::Stale;
use crate::exit::{Code, Error};
use crate::render::task::TaskWhy;

/// `quorate task`.
#[derive(Args, Debug)]
pub(crate) struct Task {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say why a task is not running
    Why {
        /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
        run: String,
        /// The task: name, or name[index]
        task: TaskArg,
        #[command(flatten)]
        stale: Stale,
    },
}

impl Task {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let Verb::Why { run, task, stale } = self.verb;
        let client = stale.client(context)?;
        let id = reference::resolve(context, &client, &run).await?.run.unwrap_or_default().id;
        let request = v1::ExplainTaskRequest { run: reference::by_id(&id), task: task.name, index: task.index };
        let response = client.explain_task(request).await?;
        context.output.show_read(&TaskWhy::new(&id, response), client.staleness())?;
        Ok(Code::Ok)
    }
}
