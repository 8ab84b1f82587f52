//! Where tasks may run and would rather, in each way in which it can be said.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{Apart, AtMost, Balance, Company, Dataset, Near, NodeCondition, Preference, Topology, Trait};

/// A condition of some kind, or none.
pub(super) fn condition(kind: usize) -> Option<Arc<NodeCondition>> {
    let texts = ["node.gpus > 1", "node.labels[\"a.b\"] in ['x', \"\\\"y\\\"\"]\n  || !has(node.price)", "true"];
    texts.get(kind).map(|text| Arc::new(text.parse().expect("a condition")))
}

/// So many pieces of data, or none.
pub(super) fn near(count: usize) -> Near {
    let data = (1..=count as u64).map(|at| Dataset { region: "eu".parse().expect("a name"), bytes: at << (10 * at) });
    Near { data: data.collect(), weight: if count == 1 { 50 } else { 7 * count as u32 } }
}

/// Rules about other tasks of some kinds, or none.
pub(super) fn company(kind: usize) -> Company {
    if kind == 0 {
        return Company::default();
    }
    let per = [Topology::Node, Topology::Cluster, Topology::Region, Topology::Label("rack".into())][kind % 4].clone();
    let name = || "x-1".parse().expect("a name");
    Company {
        group: (kind == 1).then(|| "db".parse().expect("a name")),
        at_most: vec![AtMost { per: per.clone(), tasks: kind as u32 }],
        apart: if kind == 2 { vec![Apart { from: name(), per: per.clone() }] } else { Vec::new() },
        balance: if kind == 3 {
            vec![
                Balance { per, targets: [("a \"b\"".to_owned(), 2)].into() },
                Balance { per: Topology::Region, targets: BTreeMap::new() },
            ]
        } else {
            Vec::new()
        },
    }
}

/// A preference of one kind or of each, or none.
pub(super) fn wishes(kind: usize, key: String, value: String, weight: i32) -> Vec<Preference> {
    let name = || "x-1".to_owned();
    let of = match kind {
        0 => return Vec::new(),
        1 => vec![Trait::Label { key, value }],
        2 => vec![Trait::Pool(name().parse().expect("a name"))],
        _ => vec![
            Trait::Region(name().parse().expect("a name")),
            Trait::Cluster(name().parse().expect("a name")),
            Trait::Label { key, value: "*".to_owned() },
        ],
    };
    of.into_iter().map(|of| Preference { of, weight }).collect()
}
