//! C13: nobody stands for election against a leader that can lead: one that runs, reaches a majority of
//! the voters, and has done so for long enough to be known by them.
//!
//! An election costs every caller some time without a leader, so it must have a reason. A replica that comes
//! back from a partition, one that stood still, and one that lost its connection to a third are no reason.
//! Judged where the first replica writes a vote of a later term: pre-votes write nothing.

use std::time::Duration;

use quorate_proto::raft::v1 as pb;

use super::quorum::{id_of, name, record_in};
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::scenario::Class;

/// Who was unfit to lead may have lost votes that are still being counted: beside two election times, so long.
const GRACE: Duration = Duration::from_secs(3);
/// So long after an operator asked for another leader, or for other members, elections are his.
const ASKED: Duration = Duration::from_secs(20);
/// A leader whose disk was slow may pass leadership on (ADR 0032) for as long as it remembers that: the longest trouble, the
/// longest sync that begins in it, ten seconds of memory, and some room.
const SLOW_DISK: Duration = Duration::from_secs(10 + 8 + 10 + 2);

/// See the module.
#[derive(Default)]
pub(crate) struct Office {
    /// Who leads, in which term, and since when, until somebody votes in a later one or its process ends.
    holder: Option<(u64, usize, Duration)>,
    /// Until then elections may have been asked for, or leadership passed on for the sake of a disk.
    asked_until: Duration,
}

impl Oracle for Office {
    fn id(&self) -> &'static str {
        "C13"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::Wrote { replica, batch, .. } => {
                let Some(vote) = record_in::<pb::Vote>(batch, b"vote") else { return Ok(()) };
                self.voted(at, *replica, vote, known)
            }
            Fact::ReplicaGone { replica, .. } | Fact::ReplicaStopped { replica, .. } => {
                self.holder = self.holder.filter(|(_, holder, _)| holder != replica);
                Ok(())
            }
            Fact::Fault {
                class: Class::Membership | Class::Divergence | Class::Restore | Class::Upgrade | Class::Join,
                ..
            }
            | Fact::Change(_) => {
                self.asked_until = self.asked_until.max(at + ASKED);
                Ok(())
            }
            Fact::Fault { class: Class::SlowDisk, .. } => {
                self.asked_until = self.asked_until.max(at + SLOW_DISK);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Office {
    fn voted(&mut self, at: Duration, replica: usize, vote: pb::Vote, known: &Known<'_>) -> Verdict {
        let is_its_own = id_of(known.ledger.shadows()[replica].live()) == Some(vote.replica);
        let is_later = self.holder.is_none_or(|(term, ..)| vote.term > term);
        if vote.committed {
            if is_later {
                self.holder = is_its_own.then_some((vote.term, replica, at));
            }
            return Ok(());
        }
        let Some((term, holder, elected)) = self.holder.take_if(|_| is_later) else { return Ok(()) };
        let grace = Duration::from_millis(2 * known.scenario.settings.election_ms.1) + GRACE;
        // Who has only just been elected may be unknown to those who stood with it.
        let since = known.fit.get(holder).copied().flatten().map(|since| since.max(elected));
        // Whose history differs passes leadership on as soon as it learns of it.
        let is_wrong = known.ledger.shadows()[holder].is_altered();
        match since.filter(|since| at > *since + grace && at > self.asked_until && !is_wrong) {
            None => Ok(()),
            Some(since) => Err(format!(
                "{} votes in term {} against {}, which leads term {term} and has had a majority for {:?}",
                name(replica),
                vote.term,
                name(holder),
                at.saturating_sub(since)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::trial::Trial;

    fn vote(term: u64, replica: u64, committed: bool) -> pb::Vote {
        pb::Vote { term, replica, committed }
    }

    /// The second replica stands against the first, which has been fit to lead since then.
    fn stands_against(fit_since: Option<Duration>, prepare: impl Fn(&mut Trial, &mut Office)) -> Verdict {
        let mut trial = Trial::new(3);
        let mut oracle = Office::default();
        trial.fit = vec![fit_since, None, None];
        trial.vote(&mut oracle, 0, vote(2, 1, false)).unwrap();
        trial.vote(&mut oracle, 0, vote(2, 1, true)).unwrap();
        trial.vote(&mut oracle, 1, vote(2, 1, true)).unwrap();
        trial.now = Duration::from_secs(60);
        prepare(&mut trial, &mut oracle);
        trial.vote(&mut oracle, 1, vote(3, 2, false))
    }

    #[test]
    fn a_leader_that_can_lead_is_left_in_office() {
        let what = stands_against(Some(Duration::from_secs(40)), |_, _| {}).unwrap_err();
        assert!(what.contains("r2 votes in term 3 against r1"), "{what}");
    }

    #[test]
    fn a_leader_that_could_not_lead_until_lately_may_be_followed_by_another() {
        stands_against(None, |_, _| {}).unwrap();
        stands_against(Some(Duration::from_secs(57)), |_, _| {}).unwrap();
    }

    #[test]
    fn a_leader_that_was_only_just_elected_may_be_unknown() {
        let is_new = |trial: &mut Trial, oracle: &mut Office| {
            trial.vote(oracle, 2, vote(3, 3, false)).unwrap();
            trial.fit = vec![None, None, Some(Duration::from_secs(1))];
            trial.vote(oracle, 2, vote(3, 3, true)).unwrap();
            trial.vote(oracle, 1, vote(4, 2, false)).unwrap();
        };
        stands_against(None, is_new).unwrap();
    }

    #[test]
    fn a_leader_whose_process_ended_holds_no_office_though_it_is_back() {
        let restarts = |trial: &mut Trial, oracle: &mut Office| trial.crash(oracle, 0).unwrap();
        stands_against(Some(Duration::from_secs(40)), restarts).unwrap();
    }

    #[test]
    fn what_an_operator_asked_for_is_no_accident() {
        let asks = |trial: &mut Trial, oracle: &mut Office| {
            trial.feed(oracle, Fact::Fault { class: Class::Membership, what: "a transfer".into() }).unwrap();
        };
        stands_against(Some(Duration::from_secs(40)), asks).unwrap();
    }

    #[test]
    fn a_leader_that_remembers_a_slow_disk_may_pass_leadership_on() {
        let slow = |after: Duration| {
            move |trial: &mut Trial, oracle: &mut Office| {
                let now = std::mem::replace(&mut trial.now, Duration::from_secs(60) - after);
                trial.feed(oracle, Fact::Fault { class: Class::SlowDisk, what: "a slow disk".into() }).unwrap();
                trial.now = now;
            }
        };
        stands_against(Some(Duration::from_secs(40)), slow(Duration::from_secs(29))).unwrap();
        stands_against(Some(Duration::from_secs(20)), slow(Duration::from_secs(31))).unwrap_err();
    }

    #[test]
    fn the_next_term_has_an_office_of_its_own() {
        let contested = |trial: &mut Trial, oracle: &mut Office| {
            trial.fit = vec![None, None, Some(Duration::from_secs(1))];
            trial.vote(oracle, 2, vote(3, 3, false)).unwrap();
            trial.vote(oracle, 2, vote(3, 3, true)).unwrap();
        };
        // The vote for the second replica in term 3 comes too late to be against anybody.
        stands_against(Some(Duration::from_secs(40)), contested).unwrap();
    }
}
