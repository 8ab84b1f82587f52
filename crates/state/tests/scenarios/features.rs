//! Features: what waits for one, how it is enabled, and what the first of them allows.

use quorate_state::{Command, Feature, Rejection, Reply, Revision};

use crate::cluster::{Cluster, id, job, task};

const CORDON: Feature = Feature::NodeCordon;

fn enable(term: u64) -> Command {
    Command::EnableFeature { feature: CORDON, term }
}

fn cordon(node: &str, cordoned: bool) -> Command {
    Command::CordonNode { node: node.parse().unwrap(), cordoned }
}

/// A cluster with a node, whose leader has term 1.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster
}

#[test]
fn nothing_is_enabled_before_there_is_a_cluster() {
    let mut cluster = Cluster { state: Default::default(), revision: 0, elapsed: 0, changes: 0, events: Vec::new() };
    assert_eq!(cluster.run(enable(1)), Err(Rejection::NotBootstrapped));
}

#[test]
fn what_waits_for_a_feature_is_refused_until_it_is_enabled() {
    let mut cluster = cluster();
    let before = cluster.state.clone();
    assert_eq!(cluster.run(cordon("n", true)), Err(Rejection::FeatureNotEnabled(CORDON)));
    assert_eq!(before.node(&"n".parse().unwrap()), cluster.state.node(&"n".parse().unwrap()));
    cluster.run(enable(1)).unwrap();
    assert_eq!(cluster.run(cordon("n", true)), Ok(Reply::Done));
}

#[test]
fn a_feature_is_enabled_once_and_what_follows_in_the_same_entry_may_use_it() {
    let mut cluster = cluster();
    let replies = cluster.entry(vec![(None, enable(1)), (None, cordon("n", true)), (None, enable(1))]);
    assert_eq!(replies, [Ok(Reply::Counted(1)), Ok(Reply::Done), Ok(Reply::Counted(0))]);
    let rows: Vec<_> = cluster.state.features().copied().collect();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].feature, rows[0].revision), (CORDON, Revision(cluster.revision)));
    cluster.run(enable(1)).unwrap();
    assert_eq!(cluster.state.features().copied().collect::<Vec<_>>(), rows, "the first entry stands");
}

/// Whoever asked the members led another term: somebody may have joined since.
#[test]
fn answers_of_another_term_enable_nothing() {
    let mut cluster = cluster();
    for term in [0, 2] {
        assert!(matches!(cluster.run(enable(term)), Err(Rejection::Stale(_))), "term {term}");
        assert!(!cluster.state.has_feature(CORDON));
    }
}

#[test]
fn a_cordoned_node_takes_nothing_and_stays_so_when_it_comes_back() {
    let mut cluster = cluster();
    cluster.run(enable(1)).unwrap();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    assert_eq!(cluster.run(cordon("m", true)), Err(Rejection::UnknownNode("m".parse().unwrap())));
    cluster.run(cordon("n", true)).unwrap();
    let changes = cluster.changes;
    cluster.run(cordon("n", true)).unwrap();
    assert!(cluster.changes < changes, "asked for again, it changes nothing");
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    assert!(cluster.state.node(&"n".parse().unwrap()).unwrap().cordoned);
    cluster.run(cordon("n", false)).unwrap();
    cluster.place(id(0), "n");
}
