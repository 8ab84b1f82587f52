//! The room on disks, as far as those who keep a reserve of it can know.

use std::time::Duration;

use super::World;
use crate::oracles::{LOOKS_WITHIN, Room};

impl World {
    /// Notes which disks are low.
    pub(super) fn note_rooms(&mut self, now: Duration) {
        for position in 0..self.replicas.len() {
            let is_low = self.replicas[position].disk.is_low();
            let is_paused = self.striking.replicas[position].paused_until.is_some();
            let runs = self.is_running(position) && !is_paused;
            let Room { low_since, low_at } = self.rooms[position];
            self.rooms[position] = Room {
                low_since: if is_low && runs { low_since.or(Some(now)) } else { None },
                // Whoever stands still looks no more, and goes on with what was found last.
                low_at: if is_low || is_paused && low_at.is_some() { Some(now) } else { low_at },
            };
        }
    }

    /// True when every replica has seen by now that there is room, or never that there is none.
    pub(super) fn is_roomy(&self, now: Duration) -> bool {
        self.rooms.iter().filter_map(|room| room.low_at).all(|low| low + LOOKS_WITHIN < now)
    }
}
