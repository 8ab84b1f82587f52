//! The disk seam on a real RocksDB, for hosts of a simulation: everything is done on the thread that
//! asks, so the seed still decides every order.
//!
//! A crash here is a killed process: the kernel keeps what was written, synced or not. A loss of
//! power is [`crate::disk`]'s, which forgets, and the crash images', which cut RocksDB's own files.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_disk::{RocksDisk, Setup, Sizes, Syncing};
use quorate_seams::{Batch, Completion, Disk, DiskError, DiskView, Durability, NewRows, Row, Table};
use tempfile::TempDir;

use crate::facts::{Fact, Facts};
use crate::scratch;

/// Small buffers, so that files are written and compacted in a short run as well.
const SIZES: Sizes = Sizes { buffer: 512 << 10, table_buffer: 128 << 10, wal_max: 1 << 20 };

/// The disk of one host, in a directory of its own that goes away with the last clone. It outlives
/// the host's crashes; cloning shares it.
#[derive(Clone)]
pub(crate) struct RocksInline {
    inner: Arc<Inner>,
    facts: Facts,
    replica: usize,
    sync_time: Duration,
}

struct Inner {
    // Declared before the directory, so that it is closed before that is removed.
    open: Mutex<Option<Arc<RocksDisk>>>,
    /// The number of the newest batch.
    newest: AtomicU64,
    directory: TempDir,
}

impl RocksInline {
    /// An empty disk of a replica, each sync of which takes `sync_time` of simulated time.
    ///
    /// # Errors
    /// When there is no place for a directory.
    pub(crate) fn new(replica: usize, facts: Facts, sync_time: Duration) -> std::io::Result<Self> {
        let directory = scratch::directory("simulated-disk-")?;
        let inner = Inner { open: Mutex::default(), newest: AtomicU64::new(0), directory };
        Ok(Self { inner: Arc::new(inner), facts, replica, sync_time })
    }

    /// True when nothing was ever written.
    pub(crate) fn is_empty(&self) -> Result<bool, DiskError> {
        let disk = self.opened()?;
        for table in Table::ALL {
            if !disk.scan(table, b"", None, 1)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The host's process is killed: the store is closed without being asked to finish anything, and
    /// opened again by whoever uses it next.
    ///
    /// The views and batches of the process must be gone by then, as turmoil's crash leaves it: a
    /// store that is still held cannot be opened again.
    /// Returns the number of the newest batch, which is still there.
    pub(crate) fn crash(&self) -> u64 {
        drop(self.lock().take());
        self.inner.newest.load(Ordering::SeqCst)
    }

    /// Tells of a batch that was written, whose number this returns.
    fn wrote(&self, batch: Batch, replaced: &[Table]) -> u64 {
        let number = self.inner.newest.fetch_add(1, Ordering::SeqCst) + 1;
        let (batch, replaced) = (Arc::new(batch), replaced.into());
        self.facts.add(Fact::Wrote { replica: self.replica, number, batch, replaced });
        number
    }

    fn opened(&self) -> Result<Arc<RocksDisk>, DiskError> {
        let mut open = self.lock();
        if let Some(disk) = &*open {
            return Ok(disk.clone());
        }
        let setup = Setup { sizes: SIZES, syncing: Syncing::Inline };
        let disk = Arc::new(RocksDisk::open_with(self.inner.directory.path().join("store"), setup)?);
        *open = Some(disk.clone());
        Ok(disk)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<RocksDisk>>> {
        self.inner.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done already ends after the time that a sync takes, for the host to do something else.
    fn after_sync(&self, through: u64, done: Completion) -> Completion {
        let (sync_time, facts, replica) = (self.sync_time, self.facts.clone(), self.replica);
        Box::pin(async move {
            tokio::time::sleep(sync_time).await;
            done.await?;
            facts.add(Fact::Synced { replica, through });
            Ok(())
        })
    }
}

impl Disk for RocksInline {
    fn submit(&self, batch: Batch, durability: Durability) -> Completion {
        match (self.opened(), durability) {
            (Err(error), _) => Box::pin(std::future::ready(Err(error))),
            (Ok(disk), durability) => {
                let done = disk.submit(batch.clone(), durability);
                let number = self.wrote(batch, &[]);
                if durability == Durability::Synced { self.after_sync(number, done) } else { done }
            }
        }
    }

    fn view(&self) -> Arc<dyn DiskView> {
        match self.opened() {
            Ok(disk) => disk.view(),
            Err(error) => Arc::new(Unreadable(error)),
        }
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        self.opened()?.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        self.opened()?.scan(table, from, to, limit)
    }

    fn replace(&self, tables: &[Table], rows: NewRows, and: Batch) -> Completion {
        let rows: Result<Vec<(Table, Row)>, DiskError> = rows.collect();
        match self.opened().and_then(|disk| Ok((disk, rows?))) {
            Ok((disk, rows)) => {
                let mut batch = Batch::default();
                for (table, (key, value)) in &rows {
                    batch.put(*table, key.clone(), value.clone());
                }
                batch.writes.extend(and.writes.clone());
                let done = disk.replace(tables, Box::new(rows.into_iter().map(Ok)), and);
                let number = self.wrote(batch, tables);
                self.after_sync(number, done)
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

/// The view of a store that cannot be opened.
struct Unreadable(DiskError);

impl DiskView for Unreadable {
    fn get(&self, _: Table, _: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Err(self.0.clone())
    }

    fn scan(&self, _: Table, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<Row>, DiskError> {
        Err(self.0.clone())
    }

    fn last(&self, _: Table, _: Option<&[u8]>) -> Result<Option<Row>, DiskError> {
        Err(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> Batch {
        let mut batch = Batch::default();
        batch.put(Table::Log, key, "value");
        batch
    }

    fn keys(disk: &RocksInline) -> Vec<Bytes> {
        disk.scan(Table::Log, b"", None, 10).unwrap().into_iter().map(|(key, _)| key).collect()
    }

    #[tokio::test]
    async fn a_killed_process_leaves_everything_that_it_wrote() {
        let disk = RocksInline::new(0, Facts::default(), Duration::ZERO).unwrap();
        assert!(disk.is_empty().unwrap());
        disk.submit(put("a"), Durability::Buffered).await.unwrap();
        disk.submit(put("b"), Durability::Synced).await.unwrap();
        // Submitted, but the process dies before it hears of the end.
        drop(disk.submit(put("c"), Durability::Synced));
        let shared = disk.clone();
        disk.crash();
        assert_eq!(keys(&shared), ["a", "b", "c"]);
        assert!(!shared.is_empty().unwrap());
    }

    #[tokio::test]
    async fn a_store_that_is_still_held_is_not_opened_twice() {
        let disk = RocksInline::new(0, Facts::default(), Duration::ZERO).unwrap();
        disk.submit(put("a"), Durability::Synced).await.unwrap();
        let view = disk.view();
        disk.crash();
        assert!(matches!(disk.get(Table::Log, b"a"), Err(DiskError::Open(_))));
        drop(view);
        assert_eq!(keys(&disk), ["a"]);
    }

    #[tokio::test]
    async fn replace_leaves_only_the_new_content() {
        let disk = RocksInline::new(0, Facts::default(), Duration::ZERO).unwrap();
        disk.submit(put("old"), Durability::Buffered).await.unwrap();
        let row = (Table::Log, (Bytes::from("new"), Bytes::from("value")));
        disk.replace(&[Table::Log], Box::new(std::iter::once(Ok(row))), Batch::default()).await.unwrap();
        disk.crash();
        assert_eq!(keys(&disk), ["new"]);
    }
}
