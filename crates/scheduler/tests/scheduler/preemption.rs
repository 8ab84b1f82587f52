//! Whose attempts are stopped to make room: the cheapest on one node, and never round in a circle.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_scheduler::explain::{Explanation, explain};
use quorate_scheduler::placement::{PREEMPTIONS_PER_PLAN_MAX, Plan};
use quorate_scheduler::{Budget, controllers};
use quorate_state::{
    AttemptId, AttemptPhase, Change, Choice, Command, Feature, FeatureRow, GpuHold, Millis, Placement, Preempting,
    Preemption, Resources, Revision, RunId, State, TaskId, TaskState,
};

use crate::world::{World, job, resources, task};

const POLICY: Preemption = Preemption { by_priority: true, gap: 10, spare_ms: 0, times_max: 4, ..Preemption::OFF };

/// Nodes of so many cores, in which the more urgent take the room of others.
fn cluster(nodes: &[(&str, u64)]) -> World {
    let mut world = World::empty();
    let row = FeatureRow { feature: Feature::Preemption, revision: Revision(0), at: Millis(0) };
    world.state.commit(&Change::Feature(row));
    world.apply(Command::SetPreemption { preemption: POLICY });
    for (node, cores) in nodes {
        world.node(node, "eu", "eu-1", cores_of(*cores));
    }
    world
}

fn cores_of(cores: u64) -> Resources {
    resources(&format!("{}m", cores * 1_000), "64Gi")
}

/// A run of so many tasks of so many cores; its name is its number.
fn submit(world: &mut World, priority: u8, cores: u64, options: &[&str]) -> RunId {
    let number = world.state.runs_newest_first(None).count();
    let mut spec = job(&format!("j{number}"), &[&format!("priority={priority}")]);
    spec.tasks.push(task("t", resources(&format!("{}m", cores * 1_000), "1Mi"), options));
    let run = world.submit(spec);
    world.release();
    run
}

/// Puts the tasks of a run on a node, where they run.
fn put(world: &mut World, run: RunId, node: &str) {
    let node = world.get(node);
    let tasks: Vec<TaskId> = world.state.tasks_of(run).map(|task| task.id).collect();
    for task in tasks {
        let generation = world.state.task(task).unwrap().generation;
        let placement = Placement {
            choice: Choice::FIRST,
            gpus: GpuHold::NONE,
            task,
            generation,
            node: node.name.clone(),
            epoch: node.epoch,
        };
        world.commit(&Plan { placements: vec![placement], ..Plan::default() });
        world.report(AttemptId { task, number: 1 }, AttemptPhase::Running, None);
    }
}

/// A run on a node.
fn run_on(world: &mut World, node: &str, priority: u8, cores: u64) -> RunId {
    let run = submit(world, priority, cores, &[]);
    put(world, run, node);
    run
}

/// What a plan would stop, as `who: whom, whom on node`.
fn stops(world: &World) -> Vec<String> {
    let name = |run: RunId| world.state.run(run).unwrap().spec.name.to_string();
    let line = |preempting: &Preempting| {
        let victims: Vec<String> = preempting.victims.iter().map(|victim| name(victim.task.run)).collect();
        format!("{}: {} on {}", name(preempting.task.run), victims.join(", "), preempting.node)
    };
    world.plan().preemptions.iter().map(line).collect()
}

/// Carries out all that a plan decides.
fn drive(world: &mut World) -> Plan {
    let plan = world.plan();
    world.drive("placement");
    plan
}

#[test]
fn the_least_urgent_go_the_youngest_first_and_no_more_than_need_be() {
    let mut world = cluster(&[("n", 4)]);
    let _old = run_on(&mut world, "n", 20, 1);
    let _urgent = run_on(&mut world, "n", 40, 1);
    let _young = run_on(&mut world, "n", 20, 1);
    let _younger = run_on(&mut world, "n", 20, 1);
    submit(&mut world, 50, 2, &[]);
    assert_eq!(stops(&world), ["j4: j3, j2 on n"]);
}

#[test]
fn whom_the_rest_makes_needless_is_left_alone() {
    let mut world = cluster(&[("n", 4)]);
    run_on(&mut world, "n", 10, 1);
    run_on(&mut world, "n", 20, 3);
    submit(&mut world, 50, 3, &[]);
    // The less urgent alone is not enough, and with the other one it is not needed.
    assert_eq!(stops(&world), ["j2: j1 on n"]);
}

#[test]
fn the_node_where_least_is_lost_is_taken() {
    let mut world = cluster(&[("a", 4), ("b", 4), ("c", 4)]);
    run_on(&mut world, "a", 30, 4);
    run_on(&mut world, "b", 20, 2);
    run_on(&mut world, "b", 20, 2);
    run_on(&mut world, "c", 20, 4);
    submit(&mut world, 50, 4, &[]);
    assert_eq!(stops(&world), ["j4: j3 on c"], "of the lowest priority, and the fewest");
    world.flag("c", "cordoned");
    assert_eq!(stops(&world), ["j4: j2, j1 on b"]);
    world.see("b", |seen| seen.reported_this_term = false);
    assert_eq!(stops(&world), ["j4: j0 on a"], "what a node runs that has not reported is not known");
}

#[test]
fn nobody_goes_for_whom_is_not_more_urgent_by_the_gap_or_can_never_be_placed() {
    let mut world = cluster(&[("n", 4)]);
    run_on(&mut world, "n", 41, 4);
    submit(&mut world, 50, 1, &[]);
    submit(&mut world, 100, 5, &[]);
    submit(&mut world, 100, 1, &["regions=us"]);
    assert_eq!(stops(&world), Vec::<String>::new());
    submit(&mut world, 51, 2, &[]);
    assert_eq!(stops(&world), ["j4: j0 on n"]);
    world.apply(Command::SetPreemption { preemption: Preemption { by_priority: false, ..POLICY } });
    assert_eq!(stops(&world), Vec::<String>::new(), "it is off");
}

#[test]
fn room_that_comes_free_anyway_is_waited_for() {
    let mut world = cluster(&[("n", 4), ("m", 4)]);
    let going = run_on(&mut world, "n", 20, 4);
    run_on(&mut world, "m", 0, 4);
    submit(&mut world, 50, 4, &["count=2"]);
    world.apply(Command::CancelRun { run: going });
    assert_eq!(stops(&world), ["j2: j1 on m"], "for one of two, and the other waits for what goes");
}

#[test]
fn victims_of_one_make_no_room_for_another() {
    let mut world = cluster(&[("n", 4)]);
    for _ in 0..4 {
        run_on(&mut world, "n", 20, 1);
    }
    submit(&mut world, 90, 2, &["count=3"]);
    assert_eq!(stops(&world), ["j4: j3, j2 on n", "j4: j1, j0 on n"]);
    drive(&mut world);
    assert_eq!(stops(&world), Vec::<String>::new(), "there is nobody left for the third");
    assert_eq!(world.state.claims_count(), 2);
}

#[test]
fn who_had_room_made_gets_it_and_nobody_who_is_quicker() {
    let mut world = cluster(&[("n", 4)]);
    let victim = run_on(&mut world, "n", 20, 4);
    let urgent = submit(&mut world, 50, 3, &[]);
    drive(&mut world);
    let task = TaskId { run: urgent, step: 0, index: 0 };
    let why = explain(&world.state, &world.observed, world.now(), task);
    let expected = format!("waits for an attempt to stop on node n (preempting {victim}/t[0], priority 20)");
    assert_eq!(why.to_string(), expected);
    assert!(matches!(why, Explanation::RoomClaimed(_)));
    // More urgent, and small enough for what is free from now on.
    let small = submit(&mut world, 100, 2, &[]);
    assert_eq!(world.stop_all(), 1);
    let plan = drive(&mut world);
    let placed: Vec<RunId> = plan.placements.iter().map(|placement| placement.task.run).collect();
    assert_eq!(placed, [urgent], "the room is its own, and one core is left");
    assert!(world.state.tasks_of(small).all(|task| task.state == TaskState::Ready));
    assert_eq!(world.state.claims_count(), 0);
}

#[test]
fn room_that_nobody_came_to_is_given_up_in_time() {
    let mut world = cluster(&[("n", 4)]);
    run_on(&mut world, "n", 20, 4);
    submit(&mut world, 50, 4, &[]);
    drive(&mut world);
    let until = world.state.claims().next().unwrap().terms.until;
    assert_eq!(world.plan().wake_at, Some(until));
    world.pass(until.0 - world.served.0 - 1);
    assert!(world.plan().expired.is_empty());
    world.pass(1);
    assert_eq!(world.plan().expired.len(), 1);
    // Its victim has not gone yet, and is not asked twice.
    drive(&mut world);
    assert_eq!((world.state.claims_count(), stops(&world)), (0, vec![]));
    world.stop_all();
    assert_eq!(drive(&mut world).placements.len(), 1, "it is the most urgent still");
}

#[test]
fn what_becomes_of_room_is_counted() {
    let mut world = cluster(&[("n", 4), ("m", 4)]);
    let mut all = controllers();
    let placement = all.iter_mut().find(|controller| controller.name() == "placement").unwrap();
    let mut counts = |world: &mut World| {
        let decision = placement.step(&world.state, &world.observed, world.now(), 7, Budget::default());
        decision.commands.iter().for_each(|command| drop(world.apply(command.clone())));
        let counts: BTreeMap<_, _> = decision.report.counts.into_iter().collect();
        ["attempts_preempted", "claims_used", "claims_let_go"].map(|name| counts[name])
    };
    for node in ["n", "n", "m", "m"] {
        run_on(&mut world, node, 20, 2);
    }
    submit(&mut world, 50, 4, &[]);
    let second = submit(&mut world, 50, 4, &[]);
    assert_eq!([counts(&mut world), counts(&mut world)], [[2, 0, 0], [4, 0, 0]], "one run of a shape in each plan");
    assert_eq!(counts(&mut world), [4, 0, 0], "both claims are seen");
    world.apply(Command::CancelRun { run: second });
    world.release();
    assert_eq!(counts(&mut world), [4, 0, 1]);
    assert_eq!(world.stop_all(), 4);
    assert_eq!(counts(&mut world), [4, 0, 1], "it is placed now");
    submit(&mut world, 50, 1, &["regions=us"]);
    assert_eq!(counts(&mut world), [4, 1, 1]);
}

#[test]
fn devices_are_made_free_that_the_task_can_use() {
    let mut world = cluster(&[("n", 8)]);
    world.flag("n", "gpus=A:2");
    let share = |world: &mut World, priority, device: u64, milli: u16| {
        let run = submit(world, priority, 1, &[&format!("gpu={milli}")]);
        let (node, task) = (world.get("n"), TaskId { run, step: 0, index: 0 });
        let gpus = GpuHold { devices: 1 << device, milli };
        let generation = world.state.task(task).unwrap().generation;
        let placement =
            Placement { choice: Choice::FIRST, gpus, task, generation, node: node.name.clone(), epoch: node.epoch };
        world.commit(&Plan { placements: vec![placement], ..Plan::default() });
    };
    share(&mut world, 10, 0, 300);
    share(&mut world, 20, 1, 600);
    share(&mut world, 30, 0, 500);
    submit(&mut world, 60, 1, &["gpu=1000"]);
    // Both shares of the first device, or the one of the second, which is enough.
    assert_eq!(stops(&world), ["j3: j1 on n"]);
}

#[test]
fn a_gang_preempts_nobody_and_none_of_it_is_preempted() {
    let mut world = cluster(&[("n", 4)]);
    let gang = submit(&mut world, 20, 1, &["count=2", "gang=anywhere"]);
    drive(&mut world);
    assert_eq!(world.state.step_counts(gang, 0).placed, 2);
    submit(&mut world, 90, 4, &[]);
    assert_eq!(stops(&world), Vec::<String>::new(), "one of it would end all of it");
    run_on(&mut world, "n", 30, 2);
    submit(&mut world, 100, 1, &["count=2", "gang=anywhere"]);
    assert_eq!(stops(&world), Vec::<String>::new(), "room for one is no room for both");
    submit(&mut world, 80, 2, &[]);
    assert_eq!(stops(&world), ["j4: j2 on n"]);
}

#[test]
fn a_node_that_is_kept_for_somebody_is_left_to_them() {
    let mut world = cluster(&[("n", 4), ("m", 4)]);
    let short = submit(&mut world, 45, 4, &["timeout=50000"]);
    put(&mut world, short, "n");
    run_on(&mut world, "m", 40, 4);
    // Nobody is less urgent by the gap, so it waits for the end of what has one.
    submit(&mut world, 49, 4, &[]);
    assert_eq!(world.plan().explanations[0].expected.as_ref().unwrap().node.as_str(), "n");
    // What is more urgent comes before it, and has the room of whoever costs least.
    submit(&mut world, 60, 4, &[]);
    assert_eq!(stops(&world), ["j3: j1 on m"]);
    drive(&mut world);
    let plan = world.plan();
    let first = plan.explanations[0].expected.as_ref().unwrap();
    assert_eq!((first.node.as_str(), plan.explanations.len()), ("n", 1), "no other node is kept for the urgent one");
    world.stop_all();
    drive(&mut world);
    assert_eq!(world.plan().explanations[0].expected.as_ref().unwrap().node.as_str(), "n");
}

#[test]
fn what_is_about_to_leave_a_node_with_claims_promises_its_room_to_nobody_else() {
    let mut world = cluster(&[("n", 4)]);
    let short = submit(&mut world, 20, 4, &["timeout=50000"]);
    put(&mut world, short, "n");
    submit(&mut world, 60, 4, &[]);
    drive(&mut world);
    submit(&mut world, 25, 4, &[]);
    let plan = world.plan();
    assert!(plan.explanations.iter().all(|waits| waits.expected.is_none()), "{:?}", plan.explanations);
}

#[test]
fn one_plan_looks_for_so_many_and_the_next_for_the_rest() {
    let mut world = cluster(&[("n", 100)]);
    let low = submit(&mut world, 0, 1, &["count=100"]);
    put(&mut world, low, "n");
    submit(&mut world, 50, 1, &["count=100"]);
    assert_eq!(drive(&mut world).preemptions.len(), PREEMPTIONS_PER_PLAN_MAX);
    assert_eq!(drive(&mut world).preemptions.len(), 100 - PREEMPTIONS_PER_PLAN_MAX);
}

/// Nodes by their cores, and runs: priority, cores of a task, tasks.
type Shape = (Vec<u64>, Vec<(u8, u64, u32)>);

fn shapes() -> impl Strategy<Value = Shape> {
    let runs = proptest::collection::vec((0..101_u8, 1..5_u64, 1..5_u32), 1..10);
    (proptest::collection::vec(1..9_u64, 1..5), runs)
}

/// What is stopped is strictly less urgent, on one node, and none of it could be left out.
fn judge(state: &State, preempting: &Preempting) {
    let by = state.run(preempting.task.run).unwrap();
    let node = state.node(&preempting.node).unwrap();
    let spec = &by.spec.tasks[preempting.task.step as usize];
    let victims: BTreeSet<AttemptId> = preempting.victims.iter().copied().collect();
    assert!(!victims.is_empty() && victims.len() == preempting.victims.len());
    for victim in &victims {
        let other = state.run(victim.task.run).unwrap();
        assert!(other.priority() + POLICY.gap <= by.priority(), "{} for {}", other.priority(), by.priority());
        assert_eq!(state.attempt(*victim).unwrap().node, preempting.node);
    }
    let fits = |victims: &BTreeSet<AttemptId>| {
        let goes = |attempt: &quorate_state::Attempt| state.is_leaving(attempt) || victims.contains(&attempt.id);
        state.vacancy(node, preempting.task, goes).hold(node, spec).is_some()
    };
    assert!(fits(&victims), "it does not fit when they are gone");
    for victim in &victims {
        let mut without = victims.clone();
        without.remove(victim);
        assert!(!fits(&without), "{victim:?} could have been left out");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Without arrivals preemption comes to an end, and on the way nobody is preempted by whom they preempted.
    #[test]
    fn preemption_comes_to_an_end_and_goes_round_in_no_circle((nodes, runs) in shapes()) {
        let names = ["a", "b", "c", "d"];
        let nodes: Vec<(&str, u64)> = names.into_iter().zip(nodes).collect();
        let mut world = cluster(&nodes);
        let mut preempted: BTreeMap<RunId, BTreeSet<RunId>> = BTreeMap::new();
        let tasks: usize = runs.iter().map(|(_, _, count)| *count as usize).sum();
        let mut arrivals = runs.iter();
        let mut quiet = 0;
        // Each stop takes two rounds at most, and each task is stopped so often at most.
        let rounds = runs.len() + 3 * tasks * POLICY.times_max as usize + 4;
        for _ in 0..rounds {
            if let Some((priority, cores, count)) = arrivals.next() {
                submit(&mut world, *priority, *cores, &[&format!("count={count}")]);
            }
            let plan = world.plan();
            let before = world.state.clone();
            world.commit(&Plan { preemptions: vec![], expired: vec![], ..plan.clone() });
            for preempting in plan.preemptions {
                judge(&world.state, &preempting);
                for victim in &preempting.victims {
                    preempted.entry(preempting.task.run).or_default().insert(victim.task.run);
                    let back = preempted.get(&victim.task.run);
                    prop_assert!(!back.is_some_and(|theirs| theirs.contains(&preempting.task.run)), "round in a circle");
                }
                world.apply(Command::PreemptAttempts(preempting));
            }
            let stopped = world.stop_all();
            let is_quiet = stopped == 0 && world.state.claims_count() == 0 && before.ready().eq(world.state.ready());
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet >= 2 && arrivals.len() == 0 {
                break;
            }
        }
        prop_assert!(quiet >= 2, "it has not come to an end after {rounds} rounds");
        // What waits now could not take the room of anybody.
        prop_assert!(world.plan().preemptions.is_empty() && world.plan().placements.is_empty());
        for task in world.state.ready().map(|place| place.task) {
            let row = world.state.task(task).unwrap();
            prop_assert!(row.preemptions <= POLICY.times_max);
        }
    }
}
