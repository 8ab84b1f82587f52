//! P29: a task that is a run of another job has one run at a time, begun by a word of the leader, of the version that the task
//! names, told what it says, with its parent's priority, not too deep, and not while its parent is paused or ends. The task ends
//! when and as that run does, in the same entry; one that fails is followed by another, no more often than the task may be
//! tried. What comes out of a run is what its job says of it. A run does not end while a run within it goes on, and when it is
//! cancelled or given up, so is all that runs within it: nothing of that is placed any more, and it ends within a bound.
//!
//! Stands for workflows that start their parts twice after a lost answer, and leave them running when they are cancelled.

mod ends;
mod starts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_state::{
    AttemptId, Change, Digest, Exit, JobName, JobSpec, Namespace, Run, RunId, RunState, State, Task, TaskId, TaskState,
};

use super::flow::{comes_after, is_to_end};
use super::history::{attempt_name, placed, spec_of, task_name};
use super::p8_cancel::{ASKED_WITHIN, bound};
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;
use crate::scenario::Kind;
use ends::Unheeded;

/// A version of a job.
type Version = (Namespace, JobName, u32);

/// Keeps its own books of which run is a part of which.
#[derive(Default)]
pub(crate) struct SubRuns {
    /// Runs that were begun for a task, the first first, with how each ended.
    begun: BTreeMap<TaskId, Vec<(RunId, Option<RunState>)>>,
    /// The tasks that runs are.
    parents: BTreeMap<RunId, TaskId>,
    /// Since when runs are cancelled, and which revision said so; and the same of those that are given up.
    cancelled: BTreeMap<RunId, (Duration, u64)>,
    abandoned: BTreeMap<RunId, (Duration, u64)>,
    /// The specs of versions of jobs, by their first run.
    versions: BTreeMap<Version, (Digest, Arc<JobSpec>)>,
    unheeded: Unheeded,
    /// What was asked to end, or killed.
    asked: BTreeSet<AttemptId>,
    /// The newest.
    state: State,
}

impl Oracle for SubRuns {
    fn id(&self) -> &'static str {
        "P29"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::Execution(execution) => self.on_execution(at, execution, known),
            _ => Ok(()),
        }
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        self.state = step.after.clone();
        let mut touched = BTreeSet::new();
        for change in &step.changes {
            match change {
                Change::Run(run) => touched.extend(self.on_run(run, step)?),
                Change::Task(task) if is_sub_run(&step.after, task.id) => {
                    touched.insert(task.id);
                }
                _ => {}
            }
        }
        for task in touched {
            let row = step.after.task(task).ok_or_else(|| format!("{} is gone", task_name(task)))?;
            self.check_task(row, &step.after)?;
        }
        for attempt in placed(step) {
            let run = attempt.id.task.run;
            let since = self.to_end(attempt.id.task).filter(|(_, at)| *at < step.revision.0);
            if let Some((_, at)) = since.filter(|_| self.parents.contains_key(&run)) {
                let name = attempt_name(attempt.id);
                return Err(format!("{name} was placed, its run was cancelled with another at revision {at}"));
            }
        }
        starts::said_again(step)?;
        starts::check_refused(self, step)?;
        let open: Vec<(TaskId, RunId)> = self.open().collect();
        self.unheeded.check(step, &open)
    }

    fn end(&mut self, at: Duration, known: &Known<'_>) -> Verdict {
        for task in self.begun.keys() {
            let row = self.state.task(*task).ok_or_else(|| format!("{} is gone", task_name(*task)))?;
            self.check_task(row, &self.state)?;
        }
        for (_, run) in self.open() {
            let (cancelled, abandoned) = self.fates(run);
            let goes_on = self.state.run(run).is_some_and(|row| ends::has_open_work(&self.state, row));
            let since = if goes_on { cancelled } else { abandoned };
            if let Some(since) = since.filter(|since| at > bound(*since, known)) {
                return Err(format!("run {run} has not ended, and what it is a part of was to end at {since:?}"));
            }
        }
        Ok(())
    }
}

impl SubRuns {
    /// Runs within others that have not ended.
    fn open(&self) -> impl Iterator<Item = (TaskId, RunId)> {
        let last = self.begun.iter().filter_map(|(task, begun)| begun.last().map(|last| (*task, *last)));
        last.filter(|(_, (_, ended))| ended.is_none()).map(|(task, (run, _))| (task, run))
    }

    /// A row of a run; the tasks that this tells something of.
    fn on_run(&mut self, row: &Arc<Run>, step: &Step) -> Result<Option<TaskId>, String> {
        let (id, spec) = (row.id, &row.spec);
        let known = self.parents.get(&id).copied();
        let version = (spec.namespace.clone(), spec.name.clone(), row.job_version);
        let (digest, _) = self.versions.entry(version).or_insert_with(|| (row.spec_digest, row.spec.clone()));
        if *digest != row.spec_digest {
            return Err(format!(
                "run {id} is of version {} of its job, of which others have another spec",
                row.job_version
            ));
        }
        if step.before.run(id).is_some() && known != row.parent {
            return Err(format!("run {id} was task {known:?}, and is {:?}", row.parent));
        }
        if row.cancelling {
            self.cancelled.entry(id).or_insert((step.at, step.revision.0));
        }
        if row.abandoned {
            self.abandoned.entry(id).or_insert((step.at, step.revision.0));
        }
        let is_new = row.parent.is_some() && known.is_none();
        if let Some(task) = row.parent.filter(|_| is_new) {
            starts::check(self, task, row, step)?;
            self.begun.entry(task).or_default().push((id, None));
            self.parents.insert(id, task);
        }
        if !row.state.is_terminal() {
            return Ok(row.parent);
        }
        let mut begun = self.begun.range(TaskId { run: id, step: 0, index: 0 }..);
        let within = begun.by_ref().take_while(|(task, _)| task.run == id).find(|(_, begun)| is_open(begun));
        if let Some((task, _)) = within {
            return Err(format!("run {id} ended as {:?}, and the run that {} is has not", row.state, task_name(*task)));
        }
        ends::check_result(row, &step.after)?;
        let Some(task) = row.parent else { return Ok(None) };
        let of_task = self.begun.entry(task).or_default();
        if let Some((_, ended)) = of_task.iter_mut().find(|(run, _)| *run == id)
            && ended.is_none()
        {
            *ended = Some(row.state);
            let tries = of_task.len();
            ends::check_settled(task, row, tries, step)?;
        }
        Ok(Some(task))
    }

    /// A task is what has become of the runs that were begun for it.
    fn check_task(&self, row: &Task, state: &State) -> Verdict {
        let name = task_name(row.id);
        let begun = self.begun.get(&row.id).map_or(&[][..], |begun| begun);
        let (last, ended) = begun.last().map_or((None, None), |(run, ended)| (Some(*run), *ended));
        let failed = begun.iter().filter(|(_, ended)| *ended == Some(RunState::Failed)).count();
        let attempts = spec_of(state, row.id).map_or(0, |spec| spec.retry.attempts as usize);
        let is_to_end = state.run(row.id.run).is_some_and(|run| is_to_end(run, row.id.step));
        let told = (row.sub_run, row.tries as usize, row.attempts, row.losses);
        if told != (last, failed, 0, 0) {
            return Err(format!("{name} says {told:?} of its run, tries, attempts and losses; begun was {begun:?}"));
        }
        use quorate_state::FailReason::{Failed, NoSubRun, SubRunCancelled, Undecidable};
        let may_be = match &row.state {
            TaskState::Running => last.is_some() && ended.is_none(),
            TaskState::Succeeded => ended == Some(RunState::Succeeded),
            TaskState::Failed(Failed) => ended == Some(RunState::Failed) && begun.len() == attempts,
            TaskState::Failed(SubRunCancelled) => ended == Some(RunState::Cancelled),
            TaskState::Failed(Undecidable) => last.is_none(),
            TaskState::Failed(NoSubRun) => !is_open(begun) && row.flaw.is_some(),
            TaskState::Waiting(_) | TaskState::Ready => {
                last.is_none() || (ended == Some(RunState::Failed) && begun.len() < attempts)
            }
            TaskState::Skipped => last.is_none(),
            TaskState::Cancelled => !is_open(begun) && is_to_end,
            TaskState::Placed | TaskState::Failed(_) => false,
        };
        if may_be {
            return Ok(());
        }
        Err(format!("{name} is {:?}, may be tried {attempts} times, and begun was {begun:?}", row.state))
    }

    /// Since when a run is to end but for what comes after its work, and since when with that: by its own row, or by that of a
    /// run of which it is a part.
    fn fates(&self, run: RunId) -> (Option<Duration>, Option<Duration>) {
        let own = |book: &BTreeMap<RunId, (Duration, u64)>| book.get(&run).map(|(at, _)| *at);
        let (cancelled, abandoned) = (own(&self.cancelled), own(&self.abandoned));
        let Some(task) = self.parents.get(&run) else { return (cancelled, abandoned) };
        let (above_cancelled, above_abandoned) = self.fates(task.run);
        let is_after = self.state.run(task.run).is_some_and(|above| comes_after(above, task.step));
        let least = |times: &[Option<Duration>]| times.iter().flatten().min().copied();
        let abandoned = least(&[abandoned, above_abandoned]);
        (least(&[cancelled, abandoned, above_cancelled.filter(|_| !is_after)]), abandoned)
    }

    /// Since when nothing of a task is to be placed, by what its own run says.
    fn to_end(&self, task: TaskId) -> Option<(Duration, u64)> {
        let is_after = self.state.run(task.run).is_some_and(|run| comes_after(run, task.step));
        let book = if is_after { &self.abandoned } else { &self.cancelled };
        book.get(&task.run).copied()
    }

    fn on_execution(&mut self, at: Duration, execution: &Execution, known: &Known<'_>) -> Verdict {
        let attempt = execution.attempt;
        if matches!(execution.what, Happening::Asked | Happening::Killed) {
            self.asked.insert(attempt);
        }
        if !self.parents.contains_key(&attempt.task.run) {
            return Ok(());
        }
        let (name, node) = (attempt_name(attempt), &execution.node);
        let is_after = self.state.run(attempt.task.run).is_some_and(|run| comes_after(run, attempt.task.step));
        let (cancelled, abandoned) = self.fates(attempt.task.run);
        let Some(since) = (if is_after { abandoned } else { cancelled }) else { return Ok(()) };
        let is_late = self.to_end(attempt.task).is_some_and(|(_, revision)| execution.token.0 > revision);
        match execution.what {
            Happening::Started if is_late => {
                Err(format!("{name} started on {node}, its run was cancelled with another at {since:?}"))
            }
            Happening::Ended { .. } if at > bound(since, known) => {
                Err(format!("{name} on {node} ended no earlier than at {at:?}, its run was to end at {since:?}"))
            }
            Happening::Ended { exit: Some(Exit::Code(_)) }
                if at > since + ASKED_WITHIN
                    && known.scenario.kind == Kind::FaultFree
                    && !self.asked.contains(&attempt) =>
            {
                Err(format!("{name} on {node} ran to its own end at {at:?}, its run was to end at {since:?}"))
            }
            Happening::Started | Happening::Asked | Happening::Killed | Happening::Ended { .. } => Ok(()),
        }
    }
}

fn is_sub_run(state: &State, task: TaskId) -> bool {
    spec_of(state, task).is_some_and(|spec| spec.sub_run.is_some())
}

fn is_open(begun: &[(RunId, Option<RunState>)]) -> bool {
    begun.last().is_some_and(|(_, ended)| ended.is_none())
}
