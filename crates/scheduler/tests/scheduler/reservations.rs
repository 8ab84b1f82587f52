//! Nodes that are set aside: who goes there when, before it and in it, and what those are told who wait.

use std::collections::BTreeSet;

use quorate_scheduler::Budget;
use quorate_scheduler::explain::{Check, Explanation, NotReserved, explain, why_not};
use quorate_scheduler::placement::Planner;
use quorate_state::{Command, NodeName, ReservationName, Unreserved};

use crate::world::{World, job, lines, namespace, resources, task};

fn reserve(world: &mut World, nodes: &[&str], wait_ms: u64, for_ms: u64) {
    let nodes: BTreeSet<NodeName> = nodes.iter().map(|node| node.parse().unwrap()).collect();
    let reservation: ReservationName = "spring".parse().unwrap();
    world.apply(Command::Reserve { reservation, namespace: namespace(), nodes, wait_ms, for_ms });
}

#[track_caller]
fn plans(world: &World, expected: &str) {
    assert_eq!(world.render(&world.plan()), lines(expected));
}

#[test]
fn before_its_time_nodes_take_what_will_have_ended_and_in_it_what_asks() {
    let mut world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        node b eu/eu-1 2000m 8Gi
        job  j
        task ours 2000m 1Gi count=3 reservation=spring
        task endless 2000m 1Gi count=2
        task long 2000m 1Gi timeout=50000
        task short 2000m 1Gi count=2 timeout=40000
        ",
    );
    reserve(&mut world, &["a"], 60_000, 60_000);
    // What takes 50 s may begin 10 s later, and be killed 3 s after that.
    plans(
        &world,
        "
        j/endless[0] -> b
        j/short[0] -> a
        j/short[1] -> a
        j/endless[1] waits with 0: 1 KEPT
        j/long[0] waits with 0: 1 KEPT
        ",
    );
    let asks = explain(&world.state, &world.observed, world.now(), world.find("j/ours[0]"));
    let from = world.state.reservations().next().unwrap().from;
    let told =
        NotReserved { name: "spring".parse().unwrap(), why: Unreserved::Until(from), remaining_ms: Some(60_000) };
    assert_eq!(asks, Explanation::NotReserved(told));
    assert_eq!(world.step("reservations").wake_at, Some(from));
    world.pass(60_000);
    assert_eq!(world.drive("reservations").commands.len(), 1);
    plans(
        &world,
        "
        j/ours[0] -> a
        j/ours[1] -> a
        j/endless[0] -> b
        j/ours[2] waits with 0: 1 NOT_RESERVED
        j/endless[1] waits with 3: 1 RESERVED
        ",
    );
    world.pass(60_000);
    world.drive("reservations");
    assert_eq!(world.state.reservations_count(), 0);
    let over = explain(&world.state, &world.observed, world.now(), world.find("j/ours[0]"));
    assert!(over.to_string().contains("there is none, or it is over: make it with"), "{over}");
}

#[test]
fn a_planner_that_has_worked_decides_as_one_that_knows_nothing() {
    let mut world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        node b eu/eu-1 4000m 8Gi
        node c eu/eu-1 4000m 8Gi
        ",
    );
    let mut planner = Planner::default();
    let mut submit = |world: &mut World, number: u64| {
        let mut spec = job(&format!("j{number}"), &[]);
        spec.tasks.push(task("ours", resources("1000m", "1Gi"), &["reservation=spring"]));
        spec.tasks.push(task("any", resources("1000m", "1Gi"), &["count=2"]));
        spec.tasks.push(task("short", resources("3000m", "1Gi"), &["timeout=5000"]));
        world.submit(spec);
        world.release();
        let kept = planner.plan(&world.state, &world.observed, world.now(), 7, Budget::default());
        assert_eq!(kept, world.plan(), "after {number}");
        world.commit(&kept);
    };
    submit(&mut world, 0);
    reserve(&mut world, &["b", "c"], 30_000, 30_000);
    submit(&mut world, 1);
    submit(&mut world, 2);
    world.pass(30_000);
    world.drive("reservations");
    submit(&mut world, 3);
    world.end_all(0);
    submit(&mut world, 4);
    world.apply(Command::EndReservation { reservation: "spring".parse().unwrap() });
    submit(&mut world, 5);
}

#[test]
fn a_node_says_what_it_is_set_aside_for() {
    let mut world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        node b eu/eu-1 4000m 8Gi
        job  j
        task ours 1000m 1Gi reservation=spring
        task any 1000m 1Gi
        ",
    );
    reserve(&mut world, &["a"], 0, 60_000);
    let failed = |task: &str, node: &str| {
        let (task, node) = (world.find(task), world.get(node));
        let why = explain(&world.state, &world.observed, world.now(), task);
        let found = why_not(&world.state, &world.observed, world.now(), task, &node, &why).unwrap();
        let told = found.failed.iter().map(|failed| (failed.check, failed.wanted.clone(), failed.found.clone()));
        told.collect::<Vec<_>>()
    };
    let told = |check, wanted: &str, found: &str| vec![(check, wanted.to_owned(), found.to_owned())];
    assert_eq!(failed("j/ours[0]", "a"), []);
    assert_eq!(failed("j/ours[0]", "b"), told(Check::Unreserved, "reservation spring", "reservation none"));
    assert_eq!(failed("j/any[0]", "a"), told(Check::Reserved, "reservation none", "reservation spring"));
    assert_eq!(failed("j/any[0]", "b"), []);
}

#[test]
fn nobody_is_moved_or_stopped_for_room_on_nodes_that_are_set_aside() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        use  a 1000m 1Gi
        job  j priority=90
        task any 1000m 1Gi
        task ours 1000m 1Gi reservation=spring
        ",
    );
    let row = quorate_state::FeatureRow {
        feature: quorate_state::Feature::Preemption,
        revision: quorate_state::Revision(0),
        at: quorate_state::Millis(0),
    };
    world.state.commit(&quorate_state::Change::Feature(row));
    let preemption = quorate_state::Preemption { by_priority: true, ..quorate_state::Preemption::OFF };
    world.apply(Command::SetPreemption { preemption });
    world.pass(3_600_000);
    assert_eq!(world.plan().preemptions.len(), 1, "there would be room");
    reserve(&mut world, &["a"], 10_000, 60_000);
    assert_eq!(world.plan().preemptions.len(), 0, "it is kept");
    world.pass(10_000);
    world.drive("reservations");
    let plan = world.plan();
    let by: Vec<String> = plan.preemptions.iter().map(|made| world.name(made.task)).collect();
    assert_eq!(by, ["j/ours[0]"], "who asks for it stops others there, as anywhere");
}

#[test]
fn all_members_of_a_gang_go_onto_nodes_that_are_set_aside_or_none() {
    let mut world = World::of(
        "
        node a eu/eu-1 2000m 8Gi
        node b eu/eu-1 2000m 8Gi
        node c eu/eu-1 2000m 8Gi
        job  j
        task ours 2000m 1Gi count=2 gang=anywhere reservation=spring
        task more 2000m 1Gi count=3 gang=anywhere reservation=spring
        task endless 2000m 1Gi count=2 gang=anywhere
        task short 2000m 1Gi count=3 gang=anywhere timeout=40000
        ",
    );
    reserve(&mut world, &["a", "b"], 60_000, 60_000);
    let short = "
        j/short[0] -> a
        j/short[1] -> b
        j/short[2] -> c
        j/endless[0] waits with 1
        ";
    plans(&world, short);
    let told = |world: &World, task| explain(&world.state, &world.observed, world.now(), world.find(task)).to_string();
    assert_eq!(told(&world, "j/ours[0]"), "the time of reservation spring begins in 1 min 0 s");
    assert!(told(&world, "j/endless[0]").contains("are kept for tasks before it or for a reservation"));
    world.pass(60_000);
    world.drive("reservations");
    let ours = "
        j/ours[0] -> a
        j/ours[1] -> b
        j/more[0] waits with 2
        j/endless[0] waits with 1
        j/short[0] waits with 2
        ";
    plans(&world, ours);
    let more = told(&world, "j/more[0]");
    assert!(
        more.starts_with("2 of the 3 members of its gang fit now") && more.contains("1 not of its reservation"),
        "{more}"
    );
    let endless = told(&world, "j/endless[0]");
    assert!(endless.contains("2 set aside for a reservation"), "{endless}");
}
