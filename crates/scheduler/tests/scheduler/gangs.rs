//! Gangs: whole or not at all, where they fit tightest, and in their turn.

use quorate_scheduler::Budget;
use quorate_scheduler::explain::{Explanation, explain};
use quorate_scheduler::placement::{PLACEMENTS_PER_PLAN_MAX, Planner, plan};
use quorate_state::{AttemptPhase, Command, TaskState};

use crate::world::{World, job, resources, task};

#[track_caller]
fn check(scenario: &str, expected: &[&str]) -> World {
    let mut world = World::of(scenario);
    let plan = world.plan();
    assert_eq!(world.render(&plan).lines().collect::<Vec<_>>(), expected);
    world.commit(&plan);
    world
}

fn why(world: &World, task: &str) -> String {
    explain(&world.state, &world.observed, world.now(), world.find(task)).to_string()
}

#[test]
fn a_gang_that_does_not_fit_whole_is_not_placed_and_holds_up_nobody() {
    let world = check(
        "node a eu/eu-1 2000m 4Gi
         node b eu/eu-1 1000m 4Gi
         job j
         task g 1000m 1Gi count=4 gang=anywhere
         task s 1000m 1Gi count=2",
        &["j/s[0] -> b", "j/s[1] -> a", "j/g[0] waits with 3"],
    );
    assert_eq!(
        why(&world, "j/g[1]"),
        "1 of the 4 members of its gang fit now, and it is placed whole; for one more: no node fits (2 too full); \
         nearest is a, short of 1000m cpu"
    );
}

#[test]
fn without_a_domain_one_cluster_is_better_than_two_and_two_than_three() {
    let nodes = "node a1 eu/a 2000m 4Gi
         node a2 eu/a 2000m 4Gi
         node b1 eu/b 3000m 4Gi
         node c1 us/c 8000m 8Gi
         job j";
    // The tightest cluster that holds it: not the one with the most room.
    let one = format!("{nodes}\ntask g 1000m 1Gi count=3 gang=anywhere");
    check(&one, &["j/g[0] -> b1", "j/g[1] -> b1", "j/g[2] -> b1"]);
    let world = World::of(&format!("{nodes}\ntask g 1000m 1Gi count=11 gang=anywhere"));
    let plan = world.plan();
    let on = |name: &str| plan.all_placements().filter(|placement| placement.node.as_str().starts_with(name)).count();
    assert_eq!((on("c"), on("a"), on("b")), (8, 3, 0), "{}", world.render(&plan));
}

#[test]
fn within_a_domain_means_in_one_of_them() {
    let nodes = "node a1 eu/a 2000m 4Gi rack=1
         node a2 eu/a 1000m 4Gi rack=2
         node b1 eu/b 2000m 4Gi rack=2
         node c1 us/c 2000m 8Gi
         job j";
    let with = |within: &str, count: u32| format!("{nodes}\ntask g 1000m 1Gi count={count} gang={within}");
    check(&with("cluster", 3), &["j/g[0] -> a2", "j/g[1] -> a1", "j/g[2] -> a1"]);
    check(&with("rack", 3), &["j/g[0] -> a2", "j/g[1] -> b1", "j/g[2] -> b1"]);
    check(&with("region", 2), &["j/g[0] -> c1", "j/g[1] -> c1"]);
    let world = check(&with("cluster", 4), &["j/g[0] waits with 3"]);
    assert_eq!(
        why(&world, "j/g[0]"),
        "3 of the 4 members of its gang fit now, in a, and it is placed whole; for one more: no node fits (2 too full); \
         nearest is a1, short of 1000m cpu"
    );
    let found = explain(&world.state, &world.observed, world.now(), world.find("j/g[3]"));
    let Explanation::Gang(waits) = found else { panic!("{found:?}") };
    assert_eq!((waits.members, waits.ready, waits.fits, waits.domain.as_deref()), (4, 4, 3, Some("a")));
    check(&with("region", 5), &["j/g[0] -> a2", "j/g[1] -> a1", "j/g[2] -> a1", "j/g[3] -> b1", "j/g[4] -> b1"]);
}

#[test]
fn devices_are_counted_one_by_one() {
    let nodes = "node a eu/eu-1 8000m 8Gi gpus=A:2
         node b eu/eu-1 8000m 8Gi gpus=A:1
         job j";
    check(&format!("{nodes}\ntask g 100m 1Gi count=4 gang=anywhere gpu=600"), &["j/g[0] waits with 3"]);
    let world = World::of(&format!("{nodes}\ntask g 100m 1Gi count=6 gang=anywhere gpu=500"));
    assert_eq!(world.plan().placed(), 6);
}

#[test]
fn a_gang_waits_until_all_of_it_is_in_the_queue() {
    let mut world = check(
        "node a eu/eu-1 2000m 4Gi
         job j
         task g 1000m 1Gi count=2 gang=anywhere loss=fenced attempts=2",
        &["j/g[0] -> a", "j/g[1] -> a"],
    );
    let first = quorate_state::AttemptId { task: world.find("j/g[0]"), number: 1 };
    let second = quorate_state::AttemptId { task: world.find("j/g[1]"), number: 1 };
    world.report(first, AttemptPhase::Ended, Some(1));
    world.report(second, AttemptPhase::Ended, Some(1));
    let waits: Vec<_> = world.state.timers().collect();
    world.pass(1_000);
    world.apply(Command::FireTimers { timers: waits[..1].to_vec() });
    world.apply(Command::FireTimers { timers: waits[..1].to_vec() });
    assert_eq!(world.state.task(first.task).unwrap().state, TaskState::Ready);
    assert_eq!(world.plan().placed(), 0);
    assert_eq!(
        why(&world, "j/g[0]"),
        "1 of the 2 members of its gang stand in the queue: it is placed when the others do"
    );
    world.apply(Command::FireTimers { timers: waits });
    assert_eq!(world.plan().placed(), 2);
}

#[test]
fn a_gang_is_never_divided_between_two_plans() {
    let mut world = World::empty();
    world.node("a", "eu", "eu-1", resources("2000000m", "64Gi"));
    let mut spec = job("j", &[]);
    let singles = format!("count={}", PLACEMENTS_PER_PLAN_MAX - 100);
    spec.tasks.push(task("s", resources("1m", "1Mi"), &[&singles]));
    spec.tasks.push(task("g", resources("1m", "1Mi"), &["count=200", "gang=anywhere"]));
    spec.tasks.push(task("h", resources("1m", "1Mi"), &["count=200", "gang=anywhere"]));
    world.submit(spec);
    world.release();
    let mut planner = Planner::default();
    let mut sizes = vec![];
    while world.state.ready_count() > 0 {
        let plan = planner.plan(&world.state, &world.observed, world.now(), 7, Budget::default());
        sizes.push(plan.placed());
        world.commit(&plan);
    }
    assert_eq!(sizes, [PLACEMENTS_PER_PLAN_MAX - 100, 400]);
}

#[test]
fn any_budget_places_a_gang() {
    let world = World::of(
        "node a eu/eu-1 2000m 4Gi
         node b eu/eu-1 2000m 4Gi
         job j
         task g 1000m 1Gi count=4 gang=cluster",
    );
    for steps in 1..8 {
        let plan = plan(&world.state, &world.observed, world.now(), 7, Budget { steps });
        assert_eq!(plan.placed(), 4, "with {steps} steps");
    }
}
