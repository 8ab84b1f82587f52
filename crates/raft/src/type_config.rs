//! What openraft is told about our types, and the names under which the rest of the crate uses it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::impls::leader_id_std;
use openraft::vote::RaftLeaderId;
use quorate_proto::format::FormatError;
use quorate_proto::log;
use quorate_state::{Entry, RegionName, Rejection, Reply, Uuid};

use crate::runtime::Runtime;
use crate::state_machine::StateMachine;

/// What openraft calls a node's id.
pub(crate) type ReplicaId = u64;

/// Our types. One leader per term, as in Raft's own paper: the stamps on entries count time
/// within a term and would mix up two leaders of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

// Written out: openraft's macro knows no responder other than its own.
impl openraft::RaftTypeConfig for TypeConfig {
    type D = Payload;
    type R = Outcome;
    type NodeId = ReplicaId;
    type Node = Peer;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, ReplicaId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Payload, ReplicaId, Peer>;
    type Entry = openraft::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Told<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// Whoever is told what becomes of an entry, by the task that finds out.
pub(crate) trait Waits<T>: Send + Sync {
    /// A quorum has it.
    fn committed(&mut self);

    /// It is applied, or will not be as far as this replica knows.
    fn done(self: Box<Self>, result: T);
}

/// openraft's way to tell them: without a channel and a task at its other end.
pub(crate) struct Told<T>(pub(crate) Box<dyn Waits<T>>);

impl<T: openraft::OptionalSend + 'static> openraft::raft::responder::Responder<TypeConfig, T> for Told<T> {
    fn on_commit(&mut self, _log_id: LogId) {
        self.0.committed();
    }

    fn on_complete(self, result: T) {
        self.0.done(result);
    }
}

pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type Written = openraft::raft::ClientWriteResult<TypeConfig>;
pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type LogEntry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<ReplicaId, Peer>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Metrics = openraft::RaftMetrics<TypeConfig>;
pub(crate) type ServerMetrics = openraft::metrics::RaftServerMetrics<TypeConfig>;

/// An encoded [`quorate_state::Entry`]. It stays encoded on its way through log and network, and is
/// decoded where it is applied; who made it knows it decoded already.
#[derive(Clone)]
pub(crate) struct Payload {
    bytes: Bytes,
    entry: Option<Arc<Entry>>,
}

impl Payload {
    /// Bytes that came from a log or a peer.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self { bytes, entry: None }
    }

    /// The bytes of `entry`, which were made from it and checked.
    pub(crate) fn made(bytes: Bytes, entry: Entry) -> Self {
        Self { bytes, entry: Some(Arc::new(entry)) }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What they say.
    pub(crate) fn entry(&self) -> Result<Arc<Entry>, FormatError> {
        match &self.entry {
            Some(entry) => Ok(entry.clone()),
            None => log::decode_entry(&self.bytes).map(Arc::new),
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry of {} bytes", self.bytes.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One answer per item; none for entries of openraft's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome(pub(crate) Vec<Result<Reply, Rejection>>);

/// A replica as the membership holds it: what openraft calls a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) store: Uuid,
    pub(crate) region: RegionName,
    pub(crate) raft: String,
    pub(crate) api: String,
    pub(crate) agent: String,
}

/// A log id in our notation.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(term.into(), index)
}

/// openraft's own test suite makes members of nothing.
#[cfg(test)]
impl Default for Peer {
    fn default() -> Self {
        let region = RegionName::new("test").unwrap();
        Self { store: Uuid(0), region, raft: String::new(), api: String::new(), agent: String::new() }
    }
}
