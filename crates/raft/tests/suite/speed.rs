//! Replicas that are slow: a disk that does not keep up, a way that is too long for the times.

use std::sync::Arc;
use std::time::Duration;

use quorate_raft::{Error, Formation, Tuning};
use quorate_seams::{DiskError, TcpNetwork};

use crate::support::far_network::FarNetwork;
use crate::support::memory_disk::MemoryDisk;
use crate::support::silent_network::SilentNetwork;
use crate::support::slow_disk::{SlowDisk, Speed};
use crate::support::{
    self, Node, cluster_with, eventually, leader, leads, namespace, propose, propose_once, try_start_tuned,
};

/// A slow disk is noticed soon, and leadership may move at once.
fn quick() -> Tuning {
    Tuning {
        slow_sync_ms: 100,
        slow_for_ms: 500,
        hand_over_pause_ms: 0,
        snapshot_entries: 100_000,
        ..support::tuning()
    }
}

/// The sum over the series of a metric.
fn measured(node: &Node, name: &str) -> f64 {
    let families = node.replica.measured();
    let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("{name} is missing"));
    family.get_metric().iter().map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
}

fn disks() -> Vec<SlowDisk> {
    (0..3).map(|_| SlowDisk::default()).collect()
}

/// Something to sync, for as long as it is polled; whoever leads takes it.
async fn write_on(nodes: &[Node]) {
    for number in 0_u64.. {
        for node in nodes.iter().filter(|node| leads(node)) {
            let writing = propose_once(node, namespace(&format!("n{number}")));
            // A leader that is about to be none may never answer.
            let _ = tokio::time::timeout(Duration::from_millis(200), writing).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn while_writing(nodes: &[Node], what: &str, holds: impl Fn() -> bool) {
    tokio::select! {
        biased;
        () = eventually(what, holds) => {}
        () = write_on(nodes) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_is_stuck_passes_leadership_on_and_tells() {
    let disks = disks();
    let nodes = cluster_with(quick(), Arc::new(TcpNetwork), disks.clone()).await;
    let slow = leader(&nodes).await;
    disks[slow].becomes(Speed::Stuck);
    let others = || nodes.iter().enumerate().filter(|(at, _)| *at != slow).map(|(_, node)| node);
    while_writing(&nodes, "another leads", || others().any(leads)).await;
    disks[slow].becomes(Speed::Fast);
    eventually("the old leader follows", || !leads(&nodes[slow])).await;
    eventually("it has counted that", || measured(&nodes[slow], "quorate_leadership_handed_over_total") == 1.0).await;
    let warnings = nodes[slow].replica.warnings();
    assert!(warnings.iter().any(|warning| warning.starts_with("it passed leadership on to replica")), "{warnings:?}");
    while_writing(&nodes, "its disk is fast again", || measured(&nodes[slow], "quorate_disk_slow") == 0.0).await;
    assert!(others().all(|node| measured(node, "quorate_leadership_handed_over_total") == 0.0));
    propose(&nodes, namespace("after")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_disks_are_slow_leadership_stays() {
    let disks = disks();
    // Nobody is ever below this, however the machine is loaded.
    let takes = Duration::from_millis(quick().slow_sync_ms + 50);
    let nodes = cluster_with(quick(), Arc::new(TcpNetwork), disks.clone()).await;
    leader(&nodes).await;
    disks.iter().for_each(|disk| disk.becomes(Speed::Slow(takes)));
    while_writing(&nodes, "all find theirs slow", || {
        nodes.iter().all(|node| measured(node, "quorate_disk_slow") == 1.0)
    })
    .await;
    let warned = |node: &Node| node.replica.warnings().iter().any(|warning| warning.contains("its disk is slow"));
    assert!(nodes.iter().all(warned));
    assert!(nodes.iter().all(|node| measured(node, "quorate_leadership_handed_over_total") == 0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_of_a_silent_leader_ask_for_votes_as_soon_as_its_lease_is_over() {
    // By itself consensus would wait for as long again.
    let tuning = Tuning { election_ms_min: 1_900, election_ms_max: 2_000, ..support::tuning() };
    let disks: Vec<MemoryDisk> = (0..3).map(|_| MemoryDisk::default()).collect();
    let nodes = cluster_with(tuning, Arc::new(SilentNetwork), disks.clone()).await;
    let dead = leader(&nodes).await;
    let begun = |node: &Node| measured(node, "quorate_elections_begun_total");
    let before: Vec<f64> = nodes.iter().map(begun).collect();
    disks[dead].fail_writes(DiskError::Io("it is gone".into()));
    assert!(propose_once(&nodes[dead], namespace("one")).await.is_err());
    nodes[dead].replica.stopped().await;
    let survivors = || (0..3).filter(|at| *at != dead);
    eventually("another leads", || survivors().any(|at| leads(&nodes[at]))).await;
    assert!(survivors().any(|at| begun(&nodes[at]) > before[at]), "nobody waited for an election time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_process_has_ended_is_not_waited_for() {
    // Nobody comes to lead by waiting for this.
    let silence = 3_600_000;
    let tuning = Tuning { election_ms_min: silence, election_ms_max: silence + 1, ..support::tuning() };
    let disks: Vec<MemoryDisk> = (0..3).map(|_| MemoryDisk::default()).collect();
    let nodes = cluster_with(tuning, Arc::new(TcpNetwork), disks.clone()).await;
    let dead = leader(&nodes).await;
    // It stops by itself, without handing over, and its listener with it.
    disks[dead].fail_writes(DiskError::Io("it is gone".into()));
    let writing = tokio::time::timeout(Duration::from_secs(5), propose_once(&nodes[dead], namespace("one")));
    assert!(!matches!(writing.await, Ok(Ok(_))));
    nodes[dead].replica.stopped().await;
    let survivors = || (0..3).filter(|at| *at != dead);
    eventually("another leads", || survivors().any(|at| leads(&nodes[at]))).await;
    let found: f64 = survivors().map(|at| measured(&nodes[at], "quorate_leaders_gone_total")).sum();
    assert!(found >= 1.0, "somebody found it gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_says_when_its_times_are_too_short_for_the_way() {
    // Round trips of 200 ms: heartbeats are answered in time, but there is hardly room for a lost one.
    let network = Arc::new(FarNetwork { one_way: Duration::from_millis(100) });
    let near = Tuning { heartbeat_ms: 300, election_ms_min: 900, election_ms_max: 1_800, ..Tuning::default() };
    let nodes = cluster_with(near, network, disks()).await;
    let told =
        |node: &Node| node.replica.warnings().iter().any(|warning| warning.starts_with("a round trip to replica"));
    eventually("the leader tells", || nodes.iter().any(|node| leads(node) && told(node))).await;
    eventually("and shows", || nodes.iter().any(|node| measured(node, "quorate_election_times_too_short") == 1.0))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_whose_times_would_disturb_is_refused() {
    let nodes = cluster_with(Tuning::lan(), Arc::new(TcpNetwork), disks().into_iter().take(1)).await;
    let join = Formation::Join { peers: vec![nodes[0].address.clone()] };
    let refused = try_start_tuned(Tuning::wan(), join, SlowDisk::default()).await;
    assert!(matches!(refused, Err(Error::JoinRefused(why)) if why.contains("same server.raft settings")));
}
