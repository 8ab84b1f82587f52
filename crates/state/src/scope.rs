//! What is said of all nodes of a cluster or a region at once.

use std::fmt;
use std::sync::Arc;

use crate::{Around, ClusterName, Node, RegionName, State, Withdrawal};

/// A cluster or a region, as far as something is said of all of its nodes at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All nodes of a region.
    Region(RegionName),
    /// All nodes of a cluster.
    Cluster(ClusterName),
}

impl Scope {
    /// True of a node that is in it.
    pub fn holds(&self, node: &Node) -> bool {
        match self {
            Self::Region(region) => node.region == *region,
            Self::Cluster(cluster) => node.cluster == *cluster,
        }
    }

    /// The word for what it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Region(_) => "region",
            Self::Cluster(_) => "cluster",
        }
    }

    /// Its name, without saying what it is.
    pub fn name(&self) -> &str {
        match self {
            Self::Region(region) => region.as_str(),
            Self::Cluster(cluster) => cluster.as_str(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// That a cluster or a region takes nothing new: all of its nodes, also those that come later. Needs feature `region-policy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRow {
    /// Which.
    pub scope: Scope,
    /// Who said so, and what is to become of the work there.
    pub withdrawal: Arc<Withdrawal>,
}

impl State {
    /// Clusters and regions that take nothing new: regions first, each kind by name.
    pub fn scopes(&self) -> impl Iterator<Item = &Arc<ScopeRow>> {
        self.scopes.values()
    }

    /// True of a cluster or a region in which there is, or ever was, a node.
    pub fn has_scope(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Region(region) => self.clusters.values().any(|cluster| cluster.region == *region),
            Scope::Cluster(cluster) => self.clusters.contains_key(cluster),
        }
    }

    /// What is said of a cluster or a region.
    pub fn scope(&self, scope: &Scope) -> Option<&Arc<ScopeRow>> {
        self.scopes.get(scope)
    }

    /// A node's row, with what is said of it elsewhere.
    pub(crate) fn put_node(&mut self, node: &Arc<Node>) {
        let around = self.around(node);
        let node = if node.around == around { node.clone() } else { Arc::new(Node { around, ..(**node).clone() }) };
        let old = self.nodes.get(&node.name).cloned();
        self.index.on_node(&node.name, old.as_deref(), Some(&node));
        self.nodes.insert_mut(node.name.clone(), node);
    }

    /// Nodes have it in their rows, so that whoever looks at one sees it, and whoever keeps something about nodes is told.
    pub(crate) fn tell_nodes_of(&mut self, scope: &Scope) {
        let nodes: Vec<Arc<Node>> = self.nodes.values().filter(|node| scope.holds(node)).cloned().collect();
        for node in nodes {
            self.put_node(&node);
        }
    }

    /// What is said of a node by its cluster, its region and a reservation.
    pub(crate) fn around(&self, node: &Node) -> Around {
        if self.scopes.is_empty() && self.reservations.is_empty() {
            return Around::default();
        }
        let said_of = |scope| self.scopes.get(&scope).map(|row| row.withdrawal.clone());
        Around {
            cluster: said_of(Scope::Cluster(node.cluster.clone())),
            region: said_of(Scope::Region(node.region.clone())),
            reservation: self.set_aside(&node.name).cloned(),
        }
    }
}
