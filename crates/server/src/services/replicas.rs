//! The replicas of the control plane: who takes part, who leads, and whether they can decide anything.

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::{FeatureStatus, Member, MemberChange, MemberError, Members, Role};
use tonic::Request;

use crate::auth::{Action, authorize, principal};
use crate::core::Core;

pub(super) async fn list(
    core: &Core,
    request: Request<v1::ListReplicasRequest>,
) -> Result<v1::ListReplicasResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let view = core.read().await?;
    let members = core.replica.members();
    let replicas = members.replicas.iter().map(|member| {
        let leader = members.leader == Some(member.id);
        v1::ReplicaSummary {
            id: member.id,
            region: member.region.to_string(),
            raft_address: member.addresses.raft.clone(),
            api_address: member.addresses.api.clone(),
            agent_address: member.addresses.agent.clone(),
            store_uuid: member.store.to_string(),
            leader,
            voter: member.voter,
            matched_index: member.matched,
            silent_ms: member.silent.filter(|_| !leader).map(millis),
        }
    });
    Ok(v1::ListReplicasResponse {
        replicas: replicas.collect(),
        term: members.term,
        revision: view.revision().0,
        cluster_id: view.meta().cluster.to_string(),
        features: core.replica.features().into_iter().map(feature).collect(),
    })
}

fn feature(status: FeatureStatus) -> v1::FeatureSummary {
    let FeatureStatus { feature, since, waits_for } = status;
    v1::FeatureSummary { name: feature.to_string(), since_revision: since.map(|since| since.0), waits_for }
}

pub(super) async fn promote(
    core: &Core,
    request: Request<v1::PromoteReplicaRequest>,
) -> Result<v1::PromoteReplicaResponse, ApiError> {
    authorize(&principal(&request)?, Action::ChangeReplicas)?;
    let id = request.into_inner().id;
    core.replica.change_members(MemberChange::Promote(id)).await.map_err(|error| refusal(id, error))?;
    Ok(v1::PromoteReplicaResponse {})
}

pub(super) async fn remove(
    core: &Core,
    request: Request<v1::RemoveReplicaRequest>,
) -> Result<v1::RemoveReplicaResponse, ApiError> {
    authorize(&principal(&request)?, Action::ChangeReplicas)?;
    let id = request.into_inner().id;
    core.replica.change_members(MemberChange::Remove(id)).await.map_err(|error| refusal(id, error))?;
    Ok(v1::RemoveReplicaResponse {})
}

pub(super) async fn transfer(
    core: &Core,
    request: Request<v1::TransferLeadershipRequest>,
) -> Result<v1::TransferLeadershipResponse, ApiError> {
    authorize(&principal(&request)?, Action::ChangeReplicas)?;
    let v1::TransferLeadershipRequest { to, term } = request.into_inner();
    let set = |number: u64| Some(number).filter(|number| *number != 0);
    let leader = core.replica.transfer(set(to), set(term)).await.map_err(|error| refusal(to, error))?;
    Ok(v1::TransferLeadershipResponse { leader })
}

fn refusal(id: u64, error: MemberError) -> ApiError {
    match error {
        MemberError::NotLeader { leader } => ApiError::NotLeader { leader: leader.map(|hint| hint.api) },
        MemberError::NoSuchReplica(id) => ApiError::NotFound { kind: "replica".into(), name: id.to_string() },
        MemberError::Refused(why) => {
            ApiError::Precondition { what: "MEMBERSHIP".into(), subject: format!("replica {id}"), why }
        }
        MemberError::OutcomeUnknown(why) => ApiError::OutcomeUnknown(why),
    }
}

pub(super) async fn status(
    core: &Core,
    request: Request<v1::GetReplicaStatusRequest>,
) -> Result<v1::GetReplicaStatusResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let reached = core.replica.reach().await;
    let identity = core.replica.identity();
    let members = core.replica.members();
    let role = core.replica.role().borrow().clone();
    let log = core.replica.log_status();
    let room = core.room.look();
    let own = members.replicas.iter().find(|member| member.id == identity.replica);
    let others = members.replicas.iter().filter(|member| member.id != identity.replica);
    let peers: Vec<Peer<'_>> = others
        .map(|member| {
            let known = reached.iter().find(|(id, _)| *id == member.id).map(|(_, outcome)| outcome.clone());
            Peer { member, outcome: known.unwrap_or_else(|| Err("it came a moment ago".into())) }
        })
        .collect();
    let (quorum, summary) = summary(identity.replica, own, &role, &members, &peers);
    Ok(v1::GetReplicaStatusResponse {
        cluster_id: identity.cluster.to_string(),
        replica: identity.replica,
        store_uuid: identity.store.to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
        role: match role {
            Role::Leader { .. } => v1::ReplicaRole::Leader,
            Role::Follower { .. } if own.is_some_and(|own| own.voter) => v1::ReplicaRole::Follower,
            Role::Follower { .. } => v1::ReplicaRole::Learner,
        }
        .into(),
        term: members.term,
        leader: members.leader,
        quorum,
        summary,
        last_index: log.last,
        committed_index: log.committed,
        applied_index: log.applied,
        snapshot_index: log.snapshot,
        revision: core.replica.view().revision().0,
        disk_free_bytes: room.free_bytes,
        disk_reserve_bytes: room.reserve_bytes,
        disk_is_low: room.is_low,
        warnings: core.replica.warnings(),
        peers: peers
            .into_iter()
            .map(|Peer { member, outcome }| v1::PeerStatus {
                id: member.id,
                voter: member.voter,
                raft_address: member.addresses.raft.clone(),
                api_address: member.addresses.api.clone(),
                round_trip_us: outcome.as_ref().ok().map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
                unreachable: outcome.err().unwrap_or_default(),
            })
            .collect(),
    })
}

/// Another replica, and what came of asking it for a sign of life.
struct Peer<'a> {
    member: &'a Member,
    outcome: Result<std::time::Duration, String>,
}

/// Whether something can be decided, and how it stands, in words for whoever is woken by it.
fn summary(me: u64, own: Option<&Member>, role: &Role, members: &Members, peers: &[Peer<'_>]) -> (bool, String) {
    let Some(own) = own else {
        return (false, format!("replica {me} is in no membership that it knows of: it waits to be taken in"));
    };
    let voters = members.replicas.iter().filter(|member| member.voter).count();
    let needed = voters / 2 + 1;
    let (there, gone): (Vec<&Peer<'_>>, Vec<&Peer<'_>>) =
        peers.iter().filter(|peer| peer.member.voter).partition(|peer| peer.outcome.is_ok());
    let reached = there.len() + usize::from(own.voter);
    let mut missing: String = gone
        .iter()
        .map(|peer| {
            let why = peer.outcome.as_ref().err().map_or("", String::as_str);
            format!("; replica {} at {} does not answer: {why}", peer.member.id, peer.member.addresses.raft)
        })
        .collect();
    if reached < needed {
        missing.push_str(
            ". Start them or mend the network between them; if their disks are lost for good, \
             see docs/operations",
        );
    }
    let of = format!("it reaches {reached} of {voters} voters");
    match role {
        Role::Leader { .. } if reached >= needed => (true, format!("replica {me} leads; {of}{missing}")),
        Role::Leader { .. } => {
            (false, format!("replica {me} leads no quorum, nothing is decided: {of}, and {needed} are needed{missing}"))
        }
        Role::Follower { leader: Some(leader) } => {
            let answers = peers.iter().any(|peer| peer.member.id == leader.id && peer.outcome.is_ok());
            if answers {
                (true, format!("replica {me} follows replica {}; {of}{missing}", leader.id))
            } else if reached >= needed {
                (false, format!("the leader, replica {}, is silent; an election follows; {of}{missing}", leader.id))
            } else {
                (false, format!("no quorum, nothing is decided: {of}, and {needed} are needed{missing}"))
            }
        }
        Role::Follower { leader: None } if reached >= needed => {
            (false, format!("nobody leads yet, an election is under way; {of}{missing}"))
        }
        Role::Follower { leader: None } => {
            (false, format!("no quorum, nothing is decided: {of}, and {needed} are needed{missing}"))
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_raft::{Addresses, Hint};
    use quorate_state::{RegionName, Uuid};

    use super::*;

    fn member(id: u64) -> Member {
        let addresses = Addresses { raft: format!("r{id}:1"), ..Addresses::default() };
        let region = RegionName::new("eu").unwrap();
        Member { id, store: Uuid(id.into()), region, addresses, voter: true, matched: None, silent: None }
    }

    fn told(role: &Role, down: &[u64]) -> (bool, String) {
        let members = Members { term: 3, leader: None, replicas: (1..=3).map(member).collect() };
        let peers = members.replicas[1..].iter().map(|member| Peer {
            member,
            outcome: if down.contains(&member.id) { Err("refused".into()) } else { Ok(Duration::from_millis(1)) },
        });
        let peers: Vec<Peer<'_>> = peers.collect();
        summary(1, members.replicas.first(), role, &members, &peers)
    }

    #[test]
    fn it_says_why_there_is_no_quorum() {
        let alone = Role::Follower { leader: None };
        let (quorum, why) = told(&alone, &[2, 3]);
        assert!(!quorum);
        assert!(why.starts_with("no quorum, nothing is decided: it reaches 1 of 3 voters, and 2 are needed"), "{why}");
        assert!(why.contains("replica 3 at r3:1 does not answer: refused"), "{why}");
        let (quorum, why) = told(&alone, &[2]);
        assert!(!quorum && why.contains("an election is under way"), "{why}");
    }

    #[test]
    fn it_says_who_leads() {
        let follows = Role::Follower { leader: Some(Hint { id: 2, api: String::new(), agent: String::new() }) };
        assert_eq!(told(&follows, &[]), (true, "replica 1 follows replica 2; it reaches 3 of 3 voters".into()));
        let (quorum, why) = told(&follows, &[2]);
        assert!(!quorum && why.contains("replica 2, is silent"), "{why}");
        assert!(told(&follows, &[3]).0, "a follower more or less");
    }
}
