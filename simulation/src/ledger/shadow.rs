//! What one replica's disk holds, followed from what was handed to it, and read with the
//! simulator's own eyes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Batch, Table};

use crate::rows::Kept;

/// The disk of one replica, as it is seen and as a loss of power would leave it.
#[derive(Clone, Default)]
pub(crate) struct Shadow {
    live: Kept,
    durable: Kept,
    /// Batches that no sync has covered, with their numbers, oldest first.
    unsynced: VecDeque<(u64, Arc<Batch>, Arc<[Table]>)>,
    /// A copy that was made of what was durable.
    image: Option<Box<Kept>>,
    /// What was durable when the copy was put back.
    forgotten: Option<Box<Kept>>,
    /// Somebody else has written to it.
    is_altered: bool,
}

impl Shadow {
    pub(super) fn write(&mut self, number: u64, batch: Arc<Batch>, replaced: Arc<[Table]>) {
        self.live.apply(&batch, &replaced);
        // What comes with a snapshot is what others hold.
        self.is_altered &= replaced.is_empty();
        self.unsynced.push_back((number, batch, replaced));
    }

    pub(super) fn sync(&mut self, through: u64) {
        while self.unsynced.front().is_some_and(|(number, ..)| *number <= through) {
            if let Some((_, batch, replaced)) = self.unsynced.pop_front() {
                self.durable.apply(&batch, &replaced);
            }
        }
    }

    pub(super) fn crash(&mut self, survived: u64) {
        self.sync(survived);
        self.unsynced.clear();
        self.live = self.durable.clone();
    }

    pub(super) fn alter(&mut self, batch: &Batch) {
        self.live.apply(batch, &[]);
        self.durable.apply(batch, &[]);
        self.is_altered = true;
    }

    /// What the replica says of its history is meant to be wrong.
    pub(crate) fn is_altered(&self) -> bool {
        self.is_altered
    }

    pub(super) fn keep_image(&mut self) {
        self.image = Some(Box::new(self.durable.clone()));
    }

    pub(super) fn revert(&mut self) {
        let Some(image) = self.image.take() else { return };
        self.unsynced.clear();
        self.live = (*image).clone();
        self.forgotten = Some(Box::new(std::mem::replace(&mut self.durable, *image)));
    }

    /// What the replica sees.
    pub(crate) fn live(&self) -> &Kept {
        &self.live
    }

    /// What a loss of power would leave.
    pub(crate) fn durable(&self) -> &Kept {
        &self.durable
    }

    /// What the others may rely on: what is durable, or what was before the disk went back. Whoever has forgotten what
    /// it promised keeps the promise by saying nothing any more.
    pub(crate) fn promised(&self) -> &Kept {
        self.forgotten.as_deref().unwrap_or(&self.durable)
    }
}

/// What raft keeps on a disk, decoded; see `store.rs` of the raft crate for the keys.
pub(crate) trait RaftRows {
    /// A small record of raft's.
    fn record<M: prost::Message + Default>(&self, key: &[u8]) -> Option<M>;
    /// The stored bytes of a log entry.
    fn entry(&self, index: u64) -> Option<&Bytes>;
    /// The first and the last index in the log.
    fn log_bounds(&self) -> Option<(u64, u64)>;

    /// The index up to which the state on this disk has come.
    fn applied(&self) -> Option<u64> {
        self.record::<pb::Applied>(b"applied")?.log_id.map(|id| id.index)
    }

    /// The newest vote.
    fn vote(&self) -> Option<pb::Vote> {
        self.record(b"vote")
    }

    /// The index up to which the log was cut off.
    fn purged(&self) -> Option<u64> {
        self.record::<pb::Mark>(b"purged")?.log_id.map(|id| id.index)
    }

    /// The index up to which the replica knows the log to be committed.
    fn committed(&self) -> Option<u64> {
        self.record::<pb::Mark>(b"committed")?.log_id.map(|id| id.index)
    }
}

impl RaftRows for Kept {
    fn record<M: prost::Message + Default>(&self, key: &[u8]) -> Option<M> {
        M::decode(self.get(Table::Raft, key)?.clone()).ok()
    }

    fn entry(&self, index: u64) -> Option<&Bytes> {
        self.get(Table::Log, &index.to_be_bytes())
    }

    fn log_bounds(&self) -> Option<(u64, u64)> {
        let index = |(key, _): (&Bytes, &Bytes)| key[..].try_into().ok().map(u64::from_be_bytes);
        Some((self.table(Table::Log).next().and_then(index)?, self.table(Table::Log).next_back().and_then(index)?))
    }
}
