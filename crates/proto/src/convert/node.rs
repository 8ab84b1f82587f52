//! Nodes and clusters, as operators see them.

use quorate_state::{Cluster, Node, NodeStatus, Resources};

use super::job::{labels_to_wire, resources_to_wire};
use crate::v1;

/// A node: `used` of it is taken by `attempts` attempts, and its lease was last confirmed
/// `heard_ms_ago` by this leader, if it was.
pub fn node_to_wire(node: &Node, used: Resources, attempts: u32, heard_ms_ago: Option<u64>) -> v1::Node {
    v1::Node {
        name: node.name.to_string(),
        region: node.region.to_string(),
        cluster: node.cluster.to_string(),
        status: node_status_to_wire(node.status).into(),
        cordoned: node.cordoned,
        capacity: Some(resources_to_wire(node.capacity)),
        used: Some(resources_to_wire(used)),
        epoch: node.epoch.0,
        attempts,
        labels: labels_to_wire(&node.labels),
        registered_at_ms: node.registered_at.0,
        uuid: node.uuid.to_string(),
        heard_ms_ago,
    }
}

/// Whether a node's lease is live, as sent.
pub fn node_status_to_wire(status: NodeStatus) -> v1::NodeStatus {
    match status {
        NodeStatus::Up => v1::NodeStatus::Up,
        NodeStatus::Lost { at: _ } => v1::NodeStatus::Lost,
    }
}

/// A cluster, with the sums over its nodes left at zero for whoever adds them up.
pub fn cluster_to_wire(cluster: &Cluster) -> v1::ClusterSummary {
    v1::ClusterSummary {
        name: cluster.name.to_string(),
        region: cluster.region.to_string(),
        ..v1::ClusterSummary::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_node_shows_where_it_stands_and_what_is_taken() {
        let node = samples::nodes().remove(1);
        let used = Resources { cpu_milli: 500, memory_bytes: 7 };
        let wire = node_to_wire(&node, used, 2, None);
        assert_eq!(wire.status(), v1::NodeStatus::Lost);
        assert_eq!(wire.used, Some(v1::Resources { cpu_milli: 500, memory_bytes: 7 }));
        assert_eq!((wire.region.as_str(), wire.cluster.as_str()), (node.region.as_str(), node.cluster.as_str()));
        assert_eq!(wire.heard_ms_ago, None);
    }
}
