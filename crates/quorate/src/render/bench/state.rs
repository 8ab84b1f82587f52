//! `bench state`, for people and programs.

use quorate_bench::log::Spread;
use quorate_bench::state;
use serde::Serialize;

use super::Build;
use crate::render::{Paint, View};

/// `bench state`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchState {
    #[serde(flatten)]
    report: state::Report,
    configuration: Build,
}

impl From<state::Report> for BenchState {
    fn from(report: state::Report) -> Self {
        Self { report, configuration: Build::ours() }
    }
}

impl View for BenchState {
    const SCHEMA: &'static str = "quorate.v1.bench_state/1";

    fn human(&self, _: Paint) -> String {
        let report = &self.report;
        let by = if report.by_snapshot { "by a snapshot" } else { "by the log alone" };
        let spread = |Spread { median, min, max }: Spread| {
            format!("{median:.1} ms a second ({min:.1} to {max:.1} in single ones)")
        };
        [
            format!("{}; {} tasks wait\n", Build::ours().text(), report.tasks),
            format!("accepted in              {:.1} s", report.submit_s),
            format!("memory of a replica      {:.0} MiB, at most {:.0}", report.memory_mib, report.peak_mib),
            format!("restart                  {:.0} ms until it has all", report.restart_ms),
            format!("catching up, under load  {:.0} ms, {by}", report.catch_up_ms),
            format!("p99 of writes            {}", spread(report.calm_p99_ms)),
            format!("  beside the snapshot    {}, {:.2} times as long", spread(report.snapshot_p99_ms), report.ratio),
        ]
        .join("\n")
            + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_state_is_told_in_words_and_numbers() {
        let spread = Spread { median: 4.0, min: 2.0, max: 9.0 };
        let report = state::Report {
            bench: "state",
            tasks: 1_000_000,
            submit_s: 30.0,
            memory_mib: 900.0,
            peak_mib: 1_000.0,
            restart_ms: 8_000.0,
            catch_up_ms: 9_000.0,
            by_snapshot: true,
            calm_p99_ms: spread,
            snapshot_p99_ms: spread,
            ratio: 1.0,
        };
        let view = BenchState::from(report);
        let value = serde_json::to_value(&view).unwrap();
        assert_eq!((&value["bench"], &value["tasks"]), (&"state".into(), &1_000_000.into()));
        let text = view.human(Paint::Never);
        assert!(text.contains("900 MiB, at most 1000") && text.contains("by a snapshot"), "{text}");
    }
}
