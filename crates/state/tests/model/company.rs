//! Tasks with rules about other tasks, placed by whoever asks for it.

use quorate_state::{Apart, AtMost, Balance, Company, OnNodeLoss, Place, TaskSpec, Topology};

use crate::{name, task};

/// Some that stay apart from others, on three nodes of one cluster.
pub(super) fn social() -> Vec<TaskSpec> {
    let at_most = |per, tasks| AtMost { per, tasks };
    let apart = |from: &str, per| Apart { from: name(from), per };
    let with = |text, count, promise, company| TaskSpec {
        place: Place { company, ..Place::default() },
        ..task(text, &[], count, 100, promise)
    };
    let spread = Company {
        at_most: vec![at_most(Topology::Node, 1), at_most(Topology::Region, 4)],
        balance: vec![Balance { per: Topology::Cluster, targets: [("eu-a".to_owned(), 2)].into() }],
        ..Company::default()
    };
    let member = Company { group: Some(name("db")), at_most: vec![at_most(Topology::Node, 2)], ..Company::default() };
    let alone = Company { group: Some(name("db")), apart: vec![apart("db", Topology::Node)], ..Company::default() };
    let wary =
        Company { apart: vec![apart("db", Topology::Node), apart("web", Topology::Cluster)], ..Company::default() };
    vec![
        with("spread", 3, OnNodeLoss::AtLeastOnce, spread),
        with("member", 3, OnNodeLoss::Fenced, member),
        with("alone", 2, OnNodeLoss::AtLeastOnce, alone),
        with("wary", 2, OnNodeLoss::AtMostOnce, wary),
    ]
}
