//! Where a task may run, and where it would rather.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_planted::Bug;

use super::{Company, Near, NodeCondition};
use crate::{ClusterName, Node, PoolName, RegionName, ReservationName};

/// Where a task may run, and where it would rather: all that placement looks at in a task beside what it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Allowed regions; none: all.
    pub regions: Vec<RegionName>,
    /// Allowed clusters; none: all.
    pub clusters: Vec<ClusterName>,
    /// What its node's labels must say: each of these keys with this value, or with any for [`ANY_VALUE`]. Needs
    /// [`crate::Feature::PlaceLabels`].
    pub labels: BTreeMap<String, String>,
    /// How it is spread over the nodes that remain.
    pub spread: Spread,
    /// Allowed pools; none: the default one alone. Needs [`crate::Feature::PlaceConstraints`], as all below.
    pub pools: Vec<PoolName>,
    /// The taints that do not keep it away: each of these keys with this value, or with any for [`ANY_VALUE`].
    pub tolerate: BTreeMap<String, String>,
    /// What speaks for a node and against it; at most [`PREFERENCES_MAX`].
    pub prefer: Vec<Preference>,
    /// What half the price of a node is worth to it, as the weight of a preference; zero: nothing.
    pub cheap: u32,
    /// Where the data lies that it reads.
    pub near: Near,
    /// What it makes of other tasks.
    pub company: Company,
    /// What must hold of its node beside all that. Needs [`crate::Feature::PlaceWhere`].
    pub condition: Option<Arc<NodeCondition>>,
    /// The reservation on whose nodes it runs, and on no other. Needs [`crate::Feature::Reservations`].
    pub reservation: Option<ReservationName>,
}

/// Stands for every value of a label that a task demands of its node, and of a taint that it tolerates.
pub const ANY_VALUE: &str = "*";

/// Preferences of one task.
pub const PREFERENCES_MAX: usize = 16;
/// The greatest weight of a preference, and of a low price.
pub const WEIGHT_OF_PREFERENCE_MAX: u32 = 100;

/// A trait of nodes that speaks for them, or against.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference {
    /// Which.
    pub of: Trait,
    /// How much: up to [`WEIGHT_OF_PREFERENCE_MAX`], for them if above zero, against if below.
    pub weight: i32,
}

/// What a node may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trait {
    /// It has this label, with this value or with any for [`ANY_VALUE`].
    Label {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// It is in this pool.
    Pool(PoolName),
    /// It stands in this region.
    Region(RegionName),
    /// It is of this cluster.
    Cluster(ClusterName),
}

impl Trait {
    /// True of a node that is so.
    pub fn is_of(&self, node: &Node) -> bool {
        match self {
            Self::Label { key, value } => says(&node.labels, key, value),
            Self::Pool(pool) => *pool == node.offer.pool,
            Self::Region(region) => *region == node.region,
            Self::Cluster(cluster) => *cluster == node.cluster,
        }
    }
}

/// Which of the feasible nodes is best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spread {
    /// The fullest one that holds it: leaves whole nodes for large tasks.
    #[default]
    Pack,
    /// The emptiest one: a lost node takes less with it.
    Node,
    /// The emptiest cluster first, then its emptiest node.
    Cluster,
}

impl Place {
    /// True of a node with `labels`, as far as they are concerned.
    pub fn accepts_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, want)| says(labels, key, want))
    }

    /// True of a node in `pool`, as far as that is concerned.
    pub fn accepts_pool(&self, pool: &PoolName) -> bool {
        let is_asked_for = if self.pools.is_empty() { pool.is_default() } else { self.pools.contains(pool) };
        is_asked_for || quorate_planted::is(Bug::PoolIgnored)
    }

    /// The first of `taints` that keeps it away.
    pub fn refuses<'t>(&self, taints: &'t BTreeMap<String, String>) -> Option<(&'t String, &'t String)> {
        let is_tolerated = |key: &String, value: &String| {
            self.tolerate.get(key).is_some_and(|said| said == ANY_VALUE || said == value)
        };
        taints.iter().find(|(key, value)| !is_tolerated(key, value) && !quorate_planted::is(Bug::TaintIgnored))
    }

    /// True of a node for which its condition holds, if it has one.
    pub fn holds_for(&self, node: &Node) -> bool {
        let holds =
            |condition: &Arc<NodeCondition>| condition.holds_for(node) || quorate_planted::is(Bug::WhereIgnored);
        self.condition.as_ref().is_none_or(holds)
    }

    /// It says which nodes are better than others.
    pub fn has_wishes(&self) -> bool {
        self.has_own_wishes() || !self.near.is_empty()
    }

    /// The same by what came with [`crate::Feature::PlaceConstraints`].
    fn has_own_wishes(&self) -> bool {
        !self.prefer.is_empty() || self.cheap > 0
    }

    /// Replicas before [`crate::Feature::PlaceConstraints`] cannot read it.
    pub(super) fn has_constraints(&self) -> bool {
        !self.pools.is_empty() || !self.tolerate.is_empty() || self.has_own_wishes()
    }
}

fn says(labels: &BTreeMap<String, String>, key: &str, want: &str) -> bool {
    labels.get(key).is_some_and(|has| want == ANY_VALUE || has == want)
}
