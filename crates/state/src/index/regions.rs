//! Which regions have nodes that are up, and since when those have none that do not.

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use crate::{Node, NodeName, NodeStatus, RegionName, Served};

/// The nodes of each region that has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Regions(Map<RegionName, Nodes>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Nodes {
    up: u32,
    /// When the lease of each of the others ended.
    lost: Set<(Served, NodeName)>,
}

impl Regions {
    /// A node's row changes from one to another; none: there is none.
    pub(crate) fn on_node(&mut self, old: Option<&Node>, new: Option<&Node>) {
        let part = |node: &Node| (node.region.clone(), node.status);
        if old.map(part) == new.map(part) {
            return;
        }
        if let Some(old) = old {
            let mut nodes = self.0.get(&old.region).cloned().unwrap_or_default();
            match old.status {
                NodeStatus::Up => nodes.up = nodes.up.saturating_sub(1),
                NodeStatus::Lost { at } => {
                    nodes.lost.remove_mut(&(at, old.name.clone()));
                }
            }
            if nodes == Nodes::default() {
                self.0.remove_mut(&old.region);
            } else {
                self.0.insert_mut(old.region.clone(), nodes);
            }
        }
        if let Some(new) = new {
            let mut nodes = self.0.get(&new.region).cloned().unwrap_or_default();
            match new.status {
                NodeStatus::Up => nodes.up = nodes.up.saturating_add(1),
                NodeStatus::Lost { at } => nodes.lost.insert_mut((at, new.name.clone())),
            }
            self.0.insert_mut(new.region.clone(), nodes);
        }
    }

    /// Since when none of its nodes is up; none while one is.
    pub(crate) fn lost(&self, region: &RegionName) -> Option<Served> {
        let Some(nodes) = self.0.get(region) else { return Some(Served(0)) };
        (nodes.up == 0).then(|| nodes.lost.last().map_or(Served(0), |(at, _)| *at))
    }
}
