//! Tasks that are runs of other jobs: their runs are begun, stopped with them, and end them.

use std::sync::Arc;

use quorate_planted::Bug;

use super::jobs::{self, Accepted};
use super::overlay::Overlay;
use super::{flow, settle};
use crate::{
    Change, Event, FailReason, Job, Rejection, Reply, Run, RunId, RunState, SubRunSpec, SubRunStart, Task, TaskId,
    TaskState,
};

/// Begins the run that a task is. Checks everything first and changes things last.
pub(super) fn start(overlay: &mut Overlay, item: u32, start: &SubRunStart) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let (task, parent) = due(overlay, start.task, start.generation)?;
    let sub_run = parent.sub_run(task.id.step).ok_or(Rejection::Stale("the task is no run"))?;
    let found = overlay.state().sub_run_spec(&parent, sub_run);
    let SubRunSpec { version, spec, digest } = found.map_err(|_| Rejection::Stale("no run of its job can be begun"))?;
    if version != start.version {
        return Err(Rejection::Stale("its job has another version now"));
    }
    flow::check_args(&start.args)?;
    let run = start.run;
    jobs::admit(overlay, run)?;
    let job = overlay.state().job(&spec.namespace, &spec.name).cloned();
    let job = job.ok_or_else(|| Rejection::UnknownJob(spec.namespace.clone(), spec.name.clone()))?;
    // The newest spec may be another one than that of this version, and stays that.
    overlay.put(Change::Job(Arc::new(Job {
        latest_run: run,
        latest_ended: None,
        submitted_at: overlay.now(),
        submitted_revision: overlay.revision(),
        ..(*job).clone()
    })));
    let priority = parent.priority();
    let accepted = Accepted {
        run,
        item,
        principal: &parent.principal,
        spec: &spec,
        digest,
        version,
        args: &start.args,
        restart_of: None,
        parent: Some(task.id),
        priority_set: (priority != spec.priority).then_some(priority),
        timeout_ms: parent.spec.tasks.get(task.id.step as usize).and_then(|task| task.run_timeout_ms),
    };
    jobs::put_run(overlay, &accepted);
    let rows_max = jobs::rows_per_step(overlay, &spec);
    for (step, _) in (0_u32..).zip(&spec.tasks) {
        jobs::put_step(overlay, run, &spec, step, rows_max);
    }
    overlay.emit(Event::RunSubmitted { run, namespace: spec.namespace.clone(), job: spec.name.clone() });
    overlay.move_task(&task, TaskState::Running, |task| task.sub_run = Some(run));
    begin(overlay, &parent);
    Ok(Reply::Counted(1))
}

/// Fails a task of which no run can be begun. What has changed in the view that said so is nothing that would help it.
pub(super) fn fail(overlay: &mut Overlay, id: TaskId, generation: u32, flaw: &Arc<str>) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let (task, parent) = due(overlay, id, generation)?;
    if parent.sub_run(id.step).is_none() {
        return Err(Rejection::Stale("the task is no run"));
    }
    overlay.move_task(&task, TaskState::Failed(FailReason::NoSubRun), |task| task.flaw = Some(flaw.clone()));
    settle::cancel_if_failed(overlay, parent.id);
    Ok(Reply::Counted(1))
}

/// A task of which a run may be begun now, and its run.
fn due(overlay: &Overlay, id: TaskId, generation: u32) -> Result<(Arc<Task>, Arc<Run>), Rejection> {
    let state = overlay.state();
    let task = state.task(id).cloned().ok_or(Rejection::Stale("the task does not exist"))?;
    let has_moved = task.state != TaskState::Ready || task.generation != generation;
    if has_moved && !quorate_planted::is(Bug::SubRunStartedTwice) {
        return Err(Rejection::Stale("the task has moved"));
    }
    let run = state.run(id.run).cloned().ok_or(Rejection::Stale("the run does not exist"))?;
    if run.is_ending(id.step) || run.state.is_terminal() {
        return Err(Rejection::Stale("the run is ending"));
    }
    if run.paused.is_some() {
        return Err(Rejection::Stale("the run is paused"));
    }
    Ok((task, run))
}

/// Something of a run has begun.
pub(super) fn begin(overlay: &mut Overlay, run: &Run) {
    if run.state == RunState::Pending {
        overlay.put_run(Run { state: RunState::Running, started_at: Some(overlay.now()), ..run.clone() });
        overlay.emit(Event::RunStarted { run: run.id });
    }
}

/// Cancels the runs that at most `limit` of these tasks are, or gives them up where `run`, whose tasks they are, is. How
/// many.
pub(super) fn stop(overlay: &mut Overlay, run: &Run, tasks: Vec<Arc<Task>>, limit: u32) -> u32 {
    if quorate_planted::is(Bug::CancelStopsAtParent) {
        return 0;
    }
    let goes_on = |child: &&Arc<Run>| !child.is_stopped_with(run);
    let found: Vec<Arc<Run>> = tasks
        .iter()
        .filter_map(|task| overlay.state().sub_run(task))
        .filter(goes_on)
        .take(limit as usize)
        .cloned()
        .collect();
    let mut stopped = 0_u32;
    for child in found {
        if run.abandoned {
            flow::give_up(overlay, &child);
        } else {
            super::runs::begin_cancelling(overlay, &child, false);
        }
        stopped = stopped.saturating_add(1);
    }
    stopped
}

/// A run has ended: so has the task that it is, or one of its tries.
pub(super) fn ended(overlay: &mut Overlay, run: RunId) {
    let state = overlay.state();
    let Some(child) = state.run(run).filter(|child| child.state.is_terminal()).cloned() else { return };
    let Some(task) = child.parent.and_then(|task| state.task(task)).cloned() else { return };
    let Some(parent) = state.run(task.id.run).cloned() else { return };
    let is_heard = !quorate_planted::is(Bug::ChildEndLost);
    if task.state == TaskState::Running && task.sub_run == Some(run) && is_heard {
        settle::sub_run_ended(overlay, &task, &parent, &child);
    }
}
