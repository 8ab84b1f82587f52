//! P12, of what a task takes: a later alternative only where there was no room for any before it. Only where that is beyond doubt: a node
//! that was there, with the room, ever since the task could be placed, and that nothing kept from it.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_state::{
    Amounts, Attempt, Change, Choice, Command, Company, Node, NodeName, NodeStatus, PlacementOutcome, Reply, Resources,
    State, TaskId, TaskSpec, TaskState,
};

use super::calm::Calm;
use super::history::{Takes, attempt_name, attempts, placed, spec_of, takes};
use super::p12_place::{asks_for, is_at_hand, is_reserved, tolerates};
use super::service::answered;
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::Step;

/// A whole device, in thousandths.
const WHOLE: u64 = 1_000;

/// Follows what waits, and since when the room of each node has only become less.
#[derive(Default)]
pub(crate) struct Alternatives {
    calm: Calm,
    /// Since which revision tasks have been ready.
    ready: BTreeMap<TaskId, u64>,
    /// The last revision at which a node had something given back, said something of itself, or was given something that was refused: a
    /// plan that is older, or counted with that, knew of less room.
    opened: BTreeMap<NodeName, u64>,
}

impl Oracle for Alternatives {
    fn id(&self) -> &'static str {
        "P12"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        self.calm.take(at, fact, known);
        Ok(())
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        self.note_opened(step);
        if self.calm.reigns(step.at, known) {
            for attempt in placed(step) {
                self.check(attempt, step)?;
            }
        }
        for change in &step.changes {
            if let Change::Task(task) = change {
                if task.state == TaskState::Ready {
                    self.ready.entry(task.id).or_insert(step.revision.0);
                } else {
                    self.ready.remove(&task.id);
                }
            }
        }
        Ok(())
    }
}

impl Alternatives {
    fn note_opened(&mut self, step: &Step) {
        let at = step.revision.0;
        for change in &step.changes {
            if let Change::Node(node) = change {
                self.opened.insert(node.name.clone(), at);
            }
        }
        for reservation in step.before.reservations() {
            self.opened.extend(reservation.nodes.iter().map(|node| (node.clone(), at)));
        }
        for attempt in attempts(step).filter(|attempt| attempt.gone) {
            self.opened.insert(attempt.node.clone(), at);
        }
        for claim in step.before.claims().filter(|claim| step.after.claim(claim.task).is_none()) {
            self.opened.insert(claim.node.clone(), at);
        }
        for (item, reply) in answered(step) {
            match (&item.command, reply) {
                (Command::CommitPlan { placements }, Ok(Reply::PlanCommitted(outcomes))) => {
                    let refused = |outcome: &PlacementOutcome| matches!(outcome, PlacementOutcome::Refused(_));
                    let refused = placements.iter().zip(outcomes).filter(|(_, outcome)| refused(outcome));
                    self.opened.extend(refused.map(|(placement, _)| (placement.node.clone(), at)));
                }
                (Command::CommitPlan { placements } | Command::CommitGang { placements, .. }, Err(_)) => {
                    self.opened.extend(placements.iter().map(|placement| (placement.node.clone(), at)));
                }
                _ => {}
            }
        }
    }

    fn check(&self, attempt: &Attempt, step: &Step) -> Verdict {
        let view = &step.before;
        let task = attempt.id.task;
        let (Some(since), Some(spec)) = (self.ready.get(&task), spec_of(view, task)) else { return Ok(()) };
        // What a claim, other tasks, a condition, a region or a quota keeps from it is not looked at here, nor what a gang in the same plan takes.
        let place = &spec.place;
        let is_bound =
            place.company != Company::default() || place.condition.is_some() || spec.on_region_loss.is_some();
        let has_quota = view.namespaces().any(|row| row.share.maximum != Amounts::default());
        let gang_waits = self.ready.keys().any(|other| spec_of(view, *other).is_some_and(|spec| spec.gang.is_some()));
        if attempt.choice == Choice::FIRST || view.claim(task).is_some() || is_bound || has_quota || gang_waits {
            return Ok(());
        }
        let earlier = (0..attempt.choice.number()).filter_map(Choice::of);
        for earlier in earlier.filter_map(|choice| takes(spec, choice)) {
            let open = view.nodes().find(|node| {
                let was_open = self.opened.get(&node.name).is_none_or(|opened| opened < since);
                was_open && may(node, view, spec) && has_room(node, &earlier, attempt, step)
            });
            if let Some(node) = open {
                return Err(format!(
                    "{} was given alternative {} on {}, and {} had room for {:?} all the time",
                    attempt_name(attempt.id),
                    attempt.choice.number(),
                    attempt.node,
                    node.name,
                    earlier.resources
                ));
            }
        }
        Ok(())
    }
}

/// The task may be there, and the node is kept for nobody.
fn may(node: &Node, view: &State, spec: &TaskSpec) -> bool {
    let place = &spec.place;
    // What has a limit may end, and the node be kept for who waits for that.
    let may_be_kept = view.attempts_on(&node.name).any(|attempt| attempt.run_deadline.is_some())
        || view.claims().any(|claim| claim.node == node.name);
    node.status == NodeStatus::Up
        && !node.is_out()
        && !may_be_kept
        && !is_reserved(view, node)
        && (place.regions.is_empty() || place.regions.contains(&node.region))
        && (place.clusters.is_empty() || place.clusters.contains(&node.cluster))
        && asks_for(place, &node.labels)
        && is_at_hand(place, node.offer.pool.as_str())
        && tolerates(place, &node.offer.taints)
}

/// Beside all that is not known to be gone, and all that the same step places there.
fn has_room(node: &Node, wanted: &Takes<'_>, attempt: &Attempt, step: &Step) -> bool {
    let new = placed(step).into_iter().filter(|other| other.id != attempt.id);
    let old = step.before.attempts_on(&node.name).map(AsRef::as_ref);
    let there: Vec<&Attempt> = old.chain(new).filter(|other| other.node == node.name).collect();
    let held = there.iter().fold(Resources::ZERO, |held, other| held.saturating_add(other.resources));
    let Resources { cpu_milli, memory_bytes, gpu_milli } = wanted.resources;
    let is_left = |has: u64, held: u64, takes: u64| takes == 0 || held.saturating_add(takes) <= has;
    if !is_left(node.capacity.cpu_milli, held.cpu_milli, cpu_milli)
        || !is_left(node.capacity.memory_bytes, held.memory_bytes, memory_bytes)
    {
        return false;
    }
    let taken = |at: usize| -> u64 {
        let holds = there.iter().map(|other| other.gpus).filter(|hold| hold.devices >> at & 1 == 1);
        holds.map(|hold| u64::from(hold.milli)).sum()
    };
    let allowed = node
        .gpus
        .iter()
        .enumerate()
        .filter(|(_, model)| wanted.gpu_models.is_empty() || wanted.gpu_models.contains(model));
    let free: Vec<u64> = allowed.map(|(at, _)| WHOLE.saturating_sub(taken(at))).collect();
    match gpu_milli {
        0 => true,
        share if share < WHOLE => free.iter().any(|free| *free >= share),
        whole => free.iter().filter(|free| **free == WHOLE).count() as u64 * WHOLE >= whole,
    }
}
