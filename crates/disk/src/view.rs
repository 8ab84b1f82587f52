//! Reads: of now, and of a point in time.

use std::sync::Arc;

use bytes::Bytes;
use quorate_seams::{DiskError, DiskView, Row, Table};
use rocksdb::{ColumnFamily, DB, DBPinnableSlice, DBRawIterator, ReadOptions, Snapshot};

use crate::error::map;
use crate::lock::Lock;
use crate::replace::Before;

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
    last_in(db, options, family(db, table)?, before)
}

/// The same of a column family.
pub(crate) fn last_in(
    db: &DB,
    options: ReadOptions,
    family: &ColumnFamily,
    before: Option<&[u8]>,
) -> Result<Option<Row>, DiskError> {
    let mut at = db.raw_iterator_cf_opt(family, options);
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
    /// Tables that were being replaced then, as they were before.
    before: Option<Before>,
    _lock: Arc<Lock>,
}

impl View {
    /// The store as it is now, but for what is `before`.
    pub(crate) fn new(db: &Arc<DB>, lock: &Arc<Lock>, before: Option<Before>) -> Self {
        let snapshot: Snapshot<'_> = db.snapshot();
        #[expect(unsafe_code, reason = "a view is shared and outlives its maker; the binding knows only borrowed ones")]
        // SAFETY: the snapshot borrows the store behind `db`, whose address does not change and which
        // is kept open by the reference count in the same value, dropped after the snapshot.
        let snapshot = unsafe { std::mem::transmute::<Snapshot<'_>, Snapshot<'static>>(snapshot) };
        Self { snapshot, db: db.clone(), before, _lock: lock.clone() }
    }

    /// As of when a table is seen.
    fn options(&self, table: Table) -> ReadOptions {
        let of = self.before.as_ref().and_then(|before| before.of(table)).unwrap_or(self);
        let mut options = ReadOptions::default();
        options.set_snapshot(&of.snapshot);
        options
    }
}

impl DiskView for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        get(&self.db, &self.options(table), table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        scan(&self.db, self.options(table), table, from, to, limit)
    }

    fn last(&self, table: Table, before: Option<&[u8]>) -> Result<Option<Row>, DiskError> {
        last(&self.db, self.options(table), table, before)
    }
}
