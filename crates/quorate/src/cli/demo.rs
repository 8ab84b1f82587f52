//! `quorate demo`: a workflow that survives the death of the leader.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use crate::demo::{self, Script};
use crate::exit::{Code, Error};
use crate::start;

/// `quorate demo`.
///
/// Starts three replicas and four node agents (regions eu and us, two clusters each) as processes on
/// loopback in a temporary directory, runs a workflow on them, kills the leader with SIGKILL in
/// mid-run, and prints a timeline of every attempt. Exits with 0 only when the run and every task of
/// it succeeded.
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// A WfFormat 1.5 file to run instead of the demo's own
    #[arg(long, value_name = "FILE")]
    workflow: Option<PathBuf>,
    /// Seconds per recorded second; chosen so that the longest chain takes about half a minute when not given
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    scale: Option<f64>,
    /// Run this many times as fast
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = positive)]
    speed: f64,
    /// Leave the leader alone
    #[arg(long)]
    no_kill: bool,
    /// Leave data and logs behind
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let script = Script {
            workflow: self.workflow,
            scale: self.scale,
            speed: self.speed,
            kill: !self.no_kill,
            keep: self.keep,
        };
        let shutdown = start::stop_on_signals(false)?;
        // Dropping the play drops its cluster, and with it every process.
        let shown = tokio::select! { biased;
            () = shutdown.requested() => return Err(Error::Interrupted),
            shown = Box::pin(script.play(context.output)) => shown?,
        };
        context.output.show(&shown)?;
        demo::verdict(&shown)?;
        Ok(Code::Ok)
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("{text:?} is not a number above 0"))
}
