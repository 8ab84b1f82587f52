//! Whose turn it is: namespaces with weights, guarantees and maxima, over time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_scheduler::Budget;
use quorate_scheduler::explain::{Explanation, explain};
use quorate_scheduler::placement::plan;
use quorate_state::{
    Amounts, AttemptId, AttemptPhase, Change, Command, Fairness, Feature, FeatureRow, Millis, Namespace, Resources,
    Revision, Share, ShareChange, TaskState,
};

use crate::world::{World, job, resources, task};

const HOUR: u64 = 3_600_000;

/// A cluster with one node of so many cores, where namespaces are served evenly by what runs alone.
fn cluster(cores: u64) -> World {
    let mut world = World::empty();
    let row = FeatureRow { feature: Feature::FairShare, revision: Revision(0), at: Millis(0) };
    world.state.commit(&Change::Feature(row));
    keep(&mut world, 0, 0);
    world.node("n", "eu", "eu-1", resources(&format!("{}m", cores * 1_000), "512Gi"));
    world
}

fn keep(world: &mut World, half_life_ms: u64, overdue_ms: u64) {
    world.apply(Command::SetFairness { fairness: Fairness { half_life_ms, overdue_ms } });
}

fn cores(cores: u64) -> Amounts {
    Amounts { cpu_milli: Some(cores * 1_000), ..Amounts::default() }
}

fn name(name: &str) -> Namespace {
    name.parse().unwrap()
}

fn tenant(world: &mut World, namespace: &str, share: Share) {
    let change = ShareChange {
        parent: Some(share.parent),
        weight: Some(share.weight),
        guaranteed: Some(share.guaranteed),
        maximum: Some(share.maximum),
    };
    world.apply(Command::SetNamespace { namespace: name(namespace), is_new: true, change: Box::new(change) });
}

fn of_weight(weight: u32) -> Share {
    Share { weight, ..Share::default() }
}

/// A run of so many tasks of one core in a namespace.
fn submit(world: &mut World, namespace: &str, count: u32, options: &[&str]) {
    let runs = world.state.runs_newest_first(None).count();
    let mut spec = job(&format!("{namespace}-{runs}"), options);
    spec.namespace = name(namespace);
    spec.tasks.push(task("t", resources("1000m", "1Gi"), &[&format!("count={count}")]));
    world.submit(spec);
    world.release();
}

/// What each namespace holds now, in cores.
fn held(world: &World) -> BTreeMap<String, u64> {
    let rows = world.state.namespaces().filter(|row| row.name.as_str() != "default");
    rows.map(|row| (row.name.to_string(), world.state.held_below(&row.name).cpu_milli / 1_000)).collect()
}

/// Plans and commits; what was placed, by namespace, in order.
fn place(world: &mut World) -> Vec<String> {
    let plan = world.plan();
    world.commit(&plan);
    let namespace = |run| world.state.run(run).unwrap().spec.namespace.to_string();
    plan.placements.iter().map(|placement| namespace(placement.task.run)).collect()
}

/// Ends those of the tasks that were placed first.
fn end(world: &mut World, count: usize) {
    let tasks = world.state.runs_newest_first(None).flat_map(|run| world.state.tasks_of(run.id));
    let placed = tasks.filter(|task| matches!(task.state, TaskState::Placed | TaskState::Running));
    let mut attempts: Vec<AttemptId> = placed.filter_map(|task| task.newest_attempt()).collect();
    attempts.sort_by_key(|attempt| world.state.attempt(*attempt).unwrap().token);
    for attempt in attempts.into_iter().take(count) {
        world.report(attempt, AttemptPhase::Ended, Some(0));
    }
}

#[test]
fn weights_of_one_two_and_three_come_to_their_shares_while_all_is_taken() {
    for half_life_ms in [0, 120_000] {
        let mut world = cluster(30);
        keep(&mut world, half_life_ms, 0);
        for (namespace, weight) in [("one", 100), ("two", 200), ("three", 300)] {
            tenant(&mut world, namespace, of_weight(weight));
            submit(&mut world, namespace, 250, &[]);
        }
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for round in 0..60_u32 {
            place(&mut world);
            world.drive("fairness");
            if round >= 20 {
                held(&world).into_iter().for_each(|(namespace, cores)| *sums.entry(namespace).or_default() += cores);
            }
            world.pass(30_000);
            end(&mut world, 1 + (round as usize * 7) % 10);
        }
        let all: u64 = sums.values().sum();
        assert_eq!(all, 40 * 30, "all is taken all the time");
        for (namespace, weight) in [("one", 1), ("two", 2), ("three", 3)] {
            let (ours, fair) = (sums[namespace], all * weight / 6);
            assert!(
                ours.abs_diff(fair) * 20 <= fair,
                "{namespace} had {ours} of {all} with {half_life_ms}, not {fair}"
            );
        }
    }
}

#[test]
fn a_burst_of_one_tenant_does_not_hold_up_another() {
    let mut world = cluster(10);
    tenant(&mut world, "burst", Share::default());
    tenant(&mut world, "small", Share::default());
    submit(&mut world, "burst", 400, &[]);
    assert_eq!(place(&mut world).len(), 10);
    submit(&mut world, "small", 2, &[]);
    // All is taken; what becomes free goes to who has nothing.
    end(&mut world, 3);
    assert_eq!(place(&mut world), ["small", "small", "burst"]);
    assert_eq!(held(&world), [("burst".into(), 8), ("small".into(), 2)].into());
}

#[test]
fn the_more_urgent_goes_first_whoever_has_more() {
    let mut world = cluster(4);
    tenant(&mut world, "a", Share::default());
    tenant(&mut world, "b", Share::default());
    submit(&mut world, "a", 1, &["priority=10"]);
    submit(&mut world, "b", 9, &["priority=90"]);
    assert_eq!(place(&mut world), ["b", "b", "b", "b"]);
}

#[test]
fn one_namespace_is_served_in_the_order_of_its_submits() {
    let mut world = cluster(100);
    tenant(&mut world, "a", Share { guaranteed: cores(1), ..of_weight(7) });
    for priority in ["priority=20", "priority=80", "priority=20", "priority=50"] {
        submit(&mut world, "a", 3, &[priority]);
    }
    let fair: Vec<_> = world.plan().placements.iter().map(|placement| placement.task).collect();
    let queue: Vec<_> = world.state.ready().map(|place| place.task).collect();
    assert_eq!(fair, queue);
}

#[test]
fn a_guarantee_comes_first_and_what_is_beyond_it_by_weight() {
    let mut world = cluster(12);
    tenant(&mut world, "heavy", of_weight(100_000));
    tenant(&mut world, "sure", Share { guaranteed: cores(4), ..of_weight(1) });
    submit(&mut world, "heavy", 50, &[]);
    submit(&mut world, "sure", 50, &[]);
    let placed = place(&mut world);
    assert_eq!(placed[..4], ["sure", "sure", "sure", "sure"]);
    assert!(placed[4..].iter().all(|namespace| namespace == "heavy"), "{placed:?}");
}

#[test]
fn a_guarantee_of_what_a_task_does_not_ask_for_puts_it_before_nobody() {
    let mut world = cluster(4);
    tenant(&mut world, "a", Share::default());
    let gpus = Amounts { gpu_milli: Some(8_000), ..Amounts::default() };
    tenant(&mut world, "z", Share { guaranteed: gpus, ..Share::default() });
    submit(&mut world, "z", 9, &[]);
    submit(&mut world, "a", 9, &[]);
    assert_eq!(place(&mut world), ["a", "z", "a", "z"]);
}

#[test]
fn a_tree_is_shared_level_by_level() {
    let mut world = cluster(24);
    tenant(&mut world, "left", of_weight(100));
    tenant(&mut world, "right", of_weight(100));
    for (namespace, weight) in [("left-a", 100), ("left-b", 300)] {
        tenant(&mut world, namespace, Share { parent: Some(name("left")), ..of_weight(weight) });
        submit(&mut world, namespace, 40, &[]);
    }
    // What a namespace runs itself stands beside those below it, with the weight of most.
    tenant(&mut world, "right-a", Share { parent: Some(name("right")), ..of_weight(200) });
    submit(&mut world, "right", 40, &[]);
    submit(&mut world, "right-a", 40, &[]);
    place(&mut world);
    let expected = [("left", 12), ("left-a", 3), ("left-b", 9), ("right", 12), ("right-a", 8)];
    assert_eq!(held(&world), expected.map(|(namespace, cores)| (namespace.to_owned(), cores)).into());
}

#[test]
fn nothing_is_proposed_beyond_a_maximum_and_the_reason_is_told() {
    let mut world = cluster(30);
    tenant(&mut world, "top", Share { maximum: cores(5), ..Share::default() });
    for namespace in ["top-a", "top-b"] {
        let share = Share { parent: Some(name("top")), maximum: cores(4), ..Share::default() };
        tenant(&mut world, namespace, share);
    }
    submit(&mut world, "top-a", 9, &[]);
    // Also where nobody else waits.
    assert_eq!(place(&mut world).len(), 4);
    submit(&mut world, "top-b", 9, &[]);
    assert_eq!(place(&mut world), ["top-b"], "that is all that is left above it");
    let plan = world.plan();
    assert!(plan.placements.is_empty(), "what apply refuses is not proposed again");
    let told: Vec<String> =
        plan.explanations.iter().map(|waits| waits.over_quota.as_ref().unwrap().to_string()).collect();
    assert_eq!(plan.explanations.iter().map(|waits| waits.tasks).collect::<Vec<_>>(), [8, 5]);
    assert_eq!(told[0], "quota of namespace top: 5 of 5 cpu in use, and 1 asked for");
    assert_eq!(told[1], "quota of namespace top-a: 4 of 4 cpu in use, and 1 asked for");
    let why = |world: &World, job: &str| explain(&world.state, &world.observed, world.now(), world.find(job));
    let Explanation::OverQuota(over) = why(&world, "top-b-1/t[8]") else { panic!("it waits for its quota") };
    assert_eq!((over.namespace.as_str(), over.used, over.maximum), ("top", 5_000, 5_000));
    // Others are not held up.
    tenant(&mut world, "other", Share::default());
    submit(&mut world, "other", 3, &[]);
    assert_eq!(place(&mut world), ["other", "other", "other"]);
    // What ends makes room again.
    end(&mut world, 1);
    assert_eq!(place(&mut world), ["top-b"]);
}

#[test]
fn who_had_all_for_long_goes_behind_who_had_nothing_and_not_for_ever() {
    let mut world = cluster(8);
    keep(&mut world, 600_000, 0);
    tenant(&mut world, "a", Share::default());
    tenant(&mut world, "b", Share::default());
    submit(&mut world, "a", 100, &[]);
    place(&mut world);
    for _ in 0..40 {
        world.drive("fairness");
        world.pass(60_000);
    }
    let past = world.state.past_below(&name("a")).cpu_milli;
    assert!((6_500..8_000).contains(&past), "{past}");
    submit(&mut world, "b", 100, &[]);
    end(&mut world, 6);
    assert_eq!(place(&mut world), ["b"; 6], "a has 2 and had 8");
    // Half of a lifetime later what a had is half of that, and both have the same.
    for _ in 0..12 {
        world.drive("fairness");
        world.pass(60_000);
        end(&mut world, 2);
        place(&mut world);
    }
    for _ in 0..60 {
        world.drive("fairness");
        world.pass(60_000);
        end(&mut world, 1);
        place(&mut world);
    }
    let held = held(&world);
    assert!(held["a"].abs_diff(held["b"]) <= 2, "{held:?}");
    // When nothing runs any more, it is forgotten, and nobody is asked again.
    while world.state.ready_count() > 0 {
        place(&mut world);
        end(&mut world, 8);
    }
    end(&mut world, 8);
    for _ in 0..300 {
        world.drive("fairness");
        world.pass(60_000);
    }
    assert!(world.state.namespaces().all(|row| row.past.is_none()));
    assert!(world.step("fairness").commands.is_empty() && world.step("fairness").wake_at.is_none());
}

#[test]
fn samples_are_due_once_in_a_while_and_say_when() {
    let mut world = cluster(8);
    keep(&mut world, 600_000, 0);
    assert!(world.step("fairness").commands.is_empty(), "nothing runs");
    tenant(&mut world, "a", Share::default());
    submit(&mut world, "a", 2, &[]);
    place(&mut world);
    assert_eq!(world.drive("fairness").commands, [Command::SampleUse { namespaces: vec![name("a")] }]);
    let waits = world.drive("fairness");
    assert_eq!((waits.commands.len(), waits.wake_at), (0, Some(world.served.plus(60_000))));
    world.pass(60_000);
    assert_eq!(world.drive("fairness").commands.len(), 1);
    // Without a half-life what is known is forgotten.
    keep(&mut world, 0, 0);
    world.drive("fairness");
    assert!(world.step("fairness").commands.is_empty() && world.state.past_below(&name("a")) == Resources::ZERO);
}

#[test]
fn what_has_waited_too_long_goes_before_all_else_in_the_order_of_its_submit() {
    let mut world = cluster(3);
    keep(&mut world, 0, 2 * HOUR);
    tenant(&mut world, "a", of_weight(100_000));
    tenant(&mut world, "b", of_weight(1));
    submit(&mut world, "b", 2, &["priority=1"]);
    submit(&mut world, "a", 2, &["priority=1"]);
    submit(&mut world, "a", 60, &["priority=90"]);
    assert_eq!(place(&mut world), ["a", "a", "a"], "the urgent ones");
    world.pass(2 * HOUR - 1);
    end(&mut world, 1);
    assert_eq!(place(&mut world), ["a"]);
    world.pass(1);
    end(&mut world, 3);
    // All have waited as long by then; a task of one core was submitted first by b, and then by a.
    let placed = world.plan();
    let names: Vec<String> = placed.placements.iter().map(|placement| world.name(placement.task)).collect();
    assert_eq!(names, ["b-0/t[0]", "b-0/t[1]", "a-1/t[0]"]);
    // It is so for one namespace too.
    let mut alone = cluster(1);
    keep(&mut alone, 0, HOUR);
    tenant(&mut alone, "a", Share::default());
    submit(&mut alone, "a", 1, &["priority=1"]);
    alone.pass(HOUR);
    submit(&mut alone, "a", 5, &["priority=90"]);
    assert_eq!(alone.name(alone.plan().placements[0].task), "a-0/t[0]");
    keep(&mut alone, 0, 0);
    assert_eq!(alone.name(alone.plan().placements[0].task), "a-1/t[0]");
}

#[test]
fn the_order_in_which_namespaces_are_made_makes_no_difference() {
    let plans: Vec<Vec<String>> = [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"]]
        .into_iter()
        .map(|names| {
            let mut world = cluster(10);
            for namespace in names {
                let weight = if namespace == "b" { 250 } else { 100 };
                tenant(&mut world, namespace, of_weight(weight));
            }
            ["a", "b", "c"].into_iter().for_each(|namespace| submit(&mut world, namespace, 9, &[]));
            place(&mut world)
        })
        .collect();
    assert_eq!(plans[0], plans[1]);
    assert_eq!(plans[0], plans[2]);
    assert_eq!(plans[0][..3], ["a", "b", "c"], "equals by name");
}

/// Namespaces of a random tree: where each stands, its weight, and what it may hold.
type Tree = Vec<(Option<usize>, u32, Option<u64>)>;

fn tree() -> impl Strategy<Value = Tree> {
    let one = (proptest::option::weighted(0.4, 0..4_usize), 1..400_u32, proptest::option::weighted(0.4, 0..12_u64));
    proptest::collection::vec(one, 2..6)
}

/// Jobs: whose, how urgent, how many tasks, and how large each is.
fn jobs() -> impl Strategy<Value = Vec<(usize, u8, u32, u64)>> {
    proptest::collection::vec((0..6_usize, 0..3_u8, 1..6_u32, 1..5_u64), 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the tree and however small the budget: apply takes all that is planned, no task is planned twice, and what a plan of
    /// the whole queue leaves is either over a quota or larger than what is free.
    #[test]
    fn plans_keep_to_all_maxima_and_leave_nothing_that_could_run(
        tree in tree(), jobs in jobs(), budgets in proptest::collection::vec((1..40_u32, any::<u64>()), 0..4), late: bool,
    ) {
        let mut world = cluster(16);
        keep(&mut world, 600_000, if late { HOUR } else { 0 });
        for (at, (parent, weight, maximum)) in tree.iter().enumerate() {
            let parent = parent.filter(|parent| *parent < at).map(|parent| name(&format!("n{parent}")));
            let maximum = maximum.map_or(Amounts::default(), cores);
            tenant(&mut world, &format!("n{at}"), Share { parent, maximum, ..of_weight(*weight) });
        }
        for (number, (namespace, urgency, count, size)) in jobs.iter().enumerate() {
            let mut spec = job(&format!("job-{number}"), &[&format!("priority={}", 40 + urgency)]);
            spec.namespace = name(&format!("n{}", namespace % tree.len()));
            spec.tasks.push(task("t", resources(&format!("{}m", size * 1_000), "1Gi"), &[&format!("count={count}")]));
            world.submit(spec);
            world.release();
            world.pass(HOUR / 4);
        }
        for (steps, seed) in budgets {
            let plan = plan(&world.state, &world.observed, world.now(), seed, Budget { steps });
            let tasks: BTreeSet<_> = plan.placements.iter().map(|placement| placement.task).collect();
            prop_assert_eq!(tasks.len(), plan.placements.len(), "a task twice");
            world.commit(&plan);
        }
        let plan = world.plan();
        world.commit(&plan);
        let node = world.get("n");
        for place in world.state.ready() {
            let run = world.state.run(place.task.run).unwrap();
            let asked = run.spec.tasks[0].resources;
            let over = world.state.over_quota(&run.spec.namespace, asked).is_some();
            prop_assert!(over || !asked.fits(world.state.free_on(&node)), "{:?} could run", place.task);
        }
        let waits: u64 = plan.explanations.iter().map(|waits| waits.tasks).sum();
        prop_assert_eq!(waits, world.state.ready_count() as u64);
    }
}
