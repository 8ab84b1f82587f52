//! What there is to say of a task that is not waiting: where it runs, or how it ended.

use quorate_state::{Attempt, AttemptState, Decided, Exit, FailReason, State, StopReason, Task, TaskState};

use super::unmet;

/// One sentence about a task that needs nothing from the scheduler.
pub(super) fn standing(view: &State, task: &Task) -> String {
    let newest = task.newest_attempt().and_then(|attempt| view.attempt(attempt)).map(AsRef::as_ref);
    match &task.state {
        TaskState::Placed => on_node(view, newest, "placed", "its agent has not started it yet"),
        TaskState::Running => on_node(view, newest, "running", "since its agent started it"),
        TaskState::Succeeded => "it has succeeded".into(),
        TaskState::Cancelled => "it was cancelled".into(),
        TaskState::Skipped => skipped(view, task),
        TaskState::Failed(FailReason::Undecidable) => undecidable(view, task),
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

fn skipped(view: &State, task: &Task) -> String {
    let Some(run) = view.run(task.id.run) else { return "skipped".into() };
    if view.is_passed_over(run.id, task.id.step) {
        let when = run.spec.tasks.get(task.id.step as usize).and_then(|spec| spec.when.as_deref());
        let targets = run.graph.stands_for(task.id.step);
        let why = match when {
            _ if !targets.is_empty() && targets.iter().all(|target| view.is_done(run, *target)) => {
                "nothing that it stands in for failed".to_owned()
            }
            Some(when) => format!("this was not so: {when}"),
            None => "there was nothing in the list that it is for".to_owned(),
        };
        return format!("passed over, because {why}");
    }
    let names: Vec<String> = unmet(view, run, task.id.step).iter().map(ToString::to_string).collect();
    if names.is_empty() {
        return "skipped, because nothing that it stands in for failed by itself".into();
    }
    format!("skipped, because {} did not succeed", names.join(", "))
}

/// Why a task failed before it was tried.
fn undecidable(view: &State, task: &Task) -> String {
    match view.step(task.id.run, task.id.step).and_then(|step| step.decision.clone()) {
        Some(Decided::Fail(why)) => format!("failed, because what it asks for cannot be found out: {why}"),
        Some(Decided::Run | Decided::PassOver) | None => "failed, because what it asks for cannot be found out".into(),
    }
}

fn failed(reason: FailReason, task: &Task, newest: Option<&Attempt>) -> String {
    let last = newest.map_or_else(String::new, last_word);
    match reason {
        FailReason::Undecidable => "failed before it was tried".into(),
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
