//! Elections of a cluster that was left alone.

use quorate_bench::elections::Row;
use serde::Serialize;

use super::Build;
use crate::render::{Paint, View};

/// `bench elections`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchElections {
    #[serde(flatten)]
    row: Row,
    configuration: Build,
}

impl From<Row> for BenchElections {
    fn from(row: Row) -> Self {
        Self { row, configuration: Build::ours() }
    }
}

impl View for BenchElections {
    const SCHEMA: &'static str = "quorate.v1.bench_elections/1";

    fn human(&self, _: Paint) -> String {
        let Row { replicas, heartbeat_ms, election_ms: [min, max], calm, .. } = &self.row;
        let mut text = format!("{}, {replicas} replicas, ", Build::ours().name());
        text += &format!("heartbeat {heartbeat_ms} ms, election {min} to {max} ms\n");
        text += &format!("{} callers for {:.0} s\n\n", calm.callers, calm.seconds);
        text += &format!("false elections      {}\n", calm.false_elections);
        text += &format!("silences             {}\n", calm.begun);
        text += &format!("handed over          {}\n", calm.handed_over);
        text += &format!("changes of leader    {}\n", calm.leader_changes);
        if let (Some(write), Some(gap)) = (&calm.write, calm.longest_gap_ms) {
            text += &format!("writes               {}, {:.0}/s\n", calm.writes, calm.writes_per_s);
            text += &format!("tries that failed    {}\n", calm.failed_tries);
            text += &format!("latency              p50 {} ms, p99 {} ms, ", write.p50_ms, write.p99_ms);
            text += &format!("max {} ms\n", write.max_ms);
            text += &format!("longest gap          {gap:.0} ms\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use quorate_bench::elections::Calm;

    use super::*;

    #[test]
    fn an_idle_cluster_has_no_latencies() {
        let idle = Calm {
            callers: 0,
            seconds: 60.0,
            false_elections: 1,
            begun: 3,
            handed_over: 0,
            leader_changes: 1,
            writes: 0,
            writes_per_s: 0.0,
            write: None,
            failed_tries: 0,
            longest_gap_ms: None,
        };
        let row =
            Row { bench: "elections", replicas: 3, heartbeat_ms: 25, election_ms: [150, 300], calm: idle.clone() };
        let view = BenchElections::from(row.clone());
        let value = serde_json::to_value(&view).unwrap();
        assert_eq!((&value["bench"], &value["false_elections"]), (&"elections".into(), &1.into()));
        assert_eq!(value["election_ms"], serde_json::json!([150, 300]));
        assert!(value.get("longest_gap_ms").is_none(), "{value}");
        let text = view.human(Paint::Never);
        assert!(text.contains("election 150 to 300 ms") && !text.contains("latency"), "{text}");
        let write = Some(quorate_bench::tasks::Quantiles { p50_ms: 1.0, p99_ms: 9.5, max_ms: 30.0 });
        let loaded = Calm { callers: 64, writes: 600, write, longest_gap_ms: Some(41.0), ..idle };
        let text = BenchElections::from(Row { calm: loaded, ..row }).human(Paint::Never);
        assert!(text.contains("p99 9.5 ms") && text.contains("41 ms"), "{text}");
    }
}
