//! Plans, scenario by scenario.

use quorate_scheduler::Budget;
use quorate_scheduler::placement::{PLACEMENTS_PER_PLAN_MAX, plan};
use quorate_state::{Command, Resources, TaskSpec};

use crate::world::{World, check, job, resources, task};

#[test]
fn nothing_ready_is_an_empty_plan() {
    check("node a eu/eu-1 4000m 8Gi", "");
}

#[test]
fn pack_takes_the_fullest_node_that_holds_the_task() {
    check(
        "
        node a eu/eu-1 4000m 8Gi
        node b eu/eu-1 4000m 8Gi
        use  b 1000m 2Gi
        job  j
        task x 2000m 2Gi
        task y 2000m 2Gi
        ",
        "
        j/x[0] -> b
        j/y[0] -> a
        ",
    );
}

#[test]
fn a_name_decides_only_between_nodes_that_are_alike() {
    for (short_of_cpu, short_of_memory) in [("a", "b"), ("b", "a")] {
        check(
            &format!(
                "
                node a eu/eu-1 2000m 2Gi
                node b eu/eu-1 2000m 2Gi
                use  {short_of_cpu} 1000m 0Gi
                use  {short_of_memory} 0m 1Gi
                job  j
                task x 500m 512Mi
                "
            ),
            &format!("j/x[0] -> {short_of_cpu}"),
        );
    }
}

#[test]
fn pack_leaves_the_large_node_whole() {
    check(
        "
        node a eu/eu-1 16000m 64Gi
        node b eu/eu-1 4000m 8Gi
        job  j
        task x 1000m 1Gi count=4
        ",
        "
        j/x[0] -> b
        j/x[1] -> b
        j/x[2] -> b
        j/x[3] -> b
        ",
    );
}

#[test]
fn spread_over_nodes_takes_the_emptiest() {
    check(
        "
        node a eu/eu-1 4000m 8Gi
        node b eu/eu-1 4000m 8Gi
        node c eu/eu-1 4000m 8Gi
        use  a 2000m 2Gi
        job  j
        task x 1000m 1Gi spread=node count=4
        ",
        "
        j/x[0] -> b
        j/x[1] -> c
        j/x[2] -> b
        j/x[3] -> c
        ",
    );
}

#[test]
fn spread_counts_tasks_when_they_take_nothing() {
    check(
        "
        node a eu/eu-1 4000m 8Gi
        node b eu/eu-1 4000m 8Gi
        use  a 0m 0Mi
        job  j
        task x 0m 0Mi spread=node count=3
        ",
        "
        j/x[0] -> b
        j/x[1] -> a
        j/x[2] -> b
        ",
    );
}

#[test]
fn spread_over_clusters_takes_the_emptiest_cluster_then_its_emptiest_node() {
    check(
        "
        node a1 eu/a 4000m 8Gi
        node a2 eu/a 4000m 8Gi
        node b1 eu/b 4000m 8Gi
        node b2 eu/b 4000m 8Gi
        use  a1 1000m 1Gi
        job  j
        task x 1000m 1Gi spread=cluster count=5
        ",
        "
        j/x[0] -> b1
        j/x[1] -> a2
        j/x[2] -> b2
        j/x[3] -> a1
        j/x[4] -> b1
        ",
    );
}

#[test]
fn a_cordoned_node_does_not_make_its_cluster_look_empty() {
    check(
        "
        node a1 eu/a 4000m 8Gi
        node a2 eu/a 64000m 64Gi cordoned
        node b1 eu/b 4000m 8Gi
        use  a1 1000m 1Gi
        job  j
        task x 1000m 1Gi spread=cluster
        ",
        "j/x[0] -> b1",
    );
}

#[test]
fn regions_and_clusters_limit_where_a_task_goes() {
    check(
        "
        node a eu/eu-1 4000m 8Gi
        node b eu/eu-2 4000m 8Gi
        node c us/us-1 4000m 8Gi
        job  j
        task x 1000m 1Gi regions=us
        task y 1000m 1Gi clusters=eu-2
        task z 1000m 1Gi regions=us clusters=eu-1
        ",
        "
        j/x[0] -> c
        j/y[0] -> b
        j/z[0] waits with 0: 2 REGION, 1 CLUSTER
        ",
    );
}

#[test]
fn a_task_that_demands_labels_goes_where_they_are() {
    check(
        "
        node a eu/eu-1 4000m 8Gi disk=hdd
        node b eu/eu-1 4000m 8Gi disk=ssd rack=7
        node c eu/eu-1 4000m 8Gi
        job  j
        task x 1000m 1Gi label=disk:ssd
        task y 1000m 1Gi label=disk:* label=rack:7
        task z 1000m 1Gi label=disk:ssd label=rack:8
        ",
        "
        j/x[0] -> b
        j/y[0] -> b
        j/z[0] waits with 0: 3 LABELS
        ",
    );
}

#[test]
fn lost_cordoned_and_silent_nodes_take_nothing() {
    check(
        "
        node a eu/eu-1 4000m 8Gi lost
        node b eu/eu-1 4000m 8Gi cordoned
        node c eu/eu-1 4000m 8Gi silent
        job  j
        task x 1000m 1Gi
        ",
        "j/x[0] waits with 0: 1 NODE_LOST, 1 NODE_SILENT, 1 CORDONED",
    );
}

#[test]
fn a_node_that_has_not_reported_yet_comes_last() {
    check(
        "
        node a eu/eu-1 4000m 8Gi unheard
        node b eu/eu-1 16000m 32Gi
        job  j
        task x 12000m 8Gi
        task y 4000m 8Gi count=2
        ",
        "
        j/x[0] -> b
        j/y[0] -> b
        j/y[1] -> a
        ",
    );
}

#[test]
fn priority_goes_first_then_the_order_of_submission() {
    check(
        "
        node a eu/eu-1 3000m 8Gi
        job  low priority=10
        task x 1000m 1Gi
        job  middle
        task x 1000m 1Gi
        job  middle-too
        task x 1000m 1Gi
        job  high priority=90
        task x 1000m 1Gi
        ",
        "
        high/x[0] -> a
        middle/x[0] -> a
        middle-too/x[0] -> a
        low/x[0] waits with 0
        ",
    );
}

#[test]
fn a_task_that_does_not_fit_does_not_hold_up_other_shapes() {
    check(
        "
        node a eu/eu-1 4000m 8Gi
        job  large priority=90
        task x 8000m 1Gi count=100
        job  small
        task x 1000m 1Gi
        ",
        "
        small/x[0] -> a
        large/x[0] waits with 99: 1 TOO_SMALL
        ",
    );
}

#[test]
fn what_fits_in_no_room_that_is_known_to_be_left_waits_without_a_look_at_the_nodes() {
    check(
        "
        node a eu/eu-1 4000m 8Gi
        use  a 4000m 1Gi
        job  j
        task x 500m 1Gi count=3
        task y 600m 2Gi
        task z 100m 1Gi
        task n 0m 1Gi
        ",
        "
        j/n[0] -> a
        j/x[0] waits with 2: 1 FULL
        j/y[0] waits with 0
        j/z[0] waits with 0
        ",
    );
}

#[test]
fn equal_shapes_of_different_jobs_share_their_wait() {
    check(
        "
        node a eu/eu-1 1000m 8Gi
        job  one
        task x 1000m 1Gi count=3
        job  two
        task y 1000m 1Gi count=2
        ",
        "
        one/x[0] -> a
        one/x[1] waits with 3
        ",
    );
}

/// Why more room promises nothing about tasks of several shapes: the order of the queue decides who
/// gets it, and what is best for the first may be worse for the next.
#[test]
fn more_room_can_change_who_gets_it() {
    // The large one comes first, and takes the room of two.
    let two_cores = "
        node a eu/eu-1 2000m 8Gi
        job  first priority=90
        task large 3000m 1Gi
        job  then
        task small 1000m 1Gi count=2
    ";
    let small = "
        then/small[0] -> a
        then/small[1] -> a
        first/large[0] waits with 0: 1 TOO_SMALL
    ";
    check(two_cores, small);
    check(
        &two_cores.replace("2000m", "3000m"),
        "
        first/large[0] -> a
        then/small[0] waits with 1: 1 FULL
        ",
    );

    // The best fit of the first is `b`; with more memory there it is `a`, where it leaves too little.
    let even = "
        node a eu/eu-1 4000m 1792Mi
        node b eu/eu-1 2000m 2560Mi
        job  first priority=90
        task x 1000m 768Mi
        job  then
        task y 0m 1792Mi count=2
    ";
    check(
        even,
        "
        first/x[0] -> b
        then/y[0] -> b
        then/y[1] -> a
        ",
    );
    check(
        &even.replace("2000m 2560Mi", "2500m 3072Mi"),
        "
        first/x[0] -> a
        then/y[0] -> b
        then/y[1] waits with 0: 1 FULL
        ",
    );
}

#[test]
fn a_run_that_is_cancelled_gets_nothing() {
    let mut world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        job  j
        task x 1000m 1Gi
    ",
    );
    let run = world.find("j/x[0]").run;
    world.apply(Command::CancelRun { run });
    assert_eq!(world.state.ready_count(), 1, "the workflow controller has not been there yet");
    assert_eq!(world.render(&world.plan()), "");
}

#[test]
fn a_run_that_is_paused_gets_nothing_and_costs_a_plan_nothing() {
    let mut world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        job  j priority=90
        task x 1000m 1Gi count=3
        job  k
        task x 1000m 1Gi
    ",
    );
    let run = world.find("j/x[0]").run;
    world.control(Command::PauseRun { run, reason: "why".into() });
    assert_eq!(world.state.ready_count(), 1);
    assert_eq!(world.render(&world.plan()), "k/x[0] -> a");
    world.control(Command::ResumeRun { run });
    assert_eq!(world.render(&world.plan()), "j/x[0] -> a\nj/x[1] -> a\nj/x[2] -> a\nk/x[0] -> a");
}

#[test]
fn a_run_that_is_given_another_priority_is_served_by_that() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 8Gi
        job  j
        task x 1000m 1Gi
        job  k
        task x 1000m 1Gi
    ",
    );
    let run = world.find("k/x[0]").run;
    world.control(Command::SetRunPriority { run, priority: 51 });
    assert_eq!(world.render(&world.plan()), "k/x[0] -> a\nj/x[0] waits with 0");
}

#[test]
fn an_attempt_that_ended_holds_its_room_until_it_is_gone() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 1Gi
        job  j
        task x 1000m 1Gi loss=fenced
        task y 1000m 1Gi
    ",
    );
    world.commit(&world.plan());
    let attempt = world.state.task(world.find("j/x[0]")).unwrap().newest_attempt().unwrap();
    let mut report = quorate_state::AttemptReport {
        attempt,
        token: world.state.attempt(attempt).unwrap().token,
        phase: quorate_state::AttemptPhase::Ended,
        gone: false,
        exit: Some(quorate_state::Exit::Code(0)),
        message: None,
        usage: quorate_state::Usage::default(),
        stopped: false,
        outcome: None,
        silent: false,
        payloads: None,
    };
    let node = world.get("a");
    let say = |report: &quorate_state::AttemptReport| Command::ReportAttempts {
        node: node.name.clone(),
        epoch: node.epoch,
        reports: vec![report.clone()],
    };
    world.apply(say(&report));
    assert_eq!(world.render(&world.plan()), "j/y[0] waits with 0: 1 FULL");
    report.gone = true;
    world.apply(say(&report));
    assert_eq!(world.render(&world.plan()), "j/y[0] -> a");
}

#[test]
fn a_lost_task_is_placed_again_elsewhere() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 1Gi
        node b eu/eu-2 2000m 2Gi
        job  j
        task x 1000m 1Gi
    ",
    );
    let first = world.plan();
    assert_eq!(world.render(&first), "j/x[0] -> a");
    world.commit(&first);
    world.flag("a", "lost");
    let second = world.plan();
    assert_eq!(world.render(&second), "j/x[0] -> b");
    world.commit(&second);
}

#[test]
fn a_plan_has_a_limit_and_the_next_one_goes_on_after_it() {
    let mut world = World::empty();
    let tasks = PLACEMENTS_PER_PLAN_MAX as u32 + 10;
    world.node("a", "eu", "eu-1", resources("1000000m", "1000Gi"));
    let mut spec = job("j", &[]);
    spec.tasks.push(task("x", resources("1m", "1Mi"), &[&format!("count={tasks}")]));
    world.submit(spec);
    world.release();
    let first = world.plan();
    assert_eq!((first.placements.len(), first.report.truncated), (PLACEMENTS_PER_PLAN_MAX, true));
    world.commit(&first);
    let second = world.plan();
    assert_eq!((second.placements.len(), second.report.truncated), (10, false));
}

#[test]
fn a_step_that_waits_costs_the_same_whatever_its_count() {
    let cost = |count: u32| {
        let mut world = World::of("node a eu/eu-1 1000m 1Gi");
        for number in 0..3 {
            let mut spec = job(&format!("j{number}"), &[]);
            spec.tasks.push(task("x", resources("2000m", "1Gi"), &[&format!("count={count}")]));
            world.submit(spec);
        }
        world.release();
        let needed = (1..).find(|steps| {
            let plan = plan(&world.state, &world.observed, world.now(), 0, Budget { steps: *steps });
            !plan.report.truncated
        });
        needed.expect("a budget that is enough")
    };
    assert_eq!(cost(1), cost(500));
}

/// Ten nodes of a core each, a queue whose head is a job of `shapes` tasks that fit nowhere, and a task
/// behind them that fits.
fn behind(shapes: u64, of: impl Fn(u64) -> TaskSpec) -> World {
    let mut world = World::empty();
    for node in 0..10 {
        world.node(&format!("n{node}"), "eu", "eu-1", resources("1000m", "1Gi"));
    }
    let mut large = job("large", &["priority=90"]);
    large.tasks.extend((0..shapes).map(of));
    world.submit(large);
    let mut small = job("small", &[]);
    small.tasks.push(task("x", resources("1000m", "1Gi"), &[]));
    world.submit(small);
    world.release();
    world
}

#[test]
fn many_shapes_that_fit_nowhere_cost_one_look_at_the_nodes() {
    let world = behind(60, |at| {
        // None is larger than another one.
        let wants = Resources { cpu_milli: 2_000 + at, memory_bytes: 1_000 - at, gpu_milli: 0 };
        task(&format!("t{at}"), wants, &[])
    });
    let plan = plan(&world.state, &world.observed, world.now(), 7, Budget { steps: 400 });
    assert_eq!(plan.placements.len(), 1);
    assert_eq!((plan.placements[0].task, plan.report.truncated), (world.find("small/x[0]"), false));
}

#[test]
fn however_many_of_a_shape_fit_nowhere_they_cost_no_more_than_one() {
    let world = behind(500, |at| task(&format!("t{at}"), resources("2000m", "1Gi"), &[]));
    let whole = plan(&world.state, &world.observed, world.now(), 7, Budget { steps: 100 });
    assert_eq!(whole.placements.iter().map(|placed| placed.task).collect::<Vec<_>>(), [world.find("small/x[0]")]);
    assert!(!whole.report.truncated);
    assert_eq!(whole.explanations.iter().map(|waits| waits.tasks).collect::<Vec<_>>(), [500]);
}

#[test]
fn what_fits_is_found_behind_more_than_a_plan_can_look_at() {
    let world = behind(60, |at| task(&format!("t{at}"), Resources::ZERO, &[&format!("clusters=none-{at}")]));
    let budget = Budget { steps: 40 };
    let head = world.step_within("placement", budget);
    assert_eq!((head.commands.len(), head.report.truncated), (0, true), "the seed of the world finds nothing");
    assert_eq!(head.wake_at, Some(world.served.plus(200)), "nothing has to happen for another look");
    let looks = (0..).position(|seed| {
        let plan = plan(&world.state, &world.observed, world.now(), seed, budget);
        plan.placements.first().is_some_and(|placed| placed.task == world.find("small/x[0]"))
    });
    assert!(looks.is_some_and(|looks| looks < 61), "found after {looks:?} plans, for 61 places to begin at");
}
