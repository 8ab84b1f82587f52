//! openraft's log and vote on the disk seam.

mod recent;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use quorate_planted::Bug;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Batch, DiskError, Durability, Table};

use crate::measures::Measures;
use crate::store::{self, Store, log_key};
use crate::type_config::{LogEntry, LogId, TypeConfig, Vote};
use crate::wire;
use recent::Recent;

/// Bytes of entries handed to openraft at once for sending; one entry is handed over whatever its
/// size.
const READ_BYTES_MAX: usize = 2 << 20;
/// Rows read from disk at once, each of which may be as large as an entry can be.
const PAGE_ROWS: usize = 64;

/// The log. Cheap to clone; every clone reads what any of them wrote.
#[derive(Clone)]
pub(crate) struct LogStore {
    store: Store,
    purge_below: PurgeBound,
    recent: Arc<Mutex<Recent>>,
    /// None for a log that no consensus writes.
    measures: Option<Arc<Measures>>,
}

/// Entries below this index may be cut off: their effects are in rows that precede the cut in the
/// one write-ahead log, so no crash can keep the cut and lose the rows.
#[derive(Clone, Default)]
pub(crate) struct PurgeBound(Arc<AtomicU64>);

impl PurgeBound {
    /// Entries below `index` are applied.
    pub(crate) fn raise(&self, index: u64) {
        self.0.fetch_max(index, Ordering::SeqCst);
    }

    /// This entry is applied.
    pub(crate) fn allows(&self, index: u64) -> bool {
        index < self.0.load(Ordering::SeqCst)
    }
}

impl LogStore {
    pub(crate) fn new(store: Store, purge_below: PurgeBound) -> Self {
        Self { store, purge_below, recent: Arc::default(), measures: None }
    }

    /// The same, measured.
    pub(crate) fn measured(self, measures: Arc<Measures>) -> Self {
        Self { measures: Some(measures), ..self }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries of `from..to`, which must have no hole; at most about `bytes_max` of them.
    pub(crate) fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogEntry>, io::Error> {
        if let Some(entries) = self.recent().read(from, to, bytes_max) {
            return Ok(entries);
        }
        let view = self.store.disk().view();
        let mut entries: Vec<LogEntry> = Vec::new();
        let (mut at, mut bytes) = (from, 0);
        while at < to && bytes < bytes_max {
            let rows = view.scan(Table::Log, &log_key(at), Some(&log_key(to)), PAGE_ROWS);
            let rows = rows.map_err(|error| self.store.fail(&error))?;
            let Some((last, _)) = rows.last() else { break };
            at = index_of(last).map_err(|error| self.store.fail(&error))? + 1;
            for (_, value) in rows {
                if bytes >= bytes_max {
                    break;
                }
                bytes += value.len();
                let entry = wire::entry_decode(value).map_err(|error| self.store.fail(&error))?;
                if entries.last().is_some_and(|before| before.log_id.index + 1 != entry.log_id.index) {
                    return Err(self.store.fail(&io::Error::other(format!("a hole before {}", entry.log_id))));
                }
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn mark(&self, key: &[u8]) -> Result<Option<LogId>, io::Error> {
        let mark: Option<pb::Mark> = self.store.read(key)?;
        Ok(mark.and_then(|mark| mark.log_id.as_ref().map(wire::log_id_from)))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX)
    }

    /// Nothing when the first of them is cut off: openraft sends what it gets as what follows on
    /// `start - 1`, and a follower would store it behind a hole.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        let mut entries = self.read(start, end, READ_BYTES_MAX)?;
        if entries.first().is_some_and(|first| first.log_id.index != start) {
            entries.clear();
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let vote: Option<pb::Vote> = self.store.read(store::VOTE)?;
        vote.map(|vote| wire::vote_from(Some(vote)).map_err(|error| self.store.fail(&error))).transpose()
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let last_purged_log_id = self.mark(store::PURGED)?;
        let last = self.store.disk().view().last(Table::Log, None).map_err(|error| self.store.fail(&error))?;
        let last = last.map(|(_, value)| wire::entry_decode(value).map_err(|error| self.store.fail(&error)));
        let last_log_id = last.transpose()?.map(|entry| entry.log_id).or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        store::put(&mut batch, store::VOTE, &wire::vote_to(vote));
        self.store.write(batch, synced_unless(Bug::VoteNotSynced)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.store.note_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.store.committed()
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = Batch::default();
        let mut added = vec![];
        for entry in entries {
            let (key, value) = (log_key(entry.log_id.index), wire::entry_encode(&entry));
            added.push((entry, key.len() + value.len()));
            batch.put(Table::Log, key, value);
        }
        let (entries, bytes) = (added.len(), added.iter().map(|(_, bytes)| bytes).sum());
        // Begun before the batch is handed over, which may itself wait for the device.
        let measured = self.measures.clone().map(|measures| (measures.syncs.begin(), measures));
        // It may be the disk's own thread that calls this, which must not be the last to hold the disk.
        let failed = self.store.failed();
        let durable = move |outcome: Result<(), DiskError>| {
            if let Some((wait, measures)) = measured {
                measures.synced(entries, bytes, wait.elapsed());
            }
            callback.io_completed(outcome.map_err(|error| failed.note(&error)));
        };
        // Readable when this returns, durable when the callback is called; between the two openraft
        // sends the entries to the other replicas.
        self.store.append(batch, synced_unless(Bug::LogAckedBeforeSync), Box::new(durable));
        let mut recent = self.recent();
        added.into_iter().for_each(|(entry, bytes)| recent.push(entry, bytes));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        if quorate_planted::is(Bug::TruncateSkipped) {
            return Ok(());
        }
        let from = last_log_id.map_or(0, |last| last.index + 1);
        self.recent().truncate(from);
        let mut batch = Batch::default();
        batch.delete_range(Table::Log, log_key(from), log_key(u64::MAX));
        self.store.write(batch, Durability::Buffered).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        if !self.purge_below.allows(upto.index) {
            return Err(self.store.fail(&io::Error::other(format!("asked to cut off {upto}, which is not applied"))));
        }
        self.recent().purge(upto.index + 1);
        let mut batch = Batch::default();
        cut(&mut batch, &upto);
        self.store.write(batch, Durability::Buffered).await
    }
}

/// Cuts the log off up to and including `upto`.
pub(crate) fn cut(batch: &mut Batch, upto: &LogId) {
    batch.delete_range(Table::Log, log_key(0), log_key(upto.index + 1));
    store::put(batch, store::PURGED, &pb::Mark { log_id: Some(wire::log_id_to(upto)) });
}

fn synced_unless(bug: Bug) -> Durability {
    if quorate_planted::is(bug) { Durability::Buffered } else { Durability::Synced }
}

fn index_of(key: &[u8]) -> Result<u64, io::Error> {
    let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, "a log key is not 8 bytes long");
    key.try_into().map(u64::from_be_bytes).map_err(wrong)
}

#[cfg(test)]
mod tests;
