//! C3: who begins to lead a term has every entry that leaders of earlier terms have committed.
//!
//! Which leader committed an entry is not written anywhere, and its term does not say it: a leader
//! commits what an earlier one left behind along with its own (Raft, figure 8), and another may have
//! led in between without it. So entries are held against a leader only as long as nobody is known
//! to lead a later term: whatever is committed until then, an earlier leader or itself committed.
//!
//! Databend #16175: a replica took a higher vote for a granted one, led without the newest entries,
//! and overwrote what had been acknowledged.

use std::time::Duration;

use quorate_proto::raft::v1 as pb;

use super::quorum::{id_of, name, record_in};
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::{Ledger, RaftRows as _, Step};
use crate::rows::Kept;

/// See the module.
#[derive(Default)]
pub(crate) struct LeaderCompleteness {
    /// The one of the latest term. It is kept because an entry is seen to be committed only some
    /// time after it was.
    latest: Option<Leader>,
}

struct Leader {
    term: u64,
    replica: usize,
    /// Its disk when it began to lead.
    disk: Kept,
}

impl Leader {
    fn check(&self, index: u64, ledger: &Ledger) -> Verdict {
        let is_applied = self.disk.applied().is_some_and(|applied| applied >= index);
        if is_applied || self.disk.entry(index) == ledger.stored(index) {
            return Ok(());
        }
        let has = if self.disk.entry(index).is_some() { "had another entry there" } else { "did not have it" };
        let (replica, term) = (name(self.replica), self.term);
        Err(format!("{replica} began to lead term {term}, but index {index} was committed and it {has}"))
    }
}

impl Oracle for LeaderCompleteness {
    fn id(&self) -> &'static str {
        "C3"
    }

    fn fact(&mut self, _: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        let Fact::Wrote { replica, batch, .. } = fact else { return Ok(()) };
        let Some(vote) = record_in::<pb::Vote>(batch, b"vote").filter(|vote| vote.committed) else { return Ok(()) };
        let disk = known.ledger.shadows()[*replica].live();
        // A late winner need not have what later leaders have committed.
        let is_late = self.latest.as_ref().is_some_and(|latest| latest.term >= vote.term);
        if is_late || id_of(disk) != Some(vote.replica) {
            return Ok(());
        }
        let leader = Leader { term: vote.term, replica: *replica, disk: disk.clone() };
        for index in disk.applied().map_or(0, |applied| applied + 1)..known.ledger.steps().len() as u64 {
            leader.check(index, known.ledger)?;
        }
        self.latest = Some(leader);
        Ok(())
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        let Some(latest) = self.latest.as_ref().filter(|latest| latest.term > step.term) else { return Ok(()) };
        latest.check(step.index, known.ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::trial::Trial;

    #[test]
    fn a_leader_that_lacks_a_committed_entry_is_caught_before_and_after_its_commit() {
        let leads = pb::Vote { term: 2, replica: 2, committed: true };
        let mut trial = Trial::new(3);
        let mut oracle = LeaderCompleteness::default();
        trial.found(&mut oracle).unwrap();
        assert!(trial.vote(&mut oracle, 1, leads).unwrap_err().contains("did not have it"));

        let mut trial = Trial::new(3);
        let mut oracle = LeaderCompleteness::default();
        trial.vote(&mut oracle, 1, leads).unwrap();
        assert!(trial.found(&mut oracle).unwrap_err().contains("did not have it"));
    }

    #[test]
    fn a_late_winner_need_not_have_what_a_later_leader_committed() {
        let leads = |term, replica| pb::Vote { term, replica, committed: true };
        let mut trial = Trial::new(3);
        let mut oracle = LeaderCompleteness::default();
        trial.log(&mut oracle, &[0], 0, &Trial::founding(3)).unwrap();
        trial.vote(&mut oracle, 0, leads(4, 1)).unwrap();
        trial.found(&mut oracle).unwrap();
        trial.vote(&mut oracle, 1, leads(3, 2)).unwrap();
    }

    #[test]
    fn who_wrote_the_history_may_lead_on() {
        let mut trial = Trial::new(3);
        let mut oracle = LeaderCompleteness::default();
        trial.found(&mut oracle).unwrap();
        trial.vote(&mut oracle, 0, pb::Vote { term: 2, replica: 1, committed: true }).unwrap();
    }
}
