//! P24: what an attempt said of its end is kept as it was said, by that attempt and no other, and once: the result of
//! one that succeeded, the error of one that did not. One whose result is too large has failed. So it is with the data that it
//! says it has left behind, of one that succeeded.
//!
//! Stands for a workflow that goes on with the result of another try, or with half of one.

use std::time::Duration;

use quorate_state::{Attempt, AttemptState, BAD_REFERENCE, Exit, Feature, Outcome, RESULT_TOO_LARGE};

use super::history::{attempt_name, attempts, spec_of};
use super::{Known, Oracle, Verdict};
use crate::executor::{Behaviour, UNLUCKY, left_by, result_of, values_of};
use crate::ledger::Step;
use crate::scenario::Says;

/// A leader that has not seen the feature enabled drops what is said; so long that may be on its way into the log.
const DROPS_FOR: Duration = Duration::from_secs(10);

/// Compares what is kept with what the executors say.
#[derive(Default)]
pub(crate) struct Outcomes {
    /// When the feature was enabled.
    enabled: Option<Duration>,
    /// When that of payloads was.
    enabled_payloads: Option<Duration>,
}

impl Oracle for Outcomes {
    fn id(&self) -> &'static str {
        "P24"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        if self.enabled.is_none() && step.after.has_feature(Feature::TaskOutcomes) {
            self.enabled = Some(step.at);
        }
        let is_kept = self.enabled.is_some_and(|enabled| step.at > enabled + DROPS_FOR);
        if self.enabled_payloads.is_none() && step.after.has_feature(Feature::PayloadRefs) {
            self.enabled_payloads = Some(step.at);
        }
        let is_left = self.enabled_payloads.is_some_and(|enabled| step.at > enabled + DROPS_FOR);
        attempts(step).try_for_each(|row| check(step, row, is_kept).and_then(|()| check_left(step, row, is_left)))
    }
}

/// Payloads are those that the attempt itself has left, and only if it succeeded.
fn check_left(step: &Step, row: &Attempt, is_kept: bool) -> Verdict {
    let name = attempt_name(row.id);
    let before = step.before.attempt(row.id);
    if let Some(before) = before.filter(|before| before.state.is_terminal() && before.payloads != row.payloads) {
        return Err(format!("{name} had left {:?}, and has left {:?} now", before.payloads, row.payloads));
    }
    if row.payloads.is_some() && row.state != AttemptState::Succeeded {
        return Err(format!("{name} is {:?} and has left {:?}", row.state, row.payloads));
    }
    let behaviour = spec_of(&step.after, row.id.task).and_then(|spec| Behaviour::from_argv(&spec.argv));
    let Some(Behaviour { says, .. }) = behaviour.filter(|_| row.state == AttemptState::Succeeded) else {
        return Ok(());
    };
    let left = left_by(row.token).filter(|_| matches!(says, Some(Says::Result { .. })));
    // Whatever was left before every replica could keep it is forgotten.
    if row.payloads == left || row.payloads.is_none() && !is_kept {
        return Ok(());
    }
    Err(format!("{name} has left {:?}, it said {left:?}", row.payloads))
}

fn check(step: &Step, row: &Attempt, is_kept: bool) -> Verdict {
    let name = attempt_name(row.id);
    let before = step.before.attempt(row.id);
    if let Some(before) = before.filter(|before| before.state.is_terminal() && before.outcome != row.outcome) {
        return Err(format!("{name} had ended with {:?}, and has {:?} now", before.outcome, row.outcome));
    }
    is_in_its_place(step, row).map_err(|what| format!("{name} is {:?} with {:?}, {what}", row.state, row.outcome))?;
    let spec = spec_of(&step.after, row.id.task);
    let behaviour = spec.and_then(|spec| Behaviour::from_argv(&spec.argv));
    // Nobody knows what a real process says.
    let Some(Behaviour { says, .. }) = behaviour else { return Ok(()) };
    let said = |outcome: Option<Outcome>| {
        if row.outcome.as_deref() == outcome.as_ref() {
            return Ok(());
        }
        Err(format!("{name} is {:?} with {:?} and {:?}, it said {says:?}", row.state, row.exit, row.outcome))
    };
    let error = |word: &str| word.parse().ok().map(Outcome::Error);
    let own_end = matches!(row.exit, Some(Exit::Code(_)));
    // Its agent says that, of one that has no command; whether it has is P26.
    let is_templated = spec.is_some_and(|spec| spec.templated);
    if is_templated && row.exit.is_none() && row.outcome.as_deref() == error(BAD_REFERENCE).as_ref() {
        return Ok(());
    }
    let bytes_max = result_bytes_max(step);
    match (row.state, says) {
        // Whatever was said before every replica could keep it is gone.
        (state, Some(_)) if state.is_terminal() && !is_kept => Ok(()),
        (AttemptState::Succeeded, Some(Says::Result { bytes })) => {
            said(Some(Outcome::Result(result_of(row.token, bytes).into_bytes().into())))
        }
        (AttemptState::Succeeded, Some(Says::Values { go, n, many })) => {
            said(Some(Outcome::Result(values_of(row.token, go, n, many).into_bytes().into())))
        }
        (AttemptState::Failed, Some(Says::Result { bytes })) if own_end && bytes > bytes_max => {
            said(error(RESULT_TOO_LARGE))
        }
        (AttemptState::Failed, Some(Says::Result { .. } | Says::Values { .. })) if row.exit == Some(Exit::Code(0)) => {
            Err(format!("{name} failed, and came to its own end with a result"))
        }
        (AttemptState::Failed, Some(Says::Error { .. })) if own_end => said(error(UNLUCKY)),
        (AttemptState::Failed | AttemptState::Succeeded, _) => said(None),
        // It had ended by itself, and was to be stopped: what it said may be kept, if it is no result.
        (AttemptState::Cancelled | AttemptState::Preempted | AttemptState::TimedOut, _) => {
            match row.outcome.as_deref() {
                Some(Outcome::Result(_)) => said(None),
                Some(Outcome::Error(_)) | None => Ok(()),
            }
        }
        (
            AttemptState::Assigned
            | AttemptState::Starting
            | AttemptState::Running
            | AttemptState::Stopping
            | AttemptState::Unknown
            | AttemptState::Lost,
            _,
        ) => said(None),
    }
}

/// Only what has ended has an outcome: a result, within its bound, if it succeeded, and an error otherwise.
fn is_in_its_place(step: &Step, row: &Attempt) -> Result<(), &'static str> {
    match (row.outcome.as_deref(), row.state) {
        (None, _) => Ok(()),
        (Some(_), state) if !state.is_terminal() => Err("and has not ended"),
        (Some(Outcome::Result(_)), state) if state != AttemptState::Succeeded => Err("and has not succeeded"),
        (Some(Outcome::Error(_)), AttemptState::Succeeded) => Err("which nothing has that succeeded"),
        (Some(Outcome::Result(result)), _) if result.len() > result_bytes_max(step) as usize => {
            Err("which is more than there may be")
        }
        (Some(_), _) => Ok(()),
    }
}

fn result_bytes_max(step: &Step) -> u32 {
    step.before.settings().map_or(0, |settings| settings.result_bytes_max)
}
