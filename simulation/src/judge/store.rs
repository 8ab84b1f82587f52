//! What a replica that has stopped has on its disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_disk::{RocksDisk, Setup, Syncing};
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Batch, Disk as _, DiskError, Row, Table};

use crate::facts::Fact;
use crate::ledger::RaftRows as _;
use crate::rows::Kept;

/// Rows that are read at once.
const ROWS_MAX: usize = 1_000;

/// All rows of one store.
pub(crate) struct Store {
    path: PathBuf,
    rows: Arc<Batch>,
}

impl Store {
    /// Reads a store, which nobody may have open. Opening it finishes what its last process was about to write.
    pub(crate) fn read(path: &Path) -> Result<Self, DiskError> {
        // What is not there would be made.
        if !path.is_dir() {
            return Err(DiskError::Open(format!("{} is no directory", path.display())));
        }
        let disk = RocksDisk::open_with(path, Setup { syncing: Syncing::Inline, ..Setup::default() })?;
        let mut rows = Batch::default();
        for table in Table::ALL {
            let mut from = vec![];
            loop {
                let part = disk.scan(table, &from, None, ROWS_MAX)?;
                let Some((last, _)) = part.last() else { break };
                // The least key above it.
                from = [last, &b"\0"[..]].concat();
                part.into_iter().for_each(|(key, value): Row| rows.put(table, key, value));
            }
        }
        Ok(Self { path: path.to_owned(), rows: Arc::new(rows) })
    }

    /// Why its log does not tell the whole history, if it does not.
    pub(super) fn broken_off(&self) -> Option<String> {
        let mut disk = Kept::default();
        disk.apply(&self.rows, &[]);
        let path = self.path.display();
        let applied = disk.record::<pb::Applied>(b"applied").unwrap_or_default();
        let Some(last) = applied.log_id.map(|id| id.index) else {
            return Some(format!("{path} has applied nothing"));
        };
        if applied.base > 0 {
            return Some(format!("{path} goes on from a backup"));
        }
        let lacks = (0..=last).find(|index| disk.entry(*index).is_none());
        lacks.map(|index| format!("{path} lacks entry {index} of {last}"))
    }

    /// The same as one batch of a replica.
    pub(super) fn written(&self, replica: usize) -> Fact {
        Fact::Wrote { replica, number: 1, batch: self.rows.clone(), replaced: Arc::new([]) }
    }
}
