//! Whose attempts are stopped for gangs: the cheapest that make room for all members, or nobody's; and never round in a circle.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_scheduler::explain::{Explanation, explain};
use quorate_scheduler::placement::Plan;
use quorate_state::{
    Attempt, AttemptId, AttemptPhase, CLAIMS_MAX, Change, Choice, Command, Feature, FeatureRow, GangPreempting,
    GpuHold, Millis, Placement, Preemption, Revision, RunId, State, TaskId, TaskState,
};

use crate::world::{World, job, resources, task};

const POLICY: Preemption = Preemption { by_priority: true, gap: 10, spare_ms: 0, times_max: 4, ..Preemption::OFF };

/// Nodes of so many cores, in clusters by their first letter, in which the more urgent take the room of others.
fn cluster(nodes: &[(&str, u64)]) -> World {
    let mut world = World::empty();
    for feature in [Feature::Preemption, Feature::GangPreemption] {
        world.state.commit(&Change::Feature(FeatureRow { feature, revision: Revision(0), at: Millis(0) }));
    }
    world.apply(Command::SetPreemption { preemption: POLICY });
    for (node, cores) in nodes {
        let capacity = resources(&format!("{}m", cores * 1_000), "64Gi");
        world.node(node, "eu", &format!("eu-{}", &node[..1]), capacity);
    }
    world
}

/// A run of tasks of so many cores; its name is its number.
fn submit(world: &mut World, priority: u8, cores: u64, options: &[&str]) -> RunId {
    let number = world.state.runs_newest_first(None).count();
    let mut spec = job(&format!("j{number}"), &[&format!("priority={priority}")]);
    spec.tasks.push(task("t", resources(&format!("{}m", cores * 1_000), "1Mi"), options));
    let run = world.submit(spec);
    world.release();
    run
}

fn gang(world: &mut World, priority: u8, cores: u64, members: u32, within: &str) -> RunId {
    submit(world, priority, cores, &[&format!("count={members}"), &format!("gang={within}")])
}

/// A run of one task on a node.
fn run_on(world: &mut World, node: &str, priority: u8, cores: u64) -> RunId {
    let run = submit(world, priority, cores, &[]);
    let (node, task) = (world.get(node), TaskId { run, step: 0, index: 0 });
    let generation = world.state.task(task).unwrap().generation;
    let (gpus, choice) = (GpuHold::NONE, Choice::FIRST);
    let placement = Placement { choice, gpus, task, generation, node: node.name.clone(), epoch: node.epoch };
    world.commit(&Plan { placements: vec![placement], ..Plan::default() });
    world.report(AttemptId { task, number: 1 }, AttemptPhase::Running, None);
    run
}

fn name(world: &World, run: RunId) -> String {
    world.state.run(run).unwrap().spec.name.to_string()
}

/// What a plan would stop for gangs, as `who: members x node (whom, whom), …`.
fn stops(world: &World) -> Vec<String> {
    let plan = world.plan();
    assert!(plan.preemptions.is_empty(), "{:?}", plan.preemptions);
    let line = |made: &GangPreempting| {
        let rooms = made.nodes.iter().map(|room| {
            let victims: Vec<String> = room.victims.iter().map(|victim| name(world, victim.task.run)).collect();
            format!("{} x {} ({})", room.members, room.node, victims.join(", "))
        });
        format!("{}: {}", name(world, made.run), rooms.collect::<Vec<_>>().join(", "))
    };
    plan.gang_preemptions.iter().map(line).collect()
}

/// Carries out all that a plan decides.
fn drive(world: &mut World) -> Plan {
    let plan = world.plan();
    world.drive("placement");
    plan
}

#[test]
fn all_members_have_room_made_together_by_whose_end_costs_least() {
    let mut world = cluster(&[("a", 4), ("b", 4), ("c", 4)]);
    run_on(&mut world, "a", 30, 2);
    run_on(&mut world, "a", 20, 2);
    run_on(&mut world, "b", 20, 4);
    run_on(&mut world, "c", 40, 3);
    gang(&mut world, 50, 2, 3, "anywhere");
    assert_eq!(stops(&world), ["j4: 1 x a (j1), 2 x b (j2)"]);
    gang(&mut world, 29, 2, 2, "anywhere");
    assert_eq!(stops(&world).len(), 1, "nobody is less urgent than that by the gap");
}

#[test]
fn what_is_free_is_used_first_and_kept_as_well() {
    let mut world = cluster(&[("a", 4), ("b", 4)]);
    run_on(&mut world, "a", 20, 3);
    run_on(&mut world, "b", 20, 4);
    let urgent = gang(&mut world, 50, 2, 2, "anywhere");
    // A single core is free, and three more have to be.
    assert_eq!(stops(&world), ["j2: 2 x a (j0)"]);
    drive(&mut world);
    assert_eq!(world.state.claims_of_gang(urgent, 0).count(), 2);
    // Its room is its own before it is placed: also what was free all along.
    submit(&mut world, 100, 1, &[]);
    submit(&mut world, 100, 1, &[]);
    submit(&mut world, 100, 1, &[]);
    world.apply(Command::SetPreemption { preemption: Preemption { by_priority: false, ..POLICY } });
    assert_eq!(world.plan().placed(), 0);
    world.apply(Command::SetPreemption { preemption: POLICY });
    assert_eq!(world.stop_all(), 1);
    let plan = drive(&mut world);
    assert_eq!(plan.gangs.iter().map(|gang| (gang.run, gang.placements.len())).collect::<Vec<_>>(), [(urgent, 2)]);
    assert_eq!(world.state.step_counts(urgent, 0).placed, 2);
    assert_eq!(world.state.claims_of_gang(urgent, 0).count(), 0);
}

#[test]
fn nobody_goes_where_not_all_members_would_have_room() {
    let mut world = cluster(&[("a", 2), ("b", 2), ("c", 2)]);
    run_on(&mut world, "a", 20, 2);
    run_on(&mut world, "b", 45, 2);
    run_on(&mut world, "c", 20, 2);
    gang(&mut world, 50, 2, 3, "anywhere");
    gang(&mut world, 50, 2, 2, "cluster");
    assert_eq!(stops(&world), Vec::<String>::new());
    gang(&mut world, 50, 2, 2, "region");
    assert_eq!(stops(&world), ["j5: 1 x a (j0), 1 x c (j2)"]);
}

#[test]
fn of_the_domains_it_is_the_one_in_which_least_is_lost() {
    let mut world = cluster(&[("a1", 2), ("a2", 2), ("b1", 2), ("b2", 2), ("c1", 2)]);
    for (node, priority) in [("a1", 10), ("a2", 30), ("b1", 20), ("b2", 20), ("c1", 0)] {
        run_on(&mut world, node, priority, 2);
    }
    gang(&mut world, 60, 2, 2, "cluster");
    assert_eq!(stops(&world), ["j5: 1 x b1 (j2), 1 x b2 (j3)"]);
    world.flag("b2", "cordoned");
    assert_eq!(stops(&world), ["j5: 1 x a1 (j0), 1 x a2 (j1)"]);
}

#[test]
fn room_that_comes_free_anyway_is_waited_for() {
    let mut world = cluster(&[("a", 2), ("b", 2)]);
    let going = run_on(&mut world, "a", 20, 2);
    let other = run_on(&mut world, "b", 20, 2);
    gang(&mut world, 50, 2, 2, "anywhere");
    world.apply(Command::CancelRun { run: going });
    world.apply(Command::CancelRun { run: other });
    assert_eq!(stops(&world), Vec::<String>::new(), "all of it will be free");
}

#[test]
fn members_of_gangs_are_spared_and_so_are_all_beyond_the_feature() {
    let mut world = cluster(&[("a", 2)]);
    let low = gang(&mut world, 0, 1, 2, "anywhere");
    drive(&mut world);
    assert_eq!(world.state.step_counts(low, 0).placed, 2);
    gang(&mut world, 100, 1, 2, "anywhere");
    assert_eq!(stops(&world), Vec::<String>::new());

    let mut world = World::empty();
    let row = FeatureRow { feature: Feature::Preemption, revision: Revision(0), at: Millis(0) };
    world.state.commit(&Change::Feature(row));
    world.apply(Command::SetPreemption { preemption: POLICY });
    world.node("a", "eu", "eu-a", resources("2000m", "64Gi"));
    run_on(&mut world, "a", 0, 2);
    gang(&mut world, 100, 1, 2, "anywhere");
    assert_eq!(stops(&world), Vec::<String>::new(), "an older replica could not read it");
}

#[test]
fn a_gang_with_rules_about_others_stops_nobody() {
    let mut world = cluster(&[("a", 2), ("b", 2)]);
    run_on(&mut world, "a", 0, 2);
    run_on(&mut world, "b", 0, 2);
    submit(&mut world, 100, 1, &["count=2", "gang=anywhere", "atmost=node/1"]);
    assert_eq!(stops(&world), Vec::<String>::new());
}

#[test]
fn two_gangs_and_a_task_share_no_victims() {
    let mut world = cluster(&[("a", 4), ("b", 4)]);
    for node in ["a", "a", "b", "b"] {
        run_on(&mut world, node, 20, 2);
    }
    gang(&mut world, 90, 2, 2, "anywhere");
    gang(&mut world, 80, 1, 2, "anywhere");
    submit(&mut world, 70, 2, &[]);
    submit(&mut world, 60, 1, &["count=3", "gang=cluster"]);
    let plan = drive(&mut world);
    let victims = plan.gang_preemptions.iter().flat_map(GangPreempting::victims);
    let victims: Vec<AttemptId> =
        victims.chain(plan.preemptions.iter().flat_map(|made| made.victims.iter().copied())).collect();
    assert_eq!((victims.len(), victims.iter().collect::<BTreeSet<_>>().len()), (4, 4), "{plan:?}");
    assert_eq!((plan.gang_preemptions.len(), plan.preemptions.len()), (2, 1));
    assert_eq!(world.state.claims_count(), 5);
    world.stop_all();
    // On one node room that is kept is taken by one of them in a plan.
    let placed = drive(&mut world).placed() + drive(&mut world).placed();
    assert_eq!((placed, world.state.claims_count()), (5, 0));
}

#[test]
fn what_is_kept_goes_as_a_whole() {
    let mut world = cluster(&[("a", 2), ("b", 2), ("c", 2)]);
    for node in ["a", "b", "c"] {
        run_on(&mut world, node, 20, 2);
    }
    let urgent = gang(&mut world, 50, 2, 2, "anywhere");
    drive(&mut world);
    assert_eq!(world.state.claims_count(), 2);
    let why = |world: &World, index: u32| {
        let task = TaskId { run: urgent, step: 0, index };
        explain(&world.state, &world.observed, world.now(), task)
    };
    let told = why(&world, 1).to_string();
    let nodes: Vec<String> = world.state.claims().map(|claim| claim.node.to_string()).collect();
    let expected = format!("waits for 2 attempts to stop on node {} and another one (preempting ", nodes[0]);
    assert!(told.starts_with(&expected), "{told}");
    assert!(matches!(why(&world, 0), Explanation::RoomClaimed(claimed) if claimed.victims.len() == 2));
    // One of the two nodes takes nothing any more: the room on the other one is anybody's.
    let mut lost = world.clone();
    lost.flag(&nodes[1], "cordoned");
    assert_eq!(lost.state.claims_count(), 0);
    // Nobody came in time.
    let until = world.state.claims().next().unwrap().terms.until;
    assert_eq!(world.plan().wake_at, Some(until));
    world.pass(until.0 - world.served.0);
    assert_eq!(world.plan().expired.len(), 2);
    drive(&mut world);
    assert_eq!(world.state.claims_count(), 0);
    world.stop_all();
    assert_eq!(drive(&mut world).placed(), 2, "it is the most urgent still");
}

#[test]
fn a_gang_that_would_have_more_claims_than_there_may_be_waits() {
    let mut world = cluster(&[("a", 2_000)]);
    let low = submit(&mut world, 0, 2, &["count=1000"]);
    drive(&mut world);
    assert_eq!(world.state.step_counts(low, 0).placed, 1_000);
    for _ in 0..CLAIMS_MAX / 256 + 1 {
        gang(&mut world, 50, 1, 256, "anywhere");
    }
    let mut made = 0;
    for _ in 0..CLAIMS_MAX / 256 + 2 {
        made += drive(&mut world).gang_preemptions.len();
    }
    assert_eq!((made, world.state.claims_count()), (CLAIMS_MAX / 256, CLAIMS_MAX / 256 * 256));
}

#[test]
fn a_gang_takes_room_to_even_out_shares() {
    let mut world = cluster(&[("a", 4), ("b", 4)]);
    for feature in [Feature::FairShare, Feature::FairPreemption] {
        world.state.commit(&Change::Feature(FeatureRow { feature, revision: Revision(0), at: Millis(0) }));
    }
    world.apply(Command::SetPreemption { preemption: Preemption { by_share: true, share_gap: 0, ..POLICY } });
    world.apply(Command::CreateNamespace { namespace: quorate_state::Namespace::new("other").unwrap() });
    for node in ["a", "a", "a", "a", "b", "b", "b", "b"] {
        run_on(&mut world, node, 50, 1);
    }
    let with = |world: &World, cores: u64, members: u32| {
        let mut world = world.clone();
        let mut spec = job("late", &["priority=50"]);
        spec.namespace = quorate_state::Namespace::new("other").unwrap();
        let options = [format!("count={members}"), "gang=anywhere".into()];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        spec.tasks.push(task("t", resources(&format!("{}m", cores * 1_000), "1Mi"), &options));
        let run = world.submit(spec);
        world.release();
        let stopped: usize = world.plan().gang_preemptions.iter().map(|made| made.victims().count()).sum();
        drive(&mut world);
        assert_eq!(world.state.claims_of_gang(run, 0).count(), if stopped > 0 { members as usize } else { 0 });
        stopped
    };
    assert_eq!(with(&world, 1, 4), 4, "half of the cluster is its part");
    assert_eq!(with(&world, 2, 2), 4);
    assert_eq!(with(&world, 1, 5), 0, "that is more than its part");
}

/// Nodes by their cores, and runs: priority, cores of a task, tasks, and whether they are a gang.
type Shape = (Vec<u64>, Vec<(u8, u64, u32, bool)>);

fn shapes() -> impl Strategy<Value = Shape> {
    let runs = proptest::collection::vec((0..101_u8, 1..5_u64, 1..5_u32, any::<bool>()), 1..10);
    (proptest::collection::vec(1..9_u64, 1..5), runs)
}

/// What is stopped for a gang is strictly less urgent; all of it fits when they are gone, and not with any of them.
fn judge(state: &State, made: &GangPreempting) {
    let by = state.run(made.run).unwrap();
    let spec = &by.spec.tasks[made.step as usize];
    assert_eq!(made.members(), spec.count as usize);
    let victims: BTreeSet<AttemptId> = made.victims().collect();
    assert!(!victims.is_empty() && victims.len() == made.victims().count());
    for victim in &victims {
        let other = state.run(victim.task.run).unwrap();
        assert!(other.priority() + POLICY.gap <= by.priority(), "{} for {}", other.priority(), by.priority());
        assert!(other.spec.tasks[victim.task.step as usize].gang.is_none());
    }
    let holds = |victims: &BTreeSet<AttemptId>| -> u32 {
        let most = made.nodes.iter().map(|room| {
            let node = state.node(&room.node).unwrap();
            let goes = |attempt: &Attempt| state.is_leaving(attempt) || victims.contains(&attempt.id);
            let vacancy = state.vacancy_for_gang(node, (made.run, made.step), goes);
            (0..=spec.count).rev().find(|members| vacancy.clone().hold_all(node, spec, *members).is_some()).unwrap_or(0)
        });
        most.sum()
    };
    assert!(holds(&victims) >= spec.count, "it does not fit when they are gone");
    for victim in &victims {
        let mut without = victims.clone();
        without.remove(victim);
        assert!(holds(&without) < spec.count, "{victim:?} could have been left out");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Without arrivals preemption for tasks and gangs comes to an end, and on the way nobody is preempted by whom they preempted.
    #[test]
    fn preemption_for_gangs_comes_to_an_end_and_goes_round_in_no_circle((nodes, runs) in shapes()) {
        let names = ["a1", "a2", "b1", "b2"];
        let nodes: Vec<(&str, u64)> = names.into_iter().zip(nodes).collect();
        let mut world = cluster(&nodes);
        let mut preempted: BTreeMap<RunId, BTreeSet<RunId>> = BTreeMap::new();
        let tasks: usize = runs.iter().map(|(_, _, count, _)| *count as usize).sum();
        let mut arrivals = runs.iter().enumerate();
        let mut quiet = 0;
        // Each stop takes two rounds at most, and each task is stopped so often at most.
        let rounds = runs.len() + 3 * tasks * POLICY.times_max as usize + 4;
        for _ in 0..rounds {
            if let Some((number, (priority, cores, count, is_gang))) = arrivals.next() {
                match is_gang {
                    true => gang(&mut world, *priority, *cores, *count, ["anywhere", "cluster"][number % 2]),
                    false => submit(&mut world, *priority, *cores, &[&format!("count={count}")]),
                };
            }
            let plan = world.plan();
            let before = world.state.clone();
            world.commit(&Plan { preemptions: vec![], gang_preemptions: vec![], expired: vec![], ..plan.clone() });
            for placed in plan.all_placements() {
                prop_assert!(world.state.task(placed.task).unwrap().state != TaskState::Ready);
            }
            // They are decided by urgency, and those for tasks applied first: what builds upon one for a gang is decided again.
            for made in &plan.preemptions {
                let is_made = world.try_apply(Command::PreemptAttempts(made.clone())).is_ok();
                prop_assert!(is_made || !plan.gang_preemptions.is_empty(), "{made:?}");
            }
            for made in &plan.gang_preemptions {
                judge(&world.state, made);
                world.apply(Command::PreemptForGang(made.clone()));
            }
            let pairs = plan.preemptions.iter().flat_map(|made| made.victims.iter().map(|victim| (made.task.run, *victim)));
            let pairs = pairs.chain(plan.gang_preemptions.iter().flat_map(|made| made.victims().map(|victim| (made.run, victim))));
            for (by, victim) in pairs {
                preempted.entry(by).or_default().insert(victim.task.run);
                let back = preempted.get(&victim.task.run);
                prop_assert!(!back.is_some_and(|theirs| theirs.contains(&by)), "round in a circle");
            }
            if !plan.expired.is_empty() {
                world.apply(Command::EndClaims { tasks: plan.expired });
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
        let plan = world.plan();
        prop_assert!(plan.preemptions.is_empty() && plan.gang_preemptions.is_empty() && plan.placed() == 0);
    }
}

#[test]
fn only_a_gang_that_asks_for_it_stops_others_on_nodes_that_are_set_aside() {
    let mut world = cluster(&[("a", 2), ("b", 2), ("c", 2), ("d", 2)]);
    for (node, priority) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        run_on(&mut world, node, priority, 2);
    }
    gang(&mut world, 50, 2, 2, "anywhere");
    assert_eq!(stops(&world), ["j4: 1 x a (j0), 1 x b (j1)"], "the least urgent have to go");
    let nodes = ["a", "b", "c"].map(|node| node.parse().unwrap()).into();
    let (reservation, namespace) = ("spring".parse().unwrap(), crate::world::namespace());
    world.apply(Command::Reserve { reservation, namespace, nodes, wait_ms: 10_000, for_ms: 60_000 });
    let asks = submit(&mut world, 40, 2, &["count=2", "gang=anywhere", "reservation=spring"]);
    assert_eq!(stops(&world), Vec::<String>::new(), "it has not begun");
    world.pass(10_000);
    world.drive("reservations");
    assert_eq!(stops(&world), ["j5: 1 x a (j0), 1 x b (j1)"]);
    drive(&mut world);
    assert_eq!(world.stop_all(), 2);
    drive(&mut world);
    assert_eq!(world.state.step_counts(asks, 0).placed, 2);
}
