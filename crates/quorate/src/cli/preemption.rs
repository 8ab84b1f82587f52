//! `quorate preemption`: whose tasks are stopped to make room for others.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use quorate_proto::v1;

use super::Context;
use super::stale::Stale;
use crate::exit::{Code, Error};
use crate::render::preemption::PreemptionShown;

/// `quorate preemption`.
#[derive(Args, Debug)]
pub(crate) struct Preemption {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show whose tasks are stopped to make room for others
    Show {
        #[command(flatten)]
        stale: Stale,
    },
    /// Change whose tasks are stopped to make room for others
    ///
    /// What is not given stays as it is. Attempts that have been asked to stop are not called back.
    Set(Said),
}

/// On or off.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// At least one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct Said {
    /// Whether a task that fits nowhere takes the room of tasks of lower priority
    ///
    /// They are stopped, and run again when there is room: that counts neither as a try nor as a loss.
    #[arg(long, value_name = "SWITCH")]
    by_priority: Option<Switch>,
    /// How much lower that priority must be: 1 to 100
    #[arg(long, value_name = "NUMBER")]
    gap: Option<u32>,
    /// How long an attempt is left alone after it was placed, such as 1m; twice as long after each time that its task was
    /// stopped
    #[arg(long, value_name = "TIME", value_parser = time)]
    spare: Option<Duration>,
    /// How often a task is stopped for others; then it is not any more: 1 to 100
    #[arg(long, value_name = "NUMBER")]
    times: Option<u32>,
    /// Whether a task of a namespace that has less than its part takes the room of others, of namespaces that have more
    ///
    /// These are as urgent as it is, or less. 'quorate namespace show' says what each has.
    #[arg(long, value_name = "SWITCH")]
    by_share: Option<Switch>,
    /// How much more than its part a namespace keeps, in hundredths of that: 0 to 100
    #[arg(long, value_name = "PERCENT")]
    share_gap: Option<u32>,
}

impl Preemption {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::Show { stale } => {
                let client = stale.client(context)?;
                let response = client.get_preemption(v1::GetPreemptionRequest {}).await.map_err(older)?;
                let shown = PreemptionShown::new(response.preemption, response.revision);
                context.output.show_read(&shown, client.staleness())?;
            }
            Verb::Set(said) => {
                let response = context.client()?.set_preemption(said.request()).await.map_err(older)?;
                context.output.show(&PreemptionShown::new(response.preemption, response.revision))?;
            }
        }
        Ok(Code::Ok)
    }
}

impl Said {
    fn request(self) -> v1::SetPreemptionRequest {
        v1::SetPreemptionRequest {
            by_priority: self.by_priority.map(|switch| matches!(switch, Switch::On)),
            gap: self.gap,
            spare_ms: self.spare.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            times_max: self.times,
            by_share: self.by_share.map(|switch| matches!(switch, Switch::On)),
            share_gap: self.share_gap,
            request_id: String::new(),
        }
    }
}

fn older(error: quorate_client::Error) -> Error {
    Error::of_older(error, "preemption")
}

/// How long: what is too long is for the cluster to say.
fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|why| format!("{text:?} is not a duration ({why}): write 30s, 5m or 0s"))
}
