//! Which task goes to which node: the pipeline, from the queue to a plan.
//!
//! The queue is served in order: priority, then submit order, then step and index. A task that fits
//! nowhere does not hold up tasks of other shapes behind it (there are no reservations yet, so a
//! large task may wait while small ones keep its room busy).
//!
//! Tasks of equal shape share their work: nodes are looked at once per shape, a shape that fits
//! nowhere any more is skipped together with all that is larger, and the rest of its step is skipped
//! in one jump. A plan costs shapes x nodes + placements x log(nodes), never tasks x nodes.
//!
//! Ties between nodes that differ in nothing but their name go to the first name. The seed is not
//! used: with ties broken by chance, packing gets worse, not better.

mod queue;
mod route;

mod ledger;
mod score;

use quorate_planted::Bug;
use quorate_state::{Command, Placement, State, TaskId};

pub(crate) use route::admit;
pub(crate) use score::share;

use crate::explain::Checks;
use crate::{Budget, Controller, Decision, LogNow, Observed, Report};
use ledger::Ledger;
use queue::Queue;
use route::{Pick, Shapes};

/// Placements in one plan, and so in one log entry; the leader plans again at once after it.
pub const PLACEMENTS_PER_PLAN_MAX: usize = 1_024;

/// Shapes whose waiting a plan explains.
pub const EXPLANATIONS_PER_PLAN_MAX: usize = 64;

/// Placements proposed together, from one view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In queue order.
    pub placements: Vec<Placement>,
    /// What is left waiting, by shape, in queue order.
    pub explanations: Vec<ShapeWaits>,
    /// What the plan found.
    pub report: Report,
}

/// Tasks of one shape that fit nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeWaits {
    /// The first of them.
    pub first: TaskId,
    /// How many.
    pub tasks: u64,
    /// How many nodes failed which check before this plan spent anything on them. Empty when a
    /// smaller shape had failed before, so that no node was looked at for this one.
    pub checks: Checks,
}

/// Plans the head of the queue onto the nodes. A task that fits on a node is placed, unless the
/// budget or [`PLACEMENTS_PER_PLAN_MAX`] ends the plan first.
pub fn plan(view: &State, observed: &Observed, _now: LogNow, _seed: u64, mut budget: Budget) -> Plan {
    let mut plan = Plan::default();
    if view.ready_count() == 0 {
        return plan;
    }
    let mut ledger = Ledger::open(view, observed);
    let mut shapes = Shapes::default();
    let mut waits = Waits::default();
    let mut queue = Queue::new(view);

    'queue: while let Some(group) = queue.next_group() {
        if budget.is_spent() {
            plan.report.truncated = true;
            break;
        }
        // A cancelled run's tasks are taken out of the queue by the workflow controller.
        if group.run.cancelling && !quorate_planted::is(Bug::PlacedAfterCancel) {
            budget.take(1);
            continue;
        }
        let shape = shapes.of(group.spec);
        let mut placed = 0;
        for task in group.tasks(view) {
            if plan.placements.len() >= PLACEMENTS_PER_PLAN_MAX {
                plan.report.truncated = true;
                break 'queue;
            }
            match shapes.pick(shape, &ledger, &mut budget) {
                Pick::Node(at) => {
                    let node = ledger.node(at);
                    plan.placements.push(Placement {
                        task: task.id,
                        generation: task.generation,
                        node: node.name.clone(),
                        epoch: node.epoch,
                    });
                    ledger.spend(at, group.spec.resources);
                    placed += 1;
                }
                Pick::Nowhere => {
                    let ready = view.step_counts(group.run.id, group.step).ready;
                    waits.add(shape, task.id, u64::from(ready).saturating_sub(placed));
                    budget.take(1);
                    continue 'queue;
                }
                Pick::OutOfBudget => {
                    plan.report.truncated = true;
                    break 'queue;
                }
            }
        }
    }

    plan.report.counts = vec![
        ("placed", plan.placements.len() as u64),
        ("waiting", waits.tasks),
        ("shapes", shapes.len() as u64),
        ("shapes_waiting", waits.shapes.len() as u64),
    ];
    plan.explanations = waits
        .shapes
        .into_iter()
        .take(EXPLANATIONS_PER_PLAN_MAX)
        .map(|waits| ShapeWaits { first: waits.first, tasks: waits.tasks, checks: shapes.checks(waits.shape).clone() })
        .collect();
    plan
}

/// What waits, by shape.
#[derive(Default)]
struct Waits {
    tasks: u64,
    shapes: Vec<ShapeWait>,
    by_shape: std::collections::BTreeMap<usize, usize>,
}

struct ShapeWait {
    shape: usize,
    first: TaskId,
    tasks: u64,
}

impl Waits {
    fn add(&mut self, shape: usize, first: TaskId, tasks: u64) {
        self.tasks += tasks;
        let at = *self.by_shape.entry(shape).or_insert(self.shapes.len());
        match self.shapes.get_mut(at) {
            Some(known) => known.tasks += tasks,
            None => self.shapes.push(ShapeWait { shape, first, tasks }),
        }
    }
}

/// Turns plans into commands.
pub(crate) struct PlacementController;

impl Controller for PlacementController {
    fn name(&self) -> &'static str {
        "placement"
    }

    fn step(&self, view: &State, observed: &Observed, now: LogNow, seed: u64, budget: Budget) -> Decision {
        let Plan { placements, explanations: _, report } = plan(view, observed, now, seed, budget);
        let commands = if placements.is_empty() { Vec::new() } else { vec![Command::CommitPlan { placements }] };
        // Only a change of the state brings room or work.
        Decision { commands, wake_at: None, report }
    }
}
