//! P11, of what is preempted for what namespaces have: who takes has less than its part, and no more afterwards, or is within its
//! guarantee; who loses keeps its part, and the gap, and its guarantee; both stand beside each other; nobody above them falls short by
//! it. What is told of it is so; and two do not stop each other by turns while nothing else happens.
//!
//! Stands for shares that are evened out by stopping the same ones again and again.

use std::collections::BTreeMap;

use quorate_state::{Attempt, AttemptId, Change, Claim, Preemption, Resources, StopReason, TaskId};

use super::books::{Books, Stake};
use super::history::{attempt_name, spec_of, takes, task_name};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Keeps books, and who was stopped for whom.
#[derive(Default)]
pub(crate) struct Shares {
    books: Books,
    /// Rises with all that lets shares change hands once more.
    turn: u64,
    /// Who was stopped for whom, and in which turn.
    stopped: BTreeMap<(TaskId, TaskId), u64>,
    known: BTreeMap<AttemptId, bool>,
}

impl Oracle for Shares {
    fn id(&self) -> &'static str {
        "P11"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        // Those who are stopped for somebody come right before the room that is kept for it.
        let mut victims: Vec<Attempt> = Vec::new();
        for change in &step.changes {
            match change {
                Change::Attempt(attempt) if self.is_new_victim(attempt) => {
                    victims.push((**attempt).clone());
                    continue;
                }
                Change::Claim(claim) => self.check(claim, &std::mem::take(&mut victims), step)?,
                _ => {}
            }
            self.turn += u64::from(self.books.take(change));
        }
        self.turn += u64::from(self.books.end_step());
        Ok(())
    }
}

impl Shares {
    fn is_new_victim(&mut self, attempt: &Attempt) -> bool {
        let is_stopped = attempt.stop == Some(StopReason::Preempted);
        let was_stopped = self.known.insert(attempt.id, is_stopped).unwrap_or(false);
        if attempt.state.is_terminal() {
            self.known.remove(&attempt.id);
        }
        is_stopped && !was_stopped && !attempt.state.is_terminal()
    }

    fn check(&mut self, claim: &Claim, victims: &[Attempt], step: &Step) -> Verdict {
        let verdict = self.judge(claim, victims, step);
        for victim in victims {
            self.turn += u64::from(self.books.take(&Change::Attempt(victim.clone().into())));
        }
        verdict
    }

    fn judge(&mut self, claim: &Claim, victims: &[Attempt], step: &Step) -> Verdict {
        let who = task_name(claim.task);
        let policy = step.after.settings().and_then(|settings| settings.preemption).filter(Preemption::is_on);
        let Some(policy) = policy else { return Ok(()) };
        let Some(run) = self.books.run(claim.task.run) else { return Err(format!("{who} preempts, and is not known")) };
        let priority = run.priority();
        let spec = spec_of(&step.after, claim.task);
        let asked = spec.and_then(|spec| takes(spec, claim.terms.choice));
        let each = asked.map_or(claim.terms.resources, |asked| asked.resources);
        // A gang has its room at once, and those who are stopped for all of it come before the first of that.
        let members = spec.filter(|spec| spec.gang.is_some() && !victims.is_empty()).map_or(1, |spec| spec.count);
        let resources = (0..members).fold(Resources::ZERO, |sum, _| sum.saturating_add(each));
        let by = Stake { namespace: run.spec.namespace.clone(), priority, resources };
        let mut from = Vec::new();
        for victim in victims {
            let name = attempt_name(victim.id);
            let Some(other) = self.books.run(victim.id.task.run) else { return Err(format!("{name} is not known")) };
            let is_lower =
                policy.by_priority && u32::from(other.priority()) + u32::from(policy.gap) <= u32::from(priority);
            let share = victim.preempted.and_then(|preempted| preempted.share);
            if share.is_some() == is_lower {
                return Err(format!("{name} is to end for {who}, told as {share:?}"));
            }
            if is_lower {
                continue;
            }
            if !policy.by_share || other.priority() > priority {
                return Err(format!("{name} of priority {} is to end for {who} of {priority}", other.priority()));
            }
            let (namespace, priority) = (other.spec.namespace.clone(), other.priority());
            from.push(Stake { namespace, priority, resources: victim.resources });
            let back = self.stopped.get(&(claim.task, victim.id.task));
            if back == Some(&self.turn) {
                let theirs = task_name(victim.id.task);
                return Err(format!("{name} is to end for {who}, which ended for {theirs}, and nothing else happened"));
            }
            self.stopped.insert((victim.id.task, claim.task), self.turn);
        }
        self.books.judge(&by, &from, policy.share_gap).map_err(|why| format!("attempts are to end for {who}: {why}"))
    }
}
