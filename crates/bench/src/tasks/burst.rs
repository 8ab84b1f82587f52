//! Many tasks at once through a cluster of ours, each followed to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use tokio::task::JoinSet;

use super::Driver;
use crate::Error;
use crate::jobs::{Work, job, run_by_id};
use crate::latency::Latencies;

/// Tasks of one run: the product's `tasks_per_run_max`; more are submitted as several jobs.
const RUN_TASKS_MAX: u32 = 100_000;
/// Longest silence of a watch that still has tasks to report.
const SILENCE_MAX: Duration = Duration::from_secs(180);
/// Between two notes on how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// What one task takes: little, so that the control plane is measured and not the machine's size.
pub(super) const TASK_RESOURCES: v1::Resources = v1::Resources { cpu_milli: 10, memory_bytes: 1 << 20, gpu_milli: 0 };

/// Tasks that are submitted together.
#[derive(Clone, Debug)]
pub(super) struct Burst {
    /// Name of their jobs, before a number.
    pub(super) name: String,
    /// How many.
    pub(super) tasks: u32,
    /// What each does.
    pub(super) driver: Driver,
}

impl Burst {
    /// Submits the tasks and watches them end.
    pub(super) async fn run(&self, client: &Client, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Followed, Error> {
        let begun = SystemClock.boot();
        let ended = Arc::new(AtomicU64::new(0));
        let mut watches = JoinSet::new();
        let mut left = self.tasks;
        for number in 0.. {
            let count = left.min(RUN_TASKS_MAX);
            if count == 0 {
                break;
            }
            left -= count;
            watches.spawn(submit_and_watch(client.clone(), self.job(number, count), count, ended.clone()));
        }
        let mut all = Followed::default();
        let mut notes = tokio::time::interval(NOTE_EVERY);
        notes.tick().await;
        while !watches.is_empty() {
            tokio::select! { biased;
                Some(watched) = watches.join_next() => {
                    let one = watched.map_err(|error| Error::Outcome(format!("a watch ended early: {error}")))??;
                    all.add(&one)?;
                }
                _ = notes.tick() => {
                    note(&format!("{} of {} tasks have ended", ended.load(Ordering::Relaxed), self.tasks));
                }
            }
        }
        all.elapsed = all.last_end.map_or(Duration::ZERO, |end| end.since(begun));
        Ok(all)
    }

    fn job(&self, number: u32, count: u32) -> v1::JobSpec {
        let (driver, argv) = match self.driver {
            Driver::Process => (v1::Driver::Process, vec!["/bin/true".to_owned()]),
            Driver::Noop => (v1::Driver::Noop, Vec::new()),
        };
        job(Work { job: format!("{}-{number}", self.name), driver, argv, count, resources: TASK_RESOURCES })
    }
}

/// What the watch of one run saw, or those of all.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Submit to running.
    pub(super) running: Latencies,
    /// Submit to finished.
    pub(super) finished: Latencies,
    /// Submit to the answer that the job is accepted; the longest.
    pub(super) accepted: Duration,
    last_end: Option<BootInstant>,
    /// First submit to last end.
    pub(super) elapsed: Duration,
}

impl Followed {
    fn add(&mut self, other: &Self) -> Result<(), Error> {
        self.running.add(&other.running)?;
        self.finished.add(&other.finished)?;
        self.accepted = self.accepted.max(other.accepted);
        self.last_end = self.last_end.max(other.last_end);
        Ok(())
    }
}

/// Submits a job of `count` tasks and follows each of them to its end.
pub(super) async fn submit_and_watch(
    client: Client,
    spec: v1::JobSpec,
    count: u32,
    ended: Arc<AtomicU64>,
) -> Result<Followed, Error> {
    let submitted = SystemClock.boot();
    let request = v1::SubmitJobRequest { spec: Some(spec), request_id: String::new() };
    let run_id = client.submit_job(request).await?.run_id;
    let mut seen = Followed { accepted: SystemClock.boot().since(submitted), ..Followed::default() };
    let mut lives = vec![Life::Waiting; count as usize];
    let run = run_by_id(&run_id);
    let mut watch = client.watch_run(v1::WatchRunRequest { run, after_revision: 0 });
    while seen.finished.count() < u64::from(count) {
        let next = tokio::time::timeout(SILENCE_MAX, watch.next()).await.map_err(|_| Error::NotInTime {
            what: "the next event of the run".to_owned(),
            waited: SILENCE_MAX,
            detail: format!(": {} of {count} tasks had ended", seen.finished.count()),
        })?;
        let item = next.ok_or_else(|| Error::Outcome("the watch ended before the run".to_owned()))?;
        let tasks = match item?.item {
            Some(v1::watch_run_response::Item::Snapshot(snapshot)) => snapshot.tasks,
            Some(v1::watch_run_response::Item::Event(event)) => match event.event {
                Some(v1::run_event::Event::Task(task)) => vec![task],
                Some(
                    v1::run_event::Event::Run(_)
                    | v1::run_event::Event::Attempt(_)
                    | v1::run_event::Event::Annotated(_)
                    | v1::run_event::Event::Paused(_)
                    | v1::run_event::Event::Resumed(_)
                    | v1::run_event::Event::PrioritySet(_)
                    | v1::run_event::Event::Abandoned(_)
                    | v1::run_event::Event::Decided(_)
                    | v1::run_event::Event::Rest(_)
                    | v1::run_event::Event::Preempted(_)
                    | v1::run_event::Event::Rebalanced(_),
                )
                | None => Vec::new(),
            },
            Some(v1::watch_run_response::Item::Bookmark(_)) | None => Vec::new(),
        };
        let (now, before) = (SystemClock.boot(), seen.finished.count());
        for task in tasks {
            let Some(life) = lives.get_mut(task.index as usize) else { continue };
            life.follow(&task, now.since(submitted), &mut seen)?;
            seen.last_end = Some(now);
        }
        ended.fetch_add(seen.finished.count() - before, Ordering::Relaxed);
    }
    Ok(seen)
}

/// How far a task is known to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Waiting,
    Running,
    Ended,
}

impl Life {
    fn follow(&mut self, task: &v1::Task, after: Duration, seen: &mut Followed) -> Result<(), Error> {
        match task.state() {
            v1::TaskState::Unspecified | v1::TaskState::Waiting | v1::TaskState::Ready | v1::TaskState::Placed => {}
            v1::TaskState::Running => self.runs(after, seen),
            v1::TaskState::Succeeded => {
                // It may have run and ended between two events.
                self.runs(after, seen);
                if *self != Self::Ended {
                    *self = Self::Ended;
                    seen.finished.record(after);
                }
            }
            v1::TaskState::Failed | v1::TaskState::Cancelled | v1::TaskState::Skipped => {
                let state = task.state().as_str_name();
                return Err(Error::Outcome(format!("task {} ended as {state} ({})", task.index, task.reason)));
            }
        }
        Ok(())
    }

    fn runs(&mut self, after: Duration, seen: &mut Followed) {
        if *self == Self::Waiting {
            *self = Self::Running;
            seen.running.record(after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: v1::TaskState) -> v1::Task {
        v1::Task { state: state.into(), ..v1::Task::default() }
    }

    #[test]
    fn a_task_that_ran_between_two_events_counts_once_for_each() {
        let (mut life, mut seen) = (Life::Waiting, Followed::default());
        for (state, millis) in
            [(v1::TaskState::Placed, 1), (v1::TaskState::Succeeded, 5), (v1::TaskState::Succeeded, 9)]
        {
            life.follow(&task(state), Duration::from_millis(millis), &mut seen).unwrap();
        }
        assert_eq!((seen.running.count(), seen.finished.count()), (1, 1));
        assert_eq!(seen.finished.quantiles().p99_ms, 5.0);
    }

    #[test]
    fn a_task_that_fails_fails_the_measurement() {
        let outcome = Life::Waiting.follow(&task(v1::TaskState::Failed), Duration::ZERO, &mut Followed::default());
        assert!(outcome.unwrap_err().to_string().contains("FAILED"));
    }
}
