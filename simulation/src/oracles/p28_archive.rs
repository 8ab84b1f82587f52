//! P28: a run that leaves memory for the archive has ended and holds nothing, what is written of it is what it was, all of
//! it follows, once, and in the end no more is in memory than there should be.
//!
//! Stands for histories that lose what they move, and for memory that grows with everything that ever ran.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::{ArchivedRun, AttemptId, Change, RunId, State, StepCounts, Task, TaskId};

use super::history::{attempt_name, task_name};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Runs of a seed that are still to leave in the end, beyond what may stay: those that ended last are on their way.
const ON_THEIR_WAY_MAX: usize = 8;

/// Keeps its own books of what has left.
#[derive(Default)]
pub(crate) struct Archives {
    runs: BTreeSet<RunId>,
    tasks: BTreeSet<TaskId>,
    attempts: BTreeSet<AttemptId>,
    /// The newest, with all that ever was, and as replicas have it.
    all: State,
    held: State,
}

impl Oracle for Archives {
    fn id(&self) -> &'static str {
        "P28"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        for change in &step.changes {
            match change {
                Change::Archived(archived) => {
                    self.check_run(archived, &step.before)?;
                    self.check_free(archived.run.id)?;
                }
                Change::TaskArchived(_, task) => {
                    let name = format!("task {:?}", task.id);
                    self.check_follows(task.id.run, &name)?;
                    if step.before.task(task.id) != Some(task) {
                        return Err(format!("{name} is archived otherwise than it was"));
                    }
                    if !self.tasks.insert(task.id) {
                        return Err(format!("{name} is archived twice"));
                    }
                }
                Change::AttemptArchived(_, attempt) => {
                    let name = attempt_name(attempt.id);
                    self.check_follows(attempt.id.task.run, &name)?;
                    if step.before.attempt(attempt.id) != Some(attempt) {
                        return Err(format!("{name} is archived otherwise than it was"));
                    }
                    if !self.attempts.insert(attempt.id) {
                        return Err(format!("{name} is archived twice"));
                    }
                }
                _ => {}
            }
        }
        (self.all, self.held) = (step.after.clone(), step.held.clone());
        Ok(())
    }

    fn end(&mut self, _: Duration, _: &Known<'_>) -> Verdict {
        let leaving: BTreeSet<RunId> = self.held.leaving().collect();
        for run in self.runs.difference(&leaving) {
            let task = self.all.tasks_of(*run).find(|task| !self.tasks.contains(&task.id));
            let attempt = self.all.attempts_of_run(*run).find(|attempt| !self.attempts.contains(&attempt.id));
            if let Some(what) =
                task.map(|task| format!("{:?}", task.id)).or(attempt.map(|found| format!("{:?}", found.id)))
            {
                return Err(format!("run {run} is archived, and {what} did not follow it"));
            }
        }
        let most = self.held.retention().map(|limits| limits.memory_runs_max + limits.memory_runs_max / 8);
        let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        // What is held by something else may stay; that there is little of it is P4's.
        let stays = self.held.archivable().count();
        if stays > most.saturating_add(ON_THEIR_WAY_MAX) {
            return Err(format!("{stays} runs that have ended are in memory, where {most} may be"));
        }
        Ok(())
    }
}

impl Archives {
    fn check_run(&mut self, archived: &ArchivedRun, before: &State) -> Verdict {
        let (run, id) = (&archived.run, archived.run.id);
        if !self.runs.insert(id) {
            return Err(format!("run {id} is archived twice"));
        }
        if before.run(id) != Some(run) {
            return Err(format!("run {id} is archived otherwise than it was"));
        }
        if !run.state.is_terminal() {
            return Err(format!("run {id} is archived while it is {:?}", run.state));
        }
        if let Some(attempt) = before.attempts_of_run(id).find(|attempt| !attempt.gone) {
            let name = attempt_name(attempt.id);
            return Err(format!("run {id} is archived while {name} may run on {}", attempt.node));
        }
        if !before.annotations_of(id).eq(&archived.annotations) {
            return Err(format!("run {id} is archived without what was left at it"));
        }
        // Counted anew, element by element.
        for (step, told) in (0_u32..).zip(&archived.steps) {
            let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
            for task in before.elements_from(id, step, 0) {
                *counts.entry(kind(&task)).or_default() += 1;
            }
            let StepCounts { succeeded, failed, cancelled, skipped, .. } = told.counts;
            let told = [("succeeded", succeeded), ("failed", failed), ("cancelled", cancelled), ("skipped", skipped)];
            let differs = told.iter().find(|(kind, count)| counts.get(kind).copied().unwrap_or_default() != *count);
            if let Some((kind, count)) = differs {
                return Err(format!("step {step} of run {id} is archived with {count} tasks {kind}, of {counts:?}"));
            }
        }
        Ok(())
    }

    /// Nothing that was in memory before, and that is not on its way out, names it.
    fn check_free(&self, run: RunId) -> Verdict {
        let Some(row) = self.held.run(run) else { return Err(format!("run {run} is archived, and was not in memory")) };
        if let Some(task) = row.parent.and_then(|task| self.held.task(task)).filter(|task| task.sub_run == Some(run)) {
            return Err(format!("run {run} is archived while {} is in memory, which it is", task_name(task.id)));
        }
        let again = self.held.runs_newest_first(None).find(|other| other.restart_of == Some(run));
        again.map_or(Ok(()), |again| {
            Err(format!("run {run} is archived while run {} is in memory, which is a second try of it", again.id))
        })
    }

    fn check_follows(&self, run: RunId, what: &str) -> Verdict {
        if self.runs.contains(&run) { Ok(()) } else { Err(format!("{what} is archived before its run")) }
    }
}

fn kind(task: &Task) -> &'static str {
    use quorate_state::TaskState::{Cancelled, Failed, Placed, Ready, Running, Skipped, Succeeded, Waiting};
    match task.state {
        Succeeded => "succeeded",
        Failed(_) => "failed",
        Cancelled => "cancelled",
        Skipped => "skipped",
        Waiting(_) | Ready | Placed | Running => "unfinished",
    }
}
