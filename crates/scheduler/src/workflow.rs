//! Moves runs on: tasks whose needs are settled, and runs all of whose tasks have ended.

use quorate_state::{Command, RunId, State, StepVerdict, step_verdict};

use crate::{Budget, Controller, Decision, LogNow, Observed, Report};

/// Tasks that one command moves. A step of more goes on at the next step, beside the other runs.
pub(crate) const TASKS_PER_ADVANCE_MAX: u32 = 1_000;

/// Tasks that one step of this controller moves, and so about how many one log entry moves.
pub(crate) const TASKS_PER_STEP_MAX: u32 = 4_000;

/// Commands of one step; they are proposed together.
const COMMANDS_PER_STEP_MAX: usize = 1_000;

/// Moves runs on.
pub(crate) struct Workflow;

impl Controller for Workflow {
    fn name(&self) -> &'static str {
        "workflow"
    }

    fn observes(&self, _view: &State, _now: LogNow) -> bool {
        false
    }

    fn step(&self, view: &State, _: &Observed, _: LogNow, _seed: u64, budget: Budget) -> Decision {
        let mut left = budget.steps.min(TASKS_PER_STEP_MAX);
        let (mut moved, mut finished, mut truncated) = (0_u64, 0_u64, false);
        let mut commands = Vec::new();
        for run in view.runs_to_finish() {
            if left == 0 || commands.len() >= COMMANDS_PER_STEP_MAX {
                truncated = true;
                break;
            }
            left -= 1;
            finished += 1;
            commands.push(Command::FinishRun { run });
        }
        for (run, step) in view.steps_to_advance() {
            let Some(due) = tasks_due(view, run, step) else { continue };
            if left == 0 || commands.len() >= COMMANDS_PER_STEP_MAX {
                truncated = true;
                break;
            }
            let limit = due.clamp(1, TASKS_PER_ADVANCE_MAX).min(left);
            truncated |= due > limit;
            left -= limit;
            moved += u64::from(limit);
            commands.push(Command::AdvanceStep { run, step, limit });
        }
        let counts = vec![("tasks_moved_max", moved), ("runs_finished", finished)];
        // Nothing here becomes due by itself: only a change of the state brings work.
        Decision { commands, wake_at: None, report: Report { counts, truncated, notes: Vec::new() } }
    }
}

/// How many tasks of a step can move, at most; none when it has to wait.
fn tasks_due(view: &State, run: RunId, step: u32) -> Option<u32> {
    // The run ends in this very step. A copy that nobody could reach so far is stopped when its node
    // comes back.
    if view.run_counts(run).unfinished() == 0 {
        return None;
    }
    let counts = view.step_counts(run, step);
    match step_verdict(view, run, step) {
        StepVerdict::Wait => None,
        StepVerdict::Release | StepVerdict::Skip => Some(counts.waiting),
        StepVerdict::Cancel => Some(counts.unfinished()),
    }
}
