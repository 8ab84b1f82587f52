//! Tasks that may take one of several things: the first for which there is room, and a later one only where no earlier one fits.

use quorate_scheduler::explain::{Explanation, explain, preview, why_not};
use quorate_state::{
    Amounts, AttemptId, AttemptPhase, Change, Choice, Command, Feature, FeatureRow, Millis, Preemption, Resources,
    Revision, ShareChange,
};

use crate::world::{World, check, job, lines, namespace, resources, task};

/// Which alternatives tasks were given, in the order of a plan.
fn given(world: &World) -> String {
    let told = world
        .plan()
        .placements
        .into_iter()
        .map(|placed| format!("{} -> {} by {}", world.name(placed.task), placed.node, placed.choice.number()));
    told.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check_given(scenario: &str, expected: &str) -> World {
    let mut world = World::of(scenario);
    assert_eq!(given(&world), lines(expected), "of:{scenario}");
    world.commit(&world.plan());
    world
}

#[test]
fn the_first_alternative_is_taken_while_there_is_room_for_it_and_the_next_one_after_that() {
    let world = check_given(
        "node big eu/eu-1 16000m 8Gi
         node gpu eu/eu-1 4000m 8Gi gpus=A:2
         job a
         task x 2000m 1Gi count=4 gpu=1000 or=16000m/1Gi",
        "a/x[0] -> gpu by 0
         a/x[1] -> gpu by 0
         a/x[2] -> big by 1",
    );
    let run = world.find("a/x[2]");
    let attempt = world.state.attempt(AttemptId { task: run, number: 1 }).unwrap();
    assert_eq!((attempt.choice.number(), attempt.resources), (1, resources("16000m", "1Gi")));
    assert_eq!(world.state.task(run).unwrap().choice, attempt.choice);
    let held = world.state.held_by(&namespace());
    assert_eq!(held, Resources { cpu_milli: 20_000, memory_bytes: 3 << 30, gpu_milli: 2_000 });
}

#[test]
fn what_it_takes_comes_before_where_it_is() {
    // A better region has room for less than what is taken in the other one.
    let mut world = World::of(
        "node a eu/eu-1 1000m 8Gi
         node b us/us-1 4000m 8Gi
         job a
         task x 4000m 1Gi or=1000m/1Gi home=move:0:us,eu",
    );
    assert_eq!(given(&world), "a/x[0] -> b by 0");
    world.flag("b", "cordoned");
    assert_eq!(given(&world), "a/x[0] -> a by 1");
}

#[test]
fn tasks_behind_are_served_by_what_those_before_have_left() {
    check_given(
        "node a eu/eu-1 4000m 8Gi
         job first
         task x 3000m 1Gi count=2 or=1000m/1Gi
         job second
         task y 1000m 1Gi",
        "first/x[0] -> a by 0
         first/x[1] -> a by 1",
    );
    // Rules about others count for each alternative.
    check_given(
        "node a eu/eu-1 8000m 8Gi
         node b eu/eu-1 1000m 8Gi
         job first
         task x 2000m 1Gi count=3 or=1000m/1Gi atmost=node/1",
        "first/x[0] -> a by 0
         first/x[1] -> b by 1",
    );
}

#[test]
fn an_alternative_beyond_the_quota_is_none_and_what_is_within_it_is_taken() {
    let mut world = World::of(
        "node a eu/eu-1 8000m 8Gi
         job a
         task x 4000m 1Gi count=3 or=1000m/1Gi",
    );
    let row = FeatureRow { feature: Feature::FairShare, revision: Revision(0), at: Millis(0) };
    world.state.commit(&Change::Feature(row));
    let maximum = Amounts { cpu_milli: Some(5_000), ..Amounts::default() };
    let change = Box::new(ShareChange { maximum: Some(maximum), ..ShareChange::default() });
    world.apply(Command::SetNamespace { namespace: namespace(), is_new: false, change });
    assert_eq!(given(&world), "a/x[0] -> a by 0\na/x[1] -> a by 1");
    world.commit(&world.plan());
    let third = world.find("a/x[2]");
    let why = explain(&world.state, &world.observed, world.now(), third);
    let Explanation::NoAlternative(why) = &why else { panic!("{why:?}") };
    assert!(matches!(why.each[..], [Explanation::OverQuota(_), Explanation::OverQuota(_)]), "{why:?}");
    // What was held by the alternative that was taken is given back.
    world.end_all(0);
    assert_eq!(world.state.held_by(&namespace()), Resources::ZERO);
}

#[test]
fn why_a_task_waits_is_said_of_each_of_its_alternatives() {
    let world = World::of(
        "node a eu/eu-1 2000m 8Gi
         node b eu/eu-1 4000m 8Gi gpus=A:1
         use b 500m 1Gi
         job a
         task x 1000m 1Gi gpu=2000 or=4000m/1Gi",
    );
    let x = world.find("a/x[0]");
    let why = explain(&world.state, &world.observed, world.now(), x);
    assert_eq!(
        why.to_string(),
        "want[0]: no node could hold it even when empty (2 too small); nearest is b, short of 1000m gpu; want[1]: no node \
         fits (1 too small, 1 too full); nearest is b, short of 500m cpu"
    );
    let node = world.get("b");
    let fitness = why_not(&world.state, &world.observed, world.now(), x, &node, &why).unwrap();
    let failed: Vec<String> =
        fitness.failed.iter().map(|failed| format!("{} {}", failed.check.as_str(), failed.wanted)).collect();
    assert_eq!(failed, ["TOO_SMALL want[0]: 2000m gpu in whole devices", "FULL want[1]: 4000m cpu"]);
    // Before it is submitted as well.
    let spec = world.state.run(x.run).unwrap().spec.clone();
    let planned = preview(&world.state, &spec).remove(0);
    assert_eq!((planned.fits_empty, planned.fits_now), (1, 0));
    assert!(matches!(planned.reason, Some(Explanation::NoAlternative(why)) if why.each.len() == 2));
}

#[test]
fn a_node_is_kept_for_the_alternative_for_which_there_will_be_room_first() {
    check(
        "node a eu/eu-1 4000m 8Gi
         node b eu/eu-1 2000m 8Gi
         use a 4000m 1Gi timeout=60000
         use b 2000m 1Gi timeout=20000
         job first priority=60
         task x 4000m 1Gi or=2000m/1Gi
         job second
         task y 1000m 1Gi",
        "first/x[0] waits with 0: 1 TOO_SMALL, 1 FULL by 23000 on b
         second/y[0] waits with 0 by 63000 on a",
    );
}

#[test]
fn others_are_stopped_for_the_alternative_that_costs_them_least() {
    let mut world = World::of(
        "node a eu/eu-1 4000m 8Gi
         use a 1000m 1Gi
         use a 1000m 1Gi
         use a 2000m 1Gi",
    );
    let row = FeatureRow { feature: Feature::Preemption, revision: Revision(0), at: Millis(0) };
    world.state.commit(&Change::Feature(row));
    let preemption = Preemption { by_priority: true, spare_ms: 0, ..Preemption::OFF };
    world.apply(Command::SetPreemption { preemption });
    let mut spec = job("urgent", &["priority=90"]);
    spec.tasks.push(task("x", resources("4000m", "1Gi"), &["or=2000m/1Gi"]));
    world.submit(spec);
    world.release();
    let plan = world.plan();
    let [made] = &plan.preemptions[..] else { panic!("{plan:?}") };
    assert_eq!((made.choice.number(), made.victims.len()), (1, 1));
    world.apply(Command::PreemptAttempts(made.clone()));
    let x = world.find("urgent/x[0]");
    let terms = world.state.claim(x).unwrap().terms;
    assert_eq!((terms.choice.number(), terms.resources), (1, resources("2000m", "1Gi")));
    assert_eq!(world.stop_all(), 1);
    // It waits for no more than that, and gets it.
    assert_eq!(given(&world), "urgent/x[0] -> a by 1");
    world.commit(&world.plan());
    assert!(world.state.claim(x).is_none());
}

#[test]
fn a_drained_task_goes_where_another_of_its_alternatives_fits() {
    let mut world = World::of(
        "node a eu/eu-1 4000m 8Gi
         node b eu/eu-1 1000m 8Gi
         job a
         task x 4000m 1Gi or=1000m/1Gi",
    );
    assert_eq!(given(&world), "a/x[0] -> a by 0");
    world.commit(&world.plan());
    let x = world.find("a/x[0]");
    world.report(AttemptId { task: x, number: 1 }, AttemptPhase::Running, None);
    world.flag("a", "draining");
    world.drive("drain");
    assert_eq!(world.stop_all(), 1);
    assert_eq!(given(&world), "a/x[0] -> b by 1");
    world.commit(&world.plan());
    assert_eq!(world.state.task(x).unwrap().choice, Choice::of(1).unwrap());
}
