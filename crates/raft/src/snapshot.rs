//! Snapshots: a point in time of the disk on the way out, rows of one on the way in.
//!
//! A snapshot is never built in memory nor stored beside the rows. What is on disk *is* the
//! snapshot; "building" one makes it durable, and sending one reads a view of it in key order.

use std::sync::Arc;

use openraft::RaftSnapshotBuilder;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Batch, DiskError, DiskView, Durability, Row, Table};

use crate::store::{self, Store};
use crate::type_config::{SnapshotMeta, TypeConfig};
use crate::wire::WireError;

pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, Image>;

/// The tables that are part of a snapshot, in the order in which they are sent.
pub(crate) const TABLES: [Table; 2] = [Table::State, Table::Events];

/// No snapshot that comes in may be larger; it is held in memory until it is whole.
pub(crate) const SNAPSHOT_BYTES_MAX: usize = 8 << 30;

/// Rows read from disk at once.
const PAGE_ROWS: usize = 256;

/// What a snapshot consists of.
pub(crate) enum Image {
    /// A point in time of our own disk.
    View(Arc<dyn DiskView>),
    /// Everything that a leader sent.
    Rows(Box<Received>),
}

/// A snapshot that has come in whole.
pub(crate) struct Received {
    /// What the leader's store said of it.
    pub(crate) applied: pb::Applied,
    pub(crate) rows: Vec<(Table, Row)>,
}

impl Image {
    /// All rows, and the record of what was applied with them.
    pub(crate) fn collect(self) -> Result<Received, crate::Error> {
        match self {
            Self::Rows(received) => Ok(*received),
            Self::View(view) => {
                let applied = store::read(&*view, store::APPLIED)?.unwrap_or_default();
                let rows = Pages::new(view).collect::<Result<Vec<_>, _>>()?.concat();
                Ok(Received { applied, rows })
            }
        }
    }
}

/// Makes what is applied durable. The view is taken when openraft asks, between two entries.
pub(crate) struct Builder {
    pub(crate) store: Store,
    pub(crate) meta: SnapshotMeta,
    pub(crate) view: Arc<dyn DiskView>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> Result<Snapshot, std::io::Error> {
        // An empty batch that is synced takes everything before it along.
        self.store.write(Batch::default(), Durability::Synced).await?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: Image::View(self.view.clone()) })
    }
}

/// The rows of a view, page by page, in the order of [`TABLES`] and keys.
pub(crate) struct Pages {
    view: Arc<dyn DiskView>,
    tables: &'static [Table],
    at: Option<(usize, Vec<u8>)>,
}

impl Pages {
    pub(crate) fn new(view: Arc<dyn DiskView>) -> Self {
        Self { view, tables: &TABLES, at: Some((0, vec![])) }
    }

    /// Without the events, which nobody keeps in memory.
    pub(crate) fn state_only(view: Arc<dyn DiskView>) -> Self {
        Self { view, tables: &[Table::State], at: Some((0, vec![])) }
    }
}

impl Iterator for Pages {
    type Item = Result<Vec<(Table, Row)>, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, from) = self.at.take()?;
            let table = *self.tables.get(number)?;
            let rows = match self.view.scan(table, &from, None, PAGE_ROWS) {
                Ok(rows) => rows,
                Err(error) => return Some(Err(error)),
            };
            let Some((last, _)) = rows.last() else {
                self.at = Some((number + 1, vec![]));
                continue;
            };
            // The least key after `last`.
            self.at = Some((number, [last, &[0][..]].concat()));
            return Some(Ok(rows.into_iter().map(|row| (table, row)).collect()));
        }
    }
}

/// The rows of a view in pieces of about `bytes` each, the last one marked. There is always a last
/// one, if only an empty one.
pub(crate) fn pieces(
    view: Arc<dyn DiskView>,
    bytes: usize,
) -> impl Iterator<Item = Result<(Vec<pb::SnapshotRow>, bool), DiskError>> {
    let mut pages = Pages::new(view);
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let (mut rows, mut size) = (vec![], 0);
        while size < bytes {
            match pages.next() {
                Some(Ok(page)) => {
                    size += page.iter().map(|(_, (key, value))| key.len() + value.len()).sum::<usize>();
                    rows.extend(page.into_iter().map(row_to));
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    done = true;
                    break;
                }
            }
        }
        Some(Ok((rows, done)))
    })
}

fn row_to((table, (key, value)): (Table, Row)) -> pb::SnapshotRow {
    let table = if table == Table::Events { 2 } else { 1 };
    pb::SnapshotRow { table, key, value }
}

fn row_from(row: pb::SnapshotRow) -> Result<(Table, Row), WireError> {
    let table = match row.table {
        1 => Table::State,
        2 => Table::Events,
        _ => return Err(WireError::Wrong("row.table")),
    };
    Ok((table, (row.key, row.value)))
}

/// The one transfer under way on a receiver. A piece out of order ends it.
#[derive(Default)]
pub(crate) struct Incoming {
    transfer: u64,
    next: u64,
    bytes: usize,
    rows: Vec<(Table, Row)>,
}

impl Incoming {
    /// Takes a piece; the rows of all, once the last is there.
    pub(crate) fn take(
        &mut self,
        transfer: u64,
        sequence: u64,
        rows: Vec<pb::SnapshotRow>,
        last: bool,
    ) -> Result<Option<Vec<(Table, Row)>>, &'static str> {
        if sequence == 0 {
            *self = Self { transfer, ..Self::default() };
        }
        if transfer != self.transfer || sequence != self.next {
            *self = Self::default();
            return Err("a piece of the snapshot is missing: start again");
        }
        self.next += 1;
        self.bytes += rows.iter().map(|row| row.key.len() + row.value.len()).sum::<usize>();
        if self.bytes > SNAPSHOT_BYTES_MAX {
            *self = Self::default();
            return Err("the snapshot is over SNAPSHOT_BYTES_MAX");
        }
        for row in rows {
            self.rows.push(row_from(row).map_err(|_| "a row of the snapshot names an unknown table")?);
        }
        Ok(last.then(|| std::mem::take(self).rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &'static str) -> pb::SnapshotRow {
        pb::SnapshotRow { table: 1, key: key.into(), value: "".into() }
    }

    #[test]
    fn pieces_in_order_make_a_whole() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.take(7, 0, vec![row("a")], false), Ok(None));
        let whole = incoming.take(7, 1, vec![row("b")], true).unwrap().unwrap();
        assert_eq!(whole.iter().map(|(_, (key, _))| key.as_ref()).collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn a_missing_piece_or_another_transfer_ends_it() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.take(7, 0, vec![row("a")], false), Ok(None));
        assert!(incoming.take(7, 2, vec![row("c")], true).is_err());
        assert!(incoming.take(7, 1, vec![row("b")], true).is_err(), "the transfer is over");
        assert_eq!(incoming.take(8, 0, vec![row("a")], false), Ok(None));
        assert!(incoming.take(7, 1, vec![row("b")], true).is_err());
    }
}
