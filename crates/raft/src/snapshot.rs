//! Snapshots: a point in time of the disk on the way out, rows of one on the way in.
//!
//! A snapshot is never built in memory nor stored beside the rows. What is on disk *is* the
//! snapshot; "building" one makes it durable, and sending one reads a view of it in key order.

mod staging;
mod views;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::RaftSnapshotBuilder;
use openraft::async_runtime::WatchReceiver as _;
use quorate_proto::raft::v1 as pb;
use quorate_proto::rows::archive_start;
use quorate_seams::{Batch, DiskError, DiskView, Durability, NewRows, Row, Table};
use tokio::sync::Mutex;

use crate::StopReason;
use crate::halt::Halt;
use crate::store::{self, Store};
use crate::type_config::{Raft, SnapshotMeta, TypeConfig};
use crate::wire::WireError;

pub(crate) use staging::{Staging, StagingError};
pub(crate) use views::{Mark, Outgoing, Views};

pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, Image>;

/// The tables that are part of a snapshot, in the order in which they are sent.
pub(crate) const TABLES: [Table; 2] = [Table::State, Table::Events];

/// A row and where it belongs.
pub(crate) type TableRow = (Table, Row);
/// Where a row is.
pub(crate) type Place = (Table, Bytes);

/// Rows read from disk at once. A row may have as many bytes as a log entry, and all of a page are
/// in memory together.
const PAGE_ROWS: usize = 64;

/// Between two looks for what can be given up.
const TIDY_PAUSE: Duration = Duration::from_secs(30);

/// What a snapshot consists of.
pub(crate) enum Image {
    /// A point in time of our own disk.
    View(Arc<Outgoing>),
    /// Everything that a leader sent.
    Rows(Box<Received>),
}

/// A snapshot that has come in whole.
pub(crate) struct Received {
    /// What the leader's store said of it.
    pub(crate) applied: pb::Applied,
    /// Its rows, from the first to the last, each time that it is called: they are not held in memory.
    pub(crate) rows: Box<dyn Fn() -> NewRows + Send + Sync>,
}

impl Image {
    /// All rows, and the record of what was applied with them.
    pub(crate) fn open(self) -> Result<Received, crate::Error> {
        match self {
            Self::Rows(received) => Ok(*received),
            Self::View(out) => {
                let applied = store::read(&*out.view, store::APPLIED)?.unwrap_or_default();
                let view = out.view.clone();
                Ok(Received { applied, rows: Box::new(move || Box::new(Rows::new(view.clone()))) })
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
        let out = Outgoing::new(self.meta.clone(), self.view.clone());
        Ok(Snapshot { meta: self.meta.clone(), snapshot: Image::View(Arc::new(out)) })
    }
}

/// Gives up, now and then, the view that no follower comes back for and the pieces that no leader adds to.
pub(crate) async fn tidy(raft: Raft, views: Arc<Views>, staging: Arc<Mutex<Staging>>, halt: Halt) {
    loop {
        tokio::time::sleep(TIDY_PAUSE).await;
        {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            let leads = metrics.current_leader == Some(metrics.id);
            let members = metrics.membership_config.membership();
            views.tidy(|follower| leads && members.get_node(&follower).is_some());
        }
        if let Err(error) = staging.lock().await.tidy().await {
            halt.because(StopReason::Storage(store::with_causes(&error)));
        }
    }
}

/// The rows of a view, in the order of [`TABLES`] and keys. It ends after an error.
pub(crate) struct Rows {
    view: Arc<dyn DiskView>,
    tables: &'static [Table],
    /// The table, by its place in `tables`, and the key where the next page begins.
    at: Option<(usize, Vec<u8>)>,
    /// What is left of the page read last.
    page: std::vec::IntoIter<Row>,
    page_table: Table,
    /// No keys from here on.
    end: Option<Bytes>,
}

impl Rows {
    pub(crate) fn new(view: Arc<dyn DiskView>) -> Self {
        Self::of(view, &TABLES)
    }

    /// Those after a place.
    pub(crate) fn after(view: Arc<dyn DiskView>, (table, key): &Place) -> Self {
        let number = TABLES.iter().position(|other| other == table).unwrap_or(TABLES.len());
        Self { at: Some((number, after(key))), ..Self::new(view) }
    }

    /// Those that are kept in memory: neither the events nor the archive, which is the end of the state.
    pub(crate) fn loaded(view: Arc<dyn DiskView>) -> Self {
        Self { end: Some(archive_start()), ..Self::of(view, &[Table::State]) }
    }

    fn of(view: Arc<dyn DiskView>, tables: &'static [Table]) -> Self {
        Self { view, tables, at: Some((0, vec![])), page: vec![].into_iter(), page_table: Table::State, end: None }
    }
}

impl Iterator for Rows {
    type Item = Result<(Table, Row), DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(Ok((self.page_table, row)));
            }
            let (number, from) = self.at.take()?;
            let table = *self.tables.get(number)?;
            let rows = match self.view.scan(table, &from, self.end.as_deref(), PAGE_ROWS) {
                Ok(rows) => rows,
                Err(error) => return Some(Err(error)),
            };
            self.at = Some(match rows.last() {
                Some((last, _)) => (number, after(last)),
                None => (number + 1, vec![]),
            });
            (self.page, self.page_table) = (rows.into_iter(), table);
        }
    }
}

/// The least key after this one.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The rows of a view in pieces of at most `bytes` each, but for rows that are larger and go alone.
/// The last one is marked; there is always a last one, if only an empty one.
pub(crate) fn pieces(
    rows: Rows,
    bytes: usize,
) -> impl Iterator<Item = Result<(Vec<pb::SnapshotRow>, bool), DiskError>> {
    let mut rows = rows.peekable();
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let (mut piece, mut size) = (vec![], 0);
        let mut fits = |row: &Result<(Table, Row), DiskError>| {
            let Ok((_, (key, value))) = row else { return true };
            let first = size == 0;
            size += key.len() + value.len();
            first || size <= bytes
        };
        while let Some(row) = rows.next_if(&mut fits) {
            match row {
                Ok(row) => piece.push(row_to(row)),
                Err(error) => {
                    done = true;
                    return Some(Err(error));
                }
            }
        }
        done = rows.peek().is_none();
        Some(Ok((piece, done)))
    })
}

fn row_to((table, (key, value)): TableRow) -> pb::SnapshotRow {
    let table = if table == Table::Events { 2 } else { 1 };
    pb::SnapshotRow { table, key, value }
}

/// Where it stands in the view that it was read from.
pub(crate) fn place_of(row: &pb::SnapshotRow) -> Place {
    (if row.table == 2 { Table::Events } else { Table::State }, row.key.clone())
}

pub(crate) fn row_from(row: pb::SnapshotRow) -> Result<TableRow, WireError> {
    let table = match row.table {
        1 => Table::State,
        2 => Table::Events,
        _ => return Err(WireError::Wrong("row.table")),
    };
    Ok((table, (row.key, row.value)))
}

#[cfg(test)]
mod tests {
    use quorate_disk::RocksDisk;
    use quorate_seams::Disk as _;

    use super::*;

    /// Every piece of a disk with rows of these sizes, as the sizes of its values.
    async fn cut(sizes: &[usize], bytes: usize) -> Vec<(Vec<usize>, bool)> {
        let dir = tempfile::tempdir().unwrap();
        let disk = RocksDisk::open(dir.path()).unwrap();
        let mut batch = Batch::default();
        for (number, size) in sizes.iter().enumerate() {
            let table = if number < sizes.len() / 2 { Table::State } else { Table::Events };
            batch.put(table, format!("{number:04}"), vec![7; *size]);
        }
        disk.submit(batch, Durability::Buffered).await.unwrap();
        let cut = pieces(Rows::new(disk.view()), bytes).map(|piece| {
            let (rows, last) = piece.unwrap();
            (rows.iter().map(|row| row.value.len()).collect(), last)
        });
        cut.collect()
    }

    #[tokio::test]
    async fn pieces_are_cut_by_bytes_within_a_page() {
        // A whole page of them would be larger than any message.
        let large = 5 << 20;
        let cut = cut(&[large; 14], 2 * large + 100).await;
        assert_eq!(
            cut,
            vec![(vec![large; 2], false); 6].into_iter().chain([(vec![large; 2], true)]).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn a_row_above_the_size_goes_alone_and_no_row_is_lost() {
        let piece = |sizes: &[usize], last| (sizes.to_vec(), last);
        // Keys have four bytes.
        assert_eq!(
            cut(&[10, 10, 500, 10, 600, 700], 100).await,
            [
                piece(&[10, 10], false),
                piece(&[500], false),
                piece(&[10], false),
                piece(&[600], false),
                piece(&[700], true)
            ]
        );
        assert_eq!(cut(&[], 100).await, [piece(&[], true)]);
        let many = cut(&[1; 2 * PAGE_ROWS + 3], 50).await;
        assert!(many.iter().all(|(sizes, _)| sizes.len() <= 10));
        assert_eq!(many.iter().map(|(sizes, _)| sizes.len()).sum::<usize>(), 2 * PAGE_ROWS + 3);
        assert_eq!(many.iter().filter(|(_, last)| *last).count(), 1);
    }
}
