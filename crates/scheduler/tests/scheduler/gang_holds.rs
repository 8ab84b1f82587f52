//! Nodes that are kept for gangs that wait: which, by when, who passes them, and what the gangs are told.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_scheduler::explain::{Explanation, expected_starts, explain};
use quorate_scheduler::placement::{HOLDS_MAX, NODES_KEPT_MAX, Plan};
use quorate_state::{AttemptId, AttemptPhase, GANG_MAX, RunId, Served, TaskId};

use crate::world::{World, check, job, resources, task};

/// Says of all that a plan has placed that it runs.
fn begin(world: &mut World, plan: &Plan) {
    world.commit(plan);
    for placed in plan.all_placements() {
        let number = world.state.task(placed.task).map_or(0, |task| task.attempts);
        world.report(AttemptId { task: placed.task, number }, AttemptPhase::Running, None);
    }
}

#[test]
fn a_gang_is_told_when_all_of_it_fits_and_nobody_passes_who_would_delay_it() {
    check(
        "
        node a eu/eu-1 2000m 8Gi
        node b eu/eu-1 2000m 8Gi
        node c eu/eu-1 2000m 8Gi
        use  a 1000m 1Gi timeout=100000
        use  b 2000m 1Gi timeout=50000
        use  c 2000m 1Gi timeout=200000
        job  first
        task g 1000m 1Gi count=4 gang=anywhere
        job  second
        task endless 1000m 1Gi
        task long 1000m 1Gi timeout=90001
        task short 1000m 1Gi timeout=90000
        ",
        "
        second/short[0] -> a
        first/g[0] waits with 3 by 103000 on a, b
        second/endless[0] waits with 0: 2 FULL, 1 KEPT by 203000 on c
        second/long[0] waits with 0: 2 FULL, 1 KEPT
        ",
    );
}

#[test]
fn what_leaves_enough_for_its_members_passes_for_good() {
    check(
        "
        node a eu/eu-1 5000m 8Gi
        node b eu/eu-1 2000m 8Gi
        use  a 3000m 1Gi timeout=100000
        use  b 1000m 1Gi
        job  first
        task g 2000m 1Gi count=2 gang=anywhere
        job  second
        task endless 500m 1Gi count=4
        ",
        "
        second/endless[0] -> b
        second/endless[1] -> b
        second/endless[2] -> a
        second/endless[3] -> a
        first/g[0] waits with 1 by 103000 on a
        ",
    );
}

#[test]
fn no_more_nodes_are_kept_than_hold_it_and_those_with_most_room() {
    check(
        "
        node a eu/eu-1 1000m 8Gi
        node b eu/eu-1 3000m 8Gi
        node c eu/eu-1 2000m 8Gi
        use  c 2000m 1Gi timeout=100000
        job  first
        task g 1000m 1Gi count=5 gang=anywhere
        job  second
        task endless 1000m 1Gi count=2
        ",
        "
        second/endless[0] -> a
        first/g[0] waits with 4 by 103000 on c, b
        second/endless[1] waits with 0: 1 FULL, 1 KEPT
        ",
    );
}

#[test]
fn all_of_it_lies_in_one_domain_that_holds_it_first() {
    let nodes = "
        node a1 eu/a 2000m 8Gi rack=1
        node a2 eu/a 1000m 8Gi rack=2
        node b1 us/b 2000m 8Gi rack=2
        node b2 us/b 1000m 8Gi
        use  a1 2000m 1Gi timeout=100000
        use  b1 2000m 1Gi timeout=50000
        use  b2 1000m 1Gi timeout=200000
        job  j
        ";
    let with = |within: &str, told: &str| {
        check(&format!("{nodes}task g 1000m 1Gi count=3 gang={within}"), &format!("j/g[0] waits with 2{told}"));
    };
    with("cluster", " by 103000 on a1, a2");
    with("region", " by 103000 on a1, a2");
    with("rack", " by 53000 on b1, a2");
    with("anywhere", " by 53000 on b1, a2");
    with("disk", "");
}

#[test]
fn where_no_end_is_known_or_others_have_a_say_nothing_is_kept() {
    let with = |limit: &str, options: &str| {
        let world = World::of(&format!(
            "
            node a eu/eu-1 2000m 8Gi
            use  a 1000m 1Gi {limit}
            job  first
            task g 1000m 1Gi count=2 gang=anywhere {options}
            job  second
            task s 1000m 1Gi
            "
        ));
        world.plan().placements.len()
    };
    assert_eq!(with("", ""), 1, "nothing is known to end");
    assert_eq!(with("timeout=100000", "atmost=node/2"), 1, "where it may be depends on others");
    assert_eq!(with("timeout=100000", "label=disk:ssd"), 1, "more room is no help");
    assert_eq!(with("timeout=100000", "count=3"), 1, "it never fits");
    assert_eq!(with("timeout=100000", ""), 0);
}

#[test]
fn devices_are_counted_as_they_come_back() {
    let mut world = World::of(
        "
        node a eu/eu-1 8000m 8Gi gpus=A:2
        node b eu/eu-1 8000m 8Gi gpus=A:1
        job  zero
        task one 1000m 1Gi gpu=400 timeout=50000
        task two 1000m 1Gi gpu=1000 timeout=80000 count=2
        ",
    );
    let plan = world.plan();
    begin(&mut world, &plan);
    let mut spec = job("first", &[]);
    spec.tasks.push(task("g", resources("1000m", "1Gi"), &["count=3", "gang=anywhere", "gpu=700"]));
    spec.tasks.push(task("none", resources("1000m", "1Gi"), &[]));
    spec.tasks.push(task("share", resources("1000m", "1Gi"), &["gpu=500"]));
    world.submit(spec);
    world.release();
    let plan = world.plan();
    let placed: Vec<String> = plan.placements.iter().map(|placed| world.name(placed.task)).collect();
    assert_eq!(placed, ["first/none[0]"]);
    let expected = plan.explanations[0].expected.as_ref().unwrap();
    assert_eq!((expected.by, expected.others.len()), (Served(83_000), 1), "{}", world.render(&plan));
}

#[test]
fn another_gang_passes_only_if_it_ends_before_or_leaves_enough() {
    let nodes = "
        node a eu/eu-1 4000m 8Gi
        node b eu/eu-1 4000m 8Gi
        use  a 2000m 1Gi timeout=100000
        job  first
        task g 3000m 1Gi count=2 gang=anywhere
        job  second
        ";
    let told = "first/g[0] waits with 1 by 103000 on a, b";
    let with = |task: &str, expected: &str| check(&format!("{nodes}task h {task} gang=anywhere"), expected);
    with("2000m 1Gi count=2 timeout=90000", &format!("second/h[0] -> a\nsecond/h[1] -> b\n{told}"));
    with("2000m 1Gi count=2 timeout=90001", &format!("{told}\nsecond/h[0] waits with 1"));
    with(
        "500m 1Gi count=4",
        &format!("second/h[0] -> a\nsecond/h[1] -> a\nsecond/h[2] -> b\nsecond/h[3] -> b\n{told}"),
    );
    with("500m 1Gi count=5", &format!("{told}\nsecond/h[0] waits with 4"));
    let world = World::of(&format!("{nodes}task h 500m 1Gi count=5 gang=anywhere\ntask s 500m 1Gi count=5"));
    let plan = world.plan();
    assert_eq!(plan.placements.len(), 4, "what does not pass takes nothing of what it left: {}", world.render(&plan));
    let why = explain(&world.state, &world.observed, world.now(), world.find("second/h[3]"));
    assert!(matches!(why, Explanation::WouldDelay { expected: None }), "{why:?}");
}

#[test]
fn a_gang_is_told_when_it_begins_whichever_of_it_is_asked() {
    let world = World::of(
        "
        node a eu/eu-1 2000m 8Gi
        node b eu/eu-1 2000m 8Gi
        node c eu/eu-1 2000m 8Gi
        use  a 2000m 1Gi timeout=100000
        use  b 2000m 1Gi timeout=50000
        job  first
        task pair 2000m 1Gi count=2 gang=anywhere
        job  second
        task trio 2000m 1Gi count=3 gang=anywhere
        job  third
        task s 1000m 1Gi
        ",
    );
    let why = |name: &str| explain(&world.state, &world.observed, world.now(), world.find(name)).to_string();
    for member in ["first/pair[0]", "first/pair[1]"] {
        let told = why(member);
        assert!(
            told.ends_with("; expected to begin within 53 s, on node b and another one if not elsewhere"),
            "{told}"
        );
    }
    let trio = why("second/trio[2]");
    assert!(!trio.contains("expected"), "what is kept for others is not counted: {trio}");
    let pair = world.find("first/pair[0]");
    let starts = expected_starts(&world.state, &world.observed, world.now(), pair.run);
    let starts: Vec<_> = starts.iter().map(|(task, start)| (*task, start.others, start.within_ms)).collect();
    assert_eq!(starts, [(pair, 1, 53_000)]);
}

#[test]
fn tasks_and_gangs_share_the_limit_of_what_is_kept() {
    let mut world = World::empty();
    for number in 0..2 * HOLDS_MAX + 2 {
        let name = format!("n{number:02}");
        world.node(&name, "eu", "eu-1", resources("4000m", "8Gi"));
        world.occupy(&name, resources("2000m", "1Gi"), &["timeout=100000"]);
    }
    for number in 0..HOLDS_MAX + 2 {
        let mut spec = job(&format!("big-{number}"), &[]);
        let options: &[&str] = if number % 2 == 0 { &["count=2", "gang=anywhere"] } else { &[] };
        spec.tasks.push(task("t", resources(&format!("{}m", 3_900 + number), "1Gi"), options));
        world.submit(spec);
    }
    world.release();
    let plan = world.plan();
    let kept: Vec<usize> = plan.explanations.iter().map(|waits| waits.expected.iter().count()).collect();
    assert_eq!(kept, [[1; HOLDS_MAX].as_slice(), &[0; 2]].concat());
    let counts: BTreeMap<_, _> = plan.report.counts.into_iter().collect();
    assert_eq!(counts["nodes_kept"], HOLDS_MAX as u64 / 2 * 3);
}

#[test]
fn no_more_nodes_are_kept_than_the_limit_says() {
    let mut world = World::empty();
    let gangs = NODES_KEPT_MAX / GANG_MAX as usize + 1;
    for gang in 0..gangs {
        for number in 0..GANG_MAX {
            let name = format!("n{gang}-{number:03}");
            world.node(&name, "eu", &format!("eu-{gang}"), resources("2000m", "8Gi"));
        }
        world.occupy(&format!("n{gang}-000"), resources("1100m", "1Gi"), &["timeout=100000"]);
    }
    for number in 0..gangs {
        let mut spec = job(&format!("g-{number}"), &[]);
        let options = [format!("count={GANG_MAX}"), "gang=cluster".into(), format!("clusters=eu-{number}")];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        spec.tasks.push(task("t", resources(&format!("{}m", 1_500 + number), "1Gi"), &options));
        world.submit(spec);
    }
    world.release();
    let plan = world.plan();
    let kept: Vec<usize> = plan.explanations.iter().map(|waits| waits.expected.iter().count()).collect();
    assert_eq!(kept.iter().sum::<usize>(), gangs - 1, "{kept:?}");
    let counts: BTreeMap<_, _> = plan.report.counts.into_iter().collect();
    assert_eq!(counts["nodes_kept"], NODES_KEPT_MAX as u64);
}

#[test]
fn a_gang_begins_in_time_though_small_ones_never_stop_coming() {
    let mut world = World::empty();
    (0..4).for_each(|node| world.node(&format!("n{node}"), "eu", "eu-1", resources("2000m", "8Gi")));
    let mut running: Vec<(Served, AttemptId)> = Vec::new();
    let mut told = None;
    let mut jobs = 0;
    let mut gang = RunId(0);
    for round in 0..200 {
        let small = |world: &mut World, jobs: &mut u32| {
            *jobs += 1;
            let mut spec = job(&format!("s{jobs}"), &[]);
            spec.tasks.push(task("t", resources("1000m", "1Gi"), &["timeout=30000"]));
            world.submit(spec);
        };
        (0..10).for_each(|_| small(&mut world, &mut jobs));
        if round == 3 {
            let mut spec = job("gang", &[]);
            spec.tasks.push(task("t", resources("2000m", "1Gi"), &["count=4", "gang=anywhere", "timeout=1000"]));
            gang = world.submit(spec);
        }
        world.release();
        let plan = world.plan();
        let own = plan.explanations.iter().find(|waits| waits.first.run == gang);
        told = told.or_else(|| own.and_then(|own| own.expected.as_ref()).map(|expected| expected.by));
        begin(&mut world, &plan);
        if !plan.gangs.is_empty() {
            assert!(told.is_some_and(|by| world.served <= by), "{told:?}, {:?}", world.served);
            return;
        }
        running.extend(
            plan.placements
                .iter()
                .map(|placed| (world.served.plus(25_000), AttemptId { task: placed.task, number: 1 })),
        );
        world.pass(5_000);
        let (ended, left): (Vec<_>, Vec<_>) = running.into_iter().partition(|(at, _)| *at <= world.served);
        running = left;
        for (_, attempt) in ended {
            world.report(attempt, AttemptPhase::Ended, Some(0));
        }
    }
    panic!("it never began; it was told {told:?}");
}

/// A task: thousandths of a core, its limit in seconds, how much of it it takes, in per cent, and of how many it is a gang, if it is one.
type Work = (u64, u64, u64, Option<u32>);

fn work() -> impl Strategy<Value = Vec<Work>> {
    prop::collection::vec((1_u64..7, 1_u64..40, 1_u64..=100, prop::option::of(1_u32..5)), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    /// Whoever waits first, task or gang, begins by when it was told, whatever passes it, if nothing comes.
    #[test]
    fn whoever_waits_first_begins_when_it_was_told(
        sizes in prop::collection::vec(2_u64..9, 1..5),
        work in work(),
        within in prop::sample::select(vec!["anywhere", "cluster"]),
    ) {
        let mut world = World::empty();
        for (number, size) in sizes.iter().enumerate() {
            let cluster = if number % 3 == 2 { "eu-2" } else { "eu-1" };
            world.node(&format!("n{number}"), "eu", cluster, resources(&format!("{}m", size * 1_000), "64Gi"));
        }
        let mut takes: BTreeMap<RunId, u64> = BTreeMap::new();
        for (number, (cores, limit, share, members)) in work.iter().enumerate() {
            let mut spec = job(&format!("j{number}"), &[]);
            let limit_ms = limit * 10_000;
            let mut options = vec![format!("timeout={limit_ms}")];
            options.extend(members.iter().flat_map(|members| [format!("count={members}"), format!("gang={within}")]));
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            spec.tasks.push(task("t", resources(&format!("{}m", cores * 1_000), "1Gi"), &options));
            takes.insert(world.submit(spec), limit_ms * share / 100);
        }
        world.release();
        let mut told: BTreeMap<TaskId, Served> = BTreeMap::new();
        let mut ends: Vec<(Served, AttemptId)> = Vec::new();
        for _ in 0..16 * work.len() {
            loop {
                let plan = world.plan();
                if let Some(first) = world.state.ready().next().map(|key| key.task) {
                    let own = plan.explanations.iter().find(|waits| waits.first == first);
                    if let Some(expected) = own.and_then(|own| own.expected.as_ref()) {
                        let before = told.entry(first).or_insert(expected.by);
                        prop_assert!(expected.by <= *before, "{} was told {before:?} and then {:?}", world.name(first), expected.by);
                    }
                }
                if plan.placed() == 0 {
                    break;
                }
                begin(&mut world, &plan);
                for placed in plan.all_placements() {
                    if let Some(by) = told.get(&placed.task) {
                        prop_assert!(world.served <= *by, "{} begins at {:?}, not by {by:?}", world.name(placed.task), world.served);
                    }
                    ends.push((world.served.plus(takes[&placed.task.run]), AttemptId { task: placed.task, number: 1 }));
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
        prop_assert!(ends.is_empty());
        let waiting: Vec<TaskId> = world.state.ready().map(|key| key.task).collect();
        for task in waiting {
            let (cores, _, _, members) = work[(task.run.0 - 1) as usize];
            let holds = |is_second: bool| -> u64 {
                let own = sizes.iter().enumerate().filter(|(at, _)| (at % 3 == 2) == is_second);
                own.map(|(_, size)| size / cores).sum()
            };
            let most = if within == "cluster" && members.is_some() { holds(false).max(holds(true)) } else { holds(false) + holds(true) };
            prop_assert!(most < u64::from(members.unwrap_or(1)), "{} was never placed", world.name(task));
        }
    }
}
