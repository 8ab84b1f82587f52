//! L6, where there are no faults, and elsewhere once they have ended: no task stays without room while it could be made by stopping one attempt of a namespace that has
//! more than its part, for one that has less. Only where that is beyond doubt: the task may run on that node, its own room is not more
//! than that of the attempt, nothing else leaves the node, and no gang waits, for which nodes may be kept.
//!
//! Stands for a fair order that is none, because nothing ever ends.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_state::{
    Attempt, AttemptState, Change, Company, Node, NodeStatus, OnNodeLoss, Preemption, State, TaskId, TaskSpec,
};

use super::books::{Books, Stake};
use super::flow::is_to_end_within;
use super::history::{spec_of, task_name};
use super::p12_place::{asks_for, is_at_hand, is_reserved, tolerates};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;
use crate::scenario::Kind;

/// A task waits no longer than this for room that could be made all the time.
const WITHIN: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Follows who waits for what others have too much of.
#[derive(Default)]
pub(crate) struct Starvation {
    books: Books,
    /// Since when room could have been made for it.
    since: BTreeMap<TaskId, Duration>,
    looked: Duration,
}

impl Oracle for Starvation {
    fn id(&self) -> &'static str {
        "L6"
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        for change in &step.changes {
            self.books.take(change);
            if let Change::Task(task) = change {
                self.since.remove(&task.id);
            }
        }
        self.books.end_step();
        let policy = step.after.settings().and_then(|settings| settings.preemption);
        let Some(policy) = policy.filter(|policy| policy.by_share) else { return Ok(()) };
        let is_calm = known.scenario.kind == Kind::FaultFree || known.healed.is_some_and(|healed| step.at >= healed);
        if !is_calm || step.at < self.looked + LOOK_EVERY {
            return Ok(());
        }
        self.looked = step.at;
        // Nodes may be kept for it, where nobody is stopped for others meanwhile.
        if self.books.ready().any(|task| spec_of(&step.held, task).is_some_and(|spec| spec.gang.is_some())) {
            self.since.clear();
            return Ok(());
        }
        // One of each step: the others are equal to it.
        let mut firsts = BTreeMap::new();
        for task in self.books.ready() {
            firsts.entry((task.run, task.step)).or_insert(task);
        }
        let waits: BTreeMap<TaskId, String> = firsts
            .into_values()
            .filter_map(|task| self.victim(task, &step.held, &policy).map(|attempt| (task, attempt)))
            .collect();
        self.since.retain(|task, _| waits.contains_key(task));
        for (task, attempt) in waits {
            let since = *self.since.entry(task).or_insert(step.at);
            if step.at > since + WITHIN {
                return Err(format!("{} has waited since {since:?} for room that {attempt} has", task_name(task)));
            }
        }
        Ok(())
    }
}

impl Starvation {
    /// An attempt beyond doubt that could be stopped for a task.
    fn victim(&self, task: TaskId, state: &State, policy: &Preemption) -> Option<String> {
        let run =
            self.books.run(task.run).filter(|run| run.paused.is_none() && !is_to_end_within(state, run, task.step))?;
        let is_plain = |spec: &&TaskSpec| {
            let is_alone = spec.sub_run.is_none() && spec.gang.is_none() && spec.place.company == Company::default();
            let takes_one = spec.alternatives.is_empty() && spec.resources.gpu_milli == 0;
            is_alone && takes_one && spec.on_region_loss.is_none() && spec.place.condition.is_none()
        };
        let spec = spec_of(state, task).filter(is_plain)?;
        if self.books.has_room(task) || self.books.is_limited(&run.spec.namespace) {
            return None;
        }
        let (namespace, priority) = (run.spec.namespace.clone(), run.priority());
        let by = Stake { namespace, priority, resources: spec.resources };
        for node in state.nodes().filter(|node| may_run(spec, node) && !is_reserved(state, node)) {
            // Room that comes free anyway is waited for.
            let is_still = |attempt: &Attempt| attempt.stop.is_none() && !attempt.state.is_terminal();
            let others: Vec<&Attempt> = state.attempts_on(&node.name).map(AsRef::as_ref).collect();
            if !others.iter().all(|attempt| is_still(attempt)) || state.claims().any(|claim| claim.node == node.name) {
                continue;
            }
            for attempt in others {
                let Some(other) = self.books.run(attempt.id.task.run) else { continue };
                let theirs = Stake {
                    namespace: other.spec.namespace.clone(),
                    priority: other.priority(),
                    resources: attempt.resources,
                };
                let is_open = other.paused.is_none() && !is_to_end_within(state, other, attempt.id.task.step);
                let is_enough = by.resources.cpu_milli <= theirs.resources.cpu_milli
                    && by.resources.memory_bytes <= theirs.resources.memory_bytes;
                if is_open
                    && is_enough
                    && theirs.priority <= priority
                    && may_end(attempt, state)
                    && self.books.judge(&by, &[theirs], policy.share_gap).is_ok()
                {
                    return Some(super::history::attempt_name(attempt.id));
                }
            }
        }
        None
    }
}

fn may_run(spec: &TaskSpec, node: &Node) -> bool {
    let place = &spec.place;
    node.status == NodeStatus::Up
        && !node.is_out()
        && (place.regions.is_empty() || place.regions.contains(&node.region))
        && (place.clusters.is_empty() || place.clusters.contains(&node.cluster))
        && asks_for(place, &node.labels)
        && is_at_hand(place, node.offer.pool.as_str())
        && tolerates(place, &node.offer.taints)
        && spec.resources.fits(node.capacity)
}

/// It runs, and nothing spares it.
fn may_end(attempt: &Attempt, state: &State) -> bool {
    let runs = matches!(attempt.state, AttemptState::Assigned | AttemptState::Starting | AttemptState::Running);
    let spec = spec_of(state, attempt.id.task);
    let is_open =
        spec.is_some_and(|spec| spec.on_node_loss != OnNodeLoss::AtMostOnce && spec.preemptible && spec.gang.is_none());
    runs && is_open && attempt.spared_until.is_none_or(|until| until <= state.meta().served)
}
