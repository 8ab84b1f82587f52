//! Pools, taints and prices: what waits for the feature, what is refused, and that `apply` holds to them.

use std::sync::Arc;

use quorate_state::{
    Choice, Command, Epoch, Feature, GpuHold, Infeasible, Offer, PREFERENCES_MAX, Placement, PlacementOutcome,
    Preference, Rejection, Reply, TAINTS_MAX, TaskSpec, Trait,
};

use crate::cluster::{Cluster, id, job, task};

const FEATURE: Feature = Feature::PlaceConstraints;

fn tainted() -> Offer {
    Offer { taints: [("spot".to_owned(), "yes".to_owned())].into(), ..Offer::default() }
}

fn arrive(cluster: &mut Cluster, name: &str, uuid: u128, offer: Offer) -> Result<Reply, Rejection> {
    let Command::RegisterNode(mut registration) = cluster.registration(name, uuid, "eu", "eu-a") else { panic!() };
    registration.offer = Arc::new(offer);
    cluster.run(Command::RegisterNode(registration))
}

fn enabled() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.enable(FEATURE);
    cluster
}

fn tolerating() -> TaskSpec {
    let mut spec = task("x", &[]);
    spec.place.tolerate.insert("spot".into(), "*".into());
    spec
}

#[test]
fn neither_a_node_nor_a_task_says_anything_before_the_feature_is_enabled() {
    let mut cluster = Cluster::new();
    assert_eq!(arrive(&mut cluster, "n", 1, tainted()), Err(Rejection::FeatureNotEnabled(FEATURE)));
    assert_eq!(cluster.submit(1, job(vec![tolerating()])), Err(Rejection::FeatureNotEnabled(FEATURE)));
    cluster.enable(FEATURE);
    arrive(&mut cluster, "n", 1, tainted()).unwrap();
    cluster.submit(1, job(vec![tolerating()])).unwrap();
    assert_eq!(*cluster.state.node(&"n".parse().unwrap()).unwrap().offer, tainted());
}

#[test]
fn a_placement_against_a_taint_or_a_pool_is_refused() {
    for (offer, spec, expected) in [
        (tainted(), task("x", &[]), Some(Infeasible::Taint)),
        (tainted(), tolerating(), None),
        (Offer { pool: "gpu".parse().unwrap(), ..Offer::default() }, tolerating(), Some(Infeasible::Pool)),
    ] {
        let mut cluster = enabled();
        arrive(&mut cluster, "n", 1, offer).unwrap();
        cluster.submit(1, job(vec![spec])).unwrap();
        let generation = cluster.state.task(id(0)).unwrap().generation;
        let node = cluster.state.node(&"n".parse().unwrap()).unwrap();
        let (node, epoch): (_, Epoch) = (node.name.clone(), node.epoch);
        let placement = Placement { choice: Choice::FIRST, gpus: GpuHold::NONE, task: id(0), generation, node, epoch };
        let reply = cluster.run(Command::CommitPlan { placements: vec![placement] }).unwrap();
        let Reply::PlanCommitted(outcomes) = reply else { panic!("{reply:?}") };
        match (&outcomes[0], expected) {
            (PlacementOutcome::Placed(_), None) => {}
            (PlacementOutcome::Refused(why), Some(expected)) => assert_eq!(**why, Rejection::Infeasible(expected)),
            (outcome, expected) => panic!("{outcome:?}, not {expected:?}"),
        }
    }
}

#[test]
fn what_is_too_much_is_refused_with_the_limit_by_name() {
    let mut spec = tolerating();
    let of = Trait::Label { key: "disk".into(), value: "ssd".into() };
    spec.place.prefer = vec![Preference { of, weight: 101 }; PREFERENCES_MAX + 1];
    spec.place.prefer[1].weight = 0;
    spec.place.prefer[2].weight = -100;
    spec.place.cheap = 101;
    let Err(Rejection::Invalid(found)) = enabled().submit(1, job(vec![spec])) else { panic!("it is taken") };
    let found: Vec<String> = found.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
    assert!(found.contains(&"task.x.place.prefer: 17 preferences are over PREFERENCES_MAX (16)".to_owned()));
    assert!(
        found.contains(&"task.x.place.prefer[1].weight: 0 is not between 1 and 100, nor between -100 and -1".into())
    );
    assert!(!found.iter().any(|line| line.contains("prefer[2]")), "{found:?}");
    assert!(found.contains(&"task.x.place.cheap: 101 is above 100, the highest".to_owned()), "{found:?}");

    let many = (0..=TAINTS_MAX).map(|number| (format!("t{number}"), String::new())).collect();
    let offer = Offer { taints: many, ..Offer::default() };
    let refused = arrive(&mut enabled(), "n", 1, offer).unwrap_err().to_string();
    assert!(refused.contains("TAINTS_MAX (16)"), "{refused}");
}
