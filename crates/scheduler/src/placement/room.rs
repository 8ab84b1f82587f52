//! The largest rooms that are left: enough to say of a shape that it fits nowhere, without a look
//! at the nodes.

use quorate_state::Resources;

/// What is free on each node of processors and memory, where nothing but that can keep a task away.
///
/// A tree: every place of it has the most of each that there is anywhere below it.
pub(super) struct Rooms {
    /// Place 1 is the top, and those below place `n` are `2n` and `2n + 1`. A place from `leaves` on is a node's own.
    most: Vec<Most>,
    leaves: usize,
}

/// Processors, with one thousandth of a core on top, and memory; nothing at all where there is no node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Most {
    cpu_milli: u64,
    memory_bytes: u64,
}

impl Most {
    /// With one thousandth on top, no room at all is less than an empty one.
    fn of(room: Option<Resources>) -> Self {
        room.map_or_else(Self::default, |room| Self {
            cpu_milli: room.cpu_milli.saturating_add(1),
            memory_bytes: room.memory_bytes,
        })
    }

    fn holds(self, want: Self) -> bool {
        want.cpu_milli <= self.cpu_milli && want.memory_bytes <= self.memory_bytes
    }
}

impl Rooms {
    /// Node by node; none of one to which no such task goes, whatever is free.
    pub(super) fn of(rooms: impl ExactSizeIterator<Item = Option<Resources>>) -> Self {
        let leaves = rooms.len().next_power_of_two();
        let mut most = vec![Most::default(); leaves];
        most.extend(rooms.map(Most::of));
        most.resize(2 * leaves, Most::default());
        let mut tree = Self { most, leaves };
        (1..leaves).rev().for_each(|place| {
            tree.join(place);
        });
        tree
    }

    /// A node has this much free now.
    pub(super) fn set(&mut self, node: usize, room: Option<Resources>) {
        let mut place = self.leaves + node;
        if let Some(entry) = self.most.get_mut(place) {
            *entry = Most::of(room);
        }
        while place > 1 {
            place /= 2;
            if !self.join(place) {
                return;
            }
        }
    }

    /// How many nodes there are, about.
    pub(super) fn len(&self) -> usize {
        self.leaves
    }

    /// True when `want` fits in one of them.
    pub(super) fn hold(&self, want: Resources) -> bool {
        self.hold_below(1, Most::of(Some(want)))
    }

    /// No deeper than the tree, which is as deep as a number of nodes has binary digits.
    fn hold_below(&self, place: usize, want: Most) -> bool {
        let is_open = self.most.get(place).is_some_and(|most| most.holds(want));
        is_open && (place >= self.leaves || self.hold_below(2 * place, want) || self.hold_below(2 * place + 1, want))
    }

    /// Works out a place from those below it. True if it has changed.
    fn join(&mut self, place: usize) -> bool {
        let below = |place: usize| self.most.get(place).copied().unwrap_or_default();
        let (left, right) = (below(2 * place), below(2 * place + 1));
        let both = Most {
            cpu_milli: left.cpu_milli.max(right.cpu_milli),
            memory_bytes: left.memory_bytes.max(right.memory_bytes),
        };
        let Some(entry) = self.most.get_mut(place) else { return false };
        let has_changed = *entry != both;
        *entry = both;
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room((cpu_milli, memory_bytes): (u64, u64)) -> Resources {
        Resources { cpu_milli, memory_bytes, gpu_milli: 0 }
    }

    fn check(rooms: &Rooms, all: &[Option<Resources>]) {
        for want in (0..5).flat_map(|cpu| (0..9).map(move |memory| room((cpu, memory)))) {
            let fits = all.iter().flatten().any(|room| want.fits(*room));
            assert_eq!(rooms.hold(want), fits, "{want:?} in {all:?}");
        }
    }

    #[test]
    fn what_fits_in_one_room_is_held_and_nothing_else() {
        for rooms in [vec![], vec![(0, 0)], vec![(3, 1), (1, 3), (2, 2), (2, 1), (3, 0), (1, 3)], vec![(2, 5), (2, 7)]]
        {
            let mut all: Vec<Option<Resources>> = rooms.into_iter().map(room).map(Some).collect();
            let mut rooms = Rooms::of(all.iter().copied());
            check(&rooms, &all);
            for step in 0..40_usize {
                let Some(node) = (step * 7).checked_rem(all.len()) else { break };
                all[node] = (step % 3 > 0).then(|| room((step as u64 % 4, step as u64 * 5 % 8)));
                rooms.set(node, all[node]);
                check(&rooms, &all);
            }
        }
    }
}
