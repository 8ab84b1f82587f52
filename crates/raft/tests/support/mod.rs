//! Replicas in one process, over real sockets on the loopback.

pub(crate) mod breaking_network;
pub(crate) mod far_network;
pub(crate) mod memory_disk;
pub(crate) mod silent_network;
pub(crate) mod slow_disk;

use std::sync::Arc;
use std::time::Duration;

use quorate_raft::{Addresses, Config, Error, Formation, ProposeError, Replica, Role, Seams, Tuning};
use quorate_seams::{Disk, Network, Shutdown, ShutdownHandle, SystemClock, SystemEntropy, TcpNetwork};
use quorate_state::{Command, Item, Namespace, Principal, RegionName, Rejection, Reply, Revision, Settings};

/// For anything that should happen at all.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn tuning() -> Tuning {
    // Leadership stays where it is while this machine does something else for a while.
    Tuning {
        heartbeat_ms: 100,
        election_ms_min: 1_000,
        election_ms_max: 2_000,
        snapshot_entries: 50,
        keep_entries: 0,
        digest_every: 10,
        ..Tuning::default()
    }
}

/// One running replica.
pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) address: String,
    pub(crate) shutdown: ShutdownHandle,
}

pub(crate) async fn try_start(formation: Formation, disk: impl Disk, listen: &str) -> Result<Node, Error> {
    try_start_as(formation, disk, listen, false).await
}

pub(crate) async fn try_start_as(
    formation: Formation,
    disk: impl Disk,
    listen: &str,
    learner: bool,
) -> Result<Node, Error> {
    try_start_with(tuning(), Arc::new(TcpNetwork), formation, disk, listen, learner).await
}

/// The same with another tuning.
pub(crate) async fn try_start_tuned(tuning: Tuning, formation: Formation, disk: impl Disk) -> Result<Node, Error> {
    try_start_with(tuning, Arc::new(TcpNetwork), formation, disk, "127.0.0.1:0", false).await
}

/// A replica that joins without asking for a vote.
pub(crate) async fn learner(peer: &Node, disk: impl Disk) -> Node {
    let join = Formation::Join { peers: vec![peer.address.clone()] };
    try_start_as(join, disk, "127.0.0.1:0", true).await.unwrap()
}

/// The same with everything that can be chosen.
pub(crate) async fn try_start_with(
    tuning: Tuning,
    network: Arc<dyn Network>,
    formation: Formation,
    disk: impl Disk,
    listen: &str,
    learner: bool,
) -> Result<Node, Error> {
    let (shutdown, asked) = Shutdown::new();
    let config = Config {
        formation,
        region: RegionName::new("eu").unwrap(),
        listen: listen.into(),
        advertise: Addresses { raft: String::new(), api: format!("api of {listen}"), agent: "agent".into() },
        learner,
        tuning,
    };
    let seams = Seams { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), network, disk: Arc::new(disk) };
    let replica = Box::pin(Replica::start(config, seams, asked)).await?;
    let address = replica.raft_address().to_string();
    Ok(Node { replica, address, shutdown })
}

pub(crate) async fn start(formation: Formation, disk: impl Disk, listen: &str) -> Node {
    try_start(formation, disk, listen).await.unwrap()
}

/// A cluster of `disks.len()` voters, bootstrapped.
pub(crate) async fn cluster<D: Disk>(disks: impl IntoIterator<Item = D>) -> Vec<Node> {
    cluster_with(tuning(), Arc::new(TcpNetwork), disks).await
}

/// The same with another tuning, on another network.
pub(crate) async fn cluster_with<D: Disk>(
    tuning: Tuning,
    network: Arc<dyn Network>,
    disks: impl IntoIterator<Item = D>,
) -> Vec<Node> {
    let mut nodes: Vec<Node> = vec![];
    for disk in disks {
        let formation = match nodes.first() {
            None => Formation::Init,
            Some(first) => Formation::Join { peers: vec![first.address.clone()] },
        };
        let started = try_start_with(tuning.clone(), network.clone(), formation, disk, "127.0.0.1:0", false).await;
        nodes.push(started.unwrap());
    }
    let count = nodes.len();
    eventually("all are voters", || {
        nodes.iter().all(|node| {
            let members = node.replica.members().replicas;
            members.len() == count && members.iter().all(|member| member.voter) && node.replica.is_settled()
        })
    })
    .await;
    let settings = Box::new(Settings::default());
    let cluster = nodes[0].replica.identity().cluster;
    let reply = propose(&nodes, Command::Bootstrap { cluster, incarnation: 0, settings }).await;
    assert_eq!(reply, Ok(Reply::Done));
    nodes
}

/// Waits until `holds`, looking often; complains after a long while.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
}

pub(crate) fn leads(node: &Node) -> bool {
    matches!(*node.replica.role().borrow(), Role::Leader { ready: true, .. })
}

/// The position of the leader among the nodes, once there is one.
pub(crate) async fn leader(nodes: &[Node]) -> usize {
    eventually("somebody leads", || nodes.iter().any(leads)).await;
    nodes.iter().position(leads).unwrap_or(0)
}

pub(crate) fn item(command: Command) -> Item {
    Item { principal: Principal::controller(), request: None, command }
}

pub(crate) fn namespace(name: &str) -> Command {
    Command::CreateNamespace { namespace: Namespace::new(name).unwrap() }
}

pub(crate) fn has(node: &Node, name: &str) -> bool {
    node.replica.view().has_namespace(&Namespace::new(name).unwrap())
}

/// Proposes to whoever leads, as a client does: again after anything but an answer.
pub(crate) async fn propose(nodes: &[Node], command: Command) -> Result<Reply, Rejection> {
    let trying = async {
        loop {
            for node in nodes.iter().filter(|node| leads(node)) {
                if let Ok(answer) = node.replica.propose(item(command.clone())).await {
                    return answer;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("an answer")
}

/// Proposes once; `true` when it was acknowledged.
pub(crate) async fn propose_once(node: &Node, command: Command) -> Result<bool, ProposeError> {
    node.replica.propose(item(command)).await.map(|answer| answer.is_ok())
}

pub(crate) fn revision(node: &Node) -> Revision {
    node.replica.view().revision()
}

/// What these tests put into the state, in an order of its own.
pub(crate) fn shown(node: &Node) -> String {
    let view = node.replica.view();
    let namespaces: Vec<_> = view.namespaces().collect();
    format!("{:?} {:?} {namespaces:?}", view.meta(), view.settings())
}
