//! Tasks that take GPUs, and what they are given.

use std::sync::Arc;

use quorate_state::{Feature, GPU_MILLI, GpuHold, GpuModel, GpuWant, Node, OnNodeLoss, State, TaskSpec};

use crate::{World, task};

/// A task that takes a part of a GPU, or whole ones.
pub(super) fn sharing(text: &str, count: u32, gpu_milli: u64) -> TaskSpec {
    let mut spec = task(text, &[], count, 0, OnNodeLoss::AtLeastOnce);
    spec.resources.gpu_milli = gpu_milli;
    spec
}

/// Those of a node, once there may be any.
pub(super) fn models(state: &State, node: usize) -> Arc<[GpuModel]> {
    let count = if state.has_feature(Feature::Gpus) { 2 + node % 2 } else { 0 };
    std::iter::repeat_n("T4".parse().unwrap(), count).collect()
}

impl World {
    /// Most often what a planner would choose, now and then whatever comes: what is wrong must be refused.
    pub(super) fn hold_for(&self, spec: &TaskSpec, node: &Node, generation: u32) -> GpuHold {
        let want = GpuWant::of(spec);
        let chosen = want.choose(want.allowed(node), self.state.gpus_used_on(&node.name));
        let milli = u16::try_from(want.milli.min(GPU_MILLI)).unwrap();
        let devices = if self.state.has_feature(Feature::Gpus) { u64::from(generation) % 8 } else { 0 };
        let anything = if devices == 0 { GpuHold::NONE } else { GpuHold { devices, milli } };
        chosen.filter(|_| !self.revision.is_multiple_of(4)).unwrap_or(anything)
    }
}
