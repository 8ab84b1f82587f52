//! P11, as far as nothing is preempted (`p11_preemption`): a task is not placed while a more urgent one waits that could have
//! had its room. Only where that is beyond doubt: the urgent one has waited for longer, needs no more, may run no longer, and
//! may run on that node.

use std::collections::BTreeMap;

use quorate_state::{
    Amounts, Attempt, Change, Command, Company, Event, Namespace, NamespaceRow, Node, NodeName, Run, RunId, Served,
    State, TaskId, TaskSpec, TaskState,
};

use super::flow::is_to_end;
use super::history::{attempt_name, placed, spec_of, task_name};
use super::homes::Homes;
use super::p12_place::{asks_for, holds, is_at_hand, tolerates};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Follows what waits for a node.
#[derive(Default)]
pub(crate) struct Urgency {
    /// Since which revision tasks have been ready, and the served time of it.
    ready: BTreeMap<TaskId, (u64, Served)>,
    homes: Homes,
    /// The last revision whose plan had a place for a task, which may have been refused.
    offered: BTreeMap<TaskId, u64>,
    /// The last revision at which somebody paused or resumed a run, or gave it another priority: a plan may be older.
    controlled: BTreeMap<RunId, u64>,
    /// The last revision at which the room that was made for a task was given up: a plan may be older.
    released: BTreeMap<TaskId, u64>,
    /// The last revision at which the row of a namespace changed, and with it a maximum, perhaps: a plan may be older.
    namespaces: BTreeMap<Namespace, u64>,
    /// The last revision at which a node was of a reservation, whose time may have been to come: what passes there is what will have ended
    /// by then.
    reserved: BTreeMap<NodeName, u64>,
}

impl Oracle for Urgency {
    fn id(&self) -> &'static str {
        "P11"
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let items = step.entry.iter().flat_map(|entry| &entry.items);
        for command in items.map(|item| &item.command) {
            if let Command::CommitPlan { placements } = command {
                self.offered.extend(placements.iter().map(|placement| (placement.task, step.revision.0)));
            }
        }
        for row in &step.events {
            if let Event::RunPaused { run, .. } | Event::RunResumed { run, .. } | Event::RunPrioritySet { run, .. } =
                &row.event
            {
                self.controlled.insert(*run, step.revision.0);
            }
        }
        for attempt in placed(step) {
            self.check(attempt, &step.before, known)?;
        }
        for reservation in step.after.reservations() {
            self.reserved.extend(reservation.nodes.iter().map(|node| (node.clone(), step.revision.0)));
        }
        let served = step.after.meta().served;
        self.homes.take(step, |_, _, _| Verdict::Ok(()))?;
        for change in &step.changes {
            if let Change::Namespace(row) = change {
                self.namespaces.insert(row.name.clone(), step.revision.0);
            }
            if let Change::ClaimGone(task) = change {
                self.released.insert(*task, step.revision.0);
            }
            if let Change::Task(task) = change {
                if task.state == TaskState::Ready {
                    self.ready.entry(task.id).or_insert((step.revision.0, served));
                } else {
                    self.ready.remove(&task.id);
                }
            }
        }
        Ok(())
    }
}

impl Urgency {
    fn check<'a>(&self, attempt: &Attempt, view: &'a State, known: &Known<'a>) -> Verdict {
        let task = attempt.id.task;
        let (Some((since, served)), Some(run)) = (self.ready.get(&task), view.run(task.run)) else { return Ok(()) };
        let is_settled = |run: RunId| self.controlled.get(&run).is_none_or(|at| at < since);
        if !is_settled(task.run) {
            return Ok(());
        }
        if self.reserved.get(&attempt.node).is_some_and(|at| at >= since) {
            return Ok(());
        }
        // A plan that knew of the one knew of all these.
        // It has the room that was made for it, whoever came in between.
        if view.claim(task).is_some() {
            return Ok(());
        }
        for (other, _) in self.ready.iter().filter(|(_, (other_since, _))| other_since < since) {
            // It waits for the room that is made for it, and takes no other.
            if view.claim(*other).is_some() || self.released.get(other).is_some_and(|at| at >= since) {
                continue;
            }
            let waits = view.run(other.run).filter(|waits| !is_to_end(waits, other.step) && waits.paused.is_none());
            let Some(waits) = waits.filter(|waits| is_settled(waits.id)) else { continue };
            // Others may be placed while its namespace may hold no more.
            let is_limited = |row: &std::sync::Arc<NamespaceRow>| {
                row.share.maximum != Amounts::default() || self.namespaces.get(&row.name).is_some_and(|at| at >= since)
            };
            if waits.spec.namespace != run.spec.namespace && view.lineage(&waits.spec.namespace).any(is_limited) {
                continue;
            }
            // A run waits for no node, a gang for room for all of it, and who has rules about others for them.
            let is_free = |spec: &TaskSpec| spec.place.company == Company::default();
            let of_one = |spec: &&TaskSpec| spec.sub_run.is_none() && spec.gang.is_none() && is_free(spec);
            let Some(needs) = spec_of(view, *other).filter(of_one) else { continue };
            // A node that is kept for somebody before both lets pass who will have ended by then.
            let limit = spec_of(view, task).and_then(|spec| spec.run_timeout_ms);
            if limit.is_some_and(|limit| needs.run_timeout_ms.is_none_or(|other| limit < other)) {
                continue;
            }
            let was_offered = self.offered.get(other).is_some_and(|offered| offered >= since);
            let Some(node) = view.node(&attempt.node) else { continue };
            let fits = needs.resources.cpu_milli <= attempt.resources.cpu_milli
                && needs.resources.memory_bytes <= attempt.resources.memory_bytes
                && takes_no_more_gpu(needs, attempt.resources.gpu_milli, node);
            let place = &needs.place;
            let may = (place.regions.is_empty() || place.regions.contains(&node.region))
                && (place.clusters.is_empty() || place.clusters.contains(&node.cluster))
                && asks_for(place, &node.labels)
                && is_at_hand(place, node.offer.pool.as_str())
                && tolerates(place, &node.offer.taints)
                && holds(place, node, known.scenario) == Some(true)
                // What binds it did so no more when the plan knew of the one.
                && self.homes.of(*other, view, known).is_none_or(|home| home.allows(&node.name, Served(served.0.saturating_sub(1)), known));
            if priority(waits) > priority(run) && fits && may && !was_offered {
                return Err(format!(
                    "{} of priority {} was placed on {}, while {} of priority {} waited that fits there",
                    attempt_name(attempt.id),
                    priority(run),
                    attempt.node,
                    task_name(*other),
                    priority(waits)
                ));
            }
        }
        Ok(())
    }
}

/// Whether the GPUs of which one task is given its part would do for another.
fn takes_no_more_gpu(needs: &TaskSpec, given_milli: u64, node: &Node) -> bool {
    let needs_milli = needs.resources.gpu_milli;
    let is_share = |milli: u64| !milli.is_multiple_of(1_000);
    let allows = |model| needs.gpu_models.is_empty() || needs.gpu_models.contains(model);
    needs_milli == 0
        || needs_milli <= given_milli
            && (is_share(needs_milli) || !is_share(given_milli))
            && node.gpus.iter().all(allows)
}

/// Of its job, or as it was set since.
fn priority(run: &Run) -> u8 {
    run.priority_set.unwrap_or(run.spec.priority)
}
