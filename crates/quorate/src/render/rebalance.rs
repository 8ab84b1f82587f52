//! Rebalances: what would be moved, and what is.

use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry};
use super::task::task_name;
use super::{Paint, View, time};

/// What is asked for.
#[derive(Clone, Copy, Debug, Serialize)]
struct Terms {
    goal: &'static str,
    scope: &'static str,
    max_moves: u32,
    at_once: u32,
    share_percent: u32,
    margin: u32,
    for_ms: u64,
}

impl From<v1::RebalanceTerms> for Terms {
    fn from(terms: v1::RebalanceTerms) -> Self {
        let goal = match terms.goal() {
            v1::RebalanceGoal::Unspecified => "unknown",
            v1::RebalanceGoal::Spread => "spread",
            v1::RebalanceGoal::Prefer => "prefer",
        };
        let scope = match terms.reach() {
            v1::RebalanceReach::Unspecified => "unknown",
            v1::RebalanceReach::Cluster => "cluster",
            v1::RebalanceReach::Region => "region",
            v1::RebalanceReach::Everywhere => "all",
        };
        let v1::RebalanceTerms { moves_max: max_moves, at_once, share_percent, margin, for_ms, .. } = terms;
        Self { goal, scope, max_moves, at_once, share_percent, margin, for_ms }
    }
}

impl Terms {
    /// `spread, each within its region`.
    fn words(&self) -> String {
        let within = match self.scope {
            "cluster" => ", each within its cluster",
            "region" => ", each within its region",
            _ => "",
        };
        format!("{}{within}", self.goal)
    }

    /// What counts against a place: `82.5%` of a node, or points.
    fn counted(&self, count: u64) -> String {
        match self.goal {
            "spread" => percent(count),
            _ => count.to_string(),
        }
    }
}

/// A task that is on the move, or would be.
#[derive(Debug, Serialize)]
struct Move {
    run_id: String,
    namespace: String,
    job: String,
    task: String,
    index: u32,
    attempt: u32,
    from_node: String,
    from_region: String,
    to_node: String,
    to_region: String,
    /// None of a move that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
}

impl Move {
    fn of(row: v1::RebalanceMove, is_planned: bool) -> Self {
        Self {
            run_id: row.run_id,
            namespace: row.namespace,
            job: row.job,
            task: row.task,
            index: row.index,
            attempt: row.attempt,
            from_node: row.from_node,
            from_region: row.from_region,
            to_node: row.to_node,
            to_region: row.to_region,
            before: is_planned.then_some(row.before),
            after: is_planned.then_some(row.after),
        }
    }

    fn from(&self) -> String {
        place(&self.from_region, &self.from_node)
    }

    fn to(&self) -> String {
        place(&self.to_region, &self.to_node)
    }
}

fn place(region: &str, node: &str) -> String {
    if region.is_empty() { node.to_owned() } else { format!("{region}/{node}") }
}

/// Attempts that stay where they are.
#[derive(Debug, Serialize)]
struct Spared {
    why: String,
    attempts: u64,
}

impl Spared {
    fn words(&self) -> &str {
        match self.why.as_str() {
            "ENDING" => "are about to end",
            "NODE_LOST" => "are on nodes that are lost",
            "STARTED_ONCE" => "are at_most_once",
            "NOT_PREEMPTIBLE" => "are not preemptible, by their jobs",
            "IN_GANG" => "are members of gangs",
            "PAUSED" => "are of runs that are paused",
            "PLACED_RECENTLY" => "were placed a short time ago, or stopped often",
            "IN_COMPANY" => "have rules about the tasks beside them",
            "MOVED_BEFORE" => "were moved by this rebalance before",
            "REPLACED" => "are not their tasks' newest",
            other => other,
        }
    }
}

/// `rebalance plan`.
#[derive(Debug, Serialize)]
pub(crate) struct RebalancePlan {
    terms: Terms,
    moves: Vec<Move>,
    fullest_before: u64,
    emptiest_before: u64,
    fullest_after: u64,
    emptiest_after: u64,
    distance_before: u64,
    distance_after: u64,
    spared: Vec<Spared>,
    is_whole: bool,
    revision: u64,
}

impl RebalancePlan {
    /// What was answered to these terms.
    pub(crate) fn new(terms: v1::RebalanceTerms, plan: v1::PlanRebalanceResponse) -> Self {
        Self {
            terms: terms.into(),
            moves: plan.moves.into_iter().map(|row| Move::of(row, true)).collect(),
            fullest_before: plan.fullest_before,
            emptiest_before: plan.emptiest_before,
            fullest_after: plan.fullest_after,
            emptiest_after: plan.emptiest_after,
            distance_before: plan.distance_before,
            distance_after: plan.distance_after,
            spared: plan.spared.into_iter().map(|row| Spared { why: row.why, attempts: row.attempts }).collect(),
            is_whole: plan.is_whole,
            revision: plan.revision,
        }
    }
}

impl View for RebalancePlan {
    const SCHEMA: &'static str = "quorate.v1.rebalance_plan/1";

    fn human(&self, paint: Paint) -> String {
        let mut text =
            format!("{} would be moved ({})\n", time::count(self.moves.len() as u64, "task"), self.terms.words());
        text.push_str(&format!(
            "Nodes      {} to {} full now, {} to {} then\n",
            percent(self.emptiest_before),
            percent(self.fullest_before),
            percent(self.emptiest_after),
            percent(self.fullest_after)
        ));
        if self.terms.goal == "prefer" {
            text.push_str(&format!(
                "Distance   {} from what jobs prefer now, {} then\n",
                self.distance_before, self.distance_after
            ));
        }
        for spared in &self.spared {
            text.push_str(&format!("Stay       {} {}\n", spared.attempts, spared.words()));
        }
        if !self.is_whole {
            text.push_str("There was more to look at than a plan looks at: more may be moved.\n");
        }
        if !self.moves.is_empty() {
            let mut rows = Rows::new(paint, &["RUN", "TASK", "FROM", "TO", "BEFORE", "AFTER"]);
            for row in &self.moves {
                rows.row(vec![
                    entry(&row.run_id),
                    entry(task_name(&row.task, row.index, true)),
                    entry(row.from()),
                    entry(row.to()),
                    entry(self.terms.counted(row.before.unwrap_or_default())),
                    entry(self.terms.counted(row.after.unwrap_or_default())),
                ]);
            }
            text.push('\n');
            text.push_str(&rows.text());
        }
        text.trim_end().to_owned()
    }
}

/// A rebalance.
#[derive(Debug, Serialize)]
struct Rebalance {
    number: u32,
    terms: Terms,
    by: String,
    at_ms: u64,
    remaining_ms: u64,
    begun: u32,
    arrived: u32,
    missed: u32,
    /// None: it goes on.
    ended: Option<&'static str>,
    ended_at_ms: Option<u64>,
    why: String,
}

impl From<v1::Rebalance> for Rebalance {
    fn from(row: v1::Rebalance) -> Self {
        let ended = match row.ended() {
            v1::RebalanceEnd::Unspecified => None,
            v1::RebalanceEnd::Done => Some("done"),
            v1::RebalanceEnd::MovesSpent => Some("moves_spent"),
            v1::RebalanceEnd::TimeOver => Some("time_over"),
            v1::RebalanceEnd::Stopped => Some("stopped"),
            v1::RebalanceEnd::Draining => Some("draining"),
            v1::RebalanceEnd::NodeLost => Some("node_lost"),
            v1::RebalanceEnd::Silent => Some("silent"),
        };
        Self {
            number: row.number,
            terms: row.terms.unwrap_or_default().into(),
            by: row.by,
            at_ms: row.at_ms,
            remaining_ms: row.remaining_ms,
            begun: row.begun,
            arrived: row.arrived,
            missed: row.missed,
            ended,
            ended_at_ms: row.ended_at_ms,
            why: row.why,
        }
    }
}

/// `rebalance start`, `rebalance status` and `rebalance stop`.
#[derive(Debug, Serialize)]
pub(crate) struct RebalanceShown {
    /// None: there was none yet.
    rebalance: Option<Rebalance>,
    under_way: Vec<Move>,
    revision: u64,
}

impl RebalanceShown {
    /// How it is at a revision.
    pub(crate) fn new(rebalance: Option<v1::Rebalance>, under_way: Vec<v1::RebalanceMove>, revision: u64) -> Self {
        let under_way = under_way.into_iter().map(|row| Move::of(row, false)).collect();
        Self { rebalance: rebalance.map(Into::into), under_way, revision }
    }
}

impl View for RebalanceShown {
    const SCHEMA: &'static str = "quorate.v1.rebalance/1";

    fn human(&self, paint: Paint) -> String {
        let Some(row) = &self.rebalance else {
            return "Nothing was ever rebalanced: 'quorate rebalance plan' says what would be moved".into();
        };
        let standing = match row.ended_at_ms {
            Some(at) => format!("over since {}: {}", time::instant(at), row.why),
            None => format!("goes on, for {} more at most", time::span(row.remaining_ms)),
        };
        let under_way = row.begun.saturating_sub(row.arrived).saturating_sub(row.missed);
        let mut text = format!(
            "Rebalance {}  {standing}\nBegun by     {} at {}\nGoal         {}\nMoves        {} of at most {}: {} arrived, {} ended before or went elsewhere, {under_way} under way (at most {} at a time)",
            row.number,
            row.by,
            time::instant(row.at_ms),
            row.terms.words(),
            row.begun,
            row.terms.max_moves,
            row.arrived,
            row.missed,
            row.terms.at_once,
        );
        if !self.under_way.is_empty() {
            let mut rows = Rows::new(paint, &["RUN", "TASK", "FROM", "TO"]);
            for row in &self.under_way {
                rows.row(vec![
                    entry(&row.run_id),
                    entry(task_name(&row.task, row.index, true)),
                    entry(row.from()),
                    entry(row.to()),
                ]);
            }
            text.push_str("\n\n");
            text.push_str(&rows.text());
        }
        text
    }
}

/// Millionths as `82.5%`.
fn percent(millionths: u64) -> String {
    format!("{}.{}%", millionths / 10_000, millionths / 1_000 % 10)
}
