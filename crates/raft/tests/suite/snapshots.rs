//! Snapshots whose transfer breaks half way: what comes again, and what does not.

use std::sync::Arc;

use quorate_raft::{Formation, MemberChange, Tuning};
use quorate_seams::{Batch, Disk as _, Durability, Network as _, Table, TcpNetwork};

use crate::support::breaking_network::BreakingNetwork;
use crate::support::memory_disk::MemoryDisk;
use crate::support::{
    self, Node, cluster_with, eventually, has, item, leader, namespace, propose, revision, shown, try_start_with,
};

/// Bytes of rows in a piece.
const PIECE: u64 = 2_048;
/// What a transfer that goes on may send again: what was on its way, and what the disk did not have yet.
const SLACK: u64 = 8 * PIECE;

fn tuning() -> Tuning {
    Tuning { snapshot_chunk_bytes: usize::try_from(PIECE).unwrap(), ..support::tuning() }
}

/// The counters of this metric whose labels have these values.
fn counted(node: &Node, name: &str, labels: &[&str]) -> u64 {
    let families = node.replica.measured();
    let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    let fits = metrics
        .filter(|metric| labels.iter().all(|wanted| metric.get_label().iter().any(|label| label.value() == *wanted)));
    fits.map(|metric| metric.get_counter().get_value() as u64).sum()
}

fn sent(node: &Node) -> u64 {
    counted(node, "quorate_snapshot_bytes_total", &["sent"])
}

fn resumed(node: &Node) -> u64 {
    counted(node, "quorate_snapshots_resumed_total", &[])
}

fn broken(node: &Node) -> u64 {
    counted(node, "quorate_snapshots_total", &["sent", "broken"])
}

/// Keys of what a replica has staged.
fn staged(disk: &MemoryDisk) -> Vec<bytes::Bytes> {
    let rows = disk.scan(Table::Raft, b"staged", Some(b"staged0"), usize::MAX).unwrap();
    rows.into_iter().map(|(key, _)| key).collect()
}

/// Rows that are worth more than a hundred pieces, by so many entries that the log is cut off after some.
async fn fill(node: &Node) {
    for group in 0..120 {
        let names = (0..25).map(|number| item(namespace(&format!("n{:-<40}", 25 * group + number))));
        assert!(node.replica.propose_all(names.collect()).await.unwrap().iter().all(Result::is_ok));
    }
}

async fn start(network: &BreakingNetwork, formation: Formation, disk: &MemoryDisk, address: &str) -> Node {
    let network = Arc::new(network.clone());
    try_start_with(tuning(), network, formation, disk.clone(), address, true).await.unwrap()
}

/// An address that nobody listens on, of a host that no connection goes out from: none takes its port meanwhile.
async fn free_address() -> String {
    TcpNetwork.bind("127.0.0.2:0").await.unwrap().local_addr().to_string()
}

/// One replica with many rows, how many bytes a learner of it was sent, and a second learner that has about
/// four fifths of that when the way to it breaks.
struct Bench {
    network: BreakingNetwork,
    leader: Node,
    whole: u64,
    disk: MemoryDisk,
    address: String,
    learner: Node,
    /// What was sent before the second learner came.
    before: u64,
}

impl Bench {
    async fn broken() -> Self {
        let network = BreakingNetwork::default();
        let leader = cluster_with(tuning(), Arc::new(network.clone()), [MemoryDisk::default()]).await.remove(0);
        fill(&leader).await;
        let join = Formation::Join { peers: vec![leader.address.clone()] };
        let first = start(&network, join.clone(), &MemoryDisk::default(), "127.0.0.1:0").await;
        eventually("the first learner has it", || revision(&first) == revision(&leader)).await;
        let whole = sent(&leader);
        assert!(whole > 100 * PIECE, "{whole}");
        let gone = MemberChange::Remove(first.replica.identity().replica);
        leader.replica.change_members(gone).await.unwrap();
        first.replica.stop().await;

        let before = sent(&leader);
        let address = free_address().await;
        network.break_after(&address, whole * 8 / 10);
        let disk = MemoryDisk::default();
        let learner = start(&network, join, &disk, &address).await;
        eventually("the way breaks", || network.is_broken(&address) && broken(&leader) > 0).await;
        assert!(sent(&leader) - before > whole * 7 / 10);
        assert!(staged(&disk).len() > 70);
        Self { network, leader, whole, disk, address, learner, before }
    }

    /// The learner's process ends, and starts again after `meanwhile` was done to its disk.
    async fn restart(self, meanwhile: impl FnOnce(&MemoryDisk)) -> Self {
        self.learner.replica.stop().await;
        meanwhile(&self.disk);
        let learner = start(&self.network, Formation::Run, &self.disk, &self.address).await;
        Self { learner, ..self }
    }

    /// The way heals; what the learner was sent in all when it is level.
    async fn healed(&self) -> u64 {
        self.network.heal(&self.address);
        eventually("the learner is level", || revision(&self.learner) == revision(&self.leader)).await;
        assert!(shown(&self.learner) == shown(&self.leader));
        assert_eq!(self.learner.replica.view().check(), Vec::<String>::new());
        eventually("nothing stays staged", || staged(&self.disk).is_empty()).await;
        sent(&self.leader) - self.before
    }
}

/// Flips a bit in the rows of a staged piece.
fn flip(disk: &MemoryDisk) {
    let key = staged(disk).swap_remove(20);
    let mut value = disk.get(Table::Raft, &key).unwrap().unwrap().to_vec();
    let middle = value.len() / 2;
    value[middle] ^= 1;
    let mut batch = Batch::default();
    batch.put(Table::Raft, key, value);
    drop(disk.submit(batch, Durability::Buffered));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_breaks_costs_no_more_than_what_was_on_its_way() {
    let bench = Bench::broken().await;
    let sent = bench.healed().await;
    assert!(sent <= bench.whole + SLACK, "{sent} sent, {} are all", bench.whole);
    assert_eq!((resumed(&bench.leader), resumed(&bench.learner)), (1, 1));
    let counts = ["whole", "broken"].map(|end| counted(&bench.learner, "quorate_snapshots_total", &["received", end]));
    assert_eq!(counts, [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_restarts_half_way_goes_on_where_it_was() {
    let bench = Bench::broken().await.restart(|_| ()).await;
    let sent = bench.healed().await;
    assert!(sent <= bench.whole + SLACK, "{sent} sent, {} are all", bench.whole);
    assert_eq!((resumed(&bench.leader), resumed(&bench.learner)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_after_all_pieces_costs_nothing() {
    let network = BreakingNetwork::default();
    let leader = cluster_with(tuning(), Arc::new(network.clone()), [MemoryDisk::default()]).await.remove(0);
    fill(&leader).await;
    let (disk, address) = (MemoryDisk::default(), free_address().await);
    let (breaking, at) = (network.clone(), address.clone());
    disk.before_replace(move || breaking.break_after(&at, 0));
    let join = Formation::Join { peers: vec![leader.address.clone()] };
    let learner = start(&network, join, &disk, &address).await;
    eventually("it is installed, and the leader does not know", || {
        has(&learner, &format!("n{:-<40}", 0)) && broken(&leader) > 0
    })
    .await;
    let all = sent(&leader);
    network.heal(&address);
    propose(std::slice::from_ref(&leader), namespace("end")).await.unwrap();
    eventually("the learner is level", || has(&learner, "end") && revision(&learner) == revision(&leader)).await;
    assert_eq!(sent(&leader), all, "nothing came again");
    assert!(shown(&learner) == shown(&leader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_that_flips_in_what_is_staged_makes_it_come_again() {
    let bench = Bench::broken().await.restart(flip).await;
    let sent = bench.healed().await;
    assert!(sent > bench.whole * 17 / 10, "{sent} sent, {} are all", bench.whole);
    assert_eq!(resumed(&bench.leader), 0);

    // A replica that does not restart looks again before it installs anything.
    let bench = Bench::broken().await;
    flip(&bench.disk);
    let sent = bench.healed().await;
    assert!(sent > bench.whole * 19 / 10, "{sent} sent, {} are all", bench.whole);
    assert_eq!(resumed(&bench.leader), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_applied_meanwhile_do_not_end_a_transfer_while_they_are_kept() {
    let bench = Bench::broken().await;
    propose(std::slice::from_ref(&bench.leader), namespace("meanwhile")).await.unwrap();
    let sent = bench.healed().await;
    assert!(has(&bench.learner, "meanwhile"));
    assert!(sent <= bench.whole + SLACK, "{sent} sent, {} are all", bench.whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_whose_successors_are_cut_off_is_not_sent_on() {
    let bench = Bench::broken().await;
    let at = revision(&bench.leader);
    for number in 0..120 {
        propose(std::slice::from_ref(&bench.leader), namespace(&format!("later{number}"))).await.unwrap();
    }
    eventually("the log is cut off", || bench.leader.replica.log_status().purged.unwrap_or(0) > at.0).await;
    let sent = bench.healed().await;
    assert!(sent > bench.whole * 17 / 10, "{sent} sent, {} are all", bench.whole);
    assert_eq!(resumed(&bench.leader), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_sends_a_view_of_its_own() {
    let network = BreakingNetwork::default();
    let disks: Vec<_> = (0..3).map(|_| MemoryDisk::default()).collect();
    let mut nodes = cluster_with(tuning(), Arc::new(network.clone()), disks.clone()).await;
    let at = leader(&nodes).await;
    let absent = (at + 1) % 3;
    let (disk, gone) = (disks[absent].clone(), nodes.remove(absent));
    let address = gone.address.clone();
    gone.replica.stop().await;
    let first = leader(&nodes).await;
    fill(&nodes[first]).await;
    eventually("the log is cut off", || nodes.iter().all(|node| node.replica.log_status().purged.unwrap_or(0) > 20))
        .await;

    network.break_after(&address, 100 * PIECE);
    let back = start(&network, Formation::Run, &disk, &address).await;
    eventually("the way breaks", || network.is_broken(&address) && broken(&nodes[first]) > 0).await;
    let left = staged(&disk);
    assert!(left.len() > 30, "{}", left.len());
    let other = nodes[1 - first].replica.identity().replica;
    assert_eq!(nodes[first].replica.transfer(Some(other), None).await, Ok(other));
    network.heal(&address);

    propose(&nodes, namespace("end")).await.unwrap();
    eventually("it is level", || has(&back, "end") && nodes.iter().all(|node| revision(node) == revision(&back))).await;
    assert!(shown(&back) == shown(&nodes[0]));
    assert_eq!(back.replica.view().check(), Vec::<String>::new());
    assert_eq!(resumed(&back), 0);
    eventually("nothing stays staged", || staged(&disk).is_empty()).await;
}
