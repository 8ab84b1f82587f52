//! The shapes that tasks typically have, and draws from them that say what may come next.
//!
//! Draws come in blocks of [`BLOCK`] per line, and a block of all lines together has every shape as often as its weight
//! says, rounded: so few draws speak for a mix of many shapes. Their order follows from a constant alone, but for tasks
//! that take several devices: they come first in their block, for the small ones before them would find other places,
//! and without that it is chance whether any line has one in front, which alone shows what an empty node is worth.

use std::collections::BTreeMap;

use quorate_state::mix as scramble;

use super::room::{DEVICES_MAX, GpuWant, Room, Want};

/// Shapes that a mix may have; rarer ones are left out.
pub const MIX_SHAPES_MAX: usize = 256;

/// Of a hundred tasks with GPUs, this many have one of the shapes that are kept.
const COVERED_PERCENT: u128 = 95;

/// Futures that are looked at.
pub(super) const LINES: usize = 8;

/// Draws of one line for every device of a node. The load that they stand for is several times what a device can take,
/// so that at their end little more would fit. With 3 or 4 the futures of nodes end too soon; 8 are no better.
const DRAWS_PER_DEVICE: usize = 6;

/// Draws of a line between two points at which the weights hold exactly, but for rounding.
const BLOCK: usize = 16;

/// Blocks of a line: enough for a node with as many devices as there can be.
const BLOCKS: usize = DEVICES_MAX * DRAWS_PER_DEVICE / BLOCK;

/// Typical shapes with GPUs, most frequent first. Tasks without any are left out: they are placed where they waste the least GPU,
/// so they come to few of the nodes with GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    shapes: Vec<(Want, u64)>,
}

/// One task that may come, as the node's model sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub(super) cpu_milli: u64,
    pub(super) memory_bytes: u64,
    /// Its place in its line.
    at: u16,
    /// Of one device; nothing when it takes whole ones.
    pub(super) share_milli: u16,
    /// Whole devices; 0 when it shares one.
    pub(super) whole: u8,
}

/// What may come, line by line, for each model that a node has.
#[derive(Clone, Debug, Default)]
pub(super) struct Draws {
    lines: Vec<Vec<Want>>,
    by_model: BTreeMap<u8, Vec<Vec<Draw>>>,
}

impl Mix {
    /// Of tasks with these shapes, each given with how many there are; a shape may come several times.
    pub fn of(tasks: impl IntoIterator<Item = (Want, u64)>) -> Self {
        let mut counts: BTreeMap<Want, u64> = BTreeMap::new();
        for (want, count) in tasks {
            if want.gpu != GpuWant::None {
                let entry = counts.entry(want).or_default();
                // Bounded so that sums and products of weights stay far from the end of their type.
                *entry = entry.saturating_add(count).min(u64::from(u32::MAX));
            }
        }
        let total: u128 = counts.values().copied().map(u128::from).sum();
        let mut shapes: Vec<(Want, u64)> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        shapes.sort_by_key(|(want, count)| (std::cmp::Reverse(*count), *want));
        let mut covered = 0_u128;
        let kept = shapes.iter().take(MIX_SHAPES_MAX).take_while(|(_, count)| {
            let is_needed = covered * 100 < total * COVERED_PERCENT;
            covered += u128::from(*count);
            is_needed
        });
        Self { shapes: kept.copied().collect() }
    }

    /// The shapes and how many tasks have them, most frequent first.
    pub fn shapes(&self) -> &[(Want, u64)] {
        &self.shapes
    }
}

impl Draws {
    /// Of a mix, for no node yet.
    pub(super) fn of(mix: &Mix) -> Self {
        Self { lines: lines(mix), by_model: BTreeMap::new() }
    }

    /// Makes sure that there are those for this node's model.
    pub(super) fn add_model_of(&mut self, room: &Room) {
        if room.devices().is_empty() {
            return;
        }
        let lines = &self.lines;
        self.by_model.entry(room.model).or_insert_with(|| {
            let seen = |line: &Vec<Want>| {
                let numbered = line.iter().zip(0_u16..).filter(|(want, _)| want.models.contain(room.model));
                numbered.map(|(want, at)| Draw::of(want, at)).collect()
            };
            lines.iter().map(seen).collect()
        });
    }

    /// What may come to a node with this model and so many devices.
    pub(super) fn lines(&self, model: u8, devices: usize) -> impl Iterator<Item = &[Draw]> {
        let until = devices * DRAWS_PER_DEVICE;
        self.by_model.get(&model).into_iter().flatten().map(move |line| {
            let end = line.partition_point(|draw| usize::from(draw.at) < until);
            line.get(..end).unwrap_or_default()
        })
    }
}

impl Draw {
    fn of(want: &Want, at: u16) -> Self {
        let (share_milli, whole) = match want.gpu {
            GpuWant::None => (0, 0),
            GpuWant::Share(milli) => (milli, 0),
            GpuWant::Whole(devices) => (0, devices),
        };
        Self { cpu_milli: want.cpu_milli, memory_bytes: want.memory_bytes, at, share_milli, whole }
    }
}

/// The shapes drawn, line by line.
fn lines(mix: &Mix) -> Vec<Vec<Want>> {
    let total: u64 = mix.shapes.iter().map(|(_, weight)| weight).sum();
    let mut lines = vec![Vec::new(); LINES];
    for block in 0..BLOCKS as u64 {
        let mut drawn = strata(mix, total);
        shuffle(&mut drawn, block);
        for (line, part) in lines.iter_mut().zip(drawn.chunks_mut(BLOCK)) {
            part.sort_by_key(|want| std::cmp::Reverse(want.gpu.devices_together()));
            line.extend_from_slice(part);
        }
    }
    lines
}

/// A block of all lines in order: the shape in the middle of each of as many equal parts of the weights.
fn strata(mix: &Mix, total: u64) -> Vec<Want> {
    let parts = (LINES * BLOCK) as u64;
    let mut drawn = Vec::with_capacity(LINES * BLOCK);
    let mut until = 0;
    for (want, weight) in &mix.shapes {
        until += weight;
        while (2 * drawn.len() as u64 + 1) * total < 2 * parts * until && (drawn.len() as u64) < parts {
            drawn.push(*want);
        }
    }
    drawn
}

/// Fisher and Yates, with numbers that follow from the block's.
fn shuffle(drawn: &mut [Want], block: u64) {
    for last in (1..drawn.len()).rev() {
        let number = scramble((block << 32) + last as u64);
        drawn.swap(last, (number % (last as u64 + 1)) as usize);
    }
}
