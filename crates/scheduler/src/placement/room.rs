//! The largest rooms that are left: enough to say of a shape that it fits nowhere, without a look
//! at the nodes.

use quorate_state::Resources;

/// What is free on some nodes of processors and memory, without the rooms that fit in another one.
pub(super) struct Rooms {
    /// By rising cpu, and so by falling memory.
    largest: Vec<Resources>,
}

impl Rooms {
    pub(super) fn of(mut rooms: Vec<Resources>) -> Self {
        rooms.sort_unstable_by_key(|room| (room.cpu_milli, room.memory_bytes));
        let mut largest: Vec<Resources> = Vec::new();
        while let Some(room) = rooms.pop() {
            // All that were kept have at least as much cpu.
            if largest.last().is_none_or(|last| last.memory_bytes < room.memory_bytes) {
                largest.push(room);
            }
        }
        largest.reverse();
        Self { largest }
    }

    /// True when `want` fits in one of them.
    pub(super) fn hold(&self, want: Resources) -> bool {
        let narrow = self.largest.partition_point(|room| room.cpu_milli < want.cpu_milli);
        self.largest.get(narrow).is_some_and(|room| want.memory_bytes <= room.memory_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_in_one_room_is_held_and_nothing_else() {
        let room = |(cpu_milli, memory_bytes)| Resources { cpu_milli, memory_bytes, gpu_milli: 0 };
        for rooms in [vec![], vec![(0, 0)], vec![(3, 1), (1, 3), (2, 2), (2, 1), (3, 0), (1, 3)], vec![(2, 5), (2, 7)]]
        {
            let all: Vec<Resources> = rooms.into_iter().map(room).collect();
            let largest = Rooms::of(all.clone());
            for want in (0..5).flat_map(|cpu| (0..9).map(move |memory| room((cpu, memory)))) {
                assert_eq!(largest.hold(want), all.iter().any(|room| want.fits(*room)), "{want:?} in {all:?}");
            }
        }
    }
}
