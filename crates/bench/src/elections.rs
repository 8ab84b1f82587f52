//! How often a leader is replaced that was there all the time: elections without any fault, idle or under
//! load. Times that are too short for a busy machine show here, and nowhere else.

mod callers;
mod counts;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_seams::{Clock as _, SystemClock};
use serde::Serialize;

use crate::Error;
use crate::latency::Quantiles;
use crate::load::channel;
use crate::local::{LocalCluster, Options, Times};
use crate::log::{Annotate, make_runs};
use crate::samples::rounded;
use callers::Callers;
use counts::{Counts, leader};

/// Callers at most.
const CALLERS_MAX: usize = 1_024;
/// The longest measurement.
const TIME_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Runs that the callers annotate.
const RUNS: usize = 1_000;
/// Load before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// Between two looks at who leads.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Clone, Debug)]
pub struct ElectionsBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// When a silent leader is replaced.
    pub times: Times,
    /// How long.
    pub time: Duration,
    /// Callers that write without a pause; 0: an idle cluster.
    pub callers: usize,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `elections`.
    pub bench: &'static str,
    /// How many replicas.
    pub replicas: usize,
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// The shortest and the longest election time.
    pub election_ms: [u64; 2],
    /// What went on.
    #[serde(flatten)]
    pub calm: Calm,
}

/// What went on while nothing was done to any replica.
#[derive(Clone, Debug, Serialize)]
pub struct Calm {
    /// Callers that wrote.
    pub callers: usize,
    /// For how long.
    pub seconds: f64,
    /// Terms that began, but for those of `handed_over`.
    pub false_elections: u64,
    /// Times that a replica found the leader silent and asked whether it would be voted for. Most end there:
    /// others hear the leader.
    pub begun: u64,
    /// Times that a leader passed leadership on, for its disk.
    pub handed_over: u64,
    /// Times that somebody else led than a second before.
    pub leader_changes: u64,
    /// Writes that were acknowledged,
    pub writes: u64,
    /// each second,
    pub writes_per_s: f64,
    /// and how long they took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Quantiles>,
    /// Tries that were refused or not answered, and made again.
    pub failed_tries: u64,
    /// The longest time in which no write was acknowledged, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_gap_ms: Option<f64>,
}

impl ElectionsBench {
    /// Starts a cluster and leaves it alone; `note` is told what goes on.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Row, Error> {
        check(self.callers, self.time)?;
        note("starting the replicas");
        let mut options = Options::new(self.binary.clone(), self.replicas, 1);
        options.times = Some(self.times);
        options.keep = self.keep;
        let mut cluster = LocalCluster::start(options).await?;
        let runs = if self.callers == 0 { Vec::new() } else { make_runs(&cluster.client(), RUNS).await? };
        let seconds = self.time.as_secs();
        note(&format!("{} callers with {} for {seconds} s", self.callers, self.times));
        let calm = watch(&mut cluster, runs, self.callers, self.time).await?;
        if self.keep {
            note(&format!("data and logs are in {}", cluster.directory().display()));
        }
        let Times { heartbeat_ms, election_ms_min, election_ms_max } = self.times;
        let election_ms = [election_ms_min, election_ms_max];
        Ok(Row { bench: "elections", replicas: self.replicas, heartbeat_ms, election_ms, calm })
    }
}

/// Refuses what could not be measured.
pub(crate) fn check(callers: usize, time: Duration) -> Result<(), Error> {
    if callers > CALLERS_MAX {
        return Err(Error::Option(format!("callers: {callers} is over {CALLERS_MAX}")));
    }
    if time.is_zero() || time > TIME_MAX {
        return Err(Error::Option(format!("minutes: more than 0 and at most {}", TIME_MAX.as_secs() / 60)));
    }
    Ok(())
}

/// Lets callers annotate `runs` for this long, and counts what the replicas do meanwhile.
pub(crate) async fn watch(
    cluster: &mut LocalCluster,
    runs: Vec<String>,
    callers: usize,
    time: Duration,
) -> Result<Calm, Error> {
    cluster.wait_ready().await?;
    let first = cluster.leader(|_| true).await?.replica;
    let addresses = cluster.ops_addresses().to_vec();
    let members: Vec<_> = cluster.api_addresses().iter().map(|address| channel(address)).collect::<Result<_, _>>()?;
    // A write that is tried again says the same again, so none needs to be remembered.
    let target = Arc::new(Annotate::new(members, runs).without_ids());
    let at_work = Callers::start(&target, addresses.len(), first, callers);
    if callers > 0 {
        tokio::time::sleep(WARM_UP).await;
    }
    let before = Counts::read(&addresses).await?;
    at_work.begin_anew();
    let begun = SystemClock.boot();
    let (mut led, mut leader_changes) = (first, 0);
    loop {
        let left = time.saturating_sub(SystemClock.boot().since(begun));
        if left.is_zero() {
            break;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
        cluster.check_processes()?;
        if let Some(leader) = leader(&addresses).await.filter(|leader| *leader != led) {
            led = leader;
            leader_changes += 1;
        }
    }
    let seconds = SystemClock.boot().since(begun).as_secs_f64();
    let seen = at_work.stop().await?;
    let counted = Counts::read(&addresses).await?.since(before);
    let is_loaded = callers > 0;
    Ok(Calm {
        callers,
        seconds: rounded(seconds),
        false_elections: counted.false_elections(),
        begun: counted.begun,
        handed_over: counted.handed_over,
        leader_changes,
        writes: seen.latencies.count(),
        writes_per_s: rounded(seen.latencies.count() as f64 / seconds),
        write: is_loaded.then(|| seen.latencies.quantiles()),
        failed_tries: seen.failed,
        longest_gap_ms: is_loaded.then(|| rounded(seen.longest_gap.as_secs_f64() * 1e3)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn senseless_options_are_refused_before_anything_starts() {
        let times = Times { heartbeat_ms: 100, election_ms_min: 500, election_ms_max: 1_000 };
        let time = Duration::from_secs(1);
        let bench =
            ElectionsBench { binary: "/nonexistent".into(), replicas: 3, times, time, callers: 64, keep: false };
        let same = Times { election_ms_max: 500, ..times };
        for wrong in [
            ElectionsBench { callers: CALLERS_MAX + 1, ..bench.clone() },
            ElectionsBench { time: Duration::ZERO, ..bench.clone() },
            ElectionsBench { time: TIME_MAX * 2, ..bench.clone() },
            ElectionsBench { times: same, ..bench.clone() },
            ElectionsBench { replicas: 0, ..bench },
        ] {
            assert!(matches!(wrong.run(&|_| {}).await, Err(Error::Option(_))), "{wrong:?}");
        }
    }
}
