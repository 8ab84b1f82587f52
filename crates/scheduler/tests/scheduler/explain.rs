//! Why a task is not running, and what a job would meet.

use quorate_scheduler::explain::{Explanation, explain, preview};
use quorate_state::{Command, JobSpec};

use crate::world::{World, job, resources, task};

#[track_caller]
fn check(world: &World, task: &str, expected: &str) {
    assert_eq!(why(world, task).to_string(), expected);
}

fn why(world: &World, task: &str) -> Explanation {
    explain(&world.state, &world.observed, world.now(), world.find(task))
}

#[test]
fn what_a_task_needs_is_named_until_all_of_it_succeeded() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi count=2
        task y 1000m 1Gi
        task z 1000m 1Gi needs=y,x
    ",
    );
    check(&world, "j/z[0]", "waiting for y, x to succeed");
    for left in ["waiting for y, x to succeed", "waiting for y to succeed"] {
        world.commit(&world.plan());
        world.end_all(0);
        check(&world, "j/z[0]", left);
    }
    world.commit(&world.plan());
    world.end_all(0);
    check(&world, "j/z[0]", "all it needs has succeeded: it is about to be queued");
    world.release();
    check(&world, "j/z[0]", "about to be placed on node a");
    world.commit(&world.plan());
    check(&world, "j/z[0]", "placed on node a: its agent has not started it yet");
    world.end_all(1);
    check(&world, "j/z[0]", "failed for good after 1 of its tries: exit code 1");
}

#[test]
fn a_failed_try_waits_for_its_backoff() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi attempts=2
    ",
    );
    world.commit(&world.plan());
    world.end_all(1);
    world.pass(400);
    check(&world, "j/x[0]", "tried again in 600 ms");
}

#[test]
fn a_fenced_task_names_the_node_of_its_lost_copy() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi loss=fenced
    ",
    );
    world.commit(&world.plan());
    world.flag("a", "lost");
    check(&world, "j/x[0]", "its copy on lost node a is certainly gone in 3000 ms at the latest");
}

#[test]
fn the_only_copy_on_a_lost_node_is_waited_for() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi loss=at_most_once
    ",
    );
    world.commit(&world.plan());
    world.flag("a", "lost");
    world.pass(100_000);
    check(&world, "j/x[0]", "its copy is on lost node a, which may come back with it for another 500000 ms");
}

#[test]
fn a_task_of_a_cancelled_run_says_so() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi
        task y 1000m 1Gi needs=x
    ",
    );
    let run = world.find("j/x[0]").run;
    world.apply(Command::CancelRun { run });
    check(&world, "j/x[0]", "its run is being cancelled");
    check(&world, "j/y[0]", "its run is being cancelled");
}

#[test]
fn a_task_of_a_paused_run_says_who_paused_it_and_why() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi
        task y 1000m 1Gi needs=x
    ",
    );
    let run = world.find("j/x[0]").run;
    world.control(Command::PauseRun { run, reason: "the disk is full".into() });
    check(&world, "j/x[0]", "its run is paused");
    let Explanation::Paused(pause) = why(&world, "j/x[0]") else { panic!("it is paused") };
    assert_eq!(&*pause.reason, "the disk is full");
    assert_eq!(Some(&pause), world.state.run(run).unwrap().paused.as_ref());
    check(&world, "j/y[0]", "waiting for x to succeed");
}

#[test]
fn a_task_behind_others_knows_its_position() {
    let world = World::of(
        "
        node a eu/eu-1 2000m 8Gi
        job  first
        task x 1000m 1Gi count=2
        job  second
        task x 1000m 1Gi count=2
    ",
    );
    check(&world, "first/x[1]", "about to be placed on node a");
    check(&world, "second/x[1]", "3 tasks are before it in the queue and take the room");
}

#[test]
fn the_nearest_miss_is_the_least_shortfall_relative_to_the_node() {
    let world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        node b eu/eu-1 4000m 8Gi
        node c eu/eu-1 10000m 16Gi
        node d us/us-1 64000m 64Gi
        node e eu/eu-1 64000m 64Gi cordoned
        use  b 2000m 1Gi
        use  c 8500m 1Gi
        job  j
        task x 2500m 1Gi regions=eu
    ",
    );
    // Missing on a: 1500m of 1000m; on b: 500m of 4000m; on c: 1000m of 10000m.
    check(
        &world,
        "j/x[0]",
        "no node fits (1 cordoned, 1 in other regions, 1 too small, 2 too full); nearest is c, short of 1000m cpu",
    );
}

#[test]
fn without_a_node_that_only_lacks_room_the_one_that_passes_most_checks_is_nearest() {
    let world = World::of(
        "
        node a eu/eu-1 4000m 8Gi lost
        node b eu/eu-1 4000m 8Gi cordoned
        node c us/us-1 1000m 8Gi
        job  j
        task x 2000m 1Gi regions=eu
    ",
    );
    check(&world, "j/x[0]", "no node fits (1 lost, 1 cordoned, 1 in other regions); nearest is c, in other regions");
}

#[test]
fn a_node_without_the_labels_is_named_before_its_room_is_looked_at() {
    let world = World::of(
        "
        node a eu/eu-1 1000m 8Gi disk=ssd
        node b us/us-1 8000m 8Gi
        job  j
        task x 2000m 1Gi regions=eu,us label=disk:nvme
    ",
    );
    let why = "no node could hold it even when empty (2 without the labels it demands); nearest is b, without the labels it demands";
    check(&world, "j/x[0]", why);
}

#[test]
fn a_task_that_nothing_can_ever_hold_is_told_so() {
    let world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        node b us/us-1 64000m 8Gi
        job  j
        task x 6000m 1Gi regions=eu
    ",
    );
    check(
        &world,
        "j/x[0]",
        "no node could hold it even when empty (1 in other regions, 1 too small); nearest is a, short of 2000m cpu",
    );
    let empty = World::of(
        "
        job  j
        task x 1000m 1Gi
    ",
    );
    check(&empty, "j/x[0]", "there is no node yet");
}

#[test]
fn a_lost_node_that_could_hold_it_may_come_back() {
    let world = World::of(
        "
        node a eu/eu-1 4000m 8Gi lost
        job  j
        task x 1000m 1Gi
    ",
    );
    check(&world, "j/x[0]", "no node fits (1 lost); nearest is a, lost");
}

#[test]
fn a_node_that_shrank_below_its_use_misses_the_difference_too() {
    let mut world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        use  a 4000m 1Gi
        job  j
        task x 1000m 1Gi
    ",
    );
    world.change("a", |node| node.capacity.cpu_milli = 3_000);
    check(&world, "j/x[0]", "no node fits (1 too full); nearest is a, short of 2000m cpu");
    world.change("a", |node| node.capacity.cpu_milli += 2_000);
    assert_eq!(world.render(&world.plan()), "j/x[0] -> a");
}

fn spec(tasks: &[(&str, &str, &str, &[&str])]) -> JobSpec {
    let mut spec = job("j", &[]);
    spec.tasks = tasks.iter().map(|(name, cpu, memory, options)| task(name, resources(cpu, memory), options)).collect();
    spec
}

#[test]
fn a_preview_counts_what_would_fit_now_and_when_empty() {
    let world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        node b us/us-1 2000m 8Gi
        node c us/us-1 64000m 64Gi lost
        use  a 3000m 1Gi
    ",
    );
    let spec = spec(&[
        ("x", "1000m", "1Gi", &["count=100"]),
        ("y", "1000m", "1Gi", &["count=4"]),
        ("z", "2000m", "1Gi", &["regions=eu"]),
        ("n", "8000m", "1Gi", &[]),
        ("free", "0m", "0Mi", &["count=9"]),
    ]);
    let steps = preview(&world.state, &spec);
    let lines: Vec<String> = steps
        .iter()
        .map(|step| {
            let reason = step.reason.as_ref().map_or("-".to_owned(), ToString::to_string);
            format!("{} {} of {} empty, {} now: {reason}", step.task, step.fits_empty, step.count, step.fits_now)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "x 6 of 100 empty, 3 now: -",
            "y 4 of 4 empty, 3 now: -",
            "z 1 of 1 empty, 0 now: no node fits (1 lost, 1 in other regions, 1 too full); nearest is a, short of 1000m cpu",
            "n 0 of 1 empty, 0 now: no node fits (1 lost, 2 too small); nearest is a, short of 7000m cpu",
            "free 9 of 9 empty, 9 now: -",
        ]
    );
    assert!(steps.iter().all(|step| step.examined));
}
