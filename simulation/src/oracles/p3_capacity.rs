//! P3: no placement takes a node above its capacity, room is free only once nothing runs in it, and
//! by truth no node ever runs more than the machine has. The same of every single GPU: what is held of it is
//! what the job asks for, by the alternative that the attempt was given, of a model that it allows, and what the process was told to use.
//!
//! Stands for devices given to two tasks, and for nodes that stayed over-committed after they shrank.

mod devices;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::{Attempt, AttemptId, Change, GpuHold, NodeName, OnNodeLoss, Resources};

use devices::Devices;

use super::executions::{Alive, Executions};
use super::history::{attempt_name, plan_of, promise_of, spec_of, takes};
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;

/// Keeps its own books of what every node has and holds.
#[derive(Default)]
pub(crate) struct Capacity {
    nodes: BTreeMap<NodeName, Room>,
    /// What every attempt takes, ended ones included.
    takes: BTreeMap<AttemptId, (Resources, GpuHold)>,
    gone: BTreeSet<AttemptId>,
    /// What was on a node when it was forgotten, and may run on: its promise allows that.
    given_up: BTreeSet<AttemptId>,
    executions: Executions,
}

#[derive(Clone, Default)]
struct Room {
    capacity: Resources,
    held: Resources,
    devices: Devices,
}

impl Oracle for Capacity {
    fn id(&self) -> &'static str {
        "P3"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        self.executions.take(at, fact);
        match fact {
            Fact::Execution(Execution { node, attempt, what: Happening::Started, gpus, .. }) => {
                if self.gone.contains(attempt) && !self.given_up.contains(attempt) {
                    return Err(format!("{} started on {node} after its room was freed", attempt_name(*attempt)));
                }
                if let Some((_, held)) = self.takes.get(attempt).filter(|(_, held)| held != gpus) {
                    return Err(format!("{} was told to use {gpus:?}, it holds {held:?}", attempt_name(*attempt)));
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
                Change::Node(node) => {
                    let room = self.nodes.entry(node.name.clone()).or_default();
                    room.capacity = node.capacity;
                    room.devices.are(&node.gpus);
                }
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
        let taken = (attempt.resources, attempt.gpus);
        match self.takes.insert(attempt.id, taken) {
            None => {
                let spec = spec_of(&step.after, attempt.id.task);
                let wanted = spec.and_then(|spec| takes(spec, attempt.choice));
                let said = wanted.as_ref().map(|wanted| wanted.resources);
                let Some(wanted) = wanted.filter(|wanted| wanted.resources == attempt.resources) else {
                    return Err(format!("{name} takes {:?}, its job says {said:?}", attempt.resources));
                };
                room.held = sum([room.held, attempt.resources]);
                if !room.held.fits(room.capacity) {
                    let Room { capacity, held, .. } = *room;
                    return Err(format!("{name} takes {} to {held:?} of {capacity:?}", attempt.node));
                }
                let given = room.devices.give(attempt.id, attempt.gpus, &wanted);
                given.map_err(|what| format!("{name} on {} {what}", attempt.node))?;
            }
            Some(before) if before != taken => return Err(format!("{name} took {before:?} and takes {taken:?}")),
            Some(_) => {}
        }
        if attempt.gone && self.gone.insert(attempt.id) {
            room.held = room.held.saturating_sub(attempt.resources);
            room.devices.take_back(attempt.id);
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
        let has =
            Resources { cpu_milli: plan.cpu_milli, memory_bytes: plan.memory_bytes, gpu_milli: plan.gpus.milli() };
        let counts = |alive: &&Alive| alive.node == *node && !self.given_up.contains(&alive.attempt);
        let running = || self.executions.all().filter(counts);
        if let Some((device, milli)) = devices::over(running().map(|alive| &alive.gpus)) {
            return Err(format!("{node} runs {milli} thousandths on its device {device}"));
        }
        let used = sum(running().filter_map(|alive| self.takes.get(&alive.attempt).map(|(takes, _)| *takes)));
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
