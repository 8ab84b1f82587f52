//! What must hold of tasks that are runs of other jobs, and of what comes out of runs.

use crate::{FailReason, Feature, RUNS_DEEP_MAX, RunState, State, Task, TaskId, TaskState};

impl State {
    /// Such a task runs as long as the run that was begun last for it does, and ended with it; it has no attempts; a
    /// run within another is one of that, not too deep. What comes out of a run is there when it must be.
    pub(super) fn check_sub_runs(&self, broken: &mut Vec<String>) {
        for task in self.tasks.values() {
            // What follows an archived run is not looked at any more.
            let Some(run) = self.runs.get(&task.id.run) else { continue };
            if run.sub_run(task.id.step).is_some() {
                self.check_sub_run(task, broken);
            } else if task.sub_run.is_some() || task.flaw.is_some() {
                broken.push(format!("task {:?} is no run of another job, and has {:?}", task.id, task.sub_run));
            }
        }
        for run in self.runs.values() {
            // The run whose task it is may have left memory, once both have ended.
            let has_left = |task: &TaskId| run.state.is_terminal() && !self.runs.contains_key(&task.run);
            if let Some(task) = run.parent.filter(|task| !has_left(task)) {
                let is_known = self.task(task).is_some_and(|task| task.sub_run.is_some());
                if !is_known || self.runs_deep(run) > RUNS_DEEP_MAX {
                    broken.push(format!("run {} is task {task:?}, which is none or stands too deep", run.id));
                }
                let is_newest = self.task(task).is_some_and(|task| task.sub_run == Some(run.id));
                if !run.state.is_terminal() && !is_newest {
                    broken.push(format!("run {} has not ended, and is not the newest of task {task:?}", run.id));
                }
            }
            let has_succeeded = run.state == RunState::Succeeded;
            if run.result.is_some() != (has_succeeded && !run.spec.result.is_empty()) {
                broken.push(format!("run {} is {:?}, and has a result: {}", run.id, run.state, run.result.is_some()));
            }
            if run.flaw.is_some() && run.state != RunState::Failed {
                broken.push(format!("run {} is {:?}, and nothing came out of it: {:?}", run.id, run.state, run.flaw));
            }
        }
    }

    fn check_sub_run(&self, task: &Task, broken: &mut Vec<String>) {
        let state = self.sub_run(task).map(|run| run.state);
        let is_as_its_run = match &task.state {
            TaskState::Running => state.is_some_and(|state| !state.is_terminal()),
            TaskState::Succeeded => state == Some(RunState::Succeeded),
            TaskState::Failed(FailReason::SubRunCancelled) => state == Some(RunState::Cancelled),
            TaskState::Failed(FailReason::NoSubRun) => task.flaw.is_some(),
            TaskState::Failed(FailReason::Undecidable) => state.is_none(),
            TaskState::Failed(FailReason::Failed) => state == Some(RunState::Failed),
            TaskState::Placed
            | TaskState::Failed(
                FailReason::TimedOut
                | FailReason::Lost
                | FailReason::NodeLosses
                | FailReason::Queued
                | FailReason::Silent,
            ) => false,
            TaskState::Waiting(_) | TaskState::Ready | TaskState::Cancelled | TaskState::Skipped => {
                state.is_none_or(RunState::is_terminal)
            }
        };
        if !is_as_its_run || task.attempts > 0 {
            broken.push(format!(
                "task {:?} is {:?} with {} attempts, and its run {:?} is {state:?}",
                task.id, task.state, task.attempts, task.sub_run
            ));
        }
    }

    pub(super) fn check_sub_run_feature(&self, broken: &mut Vec<String>) {
        let has_sub_runs = self.runs.values().find(|run| run.spec.has_sub_runs() || run.parent.is_some());
        if let Some(run) = has_sub_runs.filter(|_| !self.has_feature(Feature::SubRuns)) {
            let feature = Feature::SubRuns;
            broken.push(format!("run {} has or is a run within one, and feature {feature} is not enabled", run.id));
        }
    }
}
