//! The store of one replica on RocksDB.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorate_seams::{
    Batch, Completion, Disk, DiskError, DiskView, Done, Durability, NewRows, Row, Space, Table, Write,
};
use rocksdb::{DB, ReadOptions, WriteBatch, WriteOptions};
use tokio::sync::oneshot;

use crate::directory;
use crate::error::{map, map_create, map_open};
use crate::intact;
use crate::lock::Lock;
use crate::options::{self, Setup};
use crate::replace::{self, Failure, Stage};
use crate::sync::Syncer;
use crate::view::{self, View, family};
use crate::wal;

/// One RocksDB. It is closed, and its directory free for another, when this and every view of it
/// are dropped.
pub struct RocksDisk {
    db: Arc<DB>,
    sync: Arc<Syncer>,
    path: PathBuf,
    stage: Arc<Stage>,
    // Declared last: the store is closed before it is anybody's.
    lock: Arc<Lock>,
}

impl RocksDisk {
    /// Opens the store in the directory `path`, or makes it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DiskError> {
        Self::open_with(path, Setup::default())
    }

    /// The same with a setup other than a replica's.
    pub fn open_with(path: impl AsRef<Path>, setup: Setup) -> Result<Self, DiskError> {
        let path = path.as_ref();
        directory::make(path).map_err(|error| map_create(path, &error))?;
        let lock = Lock::take(path)?;
        wal::check(path)?;
        intact::check(path)?;
        let db = DB::open_cf_descriptors(&options::store(setup.sizes), path, options::tables(setup.sizes))
            .map_err(|error| map_open(path, &error))?;
        wal::begin(&db).map_err(|error| map_open(path, &error))?;
        replace::resume(&db)?;
        let db = Arc::new(db);
        let sync = Syncer::start(db.clone(), setup.syncing).map_err(|error| DiskError::Open(error.to_string()))?;
        Ok(Self { db, sync: Arc::new(sync), path: path.to_owned(), stage: Arc::default(), lock })
    }

    fn write(&self, batch: &Batch) -> Result<(), DiskError> {
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(error) = self.sync.broken() {
            return Err(error.clone());
        }
        let mut writes = WriteBatch::default();
        add(&self.db, &mut writes, &batch.writes)?;
        // Without a sync: the bytes are the kernel's when this returns, and the syncer makes them
        // durable for everyone who waits.
        self.db.write_opt(writes, &WriteOptions::default()).map_err(|error| {
            let error = map(&error);
            self.sync.set_broken(&error);
            error
        })
    }
}

impl Disk for RocksDisk {
    fn submit(&self, batch: Batch, durability: Durability) -> Completion {
        let written = self.write(&batch);
        if written.is_err() || durability == Durability::Buffered {
            return Box::pin(std::future::ready(written));
        }
        let (sender, receiver) = oneshot::channel();
        // Whoever dropped the future does not want to know.
        self.sync.synced(Box::new(|outcome| drop(sender.send(outcome))));
        Box::pin(async move {
            receiver.await.unwrap_or_else(|_| Err(DiskError::Io("the store was closed before the sync".into())))
        })
    }

    fn submit_then(&self, batch: Batch, durability: Durability, done: Done) {
        match (self.write(&batch), durability) {
            (Ok(()), Durability::Synced) => self.sync.synced(done),
            (written, Durability::Buffered | Durability::Synced) => done(written),
        }
    }

    fn view(&self) -> Arc<dyn DiskView> {
        let before = self.stage.look();
        Arc::new(View::new(&self.db, &self.lock, before.clone()))
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        match self.stage.look().as_ref().and_then(|before| before.of(table)) {
            None => view::get(&self.db, &ReadOptions::default(), table, key),
            Some(before) => before.get(table, key),
        }
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        match self.stage.look().as_ref().and_then(|before| before.of(table)) {
            None => view::scan(&self.db, ReadOptions::default(), table, from, to, limit),
            Some(before) => before.scan(table, from, to, limit),
        }
    }

    /// See `replace.rs`.
    fn replace(&self, tables: &[Table], rows: NewRows, and: Batch) -> Completion {
        if let Some(error) = self.sync.broken() {
            return Box::pin(std::future::ready(Err(error.clone())));
        }
        let (db, sync, lock) = (self.db.clone(), self.sync.clone(), self.lock.clone());
        let (stage, tables) = (self.stage.clone(), tables.to_vec());
        let work = move || {
            let outcome = replace::replace(&db, &lock, &stage, &tables, rows, &and).map_err(|failure| match failure {
                Failure::Rows(error) => error,
                Failure::Disk(error) => {
                    sync.give_up(&error);
                    error
                }
            });
            // The store must be free again when the caller hears of the end.
            drop((db, sync, lock, stage));
            outcome
        };
        if self.sync.is_inline() {
            return Box::pin(std::future::ready(work()));
        }
        let (sender, receiver) = oneshot::channel();
        // On a thread of its own: a whole state is written, and the callers' threads keep elections
        // away meanwhile.
        let spawned = std::thread::Builder::new().name("disk-replace".into()).spawn(move || {
            let _ = sender.send(work());
        });
        Box::pin(async move {
            spawned.map_err(|error| DiskError::Io(format!("no thread to replace tables: {error}")))?;
            receiver.await.unwrap_or_else(|_| Err(DiskError::Io("the thread that replaces tables died".into())))
        })
    }

    fn space(&self) -> Option<Space> {
        let found = rustix::fs::statvfs(&self.path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        // What is kept back for root is not for us, also when we are root: others may need it.
        Some(Space { free_bytes: bytes(found.f_bavail), total_bytes: bytes(found.f_blocks) })
    }

    fn syncs(&self) -> u64 {
        self.sync.count()
    }
}

/// Adds writes to a batch of RocksDB's.
pub(crate) fn add(db: &DB, writes: &mut WriteBatch, batch: &[Write]) -> Result<(), DiskError> {
    for write in batch {
        match write {
            Write::Put { table, key, value } => writes.put_cf(family(db, *table)?, key, value),
            Write::Delete { table, key } => writes.delete_cf(family(db, *table)?, key),
            Write::DeleteRange { table, from, to } => writes.delete_range_cf(family(db, *table)?, from, to),
        }
    }
    Ok(())
}
