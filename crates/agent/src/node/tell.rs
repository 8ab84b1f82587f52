//! What the node says: who it is, that it is there, and what became of its attempts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_proto::convert::agent::{hello_to_wire, report_to_wire};
use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message;
use quorate_seams::BootInstant;
use quorate_state::{AttemptId, AttemptReport, Outcome, Registration};

use super::tracked::Cause;
use super::{Node, Renewals, Talk, Wish};
use crate::reports::{OUTCOMES_PER_BATCH_BYTES_MAX, Told};

/// A lease is renewed this many times in its length: two renewals may be lost without harm.
const RENEWALS_PER_LEASE: u32 = 3;
/// A greeting is answered within this: it takes a read round and a write of the log.
const WELCOME_DEADLINE: Duration = Duration::from_secs(6);
/// Pause before a batch is offered again to a session that is busy.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

impl Node {
    /// Opens the next session with who we are and what we have.
    pub(super) fn greet(&mut self) {
        let fixed = &self.fixed;
        let config = &fixed.config;
        let seen = self.desired.seen();
        let known = self.attempts.iter().filter_map(|(attempt, one)| one.claim(*attempt));
        let waiting = self.desired.claims(|attempt| self.attempts.contains_key(&attempt));
        let registration = Registration {
            node: config.node.clone(),
            uuid: fixed.uuid,
            journal: fixed.journal_uuid,
            boot_id: fixed.machine.boot_id.as_str().into(),
            machine_id: fixed.machine.machine_id.as_str().into(),
            region: config.region.clone(),
            cluster: config.cluster.clone(),
            capacity: config.capacity,
            gpus: config.gpus.clone().into(),
            labels: config.labels.clone(),
            offer: Arc::new(config.offer.clone()),
            attempts: known.chain(waiting).collect(),
            seen: seen.revision,
        };
        let at = fixed.clock.boot();
        let hello = v1::Hello {
            epoch: self.fence.epoch().map_or(0, |epoch| epoch.0),
            incarnation: seen.incarnation,
            cluster_id: self.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(),
            join_token: config.join_token.as_ref().map(|token| token.secret().to_owned()).unwrap_or_default(),
            ..hello_to_wire(&registration)
        };
        self.talk = Talk::Greeted { at };
        self.session.open(hello);
    }

    /// Renews the lease when that is due, and gives up a session that does not answer.
    pub(super) fn keep_session(&mut self, now: BootInstant) {
        match self.talk {
            Talk::Silent => {}
            Talk::Greeted { at } => {
                if now.since(at) >= WELCOME_DEADLINE {
                    self.lose_session("there was no welcome");
                }
            }
            Talk::Welcomed(mut renewals) => {
                let (Some(epoch), Some(length)) = (self.fence.epoch(), self.fence.length()) else { return };
                let pause = length / RENEWALS_PER_LEASE;
                if renewals.unanswered.is_some_and(|sent| now.since(sent) >= pause) {
                    return self.lose_session("a renewal was not answered");
                }
                if now < renewals.due {
                    return;
                }
                // What comes back is in whole milliseconds, rounded down: the lease only gets shorter by it.
                let sent = BootInstant::from_millis(now.as_millis());
                if self.send(Message::Renew(v1::Renew { epoch: epoch.0, sent_at_ms: sent.as_millis() })) {
                    renewals =
                        Renewals { due: now + pause, last: sent, unanswered: renewals.unanswered.or(Some(sent)) };
                } else {
                    renewals.due = now + BUSY_PAUSE;
                }
                self.talk = Talk::Welcomed(renewals);
            }
        }
    }

    /// Sends what is new. Says how soon there is something to send again, if nothing else happens.
    pub(super) fn tell_news(&mut self) -> Option<Duration> {
        let Talk::Welcomed(_) = self.talk else { return None };
        let epoch = self.fence.epoch()?;
        loop {
            let due = self.outbox.due(self.fixed.clock.boot(), self.starting.len())?;
            if !due.is_zero() {
                return Some(due);
            }
            let Some(permit) = self.session.sender().and_then(|sender| sender.try_reserve().ok()) else {
                return Some(BUSY_PAUSE);
            };
            let mut reports = Vec::new();
            let mut told = Vec::new();
            let mut batch = self.outbox.next().into_iter();
            let mut said_bytes = 0;
            while said_bytes < OUTCOMES_PER_BATCH_BYTES_MAX
                && let Some(attempt) = batch.next()
            {
                let Some(one) = self.attempts.get_mut(&attempt).filter(|one| !one.refused && !one.leaving) else {
                    continue;
                };
                let news = one.reports(attempt);
                if news.is_empty() {
                    continue;
                }
                one.running_told |= one.ran;
                said_bytes += news.iter().map(outcome_bytes).sum::<usize>();
                told.push(Told { attempt, token: one.token, version: one.version });
                reports.extend(news.iter().map(report_to_wire));
            }
            self.outbox.put_back(batch.collect(), self.fixed.clock.boot());
            if reports.is_empty() {
                continue;
            }
            self.fixed.metrics.reports.inc_by(reports.len() as u64);
            let sequence = self.outbox.sent(told);
            let reports = v1::Reports { epoch: epoch.0, sequence, reports };
            permit.send(v1::AgentMessage { message: Some(Message::Reports(reports)) });
        }
    }

    /// All that a lease granted afresh should hear again.
    pub(super) fn tell_everything(&mut self) {
        let all: Vec<_> = self.attempts.keys().copied().collect();
        for attempt in all {
            if let Some(one) = self.attempts.get_mut(&attempt) {
                one.running_told = false;
            }
            self.news(attempt);
        }
    }

    /// A batch was answered.
    pub(super) fn on_acknowledged(&mut self, sequence: u64, refused: &BTreeSet<AttemptId>) {
        let answered = self.outbox.answered(sequence);
        let mut leaving = Vec::new();
        let mut unwanted = Vec::new();
        for Told { attempt, token, version } in answered {
            let Some(one) = self.attempts.get_mut(&attempt).filter(|one| one.token == token) else { continue };
            if refused.contains(&attempt) {
                one.refused = true;
                if one.is_gone() {
                    leaving.push(attempt);
                } else {
                    unwanted.push(attempt);
                }
            } else if one.is_gone() && one.version == version {
                leaving.push(attempt);
            }
        }
        for attempt in unwanted {
            tracing::warn!(run = %attempt.task.run, step = attempt.task.step, index = attempt.task.index, "stopping an attempt that the control plane does not know");
            self.wish(attempt, Wish::Stop, Cause::Asked);
        }
        self.leave(leaving);
    }
}

fn outcome_bytes(report: &AttemptReport) -> usize {
    let said = match report.outcome.as_deref() {
        Some(Outcome::Result(result)) => result.len(),
        Some(Outcome::Error(error)) => error.as_str().len(),
        None => 0,
    };
    said + report.payloads.as_ref().map_or(0, |payloads| payloads.bytes())
}
