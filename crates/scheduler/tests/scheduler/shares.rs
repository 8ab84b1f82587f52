//! Room for namespaces that have less than their part, from those that have more: until all is even enough, and not round and round.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_scheduler::explain::explain;
use quorate_scheduler::placement::{Plan, SHARES_PER_PLAN_MAX};
use quorate_state::{
    Amounts, AttemptId, AttemptPhase, Change, Choice, Command, Fairness, Feature, FeatureRow, GpuHold, Millis,
    Namespace, Placement, Preempting, Preemption, Resource, Resources, Revision, RunId, ShareChange, State, TaskId,
    TaskState,
};

use crate::world::{World, job, resources, task};

const POLICY: Preemption =
    Preemption { by_priority: true, gap: 10, spare_ms: 0, times_max: 100, by_share: true, share_gap: 10 };

/// Nodes of so many cores.
fn cluster(nodes: &[(&str, u64)]) -> World {
    let mut world = World::empty();
    for feature in [Feature::FairShare, Feature::Preemption, Feature::FairPreemption] {
        world.state.commit(&Change::Feature(FeatureRow { feature, revision: Revision(0), at: Millis(0) }));
    }
    world.apply(Command::SetFairness { fairness: Fairness { half_life_ms: 0, overdue_ms: 0 } });
    world.apply(Command::SetPreemption { preemption: POLICY });
    for (node, cores) in nodes {
        world.node(node, "eu", "eu-1", cores_of(*cores));
    }
    world
}

fn cores_of(cores: u64) -> Resources {
    resources(&format!("{}m", cores * 1_000), "64Gi")
}

fn name(name: &str) -> Namespace {
    name.parse().unwrap()
}

/// A namespace of this weight, below another one or none, with so many cores guaranteed.
fn tenant(world: &mut World, namespace: &str, parent: Option<&str>, weight: u32, guaranteed: Option<u64>) {
    let guaranteed = Amounts { cpu_milli: guaranteed.map(|cores| cores * 1_000), ..Amounts::default() };
    let change = ShareChange {
        parent: Some(parent.map(name)),
        weight: Some(weight),
        guaranteed: Some(guaranteed),
        maximum: None,
    };
    world.apply(Command::SetNamespace { namespace: name(namespace), is_new: true, change: Box::new(change) });
}

/// A run of so many tasks of so many cores, in a namespace.
fn submit(world: &mut World, namespace: &str, priority: u8, cores: u64, count: u32) -> RunId {
    let number = world.state.runs_newest_first(None).count();
    let mut spec = job(&format!("{namespace}-{number}"), &[&format!("priority={priority}")]);
    spec.namespace = name(namespace);
    let count = format!("count={count}");
    spec.tasks.push(task("t", resources(&format!("{}m", cores * 1_000), "1Mi"), &[&count]));
    let run = world.submit(spec);
    world.release();
    run
}

/// As many of the tasks of a run on a node as fit there, and run.
fn put(world: &mut World, run: RunId, node: &str) {
    let tasks: Vec<TaskId> = world.state.tasks_of(run).map(|task| task.id).collect();
    for task in tasks {
        let node = world.get(node);
        let spec = &world.state.run(run).unwrap().spec.tasks[0];
        if !spec.resources.fits(world.state.free_on(&node)) {
            continue;
        }
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

/// A namespace runs so many tasks of one core on a node.
fn runs(world: &mut World, namespace: &str, node: &str, count: u32) -> RunId {
    let run = submit(world, namespace, 50, 1, count);
    put(world, run, node);
    run
}

/// What a plan would stop, as `who: whom x times`.
fn stops(world: &World) -> Vec<String> {
    let name = |run: RunId| world.state.run(run).unwrap().spec.name.to_string();
    let line = |preempting: &Preempting| {
        let victims: Vec<String> = preempting.victims.iter().map(|victim| name(victim.task.run)).collect();
        format!("{}: {}", name(preempting.task.run), victims.join(", "))
    };
    world.plan().preemptions.iter().map(line).collect()
}

/// Plans and carries it out until nothing happens any more; what each namespace holds then, in cores.
fn settle(world: &mut World) -> BTreeMap<String, u64> {
    for _ in 0..1_000 {
        let plan = world.plan();
        if plan == (Plan { report: plan.report.clone(), explanations: plan.explanations.clone(), ..Plan::default() }) {
            let rows = world.state.namespaces().filter(|row| row.name.as_str() != "default");
            let held = rows.map(|row| (row.name.to_string(), world.state.held_below(&row.name).cpu_milli / 1_000));
            return held.collect();
        }
        plan.into_commands().into_iter().for_each(|command| drop(world.apply(command)));
        world.stop_all();
    }
    panic!("it does not come to rest");
}

fn held<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected.into_iter().map(|(namespace, cores)| (namespace.to_owned(), cores)).collect()
}

#[test]
fn who_comes_last_gets_its_part_from_whom_has_more_and_no_more_than_that() {
    let mut world = cluster(&[("n", 12)]);
    for (namespace, weight) in [("a", 100), ("b", 100), ("c", 200)] {
        tenant(&mut world, namespace, None, weight, None);
    }
    runs(&mut world, "a", "n", 9);
    runs(&mut world, "b", "n", 3);
    submit(&mut world, "c", 50, 1, 20);
    // Its part is 6 of 12, and that of a is 3, of which it keeps a tenth more.
    assert_eq!(settle(&mut world), held([("a", 4), ("b", 3), ("c", 5)]));
    world.apply(Command::SetPreemption { preemption: Preemption { share_gap: 0, ..POLICY } });
    assert_eq!(settle(&mut world), held([("a", 3), ("b", 3), ("c", 6)]));
}

#[test]
fn nobody_goes_for_whom_has_its_part_or_where_it_is_off() {
    let mut world = cluster(&[("n", 8)]);
    for namespace in ["a", "b"] {
        tenant(&mut world, namespace, None, 100, None);
    }
    runs(&mut world, "a", "n", 8);
    submit(&mut world, "b", 49, 1, 1);
    assert_eq!(stops(&world), Vec::<String>::new(), "it is less urgent");
    submit(&mut world, "b", 50, 1, 1);
    assert_eq!(stops(&world), ["b-2: a-0"]);
    submit(&mut world, "b", 50, 5, 1);
    world.apply(Command::SetPreemption { preemption: Preemption { by_share: false, ..POLICY } });
    assert_eq!(stops(&world), Vec::<String>::new(), "it is off");
    world.apply(Command::SetPreemption { preemption: Preemption { share_gap: 0, by_priority: false, ..POLICY } });
    assert_eq!(settle(&mut world), held([("a", 7), ("b", 1)]), "five are beyond its part");
}

#[test]
fn a_guarantee_is_made_good_by_whom_has_none_and_never_from_within_one() {
    let mut world = cluster(&[("n", 10)]);
    tenant(&mut world, "a", None, 900, None);
    tenant(&mut world, "b", None, 100, Some(6));
    tenant(&mut world, "c", None, 100, Some(2));
    runs(&mut world, "a", "n", 8);
    runs(&mut world, "c", "n", 2);
    submit(&mut world, "b", 50, 1, 20);
    // By weight, b has not even one; and what is above its guarantee has no right to the room of others.
    assert_eq!(settle(&mut world), held([("a", 2), ("b", 6), ("c", 2)]));
    submit(&mut world, "a", 50, 1, 20);
    assert_eq!(settle(&mut world), held([("a", 2), ("b", 6), ("c", 2)]), "and back it does not go");
}

#[test]
fn those_beside_each_other_are_compared_below_the_last_one_above_both() {
    let mut world = cluster(&[("n", 12)]);
    tenant(&mut world, "left", None, 100, None);
    tenant(&mut world, "right", None, 100, None);
    for namespace in ["left-a", "left-b", "left-c"] {
        tenant(&mut world, namespace, Some("left"), 100, None);
    }
    runs(&mut world, "left-a", "n", 4);
    runs(&mut world, "left-b", "n", 2);
    runs(&mut world, "right", "n", 6);
    world.apply(Command::SetPreemption { preemption: Preemption { share_gap: 0, ..POLICY } });
    // One of three below the left: its part is 2 of 12. The right one has what is its own.
    submit(&mut world, "left-c", 50, 1, 4);
    let expected = [("left", 6), ("left-a", 2), ("left-b", 2), ("left-c", 2), ("right", 6)];
    assert_eq!(settle(&mut world), held(expected));
}

#[test]
fn what_is_less_urgent_than_the_victim_does_not_count() {
    let mut world = cluster(&[("n", 8)]);
    for namespace in ["a", "b"] {
        tenant(&mut world, namespace, None, 100, None);
    }
    world.apply(Command::SetPreemption { preemption: Preemption { by_priority: false, share_gap: 0, ..POLICY } });
    let low = submit(&mut world, "a", 10, 1, 5);
    put(&mut world, low, "n");
    runs(&mut world, "a", "n", 3);
    submit(&mut world, "b", 50, 1, 8);
    // Of eight, a has three at 50 or above, which is less than its part: it loses what is less urgent, until it has that.
    assert_eq!(settle(&mut world), held([("a", 4), ("b", 4)]));
    assert_eq!(world.state.step_counts(low, 0).running, 1);
}

#[test]
fn who_waits_and_who_goes_are_told_the_shares() {
    let mut world = cluster(&[("n", 8)]);
    for namespace in ["a", "b"] {
        tenant(&mut world, namespace, None, 100, None);
    }
    let victim = runs(&mut world, "a", "n", 8);
    let waits = submit(&mut world, "b", 50, 2, 1);
    let plan = world.plan();
    plan.into_commands().into_iter().for_each(|command| drop(world.apply(command)));
    let why = |run| {
        let task = world.state.tasks_of(run).map(|task| task.id).find(|task| {
            let row = world.state.task(*task).unwrap();
            let newest = row.newest_attempt().and_then(|attempt| world.state.attempt(attempt));
            row.state == TaskState::Ready || newest.is_some_and(|attempt| attempt.stop.is_some())
        });
        explain(&world.state, &world.observed, world.now(), task.unwrap()).to_string()
    };
    let shares = "namespace b had 0.0% of the cluster of the 50.0% that are its part, and a 100.0% of 50.0%; it is below its part";
    let expected =
        format!("waits for 2 attempts to stop on node n (preempting {victim}/t[6], priority 50, and 1 more): {shares}");
    assert_eq!(why(waits), expected);
    let expected = format!("on node n, asked to stop there to make room for {waits}/t[0], priority 50: {shares}");
    assert_eq!(why(victim), expected);
}

#[test]
fn one_plan_evens_out_so_much_and_the_next_the_rest() {
    let mut world = cluster(&[("n", 100)]);
    for namespace in ["a", "b"] {
        tenant(&mut world, namespace, None, 100, None);
    }
    runs(&mut world, "a", "n", 100);
    submit(&mut world, "b", 50, 1, 100);
    assert_eq!(world.plan().preemptions.len(), SHARES_PER_PLAN_MAX);
    world.apply(Command::SetPreemption { preemption: Preemption { share_gap: 0, ..POLICY } });
    assert_eq!(settle(&mut world), held([("a", 50), ("b", 50)]));
}

/// What namespaces lack of their guarantees and parts, at one height of the tree: less is better. Last, what those hold that lack
/// something, turned round.
type Lack = (u128, u128, u128);

/// A namespace by its lineage from above, with all below it; or what it has itself.
type Side<'a> = (Vec<&'a Namespace>, bool);

/// The measure that falls with each preemption, worked out from the tables alone: for each priority from above, what is lacking at each
/// height of the tree from above of what is as urgent, then how many tasks are placed that are, turned round.
fn measure(state: &State, priorities: &BTreeSet<u8>) -> Vec<(Vec<Lack>, usize)> {
    const ALL: u128 = 1 << 40;
    let is_held = |task: &TaskState| matches!(task, TaskState::Placed | TaskState::Running | TaskState::Ready);
    let namespace = |task: TaskId| &state.run(task.run).unwrap().spec.namespace;
    let tasks = || state.unfinished_runs().flat_map(|run| state.tasks_of(run));
    let active: BTreeSet<&Namespace> =
        tasks().filter(|task| is_held(&task.state)).map(|task| namespace(task.id)).collect();
    // A party by its lineage from above; its own tasks are one more.
    let line = |of: &Namespace| {
        let mut line: Vec<&Namespace> = state.lineage(of).map(|row| &row.name).collect();
        line.reverse();
        line
    };
    let mut parties: BTreeSet<Side<'_>> = BTreeSet::new();
    for of in &active {
        let line = line(of);
        parties.insert((line.clone(), true));
        parties.extend((1..=line.len()).map(|deep| (line[..deep].to_vec(), false)));
    }
    let weight = |(line, is_own): &Side<'_>| match is_own {
        true => 100,
        false => u128::from(state.namespace(line[line.len() - 1]).unwrap().share.weight),
    };
    fn above<'a>((line, is_own): &Side<'a>) -> Vec<&'a Namespace> {
        line[..line.len() - usize::from(!is_own)].to_vec()
    }
    let part = |party: &Side<'_>| {
        let (line, is_own) = party;
        let mut chain: Vec<Side<'_>> = (1..=line.len()).map(|deep| (line[..deep].to_vec(), false)).collect();
        chain.extend(is_own.then(|| party.clone()));
        chain.iter().fold(ALL, |part, at| {
            let all: u128 = parties.iter().filter(|other| above(other) == above(at)).map(weight).sum();
            part * weight(at) / all
        })
    };
    let capacity = state.nodes().fold(Resources::ZERO, |sum, node| sum.checked_add(node.capacity).unwrap());
    let dominant = |held: Resources| {
        let part = |resource: Resource| u128::from(resource.of(held)) * ALL / u128::from(resource.of(capacity).max(1));
        part(Resource::Cpu).max(part(Resource::Memory))
    };
    let holds: Vec<(&Namespace, u8, Resources)> = tasks()
        .filter_map(|task| {
            let run = state.run(task.id.run).unwrap();
            let newest = task.newest_attempt().and_then(|attempt| state.attempt(attempt));
            let runs = newest.is_some_and(|attempt| attempt.stop.is_none() && !attempt.state.is_terminal());
            (runs || state.claim(task.id).is_some())
                .then(|| (&run.spec.namespace, run.priority(), run.spec.tasks[0].resources))
        })
        .collect();
    let at_level = |least: u8| {
        let of = |party: &Side<'_>| {
            let own = holds.iter().filter(|(of, priority, _)| {
                let line = line(of);
                *priority >= least && if party.1 { line == party.0 } else { line.starts_with(&party.0) }
            });
            own.fold(Resources::ZERO, |sum, (.., held)| sum.checked_add(*held).unwrap())
        };
        let deepest = parties.iter().map(|(line, is_own)| line.len() + usize::from(*is_own)).max().unwrap_or(0);
        let lacks = (1..=deepest).map(|deep| {
            let at = parties.iter().filter(|(line, is_own)| line.len() + usize::from(*is_own) == deep);
            at.fold((0, 0, u128::MAX), |(guaranteed, parts, most), party| {
                let held = of(party);
                let row = state.namespace(party.0[party.0.len() - 1]).filter(|_| !party.1);
                let least = row.and_then(|row| row.share.guaranteed.cpu_milli).unwrap_or(0);
                let lacks = u128::from(least.saturating_sub(held.cpu_milli));
                let short = part(party).saturating_sub(dominant(held));
                let sum = u128::from(held.cpu_milli) + u128::from(held.memory_bytes);
                (guaranteed + lacks, parts + short, most - if short > 0 { sum } else { 0 })
            })
        });
        let placed = holds.iter().filter(|(_, priority, _)| *priority >= least).count();
        (lacks.collect(), usize::MAX - placed)
    };
    priorities.iter().rev().map(|least| at_level(*least)).collect()
}

/// Weights and guarantees of five namespaces, cores of nodes, and runs: whose, how urgent, how many cores of how many tasks, and where.
type Scene = (Vec<(u32, Option<u64>)>, Vec<u64>, Vec<(usize, u8, u64, u32, usize)>);

fn scenes() -> impl Strategy<Value = Scene> {
    let tenants = proptest::collection::vec((1..5_u32, prop::option::weighted(0.3, 0..6_u64)), 5);
    let run = (0..5_usize, prop::sample::select(vec![20, 25, 60]), 1..5_u64, 1..6_u32, 0..4_usize);
    (tenants, proptest::collection::vec(2..9_u64, 1..4), proptest::collection::vec(run, 2..12))
}

const TENANTS: [(&str, Option<&str>); 5] =
    [("a", None), ("b", None), ("c", None), ("b-x", Some("b")), ("b-y", Some("b"))];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Whatever runs and waits: without arrivals it comes to rest, the measure falls with everybody who is stopped and rises never;
    /// and while nothing more urgent comes, and nothing further up is made good, nobody is stopped by whom they were stopped for.
    #[test]
    fn shares_come_to_rest_and_what_is_lacking_only_falls((tenants, nodes, runs) in scenes()) {
        let names = ["n", "m", "o"];
        let nodes: Vec<(&str, u64)> = names.into_iter().zip(nodes).collect();
        let mut world = cluster(&nodes);
        for ((namespace, parent), (weight, guaranteed)) in TENANTS.into_iter().zip(tenants) {
            // What is guaranteed below has to be guaranteed above.
            let guaranteed = guaranteed.filter(|_| namespace != "b").map(|cores| if parent.is_some() { cores.min(2) } else { cores });
            let guaranteed = if namespace == "b" { Some(4) } else { guaranteed };
            tenant(&mut world, namespace, parent, weight * 100, guaranteed);
        }
        let priorities: BTreeSet<u8> = runs.iter().map(|(_, priority, ..)| *priority).collect();
        for (of, priority, cores, count, node) in runs {
            let run = submit(&mut world, TENANTS[of].0, priority, cores, count);
            if let Some((node, _)) = nodes.get(node) {
                put(&mut world, run, node);
            }
        }
        let mut preempted: BTreeMap<(RunId, bool), BTreeSet<RunId>> = BTreeMap::new();
        let priority = |world: &World, run: RunId| world.state.run(run).unwrap().priority();
        let lowest = priorities.first().copied().unwrap();
        let mut before = measure(&world.state, &priorities);
        let mut is_quiet = false;
        for _ in 0..600 {
            let plan = world.plan();
            let commands = plan.into_commands();
            is_quiet = commands.is_empty();
            for command in commands {
                world.apply(command.clone());
                let after = measure(&world.state, &priorities);
                let Command::PreemptAttempts(preempting) = command else {
                    prop_assert!(after <= before, "{before:?} has become {after:?}");
                    before = after;
                    // What is more urgent counts where something less urgent is taken.
                    if let Command::CommitPlan { placements } = command
                        && placements.iter().any(|placement| priority(&world, placement.task.run) > lowest)
                    {
                        preempted.clear();
                    }
                    continue;
                };
                prop_assert!(after < before, "{before:?} has become {after:?} by {preempting:?}");
                before = after;
                let by = preempting.task.run;
                for victim in &preempting.victims {
                    let share = world.state.attempt(*victim).unwrap().preempted.unwrap().share;
                    if priority(&world, victim.task.run) < priority(&world, by) || share.unwrap().guaranteed {
                        // With either, others can change places once more.
                        preempted.clear();
                        continue;
                    }
                    let namespace = |run: RunId| world.state.run(run).unwrap().spec.namespace.clone();
                    let siblings = world.state.siblings_of(&namespace(by), &namespace(victim.task.run));
                    let is_inner = siblings.0.as_str().starts_with("b-") || siblings.1.as_str().starts_with("b-");
                    // So can those further down, with what changes above them.
                    preempted.retain(|(_, inner), _| is_inner || !inner);
                    preempted.entry((by, is_inner)).or_default().insert(victim.task.run);
                    let theirs = preempted.get(&(victim.task.run, is_inner));
                    prop_assert!(!theirs.is_some_and(|theirs| theirs.contains(&by)), "round in a circle");
                }
            }
            is_quiet &= world.stop_all() == 0;
            prop_assert!(measure(&world.state, &priorities) <= before, "an end has made it worse");
            if is_quiet {
                break;
            }
        }
        prop_assert!(is_quiet, "it has not come to rest");
    }
}
