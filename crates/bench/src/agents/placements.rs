//! How many tasks a second get their places through the log: submitted, planned, committed by a quorum with their syncs, told to the
//! nodes' agents, and heard of again as running.
//!
//! Replicas are processes with product defaults, agents are fake. All tasks are submitted at once and go on for as long as the
//! round, so nothing ends that would leave room or work of its own. A task counts from the first submit until its agent has it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use serde::Serialize;

use super::fleet::{Fleet, Site};
use super::{AGENTS_MAX, LONG, Processes, fake_job, seconds, submit};
use crate::Error;
use crate::cost::{metrics, processor_time};
use crate::jobs::run_by_id;
use crate::local::{LocalCluster, Options};
use crate::samples::{Spread, rounded};

/// Tasks of a round at most.
const TASKS_MAX: usize = 1_000_000;
/// Shapes at most.
const SHAPES_MAX: usize = 1_000;
const ROUNDS_MAX: usize = 100;
const SESSIONS_PER_CONNECTION: usize = 500;
/// Between two looks at what is known of a run.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Every other shape goes to the fullest node, the others to the emptiest; sizes are so many thousandths of a core apart.
const CPU_STEP_MILLI: u64 = 10;
/// Syncs of the log's disk, and entries, as a replica counts them.
const SYNCS: &str = "quorate_disk_syncs_total";
const ENTRIES: &str = "quorate_applied_revision";

/// What is measured.
#[derive(Clone, Debug)]
pub struct ThroughLogBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// How many nodes, each with a fake agent.
    pub nodes: usize,
    /// How many tasks.
    pub tasks: usize,
    /// How many shapes they have, each a job of its own.
    pub shapes: usize,
    /// How often, each time with a new cluster.
    pub rounds: usize,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct ThroughLog {
    /// `placement-through-log`.
    pub bench: &'static str,
    /// Tasks a second, from the first submit until the last task was with its agent: the median round.
    pub placements_per_s: f64,
    /// The same over all rounds.
    pub through_log: Spread,
    /// Tasks a second, until all of them were also known to run.
    pub running_per_s: Spread,
    /// Seconds until half of the tasks were with their agents.
    pub half_s: Spread,
    /// Processor time of all replicas for each task, until it was known to run, in microseconds.
    pub cpu_us_per_task: Spread,
    /// The same of this process: all agents together.
    pub agents_cpu_us_per_task: Spread,
    /// Tasks for each entry of the log.
    pub tasks_per_entry: Spread,
    /// Syncs of all replicas' disks in a round.
    pub syncs: Spread,
    /// How many replicas.
    pub replicas: usize,
    /// How many nodes.
    pub nodes: usize,
    /// How many tasks.
    pub tasks: usize,
    /// How many shapes they have.
    pub shapes: usize,
    /// Tasks that were started twice: none.
    pub doubled: u64,
}

/// What one round came to.
struct Round {
    placed_s: f64,
    running_s: f64,
    half_s: f64,
    cpu_us: f64,
    agents_cpu_us: f64,
    entries: f64,
    syncs: f64,
    doubled: u64,
}

/// What the processes have spent so far.
struct Spent {
    cpu_us: f64,
    own_us: f64,
    entries: f64,
    syncs: f64,
}

impl ThroughLogBench {
    /// Measures round by round; `note` is told what goes on.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<ThroughLog, Error> {
        self.check()?;
        let mut rounds = Vec::with_capacity(self.rounds);
        for number in 1..=self.rounds {
            let round = self.round(&|text: &str| note(&format!("round {number}: {text}"))).await?;
            rounds.push(round);
        }
        let tasks = self.tasks as f64;
        let none = || Error::Outcome("there was no round".to_owned());
        let spread = |of: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(of).collect()).ok_or_else(none);
        let through_log = spread(&|round| tasks / round.placed_s)?;
        Ok(ThroughLog {
            bench: "placement-through-log",
            placements_per_s: through_log.median,
            through_log,
            running_per_s: spread(&|round| tasks / round.running_s)?,
            half_s: spread(&|round| round.half_s)?,
            cpu_us_per_task: spread(&|round| round.cpu_us / tasks)?,
            agents_cpu_us_per_task: spread(&|round| round.agents_cpu_us / tasks)?,
            tasks_per_entry: spread(&|round| tasks / round.entries.max(1.0))?,
            syncs: spread(&|round| round.syncs)?,
            replicas: self.replicas,
            nodes: self.nodes,
            tasks: self.tasks,
            shapes: self.shapes,
            doubled: rounds.iter().map(|round| round.doubled).sum(),
        })
    }

    async fn round(&self, tell: &(dyn Fn(&str) + Send + Sync)) -> Result<Round, Error> {
        tell("starting the replicas");
        let options = Options { keep: self.keep, ..Options::new(self.binary.clone(), self.replicas, 0) };
        let mut cluster = LocalCluster::start(options).await?;
        let client = cluster.client();
        let addresses = cluster.agent_addresses();
        let fleet = Fleet::start(addresses, self.nodes, SESSIONS_PER_CONNECTION, Processes::Endless, &Site::default())?;
        fleet.all_registered(LONG).await?;
        tell(&format!("{} nodes are registered", self.nodes));
        let leader = cluster.leader(|_| true).await?.replica;
        let before = spent(&cluster, leader).await?;
        let begun = SystemClock.boot();
        let runs = self.submit(&client).await?;
        let told = |count: usize| if count >= self.tasks { Ok(()) } else { Err(format!("{count} have")) };
        fleet.until("every task to have a place", LONG, |board| told(board.starts().len())).await?;
        all_run(&client, &runs).await?;
        let ended = SystemClock.boot();
        let after = spent(&cluster, leader).await?;
        cluster.check_processes()?;
        let (mut starts, mut tasks) = (Vec::new(), BTreeSet::new());
        for start in fleet.board().starts() {
            let (run, step, index, _) = &start.attempt;
            tasks.insert((run.clone(), *step, *index));
            starts.push(start.at);
        }
        starts.sort_unstable();
        let doubled = (starts.len() - tasks.len()) as u64;
        fleet.end().await;
        let at = |place: usize| starts.get(place).copied().map_or(0.0, |at: BootInstant| seconds(begun, at));
        let (half_s, placed_s) = (at(starts.len() / 2), at(starts.len() - 1));
        tell(&format!("{:.0} placements per second", self.tasks as f64 / placed_s));
        if self.keep {
            tell(&format!("data and logs are in {}", cluster.directory().display()));
        }
        Ok(Round {
            placed_s,
            running_s: seconds(begun, ended),
            half_s: rounded(half_s),
            cpu_us: after.cpu_us - before.cpu_us,
            agents_cpu_us: after.own_us - before.own_us,
            entries: after.entries - before.entries,
            syncs: after.syncs - before.syncs,
            doubled,
        })
    }

    /// A job for each shape: its run.
    async fn submit(&self, client: &Client) -> Result<Vec<String>, Error> {
        let mut runs = Vec::with_capacity(self.shapes);
        for shape in 0..self.shapes {
            // The first ones have one more, if they do not come out even.
            let count = self.tasks / self.shapes + usize::from(shape < self.tasks % self.shapes);
            let (driver, promise) = (v1::Driver::Process, v1::OnNodeLoss::AtLeastOnce);
            let mut spec = fake_job(&format!("shape-{shape}"), driver, promise, count);
            for task in &mut spec.tasks {
                if let Some(resources) = &mut task.resources {
                    resources.cpu_milli = CPU_STEP_MILLI * (1 + shape as u64);
                }
                let spread = if shape % 2 == 0 { v1::Spread::Pack } else { v1::Spread::Node };
                task.place.get_or_insert_default().spread = spread.into();
            }
            runs.push(submit(client, spec).await?);
        }
        Ok(runs)
    }

    fn check(&self) -> Result<(), Error> {
        let within = |what: &str, value: usize, min: usize, max: usize| {
            let wrong = || Error::Option(format!("{what}: {value} is not between {min} and {max}"));
            if (min..=max).contains(&value) { Ok(()) } else { Err(wrong()) }
        };
        within("replicas", self.replicas, 1, 64)?;
        within("nodes", self.nodes, 1, AGENTS_MAX)?;
        within("shapes", self.shapes, 1, SHAPES_MAX)?;
        within("tasks", self.tasks, self.shapes, TASKS_MAX)?;
        within("rounds", self.rounds, 1, ROUNDS_MAX)
    }
}

/// Waits until all tasks of these runs are known to run.
async fn all_run(client: &Client, runs: &[String]) -> Result<(), Error> {
    for run in runs {
        let begun = SystemClock.boot();
        loop {
            let answer = client.get_run(v1::GetRunRequest { run: run_by_id(run) }).await?;
            let counts = answer.run.and_then(|run| run.counts).unwrap_or_default();
            if counts.waiting + counts.ready + counts.placed == 0 {
                break;
            }
            if SystemClock.boot().since(begun) >= LONG {
                let detail = format!(": of run {run}: {counts:?}");
                return Err(Error::NotInTime { what: "every task known to run".to_owned(), waited: LONG, detail });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// What has been spent so far; entries are those that the leader has applied.
async fn spent(cluster: &LocalCluster, leader: usize) -> Result<Spent, Error> {
    let replicas = 0..cluster.replica_count();
    let pids: Vec<u32> = replicas.filter_map(|replica| cluster.replica_pid(replica)).collect();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let (cpu_us, own_us) = (micros(processor_time(&pids)?), micros(processor_time(&[std::process::id()])?));
    let mut syncs = 0.0;
    for address in cluster.ops_addresses() {
        syncs += metrics(address, &[SYNCS]).await?;
    }
    let leader = cluster.ops_addresses().get(leader).map_or("", String::as_str);
    Ok(Spent { cpu_us, own_us, entries: metrics(leader, &[ENTRIES]).await?, syncs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn options_out_of_range_are_refused_before_anything_starts() {
        let bench = || ThroughLogBench {
            binary: "/nonexistent".into(),
            replicas: 3,
            nodes: 10,
            tasks: 100,
            shapes: 20,
            rounds: 1,
            keep: false,
        };
        for (wrong, word) in [
            (ThroughLogBench { replicas: 0, ..bench() }, "replicas: "),
            (ThroughLogBench { nodes: AGENTS_MAX + 1, ..bench() }, "nodes: "),
            (ThroughLogBench { tasks: 19, ..bench() }, "tasks: "),
            (ThroughLogBench { shapes: 0, ..bench() }, "shapes: "),
            (ThroughLogBench { rounds: 0, ..bench() }, "rounds: "),
        ] {
            let Err(Error::Option(why)) = wrong.run(&|_| {}).await else { panic!("{wrong:?}") };
            assert!(why.starts_with(word), "{why}");
        }
    }
}
