//! What must hold of a task's node, in plans and in what is said of those who wait.

use quorate_scheduler::Budget;
use quorate_scheduler::explain::explain;
use quorate_scheduler::placement::Planner;
use quorate_state::{Change, Command, Feature, FeatureRow, Millis, Preemption, Revision};

use crate::world::{World, check, job, resources, task};

#[test]
fn a_task_goes_where_its_condition_holds_and_nowhere_else() {
    check(
        r#"
        node a eu/eu-1 4000m 8Gi disk=hdd price=0.2
        node b eu/eu-1 8000m 8Gi
        node c us/us-1 4000m 8Gi disk=ssd taint=spot:yes gpus=A:4
        job  j
        task u 1000m 1Gi where=node.labels.disk!="ssd"
        task v 1000m 1Gi where=!(node.labels.disk=="hdd")||node.cpu_milli>=8000 spread=cluster
        task w 1000m 1Gi where="spot"in(node.taints)&&node.gpus>=4 tolerate=spot:* spread=node
        task x 1000m 1Gi where=has(node.price)&&node.price<10000
        task y 1000m 1Gi where=node.region=="us"
        task z 1000m 1Gi where=node.memory>8589934592 gpu=1000
        "#,
        "
        j/u[0] -> a
        j/v[0] -> b
        j/w[0] -> c
        j/x[0] waits with 0: 1 TAINT, 2 WHERE
        j/y[0] waits with 0: 1 TAINT, 2 WHERE
        j/z[0] waits with 0: 1 TAINT, 2 WHERE
        ",
    );
}

#[test]
fn tasks_that_differ_in_nothing_else_are_told_apart() {
    check(
        r#"
        node a eu/eu-1 1000m 8Gi
        node b us/us-1 4000m 8Gi
        job  j
        task x 1000m 1Gi count=2 where=node.region=="eu"
        task y 1000m 1Gi count=2 where=node.region=="us"
        task z 1000m 1Gi count=2 where=node.region!="eu"
        "#,
        "
        j/x[0] -> a
        j/y[0] -> b
        j/y[1] -> b
        j/z[0] -> b
        j/z[1] -> b
        j/x[1] waits with 0: 1 WHERE
        ",
    );
}

#[test]
fn what_a_node_says_anew_counts_from_the_next_plan_on() {
    let mut world = World::of(
        r#"
        node a eu/eu-1 4000m 8Gi
        job  j
        task x 1000m 1Gi where=node.labels.disk=="ssd"
        "#,
    );
    let mut planner = Planner::default();
    let mut plan =
        |world: &World| planner.plan(&world.state, &world.observed, world.now(), 7, Budget::default()).placements.len();
    assert_eq!(plan(&world), 0);
    world.flag("a", "disk=ssd");
    assert_eq!(plan(&world), 1);
    world.flag("a", "disk=hdd");
    assert_eq!(plan(&world), 0);
}

#[test]
fn nobody_is_stopped_for_room_on_a_node_for_which_it_does_not_hold() {
    let mut world = World::empty();
    let row = FeatureRow { feature: Feature::Preemption, revision: Revision(0), at: Millis(0) };
    world.state.commit(&Change::Feature(row));
    let preemption = Preemption { by_priority: true, gap: 10, spare_ms: 0, times_max: 4, ..Preemption::OFF };
    world.apply(Command::SetPreemption { preemption });
    for node in ["a", "b"] {
        world.node(node, "eu", "eu-1", resources("1000m", "1Gi"));
        world.occupy(node, resources("1000m", "1Mi"), &[]);
    }
    for (condition, stopped) in [("where=node.name==\"b\"", Some("b")), ("where=node.name==\"c\"", None)] {
        let mut urgent = job(&format!("urgent-{}", stopped.unwrap_or("nowhere")), &["priority=100"]);
        urgent.tasks.push(task("x", resources("1000m", "1Mi"), &[condition]));
        let mut world = world.clone();
        world.submit(urgent);
        world.release();
        let nodes: Vec<String> =
            world.plan().preemptions.iter().map(|preempting| preempting.node.to_string()).collect();
        assert_eq!(nodes, stopped.into_iter().collect::<Vec<_>>(), "{condition}");
    }
}

#[test]
fn who_waits_is_told_how_many_nodes_it_does_not_hold_for() {
    let world = World::of(
        r#"
        node a eu/eu-1 4000m 8Gi
        node b eu/eu-1 4000m 8Gi disk=hdd
        job  j
        task x 1000m 1Gi where=node.labels.disk=="ssd"
        "#,
    );
    let why = explain(&world.state, &world.observed, world.now(), world.find("j/x[0]")).to_string();
    assert!(why.contains("(2 for which its place.where does not hold)"), "{why}");
}
