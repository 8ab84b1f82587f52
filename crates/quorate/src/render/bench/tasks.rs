//! How many tasks per second, beside what else runs tasks.

use std::path::Path;

use quorate_bench::log::Spread;
use quorate_bench::tasks::{Driver, Quantiles, Report, Row, SingleRow, TasksBench};
use quorate_server::Tuning;
use quorate_state::Settings;
use serde::Serialize;

use crate::render::table::{Entry, Rows, entry};
use crate::render::{Paint, View};

/// What was measured, and on what.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Configuration {
    version: &'static str,
    build: String,
    replicas: usize,
    agents: usize,
    cores: usize,
    snapshot_entries: u64,
    keep_entries: u64,
    heartbeat_ms: u64,
    election_ms_min: u64,
    election_ms_max: u64,
    lease_server_ms: u64,
    lease_agent_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hyperqueue: Option<String>,
}

impl Configuration {
    /// The configuration of a measurement; `other` is the binary when it is not this one, and `hyperqueue` the
    /// version beside it.
    pub(crate) fn of(bench: &TasksBench, other: Option<&Path>, hyperqueue: Option<String>) -> Self {
        // Its processes are started without settings of their own, so these are theirs.
        let (tuning, lease) = (Tuning::default(), Settings::default().lease);
        let ours = if cfg!(debug_assertions) { "debug build" } else { "release build" };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            build: other.map_or_else(|| ours.to_owned(), |path| path.display().to_string()),
            replicas: bench.replicas,
            agents: bench.agents,
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            snapshot_entries: tuning.snapshot_entries,
            keep_entries: tuning.keep_entries,
            heartbeat_ms: tuning.heartbeat_ms,
            election_ms_min: tuning.election_ms_min,
            election_ms_max: tuning.election_ms_max,
            lease_server_ms: lease.server_ms,
            lease_agent_ms: lease.agent_ms,
            hyperqueue,
        }
    }

    /// For people.
    fn text(&self) -> String {
        let beside = self.hyperqueue.as_ref().map_or_else(String::new, |version| format!("; HyperQueue {version}"));
        format!(
            "quorate {} ({}), {} replicas, {} agents, {} cores{beside}\n\
             product defaults: snapshot every {} entries keeping {}, heartbeat {} ms, election {} to {} ms, \
             lease {} ms (agent {} ms)",
            self.version,
            self.build,
            self.replicas,
            self.agents,
            self.cores,
            self.snapshot_entries,
            self.keep_entries,
            self.heartbeat_ms,
            self.election_ms_min,
            self.election_ms_max,
            self.lease_server_ms,
            self.lease_agent_ms
        )
    }
}

/// `bench tasks` for people: all rows.
#[derive(Debug, Serialize)]
pub(crate) struct BenchTasks {
    rows: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    single: Option<SingleRow>,
    configuration: Configuration,
}

impl BenchTasks {
    /// A report with its configuration.
    pub(crate) fn new(configuration: Configuration, report: Report) -> Self {
        Self { rows: report.rows, single: report.single, configuration }
    }
}

impl View for BenchTasks {
    const SCHEMA: &'static str = "quorate.v1.bench_tasks_table/1";

    fn human(&self, paint: Paint) -> String {
        let mut text = format!("{}\n\n{}", self.configuration.text(), bursts(paint, &self.rows));
        for row in &self.rows {
            let ratios = [
                ("spawn", row.ratio_spawn),
                ("spawn of one process each", row.ratio_spawn_one),
                ("hyperqueue", row.ratio_hyperqueue),
            ];
            for (name, ratio) in ratios {
                let told = |ratio: f64| format!("\nquorate / {name} with {} tasks: {ratio:.2}", row.tasks);
                text += &ratio.map_or_else(String::new, told);
            }
        }
        text += &self.single.as_ref().map_or_else(String::new, |row| format!("\n\n{}", one_by_one(row)));
        text
    }
}

/// A row of bursts for programs.
#[derive(Debug, Serialize)]
pub(crate) struct BenchTasksRow {
    #[serde(flatten)]
    row: Row,
    configuration: Configuration,
}

impl BenchTasksRow {
    pub(crate) fn new(configuration: Configuration, row: Row) -> Self {
        Self { row, configuration }
    }
}

impl View for BenchTasksRow {
    const SCHEMA: &'static str = "quorate.v1.bench_tasks/2";

    fn human(&self, paint: Paint) -> String {
        bursts(paint, std::slice::from_ref(&self.row))
    }
}

/// Single tasks for programs.
#[derive(Debug, Serialize)]
pub(crate) struct BenchSingle {
    #[serde(flatten)]
    row: SingleRow,
    configuration: Configuration,
}

impl BenchSingle {
    pub(crate) fn new(configuration: Configuration, row: SingleRow) -> Self {
        Self { row, configuration }
    }
}

impl View for BenchSingle {
    const SCHEMA: &'static str = "quorate.v1.bench_single/1";

    fn human(&self, _: Paint) -> String {
        one_by_one(&self.row)
    }
}

fn bursts(paint: Paint, all: &[Row]) -> String {
    let head = [
        "TASKS",
        "HISTORY",
        "SYSTEM",
        "TASKS/S",
        "RANGE",
        "RUNNING P50 MS",
        "P99 MS",
        "FINISHED P50 MS",
        "P99 MS",
        "CPU US/TASK",
        "REPLICA MIB",
    ];
    let mut rows = Rows::new(paint, &head);
    for row in all {
        let driver = match row.driver {
            Driver::Process => "process",
            Driver::Noop => "noop",
        };
        let detail = &row.quorate_detail;
        let mut line = start(row, &format!("quorate, {driver}"), detail.tasks_per_s);
        for spread in [detail.running_p50_ms, detail.running_p99_ms, detail.finished_p50_ms, detail.finished_p99_ms] {
            line.push(entry(format!("{:.1}", spread.median)));
        }
        let cpu = detail.replicas_cpu_us_per_task.median + detail.agents_cpu_us_per_task.median;
        line.extend([entry(format!("{cpu:.0}")), entry(format!("{:.0}", detail.replica_peak_mib.median))]);
        rows.row(line);
        let others = [
            ("spawn", row.spawn_per_s),
            ("spawn, one process", row.spawn_one_per_s),
            ("hyperqueue", row.hyperqueue_per_s),
        ];
        for (system, spread) in others {
            let Some(spread) = spread else { continue };
            let mut line = start(row, system, spread);
            line.resize_with(head.len(), || entry("-"));
            rows.row(line);
        }
    }
    rows.text()
}

fn start(row: &Row, system: &str, Spread { median, min, max }: Spread) -> Vec<Entry> {
    vec![
        entry(row.tasks.to_string()),
        entry(row.history.to_string()),
        entry(system),
        entry(format!("{median:.0}")),
        entry(format!("{min:.0}-{max:.0}")),
    ]
}

fn one_by_one(row: &SingleRow) -> String {
    let line = |name: &str, Quantiles { p50_ms, p99_ms, max_ms }: Quantiles| {
        format!("\n{name:<22} p50 {p50_ms} ms, p99 {p99_ms} ms, max {max_ms} ms")
    };
    let mut text = format!("{} tasks one by one, submit to running", row.tasks);
    text += &line("quorate", row.quorate_running);
    text += &line("quorate, as watched", row.quorate_seen);
    text += &row.hyperqueue_running.map_or_else(String::new, |theirs| line("hyperqueue", theirs));
    text
}

#[cfg(test)]
mod tests {
    use quorate_bench::tasks::Detail;

    use super::*;

    #[test]
    fn rows_name_everyone_that_was_measured() {
        let spread = |median: f64| Spread { median, min: median / 2.0, max: median * 2.0 };
        let quorate_detail = Detail {
            tasks_per_s: spread(812.3),
            running_p50_ms: spread(12.5),
            running_p99_ms: spread(80.1),
            finished_p50_ms: spread(13.5),
            finished_p99_ms: spread(81.1),
            accepted_ms: spread(9.5),
            replica_peak_mib: spread(66.0),
            replicas_cpu_us_per_task: spread(300.0),
            agents_cpu_us_per_task: spread(700.0),
        };
        let row = Row {
            bench: "tasks",
            driver: Driver::Process,
            tasks: 1_000,
            history: 10_000,
            rounds: 5,
            quorate: 812.3,
            spawn: Some(2_000.0),
            spawn_one: Some(4_000.0),
            hyperqueue: Some(406.0),
            ratio_spawn: Some(0.41),
            ratio_spawn_one: Some(0.2),
            ratio_hyperqueue: Some(2.0),
            quorate_detail,
            spawn_per_s: Some(spread(2_000.0)),
            spawn_one_per_s: Some(spread(4_000.0)),
            hyperqueue_per_s: Some(spread(406.0)),
        };
        let single = SingleRow {
            bench: "single",
            driver: Driver::Process,
            tasks: 100,
            quorate: 6.5,
            hyperqueue: Some(21.0),
            ratio_hyperqueue: Some(3.231),
            quorate_running: Quantiles { p50_ms: 6.5, p99_ms: 9.0, max_ms: 12.0 },
            quorate_seen: Quantiles { p50_ms: 7.5, p99_ms: 10.0, max_ms: 13.0 },
            hyperqueue_running: Some(Quantiles { p50_ms: 21.0, p99_ms: 24.0, max_ms: 25.0 }),
        };
        let bench = TasksBench {
            binary: "quorate".into(),
            hyperqueue: None,
            replicas: 3,
            agents: 2,
            tasks: vec![1_000],
            drivers: vec![Driver::Process],
            rounds: 5,
            singles: 100,
            history: vec![10_000],
            keep: false,
        };
        // The configuration names this machine and build: only its presence can be the same everywhere.
        let configuration = Configuration::of(&bench, None, Some("v0.27.0".into()));
        let value = serde_json::to_value(BenchTasksRow::new(configuration.clone(), row.clone())).unwrap();
        for (key, expected) in [
            ("quorate", 812.3),
            ("spawn", 2_000.0),
            ("hyperqueue", 406.0),
            ("spawn_one", 4_000.0),
            ("ratio_spawn", 0.41),
            ("ratio_hyperqueue", 2.0),
        ] {
            assert_eq!(value[key], expected, "{key}");
        }
        assert_eq!((&value["bench"], &value["driver"]), (&"tasks".into(), &"process".into()));
        assert_eq!((&value["tasks"], &value["history"]), (&1_000.into(), &10_000.into()));
        assert_eq!(value["configuration"]["hyperqueue"], "v0.27.0");
        let value = serde_json::to_value(BenchSingle::new(configuration.clone(), single.clone())).unwrap();
        assert_eq!((&value["bench"], &value["quorate_running"]["p99_ms"]), (&"single".into(), &9.0.into()));
        let report = Report { rows: vec![row], single: Some(single), hyperqueue: None };
        let text = BenchTasks::new(configuration, report).human(Paint::Never);
        for part in [
            "product defaults",
            "quorate, process",
            "203-812",
            "spawn, one process",
            "hyperqueue with 1000 tasks: 2.00",
            "p50 21 ms",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
