//! P12: a task is placed on a node that is up under the lease that the plan saw, takes new work, and
//! stands where the job allows, by the machine's own word and by truth.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{Attempt, AttemptId, Change, Claim, Node, NodeName, NodeStatus, Place, State, TaskId};

use super::history::{attempt_name, plan_of, spec_of, task_name};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;
use crate::scenario::{Condition, Facts, Ground, Scenario, TAINT, ZONE};

/// Knows every node as of the change that is looked at.
#[derive(Default)]
pub(crate) struct Places {
    nodes: BTreeMap<NodeName, Arc<Node>>,
    /// The number of every task's newest attempt.
    newest: BTreeMap<TaskId, u32>,
}

impl Oracle for Places {
    fn id(&self) -> &'static str {
        "P12"
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        for change in &step.changes {
            match change {
                Change::Node(node) => {
                    self.nodes.insert(node.name.clone(), node.clone());
                }
                Change::NodeGone(node) => {
                    self.nodes.remove(node);
                }
                Change::Claim(claim) => self.on_kept(claim, step, known)?,
                Change::Attempt(attempt) if self.is_new(attempt.id) => self.on_placed(attempt, step, known)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Places {
    fn is_new(&mut self, attempt: AttemptId) -> bool {
        let newest = self.newest.entry(attempt.task).or_default();
        let is_new = attempt.number > *newest;
        *newest = attempt.number.max(*newest);
        is_new
    }

    /// Room is kept for a task where it may go alone.
    fn on_kept(&self, claim: &Claim, step: &Step, known: &Known<'_>) -> Verdict {
        let (node, spec) = (self.nodes.get(&claim.node), spec_of(&step.after, claim.task));
        let is_wrong =
            node.zip(spec).is_some_and(|(node, spec)| holds(&spec.place, node, known.scenario) == Some(false));
        if !is_wrong {
            return Ok(());
        }
        Err(format!(
            "room is kept for {} on {}, for which its condition does not hold",
            task_name(claim.task),
            claim.node
        ))
    }

    fn on_placed(&self, attempt: &Attempt, step: &Step, known: &Known<'_>) -> Verdict {
        let name = attempt_name(attempt.id);
        let Some(spec) = spec_of(&step.after, attempt.id.task) else { return Err(format!("{name} is of no job")) };
        let Some(node) = self.nodes.get(&attempt.node) else {
            return Err(format!("{name} was placed on {}, which has not registered", attempt.node));
        };
        let (place, truth) = (&spec.place, plan_of(known.scenario, &node.name));
        let allows = |region: &str, cluster: &str| {
            (place.regions.is_empty() || place.regions.iter().any(|allowed| allowed.as_str() == region))
                && (place.clusters.is_empty() || place.clusters.iter().any(|allowed| allowed.as_str() == cluster))
        };
        let wrong = if node.status != NodeStatus::Up {
            Some("has lost its lease")
        } else if node.epoch != attempt.epoch {
            Some("has another lease")
        } else if node.cordoned {
            Some("takes no new work")
        } else if !allows(node.region.as_str(), node.cluster.as_str()) {
            Some("says that it stands elsewhere")
        } else if !truth.is_some_and(|(rack, agent)| allows(&rack.region, &agent.cluster)) {
            Some("stands elsewhere")
        } else if !asks_for(place, &node.labels) {
            Some("lacks a label")
        } else if !is_at_hand(place, node.offer.pool.as_str()) {
            Some("is in another pool")
        } else if !tolerates(place, &node.offer.taints) {
            Some("has a taint")
        } else if holds(place, node, known.scenario) == Some(false) {
            Some("is none for which its condition holds")
        } else if truth.is_none_or(|(_, agent)| agent.zone.is_some() && node.labels.get(ZONE) != agent.zone.as_ref()) {
            Some("says that it is in another zone than it is")
        } else if !truth.is_some_and(|(_, agent)| is_true(node, &agent.ground)) {
            Some("says of itself what is not so")
        } else {
            None
        };
        match wrong {
            None => Ok(()),
            Some(wrong) => Err(format!("{name} was placed on {}, which {wrong} ({node:?}, {place:?})", node.name)),
        }
    }
}

/// True of a node that is of a reservation, whether or not its time has begun: there others may have to wait.
pub(super) fn is_reserved(state: &State, node: &Node) -> bool {
    state.reservations().any(|row| row.nodes.contains(&node.name))
}

/// A job goes to the pools that it asks for, and to the default one if it asks for none.
pub(super) fn is_at_hand(place: &Place, pool: &str) -> bool {
    match &place.pools[..] {
        [] => pool == "default",
        pools => pools.iter().any(|asked| asked.as_str() == pool),
    }
}

/// Every taint is one that the job tolerates: `*` stands for any value.
pub(super) fn tolerates(place: &Place, taints: &BTreeMap<String, String>) -> bool {
    taints.iter().all(|(key, has)| place.tolerate.get(key).is_some_and(|said| said == "*" || said == has))
}

/// Whether what a job says must hold of its nodes does for this one, by what the scenario meant with these words; none if they are not of
/// a scenario.
pub(super) fn holds(place: &Place, node: &Node, scenario: &Scenario) -> Option<bool> {
    let Some(text) = &place.condition else { return Some(true) };
    let zone = node.labels.get(ZONE).map(String::as_str);
    let facts = Facts { zone, region: node.region.as_str(), cpu_milli: node.capacity.cpu_milli };
    Condition::of(text.as_str(), scenario).map(|condition| condition.holds(facts) == Some(true))
}

/// What the row of a node says is what its agent was told to say; before all replicas knew of such things, it says nothing.
fn is_true(node: &Node, ground: &Ground) -> bool {
    let said = &node.offer;
    let says_nothing = said.pool.as_str() == "default" && said.taints.is_empty() && said.price.is_none();
    let taint = ground.taint.iter().map(|taint| (TAINT.to_owned(), taint.clone()));
    let is_all = said.pool.as_str() == ground.pool.as_deref().unwrap_or("default")
        && said.taints == taint.collect()
        && said.price.map(|price| price.0) == ground.price;
    is_all || says_nothing
}

/// What a job asks of its node's labels is there: `*` stands for any value.
pub(super) fn asks_for(place: &Place, labels: &BTreeMap<String, String>) -> bool {
    place.labels.iter().all(|(key, want)| labels.get(key).is_some_and(|has| want == "*" || want == has))
}
