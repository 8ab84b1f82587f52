//! Three replicas over real sockets: they form, agree, lose members and take them back.

#[path = "suite/damage.rs"]
mod damage;
#[path = "suite/features.rs"]
mod features;
mod members;
#[path = "suite/snapshots.rs"]
mod snapshots;
#[path = "suite/speed.rs"]
mod speed;
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_disk::RocksDisk;
use quorate_proto::raft::v1 as pb;
use quorate_proto::raft::v1::join_reply::Outcome;
use quorate_proto::raft::v1::replicas_client::ReplicasClient;
use quorate_raft::{Error, Formation, ProposeError, ReadError, Role, StopReason, Tuning};
use quorate_seams::{Batch, Clock as _, Disk as _, DiskError, Durability, SystemClock, Table, TcpNetwork};
use quorate_state::{Event, Reply, Revision};
use support::far_network::FarNetwork;
use support::memory_disk::MemoryDisk;
use support::{
    cluster, cluster_with, eventually, has, item, leader, leads, namespace, propose, propose_once, revision, start,
    try_start,
};

/// Acknowledged names on their way to the test that counts them.
const ACKNOWLEDGED_MAX: usize = 65_536;

fn disks(count: usize) -> Vec<MemoryDisk> {
    (0..count).map(|_| MemoryDisk::default()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_is_applied_everywhere_and_only_the_leader_takes_it() {
    let nodes = cluster(disks(3)).await;
    let at = leader(&nodes).await;
    assert_eq!(propose(&nodes, namespace("one")).await, Ok(Reply::Done));
    assert!(has(&nodes[at], "one"), "applied before it is answered");
    eventually("the others apply it too", || nodes.iter().all(|node| has(node, "one"))).await;

    let follower = &nodes[(at + 1) % 3];
    let Err(ProposeError::NotLeader { leader: Some(hint) }) = propose_once(follower, namespace("two")).await else {
        panic!("a follower took it")
    };
    let leading = nodes[at].replica.identity().replica;
    assert_eq!(hint.id, leading);
    let members = nodes[at].replica.members();
    assert_eq!(hint.api, members.replicas.iter().find(|member| member.id == leading).unwrap().addresses.api);
    assert!(matches!(follower.replica.barrier().await, Err(ReadError::NotLeader { leader: Some(_) })));
    assert_eq!(follower.replica.log_time(), None);

    assert_eq!(propose(&nodes, namespace("three")).await, Ok(Reply::Done));
    let asked_at = follower.replica.up_to_date_at();
    let read = follower.replica.catch_up().await.unwrap();
    assert!(has(follower, "three"), "a follower that caught up has what was answered before");
    assert!(revision(follower) >= read);
    assert!(follower.replica.up_to_date_at() > asked_at, "and knows since when");

    let read = nodes[at].replica.barrier().await.unwrap();
    assert!(read >= revision(follower));
    assert!(nodes[at].replica.log_time().unwrap().now.0 > 0);
    let ids: BTreeSet<u64> = nodes.iter().map(|node| node.replica.identity().replica).collect();
    assert_eq!(ids, BTreeSet::from([1, 2, 3]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_proposals_share_entries_and_each_gets_its_own_answer() {
    let nodes = cluster(disks(1)).await;
    let replica = &nodes[0].replica;
    let before = revision(&nodes[0]);
    let tasks: Vec<_> = (0..500)
        .map(|number| {
            let replica = replica.clone();
            // Every name twice: one of the two is refused.
            tokio::spawn(async move { replica.propose(item(namespace(&format!("n{}", number / 2)))).await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += usize::from(task.await.unwrap().unwrap().is_ok());
    }
    assert_eq!(made, 250);
    let entries = revision(&nodes[0]).0 - before.0;
    assert!(entries < 500, "{entries} entries for 500 items");

    let group = ["a", "b", "a"].map(|name| item(namespace(name))).to_vec();
    let answers = replica.propose_all(group).await.unwrap();
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(replica.propose_all(vec![]).await, Ok(vec![]));
    let before = revision(&nodes[0]);
    let large: Vec<_> = (0..2 * support::tuning().entry_items_max + 7).map(|number| format!("l{number}")).collect();
    let answers = replica.propose_all(large.iter().map(|name| item(namespace(name))).collect()).await.unwrap();
    assert!(answers.len() == large.len() && answers.iter().all(Result::is_ok));
    assert!(revision(&nodes[0]).0 >= before.0 + 3, "three entries at least");
    let page = replica.events(before, large.len()).unwrap();
    let made = page.rows.iter().map(|row| match &row.event {
        Event::NamespaceCreated { namespace } => namespace.to_string(),
        other => panic!("{other:?}"),
    });
    assert_eq!(made.collect::<Vec<_>>(), large, "in order, from entry to entry");
}

#[tokio::test]
async fn the_queue_is_bounded_by_items_and_by_bytes() {
    let tuning = Tuning { queue_items_max: 100, queue_bytes_max: 4_000, entry_bytes_max: 1_000, ..support::tuning() };
    let nodes = cluster_with(tuning, Arc::new(TcpNetwork), disks(1)).await;
    let replica = &nodes[0].replica;
    let items = |from: usize, count: usize, length: usize| {
        (from..from + count).map(|number| item(namespace(&format!("n{number:0length$}")))).collect::<Vec<_>>()
    };
    let too_many = replica.propose_all(items(0, 101, 1)).await;
    assert!(matches!(too_many, Err(ProposeError::TooLarge { limit: "queue_items_max", max: 100 })), "{too_many:?}");
    let too_long = replica.propose_all(items(0, 90, 50)).await;
    assert!(matches!(too_long, Err(ProposeError::TooLarge { limit: "queue_bytes_max", max: 4_000 })), "{too_long:?}");

    // On one thread nobody is answered before the second has asked.
    let before = revision(&nodes[0]);
    let (first, second) = tokio::join!(replica.propose_all(items(0, 30, 50)), replica.propose_all(items(30, 30, 50)));
    assert!(first.unwrap().iter().all(Result::is_ok));
    assert!(revision(&nodes[0]).0 >= before.0 + 3, "an entry holds a third of them at most");
    assert_eq!(second, Err(ProposeError::Overloaded { limit: "queue_bytes_max", max: 4_000 }));
    let (first, second) = tokio::join!(replica.propose_all(items(100, 60, 1)), replica.propose_all(items(200, 60, 1)));
    assert!(first.unwrap().iter().all(Result::is_ok));
    assert_eq!(second, Err(ProposeError::Overloaded { limit: "queue_items_max", max: 100 }));
    assert!(replica.propose_all(items(30, 30, 50)).await.unwrap().iter().all(Result::is_ok), "there is room again");
}

/// The tuning that is documented for regions far apart.
fn far() -> Tuning {
    Tuning { heartbeat_ms: 300, election_ms_min: 1_500, election_ms_max: 1_800, ..Tuning::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_far_apart_elect_commit_and_read() {
    let network = Arc::new(FarNetwork { one_way: Duration::from_millis(100) });
    let mut nodes = cluster_with(far(), network, disks(3)).await;
    let at = leader(&nodes).await;
    propose(&nodes, namespace("one")).await.unwrap();
    eventually("all apply it", || nodes.iter().all(|node| has(node, "one"))).await;
    let gone = nodes.remove(at);
    gone.replica.stop().await;
    propose(&nodes, namespace("two")).await.unwrap();
    let at = leader(&nodes).await;
    // Longer than any lease with nothing proposed: only heartbeats that are answered keep it.
    let Role::Leader { term, since, .. } = *nodes[at].replica.role().borrow() else { panic!("not leading any more") };
    let quiet = Duration::from_millis(2 * far().election_ms_max);
    eventually("it was quiet for long", || SystemClock.boot().since(since) > quiet).await;
    assert!(nodes[at].replica.barrier().await.unwrap() >= revision(&nodes[1 - at]));
    assert_eq!(propose_once(&nodes[at], namespace("three")).await, Ok(true));
    assert_eq!(nodes[at].replica.members().term, term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_is_taken_only_once_that_is_committed() {
    // Without followers a leader takes changes for as long as an election may take.
    let tuning = Tuning { election_ms_min: 5_000, election_ms_max: 10_000, ..support::tuning() };
    let mut nodes = cluster_with(tuning, Arc::new(TcpNetwork), disks(3)).await;
    let at = leader(&nodes).await;
    let leading = nodes.swap_remove(at);
    for node in nodes {
        node.replica.stop().await;
    }
    let peer = pb::Peer {
        store: bytes::Bytes::copy_from_slice(&7_u128.to_be_bytes()),
        region: "eu".into(),
        raft_address: "127.0.0.1:1".into(),
        ..pb::Peer::default()
    };
    let request = pb::JoinRequest { peer: Some(peer), format: 1, ..pb::JoinRequest::default() };
    let url = format!("http://{}", leading.address);
    let ask = move || {
        let (url, request) = (url.clone(), request.clone());
        async move { ReplicasClient::connect(url).await.unwrap().join(request).await.unwrap().into_inner().outcome }
    };
    let first = tokio::spawn(ask());
    eventually("the leader has it in its log", || leading.replica.members().replicas.len() == 4).await;
    first.abort();
    // Nobody but the leader knows of replica 4: another leader may give the id to another store.
    let outcome = ask().await;
    assert!(matches!(&outcome, Some(Outcome::Retry(why)) if why.contains("not finished")), "{outcome:?}");
}

/// It may have been followed by another, for whom the address is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whom_nobody_confirms_turns_no_joiner_away_for_good() {
    let mut nodes = cluster(disks(3)).await;
    let at = leader(&nodes).await;
    let leading = nodes.swap_remove(at);
    let taken = nodes[0].address.clone();
    let peer = pb::Peer {
        store: bytes::Bytes::copy_from_slice(&7_u128.to_be_bytes()),
        region: "eu".into(),
        raft_address: taken,
        ..pb::Peer::default()
    };
    let request = pb::JoinRequest { peer: Some(peer), format: 1, ..pb::JoinRequest::default() };
    let url = format!("http://{}", leading.address);
    let ask = async || {
        let mut replicas = ReplicasClient::connect(url.clone()).await.unwrap();
        replicas.join(request.clone()).await.unwrap().into_inner().outcome
    };
    let refused = ask().await;
    assert!(matches!(&refused, Some(Outcome::Refused(why)) if why.contains("with another store")), "{refused:?}");
    for node in nodes {
        node.replica.stop().await;
    }
    let put_off = ask().await;
    assert!(matches!(&put_off, Some(Outcome::Retry(_))), "{put_off:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_or_failed_disk_stops_the_replica_for_good() {
    let full = || DiskError::Full("No space left on device".into());
    let writes: fn(&MemoryDisk, DiskError) = MemoryDisk::fail_writes;
    let syncs: fn(&MemoryDisk, DiskError) = MemoryDisk::fail_syncs;
    let cases = [
        ("the disk is full: No space left", writes, full()),
        ("the disk is full: No space left", syncs, full()),
        ("disk failure: sync failed", syncs, DiskError::Io("sync failed".into())),
    ];
    for (says, fail, error) in cases {
        let disk = MemoryDisk::default();
        let node = cluster([disk.clone()]).await.remove(0);
        fail(&disk, error);
        assert!(propose_once(&node, namespace("lost")).await.is_err());
        let reason = node.replica.stopped().await;
        assert!(matches!(&reason, StopReason::Storage(why) if why.contains(says)), "{reason:?}");
        eventually("it leads no more", || !leads(&node)).await;
        let after = propose_once(&node, namespace("after")).await;
        assert!(matches!(&after, Err(ProposeError::Stopped(why)) if why.contains(says)), "{after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_replica_catches_up_by_snapshot_under_load() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut nodes = cluster(dirs.iter().map(|dir| RocksDisk::open(dir.path()).unwrap())).await;
    let at = leader(&nodes).await;
    let absent = nodes.remove((at + 1) % 3);
    let dir = &dirs[usize::try_from(absent.replica.identity().replica).unwrap() - 1];
    let (address, left_at) = (absent.address.clone(), revision(&absent));
    absent.replica.stop().await;

    let loaded = nodes[leader(&nodes).await].replica.clone();
    let load = tokio::spawn(async move {
        let mut number = 0_u64;
        let mut acknowledged = vec![];
        while number < 20_000 {
            let name = format!("load{number}");
            match loaded.propose(item(namespace(&name))).await {
                Ok(answer) => {
                    answer.unwrap();
                    acknowledged.push(name);
                }
                Err(ProposeError::Stopped(_)) => return acknowledged,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
            number += 1;
        }
        acknowledged
    });
    eventually("three snapshots later", || {
        nodes.iter().any(|node| leads(node) && node.replica.log_status().purged.unwrap_or(0) > left_at.0 + 150)
    })
    .await;

    // The store is free once the last task of the stopped replica has let go of it.
    let disk = loop {
        match RocksDisk::open(dir.path()) {
            Ok(disk) => break disk,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let back = start(Formation::Run, disk, &address).await;
    let target = revision(&nodes[leader(&nodes).await]);
    eventually("it passes where the leader was, while the load goes on", || revision(&back) >= target).await;
    let ahead = revision(&nodes[leader(&nodes).await]);
    assert!(!load.is_finished(), "the load ended early, at {ahead}");
    let came_by_snapshot = || back.replica.log_status().snapshot.unwrap_or(0) > left_at.0 + 150;
    eventually("it says that it came by a snapshot", came_by_snapshot).await;

    load.abort();
    let _ = load.await;
    propose(&nodes, namespace("end")).await.unwrap();
    let at = leader(&nodes).await;
    eventually("it is level", || has(&back, "end") && revision(&back) == revision(&nodes[at])).await;
    assert!(support::shown(&back) == support::shown(&nodes[at]));
    assert_eq!(back.replica.view().check(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_loss_of_all_power() {
    let disks = disks(3);
    let nodes = cluster(disks.clone()).await;
    let (cluster_id, at) = (nodes[0].replica.identity().cluster, leader(&nodes).await);
    let mut tasks = tokio::task::JoinSet::new();
    let (told, mut acknowledged) = tokio::sync::mpsc::channel(ACKNOWLEDGED_MAX);
    for task in 0..16 {
        let (replica, told) = (nodes[at].replica.clone(), told.clone());
        tasks.spawn(async move {
            for number in 0.. {
                let name = format!("t{task}-{number}");
                match replica.propose(item(namespace(&name))).await {
                    Ok(Ok(_)) => told.send(name).await.unwrap(),
                    _ => return,
                }
            }
        });
    }
    let mut names = vec![];
    while names.len() < 300 {
        names.push(acknowledged.recv().await.unwrap());
    }
    // All at once, in the middle of it.
    let disks: Vec<_> = disks.iter().map(MemoryDisk::power_off).collect();
    let addresses: Vec<_> = nodes.iter().map(|node| node.address.clone()).collect();
    for node in nodes {
        node.replica.stop().await;
    }
    tasks.shutdown().await;
    drop(told);
    while let Some(name) = acknowledged.recv().await {
        names.push(name);
    }

    let mut nodes = vec![];
    for (disk, address) in disks.into_iter().zip(&addresses) {
        nodes.push(start(Formation::Run, disk, address).await);
    }
    propose(&nodes, namespace("after")).await.unwrap();
    assert_eq!(nodes[0].replica.identity().cluster, cluster_id);
    eventually("all are level", || nodes.iter().all(|node| has(node, "after"))).await;
    for node in &nodes {
        let lost: Vec<_> = names.iter().filter(|name| !has(node, name)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_time_goes_on_across_leaders() {
    let mut nodes = cluster(disks(3)).await;
    propose(&nodes, namespace("before")).await.unwrap();
    let at = leader(&nodes).await;
    let before = nodes[at].replica.log_time().unwrap();
    // What the log says, not what its leader would have stamped next and took with it.
    let logged = nodes[at].replica.view().meta().clone();
    assert!(before.now >= logged.now && before.served >= logged.served, "{before:?} before {logged:?}");
    let gone = nodes.remove(at);
    gone.shutdown.request();
    assert_eq!(gone.replica.stopped().await, StopReason::Requested);
    gone.replica.stop().await;
    let at = leader(&nodes).await;
    let Role::Leader { term, .. } = *nodes[at].replica.role().borrow() else { panic!("not leading any more") };
    assert!(term > before.term);
    let after = nodes[at].replica.log_time().unwrap();
    assert!(after.now >= logged.now && after.served >= logged.served, "{after:?} after {logged:?}");
    assert!(has(&nodes[at], "before"));
    propose(&nodes, namespace("after")).await.unwrap();
    assert!(nodes[at].replica.view().meta().now >= logged.now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_comes_in_pages_of_whole_revisions() {
    let nodes = cluster(disks(1)).await;
    let replica = &nodes[0].replica;
    for name in ["a", "b", "c"] {
        let group = (0..3).map(|number| item(namespace(&format!("{name}{number}")))).collect();
        replica.propose_all(group).await.unwrap();
    }
    let mut after = Revision(0);
    let mut seen = vec![];
    loop {
        let page = replica.events(after, 2).unwrap();
        assert!(page.rows.iter().all(|row| row.revision > after && row.revision <= page.through));
        assert!(page.rows.is_empty() || page.rows.len() == 3, "a revision was torn: {page:?}");
        seen.extend(page.rows);
        after = page.through;
        if !page.more {
            break;
        }
    }
    assert_eq!(after, revision(&nodes[0]));
    assert_eq!(seen.len(), 9);
    assert!(seen.iter().all(|row| matches!(row.event, Event::NamespaceCreated { .. })));
    assert!(seen.is_sorted_by_key(|row| (row.revision, row.sequence)));

    let below = seen[3].revision;
    propose(&nodes, quorate_state::Command::TrimEvents { below }).await.unwrap();
    assert_eq!(replica.events(Revision(0), 9), Err(ReadError::Compacted { from: below }));
    assert_eq!(replica.events(Revision(below.0 - 1), 9).unwrap().rows, seen[3..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_formed_once_and_for_one_cluster() {
    let disk = MemoryDisk::default();
    assert!(matches!(try_start(Formation::Run, disk.clone(), "127.0.0.1:0").await, Err(Error::NoIdentity)));
    let nodes = cluster([disk.clone()]).await;
    let identity = nodes[0].replica.identity();
    let again = try_start(Formation::Init, disk.clone(), "127.0.0.1:0").await;
    assert!(matches!(again, Err(Error::AlreadyInitialised { replica: 1, .. })));

    // A member of another cluster is told so, and an empty store gets one place however often it asks.
    let other = cluster([MemoryDisk::default()]).await;
    let peers = vec![nodes[0].address.clone()];
    let stranger = MemoryDisk::default();
    let joined =
        start(Formation::Join { peers: vec![other[0].address.clone()] }, stranger.clone(), "127.0.0.1:0").await;
    let address = joined.address.clone();
    joined.replica.stop().await;
    let Err(Error::JoinRefused(why)) = try_start(Formation::Join { peers }, stranger.clone(), "127.0.0.1:0").await
    else {
        panic!("it joined two clusters")
    };
    assert!(why.contains(&identity.cluster.to_string()), "{why}");
    let again = start(Formation::Join { peers: vec![other[0].address.clone()] }, stranger, &address).await;
    assert_eq!(again.replica.identity().replica, 2);
    eventually("it is a voter", || {
        other[0].replica.members().replicas.iter().filter(|member| member.voter).count() == 2
    })
    .await;

    let address = nodes[0].address.clone();
    for node in nodes {
        node.replica.stop().await;
    }
    assert_eq!(start(Formation::Run, disk, &address).await.replica.identity(), identity);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named() {
    let nodes = cluster([MemoryDisk::default()]).await;
    let taken = try_start(Formation::Init, MemoryDisk::default(), &nodes[0].address).await;
    let Err(error @ Error::Listen { .. }) = taken else { panic!("two listen on one port") };
    assert!(error.to_string().contains(&nodes[0].address), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_strangers_are_refused_before_consensus_sees_them() {
    let nodes = cluster(disks(1)).await;
    let identity = nodes[0].replica.identity();
    let mut client = ReplicasClient::connect(format!("http://{}", nodes[0].address)).await.unwrap();
    let uuid = |uuid: u128| bytes::Bytes::copy_from_slice(&uuid.to_be_bytes());
    let start = |count, nonce| Some(pb::Start { count, nonce });
    let header = pb::Header {
        cluster: uuid(identity.cluster.0),
        group: quorate_proto::format::GROUP,
        from: 77,
        from_store: uuid(77),
        from_start: start(5, 1),
        to_store: uuid(identity.store.0),
        to_start: None,
    };
    let mut ask = async |header: pb::Header| {
        // A vote of a far term: had consensus seen it, the leader would have stepped down.
        let vote = Some(pb::Vote { term: 1_000, replica: 77, committed: false });
        let last_log_id = Some(pb::LogId { term: 999, index: 1 << 40 });
        let request = pb::VoteRequest { header: Some(header), vote, last_log_id, leadership_transfer: true };
        client.vote(request).await.map(|_| ()).map_err(|status| status.message().to_owned())
    };
    let refused = [
        ("belongs to cluster", pb::Header { cluster: uuid(1), ..header.clone() }),
        ("belongs to group", pb::Header { group: 9, ..header.clone() }),
        ("is not here", pb::Header { to_store: uuid(1), ..header.clone() }),
        ("is not that of replica 1", pb::Header { from: 1, ..header.clone() }),
        ("from_start is missing", pb::Header { from_start: None, ..header.clone() }),
    ];
    for (why, header) in refused {
        let told = ask(header).await.unwrap_err();
        assert!(told.contains(why), "{told}");
    }
    assert!(leads(&nodes[0]));
    assert_eq!(nodes[0].replica.members().term, 1);

    // Starts are remembered: an earlier one, or another one with the same count, is a restored disk.
    ask(header.clone()).await.unwrap();
    for stale in [start(4, 1), start(5, 2)] {
        let told = ask(pb::Header { from_start: stale, ..header.clone() }).await.unwrap_err();
        assert!(told.contains("restored image"), "{told}");
    }
    ask(pb::Header { from_start: start(6, 9), ..header }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_disk_image_stops_itself() {
    let disks = disks(3);
    let mut nodes = cluster(disks.clone()).await;
    let at = (leader(&nodes).await + 1) % 3;
    let victim = nodes.remove(at);
    let (disk, address) = (disks[at].clone(), victim.address.clone());
    victim.replica.stop().await;
    let image = disk.image();
    let victim = start(Formation::Run, disk, &address).await;
    propose(&nodes, namespace("promised")).await.unwrap();
    eventually("it promised to keep it", || has(&victim, "promised")).await;
    victim.replica.stop().await;

    let restored = start(Formation::Run, image.clone(), &address).await;
    assert!(matches!(restored.replica.stopped().await, StopReason::StaleStore(_)));
    propose(&nodes, namespace("goes-on")).await.unwrap();
    // By the count of its starts it would look newer now than what the others remember of it.
    restored.replica.stop().await;
    stays_refused(image, &address, "old image").await;
    propose(&nodes, namespace("still-goes-on")).await.unwrap();
    let others = disks.iter().enumerate().filter(|(place, _)| *place != at);
    assert!(others.into_iter().all(|(_, disk)| disk.get(Table::Raft, b"refused").unwrap().is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_history_differs_stops() {
    let disks = disks(3);
    let mut nodes = cluster(disks.clone()).await;
    let at = (leader(&nodes).await + 1) % 3;
    let victim = nodes.remove(at);
    let (disk, address) = (disks[at].clone(), victim.address.clone());
    victim.replica.stop().await;
    // As if it had once applied something else.
    let record = disk.get(Table::Raft, b"applied").unwrap().unwrap();
    let mut record: pb::Applied = prost::Message::decode(record).unwrap();
    record.digest = vec![7; 32].into();
    let mut batch = Batch::default();
    batch.put(Table::Raft, "applied", prost::Message::encode_to_vec(&record));
    disk.submit(batch, Durability::Synced).await.unwrap();

    let victim = start(Formation::Run, disk.clone(), &address).await;
    for number in 0..2 * support::tuning().digest_every {
        propose(&nodes, namespace(&format!("n{number}"))).await.unwrap();
    }
    assert!(matches!(victim.replica.stopped().await, StopReason::Diverged { .. }));
    propose(&nodes, namespace("goes-on")).await.unwrap();
    victim.replica.stop().await;
    stays_refused(disk, &address, "differs from the majority's").await;

    // What to do then is what the error says.
    let formation = Formation::Join { peers: vec![nodes[0].address.clone()] };
    nodes.push(start(formation, MemoryDisk::default(), "127.0.0.1:0").await);
    eventually("the one that joins anew has everything", || has(&nodes[2], "goes-on")).await;
}

/// A replica on this disk wrote why its store must not be used again: no start gets past that, nor past a
/// loss of power, and none counts.
async fn stays_refused(disk: MemoryDisk, address: &str, why: &str) {
    let disk = disk.power_off();
    let record = disk.get(Table::Raft, b"start").unwrap();
    let peers = vec![address.to_owned()];
    for formation in [Formation::Run, Formation::Run, Formation::Join { peers }, Formation::Init] {
        let started = try_start(formation, disk.clone(), address).await;
        let Err(error) = started else { panic!("it starts again") };
        let text = error.to_string();
        assert!(matches!(error, Error::StoreRefused(_)) && text.contains(why), "{text}");
        assert!(text.contains("'quorate server join'"), "{text}");
    }
    assert_eq!(disk.get(Table::Raft, b"start").unwrap(), record);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_merely_cut_off_may_come_back() {
    let disks = disks(3);
    let mut nodes = cluster(disks.clone()).await;
    let at = (leader(&nodes).await + 1) % 3;
    let alone = nodes.remove(at);
    for node in nodes {
        node.replica.stop().await;
    }
    // Two starts of it, and several rounds of comparing, in which nobody answers.
    let address = alone.address.clone();
    tokio::time::sleep(Duration::from_secs(2)).await;
    alone.replica.stop().await;
    let again = start(Formation::Run, disks[at].clone(), &address).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(disks[at].get(Table::Raft, b"refused").unwrap(), None);
    again.replica.stop().await;
}
