//! C10: a replica whose disk went back to an old image of itself casts no vote and stores no entry, so that it counts for
//! no quorum; once somebody can tell it what it is, it stops, with a reason that says so and what to do.
//!
//! Whoever has forgotten what it promised breaks the promise when it goes on: it votes twice in a term, or is counted for
//! an entry that it has lost. Judged only where the premise of ADR 0014 holds: every other disk has a later start of it.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_proto::raft::v1 as pb;
use quorate_seams::{Table, Write};

use super::quorum::{name, record_in};
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;

/// It has stopped so long after it went back, once the faults have ended and it can be told.
const STOPS_WITHIN: Duration = Duration::from_secs(15);
/// What the reason says: what was seen of it, and what to do.
const REASON: [&str; 2] = ["has seen start ", "join again"];

/// See the module.
#[derive(Default)]
pub(crate) struct OldImages {
    /// By position, those that have one.
    back: BTreeMap<usize, Back>,
}

struct Back {
    since: Duration,
    has_stopped: bool,
}

impl Oracle for OldImages {
    fn id(&self) -> &'static str {
        "C10"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::DiskReverted { replica } => {
                self.back.insert(*replica, Back { since: at, has_stopped: false });
            }
            Fact::ReplicaRenewed { replica } => {
                self.back.remove(replica);
            }
            Fact::Wrote { replica, batch, .. } if self.back.contains_key(replica) => {
                if let Some(vote) = record_in::<pb::Vote>(batch, b"vote") {
                    let (name, pb::Vote { term, replica, .. }) = (name(*replica), vote);
                    return Err(format!("{name} has an old image of its disk, and votes in term {term} for {replica}"));
                }
                if batch.writes.iter().any(|write| matches!(write, Write::Put { table: Table::Log, .. })) {
                    return Err(format!(
                        "{} has an old image of its disk, and takes entries into its log",
                        name(*replica)
                    ));
                }
            }
            Fact::ReplicaStopped { replica, error } => {
                let Some(back) = self.back.get_mut(replica) else { return Ok(()) };
                back.has_stopped = true;
                let said = error.as_deref().unwrap_or("nothing");
                if !REASON.iter().all(|words| said.contains(words)) {
                    return Err(format!("{} has an old image of its disk, and stopped saying: {said}", name(*replica)));
                }
            }
            _ => {}
        }
        self.judge_late(at, known)
    }

    fn end(&mut self, at: Duration, known: &Known<'_>) -> Verdict {
        self.judge_late(at, known)?;
        match self.back.keys().next() {
            Some(replica) => Err(format!("{} still has an old image of its disk in the end", name(*replica))),
            None => Ok(()),
        }
    }
}

impl OldImages {
    fn judge_late(&self, at: Duration, known: &Known<'_>) -> Verdict {
        let Some(healed) = known.healed else { return Ok(()) };
        let is_late = |back: &Back| !back.has_stopped && at > back.since.max(healed) + STOPS_WITHIN;
        match self.back.iter().find(|(_, back)| is_late(back)) {
            Some((replica, back)) => {
                let since = at.saturating_sub(back.since);
                Err(format!("{} has had an old image of its disk for {since:?}, and goes on", name(*replica)))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_seams::Batch;

    use super::*;
    use crate::oracles::trial::Trial;

    /// The disk of the third replica goes back.
    fn reverted() -> (Trial, OldImages) {
        let mut trial = Trial::new(3);
        let mut oracle = OldImages::default();
        trial.vote(&mut oracle, 2, pb::Vote { term: 1, replica: 1, committed: false }).unwrap();
        trial.feed(&mut oracle, Fact::DiskImaged { replica: 2 }).unwrap();
        trial.crash(&mut oracle, 2).unwrap();
        trial.feed(&mut oracle, Fact::DiskReverted { replica: 2 }).unwrap();
        (trial, oracle)
    }

    fn stopped(error: &str) -> Fact {
        Fact::ReplicaStopped { replica: 2, error: Some(error.into()) }
    }

    #[test]
    fn it_neither_votes_nor_takes_entries() {
        let (mut trial, mut oracle) = reverted();
        trial.vote(&mut oracle, 1, pb::Vote { term: 2, replica: 1, committed: false }).unwrap();
        let what = trial.vote(&mut oracle, 2, pb::Vote { term: 2, replica: 1, committed: false }).unwrap_err();
        assert!(what.contains("r3 has an old image of its disk, and votes in term 2"), "{what}");

        let (mut trial, mut oracle) = reverted();
        let what = trial.log(&mut oracle, &[0, 2], 0, &Trial::founding(3)).unwrap_err();
        assert!(what.contains("takes entries"), "{what}");
    }

    #[test]
    fn it_may_count_its_start_and_write_why_it_is_refused() {
        let (mut trial, mut oracle) = reverted();
        let mut batch = Batch::default();
        batch.put(Table::Raft, &b"start"[..], &b""[..]);
        batch.put(Table::Raft, &b"refused"[..], &b""[..]);
        trial.write(&mut oracle, 2, batch).unwrap();
    }

    #[test]
    fn it_stops_and_says_why_and_what_to_do_until_another_disk_is_in_its_place() {
        let (mut trial, mut oracle) = reverted();
        let why = "a peer refuses this store: replica 1 has seen start 3 of it, this is 2: remove it and join again";
        trial.feed(&mut oracle, stopped(why)).unwrap();
        assert!(trial.end(&mut oracle).unwrap_err().contains("in the end"));
        trial.feed(&mut oracle, Fact::ReplicaRenewed { replica: 2 }).unwrap();
        trial.vote(&mut oracle, 2, pb::Vote { term: 2, replica: 1, committed: false }).unwrap();
        trial.feed(&mut oracle, stopped("anything")).unwrap();
        trial.end(&mut oracle).unwrap();

        let (mut trial, mut oracle) = reverted();
        assert!(trial.feed(&mut oracle, stopped("the disk is full")).unwrap_err().contains("stopped saying"));
    }

    #[test]
    fn it_does_not_go_on_for_long() {
        let (mut trial, mut oracle) = reverted();
        trial.now += Duration::from_secs(60);
        assert!(trial.end(&mut oracle).unwrap_err().contains("goes on"));
    }
}
