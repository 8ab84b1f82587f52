//! A run's progress: cancel, a word left at it, the next tasks of a step, the end.

use std::sync::Arc;

use quorate_planted::Bug;

use super::overlay::Overlay;
use super::{flow, settle, sub_runs};
use crate::{
    Annotation, AnnotationKey, Attempt, Change, Event, FailReason, Feature, Principal, Rejection, Reply, Rest, Run,
    RunId, RunResult, RunState, Served, StepVerdict, StopReason, Task, TaskId, TaskState, Violation, Wait,
    step_verdict,
};

pub(super) fn cancel(overlay: &mut Overlay, run: RunId) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let run = overlay.run(run)?;
    let ended_before = run.state.is_terminal();
    assert!(!(ended_before && quorate_planted::is(Bug::CancelPanics)), "planted");
    if !ended_before {
        begin_cancelling(overlay, &run, false);
    }
    Ok(Reply::Cancelling { ended_before, revision: overlay.revision() })
}

/// How many of them begin to end with this.
pub(super) fn cancel_all(overlay: &mut Overlay, runs: &[RunId]) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let mut begun = 0_u32;
    for run in runs {
        let open = overlay.state().run(*run).cloned().filter(|run| !run.state.is_terminal() && !run.cancelling);
        if let Some(run) = open {
            begin_cancelling(overlay, &run, false);
            begun = begun.saturating_add(1);
        }
    }
    Ok(Reply::Counted(begun))
}

/// From here on nothing of the run is placed; the workflow controller ends what is left, in bounded steps.
pub(super) fn begin_cancelling(overlay: &mut Overlay, run: &Run, timed_out: bool) {
    if run.cancelling {
        return;
    }
    overlay.put_run(Run { cancelling: true, timed_out, ..run.clone() });
    overlay.emit(Event::RunCancelRequested { run: run.id });
}

/// Asked for again, or of a task that is in no quarantine, it changes nothing.
pub(super) fn release(overlay: &mut Overlay, task: TaskId) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let row = overlay.state().task(task).cloned().ok_or(Rejection::Stale("the task does not exist"))?;
    if row.state != TaskState::Waiting(Wait::Quarantine) {
        return Ok(Reply::Counted(0));
    }
    let suspects: Vec<Arc<Attempt>> =
        overlay.state().attempts_of(task).filter(|attempt| attempt.suspect).cloned().collect();
    for attempt in suspects {
        overlay.put_attempt(Attempt { suspect: false, ..(*attempt).clone() });
    }
    let to = settle::queued(overlay, task);
    overlay.move_task(&row, to, |_| {});
    Ok(Reply::Counted(1))
}

/// A run has taken as long as its job lets it. False: it has ended, is ending for another reason, or has nothing left to
/// do.
pub(super) fn took_too_long(overlay: &mut Overlay, run: RunId, due: Served) -> bool {
    let Some(run) = overlay.state().run(run).cloned() else { return false };
    let is_open = !run.state.is_terminal() && !run.cancelling && overlay.state().has_open_work(run.id);
    let is_due = is_open && run.deadline == Some(due);
    if is_due {
        begin_cancelling(overlay, &run, true);
    }
    // The work has ended in time; what comes after it may take longer.
    let is_past = run.deadline == Some(due) && !run.state.is_terminal() && !run.cancelling;
    if is_past && !is_open && !run.graph.after().is_empty() {
        overlay.put_run(Run { deadline: None, ..(*run).clone() });
        return true;
    }
    is_due
}

/// Also of a run that has ended: people write down what they found out later.
pub(super) fn annotate(
    overlay: &mut Overlay,
    principal: &Principal,
    run: RunId,
    key: &AnnotationKey,
    value: &Arc<str>,
) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    if overlay.state().run(run).is_none() {
        return Err(Rejection::UnknownRun(run));
    }
    let (bytes, bytes_max) = (value.len() as u64, u64::from(settings.annotation_value_bytes_max));
    if bytes > bytes_max {
        let message = format!("has {bytes} bytes, annotation_value_bytes_max is {bytes_max}");
        return Err(Rejection::Invalid(vec![Violation { field: "value".into(), message }]));
    }
    let state = overlay.state();
    let (count, max) = (state.annotations_count(run) as u64, u64::from(settings.annotations_per_run_max));
    if count >= max && state.annotation(run, key).is_none() {
        return Err(Rejection::LimitReached {
            limit: "annotations_per_run_max",
            max,
            advice: "set an annotation that the run has already, or keep this elsewhere",
        });
    }
    let (key, value, principal) = (key.clone(), value.clone(), principal.clone());
    let annotation = Annotation { run, key: key.clone(), value, at: overlay.now(), principal };
    overlay.put(Change::Annotation(Arc::new(annotation)));
    overlay.emit(Event::RunAnnotated { run, key });
    Ok(Reply::Annotated { revision: overlay.revision() })
}

/// Moves at most `limit` tasks of a step on. What they become is decided here, from the state as it
/// is: a controller that looked a moment ago cannot release what has been cancelled since.
pub(super) fn advance_step(overlay: &mut Overlay, run: RunId, step: u32, limit: u32) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let row = overlay.run(run)?;
    if row.state.is_terminal() {
        return Ok(Reply::Counted(0));
    }
    let verdict = step_verdict(overlay.state(), run, step);
    let on_needs = |task: &Task| task.state == TaskState::Waiting(Wait::Needs);
    // Nobody looks for what is not there.
    let waiting = limit.min(overlay.state().index.steps().step(run, step).on_needs);
    let ends = |to: TaskState| move |_: &Overlay, _| to.clone();
    let touched = match verdict {
        StepVerdict::Wait | StepVerdict::Decide => return Ok(Reply::Counted(0)),
        StepVerdict::Release => {
            let moved = move_waiting(overlay, run, step, waiting, on_needs, settle::queued);
            moved + flow::touch_rest(overlay, run, step, limit.saturating_sub(moved))
        }
        StepVerdict::Skip | StepVerdict::PassOver => {
            if verdict == StepVerdict::PassOver {
                flow::pass_over(overlay, run, step);
            }
            let moved = move_waiting(overlay, run, step, waiting, on_needs, ends(TaskState::Skipped));
            moved.saturating_add(flow::end_rest(overlay, run, step, Rest::Skipped))
        }
        StepVerdict::Fail => {
            let to = TaskState::Failed(FailReason::Undecidable);
            let moved = move_waiting(overlay, run, step, waiting, on_needs, ends(to));
            moved.saturating_add(flow::end_rest(overlay, run, step, Rest::Skipped))
        }
        StepVerdict::Cancel => {
            // First the copies, so that none is left to come back under a task that has ended.
            let stopped = if row.sub_run(step).is_some() {
                let open = open_tasks(overlay, run, step).cloned().collect();
                sub_runs::stop(overlay, &row, open, limit)
            } else if quorate_planted::is(Bug::CancelLeavesRunning) {
                0
            } else {
                stop_live(overlay, run, step, limit)
            };
            let idle = move_waiting(overlay, run, step, limit, is_idle, ends(TaskState::Cancelled));
            stopped.max(idle).saturating_add(flow::end_rest(overlay, run, step, Rest::Cancelled))
        }
    };
    settle::cancel_if_failed(overlay, run);
    Ok(Reply::Counted(touched))
}

fn is_idle(task: &Task) -> bool {
    match task.state {
        TaskState::Waiting(_) => true,
        TaskState::Ready => !quorate_planted::is(Bug::PlacedAfterCancel),
        TaskState::Placed
        | TaskState::Running
        | TaskState::Succeeded
        | TaskState::Failed(_)
        | TaskState::Cancelled
        | TaskState::Skipped => false,
    }
}

fn move_waiting(
    overlay: &mut Overlay,
    run: RunId,
    step: u32,
    limit: u32,
    which: impl Fn(&Task) -> bool,
    to: impl Fn(&Overlay, TaskId) -> TaskState,
) -> u32 {
    let of_step = open_tasks(overlay, run, step);
    let tasks: Vec<Arc<Task>> = of_step.filter(|task| which(task)).take(limit as usize).cloned().collect();
    let mut moved = 0_u32;
    for task in tasks {
        let to = to(overlay, task.id);
        overlay.move_task(&task, to, |_| {});
        moved = moved.saturating_add(1);
    }
    moved
}

/// Asks the live attempts of a step to stop.
fn stop_live(overlay: &mut Overlay, run: RunId, step: u32, limit: u32) -> u32 {
    let state = overlay.state();
    let unstopped = state.index.steps().step(run, step).unstopped();
    let live = |tasks: &mut dyn Iterator<Item = &Arc<Task>>| -> Vec<Arc<Attempt>> {
        let attempts = tasks.flat_map(|task| state.attempts_of(task.id));
        let live = attempts.filter(|attempt| !attempt.state.is_terminal() && attempt.stop.is_none());
        live.take(limit as usize).cloned().collect()
    };
    let mut found = live(&mut open_tasks(overlay, run, step));
    if (found.len() as u64) < u64::from(limit.min(unstopped)) {
        // A task may have ended before its copy.
        found = live(&mut state.tasks_of_step(run, step));
    }
    let mut stopped = 0_u32;
    for attempt in found {
        overlay.put_attempt(Attempt { stop: Some(StopReason::Cancelled), ..(*attempt).clone() });
        stopped = stopped.saturating_add(1);
    }
    stopped
}

/// The tasks of a step by index: all, or of a large step those that have not ended.
fn open_tasks(overlay: &Overlay, run: RunId, step: u32) -> Box<dyn Iterator<Item = &Arc<Task>> + '_> {
    let state = overlay.state();
    let row = state.run(run).filter(|_| state.has_feature(Feature::TaskFlow));
    match row.and_then(|row| state.index.steps().open(row, step)) {
        Some(open) => Box::new(open.filter_map(move |index| state.task(TaskId { run, step, index }))),
        None => Box::new(state.tasks_of_step(run, step)),
    }
}

pub(super) fn finish(overlay: &mut Overlay, run: RunId) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let row = overlay.run(run)?;
    if !overlay.state().can_end(&row) || overlay.state().owes_result(&row) {
        return Ok(Reply::Counted(0));
    }
    let state = overlay.state().outcome(&row);
    let timed_out = row.timed_out && overlay.state().work_outcome(&row) != RunState::Succeeded;
    end(overlay, Run { state, timed_out, ..(*row).clone() });
    Ok(Reply::Counted(1))
}

/// Ends a run that has ended well, with what comes out of it: what is too large for that fails it.
pub(super) fn conclude(overlay: &mut Overlay, run: RunId, result: &RunResult) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    let row = overlay.run(run)?;
    if !overlay.state().owes_result(&row) {
        return Ok(Reply::Counted(0));
    }
    let result = match result {
        RunResult::Value(value) if value.len() as u64 > u64::from(settings.result_bytes_max) => {
            let (bytes, max) = (value.len(), settings.result_bytes_max);
            Err(Arc::from(format!(
                "its result has {bytes} bytes, result_bytes_max is {max}: name files, not their content"
            )))
        }
        RunResult::Value(value) => Ok(value.clone()),
        RunResult::Flaw(flaw) => Err(flaw.clone()),
    };
    let ended = Run { timed_out: false, ..(*row).clone() };
    end(
        overlay,
        match result {
            Ok(result) => Run { state: RunState::Succeeded, result: Some(result), ..ended },
            Err(flaw) => Run { state: RunState::Failed, flaw: Some(flaw), ..ended },
        },
    );
    Ok(Reply::Counted(1))
}

/// A run is over, and with it the task that it is, if it is one.
fn end(overlay: &mut Overlay, ended: Run) {
    let (run, state) = (ended.id, ended.state);
    overlay.put_run(Run { paused: None, ended_at: Some(overlay.now()), ..ended });
    overlay.emit(Event::RunEnded { run, state });
    sub_runs::ended(overlay, run);
}
