//! How long nothing can be written, and nothing is placed, after the leader is gone.
//!
//! Callers ask every member every few milliseconds until one of them has written something: what is
//! measured is the cluster, not how cleverly a client waits. Beside that some writers go on all the time, and
//! whatever was acknowledged to anybody in any round is looked for at the end.

mod subject;
mod work;
mod writers;
mod written;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_seams::{BootInstant, Clock as _, SystemClock};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::Error;
use crate::etcd::Timing;
use crate::load::Target;
use crate::samples::{Spread, rounded};
use subject::{Ours, Theirs};

/// Rounds at most: the writes of all of them are remembered, here and by the product.
const ROUNDS_MAX: usize = 400;
/// Between two tries at each member.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// A try without an answer by then is given up: a member may hold what it is given for seconds, for a
/// leader that it does not know to be gone.
const TRY_DEADLINE: Duration = Duration::from_millis(250);
/// Tries at one member that have no answer yet.
const TRIES_MAX: usize = 64;
/// Something is written again by then.
const WRITE_WAIT: Duration = Duration::from_secs(60);

/// What becomes of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// It is killed (SIGKILL): its connections break at once.
    Kill,
    /// It is stopped (SIGSTOP), as when a machine hangs: its connections stay and are silent.
    Stop,
    /// It is cut off from the other replicas, both ways, but not from clients and agents.
    Partition,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct FailoverBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// An `etcd` binary to measure beside it, with its defaults and with timeouts like ours.
    pub etcd: Option<PathBuf>,
    /// How many replicas, and members of etcd.
    pub replicas: usize,
    /// How many leaders go.
    pub rounds: usize,
    /// How.
    pub fault: Fault,
    /// Our default time between two signs of life.
    pub heartbeat_ms: u64,
    /// Our default for the shortest time without one before an election.
    pub election_ms_min: u64,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `failover`.
    pub bench: &'static str,
    /// What became of the leader.
    pub fault: Fault,
    /// How often.
    pub rounds: usize,
    /// Until the next committed write, in milliseconds, median.
    pub quorate: f64,
    /// The same of etcd with its defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<f64>,
    /// Ours to etcd's; below 1 we are back sooner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Until the next committed write, in milliseconds.
    pub write_ms: Spread,
    /// Until the next placement, with work waiting all the time, in milliseconds.
    pub placement_ms: Spread,
    /// The next committed write of etcd with its defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_write_ms: Option<Spread>,
    /// The same with timeouts like ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_equal_write_ms: Option<Spread>,
    /// Elections among our replicas that somebody won or that nobody did: terms that began.
    pub elections: u64,
    /// Writes that ours acknowledged,
    pub acknowledged: u64,
    /// and so many of them are not there at the end, or not as they were written.
    pub lost_writes: u64,
    /// Writes that took effect more than once.
    pub duplicated: u64,
}

impl Row {
    /// True when every acknowledged write is there, and none twice.
    pub fn is_clean(&self) -> bool {
        self.lost_writes == 0 && self.duplicated == 0
    }
}

impl FailoverBench {
    /// Starts the clusters, and takes the leader away round by round; `note` is told what goes on.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Row, Error> {
        if self.rounds == 0 || self.rounds > ROUNDS_MAX {
            return Err(Error::Option(format!("rounds: {} is not between 1 and {ROUNDS_MAX}", self.rounds)));
        }
        if self.replicas < 3 {
            return Err(Error::Option("replicas: with fewer than 3 nobody can take over".to_owned()));
        }
        note("starting the replicas");
        let mut ours = Ours::start(self).await?;
        let mut theirs = Vec::new();
        if let Some(binary) = &self.etcd {
            note("starting etcd twice");
            let equal = Timing { heartbeat_ms: self.heartbeat_ms, election_ms: self.election_ms_min };
            for timing in [None, Some(equal)] {
                theirs.push(Theirs::start(self, binary, timing).await?);
            }
        }
        let (mut writes, mut placements) = (Vec::new(), Vec::new());
        let mut others: Vec<Vec<f64>> = vec![Vec::new(); theirs.len()];
        for round in 1..=self.rounds {
            let back = ours.round(self.fault).await?;
            let mut told = format!(
                "round {round}: a write after {:.0} ms, a placement after {:.0} ms",
                back.write_ms, back.placement_ms
            );
            writes.push(back.write_ms);
            placements.push(back.placement_ms);
            for ((their, times), name) in theirs.iter_mut().zip(&mut others).zip(["etcd", "etcd with equal timeouts"]) {
                let write_ms = their.round(self.fault).await?;
                told += &format!("; {name} after {write_ms:.0} ms");
                times.push(write_ms);
            }
            note(&told);
        }
        note("looking for every write that was acknowledged");
        let (verdict, elections) = ours.settle().await?;
        if self.keep {
            note(&format!("data and logs are in {}", ours.directory().display()));
        }
        let measured = || Error::Outcome("no round was measured".to_owned());
        let (write_ms, placement_ms) = (Spread::of(writes), Spread::of(placements));
        let (write_ms, placement_ms) = (write_ms.ok_or_else(measured)?, placement_ms.ok_or_else(measured)?);
        let mut others = others.into_iter().map(Spread::of);
        let (etcd_write_ms, etcd_equal_write_ms) = (others.next().flatten(), others.next().flatten());
        Ok(Row {
            bench: "failover",
            fault: self.fault,
            rounds: self.rounds,
            quorate: write_ms.median,
            etcd: etcd_write_ms.map(|spread| spread.median),
            ratio: etcd_write_ms.map(|spread| rounded(write_ms.median / spread.median)),
            write_ms,
            placement_ms,
            etcd_write_ms,
            etcd_equal_write_ms,
            elections,
            acknowledged: verdict.acknowledged,
            lost_writes: verdict.lost,
            duplicated: verdict.duplicated,
        })
    }
}

/// Tries operation `number` at every member until one carries it out; when it did comes back.
pub(crate) async fn next_write<T: Target>(target: &Arc<T>, members: usize, number: u64) -> Result<BootInstant, Error> {
    let begun = SystemClock.boot();
    let mut tries: Vec<JoinSet<Option<BootInstant>>> = (0..members).map(|_| JoinSet::new()).collect();
    let mut seen = String::new();
    let (failures, mut failed) = tokio::sync::mpsc::channel::<String>(1);
    while SystemClock.boot().since(begun) < WRITE_WAIT {
        for (member, tries) in tries.iter_mut().enumerate() {
            if tries.len() < TRIES_MAX {
                let (target, failures) = (target.clone(), failures.clone());
                tries.spawn(async move {
                    let tried = tokio::time::timeout(TRY_DEADLINE, target.operate(member, number)).await;
                    let why = match tried {
                        Ok(Ok(())) => return Some(SystemClock.boot()),
                        Ok(Err(why)) => why,
                        Err(_) => format!("no answer within {TRY_DEADLINE:?}"),
                    };
                    // One of them is enough to tell of, should it never end.
                    let _ = failures.try_send(why);
                    None
                });
            }
        }
        tokio::time::sleep(TRY_EVERY).await;
        let ended = tries.iter_mut().flat_map(|tries| std::iter::from_fn(|| tries.try_join_next()));
        if let Some(first) = ended.filter_map(|ended| ended.ok().flatten()).min() {
            return Ok(first);
        }
        if let Ok(why) = failed.try_recv() {
            seen = why;
        }
    }
    let what = "a write after the leader was gone".to_owned();
    Err(Error::NotInTime { what, waited: WRITE_WAIT, detail: format!(": {seen}") })
}

pub(crate) fn millis(from: BootInstant, to: BootInstant) -> f64 {
    to.since(from).as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Member 1 takes over at the third try.
    struct Late(AtomicU64);

    impl Target for Late {
        async fn operate(&self, member: usize, _: u64) -> Result<(), String> {
            let tries = if member == 1 { self.0.fetch_add(1, Ordering::Relaxed) } else { 0 };
            if tries < 2 { Err("not the leader".into()) } else { Ok(()) }
        }
    }

    #[tokio::test]
    async fn members_are_asked_until_one_writes() {
        let target = Arc::new(Late(AtomicU64::new(0)));
        let begun = SystemClock.boot();
        let at = next_write(&target, 3, 1).await.unwrap();
        assert!(at >= begun);
        assert!(target.0.load(Ordering::Relaxed) >= 3);
    }

    #[tokio::test]
    async fn without_somebody_to_take_over_nothing_starts() {
        let bench = FailoverBench {
            binary: "/nonexistent".into(),
            etcd: None,
            replicas: 2,
            rounds: 1,
            fault: Fault::Kill,
            heartbeat_ms: 100,
            election_ms_min: 500,
            keep: false,
        };
        assert!(matches!(bench.run(&|_| {}).await, Err(Error::Option(_))));
        let bench = FailoverBench { replicas: 3, rounds: 0, ..bench };
        assert!(matches!(bench.run(&|_| {}).await, Err(Error::Option(_))));
    }
}
