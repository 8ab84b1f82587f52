//! What a large state costs: memory of a replica, its restart, a follower that catches up by a
//! snapshot, and what writes notice of all that.
//!
//! No agent takes part: the tasks wait. A caller's writes meanwhile are annotations, one row each.

mod windows;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::Error;
use crate::cost::metrics;
use crate::jobs::{Work, job};
use crate::load::channel;
use crate::local::{LocalCluster, Options};
use crate::log::Annotate;
use crate::samples::{Spread, rounded};
use windows::{Windows, write_until};

/// Tasks of one run.
const TASKS_PER_RUN: u32 = 100;
/// Tasks at most.
const TASKS_MAX: u32 = 5_000_000;
/// Submits at once.
const SUBMITS_AT_ONCE: usize = 32;
/// Callers that write while something is measured.
const WRITERS: usize = 8;
/// Log entries between two snapshots, and kept behind one: few, so that a follower that was away for some
/// seconds needs a snapshot.
const ENTRIES: u64 = 500;
/// Writes without anything beside them, before and after.
const CALM: Duration = Duration::from_secs(10);
/// A follower is away for this long.
const AWAY: Duration = Duration::from_secs(8);
/// A replica has what the leader had by then.
const CATCH_UP_WAIT: Duration = Duration::from_secs(600);
/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The metric that says how far a replica is.
const APPLIED: &str = "quorate_applied_revision";

/// What is measured.
#[derive(Clone, Debug)]
pub struct StateBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// Tasks that wait.
    pub tasks: u32,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `state`.
    pub bench: &'static str,
    /// Tasks in the state, in runs of 100.
    pub tasks: u32,
    /// From the first submit until the last is accepted, in seconds.
    pub submit_s: f64,
    /// Memory of the largest replica when all were accepted and nothing happened any more, in MiB.
    pub memory_mib: f64,
    /// The most it has used until then, in MiB.
    pub peak_mib: f64,
    /// From the start of a replica that was stopped until it has all that the leader has, in milliseconds.
    pub restart_ms: f64,
    /// The same of a replica that was away until it needed a snapshot, under load.
    pub catch_up_ms: f64,
    /// Whether it did get a snapshot.
    pub by_snapshot: bool,
    /// 99th percentile of writes in each second without anything beside them, in milliseconds.
    pub calm_p99_ms: Spread,
    /// The same while the snapshot was read, sent and installed.
    pub snapshot_p99_ms: Spread,
    /// Median to median.
    pub ratio: f64,
}

impl StateBench {
    /// Starts the cluster, fills it, and measures; `note` is told what goes on.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Report, Error> {
        if self.tasks < TASKS_PER_RUN || self.tasks > TASKS_MAX {
            return Err(Error::Option(format!("tasks: {} is not between {TASKS_PER_RUN} and {TASKS_MAX}", self.tasks)));
        }
        if self.replicas < 3 {
            return Err(Error::Option("replicas: one of them goes away, so at least 3 are needed".to_owned()));
        }
        note("starting the replicas");
        let options = Options {
            snapshot_entries: Some(ENTRIES),
            keep_entries: Some(ENTRIES),
            keep: self.keep,
            ..Options::new(self.binary.clone(), self.replicas, 0)
        };
        let mut cluster = LocalCluster::start(options).await?;
        note(&format!("submitting {} tasks", self.tasks));
        let begun = SystemClock.boot();
        let runs = submit(&cluster.client(), self.tasks / TASKS_PER_RUN).await?;
        let submit_s = seconds_since(begun);
        caught_up(&cluster, 0..self.replicas).await?;

        let (mut memory_mib, mut peak_mib) = (0.0_f64, 0.0_f64);
        for replica in 0..self.replicas {
            memory_mib = memory_mib.max(mib(cluster.replica_memory(replica)?));
            peak_mib = peak_mib.max(mib(cluster.replica_peak_memory(replica)?));
        }
        note(&format!("accepted in {submit_s:.1} s; {memory_mib:.0} MiB each"));

        let leader = cluster.leader(|_| true).await?.replica;
        let follower = (leader + 1) % self.replicas;
        cluster.stop(follower).await?;
        let begun = SystemClock.boot();
        cluster.restart(follower)?;
        caught_up(&cluster, follower..follower + 1).await?;
        let restart_ms = seconds_since(begun) * 1e3;
        note(&format!("a replica was back after {restart_ms:.0} ms"));

        let connection = channel(&cluster.api_addresses()[leader])?;
        let writes = Arc::new(Annotate::new(vec![connection], runs));
        let calm = write_until(&writes, WRITERS, tokio::time::sleep(CALM)).await?.1;
        cluster.kill9(follower);
        write_until(&writes, WRITERS, tokio::time::sleep(AWAY)).await?;
        let begun = SystemClock.boot();
        cluster.restart(follower)?;
        let (caught, during) = write_until(&writes, WRITERS, caught_up(&cluster, follower..follower + 1)).await?;
        caught?;
        let catch_up_ms = seconds_since(begun) * 1e3;
        let log = std::fs::read_to_string(cluster.replica_log(follower)).unwrap_or_default();
        let by_snapshot = log.contains(SNAPSHOT_NOTE);
        cluster.check_processes()?;

        let quiet = |windows: Windows| windows.p99_ms().ok_or_else(|| Error::Outcome("no write ended".to_owned()));
        let (calm_p99_ms, snapshot_p99_ms) = (quiet(calm)?, quiet(during)?);
        Ok(Report {
            bench: "state",
            tasks: self.tasks,
            submit_s: rounded(submit_s),
            memory_mib: rounded(memory_mib),
            peak_mib: rounded(peak_mib),
            restart_ms: rounded(restart_ms),
            catch_up_ms: rounded(catch_up_ms),
            by_snapshot,
            ratio: rounded(snapshot_p99_ms.median / calm_p99_ms.median),
            calm_p99_ms,
            snapshot_p99_ms,
        })
    }
}

/// What a replica logs when it has installed a snapshot.
const SNAPSHOT_NOTE: &str = "a snapshot was installed";

/// Submits runs of tasks that nobody can take yet; their ids.
async fn submit(client: &Client, runs: u32) -> Result<Vec<String>, Error> {
    let mut submits: JoinSet<Result<String, quorate_client::Error>> = JoinSet::new();
    let mut ids = Vec::new();
    for number in 0..runs {
        if submits.len() >= SUBMITS_AT_ONCE {
            ids.extend(ended(&mut submits).await?);
        }
        let client = client.clone();
        submits.spawn(async move {
            let spec = job(Work {
                job: format!("waiting-{}", number % 100),
                driver: v1::Driver::Process,
                argv: vec!["/bin/true".to_owned()],
                count: TASKS_PER_RUN,
                resources: v1::Resources { cpu_milli: 100, memory_bytes: 64 << 20, gpu_milli: 0 },
            });
            let request = v1::SubmitJobRequest { spec: Some(spec), request_id: String::new() };
            client.submit_job(request).await.map(|answer| answer.run_id)
        });
    }
    while let Some(id) = ended(&mut submits).await? {
        ids.push(id);
    }
    Ok(ids)
}

async fn ended(submits: &mut JoinSet<Result<String, quorate_client::Error>>) -> Result<Option<String>, Error> {
    let Some(ended) = submits.join_next().await else { return Ok(None) };
    let id = ended.map_err(|error| Error::Outcome(format!("a submit ended early: {error}")))?;
    Ok(Some(id?))
}

/// Waits until these replicas have applied what the furthest has now.
async fn caught_up(cluster: &LocalCluster, replicas: std::ops::Range<usize>) -> Result<(), Error> {
    let begun = SystemClock.boot();
    let mut target = 0.0_f64;
    for address in cluster.ops_addresses() {
        // One that is starting does not answer, and is not the furthest.
        target = target.max(metrics(address, &[APPLIED]).await.unwrap_or_default());
    }
    for replica in replicas {
        while metrics(&cluster.ops_addresses()[replica], &[APPLIED]).await.unwrap_or_default() < target {
            if SystemClock.boot().since(begun) > CATCH_UP_WAIT {
                let what = format!("replica {} with revision {target}", replica + 1);
                return Err(Error::NotInTime { what, waited: CATCH_UP_WAIT, detail: String::new() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

fn seconds_since(begun: BootInstant) -> f64 {
    SystemClock.boot().since(begun).as_secs_f64()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
