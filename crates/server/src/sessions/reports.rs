//! What an agent saw, on its way into the log: in order, one proposal at a time, several batches in
//! one when they have piled up.

use std::time::Duration;

use quorate_planted::Bug;
use quorate_proto::convert::agent::{attempt_ref_to_wire, report_from_wire};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::ProposeError;
use quorate_state::{
    AttemptId, AttemptReport, Command, Epoch, Feature, Item, NodeName, Outcome, Principal, Reply, ReportOutcome, State,
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
            let view = core.replica.view();
            reports.extend(converted(batch)?.into_iter().map(|report| without_early_word(&view, report)));
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

/// What a process said of its end, or left behind, is not kept before every replica can; its attempt then ends by its exit
/// code alone, and says why.
fn without_early_word(view: &State, report: AttemptReport) -> AttemptReport {
    let is_early = |feature: Feature, says: bool| says && !view.has_feature(feature);
    let mut report = report;
    if is_early(Feature::TaskOutcomes, report.outcome.is_some() || report.silent) {
        report.silent = false;
        match report.outcome.take().as_deref() {
            Some(Outcome::Result(_)) => not_kept(&mut report, "its result is", Feature::TaskOutcomes),
            Some(Outcome::Error(error)) => {
                not_kept(&mut report, &format!("its error {error} is"), Feature::TaskOutcomes)
            }
            None => {}
        }
    }
    if is_early(Feature::PayloadRefs, report.payloads.is_some()) {
        report.payloads = None;
        not_kept(&mut report, "its payloads are", Feature::PayloadRefs);
    }
    report
}

fn not_kept(report: &mut AttemptReport, what: &str, feature: Feature) {
    let mut message = format!("{what} not kept: feature {feature} is not enabled yet");
    if let Some(said) = &report.message {
        message = format!("{said}; {message}");
    }
    report.message = Some(message.into());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_state::{AttemptPhase, Payload, Payloads, RunId, TaskId, Token, Usage};

    use super::*;

    #[test]
    fn what_cannot_be_kept_yet_is_dropped_and_said_so() {
        let mut payloads = Payloads::default();
        payloads.put("model".parse().unwrap(), Payload::new("s3://b/k", None, None).unwrap()).unwrap();
        let report = AttemptReport {
            attempt: AttemptId { task: TaskId { run: RunId(1), step: 0, index: 0 }, number: 1 },
            token: Token(1),
            phase: AttemptPhase::Ended,
            gone: true,
            exit: None,
            message: Some("done".into()),
            usage: Usage::default(),
            stopped: false,
            outcome: Some(Arc::new(Outcome::Result(b"1".as_slice().into()))),
            silent: false,
            payloads: payloads.kept(),
        };
        let kept = without_early_word(&State::default(), report.clone());
        assert_eq!((kept.outcome, kept.payloads), (None, None));
        assert_eq!(
            kept.message.as_deref(),
            Some(
                "done; its result is not kept: feature task-outcomes is not enabled yet; its payloads are not kept: feature payload-refs is not enabled yet"
            )
        );
        let plain = AttemptReport { outcome: None, payloads: None, ..report };
        assert_eq!(without_early_word(&State::default(), plain.clone()), plain);
    }
}
