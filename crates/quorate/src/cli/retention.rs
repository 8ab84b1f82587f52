//! `quorate retention`: how long runs that have ended are kept.

use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_proto::v1;

use super::Context;
use super::stale::Stale;
use crate::exit::{Code, Error};
use crate::render::retention::{Kept, RetentionSet};

/// `quorate retention`.
#[derive(Args, Debug)]
pub(crate) struct Retention {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show how long runs that have ended are kept, and how full that is
    Show {
        #[command(flatten)]
        stale: Stale,
    },
    /// Change how long runs that have ended are kept
    ///
    /// A limit that is not given stays as it is. What is more than a lower limit goes within seconds to minutes; what is
    /// forgotten does not come back, whatever the limit is set to afterwards.
    Set(Limits),
}

/// At least one of the limits.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct Limits {
    /// Runs that have ended and stay in memory
    ///
    /// With more of them, the first to end go to the archive on disk: they are listed and shown as before, and cannot be
    /// restarted or annotated any more. Too many take memory and make starts and snapshots slower; with 0 every run
    /// goes as soon as it has ended.
    #[arg(long, value_name = "NUMBER")]
    memory_runs: Option<u64>,
    /// Tasks and attempts in memory, of all runs
    ///
    /// With more of them, runs that have ended go to the archive as above, however few they are. Lower than what unfinished
    /// runs have, it sends every run there as soon as it has ended.
    #[arg(long, value_name = "NUMBER")]
    memory_rows: Option<u64>,
    /// Runs in the archive
    ///
    /// With more of them, the oldest segment of the archive is forgotten as a whole. Too many fill the disk of every
    /// replica; too few, and nobody can say any more what became of a run.
    #[arg(long, value_name = "NUMBER")]
    archive_runs: Option<u64>,
    /// How long a run stays in the archive after its end, such as 90d; 0s: for its age, none is forgotten
    ///
    /// A segment of the archive is forgotten when this is over for all of its runs.
    #[arg(long, value_name = "TIME", value_parser = age)]
    archive_for: Option<Duration>,
    /// Revisions of which is kept what happened, also of runs that are kept longer
    ///
    /// History is kept as long as the runs that it is about, and for this long at most. What 'quorate run events' shows of an
    /// older run is incomplete, and says so. Too many fill the disk of every replica.
    #[arg(long, value_name = "NUMBER")]
    history_revisions: Option<u64>,
    /// Runs of one segment of the archive, from now on
    ///
    /// A segment is forgotten at once. Small ones free the disk in smaller pieces; many of them make searches slower.
    #[arg(long, value_name = "NUMBER")]
    segment_runs: Option<u32>,
}

impl Retention {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::Show { stale } => {
                let client = stale.client(context)?;
                let response = client.get_retention(v1::GetRetentionRequest {}).await.map_err(older)?;
                context.output.show_read(&Kept::from(response), client.staleness())?;
            }
            Verb::Set(limits) => {
                let client = context.client()?;
                let before = client.get_retention(v1::GetRetentionRequest {}).await.map_err(older)?;
                let response = client.set_retention(limits.request()).await.map_err(older)?;
                context.output.show(&RetentionSet::new(before, response))?;
            }
        }
        Ok(Code::Ok)
    }
}

impl Limits {
    fn request(self) -> v1::SetRetentionRequest {
        v1::SetRetentionRequest {
            memory_runs_max: self.memory_runs,
            memory_rows_max: self.memory_rows,
            archive_runs_max: self.archive_runs,
            archive_ms_max: self.archive_for.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            history_revisions_max: self.history_revisions,
            segment_runs_max: self.segment_runs,
            request_id: String::new(),
        }
    }
}

fn older(error: quorate_client::Error) -> Error {
    Error::of_older(error, "an archive of runs")
}

/// How long runs are kept: what is too long is for the cluster to say.
fn age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|why| format!("{text:?} is not a duration ({why}): write 12h, 90d or 0s"))
}
