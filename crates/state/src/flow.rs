//! What is asked about the flow of a run: how far it has come, what its steps have come to, what they left behind.

use std::sync::Arc;

use quorate_planted::Bug;

use crate::progress::Standing;
use crate::{
    Attempt, AttemptState, Decided, Outcome, Payloads, Phase, Rest, Run, RunId, RunState, State, Step, Task, TaskId,
    TaskState,
};

impl State {
    /// What is known of a step beyond its tasks; there is none of most.
    pub fn step(&self, run: RunId, step: u32) -> Option<&Arc<Step>> {
        self.steps.get(&(run, step))
    }

    /// How many elements a step has, as far as that is known. Those behind the last that has a row have none.
    pub fn elements(&self, run: RunId, step: u32) -> u32 {
        self.index.steps().step(run, step).elements()
    }

    /// How many elements of a step have no rows yet, and may get one.
    pub fn waiting_rest(&self, run: RunId, step: u32) -> u32 {
        self.index.steps().step(run, step).waiting_rest()
    }

    /// An element of a step, also when it has no row: as the rest stands.
    pub fn element(&self, task: TaskId) -> Option<Arc<Task>> {
        self.elements_from(task.run, task.step, task.index).next().filter(|found| found.id == task)
    }

    /// The elements of a step from an index on, those without rows as the rest stands.
    pub fn elements_from(&self, run: RunId, step: u32, index: u32) -> impl Iterator<Item = Arc<Task>> {
        let rest = self.step(run, step).map(|step| (step.rest.state(), step.elements));
        // Where there is no rest, the rows are all.
        let (first, last) = (TaskId { run, step, index }, TaskId { run, step, index: u32::MAX });
        let rows = rest.is_none().then(|| self.tasks.range(first..=last));
        let with_rest = rest.into_iter().flat_map(move |(state, elements)| {
            let blank = move |id: TaskId| Arc::new(Task::new(id, state.clone()));
            (index..elements).map(move |index| {
                let id = TaskId { run, step, index };
                self.task(id).cloned().unwrap_or_else(|| blank(id))
            })
        });
        rows.into_iter().flatten().map(|(_, task)| task.clone()).chain(with_rest)
    }

    /// How many elements of a step succeeded in the run of which this one is a second try, and are not run again.
    pub fn kept(&self, run: RunId, step: u32) -> u32 {
        let is_kept = self.step(run, step).is_some_and(|step| step.rest == Rest::Kept);
        if is_kept { self.index.steps().step(run, step).without_rows() } else { 0 }
    }

    /// How many tasks of a step have rows.
    pub fn rows(&self, run: RunId, step: u32) -> u32 {
        self.index.steps().step(run, step).rows()
    }

    /// How far a run has come. One of which nothing comes after its work is at work until it ends.
    pub fn phase(&self, run: &Run) -> Phase {
        self.index.steps().phase(run)
    }

    /// How the work of a run ended, or would if it ended now.
    pub fn work_outcome(&self, run: &Run) -> RunState {
        let outcome = self.index.steps().work_outcome(run.id);
        if run.timed_out && outcome != RunState::Succeeded { RunState::Failed } else { outcome }
    }

    /// True while something of the work of a run has not ended.
    pub fn has_open_work(&self, run: RunId) -> bool {
        self.index.steps().has_open_work(run)
    }

    /// Steps of which the workflow controller must say whether they run, or for what.
    pub fn steps_to_decide(&self) -> impl Iterator<Item = (RunId, u32)> {
        self.index.steps().to_decide()
    }

    /// Runs of which something is to be undone now.
    pub fn runs_to_undo(&self) -> impl Iterator<Item = RunId> {
        self.index.steps().to_undo()
    }

    /// The tasks of a run that are to be undone next, all at once.
    pub fn undo_next(&self, run: RunId) -> impl Iterator<Item = TaskId> {
        let run = self.run(run).into_iter();
        run.flat_map(|run| self.index.steps().undo_next(run)).map(|(_, task)| task)
    }

    /// The result of a task: that of its newest attempt, if it succeeded and its process left one; of one that is a run of
    /// another job, what came out of that; of one that was kept from an earlier run, the result that it has there.
    pub fn result(&self, task: TaskId) -> Option<&Arc<[u8]>> {
        let row = self.row_that_counts(task)?;
        if let Some(run) = row.sub_run.filter(|_| row.state == TaskState::Succeeded) {
            return self.sub_run_result(run);
        }
        match self.success(row)?.outcome.as_deref()? {
            Outcome::Result(result) => Some(result),
            Outcome::Error(_) => None,
        }
    }

    /// The data that a task has left behind, of the same attempt as its result; none of a task that has not succeeded.
    pub fn payloads(&self, task: TaskId) -> Option<&Payloads> {
        Some(self.success(self.row_that_counts(task)?)?.payloads.as_deref().unwrap_or(Payloads::none()))
    }

    /// The attempt whose word counts for a task.
    fn success(&self, row: &Task) -> Option<&Arc<Attempt>> {
        let newest = row.newest_attempt().and_then(|newest| self.attempt(newest));
        newest.filter(|attempt| attempt.state == AttemptState::Succeeded)
    }

    /// The row of a task, or of the one of an earlier run that is kept in its place.
    fn row_that_counts(&self, task: TaskId) -> Option<&Arc<Task>> {
        let mut at = task;
        while self.task(at).is_none() {
            let is_kept =
                self.step(at.run, at.step).is_some_and(|step| step.rest == Rest::Kept && at.index < step.elements);
            let is_known = is_kept && !quorate_planted::is(Bug::RestartForgetsResults);
            let earlier = self.run(at.run).filter(|_| is_known)?.restart_of?;
            at = TaskId { run: earlier, ..at };
        }
        self.task(at)
    }

    /// The step whose results count as those of `step`: itself, or the one that stands in for it.
    pub fn stand_in(&self, run: &Run, step: u32) -> u32 {
        let view = |step: u32| self.index.steps().step(run.id, step).view(run, step);
        let mut at = step;
        // Fallbacks of fallbacks end: they form no cycle.
        while view(at).own == Standing::Broken {
            let Some(next) = run.graph.fallbacks(at).iter().find(|fallback| view(**fallback).stands_in().1) else {
                break;
            };
            at = *next;
        }
        at
    }

    /// True when those that need a step may go on: it has succeeded, as far as it must, or something stands in for it, or
    /// there is nothing to do.
    pub fn is_done(&self, run: &Run, step: u32) -> bool {
        self.index.steps().step(run.id, step).view(run, step).as_need().0
    }

    /// True when there is nothing to do for a step: it is done, and nothing of it ran.
    pub fn is_passed_over(&self, run: RunId, step: u32) -> bool {
        self.step(run, step).is_some_and(|step| step.decision == Some(Decided::PassOver))
    }
}
