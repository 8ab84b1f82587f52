//! Between openraft's types and the messages that are sent and stored.

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::vote::RaftLeaderId as _;
use prost::Message as _;
use quorate_proto::raft::v1 as pb;
use quorate_state::{RegionName, Uuid};

use crate::type_config::{LogEntry, LogId, Membership, Payload, Peer, ReplicaId, StoredMembership, Vote, log_id};

/// Bytes that are not what they should be; read as "… is missing" or "… is wrong".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// A part without which the message means nothing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part that nothing of ours writes.
    #[error("{0} is wrong")]
    Wrong(&'static str),
    /// Not even a message.
    #[error("{what} does not decode")]
    Bytes { what: &'static str, source: prost::DecodeError },
}

impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

impl From<WireError> for std::io::Error {
    fn from(error: WireError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

pub(crate) fn uuid_to(uuid: Uuid) -> Bytes {
    Bytes::copy_from_slice(&uuid.0.to_be_bytes())
}

pub(crate) fn uuid_from(what: &'static str, bytes: &[u8]) -> Result<Uuid, WireError> {
    bytes.try_into().map(|bytes| Uuid(u128::from_be_bytes(bytes))).map_err(|_| WireError::Wrong(what))
}

pub(crate) fn vote_to(vote: &Vote) -> pb::Vote {
    pb::Vote { term: vote.leader_id.term(), replica: *vote.leader_id.node_id(), committed: vote.committed }
}

pub(crate) fn vote_from(vote: Option<pb::Vote>) -> Result<Vote, WireError> {
    let vote = vote.ok_or(WireError::Missing("vote"))?;
    Ok(if vote.committed { Vote::new_committed(vote.term, vote.replica) } else { Vote::new(vote.term, vote.replica) })
}

pub(crate) fn log_id_to(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.leader_id.term, index: id.index }
}

pub(crate) fn log_id_from(id: &pb::LogId) -> LogId {
    log_id(id.term, id.index)
}

pub(crate) fn peer_to(replica: ReplicaId, peer: &Peer) -> pb::Peer {
    pb::Peer {
        replica,
        store: uuid_to(peer.store),
        region: peer.region.to_string(),
        raft_address: peer.raft.clone(),
        api_address: peer.api.clone(),
        agent_address: peer.agent.clone(),
    }
}

pub(crate) fn peer_from(peer: pb::Peer) -> Result<(ReplicaId, Peer), WireError> {
    let region = RegionName::new(&peer.region).map_err(|_| WireError::Wrong("peer.region"))?;
    let store = uuid_from("peer.store", &peer.store)?;
    let (raft, api, agent) = (peer.raft_address, peer.api_address, peer.agent_address);
    Ok((peer.replica, Peer { store, region, raft, api, agent }))
}

pub(crate) fn membership_to(membership: &Membership) -> pb::Membership {
    pb::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|voters| pb::Voters { replicas: voters.iter().copied().collect() })
            .collect(),
        peers: membership.nodes().map(|(id, peer)| peer_to(*id, peer)).collect(),
    }
}

pub(crate) fn membership_from(membership: pb::Membership) -> Result<Membership, WireError> {
    let configs = membership.configs.into_iter().map(|voters| voters.replicas.into_iter().collect()).collect();
    let peers = membership.peers.into_iter().map(peer_from).collect::<Result<std::collections::BTreeMap<_, _>, _>>()?;
    Membership::new(configs, peers).map_err(|_| WireError::Wrong("membership"))
}

pub(crate) fn stored_membership_to(stored: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to),
        membership: Some(membership_to(stored.membership())),
    }
}

pub(crate) fn stored_membership_from(stored: Option<pb::StoredMembership>) -> Result<StoredMembership, WireError> {
    let stored = stored.ok_or(WireError::Missing("membership"))?;
    let membership = stored.membership.ok_or(WireError::Missing("membership.membership"))?;
    // Before the first membership there is an empty one, which `Membership::new` would refuse.
    if membership.configs.is_empty() && membership.peers.is_empty() {
        return Ok(StoredMembership::default());
    }
    Ok(StoredMembership::new(stored.log_id.as_ref().map(log_id_from), membership_from(membership)?))
}

fn entry_to(entry: &LogEntry) -> pb::LogEntry {
    use pb::log_entry::Payload as P;
    let payload = match &entry.payload {
        EntryPayload::Blank => P::Blank(pb::Blank {}),
        EntryPayload::Normal(payload) => P::Normal(payload.bytes().clone()),
        EntryPayload::Membership(membership) => P::Membership(membership_to(membership)),
    };
    pb::LogEntry { log_id: Some(log_id_to(&entry.log_id)), payload: Some(payload) }
}

fn entry_from(entry: pb::LogEntry) -> Result<LogEntry, WireError> {
    use pb::log_entry::Payload as P;
    let log_id = log_id_from(entry.log_id.as_ref().ok_or(WireError::Missing("entry.log_id"))?);
    let payload = match entry.payload.ok_or(WireError::Missing("entry.payload"))? {
        P::Blank(pb::Blank {}) => EntryPayload::Blank,
        P::Normal(bytes) => EntryPayload::Normal(Payload::of(bytes)),
        P::Membership(membership) => EntryPayload::Membership(membership_from(membership)?),
    };
    Ok(LogEntry { log_id, payload })
}

/// The message in `bytes`.
pub(crate) fn decode<M: prost::Message + Default>(what: &'static str, bytes: Bytes) -> Result<M, WireError> {
    M::decode(bytes).map_err(|source| WireError::Bytes { what, source })
}

/// The bytes of an entry, stored and sent alike.
pub(crate) fn entry_encode(entry: &LogEntry) -> Bytes {
    entry_to(entry).encode_to_vec().into()
}

/// The entry in `bytes`, refused if anything in them would be lost: a replica that does not know a
/// field must not store the entry without it.
pub(crate) fn entry_decode(bytes: Bytes) -> Result<LogEntry, WireError> {
    let length = bytes.len();
    let entry = entry_from(decode("a log entry", bytes)?)?;
    // What is not known is dropped when it is decoded, and nothing else makes it shorter. (Its payload is
    // compared to the byte where it is applied.)
    if entry_to(&entry).encoded_len() == length {
        Ok(entry)
    } else {
        Err(WireError::Wrong("a log entry (it has parts that this version does not know)"))
    }
}

#[cfg(test)]
mod tests;
