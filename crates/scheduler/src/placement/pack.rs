//! Packing: on which node, and on which of its devices, a task wastes the least GPU.
//!
//! A task goes where the GPUs that will stay idle grow least by it, as the outlook of the node before and after tells, with a
//! charge for models that are asked for more than others; then to a node without GPUs if it needs none; then where
//! it leaves least (best fit); and to the first node of equal ones. ADR 0055 says what else was tried.
//!
//! Scores are kept by shape and node. A placement changes one node, and a shape catches up on nodes that have changed when it
//! is asked for again: what a decision costs grows with the changes since and with the logarithm of the nodes.
//!
//! **Invariant:** what is kept never decides: a packer that has placed and released answers as a new one of the same rooms.

mod hold;
mod room;

mod mix;
mod outlook;
mod pressure;
mod ranking;

use std::collections::BTreeMap;

pub use hold::GpuHold;
pub use mix::{MIX_SHAPES_MAX, Mix};
pub use room::{DEVICES_MAX, GpuWant, MODELS_MAX, Models, Room, WHOLE, Want};

use mix::{Draws, LINES};
use outlook::{Outlook, digest};
use pressure::{CHARGE_MAX, Pressures};
use ranking::{Ranking, Score};

/// Scores that are kept, of all shapes together. All are let go of when there would be more, and made again as shapes are
/// asked for: 4 million are 200 shapes on 20,000 nodes, and 80 MB.
pub const SCORES_MAX: usize = 4_000_000;

/// Changes of nodes that are kept one by one for each node there is; a shape that was not asked for since looks through all nodes.
const CHANGES_PER_NODE: usize = 2;

/// Idle thousandths that every score has on top, so that one that falls is a number as well.
const IDLE_OFFSET: u64 = 1 << 20;
const _: () = assert!(IDLE_MAX < IDLE_OFFSET && IDLE_OFFSET + IDLE_MAX + CHARGE_MAX < 1 << (64 - GROWTH_SHIFT));

/// The most that an outlook tells.
const IDLE_MAX: u64 = LINES as u64 * DEVICES_MAX as u64 * WHOLE as u64;

/// Where in a score the growth of what stays idle begins; below it are a bit for nodes with GPUs and 32 for what is left.
const GROWTH_SHIFT: u32 = 33;

/// One core counts as much as one 16th of a GPU when it comes to what a placement leaves, and a GPU as much as 64 GiB: about
/// what machines have of each. It decides between nodes with the same outlook only.
const CORES_PER_GPU: u64 = 16;
const MEMORY_BITS_PER_MILLI: u32 = 26;

/// Nodes with their rooms, and the best of them for any shape. Nodes are numbered as they were given.
pub struct Packer {
    nodes: Vec<NodeRoom>,
    shapes: BTreeMap<Want, Shape>,
    changes: Changes,
    judge: Judge,
    mix: Mix,
    looks: u64,
}

/// What nodes are judged by.
struct Judge {
    outlook: Outlook,
    pressures: Pressures,
}

struct NodeRoom {
    room: Room,
    /// Of the room with its devices sorted.
    digest: u64,
    /// What the outlook says of it, once asked.
    idle: Option<u32>,
}

struct Shape {
    ranking: Ranking,
    /// Changes that are in it.
    seen: u64,
}

impl Packer {
    /// Nodes with this much free, to be filled with tasks of this mix.
    pub fn new(rooms: &[Room], mix: &Mix) -> Self {
        let mut outlook = Outlook::new(Draws::of(mix));
        for room in rooms {
            outlook.add_model_of(room);
        }
        Self {
            nodes: rooms.iter().map(NodeRoom::new).collect(),
            shapes: BTreeMap::new(),
            changes: Changes::new(rooms.len()),
            judge: Judge { outlook, pressures: Pressures::of(mix, rooms.iter()) },
            mix: mix.clone(),
            looks: 0,
        }
    }

    /// What is free on a node.
    pub fn room(&self, node: usize) -> Option<&Room> {
        self.nodes.get(node).map(|node| &node.room)
    }

    /// Looks at one node for one shape so far: what its answers have cost.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// The best node for a task, and what it would hold there. `None` if it fits nowhere.
    pub fn best(&mut self, want: &Want) -> Option<(usize, GpuHold)> {
        self.catch_up(want);
        let node = self.shapes.get(want)?.ranking.best()?;
        let (_, hold) = look(&mut self.judge, self.nodes.get_mut(node)?, want)?;
        Some((node, hold))
    }

    /// Gives a task its best node, if it fits on any.
    pub fn place(&mut self, want: &Want) -> Option<(usize, GpuHold)> {
        let (node, hold) = self.best(want)?;
        self.take(node, want, hold).then_some((node, hold))
    }

    /// Takes from a node what a task there has. False, with nothing taken, if it is not there.
    #[must_use]
    pub fn take(&mut self, node: usize, want: &Want, hold: GpuHold) -> bool {
        let left = self.room(node).and_then(|room| room.without(want, hold));
        left.is_some_and(|left| self.replace(node, left))
    }

    /// Gives back what a task had that has left. False, with nothing given back, if that would be more than there can be.
    #[must_use]
    pub fn release(&mut self, node: usize, want: &Want, hold: GpuHold) -> bool {
        let more = self.room(node).and_then(|room| room.with(want, hold));
        more.is_some_and(|more| self.replace(node, more))
    }

    /// Says that a node has this much free now. False if there is no such node.
    #[must_use]
    pub fn replace(&mut self, node: usize, room: Room) -> bool {
        let Some(entry) = self.nodes.get_mut(node) else { return false };
        let is_same_machine = (entry.room.model, entry.room.devices().len()) == (room.model, room.devices().len());
        *entry = NodeRoom::new(&room);
        self.changes.add(node);
        if !is_same_machine {
            self.judge.outlook.add_model_of(&room);
            self.judge.pressures = Pressures::of(&self.mix, self.nodes.iter().map(|node| &node.room));
            self.shapes.clear();
        }
        true
    }

    /// Brings the ranking of a shape up to date.
    fn catch_up(&mut self, want: &Want) {
        let Self { nodes, shapes, changes, judge, mix: _, looks } = self;
        if let Some(shape) = shapes.get_mut(want) {
            for node in changes.since(shape.seen) {
                let Some(room) = nodes.get_mut(node) else { continue };
                *looks += 1;
                shape.ranking.set(node, score(judge, room, want));
            }
            shape.seen = changes.count;
            return;
        }
        if (shapes.len() + 1).saturating_mul(nodes.len()) > SCORES_MAX {
            shapes.clear();
        }
        *looks += nodes.len() as u64;
        let scores = nodes.iter_mut().map(|room| score(judge, room, want)).collect();
        shapes.insert(*want, Shape { ranking: Ranking::new(scores), seen: changes.count });
    }
}

impl NodeRoom {
    fn new(room: &Room) -> Self {
        Self { room: *room, digest: digest(&room.sorted()), idle: None }
    }
}

fn score(judge: &mut Judge, node: &mut NodeRoom, want: &Want) -> Score {
    look(judge, node, want).map_or(Score::NOWHERE, |(score, _)| score)
}

/// How good a node is for a task, and what it would hold there. `None` if it does not fit.
fn look(judge: &mut Judge, node: &mut NodeRoom, want: &Want) -> Option<(Score, GpuHold)> {
    if !node.room.fits(want) {
        return None;
    }
    let Judge { outlook, pressures } = judge;
    let before = *node.idle.get_or_insert_with(|| outlook.idle(&node.room));
    let (after, hold) = least_idle(outlook, &node.room, want)?;
    let growth = match want.gpu {
        // Fewer cores are never worth more, whatever a few futures say.
        GpuWant::None => IDLE_OFFSET + u64::from(after.saturating_sub(before)),
        GpuWant::Share(_) | GpuWant::Whole(_) => {
            IDLE_OFFSET + u64::from(after) - u64::from(before) + pressures.charge(node.room.model, want.gpu.milli())
        }
    };
    let keeps_from_gpus = want.gpu == GpuWant::None && !node.room.devices().is_empty();
    let left = (node.room.cpu_milli - want.cpu_milli) / CORES_PER_GPU
        + ((node.room.memory_bytes - want.memory_bytes) >> MEMORY_BITS_PER_MILLI)
        + (node.room.gpu_milli() - want.gpu.milli());
    let value = growth << GROWTH_SHIFT | u64::from(keeps_from_gpus) << 32 | left.min(u64::from(u32::MAX));
    Some((Score { value, room: node.digest }, hold))
}

/// The devices with which the least stays idle, and how much that is. The task fits in the room.
fn least_idle(outlook: &mut Outlook, room: &Room, want: &Want) -> Option<(u32, GpuHold)> {
    match want.gpu {
        GpuWant::None => {
            let hold = GpuHold::default();
            Some((outlook.idle(&room.without(want, hold)?), hold))
        }
        GpuWant::Whole(devices) => {
            let whole = room.devices().iter().zip(0_u32..).filter(|(free, _)| **free == WHOLE);
            let devices = whole.take(usize::from(devices)).fold(0, |set, (_, device)| set | 1 << device);
            let hold = GpuHold { devices, milli: WHOLE };
            Some((outlook.idle(&room.without(want, hold)?), hold))
        }
        GpuWant::Share(milli) => {
            let mut best: Option<(u32, u16, GpuHold)> = None;
            for (number, free) in room.devices().iter().enumerate().filter(|(_, free)| **free >= milli) {
                if room.devices().iter().take(number).any(|before| before == free) {
                    continue;
                }
                let hold = GpuHold { devices: 1 << number, milli };
                let idle = outlook.idle(&room.without(want, hold)?);
                if best.is_none_or(|(least, on, _)| (idle, *free) < (least, on)) {
                    best = Some((idle, *free, hold));
                }
            }
            best.map(|(idle, _, hold)| (idle, hold))
        }
    }
}

/// Which nodes have changed, change by change.
struct Changes {
    /// The last of them, oldest first.
    latest: Vec<usize>,
    /// All that there were.
    count: u64,
    /// Up to which change there were none of a node after that, node by node: the number of its last one.
    last_of: Vec<u64>,
}

impl Changes {
    fn new(nodes: usize) -> Self {
        Self { latest: Vec::new(), count: 0, last_of: vec![0; nodes] }
    }

    fn add(&mut self, node: usize) {
        // Half of them go at once, so that this costs little for each.
        if self.latest.len() >= 2 * CHANGES_PER_NODE * self.last_of.len() {
            self.latest.drain(..self.latest.len() / 2);
        }
        self.latest.push(node);
        self.count += 1;
        if let Some(last) = self.last_of.get_mut(node) {
            *last = self.count;
        }
    }

    /// The nodes that have changed since there were so many changes, each once.
    fn since(&self, seen: u64) -> impl Iterator<Item = usize> + '_ {
        let first = self.count - self.latest.len() as u64;
        let is_kept = seen >= first;
        let from = if is_kept { (seen - first) as usize } else { self.latest.len() };
        let each = self.latest.iter().enumerate().skip(from);
        let newest = each.filter(move |(at, node)| self.last_of.get(**node) == Some(&(first + *at as u64 + 1)));
        let all = if is_kept { &[][..] } else { &self.last_of[..] };
        let changed = all.iter().enumerate().filter(move |(_, last)| **last > seen).map(|(node, _)| node);
        newest.map(|(_, node)| *node).chain(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_have_changed_are_told_once_however_long_ago_it_was() {
        let mut changes = Changes::new(3);
        let mut since = vec![];
        for step in 0..60_usize {
            since.push(step * step % 3);
            changes.add(step * step % 3);
            for seen in 0..=since.len() {
                let mut told: Vec<usize> = changes.since(seen as u64).collect();
                told.sort_unstable();
                let mut expected = since[seen..].to_vec();
                expected.sort_unstable();
                expected.dedup();
                assert_eq!(told, expected, "since {seen} of {since:?}");
            }
        }
    }
}
