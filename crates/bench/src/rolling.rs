//! Restarts every replica in turn, in the planned way, while callers write: what they notice of it.
//!
//! The callers are the product's client with its own deadlines and retries: what it cannot hide is
//! what a user of the command line would see.

mod callers;

use std::path::PathBuf;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use serde::Serialize;

use crate::Error;
use crate::local::{LocalCluster, Options};
use crate::samples::{Spread, quantile, rounded};
use callers::{Callers, Seen};

/// Rounds at most.
const ROUNDS_MAX: usize = 100;
/// Callers at most: each has connections of its own.
const CALLERS_MAX: usize = 256;
/// Load alone, before the first replica stops.
const WARM_UP: Duration = Duration::from_secs(2);
/// The runs that were accepted end within this time.
const RUNS_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks at how many have.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Runs of one page.
const PAGE: u32 = 1_000;

/// What is measured.
#[derive(Clone, Debug)]
pub struct RollingBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// How often each of them is restarted.
    pub rounds: usize,
    /// How many callers write all the time.
    pub callers: usize,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `rolling`.
    pub bench: &'static str,
    /// How many replicas.
    pub replicas: usize,
    /// How many callers.
    pub callers: usize,
    /// Replicas that were asked to stop and started again,
    pub restarts: usize,
    /// and so many of them led.
    pub leaders: usize,
    /// Requests while that went on: submits and annotations.
    pub requests: usize,
    /// Requests that the client gave up, after its retries.
    pub failed: usize,
    /// What one of them was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Runs that were accepted,
    pub accepted: usize,
    /// and so many of them are not known any more.
    pub lost: usize,
    /// Latency of a request, in milliseconds, median,
    pub p50_ms: f64,
    /// 99th percentile,
    pub p99_ms: f64,
    /// and the longest.
    pub max_ms: f64,
    /// Longest time in which no request ended while a leader was restarted, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_stall_ms: Option<Spread>,
    /// The same while another replica was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follower_stall_ms: Option<Spread>,
}

impl Row {
    /// True when nobody was told of a failure and nothing is missing.
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.lost == 0
    }
}

/// One replica's stop and start.
struct Restart {
    from: BootInstant,
    to: BootInstant,
    has_led: bool,
}

impl RollingBench {
    /// Starts a cluster and restarts its replicas one by one; `note` is told what goes on.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Row, Error> {
        self.check()?;
        note("starting the replicas");
        let mut options = Options::new(self.binary.clone(), self.replicas, 1);
        options.keep = self.keep;
        let mut cluster = LocalCluster::start(options).await?;
        let callers = Callers::start((0..self.callers).map(|_| cluster.client()));
        tokio::time::sleep(WARM_UP).await;
        let mut restarts = Vec::new();
        for round in 1..=self.rounds {
            for replica in 0..self.replicas {
                let restart = restart(&mut cluster, replica).await?;
                let role = if restart.has_led { "it led" } else { "it followed" };
                let took = restart.to.since(restart.from).as_millis();
                note(&format!("round {round}: replica {} is back after {took} ms; {role}", replica + 1));
                restarts.push(restart);
            }
        }
        let seen = callers.stop().await?;
        note("waiting for the end of every run");
        let lost = lost(&cluster.client(), &seen.runs).await?;
        if self.keep {
            note(&format!("data and logs are in {}", cluster.directory().display()));
        }
        Ok(self.row(seen, &restarts, lost))
    }

    fn check(&self) -> Result<(), Error> {
        if self.rounds == 0 || self.rounds > ROUNDS_MAX {
            return Err(Error::Option(format!("rounds: {} is not between 1 and {ROUNDS_MAX}", self.rounds)));
        }
        if self.callers == 0 || self.callers > CALLERS_MAX {
            return Err(Error::Option(format!("callers: {} is not between 1 and {CALLERS_MAX}", self.callers)));
        }
        if self.replicas < 3 {
            return Err(Error::Option("replicas: with fewer than 3 none can be spared".to_owned()));
        }
        Ok(())
    }

    fn row(&self, mut seen: Seen, restarts: &[Restart], lost: usize) -> Row {
        seen.ended.sort_unstable();
        seen.latencies_us.sort_unstable();
        let stalls = |of_leaders: bool| {
            let those = restarts.iter().filter(|restart| restart.has_led == of_leaders);
            Spread::of(those.map(|one| longest_gap(&seen.ended, one.from, one.to).as_secs_f64() * 1e3).collect())
        };
        let millis = |share: f64| rounded(quantile(&seen.latencies_us, share) / 1e3);
        Row {
            bench: "rolling",
            replicas: self.replicas,
            callers: self.callers,
            restarts: restarts.len(),
            leaders: restarts.iter().filter(|restart| restart.has_led).count(),
            requests: seen.ended.len() + seen.failed,
            failed: seen.failed,
            failure: seen.failure.clone(),
            accepted: seen.runs.len(),
            lost,
            p50_ms: millis(0.5),
            p99_ms: millis(0.99),
            max_ms: millis(1.0),
            leader_stall_ms: stalls(true),
            follower_stall_ms: stalls(false),
        }
    }
}

/// Asks a replica to stop, starts it again, and waits until the cluster could spare another one.
async fn restart(cluster: &mut LocalCluster, replica: usize) -> Result<Restart, Error> {
    let has_led = cluster.leader(|_| true).await?.replica == replica;
    let from = SystemClock.boot();
    cluster.stop(replica).await?;
    cluster.restart(replica)?;
    cluster.wait_ready().await?;
    Ok(Restart { from, to: SystemClock.boot(), has_led })
}

/// The longest time between `from` and `to` in which nothing ended; `ended` is sorted.
fn longest_gap(ended: &[BootInstant], from: BootInstant, to: BootInstant) -> Duration {
    let (mut last, mut longest) = (from, Duration::ZERO);
    for at in ended.iter().filter(|at| (from..to).contains(at)).chain([&to]) {
        longest = longest.max(at.since(last));
        last = *at;
    }
    longest
}

/// Waits until no run goes on, and counts those of `accepted` that the cluster does not know.
async fn lost(client: &Client, accepted: &[String]) -> Result<usize, Error> {
    let begun = SystemClock.boot();
    let going_on = vec![v1::RunState::Pending.into(), v1::RunState::Running.into()];
    loop {
        let request = v1::ListRunsRequest { states: going_on.clone(), page_size: 1, ..v1::ListRunsRequest::default() };
        if client.list_runs(request).await?.runs.is_empty() {
            break;
        }
        if SystemClock.boot().since(begun) > RUNS_WAIT {
            let what = "the end of every run".to_owned();
            return Err(Error::NotInTime { what, waited: RUNS_WAIT, detail: String::new() });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let mut known = std::collections::BTreeSet::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListRunsRequest { page_size: PAGE, page_token, ..v1::ListRunsRequest::default() };
        let page = client.list_runs(request).await?;
        known.extend(page.runs.into_iter().map(|run| run.id));
        if page.next_page_token.is_empty() {
            return Ok(accepted.iter().filter(|run| !known.contains(*run)).count());
        }
        page_token = page.next_page_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_millis(millis)
    }

    #[test]
    fn a_gap_is_looked_for_within_the_restart_alone() {
        let ended = [5, 90, 110, 180, 1_000].map(at);
        assert_eq!(longest_gap(&ended, at(100), at(200)), Duration::from_millis(70));
        assert_eq!(longest_gap(&ended, at(200), at(900)), Duration::from_millis(700), "nothing ended at all");
        assert_eq!(longest_gap(&[], at(1), at(1)), Duration::ZERO);
    }

    #[test]
    fn a_row_tells_stalls_of_leaders_apart_and_what_went_wrong() {
        let bench = RollingBench { binary: "/nonexistent".into(), replicas: 3, rounds: 1, callers: 2, keep: false };
        let seen = Seen {
            ended: [10, 20, 320, 400].map(at).to_vec(),
            latencies_us: vec![1_000, 2_000, 3_000, 300_000],
            failed: 1,
            failure: Some("no quorum".to_owned()),
            runs: vec!["a".to_owned()],
        };
        let restarts =
            [Restart { from: at(0), to: at(30), has_led: false }, Restart { from: at(30), to: at(400), has_led: true }];
        let row = bench.row(seen, &restarts, 0);
        assert_eq!((row.requests, row.failed, row.restarts, row.leaders), (5, 1, 2, 1));
        assert_eq!(row.leader_stall_ms.unwrap().max, 290.0);
        assert_eq!(row.follower_stall_ms.unwrap().max, 10.0);
        assert_eq!((row.p50_ms, row.max_ms), (2.0, 300.0));
        assert!(!row.is_clean());
        assert!(Row { failed: 0, ..row.clone() }.is_clean());
        assert!(!Row { failed: 0, lost: 1, ..row }.is_clean());
    }

    #[tokio::test]
    async fn options_out_of_range_are_refused() {
        let bench = RollingBench { binary: "/nonexistent".into(), replicas: 3, rounds: 1, callers: 1, keep: false };
        for wrong in [
            RollingBench { replicas: 2, ..bench.clone() },
            RollingBench { rounds: 0, ..bench.clone() },
            RollingBench { callers: 0, ..bench },
        ] {
            assert!(matches!(wrong.run(&|_| {}).await, Err(Error::Option(_))), "{wrong:?}");
        }
    }
}
