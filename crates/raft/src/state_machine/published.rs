//! What the state machine shows to the rest of the replica.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use quorate_state::{Revision, State};
use tokio::sync::watch;

use super::digest::Digest;
use crate::log_store::PurgeBound;
use crate::type_config::ReplicaId;

/// Digests remembered for replicas that ask late.
const CHECKPOINTS_MAX: usize = 64;

/// The last state whose rows are on disk, and what goes with it.
pub(crate) struct Published {
    state: RwLock<State>,
    revision: watch::Sender<Revision>,
    events_from: AtomicU64,
    replica_max: AtomicU64,
    purge_below: PurgeBound,
    checkpoints: Mutex<VecDeque<(Revision, Digest)>>,
    digest_every: u64,
}

impl Published {
    /// Nothing yet. A digest is kept every `digest_every` revisions.
    pub(crate) fn new(purge_below: PurgeBound, digest_every: u64) -> Self {
        Self {
            state: RwLock::default(),
            revision: watch::Sender::new(Revision(0)),
            events_from: AtomicU64::new(0),
            replica_max: AtomicU64::new(0),
            purge_below,
            checkpoints: Mutex::default(),
            digest_every,
        }
    }

    /// The last applied state.
    pub(crate) fn view(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its revision, as it moves.
    pub(crate) fn revision(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// Event rows below this may be gone. Ask after reading them.
    pub(crate) fn events_from(&self) -> Revision {
        Revision(self.events_from.load(Ordering::SeqCst))
    }

    /// The highest replica id that was ever a member.
    pub(crate) fn replica_max(&self) -> ReplicaId {
        self.replica_max.load(Ordering::SeqCst)
    }

    /// The digests that are remembered, oldest first.
    pub(crate) fn checkpoints(&self) -> Vec<(Revision, Digest)> {
        self.lock_checkpoints().iter().copied().collect()
    }

    pub(super) fn publish(&self, state: &State, next_index: u64, replica_max: ReplicaId) {
        self.purge_below.raise(next_index);
        self.replica_max.fetch_max(replica_max, Ordering::SeqCst);
        self.forget_events_below(state.meta().events_from);
        // The old state is dropped outside the lock: freeing a large one takes time.
        let old = std::mem::replace(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner), state.clone());
        self.revision.send_replace(state.revision());
        drop(old);
    }

    pub(super) fn forget_events_below(&self, revision: Revision) {
        self.events_from.fetch_max(revision.0, Ordering::SeqCst);
    }

    pub(super) fn note_digest(&self, revision: Revision, digest: Digest) {
        if revision.0.is_multiple_of(self.digest_every) {
            let mut checkpoints = self.lock_checkpoints();
            if checkpoints.len() >= CHECKPOINTS_MAX {
                checkpoints.pop_front();
            }
            checkpoints.push_back((revision, digest));
        }
    }

    fn lock_checkpoints(&self) -> std::sync::MutexGuard<'_, VecDeque<(Revision, Digest)>> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
