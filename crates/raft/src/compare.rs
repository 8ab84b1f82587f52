//! Replicas compare their histories. One that differs from the majority stops, for what it holds
//! is not what was agreed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use quorate_planted::Bug;
use quorate_proto::raft::v1 as pb;
use quorate_state::{FeatureSet, Revision};

use crate::channel;
use crate::gate::says_removed;
use crate::network::Links;
use crate::state_machine::Published;
use crate::type_config::{Metrics, Peer, Raft, ReplicaId};
use crate::{StopReason, join};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// A replica that has applied nothing new asks the others after every so many rounds whether it still
/// belongs to them. Not all are told: one without a vote never stands for election, and one that was cut off while
/// it led goes on taking itself for the leader.
const QUIET_ROUNDS: u32 = 5;
/// Checkpoints tried in a round, the newest first: peers that lag know the older ones.
const TRIED_MAX: usize = 4;

/// What comparing one checkpoint showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The majority has what we have.
    Agreed,
    /// The majority has something else.
    Diverged,
    /// Too few answered.
    Open,
}

/// Compares for as long as it is polled, and looks after what else a leader does now and then.
pub(crate) async fn watch(raft: Raft, published: Arc<Published>, links: Links) {
    let mut agreed = Revision(0);
    let (mut quiet, mut last) = (0, None);
    loop {
        tokio::time::sleep(ROUND).await;
        join::settle(&raft).await;
        let applied = raft.metrics().borrow_watched().last_applied;
        quiet = if applied == last { quiet + 1 } else { 0 };
        last = applied;
        if quiet > 0 && quiet % QUIET_ROUNDS == 0 && is_removed(&raft, &links).await {
            links.halt.because(StopReason::Removed);
            return;
        }
        let checkpoints = published.checkpoints();
        for (revision, ours) in checkpoints.into_iter().rev().take(TRIED_MAX).take_while(|(at, _)| *at > agreed) {
            let (verdict, majority) = compare(&raft, &links, revision, &ours.to_bytes()).await;
            match verdict {
                Verdict::Agreed => agreed = revision,
                Verdict::Diverged => {
                    tracing::error!(%revision, "the history of this replica differs from the majority's");
                    let reason = StopReason::Diverged { revision };
                    // First of all: whatever ends the process from here on, the store stays out.
                    links.gate.give_up(&reason).await;
                    hand_over(&raft, majority, Duration::from_millis(links.tuning.election_ms_max)).await;
                    links.halt.because(reason);
                    return;
                }
                Verdict::Open => continue,
            }
            break;
        }
    }
}

/// Passes leadership on, where this replica has it, and waits a little for that to happen.
pub(crate) async fn hand_over(raft: &Raft, to: Option<ReplicaId>, patience: Duration) {
    let Some(to) = to.filter(|_| raft.metrics().borrow_watched().state == ServerState::Leader) else { return };
    if raft.trigger().transfer_leader(to).await.is_ok() {
        let mut metrics = raft.metrics();
        let passed = async {
            while metrics.borrow_and_update().state == ServerState::Leader && metrics.changed().await.is_ok() {}
        };
        // Late is no harm: an election follows our end then.
        let _ = tokio::time::timeout(patience, passed).await;
    }
}

/// Asks the other voters what they have at `revision`; also one that is with the majority.
async fn compare(raft: &Raft, links: &Links, revision: Revision, ours: &[u8]) -> (Verdict, Option<ReplicaId>) {
    let metrics = raft.metrics().borrow_watched().clone();
    let membership = metrics.committed_membership_config.membership();
    let voters: Vec<ReplicaId> = membership.voter_ids().collect();
    let others = voters.iter().filter(|id| **id != metrics.id).filter_map(|id| Some((*id, membership.get_node(id)?)));
    let asked = others.map(|(id, peer)| async move { (id, ask(links, peer, revision).await) });
    let answers = futures_util::future::join_all(asked).await;
    let mut by_digest: BTreeMap<Vec<u8>, Vec<ReplicaId>> = BTreeMap::new();
    for (id, digest) in answers {
        if let Some(digest) = digest {
            by_digest.entry(digest).or_default().push(id);
        }
    }
    verdict(ours, &by_digest, voters.len(), voters.contains(&metrics.id))
}

fn verdict(
    ours: &[u8],
    others: &BTreeMap<Vec<u8>, Vec<ReplicaId>>,
    voters: usize,
    voting: bool,
) -> (Verdict, Option<ReplicaId>) {
    for (digest, replicas) in others {
        if digest != ours && replicas.len() * 2 > voters && !quorate_planted::is(Bug::HistoriesUncompared) {
            return (Verdict::Diverged, replicas.first().copied());
        }
    }
    let with_us = others.get(ours).map_or(0, Vec::len) + usize::from(voting);
    (if with_us * 2 > voters { Verdict::Agreed } else { Verdict::Open }, None)
}

/// Asks all other members for the time of day, which costs them nothing.
pub(crate) async fn reach(raft: &Raft, links: &Links) -> Vec<(ReplicaId, Result<Duration, String>)> {
    let metrics = raft.metrics().borrow_watched().clone();
    let others = metrics.membership_config.membership().nodes().filter(|(id, _)| **id != metrics.id);
    let asked = others.map(|(id, peer)| async move { (*id, knock(links, peer).await.map(|(took, _)| took)) });
    futures_util::future::join_all(asked).await
}

/// Asks all other members what they can do. One that does not speak of it can do nothing of it.
pub(crate) async fn ask_features(metrics: &Metrics, links: &Links) -> BTreeMap<ReplicaId, Result<FeatureSet, String>> {
    let others = metrics.membership_config.membership().nodes().filter(|(id, _)| **id != metrics.id);
    let features = |(_, reply): (Duration, pb::ClockReply)| reply.features.into_iter().collect();
    let asked = others.map(|(id, peer)| async move { (*id, knock(links, peer).await.map(features)) });
    futures_util::future::join_all(asked).await.into_iter().collect()
}

/// True when a member says that this replica is none any more.
async fn is_removed(raft: &Raft, links: &Links) -> bool {
    let metrics = raft.metrics().borrow_watched().clone();
    let others = metrics.membership_config.membership().nodes().filter(|(id, _)| **id != metrics.id);
    let deadline = Duration::from_millis(links.tuning.election_ms_max);
    let asked = others.map(|(_, peer)| async move {
        let mut client = channel::client(&links.network, &peer.raft, deadline);
        let request = pb::ClockRequest { header: Some(links.gate.header(peer.store)) };
        let reply = tokio::time::timeout(deadline, client.clock(request)).await;
        matches!(reply, Ok(Err(status)) if says_removed(&status) && !quorate_planted::is(Bug::RemovedStays))
    });
    futures_util::future::join_all(asked).await.contains(&true)
}

async fn knock(links: &Links, peer: &Peer) -> Result<(Duration, pb::ClockReply), String> {
    let deadline = Duration::from_millis(links.tuning.election_ms_max);
    let mut client = channel::client(&links.network, &peer.raft, deadline);
    let request = pb::ClockRequest { header: Some(links.gate.header(peer.store)) };
    let since = tokio::time::Instant::now();
    match tokio::time::timeout(deadline, client.clock(request)).await {
        Ok(Ok(reply)) => {
            let (took, reply) = (since.elapsed(), reply.into_inner());
            let checked = links.gate.check_answer(reply.header.as_ref()).await;
            checked.map(|()| (took, reply)).map_err(|status| status.message().to_owned())
        }
        Ok(Err(status)) => Err(channel::cause(&status)),
        Err(_) => Err(format!("no answer within {} ms", deadline.as_millis())),
    }
}

async fn ask(links: &Links, peer: &Peer, revision: Revision) -> Option<Vec<u8>> {
    let deadline = Duration::from_millis(links.tuning.election_ms_max);
    let mut client = channel::client(&links.network, &peer.raft, deadline);
    let request = pb::DigestRequest { header: Some(links.gate.header(peer.store)), revision: revision.0 };
    let reply = tokio::time::timeout(deadline, client.digest(request)).await.ok()?.ok()?.into_inner();
    links.gate.check_answer(reply.header.as_ref()).await.ok()?;
    Some(reply.digest.to_vec()).filter(|digest| !digest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(answers: &[(&str, &[ReplicaId])]) -> BTreeMap<Vec<u8>, Vec<ReplicaId>> {
        answers.iter().map(|(digest, ids)| (digest.as_bytes().to_vec(), ids.to_vec())).collect()
    }

    #[test]
    fn the_majority_decides() {
        let judge = |answers: &[(&str, &[ReplicaId])], voters| verdict(b"ours", &others(answers), voters, true).0;
        assert_eq!(judge(&[], 1), Verdict::Agreed);
        assert_eq!(judge(&[("ours", &[2])], 3), Verdict::Agreed);
        assert_eq!(judge(&[("ours", &[2]), ("other", &[3])], 3), Verdict::Agreed);
        assert_eq!(judge(&[("other", &[2, 3])], 3), Verdict::Diverged);
        assert_eq!(judge(&[("other", &[2])], 3), Verdict::Open);
        assert_eq!(judge(&[("one", &[2]), ("two", &[3])], 3), Verdict::Open);
        assert_eq!(judge(&[("other", &[2])], 2), Verdict::Open);
    }

    #[test]
    fn a_successor_is_one_of_the_majority() {
        assert_eq!(verdict(b"ours", &others(&[("other", &[2, 3])]), 3, true).1, Some(2));
    }
}
