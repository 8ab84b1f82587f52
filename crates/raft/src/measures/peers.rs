//! What a leader knows of the others' speed: round trips of its heartbeats, and how long they say their
//! devices take.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::type_config::ReplicaId;

/// Round trips that are remembered of one replica.
const REMEMBERED_MAX: usize = 31;
/// Fewer than these say nothing: the first of them had to connect.
const ENOUGH: usize = 7;

/// The others, by id.
#[derive(Default)]
pub(crate) struct Peers(Mutex<BTreeMap<ReplicaId, Peer>>);

#[derive(Default)]
struct Peer {
    /// The oldest first.
    round_trips: VecDeque<Duration>,
    /// What it says of its device, and when it did.
    sync: Option<(Duration, Instant)>,
}

impl Peers {
    /// A sign of life was answered after this time, or given up.
    pub(crate) fn note_round_trip(&self, id: ReplicaId, took: Duration) {
        let mut peers = self.lock();
        let known = &mut peers.entry(id).or_default().round_trips;
        if known.len() >= REMEMBERED_MAX {
            known.pop_front();
        }
        known.push_back(took);
    }

    /// A replica says how long its device takes, or that it cannot tell.
    pub(crate) fn note_sync(&self, id: ReplicaId, took: Option<Duration>) {
        self.lock().entry(id).or_default().sync = took.map(|took| (took, Instant::now()));
    }

    /// The median of the last round trips, once there are enough.
    pub(crate) fn round_trip(&self, id: ReplicaId) -> Option<Duration> {
        let peers = self.lock();
        let mut known: Vec<Duration> = peers.get(&id)?.round_trips.iter().copied().collect();
        drop(peers);
        let count = known.len();
        (count >= ENOUGH).then(|| *known.select_nth_unstable(count / 2).1)
    }

    /// What a replica last said of its device, and how long ago.
    pub(crate) fn sync(&self, id: ReplicaId) -> Option<(Duration, Duration)> {
        self.lock().get(&id)?.sync.map(|(took, said)| (took, said.elapsed()))
    }

    /// Forgets everything: what was measured in an earlier term may not hold in this one.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_last_round_trips_once_there_are_enough() {
        let peers = Peers::default();
        let note = |millis| peers.note_round_trip(2, Duration::from_millis(millis));
        (1..ENOUGH).for_each(|_| note(3));
        assert_eq!(peers.round_trip(2), None);
        note(500);
        assert_eq!(peers.round_trip(2), Some(Duration::from_millis(3)));
        (0..REMEMBERED_MAX).for_each(|_| note(40));
        assert_eq!(peers.round_trip(2), Some(Duration::from_millis(40)));
        assert_eq!(peers.round_trip(3), None);
        peers.forget();
        assert_eq!(peers.round_trip(2), None);
    }
}
