//! Transfers of snapshots that break half way: the receiver is cut off, or its process ends, once so many pieces
//! are on its disk.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_seams::{Table, Write};

use super::strike::Undo;
use super::{Violation, World};
use crate::facts::Fact;
use crate::scenario::{Class, FaultWhat, Target, Way};

/// What begins the keys of pieces, each followed by its number in hexadecimal digits.
const PIECE_KEY: &[u8] = b"staged/";

/// Breaks that wait for a transfer, in the order in which they were planned.
#[derive(Default)]
pub(super) struct Lurking {
    coming: VecDeque<Break>,
    /// Who has so many pieces of a snapshot, as of the last batch that brought one.
    seen: Option<(usize, u64)>,
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Break {
    pub(super) pieces: u64,
    /// Of the process, not of the way to it.
    pub(super) crash: bool,
    pub(super) lasts: Duration,
}

impl Lurking {
    pub(super) fn add(&mut self, one: Break) {
        self.coming.push_back(one);
    }

    pub(super) fn clear(&mut self) {
        self.coming.clear();
    }

    /// Looks for pieces of a snapshot.
    pub(super) fn watch(&mut self, fact: &Fact) {
        let Fact::Wrote { replica, batch, .. } = fact else { return };
        for write in &batch.writes {
            let Write::Put { table: Table::Raft, key, .. } = write else { continue };
            let number = key.strip_prefix(PIECE_KEY).and_then(|digits| std::str::from_utf8(digits).ok());
            if let Some(number) = number.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
                self.seen = Some((*replica, number + 1));
            }
        }
    }
}

impl World {
    /// Strikes who receives a snapshot, if it is time.
    pub(super) fn break_transfer(&mut self, now: Duration) -> Result<(), Violation> {
        let Some((replica, pieces)) = self.striking.lurking.seen.take() else { return Ok(()) };
        let next = self.striking.lurking.coming.front().copied().filter(|one| pieces >= one.pieces);
        let Some(Break { crash, lasts, .. }) = next else { return Ok(()) };
        let isolates = FaultWhat::IsolateReplica { target: Target::Replica(replica), way: Way::Both };
        if self.scenario.spares_quorum && !self.spares_quorum(&isolates) {
            return Ok(());
        }
        self.striking.lurking.coming.pop_front();
        if crash {
            if self.crash_replica(now, replica, 100, now + lasts)? {
                let what = format!("r{} ends after {pieces} pieces of a snapshot", replica + 1);
                self.facts.add_at(now, Fact::Fault { class: Class::Crash, what });
            }
            return Ok(());
        }
        let directions = self.cuts.around(&[replica], &self.cuts.other_replicas(&[replica]), Way::Both);
        self.cuts.cut(&self.sim, &directions);
        self.striking.begun(now + lasts, Undo::Cut(directions));
        let what = format!("r{} is cut off after {pieces} pieces of a snapshot", replica + 1);
        self.facts.add_at(now, Fact::Fault { class: Class::Partition, what });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_seams::Batch;

    use super::*;

    #[test]
    fn pieces_are_told_from_all_else() {
        let wrote = |keys: &[&str]| {
            let mut batch = Batch::default();
            for key in keys {
                batch.put(Table::Raft, key.as_bytes().to_vec(), &b"x"[..]);
            }
            Fact::Wrote { replica: 2, number: 1, batch: Arc::new(batch), replaced: Arc::new([]) }
        };
        let mut lurking = Lurking::default();
        lurking.watch(&wrote(&["staged", "vote"]));
        assert_eq!(lurking.seen, None);
        lurking.watch(&wrote(&["staged/000000000000000a"]));
        assert_eq!(lurking.seen, Some((2, 11)));
    }
}
