//! C11: an id is one replica's for ever, and who was removed is out: it leads no later term, and what an
//! operator was told to be done is so.
//!
//! An id that is given twice makes two disks one voter: what the first one promised, the second does not
//! keep. A replica that was removed and goes on as if it were not answers for a cluster that is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_proto::raft::v1 as pb;

use super::quorum::{id_of, name, record_in};
use super::{Known, Oracle, Verdict};
use crate::facts::{Asked, Change, Fact, Heard};

/// See the module.
#[derive(Default)]
pub(crate) struct Identities {
    /// Of each id, the disk that has it: a position, and how many disks that had before.
    owners: BTreeMap<u64, (usize, u32)>,
    /// How often the disk of a position was replaced.
    renewed: BTreeMap<usize, u32>,
}

impl Oracle for Identities {
    fn id(&self) -> &'static str {
        "C11"
    }

    fn fact(&mut self, _: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        match fact {
            Fact::Wrote { replica, batch, .. } => {
                if let Some(identity) = record_in::<pb::Identity>(batch, b"identity").filter(|it| it.replica > 0) {
                    self.named(*replica, identity.replica)?;
                }
                match record_in::<pb::Vote>(batch, b"vote").filter(|vote| vote.committed) {
                    Some(vote) => leads(*replica, vote, known),
                    None => Ok(()),
                }
            }
            Fact::ReplicaRenewed { replica } => {
                *self.renewed.entry(*replica).or_default() += 1;
                Ok(())
            }
            Fact::Change(change) => told(change, known),
            _ => Ok(()),
        }
    }
}

impl Identities {
    fn named(&mut self, position: usize, id: u64) -> Verdict {
        let disk = (position, self.renewed.get(&position).copied().unwrap_or(0));
        let (owner, before) = *self.owners.entry(id).or_insert(disk);
        if (owner, before) == disk {
            return Ok(());
        }
        Err(format!("{} is replica {id} now, which {} was on another disk", name(position), name(owner)))
    }
}

/// A replica begins to lead, or learns who does.
fn leads(position: usize, vote: pb::Vote, known: &Known<'_>) -> Verdict {
    if id_of(known.ledger.shadows()[position].live()) != Some(vote.replica) {
        return Ok(());
    }
    let removed = known.ledger.removed_at(vote.replica).and_then(|index| known.ledger.at_index(index));
    // It may find late that it had won an election before.
    match removed.filter(|step| step.term <= vote.term) {
        Some(step) => Err(format!(
            "{} leads term {} as replica {}, which index {} of term {} had removed",
            name(position),
            vote.term,
            vote.replica,
            step.index,
            step.term
        )),
        None => Ok(()),
    }
}

/// An operator was told that something is done.
fn told(change: &Change, known: &Known<'_>) -> Verdict {
    let Some(now) = known.ledger.membership().filter(|_| change.heard == Heard::Done) else { return Ok(()) };
    let is_so = match change.asked {
        Asked::Remove(id) => !now.replicas.contains(&id),
        Asked::Promote(id) => now.voters.iter().all(|voters| voters.contains(&id)),
        // Leadership may be somebody else's by now.
        Asked::Transfer(_) => true,
    };
    if is_so { Ok(()) } else { Err(format!("{:?} was acknowledged, but takes part are {now:?}", change.asked)) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prost::Message as _;
    use quorate_seams::{Batch, Table};

    use super::*;
    use crate::oracles::trial::Trial;

    fn identity(replica: u64) -> Batch {
        let mut batch = Batch::default();
        let identity = pb::Identity { replica, ..Default::default() };
        batch.put(Table::Raft, &b"identity"[..], identity.encode_to_vec());
        batch
    }

    #[test]
    fn an_id_is_never_another_disks() {
        let mut trial = Trial::new(3);
        let mut oracle = Identities::default();
        trial.write(&mut oracle, 2, identity(3)).unwrap();
        trial.write(&mut oracle, 2, identity(3)).unwrap();
        trial.feed(&mut oracle, Fact::ReplicaRenewed { replica: 2 }).unwrap();
        trial.write(&mut oracle, 2, identity(4)).unwrap();
        trial.feed(&mut oracle, Fact::ReplicaRenewed { replica: 2 }).unwrap();
        let what = trial.write(&mut oracle, 2, identity(4)).unwrap_err();
        assert!(what.contains("on another disk"), "{what}");
        assert!(trial.write(&mut oracle, 1, identity(3)).is_err());
    }

    #[test]
    fn who_was_removed_leads_no_later_term() {
        let leads = |term| pb::Vote { term, replica: 3, committed: true };
        let mut trial = Trial::new(3);
        let mut oracle = Identities::default();
        trial.members(&mut oracle, &[&[1, 2, 3]], &[1, 2, 3]).unwrap();
        trial.members(&mut oracle, &[&[1, 2]], &[1, 2]).unwrap();
        trial.vote(&mut oracle, 2, pb::Vote { replica: 1, ..leads(7) }).unwrap();
        assert!(trial.vote(&mut oracle, 2, leads(7)).unwrap_err().contains("had removed"));
        assert!(trial.vote(&mut oracle, 2, leads(0)).is_ok(), "it had won before");
    }

    #[test]
    fn what_an_operator_is_told_is_so() {
        let mut trial = Trial::new(3);
        let mut oracle = Identities::default();
        let mut tell = |trial: &mut Trial, asked, heard| {
            let change = Change { called: trial.now, asked, heard };
            trial.feed(&mut oracle, Fact::Change(Arc::new(change)))
        };
        trial.members(&mut Identities::default(), &[&[1, 2]], &[1, 2, 3]).unwrap();
        tell(&mut trial, Asked::Remove(4), Heard::Done).unwrap();
        tell(&mut trial, Asked::Promote(2), Heard::Done).unwrap();
        tell(&mut trial, Asked::Promote(3), Heard::Unknown("late".into())).unwrap();
        tell(&mut trial, Asked::Promote(3), Heard::Done).unwrap_err();
        tell(&mut trial, Asked::Remove(3), Heard::Done).unwrap_err();
    }
}
