//! What very large workflows cost the leader: how long it is busy at a stretch, how much memory and log they take, and
//! how many tasks it takes through their lives per second.
//!
//! Read in this order: `shapes` (the jobs), `follow` (a run to its end, and what the leader measures of itself
//! meanwhile), `longest` (the longest step out of a histogram), `pages` (the list of tasks while they run). The agents are
//! in this process and run nothing (`agents`): their processes answer at once.

mod shapes;

mod follow;
mod longest;
mod pages;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::Error;
use crate::agents::{Fleet, Processes, Site};
use crate::cost::processor_time;
use crate::latency::Quantiles;
use crate::local::{LocalCluster, Options};
use crate::samples::rounded;
pub(crate) use follow::Meter;
use follow::{Followed, follow};
pub use longest::{Longest, Times};
pub use pages::Pages;
pub use shapes::Shape;

/// Replicas at most.
const REPLICAS_MAX: usize = 7;
/// Agents at most: few of them hold very many tasks.
const AGENTS_MAX: usize = 1_000;
/// Sessions of one connection.
const SESSIONS_PER_CONNECTION: usize = 100;
/// Longest deadline of a measurement.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// A submit of tens of thousands of steps may take longer than other calls.
const SUBMIT_WAIT: Duration = Duration::from_secs(180);
/// A cluster comes to rest before it is measured.
const REST: Duration = Duration::from_secs(1);
/// What to do when there was not enough time.
const MORE_TIME: &str = "give it more time with --within, or take a smaller --size";

/// Told what goes on.
type Note<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// What is measured.
#[derive(Clone, Debug)]
pub struct WorkflowBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// What the workflow looks like.
    pub shape: Shape,
    /// Its elements, or its tasks; the usual size of its shape when `None`.
    pub size: Option<u32>,
    /// What the needs of a graph are drawn from.
    pub seed: u64,
    /// How many replicas.
    pub replicas: usize,
    /// How many agents.
    pub agents: usize,
    /// It is given up after so long, from the start of the cluster on.
    pub deadline: Duration,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// How the run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Every task has succeeded.
    Succeeded,
    /// One has failed, which none should.
    Failed,
    /// Somebody has cancelled it.
    Cancelled,
    /// It had not by the deadline.
    Unfinished,
}

impl End {
    fn of(state: v1::RunState) -> Self {
        match state {
            v1::RunState::Succeeded => Self::Succeeded,
            v1::RunState::Failed => Self::Failed,
            v1::RunState::Cancelled => Self::Cancelled,
            v1::RunState::Unspecified | v1::RunState::Pending | v1::RunState::Running => Self::Unfinished,
        }
    }
}

/// What was measured. What is the leader's is that of the replica that led when the job was submitted.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `workflow`.
    pub bench: &'static str,
    /// What the workflow looked like.
    pub shape: Shape,
    /// Its elements, or its tasks.
    pub size: u32,
    /// What the needs of a graph were drawn from.
    pub seed: u64,
    /// How many replicas.
    pub replicas: usize,
    /// How many agents.
    pub agents: usize,
    /// All tasks, elements included.
    pub tasks: u32,
    /// Bytes of the job as it was submitted.
    pub job_bytes: usize,
    /// How the run has ended.
    pub end: End,
    /// Tasks that had succeeded then.
    pub succeeded: u32,
    /// From the submit until its answer, in milliseconds.
    pub submit_ms: f64,
    /// From the submit until the run was seen to have ended, in seconds.
    pub elapsed_s: f64,
    /// Tasks that have succeeded, by that time.
    pub tasks_per_s: f64,
    /// The longest that the leader's loop was busy with one step of one controller.
    pub longest_step: Option<Longest>,
    /// Whose step that was.
    pub longest_step_of: String,
    /// The same of every controller.
    pub steps: BTreeMap<String, Times>,
    /// Applying entries and writing their rows: those that were written together count as one.
    pub apply: Option<Times>,
    /// Entries of the log in that time.
    pub entries: f64,
    /// Bytes appended to the log in that time, of one replica.
    pub log_bytes: f64,
    /// The most memory that the leader has used, in MiB.
    pub leader_peak_mib: f64,
    /// What it used before the submit, in MiB.
    pub leader_before_mib: f64,
    /// The most that any other replica has used, in MiB.
    pub follower_peak_mib: Option<f64>,
    /// Processor time of the leader, in seconds.
    pub leader_cpu_s: f64,
    /// Terms that began meanwhile; none when nobody leads in the end.
    pub leader_changes: Option<u64>,
    /// Sessions of agents that ended or did not come about, by reason.
    pub failed_sessions: BTreeMap<&'static str, u64>,
    /// How long a look at the run took, meanwhile.
    pub looks: Quantiles,
    /// Pages of its tasks, meanwhile; none when it ended before the middle of the list was reached.
    pub pages: Option<Pages>,
}

impl Report {
    /// True when all has come to its end as it should.
    pub fn is_clean(&self) -> bool {
        self.end == End::Succeeded && self.succeeded == self.tasks
    }
}

/// How far a run is, for what is measured beside it.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    succeeded: u32,
    /// It has ended, or nobody waits for it any more.
    is_over: bool,
}

/// An accepted job.
struct Submitted {
    run: String,
    took: Duration,
}

impl WorkflowBench {
    /// Starts the cluster, submits the workflow, and follows it; `note` is told what goes on.
    pub async fn run(&self, note: Note<'_>) -> Result<Report, Error> {
        let size = self.check()?;
        let until = Instant::now() + self.deadline;
        note("starting the replicas");
        let started = tokio::time::timeout_at(until, self.start()).await;
        let (mut cluster, fleet) = started.map_err(|_| self.late("a cluster with all its agents"))??;
        tokio::time::sleep(REST).await;
        let measured = self.measure(&mut cluster, &fleet, size, until, note).await;
        fleet.end().await;
        if self.keep {
            note(&format!("data and logs are in {}", cluster.directory().display()));
        }
        measured
    }

    async fn start(&self) -> Result<(LocalCluster, Fleet), Error> {
        let options = Options { keep: self.keep, ..Options::new(self.binary.clone(), self.replicas, 0) };
        let cluster = LocalCluster::start(options).await?;
        let addresses = cluster.agent_addresses();
        let fleet = Fleet::start(addresses, self.agents, SESSIONS_PER_CONNECTION, Processes::Answer, &Site::default())?;
        fleet.all_registered(self.deadline).await?;
        Ok((cluster, fleet))
    }

    async fn measure(
        &self,
        cluster: &mut LocalCluster,
        fleet: &Fleet,
        size: u32,
        until: Instant,
        note: Note<'_>,
    ) -> Result<Report, Error> {
        let Self { shape, seed, .. } = *self;
        let tasks = shape.tasks(size);
        let job = shape.job(size, seed);
        let (name, job_bytes) = (job.name.clone(), shapes::bytes(&job));
        let leader = cluster.leader(|_| true).await?;
        let pid = cluster.replica_pid(leader.replica).unwrap_or(0);
        let mut meter = Meter::begin(&cluster.ops_addresses()[leader.replica]).await?;
        let cpu_before = processor_time(&[pid])?;
        let leader_before_mib = mib(cluster.replica_memory(leader.replica)?);

        note(&format!("submitting {}: {tasks} tasks, {job_bytes} bytes", shape.name()));
        let (client, patient) = (cluster.client(), cluster.client_with(SUBMIT_WAIT));
        let begun = SystemClock.boot();
        let submitted = submit(&patient, shape, job);
        let submitted = tokio::time::timeout_at(until, submitted).await;
        let Submitted { run, took } = submitted.map_err(|_| self.late("the answer to the submit"))??;
        note(&format!("accepted as {run} after {:.1} s", took.as_secs_f64()));

        let (progress, told) = watch::channel(Progress::default());
        let followed = async {
            let mut alive = || cluster.check_processes();
            let run = follow::Run { client: &client, job: &name, tasks, begun, until };
            let followed = follow(run, &progress, &mut alive, note).await;
            progress.send_modify(|progress| progress.is_over = true);
            followed
        };
        let paged = pages::read(&client, &run, shape, tasks, told.clone());
        let over = async move {
            let mut told = told;
            // Whoever says how far it is ends with the run.
            let _ = told.wait_for(|progress| progress.is_over).await;
        };
        let (followed, metered, paged) = tokio::join!(followed, meter.until(over), paged);
        let Followed { end, counts, elapsed, looks } = followed?;
        metered?;
        let pages = paged.unwrap_or_else(|error| {
            note(&format!("the tasks could not be listed meanwhile: {error}"));
            None
        });
        if end != End::Succeeded {
            note(&self.why_not(end, &counts));
        }

        let mut peaks = Vec::new();
        for replica in 0..cluster.replica_count() {
            peaks.push(mib(cluster.replica_peak_memory(replica)?));
        }
        let leader_peak_mib = peaks.remove(leader.replica);
        let leader_cpu_s = processor_time(&[pid])?.saturating_sub(cpu_before).as_secs_f64();
        let term = cluster.leader(|_| true).await.map(|now| now.term).ok();
        let steps = meter.steps.come_to();
        let longest = steps.iter().max_by(|one, other| by_bounds(&one.1.longest, &other.1.longest));
        let (log_bytes, entries) = meter.log();
        Ok(Report {
            bench: "workflow",
            shape,
            size,
            seed,
            replicas: self.replicas,
            agents: self.agents,
            tasks,
            job_bytes,
            end,
            succeeded: counts.succeeded,
            submit_ms: rounded(took.as_secs_f64() * 1e3),
            elapsed_s: rounded(elapsed.as_secs_f64()),
            tasks_per_s: rounded(f64::from(counts.succeeded) / elapsed.as_secs_f64().max(1e-6)),
            longest_step: longest.map(|(_, times)| times.longest),
            longest_step_of: longest.map(|(name, _)| name.clone()).unwrap_or_default(),
            apply: meter.applies.come_to().into_values().next(),
            entries,
            log_bytes,
            leader_peak_mib,
            leader_before_mib,
            follower_peak_mib: peaks.into_iter().max_by(f64::total_cmp),
            leader_cpu_s: rounded(leader_cpu_s),
            leader_changes: term.map(|term| term.saturating_sub(leader.term)),
            failed_sessions: fleet.failures(),
            looks: looks.quantiles(),
            pages,
            steps,
        })
    }

    /// Refuses what cannot be measured; the size.
    fn check(&self) -> Result<u32, Error> {
        let within = |what: &str, value: usize, max: usize| {
            let wrong = || Error::Option(format!("{what}: {value} is not between 1 and {max}"));
            if (1..=max).contains(&value) { Ok(()) } else { Err(wrong()) }
        };
        within("replicas", self.replicas, REPLICAS_MAX)?;
        within("agents", self.agents, AGENTS_MAX)?;
        if self.deadline.is_zero() || self.deadline > DEADLINE_MAX {
            return Err(Error::Option("within: it is not between a moment and 24h; try 30m".to_owned()));
        }
        let size = self.size.unwrap_or(self.shape.size_usual());
        self.shape.check(size)?;
        Ok(size)
    }

    fn late(&self, what: &str) -> Error {
        Error::NotInTime { what: what.to_owned(), waited: self.deadline, detail: format!(": {MORE_TIME}") }
    }

    /// In words, with what to do.
    fn why_not(&self, end: End, counts: &v1::TaskCounts) -> String {
        let v1::TaskCounts { waiting, ready, placed, running, succeeded, failed, .. } = *counts;
        let what = match end {
            End::Succeeded => return String::new(),
            End::Failed => "the run failed, which it never should: look at the logs with --keep",
            End::Cancelled => "the run was cancelled, which nobody should do: look at the logs with --keep",
            End::Unfinished => {
                return format!(
                    "the run had not ended after {:?}: {MORE_TIME}. {waiting} tasks wait, {ready} are ready, {placed} placed, \
                     {running} run, {succeeded} have succeeded and {failed} failed",
                    self.deadline
                );
            }
        };
        format!("{what} ({failed} tasks failed, {succeeded} succeeded)")
    }
}

/// As a user would: what decides something by the method for that.
async fn submit(client: &Client, shape: Shape, job: v1::JobSpec) -> Result<Submitted, Error> {
    let begun = SystemClock.boot();
    let (spec, request_id) = (Some(job), String::new());
    let answer = match shape {
        Shape::Array => client.submit_job(v1::SubmitJobRequest { spec, request_id }).await?,
        Shape::FanOut | Shape::Dag => {
            let request = v1::SubmitFlowRequest { spec, args: String::new(), version: None, request_id };
            client.submit_flow(request).await?
        }
    };
    Ok(Submitted { run: answer.run_id, took: SystemClock.boot().since(begun) })
}

/// The one that may be longer is longer; of two that may be as long, the one that is certain to be.
pub(crate) fn by_bounds(one: &Longest, other: &Longest) -> std::cmp::Ordering {
    one.at_most_ms.total_cmp(&other.at_most_ms).then(one.at_least_ms.total_cmp(&other.at_least_ms))
}

fn mib(bytes: u64) -> f64 {
    rounded(bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> WorkflowBench {
        WorkflowBench {
            binary: "/nonexistent".into(),
            shape: Shape::Array,
            size: Some(1_000),
            seed: 1,
            replicas: 1,
            agents: 20,
            deadline: Duration::from_secs(60),
            keep: false,
        }
    }

    #[tokio::test]
    async fn what_cannot_be_measured_is_refused_before_anything_starts() {
        assert!(matches!(bench().run(&|_| {}).await, Err(Error::Spawn { .. })), "nothing is wrong but the binary");
        for (wrong, word) in [
            (WorkflowBench { size: Some(0), ..bench() }, "size"),
            (WorkflowBench { size: Some(50_001), shape: Shape::Dag, ..bench() }, "steps_max"),
            (WorkflowBench { replicas: 0, ..bench() }, "replicas"),
            (WorkflowBench { agents: 1_001, ..bench() }, "agents"),
            (WorkflowBench { deadline: Duration::ZERO, ..bench() }, "30m"),
        ] {
            let Err(Error::Option(why)) = wrong.run(&|_| {}).await else { panic!("{wrong:?}") };
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn what_did_not_end_in_time_says_how_far_it_was_and_what_to_do() {
        let counts = v1::TaskCounts { ready: 10, succeeded: 990, ..v1::TaskCounts::default() };
        let why = bench().why_not(End::Unfinished, &counts);
        assert!(why.contains("--within") && why.contains("10 are ready") && why.contains("990 have"), "{why}");
        assert!(bench().late("it").to_string().contains("--size"));
    }

    #[test]
    fn the_longest_is_the_one_that_may_be_longest() {
        let longest = |at_least_ms, at_most_ms| Longest { at_least_ms, at_most_ms };
        assert!(by_bounds(&longest(1.0, 500.0), &longest(90.0, 100.0)).is_gt());
        assert!(by_bounds(&longest(1.0, 100.0), &longest(90.0, 100.0)).is_lt());
    }
}
