//! Pools, taints, prices and preferences in plans, scenario by scenario.

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
    assert_eq!(told(0), "a: reported 1000, preferences 70000, price 0, full 250, attempts 0");
    assert_eq!(told(1), "b: reported 1000, preferences 0, price 24781, full 250, attempts 0");
    let misses: Vec<_> = survey.misses.iter().map(|miss| (miss.node.as_str(), miss.check.as_str())).collect();
    assert_eq!((survey.candidates.len(), misses), (2, vec![("c", "TOO_SMALL"), ("d", "TAINT")]));
    assert_eq!(survey.misses[0].missing.cpu_milli, 1_000);
}
