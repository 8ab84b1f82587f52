//! C1: a term has at most one leader; a replica votes once in a term, its votes never go back, and a
//! leader has the votes of a quorum on stable storage when it begins to lead.
//!
//! The last part is what a vote is worth after a loss of power: a replica that answers before its
//! vote is safe votes again after it, and both candidates win. Another vote in the same term after a
//! crash is no proof of that, since a vote that was lost before it was safe was never told. A leader
//! without a quorum of safe votes is: somebody told it of one that a crash could take back.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_proto::raft::v1 as pb;

use super::quorum::{Members, id_of, name, record_in, voters_seen};
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::RaftRows as _;

/// See the module.
#[derive(Default)]
pub(crate) struct ElectionSafety {
    members: Members,
    /// Leaders by term, and on whose disk that was first read.
    leaders: BTreeMap<u64, (u64, usize)>,
    /// By position.
    voters: BTreeMap<usize, Voter>,
}

#[derive(Default)]
struct Voter {
    /// As the replica sees it.
    vote: Option<pb::Vote>,
    /// By term, for whom it voted; such votes were on stable storage at some time.
    safe: BTreeMap<u64, u64>,
    /// Votes that no sync has covered, with the numbers of their batches.
    unsafe_yet: VecDeque<(u64, pb::Vote)>,
}

impl Voter {
    fn sync(&mut self, through: u64) {
        let count = self.unsafe_yet.partition_point(|(number, _)| *number <= through);
        for (_, vote) in self.unsafe_yet.drain(..count) {
            // What it learned of another's victory is not its vote.
            self.safe.entry(vote.term).or_insert(vote.replica);
        }
    }

    /// Judges a vote against the one before it.
    fn check(&self, vote: &pb::Vote) -> Verdict {
        let Some(before) = &self.vote else { return Ok(()) };
        let is_next = match vote.term.cmp(&before.term) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            // It may learn that another has won than the one that it voted for; nothing else.
            std::cmp::Ordering::Equal if before.committed => vote == before,
            std::cmp::Ordering::Equal => vote.committed || vote.replica == before.replica,
        };
        if is_next { Ok(()) } else { Err(format!("voted {}, before that {}", words(vote), words(before))) }
    }
}

fn words(vote: &pb::Vote) -> String {
    let what = if vote.committed { "leads" } else { "is voted for" };
    format!("(term {}: replica {} {what})", vote.term, vote.replica)
}

impl Oracle for ElectionSafety {
    fn id(&self) -> &'static str {
        "C1"
    }

    fn fact(&mut self, _: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::Wrote { replica, number, batch, .. } => {
                let Some(vote) = record_in::<pb::Vote>(batch, b"vote") else { return Ok(()) };
                self.voted(*replica, *number, vote, known)
            }
            Fact::Synced { replica, through } => {
                self.voters.entry(*replica).or_default().sync(*through);
                Ok(())
            }
            Fact::ReplicaGone { replica, survived } => {
                let voter = self.voters.entry(*replica).or_default();
                voter.sync(*survived);
                voter.unsafe_yet.clear();
                voter.vote = known.ledger.shadows()[*replica].live().vote();
                Ok(())
            }
            Fact::DiskReverted { replica } => {
                // It forgets its votes, those who got them do not.
                let voter = self.voters.entry(*replica).or_default();
                voter.vote = known.ledger.shadows()[*replica].live().vote();
                Ok(())
            }
            Fact::ReplicaRenewed { replica } => {
                self.voters.remove(replica);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl ElectionSafety {
    fn voted(&mut self, replica: usize, number: u64, vote: pb::Vote, known: &Known<'_>) -> Verdict {
        let voter = self.voters.entry(replica).or_default();
        voter.check(&vote).map_err(|what| format!("{} {what}", name(replica)))?;
        voter.vote = Some(vote);
        voter.unsafe_yet.push_back((number, vote));
        if !vote.committed {
            return Ok(());
        }
        let (leader, whose) = *self.leaders.entry(vote.term).or_insert((vote.replica, replica));
        if leader != vote.replica {
            return Err(format!(
                "term {} has two leaders: replica {leader} says {}, replica {} says {}",
                vote.term,
                name(whose),
                vote.replica,
                name(replica)
            ));
        }
        let disk = known.ledger.shadows()[replica].live();
        if id_of(disk) == Some(vote.replica) { self.elected(replica, vote, known) } else { Ok(()) }
    }

    /// A replica begins to lead.
    fn elected(&mut self, replica: usize, vote: pb::Vote, known: &Known<'_>) -> Verdict {
        let voters = voters_seen(known.ledger.shadows()[replica].live());
        let (votes, members) = (&self.voters, &mut self.members);
        let has_voted = |position: usize| {
            votes.get(&position).is_some_and(|voter| voter.safe.get(&vote.term) == Some(&vote.replica))
        };
        if members.is_quorum(&voters, known.ledger, has_voted) {
            return Ok(());
        }
        let safe: Vec<_> = votes.keys().filter(|position| has_voted(**position)).map(|at| name(*at)).collect();
        Err(format!(
            "{} leads term {} of voters {voters:?}, but only {safe:?} have a vote for it on stable storage",
            name(replica),
            vote.term
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::trial::Trial;

    fn vote(term: u64, replica: u64, committed: bool) -> pb::Vote {
        pb::Vote { term, replica, committed }
    }

    #[test]
    fn a_leader_with_a_quorum_of_safe_votes_is_fine() {
        let mut trial = Trial::new(3);
        let mut oracle = ElectionSafety::default();
        trial.log(&mut oracle, &[0], 0, &Trial::founding(3)).unwrap();
        for replica in [0, 1] {
            trial.vote(&mut oracle, replica, vote(2, 1, false)).unwrap();
            trial.sync(&mut oracle, replica).unwrap();
        }
        // Unlucky, and then told who won.
        trial.vote(&mut oracle, 2, vote(2, 3, false)).unwrap();
        trial.vote(&mut oracle, 0, vote(2, 1, true)).unwrap();
        trial.vote(&mut oracle, 2, vote(2, 1, true)).unwrap();
        trial.vote(&mut oracle, 2, vote(3, 3, false)).unwrap();
    }

    #[test]
    fn a_vote_that_was_not_safe_counts_for_nothing() {
        let mut trial = Trial::new(3);
        let mut oracle = ElectionSafety::default();
        trial.log(&mut oracle, &[0], 0, &Trial::founding(3)).unwrap();
        trial.vote(&mut oracle, 0, vote(2, 1, false)).unwrap();
        trial.sync(&mut oracle, 0).unwrap();
        trial.vote(&mut oracle, 1, vote(2, 1, false)).unwrap();
        let what = trial.vote(&mut oracle, 0, vote(2, 1, true)).unwrap_err();
        assert!(what.contains("only [\"r1\"]"), "{what}");
    }

    #[test]
    fn a_lost_vote_may_be_cast_again_and_a_kept_one_may_not() {
        for (kept, expected) in [(false, true), (true, false)] {
            let mut trial = Trial::new(3);
            let mut oracle = ElectionSafety::default();
            trial.vote(&mut oracle, 2, vote(2, 1, false)).unwrap();
            if kept {
                trial.sync(&mut oracle, 2).unwrap();
            }
            trial.crash(&mut oracle, 2).unwrap();
            assert_eq!(trial.vote(&mut oracle, 2, vote(2, 2, false)).is_ok(), expected, "kept: {kept}");
        }
    }

    #[test]
    fn two_leaders_of_a_term_are_caught() {
        let mut trial = Trial::new(3);
        let mut oracle = ElectionSafety::default();
        trial.vote(&mut oracle, 1, vote(2, 1, true)).unwrap();
        let what = trial.vote(&mut oracle, 2, vote(2, 2, true)).unwrap_err();
        assert!(what.contains("two leaders"), "{what}");
    }
}
