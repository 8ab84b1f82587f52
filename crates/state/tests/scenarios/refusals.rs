//! An item that is refused half-way leaves nothing behind, and takes nothing of the items around it along.

use quorate_state::{Command, Rejection, Reply};

use crate::cluster::Cluster;

fn namespace(name: &str) -> Command {
    Command::CreateNamespace { namespace: name.parse().unwrap() }
}

#[test]
fn items_refused_half_way_leave_the_others_of_their_entry_alone() {
    let mut cluster = Cluster::new();
    cluster.register("n1", 7, "eu", "one").unwrap();
    // Its cluster is written before it is found that its name is taken.
    let late = |cluster: &Cluster, of: &str| cluster.registration("n1", 8, "us", of);
    let commands = vec![
        namespace("before"),
        late(&cluster, "two"),
        namespace("between"),
        late(&cluster, "three"),
        late(&cluster, "one"),
        cluster.registration("n2", 9, "us", "four"),
        late(&cluster, "five"),
        namespace("after"),
    ];
    let replies = cluster.entry(commands.into_iter().map(|command| (None, command)).collect());
    let taken = |reply: &Result<Reply, Rejection>| matches!(reply, Err(Rejection::NodeNameTaken { .. }));
    assert_eq!(replies.iter().map(taken).collect::<Vec<_>>(), [false, true, false, true, false, false, true, false]);
    assert!(matches!(replies[4], Err(Rejection::ClusterInOtherRegion { .. })));
    let namespaces: Vec<_> = cluster.state.namespaces().map(|row| row.name.to_string()).collect();
    assert_eq!(namespaces, ["acme", "after", "before", "between"]);
    let clusters: Vec<_> = cluster.state.clusters().map(|found| found.name.to_string()).collect();
    assert_eq!(clusters, ["four", "one"]);
    let nodes: Vec<_> = cluster.state.nodes().map(|node| node.name.to_string()).collect();
    assert_eq!(nodes, ["n1", "n2"]);
}
