//! Which of the nodes that can take a task is best.
//!
//! A node is valued by what matters for the task's `spread`, then by everything else that placement
//! can tell two nodes apart by, and by its name only after that: renaming nodes moves work between
//! nodes that are alike and changes nothing else.

use quorate_state::{Resources, Spread};

use super::ledger::{Account, ClusterAccount};
use crate::Presence;

/// A share of 1 in fixed point.
const SHARE_BITS: u32 = 32;

/// How good a node is for a task; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    /// A node that has not reported yet comes after all that have.
    presence: Presence,
    /// The dominant share (the largest over the resources), then the sum of the shares.
    shares: [u128; 2],
    attempts: u64,
    free: (u64, u64, u64),
    capacity: (u64, u64, u64),
    cluster: usize,
}

/// `account`, as a place for a task that takes `want`.
pub(super) fn score(account: &Account<'_>, want: Resources, spread: Spread) -> Score {
    let capacity = account.node.capacity;
    let left = account.free().saturating_sub(want);
    let shares = match spread {
        // Best fit: the less it leaves, the less is cut off a node that could hold something large.
        Spread::Pack => shares(wide(left), wide(capacity)),
        Spread::Node | Spread::Cluster => shares(wide(capacity.saturating_sub(left)), wide(capacity)),
    };
    Score {
        presence: account.presence,
        shares,
        attempts: account.attempts,
        free: (left.cpu_milli, left.memory_bytes, left.gpu_milli),
        capacity: (capacity.cpu_milli, capacity.memory_bytes, capacity.gpu_milli),
        cluster: account.cluster,
    }
}

/// How full a cluster is; the least is the emptiest.
pub(super) fn cluster_score(cluster: &ClusterAccount) -> ([u128; 2], u64) {
    (shares(cluster.used, cluster.capacity), cluster.attempts)
}

/// `part` as a share of `whole` in fixed point. Any part of nothing is more than all of something.
pub(crate) fn share(part: u128, whole: u128) -> u128 {
    match (part, whole) {
        (0, _) => 0,
        (_, 0) => u128::from(u64::MAX) << SHARE_BITS,
        // Sums of capacities stay below 2^96 with fewer than 2^32 nodes, so nothing is shifted out.
        (part, whole) => (part << SHARE_BITS) / whole,
    }
}

fn shares([cpu, memory, gpu]: [u128; 3], whole: [u128; 3]) -> [u128; 2] {
    let each = [share(cpu, whole[0]), share(memory, whole[1]), share(gpu, whole[2])];
    [each[0].max(each[1]).max(each[2]), each[0] + each[1] + each[2]]
}

fn wide(resources: Resources) -> [u128; 3] {
    [resources.cpu_milli, resources.memory_bytes, resources.gpu_milli].map(u128::from)
}
