//! A leader whose process has ended is found out at once, and need not be waited for.
//!
//! When a process ends its connections break and its machine refuses new ones; a process that hangs, a machine
//! that is gone and a network that is cut do neither. So a follower knocks at the leader's door when a connection from
//! another replica ends, whosever it was. Is it refused, and a majority of the voters with it, then the leader is gone, and the first
//! of them in the order of ids whose log goes far enough stands for election as if leadership had been handed to it: its
//! voters do not wait for the lease of somebody who is no more. One word would not do: a firewall between two replicas that
//! refuses must not take leadership away (ADR 0034).
//!
//! **Invariant:** a vote of this kind is begun only after a majority was refused of whom nobody has a longer log, because
//! unlike a pre-vote it cannot be asked for in vain without harm: it would raise the term, and two who stood so by turns, in
//! step, would keep each other from winning.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;
use quorate_planted::Bug;
use quorate_proto::raft::v1 as pb;
use quorate_seams::Network;
use tokio::time::Instant;

use crate::channel;
use crate::measures::Measures;
use crate::network::Links;
use crate::succession::Heard;
use crate::type_config::{LogId, Metrics, Peer, Raft, ReplicaId, Vote};
use crate::wire;

/// How often a follower knocks: what is left of a process may take a moment to go.
const KNOCKS: u32 = 3;
/// Between two of them.
const KNOCK_EVERY: Duration = Duration::from_millis(10);

/// What a voter that follows somebody knows of it.
struct Standing {
    term: u64,
    leader: (ReplicaId, Peer),
    me: ReplicaId,
    /// How many voters come before this one, and how many there are but for the leader.
    place: u32,
    heirs: u32,
    others: Vec<(ReplicaId, Peer)>,
    configs: Vec<BTreeSet<ReplicaId>>,
}

impl Standing {
    fn of(metrics: &Metrics) -> Option<Self> {
        let leader = metrics.current_leader.filter(|leader| *leader != metrics.id)?;
        if metrics.state != ServerState::Follower {
            return None;
        }
        let membership = metrics.membership_config.membership();
        let heirs: Vec<ReplicaId> = membership.voter_ids().filter(|id| *id != leader).collect();
        let place = heirs.iter().position(|id| *id == metrics.id)?;
        let peer = |id: &ReplicaId| Some((*id, membership.get_node(id)?.clone()));
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Some(Self {
            term: metrics.current_term,
            leader: peer(&leader)?,
            me: metrics.id,
            place: count(place),
            heirs: count(heirs.len()),
            others: heirs.iter().filter(|id| **id != metrics.id).filter_map(peer).collect(),
            configs: membership.get_joint_config().clone(),
        })
    }

    /// This replica's vote, while nobody else than that leader leads.
    fn vote(&self, raft: &Raft) -> Option<Vote> {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        nobody_else_leads(&metrics, self.leader.0, self.term).then_some(metrics.vote)
    }
}

/// Also while somebody stands for election.
fn nobody_else_leads(metrics: &Metrics, leader: ReplicaId, term: u64) -> bool {
    metrics.current_term >= term && metrics.current_leader.is_none_or(|known| known == leader)
}

/// True when so many of each set of voters have been refused, and have no longer log than `mine`, that they would elect
/// whoever has that one. `refused` tells how far the log of each goes.
fn would_elect(
    configs: &[BTreeSet<ReplicaId>],
    refused: &BTreeMap<ReplicaId, Option<LogId>>,
    mine: Option<LogId>,
) -> bool {
    let votes = |id: &&ReplicaId| refused.get(id).is_some_and(|last| *last <= mine);
    !configs.is_empty() && configs.iter().all(|voters| voters.iter().filter(votes).count() * 2 > voters.len())
}

/// How far this replica's log goes. None when consensus has ended.
async fn last_log_id(raft: &Raft) -> Option<Option<LogId>> {
    raft.with_raft_state(|state| state.log_ids.last().copied()).await.ok()
}

/// True when nobody listens where `peer` should. What cannot be told within `patience` is no.
async fn is_refused(network: &Arc<dyn Network>, peer: &Peer, patience: Duration) -> bool {
    if quorate_planted::is(Bug::GoneUnasked) {
        return true;
    }
    for knock in 0..KNOCKS {
        if knock > 0 {
            tokio::time::sleep(KNOCK_EVERY).await;
        }
        match tokio::time::timeout(patience, network.connect(&peer.raft)).await {
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => return true,
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return false,
        }
    }
    false
}

/// Knocks until the leader's machine refuses, which what is left of a process may put off, or until it is heard
/// again or its lease is over.
async fn goes(standing: &Standing, heard: &Heard, links: &Links) -> bool {
    let parted = Instant::now();
    let lease = Duration::from_millis(links.tuning.election_ms_max);
    let mut pause = KNOCK_EVERY;
    // What came just before may be read just after; a leader that lives goes on being heard.
    while heard.last() < parted + patience(links) && parted.elapsed() < lease {
        if is_refused(&links.network, &standing.leader.1, patience(links)).await {
            return true;
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(patience(links));
    }
    false
}

/// The answer to another replica that asks whether `leader`, who led in `term`, is gone: if so, how far the log of this one
/// goes.
pub(crate) async fn is_gone(raft: &Raft, links: &Links, leader: ReplicaId, term: u64) -> Option<Option<LogId>> {
    let peer = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let peer = metrics.membership_config.membership().get_node(&leader).cloned();
        peer.filter(|_| nobody_else_leads(&metrics, leader, term))
    }?;
    if !is_refused(&links.network, &peer, patience(links)).await {
        return None;
    }
    last_log_id(raft).await
}

/// For one knock, and half of what another replica is given to answer.
fn patience(links: &Links) -> Duration {
    Duration::from_millis(links.tuning.heartbeat_ms)
}

/// Looks whenever a connection from another replica ends, for as long as it is polled.
pub(crate) async fn watch(raft: Raft, heard: Arc<Heard>, links: Links, measures: Arc<Measures>) {
    loop {
        heard.parting().await;
        let standing = Standing::of(&raft.metrics().borrow_watched());
        let Some(standing) = standing else { continue };
        if !goes(&standing, &heard, &links).await {
            continue;
        }
        if run_for_it(&raft, &standing, &links, &measures).await.is_none() {
            return;
        }
    }
}

/// Stands for election in turn until somebody leads, for whoever is first may fail; or until the lease is over, when nobody
/// needs this any more. None when consensus has ended.
async fn run_for_it(raft: &Raft, standing: &Standing, links: &Links, measures: &Measures) -> Option<()> {
    let turn = 2 * patience(links);
    tokio::time::sleep(turn * standing.place).await;
    let lease = Duration::from_millis(links.tuning.election_ms_max);
    let begun = Instant::now();
    while begun.elapsed() < lease {
        let is_over = standing.vote(raft).is_none();
        if is_over || !is_refused(&links.network, &standing.leader.1, patience(links)).await {
            return Some(());
        }
        let asked = standing.others.iter().map(|(id, peer)| async {
            let last = ask(links, peer, standing.leader.0, standing.term).await?;
            Some((*id, last))
        });
        let mut refused: BTreeMap<_, _> = futures_util::future::join_all(asked).await.into_iter().flatten().collect();
        let mine = last_log_id(raft).await?;
        refused.insert(standing.me, mine);
        // Read again: answering may have taken a while.
        if let Some(vote) = standing.vote(raft).filter(|_| would_elect(&standing.configs, &refused, mine)) {
            measures.found_leader_gone();
            tracing::info!(leader = standing.leader.0, term = standing.term, "the leader's process has ended");
            // A refusal is told by openraft's own log; an error means that consensus has ended.
            let _ = raft.handle_transfer_leader(TransferLeaderRequest::new(vote, standing.me, None)).await.ok()?;
        }
        tokio::time::sleep(turn * standing.heirs).await;
    }
    Some(())
}

/// How far the log of another voter goes. None unless it is refused as well.
async fn ask(links: &Links, peer: &Peer, leader: ReplicaId, term: u64) -> Option<Option<LogId>> {
    let deadline = 2 * patience(links) + KNOCK_EVERY * KNOCKS;
    let mut client = channel::client(&links.network, &peer.raft, deadline);
    let request = pb::GoneRequest { header: Some(links.gate.header(peer.store)), leader, term };
    let reply = tokio::time::timeout(deadline, client.gone(request)).await.ok()?.ok()?.into_inner();
    links.gate.check(reply.header.as_ref()).await.ok()?;
    reply.gone.then(|| reply.last_log_id.as_ref().map(wire::log_id_from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::type_config::log_id;

    fn ids(ids: &[ReplicaId]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().collect()
    }

    /// True when these, whose logs are all as long, elect one of them.
    fn elect(configs: &[BTreeSet<ReplicaId>], refused: &[ReplicaId]) -> bool {
        let last = Some(log_id(3, 7));
        would_elect(configs, &refused.iter().map(|id| (*id, last)).collect(), last)
    }

    #[test]
    fn one_word_is_not_enough_and_both_halves_of_a_change_must_agree() {
        let three = vec![ids(&[1, 2, 3])];
        assert!(!elect(&three, &[2]));
        assert!(elect(&three, &[2, 3]));
        assert!(!elect(&[ids(&[1, 2])], &[2]), "of two, the one that is left");
        let joint = vec![ids(&[1, 2, 3]), ids(&[1, 2, 3, 4, 5])];
        assert!(!elect(&joint, &[2, 3]));
        assert!(elect(&joint, &[2, 3, 4]));
        assert!(!elect(&[], &[1]));
    }

    #[test]
    fn of_two_whose_logs_differ_only_the_one_with_more_stands() {
        let three = [ids(&[1, 2, 3])];
        for (less, more) in [(log_id(3, 6), log_id(3, 7)), (log_id(2, 9), log_id(3, 7))] {
            let refused = BTreeMap::from([(2, Some(less)), (3, Some(more))]);
            assert!(!would_elect(&three, &refused, Some(less)));
            assert!(would_elect(&three, &refused, Some(more)));
        }
        let (less, more) = (Some(log_id(3, 6)), Some(log_id(3, 7)));
        let refused = BTreeMap::from([(2, less), (3, more), (4, less)]);
        let five = [ids(&[1, 2, 3, 4, 5])];
        assert!(!would_elect(&five, &refused, less), "the third vote would be that of the one with more");
        let refused = BTreeMap::from([(2, less), (3, more), (4, less), (5, less)]);
        assert!(would_elect(&five, &refused, less), "without that one");
        let older = BTreeMap::from([(2, None), (3, less)]);
        assert!(would_elect(&three, &older, less), "an older version does not say how far its log goes");
    }
}
