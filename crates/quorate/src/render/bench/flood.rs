//! `bench flood`, for people and programs.

use quorate_bench::flood;
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench flood`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchFlood {
    #[serde(flatten)]
    row: flood::Row,
    configuration: Build,
}

impl From<flood::Row> for BenchFlood {
    fn from(row: flood::Row) -> Self {
        Self { row, configuration: Build::ours() }
    }
}

impl View for BenchFlood {
    const SCHEMA: &'static str = "quorate.v1.bench_flood/1";

    fn human(&self, paint: Paint) -> String {
        let flood::Row { quiet, flooded, submits, .. } = &self.row;
        let mut rows = Rows::new(paint, &["WHAT", "COUNT", "P50 MS", "P99 MS", "MAX MS"]);
        for (what, count, latency) in [
            ("task, alone", quiet.tasks, quiet.task),
            ("task, flooded", flooded.tasks, flooded.task),
            ("cancel, alone", quiet.cancels, quiet.cancel),
            ("cancel, flooded", flooded.cancels, flooded.cancel),
            ("submit, accepted", submits.accepted, submits.accept),
        ] {
            let millis = |value: f64| entry(format!("{value:.1}"));
            let (p50, p99, max) = (millis(latency.p50_ms), millis(latency.p99_ms), millis(latency.max_ms));
            rows.row(vec![entry(what), entry(count.to_string()), p50, p99, max]);
        }
        format!(
            "{}; {} callers for {} s\n\n{}\n\naccepted per second {:.0}, overloaded {}, unknown {}, lost {}; replica \
             peak memory {:.0} MiB",
            Build::ours().text(),
            self.row.callers,
            self.row.seconds,
            rows.text(),
            submits.accepted_per_s,
            submits.overloaded,
            submits.unknown,
            submits.lost,
            self.row.replica_peak_mib
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bench_flood() {
        use quorate_bench::flood::{Half, Quantiles, Row, Submits};

        let quantiles = Quantiles { p50_ms: 12.5, p99_ms: 80.1, max_ms: 91.0 };
        let half = Half { tasks: 400, task: quantiles, cancels: 200, cancel: quantiles };
        let accept = quantiles;
        let submits =
            Submits { accepted_per_s: 4_000.5, accepted: 40_005, overloaded: 17, unknown: 0, lost: 0, accept };
        let row = Row {
            bench: "flood",
            callers: 1024,
            seconds: 10,
            quiet: half,
            flooded: half,
            submits,
            replica_peak_mib: 66.1,
        };
        let view = BenchFlood::from(row);
        let value: serde_json::Value = serde_json::from_str(&crate::render::json(&view, None)).unwrap();
        assert_eq!(value["schema"], BenchFlood::SCHEMA);
        assert_eq!((&value["flooded"]["cancel"]["p99_ms"], &value["submits"]["lost"]), (&80.1.into(), &0.into()));
        let text = view.human(Paint::Never);
        assert!(text.contains("cancel, flooded") && text.contains("overloaded 17"), "{text}");
    }
}
