//! How long nobody led, and what became of what was written meanwhile.

use quorate_bench::failover::{Fault, Row};
use quorate_bench::log::Spread;
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench failover`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchFailover {
    #[serde(flatten)]
    row: Row,
    configuration: Build,
}

impl From<Row> for BenchFailover {
    fn from(row: Row) -> Self {
        Self { row, configuration: Build::ours() }
    }
}

impl View for BenchFailover {
    const SCHEMA: &'static str = "quorate.v1.bench_failover/1";

    fn human(&self, paint: Paint) -> String {
        let row = &self.row;
        let verb = match row.fault {
            Fault::Kill => "killed",
            Fault::Stop => "stopped",
            Fault::Partition => "cut off from the other replicas",
        };
        let mut rows = Rows::new(paint, &["UNTIL", "MEDIAN MS", "MIN MS", "MAX MS"]);
        let told = [
            ("the next write", Some(row.write_ms)),
            ("the next placement", Some(row.placement_ms)),
            ("etcd: the next write", row.etcd_write_ms),
            ("etcd with equal timeouts: the next write", row.etcd_equal_write_ms),
        ];
        for (what, Spread { median, min, max }) in told.into_iter().filter_map(|(what, spread)| Some((what, spread?))) {
            let millis = |value: f64| entry(format!("{value:.0}"));
            rows.row(vec![entry(what), millis(median), millis(min), millis(max)]);
        }
        let mut text = format!("{}; the leader {verb} {} times\n\n", Build::ours().text(), row.rounds);
        text += &format!("elections            {}\n", row.elections);
        text += &format!("acknowledged writes  {}, lost: {}\n", row.acknowledged, row.lost_writes);
        text += &format!("took effect twice    {}\n", row.duplicated);
        format!("{text}\n{}", rows.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_told_in_both_forms() {
        let spread = Spread { median: 900.0, min: 700.0, max: 1_100.0 };
        let row = Row {
            bench: "failover",
            fault: Fault::Kill,
            rounds: 5,
            quorate: 900.0,
            etcd: None,
            ratio: None,
            write_ms: spread,
            placement_ms: spread,
            etcd_write_ms: None,
            etcd_equal_write_ms: None,
            elections: 6,
            acknowledged: 1_234,
            lost_writes: 2,
            duplicated: 1,
        };
        assert!(!row.is_clean());
        assert!(!Row { lost_writes: 0, ..row.clone() }.is_clean());
        assert!(Row { lost_writes: 0, duplicated: 0, ..row.clone() }.is_clean());
        let view = BenchFailover::from(row);
        let value = serde_json::to_value(&view).unwrap();
        assert_eq!((&value["fault"], &value["write_ms"]["max"]), (&"kill".into(), &1_100.0.into()));
        assert_eq!((&value["lost_writes"], &value["duplicated"]), (&2.into(), &1.into()));
        assert_eq!((&value["elections"], &value["acknowledged"]), (&6.into(), &1_234.into()));
        let text = view.human(Paint::Never);
        assert!(text.contains("killed 5 times") && !text.contains("etcd"), "{text}");
        assert!(text.contains("1234, lost: 2"), "{text}");
    }
}
