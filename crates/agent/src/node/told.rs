//! What the control plane says.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_proto::convert::agent::attempt_ref_from_wire;
use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message as Outgoing;
use quorate_proto::v1::server_message::Message;
use quorate_seams::BootInstant;
use quorate_state::{AttemptId, Choice, ClusterId, Driver, Epoch, GpuHold, OnNodeLoss, Revision};

use super::tracked::Tracked;
use super::{Node, Renewals, Talk};
use crate::assignment::{Assignment, Unreadable};
use crate::error::Error;
use crate::journal::{Fact, Over};
use crate::reconcile::{Refusal, SET_MAX, Statement, Touched};
use crate::session::{Closed, Cure};

impl Node {
    pub(super) fn on_told(&mut self, message: v1::ServerMessage) -> Result<(), Error> {
        let before = self.desired.seen().incarnation;
        let Some(said) = message.message else { return Ok(()) };
        // A welcome is looked at before it counts: it may come from another cluster altogether.
        if let Message::Welcome(welcome) = &said {
            self.check_cluster(welcome, message.incarnation > before)?;
        }
        if !self.desired.meet(message.incarnation) {
            self.lose_session("the replica speaks for an older life of the cluster's data");
            return Ok(());
        }
        let revision = Revision(message.revision);
        match said {
            Message::Welcome(welcome) => self.on_welcome(&welcome),
            Message::Renewed(renewed) => self.on_renewed(renewed),
            Message::Desired(set) => {
                let assignments = self.readable(set.assignments);
                let statement = if set.more { Statement::Part(assignments) } else { Statement::Full(assignments) };
                self.on_statement(revision, statement);
            }
            Message::Delta(delta) => {
                let set = self.readable(delta.set);
                let removed = delta.removed.iter().filter_map(|one| attempt_ref_from_wire(one).ok()).collect();
                self.on_statement(revision, Statement::Delta { from: Revision(delta.from), set, removed });
            }
            Message::ReportsAck(ack) => {
                // Before anything is forgotten for it.
                self.desired.acknowledged(revision);
                let refused: BTreeSet<AttemptId> =
                    ack.refused.iter().filter_map(|one| attempt_ref_from_wire(one).ok()).collect();
                self.on_acknowledged(ack.sequence, &refused);
            }
            Message::LogRequest(request) => {
                if let Some(sender) = self.session.sender() {
                    self.fixed.outputs.answer(request, sender.clone());
                }
            }
        }
        Ok(())
    }

    /// A journal belongs to one cluster; a restored one has a new identity and a newer incarnation.
    fn check_cluster(&mut self, welcome: &v1::Welcome, restored: bool) -> Result<(), Error> {
        let Ok(theirs) = welcome.cluster_id.parse::<ClusterId>() else { return Ok(()) };
        match self.cluster {
            Some(ours) if ours != theirs && !restored => Err(Error::OtherCluster { ours, theirs }),
            Some(ours) if ours == theirs => Ok(()),
            Some(_) | None => {
                self.cluster = Some(theirs);
                self.journal.push([Fact::Joined { cluster: theirs }]);
                Ok(())
            }
        }
    }

    fn on_welcome(&mut self, welcome: &v1::Welcome) {
        let Talk::Greeted { at } = self.talk else {
            return self.lose_session("a welcome that nobody asked for");
        };
        let before = self.fence.epoch();
        let epoch = Epoch(welcome.epoch);
        if !self.fence.grant(epoch, Duration::from_millis(welcome.lease_agent_ms), at) {
            return self.lose_session("it went on with a lease that is over");
        }
        self.lease_changed();
        self.kill_bound = Duration::from_millis(welcome.kill_ms);
        let now = self.fixed.clock.boot();
        self.talk = Talk::Welcomed(Renewals { due: now, last: now, unanswered: None });
        self.measurements.begin(welcome.usage_every_ms, now);
        self.begin_distances(&welcome.landmarks);
        self.known_here = true;
        self.fixed.metrics.sessions.inc();
        tracing::info!(address = self.session.address(), %epoch, resumed = before == Some(epoch), "welcomed");
        if before != Some(epoch) {
            self.tell_everything();
        }
        self.keep_session(now);
    }

    fn on_renewed(&mut self, renewed: v1::Renewed) {
        let Talk::Welcomed(mut renewals) = self.talk else { return };
        let sent = BootInstant::from_millis(renewed.sent_at_ms);
        // An answer to something that was not sent would move the deadline into the future.
        if sent > renewals.last {
            return self.lose_session("it confirmed a renewal that was not sent");
        }
        if self.fence.renew(Epoch(renewed.epoch), sent) {
            self.lease_changed();
            renewals.unanswered = Some(renewals.last).filter(|last| *last > sent);
            self.talk = Talk::Welcomed(renewals);
        }
    }

    fn on_statement(&mut self, revision: Revision, statement: Statement) {
        match self.desired.take(revision, statement) {
            Ok(touched) => {
                // Only now: a session that fails while its set is delivered must not come back at once.
                if touched == Touched::All {
                    self.session.settled();
                }
                self.reconcile(touched);
            }
            Err(refusal) => {
                let why = match refusal {
                    Refusal::Older => "older",
                    Refusal::Gap => "gap",
                    Refusal::TooLarge => "too_large",
                };
                tracing::info!(%revision, why, "a statement was refused: asking for a full one");
                self.fixed.metrics.refused.with_label_values(&[why]).inc();
                if refusal == Refusal::TooLarge {
                    // Asked for again, it would be the same: another session comes after a pause.
                    tracing::error!(%revision, "the desired set has more than SET_MAX ({SET_MAX}) attempts");
                    self.lose_session("its desired set is too large");
                } else if !self.send(Outgoing::Resync(v1::ResyncRequest {})) {
                    self.lose_session("it is too busy for a request");
                }
            }
        }
    }

    /// What cannot be read is said to be impossible here, so that it goes elsewhere.
    fn readable(&mut self, wire: Vec<v1::Assignment>) -> Vec<Assignment> {
        let mut assignments = Vec::with_capacity(wire.len());
        for one in wire {
            match Assignment::from_wire(one) {
                Ok(assignment) => assignments.push(assignment),
                Err(Unreadable { attempt, why }) => {
                    tracing::error!(?attempt, why, "an assignment cannot be read");
                    if let Some((attempt, token)) = attempt
                        && !self.attempts.contains_key(&attempt)
                    {
                        let over = Over { lost: true, message: Some(why.into()), ..Over::default() };
                        let tracked = Tracked::known(
                            token,
                            OnNodeLoss::AtLeastOnce,
                            Driver::Noop,
                            (Choice::FIRST, GpuHold::NONE),
                        );
                        self.insert_over(attempt, tracked, over);
                    }
                }
            }
        }
        assignments
    }

    /// Decides whether the end of a session ends the agent.
    pub(super) fn judge(&mut self, closed: Closed) -> Result<(), Error> {
        let refused = || Error::Refused { node: self.fixed.config.node.to_string(), why: closed.why.clone() };
        match closed.cure {
            Cure::Rename => Err(refused()),
            // What was right once may be right again, and the tasks that run must not die for one
            // replica's opinion.
            Cure::Correct if !self.known_here => Err(refused()),
            Cure::Correct => {
                tracing::error!(why = closed.why, "the control plane refuses this node: trying on");
                Ok(())
            }
            Cure::Retry | Cure::Later => {
                tracing::info!(why = closed.why, next = self.session.address(), "no session");
                Ok(())
            }
        }
    }
}
