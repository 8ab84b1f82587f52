//! How a run within another begins, and when none can.

use std::collections::BTreeMap;

use quorate_state::{
    Change, Command, Entry, FailReason, Item, RUNS_DEEP_MAX, Reply, Revision, Run, RunId, State, SubRun, SubRunStart,
    TaskId, TaskState, apply,
};
use quorate_values::{Value, parse};

use super::{SubRuns, Verdict, is_open, task_name};
use crate::ledger::Step;
use crate::oracles::flow::{Flow, is_to_end};
use crate::oracles::history::spec_of;
use crate::oracles::service::answered;
use crate::oracles::values::{Sight, completed};

/// A run begins for a task.
pub(super) fn check(books: &SubRuns, task: TaskId, row: &Run, step: &Step) -> Verdict {
    let what = format!("run {} began for {}", row.id, task_name(task));
    let is_said = answered(step).any(|(item, reply)| match &item.command {
        Command::StartSubRun(start) => start.task == task && start.run == row.id && *reply == Ok(Reply::Counted(1)),
        _ => false,
    });
    if !is_said {
        return Err(format!("{what} by nobody's word"));
    }
    let (Some(parent), Some(after)) = (step.before.run(task.run), step.after.run(task.run)) else {
        return Err(format!("{what}, whose run is not there"));
    };
    let Some(spec) = spec_of(&step.before, task) else { return Err(format!("{what}, which there is not")) };
    let Some(sub_run) = &spec.sub_run else { return Err(format!("{what}, which is no run")) };
    let begun = books.begun.get(&task).map_or(&[][..], |begun| begun);
    if is_open(begun) {
        return Err(format!("{what}, for which {begun:?} was begun"));
    }
    if begun.len() >= spec.retry.attempts as usize {
        return Err(format!("{what}, which may be tried {} times, after {begun:?}", spec.retry.attempts));
    }
    if parent.state.is_terminal() || is_to_end(parent, task.step) {
        return Err(format!("{what}, whose run is to end"));
    }
    if parent.paused.is_some() && after.paused.is_some() {
        return Err(format!("{what}, whose run is paused"));
    }
    let deep = depth(books, task.run) + 1;
    if deep > RUNS_DEEP_MAX {
        return Err(format!("{what}, {deep} deep"));
    }
    let priority = |run: &Run| run.priority_set.unwrap_or(run.spec.priority);
    if ![priority(parent), priority(after)].contains(&priority(row)) {
        return Err(format!("{what} with priority {}, its parent has {}", priority(row), priority(parent)));
    }
    if row.principal != parent.principal || row.restart_of.is_some() {
        return Err(format!("{what} for {:?}, as a try of {:?}", row.principal, row.restart_of));
    }
    check_version(sub_run, row, step).map_err(|wrong| format!("{what}, {wrong}"))?;
    let told = if row.args.is_empty() { Ok(Value::Null) } else { parse(row.args.as_bytes(), "what it is told") };
    let wanted = wanted(&step.before, task, sub_run, row);
    match (&told, &wanted) {
        (Ok(Value::Object(told)), Ok(wanted)) if told.iter().eq(wanted.iter()) => Ok(()),
        (Ok(Value::Null), Ok(wanted)) if wanted.is_empty() => Ok(()),
        _ => Err(format!("{what}, told {told:?}; what the task says comes to {wanted:?}")),
    }
}

/// What a run of `child`'s job is to be told by a task.
fn wanted(state: &State, task: TaskId, sub_run: &SubRun, child: &Run) -> Result<BTreeMap<String, Value>, String> {
    let parent = state.run(task.run).ok_or("there is no parent")?;
    let flow = Flow::of(state, parent);
    let given = Sight::of_task(&flow, task).fill(&sub_run.args);
    given.and_then(|given| completed(&child.spec, &given)).map_err(|flaw| flaw.to_string())
}

/// It is of the version that is named, or of the newest.
fn check_version(sub_run: &SubRun, row: &Run, step: &Step) -> Verdict {
    if row.spec.name != sub_run.job {
        return Err(format!("of job {}, not of {}", row.spec.name, sub_run.job));
    }
    if let Some(version) = sub_run.version {
        return if row.job_version == version { Ok(()) } else { Err(format!("of version {}", row.job_version)) };
    }
    let newest = |state: &State| state.job(&row.spec.namespace, &sub_run.job).map(|job| job.version);
    let newest = [newest(&step.before), newest(&step.after)];
    if newest.contains(&Some(row.job_version)) {
        Ok(())
    } else {
        Err(format!("of version {}, the newest is {newest:?}", row.job_version))
    }
}

/// How deep a run stands in others, itself included.
fn depth(books: &SubRuns, run: RunId) -> u32 {
    let above = |run: &RunId| books.parents.get(run).map(|task| task.run);
    std::iter::successors(Some(run), above).fold(0, |deep, _| deep + 1)
}

/// A run that is begun is begun once, whatever is said of it later. No leader says it twice, for it looks first; so the state
/// itself is asked what would come of it.
pub(super) fn said_again(step: &Step) -> Verdict {
    let Some(entry) = &step.entry else { return Ok(()) };
    for (item, reply) in answered(step) {
        let (Command::StartSubRun(start), Ok(Reply::Counted(1))) = (&item.command, reply) else { continue };
        let again = SubRunStart { run: RunId(!start.run.0), ..(**start).clone() };
        let item = Item { command: Command::StartSubRun(Box::new(again)), ..item.clone() };
        let entry = Entry { stamp: entry.stamp, items: vec![item] };
        let applied = apply(&step.after, Revision(step.revision.0 + 1), &entry);
        if applied.changes.iter().any(|change| matches!(change, Change::Run(_) | Change::Task(_))) {
            let task = task_name(start.task);
            return Err(format!("a run of {task} was begun at revision {}, and would be begun again", step.revision));
        }
    }
    Ok(())
}

/// A task fails because no run of it can be begun, and only then.
pub(super) fn check_refused(books: &SubRuns, step: &Step) -> Verdict {
    for (item, reply) in answered(step) {
        let (Command::FailSubRun { task, flaw, .. }, Ok(Reply::Counted(1))) = (&item.command, reply) else { continue };
        let name = task_name(*task);
        let state = step.after.task(*task).map(|row| &row.state);
        if state != Some(&TaskState::Failed(FailReason::NoSubRun)) {
            return Err(format!("no run of {name} can be begun ({flaw}), and it is {state:?}"));
        }
        if could_begin(books, *task, &step.before) && could_begin(books, *task, &step.after) {
            return Err(format!("it is said that no run of {name} can be begun ({flaw}), and one can"));
        }
    }
    Ok(())
}

fn could_begin(books: &SubRuns, task: TaskId, state: &State) -> bool {
    let Some(sub_run) = spec_of(state, task).and_then(|spec| spec.sub_run.as_ref()) else { return false };
    let Some(parent) = state.run(task.run).filter(|_| depth(books, task.run) < RUNS_DEEP_MAX) else { return false };
    let namespace = &parent.spec.namespace;
    let Some(job) = state.job(namespace, &sub_run.job) else { return false };
    let version = (namespace.clone(), sub_run.job.clone(), sub_run.version.unwrap_or(job.version));
    let Some((_, spec)) = books.versions.get(&version) else { return false };
    let flow = Flow::of(state, parent);
    Sight::of_task(&flow, task).fill(&sub_run.args).and_then(|given| completed(spec, &given)).is_ok()
}
