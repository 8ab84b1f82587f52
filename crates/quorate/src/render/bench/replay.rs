//! `bench replay`, for people and programs.

use quorate_bench::replay::Report;
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench replay`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchReplay {
    #[serde(flatten)]
    report: Report,
    configuration: Build,
}

impl From<Report> for BenchReplay {
    fn from(report: Report) -> Self {
        Self { report, configuration: Build::ours() }
    }
}

impl View for BenchReplay {
    const SCHEMA: &'static str = "quorate.v1.bench_replay/1";

    fn human(&self, paint: Paint) -> String {
        let report = &self.report;
        let mut rows = Rows::new(paint, &["WHAT", "FIGURE", "NOTE"]);
        let mut show = |what: &str, figure: String, note: String| {
            rows.row(vec![entry(what), entry(figure), entry(note)]);
        };
        let seconds = |value: f64| format!("{value:.0} s");
        let users = format!("of {} users with 30 jobs or more: user {}", report.users, report.worst_user_id);
        show("mean bounded slowdown", format!("{:.2}", report.bounded_slowdown_mean), String::new());
        show("mean wait", seconds(report.wait_mean_s), format!("median {}", seconds(report.wait_median_s)));
        show(
            "95 % waited no longer than",
            seconds(report.wait_p95_s),
            format!("longest {}", seconds(report.wait_max_s)),
        );
        show("utilisation", format!("{:.3}", report.utilisation), format!("load {:.3}", report.load));
        show("worst user", format!("{:.2}", report.worst_user), users);
        if report.prediction_error_mean_s > 0.0 {
            let later = format!("{:.1} % began later than first told", report.later_than_told_percent);
            show("prediction wrong by", seconds(report.prediction_error_mean_s), later);
        }
        format!(
            "{}; {} on {} processors, {} jobs, arrivals x {}, seed {}\n\n{}\n\n\
             worst user: mean wait by (1.5 x the same under fifo + 10 min); above 1 somebody is worse off",
            Build::ours().name(),
            report.policy,
            report.processors,
            report.jobs,
            report.scale_arrivals,
            report.seed,
            rows.text()
        )
    }
}
