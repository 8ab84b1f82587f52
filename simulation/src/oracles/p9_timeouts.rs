//! P9: what runs for longer than its job allows is asked to end, within a bound.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_state::{AttemptId, Exit, State};

use super::calm::agent_back;
use super::executions::{Alive, Executions};
use super::history::{attempt_name, spec_of};
use super::{Known, Oracle, Verdict};
use crate::facts::{Fact, Happening};
use crate::ledger::Step;
use crate::scenario::Kind;

/// For the way of the agent's word, the timer, and the way back.
const SLACK: Duration = Duration::from_secs(5);

/// Follows what runs.
#[derive(Default)]
pub(crate) struct Timeouts {
    executions: Executions,
    /// What was asked to end, or killed.
    asked: BTreeSet<AttemptId>,
    /// The newest.
    state: State,
}

impl Oracle for Timeouts {
    fn id(&self) -> &'static str {
        "P9"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        if let Fact::Execution(execution) = fact {
            match execution.what {
                Happening::Asked | Happening::Killed => {
                    self.asked.insert(execution.attempt);
                }
                // What its agent took along could not be asked.
                Happening::Ended { exit: Some(Exit::Code(_)) } => {
                    if let Some(alive) = self.executions.of_attempt(execution.attempt, &execution.node) {
                        self.check(at, alive, known)?;
                    }
                }
                Happening::Started | Happening::Ended { .. } => {}
            }
        }
        self.executions.take(at, fact);
        Ok(())
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        self.state = step.after.clone();
        Ok(())
    }

    fn end(&mut self, at: Duration, known: &Known<'_>) -> Verdict {
        self.executions.all().try_for_each(|alive| self.check(at, alive, known))
    }
}

impl Timeouts {
    /// An attempt runs at this instant.
    fn check(&self, at: Duration, alive: &Alive, known: &Known<'_>) -> Verdict {
        let timeout = spec_of(&self.state, alive.attempt.task).and_then(|spec| spec.run_timeout_ms);
        let Some(timeout) = timeout.map(Duration::from_millis) else { return Ok(()) };
        let free = match (known.scenario.kind, known.healed) {
            (Kind::FaultFree, _) => alive.started,
            (Kind::Single | Kind::Swarm | Kind::Restore, Some(healed)) => alive.started.max(healed) + agent_back(known),
            (Kind::Single | Kind::Swarm | Kind::Restore, None) => return Ok(()),
        };
        if at <= free + timeout + SLACK || self.asked.contains(&alive.attempt) {
            return Ok(());
        }
        let (name, node, started) = (attempt_name(alive.attempt), &alive.node, alive.started);
        Err(format!("{name} runs on {node} since {started:?} with a timeout of {timeout:?}, and was not asked to end"))
    }
}
