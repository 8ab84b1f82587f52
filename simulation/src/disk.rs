//! The disk seam in memory, with what page caches and good hardware hide from every test with real
//! processes: a crash drops what was not synced, a sync may take seconds or fail, a disk may be full.
//!
//! All batches of a store go through one write-ahead log, so a crash leaves a prefix of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_seams::{Batch, Completion, Disk, DiskError, DiskView, Durability, NewRows, Row, Space, Table};
use quorate_server::DISK_RESERVE_DEFAULT;

use crate::facts::{Fact, Facts};
use crate::rows::{Kept, Rows};

/// What is free where room is low, below the reserve, and where it is not.
const LOW_BYTES: u64 = DISK_RESERVE_DEFAULT / 2;
const PLENTY_BYTES: u64 = DISK_RESERVE_DEFAULT * 16;

/// The disk of one replica. It outlives the replica's crashes; cloning shares it.
#[derive(Clone)]
pub(crate) struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    facts: Facts,
    replica: usize,
    sync_time: Duration,
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// A sync takes this long.
    pub(crate) slow: Option<Duration>,
    /// There is no room.
    pub(crate) full: bool,
    /// There is less room than the reserve that the product keeps.
    pub(crate) low: bool,
    /// After so many more writes or syncs, one fails.
    pub(crate) failing: Option<Failing>,
}

/// See [`Trouble::failing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    pub(crate) after: u64,
    /// A sync fails, and what it should have made durable is lost; otherwise a write.
    pub(crate) on_sync: bool,
}

#[derive(Default)]
struct Inner {
    /// What the replica sees.
    live: Rows,
    /// What survives a crash.
    durable: Kept,
    /// Batches that no sync has covered, oldest first.
    unsynced: VecDeque<Unsynced>,
    /// The number of the newest batch.
    newest: u64,
    trouble: Trouble,
    /// A write or a sync has failed: nobody knows what is on the disk, so nothing works until a
    /// restart finds out.
    broken: bool,
    /// How many times trouble was felt.
    felt: u64,
}

struct Unsynced {
    number: u64,
    batch: Arc<Batch>,
    replaced: Arc<[Table]>,
}

impl SimDisk {
    /// An empty disk of a replica, each sync of which takes `sync_time`.
    pub(crate) fn new(replica: usize, facts: Facts, sync_time: Duration) -> Self {
        Self { inner: Arc::default(), facts, replica, sync_time }
    }

    /// True when nothing durable was ever written.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().durable.is_empty()
    }

    /// What is wrong with it from now on.
    pub(crate) fn set_trouble(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut self.lock().trouble);
    }

    /// True while it has less free than the reserve.
    pub(crate) fn is_low(&self) -> bool {
        self.lock().trouble.low
    }

    /// How many times its trouble was felt so far.
    pub(crate) fn felt(&self) -> u64 {
        self.lock().felt
    }

    /// The replica loses power: of what no sync has covered, only so many per cent survive, from the
    /// front. Returns the number of the newest batch that is still there, and how many are lost.
    pub(crate) fn crash(&self, kept_percent: u64) -> (u64, u64) {
        let mut inner = self.lock();
        // What a failed sync should have covered is gone from the page cache too.
        let kept_percent = if inner.broken { 0 } else { kept_percent };
        let kept = inner.unsynced.len() as u64 * kept_percent / 100;
        for _ in 0..kept {
            inner.settle();
        }
        let lost = inner.unsynced.len() as u64;
        let survived = inner.newest - lost;
        inner.unsynced.clear();
        inner.newest = survived;
        inner.live = inner.durable.to_rows();
        inner.broken = false;
        (survived, lost)
    }

    /// What a loss of power at this instant would leave.
    pub(crate) fn image(&self) -> Kept {
        self.lock().durable.clone()
    }

    /// An image of it is put back in its place, while nobody uses it.
    pub(crate) fn put_back(&self, image: Kept) {
        let mut inner = self.lock();
        let (newest, trouble, felt) = (inner.newest, inner.trouble, inner.felt);
        *inner = Inner { live: image.to_rows(), durable: image, newest, trouble, felt, ..Inner::default() };
    }

    /// Somebody other than the replica writes to it, while nobody uses it.
    pub(crate) fn alter(&self, batch: &Batch) {
        let mut inner = self.lock();
        inner.live.apply(batch, &[]);
        inner.durable.apply(batch, &[]);
    }

    /// Another disk is put in its place, an empty one.
    pub(crate) fn renew(&self) {
        let mut inner = self.lock();
        *inner = Inner { newest: inner.newest, trouble: inner.trouble, felt: inner.felt, ..Inner::default() };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes visible at once; the future makes durable what was submitted up to here.
    fn write(&self, batch: Batch, replaced: &[Table], durability: Durability) -> Completion {
        let number = {
            let mut inner = self.lock();
            if let Err(error) = inner.admit(false) {
                return Box::pin(std::future::ready(Err(error)));
            }
            inner.newest += 1;
            let number = inner.newest;
            let (batch, replaced): (Arc<Batch>, Arc<[Table]>) = (Arc::new(batch), replaced.into());
            inner.live.apply(&batch, &replaced);
            self.facts.add(Fact::Wrote {
                replica: self.replica,
                number,
                batch: batch.clone(),
                replaced: replaced.clone(),
            });
            inner.unsynced.push_back(Unsynced { number, batch, replaced });
            number
        };
        if durability == Durability::Buffered {
            return Box::pin(std::future::ready(Ok(())));
        }
        let disk = self.clone();
        Box::pin(async move {
            let slow = disk.lock().trouble.slow;
            if slow.is_some() {
                disk.lock().felt += 1;
            }
            tokio::time::sleep(slow.unwrap_or(disk.sync_time)).await;
            disk.sync(number)
        })
    }

    fn sync(&self, through: u64) -> Result<(), DiskError> {
        let mut inner = self.lock();
        inner.admit(true)?;
        let mut moved = false;
        while inner.unsynced.front().is_some_and(|next| next.number <= through) {
            inner.settle();
            moved = true;
        }
        if moved {
            self.facts.add(Fact::Synced { replica: self.replica, through });
        }
        Ok(())
    }
}

impl Inner {
    /// The oldest batch that was not durable is.
    fn settle(&mut self) {
        if let Some(Unsynced { batch, replaced, .. }) = self.unsynced.pop_front() {
            self.durable.apply(&batch, &replaced);
        }
    }

    fn admit(&mut self, is_sync: bool) -> Result<(), DiskError> {
        if self.broken {
            return Err(DiskError::Io("an earlier write or sync has failed".into()));
        }
        if self.trouble.full && !is_sync {
            self.felt += 1;
            return Err(DiskError::Full("no space left on the simulated device".into()));
        }
        if let Some(failing) = self.trouble.failing.as_mut().filter(|failing| failing.on_sync == is_sync) {
            if failing.after > 0 {
                failing.after -= 1;
                return Ok(());
            }
            self.trouble.failing = None;
            self.broken = true;
            self.felt += 1;
            return Err(DiskError::Io("input/output error of the simulated device".into()));
        }
        Ok(())
    }
}

struct View(Rows);

impl DiskView for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.0.get(table, key).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        Ok(self.0.range(table, from, to).take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table, before: Option<&[u8]>) -> Result<Option<Row>, DiskError> {
        Ok(self.0.range(table, b"", before).next_back().map(|(key, value)| (key.clone(), value.clone())))
    }
}

impl Disk for SimDisk {
    fn submit(&self, batch: Batch, durability: Durability) -> Completion {
        self.write(batch, &[], durability)
    }

    fn view(&self) -> Arc<dyn DiskView> {
        Arc::new(View(self.lock().live.clone()))
    }

    fn replace(&self, tables: &[Table], rows: NewRows, and: Batch) -> Completion {
        let mut batch = Batch::default();
        for row in rows {
            match row {
                Ok((table, (key, value))) => batch.put(table, key, value),
                Err(error) => return Box::pin(std::future::ready(Err(error))),
            }
        }
        batch.writes.extend(and.writes);
        self.write(batch, tables, Durability::Synced)
    }

    /// What fills a disk to its end does so at once, between two looks.
    fn space(&self) -> Option<Space> {
        let free_bytes = if self.lock().trouble.low { LOW_BYTES } else { PLENTY_BYTES };
        Some(Space { free_bytes, total_bytes: 2 * PLENTY_BYTES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> SimDisk {
        SimDisk::new(0, Facts::default(), Duration::ZERO)
    }

    fn put(key: &'static str) -> Batch {
        let mut batch = Batch::default();
        batch.put(Table::Log, key, "value");
        batch
    }

    fn keys(disk: &SimDisk) -> Vec<Bytes> {
        disk.scan(Table::Log, b"", None, 10).unwrap().into_iter().map(|(key, _)| key).collect()
    }

    #[tokio::test]
    async fn an_image_that_is_put_back_is_what_was_durable_then() {
        let disk = disk();
        disk.submit(put("a"), Durability::Synced).await.unwrap();
        disk.submit(put("b"), Durability::Buffered).await.unwrap();
        let image = disk.image();
        disk.submit(put("c"), Durability::Synced).await.unwrap();
        disk.put_back(image);
        assert_eq!(keys(&disk), ["a"]);
        assert_eq!(disk.crash(0), (3, 0), "batches are numbered on");
    }

    #[tokio::test]
    async fn a_crash_drops_what_no_sync_has_covered() {
        let disk = disk();
        disk.submit(put("a"), Durability::Buffered).await.unwrap();
        disk.submit(put("b"), Durability::Synced).await.unwrap();
        disk.submit(put("c"), Durability::Buffered).await.unwrap();
        // Submitted, but the crash comes before its sync.
        drop(disk.submit(put("d"), Durability::Synced));
        assert_eq!(keys(&disk), ["a", "b", "c", "d"]);
        assert_eq!(disk.crash(0), (2, 2));
        assert_eq!(keys(&disk), ["a", "b"]);
        disk.submit(put("e"), Durability::Synced).await.unwrap();
        disk.crash(0);
        assert_eq!(keys(&disk), ["a", "b", "e"]);
    }

    #[tokio::test]
    async fn a_crash_leaves_a_prefix() {
        let disk = disk();
        for key in ["a", "b", "c", "d"] {
            disk.submit(put(key), Durability::Buffered).await.unwrap();
        }
        assert_eq!(disk.crash(50), (2, 2));
        assert_eq!(keys(&disk), ["a", "b"]);
    }

    #[tokio::test]
    async fn replace_is_all_or_nothing() {
        let disk = disk();
        disk.submit(put("old"), Durability::Synced).await.unwrap();
        let rows = || -> NewRows {
            let row = (Table::Log, (Bytes::from("new"), Bytes::from("value")));
            Box::new(std::iter::once(Ok(row)))
        };
        drop(disk.replace(&[Table::Log], rows(), Batch::default()));
        disk.crash(0);
        assert_eq!(keys(&disk), ["old"]);
        disk.replace(&[Table::Log], rows(), Batch::default()).await.unwrap();
        disk.crash(0);
        assert_eq!(keys(&disk), ["new"]);
    }

    #[tokio::test]
    async fn after_a_failed_sync_nothing_works_and_what_it_covered_is_lost() {
        let disk = disk();
        disk.submit(put("a"), Durability::Synced).await.unwrap();
        disk.set_trouble(|trouble| trouble.failing = Some(Failing { after: 0, on_sync: true }));
        assert!(disk.submit(put("b"), Durability::Synced).await.is_err());
        assert!(disk.submit(put("c"), Durability::Buffered).await.is_err());
        disk.crash(100);
        assert_eq!(keys(&disk), ["a"]);
        disk.submit(put("d"), Durability::Synced).await.unwrap();
    }

    #[tokio::test]
    async fn a_new_disk_is_empty() {
        let disk = disk();
        disk.submit(put("a"), Durability::Synced).await.unwrap();
        disk.submit(put("b"), Durability::Buffered).await.unwrap();
        disk.renew();
        assert!(disk.is_empty() && keys(&disk).is_empty());
        assert_eq!(disk.crash(100), (2, 0));
        assert!(disk.is_empty());
    }

    #[tokio::test]
    async fn a_full_disk_takes_nothing_and_forgets_nothing() {
        let disk = disk();
        disk.submit(put("a"), Durability::Synced).await.unwrap();
        disk.set_trouble(|trouble| trouble.full = true);
        assert!(matches!(disk.submit(put("b"), Durability::Synced).await, Err(DiskError::Full(_))));
        disk.set_trouble(|trouble| trouble.full = false);
        disk.submit(put("c"), Durability::Synced).await.unwrap();
        assert_eq!(keys(&disk), ["a", "c"]);
    }
}
