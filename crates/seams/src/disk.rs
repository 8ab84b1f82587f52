//! The disk seam: an ordered key-value store with named tables, atomic batches, and an explicit
//! answer to "is it durable yet?".

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

/// A named key space. Every implementation keeps them in one store with one write-ahead log, so
/// that a batch over several tables is atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Raft log entries by big-endian index.
    Log,
    /// Raft's own small records: vote, committed, purged, store identity, start counters.
    Raft,
    /// The replicated state: one row per object, keyed by kind.
    State,
    /// Event rows by big-endian (revision, sequence).
    Events,
}

impl Table {
    /// Every table, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::Log, Self::Raft, Self::State, Self::Events];

    /// The stable name under which an implementation stores the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Raft => "raft",
            Self::State => "state",
            Self::Events => "events",
        }
    }
}

/// One change to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets `key` to `value`.
    Put { table: Table, key: Bytes, value: Bytes },
    /// Removes `key`; absent is fine.
    Delete { table: Table, key: Bytes },
    /// Removes all keys in `from..to`.
    DeleteRange { table: Table, from: Bytes, to: Bytes },
}

/// Writes that become visible, and durable, together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The writes, applied in order.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Adds a put.
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.writes.push(Write::Put { table, key: key.into(), value: value.into() });
    }

    /// Adds a delete.
    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.writes.push(Write::Delete { table, key: key.into() });
    }

    /// Adds a delete of `from..to`.
    pub fn delete_range(&mut self, table: Table, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        self.writes.push(Write::DeleteRange { table, from: from.into(), to: to.into() });
    }

    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The bytes of all keys and values, for limits.
    pub fn bytes(&self) -> usize {
        self.writes
            .iter()
            .map(|write| match write {
                Write::Put { key, value, .. } => key.len() + value.len(),
                Write::Delete { key, .. } => key.len(),
                Write::DeleteRange { from, to, .. } => from.len() + to.len(),
            })
            .sum()
    }
}

/// When a batch counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Visible to reads; survives a crash of the process, perhaps not of the machine. A later
    /// `Synced` batch makes it durable too: there is one write-ahead log.
    Buffered,
    /// On stable storage, with everything submitted before it.
    Synced,
}

/// Why the disk did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DiskError {
    /// The device is full. What was asked has not happened.
    #[error("the disk is full: {0}")]
    Full(String),
    /// A read or write failed; after a failed sync nothing written since the last good one may be
    /// assumed to exist, so callers stop the process.
    #[error("disk failure: {0}")]
    Io(String),
    /// Stored bytes are not what was written.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    /// The store is in use by another process or may not be opened.
    #[error("the data directory cannot be opened: {0}")]
    Open(String),
}

/// The room on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// The future of a submitted batch.
pub type Completion = Pin<Box<dyn Future<Output = Result<(), DiskError>> + Send + 'static>>;

/// What is called when a submitted batch is as durable as was asked, or failed. It must not wait.
pub type Done = Box<dyn FnOnce(Result<(), DiskError>) + Send + 'static>;

/// A key and its value.
pub type Row = (Bytes, Bytes);

/// Rows for [`Disk::replace`], each once. An error ends them.
pub type NewRows = Box<dyn Iterator<Item = Result<(Table, Row), DiskError>> + Send>;

/// A point-in-time view: later writes are not seen. Hold it briefly, it pins old data.
pub trait DiskView: Send + Sync {
    /// The value of `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError>;

    /// At most `limit` rows of `from..to` in key order; `to = None` means to the end.
    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError>;

    /// The last row of the table below `before` (or of all), if any.
    fn last(&self, table: Table, before: Option<&[u8]>) -> Result<Option<Row>, DiskError>;
}

/// The store of one replica.
///
/// Batches take effect in the order of the `submit` calls and are visible to `get`, `scan` and
/// `view` when `submit` returns, before they are durable. Several `Synced` batches that wait at
/// the same time share one sync.
pub trait Disk: Send + Sync + 'static {
    /// Applies `batch` and returns a future that ends when `durability` is reached. Dropping the
    /// future does not undo the batch.
    fn submit(&self, batch: Batch, durability: Durability) -> Completion;

    /// The same, and `done` is told instead of a future: on the thread that knows first where there is one, so
    /// that nothing need be woken to pass it on.
    fn submit_then(&self, batch: Batch, durability: Durability, done: Done) {
        let completion = self.submit(batch, durability);
        tokio::spawn(async move { done(completion.await) });
    }

    /// A point-in-time view.
    fn view(&self) -> Arc<dyn DiskView>;

    /// The value of `key` now.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        self.view().get(table, key)
    }

    /// Rows now; see [`DiskView::scan`].
    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        self.view().scan(table, from, to, limit)
    }

    /// Replaces the whole content of `tables` by `rows` and applies `and` with it, atomically: after
    /// a crash either the old content or the new one is there, never a mixture, and so it is for
    /// readers. Durable when the future ends. With rows that end in an error nothing is replaced. Nobody else may
    /// write to these tables meanwhile.
    fn replace(&self, tables: &[Table], rows: NewRows, and: Batch) -> Completion;

    /// How much room the device has left for this store; none where nobody can tell.
    fn space(&self) -> Option<Space> {
        None
    }

    /// How often the store has waited for the device since it was opened; zero where nobody counts.
    fn syncs(&self) -> u64 {
        0
    }
}
