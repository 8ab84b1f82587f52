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

mod room;

mod judge;
mod mix;
mod outlook;
mod pressure;
mod ranking;

use std::cmp::Ordering;
use std::collections::BTreeMap;

pub use mix::{MIX_SHAPES_MAX, Mix};
pub use quorate_state::GpuHold;
pub use room::{DEVICES_MAX, GpuWant, MODELS_MAX, Models, Room, WHOLE, Want};

pub(super) use judge::{Judge, Worth, idle_milli, together};
pub(super) use outlook::digest;
pub(super) use ranking::{Rank, Ranking};

use super::changes::Changes;

/// Scores that are kept, of all shapes together. All are let go of when there would be more, and made again as shapes are
/// asked for: 4 million are 200 shapes on 20,000 nodes, and 80 MB.
pub const SCORES_MAX: usize = 4_000_000;

/// Nodes with their rooms, and the best of them for any shape. Nodes are numbered as they were given.
pub struct Packer {
    nodes: Vec<NodeRoom>,
    shapes: BTreeMap<Want, Shape>,
    changes: Changes,
    judge: Judge,
    mix: Mix,
    looks: u64,
}

struct NodeRoom {
    room: Room,
    /// Of the room with its devices sorted.
    digest: u64,
    /// What the outlook says of it, once asked.
    idle: Option<u32>,
}

struct Shape {
    ranking: Ranking<Score>,
    /// Changes that are in it.
    seen: u64,
}

impl Packer {
    /// Nodes with this much free, to be filled with tasks of this mix.
    pub fn new(rooms: &[Room], mix: &Mix) -> Self {
        Self {
            nodes: rooms.iter().map(NodeRoom::new).collect(),
            shapes: BTreeMap::new(),
            changes: Changes::new(rooms.len()),
            judge: Judge::new(mix, rooms.iter()),
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
        let NodeRoom { room, idle, .. } = self.nodes.get_mut(node)?;
        let (_, hold) = self.judge.look(room, idle, want)?;
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
            self.judge.look_again(&self.mix, self.nodes.iter().map(|node| &node.room));
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
                shape.ranking.set(node, score(judge, room, want), |_, _| Ordering::Equal);
            }
            shape.seen = changes.count();
            return;
        }
        if (shapes.len() + 1).saturating_mul(nodes.len()) > SCORES_MAX {
            shapes.clear();
        }
        *looks += nodes.len() as u64;
        let scores: Vec<Score> = nodes.iter_mut().map(|room| score(judge, room, want)).collect();
        shapes.insert(*want, Shape { ranking: Ranking::new(scores, |_, _| Ordering::Equal), seen: changes.count() });
    }
}

impl NodeRoom {
    fn new(room: &Room) -> Self {
        Self { room: *room, digest: digest(&room.sorted()), idle: None }
    }
}

/// How good a node is for a shape; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    /// What matters, most important bits first.
    value: u64,
    /// Tells rooms apart that are worth the same, whatever their nodes are called.
    room: u64,
}

impl Rank for Score {
    const NOWHERE: Self = Self { value: u64::MAX, room: u64::MAX };

    fn fits(self) -> bool {
        self != Self::NOWHERE
    }
}

fn score(judge: &mut Judge, node: &mut NodeRoom, want: &Want) -> Score {
    let worth = judge.look(&node.room, &mut node.idle, want);
    worth.map_or(Score::NOWHERE, |(worth, _)| Score { value: worth.value(), room: node.digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept and ranked finds the node that a look at all of them finds.
    #[test]
    fn the_best_node_is_that_of_a_scan_over_all() {
        let number = |step: u64, below: u64| quorate_state::mix(step) % below;
        let rooms: Vec<Room> = (0..40)
            .map(|node| {
                let free: Vec<u16> = (0..1 << (node % 4)).map(|at| [WHOLE, 500, 1_000][at % 3]).collect();
                Room::new(16_000 + 8_000 * number(node, 4), 0, (node % 3) as u8, &free)
            })
            .collect::<Option<_>>()
            .unwrap();
        let wants = [(1_000, 300), (4_000, 500), (6_000, 1_000), (9_000, 2_000), (2_000, 0), (3_000, 4_000)];
        let wants = wants.map(|(cpu_milli, gpu)| Want {
            cpu_milli,
            memory_bytes: 0,
            gpu: GpuWant::from_milli(gpu).unwrap(),
            models: if gpu == 1_000 { Models::NONE.with(1).with(2) } else { Models::ANY },
        });
        let mix = Mix::of(wants.iter().zip(1..).map(|(want, weight)| (*want, weight)));
        let (mut packer, mut judge) = (Packer::new(&rooms, &mix), Judge::new(&mix, rooms.iter()));
        let mut there: Vec<(usize, Want, GpuHold)> = vec![];
        for step in 0..600 {
            let want = wants[number(step, 6) as usize];
            let scan = (0..rooms.len()).filter_map(|node| {
                let room = packer.room(node)?;
                let (worth, hold) = judge.look(room, &mut None, &want)?;
                Some(((worth, digest(&room.sorted()), node), hold))
            });
            let expected = scan.min_by_key(|(value, _)| *value).map(|((_, _, node), hold)| (node, hold));
            let placed = packer.place(&want);
            assert_eq!(placed, expected, "step {step}");
            there.extend(placed.map(|(node, hold)| (node, want, hold)));
            if step % 3 == 2 && !there.is_empty() {
                let (node, want, hold) = there.swap_remove(number(step, there.len() as u64) as usize);
                assert!(packer.release(node, &want, hold));
            }
        }
        assert!(there.len() > 100);
    }
}
