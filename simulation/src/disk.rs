//! The disk seam in memory, with the one property that a page cache hides from every test with real
//! processes: a crash drops what was not synced.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_seams::{Batch, Completion, Disk, DiskError, DiskView, Durability, Row, Table, Write};
use rpds::RedBlackTreeMapSync as Map;

/// Keys of all tables in one ordered map: a table's position is the first part of the key.
type Rows = Map<(usize, Bytes), Bytes>;

/// The disk of one host. It outlives the host's crashes; cloning shares it.
#[derive(Clone)]
pub(crate) struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    sync_time: Duration,
}

#[derive(Default)]
struct Inner {
    /// What the host sees.
    live: Rows,
    /// What survives a crash.
    durable: Rows,
    /// Batches seen but not synced, oldest first; the first has the number `synced`.
    unsynced: Vec<Batch>,
    /// How many batches are durable.
    synced: u64,
    /// Batches that crashes have dropped.
    dropped: u64,
}

impl SimDisk {
    /// An empty disk, each sync of which takes `sync_time`.
    pub(crate) fn new(sync_time: Duration) -> Self {
        Self { inner: Arc::default(), sync_time }
    }

    /// True when nothing durable was ever written.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().durable.is_empty()
    }

    /// The host loses power: of the batches that no sync has covered, only the first `kept` survive.
    /// Returns how many were dropped.
    pub(crate) fn crash(&self, kept: usize) -> u64 {
        let mut inner = self.lock();
        let survivors: Vec<Batch> = inner.unsynced.iter().take(kept).cloned().collect();
        let dropped = (inner.unsynced.len() - survivors.len()) as u64;
        for batch in &survivors {
            apply(&mut inner.durable, batch);
        }
        inner.synced += survivors.len() as u64 + dropped;
        inner.dropped += dropped;
        inner.unsynced.clear();
        inner.live = inner.durable.clone();
        dropped
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes visible at once; the future makes durable what was submitted up to here.
    fn write(&self, batch: Batch, durability: Durability) -> Completion {
        let through = {
            let mut inner = self.lock();
            apply(&mut inner.live, &batch);
            inner.unsynced.push(batch);
            inner.synced + inner.unsynced.len() as u64
        };
        if durability == Durability::Buffered {
            return Box::pin(std::future::ready(Ok(())));
        }
        let disk = self.clone();
        Box::pin(async move {
            tokio::time::sleep(disk.sync_time).await;
            disk.lock().sync(through);
            Ok(())
        })
    }
}

impl Inner {
    fn sync(&mut self, through: u64) {
        let count = usize::try_from(through.saturating_sub(self.synced)).unwrap_or(usize::MAX).min(self.unsynced.len());
        for batch in self.unsynced.drain(..count) {
            apply(&mut self.durable, &batch);
        }
        self.synced += count as u64;
    }
}

fn apply(rows: &mut Rows, batch: &Batch) {
    for write in &batch.writes {
        match write {
            Write::Put { table, key, value } => rows.insert_mut((place(*table), key.clone()), value.clone()),
            Write::Delete { table, key } => {
                rows.remove_mut(&(place(*table), key.clone()));
            }
            Write::DeleteRange { table, from, to } => {
                let range = (place(*table), from.clone())..(place(*table), to.clone());
                let keys: Vec<_> = rows.range(range).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    rows.remove_mut(&key);
                }
            }
        }
    }
}

fn place(table: Table) -> usize {
    Table::ALL.iter().position(|known| *known == table).unwrap_or(Table::ALL.len())
}

struct View(Rows);

impl DiskView for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.0.get(&(place(table), Bytes::copy_from_slice(key))).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        let from = (place(table), Bytes::copy_from_slice(from));
        let to = to.map_or((place(table) + 1, Bytes::new()), |to| (place(table), Bytes::copy_from_slice(to)));
        if from >= to {
            return Ok(Vec::new());
        }
        Ok(self.0.range(from..to).take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table, before: Option<&[u8]>) -> Result<Option<Row>, DiskError> {
        let from = (place(table), Bytes::new());
        let to = before.map_or((place(table) + 1, Bytes::new()), |to| (place(table), Bytes::copy_from_slice(to)));
        Ok(self.0.range(from..to).next_back().map(|((_, key), value)| (key.clone(), value.clone())))
    }
}

impl Disk for SimDisk {
    fn submit(&self, batch: Batch, durability: Durability) -> Completion {
        self.write(batch, durability)
    }

    fn view(&self) -> Arc<dyn DiskView> {
        Arc::new(View(self.lock().live.clone()))
    }

    fn replace(&self, tables: &[Table], rows: Vec<(Table, Row)>, and: Batch) -> Completion {
        let mut batch = Batch::default();
        let present: Vec<_> = self.lock().live.keys().cloned().collect();
        for table in tables {
            for (_, key) in present.iter().filter(|(number, _)| *number == place(*table)) {
                batch.delete(*table, key.clone());
            }
        }
        for (table, (key, value)) in rows {
            batch.put(table, key, value);
        }
        batch.writes.extend(and.writes);
        self.write(batch, Durability::Synced)
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

    fn keys(disk: &SimDisk) -> Vec<Bytes> {
        disk.scan(Table::Log, b"", None, 10).unwrap().into_iter().map(|(key, _)| key).collect()
    }

    #[tokio::test]
    async fn a_crash_drops_what_no_sync_has_covered() {
        let disk = SimDisk::new(Duration::ZERO);
        disk.submit(put("a"), Durability::Buffered).await.unwrap();
        disk.submit(put("b"), Durability::Synced).await.unwrap();
        disk.submit(put("c"), Durability::Buffered).await.unwrap();
        // Submitted, but the crash comes before its sync.
        drop(disk.submit(put("d"), Durability::Synced));
        assert_eq!(keys(&disk), ["a", "b", "c", "d"]);
        assert_eq!(disk.crash(0), 2);
        assert_eq!(keys(&disk), ["a", "b"]);
        disk.submit(put("e"), Durability::Synced).await.unwrap();
        disk.crash(0);
        assert_eq!(keys(&disk), ["a", "b", "e"]);
    }

    #[tokio::test]
    async fn replace_is_all_or_nothing() {
        let disk = SimDisk::new(Duration::ZERO);
        disk.submit(put("old"), Durability::Synced).await.unwrap();
        let rows = vec![(Table::Log, (Bytes::from("new"), Bytes::from("value")))];
        drop(disk.replace(&[Table::Log], rows.clone(), Batch::default()));
        disk.crash(0);
        assert_eq!(keys(&disk), ["old"]);
        disk.replace(&[Table::Log], rows, Batch::default()).await.unwrap();
        disk.crash(0);
        assert_eq!(keys(&disk), ["new"]);
    }
}
