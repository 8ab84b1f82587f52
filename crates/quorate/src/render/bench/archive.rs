//! `bench archive`, for people and programs.

use quorate_bench::archive::{Kind, Report, Walk};
use serde::Serialize;

use super::Build;
use super::workflow::{range, times_text};
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench archive`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchArchive {
    #[serde(flatten)]
    report: Report,
    configuration: Build,
}

impl From<Report> for BenchArchive {
    fn from(report: Report) -> Self {
        Self { report, configuration: Build::ours() }
    }
}

impl View for BenchArchive {
    const SCHEMA: &'static str = "quorate.v1.bench_archive/1";

    fn human(&self, paint: Paint) -> String {
        let report = &self.report;
        let mut text = format!(
            "{}\n{} runs, {} replicas, {} agents, seed {}\n\n{}\n\n{}\n\n{}\n",
            Build::ours().text(),
            report.runs,
            report.replicas,
            report.agents,
            report.seed,
            figures(report, paint),
            pages(report, paint),
            walks(report, paint),
        );
        if !report.is_clean() {
            text += "\nA list did not have what was submitted: this is a bug. Look at data and logs with --keep.";
        }
        let sessions: Vec<String> =
            report.failed_sessions.iter().map(|(why, count)| format!("{why} {count}")).collect();
        if !sessions.is_empty() {
            text += &format!("\nSessions of agents that failed: {}", sessions.join(", "));
        }
        text
    }
}

fn figures(report: &Report, paint: Paint) -> String {
    let mut rows = Rows::new(paint, &["WHAT", "FIGURE", "NOTE"]);
    let mut show = |what: &str, figure: String, note: String| {
        rows.row(vec![entry(what), entry(figure), entry(note)]);
    };
    let per_s = |runs: f64| format!("{runs:.0} /s");
    show("runs accepted", per_s(report.accepted_per_s), format!("{:.1} s", report.accepted_s));
    show("runs ended", per_s(report.ended_per_s), format!("{:.1} s", report.ended_s));
    let stay = u64::from(report.runs).saturating_sub(report.archived);
    let archived = format!("after {:.1} s; {stay} stay in memory", report.archived_s);
    show("in the archive", report.archived.to_string(), archived);
    if let Some(longest) = report.longest_step {
        show("longest step of the leader", range(longest), report.longest_step_of.clone());
    }
    for (controller, times) in &report.steps {
        show(&format!("  {controller}"), range(times.longest), times_text(times, "steps"));
    }
    if let Some(times) = &report.apply {
        show("longest apply", range(times.longest), times_text(times, "times"));
    }
    let mib = |mib: f64| format!("{mib:.0} MiB");
    let before = format!("before; {} with all archived", mib(report.memory_filled_mib));
    show("memory", mib(report.memory_before_mib), before);
    let read = format!("when all was read; {} at most", mib(report.memory_peak_mib));
    show("", mib(report.memory_mib), read);
    show("", mib(report.memory_restarted_mib), "after the restart".to_owned());
    let per_run = format!("{:.0} bytes per run", report.data_bytes_per_run);
    show("data on the disk", mib(report.data_bytes as f64 / f64::from(1 << 20)), per_run);
    let log = format!("{:.0} entries", report.entries);
    show("appended to the log", mib(report.log_bytes / f64::from(1 << 20)), log);
    show("restart until it answers", format!("{:.0} ms", report.restart_ms), String::new());
    show("longest page", format!("{:.1} ms", report.page_ms_max), format!("of {} runs at most", report.page_size));
    rows.text()
}

fn pages(report: &Report, paint: Paint) -> String {
    let mut rows = Rows::new(paint, &["PAGE OF", "PAGES", "P50 MS", "P99 MS", "MAX MS", "ROWS", "SHORT"]);
    for kind in &report.kinds {
        let latency = kind.latency;
        rows.row(vec![
            entry(words(kind.kind)),
            entry(kind.pages.to_string()),
            entry(format!("{:.1}", latency.p50_ms)),
            entry(format!("{:.1}", latency.p99_ms)),
            entry(format!("{:.1}", latency.max_ms)),
            entry(format!("{:.1}", kind.rows_mean)),
            entry(kind.short.to_string()),
        ]);
    }
    rows.text()
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::All => "all runs",
        Kind::Namespace => "a namespace",
        Kind::Job => "a job",
        Kind::Label => "a label (one run in 50)",
        Kind::RareLabel => "a rare label (one in 10,000)",
        Kind::TwoLabels => "both",
        Kind::Failed => "failed (one in 20)",
        Kind::LabelFailedWindow => "a label, failed, a window of time",
        Kind::GetRun => "a run by its id",
        Kind::GetRunByPrefix => "a run by a prefix of its id",
        Kind::ListTasks => "tasks of a run",
        Kind::ListAttempts => "attempts of a run",
    }
}

fn walks(report: &Report, paint: Paint) -> String {
    let mut rows = Rows::new(paint, &["WHOLE LIST", "RUNS", "PAGES", "SECONDS", "VERDICT"]);
    for walk in &report.walks {
        rows.row(vec![
            entry(walk.of.clone()),
            entry(walk.expected.to_string()),
            entry(walk.pages.to_string()),
            entry(format!("{:.2}", walk.elapsed_s)),
            entry(verdict(walk)),
        ]);
    }
    rows.text()
}

fn verdict(walk: &Walk) -> String {
    if walk.is_whole() {
        return "each once".to_owned();
    }
    format!("{} MISSING, {} REPEATED, {} FOREIGN", walk.missing, walk.repeated, walk.foreign)
}

#[cfg(test)]
mod tests {
    use quorate_bench::archive::Measured;
    use quorate_bench::tasks::Quantiles;
    use quorate_bench::workflow::{Longest, Times};

    use super::*;

    fn report() -> Report {
        let longest = Longest { at_least_ms: 25.0, at_most_ms: 41.5 };
        let times = Times { count: 9_000, total_s: 80.25, longest };
        let walk = |of: &str, expected| Walk {
            of: of.to_owned(),
            expected,
            missing: 0,
            repeated: 0,
            foreign: 0,
            pages: 51,
            elapsed_s: 1.25,
        };
        let measured = |kind| Measured {
            kind,
            pages: 203,
            latency: Quantiles { p50_ms: 4.0, p99_ms: 31.5, max_ms: 32.0 },
            rows_mean: 98.5,
            short: 3,
        };
        Report {
            bench: "archive",
            runs: 1_000_000,
            replicas: 1,
            agents: 20,
            seed: 1,
            archived: 988_750,
            accepted_s: 200.0,
            accepted_per_s: 5_000.0,
            ended_s: 250.0,
            ended_per_s: 4_000.0,
            archived_s: 251.5,
            longest_step: Some(longest),
            longest_step_of: "retention".to_owned(),
            steps: [("retention".to_owned(), times.clone())].into_iter().collect(),
            apply: Some(times),
            entries: 123_456.0,
            log_bytes: f64::from(900 << 20),
            memory_before_mib: 40.0,
            memory_filled_mib: 300.0,
            memory_mib: 310.0,
            memory_peak_mib: 350.0,
            memory_restarted_mib: 180.0,
            data_bytes: 700 << 20,
            data_bytes_per_run: 734.003,
            restart_ms: 1_250.0,
            page_size: 100,
            kinds: vec![measured(Kind::All), measured(Kind::LabelFailedWindow)],
            page_ms_max: 32.0,
            walks: vec![walk("namespace space-07", 50_123), walk("label incident", 100)],
            failed_sessions: [("transport", 2)].into_iter().collect(),
        }
    }

    #[test]
    fn an_archive_is_told_in_tables() {
        let text = BenchArchive::from(report()).human(Paint::Never);
        let (_, text) = text.split_once('\n').unwrap();
        let expected = "\
";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_archive_is_told_to_programs_with_all_its_figures() {
        let value = serde_json::to_value(BenchArchive::from(report())).unwrap();
        assert_eq!((&value["bench"], &value["longest_step_of"]), (&"archive".into(), &"retention".into()));
        assert_eq!(value["kinds"][1]["kind"], "label_failed_window");
        assert_eq!((value["kinds"][1]["p99_ms"].as_f64(), value["kinds"][0]["short"].as_u64()), (Some(31.5), Some(3)));
        assert_eq!((value["page_ms_max"].as_f64(), value["walks"][1]["missing"].as_u64()), (Some(32.0), Some(0)));
        assert!(value["configuration"]["build"].is_string());
    }

    #[test]
    fn a_list_without_what_it_should_have_is_a_failure_and_said() {
        let mut broken = report();
        broken.walks[1].missing = 7;
        assert!(!broken.is_clean() && report().is_clean());
        let text = BenchArchive::from(broken).human(Paint::Never);
        assert!(text.contains("7 MISSING, 0 REPEATED, 0 FOREIGN") && text.contains("this is a bug"), "{text}");
    }
}
