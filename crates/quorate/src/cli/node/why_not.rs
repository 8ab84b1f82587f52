//! `quorate node why-not`: what keeps a node from taking a task.

use clap::Args;
use quorate_proto::v1;

use super::known;
use crate::cli::Context;
use crate::cli::reference::{self, TaskArg};
use crate::cli::stale::Stale;
use crate::exit::{Code, Error};
use crate::render::why_not::WhyNot as View;

/// `quorate node why-not`.
#[derive(Args, Debug)]
pub(super) struct WhyNot {
    /// The node's name, as in 'node list'
    node: String,
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    #[arg(long)]
    run: String,
    /// The task: name, or name[index]
    #[arg(long)]
    task: TaskArg,
    #[command(flatten)]
    stale: Stale,
}

impl WhyNot {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let Self { node, run, task, stale } = self;
        let client = stale.client(context)?;
        let id = reference::resolve(context, &client, &run).await?.run.unwrap_or_default().id;
        let request = v1::ExplainPlacementRequest {
            run: Some(v1::RunRef { r#ref: Some(v1::run_ref::Ref::RunId(id.clone())) }),
            task: task.name,
            index: task.index,
            node: node.clone(),
        };
        let answer = known(&client, &node, client.explain_placement(request).await).await?;
        context.output.show_read(&View::new(&id, &node, answer), client.staleness())?;
        Ok(Code::Ok)
    }
}
