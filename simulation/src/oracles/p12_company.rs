//! P12: no task is placed where there are too many of its step already, or one from which it or that one stays apart.
//!
//! Stands for all replicas of a service on one machine, and for two that must never share one.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{Attempt, AttemptId, Change, Company, Node, NodeName, RunId, State, Topology};

use super::history::{attempt_name, placed};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Knows what is on every node, as of the entry that is looked at.
#[derive(Default)]
pub(crate) struct Companies {
    nodes: BTreeMap<NodeName, Arc<Node>>,
    /// Of tasks that say something of others: what is not known to be gone.
    there: BTreeMap<AttemptId, Arc<Attempt>>,
}

impl Oracle for Companies {
    fn id(&self) -> &'static str {
        "P12"
    }

    fn step(&mut self, step: &Step, _known: &Known<'_>) -> Verdict {
        for change in &step.changes {
            match change {
                Change::Node(node) => {
                    self.nodes.insert(node.name.clone(), node.clone());
                }
                Change::Attempt(attempt) if attempt.gone => {
                    self.there.remove(&attempt.id);
                }
                Change::Attempt(attempt) if says_something(&step.after, attempt.id) => {
                    self.there.insert(attempt.id, attempt.clone());
                }
                _ => {}
            }
        }
        placed(step).into_iter().try_for_each(|attempt| self.check(attempt, &step.after))
    }
}

impl Companies {
    fn check(&self, attempt: &Attempt, state: &State) -> Verdict {
        let (Some(said), Some(node)) = (said_by(state, attempt.id), self.nodes.get(&attempt.node)) else {
            return Ok(());
        };
        let (name, own) = (attempt_name(attempt.id), step_of(attempt.id));
        for rule in &said.at_most {
            let near = self.near(node, &rule.per).filter(|other| step_of(other.id) == own).count();
            if near > rule.tasks as usize || domain(&rule.per, node).is_none() {
                let (per, most) = (&rule.per, rule.tasks);
                return Err(format!(
                    "{name} was placed on {}, with {near} of its step per {per:?}, not {most}",
                    node.name
                ));
            }
        }
        let others = |per| self.near(node, per).filter(|other| other.id != attempt.id);
        for rule in &said.apart {
            let is_of_group = |other: &&Arc<Attempt>| {
                said_by(state, other.id).is_some_and(|their| their.group.as_ref() == Some(&rule.from))
            };
            if let Some(other) = others(&rule.per).find(is_of_group) {
                return Err(format!("{name}, apart from {}, was placed near {}", rule.from, attempt_name(other.id)));
            }
        }
        // Those who were there before have their rules as well.
        for other in self.there.values().filter(|other| other.id != attempt.id) {
            let (Some(their), Some(place)) = (said_by(state, other.id), self.nodes.get(&other.node)) else { continue };
            let mut rules = their.apart.iter().filter(|rule| Some(&rule.from) == said.group.as_ref());
            let is_near = |per: &Topology| domain(per, node).is_some() && domain(per, node) == domain(per, place);
            if rules.any(|rule| is_near(&rule.per)) {
                return Err(format!("{name} was placed near {}, which stays apart from it", attempt_name(other.id)));
            }
        }
        Ok(())
    }

    /// What is in the domain of a node.
    fn near<'a>(&'a self, node: &'a Node, per: &'a Topology) -> impl Iterator<Item = &'a Arc<Attempt>> {
        let own = domain(per, node);
        self.there.values().filter(move |other| {
            let place = self.nodes.get(&other.node).and_then(|place| domain(per, place));
            own.is_some() && place == own
        })
    }
}

fn step_of(attempt: AttemptId) -> (RunId, u32) {
    (attempt.task.run, attempt.task.step)
}

fn says_something(state: &State, attempt: AttemptId) -> bool {
    said_by(state, attempt).is_some_and(|said| *said != Company::default())
}

fn said_by(state: &State, attempt: AttemptId) -> Option<&Company> {
    let run = state.run(attempt.task.run)?;
    run.spec.tasks.get(attempt.task.step as usize).map(|spec| &spec.place.company)
}

fn domain<'a>(per: &Topology, node: &'a Node) -> Option<&'a str> {
    match per {
        Topology::Node => Some(node.name.as_str()),
        Topology::Cluster => Some(node.cluster.as_str()),
        Topology::Region => Some(node.region.as_str()),
        Topology::Label(key) => node.labels.get(key).map(String::as_str),
    }
}
