//! Room on this replica's disk: below a reserve new work is refused, so that what ends work, and what
//! is running already, still finds room (ADR 0013).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_planted::Bug;
use quorate_proto::status::ApiError;
use quorate_seams::Disk;

use crate::core::Core;

/// Between two looks. What is written meanwhile is far less than any sensible reserve.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// New work is taken again once there is this part of the reserve on top of it: a disk at the edge must
/// not refuse and accept in turn.
const BACK_PART: u64 = 4;

/// The room on one replica's disk.
pub(crate) struct Room {
    disk: Arc<dyn Disk>,
    /// Bytes; zero refuses nothing.
    reserve_bytes: u64,
    is_low: AtomicBool,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// None where the disk does not tell.
    pub(crate) free_bytes: Option<u64>,
    pub(crate) reserve_bytes: u64,
    /// New work is refused.
    pub(crate) is_low: bool,
}

impl Room {
    /// The room there is now.
    pub(crate) fn new(disk: Arc<dyn Disk>, reserve_bytes: u64) -> Self {
        let room = Self { disk, reserve_bytes, is_low: AtomicBool::new(false) };
        room.look();
        room
    }

    /// Looks, and refuses or admits from now on what the room allows.
    pub(crate) fn look(&self) -> Found {
        let free_bytes = self.disk.space().map(|space| space.free_bytes);
        let was_low = self.is_low.load(Ordering::Relaxed);
        let is_low = free_bytes.map_or(was_low, |free| is_low(free, self.reserve_bytes, was_low));
        let is_low = is_low || (was_low && quorate_planted::is(Bug::LaneStaysShut));
        self.is_low.store(is_low, Ordering::Relaxed);
        let reserve_bytes = self.reserve_bytes;
        match (was_low, is_low) {
            (false, true) => tracing::error!(
                free_bytes,
                reserve_bytes,
                "the disk is nearly full: new work is refused until there is room again"
            ),
            (true, false) => tracing::info!(free_bytes, reserve_bytes, "there is room on the disk again"),
            (true, true) | (false, false) => {}
        }
        Found { free_bytes, reserve_bytes, is_low }
    }

    /// Refuses what makes the state larger and can wait, when there is no room for it.
    pub(crate) fn admit(&self) -> Result<(), ApiError> {
        if !self.is_low.load(Ordering::Relaxed) || quorate_planted::is(Bug::ReserveIgnored) {
            return Ok(());
        }
        Err(ApiError::Limit {
            limit: "server.disk_reserve".into(),
            max: self.reserve_bytes,
            advice: "the disk of the leading replica has less than that left: make room there, or pass leadership on; \
                     cancels and what is running go on"
                .into(),
        })
    }
}

/// Looks at the room until the replica stops.
pub(crate) async fn watch(core: &Core) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        core.room.look();
    }
}

fn is_low(free: u64, reserve: u64, was_low: bool) -> bool {
    let back = if was_low { reserve / BACK_PART } else { 0 };
    free < reserve.saturating_add(back)
}

#[cfg(test)]
mod tests {
    use super::is_low;

    #[test]
    fn a_disk_at_the_edge_stays_on_its_side_of_it() {
        assert!(!is_low(100, 100, false));
        assert!(is_low(99, 100, false));
        assert!(is_low(100, 100, true) && is_low(124, 100, true), "not yet enough");
        assert!(!is_low(125, 100, true));
    }

    #[test]
    fn without_a_reserve_nothing_is_refused() {
        assert!(!is_low(0, 0, false) && !is_low(0, 0, true));
    }
}
