//! The end of the log in memory: what was appended a moment ago is read again at once, for each
//! follower and for applying it.

use std::collections::VecDeque;

use crate::type_config::LogEntry;

/// Bytes of entries kept, give or take one.
const BYTES_MAX: usize = 8 << 20;
/// Entries kept; many small ones cost more than their bytes.
const ENTRIES_MAX: usize = 8_192;

/// Consecutive entries that are in the store as well: forgetting any from the front is harmless, and
/// what is cut off the log's end must be cut off here before.
#[derive(Default)]
pub(super) struct Recent {
    entries: VecDeque<(LogEntry, usize)>,
    bytes: usize,
}

impl Recent {
    /// Takes an entry that was added to the log, and what it takes up.
    pub(super) fn push(&mut self, entry: LogEntry, bytes: usize) {
        let follows = |(last, _): &(LogEntry, usize)| last.log_id.index + 1 == entry.log_id.index;
        if !self.entries.back().is_none_or(follows) {
            self.clear();
        }
        self.entries.push_back((entry, bytes));
        self.bytes += bytes;
        while self.bytes > BYTES_MAX || self.entries.len() > ENTRIES_MAX {
            self.pop_front();
        }
    }

    /// Forgets what is at `index` and after it.
    pub(super) fn truncate(&mut self, index: u64) {
        while self.entries.back().is_some_and(|(last, _)| last.log_id.index >= index) {
            self.bytes -= self.entries.pop_back().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// Forgets what is before `index`.
    pub(super) fn purge(&mut self, index: u64) {
        while self.entries.front().is_some_and(|(first, _)| first.log_id.index < index) {
            self.pop_front();
        }
    }

    /// The entries of `from..to`, about `bytes_max` of them, if the first of them is here. They end early
    /// where the log does.
    pub(super) fn read(&self, from: u64, to: u64, bytes_max: usize) -> Option<Vec<LogEntry>> {
        let first = self.entries.front()?.0.log_id.index;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        if skip >= self.entries.len() {
            return None;
        }
        let mut bytes = 0;
        let fits = |(entry, size): &&(LogEntry, usize)| {
            let goes_on = entry.log_id.index < to && bytes < bytes_max;
            bytes += size;
            goes_on
        };
        Some(self.entries.iter().skip(skip).take_while(fits).map(|(entry, _)| entry.clone()).collect())
    }

    fn pop_front(&mut self) {
        self.bytes -= self.entries.pop_front().map_or(0, |(_, bytes)| bytes);
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::*;
    use crate::type_config::{Payload, log_id};

    fn entry(term: u64, index: u64) -> LogEntry {
        LogEntry { log_id: log_id(term, index), payload: EntryPayload::Normal(Payload::of("entry".into())) }
    }

    fn recent(indexes: std::ops::Range<u64>) -> Recent {
        let mut recent = Recent::default();
        indexes.for_each(|index| recent.push(entry(1, index), 10));
        recent
    }

    fn read(recent: &Recent, from: u64, to: u64, bytes_max: usize) -> Option<Vec<u64>> {
        let entries = recent.read(from, to, bytes_max)?;
        Some(entries.iter().map(|entry| entry.log_id.index).collect())
    }

    #[test]
    fn it_answers_only_when_it_has_the_first() {
        let recent = recent(5..9);
        assert_eq!(read(&recent, 5, 7, 100), Some(vec![5, 6]));
        assert_eq!(read(&recent, 7, 99, 100), Some(vec![7, 8]));
        assert_eq!(read(&recent, 5, 9, 11), Some(vec![5, 6]), "give or take one");
        assert_eq!(read(&recent, 4, 9, 100), None);
        assert_eq!(read(&recent, 9, 10, 100), None);
        assert_eq!(read(&Recent::default(), 0, 1, 100), None);
    }

    #[test]
    fn it_forgets_what_the_log_forgets() {
        let mut recent = recent(0..10);
        recent.truncate(7);
        assert_eq!(read(&recent, 6, 10, 100), Some(vec![6]));
        recent.purge(6);
        assert_eq!(read(&recent, 5, 10, 100), None);
        assert_eq!(recent.bytes, 10);
        recent.push(entry(2, 7), 10);
        assert_eq!(recent.read(7, 8, 100).unwrap()[0].log_id, log_id(2, 7));
        recent.push(entry(2, 9), 10);
        assert_eq!(read(&recent, 7, 10, 100), None, "after a jump only what follows it is there");
        assert_eq!(read(&recent, 9, 10, 100), Some(vec![9]));
    }

    #[test]
    fn it_is_bounded_by_bytes_and_by_entries() {
        let mut recent = Recent::default();
        for index in 0..20 {
            recent.push(entry(1, index), BYTES_MAX / 4);
        }
        assert_eq!(recent.entries.len(), 4);
        for index in 20..20 + 2 * ENTRIES_MAX as u64 {
            recent.push(entry(1, index), 1);
        }
        assert_eq!(recent.entries.len(), ENTRIES_MAX);
    }
}
