//! The store of one replica on RocksDB.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorate_seams::{Batch, Completion, Disk, DiskError, DiskView, Done, Durability, Row, Space, Table, Write};
use rocksdb::{DB, ReadOptions, WriteBatch, WriteOptions};
use tokio::sync::oneshot;

use crate::directory;
use crate::error::{map, map_create, map_open};
use crate::intact;
use crate::lock::Lock;
use crate::options::{self, Setup};
use crate::sync::Syncer;
use crate::view::{self, View, family};
use crate::wal;

/// One RocksDB. It is closed, and its directory free for another, when this and every view of it
/// are dropped.
pub struct RocksDisk {
    db: Arc<DB>,
    sync: Arc<Syncer>,
    path: PathBuf,
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
        let db = Arc::new(db);
        let sync = Syncer::start(db.clone(), setup.syncing).map_err(|error| DiskError::Open(error.to_string()))?;
        Ok(Self { db, sync: Arc::new(sync), path: path.to_owned(), lock })
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
        Arc::new(View::new(&self.db, &self.lock))
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        view::get(&self.db, &ReadOptions::default(), table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        view::scan(&self.db, ReadOptions::default(), table, from, to, limit)
    }

    /// Written as one batch, which RocksDB's log holds whole or not at all.
    fn replace(&self, tables: &[Table], rows: Vec<(Table, Row)>, and: Batch) -> Completion {
        if let Some(error) = self.sync.broken() {
            return Box::pin(std::future::ready(Err(error.clone())));
        }
        if self.sync.is_inline() {
            let outcome = replace(&self.db, tables, rows, &and);
            if let Err(error) = &outcome {
                self.sync.set_broken(error);
            }
            return Box::pin(std::future::ready(outcome));
        }
        let (db, sync, lock, tables) = (self.db.clone(), self.sync.clone(), self.lock.clone(), tables.to_vec());
        let (sender, receiver) = oneshot::channel();
        // On a thread of its own: a whole state is written, and the callers' threads keep elections
        // away meanwhile.
        let spawned = std::thread::Builder::new().name("disk-replace".into()).spawn(move || {
            let outcome = replace(&db, &tables, rows, &and);
            if let Err(error) = &outcome {
                sync.give_up(error);
            }
            // The store must be free again when the caller hears of the end.
            drop((db, sync, lock));
            let _ = sender.send(outcome);
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

fn replace(db: &DB, tables: &[Table], rows: Vec<(Table, Row)>, and: &Batch) -> Result<(), DiskError> {
    let mut writes = WriteBatch::default();
    for table in tables {
        // Up to and including the last key there is; a range needs an end, and keys have no largest.
        if let Some((last, _)) = view::last(db, ReadOptions::default(), *table, None)? {
            let mut end = last.to_vec();
            end.push(0);
            writes.delete_range_cf(family(db, *table)?, b"".as_slice(), end.as_slice());
        }
    }
    for (table, (key, value)) in rows {
        writes.put_cf(family(db, table)?, key, value);
    }
    add(db, &mut writes, &and.writes)?;
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    db.write_opt(writes, &synced).map_err(|error| map(&error))
}

fn add(db: &DB, writes: &mut WriteBatch, batch: &[Write]) -> Result<(), DiskError> {
    for write in batch {
        match write {
            Write::Put { table, key, value } => writes.put_cf(family(db, *table)?, key, value),
            Write::Delete { table, key } => writes.delete_cf(family(db, *table)?, key),
            Write::DeleteRange { table, from, to } => writes.delete_range_cf(family(db, *table)?, from, to),
        }
    }
    Ok(())
}
