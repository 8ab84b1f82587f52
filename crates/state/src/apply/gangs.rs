//! Gangs: placed all or none, and once one member is lost to it, stopped all and begun anew all.
//!
//! The tasks of a gang move together. While attempts of its generation live, all of them are placed or running, whatever has
//! become of single attempts; when the last has ended, all of them end or wait for the next generation. So nothing that one member
//! does alone can be taken for an end of the gang.

use std::sync::Arc;

use quorate_planted::Bug;

use super::overlay::Overlay;
use super::{placements, settle};
use crate::{
    Attempt, AttemptId, AttemptState, Census, Change, FailReason, Gang, GangSpec, NodeName, Placement,
    PlacementOutcome, Rejection, Reply, Rest, Run, RunId, Served, Step, StopReason, Task, TaskId, TaskSpec, TaskState,
    Wait,
};

/// Places all members, by index, or refuses the whole: whoever asks for this rolls back what a refusal leaves behind.
pub(super) fn commit(
    overlay: &mut Overlay,
    (run, step): (RunId, u32),
    generation: u32,
    placed: &[Placement],
) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let row = overlay.state().run(run).cloned().ok_or(Rejection::Stale("the run does not exist"))?;
    let (spec, gang) = of_step(&row, step).ok_or(Rejection::Stale("the task is not a gang"))?;
    if overlay.state().gang(run, step).map_or(0, |gang| gang.generation) != generation {
        return Err(Rejection::Stale("the gang has moved"));
    }
    let in_part = quorate_planted::is(Bug::GangPlacedInPart);
    let ids = (0..spec.count).map(|index| TaskId { run, step, index });
    if !in_part && !placed.iter().map(|placement| placement.task).eq(ids) {
        return Err(Rejection::Stale("a gang is placed whole, by index"));
    }
    check_domain(overlay, gang, placed.iter().map(|placement| (placement.task, &placement.node)))?;
    // Once the first has its place nothing is kept for the others any more.
    let is_elsewhere = |placement: &&Placement| {
        overlay.state().claim(placement.task).is_some_and(|claim| claim.node != placement.node)
    };
    if let Some(placement) = placed.iter().find(is_elsewhere) {
        let why = Box::new(Rejection::Stale("room is kept for the task on another node"));
        return Err(Rejection::Member { task: placement.task, why });
    }
    let (mut outcomes, mut census) = (Vec::with_capacity(placed.len()), Census::of_state());
    for placement in placed {
        match placements::place(overlay, placement, &mut census, true) {
            Ok(token) => outcomes.push(PlacementOutcome::Placed(token)),
            Err(_) if in_part => {}
            Err(why) => return Err(Rejection::Member { task: placement.task, why: Box::new(why) }),
        }
    }
    let live = u32::try_from(outcomes.len()).unwrap_or(u32::MAX);
    let start_due = gang.start_ms.map(|start_ms| overlay.served().plus(start_ms));
    let gang = Gang { generation: generation.saturating_add(1), live, is_breaking: false, start_due };
    put(overlay, run, step, gang);
    Ok(Reply::PlanCommitted(outcomes))
}

/// What a step says of the gang that it is, if it is one.
pub(super) fn of_step(run: &Run, step: u32) -> Option<(&TaskSpec, &GangSpec)> {
    run.spec.tasks.get(step as usize).and_then(|spec| Some((spec, spec.gang.as_ref()?)))
}

/// Refuses places of members on nodes that are not alike in what they have to be.
pub(super) fn check_domain<'a>(
    overlay: &Overlay,
    gang: &GangSpec,
    places: impl Iterator<Item = (TaskId, &'a NodeName)>,
) -> Result<(), Rejection> {
    let Some(within) = &gang.within else { return Ok(()) };
    let mut first = None;
    for (task, node) in places {
        let node = overlay.state().node(node).ok_or(Rejection::Stale("the node does not exist"))?;
        let domain = within.domain(node);
        if domain.is_none() || domain != *first.get_or_insert(domain) {
            let why = Box::new(Rejection::Stale("its node is not alike to those of the other members"));
            return Err(Rejection::Member { task, why });
        }
    }
    Ok(())
}

fn put(overlay: &mut Overlay, run: RunId, step: u32, gang: Gang) {
    let known = overlay.state().step(run, step).cloned();
    let elements = overlay.state().elements(run, step);
    let (decision, rest) = known.map_or((None, Rest::Waiting), |known| (known.decision.clone(), known.rest));
    overlay.put(Change::Step(Arc::new(Step { run, step, decision, elements, rest, gang: Some(gang) })));
}

/// An attempt of a member has just become terminal.
pub(super) fn member_ended(overlay: &mut Overlay, attempt: &Attempt) {
    let TaskId { run, step, .. } = attempt.id.task;
    let Some(before) = current(overlay, attempt.id) else { return };
    let is_breaking = before.is_breaking || attempt.state != AttemptState::Succeeded;
    let gang = Gang { live: before.live.saturating_sub(1), is_breaking, ..before };
    put(overlay, run, step, gang);
    if is_breaking && !before.is_breaking {
        stop_others(overlay, run, step);
    }
    if gang.live == 0 {
        end_generation(overlay, run, step);
    }
}

/// A member has to leave its place: so have the others. False if it is of no gang that is whole.
pub(super) fn break_up(overlay: &mut Overlay, attempt: AttemptId) -> bool {
    let gang = current(overlay, attempt).filter(|gang| !gang.is_breaking);
    let Some(gang) = gang else { return false };
    let TaskId { run, step, .. } = attempt.task;
    put(overlay, run, step, Gang { is_breaking: true, ..gang });
    stop_others(overlay, run, step);
    true
}

/// The gang of an attempt, if that is of its newest generation.
fn current(overlay: &Overlay, attempt: AttemptId) -> Option<Gang> {
    let gang = overlay.state().gang(attempt.task.run, attempt.task.step)?;
    (gang.generation == attempt.number).then_some(gang)
}

fn stop_others(overlay: &mut Overlay, run: RunId, step: u32) {
    if quorate_planted::is(Bug::GangSurvivorsKept) {
        return;
    }
    for (_, attempt) in members(overlay, run, step) {
        if !attempt.state.is_terminal() && attempt.stop.is_none() {
            overlay.put_attempt(Attempt { stop: Some(StopReason::Gang), ..(*attempt).clone() });
        }
    }
}

/// The tasks of a gang with their attempts of its newest generation, by index.
fn members(overlay: &Overlay, run: RunId, step: u32) -> Vec<(Arc<Task>, Arc<Attempt>)> {
    let state = overlay.state();
    let tasks = state.tasks_of_step(run, step);
    tasks.filter_map(|task| Some((task.clone(), state.attempt(task.newest_attempt()?)?.clone()))).collect()
}

/// What becomes of all members when the last of a generation has ended.
enum Verdict {
    Succeeded,
    Cancelled,
    Failed { reason: FailReason, tries: u32 },
    Again { tries: u32, losses: u32, delay_ms: Option<u64> },
}

fn end_generation(overlay: &mut Overlay, run: RunId, step: u32) {
    let (Some(row), Some(gang)) = (overlay.state().run(run).cloned(), overlay.state().gang(run, step)) else { return };
    let Some((spec, _)) = of_step(&row, step) else { return };
    put(overlay, run, step, Gang { live: 0, is_breaking: false, start_due: None, ..gang });
    let members = members(overlay, run, step);
    let verdict = verdict(overlay, &row, (step, spec), gang.generation, &members);
    for (task, attempt) in members {
        if task.state.is_terminal() {
            continue;
        }
        match verdict {
            Verdict::Succeeded => overlay.move_task(&task, TaskState::Succeeded, |_| {}),
            Verdict::Again { .. }
                if quorate_planted::is(Bug::GangGenerationMixed) && attempt.state == AttemptState::Succeeded =>
            {
                overlay.move_task(&task, TaskState::Succeeded, |_| {});
            }
            Verdict::Cancelled => overlay.move_task(&task, TaskState::Cancelled, |_| {}),
            Verdict::Failed { reason, tries } => overlay.move_task(&task, TaskState::Failed(reason), |task| {
                task.tries = task.tries.saturating_add(tries);
            }),
            Verdict::Again { tries, losses, delay_ms } => {
                let to = again(overlay, &task, spec, &attempt, delay_ms);
                overlay.move_task(&task, to, |task| {
                    task.tries = task.tries.saturating_add(tries);
                    task.losses = task.losses.saturating_add(losses);
                });
            }
        }
    }
    settle::cancel_if_failed(overlay, run);
}

/// From what its members came to: a loss of nodes counts more than being moved, and that more than failures, which the others'
/// absence may have caused.
fn verdict(
    overlay: &Overlay,
    run: &Run,
    (step, spec): (u32, &TaskSpec),
    generation: u32,
    members: &[(Arc<Task>, Arc<Attempt>)],
) -> Verdict {
    let Some((first, _)) = members.first() else { return Verdict::Cancelled };
    let has = |is: fn(&Attempt) -> bool| members.iter().any(|(_, attempt)| is(attempt));
    let seed = settle::seed(TaskId { run: run.id, step, index: 0 }) ^ crate::mix(u64::from(generation));
    let delay_ms = |number: u32| settle::backoff_ms(&spec.retry, number, seed);
    if !has(|attempt| attempt.state != AttemptState::Succeeded) {
        return Verdict::Succeeded;
    }
    if run.is_ending(step) {
        return Verdict::Cancelled;
    }
    let failed = members.iter().map(|(_, attempt)| attempt).find_map(|attempt| Some((reason_of(attempt)?, attempt)));
    let is_lost = has(|attempt| attempt.state == AttemptState::Lost);
    if !is_lost && has(|attempt| matches!(attempt.stop, Some(StopReason::Drained | StopReason::Preempted))) {
        return Verdict::Again { tries: 0, losses: 0, delay_ms: None };
    }
    let Some((reason, _)) = failed.filter(|_| !is_lost) else {
        // A node went away, or not all of them have begun in time.
        return if settle::losses_exhausted(overlay, first) {
            Verdict::Failed { reason: FailReason::NodeLosses, tries: 0 }
        } else {
            let delay_ms = (first.losses > 0).then(|| delay_ms(first.losses));
            Verdict::Again { tries: 0, losses: 1, delay_ms }
        };
    };
    let tries = first.tries.saturating_add(1);
    let never = |attempt: &Attempt| {
        reason_of(attempt).is_some()
            && (spec.retry.rules_out(attempt.exit, attempt.outcome.as_deref()) || settle::is_flawed(overlay, attempt))
    };
    if tries >= spec.retry.attempts || members.iter().any(|(_, attempt)| never(attempt)) {
        Verdict::Failed { reason, tries: 1 }
    } else {
        Verdict::Again { tries: 1, losses: 0, delay_ms: Some(delay_ms(tries)) }
    }
}

/// Why an attempt counts as failed, if it does.
fn reason_of(attempt: &Attempt) -> Option<FailReason> {
    match attempt.state {
        AttemptState::Failed => Some(FailReason::Failed),
        AttemptState::TimedOut if attempt.stop == Some(StopReason::Silent) => Some(FailReason::Silent),
        AttemptState::TimedOut => Some(FailReason::TimedOut),
        AttemptState::Assigned
        | AttemptState::Starting
        | AttemptState::Running
        | AttemptState::Stopping
        | AttemptState::Unknown
        | AttemptState::Succeeded
        | AttemptState::Lost
        | AttemptState::Cancelled
        | AttemptState::Preempted => None,
    }
}

/// What a member waits for before the next generation; the gang is placed when none waits for anything.
fn again(overlay: &Overlay, task: &Task, spec: &TaskSpec, attempt: &Attempt, delay_ms: Option<u64>) -> TaskState {
    let backoff = delay_ms.map(|delay| overlay.served().plus(delay));
    match (settle::fence_of(overlay, spec, attempt), backoff) {
        (Some(fence), backoff) => {
            TaskState::Waiting(Wait::Fence { until: backoff.map_or(fence, |until| fence.max(until)) })
        }
        (None, Some(until)) => TaskState::Waiting(Wait::Backoff { until }),
        (None, None) => settle::queued(overlay, task.id),
    }
}

/// A member was ready for as long as its job lets it. All of the gang fail; while one of them waits for something else, the
/// time begins anew.
pub(super) fn queued_too_long(overlay: &mut Overlay, task: &Task) {
    let TaskId { run, step, .. } = task.id;
    let all: Vec<Arc<Task>> = overlay.state().tasks_of_step(run, step).cloned().collect();
    if all.iter().any(|member| member.state != TaskState::Ready) {
        let ready_since = task.ready_since;
        return overlay.move_task(task, TaskState::Ready, |task| task.ready_since = ready_since);
    }
    for member in all {
        overlay.move_task(&member, TaskState::Failed(FailReason::Queued), |_| {});
    }
    settle::cancel_if_failed(overlay, run);
}

/// Not all members of a generation have begun in time. False: they have, or it is over.
pub(super) fn start_too_late(overlay: &mut Overlay, (run, step): (RunId, u32), generation: u32, due: Served) -> bool {
    let gang = overlay.state().gang(run, step);
    let Some(gang) = gang.filter(|gang| gang.generation == generation && gang.start_due == Some(due)) else {
        return false;
    };
    put(overlay, run, step, Gang { start_due: None, ..gang });
    let has_begun = |attempt: &Attempt| attempt.started_at.is_some() || attempt.state.is_terminal();
    let waiting = members(overlay, run, step).into_iter().find(|(_, attempt)| !has_begun(attempt));
    if let Some((_, attempt)) = waiting {
        break_up(overlay, attempt.id);
    }
    true
}
