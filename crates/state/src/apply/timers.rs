//! Timers: each names the instant it was set for, and fires once, when log time has reached it.

use quorate_planted::Bug;

use super::overlay::Overlay;
use super::{gangs, runs, settle};
use crate::{Attempt, AttemptState, Rejection, Reply, Served, StopReason, TaskId, TaskState, Timer, Wait};

pub(super) fn fire(overlay: &mut Overlay, timers: &[Timer]) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let fired = timers.iter().filter(|timer| fire_one(overlay, timer)).count();
    Ok(Reply::Counted(u32::try_from(fired).unwrap_or(u32::MAX)))
}

/// False when the timer is early, or what it was set for has changed.
fn fire_one(overlay: &mut Overlay, timer: &Timer) -> bool {
    let now = overlay.served();
    match *timer {
        Timer::TaskWait { task, generation, due } => due <= now && end_wait(overlay, task, generation, due),
        Timer::RunTimeout { attempt, due } => {
            let Some(attempt) = overlay.state().attempt(attempt).cloned() else { return false };
            let running = match attempt.state {
                AttemptState::Starting | AttemptState::Running => true,
                AttemptState::Assigned
                | AttemptState::Stopping
                | AttemptState::Unknown
                | AttemptState::Succeeded
                | AttemptState::Failed
                | AttemptState::Lost
                | AttemptState::Cancelled
                | AttemptState::Preempted
                | AttemptState::TimedOut => false,
            };
            let is_open = attempt.stop.is_none() || quorate_planted::is(Bug::TimeoutFiresTwice);
            let is_due = due <= now && running && attempt.run_deadline == Some(due) && is_open;
            if is_due {
                overlay.put_attempt(Attempt { stop: Some(StopReason::TimedOut), ..(*attempt).clone() });
            }
            is_due
        }
        Timer::QueueTimeout { task, due } => due <= now && settle::queued_too_long(overlay, task, due),
        Timer::GangStart { run, step, generation, due } => {
            due <= now && gangs::start_too_late(overlay, (run, step), generation, due)
        }
        Timer::RunDeadline { run, due } => due <= now && runs::took_too_long(overlay, run, due),
        Timer::UnknownTooLong { attempt, due } => {
            let Some(attempt) = overlay.state().attempt(attempt).cloned() else { return false };
            if due > now || attempt.unknown_deadline != Some(due) || attempt.gone {
                return false;
            }
            match attempt.state {
                AttemptState::Unknown => {
                    overlay.move_attempt(&attempt, AttemptState::Lost, |_| {});
                    settle::attempt_ended(overlay, attempt.id);
                }
                // Nobody could tell that it is gone; nobody has to any more.
                AttemptState::Succeeded
                | AttemptState::Failed
                | AttemptState::Lost
                | AttemptState::Cancelled
                | AttemptState::Preempted
                | AttemptState::TimedOut => {
                    overlay.put_attempt(Attempt { gone: true, ..(*attempt).clone() });
                    settle::lift_fence(overlay, attempt.id);
                }
                AttemptState::Assigned | AttemptState::Starting | AttemptState::Running | AttemptState::Stopping => {
                    return false;
                }
            }
            true
        }
    }
}

fn end_wait(overlay: &mut Overlay, task: TaskId, generation: u32, due: Served) -> bool {
    let Some(task) = overlay.state().task(task).cloned().filter(|task| task.generation == generation) else {
        return false;
    };
    match task.state {
        TaskState::Waiting(Wait::Backoff { until } | Wait::Fence { until }) if until == due => {
            overlay.move_task(&task, settle::queued(overlay, task.id), |_| {});
            true
        }
        TaskState::Waiting(_)
        | TaskState::Ready
        | TaskState::Placed
        | TaskState::Running
        | TaskState::Succeeded
        | TaskState::Failed(_)
        | TaskState::Cancelled
        | TaskState::Skipped => false,
    }
}
