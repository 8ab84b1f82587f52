//! Moves runs on: tasks whose needs are settled, what must be decided or undone, and runs all of whose tasks have ended.

use quorate_flow::Decision;
use quorate_state::{Command, RunId, State, StepVerdict, ready_ahead_max, step_verdict};

use crate::{self as scheduler, Budget, Controller, LogNow, Observed, Report};

/// Tasks that one command moves. A step of more goes on at the next step, beside the other runs.
pub(crate) const TASKS_PER_ADVANCE_MAX: u32 = 1_000;

/// Tasks that one step of this controller moves, and so about how many one log entry moves.
pub(crate) const TASKS_PER_STEP_MAX: u32 = 4_000;

/// Commands of one step; they are proposed together.
const COMMANDS_PER_STEP_MAX: usize = 1_000;

/// What the decisions of one step may cost, in the units of [`quorate_flow::Decision`]; the last one may go over it, by as much
/// as one may cost.
const DECISIONS_COST_MAX: u64 = 1_000;
/// What each costs besides: it is a command of its own.
const DECISION_COST: u64 = 5;

/// Moves runs on.
pub(crate) struct Workflow;

impl Controller for Workflow {
    fn name(&self) -> &'static str {
        "workflow"
    }

    fn observes(&self, _view: &State, _now: LogNow) -> bool {
        false
    }

    fn step(&self, view: &State, _: &Observed, _: LogNow, _seed: u64, budget: Budget) -> scheduler::Decision {
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
        // Half of it at most, so that very many that undo leave room for those that work.
        let mut undoes = left / 2;
        for run in view.runs_to_undo() {
            if undoes == 0 || commands.len() >= COMMANDS_PER_STEP_MAX {
                truncated = true;
                break;
            }
            let limit = view.undo_next(run).take(TASKS_PER_ADVANCE_MAX.min(undoes) as usize).count();
            let limit = u32::try_from(limit).unwrap_or(undoes).max(1);
            undoes = undoes.saturating_sub(limit);
            left = left.saturating_sub(limit);
            commands.push(Command::UndoNext { run, limit });
        }
        let mut cost = 0_u64;
        for (run, step) in view.steps_to_decide() {
            if left == 0 || cost >= DECISIONS_COST_MAX || commands.len() >= COMMANDS_PER_STEP_MAX {
                truncated = true;
                break;
            }
            let Some(row) = view.run(run) else { continue };
            left -= 1;
            let Decision { decided, elements, cost: more } = quorate_flow::decide(view, row, step);
            cost = cost.saturating_add(DECISION_COST).saturating_add(more);
            commands.push(Command::DecideStep { run, step, decided, elements });
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
        scheduler::Decision { commands, wake_at: None, report: Report { counts, truncated, notes: Vec::new() } }
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
    // Those without rows enter the queue in pieces, and end together.
    let rest = view.waiting_rest(run, step);
    let with_rows = counts.waiting.saturating_sub(rest);
    match step_verdict(view, run, step) {
        StepVerdict::Wait | StepVerdict::Decide => None,
        StepVerdict::Release => {
            Some(with_rows.saturating_add(rest.min(ready_ahead_max().saturating_sub(counts.ready))))
        }
        StepVerdict::Skip | StepVerdict::PassOver | StepVerdict::Fail => Some(with_rows),
        StepVerdict::Cancel => Some(counts.unfinished().saturating_sub(rest)),
    }
}
