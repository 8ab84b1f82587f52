//! Takeovers and false elections by heartbeat and election times.

use quorate_bench::timeouts::Row;
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench timeouts` for people: all choices in one table.
#[derive(Debug, Serialize)]
pub(crate) struct BenchTimeouts {
    /// One per choice of times.
    pub(crate) rows: Vec<Row>,
}

impl View for BenchTimeouts {
    const SCHEMA: &'static str = "quorate.v1.bench_timeouts_table/1";

    fn human(&self, paint: Paint) -> String {
        let head = [
            "HEARTBEAT MS",
            "ELECTION MS",
            "STOP MS",
            "RANGE",
            "KILL MS",
            "RANGE",
            "FALSE ELECTIONS",
            "SILENCES",
            "P99 MS",
            "GAP MS",
        ];
        let mut rows = Rows::new(paint, &head);
        for row in &self.rows {
            let [min, max] = row.election_ms;
            let (pause, kill, calm) = (row.pause_spread_ms, row.kill_spread_ms, &row.calm);
            let told = |value: Option<f64>| entry(value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}")));
            rows.row(vec![
                entry(row.heartbeat_ms.to_string()),
                entry(format!("{min}-{max}")),
                entry(format!("{:.0}", row.pause_ms)),
                entry(format!("{:.0}-{:.0}", pause.min, pause.max)),
                entry(format!("{:.0}", row.kill_ms)),
                entry(format!("{:.0}-{:.0}", kill.min, kill.max)),
                entry(calm.false_elections.to_string()),
                entry(calm.begun.to_string()),
                told(calm.write.map(|write| write.p99_ms)),
                told(calm.longest_gap_ms),
            ]);
        }
        let mut text = Build::ours().name();
        if let Some(row) = self.rows.first() {
            let (rounds, callers, seconds) = (row.rounds, row.calm.callers, row.calm.seconds);
            text += &format!("; {rounds} of each fault; {callers} callers for {seconds:.0} s");
        }
        format!("{text}\n\n{}", rows.text())
    }
}

/// `bench timeouts` for programs: one choice.
#[derive(Debug, Serialize)]
pub(crate) struct BenchTimeoutsRow {
    #[serde(flatten)]
    row: Row,
    configuration: Build,
}

impl From<Row> for BenchTimeoutsRow {
    fn from(row: Row) -> Self {
        Self { row, configuration: Build::ours() }
    }
}

impl View for BenchTimeoutsRow {
    const SCHEMA: &'static str = "quorate.v1.bench_timeouts/1";

    fn human(&self, paint: Paint) -> String {
        BenchTimeouts { rows: vec![self.row.clone()] }.human(paint)
    }
}

#[cfg(test)]
mod tests {
    use quorate_bench::elections::Calm;
    use quorate_bench::log::Spread;
    use quorate_bench::tasks::Quantiles;

    use super::*;

    #[test]
    fn a_row_holds_takeovers_and_false_elections() {
        let spread = |median: f64| Spread { median, min: median - 10.0, max: median + 10.0 };
        let row = Row {
            bench: "timeouts",
            heartbeat_ms: 50,
            election_ms: [300, 600],
            rounds: 5,
            pause_ms: 620.0,
            kill_ms: 15.0,
            pause_spread_ms: spread(620.0),
            kill_spread_ms: spread(15.0),
            calm: Calm {
                callers: 64,
                seconds: 60.0,
                false_elections: 2,
                begun: 7,
                handed_over: 0,
                leader_changes: 1,
                writes: 600_000,
                writes_per_s: 10_000.0,
                write: Some(Quantiles { p50_ms: 6.0, p99_ms: 12.0, max_ms: 700.0 }),
                failed_tries: 40,
                longest_gap_ms: Some(650.0),
            },
        };
        let value = serde_json::to_value(BenchTimeoutsRow::from(row.clone())).unwrap();
        for (key, expected) in
            [("heartbeat_ms", 50.0), ("pause_ms", 620.0), ("kill_ms", 15.0), ("false_elections", 2.0)]
        {
            assert_eq!(value[key].as_f64(), Some(expected), "{key}");
        }
        assert_eq!((&value["bench"], &value["election_ms"][1]), (&"timeouts".into(), &600.into()));
        let text = BenchTimeouts { rows: vec![row] }.human(Paint::Never);
        assert!(text.contains("5 of each fault") && text.contains("610-630") && text.contains("650"), "{text}");
    }
}
