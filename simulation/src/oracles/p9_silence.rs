//! P9: what says nothing for longer than its job allows is asked to end, within a bound, and nothing else is for that
//! reason.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_state::{Attempt, AttemptId, Exit, State, StopReason};

use super::calm::agent_back;
use super::executions::{Alive, Executions};
use super::history::{attempt_name, attempts, spec_of};
use super::{Known, Oracle, Verdict};
use crate::executor::Behaviour;
use crate::facts::{Fact, Happening};
use crate::ledger::Step;
use crate::scenario::{Kind, Speech};

/// For the way of the agent's word, and the way back; agents listen once a second, and begin anew where they were kept
/// from it.
const SLACK: Duration = Duration::from_secs(8);
/// What clocks may be wrong by, in thousandths.
const DRIFT_MILLI: u32 = 2;

/// Follows what runs.
#[derive(Default)]
pub(crate) struct Silence {
    executions: Executions,
    /// What was asked to end, or killed.
    asked: BTreeSet<AttemptId>,
    /// The newest.
    state: State,
}

impl Oracle for Silence {
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
        let is_new = |row: &&Attempt| {
            let before = step.before.attempt(row.id).and_then(|before| before.stop);
            row.stop == Some(StopReason::Silent) && before.is_none()
        };
        attempts(step).filter(is_new).try_for_each(|row| self.check_stop(step.at, row))
    }

    fn end(&mut self, at: Duration, known: &Known<'_>) -> Verdict {
        self.executions.all().try_for_each(|alive| self.check(at, alive, known))
    }
}

impl Silence {
    /// How an attempt speaks, and when it falls silent, by its own start, if it does.
    fn speech(&self, attempt: AttemptId) -> Option<(Speech, Option<Duration>)> {
        let behaviour = spec_of(&self.state, attempt.task).and_then(|spec| Behaviour::from_argv(&spec.argv))?;
        let speech = behaviour.speech?;
        let hangs = attempt.number <= behaviour.fails;
        Some((speech, hangs.then(|| Duration::from_millis(speech.hangs_ms - speech.hangs_ms % speech.every_ms.max(1)))))
    }

    /// An attempt runs at this instant.
    fn check(&self, at: Duration, alive: &Alive, known: &Known<'_>) -> Verdict {
        let Some((speech, Some(last_word))) = self.speech(alive.attempt) else { return Ok(()) };
        let silent_max = Duration::from_millis(speech.silent_ms);
        let since = alive.started + last_word;
        let free = match (known.scenario.kind, known.healed) {
            (Kind::FaultFree, _) => since,
            (Kind::Single | Kind::Swarm | Kind::Restore, Some(healed)) => since.max(healed) + agent_back(known),
            (Kind::Single | Kind::Swarm | Kind::Restore, None) => return Ok(()),
        };
        if at <= free + silent_max + SLACK || self.asked.contains(&alive.attempt) {
            return Ok(());
        }
        let (name, node) = (attempt_name(alive.attempt), &alive.node);
        Err(format!(
            "{name} on {node} says nothing since {since:?}, may do so for {silent_max:?}, and was not asked to end"
        ))
    }

    /// An attempt is to end, because it was silent for too long.
    fn check_stop(&self, at: Duration, row: &Attempt) -> Verdict {
        // It may have ended by itself meanwhile.
        let alive = self.executions.of_attempt(row.id, &row.node);
        let (Some(alive), Some((speech, last_word))) = (alive, self.speech(row.id)) else { return Ok(()) };
        let name = attempt_name(row.id);
        let Some(last_word) = last_word else {
            return Err(format!(
                "{name} is to end at {at:?} for its silence, and says something every {} ms",
                speech.every_ms
            ));
        };
        let silence = Duration::from_millis(speech.silent_ms);
        let least = alive.started + last_word + silence;
        if at + (least - alive.started) * DRIFT_MILLI / 1_000 < least {
            return Err(format!("{name} is to end at {at:?} for its silence, which is not too long before {least:?}"));
        }
        Ok(())
    }
}
