//! P19: data that goes on from a backup keeps the promises of the life before, of which it does not know
//! the end: `fenced` copies never overlap across the restore, an `at_most_once` task starts once in all
//! lives, and what runs is taken in.
//!
//! By the executors' own records; the restored state is asked for nothing but what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::{AttemptId, Command, NodeName, OnNodeLoss, TaskId, Token};

use super::executions::{Alive, Executions};
use super::history::{attempt_name, attempts, promise_of, task_name};
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;

/// See the module.
#[derive(Default)]
pub(crate) struct Restored {
    executions: Executions,
    /// Attempts that were asked to end, or killed.
    asked: BTreeSet<(AttemptId, NodeName)>,
    /// Copies of `at_most_once` tasks that were started, in any life.
    once: BTreeMap<TaskId, AttemptId>,
    /// Since when the data lives its next life.
    since: Option<Duration>,
}

impl Oracle for Restored {
    fn id(&self) -> &'static str {
        "P19"
    }

    fn outlives(&self) -> bool {
        true
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        if let Fact::Execution(execution) = fact {
            match execution.what {
                Happening::Started => self.started(at, execution, known)?,
                Happening::Asked | Happening::Killed => {
                    self.asked.insert((execution.attempt, execution.node.clone()));
                }
                Happening::Ended { .. } => {}
            }
        }
        self.executions.take(at, fact);
        Ok(())
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let base = known.ledger.base();
        if base == 0 {
            return Ok(());
        }
        let since = *self.since.get_or_insert(step.at);
        let items = step.entry.iter().flat_map(|entry| &entry.items);
        for (item, _) in items.zip(&step.replies).filter(|(_, reply)| reply.is_ok()) {
            if let Command::RegisterNode(arrival) = &item.command {
                self.taken_in(&arrival.node, step, base)?;
            }
        }
        attempts(step).filter(|attempt| attempt.token.0 >= base).try_for_each(|attempt| {
            let is_new = step.before.attempt(attempt.id).is_none();
            let run = step.after.run(attempt.id.task.run);
            let is_old = run.is_some_and(|run| run.submitted_revision.0 < base);
            if !is_new {
                return Ok(());
            }
            match promise_of(&step.after, attempt.id.task) {
                Some(OnNodeLoss::AtMostOnce) if is_old => Err(format!(
                    "{} is placed at revision {}, though the life before the restore may have started its task",
                    attempt_name(attempt.id),
                    step.revision
                )),
                Some(OnNodeLoss::Fenced) => self.fenced(attempt.id, step.at, since, known),
                Some(OnNodeLoss::AtLeastOnce | OnNodeLoss::AtMostOnce) | None => Ok(()),
            }
        })
    }
}

impl Restored {
    /// Nothing fenced is placed while an agent may go by a lease of the life before.
    fn fenced(&self, attempt: AttemptId, at: Duration, since: Duration, known: &Known<'_>) -> Verdict {
        let settings = &known.scenario.settings;
        let rho = Duration::from_micros(settings.lease_server_ms * u64::from(settings.lease_rho_ppm) / 1_000);
        let wait = Duration::from_millis(settings.lease_server_ms + settings.lease_kill_ms) - rho;
        if at >= since + wait {
            return Ok(());
        }
        Err(format!(
            "{} is placed {:?} after the restore, when agents may hold leases from before for {wait:?}",
            attempt_name(attempt),
            at.saturating_sub(since)
        ))
    }

    fn started(&mut self, at: Duration, execution: &Execution, known: &Known<'_>) -> Verdict {
        let Execution { node, attempt, promise, .. } = execution;
        let (attempt, name) = (*attempt, attempt_name(*attempt));
        match promise {
            OnNodeLoss::AtLeastOnce => Ok(()),
            OnNodeLoss::AtMostOnce => match self.once.insert(attempt.task, attempt) {
                Some(before) => Err(format!("{name} started on {node}, after attempt {} had started", before.number)),
                None => Ok(()),
            },
            OnNodeLoss::Fenced => {
                // An older copy may also be the late one: on a machine that stood still when the newer one began.
                let waived = |alive: &Alive| {
                    known.fence_waived(&alive.node, alive.started, at)
                        || execution.token < alive.token && known.fence_waived(node, alive.started, at)
                };
                let overlaps = |alive: &&Alive| alive.attempt != attempt && !waived(alive);
                match self.executions.of_task(attempt.task).find(overlaps) {
                    Some(copy) => Err(format!(
                        "{name} started on {node} while attempt {} ran on {}",
                        copy.attempt.number, copy.node
                    )),
                    None => Ok(()),
                }
            }
        }
    }

    /// A node registers: what runs there of an open task that the restored state knows is in it from now on.
    fn taken_in(&self, node: &NodeName, step: &Step, base: u64) -> Verdict {
        let here = self.executions.all().filter(|alive| alive.node == *node && alive.token.0 < base);
        for alive in here.filter(|alive| !self.asked.contains(&(alive.attempt, node.clone()))) {
            let id = alive.attempt;
            let Some(task) = step.before.task(id.task) else { continue };
            let is_open = !task.state.is_terminal();
            // This one is known already, a later one is, or one of this life: the newest token wins.
            let newest = task.newest_attempt().and_then(|id| step.before.attempt(id)).map(|attempt| attempt.token);
            let is_news = id.number > task.attempts && newest.is_none_or(|newest| newest < alive.token);
            let token = step.after.attempt(id).map(|attempt| attempt.token);
            if is_open && is_news && token != Some(alive.token) {
                let what = token.map_or("nothing".to_owned(), |Token(token)| format!("token {token}"));
                return Err(format!(
                    "{node} registers at revision {} while {} runs there with token {}: the state has {what} of it, \
                     and {} is open",
                    step.revision,
                    attempt_name(id),
                    alive.token,
                    task_name(id.task)
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::AttemptClaim;

    use super::*;
    use crate::oracles::hand::Hand;

    fn caught(hand: &Hand, words: &str) {
        let what = hand.judge(Restored::default()).unwrap_err();
        assert!(what.contains(words), "{what}");
    }

    #[test]
    fn a_start_that_the_life_before_may_have_made_is_not_made_again() {
        let mut hand = Hand::new(2);
        let other = hand.submit_one(OnNodeLoss::AtLeastOnce);
        hand.restore();
        hand.place(other, "n1");
        let new = hand.submit_one(OnNodeLoss::AtMostOnce);
        let attempt = hand.place(new, "n2");
        hand.executor(attempt, Happening::Started);
        assert_eq!(hand.judge(Restored::default()), Ok(()));
        hand.executor(AttemptId { number: 1, ..attempt }, Happening::Started);
        caught(&hand, "after attempt 1 had started");

        let mut hand = Hand::new(1);
        let task = hand.submit_one(OnNodeLoss::AtMostOnce);
        hand.restore();
        hand.place(task, "n1");
        caught(&hand, "may have started its task");
    }

    #[test]
    fn nothing_fenced_is_placed_before_the_old_leases_are_over() {
        for (wait_ms, is_good) in [(5_000, false), (25_000, true)] {
            let mut hand = Hand::new(1);
            let task = hand.submit_one(OnNodeLoss::Fenced);
            hand.restore();
            hand.fire();
            hand.pass(wait_ms);
            hand.place(task, "n1");
            assert_eq!(hand.judge(Restored::default()).is_ok(), is_good);
        }
    }

    #[test]
    fn what_runs_is_taken_in_when_its_node_registers() {
        let mut hand = Hand::new(1);
        let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
        let backup = hand.state.clone();
        let attempt = hand.place(task, "n1");
        let row = hand.state.attempt(attempt).unwrap().clone();
        hand.executor(attempt, Happening::Started);
        hand.restore();
        let claims = vec![AttemptClaim {
            choice: quorate_state::Choice::FIRST,
            gpus: quorate_state::GpuHold::NONE,
            attempt,
            token: row.token,
        }];
        hand.register("n1", claims);
        assert_eq!(hand.judge(Restored::default()), Ok(()));
        // As the backup has it: nothing was placed, and nothing is taken in.
        hand.twist(|step| (step.before, step.after) = (backup.clone(), backup));
        caught(&hand, "runs there with token");
    }

    #[test]
    fn the_newest_token_wins_over_what_the_life_before_left() {
        let mut hand = Hand::new(2);
        let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
        let (attempt, token) = (AttemptId { task, number: 3 }, Token(5));
        let (node, promise) = ("n1".parse().unwrap(), OnNodeLoss::AtLeastOnce);
        let gpus = quorate_state::GpuHold::NONE;
        let what = Happening::Started;
        hand.fact(Fact::Execution(Execution { node, attempt, token, promise, words: None, gpus, what }));
        hand.restore();
        hand.place(task, "n2");
        hand.register(
            "n1",
            vec![AttemptClaim {
                choice: quorate_state::Choice::FIRST,
                gpus: quorate_state::GpuHold::NONE,
                attempt,
                token,
            }],
        );
        assert_eq!(hand.judge(Restored::default()), Ok(()));
    }
}
