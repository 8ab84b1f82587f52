//! Which node comes nearest to taking a task, and what it misses.

use std::cmp::Reverse;

use quorate_state::{
    Around, Census, GpuUse, GpuWant, Node, NodeStatus, Resources, Room, Run, Shortfall, State, TaskSpec, feasible,
};

use super::{Check, Checks, NearestMiss, NoNodeFits};
use crate::Observed;
use crate::placement::{admit, share};

/// Looks for a node for one element of `task`, with the queue and other tasks left out of account.
pub(super) fn diagnose(view: &State, observed: &Observed, task: &TaskSpec) -> Result<(), NoNodeFits> {
    among(nodes(view), observed, task, |_| Ok(()))
}

/// The same for one element of a step of a run, whose rules about other tasks count.
pub(super) fn diagnose_among(
    view: &State,
    observed: &Observed,
    (run, step): (&Run, u32),
    task: &TaskSpec,
) -> Result<(), NoNodeFits> {
    let mut census = Census::of_state();
    let rules = census.rules(view, run, step);
    among(nodes(view), observed, task, |node| census.admits(&rules, node).map_err(|why| Check::of(&why)))
}

/// The nodes that come nearest to taking one element of a step, the nearest first, at most `count`.
pub(super) fn misses(
    view: &State,
    observed: &Observed,
    (run, step): (&Run, u32),
    task: &TaskSpec,
    count: usize,
) -> Vec<NearestMiss> {
    let mut census = Census::of_state();
    let rules = census.rules(view, run, step);
    let company = |node: &Node| census.admits(&rules, node).map_err(|why| Check::of(&why));
    let mut misses: Vec<(Distance, NearestMiss)> =
        nodes(view).filter_map(|node| miss(node, observed, task, company).err()).collect();
    // Names come in order, and equals stay in it.
    misses.sort_by_key(|(distance, _)| *distance);
    misses.into_iter().take(count).map(|(_, miss)| miss).collect()
}

type Distance = (Reverse<Rank>, u128);

/// How far a node is from taking one element of `task`, if it cannot.
fn miss(
    (node, used, gpus): (&Node, Resources, &GpuUse),
    observed: &Observed,
    task: &TaskSpec,
    company: impl Fn(&Node) -> Result<(), Check>,
) -> Result<(), (Distance, NearestMiss)> {
    let room = Room { free: node.capacity.saturating_sub(used), gpus };
    let admitted = admit(node, observed.presence(node), room, task).and_then(|()| company(node));
    let Err(check) = admitted else { return Ok(()) };
    let lacking = missing(used, node.capacity, task.resources);
    let missing = Shortfall { gpu_milli: missing_gpu(node, room.gpus, task), ..lacking };
    let distance = (Reverse(Rank::of(check)), dominant(missing, node.capacity));
    Err((distance, NearestMiss { node: node.name.clone(), check, missing }))
}

fn nodes(view: &State) -> impl Iterator<Item = (&Node, Resources, &GpuUse)> {
    view.nodes().map(|node| (&**node, view.used_on(&node.name), view.room_on(node).gpus))
}

/// The same among these nodes, of which that much is used; by name. `company` is the last check.
pub(super) fn among<'a>(
    nodes: impl Iterator<Item = (&'a Node, Resources, &'a GpuUse)>,
    observed: &Observed,
    task: &TaskSpec,
    company: impl Fn(&Node) -> Result<(), Check>,
) -> Result<(), NoNodeFits> {
    let mut checks = Checks::default();
    let mut never = true;
    let mut nearest: Option<(Distance, NearestMiss)> = None;
    for (node, used, gpus) in nodes {
        let Err((distance, miss)) = miss((node, used, gpus), observed, task, &company) else { return Ok(()) };
        checks.add(miss.check);
        never &= !could_hold(node, task);
        // Names come in order, so among equals the first stays.
        if nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
            nearest = Some((distance, miss));
        }
    }
    let nearest = nearest.map(|(_, nearest)| nearest);
    Err(NoNodeFits { checks, nearest, never, expected: None, bound: Box::default() })
}

/// Whether `node` could hold `task` if it were there, open and empty.
pub(super) fn could_hold(node: &Node, task: &TaskSpec) -> bool {
    if node.status == NodeStatus::Up && !node.is_out() && node.around.reservation == task.place.reservation {
        return feasible(node, Room::empty(node), task).is_ok();
    }
    // When it is set aside passes; what the task asks for does not.
    let around = Around { reservation: task.place.reservation.clone(), ..Around::default() };
    let open = Node { status: NodeStatus::Up, cordoned: false, around, ..node.clone() };
    feasible(&open, Room::empty(&open), task).is_ok()
}

/// How many checks a node passes. Both that are about room count the same: what is missing decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Fails(Check),
    LacksRoom,
}

impl Rank {
    fn of(check: Check) -> Self {
        if check.is_about_room() { Self::LacksRoom } else { Self::Fails(check) }
    }
}

/// What must be added to `capacity` so that `want` fits beside `used`. More than the difference to
/// what is free if the node shrank below its use.
pub(super) fn missing(used: Resources, capacity: Resources, want: Resources) -> Shortfall {
    let lack = |used: u64, capacity: u64, want: u64| used.saturating_add(want).saturating_sub(capacity);
    Shortfall {
        cpu_milli: if want.cpu_milli == 0 { 0 } else { lack(used.cpu_milli, capacity.cpu_milli, want.cpu_milli) },
        memory_bytes: if want.memory_bytes == 0 {
            0
        } else {
            lack(used.memory_bytes, capacity.memory_bytes, want.memory_bytes)
        },
        gpu_milli: 0,
    }
}

/// The same for GPUs: of those that the task may have, as it could use them.
pub(super) fn missing_gpu(node: &Node, taken: &GpuUse, task: &TaskSpec) -> u64 {
    let want = GpuWant::of(task);
    if want.milli == 0 { 0 } else { want.milli.saturating_sub(want.usable(want.allowed(node), taken)) }
}

fn dominant(missing: Shortfall, capacity: Resources) -> u128 {
    let of = |missing: u64, capacity: u64| share(u128::from(missing), u128::from(capacity));
    of(missing.cpu_milli, capacity.cpu_milli)
        .max(of(missing.memory_bytes, capacity.memory_bytes))
        .max(of(missing.gpu_milli, capacity.gpu_milli))
}
