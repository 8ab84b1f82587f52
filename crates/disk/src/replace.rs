//! Replacing whole tables, all or nothing, a piece in memory at a time.
//!
//! What is new waits in RocksDB's default column family, which holds nothing else. When all of it is there, one synced
//! batch empties the tables and leaves the intent: the batch that is to be written at the end. Then the tables are
//! filled from what waits, and that batch takes the intent and the rest away. A crash before the intent leaves the old
//! content; after it, whoever opens the store next fills the tables again. Nothing but this writes to them meanwhile,
//! so that filling them twice is filling them once.
//!
//! Readers see the old content until the end ([`Stage`]).

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use quorate_seams::{Batch, DiskError, NewRows, Table};
use rocksdb::{ColumnFamily, DB, DEFAULT_COLUMN_FAMILY_NAME, IteratorMode, ReadOptions, WriteBatch, WriteOptions};

use crate::error::map;
use crate::lock::Lock;
use crate::rocks::add;
use crate::view::{self, View, family};

/// Keys and values of a piece, give or take a row.
const PIECE_BYTES: usize = 4 << 20;
/// The intent's key. No waiting row has it: theirs begin with the number of a table.
const INTENT: &[u8] = b"\xffintent";

/// Tables that are being replaced, as they were.
#[derive(Clone)]
pub(crate) struct Before {
    tables: Arc<[Table]>,
    view: Arc<View>,
}

impl Before {
    /// The view that still holds a table.
    pub(crate) fn of(&self, table: Table) -> Option<&View> {
        self.tables.contains(&table).then_some(&*self.view)
    }
}

/// What readers see while tables are replaced.
#[derive(Default)]
pub(crate) struct Stage(RwLock<Option<Before>>);

impl Stage {
    /// Nothing changes from old to new while this is held.
    pub(crate) fn look(&self) -> RwLockReadGuard<'_, Option<Before>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_old(&self, before: Before) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(before);
    }

    /// Readers see what `last` leaves, once it is written.
    fn show_new(&self, last: impl FnOnce() -> Result<(), DiskError>) -> Result<(), DiskError> {
        let mut stage = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // After an error they go on with the old content: nobody writes any more.
        last()?;
        *stage = None;
        Ok(())
    }
}

/// What became of it.
pub(crate) enum Failure {
    /// Nothing has changed.
    Rows(DiskError),
    /// Nobody knows what is on the disk.
    Disk(DiskError),
}

/// Replaces the whole content of `tables` by `rows`, and applies `and` with it. Durable when it returns.
pub(crate) fn replace(
    db: &Arc<DB>,
    lock: &Arc<Lock>,
    stage: &Stage,
    tables: &[Table],
    rows: NewRows,
    and: &Batch,
) -> Result<(), Failure> {
    gather(db, rows)?;
    let before = Before { tables: tables.into(), view: Arc::new(View::new(db, lock, None)) };
    stage.show_old(before);
    let intent = begin(db, tables, and).map_err(Failure::Disk)?;
    fill(db).map_err(Failure::Disk)?;
    stage.show_new(|| end(db, intent)).map_err(Failure::Disk)
}

/// Ends what a crash has interrupted.
pub(crate) fn resume(db: &DB) -> Result<(), DiskError> {
    let intent = db.get_cf(waiting(db)?, INTENT).map_err(|error| map(&error))?;
    match intent {
        Some(intent) => {
            fill(db)?;
            end(db, WriteBatch::from_data(&intent))
        }
        None => clear(db),
    }
}

/// Puts the rows where they wait, in the place of what an earlier attempt has left there.
fn gather(db: &DB, rows: NewRows) -> Result<(), Failure> {
    clear(db).map_err(Failure::Disk)?;
    let mut piece = Piece::new(db);
    for row in rows {
        let (table, (key, value)) = row.map_err(Failure::Rows)?;
        let key = [&[number(table)], &key[..]].concat();
        waiting(db).and_then(|family| piece.put(family, &key, &value)).map_err(Failure::Disk)?;
    }
    piece.write().map_err(Failure::Disk)
}

/// Empties the tables and leaves the intent, durably and with everything before it. Returns what is to be written at
/// the end.
fn begin(db: &DB, tables: &[Table], and: &Batch) -> Result<WriteBatch, DiskError> {
    let mut last = WriteBatch::default();
    add(db, &mut last, &and.writes)?;
    delete_all(db, waiting(db)?, &mut last)?;
    last.delete_cf(waiting(db)?, INTENT);
    let mut first = WriteBatch::default();
    for table in tables {
        delete_all(db, family(db, *table)?, &mut first)?;
    }
    first.put_cf(waiting(db)?, INTENT, last.data());
    write(db, first, true)?;
    Ok(last)
}

/// Fills the tables from what waits.
fn fill(db: &DB) -> Result<(), DiskError> {
    let mut piece = Piece::new(db);
    for row in db.iterator_cf(waiting(db)?, IteratorMode::Start) {
        let (key, value) = row.map_err(|error| map(&error))?;
        let Some((number, key)) = key.split_first() else { continue };
        if let Some(table) = table(*number) {
            piece.put(family(db, table)?, key, &value)?;
        }
    }
    piece.write()
}

fn end(db: &DB, last: WriteBatch) -> Result<(), DiskError> {
    write(db, last, true)
}

fn clear(db: &DB) -> Result<(), DiskError> {
    let mut writes = WriteBatch::default();
    delete_all(db, waiting(db)?, &mut writes)?;
    if writes.is_empty() { Ok(()) } else { write(db, writes, false) }
}

/// Writes that come to the store a piece at a time.
struct Piece<'a> {
    db: &'a DB,
    writes: WriteBatch,
}

impl<'a> Piece<'a> {
    fn new(db: &'a DB) -> Self {
        Self { db, writes: WriteBatch::default() }
    }

    fn put(&mut self, family: &ColumnFamily, key: &[u8], value: &[u8]) -> Result<(), DiskError> {
        self.writes.put_cf(family, key, value);
        if self.writes.size_in_bytes() < PIECE_BYTES {
            return Ok(());
        }
        write(self.db, std::mem::take(&mut self.writes), false)
    }

    fn write(self) -> Result<(), DiskError> {
        if self.writes.is_empty() { Ok(()) } else { write(self.db, self.writes, false) }
    }
}

fn write(db: &DB, writes: WriteBatch, is_synced: bool) -> Result<(), DiskError> {
    let mut options = WriteOptions::default();
    options.set_sync(is_synced);
    db.write_opt(writes, &options).map_err(|error| map(&error))
}

/// Where rows wait.
fn waiting(db: &DB) -> Result<&ColumnFamily, DiskError> {
    let found = db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME);
    found.ok_or_else(|| DiskError::Corrupt("the store has no default column family".into()))
}

/// Deletes all there is. Up to and including the last key; a range needs an end, and keys have no largest.
fn delete_all(db: &DB, family: &ColumnFamily, writes: &mut WriteBatch) -> Result<(), DiskError> {
    if let Some((last, _)) = view::last_in(db, ReadOptions::default(), family, None)? {
        writes.delete_range_cf(family, &b""[..], &[&last[..], &[0]].concat());
    }
    Ok(())
}

/// The number under which rows of a table wait; it is stored.
fn number(table: Table) -> u8 {
    match table {
        Table::Log => 0,
        Table::Raft => 1,
        Table::State => 2,
        Table::Events => 3,
    }
}

fn table(number: u8) -> Option<Table> {
    Table::ALL.into_iter().find(|table| self::number(*table) == number)
}

#[cfg(test)]
mod tests;
