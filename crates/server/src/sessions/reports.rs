//! What an agent saw, on its way into the log: in order, one proposal at a time, several batches in
//! one when they have piled up.

use std::time::Duration;

use quorate_planted::Bug;
use quorate_proto::convert::agent::{attempt_ref_to_wire, report_from_wire};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::ProposeError;
use quorate_state::{
    AttemptId, AttemptReport, Command, Epoch, Feature, Item, NodeName, Outcome, Principal, Reply, ReportOutcome,
    Violation,
};
use tokio::sync::mpsc;

use super::serve::Admitted;
use crate::core::{Core, propose_error};

/// Batches of one session that wait to be proposed; an agent that sends more waits on its stream.
pub(crate) const BATCHES_WAITING_MAX: usize = 64;
/// Reports in one command; further batches wait for the next one.
const REPORTS_PER_COMMAND_MAX: usize = 1_000;
/// Pause before a proposal that was refused as overload is made again.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(50);

/// Proposes what comes in, until the session closes `batches`. Each batch is acknowledged once it
/// is applied.
pub(crate) async fn propose_reports(
    core: &Core,
    principal: &Principal,
    admitted: &Admitted,
    mut batches: mpsc::Receiver<v1::Reports>,
    acks: mpsc::Sender<v1::ReportsAck>,
) -> Result<(), ApiError> {
    let Admitted { node, epoch, session, .. } = admitted;
    let mut waiting = Vec::new();
    while batches.recv_many(&mut waiting, BATCHES_WAITING_MAX).await > 0 {
        let mut ends = Vec::new();
        let mut reports = Vec::new();
        let mut rest = waiting.drain(..).peekable();
        while let Some(batch) = rest.next() {
            let sequence = batch.sequence;
            reports.extend(converted(batch)?.into_iter().map(|report| without_early_word(core, report)));
            ends.push((sequence, reports.len()));
            let next = rest.peek().map_or(0, |batch| batch.reports.len());
            if rest.peek().is_none() || reports.len() + next > REPORTS_PER_COMMAND_MAX {
                if quorate_planted::is(Bug::ReportsAckedEarly) {
                    for (sequence, _) in ends.drain(..) {
                        let _ = acks.send(v1::ReportsAck { sequence, refused: Vec::new() }).await;
                    }
                }
                let refused = propose(core, principal, node, *epoch, std::mem::take(&mut reports)).await?;
                core.liveness.reported(node, *epoch, *session);
                let mut from = 0;
                for (sequence, to) in ends.drain(..) {
                    let refused = refused.iter().filter(|(at, _)| (from..to).contains(at));
                    let refused = refused.map(|(_, attempt)| attempt.clone()).collect();
                    from = to;
                    if acks.send(v1::ReportsAck { sequence, refused }).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

fn converted(batch: v1::Reports) -> Result<Vec<AttemptReport>, ApiError> {
    let mut reports = Vec::with_capacity(batch.reports.len());
    let mut violations: Vec<Violation> = Vec::new();
    for report in batch.reports {
        match report_from_wire(report) {
            Ok(report) => reports.push(report),
            Err(wrong) => violations.extend(wrong),
        }
    }
    if violations.is_empty() { Ok(reports) } else { Err(ApiError::Invalid(violations)) }
}

/// What a process said of its end is not kept before every replica can; its attempt then ends by its exit code alone,
/// and says why.
fn without_early_word(core: &Core, report: AttemptReport) -> AttemptReport {
    let is_plain = report.outcome.is_none() && !report.silent;
    if is_plain || core.replica.view().has_feature(Feature::TaskOutcomes) {
        return report;
    }
    let report = AttemptReport { silent: false, ..report };
    let dropped = match report.outcome.as_deref() {
        Some(Outcome::Result(_)) => "its result".to_owned(),
        Some(Outcome::Error(error)) => format!("its error {error}"),
        None => return report,
    };
    let mut message = format!("{dropped} is not kept: feature {} is not enabled yet", Feature::TaskOutcomes);
    if let Some(said) = &report.message {
        message = format!("{said}; {message}");
    }
    AttemptReport { message: Some(message.into()), outcome: None, ..report }
}

/// The reports refused, by their place.
async fn propose(
    core: &Core,
    principal: &Principal,
    node: &NodeName,
    epoch: Epoch,
    reports: Vec<AttemptReport>,
) -> Result<Vec<(usize, v1::AttemptRef)>, ApiError> {
    if reports.is_empty() {
        return Ok(Vec::new());
    }
    for AttemptReport { attempt: AttemptId { task, number }, phase, gone, exit, .. } in &reports {
        tracing::debug!(run = %task.run, step = task.step, index = task.index, attempt = number, ?phase, gone, ?exit,
            "reported");
    }
    let attempts: Vec<_> = reports.iter().map(|report| report.attempt).collect();
    let command = Command::ReportAttempts { node: node.clone(), epoch, reports };
    let reply = loop {
        core.telemetry.proposed(1);
        let item = Item { principal: principal.clone(), request: None, command: command.clone() };
        match core.replica.propose(item).await {
            // Nobody is better placed to wait than this session: its agent would only repeat itself.
            Err(ProposeError::Overloaded { .. }) => tokio::time::sleep(OVERLOAD_PAUSE).await,
            Err(error) => return Err(propose_error(error)),
            Ok(reply) => break reply?,
        }
    };
    match reply {
        Reply::Reported(outcomes) if outcomes.len() == attempts.len() => {
            let outcomes = attempts.iter().zip(outcomes).enumerate();
            let refused = outcomes.filter(|(_, (_, outcome))| *outcome == ReportOutcome::Refused);
            let refused: Vec<_> = refused.map(|(at, (attempt, _))| (at, *attempt)).collect();
            for (_, attempt) in &refused {
                tracing::warn!(%node, ?attempt, "a report was refused: no such attempt on this node");
            }
            Ok(refused.into_iter().map(|(at, attempt)| (at, attempt_ref_to_wire(attempt))).collect())
        }
        other => Err(core.internal(&format!("reports were answered with {other:?}"))),
    }
}
