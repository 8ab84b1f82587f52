//! What the state machine shows to the rest of the replica.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use quorate_state::{Change, NodeName, Revision, State};
use tokio::sync::watch;

use super::digest::Digest;
use super::touched::Touched;
use crate::log_store::PurgeBound;
use crate::type_config::{LogId, ReplicaId, StoredMembership};

/// Digests remembered for replicas that ask late.
const CHECKPOINTS_MAX: usize = 64;

/// The last state whose rows are on disk, and what goes with it.
pub(crate) struct Published {
    state: RwLock<Arc<State>>,
    revision: watch::Sender<Revision>,
    events_from: AtomicU64,
    members: RwLock<Members>,
    purge_below: PurgeBound,
    checkpoints: Mutex<VecDeque<(Revision, Digest)>>,
    /// May be ahead of the state.
    touched: Mutex<Touched>,
    digest_every: u64,
}

/// Who takes part, as of what is applied.
#[derive(Default)]
struct Members {
    /// The entry that says so.
    as_of: Option<LogId>,
    ids: BTreeSet<ReplicaId>,
    /// The highest id that was ever a member's.
    highest: ReplicaId,
}

impl Published {
    /// Nothing yet. A digest is kept every `digest_every` revisions.
    pub(crate) fn new(purge_below: PurgeBound, digest_every: u64) -> Self {
        Self {
            state: RwLock::default(),
            revision: watch::Sender::new(Revision(0)),
            events_from: AtomicU64::new(0),
            members: RwLock::default(),
            purge_below,
            checkpoints: Mutex::default(),
            touched: Mutex::default(),
            digest_every,
        }
    }

    /// The last applied state.
    pub(crate) fn view(&self) -> Arc<State> {
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
        self.members.read().unwrap_or_else(PoisonError::into_inner).highest
    }

    /// The entry that says who takes part.
    pub(crate) fn members_as_of(&self) -> Option<LogId> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).as_of
    }

    /// It was a member once and is none any more. Ids are given once and rise, so whoever has not
    /// applied that a replica came has not seen its id either.
    pub(crate) fn was_removed(&self, replica: ReplicaId) -> bool {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        (1..=members.highest).contains(&replica) && !members.ids.contains(&replica)
    }

    /// The rows of this entry are on disk, or those of a later one.
    pub(crate) fn has_applied(&self, index: u64) -> bool {
        self.purge_below.allows(index)
    }

    /// The digests that are remembered, oldest first.
    pub(crate) fn checkpoints(&self) -> Vec<(Revision, Digest)> {
        self.lock_checkpoints().iter().copied().collect()
    }

    /// The nodes that revisions after one and up to another were about; none when that is not known.
    pub(crate) fn touched_nodes(&self, after: Revision, through: Revision) -> Option<BTreeSet<NodeName>> {
        self.lock_touched().between(after, through)
    }

    /// This change is part of this revision, which is shown next or later.
    pub(super) fn note_touched(&self, revision: Revision, change: &Change) {
        self.lock_touched().note(revision, change);
    }

    /// A state is shown next that was not made by the entries before.
    pub(super) fn forget_touched(&self, revision: Revision) {
        self.lock_touched().restart(revision);
    }

    pub(super) fn publish(
        &self,
        state: &State,
        next_index: u64,
        membership: &StoredMembership,
        replica_max: ReplicaId,
    ) {
        self.purge_below.raise(next_index);
        self.note_members(membership, replica_max);
        self.forget_events_below(state.meta().events_from);
        let next = Arc::new(state.clone());
        // The old state is dropped outside the lock: freeing a large one takes time.
        let old = std::mem::replace(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner), next);
        self.revision.send_replace(state.revision());
        drop(old);
    }

    fn note_members(&self, membership: &StoredMembership, highest: ReplicaId) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        if members.as_of != *membership.log_id() {
            let ids = membership.nodes().map(|(id, _)| *id).collect();
            *members = Members { as_of: *membership.log_id(), ids, highest };
        }
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

    fn lock_touched(&self) -> std::sync::MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_checkpoints(&self) -> std::sync::MutexGuard<'_, VecDeque<(Revision, Digest)>> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
