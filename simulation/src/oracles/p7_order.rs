//! P7: a task is placed only after everything it needs has succeeded at an earlier revision, succeeds at
//! most once, and is skipped only for something that it needs; with `on_failure = "cancel"` nothing is
//! placed once a task has failed for good, and without it nothing is cancelled that no user cancelled.
//!
//! In a job with a flow, what is needed may also have been passed over, be stood in for, or have failed as far as that is
//! accepted, and a failure is one for good when nothing stands in. Who stands in for whom, and who is skipped for that, is P26.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_state::{Attempt, Change, Command, OnFailure, Revision, Run, RunId, State, Task, TaskId, TaskState, Timer};

use super::flow::{Flow, Standing, comes_after, has_flow, is_to_end};
use super::history::{attempt_name, placed, task_name};
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;

/// Follows what every step of every run came to.
#[derive(Default)]
pub(crate) struct Order {
    steps: BTreeMap<(RunId, u32), Ends>,
    succeeded: BTreeSet<TaskId>,
    skipped: BTreeSet<TaskId>,
    /// The revision at which a task of the run first failed for good.
    failed: BTreeMap<RunId, Revision>,
}

/// How the tasks of a step ended.
#[derive(Clone, Copy, Default)]
struct Ends {
    succeeded: u32,
    /// The revision of the last success.
    at: Revision,
    otherwise: u32,
}

impl Oracle for Order {
    fn id(&self) -> &'static str {
        "P7"
    }

    fn fact(&mut self, _: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        match fact {
            Fact::Execution(Execution { node, attempt, what: Happening::Started, .. })
                if self.skipped.contains(&attempt.task) =>
            {
                Err(format!("{} started on {node}, its task is skipped", attempt_name(*attempt)))
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        // What is placed at this revision needs what succeeded before it.
        placed(step).into_iter().try_for_each(|attempt| self.on_placed(attempt, step))?;
        for change in &step.changes {
            match change {
                Change::Task(task) if task.state.is_terminal() => self.on_ended(task, step)?,
                Change::Run(run) => self.on_run(run, step)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Order {
    fn on_placed(&self, attempt: &Attempt, step: &Step) -> Verdict {
        let task = attempt.id.task;
        let name = attempt_name(attempt.id);
        let Some(run) = step.after.run(task.run) else { return Err(format!("{name} is of no run")) };
        if has_flow(run) {
            return on_placed_in_flow(run, task, &name, step);
        }
        for need in needs(run, task.step) {
            let wanted = run.spec.tasks.get(need as usize).map_or(0, |spec| spec.count);
            let ends = self.ends(task.run, need);
            if ends.succeeded < wanted || ends.at >= step.revision {
                return Err(format!(
                    "{name} was placed at revision {}, of step {need}, which it needs, {} of {wanted} tasks had succeeded",
                    step.revision, ends.succeeded
                ));
            }
        }
        match self.failed.get(&task.run) {
            Some(failed) if run.spec.on_failure == OnFailure::Cancel => {
                Err(format!("{name} was placed, a task of its run had failed for good at revision {failed}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn on_ended(&mut self, task: &Task, step: &Step) -> Verdict {
        let name = task_name(task.id);
        match &task.state {
            TaskState::Succeeded => {
                if !self.succeeded.insert(task.id) {
                    return Err(format!("{name} succeeded for the second time at revision {}", step.revision));
                }
                let ends = self.steps.entry((task.id.run, task.id.step)).or_default();
                ends.succeeded += 1;
                ends.at = step.revision;
                return Ok(());
            }
            TaskState::Failed(_) => {
                self.failed.entry(task.id.run).or_insert(step.revision);
            }
            TaskState::Cancelled => {
                if !step.after.run(task.id.run).is_some_and(|run| run.cancelling) {
                    return Err(format!("{name} was cancelled, its run was not"));
                }
            }
            TaskState::Skipped => {
                let Some(run) = step.after.run(task.id.run) else { return Err(format!("{name} is of no run")) };
                let is_due =
                    has_flow(run) || needs(run, task.id.step).any(|need| self.ends(run.id, need).otherwise > 0);
                if !is_due || task.attempts > 0 {
                    return Err(format!("{name} was skipped, with {} attempts made", task.attempts));
                }
                self.skipped.insert(task.id);
            }
            TaskState::Waiting(_) | TaskState::Ready | TaskState::Placed | TaskState::Running => return Ok(()),
        }
        self.steps.entry((task.id.run, task.id.step)).or_default().otherwise += 1;
        Ok(())
    }

    /// A run is cancelled by its user, by its own rule, or by its timeout, whose instant `p9_deadlines` looks at.
    fn on_run(&self, run: &Arc<Run>, step: &Step) -> Verdict {
        let was = |state: &State| state.run(run.id).is_some_and(|run| run.cancelling);
        if !run.cancelling || was(&step.before) {
            return Ok(());
        }
        let items = step.entry.iter().flat_map(|entry| &entry.items);
        let mut asked = items.map(|item| &item.command);
        let by_word = asked.any(|command| match command {
            Command::CancelRun { run: named } | Command::AbandonRun { run: named } => *named == run.id,
            Command::CancelRuns { runs } => runs.contains(&run.id),
            Command::FireTimers { timers } => {
                let is_due = |timer: &Timer| matches!(timer, Timer::RunDeadline { run: named, .. } if *named == run.id);
                run.timed_out && timers.iter().any(is_due)
            }
            _ => false,
        });
        let fails = |change: &Change| matches!(change, Change::Task(task) if task.id.run == run.id && matches!(task.state, TaskState::Failed(_)));
        let has_failed =
            if has_flow(run) { Flow::of(&step.after, run).has_failed_work() } else { step.changes.iter().any(fails) };
        let by_rule = run.spec.on_failure == OnFailure::Cancel && has_failed;
        // So it is with what runs within another, when that is.
        let is_above = |task: TaskId| step.after.run(task.run).is_some_and(|above| is_to_end(above, task.step));
        if by_word || by_rule || run.parent.is_some_and(is_above) {
            return Ok(());
        }
        Err(format!("run {} was cancelled at revision {} by nobody", run.id, step.revision))
    }

    fn ends(&self, run: RunId, step: u32) -> Ends {
        self.steps.get(&(run, step)).copied().unwrap_or_default()
    }
}

/// A task of a job with a flow is placed: by what its run was before this revision.
fn on_placed_in_flow(run: &Run, task: TaskId, name: &str, step: &Step) -> Verdict {
    let flow = Flow::of(&step.before, run);
    for need in flow.needs(task.step) {
        let (standing, tally) = (flow.standing(need), flow.tally(need));
        if standing != Standing::Done {
            let at = step.revision;
            return Err(format!(
                "{name} was placed at revision {at}, step {need}, which it needs, is {standing:?}: {tally:?}"
            ));
        }
    }
    let is_work = !comes_after(run, task.step);
    if is_work && run.spec.on_failure == OnFailure::Cancel && flow.has_failed_work() {
        return Err(format!(
            "{name} was placed, and the work of its run had failed for good before revision {}",
            step.revision
        ));
    }
    Ok(())
}

/// Positions of what a step needs, from the names in the spec.
fn needs(run: &Run, step: u32) -> impl Iterator<Item = u32> {
    let names = run.spec.tasks.get(step as usize).map_or(&[][..], |spec| &spec.needs);
    (0_u32..).zip(&run.spec.tasks).filter(|(_, task)| names.contains(&task.name)).map(|(position, _)| position)
}
