//! P31: a rebalance moves only while it lasts, by the word of somebody who asked for it, and never beyond what was asked for: so many moves in
//! all, so many at a time, so large a part of each step. Nobody is moved whose job forbids it, or who is of a gang or has rules about
//! others, and nobody twice. When an attempt is asked to stop for that, room is kept for its task where it is to go on, and that takes
//! work, and is no farther away than was said.
//!
//! Stands for a rebalance that becomes a storm when the leader changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::{
    AttemptId, Command, Company, Event, Node, OnNodeLoss, Reach, RebalanceOrder, RebalanceTerms, RunId, Served, State,
    StopReason, TaskId, TaskState, Wait,
};

use super::history::{attempt_name, attempts, spec_of};
use super::service::answered;
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Follows what was asked for, and who was moved.
#[derive(Default)]
pub(crate) struct Rebalances {
    /// Requests that were carried out: sent again, they change nothing.
    done: BTreeSet<Arc<str>>,
    going: Option<Going>,
    /// Tasks on the move, each with the attempt that is to stop.
    open: BTreeMap<TaskId, u32>,
}

/// The one that goes on.
struct Going {
    terms: RebalanceTerms,
    ends: Served,
    moved: BTreeSet<TaskId>,
    begun: u32,
}

impl Oracle for Rebalances {
    fn id(&self) -> &'static str {
        "P31"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        let served = step.after.meta().served;
        let mut asked: BTreeSet<AttemptId> = BTreeSet::new();
        for (item, _) in answered(step).filter(|(_, reply)| reply.is_ok()) {
            let is_new = item.request.as_ref().is_none_or(|request| self.done.insert(request.id.0.clone()));
            match &item.command {
                Command::SetRebalance { order: RebalanceOrder::Start(terms) } if is_new => {
                    if self.going.is_some() {
                        return Err(format!("a rebalance begins at revision {} beside another", step.revision));
                    }
                    let ends = served.plus(terms.for_ms);
                    self.going = Some(Going { terms: *terms, ends, moved: BTreeSet::new(), begun: 0 });
                }
                Command::SetRebalance { order: RebalanceOrder::Stop } if is_new => self.going = None,
                Command::MoveAttempts { moves, ends, rebalance: number } => {
                    for moving in moves {
                        asked.insert(moving.attempt);
                        self.on_move(moving.attempt, step)?;
                    }
                    self.check_budget(step)?;
                    // It may go on after all: it is over when that is told, and moves nothing from then on.
                    let is_over =
                        |event: &Event| matches!(event, Event::RebalanceEnded { rebalance, .. } if rebalance == number);
                    if ends.is_some() && step.events.iter().any(|row| is_over(&row.event)) {
                        self.going = None;
                    }
                }
                _ => {}
            }
        }
        let new = attempts(step).find(|row| is_new_stop(step, row.id) && !asked.contains(&row.id));
        if let Some(row) = new.filter(|_| step.entry.is_some()) {
            return Err(format!("{} is to go on elsewhere, and nobody moved it", attempt_name(row.id)));
        }
        self.open.retain(|task, attempt| is_on_the_move(&step.after, *task, *attempt));
        Ok(())
    }
}

impl Rebalances {
    fn on_move(&mut self, id: AttemptId, step: &Step) -> Verdict {
        // Passed over, or named twice.
        if !is_new_stop(step, id) || self.open.get(&id.task) == Some(&id.number) {
            return Ok(());
        }
        let (name, after) = (attempt_name(id), &step.after);
        let Some(going) = &mut self.going else {
            return Err(format!("{name} is to go on elsewhere, and nobody asked for that any more"));
        };
        if after.meta().served >= going.ends {
            return Err(format!("{name} is moved at {:?}, that was to end at {:?}", after.meta().served, going.ends));
        }
        let drains = |state: &State| state.nodes().any(|node| node.drain_at(after.meta().served).is_some());
        if drains(&step.before) && drains(after) {
            return Err(format!("{name} is moved while nodes are drained"));
        }
        if !going.moved.insert(id.task) {
            return Err(format!("{name} is moved, and its task was before"));
        }
        going.begun += 1;
        let terms = going.terms;
        let Some(spec) = spec_of(after, id.task) else { return Err(format!("{name} is moved, and not known")) };
        let is_promised = spec.on_node_loss == OnNodeLoss::AtMostOnce || !spec.preemptible;
        if is_promised || spec.gang.is_some() || spec.place.company != Company::default() {
            return Err(format!(
                "{name} is moved, and is started once, protected, of a gang or has rules about others"
            ));
        }
        let is_paused = |state: &State| state.run(id.task.run).is_some_and(|run| run.paused.is_some());
        if is_paused(&step.before) && is_paused(after) {
            return Err(format!("{name} is moved, and its run is paused"));
        }
        let row = after.attempt(id).ok_or_else(|| format!("{name} is moved, and not known"))?;
        let to = row.moved.as_ref().map(|moved| moved.to.clone());
        let to = to.ok_or_else(|| format!("{name} is moved, and it is not said where"))?;
        let either = |node| step.before.node(node).or_else(|| after.node(node)).cloned();
        let (Some(from), Some(target)) = (either(&row.node), either(&to)) else {
            return Err(format!("{name} is moved from {} to {to}, and one of these is no node", row.node));
        };
        let is_within = match terms.reach {
            Reach::Cluster => from.cluster == target.cluster,
            Reach::Region => from.region == target.region,
            Reach::Everywhere => true,
        };
        if to == row.node || !is_within {
            return Err(format!("{name} is moved from {} to {to}, which is not within what was said", row.node));
        }
        let takes = |state: &State| state.node(&to).is_some_and(|node: &Arc<Node>| !node.is_out());
        if !takes(&step.before) && !takes(after) {
            return Err(format!("{name} is moved to {to}, which takes no work"));
        }
        self.open.insert(id.task, id.number);
        // What the same entry has taken back, or ended, keeps nothing.
        let stays = takes(after)
            && after.node(&to).is_some_and(|node| node.epoch == target.epoch && node.status == target.status)
            && !is_paused(after)
            && is_on_the_move(after, id.task, id.number);
        let claim = step.held.claim(id.task);
        let is_kept = claim.is_some_and(|claim| claim.node == to && claim.terms.resources == row.resources);
        if stays && !is_kept {
            return Err(format!("{name} is moved to {to}, and no room is kept for its task there"));
        }
        Ok(())
    }

    /// What was asked for is never exceeded: in all, at a time, and of each step.
    fn check_budget(&self, step: &Step) -> Verdict {
        let Some(going) = &self.going else { return Ok(()) };
        let terms = going.terms;
        if going.begun > terms.moves_max {
            return Err(format!("{} moves were begun, of at most {}", going.begun, terms.moves_max));
        }
        let moving = |task: &TaskId, attempt: &u32| is_on_the_move(&step.after, *task, *attempt);
        let open: Vec<TaskId> =
            self.open.iter().filter(|(task, attempt)| moving(task, attempt)).map(|(task, _)| *task).collect();
        let begins = |task: &TaskId| {
            let newest = step.before.task(*task).and_then(|row| row.newest_attempt());
            newest.is_some_and(|newest| is_new_stop(step, newest))
        };
        // Elsewhere elements may have ended since, of which fewer could begin now.
        let begun: BTreeSet<(RunId, u32)> =
            open.iter().filter(|task| begins(task)).map(|task| (task.run, task.step)).collect();
        if begun.is_empty() {
            return Ok(());
        }
        if open.len() > terms.at_once as usize {
            return Err(format!("{} tasks are on the move, of at most {}", open.len(), terms.at_once));
        }
        let mut steps: BTreeMap<(RunId, u32), u64> = BTreeMap::new();
        for of in open.iter().map(|task| (task.run, task.step)).filter(|of| begun.contains(of)) {
            *steps.entry(of).or_default() += 1;
        }
        for ((run, number), moving) in steps {
            // Those that were up at some time in this entry.
            let is_up = |state: &State, task: TaskId| {
                state.task(task).is_some_and(|row| matches!(row.state, TaskState::Placed | TaskState::Running))
            };
            let tasks = step.after.tasks_of_step(run, number);
            let up = tasks.filter(|row| {
                is_up(&step.before, row.id) || is_up(&step.after, row.id) || self.open.contains_key(&row.id)
            });
            let up = up.count() as u64;
            let most = (up * u64::from(terms.share_percent) / 100).max(1);
            if moving > most {
                return Err(format!("{moving} of {up} elements of step {number} of run {run} are on the move at once"));
            }
        }
        Ok(())
    }
}

/// In this entry it was asked to stop, to go on elsewhere.
fn is_new_stop(step: &Step, id: AttemptId) -> bool {
    let stop = |state: &State| state.attempt(id).is_some_and(|row| row.stop == Some(StopReason::Rebalanced));
    stop(&step.after) && !stop(&step.before)
}

/// It has neither ended nor been placed again.
fn is_on_the_move(state: &State, task: TaskId, attempt: u32) -> bool {
    state.task(task).is_some_and(|row| {
        let lasts = match row.state {
            TaskState::Ready | TaskState::Placed | TaskState::Running | TaskState::Waiting(Wait::Fence { .. }) => true,
            TaskState::Waiting(Wait::Needs | Wait::Backoff { .. } | Wait::Quarantine)
            | TaskState::Succeeded
            | TaskState::Failed(_)
            | TaskState::Cancelled
            | TaskState::Skipped => false,
        };
        lasts && row.attempts == attempt
    })
}
