//! Rows of the state: from changes to writes, and back into memory.

use std::sync::Arc;

use quorate_proto::rows::{RowWrite, SpecCache, decode_row, is_archived};
use quorate_seams::{Batch, DiskError, DiskView, NewRows, Row, Table, Write};
use quorate_state::{Change, State};

use crate::Error;
use crate::snapshot;

/// Adds what a change writes to a batch.
pub(super) fn add(batch: &mut Batch, write: RowWrite) {
    match write {
        RowWrite::Put { key, value } => batch.put(Table::State, key, value),
        RowWrite::Delete { key } => batch.delete(Table::State, key),
        RowWrite::DeleteEventsBelow { to } => batch.delete_range(Table::Events, "", to),
        RowWrite::DeleteRange { from, to } => batch.delete_range(Table::State, from, to),
        RowWrite::All(writes) => writes.into_iter().for_each(|write| add(batch, write)),
    }
}

/// Bytes of keys and values in `writes`.
pub(super) fn bytes(writes: &[Write]) -> usize {
    let bytes = |write: &Write| match write {
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Delete { key, .. } => key.len(),
        Write::DeleteRange { from, to, .. } => from.len() + to.len(),
    };
    writes.iter().map(bytes).sum()
}

/// The state whose rows a view holds.
pub(super) fn load_view(view: Arc<dyn DiskView>) -> Result<State, Error> {
    load(snapshot::Rows::loaded(view))
}

/// The state of these rows, which come in key order.
pub(super) fn load(rows: impl Iterator<Item = Result<(Table, Row), DiskError>>) -> Result<State, Error> {
    let mut state = State::default();
    let mut specs = SpecCache::default();
    for row in rows {
        let (table, (key, value)) = row?;
        if table == Table::State && !is_archived(&key) {
            let change = decode_row(&key, &value, &mut specs)
                .map_err(|error| Error::Format(format!("row {}: {error}", key.escape_ascii())))?;
            state.commit(&change);
        }
    }
    Ok(state)
}

/// What [`quorate_planted::Bug::RequestsLostInSnapshot`] does to rows, which come in key order.
pub(super) fn without_requests(rows: NewRows) -> NewRows {
    let mut specs = SpecCache::default();
    let mut is_request = move |row: &(Table, Row)| {
        let (table, (key, value)) = row;
        *table == Table::State
            && !is_archived(key)
            && matches!(decode_row(key, value, &mut specs), Ok(Change::Request(_)))
    };
    Box::new(rows.filter(move |row| !row.as_ref().is_ok_and(&mut is_request)))
}
