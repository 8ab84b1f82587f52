//! The small records of a replica's own store, by the keys they have on disk.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prost::Message;
use quorate_seams::{Batch, Disk, DiskError, DiskView, Durability, Table};
use quorate_state::Uuid;

use crate::Error;
use crate::wire;

pub(crate) const IDENTITY: &[u8] = b"identity";
pub(crate) const START: &[u8] = b"start";
pub(crate) const VOTE: &[u8] = b"vote";
pub(crate) const COMMITTED: &[u8] = b"committed";
pub(crate) const PURGED: &[u8] = b"purged";
pub(crate) const APPLIED: &[u8] = b"applied";
pub(crate) const STAGED: &[u8] = b"staged";

/// The number of this version's store; docs/formats.md lists what each number means. A store with
/// a higher one is refused.
pub(crate) const STORE_FORMAT: u32 = 1;

/// Under which the start count of a peer's store is remembered.
pub(crate) fn start_of(store: Uuid) -> Bytes {
    format!("start/{store}").into()
}

/// The key of a piece of the snapshot that comes in, in the order of their numbers.
pub(crate) fn staged_piece(number: u64) -> Bytes {
    format!("staged/{number:016x}").into()
}

/// The least key after those of all pieces.
pub(crate) fn staged_end() -> Bytes {
    Bytes::from_static(b"staged0")
}

/// The key of a log entry: big-endian, so that key order is log order.
pub(crate) fn log_key(index: u64) -> Bytes {
    Bytes::copy_from_slice(&index.to_be_bytes())
}

/// The disk, and the first thing that went wrong with it.
///
/// openraft carries errors as text; the kind (full, corrupt, failed) is kept here for whoever asks
/// why the replica stopped.
#[derive(Clone)]
pub(crate) struct Store {
    disk: Arc<dyn Disk>,
    failed: Arc<OnceLock<String>>,
}

impl Store {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, failed: Arc::default() }
    }

    /// The disk itself, for reads that cannot stop the replica.
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// What went wrong first, if anything did.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Notes a failure and makes it openraft's kind of error, which stops it.
    pub(crate) fn fail(&self, error: &dyn std::error::Error) -> std::io::Error {
        let text = with_causes(error);
        let _ = self.failed.set(text.clone());
        std::io::Error::other(text)
    }

    /// Submits a batch and waits for it.
    pub(crate) async fn write(&self, batch: Batch, durability: Durability) -> Result<(), std::io::Error> {
        self.disk.submit(batch, durability).await.map_err(|error| self.fail(&error))
    }

    /// The record under `key`.
    pub(crate) fn read<M: Message + Default>(&self, key: &[u8]) -> Result<Option<M>, std::io::Error> {
        read(&*self.disk.view(), key).map_err(|error| self.fail(&error))
    }
}

/// An error and what caused it, in one line: the kind of a disk's failure is said by the last.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The record under `key` in a view.
pub(crate) fn read<M: Message + Default>(view: &dyn DiskView, key: &[u8]) -> Result<Option<M>, Error> {
    let found = view.get(Table::Raft, key)?;
    found
        .map(|bytes| wire::decode("a record of the store", bytes))
        .transpose()
        .map_err(|error| Error::Format(format!("{}: {error}", String::from_utf8_lossy(key))))
}

/// Adds a record to a batch.
pub(crate) fn put<M: Message>(batch: &mut Batch, key: impl Into<Bytes>, record: &M) {
    batch.put(Table::Raft, key, record.encode_to_vec());
}

/// Writes one record and waits until it is durable.
pub(crate) async fn save<M: Message>(disk: &dyn Disk, key: impl Into<Bytes>, record: &M) -> Result<(), DiskError> {
    let mut batch = Batch::default();
    put(&mut batch, key, record);
    disk.submit(batch, Durability::Synced).await
}
