//! What the loss of a region means for what ran there: where the planner puts it, when it asks to be woken, what it says.

use std::collections::BTreeSet;

use quorate_scheduler::Budget;
use quorate_scheduler::explain::{Explanation, explain, why_not};
use quorate_scheduler::forecast::Forecast;
use quorate_scheduler::placement::plan;
use quorate_state::{DrainTime, OnRegionLoss, TaskId};

use crate::world::World;

/// `stay`, `move:MILLISECONDS` or `move:MILLISECONDS:REGION,REGION`.
pub(crate) fn policy(text: &str) -> OnRegionLoss {
    let mut words = text.split(':');
    match words.next() {
        Some("stay") => OnRegionLoss::Stay,
        Some("move") => OnRegionLoss::MoveAfter {
            after_ms: words.next().expect("milliseconds").parse().expect("a number"),
            spill: words
                .next()
                .map_or(vec![], |names| names.split(',').map(|name| name.parse().expect("a name")).collect()),
        },
        _ => panic!("not what the loss of a region means: {text}"),
    }
}

/// A task with this policy runs on `a` in eu; there are nodes in us and in asia, too.
fn world(options: &str) -> World {
    let mut world = World::of(&format!(
        "
        node a eu/eu-1 2000m 8Gi
        node b us/us-1 2000m 8Gi cordoned
        node c asia/asia-1 2000m 8Gi cordoned
        job  j
        task x 1000m 1Gi {options}
        ",
    ));
    world.commit(&world.plan());
    for node in ["b", "c"] {
        world.change(node, |node| node.cordoned = false);
    }
    world
}

fn lose(world: &mut World, nodes: &[&str]) {
    for node in nodes {
        world.flag(node, "lost");
    }
    world.release();
}

fn placed(world: &World) -> Vec<String> {
    let plan = world.plan();
    plan.all_placements().map(|placement| placement.node.to_string()).collect()
}

#[track_caller]
fn check_why(world: &World, expected: &str) {
    let why = explain(&world.state, &world.observed, world.now(), world.find("j/x[0]"));
    assert_eq!(why.to_string(), expected);
}

#[test]
fn what_says_nothing_goes_where_there_is_room() {
    let mut world = world("");
    lose(&mut world, &["a"]);
    assert_eq!(placed(&world), ["c"]);
}

#[test]
fn what_stays_waits_with_a_reason_that_names_its_region_and_what_frees_it() {
    let mut world = world("home=stay");
    lose(&mut world, &["a"]);
    for _ in 0..2 {
        world.pass(100_000_000);
        assert!(placed(&world).is_empty());
        assert_eq!(world.step("placement").wake_at, None, "time alone changes nothing");
    }
    check_why(
        &world,
        "region eu, where it ran, is lost since 200000000 ms, and on_region_loss binds it to that: it goes on when a node of eu is up",
    );
    let (task, node) = (world.find("j/x[0]"), world.get("b"));
    let why = explain(&world.state, &world.observed, world.now(), task);
    let fitness = why_not(&world.state, &world.observed, world.now(), task, &node, &why).unwrap();
    let failed: Vec<String> = fitness.failed.iter().map(|it| format!("{} | {}", it.wanted, it.found)).collect();
    assert_eq!(failed, ["region eu, by what its job says of the loss of a region | us"]);
    world.node("d", "eu", "eu-2", crate::world::resources("2000m", "8Gi"));
    assert_eq!(placed(&world), ["d"]);
    check_why(&world, "about to be placed on node d");
}

#[test]
fn what_moves_is_looked_at_again_when_its_time_is_over() {
    let mut world = world("home=move:5000");
    lose(&mut world, &["a"]);
    assert!(placed(&world).is_empty());
    let decision = world.step("placement");
    assert_eq!((decision.commands.len(), decision.wake_at), (0, Some(world.served.plus(5_000))));
    world.pass(4_999);
    assert!(placed(&world).is_empty());
    check_why(
        &world,
        "region eu, where it ran, is lost since 4999 ms, and on_region_loss binds it to that: it goes on when a node of eu is up, or elsewhere in 1 ms",
    );
    world.pass(1);
    assert_eq!(placed(&world), ["c"]);
}

#[test]
fn what_spills_goes_to_the_first_region_that_has_room() {
    let mut world = world("home=move:0:asia,us count=4 spread=node");
    // Two fit on `a`, the other two went nowhere: nothing else took work.
    lose(&mut world, &["a"]);
    let home = |world: &World| {
        let plan = world.plan();
        let of = |placement: &quorate_state::Placement| {
            let home = world.state.task(placement.task).unwrap().home.as_ref().map(ToString::to_string);
            format!("{} of {} to {}", placement.task.index, home.unwrap_or_default(), placement.node)
        };
        plan.all_placements().map(of).collect::<Vec<_>>()
    };
    assert_eq!(home(&world), ["0 of eu to c", "1 of eu to c", "2 of  to b", "3 of  to b"]);
    world.flag("c", "cordoned");
    assert_eq!(home(&world)[..2], ["0 of eu to b", "1 of eu to b"]);
    world.flag("b", "cordoned");
    let why = explain(&world.state, &world.observed, world.now(), world.find("j/x[0]"));
    let Explanation::NoNodeFits(why) = why else { panic!("{why:?}") };
    assert!(why.to_string().starts_with("on_region_loss binds it to region asia or us: no node fits"), "{why}");
}

#[test]
fn what_its_region_has_no_room_for_waits_there_while_that_lives() {
    let mut world = world("home=move:0");
    world.node("d", "eu", "eu-2", crate::world::resources("500m", "8Gi"));
    lose(&mut world, &["a"]);
    assert!(placed(&world).is_empty());
    check_why(
        &world,
        "on_region_loss binds it to region eu: no node fits (1 lost, 2 in other regions, 1 too small); \
         nearest is d, short of 500m cpu",
    );
    lose(&mut world, &["d"]);
    assert_eq!(placed(&world), ["c"]);
}

#[test]
fn a_drained_region_lets_go_of_what_moves_before_its_time() {
    let mut world = world("home=move:50000");
    world.withdraw("region eu", Some(DrainTime { wait_ms: 0, for_ms: None }));
    let evicted = world.step("drain");
    assert_eq!(evicted.commands.len(), 1, "it can go elsewhere: {:?}", evicted.report);
    let mut stays = self::world("home=stay");
    stays.withdraw("region eu", Some(DrainTime { wait_ms: 0, for_ms: None }));
    assert_eq!(stays.step("drain").commands.len(), 0, "it would have nowhere to go");
}

#[test]
fn a_forecast_tells_who_stays_who_moves_and_when() {
    let mut world = World::of(
        "
        node a eu/eu-1 8000m 16Gi
        node b us/us-1 8000m 16Gi cordoned
        job  j
        task stays 1000m 1Gi home=stay count=2
        task moves 1000m 1Gi home=move:60000
        task later 1000m 1Gi home=move:3600000
        task free 1000m 1Gi
        ",
    );
    world.commit(&world.plan());
    world.change("b", |node| node.cordoned = false);
    let mut forecast = Forecast::new(&world.state, &world.observed, world.now(), |node| node.region.as_str() == "eu");
    while forecast.step() {}
    let fate = forecast.fate();
    let lease_ms = world.get("a").lease.server_ms;
    let told: Vec<_> =
        fate.steps.iter().map(|it| (it.moved.values().sum::<u64>(), it.waiting, it.staying, it.moved_ms)).collect();
    assert_eq!(told, [(0, 2, 2, 0), (1, 0, 0, lease_ms + 60_000), (0, 1, 1, 0), (1, 0, 0, lease_ms)]);
    assert_eq!((fate.settled_ms, fate.is_whole), (lease_ms + 60_000, true));
    let reasons: Vec<String> = fate.steps.iter().filter_map(|it| it.reason.as_ref()).map(ToString::to_string).collect();
    assert!(
        reasons[0].contains("region eu, where it ran, is lost") && reasons[1].contains("or elsewhere in "),
        "{reasons:?}"
    );
}

/// The elements of a step that ran in several regions stand in several lines. However small the plans, each of them is given one place,
/// and none is forgotten.
#[test]
fn a_step_with_elements_of_several_regions_is_planned_whole_with_any_budget() {
    let scenario = "
        node a eu/eu-1 4000m 8Gi
        node b us/us-1 4000m 8Gi
        node c asia/asia-1 4000m 8Gi
        job  j
        task x 1000m 1Gi home=stay count=12 spread=node
        job  k priority=40
        task y 9000m 1Gi
        ";
    let mut world = World::of(scenario);
    world.commit(&world.plan());
    lose(&mut world, &["a", "b", "c"]);
    // Those of asia, the first among the lines, have to wait.
    for (node, region) in [("d", "eu"), ("e", "us")] {
        world.node(node, region, &format!("{region}-1"), crate::world::resources("4000m", "8Gi"));
    }
    assert_eq!(world.state.lines().filter(|line| line.shape().home().is_some()).count(), 3);
    // With fewer, a plan does not come past those.
    for steps in 4..80 {
        let mut world = world.clone();
        let mut done: BTreeSet<TaskId> = BTreeSet::new();
        for round in 0..200 {
            let plan = plan(&world.state, &world.observed, world.now(), round, Budget { steps });
            let tasks: Vec<TaskId> = plan.placements.iter().map(|placement| placement.task).collect();
            assert!(tasks.iter().all(|task| done.insert(*task)), "two places, with {steps} steps: {tasks:?}");
            let is_over = plan.placements.is_empty() && !plan.report.truncated;
            world.commit(&plan);
            if is_over {
                break;
            }
        }
        assert_eq!(done.len(), 8, "with {steps} steps");
    }
}
