//! P27: a second try of a run keeps what succeeded in the first, and runs the rest again, with the tasks that are named, with
//! what was undone, and with all that waits for what is run again. What is kept has no row and never starts; what is not kept
//! is open once more. It is told the same, by the same job, and only of a run that has ended.
//!
//! Stands for retries that pay twice for what had been done, and for those that leave out what hangs on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::{Change, Command, Decided, Reply, Rest, Run, RunId, State, TaskId, TaskName, TaskState};

use super::flow::Flow;
use super::history::{attempt_name, task_name};
use super::service::answered;
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;

/// Follows what is kept.
#[derive(Default)]
pub(crate) struct Restarts {
    /// Of each second try what it keeps, by step.
    tries: BTreeMap<RunId, Vec<Fate>>,
}

/// What becomes of a step in a second try.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// All of it is run again.
    Again,
    /// All of it is kept, or it had nothing to do.
    Kept,
    /// These elements are kept.
    Partly(BTreeSet<u32>),
}

impl Fate {
    fn keeps(&self, index: u32) -> bool {
        match self {
            Self::Again => false,
            Self::Kept => true,
            Self::Partly(kept) => kept.contains(&index),
        }
    }
}

impl Oracle for Restarts {
    fn id(&self) -> &'static str {
        "P27"
    }

    fn fact(&mut self, _: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        match fact {
            Fact::Execution(Execution { node, attempt, what: Happening::Started, .. }) if self.keeps(attempt.task) => {
                Err(format!("{} started on {node}, its task had succeeded in the try before", attempt_name(*attempt)))
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        for (item, reply) in answered(step) {
            let Command::RestartRun { of, from, .. } = &item.command else { continue };
            // A request that was carried out before is answered with the revision and the run of that.
            match reply {
                Ok(Reply::Submitted { run, revision, .. }) if *revision == step.revision => {
                    self.begins(*run, *of, from, &step.after)?;
                }
                Ok(_) | Err(_) => {}
            }
        }
        step.changes.iter().try_for_each(|change| match change {
            Change::Task(task) if self.keeps(task.id) => {
                Err(format!("{} had succeeded in the try before, and is {:?}", task_name(task.id), task.state))
            }
            Change::Run(run) if run.restart_of.is_some() && !self.tries.contains_key(&run.id) => {
                Err(format!("run {} is a second try that nobody asked for", run.id))
            }
            _ => Ok(()),
        })
    }
}

impl Restarts {
    fn keeps(&self, task: TaskId) -> bool {
        let fate = self.tries.get(&task.run).and_then(|fates| fates.get(task.step as usize));
        fate.is_some_and(|fate| fate.keeps(task.index))
    }

    /// A second try of run `of`, after whose end nothing of it changes any more, begins.
    fn begins(&mut self, run: RunId, of: RunId, from: &[TaskName], state: &State) -> Verdict {
        let what = format!("run {run}, a second try of run {of},");
        let (Some(first), Some(row)) = (state.run(of), state.run(run)) else {
            return Err(format!("{what} is not there, or that is not"));
        };
        if !first.state.is_terminal() {
            return Err(format!("{what} begins while that is {:?}", first.state));
        }
        if row.restart_of != Some(of) || row.spec_digest != first.spec_digest || row.args != first.args {
            return Err(format!("{what} is one of {:?}, with another job or told something else", row.restart_of));
        }
        let old = Flow::of(state, first);
        let fates = fates(&old, from);
        for (step, fate) in (0_u32..).zip(&fates) {
            begins_as(state, row, step, fate, elements(&old, step))
                .map_err(|found| format!("{what} has step {step} to begin as {fate:?}, and {found}"))?;
        }
        self.tries.insert(run, fates);
        Ok(())
    }
}

/// The rows of a step are those that it is to begin with.
fn begins_as(state: &State, run: &Run, step: u32, fate: &Fate, elements: u32) -> Verdict {
    let known = state.step(run.id, step);
    let rows: BTreeSet<u32> = state.tasks_of_step(run.id, step).map(|task| task.id.index).collect();
    let wanted: BTreeSet<u32> = match fate {
        Fate::Again if known.is_some_and(|known| known.rest == Rest::Kept) => return Err("some of it is kept".into()),
        Fate::Again => return Ok(()),
        Fate::Kept => BTreeSet::new(),
        Fate::Partly(kept) => (0..elements).filter(|index| !kept.contains(index)).collect(),
    };
    let Some(known) = known else { return Err(format!("nothing of it is kept, it has the rows {rows:?}")) };
    if rows != wanted || known.rest == Rest::Waiting || known.elements != elements {
        let (count, rest) = (known.elements, known.rest);
        return Err(format!("of {count} elements it has the rows {rows:?}, the rest is {rest:?}"));
    }
    Ok(())
}

/// How many elements a step had.
fn elements(old: &Flow<'_>, step: u32) -> u32 {
    old.tally(step).elements
}

/// What becomes of each step.
fn fates(old: &Flow<'_>, from: &[TaskName]) -> Vec<Fate> {
    let mut fates: Vec<Fate> = old.steps().map(|step| alone(old, step, from)).collect();
    loop {
        let is_run_again = |fates: &[Fate], other: u32| fates.get(other as usize).is_some_and(|it| *it != Fate::Kept);
        // A fallback looks at what it stands in for as any step looks at what it needs.
        let looks_at = |step: u32| old.needs(step).into_iter().chain(old.targets(step));
        let next = old.steps().find(|step| {
            fates.get(*step as usize).is_some_and(|fate| *fate != Fate::Again)
                && looks_at(*step).any(|other| is_run_again(&fates, other))
        });
        let Some(fate) = next.and_then(|step| fates.get_mut(step as usize)) else { return fates };
        *fate = Fate::Again;
    }
}

/// What would become of a step if all that it looks at were kept.
fn alone(old: &Flow<'_>, step: u32, from: &[TaskName]) -> Fate {
    let Some(spec) = old.spec(step) else { return Fate::Again };
    let was_undone = old.undone_by(step).is_some_and(|undo| old.state.tasks_of_step(old.run.id, undo).next().is_some());
    if from.contains(&spec.name) || old.comes_after(step) || was_undone {
        return Fate::Again;
    }
    match old.decision(step) {
        Some(Decided::PassOver) => return Fate::Kept,
        Some(Decided::Fail(_)) => return Fate::Again,
        Some(Decided::Run) | None => {}
    }
    let tally = old.tally(step);
    if tally.succeeded + tally.failed.min(spec.accept_failed) == tally.elements {
        Fate::Kept
    } else if tally.succeeded > 0 {
        Fate::Partly((0..tally.elements).filter(|index| has_succeeded(old, step, *index)).collect())
    } else {
        Fate::Again
    }
}

/// In that run, or in one before it that it kept this from.
fn has_succeeded(old: &Flow<'_>, step: u32, index: u32) -> bool {
    match old.state.task(TaskId { run: old.run.id, step, index }) {
        Some(task) => task.state == TaskState::Succeeded,
        None => old.state.step(old.run.id, step).is_some_and(|known| known.rest == Rest::Kept),
    }
}
