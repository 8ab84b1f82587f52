//! What agents saw happen: idempotent, and only from the node and with the token that the attempt has.

use std::sync::Arc;

use quorate_planted::Bug;

use super::overlay::Overlay;
use super::settle;
use crate::{
    Attempt, AttemptId, AttemptPhase, AttemptReport, AttemptState, Epoch, ErrorType, Exit, Feature, NodeName,
    NodeStatus, Outcome, RESULT_TOO_LARGE, Rejection, Reply, ReportOutcome, StopReason, TaskSpec, TaskState,
};

pub(super) fn report(
    overlay: &mut Overlay,
    node: &NodeName,
    epoch: Epoch,
    reports: &[AttemptReport],
) -> Result<Reply, Rejection> {
    let result_bytes_max = overlay.settings()?.result_bytes_max;
    let current = overlay.state().node(node).is_some_and(|row| row.epoch == epoch && row.status == NodeStatus::Up);
    if !current {
        return Err(Rejection::EpochOver { node: node.clone(), epoch });
    }
    let knows_payloads = overlay.state().has_feature(Feature::PayloadRefs);
    let outcomes = reports.iter().map(|report| match too_large(report, result_bytes_max, knows_payloads) {
        Some(failed) => take_in(overlay, node, epoch, &failed),
        None => take_in(overlay, node, epoch, report),
    });
    Ok(Reply::Reported(outcomes.collect()))
}

/// What a report with a result over the limit counts as: whoever reads a result must be able to rely on all of it.
/// The advice waits for the feature that it is about: every replica must write the same words.
fn too_large(report: &AttemptReport, bytes_max: u32, knows_payloads: bool) -> Option<AttemptReport> {
    let Some(Outcome::Result(result)) = report.outcome.as_deref() else { return None };
    if result.len() as u64 <= u64::from(bytes_max) || quorate_planted::is(Bug::ResultUnmeasured) {
        return None;
    }
    let advice =
        if knows_payloads { ": put the data where tasks can reach it, and report it with `payload`" } else { "" };
    let message = format!("its result has {} bytes, result_bytes_max is {bytes_max}{advice}", result.len());
    let error = ErrorType::new(RESULT_TOO_LARGE).ok()?;
    Some(AttemptReport {
        message: Some(message.into()),
        outcome: Some(Arc::new(Outcome::Error(error))),
        ..report.clone()
    })
}

fn take_in(overlay: &mut Overlay, node: &NodeName, epoch: Epoch, report: &AttemptReport) -> ReportOutcome {
    // Told again of a run that was archived since, or has ended and is forgotten: its processes were known to be gone.
    if overlay.state().run(report.attempt.task.run).is_none() && overlay.state().has_feature(Feature::RunArchive) {
        return if report.gone { ReportOutcome::Accepted } else { ReportOutcome::Refused };
    }
    let is_stale = quorate_planted::is(Bug::StaleResultCounts) && report.outcome.is_some();
    let newest = overlay.state().task(report.attempt.task).and_then(|task| task.newest_attempt());
    let id = newest.filter(|_| is_stale).unwrap_or(report.attempt);
    let Some(attempt) = overlay.state().attempt(id).cloned() else { return ReportOutcome::Refused };
    if (attempt.node != *node || attempt.token != report.token) && !is_stale {
        return ReportOutcome::Refused;
    }
    // Given up when this agent came without the journal that had it: its word proves nothing.
    if attempt.epoch != epoch && !attempt.gone && !is_stale {
        return ReportOutcome::Refused;
    }
    let to = target(&attempt, report);
    let moves = attempt.state.may_become(to)
        || (quorate_planted::is(Bug::TerminalLeft) && attempt.state.is_terminal() && attempt.state != to)
        || (quorate_planted::is(Bug::ReplacedCopyCounts) && attempt.state == AttemptState::Lost && to.is_terminal());
    if moves {
        overlay.move_attempt(&attempt, to, |next| {
            record(next, report);
            next.outcome = outcome(to, report);
            next.payloads = report.payloads.clone().filter(|_| to == AttemptState::Succeeded);
        });
        if to == AttemptState::Running {
            start_running(overlay, &attempt);
        } else if to.is_terminal() {
            settle::attempt_ended(overlay, id);
        }
    } else {
        let mut next = (*attempt).clone();
        record(&mut next, report);
        if next != *attempt {
            overlay.put_attempt(next);
        }
    }
    if report.silent {
        stop_silent(overlay, id);
    }
    if report.gone {
        settle::lift_fence(overlay, id);
    }
    ReportOutcome::Accepted
}

/// The state that a report asks for. How an end counts follows from why the attempt was stopped,
/// unless it had ended by itself before it heard of that.
fn target(attempt: &Attempt, report: &AttemptReport) -> AttemptState {
    match report.phase {
        AttemptPhase::Starting => AttemptState::Starting,
        AttemptPhase::Running => AttemptState::Running,
        AttemptPhase::Stopping => AttemptState::Stopping,
        AttemptPhase::Lost => AttemptState::Lost,
        AttemptPhase::Ended => {
            match attempt.stop.filter(|_| report.stopped || quorate_planted::is(Bug::StopRewritesOutcome)) {
                Some(StopReason::Cancelled) => AttemptState::Cancelled,
                Some(StopReason::TimedOut | StopReason::Silent) => AttemptState::TimedOut,
                Some(StopReason::Preempted | StopReason::Drained | StopReason::Gang | StopReason::Rebalanced) => {
                    AttemptState::Preempted
                }
                None if report.exit == Some(Exit::Code(0)) && !says_error(report) => AttemptState::Succeeded,
                None => AttemptState::Failed,
            }
        }
    }
}

fn says_error(report: &AttemptReport) -> bool {
    matches!(report.outcome.as_deref(), Some(Outcome::Error(_)))
}

/// What is kept of what its process said: the result of an attempt that succeeded, or the error of one that did not.
fn outcome(to: AttemptState, report: &AttemptReport) -> Option<Arc<Outcome>> {
    let counts = to.is_terminal() && (to == AttemptState::Succeeded) != says_error(report);
    report.outcome.clone().filter(|_| counts)
}

fn record(next: &mut Attempt, report: &AttemptReport) {
    // What has ended has been told in full; only the confirmation that it is gone may come later.
    let was_told = next.exit.is_some() || next.message.is_some();
    if !was_told {
        next.exit = report.exit;
        next.message.clone_from(&report.message);
    }
    next.usage.cpu_us = next.usage.cpu_us.max(report.usage.cpu_us);
    next.usage.memory_peak_bytes = next.usage.memory_peak_bytes.max(report.usage.memory_peak_bytes);
    next.usage.read_bytes = next.usage.read_bytes.max(report.usage.read_bytes);
    next.usage.written_bytes = next.usage.written_bytes.max(report.usage.written_bytes);
    next.gone |= report.gone;
}

/// An attempt that runs has said nothing for too long, by its agent's clock, which alone can tell. What is being stopped
/// already has its reason, so this counts once.
fn stop_silent(overlay: &mut Overlay, id: AttemptId) {
    let Some(attempt) = overlay.state().attempt(id).cloned() else { return };
    let is_timed = spec_of(overlay, id).is_some_and(|spec| spec.silent_timeout_ms.is_some());
    if is_timed && attempt.state == AttemptState::Running && attempt.stop.is_none() {
        overlay.put_attempt(Attempt { stop: Some(StopReason::Silent), ..(*attempt).clone() });
    }
}

fn spec_of(overlay: &Overlay, id: AttemptId) -> Option<&TaskSpec> {
    overlay.state().run(id.task.run)?.spec.tasks.get(id.task.step as usize)
}

fn start_running(overlay: &mut Overlay, before: &Attempt) {
    let state = overlay.state();
    let Some(task) = state.task(before.id.task).cloned() else { return };
    let timeout = spec_of(overlay, before.id).and_then(|spec| spec.run_timeout_ms);
    if let Some(attempt) = state.attempt(before.id).cloned() {
        let run_deadline = timeout.map(|timeout| overlay.served().plus(timeout));
        overlay.put_attempt(Attempt { started_at: Some(overlay.now()), run_deadline, ..(*attempt).clone() });
    }
    if task.state == TaskState::Placed && task.newest_attempt() == Some(before.id) {
        overlay.move_task(&task, TaskState::Running, |_| {});
    }
}
