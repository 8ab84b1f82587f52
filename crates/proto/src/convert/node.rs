//! Nodes and clusters, as operators see them.

use quorate_state::{Attempt, Cluster, GpuUse, Node, NodeStatus, Resources, Run, Served, Withdrawal};

use super::gpu::gpu_hold_to_wire;
use super::job::{labels_to_wire, on_node_loss_to_wire, resources_to_wire};
use super::offer::offer_to_wire;
use super::run::attempt_state_to_wire;
use crate::v1;

/// A node: `used` of it is taken by `attempts` attempts, and its lease was last confirmed
/// `heard_ms_ago` by this leader, if it was. Log time is `served`.
pub fn node_to_wire(
    node: &Node,
    used: Resources,
    gpus: &GpuUse,
    attempts: u32,
    heard_ms_ago: Option<u64>,
    served: Served,
) -> v1::Node {
    v1::Node {
        name: node.name.to_string(),
        region: node.region.to_string(),
        cluster: node.cluster.to_string(),
        status: node_status_to_wire(node.status).into(),
        cordoned: node.cordoned,
        capacity: Some(resources_to_wire(node.capacity)),
        used: Some(resources_to_wire(used)),
        gpus: (0..)
            .zip(node.gpus.iter())
            .map(|(at, model)| v1::Gpu {
                model: model.to_string(),
                used_milli: u32::try_from(gpus.of(at)).unwrap_or(u32::MAX),
            })
            .collect(),
        epoch: node.epoch.0,
        attempts,
        labels: labels_to_wire(&node.labels),
        offer: offer_to_wire(&node.offer),
        registered_at_ms: node.registered_at.0,
        uuid: node.uuid.to_string(),
        heard_ms_ago,
        withdrawal: node.withdrawal.as_deref().map(|withdrawal| withdrawal_to_wire(withdrawal, served)),
        cluster_withdrawal: node.around.cluster.as_deref().map(|withdrawal| withdrawal_to_wire(withdrawal, served)),
        reservation: node.around.reservation.as_ref().map(ToString::to_string).unwrap_or_default(),
        region_withdrawal: node.around.region.as_deref().map(|withdrawal| withdrawal_to_wire(withdrawal, served)),
        join_token: node.admission.as_deref().map(|admission| admission.token.to_string()).unwrap_or_default(),
    }
}

/// Who said that something takes nothing new, as sent at log time `served`.
pub fn withdrawal_to_wire(withdrawal: &Withdrawal, served: Served) -> v1::Withdrawal {
    v1::Withdrawal {
        by: withdrawal.by.to_string(),
        at_ms: withdrawal.at.0,
        reason: withdrawal.reason.to_string(),
        drain_in_ms: withdrawal.drain.map(|drain| drain.due.0.saturating_sub(served.0)),
        ends_in_ms: withdrawal.drain.and_then(|drain| drain.ends).map(|ends| ends.0.saturating_sub(served.0)),
    }
}

/// An attempt of `run`, as its node sees it, without what holds it there; none when the run has no such task.
pub fn node_attempt_to_wire(attempt: &Attempt, run: &Run) -> Option<v1::NodeAttempt> {
    let task = attempt.id.task;
    let spec = run.spec.tasks.get(task.step as usize)?;
    Some(v1::NodeAttempt {
        run_id: run.id.to_string(),
        namespace: run.spec.namespace.to_string(),
        job: run.spec.name.to_string(),
        task: spec.name.to_string(),
        index: task.index,
        count: spec.count,
        number: attempt.id.number,
        state: attempt_state_to_wire(attempt.state).into(),
        on_node_loss: on_node_loss_to_wire(spec.on_node_loss).into(),
        resources: Some(resources_to_wire(attempt.resources)),
        gpus: gpu_hold_to_wire(attempt.gpus),
        since_ms: attempt.started_at.unwrap_or(attempt.placed_at).0,
        hold: String::new(),
        hold_text: String::new(),
        usage: None,
    })
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
    use quorate_state::GpuHold;

    use super::*;
    use crate::samples;

    #[test]
    fn a_node_shows_where_it_stands_and_what_is_taken() {
        let [_, node, drained, _, maintained, rendering, offering] = samples::nodes().try_into().unwrap();
        let used = Resources { cpu_milli: 500, memory_bytes: 7, gpu_milli: 0 };
        let wire = node_to_wire(&node, used, GpuUse::none(), 2, None, Served(80_000));
        assert_eq!(wire.status(), v1::NodeStatus::Lost);
        assert_eq!(wire.used, Some(v1::Resources { cpu_milli: 500, memory_bytes: 7, gpu_milli: 0 }));
        assert_eq!((wire.region.as_str(), wire.cluster.as_str()), (node.region.as_str(), node.cluster.as_str()));
        assert_eq!(wire.heard_ms_ago, None);
        assert_eq!(wire.withdrawal, None);
        let wire = node_to_wire(&drained, used, GpuUse::none(), 2, None, Served(80_000));
        let withdrawal = wire.withdrawal.unwrap();
        assert_eq!((&*withdrawal.reason, withdrawal.drain_in_ms), ("a new disk", Some(10_000)));
        assert_eq!(withdrawal.ends_in_ms, None);
        let withdrawal = node_to_wire(&maintained, used, GpuUse::none(), 2, None, Served(90_000)).withdrawal.unwrap();
        assert_eq!((withdrawal.drain_in_ms, withdrawal.ends_in_ms), (Some(0), Some(7_200_000)));
        let mut taken = GpuUse::default();
        taken.take(GpuHold { devices: 0b10, milli: 250 });
        let gpus = node_to_wire(&rendering, used, &taken, 2, None, Served(90_000)).gpus;
        let shown: Vec<_> = gpus.iter().map(|gpu| (gpu.model.as_str(), gpu.used_milli)).collect();
        assert_eq!(shown, [("A100-80G", 0), ("T4", 250)]);
        let offer = node_to_wire(&offering, used, &taken, 2, None, Served(90_000)).offer.unwrap();
        assert_eq!((offer.pool.as_str(), offer.taints.len(), offer.price), ("gpu", 2, Some(35_000)));
    }
}
