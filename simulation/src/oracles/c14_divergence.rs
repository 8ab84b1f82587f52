//! C14: a replica whose history differs from that of the majority stops, soon after it has come to a revision at which
//! they compare, with a reason that says so and what to do. One that leads passes leadership on first.
//!
//! What it holds is not what was agreed: whoever it answers, or hands a snapshot, is told what never was. That nobody else
//! stops is H6.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_proto::raft::v1 as pb;

use super::quorum::{id_of, name, record_in};
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::RaftRows as _;

/// From where histories are compared to its end: some rounds of a second each, and the handing over.
const STOPS_WITHIN: Duration = Duration::from_secs(15);
/// What the reason says: what is wrong, and what to do.
const REASONS: [&str; 2] = ["differs from the majority's", "join again"];

/// See the module.
#[derive(Default)]
pub(crate) struct Divergence {
    /// By position, those whose history differs.
    differing: BTreeMap<usize, Differing>,
}

struct Differing {
    /// How far it had come.
    applied: u64,
    /// When it came to a revision at which they compare.
    compared: Option<Duration>,
    has_stopped: bool,
}

impl Oracle for Divergence {
    fn id(&self) -> &'static str {
        "C14"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::DiskAltered { replica, .. } => {
                let applied = known.ledger.shadows()[*replica].live().applied().unwrap_or(0);
                self.differing.insert(*replica, Differing { applied, compared: None, has_stopped: false });
            }
            Fact::ReplicaRenewed { replica } => {
                self.differing.remove(replica);
            }
            // A snapshot has made it the others' again.
            Fact::Wrote { replica, .. } if !known.ledger.shadows()[*replica].is_altered() => {
                self.differing.remove(replica);
            }
            Fact::Wrote { replica, batch, .. } => {
                let applied = record_in::<pb::Applied>(batch, b"applied").and_then(|applied| applied.log_id);
                if let (Some(one), Some(applied)) = (self.differing.get_mut(replica), applied) {
                    let every = known.scenario.settings.digest_every;
                    if applied.index / every > one.applied / every {
                        one.compared.get_or_insert(at);
                    }
                }
            }
            Fact::ReplicaStopped { replica, error } => {
                let Some(one) = self.differing.get_mut(replica) else { return Ok(()) };
                let said = error.as_deref().unwrap_or("nothing");
                if !REASONS.iter().all(|words| said.contains(words)) {
                    let name = name(*replica);
                    return Err(format!("the history of {name} differs, and it stopped saying: {said}"));
                }
                if !std::mem::replace(&mut one.has_stopped, true) && leads(*replica, known) {
                    return Err(format!("{} stopped while it led, and passed leadership on to nobody", name(*replica)));
                }
            }
            _ => {}
        }
        let is_late = |one: &Differing| !one.has_stopped && one.compared.is_some_and(|since| at > since + STOPS_WITHIN);
        match self.differing.iter().find(|(_, one)| is_late(one)) {
            Some((replica, _)) => Err(format!("the history of {} differs, and it goes on", name(*replica))),
            None => Ok(()),
        }
    }
}

/// True when the newest vote on any disk is for this replica, as the leader.
fn leads(position: usize, known: &Known<'_>) -> bool {
    let shadows = known.ledger.shadows();
    let votes = shadows.iter().filter_map(|shadow| shadow.live().vote());
    let newest = votes.max_by_key(|vote| (vote.term, vote.committed));
    newest.is_some_and(|vote| vote.committed && id_of(shadows[position].live()) == Some(vote.replica))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_seams::Batch;

    use super::*;
    use crate::oracles::trial::Trial;

    /// The first of three replicas comes to another history, and then as far as to a comparison.
    fn differing() -> (Trial, Divergence) {
        let mut trial = Trial::new(3);
        let mut oracle = Divergence::default();
        trial.found(&mut oracle).unwrap();
        trial.feed(&mut oracle, Fact::DiskAltered { replica: 0, batch: Arc::new(Batch::default()) }).unwrap();
        for index in 1..=10 {
            trial.commit(&mut oracle, &Trial::blank(1, index)).unwrap();
        }
        (trial, oracle)
    }

    fn stopped() -> Fact {
        let why = "the history of this replica differs from the majority's at revision 10: wipe it and join again";
        Fact::ReplicaStopped { replica: 0, error: Some(why.into()) }
    }

    #[test]
    fn who_differs_stops_soon_and_says_why() {
        let (mut trial, mut oracle) = differing();
        trial.feed(&mut oracle, stopped()).unwrap();
        trial.now += Duration::from_secs(60);
        trial.crash(&mut oracle, 0).unwrap();

        let (mut trial, mut oracle) = differing();
        trial.now += Duration::from_secs(60);
        assert!(trial.crash(&mut oracle, 0).unwrap_err().contains("goes on"));

        let (mut trial, mut oracle) = differing();
        let other = Fact::ReplicaStopped { replica: 0, error: Some("a bug".into()) };
        assert!(trial.feed(&mut oracle, other).unwrap_err().contains("stopped saying: a bug"));
    }

    #[test]
    fn who_leads_passes_leadership_on_first() {
        let vote = |term, replica| pb::Vote { term, replica, committed: true };
        let (mut trial, mut oracle) = differing();
        trial.vote(&mut oracle, 0, vote(2, 1)).unwrap();
        assert!(trial.feed(&mut oracle, stopped()).unwrap_err().contains("passed leadership on to nobody"));

        let (mut trial, mut oracle) = differing();
        trial.vote(&mut oracle, 0, vote(2, 1)).unwrap();
        trial.vote(&mut oracle, 1, vote(3, 2)).unwrap();
        trial.feed(&mut oracle, stopped()).unwrap();
    }
}
