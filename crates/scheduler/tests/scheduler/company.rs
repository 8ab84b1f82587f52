//! Rules about other tasks: how many may be in one place, who stays apart from whom, and how elements are spread.

use proptest::prelude::*;
use quorate_scheduler::explain::explain;
use quorate_state::{AttemptPhase, Infeasible, TaskSpec};

use crate::world::{World, check, job, resources, task};

fn why(world: &World, task: &str) -> String {
    explain(&world.state, &world.observed, world.now(), world.find(task)).to_string()
}

#[test]
fn no_node_takes_more_elements_of_a_step_than_it_may() {
    check(
        "
        node a eu/eu-1 8000m 8Gi
        node b eu/eu-1 8000m 8Gi
        job  j
        task x 1000m 1Gi count=3 atmost=node/1
        task y 1000m 1Gi count=5 atmost=node/2
        task z 1000m 1Gi
        ",
        "
        j/x[0] -> a
        j/x[1] -> b
        j/y[0] -> a
        j/y[1] -> a
        j/y[2] -> b
        j/y[3] -> b
        j/z[0] -> a
        j/x[2] waits with 0: 2 APART
        j/y[4] waits with 0: 2 APART
        ",
    );
}

#[test]
fn a_domain_may_be_a_cluster_a_region_or_the_value_of_a_label() {
    let nodes = "
        node a eu/eu-1 8000m 8Gi rack=1
        node b eu/eu-1 8000m 8Gi rack=2
        node c eu/eu-2 8000m 8Gi rack=2
        node d us/us-1 8000m 8Gi
        job  j
    ";
    for (rule, expected) in [
        ("cluster/1", "j/x[0] -> a\nj/x[1] -> c\nj/x[2] -> d\nj/x[3] waits with 1: 4 APART"),
        ("region/2", "j/x[0] -> a\nj/x[1] -> a\nj/x[2] -> d\nj/x[3] -> d\nj/x[4] waits with 0: 4 APART"),
        // What says nothing of its rack is in none.
        ("label:rack/1", "j/x[0] -> a\nj/x[1] -> b\nj/x[2] waits with 2: 4 APART"),
    ] {
        check(&format!("{nodes}\ntask x 1000m 1Gi count=5 atmost={rule}"), expected);
    }
}

/// Whoever of the two comes first.
#[test]
fn who_stays_apart_from_a_group_meets_none_of_it() {
    let nodes = "
        node a eu/eu-1 8000m 8Gi
        node b eu/eu-1 8000m 8Gi
    ";
    check(
        &format!("{nodes}\njob j\ntask x 1000m 1Gi group=db\ntask y 1000m 1Gi count=2 apart=db/node"),
        "j/x[0] -> a\nj/y[0] -> b\nj/y[1] -> b",
    );
    check(
        &format!("{nodes}\njob j\ntask x 1000m 1Gi apart=db/node\ntask y 1000m 1Gi count=2 group=db"),
        "j/x[0] -> a\nj/y[0] -> b\nj/y[1] -> b",
    );
    // One of a group that stays apart from itself is alone.
    check(
        &format!("{nodes}\njob j\ntask x 1000m 1Gi count=3 group=db apart=db/node"),
        "j/x[0] -> a\nj/x[1] -> b\nj/x[2] waits with 0: 2 APART",
    );
    // Others of the same names in another namespace do not count, nor does a group that nobody is in.
    check(&format!("{nodes}\njob j\ntask x 1000m 1Gi count=2 apart=cache/region"), "j/x[0] -> a\nj/x[1] -> a");
}

#[test]
fn what_runs_counts_until_it_is_gone() {
    let mut world = World::of(
        "
        node a eu/eu-1 8000m 8Gi
        job  first
        task x 1000m 1Gi group=db
        ",
    );
    let plan = world.plan();
    world.commit(&plan);
    let attempt = world.state.task(world.find("first/x[0]")).unwrap().newest_attempt().unwrap();
    let mut second = job("second", &[]);
    second.tasks.push(task("y", resources("1000m", "1Gi"), &["apart=db/node"]));
    world.submit(second);
    world.release();
    assert_eq!(world.render(&world.plan()), "second/y[0] waits with 0: 1 APART");
    assert_eq!(
        why(&world, "second/y[0]"),
        "no node fits (1 too near to other tasks); nearest is a, too near to other tasks"
    );
    world.report(attempt, AttemptPhase::Running, None);
    world.report(attempt, AttemptPhase::Ended, Some(0));
    assert_eq!(world.render(&world.plan()), "second/y[0] -> a");
}

#[test]
fn elements_are_spread_by_the_shares_of_domains() {
    let nodes = "
        node a eu/eu-1 8000m 8Gi zone=1
        node b eu/eu-1 8000m 8Gi zone=2
        node c eu/eu-2 8000m 8Gi zone=3
        node d us/us-1 8000m 8Gi
        job  j
    ";
    let on = |options: &str, count: u32| {
        let world = World::of(&format!("{nodes}\ntask x 100m 64Mi count={count} {options}"));
        let plan = world.plan();
        ["a", "b", "c", "d"].map(|node| plan.placements.iter().filter(|placed| placed.node.as_str() == node).count())
    };
    assert_eq!(on("", 6), [6, 0, 0, 0]);
    assert_eq!(on("balance=label:zone", 6), [2, 2, 2, 0]);
    assert_eq!(on("balance=label:zone/1=4,2=2", 6), [4, 2, 0, 0]);
    assert_eq!(on("balance=region", 6), [3, 0, 0, 3]);
    // Evenly over regions first, then over the clusters of each.
    assert_eq!(on("balance=region balance=cluster", 8), [2, 0, 2, 4]);
    // A wish, not a bound: where there is no room, it goes elsewhere.
    assert_eq!(on("balance=label:zone/2=1", 90), [5, 80, 5, 0]);
}

#[test]
fn members_of_a_gang_may_each_want_a_node_of_their_own() {
    let nodes = "
        node a eu/eu-1 8000m 8Gi
        node b eu/eu-1 8000m 8Gi
        node c eu/eu-1 1000m 8Gi
        job  j
    ";
    check(
        &format!("{nodes}\ntask g 1000m 1Gi count=3 gang=cluster atmost=node/1"),
        "j/g[0] -> c\nj/g[1] -> a\nj/g[2] -> b",
    );
    let world = World::of(&format!("{nodes}\ntask g 1000m 1Gi count=4 gang=cluster atmost=node/1"));
    assert_eq!(world.render(&world.plan()), "j/g[0] waits with 3");
    assert_eq!(
        why(&world, "j/g[0]"),
        "3 of the 4 members of its gang fit now, in eu-1, and it is placed whole; for one more: no node fits (1 too full, \
         2 too near to other tasks); nearest is c, short of 1000m cpu"
    );
}

#[test]
fn runs_of_the_same_shape_have_rules_of_their_own() {
    check(
        "
        node a eu/eu-1 8000m 8Gi
        job  j
        task x 1000m 1Gi count=2 atmost=node/1
        job  k
        task x 1000m 1Gi count=2 atmost=node/1
        ",
        "
        j/x[0] -> a
        k/x[0] -> a
        j/x[1] waits with 0: 1 APART
        k/x[1] waits with 0: 1 APART
        ",
    );
}

const RULES: [&[&str]; 8] = [
    &["atmost=node/1"],
    &["atmost=cluster/3", "atmost=node/2"],
    &["group=db"],
    &["group=db", "apart=db/node"],
    &["apart=db/cluster"],
    &["apart=db/label:rack", "group=web"],
    &["apart=web/node", "balance=cluster"],
    &["atmost=label:rack/2", "balance=label:rack/1=3,2=1"],
];

proptest! {
    /// What is planned breaks no rule, is accepted whole, and leaves nothing waiting that has a place.
    #[test]
    fn a_plan_keeps_to_all_rules_and_leaves_no_place(
        nodes in prop::collection::vec((0..3_usize, 0..3_u64, 1..6_u64), 1..7),
        tasks in prop::collection::vec((0..RULES.len(), 1_u32..5, 1..4_u64), 1..7),
    ) {
        let mut world = World::empty();
        for (at, (cluster, rack, size)) in nodes.iter().enumerate() {
            let (name, cpu) = (format!("n{at}"), format!("{size}000m"));
            world.node(&name, "eu", &format!("eu-{cluster}"), resources(&cpu, "64Gi"));
            if *rack > 0 {
                world.flag(&name, &format!("rack={rack}"));
            }
        }
        for (at, (rules, count, cpu)) in tasks.iter().enumerate() {
            let mut spec = job(&format!("j{at}"), &[]);
            let wants = resources(&format!("{cpu}000m"), "1Gi");
            spec.tasks.push(TaskSpec { count: *count, ..task("x", wants, RULES[*rules]) });
            world.submit(spec);
        }
        world.release();
        let plan = world.plan();
        world.commit(&plan);
        prop_assert_eq!(world.plan().placed(), 0);
        // By the rules' own words, task by task and node by node.
        let waiting: Vec<_> = world.state.ready().map(|key| key.task).collect();
        for task in waiting {
            let run = world.state.run(task.run).unwrap().clone();
            for node in world.state.nodes() {
                let mut census = quorate_state::Census::of_state();
                let rules = census.rules(&world.state, &run, task.step);
                let room = world.state.room_on(node);
                let fits = quorate_state::feasible(node, room, &run.spec.tasks[task.step as usize]);
                let keeps = census.admits(&rules, node);
                prop_assert!(fits.is_err() || keeps == Err(Infeasible::Apart), "{:?} fits on {}", task, node.name);
            }
        }
    }
}
