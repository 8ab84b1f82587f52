//! Changes of who takes part: one at a time, by the leader, and none that would cost the quorum.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{ChangeMembers, Instant as _, ServerState};
use quorate_planted::Bug;

use crate::join::{self, Registrar, has_caught_up};
use crate::lead::Lead;
use crate::type_config::{Metrics, Raft, ReplicaId};
use crate::{MemberError, compare};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A change of who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A learner votes from now on.
    Promote(u64),
    /// A replica belongs to the cluster no more, and its id is never given to another. A leader that
    /// is asked to remove itself passes leadership on, and whoever leads then is the one to ask.
    Remove(u64),
}

impl Registrar {
    pub(crate) async fn change(
        &self,
        raft: &Raft,
        lead: &Lead,
        change: MemberChange,
        patience: Duration,
    ) -> Result<(), MemberError> {
        let _one = self.one.lock().await;
        let metrics = leading(self.metrics(raft).await, lead)?;
        if !is_settled(&metrics) {
            return Err(MemberError::OutcomeUnknown("another change of membership is not finished yet".into()));
        }
        let membership = metrics.membership_config.membership();
        let (MemberChange::Promote(id) | MemberChange::Remove(id)) = change;
        let mut voters: BTreeSet<ReplicaId> = membership.voter_ids().collect();
        let is_member = membership.get_node(&id).is_some();
        let to = match change {
            MemberChange::Promote(_) if voters.contains(&id) => return Ok(()),
            MemberChange::Promote(_) if !is_member => return Err(MemberError::NoSuchReplica(id)),
            MemberChange::Promote(_) => {
                if !has_caught_up(&metrics, id) {
                    return Err(MemberError::Refused(format!(
                        "replica {id} has not caught up: see MATCHED in 'quorate replica list', and try again"
                    )));
                }
                voters.insert(id);
                ChangeMembers::AddVoterIds(BTreeSet::from([id]))
            }
            // Whoever asks again for what was done is told that it is done.
            MemberChange::Remove(_) if !is_member && self.published().was_removed(id) => return Ok(()),
            MemberChange::Remove(_) if !is_member => return Err(MemberError::NoSuchReplica(id)),
            MemberChange::Remove(_) if voters.remove(&id) => ChangeMembers::RemoveVoters(BTreeSet::from([id])),
            MemberChange::Remove(_) => ChangeMembers::RemoveNodes(BTreeSet::from([id])),
        };
        let lasting = |metrics: &Metrics| {
            if quorate_planted::is(Bug::RemovalCostsQuorum) {
                return Ok(());
            }
            keeps_quorum(&voters, &answering(metrics, patience))
        };
        within(patience, raft, lasting).await.map_err(MemberError::Refused)?;
        if change == MemberChange::Remove(metrics.id) {
            let to = successor(&raft.metrics().borrow_watched(), patience);
            compare::hand_over(raft, to, 2 * patience).await;
            return Err(MemberError::NotLeader { leader: lead.hint() });
        }
        tracing::info!(?change, "the membership changes");
        // Who votes no more is no learner either.
        join::change(raft.change_membership(to, false)).await.map_err(MemberError::OutcomeUnknown)
    }

    pub(crate) async fn transfer(
        &self,
        raft: &Raft,
        lead: &Lead,
        to: Option<ReplicaId>,
        term: Option<u64>,
        patience: Duration,
    ) -> Result<ReplicaId, MemberError> {
        let _one = self.one.lock().await;
        let metrics = leading(self.metrics(raft).await, lead)?;
        if term.is_some_and(|term| term != metrics.current_term) {
            return Ok(metrics.id);
        }
        let membership = metrics.membership_config.membership();
        let refused = |why: String| Err(MemberError::Refused(why));
        let Some(to) = to.or_else(|| successor(&metrics, patience)) else {
            return refused("no other replica votes: add one with 'quorate server join'".into());
        };
        if to == metrics.id {
            return Ok(to);
        }
        if membership.get_node(&to).is_none() {
            return Err(MemberError::NoSuchReplica(to));
        }
        if !membership.voter_ids().any(|voter| voter == to) {
            return refused(format!("replica {to} is a learner: promote it first"));
        }
        let fit = |metrics: &Metrics| match (answering(metrics, patience).contains(&to), has_caught_up(metrics, to)) {
            (true, true) => Ok(()),
            (true, false) => Err(format!("replica {to} has not caught up: try again in a moment")),
            (false, _) => Err(format!("replica {to} does not answer")),
        };
        within(patience, raft, fit).await.map_err(MemberError::Refused)?;
        compare::hand_over(raft, Some(to), patience).await;
        let mut metrics = raft.metrics();
        let known = async {
            loop {
                let now = metrics.borrow_and_update().clone();
                match now.current_leader {
                    Some(leader) if leader != now.id => return Some(leader),
                    Some(_) | None => {}
                }
                if metrics.changed().await.is_err() {
                    return None;
                }
            }
        };
        match tokio::time::timeout(2 * patience, known).await {
            Ok(Some(leader)) => Ok(leader),
            Ok(None) | Err(_) => Err(MemberError::OutcomeUnknown("nobody is known to lead yet".into())),
        }
    }
}

/// True when no change of membership is under way. One that an earlier leader left half way is committed, and has
/// its new voters already; nobody may be told yet that they are.
pub(crate) fn is_settled(metrics: &Metrics) -> bool {
    let effective = &metrics.membership_config;
    *effective == metrics.committed_membership_config && effective.membership().get_joint_config().len() <= 1
}

/// The same, of a leader that may speak for the cluster.
pub(crate) fn leading(metrics: Metrics, lead: &Lead) -> Result<Metrics, MemberError> {
    // Without a stamp it leads no more, or has not applied yet what was decided before it led.
    if metrics.state != ServerState::Leader || lead.stamp().is_none() {
        return Err(MemberError::NotLeader { leader: lead.hint() });
    }
    Ok(metrics)
}

/// Gives a condition some time to hold: who leads since a moment ago has not heard anybody yet.
async fn within(patience: Duration, raft: &Raft, holds: impl Fn(&Metrics) -> Result<(), String>) -> Result<(), String> {
    let until = tokio::time::Instant::now() + patience;
    loop {
        let outcome = holds(&raft.metrics().borrow_watched());
        if outcome.is_ok() || tokio::time::Instant::now() >= until {
            return outcome;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The voter to pass leadership on to: of those that answer, the one that has most of the log. Where none
/// does, which may be because this leader is new, the one that had most of it when last heard.
pub(crate) fn successor(metrics: &Metrics, patience: Duration) -> Option<ReplicaId> {
    let voters: BTreeSet<ReplicaId> = metrics.membership_config.membership().voter_ids().collect();
    let answering = answering(metrics, patience);
    let others = metrics.replication.iter().flatten().filter(|(id, _)| voters.contains(id) && **id != metrics.id);
    others.max_by_key(|(id, matched)| (answering.contains(id), **matched)).map(|(id, _)| *id)
}

/// Who has answered the leader within `patience`, itself included.
fn answering(metrics: &Metrics, patience: Duration) -> BTreeSet<ReplicaId> {
    let heard = metrics.heartbeat.iter().flatten();
    let lately = heard.filter(|(_, at)| at.is_some_and(|at| at.elapsed() <= patience)).map(|(id, _)| *id);
    lately.chain([metrics.id]).collect()
}

/// Refuses voters of whom too few answer to decide anything.
fn keeps_quorum(voters: &BTreeSet<ReplicaId>, answering: &BTreeSet<ReplicaId>) -> Result<(), String> {
    let list = |ids: Vec<ReplicaId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (there, silent): (Vec<ReplicaId>, Vec<ReplicaId>) = voters.iter().partition(|id| answering.contains(id));
    let needed = voters.len() / 2 + 1;
    if voters.is_empty() {
        return Err("it is the only voter: a cluster without one can decide nothing".into());
    }
    if there.len() < needed {
        return Err(format!(
            "the quorum would be lost: of the {} voters that would be left, {needed} must answer, and {} do not ({})",
            voters.len(),
            silent.len(),
            list(silent)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use openraft::metrics::SerdeInstant;
    use openraft::type_config::alias::InstantOf;
    use quorate_state::{RegionName, Uuid};

    use super::*;
    use crate::type_config::{Membership, Peer, StoredMembership, TypeConfig, log_id};

    fn ids(ids: &[ReplicaId]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().collect()
    }

    #[test]
    fn a_change_leaves_a_majority_that_answers() {
        for (voters, answering, keeps) in [
            (&[1, 2, 3][..], &[1, 2][..], true),
            (&[1, 2, 3], &[1], false),
            (&[1, 2], &[1, 2, 3], true),
            (&[1, 2], &[1, 3], false),
            (&[1, 2, 3, 4], &[1, 2], false),
            (&[1], &[1], true),
            (&[], &[1], false),
        ] {
            assert_eq!(keeps_quorum(&ids(voters), &ids(answering)).is_ok(), keeps, "{voters:?} {answering:?}");
        }
        let why = keeps_quorum(&ids(&[1, 4]), &ids(&[1])).unwrap_err();
        assert!(why.contains("1 do not (4)"), "{why}");
    }

    fn peer() -> Peer {
        let region = RegionName::new("eu").unwrap();
        Peer { store: Uuid(0), region, raft: String::new(), api: String::new(), agent: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_is_one_that_answers() {
        let patience = Duration::from_millis(300);
        let nodes: BTreeMap<ReplicaId, Peer> = (1..=4).map(|id| (id, peer())).collect();
        let membership = Membership::new(vec![ids(&[1, 2, 3])], nodes).unwrap();
        // Replica 1 leads, 4 is a learner; of each other, how far its log goes and how long ago it was heard.
        let chosen = |others: &[(ReplicaId, u64, Option<u64>)]| {
            let mut metrics = Metrics::new_initial(1);
            metrics.membership_config = Arc::new(StoredMembership::new(Some(log_id(1, 1)), membership.clone()));
            let at = |ago| SerdeInstant::from(InstantOf::<TypeConfig>::now() - Duration::from_millis(ago));
            metrics.replication = Some(others.iter().map(|(id, index, _)| (*id, Some(log_id(1, *index)))).collect());
            metrics.heartbeat = Some(others.iter().map(|(id, _, ago)| (*id, ago.map(at))).collect());
            successor(&metrics, patience)
        };
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(chosen(&[(2, 9, Some(100)), (3, 8, Some(100))]), Some(2), "the one with most of the log");
        assert_eq!(chosen(&[(2, 9, Some(301)), (3, 8, Some(100))]), Some(3), "the other is silent");
        assert_eq!(chosen(&[(2, 9, None), (3, 8, Some(100))]), Some(3), "the other was never heard");
        assert_eq!(chosen(&[(2, 7, Some(100)), (4, 9, Some(100))]), Some(2), "a learner does not lead");
        assert_eq!(chosen(&[(2, 8, None), (3, 9, None)]), Some(3), "this leader is new");
        assert_eq!(chosen(&[(4, 9, Some(100))]), None);
    }

    #[test]
    fn a_change_that_is_half_way_is_not_settled() {
        let metrics = |effective: &[BTreeSet<ReplicaId>], index| {
            let membership = |configs: &[BTreeSet<ReplicaId>], index| {
                let nodes: BTreeMap<ReplicaId, Peer> = (1..=4).map(|id| (id, peer())).collect();
                StoredMembership::new(Some(log_id(1, index)), Membership::new(configs.to_vec(), nodes).unwrap())
            };
            let mut metrics = Metrics::new_initial(1);
            metrics.membership_config = Arc::new(membership(effective, index));
            metrics.committed_membership_config = Arc::new(membership(effective, 7));
            metrics
        };
        assert!(is_settled(&metrics(&[ids(&[1, 2, 3])], 7)));
        assert!(!is_settled(&metrics(&[ids(&[1, 2, 3])], 8)), "not committed");
        assert!(!is_settled(&metrics(&[ids(&[1, 2, 3]), ids(&[1, 2, 3, 4])], 7)), "left half way");
    }
}
