//! What there is to say of a task that is not waiting: where it runs, or how it ended.

use quorate_state::{
    Attempt, AttemptId, AttemptState, Decided, Exit, FailReason, Preempted, RunState, State, StopReason, Task,
    TaskState,
};

use super::{share_between, unmet};

/// One sentence about a task that needs nothing from the scheduler.
pub(super) fn standing(view: &State, task: &Task) -> String {
    let newest = task.newest_attempt().and_then(|attempt| view.attempt(attempt)).map(AsRef::as_ref);
    match &task.state {
        TaskState::Placed => on_node(view, newest, "placed", "its agent has not started it yet"),
        TaskState::Running if task.sub_run.is_some() => within(view, task),
        TaskState::Running => on_node(view, newest, "running", "since its agent started it"),
        TaskState::Succeeded => "it has succeeded".into(),
        TaskState::Cancelled => "it was cancelled".into(),
        TaskState::Skipped => skipped(view, task),
        TaskState::Failed(FailReason::Undecidable) => undecidable(view, task),
        TaskState::Failed(reason) if task.sub_run.is_some() || task.flaw.is_some() => {
            sub_run_failed(view, *reason, task)
        }
        TaskState::Failed(reason) => failed(*reason, task, newest),
        TaskState::Waiting(_) | TaskState::Ready => "about to be looked at".into(),
    }
}

fn on_node(view: &State, newest: Option<&Attempt>, verb: &str, rest: &str) -> String {
    match newest {
        Some(attempt) if attempt.stop == Some(StopReason::Drained) => {
            format!("on node {}, which is drained: asked to stop there, it is placed elsewhere next", attempt.node)
        }
        Some(attempt) if attempt.preempted.is_some() => making_room(view, attempt),
        Some(Attempt { moved: Some(moved), node, .. }) => format!(
            "on node {node}, which was asked to stop it: it goes on at {}, by rebalance {}",
            moved.to, moved.rebalance
        ),
        Some(attempt) if attempt.stop.is_some() => format!("on node {}, which was asked to stop it", attempt.node),
        Some(attempt) if view.node(&attempt.node).is_some_and(|node| node.drain().is_some()) => {
            format!(
                "{verb} on node {}, which is being drained: 'quorate node status' says what it waits for",
                attempt.node
            )
        }
        Some(attempt) => format!("{verb} on node {}: {rest}{}", attempt.node, came(view, attempt)),
        None => verb.to_owned(),
    }
}

/// For whom an attempt was asked to stop, and by which rule.
fn making_room(view: &State, attempt: &Attempt) -> String {
    let Attempt { node, preempted, .. } = attempt;
    let Some(Preempted { by, priority, share: _ }) = *preempted else { return String::new() };
    let spec = view.run(by.run).and_then(|run| run.spec.tasks.get(by.step as usize));
    let task = spec.map(|spec| format!("/{}[{}]", spec.name, by.index)).unwrap_or_default();
    let rule = match share_between(view, attempt) {
        Some(share) => share.to_string(),
        None => "it is more urgent".to_owned(),
    };
    format!("on node {node}, asked to stop there to make room for {}{task}, priority {priority}: {rule}", by.run)
}

/// That an attempt is where it is because its task was moved.
fn came(view: &State, attempt: &Attempt) -> String {
    let AttemptId { task, number } = attempt.id;
    let before = number.checked_sub(1).and_then(|number| view.attempt(AttemptId { task, number }));
    let moved = before.and_then(|before| Some((before, before.moved.as_ref()?)));
    let moved = moved.filter(|(_, moved)| moved.to == attempt.node);
    moved.map_or_else(String::new, |(before, moved)| {
        format!(" (moved from {} by rebalance {})", before.node, moved.rebalance)
    })
}

/// How the run stands that a task is.
fn within(view: &State, task: &Task) -> String {
    let Some(run) = view.sub_run(task) else { return "the run that it is is not known".into() };
    let standing = match run.state {
        _ if run.cancelling && !run.state.is_terminal() => "is being cancelled",
        _ if run.paused.is_some() => "is paused",
        RunState::Pending => "waits for its first task to be placed",
        RunState::Running => "is running",
        RunState::Succeeded => "has succeeded",
        RunState::Failed => "has failed",
        RunState::Cancelled => "was cancelled",
    };
    format!("it is run {} of {} version {}, which {standing}", run.id, run.spec.name, run.job_version)
}

fn sub_run_failed(view: &State, reason: FailReason, task: &Task) -> String {
    let last = view.sub_run(task).map_or_else(String::new, |run| run.id.to_string());
    match reason {
        FailReason::NoSubRun => {
            format!(
                "failed, because no run of its job can be begun: {}",
                task.flaw.as_deref().unwrap_or("it is not said why")
            )
        }
        FailReason::SubRunCancelled => format!("failed, because somebody cancelled run {last}, which it was"),
        FailReason::Failed => {
            let flaw = view.sub_run(task).and_then(|run| run.flaw.as_deref());
            let why = flaw.map_or_else(String::new, |flaw| format!(": {flaw}"));
            format!("failed for good after {} of its tries: run {last} failed{why}", task.tries)
        }
        FailReason::TimedOut
        | FailReason::Lost
        | FailReason::NodeLosses
        | FailReason::Queued
        | FailReason::Silent
        | FailReason::Undecidable => failed(reason, task, None),
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
        FailReason::Undecidable | FailReason::NoSubRun | FailReason::SubRunCancelled => {
            "failed before it was tried".into()
        }
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
