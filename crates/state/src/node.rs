//! A machine that runs work, and its lease.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    Admission, ClusterName, Epoch, GpuModel, Millis, NodeName, Offer, Principal, RegionName, ReservationName,
    Resources, Served, Uuid,
};

/// Begins the names of labels that an agent finds out by itself, such as `quorate.dev/arch`; no other label may.
pub const ATTRIBUTE_PREFIX: &str = "quorate.dev/";

/// A machine that runs work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Unique in the control plane.
    pub name: NodeName,
    /// The agent's data directory; a second agent under the same name has another one.
    pub uuid: Uuid,
    /// The agent's journal: the same one remembers what it started.
    pub journal: Uuid,
    /// The kernel's boot id. Under another one no old process survives, on the same machine; which machine
    /// it is, only the journal proves.
    pub boot_id: Arc<str>,
    /// The machine's id.
    pub machine_id: Arc<str>,
    /// Where it stands.
    pub region: RegionName,
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// All it has for tasks.
    pub capacity: Resources,
    /// The model of each of its GPUs, by their positions: at most [`crate::GPUS_PER_NODE_MAX`]. `capacity` counts them.
    pub gpus: Arc<[GpuModel]>,
    /// Free words for constraints, and what the agent found out of its machine ([`ATTRIBUTE_PREFIX`]).
    pub labels: BTreeMap<String, String>,
    /// Its pool, its taints and its price.
    pub offer: Arc<Offer>,
    /// Its lease.
    pub epoch: Epoch,
    /// The terms of that lease, as granted; a change of the settings waits for the next one.
    pub lease: LeaseTerms,
    /// Whether that lease is live.
    pub status: NodeStatus,
    /// No new placements, whatever is said of its cluster and its region.
    pub cordoned: bool,
    /// Who said so, and what is to become of its work; none if it was said before feature `node-drain`.
    pub withdrawal: Option<Arc<Withdrawal>>,
    /// What is said of its cluster and its region, and what it is set aside for. [`crate::State::commit`] sets it; it is no part of the node's own row.
    pub around: Around,
    /// When it registered.
    pub registered_at: Millis,
    /// How it was admitted; none if that took no join token.
    pub admission: Option<Arc<Admission>>,
}

impl Node {
    /// It takes nothing new: it, its cluster or its region was taken out of service.
    pub fn is_out(&self) -> bool {
        self.cordoned || self.around.cluster.is_some() || self.around.region.is_some()
    }

    /// How its work is moved off by what was said of itself; none while that may stay.
    pub fn own_drain(&self) -> Option<Drain> {
        self.withdrawal.as_ref().and_then(|withdrawal| withdrawal.drain)
    }

    /// How its work is moved off, by whatever was said of it, its cluster and its region: from the first instant that one of
    /// them says on, until all of them have ended. None while that may stay.
    pub fn drain(&self) -> Option<Drain> {
        together(self.drains())
    }

    /// The same by those that have not come to their end at `served`, whether or not somebody has ended them.
    pub fn drain_at(&self, served: Served) -> Option<Drain> {
        together(self.drains().filter(|drain| drain.ends.is_none_or(|ends| ends > served)))
    }

    fn drains(&self) -> impl Iterator<Item = Drain> {
        let around = [&self.around.cluster, &self.around.region].into_iter().flatten();
        around.filter_map(|withdrawal| withdrawal.drain).chain(self.own_drain())
    }
}

fn together(drains: impl Iterator<Item = Drain>) -> Option<Drain> {
    drains.reduce(|one, other| Drain {
        due: one.due.min(other.due),
        ends: one.ends.zip(other.ends).map(|(one, other)| one.max(other)),
    })
}

/// What is said of a node elsewhere than in its own row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// That its cluster takes nothing new.
    pub cluster: Option<Arc<Withdrawal>>,
    /// That its region does not.
    pub region: Option<Arc<Withdrawal>>,
    /// The reservation for which it is set aside.
    pub reservation: Option<ReservationName>,
}

/// That a node, or all of a cluster or a region, takes nothing new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Who said so last.
    pub by: Principal,
    /// When.
    pub at: Millis,
    /// Why, in words; empty when nothing was said.
    pub reason: Arc<str>,
    /// What runs there is moved elsewhere.
    pub drain: Option<Drain>,
}

/// How the work of a node is moved off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Until then attempts may end by themselves; from then on those that may be moved are.
    pub due: Served,
    /// At this instant it ends by itself; none: it lasts until somebody ends it. Needs feature `node-maintenance`.
    pub ends: Option<Served>,
}

/// Whether a node's lease is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeStatus {
    /// Its lease is live.
    Up,
    /// Its lease expired; only a new registration helps.
    Lost {
        /// When it expired.
        at: Served,
    },
}

/// The terms of a lease. They satisfy
/// `server_ms (1 - rho) >= agent_ms (1 + rho) + kill_ms + margin_ms`, so that when the server calls a lease
/// expired, the agent has already killed what is `fenced`, whatever the drift within `rho`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// The leader expires the lease this long after the last renewal it confirmed.
    pub server_ms: u64,
    /// The agent's deadline, counted from the instant it *sent* the renewal.
    pub agent_ms: u64,
    /// Killing a task takes at most this long.
    pub kill_ms: u64,
    /// Room for scheduling delays.
    pub margin_ms: u64,
    /// Bound on the drift between two clocks, in parts per million.
    pub rho_ppm: u32,
}

impl LeaseTerms {
    /// True when the inequality above holds.
    pub fn is_safe(self) -> bool {
        let million = 1_000_000_u128;
        let rho = u128::from(self.rho_ppm);
        let server = u128::from(self.server_ms) * million.saturating_sub(rho);
        let agent = u128::from(self.agent_ms) * (million + rho);
        server >= agent + (u128::from(self.kill_ms) + u128::from(self.margin_ms)) * million
    }
}
