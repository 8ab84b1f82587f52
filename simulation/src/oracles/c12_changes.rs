//! C12: no change of membership is begun that costs the quorum: of the voters that there would be, a
//! majority runs, where one of those before does; and who gets a vote has nearly all of the log.
//!
//! Judged where a leader writes the first of a change's two entries, by which processes run and by what
//! is on disks. A voter that is merely cut off counts as one that runs, so this demands less than the
//! leader does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Table, Write};

use super::quorum::{Members, membership_in, name};
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::RaftRows as _;
use crate::rows::Kept;
use crate::scenario::{FaultPlan, FaultWhat};

/// A leader cannot know at once that another is gone: beside what it waits for a sign of life, so much. Nor
/// does it know how long it was paused: the clock of a paused host stands still.
const GRACE: Duration = Duration::from_secs(2);
/// Who gets a vote may lack so many entries, and those that came while it was given.
const LAG_MAX: u64 = 200 + 50;

/// See the module.
#[derive(Default)]
pub(crate) struct Changes {
    members: Members,
    /// Since when each replica's process is gone. Who is in neither has never started.
    down: BTreeMap<usize, Duration>,
    up: BTreeSet<usize>,
    /// Joint memberships that were judged: term and index.
    judged: BTreeSet<(u64, u64)>,
}

impl Oracle for Changes {
    fn id(&self) -> &'static str {
        "C12"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::ReplicaStarted { replica } => {
                self.up.insert(*replica);
            }
            Fact::ReplicaGone { replica, .. } | Fact::ReplicaStopped { replica, .. } => {
                self.up.remove(replica);
                self.down.insert(*replica, at);
            }
            Fact::Wrote { replica, batch, .. } => {
                for write in &batch.writes {
                    if let Write::Put { table: Table::Log, value, .. } = write {
                        self.appended(at, *replica, value, known)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Changes {
    fn appended(&mut self, at: Duration, leader: usize, entry: &Bytes, known: &Known<'_>) -> Verdict {
        let Some([before, after]) = membership_in(entry).and_then(|configs| <[Vec<u64>; 2]>::try_from(configs).ok())
        else {
            return Ok(());
        };
        let id = <pb::LogEntry as prost::Message>::decode(entry.clone()).ok().and_then(|entry| entry.log_id);
        let id = id.map(|id| (id.term, id.index)).unwrap_or_default();
        // Whoever has it first appended it.
        if !self.judged.insert(id) {
            return Ok(());
        }
        let grace = Duration::from_millis(known.scenario.settings.election_ms.1) + GRACE;
        let mut silent = |voters: &[u64]| -> Vec<u64> {
            voters.iter().copied().filter(|voter| !self.runs(*voter, at, grace, known)).collect()
        };
        let is_quorum = |silent: &[u64], voters: &[u64]| (voters.len() - silent.len()) * 2 > voters.len();
        let (silent_before, silent) = (silent(&before), silent(&after));
        // A quorum that is lost already is not lost by the change.
        if is_quorum(&silent_before, &before) && !is_quorum(&silent, &after) {
            return Err(format!(
                "{} begins a change of the voters {before:?} to {after:?}, of whom {silent:?} are gone",
                name(leader)
            ));
        }
        let last = end(known.ledger.shadows()[leader].live());
        for voter in after.iter().filter(|voter| !before.contains(voter)) {
            let position = self.members.position(*voter, known.ledger);
            let has = position.map_or(0, |position| end(known.ledger.shadows()[position].live()));
            if has + LAG_MAX < last {
                return Err(format!(
                    "{} gives replica {voter} a vote, whose log ends at {has}, its own at {last}",
                    name(leader)
                ));
            }
        }
        Ok(())
    }

    /// True for a replica that runs, or has run until lately.
    fn runs(&mut self, replica: u64, at: Duration, grace: Duration, known: &Known<'_>) -> bool {
        let Some(position) = self.members.position(replica, known.ledger) else { return false };
        let lately = |since: &Duration| *since + grace + paused(*since, at, known) >= at;
        self.up.contains(&position) || self.down.get(&position).is_some_and(lately)
    }
}

/// For how much of that time a replica may have been paused.
fn paused(from: Duration, to: Duration, known: &Known<'_>) -> Duration {
    let pauses = known.scenario.faults.iter().filter(|fault| matches!(fault.what, FaultWhat::Pause { .. }));
    let overlap = |fault: &FaultPlan| {
        let began = Duration::from_millis(fault.at_ms);
        let ended = began + Duration::from_millis(fault.for_ms);
        ended.min(to).saturating_sub(began.max(from))
    };
    pauses.map(overlap).sum()
}

/// The index of the last entry that a disk has, in its log or below.
fn end(disk: &Kept) -> u64 {
    disk.log_bounds().map(|(_, last)| last).max(disk.applied()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::trial::Trial;

    fn started(oracle: &mut Changes, trial: &mut Trial, replicas: &[usize]) {
        for replica in replicas {
            trial.feed(oracle, Fact::ReplicaStarted { replica: *replica }).unwrap();
        }
    }

    #[test]
    fn voters_that_are_gone_are_no_quorum() {
        let mut trial = Trial::new(3);
        let mut oracle = Changes::default();
        started(&mut oracle, &mut trial, &[0, 1, 2]);
        trial.members(&mut oracle, &[&[1, 2, 3]], &[1, 2, 3]).unwrap();
        trial.crash(&mut oracle, 1).unwrap();
        trial.now += Duration::from_secs(60);
        let what = trial.members(&mut oracle, &[&[1, 2, 3], &[1, 2]], &[1, 2, 3]).unwrap_err();
        assert!(what.contains("[2] are gone"), "{what}");

        let mut trial = Trial::new(3);
        let mut oracle = Changes::default();
        started(&mut oracle, &mut trial, &[0, 1, 2]);
        trial.members(&mut oracle, &[&[1, 2, 3]], &[1, 2, 3]).unwrap();
        trial.crash(&mut oracle, 1).unwrap();
        trial.now += Duration::from_secs(60);
        trial.members(&mut oracle, &[&[1, 2, 3], &[1, 3]], &[1, 2, 3]).unwrap();
        trial.members(&mut oracle, &[&[1, 3]], &[1, 3]).unwrap();
    }

    #[test]
    fn a_vote_is_for_who_has_the_log() {
        let mut trial = Trial::new(2);
        let mut oracle = Changes::default();
        started(&mut oracle, &mut trial, &[0, 1]);
        for index in 0..300 {
            trial.log(&mut oracle, &[0], index, &Trial::blank(1, index)).unwrap();
        }
        let change = Trial::membership(300, &[&[1], &[1, 2]], &[1, 2]);
        let what = trial.log(&mut oracle, &[0], 300, &change).unwrap_err();
        assert!(what.contains("a vote, whose log ends at 0"), "{what}");
    }
}
