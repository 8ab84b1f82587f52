//! What the rounds of a measurement come to: medians, ranges, and ratios of what was measured side by side.

use serde::Serialize;

use super::Driver;
use crate::latency::Quantiles;
use crate::samples::{Spread, rounded};

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// Bursts.
    pub rows: Vec<Row>,
    /// One task at a time.
    pub single: Option<SingleRow>,
    /// The version of HyperQueue.
    pub hyperqueue: Option<String>,
}

/// Bursts of one size with one driver.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `tasks`.
    pub bench: &'static str,
    /// What a task does.
    pub driver: Driver,
    /// Tasks at once.
    pub tasks: u32,
    /// Tasks that had ended before in the same cluster.
    pub history: u32,
    /// Rounds that the medians are of.
    pub rounds: usize,
    /// Tasks per second, from the submit to the last task's end, median.
    pub quorate: f64,
    /// Tasks per second with nothing around them, each of which is as many processes as an agent starts for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn: Option<f64>,
    /// The same, each of which is one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn_one: Option<f64>,
    /// Tasks per second of HyperQueue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hyperqueue: Option<f64>,
    /// The median of the rounds' ratios; above 1 we are faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_spawn: Option<f64>,
    /// The same with one process per task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_spawn_one: Option<f64>,
    /// The same with HyperQueue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_hyperqueue: Option<f64>,
    /// More of ours.
    pub quorate_detail: Detail,
    /// More of `spawn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn_per_s: Option<Spread>,
    /// More of `spawn_one`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn_one_per_s: Option<Spread>,
    /// More of HyperQueue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hyperqueue_per_s: Option<Spread>,
}

/// Medians of the rounds, with their ranges.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// Tasks per second.
    pub tasks_per_s: Spread,
    /// Submit to running, the rounds' medians, in milliseconds.
    pub running_p50_ms: Spread,
    /// The rounds' 99th percentiles.
    pub running_p99_ms: Spread,
    /// Submit to finished.
    pub finished_p50_ms: Spread,
    /// The same.
    pub finished_p99_ms: Spread,
    /// Submit to the answer that the job is accepted.
    pub accepted_ms: Spread,
    /// Most resident memory of any replica, in MiB.
    pub replica_peak_mib: Spread,
    /// Processor time of all replicas per task, in microseconds.
    pub replicas_cpu_us_per_task: Spread,
    /// Processor time of all agents per task, without the tasks' own, in microseconds.
    pub agents_cpu_us_per_task: Spread,
}

/// Tasks that were submitted one by one to a quiet cluster: from the submit until the task, a process, tells that
/// it runs.
#[derive(Clone, Debug, Serialize)]
pub struct SingleRow {
    /// `single`.
    pub bench: &'static str,
    /// What a task does.
    pub driver: Driver,
    /// How many.
    pub tasks: u32,
    /// Median, in milliseconds.
    pub quorate: f64,
    /// The same of HyperQueue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hyperqueue: Option<f64>,
    /// How many times as long HyperQueue's median is; above 1 we are faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_hyperqueue: Option<f64>,
    /// More of ours.
    pub quorate_running: Quantiles,
    /// Until a caller that watches the run learns that it runs.
    pub quorate_seen: Quantiles,
    /// More of HyperQueue's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hyperqueue_running: Option<Quantiles>,
}

impl SingleRow {
    pub(super) fn of(tasks: u32, ours: Quantiles, seen: Quantiles, theirs: Option<Quantiles>) -> Self {
        let ratio = theirs.filter(|_| ours.p50_ms > 0.0).map(|theirs| rounded(theirs.p50_ms / ours.p50_ms));
        Self {
            bench: "single",
            driver: Driver::Process,
            tasks,
            quorate: ours.p50_ms,
            hyperqueue: theirs.map(|theirs| theirs.p50_ms),
            ratio_hyperqueue: ratio,
            quorate_running: ours,
            quorate_seen: seen,
            hyperqueue_running: theirs,
        }
    }
}

/// One burst of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) tasks_per_s: f64,
    pub(super) running: Quantiles,
    pub(super) finished: Quantiles,
    pub(super) accepted_ms: f64,
    pub(super) replica_peak_mib: f64,
    pub(super) replicas_cpu_us: f64,
    pub(super) agents_cpu_us: f64,
}

/// One burst of everyone, in tasks per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) quorate: Measured,
    pub(super) spawn: Option<f64>,
    pub(super) spawn_one: Option<f64>,
    pub(super) hyperqueue: Option<f64>,
}

impl Round {
    /// For people who watch.
    pub(super) fn text(&self, tasks: u32, driver: Driver) -> String {
        let Measured { tasks_per_s, replicas_cpu_us, agents_cpu_us, .. } = self.quorate;
        let mut text = format!(
            "{tasks} tasks ({driver:?}): quorate {tasks_per_s:.0}/s (replicas {replicas_cpu_us:.0}, agents \
             {agents_cpu_us:.0} us of CPU each)"
        );
        for (name, per_s) in
            [("spawn", self.spawn), ("of one process each", self.spawn_one), ("hyperqueue", self.hyperqueue)]
        {
            text += &per_s.map_or_else(String::new, |per_s| format!(", {name} {per_s:.0}/s"));
        }
        text
    }
}

impl Row {
    /// Of at least one round.
    pub(super) fn of(driver: Driver, tasks: u32, history: u32, rounds: &[Round]) -> Option<Self> {
        let quorate_detail = Detail::of(rounds)?;
        let all = |value: fn(&Round) -> Option<f64>| rounds.iter().map(value).collect::<Option<Vec<f64>>>();
        let ratio = |value: fn(&Round) -> Option<f64>| {
            let pairs = rounds.iter().zip(all(value)?);
            let ratios = pairs.map(|(round, other)| round.quorate.tasks_per_s / other).collect();
            Spread::of(ratios).map(|ratios| ratios.median)
        };
        let spread = |value: fn(&Round) -> Option<f64>| all(value).and_then(Spread::of);
        let (spawn, spawn_one) = (|round: &Round| round.spawn, |round: &Round| round.spawn_one);
        let hyperqueue = |round: &Round| round.hyperqueue;
        let (spawn_per_s, spawn_one_per_s, hyperqueue_per_s) = (spread(spawn), spread(spawn_one), spread(hyperqueue));
        Some(Self {
            bench: "tasks",
            driver,
            tasks,
            history,
            rounds: rounds.len(),
            quorate: quorate_detail.tasks_per_s.median,
            spawn: spawn_per_s.map(|spread| spread.median),
            spawn_one: spawn_one_per_s.map(|spread| spread.median),
            hyperqueue: hyperqueue_per_s.map(|spread| spread.median),
            ratio_spawn: ratio(spawn),
            ratio_spawn_one: ratio(spawn_one),
            ratio_hyperqueue: ratio(hyperqueue),
            quorate_detail,
            spawn_per_s,
            spawn_one_per_s,
            hyperqueue_per_s,
        })
    }
}

impl Detail {
    fn of(rounds: &[Round]) -> Option<Self> {
        let spread =
            |value: fn(&Measured) -> f64| Spread::of(rounds.iter().map(|round| value(&round.quorate)).collect());
        Some(Self {
            tasks_per_s: spread(|one| one.tasks_per_s)?,
            running_p50_ms: spread(|one| one.running.p50_ms)?,
            running_p99_ms: spread(|one| one.running.p99_ms)?,
            finished_p50_ms: spread(|one| one.finished.p50_ms)?,
            finished_p99_ms: spread(|one| one.finished.p99_ms)?,
            accepted_ms: spread(|one| one.accepted_ms)?,
            replica_peak_mib: spread(|one| one.replica_peak_mib)?,
            replicas_cpu_us_per_task: spread(|one| one.replicas_cpu_us)?,
            agents_cpu_us_per_task: spread(|one| one.agents_cpu_us)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUANTILES: Quantiles = Quantiles { p50_ms: 10.0, p99_ms: 20.0, max_ms: 30.0 };

    fn round(ours: f64, spawn: f64, hyperqueue: Option<f64>) -> Round {
        let quorate = Measured {
            tasks_per_s: ours,
            running: QUANTILES,
            finished: QUANTILES,
            accepted_ms: 1.0,
            replica_peak_mib: 50.0,
            replicas_cpu_us: 100.0,
            agents_cpu_us: 400.0,
        };
        Round { quorate, spawn: Some(spawn), spawn_one: Some(2.0 * spawn), hyperqueue }
    }

    #[test]
    fn ratios_are_those_of_rounds_measured_side_by_side() {
        // The machine was three times as fast in the last round, for everyone.
        let rounds = [round(10.0, 20.0, Some(5.0)), round(11.0, 22.0, Some(11.0)), round(33.0, 60.0, Some(15.0))];
        let row = Row::of(Driver::Process, 1_000, 0, &rounds).unwrap();
        assert_eq!((row.quorate, row.spawn, row.hyperqueue), (11.0, Some(22.0), Some(11.0)));
        assert_eq!((row.ratio_spawn, row.ratio_spawn_one, row.ratio_hyperqueue), (Some(0.5), Some(0.25), Some(2.0)));
        assert_eq!(row.quorate_detail.tasks_per_s, Spread { median: 11.0, min: 10.0, max: 33.0 });
    }

    #[test]
    fn whoever_was_not_measured_is_not_there() {
        let row = Row::of(Driver::Process, 1_000, 0, &[round(10.0, 20.0, None)]).unwrap();
        let value = serde_json::to_value(&row).unwrap();
        assert_eq!((&value["bench"], &value["driver"]), (&"tasks".into(), &"process".into()));
        assert!(value.get("spawn").is_some() && value.get("ratio_spawn").is_some(), "{value}");
        assert!(value.get("hyperqueue").is_none() && value.get("ratio_hyperqueue").is_none(), "{value}");
        assert!(Row::of(Driver::Process, 1_000, 0, &[]).is_none());
    }

    #[test]
    fn one_task_is_faster_when_the_other_takes_longer() {
        let theirs = Quantiles { p50_ms: 25.0, ..QUANTILES };
        let row = SingleRow::of(100, QUANTILES, QUANTILES, Some(theirs));
        assert_eq!((row.quorate, row.hyperqueue, row.ratio_hyperqueue), (10.0, Some(25.0), Some(2.5)));
        assert_eq!(SingleRow::of(100, QUANTILES, QUANTILES, None).ratio_hyperqueue, None);
    }
}
