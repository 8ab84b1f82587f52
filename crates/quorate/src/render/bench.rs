//! What a measurement found, with the configuration that it holds for.

use quorate_bench::tasks::{Driver, Report, TasksBench};
use quorate_server::Tuning;
use quorate_state::Settings;
use serde::Serialize;

use super::{Paint, View};

/// `bench tasks`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchTasks {
    #[serde(flatten)]
    report: Report,
    configuration: Configuration,
}

/// What was measured, and on what.
#[derive(Debug, Serialize)]
pub(crate) struct Configuration {
    version: &'static str,
    build: &'static str,
    replicas: usize,
    agents: usize,
    tasks: u32,
    driver: Driver,
    cores: usize,
    snapshot_entries: u64,
    keep_entries: u64,
    heartbeat_ms: u64,
    election_ms_min: u64,
    election_ms_max: u64,
    lease_server_ms: u64,
    lease_agent_ms: u64,
}

impl Configuration {
    /// The configuration of a measurement.
    pub(crate) fn of(bench: &TasksBench) -> Self {
        // Its processes are started without settings of their own, so these are theirs.
        let (tuning, lease) = (Tuning::default(), Settings::default().lease);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            replicas: bench.replicas,
            agents: bench.agents,
            tasks: bench.tasks,
            driver: bench.driver,
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            snapshot_entries: tuning.snapshot_entries,
            keep_entries: tuning.keep_entries,
            heartbeat_ms: tuning.heartbeat_ms,
            election_ms_min: tuning.election_ms_min,
            election_ms_max: tuning.election_ms_max,
            lease_server_ms: lease.server_ms,
            lease_agent_ms: lease.agent_ms,
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let driver = match self.driver {
            Driver::Process => "process (/bin/true)",
            Driver::Noop => "noop",
        };
        format!(
            "quorate {} ({} build), {} replicas, {} agents, {} tasks, driver {driver}, {} cores\n\
             product defaults: snapshot every {} entries keeping {}, heartbeat {} ms, election {} to {} ms, \
             lease {} ms (agent {} ms)",
            self.version,
            self.build,
            self.replicas,
            self.agents,
            self.tasks,
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

impl BenchTasks {
    /// A report with its configuration.
    pub(crate) fn new(configuration: Configuration, report: Report) -> Self {
        Self { report, configuration }
    }
}

impl View for BenchTasks {
    const SCHEMA: &'static str = "quorate.v1.bench_tasks/1";

    fn human(&self, _: Paint) -> String {
        let report = &self.report;
        let mut text = format!("{}\n\n", self.configuration.text());
        text += &format!("tasks per second     {}\n", report.tasks_per_s);
        text += &format!("submit to accepted   {} ms\n", report.accepted_ms);
        let quantiles = |name: &str, quantiles: &quorate_bench::tasks::Quantiles| {
            format!("{name}  p50 {} ms, p99 {} ms, max {} ms\n", quantiles.p50_ms, quantiles.p99_ms, quantiles.max_ms)
        };
        text += &quantiles("submit to running  ", &report.running);
        text += &quantiles("submit to finished ", &report.finished);
        text += &format!("replica peak memory  {} MiB\n", report.replica_peak_mib);
        text += &format!("elapsed              {} ms\n", report.elapsed_ms);
        if let Some(directory) = &report.directory {
            text += &format!("data and logs        {}\n", directory.display());
        }
        text
    }
}
