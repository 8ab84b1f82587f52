//! Nodes that are kept for tasks that wait: who passes them, who does not, and what they are told.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_scheduler::explain::{Explanation, expected_starts, explain};
use quorate_scheduler::placement::{HOLDS_MAX, PASSED_OVER_MAX};
use quorate_state::{AttemptId, AttemptPhase, RunId, Served, TaskId, TaskState};

use crate::world::{World, check, job, lines, resources, task};

#[test]
fn what_will_have_ended_passes_and_what_would_delay_does_not() {
    check(
        "
        node a eu/eu-1 4000m 8Gi
        use  a 2000m 1Gi timeout=100000
        job  first
        task big 4000m 1Gi
        job  second
        task endless 1000m 1Gi
        task long 1000m 1Gi timeout=90001
        task short 1000m 1Gi timeout=90000
        ",
        "
        second/short[0] -> a
        first/big[0] waits with 0: 1 FULL by 103000 on a
        second/endless[0] waits with 0: 1 KEPT
        second/long[0] waits with 0: 1 KEPT
        ",
    );
}

#[test]
fn what_leaves_enough_of_the_node_passes_for_good() {
    check(
        "
        node a eu/eu-1 4000m 8Gi
        use  a 2000m 1Gi timeout=100000
        job  first
        task big 3000m 1Gi
        job  second
        task endless 500m 1Gi count=3
        ",
        "
        second/endless[0] -> a
        second/endless[1] -> a
        first/big[0] waits with 0: 1 FULL by 103000 on a
        second/endless[2] waits with 0: 1 KEPT
        ",
    );
}

#[test]
fn a_node_without_a_known_end_is_kept_for_nobody() {
    check(
        "
        node a eu/eu-1 4000m 8Gi
        use  a 2000m 1Gi
        job  first
        task big 4000m 1Gi
        job  second
        task small 1000m 1Gi
        ",
        "
        second/small[0] -> a
        first/big[0] waits with 0: 1 FULL
        ",
    );
}

#[test]
fn the_node_with_room_soonest_is_kept_and_the_others_are_for_anybody() {
    check(
        "
        node a eu/eu-1 4000m 8Gi
        node b eu/eu-1 4000m 8Gi
        use  a 2000m 1Gi timeout=50000
        use  a 1000m 1Gi timeout=80000
        use  b 3000m 1Gi timeout=70000
        job  first
        task big 4000m 1Gi count=2
        job  second
        task small 1000m 1Gi count=2
        ",
        "
        second/small[0] -> a
        first/big[0] waits with 1: 2 FULL by 73000 on b
        second/small[1] waits with 0: 1 KEPT by 53000 on a
        ",
    );
}

#[test]
fn devices_are_kept_with_the_node() {
    let mut world = World::of(
        "
        node a eu/eu-1 8000m 8Gi gpus=A:2
        job  zero
        task one 1000m 1Gi gpu=1000 timeout=50000
        ",
    );
    world.commit(&world.plan());
    world.report(AttemptId { task: world.find("zero/one[0]"), number: 1 }, AttemptPhase::Running, None);
    let waits: [(&str, &[&str]); 4] =
        [("big", &["gpu=2000"]), ("endless", &["gpu=500"]), ("short", &["gpu=500", "timeout=30000"]), ("none", &[])];
    for (name, options) in waits {
        let mut spec = job(name, &[]);
        spec.tasks.push(task("t", resources("1000m", "1Gi"), options));
        world.submit(spec);
    }
    world.release();
    let expected = "
        short/t[0] -> a
        none/t[0] -> a
        big/t[0] waits with 0: 1 FULL by 53000 on a
        endless/t[0] waits with 0: 1 KEPT
    ";
    assert_eq!(world.render(&world.plan()), lines(expected));
}

#[test]
fn what_waits_is_told_when_it_begins_and_what_would_delay_it_why_it_waits() {
    let world = World::of(
        "
        node a eu/eu-1 4000m 8Gi
        use  a 2000m 1Gi timeout=100000
        job  first
        task big 4000m 1Gi
        job  second
        task endless 1000m 1Gi
        ",
    );
    let why = |name: &str| explain(&world.state, &world.observed, world.now(), world.find(name)).to_string();
    let big = why("first/big[0]");
    assert!(big.ends_with("; expected to begin within 1 min 43 s, on node a if not elsewhere"), "{big}");
    assert_eq!(
        why("second/endless[0]"),
        "the nodes that have the room are kept for tasks before it or for a reservation, which it would delay"
    );
    let task = world.find("first/big[0]");
    let starts = expected_starts(&world.state, &world.observed, world.now(), task.run);
    assert_eq!(starts.iter().map(|(task, start)| (*task, start.within_ms)).collect::<Vec<_>>(), [(task, 103_000)]);
    let other = world.find("second/endless[0]");
    assert!(expected_starts(&world.state, &world.observed, world.now(), other.run).is_empty());
    let delays = explain(&world.state, &world.observed, world.now(), other);
    assert!(matches!(delays, Explanation::WouldDelay { expected: None }), "{delays:?}");
}

#[test]
fn no_more_nodes_are_kept_and_no_more_steps_passed_over_than_the_limits_say() {
    let mut world = World::empty();
    for number in 0..HOLDS_MAX + 2 {
        let name = format!("n{number:02}");
        world.node(&name, "eu", "eu-1", resources("4000m", "8Gi"));
        world.occupy(&name, resources("2000m", "1Gi"), &["timeout=100000"]);
    }
    for number in 0..HOLDS_MAX + 2 {
        let mut spec = job(&format!("big-{number}"), &[]);
        spec.tasks.push(task("t", resources(&format!("{}m", 3_900 + number), "1Gi"), &[]));
        world.submit(spec);
    }
    world.release();
    let plan = world.plan();
    let kept = plan.explanations.iter().filter(|waits| waits.expected.is_some()).count();
    assert_eq!(kept, HOLDS_MAX);
    // With all nodes kept, each of these would delay somebody, but for the last.
    (0..2).for_each(|number| world.flag(&format!("n{:02}", HOLDS_MAX + number), "cordoned"));
    let placed_behind = |delaying: usize| {
        let mut world = world.clone();
        for number in 0..=delaying {
            let mut spec = job(&format!("small-{number}"), &[]);
            let limit: &[&str] = if number < delaying { &[] } else { &["timeout=1000"] };
            spec.tasks.push(task("t", resources("2000m", "1Gi"), limit));
            world.submit(spec);
        }
        world.release();
        world.plan().placements.len()
    };
    assert_eq!((placed_behind(PASSED_OVER_MAX), placed_behind(PASSED_OVER_MAX + 1)), (1, 0));
}

/// A task: thousandths of a core, its limit in seconds, and how much of it it takes, in per cent.
type Work = (u64, u64, u64);

fn work() -> impl Strategy<Value = Vec<Work>> {
    prop::collection::vec((1_u64..9, 1_u64..40, 1_u64..=100), 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whoever waits first begins by when it was told, whatever passes it, if nothing comes.
    #[test]
    fn whoever_waits_first_begins_when_it_was_told(sizes in prop::collection::vec(2_u64..9, 1..4), work in work()) {
        let mut world = World::empty();
        for (number, size) in sizes.iter().enumerate() {
            world.node(&format!("n{number}"), "eu", "eu-1", resources(&format!("{}m", size * 1_000), "64Gi"));
        }
        let mut takes: BTreeMap<RunId, u64> = BTreeMap::new();
        for (number, (cores, limit, share)) in work.iter().enumerate() {
            let mut spec = job(&format!("j{number}"), &[]);
            let limit_ms = limit * 10_000;
            spec.tasks.push(task("t", resources(&format!("{}m", cores * 1_000), "1Gi"), &[&format!("timeout={limit_ms}")]));
            takes.insert(world.submit(spec), limit_ms * share / 100);
        }
        world.release();
        let mut told: BTreeMap<TaskId, Served> = BTreeMap::new();
        let mut ends: Vec<(Served, AttemptId)> = Vec::new();
        for _ in 0..4 * work.len() {
            loop {
                let plan = world.plan();
                if let Some(first) = world.state.ready().next().map(|key| key.task) {
                    let own = plan.explanations.iter().find(|waits| waits.first == first);
                    if let Some(expected) = own.and_then(|own| own.expected.as_ref()) {
                        let before = told.entry(first).or_insert(expected.by);
                        prop_assert!(expected.by <= *before, "{} was told {before:?} and then {:?}", world.name(first), expected.by);
                    }
                }
                if plan.placements.is_empty() {
                    break;
                }
                world.commit(&plan);
                for placed in &plan.placements {
                    if let Some(by) = told.get(&placed.task) {
                        prop_assert!(world.served <= *by, "{} begins at {:?}, not by {by:?}", world.name(placed.task), world.served);
                    }
                    let attempt = AttemptId { task: placed.task, number: 1 };
                    world.report(attempt, AttemptPhase::Running, None);
                    ends.push((world.served.plus(takes[&placed.task.run]), attempt));
                }
            }
            ends.sort_unstable();
            let Some((at, attempt)) = (!ends.is_empty()).then(|| ends.remove(0)) else { break };
            world.served = world.served.max(at);
            let names: Vec<String> = world.state.nodes().map(|node| node.name.to_string()).collect();
            names.iter().for_each(|name| world.see(name, |_| {}));
            world.report(attempt, AttemptPhase::Ended, Some(0));
            world.release();
        }
        let waiting: Vec<TaskId> = world.state.ready().map(|key| key.task).collect();
        for task in waiting {
            let cores = work[(task.run.0 - 1) as usize].0;
            prop_assert!(sizes.iter().all(|size| *size < cores), "{} was never placed", world.name(task));
            prop_assert!(world.state.task(task).is_some_and(|task| task.state == TaskState::Ready));
        }
    }
}
