//! Pools, taints, prices and preferences in plans, scenario by scenario.

use quorate_scheduler::Latencies;
use quorate_scheduler::explain::survey;

use crate::world::{World, check};

#[test]
fn a_node_with_a_taint_takes_what_tolerates_it_alone() {
    check(
        "
        node a eu/eu-1 4000m 8Gi taint=spot:yes
        node b eu/eu-1 4000m 8Gi taint=spot:yes taint=team:ml
        job  j
        task x 1000m 1Gi
        task y 1000m 1Gi tolerate=spot:no
        task z 1000m 1Gi tolerate=spot:yes
        task w 4000m 1Gi tolerate=spot:* tolerate=team:ml
        ",
        "
        j/z[0] -> a
        j/w[0] -> b
        j/x[0] waits with 0: 2 TAINT
        j/y[0] waits with 0: 2 TAINT
        ",
    );
}

#[test]
fn a_pool_is_for_those_who_ask_for_it_and_others_keep_to_the_default_one() {
    check(
        "
        node a eu/eu-1 4000m 8Gi pool=gpu
        node b eu/eu-1 4000m 8Gi
        job  j
        task x 3000m 1Gi count=2
        task y 1000m 1Gi pools=gpu,default
        task z 1000m 1Gi pools=other
        task w 3000m 1Gi pools=gpu
        ",
        "
        j/x[0] -> b
        j/y[0] -> b
        j/w[0] -> a
        j/x[1] waits with 0: 1 POOL
        j/z[0] waits with 0: 2 POOL
        ",
    );
}

#[test]
fn a_preference_comes_before_packing_and_weights_are_added() {
    let nodes = "
        node a eu/eu-1 4000m 8Gi disk=ssd
        node b eu/eu-2 4000m 8Gi
        node c us/us-1 4000m 8Gi disk=ssd
        use  b 2000m 4Gi
        job  j
    ";
    for (options, chosen) in [
        ("", "b"),
        ("prefer=disk=ssd:1", "a"),
        ("prefer=disk=ssd:10 prefer=region:us:1", "c"),
        ("prefer=disk=*:10 prefer=region:us:-1", "a"),
        ("prefer=cluster:eu-1:-5 prefer=cluster:eu-2:-5", "c"),
        // One that nobody meets changes nothing.
        ("prefer=pool:gpu:100", "b"),
        // Where the emptiest cluster comes first, one that is preferred comes before it.
        ("spread=cluster", "a"),
        ("spread=cluster prefer=cluster:eu-2:1", "b"),
    ] {
        check(&format!("{nodes}\ntask x 1000m 1Gi {options}"), &format!("j/x[0] -> {chosen}"));
    }
}

#[test]
fn what_is_preferred_is_no_demand() {
    check(
        "
        node a eu/eu-1 2000m 8Gi disk=ssd
        node b eu/eu-1 2000m 8Gi
        job  j
        task x 1000m 1Gi count=4 prefer=disk=ssd:100
        ",
        "
        j/x[0] -> a
        j/x[1] -> a
        j/x[2] -> b
        j/x[3] -> b
        ",
    );
}

#[test]
fn a_low_price_counts_by_how_often_it_was_halved() {
    let nodes = "
        node a eu/eu-1 4000m 8Gi price=0.8
        node b eu/eu-1 4000m 8Gi price=0.1
        node c us/us-1 4000m 8Gi price=0.4
        node d us/us-1 4000m 8Gi
        use  d 2000m 4Gi
        job  j
    ";
    for (options, chosen) in [
        ("", "d"),
        // What says no price is not taken to be cheap.
        ("cheap=1", "b"),
        // A quarter of the price is twice ten.
        ("cheap=10 prefer=region:us:19", "b"),
        ("cheap=10 prefer=region:us:21", "c"),
        ("prefer=region:eu:1", "b"),
    ] {
        check(&format!("{nodes}\ntask x 1000m 1Gi {options}"), &format!("j/x[0] -> {chosen}"));
    }
}

#[test]
fn candidates_say_what_makes_each_as_good_as_it_is_and_misses_what_they_lack() {
    let world = World::of(
        "
        node a eu/eu-1 4000m 8Gi disk=ssd
        node b eu/eu-1 4000m 8Gi price=0.4
        node c eu/eu-1 1000m 8Gi
        node d eu/eu-1 4000m 8Gi taint=spot:yes
        job  j
        task x 2000m 2Gi prefer=disk=ssd:70 cheap=1
        ",
    );
    let survey = survey(&world.state, &world.observed, world.now(), world.find("j/x[0]"));
    let told = |at: usize| {
        let terms = survey.candidates[at].terms.iter().map(|term| format!("{} {}", term.name, term.value_milli));
        format!("{}: {}", survey.candidates[at].node, terms.collect::<Vec<_>>().join(", "))
    };
    assert_eq!(told(0), "a: reported 1000, preferences 70000, price 0, near 0, full 250, attempts 0");
    assert_eq!(told(1), "b: reported 1000, preferences 0, price 24781, near 0, full 250, attempts 0");
    let misses: Vec<_> = survey.misses.iter().map(|miss| (miss.node.as_str(), miss.check.as_str())).collect();
    assert_eq!((survey.candidates.len(), misses), (2, vec![("c", "TOO_SMALL"), ("d", "TAINT")]));
    assert_eq!(survey.misses[0].missing.cpu_milli, 1_000);
}

/// Where a task goes that reads `near`, when the regions are so far from each other.
fn placed_near(near: &str, options: &str, round_trips: &[(&str, &str, u64)]) -> String {
    let nodes = "
        node a eu/eu-1 4000m 8Gi
        node b us/us-1 4000m 8Gi price=0.4
        node c ap/ap-1 4000m 8Gi
        use  c 1000m 1Gi
        job  j
    ";
    let mut world = World::of(&format!("{nodes}\ntask x 1000m 1Gi near={near} {options}"));
    let region = |name: &str| name.parse().expect("a name");
    let round_trips = round_trips.iter().map(|(one, other, millis)| (region(one), region(other), millis * 1_000));
    world.observed.latencies = Latencies::new(round_trips);
    world.render(&world.plan())
}

#[test]
fn a_task_goes_where_most_of_its_data_lies() {
    for (near, chosen) in [("eu:10,us:9", "a"), ("eu:9,us:10", "b"), ("eu:5,us:7,eu:3", "a"), ("sa:100", "c")] {
        assert_eq!(placed_near(near, "", &[]), format!("j/x[0] -> {chosen}"), "{near}");
    }
    // Half of a weight of 50 is less than a price of 0.4 is worth by 2, which is 49.
    assert_eq!(placed_near("eu:10,us:9", "cheap=2", &[]), "j/x[0] -> b");
    // No data lies where there is no node, and it waits for none.
    assert_eq!(placed_near("us:1", "regions=eu", &[]), "j/x[0] -> a");
}

#[test]
fn where_a_task_cannot_be_with_its_data_the_nearest_region_is_best() {
    let far = [("sa", "eu", 200), ("sa", "us", 110), ("ap", "sa", 320)];
    assert_eq!(placed_near("sa:1", "", &far), "j/x[0] -> b");
    assert_eq!(placed_near("sa:1", "", &far[..1]), "j/x[0] -> a", "who is not known to be near is behind");
    // Two thirds lie in eu; from ap both are at hand.
    let middle = [("ap", "eu", 5), ("ap", "us", 5)];
    assert_eq!(placed_near("eu:6,us:5", "", &[("ap", "eu", 5), ("ap", "us", 5), ("eu", "us", 300)]), "j/x[0] -> c");
    assert_eq!(placed_near("eu:60,us:1", "", &middle), "j/x[0] -> a");
}
