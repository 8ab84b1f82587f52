//! Can this node take this task now? One function, asked by the planner and again by `apply`.

use std::fmt;

use quorate_planted::Bug;

use crate::reservation::suits;
use crate::{GpuUse, GpuWant, Node, NodeStatus, Resources, TaskSpec};

/// Why a node cannot take a task. The first failed check is named, in the order of the variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Infeasible {
    /// Its lease has expired.
    NodeLost,
    /// It takes no new work.
    Cordoned,
    /// It takes no new work, and what it has is moved off.
    Draining,
    /// It is set aside for a reservation that the task does not ask for.
    Reserved,
    /// It is not of the reservation that the task asks for.
    Unreserved,
    /// Its region is not among those allowed.
    Region,
    /// Its cluster is not among those allowed.
    Cluster,
    /// It is in a pool that the task does not ask for.
    Pool,
    /// It lacks a label that is demanded, or has it with another value.
    Labels,
    /// It has a taint that the task does not tolerate.
    Taint,
    /// What must hold of it, by the words of the task, does not, or cannot be decided.
    Where,
    /// It has as many GPUs as the task takes, but not of the models that are allowed.
    GpuModel,
    /// It could not hold the task even when empty; what is missing then.
    TooSmall(Shortfall),
    /// It is too full; what is missing now.
    Full(Shortfall),
    /// It is too near to other tasks, from which the task stays apart: [`crate::Company`].
    Apart,
}

/// How much more of each resource a node would have to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// Missing thousandths of a core.
    pub cpu_milli: u64,
    /// Missing bytes.
    pub memory_bytes: u64,
    /// Missing thousandths of GPUs, of those that the task could use: of one device for a share, of whole ones else.
    pub gpu_milli: u64,
}

/// What is free on a node.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// Of everything.
    pub free: Resources,
    /// What is taken of each device.
    pub gpus: &'a GpuUse,
}

impl Room<'static> {
    /// That of a node that holds nothing.
    pub fn empty(node: &Node) -> Self {
        Self { free: node.capacity, gpus: GpuUse::none() }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu_milli, memory_bytes, gpu_milli } = *self;
        let parts = [
            (cpu_milli > 0).then(|| format!("{cpu_milli}m cpu")),
            (memory_bytes > 0).then(|| format!("{memory_bytes} bytes of memory")),
            (gpu_milli > 0).then(|| format!("{gpu_milli}m gpu")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match &parts[..] {
            [] => f.write_str("nothing"),
            [all @ .., last] if !all.is_empty() => write!(f, "{} and {last}", all.join(", ")),
            [last, ..] => f.write_str(last),
        }
    }
}

impl fmt::Display for Infeasible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeLost => f.write_str("the node's lease has expired"),
            Self::Cordoned => f.write_str("the node is cordoned"),
            Self::Draining => f.write_str("the node is draining"),
            Self::Reserved => f.write_str("the node is set aside for a reservation"),
            Self::Unreserved => f.write_str("the node is not of the reservation that is asked for"),
            Self::Region => f.write_str("the node's region is not allowed"),
            Self::Cluster => f.write_str("the node's cluster is not allowed"),
            Self::Pool => f.write_str("the node is in a pool that is not asked for"),
            Self::Labels => f.write_str("the node lacks a label that is demanded"),
            Self::Taint => f.write_str("the node has a taint that is not tolerated"),
            Self::Where => f.write_str("what must hold of the node does not"),
            Self::GpuModel => f.write_str("the node's GPUs are not of a model that is allowed"),
            Self::TooSmall(missing) => write!(f, "the node is too small by {missing}"),
            Self::Full(missing) => write!(f, "the node is short of {missing}"),
            Self::Apart => f.write_str("the node is too near to tasks from which it stays apart"),
        }
    }
}

/// Checks whether `node`, of which there is `room` left, can take one element of `task`, of which nothing is left to choose
/// ([`TaskSpec::chosen`]).
pub fn feasible(node: &Node, room: Room<'_>, task: &TaskSpec) -> Result<(), Infeasible> {
    within_limits(node, task)?;
    has_room(node, room, task)
}

/// The part of [`feasible`] that looks at the node's row alone: it says the same until that is another one.
pub(crate) fn within_limits(node: &Node, task: &TaskSpec) -> Result<(), Infeasible> {
    debug_assert!(!task.has_choice(), "asked of one alternative, not of a task that has several");
    if node.status != NodeStatus::Up {
        return Err(Infeasible::NodeLost);
    }
    if node.is_out() && !quorate_planted::is(Bug::CordonIgnored) && !is_missed(node) {
        return Err(if node.drain().is_some() { Infeasible::Draining } else { Infeasible::Cordoned });
    }
    if !suits(node, task) {
        let is_reserved = node.around.reservation.is_some();
        return Err(if is_reserved { Infeasible::Reserved } else { Infeasible::Unreserved });
    }
    let is_bound = !quorate_planted::is(Bug::PlaceIgnored);
    if is_bound && !task.place.regions.is_empty() && !task.place.regions.contains(&node.region) {
        return Err(Infeasible::Region);
    }
    if is_bound && !task.place.clusters.is_empty() && !task.place.clusters.contains(&node.cluster) {
        return Err(Infeasible::Cluster);
    }
    if !task.place.accepts_pool(&node.offer.pool) {
        return Err(Infeasible::Pool);
    }
    if is_bound && !task.place.accepts_labels(&node.labels) {
        return Err(Infeasible::Labels);
    }
    if task.place.refuses(&node.offer.taints).is_some() {
        return Err(Infeasible::Taint);
    }
    if !task.place.holds_for(node) {
        return Err(Infeasible::Where);
    }
    if !task.resources.fits(node.capacity) {
        return Err(Infeasible::TooSmall(missing(task.resources, node.capacity)));
    }
    let want = GpuWant::of(task);
    if u64::from(want.allowed(node).count_ones()) < want.devices() {
        return Err(Infeasible::GpuModel);
    }
    Ok(())
}

/// What a planted bug takes for in service: a node that came after its cluster or region was taken out of it.
fn is_missed(node: &Node) -> bool {
    let around = [&node.around.cluster, &node.around.region].into_iter().flatten();
    let is_newcomer = around.into_iter().all(|withdrawal| withdrawal.at < node.registered_at);
    quorate_planted::is(Bug::ScopeDrainMissesNewcomer) && !node.cordoned && is_newcomer
}

/// The rest of it, of a task that is within its limits there.
pub fn has_room(node: &Node, room: Room<'_>, task: &TaskSpec) -> Result<(), Infeasible> {
    let want = GpuWant::of(task);
    // What is left of devices counts only as far as the task could use it.
    let usable = if want.milli == 0 { 0 } else { want.usable(want.allowed(node), room.gpus) };
    let free = Resources { gpu_milli: usable.min(room.free.gpu_milli), ..room.free };
    if !task.resources.fits(free) {
        return Err(Infeasible::Full(missing(task.resources, free)));
    }
    Ok(())
}

fn missing(want: Resources, have: Resources) -> Shortfall {
    let Resources { cpu_milli, memory_bytes, gpu_milli } = want.saturating_sub(have);
    Shortfall { cpu_milli, memory_bytes, gpu_milli }
}
