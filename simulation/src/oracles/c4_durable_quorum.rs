//! C4: an entry is committed only when a quorum of the voters has it on stable storage, down or up.
//!
//! Else a loss of power of the whole site takes back what was acknowledged (etcd #14370).

use super::quorum::{Members, membership_in, name};
use super::{Known, Oracle, Verdict};
use crate::ledger::{RaftRows as _, Step};
use quorate_seams::Table;

/// See the module.
#[derive(Default)]
pub(crate) struct DurableQuorum {
    members: Members,
}

impl Oracle for DurableQuorum {
    fn id(&self) -> &'static str {
        "C4"
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let (ledger, members) = (known.ledger, &mut self.members);
        // A restored life begins with what one disk was given.
        if step.index == 0 && ledger.base() > 0 {
            return Ok(());
        }
        let stored = ledger.stored(step.index);
        let has = |position: usize| {
            let disk = ledger.shadows()[position].promised();
            disk.entry(step.index) == stored || disk.applied().is_some_and(|applied| applied >= step.index)
        };
        let voters = ledger.voters_at(step.index);
        if members.is_quorum(voters, ledger, has) {
            return Ok(());
        }
        // A leader goes by the newest membership in its log: an entry before that one may have been
        // committed by the quorum of the later one.
        let from = (step.index + 1).to_be_bytes();
        for shadow in ledger.shadows() {
            let later = shadow.live().range(Table::Log, &from, None).filter_map(|(_, entry)| membership_in(entry));
            if later.into_iter().any(|voters| members.is_quorum(&voters, ledger, has)) {
                return Ok(());
            }
        }
        let holders: Vec<_> = (0..ledger.shadows().len()).filter(|position| has(*position)).map(name).collect();
        Err(format!(
            "index {} is committed for voters {voters:?}, but of their disks only {holders:?} have it for good",
            step.index
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::trial::Trial;

    #[test]
    fn an_entry_that_only_a_minority_has_for_good_is_not_committed() {
        let mut trial = Trial::new(3);
        let mut oracle = DurableQuorum::default();
        // To the disks of r1 and r2, and applied by r1, before either has synced.
        assert!(trial.found(&mut oracle).unwrap_err().contains("only []"));

        let mut trial = Trial::new(3);
        let mut oracle = DurableQuorum::default();
        trial.log(&mut oracle, &[1, 2], 0, &Trial::founding(3)).unwrap();
        trial.sync(&mut oracle, 1).unwrap();
        trial.sync(&mut oracle, 2).unwrap();
        trial.found(&mut oracle).unwrap();
    }
}
