//! P4: what is counted is what a recount gives; and when everything has come to rest, nothing is held
//! by what has ended, and what runs is what the state says.
//!
//! Stands for quota held by pods that no longer exist, and for counters that went below zero.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_state::{AttemptId, AttemptState, NodeStatus, State};

use super::executions::Executions;
use super::history::{attempt_name, attempts};
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact};
use crate::ledger::Step;

/// A recount looks at the whole state: one in so many revisions has to do.
const RECOUNT_EVERY: u64 = 50;

/// What moved this short a time before the end may not have been told yet: a stop has a grace of 5 s,
/// the rest is for the kill, the report and the commit.
const REST: Duration = Duration::from_secs(15);

/// Recounts, and looks at what is left in the end.
#[derive(Default)]
pub(crate) struct Conservation {
    executions: Executions,
    /// When the history or an executor last said something of an attempt.
    moved: BTreeMap<AttemptId, Duration>,
    /// The newest.
    state: State,
}

impl Oracle for Conservation {
    fn id(&self) -> &'static str {
        "P4"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        self.executions.take(at, fact);
        if let Fact::Execution(Execution { attempt, .. }) = fact {
            self.moved.insert(*attempt, at);
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        self.state = step.after.clone();
        self.moved.extend(attempts(step).map(|attempt| (attempt.id, step.at)));
        if step.revision.0.is_multiple_of(RECOUNT_EVERY) { recount(&step.held) } else { Ok(()) }
    }

    fn end(&mut self, at: Duration, _: &Known<'_>) -> Verdict {
        recount(&self.state)?;
        self.check_held(at)?;
        self.check_running(at)
    }
}

impl Conservation {
    fn rests(&self, attempt: AttemptId, at: Duration) -> bool {
        self.moved.get(&attempt).is_none_or(|moved| *moved + REST < at)
    }

    /// Attempts that hold room on a node whose agent is there are those of tasks that go on.
    fn check_held(&self, at: Duration) -> Verdict {
        for node in self.state.nodes() {
            if node.status != NodeStatus::Up || !self.executions.has_agent(&node.name) {
                continue;
            }
            for attempt in self.state.attempts_on(&node.name).filter(|attempt| self.rests(attempt.id, at)) {
                let task = self.state.task(attempt.id.task);
                let goes_on = task
                    .is_some_and(|task| !task.state.is_terminal() && task.newest_attempt() == Some(attempt.id))
                    && !attempt.state.is_terminal();
                if !goes_on {
                    let name = attempt_name(attempt.id);
                    return Err(format!("{name}, {:?}, still holds room on {}", attempt.state, node.name));
                }
                let runs = attempt.state == AttemptState::Running;
                if runs && self.executions.of_attempt(attempt.id, &node.name).is_none() {
                    return Err(format!("{} is said to run on {}, and does not", attempt_name(attempt.id), node.name));
                }
            }
        }
        Ok(())
    }

    /// What runs is wanted.
    fn check_running(&self, at: Duration) -> Verdict {
        for alive in self.executions.all().filter(|alive| self.rests(alive.attempt, at)) {
            let row = self.state.attempt(alive.attempt);
            let wanted = row.is_some_and(|row| {
                row.node == alive.node && row.token == alive.token && !row.state.is_terminal() && !row.gone
            });
            if !wanted {
                let state = row.map(|row| row.state);
                let name = attempt_name(alive.attempt);
                return Err(format!("{name} still runs on {}, the state says {state:?}", alive.node));
            }
        }
        Ok(())
    }
}

fn recount(state: &State) -> Verdict {
    match state.check().first() {
        None => Ok(()),
        Some(broken) => Err(format!("at revision {}: {broken}", state.revision())),
    }
}
