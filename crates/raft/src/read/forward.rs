//! The round of a replica that does not lead: the leader says which revision is new enough (Ongaro's
//! thesis, §6.4), and this replica waits until it has applied that.
//!
//! The leader's own round begins after our request came, and that after our readers asked. Whatever
//! goes wrong, the readers are sent to the leader: it can say more.

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver as _;
use quorate_proto::raft::v1 as pb;
use quorate_state::Revision;
use tokio::sync::watch;
use tonic::Status;

use super::Round;
use crate::ReadError;
use crate::channel::{self, Client};
use crate::lead::Lead;
use crate::network::Links;
use crate::type_config::{Peer, Raft, ReplicaId};

/// What the round of any other replica needs.
pub(crate) struct Forward {
    pub(crate) raft: Raft,
    pub(crate) lead: Arc<Lead>,
    pub(crate) applied: watch::Receiver<Revision>,
    pub(crate) links: Links,
    /// The connection on which the last call was answered, and to whom it goes.
    pub(crate) line: Option<(ReplicaId, Client)>,
}

impl Round for Forward {
    async fn run(&mut self) -> Result<Revision, ReadError> {
        let Some((id, peer)) = self.leader() else { return Err(self.late()) };
        // Put back only when it answered in time: see `network` on connections that went silent.
        let client = match self.line.take() {
            Some((to, client)) if to == id => client,
            Some(_) | None => self.connect(&peer),
        };
        match ask(&self.links, client.clone(), &peer).await {
            Ok(Some(revision)) => {
                self.line = Some((id, client));
                let applied = self.applied.wait_for(|applied| *applied >= revision).await;
                applied.map(|applied| *applied).map_err(|_| self.late())
            }
            Ok(None) => Err(self.late()),
            Err(status) => {
                tracing::debug!(leader = id, why = status.message(), "no read index");
                Err(self.late())
            }
        }
    }

    fn late(&self) -> ReadError {
        ReadError::NotLeader { leader: self.lead.hint() }
    }
}

impl Forward {
    fn leader(&self) -> Option<(ReplicaId, Peer)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let id = metrics.current_leader.filter(|id| *id != metrics.id)?;
        let peer = metrics.membership_config.membership().get_node(&id)?;
        Some((id, peer.clone()))
    }

    fn connect(&self, peer: &Peer) -> Client {
        let patience = std::time::Duration::from_millis(self.links.tuning.election_ms_min);
        channel::client(&self.links.network, &peer.raft, patience)
    }
}

async fn ask(links: &Links, mut client: Client, peer: &Peer) -> Result<Option<Revision>, Status> {
    let request = pb::ReadIndexRequest { header: Some(links.gate.header(peer.store)) };
    let reply = client.read_index(request).await?.into_inner();
    links.gate.check(reply.header.as_ref()).await?;
    Ok(reply.revision.map(Revision))
}
