//! What agents saw happen: idempotent, and only from the node and with the token that the attempt has.

use quorate_planted::Bug;

use super::overlay::Overlay;
use super::settle;
use crate::{
    Attempt, AttemptPhase, AttemptReport, AttemptState, Epoch, Exit, NodeName, NodeStatus, Rejection, Reply,
    ReportOutcome, StopReason, TaskState,
};

pub(super) fn report(
    overlay: &mut Overlay,
    node: &NodeName,
    epoch: Epoch,
    reports: &[AttemptReport],
) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let current = overlay.state().node(node).is_some_and(|row| row.epoch == epoch && row.status == NodeStatus::Up);
    if !current {
        return Err(Rejection::EpochOver { node: node.clone(), epoch });
    }
    Ok(Reply::Reported(reports.iter().map(|report| take_in(overlay, node, epoch, report)).collect()))
}

fn take_in(overlay: &mut Overlay, node: &NodeName, epoch: Epoch, report: &AttemptReport) -> ReportOutcome {
    let Some(attempt) = overlay.state().attempt(report.attempt).cloned() else { return ReportOutcome::Refused };
    if attempt.node != *node || attempt.token != report.token {
        return ReportOutcome::Refused;
    }
    // Given up when this agent came without the journal that had it: its word proves nothing.
    if attempt.epoch != epoch && !attempt.gone {
        return ReportOutcome::Refused;
    }
    let to = target(&attempt, report);
    let moves = attempt.state.may_become(to)
        || (quorate_planted::is(Bug::TerminalLeft) && attempt.state.is_terminal() && attempt.state != to)
        || (quorate_planted::is(Bug::ReplacedCopyCounts) && attempt.state == AttemptState::Lost && to.is_terminal());
    if moves {
        overlay.move_attempt(&attempt, to, |next| record(next, report));
        if to == AttemptState::Running {
            start_running(overlay, &attempt);
        } else if to.is_terminal() {
            settle::attempt_ended(overlay, report.attempt);
        }
    } else {
        let mut next = (*attempt).clone();
        record(&mut next, report);
        if next != *attempt {
            overlay.put_attempt(next);
        }
    }
    if report.gone {
        settle::lift_fence(overlay, report.attempt);
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
                Some(StopReason::TimedOut) => AttemptState::TimedOut,
                Some(StopReason::Preempted | StopReason::Drained) => AttemptState::Preempted,
                None if report.exit == Some(Exit::Code(0)) => AttemptState::Succeeded,
                None => AttemptState::Failed,
            }
        }
    }
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

fn start_running(overlay: &mut Overlay, before: &Attempt) {
    let state = overlay.state();
    let Some(task) = state.task(before.id.task).cloned() else { return };
    let timeout = state
        .run(task.id.run)
        .and_then(|run| run.spec.tasks.get(task.id.step as usize))
        .and_then(|spec| spec.run_timeout_ms);
    if let Some(attempt) = state.attempt(before.id).cloned() {
        let run_deadline = timeout.map(|timeout| overlay.served().plus(timeout));
        overlay.put_attempt(Attempt { started_at: Some(overlay.now()), run_deadline, ..(*attempt).clone() });
    }
    if task.state == TaskState::Placed && task.newest_attempt() == Some(before.id) {
        overlay.move_task(&task, TaskState::Running, |_| {});
    }
}
