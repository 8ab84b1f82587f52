//! What a flood of submits does to everything else: a chain of tasks that follow each other, and cancels,
//! without the flood and under it.
//!
//! Each link of the chain is reported, released, placed and handed out before the next one can end, so
//! the time between two ends is a whole round through the control plane: two reports, a step, a plan.
//! What the flood submits fits nowhere, so that it takes the log's time and no agent's.

mod callers;
mod probes;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock};
use serde::Serialize;

use crate::Error;
use crate::local::{LocalCluster, Options};
use crate::samples::rounded;
pub use crate::tasks::Quantiles;
use callers::Flood;
use probes::Probes;

/// Callers at most.
const CALLERS_MAX: usize = 16_384;
/// Seconds of each half at most.
const SECONDS_MAX: u64 = 300;
/// Runs of one page, when the accepted ones are looked for.
const PAGE_ROWS: u32 = 1_000;

/// What is measured.
#[derive(Clone, Debug)]
pub struct FloodBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// Callers that submit without end.
    pub callers: usize,
    /// Connections that they share.
    pub connections: usize,
    /// How long without the flood, and then again with it, in seconds.
    pub seconds: u64,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `flood`.
    pub bench: &'static str,
    /// Callers.
    pub callers: usize,
    /// How long each half was, in seconds.
    pub seconds: u64,
    /// Without the flood.
    pub quiet: Half,
    /// Under it.
    pub flooded: Half,
    /// What became of it.
    pub submits: Submits,
    /// Most resident memory of any replica, in MiB.
    pub replica_peak_mib: f64,
}

/// What the probes saw in one half.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Half {
    /// Links of the chain that ended.
    pub tasks: usize,
    /// From the end of one to the end of the next.
    pub task: Quantiles,
    /// Cancels that were answered.
    pub cancels: usize,
    /// From the request to the answer.
    pub cancel: Quantiles,
}

/// What became of the submits.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Submits {
    /// Accepted, per second.
    pub accepted_per_s: f64,
    /// Accepted.
    pub accepted: usize,
    /// Refused as too many at once, to be asked again.
    pub overloaded: u64,
    /// Without an answer, or with one that leaves the outcome open.
    pub unknown: u64,
    /// Accepted, and not to be found afterwards.
    pub lost: usize,
    /// From the request to "accepted".
    pub accept: Quantiles,
}

impl FloodBench {
    /// Starts a cluster, measures it without and with the flood, and looks for all that was accepted;
    /// `note` is told what goes on.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Row, Error> {
        self.check()?;
        note("starting the cluster");
        let mut options = Options::new(self.binary.clone(), self.replicas, 1);
        options.keep = self.keep;
        let mut cluster = LocalCluster::start(options).await?;
        let client = cluster.client();
        let time = Duration::from_secs(self.seconds);
        let mut probes = Probes::prepare(client.clone(), time).await?;
        note("measuring without the flood");
        let quiet = probes.measure("quiet", time).await?;
        let leader = cluster.leader(|_| true).await?.replica;
        note(&format!("measuring under a flood of {} callers", self.callers));
        let begun = SystemClock.boot();
        let flood = Flood::start(&cluster.api_addresses()[leader], self.callers, self.connections)?;
        let flooded = probes.measure("flooded", time).await?;
        let answers = flood.stop().await?;
        let elapsed = SystemClock.boot().since(begun).as_secs_f64();
        note(&format!("looking for {} accepted runs", answers.accepted.len()));
        let lost = missing(&client, &answers.accepted).await?;
        cluster.check_processes()?;
        let peaks: Result<Vec<u64>, Error> =
            (0..cluster.replica_count()).map(|replica| cluster.replica_peak_memory(replica)).collect();
        let peak = peaks?.into_iter().max().unwrap_or(0);
        if self.keep {
            note(&format!("data and logs are in {}", cluster.directory().display()));
        }
        Ok(Row {
            bench: "flood",
            callers: self.callers,
            seconds: self.seconds,
            quiet,
            flooded,
            submits: Submits {
                accepted_per_s: rounded(answers.accepted.len() as f64 / elapsed),
                accepted: answers.accepted.len(),
                overloaded: answers.overloaded,
                unknown: answers.unknown,
                lost,
                accept: Quantiles::of(answers.latencies),
            },
            replica_peak_mib: rounded(peak as f64 / f64::from(1 << 20)),
        })
    }

    fn check(&self) -> Result<(), Error> {
        let within = |what: &str, value: u64, max: u64| match value {
            0 => Err(Error::Option(format!("{what}: at least 1 is needed"))),
            _ if value > max => Err(Error::Option(format!("{what}: {value} is over {max}"))),
            _ => Ok(()),
        };
        within("callers", self.callers as u64, CALLERS_MAX as u64)?;
        within("connections", self.connections as u64, CALLERS_MAX as u64)?;
        within("seconds", self.seconds, SECONDS_MAX)
    }
}

/// How many of the runs that were accepted are not there.
async fn missing(client: &Client, accepted: &[String]) -> Result<usize, Error> {
    let mut wanted: BTreeSet<&str> = accepted.iter().map(String::as_str).collect();
    let mut request = v1::ListRunsRequest { page_size: PAGE_ROWS, ..v1::ListRunsRequest::default() };
    loop {
        let page = client.list_runs(request.clone()).await?;
        for run in &page.runs {
            wanted.remove(run.id.as_str());
        }
        if page.next_page_token.is_empty() || wanted.is_empty() {
            return Ok(wanted.len());
        }
        request.page_token = page.next_page_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn senseless_sizes_are_refused_before_anything_starts() {
        let bench = FloodBench {
            binary: "/nonexistent".into(),
            replicas: 3,
            callers: 1,
            connections: 1,
            seconds: 1,
            keep: false,
        };
        for wrong in [
            FloodBench { callers: 0, ..bench.clone() },
            FloodBench { connections: 0, ..bench.clone() },
            FloodBench { seconds: SECONDS_MAX + 1, ..bench.clone() },
        ] {
            assert!(matches!(wrong.run(&|_| {}).await, Err(Error::Option(_))), "{wrong:?}");
        }
    }
}
