//! What there is to say of a task that is not waiting: where it runs, or how it ended.

use quorate_state::{Attempt, AttemptState, Exit, FailReason, State, StopReason, Task, TaskState};

use super::unmet;

/// One sentence about a task that needs nothing from the scheduler.
pub(super) fn standing(view: &State, task: &Task) -> String {
    let newest = task.newest_attempt().and_then(|attempt| view.attempt(attempt)).map(AsRef::as_ref);
    match &task.state {
        TaskState::Placed => on_node(view, newest, "placed", "its agent has not started it yet"),
        TaskState::Running => on_node(view, newest, "running", "since its agent started it"),
        TaskState::Succeeded => "it has succeeded".into(),
        TaskState::Cancelled => "it was cancelled".into(),
        TaskState::Skipped => format!("skipped, because {} did not succeed", names(view, task)),
        TaskState::Failed(reason) => failed(*reason, task, newest),
        TaskState::Waiting(_) | TaskState::Ready => "about to be looked at".into(),
    }
}

fn on_node(view: &State, newest: Option<&Attempt>, verb: &str, rest: &str) -> String {
    match newest {
        Some(attempt) if attempt.stop == Some(StopReason::Drained) => {
            format!("on node {}, which is drained: asked to stop there, it is placed elsewhere next", attempt.node)
        }
        Some(attempt) if attempt.stop.is_some() => format!("on node {}, which was asked to stop it", attempt.node),
        Some(attempt) if view.node(&attempt.node).is_some_and(|node| node.drain().is_some()) => {
            format!(
                "{verb} on node {}, which is being drained: 'quorate node status' says what it waits for",
                attempt.node
            )
        }
        Some(attempt) => format!("{verb} on node {}: {rest}", attempt.node),
        None => verb.to_owned(),
    }
}

fn names(view: &State, task: &Task) -> String {
    let names: Vec<String> = unmet(view, task).iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn failed(reason: FailReason, task: &Task, newest: Option<&Attempt>) -> String {
    let last = newest.map_or_else(String::new, last_word);
    match reason {
        FailReason::Failed => format!("failed for good after {} of its tries{last}", task.tries),
        FailReason::TimedOut => "its last try ran out of time".into(),
        FailReason::Lost => format!("its one start was lost with its node{last}"),
        FailReason::Queued => "it was ready for the whole of its timeouts.queued, and nobody could place it".into(),
        FailReason::Silent => "its last try said nothing for the whole of its timeouts.silent".into(),
        FailReason::NodeLosses => format!("it lost {} nodes, over node_losses_max{last}", task.losses),
    }
}

/// How the newest attempt ended, as far as its agent said.
fn last_word(attempt: &Attempt) -> String {
    match (&attempt.message, attempt.exit) {
        (Some(message), _) => format!(": {message}"),
        (None, Some(Exit::Code(code))) => format!(": exit code {code}"),
        (None, Some(Exit::Signal(signal))) => format!(": ended by signal {signal}"),
        (None, None) if attempt.state == AttemptState::Lost => format!(": node {}", attempt.node),
        (None, None) => String::new(),
    }
}
