//! What heartbeat and election times cost and bring: for some choices of them, how soon a leader is replaced
//! that is gone, and how often one that is not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_seams::{Clock as _, SystemClock};
use serde::Serialize;

use crate::Error;
use crate::elections::{self, Calm};
use crate::failover::{Fault, millis, next_write};
use crate::load::channel;
use crate::local::{LocalCluster, Options, Times};
use crate::log::{Annotate, make_runs};
use crate::samples::Spread;

/// Rounds at most.
const ROUNDS_MAX: usize = 1_000;
/// Choices at most.
const CHOICES_MAX: usize = 16;
/// Runs that the callers annotate.
const RUNS: usize = 1_000;

/// What is measured.
#[derive(Clone, Debug)]
pub struct TimeoutsBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// The choices; one row each, and one cluster after the other, so that none takes time from another.
    pub times: Vec<Times>,
    /// How often the leader is stopped, and how often killed, with each of them.
    pub rounds: usize,
    /// How long false elections are counted, with each of them.
    pub time: Duration,
    /// Callers that write meanwhile.
    pub callers: usize,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// What was measured with one choice.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `timeouts`.
    pub bench: &'static str,
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// The shortest and the longest election time.
    pub election_ms: [u64; 2],
    /// Rounds of each fault.
    pub rounds: usize,
    /// From the leader's SIGSTOP to the next committed write, in milliseconds, median.
    pub pause_ms: f64,
    /// The same of its SIGKILL.
    pub kill_ms: f64,
    /// With the range.
    pub pause_spread_ms: Spread,
    /// With the range.
    pub kill_spread_ms: Spread,
    /// What went on without a fault.
    #[serde(flatten)]
    pub calm: Calm,
}

impl TimeoutsBench {
    /// Measures every choice in turn; `note` is told what goes on.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Vec<Row>, Error> {
        self.check()?;
        let mut rows = Vec::with_capacity(self.times.len());
        for times in &self.times {
            note(&format!("{times}: starting the replicas"));
            let row = self.measure(*times, note).await?;
            let (pause, kill, elections) = (row.pause_ms, row.kill_ms, row.calm.false_elections);
            note(&format!(
                "{times}: a write {pause:.0} ms after a stop, {kill:.0} ms after a kill; {elections} false elections"
            ));
            rows.push(row);
        }
        Ok(rows)
    }

    fn check(&self) -> Result<(), Error> {
        if self.rounds == 0 || self.rounds > ROUNDS_MAX {
            return Err(Error::Option(format!("rounds: {} is not between 1 and {ROUNDS_MAX}", self.rounds)));
        }
        if self.replicas < 3 {
            return Err(Error::Option("replicas: with fewer than 3 nobody can take over".to_owned()));
        }
        if self.times.is_empty() || self.times.len() > CHOICES_MAX {
            return Err(Error::Option(format!("times: {} is not between 1 and {CHOICES_MAX}", self.times.len())));
        }
        // Now, and not when the others have been measured for an hour.
        self.times.iter().try_for_each(|times| times.check())?;
        elections::check(self.callers, self.time)
    }

    async fn measure(&self, times: Times, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Row, Error> {
        let mut options = Options::new(self.binary.clone(), self.replicas, 1);
        options.times = Some(times);
        options.keep = self.keep;
        let mut cluster = LocalCluster::start(options).await?;
        let runs = make_runs(&cluster.client(), RUNS).await?;
        let members = cluster.api_addresses().iter().map(|address| channel(address)).collect::<Result<_, _>>()?;
        let target = Arc::new(Annotate::new(members, runs.clone()));
        let (mut pauses, mut kills) = (Vec::new(), Vec::new());
        let mut takeovers = 0;
        for _ in 0..self.rounds {
            for (fault, all) in [(Fault::Stop, &mut pauses), (Fault::Kill, &mut kills)] {
                all.push(takeover(&mut cluster, &target, fault, takeovers).await?);
                takeovers += 1;
            }
        }
        note(&format!("{times}: {} callers for {} s", self.callers, self.time.as_secs()));
        let calm = elections::watch(&mut cluster, runs, self.callers, self.time).await?;
        if self.keep {
            note(&format!("data and logs are in {}", cluster.directory().display()));
        }
        let measured = || Error::Outcome("no round was measured".to_owned());
        let pause_spread_ms = Spread::of(pauses).ok_or_else(measured)?;
        let kill_spread_ms = Spread::of(kills).ok_or_else(measured)?;
        Ok(Row {
            bench: "timeouts",
            heartbeat_ms: times.heartbeat_ms,
            election_ms: [times.election_ms_min, times.election_ms_max],
            rounds: self.rounds,
            pause_ms: pause_spread_ms.median,
            kill_ms: kill_spread_ms.median,
            pause_spread_ms,
            kill_spread_ms,
            calm,
        })
    }
}

/// Takes the leader away and gives it back; the milliseconds until the next write come back.
async fn takeover(cluster: &mut LocalCluster, target: &Arc<Annotate>, fault: Fault, before: u64) -> Result<f64, Error> {
    cluster.wait_ready().await?;
    let leader = cluster.leader(|_| true).await?.replica;
    let members = cluster.replica_count();
    next_write(target, members, 2 * before).await?;
    let gone = SystemClock.boot();
    fault.strike(cluster, leader);
    let written = next_write(target, members, 2 * before + 1).await?;
    fault.mend(cluster, leader)?;
    Ok(millis(gone, written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn senseless_options_are_refused_before_anything_starts() {
        let times = Times { heartbeat_ms: 100, election_ms_min: 500, election_ms_max: 1_000 };
        let bench = TimeoutsBench {
            binary: "/nonexistent".into(),
            replicas: 3,
            times: vec![times],
            rounds: 1,
            time: Duration::from_secs(1),
            callers: 1,
            keep: false,
        };
        let last = Times { heartbeat_ms: 300, ..times };
        for wrong in [
            TimeoutsBench { rounds: 0, ..bench.clone() },
            TimeoutsBench { replicas: 2, ..bench.clone() },
            TimeoutsBench { times: vec![], ..bench.clone() },
            TimeoutsBench { times: vec![times, last], ..bench.clone() },
            TimeoutsBench { time: Duration::ZERO, ..bench },
        ] {
            assert!(matches!(wrong.run(&|_| {}).await, Err(Error::Option(_))), "{wrong:?}");
        }
    }
}
