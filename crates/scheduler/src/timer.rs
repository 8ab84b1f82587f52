//! Fires what has become due: backoffs, fences, timeouts, and attempts unknown for too long.

use quorate_planted::Bug;
use quorate_state::{AttemptId, Command, NodeStatus, Served, State, Timer};

use crate::controller::earlier;
use crate::{Budget, Controller, Decision, LogNow, Note, Observed, Report};

/// Timers in one command.
pub(crate) const TIMERS_PER_STEP_MAX: usize = 1_000;

/// While timers are held back, how soon to look whether their nodes have reported.
pub(crate) const HELD_RECHECK_MS: u64 = 1_000;

/// Fires timers.
pub(crate) struct Timers;

impl Controller for Timers {
    fn name(&self) -> &'static str {
        "timer"
    }

    fn observes(&self, view: &State, now: LogNow) -> bool {
        view.timers().next().is_some_and(|timer| subject(timer).0 <= now.served)
    }

    fn step(&mut self, view: &State, observed: &Observed, now: LogNow, _seed: u64, mut budget: Budget) -> Decision {
        let mut timers = Vec::new();
        let mut held = 0_u32;
        let mut wake_at = None;
        let mut truncated = false;
        for timer in view.timers() {
            let (due, attempt) = subject(timer);
            if due > now.served {
                wake_at = Some(due);
                break;
            }
            if timers.len() >= TIMERS_PER_STEP_MAX || !budget.take(1) {
                truncated = true;
                break;
            }
            // A node that has not reported to this leader may have ended the attempt long ago, while
            // there was no leader to tell: its word comes first, unless it lost the right to speak.
            if attempt.is_some_and(|attempt| !is_word_in(view, observed, attempt)) {
                held += 1;
                continue;
            }
            if quorate_planted::is(Bug::TimeoutIgnored) && matches!(timer, Timer::RunTimeout { .. }) {
                continue;
            }
            if quorate_planted::is(Bug::QueuedForEver) && matches!(timer, Timer::QueueTimeout { .. }) {
                continue;
            }
            if quorate_planted::is(Bug::DeadlineIgnored) && matches!(timer, Timer::RunDeadline { .. }) {
                continue;
            }
            timers.push(timer);
        }
        let mut notes = Vec::new();
        if held > 0 {
            notes.push(Note::TimersHeld { held });
            wake_at = earlier(wake_at, now.served.plus(HELD_RECHECK_MS));
        }
        let counts = vec![("timers_fired", timers.len() as u64), ("timers_held", u64::from(held))];
        let commands = if timers.is_empty() { Vec::new() } else { vec![Command::FireTimers { timers }] };
        Decision { commands, wake_at, report: Report { counts, truncated, notes } }
    }
}

fn subject(timer: Timer) -> (Served, Option<AttemptId>) {
    match timer {
        Timer::TaskWait { task: _, generation: _, due }
        | Timer::QueueTimeout { task: _, due }
        | Timer::RunDeadline { run: _, due }
        | Timer::GangStart { run: _, step: _, generation: _, due } => (due, None),
        Timer::RunTimeout { attempt, due } | Timer::UnknownTooLong { attempt, due } => (due, Some(attempt)),
    }
}

fn is_word_in(view: &State, observed: &Observed, attempt: AttemptId) -> bool {
    let node = view.attempt(attempt).and_then(|attempt| view.node(&attempt.node));
    node.is_none_or(|node| match node.status {
        NodeStatus::Up => observed.has_reported(node),
        NodeStatus::Lost { at: _ } => true,
    })
}
