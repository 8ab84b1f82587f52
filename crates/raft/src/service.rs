//! What this replica answers to the others: each message passes the gate, then goes to openraft.

mod receiver;

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, TransferLeaderRequest, VoteRequest, VoteResponse};
use quorate_planted::Bug;
use quorate_proto::raft::v1 as pb;
use quorate_proto::raft::v1::replicas_server::Replicas;
use quorate_seams::Clock;
use quorate_state::{Revision, Uuid};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status, Streaming};

use crate::departed;
use crate::gate::Gate;
use crate::join::Registrar;
use crate::measures::Measures;
use crate::network::Links;
use crate::read::Barrier;
use crate::state_machine::Published;
use crate::succession::Heard;
use crate::type_config::TypeConfig;
use crate::wire::{self, WireError};
use receiver::Receiver;

pub(crate) use receiver::Inbox;

type Answer<T> = Result<Response<T>, Status>;
type AppendReplies = openraft::base::BoxStream<'static, Result<pb::AppendReply, Status>>;
type SnapshotReplies = openraft::base::BoxStream<'static, Result<pb::SnapshotReply, Status>>;

/// The server side of one replica.
pub(crate) struct Service {
    pub(crate) gate: Arc<Gate>,
    pub(crate) published: Arc<Published>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) barrier: Barrier,
    pub(crate) measures: Arc<Measures>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) links: Links,
    pub(crate) inbox: Inbox,
}

#[tonic::async_trait]
impl Replicas for Service {
    type AppendStream = AppendReplies;
    type SnapshotStream = SnapshotReplies;

    async fn append(&self, request: Request<Streaming<pb::AppendRequest>>) -> Answer<AppendReplies> {
        let raft = self.gate.raft()?.clone();
        let refused = Arc::new(Mutex::new(None));
        let sender = Arc::new(Mutex::new(Uuid(0)));
        let requests =
            admitted(self.gate.clone(), self.heard.clone(), request.into_inner(), refused.clone(), sender.clone());
        let results = raft.stream_append(Box::pin(requests));
        let (gate, syncs) = (self.gate.clone(), self.measures.syncs.clone());
        let replies = results.then(move |result| {
            let (gate, syncs, sender) = (gate.clone(), syncs.clone(), sender.clone());
            async move {
                use pb::append_reply::Outcome;
                let outcome = match result.map_err(|fatal| Status::unavailable(fatal.to_string()))? {
                    Ok(log_id) => Outcome::Matched(pb::Matched { log_id: log_id.as_ref().map(wire::log_id_to) }),
                    Err(StreamAppendError::Conflict(log_id)) => Outcome::Conflict(wire::log_id_to(&log_id)),
                    Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(wire::vote_to(&vote)),
                };
                let sync_us = syncs.worst_lately().map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                let header = Some(gate.header(*sender.lock().await));
                Ok(pb::AppendReply { header, outcome: Some(outcome), sync_us })
            }
        });
        // Where the requests ended because one was refused, the answers end with the reason.
        let reason = futures_util::stream::once(async move { refused.lock().await.take() })
            .filter_map(|status| std::future::ready(status.map(Err)));
        Ok(Response::new(Box::pin(replies.chain(reason))))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Answer<pb::VoteReply> {
        let (from, request) = self.vote_request(request).await?;
        let response = self.gate.raft()?.vote(request).await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(self.vote_reply(from, &response)))
    }

    async fn pre_vote(&self, request: Request<pb::VoteRequest>) -> Answer<pb::VoteReply> {
        let (from, request) = self.vote_request(request).await?;
        let response = self.gate.raft()?.pre_vote(request).await;
        let response = response.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(self.vote_reply(from, &response)))
    }

    async fn transfer(&self, request: Request<pb::TransferRequest>) -> Answer<pb::TransferReply> {
        let message = request.into_inner();
        let from = self.gate.check(message.header.as_ref()).await?;
        let last_log_id = message.last_log_id.as_ref().map(wire::log_id_from);
        let request = TransferLeaderRequest::new(wire::vote_from(message.from_leader)?, message.to, last_log_id);
        let outcome = self.gate.raft()?.handle_transfer_leader(request).await;
        let outcome = outcome.map_err(|fatal| Status::unavailable(fatal.to_string()))?;
        let reason = outcome.err().map(|error| error.to_string());
        Ok(Response::new(pb::TransferReply {
            header: Some(self.gate.header(from)),
            accepted: reason.is_none(),
            reason: reason.unwrap_or_default(),
        }))
    }

    async fn snapshot(&self, request: Request<Streaming<pb::SnapshotPart>>) -> Answer<SnapshotReplies> {
        let Self { gate, published, measures, inbox, .. } = self;
        let receiver =
            Receiver::new(gate.raft()?.clone(), gate.clone(), published.clone(), measures.clone(), inbox.clone());
        Ok(Response::new(Box::pin(receiver.answers(request.into_inner()))))
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Answer<pb::JoinReply> {
        let outcome = self.registrar.admit(self.gate.raft()?, request.into_inner()).await?;
        Ok(Response::new(pb::JoinReply { outcome: Some(outcome) }))
    }

    async fn digest(&self, request: Request<pb::DigestRequest>) -> Answer<pb::DigestReply> {
        let message = request.into_inner();
        let from = self.gate.check(message.header.as_ref()).await?;
        let checkpoints = self.published.checkpoints();
        let known = checkpoints.into_iter().find(|(revision, _)| *revision == Revision(message.revision));
        let digest = known.map(|(_, digest)| digest.to_bytes()).unwrap_or_default();
        Ok(Response::new(pb::DigestReply { header: Some(self.gate.header(from)), digest }))
    }

    async fn clock(&self, request: Request<pb::ClockRequest>) -> Answer<pb::ClockReply> {
        let from = self.gate.check(request.into_inner().header.as_ref()).await?;
        let (header, wall_ms) = (Some(self.gate.header(from)), self.clock.wall().0);
        let features = self.links.tuning.features.numbers().collect();
        Ok(Response::new(pb::ClockReply { header, wall_ms, features }))
    }

    async fn read_index(&self, request: Request<pb::ReadIndexRequest>) -> Answer<pb::ReadIndexReply> {
        let from = self.gate.check(request.into_inner().header.as_ref()).await?;
        // A replica that does not lead has nobody to ask in turn: the caller finds the leader itself.
        let revision = self.barrier.pass().await.ok().map(|revision| revision.0);
        Ok(Response::new(pb::ReadIndexReply { header: Some(self.gate.header(from)), revision }))
    }

    async fn gone(&self, request: Request<pb::GoneRequest>) -> Answer<pb::GoneReply> {
        let message = request.into_inner();
        let from = self.gate.check(message.header.as_ref()).await?;
        let gone = departed::is_gone(self.gate.raft()?, &self.links, message.leader, message.term).await;
        let reply = pb::GoneReply {
            header: Some(self.gate.header(from)),
            gone: gone.is_some(),
            last_log_id: gone.flatten().as_ref().map(wire::log_id_to),
        };
        Ok(Response::new(reply))
    }
}

impl Service {
    async fn vote_request(&self, request: Request<pb::VoteRequest>) -> Result<(Uuid, VoteRequest<TypeConfig>), Status> {
        let message = request.into_inner();
        let from = self.gate.check(message.header.as_ref()).await?;
        let vote = wire::vote_from(message.vote)?;
        let mut last_log_id = message.last_log_id.as_ref().map(wire::log_id_from);
        if quorate_planted::is(Bug::VoteBlind) {
            last_log_id =
                last_log_id.map(|id| wire::log_id_from(&pb::LogId { index: u64::MAX, ..wire::log_id_to(&id) }));
        }
        if quorate_planted::is(Bug::VoteOnce) && vote.leader_id.term > 1 {
            return Err(Status::unavailable("this replica has voted once"));
        }
        Ok((from, VoteRequest { vote, last_log_id, leadership_transfer: message.leadership_transfer }))
    }

    fn vote_reply(&self, to: Uuid, response: &VoteResponse<TypeConfig>) -> pb::VoteReply {
        pb::VoteReply {
            header: Some(self.gate.header(to)),
            vote: Some(wire::vote_to(&response.vote)),
            granted: response.vote_granted,
            last_log_id: response.last_log_id.as_ref().map(wire::log_id_to),
        }
    }
}

/// The requests that may pass, until one may not; then `refused` holds why.
fn admitted(
    gate: Arc<Gate>,
    heard: Arc<Heard>,
    requests: Streaming<pb::AppendRequest>,
    refused: Arc<Mutex<Option<Status>>>,
    sender: Arc<Mutex<Uuid>>,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static {
    futures_util::stream::unfold(requests, move |mut requests| {
        let (gate, heard, refused, sender) = (gate.clone(), heard.clone(), refused.clone(), sender.clone());
        async move {
            // A stream that breaks ends like one that is closed: its sender has gone either way.
            let message = requests.message().await.ok().flatten()?;
            let admitted = match gate.check(message.header.as_ref()).await {
                Ok(store) => {
                    heard.now();
                    *sender.lock().await = store;
                    append_from(message).map_err(Status::from)
                }
                Err(status) => Err(status),
            };
            match admitted {
                Ok(request) => Some((request, requests)),
                Err(status) => {
                    *refused.lock().await = Some(status);
                    None
                }
            }
        }
    })
}

fn append_from(message: pb::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    Ok(AppendEntriesRequest {
        vote: wire::vote_from(message.vote)?,
        prev_log_id: message.prev.as_ref().map(wire::log_id_from),
        entries: message.entries.into_iter().map(wire::entry_decode).collect::<Result<_, _>>()?,
        leader_commit: message.leader_commit.as_ref().map(wire::log_id_from),
    })
}
