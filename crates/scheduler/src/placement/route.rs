//! Where the tasks of a shape can go, best first.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::{Choice, GpuHold, Node, Room, TaskSpec, feasible};

use super::bound::Ways;
use super::holds::{Holds, Passing};
use super::kept::{Kept, Looks};
use super::ledger::Ledger;
use crate::explain::{Check, Checks};
use crate::{Budget, Presence};

/// Nodes that a first look at a shape takes a step of the budget for. Most are known from the last plan, and those that are not
/// are looked at once for many plans; the steps are the same either way, so that a plan is.
pub(super) const NODES_PER_STEP: usize = 16;

/// Whether a node can take a task now: [`feasible`], which `apply` asks again, after one look at
/// what only the leader sees: a silent node is given nothing, for its lease is about to end.
pub(crate) fn admit(node: &Node, presence: Presence, room: Room<'_>, task: &TaskSpec) -> Result<(), Check> {
    let verdict = feasible(node, room, task).map_err(|why| Check::of(&why));
    match presence {
        Presence::Heard | Presence::Unheard => verdict,
        Presence::Silent if verdict == Err(Check::NodeLost) => verdict,
        Presence::Silent => Err(Check::NodeSilent),
    }
}

/// The shapes met in this plan, by the number of their line.
#[derive(Default)]
pub(super) struct Shapes {
    shapes: BTreeMap<usize, Shape>,
    /// The same of those that can be placed in several ways, for each but the first, with its place among them.
    others: BTreeMap<(usize, usize), Shape>,
    /// Limits within which a shape was looked for in vain. From then on the largest rooms tell of others whether they fit. In
    /// one plan room only shrinks, so what does not fit there will not fit later.
    scarce: BTreeSet<Looks>,
}

struct Shape {
    looks: Looks,
    progress: Progress,
    checks: Checks,
}

enum Progress {
    /// It was not looked for.
    Unexamined,
    /// It was, when the plan had spent so often.
    Open(usize),
    /// It fits nowhere any more.
    Refused,
}

/// Where the next task of a shape goes.
pub(super) enum Pick {
    /// To this node, with these of its devices, by this of its alternatives.
    Node(usize, GpuHold, Choice),
    /// It fits nowhere.
    Nowhere,
    /// It fits on nodes alone that are kept for tasks before it, and would delay them.
    Delays,
    /// The budget ended before that was known.
    OutOfBudget,
}

impl Shapes {
    pub(super) fn len(&self) -> usize {
        self.shapes.len()
    }

    /// How many nodes failed which check for a shape.
    pub(super) fn checks(&self, shape: usize) -> Checks {
        self.shapes.get(&shape).map(|shape| shape.checks.clone()).unwrap_or_default()
    }

    /// False if it is known that more room would help a shape nowhere.
    pub(super) fn is_short_of_room(&self, shape: usize) -> bool {
        let Some(first) = self.shapes.get(&shape) else { return false };
        let others = self.others.range((shape, 0)..=(shape, usize::MAX)).map(|(_, shape)| shape);
        std::iter::once(first).chain(others).any(Shape::is_short_of_room)
    }

    /// Gives the next task of a shape the best node for the first of these ways that fits anywhere.
    pub(super) fn place_first(
        &mut self,
        number: usize,
        ways: Ways<'_>,
        ledger: &mut Ledger,
        kept: &mut Kept,
        holds: &mut Holds<'_>,
        budget: &mut Budget,
    ) -> Pick {
        let mut last = Pick::Nowhere;
        for (at, choice, task) in ways.open() {
            match self.place((number, at), (choice, task), ledger, kept, holds, budget) {
                Pick::Nowhere => {}
                Pick::Delays => last = Pick::Delays,
                pick @ (Pick::Node(..) | Pick::OutOfBudget) => return pick,
            }
        }
        last
    }

    /// Gives the next task of a shape, of which `task` is one, the best node.
    fn place(
        &mut self,
        (number, at): (usize, usize),
        (choice, task): (Choice, &TaskSpec),
        ledger: &mut Ledger,
        kept: &mut Kept,
        holds: &mut Holds<'_>,
        budget: &mut Budget,
    ) -> Pick {
        let shape = match at {
            0 => self.shapes.entry(number).or_insert_with(|| Shape::of(task)),
            at => self.others.entry((number, at)).or_insert_with(|| Shape::of(task)),
        };
        let cost = match shape.progress {
            Progress::Refused => return Pick::Nowhere,
            Progress::Unexamined => {
                let limits = Looks::limits(task);
                budget.take(holds.steps(ledger));
                let is_nowhere = self.scarce.contains(&limits) && !kept.has_room(&limits, task.resources, ledger);
                if is_nowhere && matches!(holds.passing(task, ledger), Passing::FitsNone) {
                    shape.progress = Progress::Refused;
                    return Pick::Nowhere;
                }
                ledger.accounts().len().div_ceil(NODES_PER_STEP)
            }
            Progress::Open(spendings) => (ledger.spendings() - spendings).min(ledger.accounts().len()),
        };
        if !budget.take(cost) {
            return Pick::OutOfBudget;
        }
        let standing = kept.standing(&shape.looks, ledger);
        let is_first = matches!(shape.progress, Progress::Unexamined);
        if is_first {
            shape.checks = standing.checks();
        } else {
            budget.take(standing.rankings());
        }
        let best = standing.best(ledger);
        if best.is_none() && is_first {
            self.scarce.insert(Looks::limits(task));
        }
        let passing = if best.is_none() { holds.passing(task, ledger) } else { Passing::FitsNone };
        let node = match (best, passing) {
            (Some(node), _) | (None, Passing::Goes(node)) => node,
            (None, Passing::Delays) => {
                shape.progress = Progress::Open(ledger.spendings());
                return Pick::Delays;
            }
            (None, Passing::FitsNone) => {
                shape.progress = Progress::Refused;
                return Pick::Nowhere;
            }
        };
        shape.progress = Progress::Open(ledger.spendings());
        let gpus = ledger.spend(node, standing.wanted());
        if best.is_none() {
            holds.lend(node, task, ledger);
        }
        Pick::Node(node, gpus, choice)
    }
}

impl Shape {
    fn of(task: &TaskSpec) -> Self {
        Self { looks: Looks::of(task), progress: Progress::Unexamined, checks: Checks::default() }
    }

    fn is_short_of_room(&self) -> bool {
        let mut checks = self.checks.iter();
        self.checks.is_empty() || checks.any(|(check, _)| matches!(check, Check::Full | Check::Kept))
    }
}
