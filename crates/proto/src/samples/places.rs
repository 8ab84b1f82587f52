//! What tasks say of where they would be, and nodes of themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Apart, AtMost, Balance, Command, Company, Dataset, Near, Offer, Place, Preference, Price, Registration, Topology,
    Trait,
};

use super::{RUN, registration, specs};
use crate::convert::job::spec_digest;

/// What a node says of itself that has a pool, taints and a price.
pub(crate) fn offer() -> Arc<Offer> {
    let taints = BTreeMap::from([("spot".into(), "yes".into()), ("team".into(), String::new())]);
    Arc::new(Offer { pool: "gpu".parse().unwrap(), taints, price: Some(Price(35_000)) })
}

/// Where a task may run that says all that can be said.
fn choosy() -> Place {
    let label = Trait::Label { key: "disk".into(), value: "ssd".into() };
    let traits = [
        label,
        Trait::Pool("gpu".parse().unwrap()),
        Trait::Region("eu".parse().unwrap()),
        Trait::Cluster("eu-1".parse().unwrap()),
    ];
    Place {
        pools: vec!["gpu".parse().unwrap(), "default".parse().unwrap()],
        tolerate: BTreeMap::from([("spot".into(), "*".into())]),
        prefer: traits.into_iter().zip([1, -1, 100, -100]).map(|(of, weight)| Preference { of, weight }).collect(),
        cheap: 20,
        ..Place::default()
    }
}

/// What a task says of others that says all that can be said.
fn company() -> Company {
    let label = || Topology::Label("rack".into());
    let per = [Topology::Node, Topology::Cluster, Topology::Region, label()];
    let balance = |per: Topology, targets: &[(&str, u32)]| {
        let targets = targets.iter().map(|(domain, share)| ((*domain).to_owned(), *share));
        Balance { per, targets: targets.collect() }
    };
    Company {
        group: Some("db".parse().unwrap()),
        at_most: per.into_iter().zip(1..).map(|(per, tasks)| AtMost { per, tasks }).collect(),
        apart: vec![Apart { from: "web".parse().unwrap(), per: label() }],
        balance: vec![balance(Topology::Region, &[]), balance(label(), &[("a", 2), ("b", 1)])],
    }
}

/// Where a task reads its data.
fn near() -> Near {
    let data = |region: &str, bytes| Dataset { region: region.parse().unwrap(), bytes };
    Near { data: vec![data("eu", 1), data("us", 40 << 30)], weight: 60 }
}

pub(super) fn constraint_commands() -> Vec<Command> {
    let mut bound = specs().remove(1);
    bound.tasks[0].place = choosy();
    let mut social = specs().remove(1);
    social.tasks[0].place.company = company();
    let mut reading = specs().remove(1);
    reading.tasks[0].place.near = near();
    let registration = Registration { offer: offer(), attempts: vec![], ..registration() };
    vec![
        Command::SubmitJob { run: RUN, spec_digest: spec_digest(&bound), spec: Arc::new(bound) },
        Command::SubmitJob { run: RUN, spec_digest: spec_digest(&social), spec: Arc::new(social) },
        Command::SubmitJob { run: RUN, spec_digest: spec_digest(&reading), spec: Arc::new(reading) },
        Command::RegisterNode(Box::new(registration)),
    ]
}

pub(super) fn where_commands() -> Vec<Command> {
    let mut picky = specs().remove(1);
    let condition = "node.labels[\"zone\"] in ['a', 'b'] && !(node.gpus < 4)";
    picky.tasks[0].place.condition = Some(Arc::new(condition.parse().unwrap()));
    vec![Command::SubmitJob { run: RUN, spec_digest: spec_digest(&picky), spec: Arc::new(picky) }]
}
