//! P9: no task is tried more often than its job says, nor sooner; attempts that ended with their node are
//! not counted as tries but are bounded too, and an exit code that is never to be tried again is not, nor what has no command.
//!
//! So a job that takes its agent down cannot kill agents for ever.

use std::collections::BTreeMap;

use quorate_state::{
    Attempt, AttemptId, AttemptState, BAD_REFERENCE, Change, Exit, Outcome, Retry, Served, Task, TaskId, TaskSpec,
};

use super::history::{attempt_name, spec_of, task_name};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Counts how attempts ended.
#[derive(Default)]
pub(crate) struct Retries {
    tasks: BTreeMap<TaskId, Count>,
    /// How each attempt stands.
    attempts: BTreeMap<AttemptId, AttemptState>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    /// Those that failed or timed out.
    tries: u32,
    /// Those that were lost.
    losses: u32,
    /// The next one may not be placed before this.
    not_before: Served,
}

impl Oracle for Retries {
    fn id(&self) -> &'static str {
        "P9"
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let losses_max = known.scenario.settings.node_losses_max;
        let is = |task, what: &dyn Fn(&TaskSpec) -> bool| spec_of(&step.after, task).is_some_and(what);
        for change in &step.changes {
            match change {
                // Those of a gang are counted for all of it: P5.
                Change::Attempt(attempt) if is(attempt.id.task, &|spec| spec.gang.is_some()) => {}
                Change::Attempt(attempt) => self.on_attempt(attempt, step, losses_max)?,
                // Tries of one that is a run are runs: P29.
                Change::Task(task) if is(task.id, &|spec| spec.sub_run.is_some() || spec.gang.is_some()) => {}
                Change::Task(task) => self.on_task(task)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The least that a job's own words leave between the end of a try and the next, of so many so far.
fn backoff_ms_min(retry: &Retry, tries: u32) -> u64 {
    let growth = (1..tries)
        .try_fold(retry.first_ms, |wait, _| wait.checked_mul(u64::from(retry.factor_milli)).map(|wait| wait / 1_000));
    let whole = growth.unwrap_or(retry.cap_ms).min(retry.cap_ms);
    whole.saturating_sub(whole * u64::from(retry.jitter_milli) / 1_000)
}

impl Retries {
    fn on_attempt(&mut self, attempt: &Attempt, step: &Step, losses_max: u32) -> Verdict {
        let was = self.attempts.insert(attempt.id, attempt.state);
        if was == Some(attempt.state) {
            return Ok(());
        }
        let name = attempt_name(attempt.id);
        let Some(spec) = spec_of(&step.after, attempt.id.task) else { return Err(format!("{name} is of no job")) };
        let retry = &spec.retry;
        let count = self.tasks.entry(attempt.id.task).or_default();
        if was.is_none() {
            if count.tries >= retry.attempts {
                return Err(format!("{name} follows {} tries of {}", count.tries, retry.attempts));
            }
            if count.losses > losses_max {
                return Err(format!("{name} follows {} losses of at most {losses_max}", count.losses));
            }
            if step.after.meta().served < count.not_before {
                let (now, then) = (step.after.meta().served, count.not_before);
                return Err(format!("{name} was placed at served time {now:?}, its backoff ends at {then:?} at least"));
            }
            let last = AttemptId { number: attempt.id.number.saturating_sub(1), ..attempt.id };
            if let Some(last) = step.before.attempt(last)
                && last.state == AttemptState::Failed
                && let Some(Exit::Code(code)) = last.exit
                && retry.never.contains(&code)
            {
                return Err(format!("{name} follows one that ended with code {code}, which is never tried again"));
            }
            if let Some(last) = step.before.attempt(last)
                && last.state == AttemptState::Failed
                && let Some(Outcome::Error(error)) = last.outcome.as_deref()
                && (retry.never_errors.contains(error) || spec.templated && error.as_str() == BAD_REFERENCE)
            {
                return Err(format!("{name} follows one that reported {error}, which is never tried again"));
            }
        }
        match attempt.state {
            AttemptState::Failed | AttemptState::TimedOut => {
                count.tries += 1;
                let wait = backoff_ms_min(retry, count.tries);
                count.not_before = Served(step.after.meta().served.0.saturating_add(wait));
            }
            AttemptState::Lost => count.losses += 1,
            AttemptState::Assigned
            | AttemptState::Starting
            | AttemptState::Running
            | AttemptState::Stopping
            | AttemptState::Unknown
            | AttemptState::Succeeded
            | AttemptState::Cancelled
            | AttemptState::Preempted => {}
        }
        Ok(())
    }

    /// The task's own count follows the ends of its attempts.
    fn on_task(&self, task: &Task) -> Verdict {
        let count = self.tasks.get(&task.id).copied().unwrap_or_default();
        // The loss that ends a task is not counted any more.
        if task.tries == count.tries && task.losses <= count.losses {
            return Ok(());
        }
        Err(format!(
            "{} counts {} tries and {} losses; {} of its attempts failed and {} were lost",
            task_name(task.id),
            task.tries,
            task.losses,
            count.tries,
            count.losses
        ))
    }
}
