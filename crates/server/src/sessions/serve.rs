//! One session on the leader: hello, welcome, what to run, and everything after, in one loop.
//!
//! All that the agent is told passes through this loop, so that revisions never go back on the
//! stream: an agent refuses a set that is older than the acknowledgement before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use quorate_proto::convert::agent::hello_from_wire;
use quorate_proto::status::{ApiError, to_status};
use quorate_proto::v1;
use quorate_seams::BootInstant;
use quorate_state::{
    Command, Epoch, LeaseTerms, Node, NodeName, NodeStatus, Principal, Registration, Reply, Revision, State, Violation,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tracing::Instrument as _;

use super::desired::Desired;
use super::reports::{BATCHES_WAITING_MAX, propose_reports};
use super::{Order, Place};
use crate::core::Core;
use crate::liveness::Renewal;

/// The first message comes within this.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// An agent takes a message within this, or its session ends.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// Log requests of one session that wait for the agent.
const LOG_READS_MAX: usize = 64;

/// What goes to the agent.
pub(crate) type Outbound = mpsc::Sender<Result<v1::ServerMessage, Status>>;

/// Serves a session until either side, or leadership in `term`, ends. The end is said on `out`.
pub(crate) async fn serve<S>(core: Arc<Core>, principal: Principal, term: u64, inbound: S, out: Outbound)
where
    S: Stream<Item = Result<v1::AgentMessage, Status>> + Send + Unpin,
{
    let session = Box::pin(converse(&core, principal, inbound, &out));
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

async fn converse<S>(core: &Arc<Core>, principal: Principal, mut inbound: S, out: &Outbound) -> Result<(), ApiError>
where
    S: Stream<Item = Result<v1::AgentMessage, Status>> + Send + Unpin,
{
    let hello = match tokio::time::timeout(HELLO_DEADLINE, inbound.next()).await {
        Ok(Some(Ok(v1::AgentMessage { message: Some(v1::agent_message::Message::Hello(hello)) }))) => hello,
        Ok(Some(Ok(_))) => return Err(invalid("message", "the first message of a session is Hello")),
        Ok(Some(Err(_)) | None) => return Ok(()),
        Err(_) => return Err(ApiError::DeadlineExceeded("no Hello came in time".into())),
    };
    // Stamped before the round that `register` makes, which is what lets it count as a renewal.
    let arrived = core.seams.clock.boot();
    let (node, epoch, lease) = register(core, &principal, hello, arrived).await?;
    let place = core.sessions.enter(&node)?;
    let span = tracing::info_span!("session", %node, %epoch);
    tracing::info!(parent: &span, "connected");

    let (batches, waiting) = mpsc::channel(BATCHES_WAITING_MAX);
    let (acks, acked) = mpsc::channel(BATCHES_WAITING_MAX);
    let reporting = propose_reports(core, &principal, &node, epoch, waiting, acks);
    let mut session = Session { core, node: &node, epoch, out, desired: None, reads: BTreeMap::new(), next_read: 0 };
    session.welcome(lease).await?;
    tokio::select! {
        biased;
        end = Box::pin(reporting.instrument(span.clone())) => end,
        end = Box::pin(session.run(inbound, place, batches, acked).instrument(span)) => end,
    }
}

/// Grants a lease, or finds that the one held goes on.
async fn register(
    core: &Core,
    principal: &Principal,
    hello: v1::Hello,
    arrived: BootInstant,
) -> Result<(NodeName, Epoch, LeaseTerms), ApiError> {
    let held = Epoch(hello.epoch);
    let (incarnation, revision) = (hello.incarnation, Revision(hello.revision));
    let cluster = hello.cluster_id.clone();
    let registration = hello_from_wire(hello).map_err(ApiError::Invalid)?;
    let view = core.read().await?;
    check_history(&view, incarnation, revision, &cluster)?;

    let known = view
        .node(&registration.node)
        .filter(|known| incarnation == view.meta().incarnation && known.epoch == held && goes_on(known, &registration));
    if let Some(known) = known
        && core.liveness.resume(|| core.replica.view(), &known.name, held, arrived)
    {
        return Ok((known.name.clone(), held, known.lease));
    }
    let node = registration.node.clone();
    let command = Command::RegisterNode(Box::new(registration));
    match core.propose(principal.clone(), None, command).await? {
        Reply::Registered { epoch, lease } => {
            core.liveness.granted(&node, epoch);
            Ok((node, epoch, lease))
        }
        other => Err(core.internal(&format!("a registration was answered with {other:?}"))),
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
        && known.labels == now.labels
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
    if revision > meta.revision {
        return refuse(format!("the agent has seen revision {revision}, this cluster is at {}", meta.revision));
    }
    Ok(())
}

struct Session<'a> {
    core: &'a Arc<Core>,
    node: &'a NodeName,
    epoch: Epoch,
    out: &'a Outbound,
    desired: Option<Desired>,
    reads: BTreeMap<u64, oneshot::Sender<v1::LogChunk>>,
    next_read: u64,
}

impl Session<'_> {
    async fn welcome(&mut self, lease: LeaseTerms) -> Result<(), ApiError> {
        let view = self.core.replica.view();
        let welcome = v1::Welcome {
            cluster_id: view.meta().cluster.to_string(),
            epoch: self.epoch.0,
            lease_agent_ms: lease.agent_ms,
            kill_ms: lease.kill_ms,
        };
        self.send(&view, v1::server_message::Message::Welcome(welcome)).await
    }

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
        let mut applied: watch::Receiver<Revision> = self.core.replica.applied();
        self.send_desired().await?;
        loop {
            tokio::select! {
                biased;
                Some(order) = place.orders.recv() => self.on_order(order).await?,
                Some(ack) = acked.recv() => {
                    let view = self.core.replica.view();
                    self.send(&view, v1::server_message::Message::ReportsAck(ack)).await?;
                }
                changed = applied.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.send_desired().await?;
                    // A busy log must not keep the agent's own words waiting.
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

    async fn on_message(
        &mut self,
        message: v1::AgentMessage,
        room: mpsc::Permit<'_, v1::Reports>,
        back: &mpsc::Sender<Order>,
    ) -> Result<(), ApiError> {
        use v1::agent_message::Message;
        match message.message {
            Some(Message::Renew(renew)) => {
                let renewal = Renewal {
                    node: self.node.clone(),
                    epoch: Epoch(renew.epoch),
                    sent_at_ms: renew.sent_at_ms,
                    arrived: self.core.seams.clock.boot(),
                    answer: back.clone(),
                };
                if self.core.renewals.try_send(renewal).is_err() {
                    tracing::warn!(node = %self.node, "too many renewals wait: one was dropped");
                }
                Ok(())
            }
            Some(Message::Reports(reports)) => {
                room.send(reports);
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
                self.desired = None;
                self.send_desired().await
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
                self.send(&view, v1::server_message::Message::Renewed(renewed)).await
            }
            Order::EpochOver => Err(self.epoch_over()),
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
                self.send(&view, v1::server_message::Message::LogRequest(request)).await
            }
        }
    }

    /// The full set when the agent has none from this session, else what has changed.
    async fn send_desired(&mut self) -> Result<(), ApiError> {
        let view = self.core.replica.view();
        let live = view.node(self.node).is_some_and(|node| node.epoch == self.epoch && node.status == NodeStatus::Up);
        if !live {
            return Err(self.epoch_over());
        }
        let message = match &mut self.desired {
            None => {
                let (desired, set) = Desired::full(&view, self.node);
                self.desired = Some(desired);
                Some(v1::server_message::Message::Desired(set))
            }
            Some(desired) => desired.delta(&view, self.node).map(v1::server_message::Message::Delta),
        };
        match message {
            Some(message) => self.send(&view, message).await,
            None => Ok(()),
        }
    }

    async fn send(&self, view: &State, message: v1::server_message::Message) -> Result<(), ApiError> {
        let message = v1::ServerMessage {
            incarnation: view.meta().incarnation,
            revision: view.revision().0,
            message: Some(message),
        };
        match tokio::time::timeout(SEND_DEADLINE, self.out.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ApiError::Cancelled("the agent is gone".into())),
            Err(_) => Err(ApiError::DeadlineExceeded("the agent takes no messages".into())),
        }
    }

    fn epoch_over(&self) -> ApiError {
        ApiError::Stale(format!("epoch {} of node {} is over: register again", self.epoch, self.node))
    }
}

fn invalid(field: &str, message: &str) -> ApiError {
    ApiError::Invalid(vec![Violation { field: field.into(), message: message.into() }])
}
