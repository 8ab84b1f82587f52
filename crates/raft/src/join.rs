//! Becoming a member: what a joiner asks, and what the leader does about it.
//!
//! Everything here may be repeated. A store that asks twice gets the same id; a learner asks until
//! it is a voter; a leader finishes a change of membership that its predecessor began.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{ChangeMembers, ReadPolicy, ServerState};
use quorate_planted::Bug;
use quorate_proto::raft::v1 as pb;
use quorate_proto::raft::v1::join_reply::Outcome;
use quorate_seams::{Network, Shutdown};
use quorate_state::Uuid;
use tonic::Status;

use crate::features::Features;
use crate::members::is_settled;
use crate::runtime::jittered;
use crate::state_machine::Published;
use crate::store::STORE_FORMAT;
use crate::type_config::{Membership, Metrics, Peer, Raft, ReplicaId};
use crate::{Error, Identity, Tuning, channel, health, wire};

/// For one peer to answer. Longer than [`CHANGE_DEADLINE`], which is part of it.
const ASK_DEADLINE: Duration = Duration::from_secs(8);
/// For connecting to one peer.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Between two rounds of asking all peers; the first half of it at least.
const ASK_PAUSE: Duration = Duration::from_millis(500);
/// From one hint to the next.
const REDIRECTS_MAX: usize = 4;
/// For a change of membership to be committed.
const CHANGE_DEADLINE: Duration = Duration::from_secs(5);
/// A learner may vote, and a voter lead, when it is this close to the end of the log.
const CAUGHT_UP_LAG_MAX: u64 = 200;

/// Why a cluster did not take a joiner.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It never will; the sentence says why.
    Final(String),
    /// Nobody could, just now.
    ForNow(String),
}

/// Who wants to become a member, and as what.
#[derive(Clone, Debug)]
pub(crate) struct Applicant {
    pub(crate) peer: Peer,
    /// It does not ask for a vote.
    pub(crate) learner: bool,
    pub(crate) tuning: Tuning,
}

/// The question. `known` is what the joiner already is, if it was taken before.
pub(crate) fn request(known: Option<Identity>, store: Uuid, applicant: &Applicant) -> pb::JoinRequest {
    let peer = Peer { store, ..applicant.peer.clone() };
    pb::JoinRequest {
        cluster: known.map(|identity| wire::uuid_to(identity.cluster)).unwrap_or_default(),
        peer: Some(wire::peer_to(known.map_or(0, |identity| identity.replica), &peer)),
        format: STORE_FORMAT,
        learner: applicant.learner,
        heartbeat_ms: applicant.tuning.heartbeat_ms,
        election_ms_min: applicant.tuning.election_ms_min,
        features: applicant.tuning.features.numbers().collect(),
    }
}

/// Asks the peers in turn, following hints, once.
pub(crate) async fn ask(
    network: &Arc<dyn Network>,
    peers: &[String],
    request: &pb::JoinRequest,
) -> Result<pb::JoinAccepted, Refusal> {
    let mut last = "nobody was asked".to_owned();
    for peer in peers {
        let mut address = peer.clone();
        for _ in 0..REDIRECTS_MAX {
            let mut client = channel::client(network, &address, CONNECT_DEADLINE);
            let asked = tokio::time::timeout(ASK_DEADLINE, client.join(request.clone())).await;
            let asked = asked.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
            match asked.map(|reply| reply.into_inner().outcome) {
                Ok(Some(Outcome::Accepted(accepted))) => return Ok(accepted),
                Ok(Some(Outcome::Refused(why))) => return Err(Refusal::Final(why)),
                Ok(Some(Outcome::Redirect(to))) => {
                    last = format!("{address} says to ask {}", to.raft_address);
                    address = to.raft_address;
                    continue;
                }
                Ok(Some(Outcome::Retry(why))) => last = format!("{address}: {why}"),
                Ok(None) => last = format!("{address} gave an answer that this version does not know"),
                Err(status) => last = format!("{address}: {}", status.message()),
            }
            break;
        }
    }
    Err(Refusal::ForNow(last))
}

/// Asks until a cluster takes us, refuses for good, or we are told to stop.
pub(crate) async fn ask_until_accepted(
    network: &Arc<dyn Network>,
    peers: &[String],
    request: &pb::JoinRequest,
    shutdown: &Shutdown,
) -> Result<pb::JoinAccepted, Error> {
    let asking = async {
        loop {
            match ask(network, peers, request).await {
                Ok(accepted) => return Ok(accepted),
                Err(Refusal::Final(why)) => return Err(Error::JoinRefused(why)),
                Err(Refusal::ForNow(why)) => tracing::warn!(why, "not taken into the cluster yet; asking again"),
            }
            tokio::time::sleep(jittered(ASK_PAUSE)).await;
        }
    };
    tokio::select! {
        biased;
        () = shutdown.requested() => Err(Error::Stopped),
        outcome = asking => outcome,
    }
}

/// Asks to become a voter until this replica is one, unless it wants to be none.
pub(crate) async fn ask_until_voter(
    raft: Raft,
    network: Arc<dyn Network>,
    identity: Identity,
    applicant: Applicant,
    peers: Vec<String>,
) {
    if applicant.learner {
        return;
    }
    let request = request(Some(identity), identity.store, &applicant);
    loop {
        let metrics = raft.metrics().borrow_watched().clone();
        let committed = metrics.committed_membership_config.membership();
        if committed.voter_ids().any(|id| id == identity.replica) {
            return;
        }
        let known = committed.nodes().filter(|(id, _)| **id != identity.replica).map(|(_, peer)| peer.raft.clone());
        let candidates: Vec<String> = known.chain(peers.iter().cloned()).collect();
        match ask(&network, &candidates, &request).await {
            Ok(_) if quorate_planted::is(Bug::VoteAskedOnce) => return,
            Ok(_) => {}
            Err(Refusal::ForNow(why)) => tracing::info!(why, "still a learner"),
            Err(Refusal::Final(why)) => {
                tracing::error!(why, "the cluster does not want this replica as a voter");
                return;
            }
        }
        tokio::time::sleep(jittered(ASK_PAUSE)).await;
    }
}

/// The leader's side.
pub(crate) struct Registrar {
    identity: Identity,
    published: Arc<Published>,
    pub(crate) features: Arc<Features>,
    tuning: Tuning,
    /// openraft changes the membership one step at a time.
    pub(crate) one: tokio::sync::Mutex<()>,
}

impl Registrar {
    pub(crate) fn new(identity: Identity, published: Arc<Published>, features: Arc<Features>, tuning: Tuning) -> Self {
        Self { identity, published, features, tuning, one: tokio::sync::Mutex::default() }
    }

    pub(crate) fn published(&self) -> &Published {
        &self.published
    }

    /// Makes a joiner a learner, or a learner that has caught up a voter.
    pub(crate) async fn admit(&self, raft: &Raft, request: pb::JoinRequest) -> Result<Outcome, Status> {
        let (claimed, peer) = wire::peer_from(request.peer.ok_or(wire::WireError::Missing("peer"))?)?;
        let ours = self.identity.cluster;
        if !request.cluster.is_empty() {
            let theirs = wire::uuid_from("cluster", &request.cluster)?;
            if theirs != ours {
                return Ok(Outcome::Refused(format!(
                    "its data directory belongs to cluster {theirs}, this is cluster {ours}: use an empty one"
                )));
            }
        }
        if request.format < STORE_FORMAT {
            return Ok(Outcome::Refused(format!(
                "it reads stores up to format {}, this cluster writes {STORE_FORMAT}: use a newer version of quorate",
                request.format
            )));
        }
        let _one = self.one.lock().await;
        let metrics = self.metrics(raft).await;
        let membership = metrics.membership_config.membership();
        if metrics.state != ServerState::Leader {
            let leader = metrics.current_leader.and_then(|leader| membership.get_node(&leader));
            return Ok(match leader {
                Some(leader) if metrics.current_leader != Some(metrics.id) => {
                    Outcome::Redirect(pb::JoinRedirect { raft_address: leader.raft.clone() })
                }
                Some(_) | None => Outcome::Retry("no leader is known".into()),
            });
        }
        // What earlier leaders left in the log may have enabled a feature.
        if metrics.last_applied.is_none_or(|applied| applied.leader_id.term != metrics.current_term) {
            return Ok(Outcome::Retry("the leader has just begun to lead".into()));
        }
        if let Some(feature) = self.features.lacking(&request.features.iter().copied().collect(), metrics.current_term)
        {
            return Ok(Outcome::Refused(format!(
                "it lacks feature {feature}, which this cluster relies on: use a newer version of quorate"
            )));
        }
        // An uncommitted membership may yet be undone by the next leader, who gives the same id to
        // somebody else; and nothing is begun before what was begun is finished.
        if !is_settled(&metrics) {
            return Ok(Outcome::Retry("a change of membership is not finished yet".into()));
        }
        if let Some((id, _)) = membership.nodes().find(|(_, known)| known.store == peer.store) {
            return Ok(if request.learner { self.accepted(*id, false) } else { self.grow(raft, &metrics, *id).await });
        }
        if claimed != 0 && !self.published.was_removed(claimed) {
            return Ok(Outcome::Retry(format!("replica {claimed} is not known here yet")));
        }
        if claimed != 0 {
            return Ok(Outcome::Refused(format!(
                "replica {claimed} was removed from the cluster: use an empty data directory to join anew"
            )));
        }
        if let Some((id, _)) = membership.nodes().find(|(_, known)| known.raft == peer.raft) {
            // Whoever was followed by another without its knowing, for its disk hangs, still has members that left since.
            if !still_leads(raft).await {
                return Ok(Outcome::Retry("no quorum has said in time who leads".into()));
            }
            return Ok(Outcome::Refused(format!(
                "replica {id} is at {} already, with another store: remove it first, or use another address",
                peer.raft
            )));
        }
        if let Err(why) = health::go_together(&self.tuning, request.heartbeat_ms, request.election_ms_min) {
            return Ok(Outcome::Refused(why));
        }
        let highest = membership.nodes().map(|(id, _)| *id).max().unwrap_or_default();
        let ever = if quorate_planted::is(Bug::RemovedIdReused) { 0 } else { self.published.replica_max() };
        let id = highest.max(ever) + 1;
        tracing::info!(replica = id, address = peer.raft, region = %peer.region, "a new replica joins");
        Ok(match change(raft.add_learner(id, peer, false)).await {
            Ok(()) => self.accepted(id, false),
            Err(why) => Outcome::Retry(why),
        })
    }

    /// What openraft says, once it says nothing older than what is applied here: a member that was just
    /// taken in asks for more at once, and must not be taken for a stranger.
    pub(crate) async fn metrics(&self, raft: &Raft) -> Metrics {
        let as_of = self.published.members_as_of();
        let mut metrics = raft.metrics();
        let fresh = async {
            while *metrics.borrow_and_update().committed_membership_config.log_id() < as_of
                && metrics.changed().await.is_ok()
            {}
        };
        // Late only when openraft is about to end, which every use of it then says.
        let _ = tokio::time::timeout(CHANGE_DEADLINE, fresh).await;
        raft.metrics().borrow_watched().clone()
    }

    /// Makes a voter of a learner that asks to be one, as soon as it has caught up.
    async fn grow(&self, raft: &Raft, metrics: &Metrics, id: ReplicaId) -> Outcome {
        if metrics.membership_config.membership().voter_ids().any(|voter| voter == id) {
            return self.accepted(id, true);
        }
        if !has_caught_up(metrics, id) {
            return self.accepted(id, false);
        }
        tracing::info!(replica = id, "a learner has caught up and becomes a voter");
        match change(raft.change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true)).await {
            Ok(()) => self.accepted(id, true),
            Err(why) => Outcome::Retry(why),
        }
    }

    fn accepted(&self, replica: ReplicaId, voter: bool) -> Outcome {
        let cluster = wire::uuid_to(self.identity.cluster);
        Outcome::Accepted(pb::JoinAccepted { cluster, group: quorate_proto::format::GROUP, replica, voter })
    }
}

/// A replica's log ends close to ours.
pub(crate) fn has_caught_up(metrics: &Metrics, id: ReplicaId) -> bool {
    let matched = metrics.replication.as_ref().and_then(|replication| replication.get(&id).copied().flatten());
    if quorate_planted::is(Bug::PromotedUnready) {
        return true;
    }
    matched.is_some_and(|matched| matched.index + CAUGHT_UP_LAG_MAX >= metrics.last_log_index.unwrap_or(0))
}

/// Finishes a change of voters that stopped half way, because its leader did: on the leader, call
/// it now and then.
pub(crate) async fn settle(raft: &Raft) {
    let metrics = raft.metrics().borrow_watched().clone();
    let effective = &metrics.membership_config;
    let under_way = effective != &metrics.committed_membership_config;
    let configs = Membership::get_joint_config(effective.membership());
    let Some(voters) = configs.last().filter(|_| configs.len() > 1) else { return };
    if metrics.state == ServerState::Leader && !under_way {
        let change_to = ChangeMembers::ReplaceAllVoters(voters.clone());
        match change(raft.change_membership(change_to, true)).await {
            Ok(()) => tracing::info!("finished a change of membership that was left half way"),
            Err(why) => tracing::warn!(why, "a change of membership is still half way"),
        }
    }
}

/// True when a quorum says that this replica leads, so that there is nothing newer than what it knew before it asked.
async fn still_leads(raft: &Raft) -> bool {
    let round = raft.get_read_linearizer(ReadPolicy::ReadIndex);
    matches!(tokio::time::timeout(CHANGE_DEADLINE, round).await, Ok(Ok(_)))
}

/// Waits for a change of membership, but not for ever.
pub(crate) async fn change<T, E: std::error::Error>(
    changing: impl Future<Output = Result<T, E>>,
) -> Result<(), String> {
    match tokio::time::timeout(CHANGE_DEADLINE, changing).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the change is not committed yet".into()),
    }
}
