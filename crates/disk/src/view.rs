//! Reads: of now, and of a point in time.

use std::sync::Arc;

use bytes::Bytes;
use quorate_seams::{DiskError, DiskView, Row, Table};
use rocksdb::{ColumnFamily, DB, DBPinnableSlice, DBRawIterator, ReadOptions, Snapshot};

use crate::error::map;
use crate::lock::Lock;

/// The column family of a table. All are made when the store is opened.
pub(crate) fn family(db: &DB, table: Table) -> Result<&ColumnFamily, DiskError> {
    db.cf_handle(table.name()).ok_or_else(|| DiskError::Corrupt(format!("table {:?} is missing", table.name())))
}

/// The value of `key` as `options` sees it.
pub(crate) fn get(db: &DB, options: &ReadOptions, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
    let found: Option<DBPinnableSlice<'_>> =
        db.get_pinned_cf_opt(family(db, table)?, key, options).map_err(|error| map(&error))?;
    Ok(found.map(|value| Bytes::copy_from_slice(&value)))
}

/// At most `limit` rows of `from..to` as `options` sees them.
pub(crate) fn scan(
    db: &DB,
    mut options: ReadOptions,
    table: Table,
    from: &[u8],
    to: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Row>, DiskError> {
    if let Some(to) = to {
        options.set_iterate_upper_bound(to);
    }
    let mut rows = Vec::new();
    let mut at = db.raw_iterator_cf_opt(family(db, table)?, options);
    at.seek(from);
    while rows.len() < limit {
        let Some(row) = current(&at) else { break };
        rows.push(row);
        at.next();
    }
    at.status().map_err(|error| map(&error))?;
    Ok(rows)
}

/// The last row below `before` as `options` sees it.
pub(crate) fn last(
    db: &DB,
    options: ReadOptions,
    table: Table,
    before: Option<&[u8]>,
) -> Result<Option<Row>, DiskError> {
    let mut at = db.raw_iterator_cf_opt(family(db, table)?, options);
    match before {
        None => at.seek_to_last(),
        Some(before) => {
            at.seek_for_prev(before);
            if at.key() == Some(before) {
                at.prev();
            }
        }
    }
    let row = current(&at);
    at.status().map_err(|error| map(&error))?;
    Ok(row)
}

fn current(at: &DBRawIterator<'_>) -> Option<Row> {
    at.item().map(|(key, value)| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))
}

/// A point in time of the store, which it keeps open.
pub(crate) struct View {
    // Declared before `db`, so that it is released while the store is still open.
    snapshot: Snapshot<'static>,
    db: Arc<DB>,
    _lock: Arc<Lock>,
}

impl View {
    pub(crate) fn new(db: &Arc<DB>, lock: &Arc<Lock>) -> Self {
        let snapshot: Snapshot<'_> = db.snapshot();
        #[expect(unsafe_code, reason = "a view is shared and outlives its maker; the binding knows only borrowed ones")]
        // SAFETY: the snapshot borrows the store behind `db`, whose address does not change and which
        // is kept open by the reference count in the same value, dropped after the snapshot.
        let snapshot = unsafe { std::mem::transmute::<Snapshot<'_>, Snapshot<'static>>(snapshot) };
        Self { snapshot, db: db.clone(), _lock: lock.clone() }
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        options
    }
}

impl DiskView for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        get(&self.db, &self.options(), table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        scan(&self.db, self.options(), table, from, to, limit)
    }

    fn last(&self, table: Table, before: Option<&[u8]>) -> Result<Option<Row>, DiskError> {
        last(&self.db, self.options(), table, before)
    }
}
