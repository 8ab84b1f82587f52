//! Which of the nodes that can take a task is best.
//!
//! A node is valued by what matters for the task's `spread`, then by everything else that placement
//! can tell two nodes apart by, and by its name only after that: renaming nodes moves work between
//! nodes that are alike and changes nothing else.

use quorate_state::{Resources, Spread};

use super::candidates::Term;
use super::devices::Gpus;
use super::kept::Wanted;
use super::ledger::{Account, ClusterAccount};
use super::pack::{Rank, Worth, idle_milli, together};
use super::wishes::{WISHES_BITS, wishes, worths_milli};
use crate::explain::Check;
use crate::{Latencies, Presence};

/// A share of 1 in fixed point.
const SHARE_BITS: u32 = 32;

/// How good a node is for a task; the least is the best. Of nodes that are valued the same, the ledger says which is better.
///
/// From the top: a bit for nodes that cannot take it, and then only the check that they fail; a bit for nodes that have not
/// reported yet, which come after all that have; 31 for how much more GPU would stay idle and one for GPUs that the task does not
/// take, when it is to be packed; 33 for the dominant share (the largest over the resources), 34 for the sum of the shares,
/// or both together for what is left when it takes GPUs; and 27 for the attempts.
///
/// Of a task with wishes, 20 bits for these stand above all but the first two, and the rest stands as much lower: of the attempts
/// 7 bits are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score(u128);

const NOWHERE_BIT: u32 = 127;
const PRESENCE_BIT: u32 = 126;
const GROWTH_BIT: u32 = 95;
const KEEPS_BIT: u32 = 94;
/// Where what a task would rather have stands, if it says anything.
const WISHES_BIT: u32 = PRESENCE_BIT - WISHES_BITS;
const DOMINANT_BIT: u32 = 61;
const SUM_BIT: u32 = 27;
/// More attempts than this on one node count as so many.
const ATTEMPTS_MAX: u64 = (1 << SUM_BIT) - 1;

impl Rank for Score {
    const NOWHERE: Self = Self(u128::MAX);

    fn fits(self) -> bool {
        self.0 >> NOWHERE_BIT == 0
    }
}

impl Score {
    /// Of a node that fails this check.
    pub(super) fn failing(check: Check) -> Self {
        Self(1 << NOWHERE_BIT | check as u128)
    }

    /// Of a task with wishes, how far the node, which can take it, is from these.
    pub(super) fn wishes(self) -> u128 {
        self.0 >> WISHES_BIT & ((1 << WISHES_BITS) - 1)
    }

    /// The check that the node fails, if it does.
    pub(super) fn check(self) -> Option<Check> {
        let number = (self.0 & u128::from(u8::MAX)) as usize;
        if self.fits() { None } else { Check::ALL.get(number).copied() }
    }
}

/// `account`, as a place for what is wanted, which fits there.
pub(super) fn score(account: &mut Account, gpus: &mut Gpus, wanted: &Wanted, latencies: &Latencies) -> Score {
    let (task, want) = (&wanted.task, wanted.task.resources);
    let capacity = account.node.capacity;
    let left = account.free().saturating_sub(want);
    let values = match task.place.spread {
        Spread::Pack if !account.node.gpus.is_empty() => {
            let takes_none = want.gpu_milli == 0;
            let worth = gpus.worth(account.devices.as_deref_mut(), wanted);
            let worth = worth.unwrap_or_else(|| {
                Worth::unforeseen(takes_none, together(left.cpu_milli, left.memory_bytes, left.gpu_milli))
            });
            let rest = if takes_none { shares(left, capacity) } else { u128::from(worth.left) << DOMINANT_BIT };
            u128::from(worth.growth) << GROWTH_BIT | u128::from(worth.keeps_from_gpus) << KEEPS_BIT | rest
        }
        // Best fit: the less it leaves, the less is cut off a node that could hold something large.
        Spread::Pack => u128::from(Worth::unforeseen(false, 0).growth) << GROWTH_BIT | shares(left, capacity),
        Spread::Node | Spread::Cluster => shares(capacity.saturating_sub(left), capacity),
    };
    let is_unheard = account.presence != Presence::Heard;
    let presence = u128::from(is_unheard) << PRESENCE_BIT;
    if task.place.has_wishes() {
        let wishes = wishes(&account.node, &task.place, latencies) << WISHES_BIT;
        let attempts = account.attempts.min(ATTEMPTS_MAX >> WISHES_BITS);
        return Score(presence | wishes | values >> WISHES_BITS | u128::from(attempts));
    }
    let attempts = account.attempts.min(ATTEMPTS_MAX);
    Score(presence | values | u128::from(attempts))
}

/// The same by its parts, each turned so that more is better, in the order in which they decide; what a task would rather have
/// is one sum, of which they are told apart.
pub(super) fn terms(
    account: &mut Account,
    (cluster, latencies): (&ClusterAccount, &Latencies),
    gpus: &mut Gpus,
    wanted: &Wanted,
) -> Vec<Term> {
    let (task, want) = (&wanted.task, wanted.task.resources);
    let capacity = account.node.capacity;
    let left = account.free().saturating_sub(want);
    let milli = |share: u128| i64::try_from((share * 1_000) >> SHARE_BITS).unwrap_or(i64::MAX);
    let dominant = |part: Resources| milli(shares(part, capacity) >> DOMINANT_BIT);
    let mut terms = Vec::new();
    let mut add = |name, value_milli: i64| terms.push(Term { name, value_milli });
    add("reported", if account.presence == Presence::Heard { 1_000 } else { 0 });
    if task.place.has_wishes() {
        for (name, worth) in
            ["preferences", "price", "near"].into_iter().zip(worths_milli(&account.node, &task.place, latencies))
        {
            add(name, worth);
        }
    }
    match task.place.spread {
        Spread::Pack => {
            if let Some(worth) = gpus.worth(account.devices.as_deref_mut(), wanted) {
                add("idle_gpus", idle_milli(worth));
                add("spares_gpus", if worth.keeps_from_gpus { 0 } else { 1_000 });
            }
            add("full", 1_000 - dominant(left));
        }
        Spread::Node => add("empty", 1_000 - dominant(capacity.saturating_sub(left))),
        Spread::Cluster => {
            let ([fullest, _], _) = cluster_score(cluster);
            add("empty_cluster", 1_000 - milli(fullest));
            add("empty", 1_000 - dominant(capacity.saturating_sub(left)));
        }
    }
    add("attempts", -1_000 * i64::try_from(account.attempts.min(ATTEMPTS_MAX)).unwrap_or(0));
    terms
}

/// How full a cluster is; the least is the emptiest.
pub(super) fn cluster_score(cluster: &ClusterAccount) -> ([u128; 2], u64) {
    let mut each = [0; 3];
    for ((each, used), capacity) in each.iter_mut().zip(cluster.used).zip(cluster.capacity) {
        *each = share(used, capacity);
    }
    ([each.into_iter().max().unwrap_or_default(), each.into_iter().sum()], cluster.attempts)
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

/// The dominant share and the sum, of a part that is not more than the whole, where they stand in a score.
fn shares(part: Resources, whole: Resources) -> u128 {
    let of = |part: u64, whole: u64| share(part.min(whole).into(), whole.into());
    let cpu = of(part.cpu_milli, whole.cpu_milli);
    let memory = of(part.memory_bytes, whole.memory_bytes);
    let gpu = of(part.gpu_milli, whole.gpu_milli);
    cpu.max(memory).max(gpu) << DOMINANT_BIT | (cpu + memory + gpu) << SUM_BIT
}
