//! What a run decides, undoes and gives up.

use std::sync::Arc;

use quorate_planted::Bug;

use super::overlay::Overlay;
use super::settle;
use crate::{
    Change, Decided, Event, Rejection, Reply, Rest, Run, RunId, Step, StepVerdict, Task, TaskId, TaskState, Violation,
    step_verdict,
};

/// What was decided holds, whatever else might be said later. Whoever looked at a state that is out of date decided
/// nothing.
pub(super) fn decide(
    overlay: &mut Overlay,
    run: RunId,
    step: u32,
    decided: &Decided,
    elements: Option<u32>,
) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    let row = overlay.run(run)?;
    let is_due = !row.state.is_terminal() && step_verdict(overlay.state(), run, step) == StepVerdict::Decide;
    let repeats = quorate_planted::is(Bug::FanOutTwice) && !row.state.is_terminal() && elements.is_some();
    if !is_due && !repeats {
        return Ok(Reply::Counted(0));
    }
    let known = overlay.state().elements(run, step);
    let is_open = row.spec.tasks.get(step as usize).is_some_and(|task| task.has_open_count());
    let elements = elements.filter(|_| is_open && *decided == Decided::Run).unwrap_or(known).max(1);
    let others = counted(overlay, &row).saturating_sub(u64::from(known));
    let max = u64::from(settings.tasks_per_run_max);
    let decided = if others.saturating_add(u64::from(elements)) > max {
        Decided::Fail(format!("{elements} elements are too many: a run has at most tasks_per_run_max ({max})").into())
    } else if quorate_planted::is(Bug::ConditionIgnored) && *decided == Decided::PassOver {
        Decided::Run
    } else {
        decided.clone()
    };
    let elements = if matches!(decided, Decided::Run) { elements } else { known };
    let elements = if repeats { known.saturating_add(elements) } else { elements };
    let rest = overlay.state().step(run, step).map_or(Rest::Waiting, |step| step.rest);
    overlay.put(Change::Step(Arc::new(Step {
        run,
        step,
        decision: Some(decided.clone()),
        elements,
        rest,
        gang: None,
    })));
    overlay.emit(Event::StepDecided { run, step, decided, elements });
    settle::cancel_if_failed(overlay, run);
    Ok(Reply::Counted(1))
}

/// All elements of a run, as far as they are known.
fn counted(overlay: &Overlay, run: &Run) -> u64 {
    u64::from(overlay.state().run_counts(run.id).total())
}

/// Writes down that there is nothing to do for a step, if that is not written.
pub(super) fn pass_over(overlay: &mut Overlay, run: RunId, step: u32) {
    let known = overlay.state().step(run, step).cloned();
    if known.as_ref().is_some_and(|known| known.decision.is_some()) {
        return;
    }
    let elements = overlay.state().elements(run, step);
    let rest = known.map_or(Rest::Waiting, |known| known.rest);
    let decision = Some(Decided::PassOver);
    overlay.put(Change::Step(Arc::new(Step { run, step, decision, elements, rest, gang: None })));
    overlay.emit(Event::StepDecided { run, step, decided: Decided::PassOver, elements });
}

/// Ends the elements of a step that have no rows: together, whatever their number. How many there were.
pub(super) fn end_rest(overlay: &mut Overlay, run: RunId, step: u32, to: Rest) -> u32 {
    let count = overlay.state().waiting_rest(run, step);
    let Some(row) = overlay.state().step(run, step).filter(|_| count > 0).cloned() else { return 0 };
    let first = overlay.state().rows(run, step);
    overlay.put(Change::Step(Arc::new(Step { rest: to, ..(*row).clone() })));
    overlay.emit(Event::RestEnded { run, step, first, count, state: to.state() });
    count
}

/// Gives rows to at most `limit` further elements of a step, which enter the queue.
pub(super) fn touch_rest(overlay: &mut Overlay, run: RunId, step: u32, limit: u32) -> u32 {
    let count = overlay.state().waiting_rest(run, step).min(limit);
    let repeated = u32::from(quorate_planted::is(Bug::RestRepeatsRow));
    let first = overlay.state().rows(run, step).saturating_sub(repeated);
    for index in first..first.saturating_add(count) {
        let id = TaskId { run, step, index };
        put_task(overlay, id, TaskState::Ready, |_| {});
        overlay.emit(Event::TaskMoved { task: id, state: TaskState::Ready });
    }
    count
}

/// A new task in a state.
pub(super) fn put_task(overlay: &mut Overlay, id: TaskId, state: TaskState, edit: impl FnOnce(&mut Task)) {
    let queue_deadline = if state == TaskState::Ready { overlay.queue_deadline(id) } else { None };
    let ready_since = overlay.ready_since(&state);
    let mut task = Task { queue_deadline, ready_since, ..Task::new(id, state) };
    edit(&mut task);
    overlay.put(Change::Task(Arc::new(task)));
}

/// The tasks that undo what succeeded last come into being, and enter the queue.
pub(super) fn undo_next(overlay: &mut Overlay, run: RunId, limit: u32) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let row = overlay.run(run)?;
    let next: Vec<_> = overlay.state().index.steps().undo_next(&row).take(limit as usize).collect();
    let mut begun = 0_u32;
    for (revision, undone) in next {
        let Some(step) = row.graph.undone_by(undone.step) else { continue };
        let id = TaskId { step, ..undone };
        put_task(overlay, id, TaskState::Ready, |task| task.succeeded_at = Some(revision));
        overlay.emit(Event::TaskMoved { task: id, state: TaskState::Ready });
        begun = begun.saturating_add(1);
    }
    Ok(Reply::Counted(begun))
}

/// Cancels a run with all that would come after its work.
pub(super) fn abandon(overlay: &mut Overlay, run: RunId) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let row = overlay.run(run)?;
    let ended_before = row.state.is_terminal();
    if !ended_before {
        give_up(overlay, &row);
    }
    Ok(Reply::Cancelling { ended_before, revision: overlay.revision() })
}

/// From here on nothing of a run that has not ended is placed, whatever it is for.
pub(super) fn give_up(overlay: &mut Overlay, run: &Run) {
    if run.abandoned {
        return;
    }
    // In one change: each looks at all steps.
    overlay.put_run(Run { cancelling: true, abandoned: true, ..run.clone() });
    if !run.cancelling {
        overlay.emit(Event::RunCancelRequested { run: run.id });
    }
    overlay.emit(Event::RunAbandoned { run: run.id });
}

/// Refuses what a run cannot be told.
pub(super) fn check_args(args: &str) -> Result<(), Rejection> {
    let (bytes, max) = (args.len(), crate::ARGS_BYTES_MAX);
    if bytes <= max {
        return Ok(());
    }
    let message = format!("have {bytes} bytes, ARGS_BYTES_MAX is {max}: put large input into a file");
    Err(Rejection::Invalid(vec![Violation { field: "args".into(), message }]))
}
