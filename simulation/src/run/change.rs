//! Changes of who takes part: what an operator is ordered, what else happens then, and what must be so
//! in the end.

use std::time::Duration;

use quorate_seams::{Table, Write};

use super::{Violation, World};
use crate::facts::Fact;
use crate::hosts::{Order, Wish};
use crate::oracles::quorum::{id_of, membership_in};
use crate::scenario::{Amid, Target};

/// Fewer voters could not do without one.
const VOTERS_MIN: usize = 3;
/// Elections after which a leader has missed whoever lost power.
const MISSED_AFTER: u32 = 3;
/// Who was removed stops within so much, once the faults have ended and it can hear of it.
const REMOVED_STOPS_WITHIN: Duration = Duration::from_secs(15);

/// What happens to the leader once a change is half way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trap {
    /// It comes back after this.
    away: Duration,
    /// Half way, as this replica's disk has it.
    sprung: bool,
}

impl World {
    /// The replica id on a disk.
    fn id(&self, position: usize) -> Option<u64> {
        id_of(self.ledger.shadows()[position].live())
    }

    /// True when the replica on this disk belongs to the cluster no more.
    pub(super) fn is_removed(&self, position: usize) -> bool {
        self.id(position).is_some_and(|id| self.ledger.removed_at(id).is_some())
    }

    /// Another one will join in the place of a replica that was removed.
    pub(super) fn renew(&mut self, now: Duration, position: usize) -> Result<(), Violation> {
        self.replicas[position].renew();
        self.striking.outcasts.renewed(position);
        self.facts.add_at(now, Fact::ReplicaRenewed { replica: position });
        self.hear()
    }

    /// The voters, if no change is under way, and who votes at a position.
    pub(super) fn voter(&self, position: usize) -> Option<(u64, Vec<u64>)> {
        let membership = self.ledger.membership()?;
        let [voters] = membership.voters.as_slice() else { return None };
        let id = self.id(position).filter(|id| voters.contains(id))?;
        Some((id, voters.clone()))
    }

    /// An operator is ordered to replace a replica. False when that cannot be now.
    pub(super) fn begin_replace(
        &mut self,
        now: Duration,
        ends: Duration,
        target: Target,
        learner: bool,
        amid: Amid,
    ) -> Result<bool, Violation> {
        let position = self.resolve(target);
        let Some((id, voters)) = self.voter(position) else { return Ok(false) };
        if !self.common.desk.is_clear() || voters.len() < VOTERS_MIN {
            return Ok(false);
        }
        let missed = now + Duration::from_millis(self.scenario.settings.election_ms.1) * MISSED_AFTER;
        let mut at = now;
        match amid {
            Amid::Nothing => {}
            Amid::ItsCrash => {
                if !self.crash_replica(now, position, 100, ends)? {
                    return Ok(false);
                }
            }
            Amid::TheLeadersCrash => {
                self.striking.trap = Some(Trap { away: ends - now, sprung: false });
            }
            Amid::Scarcity => {
                let leader = self.leader();
                let runs = |at: &usize| self.is_running(*at) && self.voter(*at).is_some();
                let all_run = (0..self.replicas.len()).filter(runs).count() == voters.len();
                let others: Vec<usize> =
                    (0..self.replicas.len()).filter(|at| *at != position && Some(*at) != leader).filter(runs).collect();
                // With an even number of voters as many as this are more than they can do without.
                let spare = (voters.len() - 1) / 2;
                if !all_run || voters.len().is_multiple_of(2) || others.len() < spare || leader == Some(position) {
                    return Ok(false);
                }
                for other in others.into_iter().take(spare) {
                    self.crash_replica(now, other, 100, ends)?;
                }
                at = missed;
            }
        }
        self.replicas[position].give_way(learner);
        let wish = Wish::Replace { position, id, learner, gives_up: amid == Amid::Scarcity };
        self.common.desk.put(Order { wish, at });
        Ok(true)
    }

    /// An operator is ordered to pass leadership on. False when that cannot be now.
    pub(super) fn begin_transfer(&mut self, now: Duration, target: Target) -> bool {
        let position = self.resolve(target);
        match self.voter(position) {
            Some((id, _)) if self.common.desk.is_clear() => {
                self.common.desk.put(Order { wish: Wish::Lead { id }, at: now });
                true
            }
            Some(_) | None => false,
        }
    }

    /// Looks whether a disk was told of a change that is half way.
    pub(super) fn watch_trap(&mut self, fact: &Fact) {
        let (Some(trap), Fact::Wrote { batch, .. }) = (&mut self.striking.trap, fact) else { return };
        let is_half = |write: &Write| match write {
            Write::Put { table: Table::Log, value, .. } => membership_in(value).is_some_and(|voters| voters.len() > 1),
            Write::Put { .. } | Write::Delete { .. } | Write::DeleteRange { .. } => false,
        };
        trap.sprung |= batch.writes.iter().any(is_half);
    }

    /// The leader loses power, if it is time.
    pub(super) fn spring_trap(&mut self, now: Duration) -> Result<(), Violation> {
        let Some(Trap { away, .. }) = self.striking.trap.filter(|trap| trap.sprung) else { return Ok(()) };
        self.striking.trap = None;
        let Some(leader) = self.leader() else { return Ok(()) };
        self.crash_replica(now, leader, 100, now + away).map(drop)
    }

    /// What is not yet as it must be in the end: no change is left half way, and all replicas vote.
    pub(super) fn unfit(&self) -> Option<String> {
        let membership = self.ledger.membership()?;
        if membership.voters.len() > 1 {
            return Some(format!("a change of membership is half way: {membership:?}"));
        }
        let without_vote = (0..self.replicas.len()).find(|position| self.voter(*position).is_none());
        if let Some(position) = without_vote {
            return Some(format!("r{} has no vote in {membership:?}", position + 1));
        }
        if membership.replicas.len() != self.replicas.len() {
            return Some(format!("more take part than there are: {membership:?}"));
        }
        (!self.common.desk.is_clear()).then(|| "the operator has not been told what became of a change".into())
    }

    /// C11: whoever was removed has heard of it by now, and has stopped.
    pub(super) fn check_removed(&self, now: Duration, healed: Duration) -> Result<(), Violation> {
        for position in (0..self.replicas.len()).filter(|position| self.is_running(*position)) {
            let removed = self.id(position).and_then(|id| self.ledger.removed_at(id));
            let Some(removed) = removed.and_then(|index| self.ledger.at_index(index)) else { continue };
            let late = now.saturating_sub(removed.at.max(healed));
            if late > REMOVED_STOPS_WITHIN {
                let index = removed.index;
                let what = format!("index {index} removed r{}, which still runs {late:?} later", position + 1);
                return Err(Violation::new("C11", what));
            }
        }
        Ok(())
    }
}
