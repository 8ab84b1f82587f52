//! Moves runs on: tasks whose needs are settled, what must be decided or undone, tasks that are runs of other jobs, and runs
//! all of whose tasks have ended.

use quorate_flow::{Begin, Begins, Decision};
use quorate_state::{Command, RunId, State, StepVerdict, SubRunStart, mix, ready_ahead_max, step_verdict};

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

    fn step(&mut self, view: &State, _: &Observed, _: LogNow, seed: u64, budget: Budget) -> scheduler::Decision {
        let mut left = budget.steps.min(TASKS_PER_STEP_MAX);
        let (mut moved, mut finished, mut truncated) = (0_u64, 0_u64, false);
        let mut commands = Vec::new();
        let mut cost = 0_u64;
        for run in view.runs_to_finish() {
            if left == 0 || commands.len() >= COMMANDS_PER_STEP_MAX {
                truncated = true;
                break;
            }
            let Some(row) = view.run(run) else { continue };
            let owes = view.owes_result(row);
            if owes && cost >= DECISIONS_COST_MAX {
                truncated = true;
                continue;
            }
            left -= 1;
            finished += 1;
            commands.push(if owes {
                let (result, more) = quorate_flow::conclude(view, row);
                cost = cost.saturating_add(DECISION_COST).saturating_add(more);
                Command::ConcludeRun { run, result }
            } else {
                Command::FinishRun { run }
            });
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
        let room = room(view);
        let mut ids = RunIds { view, seed, minted: 0 };
        let mut begins = Begins::default();
        let mut started = 0_u32;
        for task in view.sub_runs_to_start() {
            if started >= room {
                // Those that are left wait for the end of a run, which is a change of the state.
                break;
            }
            if left == 0 || cost >= DECISIONS_COST_MAX || commands.len() >= COMMANDS_PER_STEP_MAX {
                truncated = true;
                break;
            }
            let (Some(row), Some(run)) = (view.task(task), view.run(task.run)) else { continue };
            if run.is_ending(task.step) {
                continue;
            }
            cost = cost.saturating_add(DECISION_COST);
            let generation = row.generation;
            match begins.of(view, run, task) {
                Ok(Begin { version, args, tasks }) => {
                    // What the last one brings may go over.
                    left = left.saturating_sub(tasks.max(1));
                    started += 1;
                    let run = ids.mint();
                    commands.push(Command::StartSubRun(Box::new(SubRunStart { task, generation, run, version, args })));
                }
                Err(flaw) => {
                    left -= 1;
                    commands.push(Command::FailSubRun { task, generation, flaw });
                }
            }
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
        let counts =
            vec![("tasks_moved_max", moved), ("runs_finished", finished), ("sub_runs_started", started.into())];
        // Nothing here becomes due by itself: only a change of the state brings work.
        scheduler::Decision { commands, wake_at: None, report: Report { counts, truncated, notes: Vec::new() } }
    }
}

/// How many runs can be begun before there are too many that have not ended.
pub(crate) fn room(view: &State) -> u32 {
    let max = view.settings().map_or(0, |settings| settings.runs_unfinished_max);
    max.saturating_sub(u32::try_from(view.unfinished_count()).unwrap_or(u32::MAX))
}

/// Ids for new runs. Which they are is of no matter, as long as no two leaders and no two steps mint the same: that is what
/// the seed is for.
struct RunIds<'v> {
    view: &'v State,
    seed: u64,
    minted: u64,
}

impl RunIds<'_> {
    fn mint(&mut self) -> RunId {
        loop {
            self.minted = self.minted.wrapping_add(1);
            let id = RunId(mix(mix(self.seed).wrapping_add(self.minted)));
            if self.view.run(id).is_none() {
                return id;
            }
        }
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
