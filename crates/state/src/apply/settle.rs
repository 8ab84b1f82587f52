//! What the end, or the loss, of an attempt means for its task and its run.

use std::sync::Arc;

use quorate_planted::Bug;

use super::gangs;
use super::overlay::Overlay;
use super::runs::begin_cancelling;
use crate::{
    Attempt, AttemptId, AttemptState, BAD_REFERENCE, FailReason, Feature, NodeStatus, OnFailure, OnNodeLoss, Outcome,
    Retry, Run, RunId, RunState, Served, StepVerdict, StopReason, Task, TaskId, TaskSpec, TaskState, Wait, mix,
    step_verdict,
};

/// The rows around an attempt that is its task's newest, while that task has not ended.
struct Around {
    attempt: Arc<Attempt>,
    task: Arc<Task>,
    run: Arc<Run>,
}

impl Around {
    fn of(overlay: &Overlay, id: AttemptId) -> Option<Self> {
        let state = overlay.state();
        let attempt = state.attempt(id)?.clone();
        let task = state.task(id.task)?.clone();
        let run = state.run(id.task.run)?.clone();
        let is_newest = task.newest_attempt() == Some(id) || quorate_planted::is(Bug::ReplacedCopyCounts);
        let is_open = !task.state.is_terminal() || quorate_planted::is(Bug::TerminalLeft);
        (is_newest && is_open).then_some(Self { attempt, task, run })
    }

    fn spec(&self) -> Option<&TaskSpec> {
        self.run.spec.tasks.get(self.task.id.step as usize)
    }

    fn is_member(&self) -> bool {
        self.spec().is_some_and(|spec| spec.gang.is_some())
    }

    /// What has not ended of its step is being cancelled.
    fn is_ending(&self) -> bool {
        self.run.is_ending(self.task.id.step)
    }
}

/// Moves a task whose run, of another job, has just ended.
pub(super) fn sub_run_ended(overlay: &mut Overlay, task: &Task, run: &Run, ended: &Run) {
    let retry = run.spec.tasks.get(task.id.step as usize).map(|spec| &spec.retry);
    let tries = task.tries.saturating_add(1);
    let to = match (ended.state, retry) {
        (RunState::Succeeded, _) => return overlay.move_task(task, TaskState::Succeeded, |_| {}),
        (RunState::Pending | RunState::Running, _) | (_, None) => return,
        (RunState::Failed | RunState::Cancelled, _) if run.is_ending(task.id.step) => TaskState::Cancelled,
        // Somebody wanted it to end: another one would be as unwelcome.
        (RunState::Cancelled, _) => TaskState::Failed(FailReason::SubRunCancelled),
        (RunState::Failed, Some(retry))
            if tries < retry.attempts || quorate_planted::is(Bug::ChildRetriedWithoutBound) =>
        {
            let delay = backoff_ms(retry, tries, seed(task.id) ^ mix(ended.id.0));
            TaskState::Waiting(Wait::Backoff { until: overlay.served().plus(delay) })
        }
        (RunState::Failed, Some(_)) => TaskState::Failed(FailReason::Failed),
    };
    let has_failed = ended.state == RunState::Failed;
    overlay.move_task(task, to, |task| task.tries = task.tries.saturating_add(u32::from(has_failed)));
    cancel_if_failed(overlay, run.id);
}

/// Moves the task of an attempt that has just become terminal.
pub(super) fn attempt_ended(overlay: &mut Overlay, id: AttemptId) {
    let Some(around) = Around::of(overlay, id) else { return };
    if around.is_member() {
        return gangs::member_ended(overlay, &around.attempt);
    }
    match around.attempt.state {
        AttemptState::Succeeded => overlay.move_task(&around.task, TaskState::Succeeded, |_| {}),
        AttemptState::Cancelled => overlay.move_task(&around.task, TaskState::Cancelled, |_| {}),
        AttemptState::Preempted if around.is_ending() => overlay.move_task(&around.task, TaskState::Cancelled, |_| {}),
        AttemptState::Preempted if quorate_planted::is(Bug::DrainedBurnsTry) => {
            failed(overlay, &around, FailReason::Failed)
        }
        AttemptState::Preempted => requeue(overlay, &around, 0),
        AttemptState::Failed => failed(overlay, &around, FailReason::Failed),
        AttemptState::TimedOut if around.attempt.stop == Some(StopReason::Silent) => {
            failed(overlay, &around, FailReason::Silent)
        }
        AttemptState::TimedOut => failed(overlay, &around, FailReason::TimedOut),
        AttemptState::Lost => lost(overlay, &around),
        AttemptState::Assigned
        | AttemptState::Starting
        | AttemptState::Running
        | AttemptState::Stopping
        | AttemptState::Unknown => {}
    }
}

/// The node's lease is over and nobody knows what became of the attempt.
pub(super) fn attempt_unknown(overlay: &mut Overlay, id: AttemptId, fence: Served, unknown_until: Served) {
    let Some(around) = Around::of(overlay, id) else { return };
    let Some(promise) = around.spec().map(|spec| spec.on_node_loss) else { return };
    let suspect = may_be_to_blame(overlay, &around.attempt);
    match promise {
        // The others cannot go on without it.
        OnNodeLoss::AtMostOnce | OnNodeLoss::AtLeastOnce | OnNodeLoss::Fenced if around.is_member() => {
            overlay.move_attempt(&around.attempt, AttemptState::Lost, |attempt| attempt.suspect = suspect);
            attempt_ended(overlay, id);
        }
        // Its one start may still succeed: wait for the node, but not for ever.
        OnNodeLoss::AtMostOnce => overlay.move_attempt(&around.attempt, AttemptState::Unknown, |attempt| {
            attempt.unknown_deadline = Some(unknown_until)
        }),
        OnNodeLoss::AtLeastOnce | OnNodeLoss::Fenced if ends_with(overlay, &around) => {
            overlay.move_attempt(&around.attempt, AttemptState::Lost, |attempt| attempt.suspect = suspect);
            attempt_ended(overlay, id);
        }
        OnNodeLoss::AtLeastOnce => {
            overlay.move_attempt(&around.attempt, AttemptState::Unknown, |attempt| attempt.suspect = suspect);
            overlay.move_task(&around.task, queued(overlay, id.task), |_| {});
        }
        OnNodeLoss::Fenced => {
            overlay.move_attempt(&around.attempt, AttemptState::Unknown, |attempt| attempt.suspect = suspect);
            overlay.move_task(&around.task, TaskState::Waiting(Wait::Fence { until: fence }), |_| {});
        }
    }
}

/// Whether an attempt whose node has gone away may be the reason for that: it ran there. Whoever only waited to run is
/// not to blame, and nobody is twice for the same loss: what was said of one that is out of sight stands.
pub(super) fn may_be_to_blame(overlay: &Overlay, attempt: &Attempt) -> bool {
    if attempt.state == AttemptState::Unknown {
        return attempt.suspect;
    }
    attempt.started_at.is_some() && overlay.state().has_feature(Feature::TaskOutcomes)
}

/// Less speaks against a task than before: perhaps it may go on by itself.
pub(super) fn lift_quarantine(overlay: &mut Overlay, task: TaskId) {
    let Some(row) = overlay.state().task(task).cloned() else { return };
    if row.state == TaskState::Waiting(Wait::Quarantine) && !overlay.state().is_suspected(task) {
        let to = queued(overlay, task);
        overlay.move_task(&row, to, |_| {});
    }
}

/// True when a lost copy is the task's last: its run is ending, or it lost too many nodes.
fn ends_with(overlay: &Overlay, around: &Around) -> bool {
    around.is_ending() || losses_exhausted(overlay, &around.task)
}

pub(super) fn losses_exhausted(overlay: &Overlay, task: &Task) -> bool {
    !quorate_planted::is(Bug::LossesUnbounded)
        && overlay.state().settings().is_some_and(|settings| task.losses >= settings.node_losses_max)
}

fn lost(overlay: &mut Overlay, around: &Around) {
    let Some(spec) = around.spec() else { return };
    if around.is_ending() {
        overlay.move_task(&around.task, TaskState::Cancelled, |_| {});
    } else if spec.on_node_loss == OnNodeLoss::AtMostOnce && !quorate_planted::is(Bug::AtMostOnceTwice) {
        fail(overlay, around, FailReason::Lost, 0);
    } else if losses_exhausted(overlay, &around.task) {
        fail(overlay, around, FailReason::NodeLosses, 0);
    } else {
        requeue(overlay, around, 1);
    }
}

/// Back into the queue without burning a try; behind the fence while a copy may still run. From the
/// second loss on a delay grows as that of a retry does: a node that loses all it is given must not
/// use up a task's losses in an instant.
fn requeue(overlay: &mut Overlay, around: &Around, losses: u32) {
    if quorate_planted::is(Bug::LossBurnsTry) && losses > 0 {
        return failed(overlay, around, FailReason::Failed);
    }
    let earlier = around.task.losses;
    let delay = around.spec().filter(|_| losses > 0 && earlier > 0);
    let delay = delay.map(|spec| backoff_ms(&spec.retry, earlier, jitter_seed(around)));
    let to = match (fence(overlay, around), delay) {
        (Some(until), _) => TaskState::Waiting(Wait::Fence { until }),
        (None, Some(delay)) => TaskState::Waiting(Wait::Backoff { until: overlay.served().plus(delay) }),
        (None, None) => queued(overlay, around.task.id),
    };
    let was_preempted = around.attempt.state == AttemptState::Preempted && around.attempt.preempted.is_some();
    overlay.move_task(&around.task, to, |task| {
        task.losses = task.losses.saturating_add(losses);
        task.preemptions = task.preemptions.saturating_add(u32::from(was_preempted));
    });
}

/// What a task is that has nothing else to wait for. A copy that was taken in from an earlier life of the
/// data may have run before what its task needs has succeeded in this one; another copy may not.
pub(super) fn queued(overlay: &Overlay, task: TaskId) -> TaskState {
    match step_verdict(overlay.state(), task.run, task.step) {
        StepVerdict::Wait | StepVerdict::Skip if quorate_planted::is(Bug::RestoreForgetsNeeds) => TaskState::Ready,
        StepVerdict::Wait | StepVerdict::Decide | StepVerdict::Skip | StepVerdict::PassOver | StepVerdict::Fail => {
            TaskState::Waiting(Wait::Needs)
        }
        StepVerdict::Release if overlay.state().is_suspected(task) => TaskState::Waiting(Wait::Quarantine),
        StepVerdict::Release | StepVerdict::Cancel => TaskState::Ready,
    }
}

/// Until when the next copy of a `fenced` task must wait, if the last one is not confirmed gone. An
/// agent whose lease is live kills nothing: only its word helps, or the end of that lease.
fn fence(overlay: &Overlay, around: &Around) -> Option<Served> {
    fence_of(overlay, around.spec()?, &around.attempt)
}

/// The same of one that ran such a task. A gang never begins beside processes of its last generation on nodes that can be
/// reached, whatever its promise for those that cannot.
pub(super) fn fence_of(overlay: &Overlay, spec: &TaskSpec, attempt: &Attempt) -> Option<Served> {
    let (is_fenced, is_member) = (spec.on_node_loss == OnNodeLoss::Fenced, spec.gang.is_some());
    if attempt.gone || !(is_fenced || is_member) {
        return None;
    }
    let node = overlay.state().node(&attempt.node)?;
    match node.status {
        // Its agent has come back without the journal that knew of it: only time helps.
        NodeStatus::Up if is_member && attempt.unknown_deadline.is_some() => attempt.unknown_deadline,
        NodeStatus::Up => Some(Served::NEVER),
        NodeStatus::Lost { at } => is_fenced.then(|| at.plus(node.lease.kill_ms)),
    }
}

/// The lease under which an ended, but perhaps not gone, copy of a fenced task ran is over: from
/// here on the fence has an instant.
pub(super) fn fence_ends(overlay: &mut Overlay, id: AttemptId, until: Served) {
    let Some(around) = Around::of(overlay, id) else { return };
    if around.task.state == TaskState::Waiting(Wait::Fence { until: Served::NEVER }) {
        overlay.move_task(&around.task, TaskState::Waiting(Wait::Fence { until }), |_| {});
    }
}

/// The node of an ended, but perhaps not gone, copy of a fenced task has a lease again: until that
/// ends its agent kills nothing, and only its word helps.
pub(super) fn fence_holds(overlay: &mut Overlay, id: AttemptId) {
    let Some(around) = Around::of(overlay, id) else { return };
    let Some(until) = fence(overlay, &around).filter(|_| around.attempt.state.is_terminal()) else { return };
    if matches!(around.task.state, TaskState::Waiting(Wait::Fence { until: now }) if now != until) {
        overlay.move_task(&around.task, TaskState::Waiting(Wait::Fence { until }), |_| {});
    }
}

/// The last copy is certainly gone: its task goes on as if it had been gone when it ended.
pub(super) fn lift_fence(overlay: &mut Overlay, id: AttemptId) {
    let Some(around) = Around::of(overlay, id) else { return };
    let is_fenced = match around.task.state {
        TaskState::Waiting(Wait::Fence { .. }) => around.attempt.state.is_terminal(),
        TaskState::Waiting(Wait::Needs | Wait::Backoff { .. } | Wait::Quarantine)
        | TaskState::Ready
        | TaskState::Placed
        | TaskState::Running
        | TaskState::Succeeded
        | TaskState::Failed(_)
        | TaskState::Cancelled
        | TaskState::Skipped => false,
    };
    if is_fenced {
        let to = after_backoff(overlay, &around);
        overlay.move_task(&around.task, to, |_| {});
    }
}

/// A copy that failed is followed by a delay, one that was lost or preempted by none.
fn after_backoff(overlay: &Overlay, around: &Around) -> TaskState {
    let retry = around.spec().map(|spec| &spec.retry);
    match (around.attempt.state, retry) {
        (AttemptState::Failed | AttemptState::TimedOut, Some(retry)) => {
            let delay = backoff_ms(retry, around.task.tries, jitter_seed(around));
            TaskState::Waiting(Wait::Backoff { until: overlay.served().plus(delay) })
        }
        (
            AttemptState::Failed
            | AttemptState::TimedOut
            | AttemptState::Assigned
            | AttemptState::Starting
            | AttemptState::Running
            | AttemptState::Stopping
            | AttemptState::Unknown
            | AttemptState::Succeeded
            | AttemptState::Lost
            | AttemptState::Cancelled
            | AttemptState::Preempted,
            _,
        ) => queued(overlay, around.task.id),
    }
}

fn failed(overlay: &mut Overlay, around: &Around, reason: FailReason) {
    let Some(retry) = around.spec().map(|spec| &spec.retry) else { return };
    let tries = around.task.tries.saturating_add(1);
    let never =
        retry.rules_out(around.attempt.exit, around.attempt.outcome.as_deref()) || is_flawed(overlay, &around.attempt);
    if around.is_ending() {
        overlay.move_task(&around.task, TaskState::Cancelled, |task| task.tries = tries);
    } else if tries >= retry.attempts || never {
        fail(overlay, around, reason, 1);
    } else {
        let delay =
            if quorate_planted::is(Bug::BackoffSkipped) { 0 } else { backoff_ms(retry, tries, jitter_seed(around)) };
        let until = overlay.served().plus(delay);
        let wait = match fence(overlay, around) {
            Some(fence) => Wait::Fence { until: fence.max(until) },
            None => Wait::Backoff { until },
        };
        overlay.move_task(&around.task, TaskState::Waiting(wait), |task| task.tries = tries);
    }
}

/// It had no command, and would have none another time.
pub(super) fn is_flawed(overlay: &Overlay, attempt: &Attempt) -> bool {
    let error = match attempt.outcome.as_deref() {
        Some(Outcome::Error(error)) => error.as_str(),
        Some(Outcome::Result(_)) | None => return false,
    };
    error == BAD_REFERENCE && overlay.state().has_feature(Feature::TaskFlow)
}

fn fail(overlay: &mut Overlay, around: &Around, reason: FailReason, tries: u32) {
    overlay.move_task(&around.task, TaskState::Failed(reason), |task| task.tries = task.tries.saturating_add(tries));
    cancel_if_failed(overlay, around.run.id);
}

/// What a task that failed for good means for the rest of its run: nothing, where that was accepted or another one may
/// stand in for it.
pub(super) fn cancel_if_failed(overlay: &mut Overlay, run: RunId) {
    let Some(run) = overlay.state().run(run).cloned() else { return };
    match run.spec.on_failure {
        OnFailure::Cancel if quorate_planted::is(Bug::OnFailureIgnored) => {}
        OnFailure::Finish => {}
        OnFailure::Cancel => {
            if overlay.state().index.steps().has_failed_work(run.id) {
                begin_cancelling(overlay, &run, false);
            }
        }
    }
}

/// A task was ready for as long as its job lets it. False: it is not any more, or its run is ending anyway.
pub(super) fn queued_too_long(overlay: &mut Overlay, id: TaskId, due: Served) -> bool {
    let state = overlay.state();
    let (Some(task), Some(run)) = (state.task(id).cloned(), state.run(id.run).cloned()) else { return false };
    let is_due = task.state == TaskState::Ready && task.queue_deadline == Some(due) && !run.is_ending(id.step);
    if is_due && gangs::of_step(&run, id.step).is_some() {
        gangs::queued_too_long(overlay, &task);
    } else if is_due {
        overlay.move_task(&task, TaskState::Failed(FailReason::Queued), |_| {});
        cancel_if_failed(overlay, run.id);
    }
    is_due
}

/// The same on every replica: taken from what the log knows, not from a generator.
fn jitter_seed(around: &Around) -> u64 {
    mix(seed(around.task.id) ^ around.attempt.token.0)
}

pub(super) fn seed(task: TaskId) -> u64 {
    task.run.0 ^ mix(u64::from(task.step) << 32 | u64::from(task.index))
}

/// Delay in milliseconds after `tries` failed tries; see [`Retry`].
pub(super) fn backoff_ms(retry: &Retry, tries: u32, seed: u64) -> u64 {
    let mut delay = u128::from(retry.first_ms);
    let cap = u128::from(retry.cap_ms);
    for _ in 1..tries {
        if delay >= cap {
            break;
        }
        delay = delay * u128::from(retry.factor_milli) / 1_000;
    }
    let delay = delay.min(cap);
    let spread = delay * u128::from(retry.jitter_milli) / 1_000;
    let offset = if spread == 0 { 0 } else { u128::from(seed) % (2 * spread + 1) };
    u64::try_from(delay - spread + offset).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_by_the_factor_up_to_the_cap() {
        let retry = Retry { first_ms: 1_000, factor_milli: 2_000, cap_ms: 5_000, jitter_milli: 0, ..Retry::default() };
        let delays: Vec<u64> = (1..=5).map(|tries| backoff_ms(&retry, tries, 7)).collect();
        assert_eq!(delays, [1_000, 2_000, 4_000, 5_000, 5_000]);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let retry = Retry { first_ms: 1_000, jitter_milli: 200, ..Retry::default() };
        let delays: Vec<u64> = (0..1_000).map(|seed| backoff_ms(&retry, 1, mix(seed))).collect();
        assert!(delays.iter().all(|delay| (800..=1_200).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 850) && delays.iter().any(|delay| *delay > 1_150));
    }
}
