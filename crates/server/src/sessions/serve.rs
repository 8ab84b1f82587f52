//! One session on the leader: hello, welcome, what to run, and everything after, in one loop.
//!
//! All that the agent is told passes through this loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use quorate_planted::Bug;
use quorate_proto::convert::agent::hello_from_wire;
use quorate_proto::convert::join_token::secret_digest;
use quorate_proto::status::{ApiError, to_status};
use quorate_proto::v1;
use quorate_seams::BootInstant;
use quorate_state::{
    Choice, Command, Epoch, Feature, LeaseTerms, Node, NodeAdmission, NodeName, NodeStatus, Offer, Principal,
    RegionName, Registration, Reply, Revision, State, Violation, labels_of,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tracing::Instrument as _;

use super::limits::{bound_reports, bound_usages, check_hello};
use super::reports::{BATCHES_WAITING_MAX, propose_reports};
use super::speaker::{Outbound, SEND_DEADLINE, Speaker};
use super::{Incoming, Order, Place};
use crate::auth::speaks_for;
use crate::core::Core;
use crate::liveness::{Renewal, SessionId, Waiting};
use crate::usages;

/// The first message comes within this.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// Log requests of one session that wait for the agent.
const LOG_READS_MAX: usize = 128;

/// An agent whose lease is in force.
pub(super) struct Admitted {
    pub(super) node: NodeName,
    region: RegionName,
    pub(super) epoch: Epoch,
    pub(super) session: SessionId,
    lease: LeaseTerms,
    /// Something of it was left out, because not every replica knew what it is: it is taken in once this is enabled.
    lacks: Option<Feature>,
}

/// Where a session comes from.
pub(crate) struct Origin {
    /// Whoever has connected to this replica.
    pub(crate) principal: Principal,
    /// It says that it passes an agent's session on.
    pub(crate) relayed: bool,
    /// Until the agent is welcomed.
    pub(crate) incoming: Incoming,
}

/// Serves a session until either side, or leadership in `term`, ends. The end is said on `out`.
pub(crate) async fn serve<S>(core: Arc<Core>, from: Origin, term: u64, inbound: S, out: Outbound)
where
    S: Stream<Item = Result<v1::AgentMessage, Status>> + Send + Unpin,
{
    let session = Box::pin(converse(&core, from, inbound, &out));
    let end = tokio::select! {
        biased;
        () = core.deposed(term) => Err(core.not_leader()),
        end = session => end,
    };
    if let Err(error) = end {
        tracing::info!(%error, "session ended");
        let _ = tokio::time::timeout(SEND_DEADLINE, out.send(Err(to_status(&error)))).await;
    }
}

async fn converse<S>(core: &Arc<Core>, from: Origin, mut inbound: S, out: &Outbound) -> Result<(), ApiError>
where
    S: Stream<Item = Result<v1::AgentMessage, Status>> + Send + Unpin,
{
    let hello = match tokio::time::timeout(HELLO_DEADLINE, inbound.next()).await {
        Ok(Some(Ok(v1::AgentMessage { message: Some(v1::agent_message::Message::Hello(hello)) }))) => hello,
        Ok(Some(Ok(_))) => return Err(invalid("message", "the first message of a session is Hello")),
        Ok(Some(Err(_)) | None) => return Ok(()),
        Err(_) => return Err(ApiError::DeadlineExceeded("no Hello came in time".into())),
    };
    let principal = speaks_for(&from.principal, &hello.node, from.relayed)?;
    // Stamped before the round that `register` makes, which is what lets it count as a renewal.
    let arrived = core.seams.clock.boot();
    let admitted = register(core, &principal, hello, arrived, out).await?;
    let Admitted { node, region, epoch, session, lease, lacks } = &admitted;
    let place = core.sessions.enter(node, *session)?;
    let span = tracing::info_span!("session", %node, %epoch);
    tracing::info!(parent: &span, "connected");

    let (batches, waiting) = mpsc::channel(BATCHES_WAITING_MAX);
    let (acks, acked) = mpsc::channel(BATCHES_WAITING_MAX);
    let reporting = propose_reports(core, &principal, &admitted, waiting, acks);
    let speaker = Speaker::new(node, *epoch, out);
    let relayed_as = from.relayed.then_some(v1::SessionName { term: session.term, number: session.number });
    let landmarks = core.sessions.distances.ask(node, region, &core.replica.members());
    let usage_every = usages::every(core.sessions.count());
    speaker.welcome(&core.replica.view(), *lease, usage_every, relayed_as, landmarks).await?;
    drop(from.incoming);
    let id = *session;
    let mut session = Session { core, node, region, id, speaker, lacks: *lacks, reads: BTreeMap::new(), next_read: 0 };
    let end = tokio::select! {
        biased;
        end = Box::pin(reporting.instrument(span.clone())) => end,
        end = Box::pin(session.run(inbound, place, batches, acked).instrument(span)) => end,
    };
    core.liveness.left(node, *epoch, id);
    core.sessions.distances.left(node, region);
    end
}

/// Grants a lease, or finds that the one held goes on.
async fn register(
    core: &Core,
    principal: &Principal,
    mut hello: v1::Hello,
    arrived: BootInstant,
    out: &Outbound,
) -> Result<Admitted, ApiError> {
    check_hello(&hello)?;
    let secret = std::mem::take(&mut hello.join_token);
    let held = Epoch(hello.epoch);
    let (incarnation, revision) = (hello.incarnation, Revision(hello.revision));
    let cluster = hello.cluster_id.clone();
    let mut registration = hello_from_wire(hello).map_err(ApiError::Invalid)?;
    let view = if serves_when_behind() { core.replica.view() } else { core.read().await? };
    check_history(&view, incarnation, revision, &cluster)?;
    let lacks = left_out(&view, &mut registration);

    let known = view
        .node(&registration.node)
        .filter(|known| incarnation == view.meta().incarnation && known.epoch == held && goes_on(known, &registration));
    if let Some(known) = known
        && let Some(session) = core.liveness.resume(|| core.replica.view(), &known.name, held, arrived)
    {
        let region = known.region.clone();
        return Ok(Admitted { node: known.name.clone(), region, epoch: held, session, lease: known.lease, lacks });
    }
    let (node, region) = (registration.node.clone(), registration.region.clone());
    let _turn = core.door.turn(out.closed()).await?;
    let command = arrival(&view, registration, &secret);
    match core.propose(principal.clone(), None, command).await? {
        Reply::Registered { epoch, lease } => {
            let session = core.liveness.granted(&node, epoch);
            Ok(Admitted { node, region, epoch, session, lease, lacks })
        }
        other => Err(core.internal(&format!("a registration was answered with {other:?}"))),
    }
}

/// Takes out of a registration what a feature must allow first. The first feature that would let the node register anew with
/// more.
fn left_out(view: &State, registration: &mut Registration) -> Option<Feature> {
    let lacks_gpus = !registration.gpus.is_empty() && !view.has_feature(Feature::Gpus);
    if lacks_gpus {
        (registration.gpus, registration.capacity.gpu_milli) = ([].into(), 0);
    }
    let lacks_offer = *registration.offer != Offer::default() && !view.has_feature(Feature::PlaceConstraints);
    if lacks_offer {
        registration.offer = Arc::default();
    }
    // No task of this state has alternatives, so what an attempt takes of some counts nowhere.
    if !view.has_feature(Feature::ResourceAlternatives) {
        registration.attempts.iter_mut().for_each(|claim| claim.choice = Choice::FIRST);
    }
    lacks_gpus.then_some(Feature::Gpus).or(lacks_offer.then_some(Feature::PlaceConstraints))
}

/// An arrival that shows the secret of a join token (empty: none), which is of use where new nodes need one. `apply`
/// judges again.
fn arrival(view: &State, registration: Registration, secret: &str) -> Command {
    let asks = view.settings().is_some_and(|settings| settings.node_admission == NodeAdmission::Token);
    let is_known = view.node(&registration.node).is_some_and(|known| known.uuid == registration.uuid);
    let registration = Box::new(registration);
    if asks && !is_known && !secret.is_empty() {
        Command::AdmitNode { registration, token: secret_digest(secret) }
    } else {
        Command::RegisterNode(registration)
    }
}

/// True when a live lease needs no new registration: the same agent, saying the same of itself.
fn goes_on(known: &Node, now: &Registration) -> bool {
    known.status == NodeStatus::Up
        && known.uuid == now.uuid
        && known.journal == now.journal
        && known.boot_id == now.boot_id
        && known.machine_id == now.machine_id
        && known.region == now.region
        && known.cluster == now.cluster
        && known.capacity == now.capacity
        && known.gpus == now.gpus
        && known.labels == labels_of(&now.labels, known.admission.as_deref())
        && known.offer == now.offer
}

/// Refuses an agent that has seen more, or something else, than this cluster's data says.
fn check_history(view: &State, incarnation: u64, revision: Revision, cluster: &str) -> Result<(), ApiError> {
    let meta = view.meta();
    let refuse =
        |why: String| Err(ApiError::Precondition { what: "SAME_HISTORY".into(), subject: "agent".into(), why });
    if incarnation > meta.incarnation {
        return refuse(format!(
            "the agent has seen incarnation {incarnation} of the cluster's data, this is {}: \
             point it at the replicas of the newer one",
            meta.incarnation
        ));
    }
    if incarnation < meta.incarnation {
        return Ok(());
    }
    if !cluster.is_empty() && cluster != meta.cluster.to_string() {
        return refuse(format!(
            "the agent's data directory belongs to cluster {cluster}, this is {}: give it an empty one",
            meta.cluster
        ));
    }
    if revision > meta.revision && !serves_when_behind() {
        return refuse(format!("the agent has seen revision {revision}, this cluster is at {}", meta.revision));
    }
    Ok(())
}

/// The server's half of two planted bugs: a leader that was deposed takes in agents that know more.
fn serves_when_behind() -> bool {
    quorate_planted::is(Bug::OldSetStopsNewWork) || quorate_planted::is(Bug::OldSetStartsOldWork)
}

struct Session<'a> {
    core: &'a Arc<Core>,
    node: &'a NodeName,
    region: &'a RegionName,
    id: SessionId,
    speaker: Speaker<'a>,
    lacks: Option<Feature>,
    reads: BTreeMap<u64, oneshot::Sender<v1::LogChunk>>,
    next_read: u64,
}

impl Session<'_> {
    async fn run<S>(
        &mut self,
        mut inbound: S,
        mut place: Place<'_>,
        batches: mpsc::Sender<v1::Reports>,
        mut acked: mpsc::Receiver<v1::ReportsAck>,
    ) -> Result<(), ApiError>
    where
        S: Stream<Item = Result<v1::AgentMessage, Status>> + Send + Unpin,
    {
        let news = place.news.clone();
        self.speaker.desired(&self.core.replica.view()).await?;
        loop {
            tokio::select! {
                biased;
                Some(order) = place.orders.recv() => self.on_order(order).await?,
                Some(ack) = acked.recv() => {
                    let view = self.core.replica.view();
                    self.speaker.acknowledge(&view, ack).await?;
                }
                () = news.notified() => {
                    self.speaker.desired(&self.core.replica.view()).await?;
                    // A busy node must not keep the agent's own words waiting.
                    if let Ok(room) = batches.try_reserve()
                        && let Some(message) = inbound.next().now_or_never()
                    {
                        let Some(Ok(message)) = message else { return Ok(()) };
                        self.on_message(message, room, &place.sender).await?;
                    }
                }
                // A report is only taken off the stream when there is room for it.
                (room, message) = async { (batches.reserve().await, inbound.next().await) } => {
                    let Some(Ok(message)) = message else { return Ok(()) };
                    let Ok(room) = room else { return Ok(()) };
                    self.on_message(message, room, &place.sender).await?;
                }
            }
        }
    }

    /// What was left out of its registration is allowed now.
    fn can_have_more(&self) -> bool {
        self.lacks.is_some_and(|feature| self.core.replica.view().has_feature(feature))
    }

    async fn on_message(
        &mut self,
        message: v1::AgentMessage,
        room: mpsc::Permit<'_, v1::Reports>,
        back: &mpsc::Sender<Order>,
    ) -> Result<(), ApiError> {
        use v1::agent_message::Message;
        match message.message {
            Some(Message::Renew(_)) if self.can_have_more() => {
                Err(ApiError::Stale("the node can be registered with all that it has now: connect again".into()))
            }
            Some(Message::Renew(renew)) => {
                let renewal = Renewal {
                    node: self.node.clone(),
                    epoch: Epoch(renew.epoch),
                    session: self.id,
                    arrived: self.core.seams.clock.boot(),
                    orders: back.clone(),
                };
                let alone = Waiting::Alone { renewal, sent_at_ms: renew.sent_at_ms };
                if self.core.renewals.try_send(alone).is_err() {
                    tracing::warn!(node = %self.node, "too many renewals wait: one was dropped");
                }
                Ok(())
            }
            Some(Message::Reports(mut reports)) => {
                bound_reports(&mut reports)?;
                room.send(reports);
                Ok(())
            }
            Some(Message::Usage(mut usage)) => {
                bound_usages(&mut usage)?;
                let (view, now) = (self.core.replica.view(), self.core.seams.clock.boot());
                self.core.sessions.usages.take(&view, self.node, usage.reports, now);
                Ok(())
            }
            Some(Message::Distances(told)) => {
                self.core.sessions.distances.take(self.node, self.region, told);
                Ok(())
            }
            Some(Message::LogChunk(chunk)) => {
                if let Some(answer) = self.reads.remove(&chunk.id) {
                    // The reader may be gone.
                    let _ = answer.send(chunk);
                }
                Ok(())
            }
            Some(Message::Resync(_)) => {
                let view = self.core.replica.view();
                self.speaker.desired_anew(&view).await
            }
            Some(Message::Hello(_)) => Err(invalid("message", "Hello comes once in a session")),
            None => Err(invalid("message", "is of a kind that this server does not know")),
        }
    }

    async fn on_order(&mut self, order: Order) -> Result<(), ApiError> {
        match order {
            Order::Renewed { epoch, sent_at_ms } => {
                let view = self.core.replica.view();
                let renewed = v1::Renewed { epoch: epoch.0, sent_at_ms };
                self.speaker.send(&view, v1::server_message::Message::Renewed(renewed)).await
            }
            Order::EpochOver => Err(self.speaker.epoch_over()),
            Order::Replaced => Err(ApiError::Stale("another session of this node has taken over".into())),
            Order::ReadLog { mut request, answer } => {
                self.reads.retain(|_, answer| !answer.is_closed());
                if self.reads.len() >= LOG_READS_MAX {
                    let error = format!("BUSY: {LOG_READS_MAX} reads of this node's output wait (LOG_READS_MAX)");
                    let _ = answer.send(v1::LogChunk { error, ..v1::LogChunk::default() });
                    return Ok(());
                }
                self.next_read += 1;
                request.id = self.next_read;
                self.reads.insert(request.id, answer);
                let view = self.core.replica.view();
                self.speaker.send(&view, v1::server_message::Message::LogRequest(request)).await
            }
        }
    }
}

fn invalid(field: &str, message: &str) -> ApiError {
    ApiError::Invalid(vec![Violation { field: field.into(), message: message.into() }])
}
