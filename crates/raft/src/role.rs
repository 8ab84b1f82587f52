//! What a replica is, and what it knows of the others.

use quorate_seams::BootInstant;
use quorate_state::{ClusterId, Millis, RegionName, Served, Uuid};

use crate::Addresses;

/// Who a replica is, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its id, never given to another.
    pub replica: u64,
    /// Its store.
    pub store: Uuid,
}

/// What a replica does at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader {
        /// Since when in the log.
        term: u64,
        /// Since when on its own clock.
        since: BootInstant,
        /// Its own first entry is applied, so its view holds all that earlier leaders promised.
        ready: bool,
    },
    /// It does not lead.
    Follower {
        /// Who does, if known.
        leader: Option<Hint>,
    },
}

/// Where the leader is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Its replica id.
    pub id: u64,
    /// Where clients reach it.
    pub api: String,
    /// Where agents reach it.
    pub agent: String,
}

/// What the leader would stamp on an entry now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogTime {
    /// Wall time in the log.
    pub now: Millis,
    /// Led time in the log.
    pub served: Served,
    /// The leader's term.
    pub term: u64,
}

/// The replicas as this one knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The latest term seen.
    pub term: u64,
    /// Its leader, if known.
    pub leader: Option<u64>,
    /// By id.
    pub replicas: Vec<Member>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its store.
    pub store: Uuid,
    /// Where it stands.
    pub region: RegionName,
    /// Where it is reached.
    pub addresses: Addresses,
    /// False for a learner.
    pub voter: bool,
    /// The last entry that is known to be on its disk; only a leader knows.
    pub matched: Option<u64>,
    /// How long ago it last answered; only a leader knows, and of nobody who never did.
    pub silent: Option<std::time::Duration>,
}

/// Where a replica's log stands; indexes, absent when nothing is there yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// The last entry in the log.
    pub last: Option<u64>,
    /// The last entry known to be committed.
    pub committed: Option<u64>,
    /// The last entry applied.
    pub applied: Option<u64>,
    /// The last entry in the snapshot.
    pub snapshot: Option<u64>,
    /// The last entry cut off.
    pub purged: Option<u64>,
}
