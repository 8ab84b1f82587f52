//! C5: what is committed stays as it is in every log; logs have no holes; what contradicts a
//! leader is cut off before the leader's own is stored; all else is cut off only below what was applied; and nothing that a replica has come to know goes back while it lives.
//!
//! A follower whose log contradicts the end of a snapshot that it takes in lets go of all that it does not know to be
//! committed, also of entries that are. No promise is broken by that: where an index of its log contradicts what is
//! committed there, a quorum without it has that index on disk, and all before it.
//!
//! openraft #1802.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Batch, Table, Write};

use super::quorum::{name, record_in};
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::{Ledger, RaftRows as _};
use crate::rows::Kept;

/// See the module.
#[derive(Default)]
pub(crate) struct Logs {
    /// By position.
    logs: BTreeMap<usize, Log>,
}

/// A replica's log and marks, as it sees them.
#[derive(Default)]
struct Log {
    /// The index of the first entry, when there is one.
    first: u64,
    entries: VecDeque<Bytes>,
    purged: Option<u64>,
    applied: Option<u64>,
    committed: Option<u64>,
    term: u64,
    /// How far the state came by a snapshot, which the log need not hold.
    installed: Option<u64>,
}

impl Oracle for Logs {
    fn id(&self) -> &'static str {
        "C5"
    }

    fn fact(&mut self, _: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::Wrote { replica, batch, replaced, .. } => {
                let log = self.logs.entry(*replica).or_default();
                let judged = log.write(batch, replaced, known.ledger);
                judged.map_err(|what| format!("{} {what}", name(*replica)))
            }
            Fact::ReplicaGone { replica, .. } | Fact::ReplicaRenewed { replica } | Fact::DiskReverted { replica } => {
                // What was not synced is gone, and may go back by that.
                self.logs.insert(*replica, Log::of(known.ledger.shadows()[*replica].live()));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Log {
    fn of(disk: &Kept) -> Self {
        Self {
            first: disk.log_bounds().map_or(0, |(first, _)| first),
            entries: disk.table(Table::Log).map(|(_, entry)| entry.clone()).collect(),
            purged: disk.purged(),
            applied: disk.applied(),
            committed: disk.committed(),
            term: disk.vote().map_or(0, |vote| vote.term),
            // By a snapshot or by the log, which is then no shorter.
            installed: disk.applied(),
        }
    }

    /// One past the last index.
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn write(&mut self, batch: &Batch, replaced: &[Table], ledger: &Ledger) -> Verdict {
        if replaced.contains(&Table::Log) {
            self.entries.clear();
        }
        let cut = record_in::<pb::Mark>(batch, b"purged").and_then(|mark| mark.log_id).map(|id| id.index);
        for write in &batch.writes {
            match write {
                Write::Put { table: Table::Log, key, value } => self.put(index_of(key)?, value, ledger)?,
                Write::Delete { table: Table::Log, key } => {
                    let index = index_of(key)?;
                    self.delete(index, index + 1, cut, ledger)?;
                }
                Write::DeleteRange { table: Table::Log, from, to } => {
                    self.delete(index_of(from)?, index_of(to)?, cut, ledger)?;
                }
                Write::Put { table: Table::Raft, key, value } => self.mark(key, value, !replaced.is_empty(), ledger)?,
                Write::Put { .. } | Write::Delete { .. } | Write::DeleteRange { .. } => {}
            }
        }
        let last = self.end().checked_sub(1).filter(|_| !self.entries.is_empty());
        if self.purged > self.applied {
            return Err(format!("cut its log off at {:?}, it has applied {:?}", self.purged, self.applied));
        }
        if self.applied > last.max(self.installed).max(self.purged) {
            return Err(format!("applied {:?}, its log ends at {last:?}", self.applied));
        }
        Ok(())
    }

    fn put(&mut self, index: u64, entry: &Bytes, ledger: &Ledger) -> Verdict {
        if self.entries.is_empty() {
            self.first = self.purged.map_or(0, |purged| purged + 1);
        }
        let end = self.end();
        if index == end {
            self.entries.push_back(entry.clone());
            return Ok(());
        }
        let place = index.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let Some(there) = place.and_then(|place| self.entries.get(place)) else {
            return Err(format!(
                "stored an entry at index {index}, its log is {}..{end}: that leaves a hole",
                self.first
            ));
        };
        if there == entry {
            return Ok(());
        }
        let committed = if ledger.stored(index) == Some(there) { ", which is committed" } else { "" };
        // The rest of what a beaten leader wrote would stay behind it, and make the log look longer than it is.
        Err(format!("overwrote its entry at index {index}{committed}: what contradicts a leader is cut off first"))
    }

    /// Removes `from..to`; up to `cut` because it is cut off there.
    fn delete(&mut self, from: u64, to: u64, cut: Option<u64>, ledger: &Ledger) -> Verdict {
        let (from, to) = (from.max(self.first), to.min(self.end()));
        if from >= to {
            return Ok(());
        }
        let place = |index: u64| usize::try_from(index - self.first).unwrap_or(usize::MAX);
        for index in cut.map_or(from, |cut| from.max(cut + 1))..to {
            // Entries of a leader that lost may go; they are not those that were committed there.
            let contradicts =
                |later: u64| ledger.stored(later).is_some_and(|it| Some(it) != self.entries.get(place(later)));
            if ledger.stored(index) == self.entries.get(place(index)) && !(index..to).any(contradicts) {
                return Err(format!("deleted its entry at index {index}, which is committed"));
            }
        }
        let (from, to) = (place(from), place(to));
        if from > 0 && to < self.entries.len() {
            return Err(format!("deleted {from}..{to} out of the middle of its log"));
        }
        self.entries.drain(from..to);
        if from == 0 {
            self.first += to as u64;
        }
        Ok(())
    }

    fn mark(&mut self, key: &[u8], value: &Bytes, is_install: bool, ledger: &Ledger) -> Verdict {
        let wrong = |error: prost::DecodeError| format!("wrote a record that cannot be read: {error}");
        match key {
            b"vote" => {
                let term = pb::Vote::decode(value.clone()).map_err(wrong)?.term;
                let before = std::mem::replace(&mut self.term, term);
                if term < before {
                    return Err(format!("went from term {before} back to {term}"));
                }
            }
            b"applied" => {
                let applied = pb::Applied::decode(value.clone()).map_err(wrong)?.log_id.map(|id| id.index);
                let before = std::mem::replace(&mut self.applied, applied);
                if applied < before {
                    return Err(format!("had applied {before:?} and now says {applied:?}"));
                }
                if is_install {
                    self.installed = applied;
                }
            }
            b"committed" | b"purged" => {
                let Some(id) = pb::Mark::decode(value.clone()).map_err(wrong)?.log_id else { return Ok(()) };
                let what = String::from_utf8_lossy(key);
                if let Some(step) = ledger.at_index(id.index).filter(|step| step.term != id.term) {
                    return Err(format!(
                        "says that index {} of term {} is {what}, it was committed in term {}",
                        id.index, id.term, step.term
                    ));
                }
                let mark = if key == b"purged" { &mut self.purged } else { &mut self.committed };
                let before = mark.replace(id.index);
                if *mark < before {
                    return Err(format!("had {what} {before:?} and now says {}", id.index));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn index_of(key: &[u8]) -> Result<u64, String> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| format!("uses {key:?} as the key of a log entry"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::trial::Trial;

    #[test]
    fn a_committed_entry_is_neither_overwritten_nor_deleted() {
        let mut trial = Trial::new(1);
        let mut oracle = Logs::default();
        trial.found(&mut oracle).unwrap();
        let other = Trial::blank(7, 0);
        assert!(trial.log(&mut oracle, &[0], 0, &other).unwrap_err().contains("overwrote"));

        let mut trial = Trial::new(1);
        let mut oracle = Logs::default();
        trial.found(&mut oracle).unwrap();
        let mut batch = Batch::default();
        batch.delete_range(Table::Log, Bytes::copy_from_slice(&0_u64.to_be_bytes()), vec![0xff; 8]);
        assert!(trial.write(&mut oracle, 0, batch).unwrap_err().contains("deleted its entry at index 0"));
    }

    #[test]
    fn what_is_committed_goes_with_what_contradicts_only_when_a_quorum_without_it_has_both() {
        let tail = |from: u64| {
            let mut batch = Batch::default();
            batch.delete_range(Table::Log, from.to_be_bytes().to_vec(), vec![0xff; 8]);
            batch
        };
        for is_committed in [false, true] {
            let mut trial = Trial::new(2);
            let mut oracle = Logs::default();
            trial.found(&mut oracle).unwrap();
            let (both, beaten) = (Trial::blank(1, 1), Trial::blank(1, 2));
            for (index, entry) in [(0, &Trial::founding(2)), (1, &both), (2, &beaten)] {
                trial.log(&mut oracle, &[1], index, entry).unwrap();
            }
            trial.commit(&mut oracle, &both).unwrap();
            // A new leader's, which it has to itself for now.
            let newer = Trial::blank(2, 2);
            trial.log(&mut oracle, &[0], 2, &newer).unwrap();
            if is_committed {
                trial.commit(&mut oracle, &newer).unwrap();
            }
            let deleted = trial.write(&mut oracle, 1, tail(1));
            assert_eq!(deleted.is_ok(), is_committed, "{deleted:?}");
        }
    }

    #[test]
    fn what_a_beaten_leader_wrote_may_go_and_what_is_applied_may_be_cut_off() {
        let mut trial = Trial::new(2);
        let mut oracle = Logs::default();
        trial.log(&mut oracle, &[1], 0, &Trial::blank(7, 0)).unwrap();
        trial.found(&mut oracle).unwrap();
        let mut batch = Batch::default();
        batch.delete_range(Table::Log, vec![0; 8], vec![0xff; 8]);
        trial.write(&mut oracle, 1, batch).unwrap();

        let cut = |through: u64| {
            let mut batch = Batch::default();
            batch.delete_range(Table::Log, vec![0; 8], (through + 1).to_be_bytes().to_vec());
            let mark = pb::Mark { log_id: Some(pb::LogId { term: 1, index: through }) };
            batch.put(Table::Raft, &b"purged"[..], mark.encode_to_vec());
            batch
        };
        trial.write(&mut oracle, 0, cut(0)).unwrap();
        assert!(trial.write(&mut oracle, 0, cut(99)).unwrap_err().contains("cut its log off"));
    }

    #[test]
    fn what_a_beaten_leader_wrote_is_cut_off_before_it_is_replaced() {
        let beaten = || {
            let mut trial = Trial::new(1);
            let mut oracle = Logs::default();
            for index in 0..3 {
                trial.log(&mut oracle, &[0], index, &Trial::blank(1, index)).unwrap();
            }
            (trial, oracle)
        };
        let (mut trial, mut oracle) = beaten();
        let replaced = trial.log(&mut oracle, &[0], 1, &Trial::blank(2, 1));
        assert!(replaced.unwrap_err().contains("is cut off first"));

        let (mut trial, mut oracle) = beaten();
        let mut cut = Batch::default();
        cut.delete_range(Table::Log, 1_u64.to_be_bytes().to_vec(), vec![0xff; 8]);
        trial.write(&mut oracle, 0, cut).unwrap();
        trial.log(&mut oracle, &[0], 1, &Trial::blank(2, 1)).unwrap();
    }

    #[test]
    fn a_hole_is_caught() {
        let mut trial = Trial::new(1);
        let mut oracle = Logs::default();
        assert!(trial.log(&mut oracle, &[0], 1, &Trial::blank(1, 1)).unwrap_err().contains("hole"));
    }
}
