//! What a measurement found, with the configuration that it holds for.

use quorate_bench::log;
use serde::Serialize;

use super::table::{Rows, entry};
use super::{Paint, View};

mod agents;
mod archive;
mod elections;
mod failover;
mod flood;
mod pack;
mod placement;
mod region;
mod replay;
mod rolling;
mod state;
mod tasks;
mod through_log;
mod timeouts;
mod workflow;

pub(crate) use agents::{BenchAgents, BenchAgentsRow};
pub(crate) use archive::BenchArchive;
pub(crate) use elections::BenchElections;
pub(crate) use failover::BenchFailover;
pub(crate) use flood::BenchFlood;
pub(crate) use pack::BenchPack;
pub(crate) use placement::BenchPlacement;
pub(crate) use region::BenchRegion;
pub(crate) use replay::BenchReplay;
pub(crate) use rolling::BenchRolling;
pub(crate) use state::BenchState;
pub(crate) use tasks::{BenchSingle, BenchTasks, BenchTasksRow, Configuration};
pub(crate) use through_log::BenchThroughLog;
pub(crate) use timeouts::{BenchTimeouts, BenchTimeoutsRow};
pub(crate) use workflow::BenchWorkflow;

/// What a measurement was made with.
#[derive(Debug, Serialize)]
struct Build {
    version: &'static str,
    build: &'static str,
    cores: usize,
}

impl Build {
    fn ours() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        }
    }

    fn text(&self) -> String {
        format!("{}, product defaults", self.name())
    }

    /// Without a word on settings.
    fn name(&self) -> String {
        format!("quorate {} ({} build), {} cores", self.version, self.build, self.cores)
    }
}

/// `bench log` for people: all levels in one table.
#[derive(Debug, Serialize)]
pub(crate) struct BenchLog {
    /// One per level of concurrency.
    pub(crate) rows: Vec<log::Row>,
}

impl View for BenchLog {
    const SCHEMA: &'static str = "quorate.v1.bench_log_table/1";

    fn human(&self, paint: Paint) -> String {
        let head = ["CALLERS", "SYSTEM", "OPS/S", "RANGE", "P50 MS", "P99 MS", "CPU US/OP", "OPS/ENTRY", "SYNCS/ENTRY"];
        let mut rows = Rows::new(paint, &head);
        for row in &self.rows {
            let ours = match row.api {
                log::Api::Unary => "quorate",
                log::Api::Stream => "quorate, by stream",
                log::Api::Empty => "quorate, empty call",
            };
            // Once is enough for those that both of our rows are compared with.
            let theirs = row.etcd_detail.as_ref().filter(|_| row.api == log::Api::Unary);
            let systems = [(ours, Some(&row.quorate_detail)), ("etcd", theirs)];
            for (system, detail) in systems.into_iter().filter_map(|(system, detail)| Some((system, detail?))) {
                rows.row(vec![
                    entry(row.concurrency.to_string()),
                    entry(system),
                    entry(format!("{:.0}", detail.ops_per_s.median)),
                    entry(format!("{:.0}-{:.0}", detail.ops_per_s.min, detail.ops_per_s.max)),
                    entry(format!("{:.2}", detail.p50_us.median / 1e3)),
                    entry(format!("{:.2}", detail.p99_us.median / 1e3)),
                    entry(format!("{:.0}", detail.cpu_us_per_op.median)),
                    entry(detail.ops_per_entry.map_or_else(String::new, |spread| format!("{:.1}", spread.median))),
                    entry(detail.syncs_per_entry.map_or_else(String::new, |spread| format!("{:.2}", spread.median))),
                ]);
            }
        }
        let mut text = format!("{}\n\n{}", Build::ours().text(), rows.text());
        for (row, ratio) in self.rows.iter().filter_map(|row| Some((row, row.ratio?))) {
            let by = match row.api {
                log::Api::Unary => "",
                log::Api::Stream => ", ours by stream",
                log::Api::Empty => ", ours with nothing to do",
            };
            text += &format!("\nquorate / etcd with {} callers{by}: {ratio:.2}", row.concurrency);
        }
        text
    }
}

/// `bench log` for programs: one level.
#[derive(Debug, Serialize)]
pub(crate) struct BenchLogRow {
    #[serde(flatten)]
    row: log::Row,
    configuration: Build,
}

impl From<log::Row> for BenchLogRow {
    fn from(row: log::Row) -> Self {
        Self { row, configuration: Build::ours() }
    }
}

impl View for BenchLogRow {
    const SCHEMA: &'static str = "quorate.v1.bench_log/1";

    fn human(&self, paint: Paint) -> String {
        BenchLog { rows: vec![self.row.clone()] }.human(paint)
    }
}
