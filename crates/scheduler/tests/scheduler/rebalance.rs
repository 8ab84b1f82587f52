//! Which work is moved to better places: from the fullest node on, or nearer to what it would rather have, and never on and on.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_scheduler::Budget;
use quorate_scheduler::explain::explain;
use quorate_scheduler::placement::Plan;
use quorate_scheduler::rebalance::{Limits, Proposal, propose};
use quorate_state::{
    AttemptId, AttemptPhase, Change, Choice, Command, Feature, FeatureRow, Goal, GpuHold, Millis, Placement,
    Preemption, Reach, RebalanceEnd, RebalanceOrder, RebalanceTerms, Revision, RunId, TaskId, fullness,
};

use crate::world::{World, job, resources, task};

const TERMS: RebalanceTerms = RebalanceTerms {
    goal: Goal::Spread,
    reach: Reach::Everywhere,
    moves_max: 1_000,
    at_once: 100,
    share_percent: 100,
    margin: 10,
    for_ms: 600_000,
};

const PREFER: RebalanceTerms = RebalanceTerms { goal: Goal::Prefer, margin: 1, ..TERMS };

/// Nodes, each as `name region/cluster milli`.
fn cluster(nodes: &[(&str, &str, u64)]) -> World {
    let mut world = World::empty();
    for feature in [Feature::Preemption, Feature::Rebalance, Feature::RegionPolicy, Feature::NodeDrain] {
        world.state.commit(&Change::Feature(FeatureRow { feature, revision: Revision(0), at: Millis(0) }));
    }
    world.apply(Command::SetPreemption { preemption: Preemption::OFF });
    for (node, place, milli) in nodes {
        let (region, cluster) = place.split_once('/').unwrap();
        world.node(node, region, cluster, resources(&format!("{milli}m"), "64Gi"));
    }
    world
}

/// A run of one task on a node, where it runs; its name is its number.
fn run_on(world: &mut World, node: &str, milli: u64, options: &[&str]) -> RunId {
    let number = world.state.runs_newest_first(None).count();
    let mut spec = job(&format!("j{number}"), &[]);
    spec.tasks.push(task("t", resources(&format!("{milli}m"), "1Mi"), options));
    let run = world.submit(spec);
    world.release();
    let node = world.get(node);
    let tasks: Vec<TaskId> = world.state.tasks_of(run).map(|task| task.id).collect();
    for task in tasks {
        let generation = world.state.task(task).unwrap().generation;
        let placement = Placement {
            gpus: GpuHold::NONE,
            choice: Choice::FIRST,
            task,
            generation,
            node: node.name.clone(),
            epoch: node.epoch,
        };
        world.commit(&Plan { placements: vec![placement], ..Plan::default() });
        world.report(AttemptId { task, number: 1 }, AttemptPhase::Running, None);
    }
    run
}

fn look(world: &World, terms: &RebalanceTerms) -> Proposal {
    let limits = Limits { rebalance: None, moves: terms.moves_max as usize, keeps_share: false };
    propose(&world.state, &world.observed, world.served, terms, limits, 7, Budget::default())
}

/// What would be moved, as `who from > to`.
fn moves(world: &World, terms: &RebalanceTerms) -> Vec<String> {
    let name = |run: RunId| world.state.run(run).unwrap().spec.name.to_string();
    let lines = look(world, terms).moves.into_iter().map(|proposed| {
        format!("{} {} > {}", name(proposed.moving.attempt.task.run), proposed.from, proposed.moving.to)
    });
    lines.collect()
}

fn start(world: &mut World, terms: RebalanceTerms) {
    world.apply(Command::SetRebalance { order: RebalanceOrder::Start(terms) });
}

/// One round: moves are asked for, whoever is asked to stop does, and is placed where its room is.
fn round(world: &mut World) -> usize {
    let asked: usize = world.drive("rebalance").commands.len();
    world.stop_all();
    world.drive("placement");
    world.pass(1_000);
    asked
}

fn on(world: &World, node: &str) -> u64 {
    world.state.used_on(&node.parse().unwrap()).cpu_milli
}

#[test]
fn the_fullest_node_gives_its_youngest_to_the_emptiest() {
    let mut world = cluster(&[("a", "eu/eu-1", 1_000), ("b", "eu/eu-1", 1_000), ("c", "eu/eu-1", 1_000)]);
    for _ in 0..4 {
        run_on(&mut world, "a", 200, &[]);
    }
    run_on(&mut world, "b", 300, &[]);
    assert_eq!(moves(&world, &TERMS), ["j3 a > c", "j2 a > c"], "then a, b and c have 40, 30 and 40 per cent");
    let found = look(&world, &TERMS);
    assert_eq!(found.fullness, [(800_000, 0), (400_000, 300_000)]);
    assert_eq!(moves(&world, &RebalanceTerms { margin: 61, ..TERMS }), Vec::<String>::new());
    assert_eq!(moves(&world, &RebalanceTerms { moves_max: 1, ..TERMS }).len(), 1);
}

#[test]
fn a_move_goes_no_farther_than_was_said() {
    let mut world =
        cluster(&[("a", "eu/eu-1", 1_000), ("b", "eu/eu-2", 1_000), ("c", "us/us-1", 1_000), ("d", "us/us-1", 1_000)]);
    run_on(&mut world, "a", 500, &[]);
    run_on(&mut world, "a", 500, &[]);
    run_on(&mut world, "b", 300, &[]);
    assert_eq!(moves(&world, &TERMS), ["j1 a > c"]);
    assert_eq!(moves(&world, &RebalanceTerms { reach: Reach::Region, ..TERMS }), ["j1 a > b"]);
    assert_eq!(moves(&world, &RebalanceTerms { reach: Reach::Cluster, ..TERMS }), Vec::<String>::new());
}

#[test]
fn nodes_that_take_no_work_and_those_that_are_silent_take_no_part() {
    let mut world = cluster(&[("a", "eu/eu-1", 1_000), ("b", "eu/eu-1", 1_000), ("c", "eu/eu-1", 1_000)]);
    run_on(&mut world, "a", 400, &[]);
    run_on(&mut world, "a", 400, &[]);
    world.flag("b", "cordoned");
    assert_eq!(moves(&world, &TERMS), ["j1 a > c"]);
    world.see("c", |seen| seen.heard_ms_ago = 1_000_000);
    assert_eq!(moves(&world, &TERMS), Vec::<String>::new());
}

#[test]
fn whom_nothing_may_move_is_left_alone_and_counted() {
    let mut world = cluster(&[("a", "eu/eu-1", 1_000), ("b", "eu/eu-1", 1_000), ("far", "us/us-1", 1_000)]);
    run_on(&mut world, "a", 300, &["loss=at_most_once"]);
    run_on(&mut world, "a", 300, &["group=db"]);
    run_on(&mut world, "a", 300, &["home=stay"]);
    assert_eq!(moves(&world, &TERMS), ["j2 a > b"], "within its region");
    let spared: Vec<(&str, u64)> = look(&world, &TERMS).spared.into_iter().collect();
    assert_eq!(spared, [("IN_COMPANY", 1), ("STARTED_ONCE", 1)]);
}

#[test]
fn tasks_go_nearer_to_what_they_would_rather_have() {
    let mut world = cluster(&[("a", "eu/eu-1", 1_000), ("b", "us/us-1", 1_000), ("c", "us/us-1", 300)]);
    run_on(&mut world, "a", 200, &["prefer=region:us:50"]);
    run_on(&mut world, "a", 200, &["prefer=region:eu:50"]);
    run_on(&mut world, "a", 200, &[]);
    run_on(&mut world, "b", 900, &[]);
    assert_eq!(moves(&world, &PREFER), ["j0 a > c"], "b has no room");
    let [before, after] = look(&world, &PREFER).distance;
    assert_eq!(before - after, 50);
    assert_eq!(moves(&world, &RebalanceTerms { margin: 51, ..PREFER }), Vec::<String>::new());
    assert_eq!(moves(&world, &RebalanceTerms { reach: Reach::Region, ..PREFER }), Vec::<String>::new());
}

#[test]
fn a_rebalance_is_carried_out_explained_and_over_when_nothing_is_left() {
    let mut world = cluster(&[("a", "eu/eu-1", 1_000), ("b", "eu/eu-1", 1_000)]);
    for _ in 0..4 {
        run_on(&mut world, "a", 200, &[]);
    }
    assert!(world.drive("rebalance").commands.is_empty(), "only when asked");
    start(&mut world, RebalanceTerms { at_once: 1, ..TERMS });
    let decision = world.drive("rebalance");
    assert_eq!((decision.commands.len(), world.state.moves_count()), (1, 1));
    let task = world.state.moves().next().unwrap().task;
    let why = |world: &World| explain(&world.state, &world.observed, world.now(), task).to_string();
    assert!(
        why(&world).contains("on node a, which was asked to stop it: it goes on at b, by rebalance 1"),
        "{}",
        why(&world)
    );
    assert!(world.drive("rebalance").commands.is_empty(), "one at a time");
    world.stop_all();
    world.drive("placement");
    assert!(why(&world).contains("(moved from a by rebalance 1)"), "{}", why(&world));
    for _ in 0..4 {
        round(&mut world);
    }
    let row = world.state.rebalance().unwrap();
    assert_eq!((row.begun, row.arrived, row.ended.map(|(why, _)| why)), (2, 2, Some(RebalanceEnd::Done)));
    assert_eq!((on(&world, "a"), on(&world, "b")), (400, 400));
}

#[test]
fn it_waits_for_what_was_placed_a_short_time_ago_and_for_nodes_that_have_not_reported() {
    let mut world = cluster(&[("a", "eu/eu-1", 1_000), ("b", "eu/eu-1", 1_000)]);
    world.apply(Command::SetPreemption { preemption: Preemption { by_priority: true, ..Preemption::OFF } });
    run_on(&mut world, "a", 400, &[]);
    run_on(&mut world, "a", 400, &[]);
    start(&mut world, TERMS);
    assert!(world.drive("rebalance").commands.is_empty(), "they are spared for a minute");
    world.pass(60_000);
    world.see("b", |seen| seen.reported_this_term = false);
    assert!(world.drive("rebalance").commands.is_empty());
    world.see("b", |seen| seen.reported_this_term = true);
    world.drive("rebalance");
    assert_eq!(world.state.moves_count(), 1);
}

#[test]
fn a_new_leader_goes_on_within_the_same_budget() {
    let mut world = cluster(&[("a", "eu/eu-1", 1_000), ("b", "eu/eu-1", 1_000), ("c", "eu/eu-1", 1_000)]);
    for _ in 0..9 {
        run_on(&mut world, "a", 100, &[]);
    }
    start(&mut world, RebalanceTerms { moves_max: 3, at_once: 2, ..TERMS });
    // Each step is that of a controller that remembers nothing.
    for _ in 0..6 {
        world.drive("rebalance");
        world.drive("rebalance");
        assert!(world.state.moves_count() <= 2);
        world.stop_all();
        world.drive("placement");
    }
    let row = world.state.rebalance().unwrap();
    assert_eq!((row.begun, row.ended.map(|(why, _)| why)), (3, Some(RebalanceEnd::MovesSpent)));
}

#[test]
fn a_drain_a_loss_and_the_end_of_its_time_are_its_end() {
    let ends = |act: fn(&mut World)| {
        let mut world = cluster(&[("a", "eu/eu-1", 1_000), ("b", "eu/eu-1", 1_000), ("c", "eu/eu-1", 1_000)]);
        run_on(&mut world, "a", 400, &[]);
        run_on(&mut world, "a", 400, &[]);
        start(&mut world, TERMS);
        act(&mut world);
        world.drive("rebalance");
        let row = world.state.rebalance().unwrap();
        assert_eq!(row.begun, 0);
        row.ended.map(|(why, _)| why)
    };
    assert_eq!(ends(|world| world.flag("c", "draining")), Some(RebalanceEnd::Draining));
    assert_eq!(ends(|world| world.flag("c", "lost")), Some(RebalanceEnd::NodeLost));
    assert_eq!(ends(|world| world.pass(600_000)), Some(RebalanceEnd::TimeOver));
    assert_eq!(ends(|world| world.see("c", |seen| seen.heard_ms_ago = 1_000_000)), None, "it may be back");
}

/// Nodes of so many cores, and tasks of so many milli each with the node on which it begins.
fn shapes() -> impl Strategy<Value = (Vec<u64>, Vec<(u64, usize)>, u32, u32)> {
    let nodes = proptest::collection::vec(500..3_000_u64, 2..6);
    (nodes, proptest::collection::vec((1..900_u64, any::<usize>()), 1..16), 1..30_u32, 1..5_u32)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    /// It ends by itself; each move makes the list of fullnesses less, nobody is moved twice, and the budget is kept.
    #[test]
    fn a_rebalance_comes_to_an_end_and_everything_it_does_makes_things_more_even(
        (nodes, tasks, margin, at_once) in shapes(), rounds_of_two in any::<bool>(),
    ) {
        let names = ["a", "b", "c", "d", "e"];
        let nodes: Vec<(&str, &str, u64)> =
            names.into_iter().zip(nodes).map(|(name, milli)| (name, "eu/eu-1", milli)).collect();
        let mut world = cluster(&nodes);
        for (milli, at) in &tasks {
            let (name, _, capacity) = nodes[at % nodes.len()];
            if on(&world, name) + milli <= capacity {
                run_on(&mut world, name, *milli, &[]);
            }
        }
        let list = |world: &World| {
            let each = world.state.nodes().map(|node| fullness(world.state.used_on(&node.name), node.capacity));
            let mut each: Vec<u64> = each.collect();
            each.sort_unstable_by(|one, other| other.cmp(one));
            each
        };
        start(&mut world, RebalanceTerms { margin, at_once, ..TERMS });
        let mut moved: BTreeMap<TaskId, u32> = BTreeMap::new();
        let mut rounds = 0;
        while world.state.rebalancing().is_some() {
            rounds += 1;
            prop_assert!(rounds <= 2 * tasks.len() + 4, "it does not end");
            let before = list(&world);
            world.drive("rebalance");
            let begun: BTreeSet<TaskId> = world.state.moves().map(|row| row.task).collect();
            prop_assert!(begun.len() <= at_once as usize);
            if rounds_of_two {
                world.drive("rebalance");
            }
            for row in world.state.moves() {
                *moved.entry(row.task).or_default() += 1;
            }
            world.stop_all();
            // One for each node in a plan.
            for _ in 0..begun.len() + 2 {
                world.drive("placement");
            }
            world.pass(1_000);
            prop_assert_eq!(world.state.moves_count(), 0, "each has its room at once");
            let after = list(&world);
            prop_assert!(begun.is_empty() || after < before, "{:?} became {:?}", before, after);
        }
        prop_assert!(moved.values().all(|times| *times == 1), "{:?}", moved);
        let row = world.state.rebalance().unwrap();
        prop_assert_eq!((row.begun as usize, row.missed), (moved.len(), 0));
    }
}
