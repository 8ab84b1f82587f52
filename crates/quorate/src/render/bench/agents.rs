//! `bench agents`, for people and programs.

use quorate_bench::agents::{Load, Row, Silence};
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench agents` for people: all numbers of agents, one after the other.
#[derive(Debug, Serialize)]
pub(crate) struct BenchAgents {
    /// One per number of agents.
    pub(crate) rows: Vec<Row>,
}

impl View for BenchAgents {
    const SCHEMA: &'static str = "quorate.v1.bench_agents_table/1";

    fn human(&self, paint: Paint) -> String {
        let mut rows = Rows::new(paint, &["WHAT", "AGENTS", "MEDIAN", "RANGE"]);
        for row in &self.rows {
            let Row { agents, register_s, idle, detection, storm, .. } = row;
            let mut show = |what: &str, spread: quorate_bench::log::Spread, unit: &str| {
                rows.row(vec![
                    entry(what),
                    entry(agents.to_string()),
                    entry(format!("{:.1} {unit}", spread.median)),
                    entry(format!("{:.1}-{:.1}", spread.min, spread.max)),
                ]);
            };
            show("all registered", *register_s, "s");
            for (who, load) in [("leader", idle.leader), ("follower", idle.follower)] {
                let Load { cpu_us_per_agent_s, core_percent, memory_mib } = load;
                show(&format!("idle, {who}: CPU per agent and second"), cpu_us_per_agent_s, "us");
                show(&format!("idle, {who}: of a core"), core_percent, "%");
                show(&format!("idle, {who}: memory"), memory_mib, "MiB");
            }
            show("idle, the agents themselves: of a core", idle.agents_core_percent, "%");
            show("after a kill of all: all registered", storm.registered_s, "s");
            show("after a kill of all: a new task runs", storm.placed_s, "s");
            show("after a kill of all: longest stall", storm.longest_stall_ms, "ms");
            show("after a kill of all: peak memory", storm.peak_mib, "MiB");
            let Silence { nodes, from_last_word, from_stop } = detection.at_least_once;
            let mut show = |what: &str, median: f64, p99: f64| {
                let (median, p99) = (entry(format!("{median:.0} ms")), entry(format!("p99 {p99:.0} ms")));
                rows.row(vec![entry(what), entry(agents.to_string()), median, p99]);
            };
            show(&format!("{nodes} lost, at_least_once: from last word"), from_last_word.p50_ms, from_last_word.p99_ms);
            show(&format!("{nodes} lost, at_least_once: from stop"), from_stop.p50_ms, from_stop.p99_ms);
            let Silence { nodes, from_last_word, from_stop } = detection.fenced;
            show(&format!("{nodes} lost, fenced: from last word"), from_last_word.p50_ms, from_last_word.p99_ms);
            show(&format!("{nodes} lost, fenced: from stop"), from_stop.p50_ms, from_stop.p99_ms);
        }
        let mut text = format!("{}\n\n{}\n", Build::ours().text(), rows.text());
        for Row { agents, detection, storm, .. } in &self.rows {
            let is = if detection.is_within_goal { "is" } else { "is not" };
            text += &format!(
                "\n{agents} agents: detection {is} within a second of the lease ({} ms, and {} ms for fenced tasks); {} of {} \
                 tasks lost when all replicas were killed; sessions that failed then: {}",
                detection.lease_server_ms,
                detection.kill_ms,
                storm.tasks_lost,
                storm.tasks,
                storm
                    .failed_sessions
                    .iter()
                    .map(|(why, count)| format!("{why} {count}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
        text
    }
}

/// `bench agents` for programs: one number of agents.
#[derive(Debug, Serialize)]
pub(crate) struct BenchAgentsRow {
    #[serde(flatten)]
    row: Row,
    configuration: Build,
}

impl From<Row> for BenchAgentsRow {
    fn from(row: Row) -> Self {
        Self { row, configuration: Build::ours() }
    }
}

impl View for BenchAgentsRow {
    const SCHEMA: &'static str = "quorate.v1.bench_agents/1";

    fn human(&self, paint: Paint) -> String {
        BenchAgents { rows: vec![self.row.clone()] }.human(paint)
    }
}

#[cfg(test)]
mod tests {
    use quorate_bench::agents::{Detection, Idle, Storm};
    use quorate_bench::log::Spread;
    use quorate_bench::tasks::Quantiles;

    use super::*;

    #[test]
    fn a_row_holds_what_was_measured_in_all_four_parts() {
        let spread = |median: f64| Spread { median, min: median - 1.0, max: median + 1.0 };
        let load = |percent: f64| Load {
            cpu_us_per_agent_s: spread(percent * 100.0),
            core_percent: spread(percent),
            memory_mib: spread(90.0),
        };
        let quantiles = Quantiles { p50_ms: 15_100.0, p99_ms: 15_400.5, max_ms: 15_401.0 };
        let silence = Silence { nodes: 20, from_last_word: quantiles, from_stop: quantiles };
        let row = Row {
            bench: "agents",
            agents: 10_000,
            rounds: 3,
            register_s: spread(6.5),
            idle: Idle { seconds: 20, leader: load(31.5), follower: load(12.5), agents_core_percent: spread(60.0) },
            detection: Detection {
                lease_server_ms: 15_000,
                kill_ms: 3_000,
                at_least_once: silence,
                fenced: silence,
                is_within_goal: true,
            },
            storm: Storm {
                registered_s: spread(8.25),
                placed_s: spread(4.0),
                longest_stall_ms: spread(700.0),
                peak_mib: spread(300.0),
                failed_sessions: [("transport", 10_000), ("unavailable", 31)].into_iter().collect(),
                tasks: 30_000,
                tasks_lost: 0,
            },
        };
        let value = serde_json::to_value(BenchAgentsRow::from(row.clone())).unwrap();
        assert_eq!((&value["bench"], &value["agents"]), (&"agents".into(), &10_000.into()));
        assert_eq!(value["idle"]["leader"]["core_percent"]["median"].as_f64(), Some(31.5));
        assert_eq!(value["detection"]["fenced"]["from_last_word"]["p99_ms"].as_f64(), Some(15_400.5));
        assert_eq!((&value["storm"]["tasks_lost"], &value["detection"]["is_within_goal"]), (&0.into(), &true.into()));
        let text = BenchAgents { rows: vec![row] }.human(Paint::Never);
        assert!(text.contains("20 lost, fenced: from stop") && text.contains("0 of 30000 tasks lost"), "{text}");
        assert!(text.contains("detection is within") && text.contains("transport 10000, unavailable 31"), "{text}");
    }
}
