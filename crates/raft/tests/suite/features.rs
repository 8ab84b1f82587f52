//! Features among replicas of different versions: enabled when all have them, and refused to who has not.

use std::sync::Arc;

use quorate_raft::{Error, Formation, ProposeError, StopReason, Tuning};
use quorate_seams::TcpNetwork;
use quorate_state::{Command, Feature, FeatureSet, Rejection, Reply};

use crate::support::memory_disk::MemoryDisk;
use crate::support::{Node, cluster, eventually, has, item, namespace, propose, try_start_with, tuning};

const CORDON: Feature = Feature::NodeCordon;

fn newer() -> Tuning {
    tuning()
}

/// A version from before there were features, but for the words that it has for them.
fn older() -> Tuning {
    Tuning { features: FeatureSet::none(), ..tuning() }
}

/// A replica that does not ask for a vote, so that the only voter goes on without it.
async fn learner(version: Tuning, formation: Formation, disk: &MemoryDisk, listen: &str) -> Result<Node, Error> {
    try_start_with(version, Arc::new(TcpNetwork), formation, disk.clone(), listen, true).await
}

fn join(node: &Node) -> Formation {
    Formation::Join { peers: vec![node.address.clone()] }
}

fn enabled(node: &Node) -> bool {
    node.replica.view().has_feature(CORDON)
}

async fn propose_to(node: &Node, commands: Vec<Command>) -> Vec<Result<Reply, Rejection>> {
    node.replica.propose_all(commands.into_iter().map(item).collect()).await.unwrap()
}

/// Something that waits for the feature; enabled, it is refused only for want of such a node.
fn gated() -> Command {
    Command::CordonNode { node: "nowhere".parse().unwrap(), cordoned: true }
}

#[tokio::test]
async fn a_feature_is_enabled_when_every_member_has_it_and_not_before() {
    let nodes = cluster([MemoryDisk::default()]).await;
    let disk = MemoryDisk::default();
    let old = learner(older(), join(&nodes[0]), &disk, "127.0.0.1:0").await.unwrap();
    let leader = &nodes[0].replica;

    assert_eq!(leader.features_to_enable().await, []);
    let waits_for = "replica 2 lacks it: replace its binary by a newer one".to_owned();
    assert_eq!(leader.features()[0].waits_for, waits_for);
    let warnings = Feature::ALL.map(|feature| format!("feature {feature} is not enabled: {waits_for}"));
    assert_eq!(leader.warnings(), warnings);
    let refused = leader.propose(item(gated())).await;
    assert_eq!(refused, Err(ProposeError::FeatureNotEnabled { feature: CORDON, waits_for }));
    let follower = &old.replica.features()[0];
    assert!(follower.since.is_none() && follower.waits_for.contains("this replica lacks it"), "{follower:?}");

    let address = old.address.clone();
    old.replica.stop().await;
    assert_eq!(leader.features_to_enable().await, []);
    let silent = &leader.features()[0].waits_for;
    assert!(silent.starts_with("replica 2 does not say whether it has it"), "{silent}");

    let new = learner(newer(), Formation::Run, &disk, &address).await.unwrap();
    let commands = leader.features_to_enable().await;
    assert!(matches!(commands[..], [Command::EnableFeature { feature: CORDON, .. }, ..]), "{commands:?}");
    assert_eq!(propose_to(&nodes[0], commands).await, Feature::ALL.map(|_| Ok(Reply::Counted(1))));
    eventually("the learner has it too", || enabled(&new)).await;
    assert_eq!(leader.features_to_enable().await, [], "once is enough");
    let status = &leader.features()[0];
    assert_eq!((status.since, status.waits_for.as_str()), (Some(leader.view().revision()), ""));
    assert!(leader.warnings().is_empty());
    let unknown = Rejection::UnknownNode("nowhere".parse().unwrap());
    assert_eq!(leader.propose(item(gated())).await, Ok(Err(unknown)));
}

#[tokio::test]
async fn who_lacks_an_enabled_feature_neither_joins_nor_opens_its_store() {
    let nodes = cluster([MemoryDisk::default()]).await;
    propose_to(&nodes[0], nodes[0].replica.features_to_enable().await).await;
    assert!(enabled(&nodes[0]));

    let refused = learner(older(), join(&nodes[0]), &MemoryDisk::default(), "127.0.0.1:0").await.err();
    let Some(Error::JoinRefused(why)) = refused else { panic!("{refused:?}") };
    assert_eq!(why, "it lacks feature node-cordon, which this cluster relies on: use a newer version of quorate");
    assert_eq!(nodes[0].replica.members().replicas.len(), 1);

    let disk = MemoryDisk::default();
    let new = learner(newer(), join(&nodes[0]), &disk, "127.0.0.1:0").await.unwrap();
    eventually("it has applied the entry", || enabled(&new)).await;
    new.replica.stop().await;
    let refused = learner(older(), Formation::Run, &disk, "127.0.0.1:0").await.err();
    assert!(matches!(refused, Some(Error::LacksFeature(CORDON))), "{refused:?}");
    let again = learner(newer(), Formation::Run, &disk, "127.0.0.1:0").await;
    assert!(enabled(&again.unwrap()), "its store is as it was");
}

/// Its word was true when it was given. It costs the replica, and nobody's history.
#[tokio::test]
async fn a_member_that_is_replaced_by_an_older_version_stops_at_the_entry() {
    let nodes = cluster([MemoryDisk::default()]).await;
    let disk = MemoryDisk::default();
    let new = learner(newer(), join(&nodes[0]), &disk, "127.0.0.1:0").await.unwrap();
    let commands = nodes[0].replica.features_to_enable().await;
    let address = new.address.clone();
    new.replica.stop().await;
    let old = learner(older(), Formation::Run, &disk, &address).await.unwrap();
    propose_to(&nodes[0], commands).await;
    propose(&nodes, namespace("after")).await.unwrap();
    let reason = old.replica.stopped().await;
    assert!(matches!(&reason, StopReason::Storage(why) if why.contains("this version lacks it")), "{reason:?}");
    assert!(!enabled(&old) && !has(&old, "after"));

    let new = learner(newer(), Formation::Run, &disk, &address).await.unwrap();
    eventually("it goes on from where it stopped", || enabled(&new) && has(&new, "after")).await;
}

/// From the moment at which the members have answered, in that leader's term and no other.
#[tokio::test]
async fn between_the_question_and_the_entry_nobody_slips_in() {
    let disk = MemoryDisk::default();
    let mut nodes = cluster([disk.clone()]).await;
    let commands = nodes[0].replica.features_to_enable().await;
    assert!(!enabled(&nodes[0]));
    let refused = learner(older(), join(&nodes[0]), &MemoryDisk::default(), "127.0.0.1:0").await.err();
    assert!(matches!(refused, Some(Error::JoinRefused(_))), "{refused:?}");

    // The next term knows nothing of that question: it takes the older one in, and the late command is refused.
    nodes.remove(0).replica.stop().await;
    let again = try_start_with(newer(), Arc::new(TcpNetwork), Formation::Run, disk, "127.0.0.1:0", false).await;
    nodes.push(again.unwrap());
    propose(&nodes, namespace("led-again")).await.unwrap();
    let old = learner(older(), join(&nodes[0]), &MemoryDisk::default(), "127.0.0.1:0").await.unwrap();
    let late = nodes[0].replica.propose_all(commands.into_iter().map(item).collect()).await;
    assert!(matches!(late, Err(ProposeError::FeatureNotEnabled { .. })), "{late:?}");
    propose(&nodes, namespace("after")).await.unwrap();
    eventually("the older one follows", || has(&old, "after")).await;
    assert!(!enabled(&nodes[0]));
}

/// The entry that enabled it is gone from the log; the snapshot that stands for it is refused as a whole.
#[tokio::test]
async fn a_snapshot_that_relies_on_a_feature_is_not_installed_without_it() {
    let nodes = cluster([MemoryDisk::default()]).await;
    let disk = MemoryDisk::default();
    let new = learner(newer(), join(&nodes[0]), &disk, "127.0.0.1:0").await.unwrap();
    let commands = nodes[0].replica.features_to_enable().await;
    let (address, behind) = (new.address.clone(), new.replica.log_status().applied);
    new.replica.stop().await;
    propose_to(&nodes[0], commands).await;
    for number in 0..2 * tuning().snapshot_entries {
        propose(&nodes, namespace(&format!("n{number}"))).await.unwrap();
    }
    let enabled_at = nodes[0].replica.features()[0].since.map(|since| since.0);
    eventually("the entry is purged", || nodes[0].replica.log_status().purged > enabled_at.max(behind)).await;

    let old = learner(older(), Formation::Run, &disk, &address).await.unwrap();
    let reason = old.replica.stopped().await;
    assert!(matches!(&reason, StopReason::Storage(why) if why.contains("this version lacks it")), "{reason:?}");
    assert!(!enabled(&old) && !has(&old, "n0"));
    let new = learner(newer(), Formation::Run, &disk, &address).await.unwrap();
    eventually("the newer one installs it", || enabled(&new) && has(&new, "n0")).await;
}
