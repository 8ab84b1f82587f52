//! P22: a node is forgotten only once its lease is over and the time to kill after it has passed, by the log's time, and
//! nothing fenced runs there. All that was on it is lost and holds no room from then on, whatever its agent says later;
//! and it is no node until it registers anew.
//!
//! Stands for a machine that was given up while it was merely cut off, and whose work then counted twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::{AttemptId, AttemptState, Change, Command, Event, NodeName, OnNodeLoss, Served};

use super::executions::Executions;
use super::history::{attempt_name, attempts, promise_of};
use super::service::{Service, answered};
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::Step;

/// Follows leases that ended, and what was given up.
#[derive(Default)]
pub(crate) struct Forgotten {
    executions: Executions,
    service: Service,
    /// When nodes were lost.
    lost: BTreeMap<NodeName, Served>,
    /// How attempts stood when their node was forgotten.
    given_up: BTreeMap<AttemptId, AttemptState>,
}

impl Oracle for Forgotten {
    fn id(&self) -> &'static str {
        "P22"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        self.executions.take(at, fact);
        Ok(())
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let served = step.after.meta().served;
        for row in attempts(step) {
            if let Some(state) = self.given_up.get(&row.id).filter(|state| **state != row.state || !row.gone) {
                let name = attempt_name(row.id);
                return Err(format!("{name} was given up as {state:?} with {}, and is {:?}", row.node, row.state));
            }
        }
        for (item, reply) in answered(step) {
            if let Command::ForgetNode { node } = &item.command
                && reply.is_ok()
                && self.service.knows(node)
                && item.request.as_ref().is_none_or(|request| !self.service.did(&request.id.0))
            {
                self.on_forgotten(node, step, known)?;
            }
            self.service.take(step, item, reply);
        }
        for row in &step.events {
            match &row.event {
                Event::NodeLost { node, .. } => {
                    self.lost.insert(node.clone(), served);
                }
                Event::NodeRegistered { node, .. } => {
                    self.lost.remove(node);
                }
                _ => {}
            }
        }
        let written: BTreeSet<&NodeName> = step
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::Node(row) if step.entry.is_some() => Some(&row.name),
                _ => None,
            })
            .collect();
        match written.into_iter().find(|node| step.after.node(node).is_some() && !self.service.knows(node)) {
            Some(node) => Err(format!("{node} is a node at revision {}, and has not registered", step.revision)),
            None => Ok(()),
        }
    }
}

impl Forgotten {
    fn on_forgotten(&mut self, node: &NodeName, step: &Step, known: &Known<'_>) -> Verdict {
        let served = step.after.meta().served;
        let kill_ms = known.scenario.settings.lease_kill_ms;
        match self.lost.remove(node) {
            None => return Err(format!("{node} was forgotten at revision {}, its lease is live", step.revision)),
            Some(lost) if served < lost.plus(kill_ms) => {
                return Err(format!(
                    "{node} was forgotten at served time {served:?}, lost at {lost:?}: what is fenced there has {kill_ms} ms"
                ));
            }
            Some(_) => {}
        }
        for alive in self.executions.all().filter(|alive| alive.node == *node) {
            let fenced = promise_of(&step.after, alive.attempt.task) == Some(OnNodeLoss::Fenced);
            if fenced && !known.fence_waived(node, alive.started, step.at) {
                return Err(format!("{node} was forgotten while {}, fenced, runs there", attempt_name(alive.attempt)));
            }
        }
        for before in step.before.attempts_on(node) {
            let name = attempt_name(before.id);
            let Some(after) = step.after.attempt(before.id) else { continue };
            if !after.state.is_terminal() || !after.gone {
                return Err(format!("{name} is {:?} on {node}, which was forgotten", after.state));
            }
            self.given_up.insert(after.id, after.state);
        }
        Ok(())
    }
}
