//! The small records of a replica's own store, by the keys they have on disk.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use prost::Message;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Batch, Disk, DiskError, DiskView, Done, Durability, Table};
use quorate_state::Uuid;

use crate::Error;
use crate::type_config::LogId;
use crate::wire;

pub(crate) const IDENTITY: &[u8] = b"identity";
pub(crate) const START: &[u8] = b"start";
pub(crate) const VOTE: &[u8] = b"vote";
pub(crate) const COMMITTED: &[u8] = b"committed";
pub(crate) const PURGED: &[u8] = b"purged";
pub(crate) const APPLIED: &[u8] = b"applied";
pub(crate) const STAGED: &[u8] = b"staged";
pub(crate) const REFUSED: &[u8] = b"refused";

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
    failed: Failed,
    /// How far the log is known to be committed, until a batch takes that along.
    committed: Arc<Mutex<Option<LogId>>>,
}

/// Why a disk failed first, if it did.
#[derive(Clone, Default)]
pub(crate) struct Failed(Arc<OnceLock<String>>);

impl Failed {
    /// Notes a failure and makes it openraft's kind of error, which stops it.
    pub(crate) fn note(&self, error: &dyn std::error::Error) -> std::io::Error {
        let text = with_causes(error);
        let _ = self.0.set(text.clone());
        std::io::Error::other(text)
    }
}

impl Store {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, failed: Failed::default(), committed: Arc::default() }
    }

    /// The disk itself, for reads that cannot stop the replica.
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// What went wrong first, if anything did.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failed.0.get().map(String::as_str)
    }

    /// Notes a failure and makes it openraft's kind of error, which stops it.
    pub(crate) fn fail(&self, error: &dyn std::error::Error) -> std::io::Error {
        self.failed.note(error)
    }

    /// For noting a failure without keeping the disk open.
    pub(crate) fn failed(&self) -> Failed {
        self.failed.clone()
    }

    /// The log is committed up to here. That is no write of its own: whoever forgets it learns it again from the
    /// leader, or finds the rows of what is applied, with which it is written at the latest.
    pub(crate) fn note_committed(&self, committed: Option<LogId>) {
        *self.lock_committed() = committed;
    }

    /// How far the log is known to be committed: here, or on disk.
    pub(crate) fn committed(&self) -> Result<Option<LogId>, std::io::Error> {
        if let Some(noted) = *self.lock_committed() {
            return Ok(Some(noted));
        }
        let mark: Option<pb::Mark> = self.read(COMMITTED)?;
        Ok(mark.and_then(|mark| mark.log_id.as_ref().map(wire::log_id_from)))
    }

    /// Writes rows of what is applied, and what is known to be committed, into the kernel's hands.
    pub(crate) async fn write_applied(&self, mut batch: Batch) -> Result<(), std::io::Error> {
        // Held until the batch has its place among the others, so that the mark never goes back.
        let completion = {
            let mut noted = self.lock_committed();
            take_along(&mut noted, &mut batch);
            self.disk.submit(batch, Durability::Buffered)
        };
        completion.await.map_err(|error| self.fail(&error))
    }

    /// Appends to the log, with what is known to be committed.
    pub(crate) fn append(&self, mut batch: Batch, durability: Durability, done: Done) {
        let mut noted = self.lock_committed();
        take_along(&mut noted, &mut batch);
        self.disk.submit_then(batch, durability, done);
    }

    fn lock_committed(&self) -> MutexGuard<'_, Option<LogId>> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
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

fn take_along(noted: &mut Option<LogId>, batch: &mut Batch) {
    if let Some(committed) = noted.take() {
        put(batch, COMMITTED, &pb::Mark { log_id: Some(wire::log_id_to(&committed)) });
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
