//! Who takes part changes: learners, promotion, removal, and a leader that passes leadership on.

use std::time::Duration;

use crate::support::memory_disk::MemoryDisk;
use crate::support::{
    Node, cluster, eventually, has, leader, leads, learner, namespace, propose, start, try_start, try_start_as, tuning,
};
use quorate_raft::{Error, Formation, MemberChange, MemberError, Role, StopReason};

fn disks(count: usize) -> Vec<MemoryDisk> {
    (0..count).map(|_| MemoryDisk::default()).collect()
}

fn id(node: &Node) -> u64 {
    node.replica.identity().replica
}

/// Asks whoever leads, as a client does, until there is a final answer.
async fn change(nodes: &[Node], change: MemberChange) -> Result<(), MemberError> {
    let trying = async {
        loop {
            let at = leader(nodes).await;
            match nodes[at].replica.change_members(change).await {
                Err(MemberError::NotLeader { .. } | MemberError::OutcomeUnknown(_)) => {}
                answer => return answer,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), trying).await.expect("an answer")
}

fn voters(node: &Node) -> Vec<u64> {
    node.replica.members().replicas.iter().filter(|member| member.voter).map(|member| member.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_takes_part_without_a_vote_until_it_is_promoted() {
    let mut nodes = cluster(disks(1)).await;
    let disk = MemoryDisk::default();
    let one = learner(&nodes[0], disk.clone()).await;
    propose(&nodes, namespace("one")).await.unwrap();
    eventually("the learner applies it", || has(&one, "one")).await;
    assert_eq!(voters(&one), [1]);
    // Asking the cluster again, as a start does, gives it no vote either.
    let address = one.address.clone();
    one.replica.stop().await;
    let one = {
        let join = Formation::Join { peers: vec![nodes[0].address.clone()] };
        try_start_as(join, disk, &address, true).await.unwrap()
    };
    propose(&nodes, namespace("two")).await.unwrap();
    eventually("the learner is back", || has(&one, "two")).await;
    assert_eq!(voters(&one), [1]);
    let learner = id(&one);
    nodes.push(one);
    assert_eq!(change(&nodes, MemberChange::Promote(learner)).await, Ok(()));
    eventually("it votes", || nodes.iter().all(|node| voters(node) == [1, learner])).await;
    assert_eq!(change(&nodes, MemberChange::Promote(learner)).await, Ok(()), "again changes nothing");
    assert_eq!(change(&nodes, MemberChange::Promote(9)).await, Err(MemberError::NoSuchReplica(9)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_replica_stops_and_never_comes_back() {
    let disks = disks(3);
    let mut nodes = cluster(disks.clone()).await;
    let at = leader(&nodes).await;
    let gone = id(&nodes[(at + 1) % 3]);
    assert_eq!(change(&nodes, MemberChange::Remove(gone)).await, Ok(()));
    let position = nodes.iter().position(|node| id(node) == gone).unwrap();
    let removed = nodes.remove(position);
    assert_eq!(removed.replica.stopped().await, StopReason::Removed);
    assert_eq!(change(&nodes, MemberChange::Remove(gone)).await, Ok(()), "again changes nothing");
    let address = removed.address.clone();
    removed.replica.stop().await;
    propose(&nodes, namespace("one")).await.unwrap();
    eventually("two are left", || nodes.iter().all(|node| voters(node).len() == 2)).await;

    // Its disk is of no use in this cluster any more, however it is started.
    let peers = vec![nodes[0].address.clone()];
    let again = try_start(Formation::Join { peers: peers.clone() }, disks[position].clone(), &address).await;
    assert!(matches!(again, Err(Error::JoinRefused(why)) if why.contains("was removed")));
    let again = start(Formation::Run, disks[position].clone(), &address).await;
    assert_eq!(again.replica.stopped().await, StopReason::Removed);
    again.replica.stop().await;

    // Whoever joins next gets an id of its own.
    let next = start(Formation::Join { peers }, MemoryDisk::default(), "127.0.0.1:0").await;
    assert_eq!(id(&next), 4);
    nodes.push(next);
    eventually("it votes", || nodes.iter().all(|node| voters(node).len() == 3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_removed_by_its_successor() {
    let mut nodes = cluster(disks(3)).await;
    let at = leader(&nodes).await;
    let gone = id(&nodes[at]);
    assert_eq!(change(&nodes, MemberChange::Remove(gone)).await, Ok(()));
    let removed = nodes.remove(at);
    assert_eq!(removed.replica.stopped().await, StopReason::Removed);
    removed.replica.stop().await;
    propose(&nodes, namespace("one")).await.unwrap();
    eventually("both apply it", || nodes.iter().all(|node| has(node, "one"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_would_cost_the_quorum_is_refused() {
    let mut nodes = cluster(disks(3)).await;
    let at = leader(&nodes).await;
    let dead = nodes.remove((at + 1) % 3);
    let silent = id(&dead);
    dead.replica.stop().await;
    let at = leader(&nodes).await;
    let alive = id(&nodes[1 - at]);
    let long = Duration::from_millis(tuning().election_ms_max + 100);
    eventually("its silence is noticed", || {
        let members = nodes[at].replica.members().replicas;
        members.iter().any(|member| member.id == silent && member.silent.is_none_or(|silent| silent > long))
    })
    .await;
    let refused = change(&nodes, MemberChange::Remove(alive)).await;
    assert!(matches!(&refused, Err(MemberError::Refused(why)) if why.contains("quorum would be lost")), "{refused:?}");
    // The dead one may go, and then one of the two.
    assert_eq!(change(&nodes, MemberChange::Remove(silent)).await, Ok(()));
    assert_eq!(change(&nodes, MemberChange::Remove(alive)).await, Ok(()));
    nodes.retain(|node| id(node) != alive);
    propose(&nodes, namespace("one")).await.unwrap();
    let last = id(&nodes[0]);
    let refused = change(&nodes, MemberChange::Remove(last)).await;
    assert!(matches!(&refused, Err(MemberError::Refused(why)) if why.contains("only voter")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_passes_to_whom_it_should_and_only_once() {
    let nodes = cluster(disks(3)).await;
    propose(&nodes, namespace("one")).await.unwrap();
    eventually("all apply it", || nodes.iter().all(|node| has(node, "one"))).await;
    let at = leader(&nodes).await;
    let term = nodes[at].replica.members().term;
    let to = (at + 2) % 3;
    assert_eq!(nodes[at].replica.transfer(Some(id(&nodes[to])), Some(term)).await, Ok(id(&nodes[to])));
    eventually("it leads", || leads(&nodes[to])).await;
    assert_eq!(nodes[to].replica.transfer(None, Some(term)).await, Ok(id(&nodes[to])), "asked again for the old term");
    assert!(leads(&nodes[to]));
    // The new leader may lead by the word of the third alone.
    let follows = || matches!(&*nodes[at].replica.role().borrow(), Role::Follower { leader: Some(_) });
    eventually("the old leader knows of the new one", follows).await;
    assert!(matches!(nodes[at].replica.transfer(None, None).await, Err(MemberError::NotLeader { leader: Some(_) })));
    assert_eq!(nodes[to].replica.transfer(Some(9), None).await, Err(MemberError::NoSuchReplica(9)));
    propose(&nodes, namespace("two")).await.unwrap();
}
