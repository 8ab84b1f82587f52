//! How many tasks the control plane takes through their lives per second, and how long each waits.
//!
//! Read in this order: `burst` (many tasks at once: the later a task's turn, the longer it waited, so its
//! quantiles say how a burst is worked off), `single` (one task on a quiet cluster: how fast an idle one
//! answers), and what both stand beside: `spawn` (the same processes with nothing around them) and
//! `hyperqueue`. Each round asks all of them in turn, and only one of them runs at a time; `rows` has what
//! the rounds come to.

mod burst;
mod single;

mod hyperqueue;
mod spawn;

mod rows;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use burst::{Burst, Followed};
use hyperqueue::HyperQueue;
pub use rows::{Detail, Report, Row, SingleRow};
use rows::{Measured, Round};
use single::{Told, pause};

use crate::Error;
use crate::cost::processor_time;
use crate::latency::Latencies;
pub use crate::latency::Quantiles;
use crate::local::{LocalCluster, Options};

/// Most tasks of one measurement: their latencies are held in memory.
const TASKS_MAX: u32 = 2_000_000;
/// Levels, drivers and histories at most.
const LEVELS_MAX: usize = 16;
/// Rounds at most.
const ROUNDS_MAX: usize = 100;
/// Single tasks at most.
const SINGLES_MAX: u32 = 100_000;
/// A cluster comes to rest before it is measured: leases and first reports are no part of a task's life.
const REST: Duration = Duration::from_millis(500);

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Runs `/bin/true` as a process.
    Process,
    /// Is acknowledged by the agent and nothing else.
    Noop,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct TasksBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// A Python that has the package of HyperQueue, to measure beside it.
    pub hyperqueue: Option<PathBuf>,
    /// How many replicas.
    pub replicas: usize,
    /// How many agents.
    pub agents: usize,
    /// How many tasks at once; a row for each with each driver.
    pub tasks: Vec<u32>,
    /// What each does.
    pub drivers: Vec<Driver>,
    /// How often each is measured, with a cluster of its own each time.
    pub rounds: usize,
    /// How many tasks are submitted one by one; none: no such row.
    pub singles: u32,
    /// Tasks that have ended in a cluster before the first number of `tasks` is measured in it, rising; a row for each.
    pub history: Vec<u32>,
    /// Leave data and logs behind.
    pub keep: bool,
}

/// Told what goes on.
type Note<'a> = &'a (dyn Fn(&str) + Send + Sync);

impl TasksBench {
    /// Measures round by round; `note` is told what goes on.
    pub async fn run(&self, note: Note<'_>) -> Result<Report, Error> {
        self.check()?;
        let mut report = Report { rows: Vec::new(), single: None, hyperqueue: None };
        let cells: Vec<(u32, Driver)> =
            self.tasks.iter().flat_map(|tasks| self.drivers.iter().map(move |driver| (*tasks, *driver))).collect();
        let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); cells.len()];
        for number in 0..self.rounds {
            for ((tasks, driver), rounds) in cells.iter().zip(&mut rounds) {
                let round = self.round(number, *tasks, *driver, &mut report, note).await?;
                note(&format!("round {}, {}", number + 1, round.text(*tasks, *driver)));
                rounds.push(round);
            }
        }
        for ((tasks, driver), rounds) in cells.iter().zip(&rounds) {
            report.rows.extend(Row::of(*driver, *tasks, 0, rounds));
        }
        if self.singles > 0 {
            report.single = Some(self.singles(&mut report.hyperqueue, note).await?);
        }
        if !self.history.is_empty() {
            report.rows.extend(self.with_history(note).await?);
        }
        Ok(report)
    }

    fn check(&self) -> Result<(), Error> {
        let option = |text: String| Err(Error::Option(text));
        for tasks in self.tasks.iter().chain(&self.history) {
            if *tasks == 0 || *tasks > TASKS_MAX {
                return option(format!("tasks: {tasks} is not between 1 and {TASKS_MAX}"));
            }
        }
        if self.tasks.is_empty() || self.drivers.is_empty() {
            return option("tasks: at least one number of them and one driver is needed".to_owned());
        }
        if [self.tasks.len(), self.drivers.len(), self.history.len()].iter().any(|levels| *levels > LEVELS_MAX) {
            return option(format!("tasks, drivers and histories: at most {LEVELS_MAX} of each"));
        }
        if !self.history.is_sorted() {
            return option("history: it only grows, so the numbers must rise".to_owned());
        }
        if self.rounds == 0 || self.rounds > ROUNDS_MAX {
            return option(format!("rounds: {} is not between 1 and {ROUNDS_MAX}", self.rounds));
        }
        if self.singles > SINGLES_MAX {
            return option(format!("singles: {} is over {SINGLES_MAX}", self.singles));
        }
        if self.agents == 0 {
            return option("agents: without one no task would ever run".to_owned());
        }
        Ok(())
    }

    /// Everyone once, one after the other, and not always in the same order.
    async fn round(
        &self,
        number: usize,
        tasks: u32,
        driver: Driver,
        report: &mut Report,
        note: Note<'_>,
    ) -> Result<Round, Error> {
        if driver == Driver::Noop {
            let quorate = self.ours(tasks, driver, note).await?;
            return Ok(Round { quorate, spawn: None, spawn_one: None, hyperqueue: None });
        }
        let early = if number % 2 == 1 { self.theirs(tasks, report).await? } else { None };
        let quorate = self.ours(tasks, driver, note).await?;
        let spawn = Some(per_second(tasks, spawn::spawn(tasks.saturating_mul(spawn::PER_TASK)).await?));
        let spawn_one = Some(per_second(tasks, spawn::spawn(tasks).await?));
        let hyperqueue = if number % 2 == 1 { early } else { self.theirs(tasks, report).await? };
        Ok(Round { quorate, spawn, spawn_one, hyperqueue })
    }

    /// One burst in a cluster of its own.
    async fn ours(&self, tasks: u32, driver: Driver, note: Note<'_>) -> Result<Measured, Error> {
        let mut cluster = self.start().await?;
        let burst = Burst { name: "bench".to_owned(), tasks, driver };
        let measured = measure(&mut cluster, &burst, note).await?;
        self.tell_directory(&cluster, note);
        Ok(measured)
    }

    /// Tasks per second of a HyperQueue of its own, if there is one.
    async fn theirs(&self, tasks: u32, report: &mut Report) -> Result<Option<f64>, Error> {
        let Some(mut hyperqueue) = self.start_hyperqueue(&mut report.hyperqueue).await? else { return Ok(None) };
        Ok(Some(per_second(tasks, hyperqueue.burst(tasks).await?)))
    }

    /// One task after the other, each on a cluster with nothing else to do.
    async fn singles(&self, version: &mut Option<String>, note: Note<'_>) -> Result<SingleRow, Error> {
        note(&format!("submitting {} tasks one by one", self.singles));
        let mut told = Told::make()?;
        let (mut quorate, mut seen) = (Latencies::default(), Latencies::default());
        let mut cluster = self.start().await?;
        let client = cluster.client();
        for number in 0..self.singles {
            tokio::time::sleep(pause(number)).await;
            let took = told.single(&client).await?;
            quorate.record(took.told);
            seen.add(&took.seen)?;
        }
        cluster.check_processes()?;
        self.tell_directory(&cluster, note);
        drop((client, cluster));
        let mut hyperqueue = None;
        if let Some(mut process) = self.start_hyperqueue(version).await? {
            let mut latencies = Latencies::default();
            for number in 0..self.singles {
                tokio::time::sleep(pause(number)).await;
                latencies.record(process.single().await?);
            }
            hyperqueue = Some(latencies.quantiles());
        }
        Ok(SingleRow::of(self.singles, quorate.quantiles(), seen.quantiles(), hyperqueue))
    }

    /// The first number of tasks with each driver, again and again in one cluster that remembers more and more.
    async fn with_history(&self, note: Note<'_>) -> Result<Vec<Row>, Error> {
        let (mut cluster, mut ended, mut rows) = (self.start().await?, 0, Vec::new());
        for history in &self.history {
            let missing = history.saturating_sub(ended);
            if missing > 0 {
                note(&format!("{missing} more tasks of history"));
                let name = format!("history-{history}");
                let made = Burst { name, tasks: missing, driver: Driver::Noop }.run(&cluster.client(), note).await?;
                ended += made.finished.count() as u32;
            }
            for driver in &self.drivers {
                let (mut rounds, before) = (Vec::new(), ended);
                for number in 0..self.rounds {
                    let name = format!("after-{history}-{number}-{}", rows.len());
                    let burst = Burst { name, tasks: self.tasks[0], driver: *driver };
                    let quorate = measure(&mut cluster, &burst, note).await?;
                    ended += self.tasks[0];
                    rounds.push(Round { quorate, spawn: None, spawn_one: None, hyperqueue: None });
                }
                rows.extend(Row::of(*driver, self.tasks[0], before, &rounds));
            }
        }
        self.tell_directory(&cluster, note);
        Ok(rows)
    }

    async fn start(&self) -> Result<LocalCluster, Error> {
        let mut options = Options::new(self.binary.clone(), self.replicas, self.agents);
        options.keep = self.keep;
        let cluster = LocalCluster::start(options).await?;
        tokio::time::sleep(REST).await;
        Ok(cluster)
    }

    async fn start_hyperqueue(&self, version: &mut Option<String>) -> Result<Option<HyperQueue>, Error> {
        let Some(python) = &self.hyperqueue else { return Ok(None) };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let started = HyperQueue::start(python, cores).await?;
        *version = Some(started.version().to_owned());
        tokio::time::sleep(REST).await;
        Ok(Some(started))
    }

    fn tell_directory(&self, cluster: &LocalCluster, note: Note<'_>) {
        if self.keep {
            note(&format!("data and logs are in {}", cluster.directory().display()));
        }
    }
}

/// One burst in this cluster, with what it cost its processes.
async fn measure(cluster: &mut LocalCluster, burst: &Burst, note: Note<'_>) -> Result<Measured, Error> {
    let replicas: Vec<u32> = (0..cluster.replica_count()).filter_map(|replica| cluster.replica_pid(replica)).collect();
    let agents: Vec<u32> = (0..cluster.agent_count()).filter_map(|agent| cluster.agent_pid(agent)).collect();
    let (replicas_before, agents_before) = (processor_time(&replicas)?, processor_time(&agents)?);
    let followed = burst.run(&cluster.client(), note).await?;
    cluster.check_processes()?;
    let peaks: Result<Vec<u64>, Error> =
        (0..cluster.replica_count()).map(|replica| cluster.replica_peak_memory(replica)).collect();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(burst.tasks);
    let Followed { running, finished, accepted, elapsed, .. } = followed;
    Ok(Measured {
        tasks_per_s: per_second(burst.tasks, elapsed),
        running: running.quantiles(),
        finished: finished.quantiles(),
        accepted_ms: accepted.as_secs_f64() * 1e3,
        replica_peak_mib: peaks?.into_iter().max().unwrap_or(0) as f64 / f64::from(1 << 20),
        replicas_cpu_us: each(processor_time(&replicas)?.saturating_sub(replicas_before)),
        agents_cpu_us: each(processor_time(&agents)?.saturating_sub(agents_before)),
    })
}

fn per_second(tasks: u32, elapsed: Duration) -> f64 {
    f64::from(tasks) / elapsed.as_secs_f64().max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> TasksBench {
        TasksBench {
            binary: "/nonexistent".into(),
            hyperqueue: None,
            replicas: 3,
            agents: 2,
            tasks: vec![1],
            drivers: vec![Driver::Noop],
            rounds: 1,
            singles: 0,
            history: Vec::new(),
            keep: false,
        }
    }

    #[tokio::test]
    async fn senseless_sizes_are_refused_before_anything_starts() {
        assert!(matches!(bench().run(&|_| {}).await, Err(Error::Spawn { .. })), "nothing is wrong but the binary");
        for wrong in [
            TasksBench { tasks: vec![0], ..bench() },
            TasksBench { tasks: vec![1; 17], ..bench() },
            TasksBench { tasks: Vec::new(), ..bench() },
            TasksBench { drivers: Vec::new(), ..bench() },
            TasksBench { rounds: 0, ..bench() },
            TasksBench { singles: SINGLES_MAX + 1, ..bench() },
            TasksBench { history: vec![20, 10], ..bench() },
            TasksBench { agents: 0, ..bench() },
        ] {
            let outcome = wrong.run(&|_| {}).await;
            assert!(matches!(outcome, Err(Error::Option(_))), "{wrong:?}");
        }
    }
}
