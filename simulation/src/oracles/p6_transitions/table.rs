//! Which moves are legal, written down from the design and not from the code that makes them.

use quorate_state::{Attempt, AttemptState, FailReason, RunState, Task, TaskState, Wait};

/// An attempt goes forward, and may leave out what nobody saw. `unknown` goes back to what it was, or
/// on to an end; what has run cannot be about to start again.
pub(super) fn attempt_may(before: &Attempt, to: AttemptState) -> bool {
    use AttemptState::{
        Assigned, Cancelled, Failed, Lost, Preempted, Running, Starting, Stopping, Succeeded, TimedOut, Unknown,
    };
    let has_run = before.started_at.is_some();
    match (before.state, to) {
        (Succeeded | Failed | Lost | Cancelled | Preempted | TimedOut, _) => false,
        (_, Succeeded | Failed | Lost | Cancelled | Preempted | TimedOut) => true,
        (Unknown, Assigned | Starting) => !has_run,
        (Unknown, Running | Stopping) => true,
        (Assigned | Starting | Running | Stopping, Unknown) => true,
        (Assigned, Starting | Running | Stopping) => true,
        (Starting, Running | Stopping) => true,
        (Running, Stopping) => true,
        (Unknown, Unknown)
        | (Assigned | Starting | Running | Stopping, Assigned)
        | (Starting | Running | Stopping, Starting)
        | (Running | Stopping, Running)
        | (Stopping, Stopping) => false,
    }
}

/// A task waits for its needs once, and fails there if it cannot be decided; from the queue it goes to a node, and back for
/// as long as it may be tried again. A copy that comes back takes its task along from wherever that was put meanwhile.
pub(super) fn task_may(before: &Task, after: &Task) -> bool {
    use TaskState::{Cancelled, Failed, Placed, Ready, Running, Skipped, Succeeded, Waiting};
    use Wait::{Backoff, Fence, Needs, Quarantine};
    let lost_another = after.losses > before.losses;
    match (&before.state, &after.state) {
        (Succeeded | Failed(_) | Cancelled | Skipped, _) => false,
        (Waiting(Needs), Ready | Skipped | Cancelled | Failed(FailReason::Undecidable)) => true,
        (Waiting(Needs), Waiting(_) | Placed | Running | Succeeded | Failed(_)) => false,
        (_, Waiting(Needs) | Skipped) => false,
        (_, Cancelled) => true,
        (Waiting(Backoff { .. }), Ready | Waiting(Quarantine)) => true,
        // A word for it, or its copy comes back; until then more losses may be proven.
        (Waiting(Quarantine), Ready | Placed | Running | Succeeded | Failed(_)) => true,
        (Waiting(Quarantine), Waiting(Quarantine | Backoff { .. })) => lost_another,
        (Waiting(Quarantine), Waiting(Fence { .. })) => false,
        (Waiting(Backoff { .. }), Waiting(_) | Placed | Running | Succeeded | Failed(_)) => false,
        // The fence gets its instant, or is followed by the delay that was due.
        (Waiting(Fence { .. }), Waiting(Fence { .. } | Backoff { .. } | Quarantine)) => true,
        (Waiting(Fence { .. }), Ready | Placed | Running | Succeeded | Failed(_)) => true,
        (Ready, Placed | Running | Succeeded | Failed(_)) => true,
        // Its last copy, unknown so far, is proven lost.
        (Ready, Ready | Waiting(Backoff { .. })) => lost_another,
        (Ready, Waiting(Fence { .. } | Quarantine)) => false,
        (Placed, Running) => true,
        (Placed | Running, Ready | Waiting(Backoff { .. } | Fence { .. } | Quarantine) | Succeeded | Failed(_)) => true,
        (Placed, Placed) | (Running, Running | Placed) => false,
    }
}

/// A run starts with its first placement, so one that was never placed can only be cancelled, or fail because it, or a task of
/// it, waited for too long or could not be decided; or it has come to nothing that was to be done.
pub(super) fn run_may(from: RunState, to: RunState) -> bool {
    match (from, to) {
        (RunState::Pending, RunState::Running | RunState::Succeeded | RunState::Failed | RunState::Cancelled) => true,
        (RunState::Running, RunState::Succeeded | RunState::Failed | RunState::Cancelled) => true,
        (RunState::Pending, RunState::Pending)
        | (RunState::Running, RunState::Pending | RunState::Running)
        | (RunState::Succeeded | RunState::Failed | RunState::Cancelled, _) => false,
    }
}
