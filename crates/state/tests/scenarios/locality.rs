//! Where the data lies that a task reads: what waits for the feature, and what is refused.

use quorate_state::{DATASETS_MAX, Dataset, Feature, NEAR_WEIGHT, Near, Rejection, TaskSpec};

use crate::cluster::{Cluster, job, task};

fn reading(bytes: &[u64], weight: u32) -> TaskSpec {
    let data = bytes.iter().map(|bytes| Dataset { region: "eu".parse().unwrap(), bytes: *bytes });
    let mut spec = task("x", &[]);
    spec.place.near = Near { data: data.collect(), weight };
    spec
}

#[test]
fn where_data_lies_waits_for_the_feature() {
    let mut cluster = Cluster::new();
    let spec = || job(vec![reading(&[1, 7 << 40], NEAR_WEIGHT)]);
    assert_eq!(cluster.submit(1, spec()), Err(Rejection::FeatureNotEnabled(Feature::DataLocality)));
    cluster.enable(Feature::DataLocality);
    cluster.submit(1, spec()).unwrap();
}

#[test]
fn it_waits_for_the_features_of_all_else_that_its_job_says() {
    let mut cluster = Cluster::new();
    cluster.enable(Feature::DataLocality);
    let mut spec = reading(&[1], NEAR_WEIGHT);
    spec.place.company.group = Some("db".parse().unwrap());
    spec.place.cheap = 1;
    for feature in [Feature::SpreadRules, Feature::PlaceConstraints] {
        assert_eq!(cluster.submit(1, job(vec![spec.clone()])), Err(Rejection::FeatureNotEnabled(feature)));
        cluster.enable(feature);
    }
    cluster.submit(1, job(vec![spec])).unwrap();
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_limit_by_name() {
    for (spec, expected) in [
        (reading(&[1; DATASETS_MAX + 1], 1), "task.x.place.near: 17 pieces of data are over DATASETS_MAX (16)"),
        (reading(&[1, 0], 1), "task.x.place.near[1].size: is 0: leave out what is not read"),
        (reading(&[1], 101), "task.x.place.near_weight: is not between 1 and 100"),
        (reading(&[1], 0), "task.x.place.near_weight: is not between 1 and 100"),
        (reading(&[], 1), "task.x.place.near_weight: says nothing without near"),
    ] {
        let mut cluster = Cluster::new();
        cluster.enable(Feature::DataLocality);
        let Err(Rejection::Invalid(found)) = cluster.submit(1, job(vec![spec])) else { panic!("it is taken") };
        assert_eq!(found.iter().map(|it| format!("{}: {}", it.field, it.message)).collect::<Vec<_>>(), [expected]);
    }
}
