//! `bench workflow`, for people and programs.

use quorate_bench::workflow::{End, Longest, Report, Times};
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench workflow`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchWorkflow {
    #[serde(flatten)]
    report: Report,
    configuration: Build,
}

impl From<Report> for BenchWorkflow {
    fn from(report: Report) -> Self {
        Self { report, configuration: Build::ours() }
    }
}

impl View for BenchWorkflow {
    const SCHEMA: &'static str = "quorate.v1.bench_workflow/1";

    fn human(&self, paint: Paint) -> String {
        let report = &self.report;
        let mut rows = Rows::new(paint, &["WHAT", "FIGURE", "NOTE"]);
        let mut show = |what: &str, figure: String, note: String| {
            rows.row(vec![entry(what), entry(figure), entry(note)]);
        };
        let ended = match report.end {
            End::Succeeded => "to the end of the run",
            End::Failed => "until the run FAILED",
            End::Cancelled => "until the run was CANCELLED",
            End::Unfinished => "until it was GIVEN UP",
        };
        let done = format!("{} of {} tasks succeeded", report.succeeded, report.tasks);
        show("submit", format!("{:.0} ms", report.submit_ms), format!("a job of {} bytes", report.job_bytes));
        show(ended, format!("{:.1} s", report.elapsed_s), done);
        show("tasks", format!("{:.0} /s", report.tasks_per_s), String::new());
        if let Some(longest) = report.longest_step {
            show("longest step of the leader", range(longest), report.longest_step_of.clone());
        }
        for (controller, times) in &report.steps {
            show(&format!("  {controller}"), range(times.longest), times_text(times, "steps"));
        }
        if let Some(times) = &report.apply {
            show("longest apply", range(times.longest), times_text(times, "times"));
        }
        let before = format!("{:.0} MiB before", report.leader_before_mib);
        show("memory of the leader, at most", format!("{:.0} MiB", report.leader_peak_mib), before);
        if let Some(peak) = report.follower_peak_mib {
            show("memory of a follower, at most", format!("{peak:.0} MiB"), String::new());
        }
        show("processor time of the leader", format!("{:.1} s", report.leader_cpu_s), String::new());
        let entries = format!("{:.0} entries", report.entries);
        show("log", format!("{:.1} MiB", report.log_bytes / f64::from(1 << 20)), entries);
        let quantiles = |of: quorate_bench::tasks::Quantiles| {
            (format!("{:.1} ms", of.p50_ms), format!("p50; p99 {:.1}, longest {:.1} ms", of.p99_ms, of.max_ms))
        };
        let (figure, note) = quantiles(report.looks);
        show("a look at the run meanwhile", figure, note);
        match &report.pages {
            None => show("a page of tasks meanwhile", "none".to_owned(), "the run ended before".to_owned()),
            Some(pages) => {
                let (figure, note) = quantiles(pages.walk);
                show("a page of tasks, to the middle", figure, format!("{note}, {} pages", pages.walked));
                let (figure, note) = quantiles(pages.latency);
                show("a page of tasks in the middle", figure, format!("{note}, {} pages", pages.calls));
            }
        }
        let mut text = format!(
            "{}\n{} of {}, {} replicas, {} agents\n\n{}\n",
            Build::ours().text(),
            report.shape.name(),
            report.size,
            report.replicas,
            report.agents,
            rows.text()
        );
        match report.leader_changes {
            Some(0) => {}
            Some(terms) => {
                text += &format!("\nLeadership changed meanwhile ({terms} terms): the figures are of who led first.");
            }
            None => text += "\nNobody led in the end: the figures are of who led first.",
        }
        let sessions: Vec<String> =
            report.failed_sessions.iter().map(|(why, count)| format!("{why} {count}")).collect();
        if !sessions.is_empty() {
            text += &format!("\nSessions of agents that failed: {}", sessions.join(", "));
        }
        text
    }
}

/// What a histogram says of its longest.
pub(super) fn range(longest: Longest) -> String {
    let Longest { at_least_ms, at_most_ms } = longest;
    format!("{at_least_ms:.1} to {at_most_ms:.1} ms")
}

pub(super) fn times_text(times: &Times, what: &str) -> String {
    format!("{} {what}, {:.2} s together", times.count, times.total_s)
}

#[cfg(test)]
mod tests {
    use quorate_bench::tasks::Quantiles;
    use quorate_bench::workflow::{Pages, Shape};

    use super::*;

    fn report() -> Report {
        let longest = Longest { at_least_ms: 110.0, at_most_ms: 240.5 };
        let times = Times { count: 900, total_s: 12.5, longest };
        let quantiles = Quantiles { p50_ms: 4.0, p99_ms: 31.5, max_ms: 32.0 };
        Report {
            bench: "workflow",
            shape: Shape::FanOut,
            size: 100_000,
            seed: 1,
            replicas: 1,
            agents: 20,
            tasks: 100_002,
            job_bytes: 321,
            end: End::Succeeded,
            succeeded: 100_002,
            submit_ms: 7.5,
            elapsed_s: 20.0,
            tasks_per_s: 5_000.0,
            longest_step: Some(longest),
            longest_step_of: "placement".to_owned(),
            steps: [("placement".to_owned(), times.clone())].into_iter().collect(),
            apply: Some(times),
            entries: 1_234.0,
            log_bytes: f64::from(90 << 20),
            leader_peak_mib: 400.0,
            leader_before_mib: 40.0,
            follower_peak_mib: None,
            leader_cpu_s: 18.0,
            leader_changes: Some(0),
            failed_sessions: [("transport", 2)].into_iter().collect(),
            looks: quantiles,
            pages: Some(Pages {
                page_size: 1_000,
                walked: 50,
                walk: quantiles,
                middle: 50_000,
                calls: 20,
                latency: quantiles,
            }),
        }
    }

    #[test]
    fn a_workflow_is_told_in_a_table_and_for_programs() {
        let view = BenchWorkflow::from(report());
        let value = serde_json::to_value(&view).unwrap();
        assert_eq!((&value["shape"], &value["end"]), (&"fan-out".into(), &"succeeded".into()));
        assert_eq!(value["longest_step"]["at_most_ms"].as_f64(), Some(240.5));
        assert_eq!(value["steps"]["placement"]["count"].as_u64(), Some(900));
        assert_eq!(value["pages"]["latency"]["p99_ms"].as_f64(), Some(31.5));
        let text = view.human(Paint::Never);
        for part in ["110.0 to 240.5 ms", "5000 /s", "90.0 MiB", "100002 of 100002 tasks", "transport 2"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("Leadership"), "{text}");
    }

    #[test]
    fn what_was_not_measured_as_it_should_be_is_said() {
        let given_up = Report { end: End::Unfinished, leader_changes: Some(2), pages: None, ..report() };
        assert!(!given_up.is_clean());
        let text = BenchWorkflow::from(given_up).human(Paint::Never);
        assert!(text.contains("GIVEN UP") && text.contains("2 terms") && text.contains("ended before"), "{text}");
    }
}
