//! What callers noticed while every replica was restarted.

use quorate_bench::rolling::Row;
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench rolling`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchRolling {
    #[serde(flatten)]
    row: Row,
    configuration: Build,
}

impl From<Row> for BenchRolling {
    fn from(row: Row) -> Self {
        Self { row, configuration: Build::ours() }
    }
}

impl View for BenchRolling {
    const SCHEMA: &'static str = "quorate.v1.bench_rolling/1";

    fn human(&self, paint: Paint) -> String {
        let row = &self.row;
        let mut rows = Rows::new(paint, &["WHAT", "MEDIAN MS", "MIN MS", "MAX MS"]);
        let stalls = [("a leader's", row.leader_stall_ms), ("another's", row.follower_stall_ms)];
        for (whose, spread) in stalls.into_iter().filter_map(|(whose, spread)| Some((whose, spread?))) {
            let millis = |value: f64| entry(format!("{value:.0}"));
            let what = entry(format!("longest time without an answer in {whose} restart"));
            rows.row(vec![what, millis(spread.median), millis(spread.min), millis(spread.max)]);
        }
        let mut text = format!("{}; {} callers\n\n", Build::ours().text(), row.callers);
        text += &format!("restarts             {}, {} of them of a leader\n", row.restarts, row.leaders);
        text += &format!("requests             {}, failed: {}\n", row.requests, row.failed);
        if let Some(failure) = &row.failure {
            text += &format!("one failure          {failure}\n");
        }
        text += &format!("accepted runs        {}, lost: {}\n", row.accepted, row.lost);
        text += &format!("latency              p50 {} ms, p99 {} ms, max {} ms\n", row.p50_ms, row.p99_ms, row.max_ms);
        format!("{text}\n{}", rows.text())
    }
}

#[cfg(test)]
mod tests {
    use quorate_bench::log::Spread;

    use super::*;

    #[test]
    fn what_failed_is_told_in_both_forms() {
        let spread = Spread { median: 80.0, min: 60.0, max: 95.0 };
        let row = Row {
            bench: "rolling",
            replicas: 3,
            callers: 8,
            restarts: 3,
            leaders: 1,
            requests: 12_000,
            failed: 1,
            failure: Some("no replica could answer".to_owned()),
            accepted: 400,
            lost: 0,
            p50_ms: 2.5,
            p99_ms: 9.0,
            max_ms: 96.0,
            leader_stall_ms: Some(spread),
            follower_stall_ms: None,
        };
        let view = BenchRolling::from(row);
        let value = serde_json::to_value(&view).unwrap();
        assert_eq!((&value["bench"], &value["failed"], &value["leaders"]), (&"rolling".into(), &1.into(), &1.into()));
        assert_eq!(value["leader_stall_ms"]["max"], 95.0);
        assert!(value.get("follower_stall_ms").is_none(), "{value}");
        let text = view.human(Paint::Never);
        assert!(text.contains("failed: 1") && text.contains("no replica could answer"), "{text}");
        assert!(text.contains("a leader's restart") && !text.contains("another's"), "{text}");
    }
}
