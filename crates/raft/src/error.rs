//! Why a replica did not start, did not accept, could not answer, or stopped.

use quorate_seams::DiskError;
use quorate_state::{ClusterId, Feature, Revision};

use crate::Hint;

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `init` on a disk that is a replica already.
    #[error("this data directory is replica {replica} of cluster {cluster} already: use 'server run'")]
    AlreadyInitialised { cluster: ClusterId, replica: u64 },
    /// `run` on a disk without an identity.
    #[error(
        "this data directory belongs to no cluster: make a new one with 'server init', or enter one with 'server join'"
    )]
    NoIdentity,
    /// `init` on a disk that asked to join a cluster before.
    #[error("this data directory was about to join a cluster: use 'server join' again, or an empty directory")]
    JoinUnderWay,
    /// Written by a newer version.
    #[error("the store has format {found}, this version reads up to {max}: use a newer version of quorate")]
    NewerFormat { found: u32, max: u32 },
    /// The cluster relies on what this version cannot do.
    #[error("feature {0} is enabled in this cluster, and this version lacks it: use a newer version of quorate")]
    LacksFeature(Feature),
    /// The peers do not want it.
    #[error("the cluster refuses this replica: {0}")]
    JoinRefused(String),
    /// No peers to ask.
    #[error("no peers to join: give at least one raft address")]
    NoPeers,
    /// Stopping was asked for before it was up.
    #[error("asked to stop before the replica was up")]
    Stopped,
    /// A value that cannot work.
    #[error("tuning: {0}")]
    Tuning(&'static str),
    /// The listener.
    #[error("cannot listen on {address} for other replicas")]
    Listen { address: String, source: std::io::Error },
    /// The store.
    #[error("the store failed")]
    Disk(#[from] DiskError),
    /// Stored bytes that are not what this version writes.
    #[error("the store holds what this version cannot read: {0}")]
    Format(String),
    /// Stored bytes that cannot be what was written, or do not go together.
    #[error(
        "the store is damaged: {0}; wipe the data directory of this replica and let it join again under a new id \
         ('quorate server join'), or restore a backup if no majority is left ('quorate snapshot restore')"
    )]
    Damaged(String),
    /// The replica itself wrote that its store must not be used again.
    #[error(
        "this store was refused for good: {0}; wipe the data directory of this replica and let it join again under a \
         new id ('quorate server join'), or restore a backup if no majority is left ('quorate snapshot restore')"
    )]
    StoreRefused(String),
    /// Nothing can be measured.
    #[error("the metrics of consensus cannot be registered: {0}")]
    Measures(String),
    /// openraft did not start.
    #[error("consensus did not start: {0}")]
    Consensus(String),
}

/// What became of a proposal that has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing happened: ask the leader.
    #[error("this replica does not lead")]
    NotLeader { leader: Option<Hint> },
    /// It may or may not happen: repeat it with the same request id.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// Nothing happened: too much at once.
    #[error("the limit {limit} ({max}) is reached: try again later")]
    Overloaded { limit: &'static str, max: u64 },
    /// Nothing happened: it will never fit.
    #[error("the limit {limit} ({max}) is exceeded: ask for less at once")]
    TooLarge { limit: &'static str, max: u64 },
    /// Nothing happened: this replica has stopped.
    #[error("this replica has stopped: {0}")]
    Stopped(String),
    /// Nothing happened: not every replica can do it yet.
    #[error("feature {feature} is not enabled: {waits_for}")]
    FeatureNotEnabled { feature: Feature, waits_for: String },
    /// Nothing happened: the item would not survive the log.
    #[error("the item cannot be written to the log: {0}")]
    Undecodable(String),
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Ask the leader.
    #[error("this replica does not lead")]
    NotLeader { leader: Option<Hint> },
    /// Not now.
    #[error("no quorum answers: {0}")]
    Unavailable(String),
    /// Events that old are forgotten: list anew.
    #[error("events before revision {from} are forgotten")]
    Compacted { from: Revision },
    /// The disk failed.
    #[error("the store failed: {0}")]
    Storage(String),
}

/// Why the membership did not change, or leadership did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Nothing happened: ask the leader.
    #[error("this replica does not lead")]
    NotLeader { leader: Option<Hint> },
    /// Nothing happened: there never was such a replica.
    #[error("there is no replica {0}: 'quorate replica list' shows all")]
    NoSuchReplica(u64),
    /// Nothing happened; the sentence says why and what helps.
    #[error("{0}")]
    Refused(String),
    /// It may or may not have happened: ask again, which changes nothing twice.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
}

/// Why a replica is no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// It was asked to stop.
    #[error("asked to stop")]
    Requested,
    /// The disk failed, is full, or holds what cannot be read; nothing it holds may be vouched for
    /// until it is looked at.
    #[error("storage: {0}")]
    Storage(String),
    /// Its history differs from that of the majority.
    #[error(
        "the history of this replica differs from the majority's at revision {revision}: \
         remove its data directory and join again"
    )]
    Diverged { revision: Revision },
    /// Its disk is an older image of itself.
    #[error("a peer refuses this store: {0}: remove the data directory and join again")]
    StaleStore(String),
    /// It belongs to its cluster no more.
    #[error("this replica was removed from its cluster: its data directory can be deleted")]
    Removed,
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}
