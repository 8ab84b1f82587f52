//! P21: a drain does what it promised, and no more. Attempts are asked to end for it only while it lasts, not before they
//! had their time, never those that are started once, and of each step no more at a time than a tenth, or one. A drain
//! for a time ends when that is over, not sooner, and soon after while somebody leads; what an operator said since counts
//! more than its end. The node's row says what was said of it, and not what was said of its cluster or its region, which have rows of
//! their own.
//!
//! Stands for drains that stop all copies of a service at once, and for maintenance that nobody remembers to end.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_state::{AttemptId, AttemptState, Change, Command, OnNodeLoss, Revision, RunId, StopReason, TaskState};

use super::flow::elements_of;
use super::history::{attempt_name, promise_of};
use super::service::{Service, Terms, answered};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Of the elements of a step, this share may be on the move at a time, in per cent; at least one.
const SHARE_PERCENT: u32 = 10;

/// A drain whose time is over has ended after this, spent by one leader.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Between two entries, so much counts as spent at most: whoever stood still did nothing.
const SPENT_MAX: Duration = Duration::from_millis(250);

/// Follows what was said of nodes, and who was asked to end for it.
#[derive(Default)]
pub(crate) struct Drains {
    service: Service,
    /// The revision at which attempts were asked to end for a drain.
    evicted: BTreeMap<AttemptId, Revision>,
    /// Drains whose time is over, each with the time that the leader of a term has had since.
    overdue: BTreeMap<String, Overdue>,
}

#[derive(Clone, Copy)]
struct Overdue {
    terms: Terms,
    term: u64,
    seen: Duration,
    spent: Duration,
}

impl Oracle for Drains {
    fn id(&self) -> &'static str {
        "P21"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        for (item, reply) in answered(step) {
            if let (Command::EvictAttempts { attempts }, Ok(_)) = (&item.command, reply) {
                attempts.iter().try_for_each(|attempt| self.on_evicted(*attempt, step))?;
                self.check_share(attempts, step)?;
            }
            self.service.take(step, item, reply);
        }
        self.check_stops(step)?;
        self.check_rows(step)?;
        self.check_ends(step)
    }
}

impl Drains {
    fn on_evicted(&mut self, id: AttemptId, step: &Step) -> Verdict {
        let (Some(before), Some(after)) = (step.before.attempt(id), step.after.attempt(id)) else { return Ok(()) };
        if before.stop.is_some() || after.stop != Some(StopReason::Drained) {
            return Ok(());
        }
        let (name, node, served) = (attempt_name(id), &after.node, step.after.meta().served);
        let Some(due) = self.service.due(node) else {
            return Err(format!("{name} is to end for a drain of {node}, which is not drained"));
        };
        if served < due {
            return Err(format!(
                "{name} is to end for the drain of {node} at served time {served:?}, it had until {due:?}"
            ));
        }
        if promise_of(&step.after, id.task) == Some(OnNodeLoss::AtMostOnce) {
            return Err(format!("{name} is to end for the drain of {node}, and is started once"));
        }
        self.evicted.insert(id, step.revision);
        Ok(())
    }

    /// Nobody is asked to end for a drain but by the command for it.
    fn check_stops(&self, step: &Step) -> Verdict {
        for change in &step.changes {
            let Change::Attempt(attempt) = change else { continue };
            let is_drained = attempt.stop == Some(StopReason::Drained);
            if step.entry.is_some() && is_drained && !self.evicted.contains_key(&attempt.id) {
                return Err(format!("{} is to end for a drain that nobody asked for", attempt_name(attempt.id)));
            }
        }
        Ok(())
    }

    /// So many elements of a step are on the move, counting those of drains that still last.
    fn check_share(&self, asked: &[AttemptId], step: &Step) -> Verdict {
        let mut steps: Vec<(RunId, u32)> = asked.iter().map(|id| (id.task.run, id.task.step)).collect();
        steps.sort_unstable();
        steps.dedup();
        let state = &step.after;
        for (run, number) in steps {
            let mut moving = 0;
            let mut one = None;
            for task in state.tasks_of(run).filter(|task| task.id.step == number) {
                one = Some(task.id);
                let Some(newest) = task.newest_attempt().and_then(|newest| state.attempt(newest)) else { continue };
                let asked_at = self.evicted.get(&newest.id);
                let lasts =
                    |at: &Revision| self.service.outs(&newest.node).any(|out| out.drain.is_some() && out.since <= *at);
                let stops = !newest.gone && asked_at.is_some_and(lasts);
                let waits =
                    task.state == TaskState::Ready && newest.state == AttemptState::Preempted && asked_at.is_some();
                moving += u32::from(stops || waits);
            }
            let row = one.and_then(|task| state.run(task.run));
            let count = row.map_or(0, |row| elements_of(state, row, number));
            let most = (count * SHARE_PERCENT / 100).max(1);
            if moving > most {
                let at = step.revision;
                return Err(format!(
                    "{moving} of {count} elements of step {number} of run {run} are moved at once at revision {at}"
                ));
            }
        }
        Ok(())
    }

    /// The rows of nodes say what operators said.
    fn check_rows(&self, step: &Step) -> Verdict {
        for change in &step.changes {
            let Change::Node(row) = change else { continue };
            // Only the last row of the step counts.
            let Some(row) = step.after.node(&row.name).filter(|_| step.entry.is_some()) else { continue };
            let out = self.service.own(&row.name);
            let drain = row.own_drain().map(|drain| Terms { due: drain.due, ends: drain.ends });
            if row.cordoned != out.is_some() || drain != out.and_then(|out| out.drain) {
                let (node, cordoned) = (&row.name, row.cordoned);
                return Err(format!("node {node}: cordoned {cordoned}, {drain:?}; what was said of it is {out:?}"));
            }
        }
        let rows: Vec<_> = step.after.scopes().map(|row| &row.scope).collect();
        if step.entry.is_some() && !self.service.scopes().eq(rows.iter().copied()) {
            let said: Vec<_> = self.service.scopes().collect();
            return Err(format!("{rows:?} are out of service; what was said is {said:?}"));
        }
        Ok(())
    }

    /// A drain for a time has ended soon after that.
    fn check_ends(&mut self, step: &Step) -> Verdict {
        let served = step.after.meta().served;
        let over = |terms: &Terms| terms.ends.is_some_and(|ends| ends <= served);
        let over: BTreeMap<String, Terms> = self.service.drained().filter(|(_, terms)| over(terms)).collect();
        self.overdue.retain(|node, overdue| overdue.term == step.term && over.get(node) == Some(&overdue.terms));
        for (node, terms) in over {
            let fresh = Overdue { terms, term: step.term, seen: step.at, spent: Duration::ZERO };
            let overdue = self.overdue.entry(node.clone()).or_insert(fresh);
            overdue.spent += (step.at - overdue.seen).min(SPENT_MAX);
            overdue.seen = step.at;
            if overdue.spent > ENDS_WITHIN {
                return Err(format!("the drain of {node} should have ended ({terms:?}), served time is {served:?}"));
            }
        }
        Ok(())
    }
}
