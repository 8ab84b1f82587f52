//! Values of the rows of steps, tasks and attempts.

use quorate_state::{
    Attempt, AttemptId, AttemptState, Claim, ClaimTerms, Epoch, FailReason, Gang, Millis, Preempted, Rest, Revision,
    RunId, Served, Step, StopReason, Task, TaskId, TaskState, Token, Wait,
};

use super::rebalance::{moved_from, moved_to};
use crate::convert::gpu::gpu_hold_to_wire;
use crate::convert::job::resources_to_wire;
use crate::convert::payload::payloads_to_wire;
use crate::convert::preemption::{share_from_wire, share_to_wire};
use crate::convert::run::{
    attempt_state_from_wire, attempt_state_to_wire, exit_to_wire, outcome_to_wire, task_state_to_wire, usage_to_wire,
};
use crate::format::FormatError;
use crate::format::parts::{
    choice_from, decided_from, decided_to, exit_from, gpus_from, numbered, outcome_from, parsed, payloads_from,
    priority_from, required, resources_from, task_id_from, task_id_to, usage_from,
};
use crate::log::v1 as pb;
use crate::v1;

pub(super) fn task_to(task: &Task) -> pb::TaskRow {
    pb::TaskRow {
        state: Some(state_to(&task.state)),
        generation: task.generation,
        attempts: task.attempts,
        tries: task.tries,
        losses: task.losses,
        preemptions: task.preemptions,
        queue_deadline_served_ms: task.queue_deadline.map(|deadline| deadline.0),
        succeeded_at: task.succeeded_at.map(|revision| revision.0),
        sub_run: task.sub_run.map(|run| run.0),
        flaw: task.flaw.as_deref().map(ToOwned::to_owned),
        ready_since_served_ms: task.ready_since.map(|since| since.0),
        home: task.home.as_ref().map(ToString::to_string),
        want: task.choice.number(),
    }
}

pub(super) fn task_from(id: TaskId, row: pb::TaskRow) -> Result<Task, FormatError> {
    Ok(Task {
        id,
        state: state_from(row.state)?,
        generation: row.generation,
        attempts: row.attempts,
        tries: row.tries,
        losses: row.losses,
        preemptions: row.preemptions,
        queue_deadline: row.queue_deadline_served_ms.map(Served),
        ready_since: row.ready_since_served_ms.map(Served),
        home: row.home.map(|home| parsed("task.home", &home)).transpose()?,
        choice: choice_from("task.want", row.want)?,
        succeeded_at: row.succeeded_at.map(Revision),
        sub_run: row.sub_run.map(RunId),
        flaw: row.flaw.map(Into::into),
    })
}

pub(super) fn step_to(step: &Step) -> pb::StepRow {
    pb::StepRow {
        decision: step.decision.as_ref().map(decided_to),
        elements: step.elements,
        rest: rest_to(step.rest).into(),
        gang: step.gang.map(|gang| pb::Gang {
            generation: gang.generation,
            live: gang.live,
            is_breaking: gang.is_breaking,
            start_due_served_ms: gang.start_due.map(|due| due.0),
        }),
    }
}

pub(super) fn step_from((run, step): (RunId, u32), row: pb::StepRow) -> Result<Step, FormatError> {
    Ok(Step {
        run,
        step,
        decision: row.decision.map(|decided| decided_from("step.decision", decided)).transpose()?,
        elements: row.elements,
        rest: rest_from(numbered("step.rest", row.rest)?)?,
        gang: row.gang.map(|gang| Gang {
            generation: gang.generation,
            live: gang.live,
            is_breaking: gang.is_breaking,
            start_due: gang.start_due_served_ms.map(Served),
        }),
    })
}

pub(super) fn state_to(state: &TaskState) -> pb::TaskState {
    use pb::wait::Wait as Kind;
    let (wait, reason) = match state {
        TaskState::Waiting(Wait::Needs) => (Some(Kind::Needs(pb::Needs {})), None),
        TaskState::Waiting(Wait::Backoff { until }) => (Some(Kind::BackoffUntilMs(until.0)), None),
        TaskState::Waiting(Wait::Fence { until }) => (Some(Kind::FenceUntilMs(until.0)), None),
        TaskState::Waiting(Wait::Quarantine) => (Some(Kind::Quarantine(pb::Quarantine {})), None),
        TaskState::Failed(reason) => (None, Some(reason_to(*reason))),
        TaskState::Ready
        | TaskState::Placed
        | TaskState::Running
        | TaskState::Succeeded
        | TaskState::Cancelled
        | TaskState::Skipped => (None, None),
    };
    pb::TaskState {
        state: task_state_to_wire(state).into(),
        wait: wait.map(|wait| pb::Wait { wait: Some(wait) }),
        reason: reason.unwrap_or(pb::FailReason::Unspecified).into(),
    }
}

pub(super) fn state_from(state: Option<pb::TaskState>) -> Result<TaskState, FormatError> {
    use pb::wait::Wait as Kind;
    let row = required("task.state", state)?;
    Ok(match numbered("task.state", row.state)? {
        v1::TaskState::Unspecified => return Err(FormatError::Missing("task.state")),
        v1::TaskState::Waiting => {
            TaskState::Waiting(match required("task.wait", row.wait.and_then(|wait| wait.wait))? {
                Kind::Needs(pb::Needs {}) => Wait::Needs,
                Kind::BackoffUntilMs(until) => Wait::Backoff { until: Served(until) },
                Kind::FenceUntilMs(until) => Wait::Fence { until: Served(until) },
                Kind::Quarantine(pb::Quarantine {}) => Wait::Quarantine,
            })
        }
        v1::TaskState::Ready => TaskState::Ready,
        v1::TaskState::Placed => TaskState::Placed,
        v1::TaskState::Running => TaskState::Running,
        v1::TaskState::Succeeded => TaskState::Succeeded,
        v1::TaskState::Failed => TaskState::Failed(reason_from(numbered("task.reason", row.reason)?)?),
        v1::TaskState::Cancelled => TaskState::Cancelled,
        v1::TaskState::Skipped => TaskState::Skipped,
    })
}

pub(super) fn attempt_to(attempt: &Attempt) -> pb::AttemptRow {
    pb::AttemptRow {
        node: attempt.node.to_string(),
        epoch: attempt.epoch.0,
        token: attempt.token.0,
        state: attempt_state_to_wire(attempt.state).into(),
        stop: attempt.stop.map_or(pb::StopReason::Unspecified, stop_to).into(),
        gone: attempt.gone,
        resources: Some(resources_to_wire(attempt.resources)),
        gpus: gpu_hold_to_wire(attempt.gpus),
        placed_at_ms: attempt.placed_at.0,
        started_at_ms: attempt.started_at.map(|at| at.0),
        ended_at_ms: attempt.ended_at.map(|at| at.0),
        run_deadline_served_ms: attempt.run_deadline.map(|at| at.0),
        unknown_deadline_served_ms: attempt.unknown_deadline.map(|at| at.0),
        exit: attempt.exit.map(exit_to_wire),
        message: attempt.message.as_deref().map(ToOwned::to_owned),
        usage: Some(usage_to_wire(attempt.usage)),
        outputs: payloads_to_wire(attempt.payloads.as_deref()),
        outcome: attempt.outcome.as_deref().map(outcome_to_wire),
        suspect: attempt.suspect,
        want: attempt.choice.number(),
        spared_until_served_ms: attempt.spared_until.map(|until| until.0),
        preempted: attempt.preempted.map(|preempted| pb::Preempted {
            by: Some(task_id_to(preempted.by)),
            priority: preempted.priority.into(),
            share: preempted.share.map(share_to_wire),
        }),
        moved: attempt.moved.as_ref().map(moved_to),
    }
}

pub(super) fn attempt_from(id: AttemptId, row: pb::AttemptRow) -> Result<Attempt, FormatError> {
    Ok(Attempt {
        id,
        node: parsed("attempt.node", &row.node)?,
        epoch: Epoch(row.epoch),
        token: Token(row.token),
        state: attempt_state_from(row.state)?,
        stop: stop_from(numbered("attempt.stop", row.stop)?),
        gone: row.gone,
        resources: resources_from("attempt.resources", row.resources)?,
        gpus: gpus_from("attempt.gpus", row.gpus)?,
        choice: choice_from("attempt.want", row.want)?,
        placed_at: Millis(row.placed_at_ms),
        started_at: row.started_at_ms.map(Millis),
        ended_at: row.ended_at_ms.map(Millis),
        run_deadline: row.run_deadline_served_ms.map(Served),
        unknown_deadline: row.unknown_deadline_served_ms.map(Served),
        exit: exit_from(row.exit)?,
        message: row.message.map(Into::into),
        outcome: outcome_from(row.outcome)?,
        suspect: row.suspect,
        usage: usage_from(row.usage)?,
        payloads: payloads_from(row.outputs)?,
        spared_until: row.spared_until_served_ms.map(Served),
        preempted: row.preempted.map(preempted_from).transpose()?,
        moved: row.moved.as_ref().map(moved_from).transpose()?,
    })
}

fn preempted_from(preempted: pb::Preempted) -> Result<Preempted, FormatError> {
    Ok(Preempted {
        by: task_id_from("preempted.by", preempted.by)?,
        priority: priority_from(preempted.priority)?,
        share: preempted.share.as_ref().map(share_from_wire),
    })
}

pub(super) fn claim_to(claim: &Claim) -> pb::ClaimRow {
    pb::ClaimRow {
        node: claim.node.to_string(),
        epoch: claim.epoch.0,
        resources: Some(resources_to_wire(claim.terms.resources)),
        gpus: gpu_hold_to_wire(claim.terms.gpus),
        until_served_ms: claim.terms.until.0,
        want: claim.terms.choice.number(),
    }
}

pub(super) fn claim_from(task: TaskId, row: pb::ClaimRow) -> Result<Claim, FormatError> {
    Ok(Claim {
        task,
        node: parsed("claim.node", &row.node)?,
        epoch: Epoch(row.epoch),
        terms: ClaimTerms {
            resources: resources_from("claim.resources", row.resources)?,
            gpus: gpus_from("claim.gpus", row.gpus)?,
            choice: choice_from("claim.want", row.want)?,
            until: Served(row.until_served_ms),
        },
    })
}

pub(super) fn attempt_state_from(state: i32) -> Result<AttemptState, FormatError> {
    required("attempt.state", attempt_state_from_wire(numbered("attempt.state", state)?))
}

fn reason_to(reason: FailReason) -> pb::FailReason {
    match reason {
        FailReason::Failed => pb::FailReason::Failed,
        FailReason::TimedOut => pb::FailReason::TimedOut,
        FailReason::Lost => pb::FailReason::Lost,
        FailReason::NodeLosses => pb::FailReason::NodeLosses,
        FailReason::Queued => pb::FailReason::Queued,
        FailReason::Silent => pb::FailReason::Silent,
        FailReason::Undecidable => pb::FailReason::Undecidable,
        FailReason::NoSubRun => pb::FailReason::NoSubRun,
        FailReason::SubRunCancelled => pb::FailReason::SubRunCancelled,
    }
}

fn reason_from(reason: pb::FailReason) -> Result<FailReason, FormatError> {
    match reason {
        pb::FailReason::Unspecified => Err(FormatError::Missing("task.reason")),
        pb::FailReason::Failed => Ok(FailReason::Failed),
        pb::FailReason::TimedOut => Ok(FailReason::TimedOut),
        pb::FailReason::Lost => Ok(FailReason::Lost),
        pb::FailReason::NodeLosses => Ok(FailReason::NodeLosses),
        pb::FailReason::Queued => Ok(FailReason::Queued),
        pb::FailReason::Silent => Ok(FailReason::Silent),
        pb::FailReason::Undecidable => Ok(FailReason::Undecidable),
        pb::FailReason::NoSubRun => Ok(FailReason::NoSubRun),
        pb::FailReason::SubRunCancelled => Ok(FailReason::SubRunCancelled),
    }
}

fn rest_to(rest: Rest) -> pb::Rest {
    match rest {
        Rest::Waiting => pb::Rest::Waiting,
        Rest::Cancelled => pb::Rest::Cancelled,
        Rest::Skipped => pb::Rest::Skipped,
        Rest::Kept => pb::Rest::Kept,
    }
}

fn rest_from(rest: pb::Rest) -> Result<Rest, FormatError> {
    match rest {
        pb::Rest::Unspecified => Err(FormatError::Missing("step.rest")),
        pb::Rest::Waiting => Ok(Rest::Waiting),
        pb::Rest::Cancelled => Ok(Rest::Cancelled),
        pb::Rest::Skipped => Ok(Rest::Skipped),
        pb::Rest::Kept => Ok(Rest::Kept),
    }
}

fn stop_to(stop: StopReason) -> pb::StopReason {
    match stop {
        StopReason::Cancelled => pb::StopReason::Cancelled,
        StopReason::TimedOut => pb::StopReason::TimedOut,
        StopReason::Preempted => pb::StopReason::Preempted,
        StopReason::Drained => pb::StopReason::Drained,
        StopReason::Silent => pb::StopReason::Silent,
        StopReason::Gang => pb::StopReason::Gang,
        StopReason::Rebalanced => pb::StopReason::Rebalanced,
    }
}

fn stop_from(stop: pb::StopReason) -> Option<StopReason> {
    match stop {
        pb::StopReason::Unspecified => None,
        pb::StopReason::Cancelled => Some(StopReason::Cancelled),
        pb::StopReason::TimedOut => Some(StopReason::TimedOut),
        pb::StopReason::Preempted => Some(StopReason::Preempted),
        pb::StopReason::Drained => Some(StopReason::Drained),
        pb::StopReason::Silent => Some(StopReason::Silent),
        pb::StopReason::Gang => Some(StopReason::Gang),
        pb::StopReason::Rebalanced => Some(StopReason::Rebalanced),
    }
}
