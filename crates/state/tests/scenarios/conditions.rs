//! What must hold of a task's node: what waits for the feature, and that `apply` holds to it wherever somebody is given a node.

use std::sync::Arc;

use quorate_state::{
    Alternative, Choice, Command, Dataset, Epoch, Feature, GpuHold, Infeasible, Near, Offer, Placement,
    PlacementOutcome, Price, Rejection, Reply, Resources, TaskSpec,
};

use crate::cluster::{Cluster, id, job, task};

const FEATURE: Feature = Feature::PlaceWhere;

fn picky(text: &str) -> TaskSpec {
    let mut spec = task("x", &[]);
    spec.place.condition = Some(Arc::new(text.parse().unwrap()));
    spec
}

#[test]
fn a_condition_on_nodes_waits_for_the_feature() {
    let mut cluster = Cluster::new();
    let spec = || job(vec![picky("node.gpus > 1")]);
    assert_eq!(cluster.submit(1, spec()), Err(Rejection::FeatureNotEnabled(FEATURE)));
    cluster.enable(FEATURE);
    cluster.submit(1, spec()).unwrap();
}

#[test]
fn it_waits_for_the_features_of_all_else_that_its_job_says() {
    let mut cluster = Cluster::new();
    let mut spec = picky("node.gpus > 1");
    spec.place.cheap = 1;
    spec.place.near = Near { data: vec![Dataset { region: "eu".parse().unwrap(), bytes: 1 }], weight: 1 };
    let resources = Resources { cpu_milli: 1, memory_bytes: 1, gpu_milli: 0 };
    spec.alternatives = vec![Alternative { resources, gpu_models: vec![] }];
    let features = [Feature::ResourceAlternatives, Feature::DataLocality, FEATURE, Feature::PlaceConstraints];
    for feature in features {
        assert_eq!(cluster.submit(1, job(vec![spec.clone()])), Err(Rejection::FeatureNotEnabled(feature)));
        cluster.enable(feature);
    }
    cluster.submit(1, job(vec![spec])).unwrap();
}

#[test]
fn a_placement_against_it_is_refused_until_the_node_is_another_one() {
    let mut cluster = Cluster::new();
    cluster.enable(FEATURE);
    cluster.enable(Feature::PlaceConstraints);
    cluster.submit(1, job(vec![picky("node.labels.rack == 'r1' || node.price < 10")])).unwrap();
    let mut give = |rack: Option<&str>, price: u64| {
        let Command::RegisterNode(mut registration) = cluster.registration("n", 1, "eu", "eu-a") else { panic!() };
        registration.labels.extend(rack.map(|rack| ("rack".to_owned(), rack.to_owned())));
        registration.offer = Arc::new(Offer { price: Some(Price(price)), ..Offer::default() });
        cluster.run(Command::RegisterNode(registration)).unwrap();
        let generation = cluster.state.task(id(0)).unwrap().generation;
        let node = cluster.state.node(&"n".parse().unwrap()).unwrap();
        let (node, epoch): (_, Epoch) = (node.name.clone(), node.epoch);
        let placement = Placement { choice: Choice::FIRST, gpus: GpuHold::NONE, task: id(0), generation, node, epoch };
        let reply = cluster.run(Command::CommitPlan { placements: vec![placement] }).unwrap();
        let Reply::PlanCommitted(outcomes) = reply else { panic!("{reply:?}") };
        match outcomes.into_iter().next().unwrap() {
            PlacementOutcome::Placed(_) => None,
            PlacementOutcome::Refused(why) => Some(*why),
        }
    };
    let refused = Some(Rejection::Infeasible(Infeasible::Where));
    assert_eq!(give(Some("r2"), 10), refused);
    assert_eq!(give(None, 10), refused, "whether it holds cannot be decided");
    assert_eq!(give(None, 9), None);
}
