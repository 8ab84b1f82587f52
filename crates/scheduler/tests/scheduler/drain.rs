//! What is moved off a node that is drained, and what stays.

use quorate_scheduler::drain::{Hold, holds};
use quorate_scheduler::explain::explain;
use quorate_scheduler::{Budget, Decision};
use quorate_state::{AttemptPhase, AttemptReport, Command, DrainTime, Exit, Scope, Stays, TaskState, Usage};

use crate::world::World;

/// Places all that is queued and lets it run.
fn run_all(world: &mut World) {
    let plan = world.plan();
    world.commit(&plan);
    for placement in plan.placements {
        let attempt = world.state.task(placement.task).unwrap().newest_attempt().unwrap();
        world.report(attempt, AttemptPhase::Running, None);
    }
}

/// The tasks whose attempts a decision moves.
fn moved(world: &World, decision: &Decision) -> Vec<String> {
    let attempts = decision.commands.iter().flat_map(|command| match command {
        Command::EvictAttempts { attempts } => attempts.clone(),
        other => panic!("not about moving: {other:?}"),
    });
    attempts.map(|attempt| world.name(attempt.task)).collect()
}

fn drive(world: &mut World) -> Vec<String> {
    let decision = world.drive("drain");
    moved(world, &decision)
}

/// The agents do what they are told: whatever was asked to stop has stopped.
fn stop_all(world: &mut World) {
    let nodes: Vec<_> = world.state.nodes().cloned().collect();
    for node in nodes {
        let asked = world.state.attempts_on(&node.name).filter(|attempt| attempt.stop.is_some());
        let reports = asked.map(|attempt| AttemptReport {
            attempt: attempt.id,
            token: attempt.token,
            phase: AttemptPhase::Ended,
            gone: true,
            exit: Some(Exit::Signal(15)),
            message: None,
            usage: Usage::default(),
            stopped: true,
            outcome: None,
            silent: false,
            payloads: None,
        });
        let reports = reports.collect();
        world.apply(Command::ReportAttempts { node: node.name.clone(), epoch: node.epoch, reports });
    }
}

/// What keeps each attempt on a node.
fn held(world: &World, node: &str) -> Vec<(String, Option<Hold>)> {
    let holds = holds(&world.state, &world.observed, world.now(), &world.get(node));
    holds.into_iter().map(|(attempt, hold)| (world.name(attempt.task), hold)).collect()
}

/// All runs on `a`, because `b` comes when everything is placed.
fn full(tasks: &str, room: &str) -> World {
    let mut world = World::of(&format!("node a eu/eu-1 16000m 16Gi\n job j\n {tasks}"));
    run_all(&mut world);
    world.node("b", "eu", "eu-2", crate::world::resources(room, "16Gi"));
    world.flag("a", "draining");
    world
}

#[test]
fn three_elements_are_moved_one_after_the_other_and_burn_no_try() {
    let mut world = full("task x 1000m 1Gi count=3 attempts=1", "16000m");
    for round in 0..3 {
        assert_eq!(drive(&mut world).len(), 1, "round {round}");
        assert_eq!(drive(&mut world), [""; 0], "while one is on the move");
        stop_all(&mut world);
        assert_eq!(drive(&mut world), [""; 0], "while one is in the queue");
        run_all(&mut world);
    }
    assert_eq!(drive(&mut world), [""; 0]);
    assert_eq!(world.state.attempts_count_on(&world.get("a").name), 0);
    assert_eq!(world.state.attempts_count_on(&world.get("b").name), 3);
    let tasks = world.state.runs_newest_first(None).flat_map(|run| world.state.tasks_of(run.id));
    assert!(tasks.into_iter().all(|task| (task.state.clone(), task.tries, task.losses) == (TaskState::Running, 0, 0)));
}

#[test]
fn of_a_wide_step_a_tenth_is_moved_at_a_time_the_youngest_first() {
    let mut world = full("task x 100m 1Mi count=40", "16000m");
    assert_eq!(drive(&mut world).len(), 4);
    stop_all(&mut world);
    assert_eq!(drive(&mut world), [""; 0]);
    run_all(&mut world);
    assert_eq!(drive(&mut world).len(), 4);

    let mut world = World::of("node a eu/eu-1 16000m 16Gi\n job j\n task old 100m 1Mi\n task new 100m 1Mi needs=old");
    run_all(&mut world);
    world.node("b", "eu", "eu-2", crate::world::resources("16000m", "16Gi"));
    world.flag("a", "draining");
    let decision = world.step_within("drain", Budget { steps: 1 });
    assert_eq!(moved(&world, &decision), ["j/old[0]"], "any budget makes progress");
}

#[test]
fn what_waits_in_a_paused_run_is_on_the_move_until_it_goes_on() {
    let mut world = full("task x 1000m 1Gi count=3", "16000m");
    let run = world.find("j/x[0]").run;
    world.control(Command::PauseRun { run, reason: "why".into() });
    assert_eq!(drive(&mut world).len(), 1);
    stop_all(&mut world);
    assert_eq!(drive(&mut world), [""; 0], "nobody has taken its place");
    world.control(Command::ResumeRun { run });
    run_all(&mut world);
    assert_eq!(drive(&mut world).len(), 1);
}

#[test]
fn jobs_are_moved_independently_of_each_other() {
    let mut world = full("task x 100m 1Mi\n job k\n task x 100m 1Mi\n task y 100m 1Mi", "16000m");
    assert_eq!(drive(&mut world).len(), 3);
}

#[test]
fn what_is_started_once_is_waited_for() {
    let mut world = full("task x 1000m 1Gi loss=at_most_once\n task y 1000m 1Gi loss=fenced", "16000m");
    assert_eq!(drive(&mut world), ["j/y[0]"]);
    let why = [
        ("j/x[0]".to_owned(), Some(Hold::Stays(Stays::StartedOnce))),
        ("j/y[0]".to_owned(), Some(Hold::Stays(Stays::Ending))),
    ];
    assert_eq!(held(&world, "a"), why);
    world.pass(1 << 40);
    assert_eq!(drive(&mut world), [""; 0], "however long it takes");
}

#[test]
fn before_it_is_due_attempts_may_end_by_themselves() {
    let mut world = full("task x 1000m 1Gi", "16000m");
    world.drain("a", 60_000);
    let early = world.step("drain");
    assert_eq!((moved(&world, &early), early.wake_at), (vec![], Some(world.served.plus(60_000))));
    world.pass(60_000);
    assert_eq!(drive(&mut world), ["j/x[0]"]);
}

#[test]
fn a_drain_for_a_time_ends_by_itself_and_what_is_left_stays() {
    let mut world = full("task x 1000m 1Gi\n task y 1000m 1Gi", "16000m");
    world.maintain("a", 30_000, 60_000);
    let early = world.step("drain");
    assert_eq!((moved(&world, &early), early.wake_at), (vec![], Some(world.served.plus(30_000))));
    world.pass(30_000);
    let begun = world.step("drain");
    assert_eq!((moved(&world, &begun).len(), begun.wake_at), (2, Some(world.served.plus(30_000))));
    world.pass(30_000);
    let ends = world.get("a").drain().unwrap().ends.unwrap();
    let over = world.drive("drain");
    assert_eq!(over.commands, [Command::EndDrains { drains: vec![(world.get("a").name.clone(), ends)] }]);
    assert!(!world.get("a").cordoned && world.get("a").withdrawal.is_none());
    assert_eq!(world.step("drain").commands, [], "and once");
}

#[test]
fn what_no_other_node_could_hold_goes_on() {
    let mut world = full("task x 8000m 1Gi\n task y 1000m 1Gi", "4000m");
    assert_eq!(drive(&mut world), ["j/y[0]"]);
    assert_eq!(held(&world, "a")[0], ("j/x[0]".to_owned(), Some(Hold::NoOtherNode)));
    // Nor one that is drained itself.
    world.flag("b", "draining");
    assert_eq!(drive(&mut world), [""; 0]);
}

#[test]
fn where_there_is_no_room_most_goes_on_running() {
    let mut world = full("task x 4000m 1Gi count=3", "4000m");
    for _ in 0..3 {
        drive(&mut world);
        stop_all(&mut world);
        run_all(&mut world);
    }
    let running = world.state.run_counts(world.find("j/x[0]").run).running;
    assert_eq!(running, 2, "one found room, one waits for it, one goes on");
    assert!(held(&world, "a").iter().all(|(_, hold)| *hold == Some(Hold::OthersFirst { moving: 1 })));
}

#[test]
fn a_node_that_this_leader_has_not_heard_is_left_alone_until_it_is() {
    let mut world = full("task x 1000m 1Gi", "16000m");
    world.flag("a", "unheard");
    assert_eq!(drive(&mut world), [""; 0]);
    assert_eq!(held(&world, "a")[0].1, Some(Hold::Unheard));
    world.see("a", |_| {});
    assert_eq!(drive(&mut world).len(), 1);
}

#[test]
fn what_would_stay_can_be_asked_before() {
    let mut world = World::of(
        "node a eu/eu-1 16000m 16Gi\n node b us/us-1 16000m 16Gi\n job j\n task x 1000m 1Gi regions=eu\n\
         task y 1000m 1Gi regions=eu loss=at_most_once\n task z 12000m 1Gi spread=pack",
    );
    run_all(&mut world);
    let why = [
        ("j/x[0]".to_owned(), Some(Hold::NoOtherNode)),
        ("j/y[0]".to_owned(), Some(Hold::Stays(Stays::StartedOnce))),
        ("j/z[0]".to_owned(), None),
    ];
    assert_eq!(held(&world, "a"), why);
}

#[test]
fn it_says_that_a_node_is_drained() {
    let mut world = full("task x 1000m 1Gi", "16000m");
    let why = |world: &World| explain(&world.state, &world.observed, world.now(), world.find("j/x[0]")).to_string();
    assert!(why(&world).contains("on node a, which is being drained"), "{}", why(&world));
    drive(&mut world);
    assert!(why(&world).contains("asked to stop there, it is placed elsewhere next"), "{}", why(&world));
    world.flag("b", "draining");
    stop_all(&mut world);
    assert!(why(&world).contains("2 draining"), "{}", why(&world));
}

fn now() -> Option<DrainTime> {
    Some(DrainTime { wait_ms: 0, for_ms: None })
}

#[test]
fn a_drained_region_is_emptied_as_gently_as_a_node() {
    let mut world = World::of(
        "node a eu/eu-1 16000m 16Gi\n node b eu/eu-2 16000m 16Gi\n job j\n task x 100m 1Mi count=20 spread=node",
    );
    run_all(&mut world);
    world.node("c", "us", "us-1", crate::world::resources("16000m", "16Gi"));
    world.withdraw("region eu", now());
    for _ in 0..10 {
        assert_eq!(drive(&mut world).len(), 2, "a tenth of the step, over both nodes");
        assert_eq!(drive(&mut world), [""; 0]);
        stop_all(&mut world);
        run_all(&mut world);
    }
    assert_eq!(drive(&mut world), [""; 0]);
    assert_eq!(world.state.attempts_count_on(&world.get("c").name), 20);
}

#[test]
fn a_node_that_comes_to_a_drained_region_gets_nothing() {
    let mut world = World::of("node a eu/eu-1 1000m 1Gi\n job j\n task x 1000m 1Gi");
    world.withdraw("region eu", now());
    world.node("b", "eu", "eu-2", crate::world::resources("16000m", "16Gi"));
    assert_eq!(world.plan().placements, []);
    let why = explain(&world.state, &world.observed, world.now(), world.find("j/x[0]")).to_string();
    assert!(why.contains("2 draining"), "{why}");
    world.restore("region eu");
    assert_eq!(world.plan().placements.len(), 1);
}

#[test]
fn the_end_of_a_region_s_drain_is_proposed_when_it_has_come_and_nothing_is_moved_then() {
    let mut world = full("task x 1000m 1Gi count=3", "16000m");
    world.change("a", |node| (node.cordoned, node.withdrawal) = (false, None));
    world.withdraw("cluster eu-1", Some(DrainTime { wait_ms: 1_000, for_ms: Some(4_000) }));
    let (due, ends) = (world.now().served.plus(1_000), world.now().served.plus(4_000));
    assert_eq!(world.step("drain").wake_at, Some(due));
    world.pass(1_000);
    assert_eq!(world.step("drain").wake_at, Some(ends));
    world.pass(3_000);
    let decision = world.step("drain");
    let scope = Scope::Cluster("eu-1".parse().unwrap());
    assert_eq!(decision.commands, [Command::EndScopeDrains { drains: vec![(scope, ends)] }]);
    // A node that is out by itself is emptied all the same.
    world.flag("a", "draining");
    assert!(matches!(
        &world.step("drain").commands[..],
        [Command::EndScopeDrains { .. }, Command::EvictAttempts { .. }]
    ));
}
