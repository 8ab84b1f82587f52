//! Runs, their tasks and attempts.

use bytes::Bytes;
use quorate_state::{
    Annotation, Attempt, AttemptId, AttemptState, Decided, Each, Event, EventRow, Exit, FailReason, JobSpec, Node,
    NodeName, Outcome, Pause, Preempted, Run, RunState, State, StepCounts, SubRun, Task, TaskId, TaskState, Token,
    Usage, Wait,
};

use super::flow::{decided_to_wire, role_to_wire};
use super::job::labels_to_wire;
use super::payload::payloads_to_wire;
use super::preemption::preempted_to_wire;
use crate::v1;

/// A run of `view` with the counts of its tasks.
pub fn run_to_wire(run: &Run, view: &State) -> v1::Run {
    counted_run_to_wire(run, view.run_counts(run.id), view)
}

/// The same of one whose tasks `view` does not have: they stand as `counts` says.
pub fn counted_run_to_wire(run: &Run, counts: StepCounts, view: &State) -> v1::Run {
    v1::Run {
        id: run.id.to_string(),
        namespace: run.spec.namespace.to_string(),
        job: run.spec.name.to_string(),
        version: run.job_version,
        state: run_state_to_wire(run.state).into(),
        cancelling: run.cancelling,
        submitted_at_ms: run.submitted_at.0,
        started_at_ms: run.started_at.map(|at| at.0),
        ended_at_ms: run.ended_at.map(|at| at.0),
        submitted_revision: run.submitted_revision.0,
        counts: Some(counts_to_wire(counts)),
        principal: run.principal.to_string(),
        priority: u32::from(run.priority()),
        labels: labels_to_wire(&run.spec.labels),
        timed_out: run.timed_out,
        paused: run.paused.as_deref().map(pause_to_wire),
        abandoned: run.abandoned,
        args: run.args.to_string(),
        restart_of: run.restart_of.map(|of| of.to_string()).unwrap_or_default(),
        parent: run.parent.map(|task| parent_to_wire(task, view)),
        result: run.result.as_ref().map_or_else(Bytes::new, |result| Bytes::copy_from_slice(result)),
        flaw: run.flaw.as_deref().unwrap_or_default().to_owned(),
    }
}

/// The task that a run is.
fn parent_to_wire(task: TaskId, view: &State) -> v1::ParentTask {
    let name = view.run(task.run).map(|run| task_name(&run.spec, task.step));
    v1::ParentTask { run_id: task.run.to_string(), task: name.unwrap_or_default(), index: task.index }
}

/// Who paused a run.
pub fn pause_to_wire(pause: &Pause) -> v1::Pause {
    v1::Pause { by: pause.by.to_string(), at_ms: pause.at.0, reason: pause.reason.to_string() }
}

/// A word left at a run.
pub fn annotation_to_wire(annotation: &Annotation) -> v1::Annotation {
    v1::Annotation {
        key: annotation.key.to_string(),
        value: annotation.value.to_string(),
        at_ms: annotation.at.0,
        principal: annotation.principal.to_string(),
    }
}

/// One step of a run (`step` is its position in the spec) as `view` has it; none when there is no such step.
pub fn step_to_wire(run: &Run, step: u32, view: &State) -> Option<v1::Step> {
    let task = run.spec.tasks.get(usize::try_from(step).ok()?)?;
    let decision = view.step(run.id, step).and_then(|step| step.decision.as_ref());
    let (decided, decided_message) = decision.map_or((v1::Decision::Unspecified, String::new()), decided_to_wire);
    let counts = view.step_counts(run.id, step);
    Some(v1::Step {
        task: task.name.to_string(),
        // What undoes a task has an element for each that it undoes, once it does.
        count: if run.graph.undoes(step).is_some() { counts.total() } else { view.elements(run.id, step) },
        counts: Some(counts_to_wire(counts)),
        needs: task.needs.iter().map(ToString::to_string).collect(),
        role: role_to_wire(&task.role),
        when: task.when.clone(),
        decided: decided.into(),
        decided_message,
        open: matches!(task.each, Some(Each::Result(_))) && decision.is_none(),
        accept_failed: task.accept_failed,
        kept: view.kept(run.id, step),
        sub_run: task.sub_run.as_ref().map(sub_run_name).unwrap_or_default(),
        gang: task.gang.as_ref().map(|_| {
            let gang = view.gang(run.id, step);
            v1::GangStatus {
                generation: gang.map_or(0, |gang| gang.generation),
                is_breaking: gang.is_some_and(|gang| gang.is_breaking),
            }
        }),
    })
}

/// The run that a task of `run` is.
pub fn child_to_wire(run: &Run, task: &Task, child: &Run) -> v1::ChildRun {
    v1::ChildRun {
        task: task_name(&run.spec, task.id.step),
        index: task.id.index,
        run_id: child.id.to_string(),
        state: run_state_to_wire(child.state).into(),
        cancelling: child.cancelling,
    }
}

/// What a task is a run of, as a job file names it behind `job://`.
fn sub_run_name(sub_run: &SubRun) -> String {
    let version = sub_run.version.map_or_else(String::new, |version| format!("@{version}"));
    format!("{}{version}", sub_run.job)
}

/// A task of a run that `view` knows.
pub fn task_to_wire(task: &Task, run: &Run, view: &State) -> v1::Task {
    v1::Task {
        state: task_state_to_wire(&task.state).into(),
        attempts: task.attempts,
        tries: task.tries,
        losses: task.losses,
        reason: reason_to_wire(&task.state).to_owned(),
        sub_run: task.sub_run.map(|run| run.to_string()).unwrap_or_default(),
        flaw: task.flaw.as_deref().unwrap_or_default().to_owned(),
        ..named_task(task.id, run, view)
    }
}

/// An attempt; `spec` is its run's, `node` the one it was placed on, for region and cluster.
pub fn attempt_to_wire(attempt: &Attempt, spec: &JobSpec, node: Option<&Node>) -> v1::Attempt {
    let task = spec.tasks.get(attempt.id.task.step as usize);
    v1::Attempt {
        want: task.filter(|task| task.has_choice()).map(|_| attempt.choice.number()),
        state: attempt_state_to_wire(attempt.state).into(),
        placed_at_ms: attempt.placed_at.0,
        started_at_ms: attempt.started_at.map(|at| at.0),
        ended_at_ms: attempt.ended_at.map(|at| at.0),
        exit: attempt.exit.map(exit_to_wire),
        message: attempt.message.as_deref().unwrap_or_default().to_owned(),
        usage: Some(usage_to_wire(attempt.usage)),
        outcome: attempt.outcome.as_deref().map(outcome_to_wire),
        result_bytes: attempt.outcome.as_deref().map_or(0, result_bytes),
        payloads: payloads_to_wire(attempt.payloads.as_deref()),
        moved_to: attempt
            .moved
            .as_ref()
            .map(|moved| v1::MovedTo { rebalance: moved.rebalance, node: moved.to.to_string() }),
        ..named_attempt(attempt.id, &attempt.node, attempt.token, spec, node)
    }
}

/// The same for those who watch: without its result and its payloads, which may be large, and of which there may be many.
pub fn watched_attempt_to_wire(attempt: &Attempt, spec: &JobSpec, node: Option<&Node>) -> v1::Attempt {
    let outcome = attempt.outcome.as_deref().and_then(error_to_wire);
    v1::Attempt { outcome, payloads: Vec::new(), ..attempt_to_wire(attempt, spec, node) }
}

/// What an event says to those who watch its run; none when it is not about a run that `view` knows.
/// State and exit are those of the event; what it does not carry (counters, region, start) is as of
/// `view`, and left out where it would tell of something that had not happened yet.
pub fn event_to_wire(row: &EventRow, view: &State) -> Option<v1::RunEvent> {
    let run = view.run(row.event.run()?)?;
    let moved = |state: RunState, cancelling: bool| {
        v1::run_event::Event::Run(v1::RunMoved { state: run_state_to_wire(state).into(), cancelling })
    };
    let event = match &row.event {
        Event::RunSubmitted { .. } => moved(RunState::Pending, false),
        Event::RunStarted { .. } => moved(RunState::Running, false),
        Event::RunCancelRequested { .. } => {
            // What it was then: of its work nothing starts once it is cancelling.
            moved(if run.started_at.is_some() { RunState::Running } else { RunState::Pending }, true)
        }
        Event::RunAnnotated { key, .. } => v1::run_event::Event::Annotated(v1::RunAnnotated { key: key.to_string() }),
        Event::RunPaused { by, .. } => v1::run_event::Event::Paused(v1::RunPaused { by: by.to_string() }),
        Event::RunResumed { by, .. } => v1::run_event::Event::Resumed(v1::RunResumed { by: by.to_string() }),
        Event::RunPrioritySet { priority, by, .. } => {
            v1::run_event::Event::PrioritySet(v1::RunPrioritySet { priority: u32::from(*priority), by: by.to_string() })
        }
        Event::RunAbandoned { .. } => v1::run_event::Event::Abandoned(v1::RunAbandoned {}),
        Event::StepDecided { step, decided, elements, .. } => {
            v1::run_event::Event::Decided(step_decided_to_wire(run, *step, decided, *elements))
        }
        Event::RestEnded { step, first, count, state, .. } => v1::run_event::Event::Rest(v1::RestEnded {
            task: task_name(&run.spec, *step),
            first: *first,
            count: *count,
            state: task_state_to_wire(state).into(),
        }),
        Event::RunEnded { state, .. } => moved(*state, run.cancelling),
        Event::TaskMoved { task: id, state } => {
            let now = view.task(*id);
            v1::run_event::Event::Task(v1::Task {
                state: task_state_to_wire(state).into(),
                reason: reason_to_wire(state).to_owned(),
                attempts: now.map_or(0, |task| task.attempts),
                tries: now.map_or(0, |task| task.tries),
                losses: now.map_or(0, |task| task.losses),
                sub_run: now.and_then(|task| task.sub_run).map(|run| run.to_string()).unwrap_or_default(),
                flaw: now.and_then(|task| task.flaw.as_deref()).unwrap_or_default().to_owned(),
                ..named_task(*id, run, view)
            })
        }
        Event::AttemptMoved { attempt: id, node, token, state, exit } => {
            let now = view.attempt(*id);
            let ended = state.is_terminal();
            let has_run = match state {
                AttemptState::Assigned | AttemptState::Starting => false,
                AttemptState::Running
                | AttemptState::Stopping
                | AttemptState::Unknown
                | AttemptState::Succeeded
                | AttemptState::Failed
                | AttemptState::Lost
                | AttemptState::Cancelled
                | AttemptState::Preempted
                | AttemptState::TimedOut => true,
            };
            v1::run_event::Event::Attempt(v1::Attempt {
                state: attempt_state_to_wire(*state).into(),
                placed_at_ms: now.map_or(0, |attempt| attempt.placed_at.0),
                started_at_ms: now
                    .and_then(|attempt| attempt.started_at)
                    .filter(|at| has_run && *at <= row.at)
                    .map(|at| at.0),
                ended_at_ms: ended.then_some(row.at.0),
                exit: exit.map(exit_to_wire),
                message: now
                    .filter(|_| ended)
                    .and_then(|attempt| attempt.message.as_deref())
                    .unwrap_or_default()
                    .to_owned(),
                usage: now.filter(|_| ended).map(|attempt| usage_to_wire(attempt.usage)),
                outcome: now.filter(|_| ended).and_then(|attempt| error_to_wire(attempt.outcome.as_deref()?)),
                result_bytes: now
                    .filter(|_| ended)
                    .and_then(|attempt| attempt.outcome.as_deref())
                    .map_or(0, result_bytes),
                ..named_attempt(*id, node, *token, &run.spec, view.node(node).map(AsRef::as_ref))
            })
        }
        Event::AttemptPreempted { attempt, node, by, priority, share } => {
            v1::run_event::Event::Preempted(v1::AttemptPreempted {
                task: task_name(&run.spec, attempt.task.step),
                index: attempt.task.index,
                number: attempt.number,
                node: node.to_string(),
                by: Some(preempted_to_wire(
                    Preempted { by: *by, priority: *priority, share: *share },
                    &run.spec.namespace,
                    view,
                )),
            })
        }
        Event::AttemptRebalanced { attempt, node, to, rebalance } => {
            v1::run_event::Event::Rebalanced(v1::AttemptRebalanced {
                task: task_name(&run.spec, attempt.task.step),
                index: attempt.task.index,
                number: attempt.number,
                node: node.to_string(),
                to: Some(v1::MovedTo { rebalance: *rebalance, node: to.to_string() }),
            })
        }
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
        | Event::FeatureEnabled { .. } => return None,
    };
    Some(v1::RunEvent { at_ms: row.at.0, event: Some(event) })
}

/// Counts as sent.
pub fn counts_to_wire(counts: StepCounts) -> v1::TaskCounts {
    v1::TaskCounts {
        waiting: counts.waiting,
        ready: counts.ready,
        placed: counts.placed,
        running: counts.running,
        succeeded: counts.succeeded,
        failed: counts.failed,
        cancelled: counts.cancelled,
        skipped: counts.skipped,
        quarantined: counts.quarantined,
    }
}

/// A run's state as sent.
pub fn run_state_to_wire(state: RunState) -> v1::RunState {
    match state {
        RunState::Pending => v1::RunState::Pending,
        RunState::Running => v1::RunState::Running,
        RunState::Succeeded => v1::RunState::Succeeded,
        RunState::Failed => v1::RunState::Failed,
        RunState::Cancelled => v1::RunState::Cancelled,
    }
}

/// A run's state; none when unspecified.
pub fn run_state_from_wire(state: v1::RunState) -> Option<RunState> {
    match state {
        v1::RunState::Unspecified => None,
        v1::RunState::Pending => Some(RunState::Pending),
        v1::RunState::Running => Some(RunState::Running),
        v1::RunState::Succeeded => Some(RunState::Succeeded),
        v1::RunState::Failed => Some(RunState::Failed),
        v1::RunState::Cancelled => Some(RunState::Cancelled),
    }
}

/// A task's state as sent; why it is there is said by [`reason_to_wire`].
pub fn task_state_to_wire(state: &TaskState) -> v1::TaskState {
    match state {
        TaskState::Waiting(_) => v1::TaskState::Waiting,
        TaskState::Ready => v1::TaskState::Ready,
        TaskState::Placed => v1::TaskState::Placed,
        TaskState::Running => v1::TaskState::Running,
        TaskState::Succeeded => v1::TaskState::Succeeded,
        TaskState::Failed(_) => v1::TaskState::Failed,
        TaskState::Cancelled => v1::TaskState::Cancelled,
        TaskState::Skipped => v1::TaskState::Skipped,
    }
}

/// The machine-readable word for why a task waits or has failed; empty for other states.
pub fn reason_to_wire(state: &TaskState) -> &'static str {
    match state {
        TaskState::Waiting(Wait::Needs) => "NEEDS",
        TaskState::Waiting(Wait::Backoff { until: _ }) => "BACKOFF",
        TaskState::Waiting(Wait::Fence { until: _ }) => "FENCE",
        TaskState::Waiting(Wait::Quarantine) => "QUARANTINE",
        TaskState::Failed(FailReason::Failed) => "FAILED",
        TaskState::Failed(FailReason::TimedOut) => "TIMED_OUT",
        TaskState::Failed(FailReason::Lost) => "LOST",
        TaskState::Failed(FailReason::NodeLosses) => "NODE_LOSSES",
        TaskState::Failed(FailReason::Queued) => "QUEUED",
        TaskState::Failed(FailReason::Silent) => "SILENT",
        TaskState::Failed(FailReason::Undecidable) => "UNDECIDABLE",
        TaskState::Failed(FailReason::NoSubRun) => "NO_SUB_RUN",
        TaskState::Failed(FailReason::SubRunCancelled) => "SUB_RUN_CANCELLED",
        TaskState::Ready
        | TaskState::Placed
        | TaskState::Running
        | TaskState::Succeeded
        | TaskState::Cancelled
        | TaskState::Skipped => "",
    }
}

/// An attempt's state as sent.
pub fn attempt_state_to_wire(state: AttemptState) -> v1::AttemptState {
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

/// An attempt's state; none when unspecified.
pub fn attempt_state_from_wire(state: v1::AttemptState) -> Option<AttemptState> {
    match state {
        v1::AttemptState::Unspecified => None,
        v1::AttemptState::Assigned => Some(AttemptState::Assigned),
        v1::AttemptState::Starting => Some(AttemptState::Starting),
        v1::AttemptState::Running => Some(AttemptState::Running),
        v1::AttemptState::Stopping => Some(AttemptState::Stopping),
        v1::AttemptState::Unknown => Some(AttemptState::Unknown),
        v1::AttemptState::Succeeded => Some(AttemptState::Succeeded),
        v1::AttemptState::Failed => Some(AttemptState::Failed),
        v1::AttemptState::Lost => Some(AttemptState::Lost),
        v1::AttemptState::Cancelled => Some(AttemptState::Cancelled),
        v1::AttemptState::Preempted => Some(AttemptState::Preempted),
        v1::AttemptState::TimedOut => Some(AttemptState::TimedOut),
    }
}

/// How a process ended, as sent.
pub fn exit_to_wire(exit: Exit) -> v1::Exit {
    let exit = match exit {
        Exit::Code(code) => v1::exit::Exit::Code(code),
        Exit::Signal(signal) => v1::exit::Exit::Signal(signal),
    };
    v1::Exit { exit: Some(exit) }
}

/// How a process ended; none when the message does not say.
pub fn exit_from_wire(exit: v1::Exit) -> Option<Exit> {
    match exit.exit {
        Some(v1::exit::Exit::Code(code)) => Some(Exit::Code(code)),
        Some(v1::exit::Exit::Signal(signal)) => Some(Exit::Signal(signal)),
        None => None,
    }
}

/// What a process said of its end, as sent.
pub fn outcome_to_wire(outcome: &Outcome) -> v1::Outcome {
    let outcome = match outcome {
        Outcome::Result(result) => v1::outcome::Outcome::Result(Bytes::copy_from_slice(result)),
        Outcome::Error(error) => v1::outcome::Outcome::Error(error.to_string()),
    };
    v1::Outcome { outcome: Some(outcome) }
}

/// What a process said of its end.
///
/// # Errors
/// In words: the message says nothing that this version knows, or the error type is none.
pub fn outcome_from_wire(outcome: v1::Outcome) -> Result<Outcome, String> {
    match outcome.outcome {
        Some(v1::outcome::Outcome::Result(result)) => Ok(Outcome::Result(result.as_ref().into())),
        Some(v1::outcome::Outcome::Error(error)) => match error.parse() {
            Ok(error) => Ok(Outcome::Error(error)),
            Err(why) => Err(format!("is not understood: {why}")),
        },
        None => Err("is empty or of a kind that this version does not know".to_owned()),
    }
}

fn error_to_wire(outcome: &Outcome) -> Option<v1::Outcome> {
    match outcome {
        Outcome::Result(_) => None,
        Outcome::Error(_) => Some(outcome_to_wire(outcome)),
    }
}

fn result_bytes(outcome: &Outcome) -> u32 {
    match outcome {
        Outcome::Result(result) => u32::try_from(result.len()).unwrap_or(u32::MAX),
        Outcome::Error(_) => 0,
    }
}

/// What an attempt used, as sent.
pub fn usage_to_wire(usage: Usage) -> v1::UsageSummary {
    v1::UsageSummary {
        cpu_us: usage.cpu_us,
        memory_peak_bytes: usage.memory_peak_bytes,
        read_bytes: usage.read_bytes,
        written_bytes: usage.written_bytes,
    }
}

/// What an attempt used.
pub fn usage_from_wire(usage: v1::UsageSummary) -> Usage {
    Usage {
        cpu_us: usage.cpu_us,
        memory_peak_bytes: usage.memory_peak_bytes,
        read_bytes: usage.read_bytes,
        written_bytes: usage.written_bytes,
    }
}

fn step_decided_to_wire(run: &Run, step: u32, decided: &Decided, elements: u32) -> v1::StepDecided {
    let (decided, message) = decided_to_wire(decided);
    v1::StepDecided { task: task_name(&run.spec, step), decided: decided.into(), message, elements }
}

fn task_name(spec: &JobSpec, step: u32) -> String {
    let task = usize::try_from(step).ok().and_then(|step| spec.tasks.get(step));
    task.map(|task| task.name.to_string()).unwrap_or_default()
}

fn named_task(id: TaskId, run: &Run, view: &State) -> v1::Task {
    let count = elements(run, id.step, view);
    v1::Task { task: task_name(&run.spec, id.step), index: id.index, count, ..v1::Task::default() }
}

/// How many elements can be told apart by their index in a step: those that it undoes, if it undoes some.
pub(super) fn elements(run: &Run, step: u32, view: &State) -> u32 {
    if step < run.graph.steps() { view.elements(run.id, run.graph.undoes(step).unwrap_or(step)) } else { 0 }
}

fn named_attempt(id: AttemptId, name: &NodeName, token: Token, spec: &JobSpec, node: Option<&Node>) -> v1::Attempt {
    v1::Attempt {
        run_id: id.task.run.to_string(),
        task: task_name(spec, id.task.step),
        index: id.task.index,
        number: id.number,
        node: name.to_string(),
        cluster: node.map(|node| node.cluster.to_string()).unwrap_or_default(),
        region: node.map(|node| node.region.to_string()).unwrap_or_default(),
        token: token.0,
        ..v1::Attempt::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn states_survive_the_wire() {
        for run in samples::runs() {
            assert_eq!(run_state_from_wire(run_state_to_wire(run.state)), Some(run.state));
        }
        for attempt in samples::attempts() {
            assert_eq!(attempt_state_from_wire(attempt_state_to_wire(attempt.state)), Some(attempt.state));
            if let Some(exit) = attempt.exit {
                assert_eq!(exit_from_wire(exit_to_wire(exit)), Some(exit));
            }
            assert_eq!(usage_from_wire(usage_to_wire(attempt.usage)), attempt.usage);
            if let Some(outcome) = attempt.outcome.as_deref() {
                assert_eq!(outcome_from_wire(outcome_to_wire(outcome)).as_ref(), Ok(outcome));
            }
        }
    }

    #[test]
    fn a_task_shows_its_name_and_why_it_stands_there() {
        let (run, view) = (samples::runs().remove(0), samples::state());
        let words: Vec<(String, String)> = samples::tasks()
            .iter()
            .map(|task| task_to_wire(task, &run, &view))
            .map(|task| (task.state().as_str_name().to_owned(), task.reason))
            .collect();
        for (state, reason) in words {
            let has_reason = state.ends_with("_WAITING") || state.ends_with("_FAILED");
            assert_eq!(!reason.is_empty(), has_reason, "{state} {reason}");
        }
    }

    #[test]
    fn those_who_watch_hear_that_there_is_a_result_and_not_what_it_is() {
        let spec = &samples::specs()[0];
        let mut attempt = samples::attempts().remove(5);
        attempt.outcome = Some(std::sync::Arc::new(Outcome::Result(b"[1, 2]".as_slice().into())));
        attempt.payloads = samples::payloads().kept();
        let whole = attempt_to_wire(&attempt, spec, None);
        assert_eq!(whole.payloads, payloads_to_wire(attempt.payloads.as_deref()));
        assert_eq!((whole.outcome, whole.result_bytes), (attempt.outcome.as_deref().map(outcome_to_wire), 6));
        let watched = watched_attempt_to_wire(&attempt, spec, None);
        assert_eq!((watched.outcome, watched.result_bytes, watched.payloads), (None, 6, vec![]));
        attempt.outcome = Some(std::sync::Arc::new(Outcome::Error("BadInput".parse().unwrap())));
        let watched = watched_attempt_to_wire(&attempt, spec, None);
        assert_eq!(watched.outcome, attempt.outcome.as_deref().map(outcome_to_wire));
        assert!(outcome_from_wire(v1::Outcome { outcome: None }).is_err());
    }

    #[test]
    fn an_event_tells_watchers_nothing_of_later() {
        let view = samples::state();
        let attempt = view.attempts_of_run(samples::RUN).find(|attempt| attempt.state.is_terminal()).unwrap().clone();
        let node = view.node(&attempt.node).unwrap();
        let row = EventRow {
            revision: quorate_state::Revision(9),
            sequence: 0,
            at: quorate_state::Millis(attempt.placed_at.0 + 1),
            event: Event::AttemptMoved {
                attempt: attempt.id,
                node: attempt.node.clone(),
                token: attempt.token,
                state: AttemptState::Starting,
                exit: None,
            },
        };
        let Some(v1::run_event::Event::Attempt(told)) = event_to_wire(&row, &view).unwrap().event else {
            panic!("not an attempt");
        };
        assert_eq!(told.state(), v1::AttemptState::Starting);
        assert_eq!((told.started_at_ms, told.ended_at_ms, told.usage), (None, None, None));
        assert_eq!(told.region, node.region.to_string());
    }

    #[test]
    fn events_about_no_known_run_are_not_for_watchers() {
        let view = State::default();
        for row in samples::events() {
            assert_eq!(event_to_wire(&row, &view), None);
        }
    }
}
