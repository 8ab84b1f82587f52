//! What a replica is started with.

use std::sync::Arc;

use quorate_seams::{Clock, Disk, Entropy, Network};
use quorate_state::{FeatureSet, RegionName};

use crate::Error;

/// No tuning may make a log entry or a piece of a snapshot larger: a message between replicas
/// carries one of them and a few MiB more, and is limited itself.
const PART_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(2 * PART_BYTES_MAX < crate::channel::MESSAGE_BYTES_MAX);

/// The effects that a replica may have.
#[derive(Clone)]
pub struct Seams {
    /// Time since boot and time of day.
    pub clock: Arc<dyn Clock>,
    /// Ids, seeds and jitter.
    pub entropy: Arc<dyn Entropy>,
    /// The way to the other replicas.
    pub network: Arc<dyn Network>,
    /// The store of this replica.
    pub disk: Arc<dyn Disk>,
}

/// How a replica comes to belong to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formation {
    /// Makes a new cluster with this replica as its only member. Refused where the disk has an
    /// identity.
    Init,
    /// Asks the cluster that `peers` (raft addresses) belong to for a place in it. Asking again
    /// with the same disk gives the same place.
    Join { peers: Vec<String> },
    /// Goes on as what the disk says this replica is.
    Run,
}

/// Everything that is decided before a replica starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// How it comes to belong to a cluster.
    pub formation: Formation,
    /// Where it stands.
    pub region: RegionName,
    /// The raft listener, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Where others reach it. An empty raft address stands for the one bound.
    pub advertise: Addresses,
    /// It does not want to vote: it takes what the others decide, and answers stale reads, until
    /// somebody promotes it. Says nothing once it is a voter.
    pub learner: bool,
    /// Timing and sizes.
    pub tuning: Tuning,
}

/// Where a replica is reached, each `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// By other replicas.
    pub raft: String,
    /// By clients.
    pub api: String,
    /// By agents.
    pub agent: String,
}

/// Timing and sizes, and what it can do. The default is the product's.
///
/// The three times go with the longest round trip between any two replicas: see [`Tuning::lan`], the
/// default, and [`Tuning::wan`]. A leader whose round trips are too long for them says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Between two signs of life of the leader. Must exceed a round trip: a sign of life that is
    /// not answered before the next is due does not count, and a leader none of whose signs count
    /// takes no proposals and answers no reads.
    pub heartbeat_ms: u64,
    /// A follower waits at least this long without a leader before it stands for election. Must
    /// exceed several round trips: it is also the deadline for connecting to a replica, for opening
    /// a stream to it and for its vote, the last two of which may have to connect first.
    pub election_ms_min: u64,
    /// And at most this long: the leader's lease, for which it is waited in any case. Followers stand for
    /// election in turn, so that it need not be much longer than the shortest.
    pub election_ms_max: u64,
    /// A snapshot is taken, and the log cut, every this many entries.
    pub snapshot_entries: u64,
    /// Entries kept behind the snapshot for followers that are a little late.
    pub keep_entries: u64,
    /// Bytes of rows in one piece of a snapshot on the wire. A larger row is a piece of its own.
    pub snapshot_chunk_bytes: usize,
    /// Replicas compare the digest of their history every this many revisions.
    pub digest_every: u64,
    /// Items that wait to be proposed; above it, proposals are refused as overload.
    pub queue_items_max: usize,
    /// Bytes, as encoded, of the items that wait to be proposed; the same goes for them.
    pub queue_bytes_max: usize,
    /// Items in one log entry.
    pub entry_items_max: usize,
    /// Bytes of one log entry.
    pub entry_bytes_max: usize,
    /// Log entries proposed and not yet applied.
    pub entries_in_flight_max: usize,
    /// Items in these. What is proposed waits for what is in flight, however urgent it is.
    pub items_in_flight_max: usize,
    /// Bytes in these, give or take an entry.
    pub bytes_in_flight_max: usize,
    /// A disk that takes this long to make an entry durable is slow.
    pub slow_sync_ms: u64,
    /// When it has been slow for this long, a leader passes leadership on to somebody whose disk is not.
    pub slow_for_ms: u64,
    /// But not before it has led for this long, so that leadership does not wander about.
    pub hand_over_pause_ms: u64,
    /// What this replica can do. Fewer than this version knows stand for an older version, in tests.
    pub features: FeatureSet,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_ms_min: 500,
            election_ms_max: 550,
            snapshot_entries: 5_000,
            keep_entries: 1_000,
            snapshot_chunk_bytes: 1 << 20,
            digest_every: 1_000,
            queue_items_max: 16_384,
            queue_bytes_max: 256 << 20,
            entry_items_max: 1_024,
            entry_bytes_max: 8 << 20,
            entries_in_flight_max: 64,
            items_in_flight_max: 4_096,
            bytes_in_flight_max: 16 << 20,
            slow_sync_ms: 200,
            slow_for_ms: 5_000,
            hand_over_pause_ms: 30_000,
            features: FeatureSet::known(),
        }
    }
}

impl Tuning {
    /// For replicas of one region: round trips well below 100 ms.
    pub fn lan() -> Self {
        Self::default()
    }

    /// For replicas of regions up to 200 ms apart, there and back.
    pub fn wan() -> Self {
        Self { heartbeat_ms: 300, election_ms_min: 1_500, election_ms_max: 1_800, ..Self::default() }
    }

    /// Refuses values with which a cluster could not work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let rules = [
            (self.heartbeat_ms > 0, "heartbeat_ms must be at least 1"),
            (self.election_ms_min >= 2 * self.heartbeat_ms, "election_ms_min must be at least twice heartbeat_ms"),
            (self.election_ms_max > self.election_ms_min, "election_ms_max must be above election_ms_min"),
            (self.snapshot_entries > 0, "snapshot_entries must be at least 1"),
            (self.snapshot_chunk_bytes > 0, "snapshot_chunk_bytes must be at least 1"),
            (self.snapshot_chunk_bytes <= PART_BYTES_MAX, "snapshot_chunk_bytes must be at most 16 MiB"),
            (self.digest_every > 0, "digest_every must be at least 1"),
            (self.queue_items_max > 0, "queue_items_max must be at least 1"),
            (self.entry_items_max > 0, "entry_items_max must be at least 1"),
            (self.entry_bytes_max > 0, "entry_bytes_max must be at least 1"),
            (self.entry_bytes_max <= PART_BYTES_MAX, "entry_bytes_max must be at most 16 MiB"),
            (self.queue_bytes_max >= self.entry_bytes_max, "queue_bytes_max must be at least entry_bytes_max"),
            (u32::try_from(self.queue_bytes_max).is_ok(), "queue_bytes_max must be below 4 GiB"),
            (self.entries_in_flight_max > 0, "entries_in_flight_max must be at least 1"),
            (self.items_in_flight_max > 0, "items_in_flight_max must be at least 1"),
            (self.bytes_in_flight_max > 0, "bytes_in_flight_max must be at least 1"),
            (self.slow_sync_ms > 0, "slow_sync_ms must be at least 1"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, broken)) => Err(Error::Tuning(broken)),
            None => Ok(()),
        }
    }
}
