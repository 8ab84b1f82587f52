//! `bench placement --through-log`, for people and programs.

use quorate_bench::agents::ThroughLog;
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench placement --through-log`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchThroughLog {
    #[serde(flatten)]
    report: ThroughLog,
    configuration: Build,
}

impl From<ThroughLog> for BenchThroughLog {
    fn from(report: ThroughLog) -> Self {
        Self { report, configuration: Build::ours() }
    }
}

impl View for BenchThroughLog {
    const SCHEMA: &'static str = "quorate.v1.bench_placement_through_log/1";

    fn human(&self, paint: Paint) -> String {
        let report = &self.report;
        let mut rows = Rows::new(paint, &["WHAT", "MEDIAN", "FROM", "TO"]);
        let figures = [
            ("placed and told, tasks/s", report.through_log, 0),
            ("known to run, tasks/s", report.running_per_s, 0),
            ("half of the tasks placed and told, s", report.half_s, 2),
            ("processor time of all replicas, us/task", report.cpu_us_per_task, 0),
            ("processor time of all agents, us/task", report.agents_cpu_us_per_task, 0),
            ("tasks for each entry of the log", report.tasks_per_entry, 1),
            ("syncs of all replicas' disks", report.syncs, 0),
        ];
        for (what, spread, digits) in figures {
            let cell = |figure: f64| entry(format!("{figure:.digits$}"));
            rows.row(vec![entry(what), cell(spread.median), cell(spread.min), cell(spread.max)]);
        }
        let ThroughLog { replicas, nodes, tasks, shapes, doubled, .. } = report;
        format!(
            "{}\n{replicas} replicas, {nodes} nodes, {tasks} tasks of {shapes} shapes\n\n{}\n\n{doubled} tasks were started twice",
            Build::ours().text(),
            rows.text()
        )
    }
}
