//! `bench pack`, for people and programs.

use quorate_bench::pack;
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench pack`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchPack {
    #[serde(flatten)]
    report: pack::Report,
    configuration: Build,
}

impl From<pack::Report> for BenchPack {
    fn from(report: pack::Report) -> Self {
        Self { report, configuration: Build::ours() }
    }
}

impl View for BenchPack {
    const SCHEMA: &'static str = "quorate.v1.bench_pack/1";

    fn human(&self, paint: Paint) -> String {
        let report = &self.report;
        let mut rows = Rows::new(paint, &["SEED", "TASKS", "GPU %", "CPU %", "DROPPED", "P50 US", "P99 US"]);
        for round in &report.seeds {
            rows.row(vec![
                entry(round.seed.to_string()),
                entry(round.tasks.to_string()),
                entry(format!("{:.2}", round.gpu_allocation_percent)),
                entry(format!("{:.2}", round.cpu_allocation_percent)),
                entry(round.dropped.to_string()),
                entry(format!("{:.1}", round.decision_us_p50)),
                entry(format!("{:.1}", round.decision_us_p99)),
            ]);
        }
        rows.row(vec![
            entry("mean"),
            entry(""),
            entry(format!("{:.2}", report.gpu_allocation_percent)),
            entry(format!("{:.2}", report.cpu_allocation_percent)),
            entry(format!("{:.0}", report.dropped)),
            entry(format!("{:.1}", report.decision_us_p50)),
            entry(format!("{:.1}", report.decision_us_p99)),
        ]);
        let (policy, nodes, gpus, inflate) = (report.policy, report.nodes, report.gpus, report.inflate);
        let head = format!(
            "{}; {policy} on {nodes} nodes with {gpus} GPUs, of which {inflate} times as many come",
            Build::ours().name()
        );
        format!("{head}\n\n{}", rows.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_allocated_stands_by_seed_and_in_all() {
        let round = pack::Round {
            seed: 7,
            tasks: 9_000,
            gpu_allocation_percent: 95.5,
            cpu_allocation_percent: 84.0,
            dropped: 2_300,
            decision_us_p50: 2.1,
            decision_us_p99: 80.0,
        };
        let report = pack::Report {
            bench: "pack",
            policy: "quorate",
            gpu_allocation_percent: 95.5,
            cpu_allocation_percent: 84.0,
            dropped: 2_300.0,
            decision_us_p50: 2.1,
            decision_us_p99: 80.0,
            nodes: 1_213,
            gpus: 6_212,
            inflate: 1.3,
            seeds: vec![round],
        };
        let view = BenchPack::from(report);
        let value = serde_json::to_value(&view).unwrap();
        assert_eq!((&value["policy"], value["gpu_allocation_percent"].as_f64()), (&"quorate".into(), Some(95.5)));
        assert_eq!(value["seeds"][0]["dropped"], 2_300);
        let text = view.human(Paint::Never);
        assert!(text.contains("quorate on 1213 nodes with 6212 GPUs") && text.contains("95.50"), "{text}");
    }
}
