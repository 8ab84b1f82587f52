//! What placement would say of a job that is not submitted yet.

use std::collections::BTreeMap;

use quorate_state::{GPU_MILLI, GpuWant, JobSpec, Node, NodeStatus, Resources, Room, State, TaskName, TaskSpec};

use super::nearest::diagnose;
use super::{Explanation, NoAlternative};
use crate::placement::admit;
use crate::{Observed, Presence};

/// Nodes looked at for one preview, all steps together: a guard against jobs of very many shapes.
pub const PREVIEW_CHECKS_MAX: usize = 1_000_000;

/// What placement says of one step, taken alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// The step's name.
    pub task: TaskName,
    /// How many elements it has.
    pub count: u32,
    /// How many of them the nodes that take work could hold at once if they were empty. Of a task with alternatives each node is
    /// taken to be filled with that of which it holds most.
    pub fits_empty: u32,
    /// How many they could hold now, with the queue left out of account.
    pub fits_now: u32,
    /// Why none fits now, when none does.
    pub reason: Option<Explanation>,
    /// False when [`PREVIEW_CHECKS_MAX`] was reached before this step; what is said of it is nothing then.
    pub examined: bool,
}

/// What placement says of each step of `spec`, in file order.
pub fn preview(view: &State, spec: &JobSpec) -> Vec<PlannedStep> {
    let nodes: Vec<(&Node, Room<'_>)> = view.nodes().map(|node| (&**node, view.room_on(node))).collect();
    let mut checks_left = PREVIEW_CHECKS_MAX;
    let mut known: BTreeMap<_, (u64, u64, Option<Explanation>)> = BTreeMap::new();
    let steps = spec.tasks.iter().map(|task| {
        let shape = (task.driver, &task.place, amounts(task.resources), &task.gpu_models, &task.alternatives);
        let found = match known.get(&shape) {
            // No node is looked for.
            _ if task.sub_run.is_some() => Some((u64::MAX, u64::MAX, None)),
            Some(found) => Some(found.clone()),
            None if checks_left == 0 => None,
            None => {
                checks_left = checks_left.saturating_sub(nodes.len() * task.choices().count());
                let found = examine(view, &nodes, task);
                known.insert(shape, found.clone());
                Some(found)
            }
        };
        let examined = found.is_some();
        let (empty, now, why) = found.unwrap_or_default();
        let of_count = |fits: u64| u32::try_from(fits).unwrap_or(u32::MAX).min(task.count);
        PlannedStep {
            task: task.name.clone(),
            count: task.count,
            fits_empty: of_count(empty),
            fits_now: of_count(now),
            reason: why,
            examined,
        }
    });
    steps.collect()
}

fn examine(view: &State, nodes: &[(&Node, Room<'_>)], task: &TaskSpec) -> (u64, u64, Option<Explanation>) {
    let ways: Vec<_> = task.choices().filter_map(|choice| task.chosen(choice)).collect();
    let most = |node: &Node, room| ways.iter().map(|way| copies(node, Presence::Heard, room, way)).max().unwrap_or(0);
    let (mut empty, mut now) = (0_u64, 0_u64);
    for (node, room) in nodes {
        if node.status == NodeStatus::Up {
            empty = empty.saturating_add(most(node, Room::empty(node)));
            now = now.saturating_add(most(node, *room));
        }
    }
    if now > 0 {
        return (empty, now, None);
    }
    // Nobody asks for a preview of the silence of nodes: it will have passed by the time of the submit.
    let each = ways.iter().map(|way| diagnose(view, &Observed::default(), way).err().map(Explanation::NoNodeFits));
    let each: Option<Vec<Explanation>> = each.collect();
    let why = each.and_then(|mut each| match task.has_choice() {
        true => Some(Explanation::NoAlternative(NoAlternative { each, expected: None })),
        false => each.pop(),
    });
    (empty, now, why)
}

/// How many elements of `task` `node` can take while `room` is free.
pub(crate) fn copies(node: &Node, presence: Presence, room: Room<'_>, task: &TaskSpec) -> u64 {
    if admit(node, presence, room, task).is_err() {
        return 0;
    }
    let of = |room: u64, want: u64| room.checked_div(want).unwrap_or(u64::MAX);
    let Room { free, gpus } = room;
    let want = GpuWant::of(task);
    let devices = (0..node.gpus.len()).filter(|at| want.allowed(node) >> at & 1 == 1).map(|at| gpus.free(at));
    let by_gpu = if want.milli == 0 {
        u64::MAX
    } else if want.is_shared() {
        devices.map(|free| free / want.milli).sum()
    } else {
        devices.filter(|free| *free == GPU_MILLI).count() as u64 / want.devices()
    };
    of(free.cpu_milli, task.resources.cpu_milli).min(of(free.memory_bytes, task.resources.memory_bytes)).min(by_gpu)
}

fn amounts(resources: Resources) -> (u64, u64, u64) {
    (resources.cpu_milli, resources.memory_bytes, resources.gpu_milli)
}
