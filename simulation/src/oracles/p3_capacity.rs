//! P3: no placement takes a node above its capacity, room is free only once nothing runs in it, and
//! by truth no node ever runs more than the machine has.
//!
//! Stands for devices given to two tasks, and for nodes that stayed over-committed after they shrank.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::{Attempt, AttemptId, Change, NodeName, OnNodeLoss, Resources};

use super::executions::{Alive, Executions};
use super::history::{attempt_name, plan_of, promise_of, spec_of};
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;

/// Keeps its own books of what every node has and holds.
#[derive(Default)]
pub(crate) struct Capacity {
    nodes: BTreeMap<NodeName, Room>,
    /// What every attempt takes, ended ones included.
    takes: BTreeMap<AttemptId, Resources>,
    gone: BTreeSet<AttemptId>,
    /// What was on a node when it was forgotten, and may run on: its promise allows that.
    given_up: BTreeSet<AttemptId>,
    executions: Executions,
}

#[derive(Clone, Copy, Default)]
struct Room {
    capacity: Resources,
    held: Resources,
}

impl Oracle for Capacity {
    fn id(&self) -> &'static str {
        "P3"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        self.executions.take(at, fact);
        match fact {
            Fact::Execution(Execution { node, attempt, what: Happening::Started, .. }) => {
                if self.gone.contains(attempt) && !self.given_up.contains(attempt) {
                    return Err(format!("{} started on {node} after its room was freed", attempt_name(*attempt)));
                }
                self.check_machine(node, known)
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        self.give_up(step, known);
        for change in &step.changes {
            match change {
                Change::Node(node) => self.nodes.entry(node.name.clone()).or_default().capacity = node.capacity,
                Change::Attempt(attempt) => self.on_attempt(attempt, step)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Capacity {
    /// The room of what is on a forgotten node is free, though it may run on there: but nothing fenced, unless that
    /// could not be killed in time.
    fn give_up(&mut self, step: &Step, known: &Known<'_>) {
        for change in &step.changes {
            let Change::NodeGone(node) = change else { continue };
            for attempt in step.before.attempts_on(node) {
                let fenced = promise_of(&step.after, attempt.id.task) == Some(OnNodeLoss::Fenced);
                if !fenced || known.fence_waived(node, Duration::ZERO, step.at) {
                    self.given_up.insert(attempt.id);
                }
            }
        }
    }

    fn on_attempt(&mut self, attempt: &Attempt, step: &Step) -> Verdict {
        let name = attempt_name(attempt.id);
        let room = self.nodes.entry(attempt.node.clone()).or_default();
        match self.takes.insert(attempt.id, attempt.resources) {
            None => {
                let wanted = spec_of(&step.after, attempt.id.task).map(|spec| spec.resources);
                if wanted != Some(attempt.resources) {
                    return Err(format!("{name} takes {:?}, its job says {wanted:?}", attempt.resources));
                }
                room.held = sum([room.held, attempt.resources]);
                if !room.held.fits(room.capacity) {
                    let Room { capacity, held } = *room;
                    return Err(format!("{name} takes {} to {held:?} of {capacity:?}", attempt.node));
                }
            }
            Some(before) if before != attempt.resources => {
                return Err(format!("{name} took {before:?} and takes {:?}", attempt.resources));
            }
            Some(_) => {}
        }
        if attempt.gone && self.gone.insert(attempt.id) {
            room.held = room.held.saturating_sub(attempt.resources);
            if self.executions.of_attempt(attempt.id, &attempt.node).is_some() && !self.given_up.contains(&attempt.id) {
                return Err(format!("the room of {name} on {} was freed while it runs", attempt.node));
            }
        } else if !attempt.gone && self.gone.contains(&attempt.id) {
            return Err(format!("{name} holds room again"));
        }
        Ok(())
    }

    /// What runs on a machine, against what it has.
    fn check_machine(&self, node: &NodeName, known: &Known<'_>) -> Verdict {
        let Some((_, plan)) = plan_of(known.scenario, node) else {
            return Err(format!("something started on {node}, which is no node of this scenario"));
        };
        let has = Resources { cpu_milli: plan.cpu_milli, memory_bytes: plan.memory_bytes, gpu_milli: 0 };
        let counts = |alive: &&Alive| alive.node == *node && !self.given_up.contains(&alive.attempt);
        let running = self.executions.all().filter(counts);
        let used = sum(running.filter_map(|alive| self.takes.get(&alive.attempt).copied()));
        if used.fits(has) { Ok(()) } else { Err(format!("{node} runs {used:?}, it has {has:?}")) }
    }
}

fn sum(resources: impl IntoIterator<Item = Resources>) -> Resources {
    resources.into_iter().fold(Resources::ZERO, |sum, one| Resources {
        cpu_milli: sum.cpu_milli.saturating_add(one.cpu_milli),
        memory_bytes: sum.memory_bytes.saturating_add(one.memory_bytes),
        gpu_milli: sum.gpu_milli.saturating_add(one.gpu_milli),
    })
}
