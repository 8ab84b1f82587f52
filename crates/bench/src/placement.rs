//! How many tasks a second the planner gives their places: `plan` on its own, on one core.
//!
//! Nothing runs and no replica is asked: a state is made in memory by the commands that make every state, and what is measured
//! is the time that plans take, one after the other as a leader makes them. Applying them is measured beside it. Once the
//! cluster is empty in the beginning, once it is almost full and stays so, while tasks that end leave room in places of their own.

mod ground;

use std::time::Duration;

use quorate_scheduler::Budget;
use quorate_scheduler::placement::Planner;
use quorate_seams::{Clock as _, SystemClock};
use quorate_state::{Command, Placement, PlacementOutcome, Reply, State};
use serde::Serialize;

use crate::Error;
use crate::dice::Dice;
use crate::samples::{Spread, rounded};
use ground::{Ground, Live};

/// Nodes at most.
const NODES_MAX: u32 = 1_000_000;
/// Placements that one round measures, at most.
const TASKS_MAX: u32 = 10_000_000;
/// Shapes at most.
const SHAPES_MAX: u32 = 10_000;
/// Rounds at most.
const ROUNDS_MAX: usize = 1_000;
/// Of a hundred cores, so many are taken where the cluster is almost full.
const FULL_PERCENT: u64 = 90;
/// Of a hundred cores, no more are taken at the end of a round that begins with an empty cluster.
const EMPTY_PERCENT: u64 = 50;
/// Tasks that end at least, and others that come, between two plans where the cluster is almost full: as many as a plan places.
const CHURN: u32 = 1_024;
/// Plans in a row that may place nothing before the measurement gives up.
const BARREN_MAX: u32 = 16;

/// What is measured.
#[derive(Clone, Debug)]
pub struct PlacementBench {
    /// How many nodes there are.
    pub nodes: u32,
    /// How many placements a round measures; on an empty cluster fewer, if it is half full before.
    pub tasks: u32,
    /// How many shapes the tasks have.
    pub shapes: u32,
    /// Of a hundred nodes, how many have GPUs. Some shapes take GPUs then.
    pub gpu_percent: u32,
    /// How often each is measured, with the same state in the beginning and another planner.
    pub rounds: usize,
    /// What decides sizes, places and the order of tasks.
    pub seed: u64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `placement`.
    pub bench: &'static str,
    /// Placements per second of planning, beginning with an empty cluster and a planner that knows nothing: the median round.
    pub placements_per_s: f64,
    /// The same in a cluster that is nine tenths full.
    pub placements_per_s_at_90_percent: f64,
    /// Of the time of planning and applying, how much is applying.
    pub apply_share: f64,
    /// The same in a cluster that is nine tenths full.
    pub apply_share_at_90_percent: f64,
    /// How many nodes there are.
    pub nodes: u32,
    /// How many shapes the tasks have.
    pub shapes: u32,
    /// Of a hundred nodes, how many have GPUs.
    pub gpu_percent: u32,
    /// What decides all of it.
    pub seed: u64,
    /// The rounds that begin with an empty cluster.
    pub empty: Phase,
    /// The rounds in a cluster that is nine tenths full.
    pub full: Phase,
}

/// What was measured in one kind of rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// Placements per second of planning, over the rounds.
    pub placements_per_s: Spread,
    /// Milliseconds of the first plan, which looks at all nodes for every shape that it meets.
    pub first_plan_ms: Spread,
    /// Milliseconds of the longest of the other plans.
    pub longest_plan_ms: Spread,
    /// Of the time of planning and applying, how much is applying.
    pub apply_share: Spread,
    /// Placements of one round.
    pub placed: u64,
    /// Plans of one round.
    pub plans: u64,
    /// Tasks that waited at the end of one round.
    pub waiting: u64,
    /// Of a hundred cores, how many were taken in the end.
    pub taken_percent: f64,
}

impl PlacementBench {
    /// Makes the state and plays the rounds; lets others run between two of them.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Report, Error> {
        self.check()?;
        note(&format!("registering {} nodes", self.nodes));
        let mut ground = Ground::new(self)?;
        ground.submit(self.tasks)?;
        let mut rounds = Vec::new();
        for _ in 0..self.rounds {
            rounds.push(empty_round(ground.clone(), self.tasks)?);
            tokio::task::yield_now().await;
        }
        let empty = Phase::of(&rounds)?;
        note(&format!("{:.0} placements per second into the empty cluster", empty.placements_per_s.median));
        let mut ground = Ground::new(self)?;
        let mut live = Vec::new();
        fill(&mut ground, &mut live)?;
        note(&format!("{} tasks take {:.1} % of all cores", live.len(), ground.taken_percent()));
        let mut rounds = Vec::new();
        for round in 0..self.rounds as u64 {
            rounds.push(full_round(ground.clone(), live.clone(), self.tasks, self.seed + round)?);
            tokio::task::yield_now().await;
        }
        let full = Phase::of(&rounds)?;
        note(&format!("{:.0} placements per second into the full one", full.placements_per_s.median));
        Ok(Report {
            bench: "placement",
            placements_per_s: empty.placements_per_s.median,
            placements_per_s_at_90_percent: full.placements_per_s.median,
            apply_share: empty.apply_share.median,
            apply_share_at_90_percent: full.apply_share.median,
            nodes: self.nodes,
            shapes: self.shapes,
            gpu_percent: self.gpu_percent,
            seed: self.seed,
            empty,
            full,
        })
    }

    fn check(&self) -> Result<(), Error> {
        let range = |name: &str, value: u64, least: u64, most: u64| {
            let why = || Error::Option(format!("{name}: {value} is not between {least} and {most}"));
            (least..=most).contains(&value).then_some(()).ok_or_else(why)
        };
        range("nodes", self.nodes.into(), 1, NODES_MAX.into())?;
        range("tasks", self.tasks.into(), 1, TASKS_MAX.into())?;
        range("shapes", self.shapes.into(), 1, SHAPES_MAX.into())?;
        range("gpu-percent", self.gpu_percent.into(), 0, 100)?;
        range("rounds", self.rounds as u64, 1, ROUNDS_MAX as u64)
    }
}

/// What one round came to.
#[derive(Clone, Debug, Default)]
struct Round {
    planning: Duration,
    applying: Duration,
    first: Duration,
    longest: Duration,
    placed: u64,
    plans: u64,
    waiting: u64,
    taken_percent: f64,
}

/// Places what waits, until the cluster is half full or enough was placed.
fn empty_round(mut ground: Ground, tasks: u32) -> Result<Round, Error> {
    let mut planner = Planner::default();
    let mut round = Round::default();
    while round.placed < u64::from(tasks) && ground.taken_percent() < EMPTY_PERCENT as f64 {
        if round.step(&mut planner, &mut ground)?.is_empty() {
            break;
        }
    }
    Ok(round.end(&ground))
}

/// Lets tasks end and others come, and places them, until enough were placed.
fn full_round(mut ground: Ground, mut live: Vec<Live>, tasks: u32, seed: u64) -> Result<Round, Error> {
    let mut planner = Planner::default();
    let mut round = Round::default();
    let mut dice = Dice(seed);
    let mut barren = 0;
    while round.placed < u64::from(tasks) {
        end_some(&mut ground, &mut live, CHURN, &mut dice)?;
        while ground.taken_percent() > FULL_PERCENT as f64 {
            end_some(&mut ground, &mut live, CHURN / 8, &mut dice)?;
        }
        ground.submit(CHURN)?;
        let placed = round.step(&mut planner, &mut ground)?;
        barren = if placed.is_empty() { barren + 1 } else { 0 };
        if barren > BARREN_MAX {
            return Err(Error::Outcome("nothing fits into the cluster any more".to_owned()));
        }
        live.extend(placed);
    }
    Ok(round.end(&ground))
}

/// Lets some tasks end, whichever chance says.
fn end_some(ground: &mut Ground, live: &mut Vec<Live>, tasks: u32, dice: &mut Dice) -> Result<(), Error> {
    let mut ended = Vec::new();
    while !live.is_empty() && ended.len() < tasks as usize {
        ended.push(live.swap_remove(dice.below(live.len() as u64) as usize));
    }
    ground.end(&ended)
}

/// Places tasks until so much is taken, without measuring.
fn fill(ground: &mut Ground, live: &mut Vec<Live>) -> Result<(), Error> {
    let mut planner = Planner::default();
    let mut round = Round::default();
    let mut barren = 0;
    while ground.taken_percent() < FULL_PERCENT as f64 {
        ground.submit(CHURN)?;
        let placed = round.step(&mut planner, ground)?;
        barren = if placed.is_empty() { barren + 1 } else { 0 };
        if barren > BARREN_MAX {
            return Err(Error::Outcome(format!("only {:.1} % of the cores can be taken", ground.taken_percent())));
        }
        live.extend(placed);
    }
    Ok(())
}

impl Round {
    /// Plans once and applies that; what was placed.
    fn step(&mut self, planner: &mut Planner, ground: &mut Ground) -> Result<Vec<Live>, Error> {
        let (observed, now) = (ground.observed(), ground.now());
        let begun = SystemClock.boot();
        let plan = planner.plan(&ground.state, observed, now, self.plans, Budget::default());
        let took = SystemClock.boot().since(begun);
        if self.plans == 0 {
            self.first = took;
        } else {
            self.longest = self.longest.max(took);
        }
        self.planning += took;
        self.plans += 1;
        if plan.placements.is_empty() {
            return Ok(Vec::new());
        }
        let commands = vec![Command::CommitPlan { placements: plan.placements.clone() }];
        let begun = SystemClock.boot();
        let replies = ground.apply(commands)?;
        self.applying += SystemClock.boot().since(begun);
        all_placed(&replies, &plan.placements)?;
        self.placed += plan.placements.len() as u64;
        ground.placed(&plan.placements)
    }

    fn end(mut self, ground: &Ground) -> Self {
        self.waiting = ground.state.ready_count() as u64;
        self.taken_percent = ground.taken_percent();
        self
    }

    fn apply_share(&self) -> f64 {
        let all = (self.planning + self.applying).as_secs_f64();
        if all > 0.0 { self.applying.as_secs_f64() / all } else { 0.0 }
    }
}

/// What `apply` refuses of a plan that was made of the very state that it is applied to was planned wrongly.
fn all_placed(replies: &[Reply], placements: &[Placement]) -> Result<(), Error> {
    let outcomes = replies.iter().flat_map(|reply| match reply {
        Reply::PlanCommitted(outcomes) => &outcomes[..],
        _ => &[],
    });
    for (outcome, placement) in outcomes.zip(placements) {
        if let PlacementOutcome::Refused(why) = outcome {
            return Err(Error::Outcome(format!("a placement on {} was refused: {why}", placement.node)));
        }
    }
    Ok(())
}

impl Phase {
    fn of(rounds: &[Round]) -> Result<Self, Error> {
        let nothing = || Error::Outcome("no round was played".to_owned());
        let spread = |of: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(of).collect()).ok_or_else(nothing);
        let last = rounds.last().ok_or_else(nothing)?;
        Ok(Self {
            placements_per_s: spread(&|round| round.placed as f64 / round.planning.as_secs_f64().max(1e-9))?,
            first_plan_ms: spread(&|round| round.first.as_secs_f64() * 1e3)?,
            longest_plan_ms: spread(&|round| round.longest.as_secs_f64() * 1e3)?,
            apply_share: spread(&Round::apply_share)?,
            placed: last.placed,
            plans: last.plans,
            waiting: last.waiting,
            taken_percent: rounded(last.taken_percent),
        })
    }
}

/// How many cores' thousandths the nodes have.
fn cpu_milli(state: &State) -> u64 {
    state.nodes().map(|node| node.capacity.cpu_milli).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> PlacementBench {
        PlacementBench { nodes: 60, tasks: 300, shapes: 20, gpu_percent: 20, rounds: 2, seed: 1 }
    }

    #[tokio::test]
    async fn both_kinds_of_rounds_place_what_they_should_and_the_same_every_time() {
        let report = bench().run(&|_| ()).await.unwrap();
        let again = bench().run(&|_| ()).await.unwrap();
        let found = |phase: &Phase| (phase.placed, phase.plans, phase.waiting, phase.taken_percent);
        assert_eq!((found(&report.empty), found(&report.full)), (found(&again.empty), found(&again.full)));
        assert!(report.empty.placed > 0 && report.empty.taken_percent <= 60.0, "{report:?}");
        assert!(report.full.placed >= 300 && report.full.taken_percent > 60.0, "{report:?}");
        assert!(report.placements_per_s > 0.0 && report.placements_per_s_at_90_percent > 0.0);
    }

    #[tokio::test]
    async fn options_out_of_range_are_refused() {
        for (bench, name) in [
            (PlacementBench { nodes: 0, ..bench() }, "nodes: "),
            (PlacementBench { tasks: 0, ..bench() }, "tasks: "),
            (PlacementBench { shapes: SHAPES_MAX + 1, ..bench() }, "shapes: "),
            (PlacementBench { gpu_percent: 101, ..bench() }, "gpu-percent: "),
            (PlacementBench { rounds: 0, ..bench() }, "rounds: "),
        ] {
            let why = bench.run(&|_| ()).await.unwrap_err().to_string();
            assert!(why.starts_with(name), "{why}");
        }
    }
}
