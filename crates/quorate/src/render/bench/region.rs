//! `bench region`, for people and programs.

use quorate_bench::agents::Loss;
use serde::Serialize;

use super::Build;
use crate::render::table::{Rows, entry};
use crate::render::{Paint, View};

/// `bench region`.
#[derive(Debug, Serialize)]
pub(crate) struct BenchRegion {
    #[serde(flatten)]
    loss: Loss,
    configuration: Build,
}

impl From<Loss> for BenchRegion {
    fn from(loss: Loss) -> Self {
        Self { loss, configuration: Build::ours() }
    }
}

impl View for BenchRegion {
    const SCHEMA: &'static str = "quorate.v1.bench_region/1";

    fn human(&self, paint: Paint) -> String {
        let loss = &self.loss;
        let mut rows = Rows::new(paint, &["WHAT", "MEDIAN", "FROM", "TO"]);
        let mut show = |what: &str, median: f64, min: f64, max: f64| {
            let cell = |seconds: f64| entry(format!("{seconds:.1} s"));
            rows.row(vec![entry(what), cell(median), cell(min), cell(max)]);
        };
        show("foretold: all moved", loss.foretold_s.median, loss.foretold_s.min, loss.foretold_s.max);
        show("all moved, from the last word on", loss.moved_s.median, loss.moved_s.min, loss.moved_s.max);
        show(
            "first lease over",
            loss.first_lease_over_s.median,
            loss.first_lease_over_s.min,
            loss.first_lease_over_s.max,
        );
        show("last lease over", loss.leases_over_s.median, loss.leases_over_s.min, loss.leases_over_s.max);
        show(
            "from the end of a lease to the task elsewhere, slowest",
            loss.after_lease_s.median,
            loss.after_lease_s.min,
            loss.after_lease_s.max,
        );
        show(
            "back, registered, and what must stay runs there",
            loss.returned_s.median,
            loss.returned_s.min,
            loss.returned_s.max,
        );
        let (agents, tasks, bound, rounds) = (loss.agents, loss.tasks, loss.bound, loss.rounds);
        let mut text = format!(
            "{}\n3 regions of {agents} agents, {tasks} tasks that may move and {bound} that must stay, rounds: {rounds}\n\n{}\n\n",
            Build::ours().text(),
            rows.text()
        );
        text += &format!("{} tasks moved ({} foretold); ", loss.moved, loss.foretold_moved);
        text += &format!(
            "{} ran outside of their region, {} were started twice, {} moved again after the return",
            loss.strayed, loss.doubled, loss.churned
        );
        if !loss.brake.is_empty() {
            text += &format!("\nThe brake: {}", loss.brake);
        }
        text
    }
}
