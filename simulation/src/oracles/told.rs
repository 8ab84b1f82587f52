//! What clients are told, held against the history: the simulator's own reading of the public
//! messages.

use std::fmt::Debug;
use std::sync::Arc;

use quorate_proto::convert::preemption::share_from_wire;
use quorate_proto::v1;
use quorate_state::{
    Attempt, AttemptState, Decided, Each, Event, EventRow, Exit, FailReason, Role, Run, RunId, RunState, State,
    StepCounts, Task, TaskId, TaskState, Wait,
};

use super::Verdict;
use super::flow::{Flow, elements_of};
use crate::facts::{attempt_row, task_row};

fn same<T: PartialEq + Debug>(what: &str, told: T, is: T) -> Verdict {
    if told == is { Ok(()) } else { Err(format!("{what} is {told:?} in the answer and {is:?} in the history")) }
}

/// A run and the counts of its tasks; its id.
pub(super) fn run(told: &v1::Run, state: &State) -> Result<RunId, String> {
    let run = state.run(id(&told.id)?).ok_or_else(|| format!("run {} does not exist", told.id))?;
    run_of(told, run, state.run_counts(run.id)).map_err(|what| format!("run {}: {what}", run.id))?;
    Ok(run.id)
}

/// A run id.
pub(super) fn id(text: &str) -> Result<RunId, String> {
    text.parse().map_err(|_| format!("{text:?} is no run id"))
}

fn run_of(told: &v1::Run, run: &Run, counts: StepCounts) -> Verdict {
    same("namespace", &*told.namespace, run.spec.namespace.as_str())?;
    same("job", &*told.job, run.spec.name.as_str())?;
    same("version", told.version, run.job_version)?;
    same("state", told.state(), run_state(run.state))?;
    same("cancelling", told.cancelling, run.cancelling)?;
    same("abandoned", told.abandoned, run.abandoned)?;
    same("args", &*told.args, &*run.args)?;
    same("restart_of", &*told.restart_of, &*run.restart_of.map_or_else(String::new, |of| of.to_string()))?;
    let parent = told.parent.as_ref().map(|parent| (parent.run_id.clone(), parent.index));
    same("parent", parent, run.parent.map(|task| (task.run.to_string(), task.index)))?;
    same("submitted_at", told.submitted_at_ms, run.submitted_at.0)?;
    same("started_at", told.started_at_ms, run.started_at.map(|at| at.0))?;
    same("ended_at", told.ended_at_ms, run.ended_at.map(|at| at.0))?;
    same("submitted_revision", told.submitted_revision, run.submitted_revision.0)?;
    same("principal", &*told.principal, &*run.principal.0)?;
    same("priority", told.priority, u32::from(run.priority_set.unwrap_or(run.spec.priority)))?;
    let paused = told.paused.as_ref().map(|pause| (&*pause.by, pause.at_ms, &*pause.reason));
    same("paused", paused, run.paused.as_deref().map(|pause| (&*pause.by.0, pause.at.0, &*pause.reason)))?;
    counts_of(told.counts.as_ref(), counts)
}

fn counts_of(told: Option<&v1::TaskCounts>, counts: StepCounts) -> Verdict {
    let StepCounts { waiting, quarantined, ready, placed, running, succeeded, failed, cancelled, skipped } = counts;
    let is = v1::TaskCounts { waiting, ready, placed, running, succeeded, failed, cancelled, skipped, quarantined };
    same("counts", told, Some(&is))
}

/// All steps of a run.
pub(super) fn steps(told: &[v1::Step], run: &Run, state: &State) -> Verdict {
    same("the number of steps", told.len(), run.spec.tasks.len())?;
    let flow = Flow::of(state, run);
    for ((told, task), step) in told.iter().zip(&run.spec.tasks).zip(0..) {
        let decision = flow.decision(step);
        let is_open = matches!(task.each, Some(Each::Result(_))) && decision.is_none();
        same("a step's name", &*told.task, task.name.as_str())?;
        same("a step's count", told.count, flow.tally(step).elements)?;
        same("a step's role", told.role.as_ref(), role(&task.role).as_ref())?;
        same("a step's condition", told.when.as_deref(), task.when.as_deref())?;
        same("a step's accept", told.accept_failed, task.accept_failed)?;
        same("whether a step is open", told.open, is_open)?;
        same("what is kept of a step", told.kept, flow.kept(step))?;
        decided(told.decided(), &told.decided_message, decision)?;
        let needs: Vec<&str> = task.needs.iter().map(|name| name.as_str()).collect();
        same("a step's needs", told.needs.iter().map(|name| &**name).collect(), needs)?;
        counts_of(told.counts.as_ref(), state.step_counts(run.id, step))
            .map_err(|what| format!("step {}: {what}", told.task))?;
    }
    Ok(())
}

/// The public form of a role.
fn role(role: &Role) -> Option<v1::Role> {
    let role = match role {
        Role::Work => return None,
        Role::Fallback { of } => {
            v1::role::Role::Fallback(v1::Fallback { of: of.iter().map(ToString::to_string).collect() })
        }
        Role::Undo { of } => v1::role::Role::Undo(v1::Undo { of: of.to_string() }),
        Role::Finally => v1::role::Role::Finally(v1::Finally {}),
    };
    Some(v1::Role { role: Some(role) })
}

/// What was decided of a step, and why it fails, if it does.
fn decided(told: v1::Decision, message: &str, decided: Option<&Decided>) -> Verdict {
    let is = match decided {
        None => (v1::Decision::Unspecified, ""),
        Some(Decided::Run) => (v1::Decision::Run, ""),
        Some(Decided::PassOver) => (v1::Decision::PassOver, ""),
        Some(Decided::Fail(why)) => (v1::Decision::Fail, &**why),
    };
    same("what was decided", (told, message), is)
}

/// The first of a list, or those that follow a row, and all of them unless more follow.
fn page<Told, Is>(
    told: &[Told],
    is_all: bool,
    after: Option<&str>,
    is: impl IntoIterator<Item = Is>,
    row: impl Fn(&Is) -> String,
    check: impl Fn(&Told, &Is) -> Verdict,
) -> Verdict {
    let mut is = is.into_iter();
    if let Some(after) = after
        && !is.any(|is| row(&is) == after)
    {
        return Err(format!("{after}, which the page before ended with, is not in the history"));
    }
    for (place, told) in told.iter().enumerate() {
        let Some(is) = is.next() else { return Err(format!("row {place} is not in the history")) };
        check(told, &is).map_err(|what| format!("row {place}: {what}"))?;
    }
    if is_all && is.next().is_some() { Err(format!("the list ends after {} rows", told.len())) } else { Ok(()) }
}

/// The newest runs.
pub(super) fn runs(told: &[v1::Run], is_all: bool, after: Option<&str>, state: &State) -> Verdict {
    let row = |run: &&Arc<Run>| run.id.to_string();
    page(told, is_all, after, state.runs_newest_first(None), row, |told, run| {
        same("id", &*told.id, &*run.id.to_string())?;
        // Lists leave out what a run was told.
        same("args", &*told.args, "")?;
        run_of(&v1::Run { args: run.args.to_string(), ..told.clone() }, run, state.run_counts(run.id))
    })
}

/// The tasks of a run, as a list has them: also those to which nothing has happened, which have no rows.
pub(super) fn tasks(told: &[v1::Task], is_all: bool, after: Option<&str>, run: &Run, state: &State) -> Verdict {
    let elements = |step: u32| {
        let known = state.step(run.id, step);
        let rows = state.tasks_of_step(run.id, step).filter(move |_| known.is_none()).cloned();
        let rest = known.into_iter().flat_map(move |known| {
            let ids = (0..known.elements).map(move |index| TaskId { run: run.id, step, index });
            ids.map(|id| state.task(id).cloned().unwrap_or_else(|| Arc::new(Task::new(id, known.rest.state()))))
        });
        rows.chain(rest)
    };
    let all = run.spec.tasks.iter().zip(0..).flat_map(|(_, step)| elements(step));
    these_tasks(told, is_all, after, all, run, state)
}

/// The tasks of a run that have rows, as a watch begins with them.
pub(super) fn task_rows(told: &[v1::Task], run: &Run, state: &State) -> Verdict {
    these_tasks(told, true, None, state.tasks_of(run.id).cloned(), run, state)
}

fn these_tasks(
    told: &[v1::Task],
    is_all: bool,
    after: Option<&str>,
    tasks: impl Iterator<Item = Arc<Task>>,
    run: &Run,
    state: &State,
) -> Verdict {
    let row = |task: &Arc<Task>| task_row(step_name(run, task.id), task.id.index);
    page(told, is_all, after, tasks, row, |told, task: &Arc<Task>| {
        named_task(told, task.id, run, state)?;
        task_state_of(told, &task.state)?;
        same("attempts", told.attempts, task.attempts)?;
        same("tries", told.tries, task.tries)?;
        same("losses", told.losses, task.losses)
    })
}

/// The attempts of a run.
pub(super) fn attempts(told: &[v1::Attempt], is_all: bool, after: Option<&str>, run: &Run, state: &State) -> Verdict {
    let row = |it: &&Arc<Attempt>| attempt_row(step_name(run, it.id.task), it.id.task.index, it.id.number);
    page(told, is_all, after, state.attempts_of_run(run.id), row, |told, attempt: &&Arc<Attempt>| {
        named_attempt(told, attempt.id.task, attempt.id.number, run)?;
        same("node", &*told.node, attempt.node.as_str())?;
        same("token", told.token, attempt.token.0)?;
        same("state", told.state(), attempt_state(attempt.state))?;
        same("placed_at", told.placed_at_ms, attempt.placed_at.0)?;
        same("started_at", told.started_at_ms, attempt.started_at.map(|at| at.0))?;
        same("ended_at", told.ended_at_ms, attempt.ended_at.map(|at| at.0))?;
        same("exit", told.exit.as_ref().and_then(exit_of), attempt.exit)
    })
}

/// An event; `after` is the state after the entry that caused it.
pub(super) fn event(told: &v1::RunEvent, row: &EventRow, after: &State) -> Verdict {
    use v1::run_event::Event as Told;
    same("at", told.at_ms, row.at.0)?;
    let run = row.event.run().and_then(|run| after.run(run)).ok_or("it is about no run")?;
    let moved = |state: RunState, cancelling: bool| match &told.event {
        Some(Told::Run(told)) => {
            same("state", told.state(), run_state(state))?;
            same("cancelling", told.cancelling, cancelling)
        }
        other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
    };
    match &row.event {
        Event::RunSubmitted { .. } => moved(RunState::Pending, false),
        Event::RunStarted { .. } => moved(RunState::Running, false),
        Event::RunCancelRequested { .. } => {
            moved(if run.started_at.is_some() { RunState::Running } else { RunState::Pending }, true)
        }
        Event::RunAnnotated { key, .. } => match &told.event {
            Some(Told::Annotated(told)) => same("key", &*told.key, key.as_str()),
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::RunPaused { by, .. } => match &told.event {
            Some(Told::Paused(told)) => same("by", &*told.by, &*by.0),
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::RunResumed { by, .. } => match &told.event {
            Some(Told::Resumed(told)) => same("by", &*told.by, &*by.0),
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::RunPrioritySet { priority, by, .. } => match &told.event {
            Some(Told::PrioritySet(told)) => {
                same("priority", (told.priority, &*told.by), (u32::from(*priority), &*by.0))
            }
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::RunAbandoned { .. } => match &told.event {
            Some(Told::Abandoned(v1::RunAbandoned {})) => Ok(()),
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::StepDecided { step, decided: is, elements, .. } => match &told.event {
            Some(Told::Decided(told)) => {
                same("task", &*told.task, run.spec.tasks[*step as usize].name.as_str())?;
                same("elements", told.elements, *elements)?;
                decided(told.decided(), &told.message, Some(is))
            }
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::RestEnded { step, first, count, state, .. } => match &told.event {
            Some(Told::Rest(told)) => {
                same("task", &*told.task, run.spec.tasks[*step as usize].name.as_str())?;
                same("elements", (told.first, told.count), (*first, *count))?;
                same("state", (told.state(), ""), public_state(state))
            }
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::RunEnded { state, .. } => moved(*state, run.cancelling),
        Event::TaskMoved { task, state } => match &told.event {
            Some(Told::Task(told)) => {
                named_task(told, *task, run, after)?;
                task_state_of(told, state)
            }
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::AttemptMoved { attempt, node, token, state, exit } => match &told.event {
            Some(Told::Attempt(told)) => {
                named_attempt(told, attempt.task, attempt.number, run)?;
                same("node", &*told.node, node.as_str())?;
                same("token", told.token, token.0)?;
                same("state", told.state(), attempt_state(*state))?;
                same("ended_at", told.ended_at_ms, state.is_terminal().then_some(row.at.0))?;
                same("exit", told.exit.as_ref().and_then(exit_of), *exit)
            }
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::AttemptPreempted { attempt, node, by, priority, share } => match &told.event {
            Some(Told::Preempted(told)) => {
                same("task", &*told.task, step_name(run, attempt.task))?;
                same("number", (told.index, told.number), (attempt.task.index, attempt.number))?;
                same("node", &*told.node, node.as_str())?;
                let who = told.by.clone().unwrap_or_default();
                same("by", (&*who.run_id, who.index), (&*by.run.to_string(), by.index))?;
                same("priority", who.priority, u32::from(*priority))?;
                same("share", who.share.as_ref().map(share_from_wire), *share)
            }
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::AttemptRebalanced { attempt, node, to, rebalance } => match &told.event {
            Some(Told::Rebalanced(told)) => {
                same("task", &*told.task, step_name(run, attempt.task))?;
                same("number", (told.index, told.number), (attempt.task.index, attempt.number))?;
                same("node", &*told.node, node.as_str())?;
                let moved = told.to.clone().unwrap_or_default();
                same("to", (&*moved.node, moved.rebalance), (to.as_str(), *rebalance))
            }
            other => Err(format!("{other:?} was told, the history says {:?}", row.event)),
        },
        Event::NamespaceCreated { .. }
        | Event::RebalanceStarted { .. }
        | Event::RebalanceEnded { .. }
        | Event::ReservationMoved { .. }
        | Event::NodeRegistered { .. }
        | Event::NodeLost { .. }
        | Event::NodeCordoned { .. }
        | Event::ScopeWithdrawn { .. }
        | Event::ScopeRestored { .. }
        | Event::NodeForgotten { .. }
        | Event::NodeAdmissionSet { .. }
        | Event::JoinTokenCreated { .. }
        | Event::JoinTokenUsed { .. }
        | Event::JoinTokenRevoked { .. }
        | Event::FeatureEnabled { .. } => Err("it is about no run".into()),
    }
}

fn step_name(run: &Run, id: TaskId) -> &str {
    run.spec.tasks[id.step as usize].name.as_str()
}

fn named_task(told: &v1::Task, id: TaskId, run: &Run, state: &State) -> Verdict {
    same("task", &*told.task, step_name(run, id))?;
    same("index", told.index, id.index)?;
    same("count", told.count, elements_of(state, run, id.step))
}

fn named_attempt(told: &v1::Attempt, id: TaskId, number: u32, run: &Run) -> Verdict {
    same("run", &*told.run_id, &*run.id.to_string())?;
    same("task", &*told.task, run.spec.tasks[id.step as usize].name.as_str())?;
    same("index", told.index, id.index)?;
    same("number", told.number, number)
}

fn task_state_of(told: &v1::Task, state: &TaskState) -> Verdict {
    same("state", (told.state(), &*told.reason), public_state(state))
}

/// The public name of a task's state, and the word for why it is in it.
fn public_state(state: &TaskState) -> (v1::TaskState, &'static str) {
    match state {
        TaskState::Waiting(Wait::Needs) => (v1::TaskState::Waiting, "NEEDS"),
        TaskState::Waiting(Wait::Backoff { .. }) => (v1::TaskState::Waiting, "BACKOFF"),
        TaskState::Waiting(Wait::Fence { .. }) => (v1::TaskState::Waiting, "FENCE"),
        TaskState::Waiting(Wait::Quarantine) => (v1::TaskState::Waiting, "QUARANTINE"),
        TaskState::Ready => (v1::TaskState::Ready, ""),
        TaskState::Placed => (v1::TaskState::Placed, ""),
        TaskState::Running => (v1::TaskState::Running, ""),
        TaskState::Succeeded => (v1::TaskState::Succeeded, ""),
        TaskState::Failed(FailReason::Failed) => (v1::TaskState::Failed, "FAILED"),
        TaskState::Failed(FailReason::TimedOut) => (v1::TaskState::Failed, "TIMED_OUT"),
        TaskState::Failed(FailReason::Lost) => (v1::TaskState::Failed, "LOST"),
        TaskState::Failed(FailReason::NodeLosses) => (v1::TaskState::Failed, "NODE_LOSSES"),
        TaskState::Failed(FailReason::Queued) => (v1::TaskState::Failed, "QUEUED"),
        TaskState::Failed(FailReason::Silent) => (v1::TaskState::Failed, "SILENT"),
        TaskState::Failed(FailReason::Undecidable) => (v1::TaskState::Failed, "UNDECIDABLE"),
        TaskState::Failed(FailReason::NoSubRun) => (v1::TaskState::Failed, "NO_SUB_RUN"),
        TaskState::Failed(FailReason::SubRunCancelled) => (v1::TaskState::Failed, "SUB_RUN_CANCELLED"),
        TaskState::Cancelled => (v1::TaskState::Cancelled, ""),
        TaskState::Skipped => (v1::TaskState::Skipped, ""),
    }
}

/// The public name of a run's state.
pub(super) fn run_state(state: RunState) -> v1::RunState {
    match state {
        RunState::Pending => v1::RunState::Pending,
        RunState::Running => v1::RunState::Running,
        RunState::Succeeded => v1::RunState::Succeeded,
        RunState::Failed => v1::RunState::Failed,
        RunState::Cancelled => v1::RunState::Cancelled,
    }
}

fn attempt_state(state: AttemptState) -> v1::AttemptState {
    match state {
        AttemptState::Assigned => v1::AttemptState::Assigned,
        AttemptState::Starting => v1::AttemptState::Starting,
        AttemptState::Running => v1::AttemptState::Running,
        AttemptState::Stopping => v1::AttemptState::Stopping,
        AttemptState::Unknown => v1::AttemptState::Unknown,
        AttemptState::Succeeded => v1::AttemptState::Succeeded,
        AttemptState::Failed => v1::AttemptState::Failed,
        AttemptState::Lost => v1::AttemptState::Lost,
        AttemptState::Cancelled => v1::AttemptState::Cancelled,
        AttemptState::Preempted => v1::AttemptState::Preempted,
        AttemptState::TimedOut => v1::AttemptState::TimedOut,
    }
}

fn exit_of(told: &v1::Exit) -> Option<Exit> {
    match told.exit? {
        v1::exit::Exit::Code(code) => Some(Exit::Code(code)),
        v1::exit::Exit::Signal(signal) => Some(Exit::Signal(signal)),
    }
}
