//! `bench placement`, for people and programs.

use quorate_bench::placement::{Phase, Report};
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench placement`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchPlacement {
    #[serde(flatten)]
    report: Report,
    configuration: Build,
}

impl From<Report> for BenchPlacement {
    fn from(report: Report) -> Self {
        Self { report, configuration: Build::ours() }
    }
}

impl View for BenchPlacement {
    const SCHEMA: &'static str = "quorate.v1.bench_placement/1";

    fn human(&self, paint: Paint) -> String {
        let report = &self.report;
        let columns = [
            "CLUSTER",
            "PLACEMENTS/S",
            "RANGE",
            "APPLY %",
            "FIRST PLAN MS",
            "LONGEST MS",
            "PLANS",
            "TAKEN %",
            "WAITING",
        ];
        let mut rows = Rows::new(paint, &columns);
        let mut row = |name: &'static str, phase: &Phase| {
            rows.row(vec![
                entry(name),
                entry(format!("{:.0}", phase.placements_per_s.median)),
                entry(format!("{:.0}-{:.0}", phase.placements_per_s.min, phase.placements_per_s.max)),
                entry(format!("{:.0}", 100.0 * phase.apply_share.median)),
                entry(format!("{:.1}", phase.first_plan_ms.median)),
                entry(format!("{:.1}", phase.longest_plan_ms.median)),
                entry(phase.plans.to_string()),
                entry(format!("{:.1}", phase.taken_percent)),
                entry(phase.waiting.to_string()),
            ]);
        };
        row("empty", &report.empty);
        row("90 % full", &report.full);
        let Report { nodes, shapes, gpu_percent, seed, .. } = report;
        let head = format!(
            "{}; {nodes} nodes, {gpu_percent} % with GPUs, tasks of {shapes} shapes, seed {seed}",
            Build::ours().name()
        );
        format!("{head}\n\n{}", rows.text())
    }
}

#[cfg(test)]
mod tests {
    use quorate_bench::placement::PlacementBench;

    use super::*;

    #[tokio::test]
    async fn both_figures_stand_at_the_top_and_in_the_table() {
        let bench = PlacementBench { nodes: 12, tasks: 20, shapes: 4, gpu_percent: 0, rounds: 1, seed: 1 };
        let view = BenchPlacement::from(bench.run(&|_| ()).await.unwrap());
        let value = serde_json::to_value(&view).unwrap();
        for (figure, phase) in [("placements_per_s", "empty"), ("placements_per_s_at_90_percent", "full")] {
            assert!(value[figure].as_f64().unwrap() > 0.0, "{value}");
            assert_eq!(value[figure], value[phase]["placements_per_s"]["median"]);
        }
        assert_eq!((&value["bench"], &value["nodes"], &value["shapes"]), (&"placement".into(), &12.into(), &4.into()));
        let text = view.human(Paint::Never);
        assert!(text.contains("12 nodes, 0 % with GPUs, tasks of 4 shapes") && text.contains("90 % full"), "{text}");
    }
}
