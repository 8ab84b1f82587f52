//! openraft's way to the other replicas: gRPC over the network seam.
//!
//! Every call has a deadline, and a connection on which anything went wrong is dropped: a peer that
//! vanished never closes it, and waiting for the kernel to notice would outlast any election.
//! openraft drops calls that take longer than it likes, which says nothing about the connection;
//! see `line`.

mod append;
mod line;
mod sign;
mod transfer;
mod word;

use std::sync::Arc;
use std::time::Duration;

use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::VoteOf;
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use quorate_planted::Bug;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Entropy, Network};
use tonic::{Code, Status};

use crate::channel::{self, Client};
use crate::gate::{Gate, says_removed};
use crate::halt::Halt;
use crate::measures::Measures;
use crate::snapshot::{Image, Snapshot, Views};
use crate::type_config::{Peer, ReplicaId, TypeConfig};
use crate::{StopReason, Tuning, wire};
use line::Line;

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

/// Rest before an error is handed to openraft, which may come back at once: connecting to a dead
/// peer fails in no time, and would be tried thousands of times a second.
const REST: Duration = Duration::from_millis(20);

/// What all links share.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) gate: Arc<Gate>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) halt: Halt,
    pub(crate) measures: Arc<Measures>,
    pub(crate) views: Arc<Views>,
    pub(crate) tuning: Tuning,
}

/// The way to one replica. openraft makes one for appends, one for heartbeats and one for
/// snapshots, so that none waits behind another.
pub(crate) struct Link {
    shared: Links,
    target: ReplicaId,
    peer: Peer,
    line: Line,
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: ReplicaId, peer: &Peer) -> Link {
        Link { shared: self.clone(), target, peer: peer.clone(), line: Line::default() }
    }
}

impl Link {
    fn header(&self) -> Option<pb::Header> {
        Some(self.shared.gate.header(self.peer.store))
    }

    /// For connecting, for opening a stream, and for a vote. openraft's own idea of a deadline, the
    /// pause between two heartbeats, is less than a round trip between distant regions.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.shared.tuning.election_ms_min)
    }

    fn client(&mut self) -> Client {
        let patience = self.patience();
        let (network, address) = (&self.shared.network, &self.peer.raft);
        self.line.client(patience, || channel::client(network, address, patience))
    }

    /// A call with a deadline whose reply comes from whom it should.
    async fn call<T, F>(
        &mut self,
        deadline: Duration,
        header_of: impl Fn(&T) -> Option<&pb::Header>,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let calling = tokio::time::timeout(deadline, call(self.client()));
        let gate = self.shared.gate.clone();
        let answered = async {
            let reply = calling.await.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner();
            gate.check_answer(header_of(&reply)).await?;
            Ok(reply)
        };
        let outcome = answered.await;
        match &outcome {
            Ok(_) => self.line.answered(),
            Err(_) => self.line.give_up(),
        }
        outcome
    }

    /// What a failed call means to openraft: try again later.
    fn unreachable(&self, status: &Status) -> Unreachable<TypeConfig> {
        self.shared.note(self.target, status);
        Unreachable::from_string(format!("replica {}: {}", self.target, status.message()))
    }

    async fn vote_call(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        real: bool,
    ) -> Result<VoteResponse<TypeConfig>, Status> {
        let request = pb::VoteRequest {
            header: self.header(),
            vote: Some(wire::vote_to(&rpc.vote)),
            last_log_id: rpc.last_log_id.as_ref().map(wire::log_id_to),
            leadership_transfer: rpc.leadership_transfer,
        };
        let reply = self
            .call(self.patience(), |reply: &pb::VoteReply| reply.header.as_ref(), |mut client| async move {
                if real { client.vote(request).await } else { client.pre_vote(request).await }
            })
            .await?;
        let last_log_id = reply.last_log_id.as_ref().map(wire::log_id_from);
        Ok(VoteResponse { vote: wire::vote_from(reply.vote)?, vote_granted: reply.granted, last_log_id })
    }
}

impl Links {
    /// Logs a failed call: aloud where someone has to look after it.
    fn note(&self, target: ReplicaId, status: &Status) {
        if says_removed(status) && !quorate_planted::is(Bug::RemovedStays) {
            self.halt.because(StopReason::Removed);
        }
        match status.code() {
            Code::FailedPrecondition => {
                tracing::warn!(target, why = status.message(), "no understanding with a replica");
            }
            _ => tracing::debug!(target, why = status.message(), "a replica cannot be reached"),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = Image;

    /// Never called: appends go through [`Self::stream_append`].
    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        Err(Unreachable::from_string("appends are streamed").into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: futures_core::Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            match append::open(self, input).await {
                Ok(replies) => Ok(replies),
                Err((link, status)) => {
                    tokio::time::sleep(REST).await;
                    Err(link.unreachable(&status).into())
                }
            }
        })
    }

    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, _option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        self.vote_call(rpc, true).await.map_err(|status| self.unreachable(&status).into())
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<TypeConfig>, _option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        self.vote_call(rpc, false).await.map_err(|status| self.unreachable(&status).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sent = tokio::select! {
            biased;
            closed = cancel => return Err(closed.into()),
            sent = transfer::send(self, vote, snapshot) => sent,
        };
        match sent {
            Ok(vote) => Ok(SnapshotResponse::new(vote)),
            Err(status) => {
                tokio::time::sleep(REST).await;
                Err(StreamingError::Unreachable(self.unreachable(&status)))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let message = pb::TransferRequest {
            header: self.header(),
            from_leader: Some(wire::vote_to(request.from_leader())),
            to: *request.to_node_id(),
            last_log_id: request.last_log_id().map(wire::log_id_to),
        };
        let reply = self
            .call(
                self.patience(),
                |reply: &pb::TransferReply| reply.header.as_ref(),
                |mut client| async move { client.transfer(message).await },
            )
            .await;
        match reply {
            Ok(reply) if reply.accepted => Ok(Ok(())),
            // openraft only logs the reason, and has no way to send one on.
            Ok(reply) => Err(Unreachable::from_string(format!("not taken over: {}", reply.reason)).into()),
            Err(status) => Err(self.unreachable(&status).into()),
        }
    }
}
