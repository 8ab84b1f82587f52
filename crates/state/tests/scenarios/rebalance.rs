//! Work that is moved to better places: whose, with which room, and within which budget.

use quorate_state::{
    Alternative, AttemptId, AttemptPhase, AttemptState, Choice, Command, DrainTime, Event, Exit, Feature, GangSpec,
    Goal, GpuHold, JobSpec, Moving, NodeName, OnNodeLoss, Placement, PlacementOutcome, Preemption, Reach, RebalanceEnd,
    RebalanceOrder, RebalanceTerms, Rejection, Reply, Resources, RunId, Scope, StopReason, TaskId, TaskSpec, TaskState,
};

use crate::cluster::{Cluster, job, task};

const TERMS: RebalanceTerms = RebalanceTerms {
    goal: Goal::Spread,
    reach: Reach::Everywhere,
    moves_max: 10,
    at_once: 4,
    share_percent: 100,
    margin: 10,
    for_ms: 60_000,
};

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn of(run: u64) -> TaskId {
    TaskId { run: RunId(run), step: 0, index: 0 }
}

fn spec(cpu_milli: u64) -> JobSpec {
    let resources = Resources { cpu_milli, memory_bytes: 0, gpu_milli: 0 };
    job(vec![TaskSpec { resources, ..task("t", &[]) }])
}

/// Three nodes of one core, in two regions. Runs 1 to 4 hold 200m each of `n`.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    for feature in Feature::ALL {
        cluster.run(Command::EnableFeature { feature, term: 1 }).unwrap();
    }
    cluster.run(Command::SetPreemption { preemption: Preemption::OFF }).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.register("m", 2, "eu", "eu-a").unwrap();
    cluster.register("far", 3, "us", "us-a").unwrap();
    for run in 1..=4 {
        begin(&mut cluster, run, spec(200));
    }
    cluster
}

fn begin(cluster: &mut Cluster, run: u64, spec: JobSpec) {
    cluster.submit(run, spec).unwrap();
    cluster.place(of(run), "n");
    cluster.report(of(run), AttemptPhase::Running, None);
}

fn start(cluster: &mut Cluster, terms: RebalanceTerms) -> Result<Reply, Rejection> {
    cluster.run(Command::SetRebalance { order: RebalanceOrder::Start(terms) })
}

fn moving(cluster: &Cluster, run: u64, to: &str) -> Moving {
    let attempt = cluster.attempt(of(run)).id;
    Moving { attempt, to: node(to), epoch: cluster.state.node(&node(to)).unwrap().epoch }
}

/// How many of these were begun.
fn moves(cluster: &mut Cluster, runs: &[(u64, &str)]) -> u32 {
    let moves = runs.iter().map(|(run, to)| moving(cluster, *run, to)).collect();
    let rebalance = cluster.state.rebalance().map_or(1, |row| row.number);
    match cluster.run(Command::MoveAttempts { rebalance, moves, ends: None }) {
        Ok(Reply::Counted(begun)) => begun,
        other => panic!("{other:?}"),
    }
}

fn end(cluster: &mut Cluster, why: RebalanceEnd) -> bool {
    let rebalance = cluster.state.rebalance().map_or(1, |row| row.number);
    cluster.run(Command::MoveAttempts { rebalance, moves: Vec::new(), ends: Some(why) }).unwrap();
    cluster.state.rebalancing().is_none()
}

fn stops(cluster: &mut Cluster, run: u64) {
    cluster.report(of(run), AttemptPhase::Ended, Some(Exit::Signal(15)));
}

/// Begun, arrived, missed.
fn counts(cluster: &Cluster) -> (u32, u32, u32) {
    let row = cluster.state.rebalance().unwrap();
    (row.begun, row.arrived, row.missed)
}

#[test]
fn who_is_moved_goes_where_room_was_kept_and_has_burnt_nothing() {
    let mut cluster = cluster();
    start(&mut cluster, TERMS).unwrap();
    assert_eq!(moves(&mut cluster, &[(4, "m")]), 1);
    let attempt = cluster.attempt(of(4));
    assert_eq!((attempt.stop, attempt.state), (Some(StopReason::Rebalanced), AttemptState::Running));
    assert_eq!(attempt.moved.map(|moved| (moved.rebalance, moved.to)), Some((1, node("m"))));
    // The room is its own before it has stopped, and after.
    let m = cluster.state.node(&node("m")).unwrap().clone();
    assert_eq!(cluster.state.free_on(&m).cpu_milli, 800);
    cluster.submit(7, spec(801)).unwrap();
    assert!(matches!(cluster.try_place(of(7), "m"), PlacementOutcome::Refused(_)));
    stops(&mut cluster, 4);
    let row = cluster.state.task(of(4)).unwrap();
    assert_eq!((&row.state, row.tries, row.losses, row.preemptions), (&TaskState::Ready, 0, 0, 0));
    assert!(matches!(cluster.try_place(of(7), "m"), PlacementOutcome::Refused(_)));
    assert!(matches!(cluster.try_place(of(4), "far"), PlacementOutcome::Refused(_)), "its room is elsewhere");
    assert_eq!((counts(&cluster), cluster.state.moves_count()), ((1, 0, 0), 1));
    cluster.place(of(4), "m");
    assert_eq!((counts(&cluster), cluster.state.moves_count(), cluster.state.claims_count()), ((1, 1, 0), 0, 0));
}

#[test]
fn who_is_moved_keeps_the_alternative_that_it_has() {
    let mut cluster = cluster();
    let mut job = spec(500);
    let resources = Resources { cpu_milli: 150, memory_bytes: 0, gpu_milli: 0 };
    job.tasks[0].alternatives = vec![Alternative { resources, gpu_models: Vec::new() }];
    cluster.submit(5, job).unwrap();
    let at = cluster.state.node(&node("n")).unwrap().clone();
    let generation = cluster.state.task(of(5)).unwrap().generation;
    let choice = Choice::of(1).unwrap();
    let placement =
        Placement { choice, gpus: GpuHold::NONE, task: of(5), generation, node: at.name.clone(), epoch: at.epoch };
    cluster.run(Command::CommitPlan { placements: vec![placement] }).unwrap();
    cluster.report(of(5), AttemptPhase::Running, None);
    start(&mut cluster, TERMS).unwrap();
    assert_eq!(moves(&mut cluster, &[(5, "m")]), 1);
    // As much is kept for it as it has, though there is room for what it would rather have.
    let terms = cluster.state.claim(of(5)).unwrap().terms;
    assert_eq!((terms.choice, terms.resources), (choice, resources));
}

#[test]
fn one_goes_on_at_a_time_and_whoever_stops_it_lets_arrive_what_is_on_the_move() {
    let mut cluster = cluster();
    start(&mut cluster, TERMS).unwrap();
    let again = start(&mut cluster, TERMS);
    assert!(matches!(again, Err(Rejection::LimitReached { limit: "REBALANCES_MAX", .. })), "{again:?}");
    moves(&mut cluster, &[(4, "m")]);
    assert!(!end(&mut cluster, RebalanceEnd::Done), "something is on the move");
    cluster.run(Command::SetRebalance { order: RebalanceOrder::Stop }).unwrap();
    let stale = Command::MoveAttempts { rebalance: 1, moves: vec![moving(&cluster, 3, "m")], ends: None };
    assert!(matches!(cluster.run(stale), Err(Rejection::Stale(_))));
    stops(&mut cluster, 4);
    cluster.place(of(4), "m");
    assert_eq!(counts(&cluster), (1, 1, 0));
    start(&mut cluster, TERMS).unwrap();
    assert_eq!(cluster.state.rebalancing().unwrap().number, 2);
}

#[test]
fn the_budget_is_kept_by_the_state_whoever_asks_and_in_whatever_term() {
    let mut cluster = cluster();
    start(&mut cluster, RebalanceTerms { moves_max: 3, at_once: 2, ..TERMS }).unwrap();
    assert_eq!(moves(&mut cluster, &[(1, "m"), (2, "far"), (3, "m")]), 2, "two at once");
    for run in [1, 2] {
        stops(&mut cluster, run);
    }
    assert_eq!(moves(&mut cluster, &[(3, "m")]), 0, "who waits to be placed is on the move");
    cluster.place(of(1), "m");
    cluster.place(of(2), "far");
    begin(&mut cluster, 5, spec(300));
    assert_eq!(moves(&mut cluster, &[(5, "far")]), 1);
    assert_eq!(moves(&mut cluster, &[(4, "far")]), 0, "three in all");
    assert_eq!(counts(&cluster), (3, 2, 0));
}

#[test]
fn of_a_step_no_more_than_its_share_is_on_the_move() {
    let mut cluster = cluster();
    let mut wide = spec(50);
    wide.tasks[0].count = 4;
    cluster.submit(8, wide).unwrap();
    let each = |index| TaskId { index, ..of(8) };
    for index in 0..4 {
        cluster.place(each(index), "n");
        cluster.report(each(index), AttemptPhase::Running, None);
    }
    start(&mut cluster, RebalanceTerms { share_percent: 50, ..TERMS }).unwrap();
    let epoch = cluster.state.node(&node("m")).unwrap().epoch;
    let to_m = |index| Moving { attempt: AttemptId { task: each(index), number: 1 }, to: node("m"), epoch };
    let asked = Command::MoveAttempts { rebalance: 1, moves: (0..4).map(to_m).collect(), ends: None };
    assert_eq!(cluster.run(asked), Ok(Reply::Counted(2)));
}

#[test]
fn a_move_that_brings_nothing_any_more_is_passed_over() {
    let mut cluster = cluster();
    start(&mut cluster, TERMS).unwrap();
    // n has 80%; with 40% each it is as even as it gets.
    assert_eq!(moves(&mut cluster, &[(1, "m"), (2, "m"), (3, "m"), (4, "m")]), 2);
    let mut cluster = self::cluster();
    start(&mut cluster, RebalanceTerms { margin: 50, ..TERMS }).unwrap();
    assert_eq!(moves(&mut cluster, &[(1, "m"), (2, "m")]), 1, "after the first one n has 60%, m would have 40%");
}

#[test]
fn nobody_is_moved_who_may_not_be() {
    let mut cluster = cluster();
    let of_task = |edit: fn(&mut TaskSpec)| {
        let mut spec = spec(50);
        edit(&mut spec.tasks[0]);
        spec
    };
    begin(
        &mut cluster,
        11,
        of_task(|task| {
            task.on_node_loss = OnNodeLoss::AtMostOnce;
            task.retry.attempts = 1;
        }),
    );
    begin(&mut cluster, 12, of_task(|task| task.preemptible = false));
    begin(&mut cluster, 13, of_task(|task| task.place.company.group = Some("db".parse().unwrap())));
    begin(&mut cluster, 14, of_task(|task| task.on_region_loss = Some(quorate_state::OnRegionLoss::Stay)));
    start(&mut cluster, TERMS).unwrap();
    for run in [11, 12, 13] {
        assert_eq!(moves(&mut cluster, &[(run, "m")]), 0, "{run}");
    }
    assert_eq!(moves(&mut cluster, &[(14, "far")]), 0, "it stays in its region");
    assert_eq!(moves(&mut cluster, &[(14, "m")]), 1);
    let gang = of_task(|task| (task.count, task.gang) = (2, Some(GangSpec::default())));
    assert!(gang.tasks[0].gang.is_some());
    cluster.run(Command::PauseRun { run: RunId(1), reason: "why".into() }).unwrap();
    assert_eq!(moves(&mut cluster, &[(1, "m")]), 0, "its run is paused");
}

#[test]
fn nobody_is_moved_twice_by_one_rebalance() {
    let mut cluster = cluster();
    start(&mut cluster, TERMS).unwrap();
    moves(&mut cluster, &[(4, "m")]);
    stops(&mut cluster, 4);
    cluster.place(of(4), "m");
    cluster.report(of(4), AttemptPhase::Running, None);
    // Now m is the fullest.
    for run in [5, 6, 7] {
        cluster.submit(run, spec(250)).unwrap();
        cluster.place(of(run), "m");
    }
    assert_eq!(moves(&mut cluster, &[(4, "far")]), 0);
    cluster.run(Command::SetRebalance { order: RebalanceOrder::Stop }).unwrap();
    start(&mut cluster, TERMS).unwrap();
    assert_eq!(moves(&mut cluster, &[(4, "far")]), 1, "by another one it may be");
}

#[test]
fn it_is_over_when_its_time_is_and_when_something_else_comes_first() {
    let mut cluster = cluster();
    start(&mut cluster, TERMS).unwrap();
    assert!(!end(&mut cluster, RebalanceEnd::TimeOver) && !end(&mut cluster, RebalanceEnd::Draining));
    cluster.pass(60_000);
    assert_eq!(moves(&mut cluster, &[(4, "m")]), 0);
    assert!(end(&mut cluster, RebalanceEnd::TimeOver));
    assert!(cluster.events.iter().any(|row| matches!(row, Event::RebalanceEnded { why: RebalanceEnd::TimeOver, .. })));

    start(&mut cluster, TERMS).unwrap();
    let drain = Some(DrainTime { wait_ms: 0, for_ms: None });
    let scope = Scope::Region("us".parse().unwrap());
    cluster.run(Command::WithdrawScope { scope, drain, reason: "why".into() }).unwrap();
    assert_eq!(moves(&mut cluster, &[(4, "m")]), 0);
    assert!(end(&mut cluster, RebalanceEnd::Draining));

    let mut cluster = self::cluster();
    start(&mut cluster, TERMS).unwrap();
    cluster.expire("far");
    assert_eq!(moves(&mut cluster, &[(4, "m")]), 0);
    assert!(end(&mut cluster, RebalanceEnd::NodeLost));
}

#[test]
fn who_ends_on_the_way_or_loses_its_room_is_counted_as_missed() {
    let mut cluster = cluster();
    start(&mut cluster, TERMS).unwrap();
    moves(&mut cluster, &[(3, "m"), (4, "m")]);
    cluster.report_as(of(3), AttemptPhase::Ended, Some(Exit::Code(0)), true, false);
    assert_eq!((counts(&cluster), cluster.state.claims_count()), ((2, 0, 1), 1), "it was done before it heard of it");
    cluster.run(Command::CordonNode { node: node("m"), cordoned: true }).unwrap();
    assert_eq!((cluster.state.moves_count(), cluster.state.claims_count()), (1, 0));
    stops(&mut cluster, 4);
    cluster.place(of(4), "far");
    assert_eq!(counts(&cluster), (2, 0, 2));
}
