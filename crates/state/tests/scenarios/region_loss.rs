//! What the loss of a region means for tasks that ran there.

use quorate_state::{
    AttemptPhase, Bound, Choice, Command, DrainTime, Feature, GangSpec, GpuHold, Infeasible, JobSpec, OnRegionLoss,
    Placement, PlacementOutcome, Rejection, Reply, RunId, Scope, Served, TaskId, TaskSpec, TaskState,
};

use crate::cluster::{Cluster, id, job, task};

const AFTER_MS: u64 = 10_000;

fn moves(after_ms: u64, spill: &[&str]) -> OnRegionLoss {
    OnRegionLoss::MoveAfter { after_ms, spill: spill.iter().map(|region| region.parse().unwrap()).collect() }
}

fn saying(name: &str, policy: OnRegionLoss) -> TaskSpec {
    TaskSpec { on_region_loss: Some(policy), ..task(name, &[]) }
}

/// `n` and `o` in eu, `m` in us, `a` in asia, and a job of these tasks, which runs on `n`.
fn world(tasks: Vec<TaskSpec>) -> Cluster {
    let mut world = Cluster::new();
    for feature in Feature::ALL {
        world.run(Command::EnableFeature { feature, term: 1 }).unwrap();
    }
    for (uuid, (node, region)) in [("n", "eu"), ("o", "eu"), ("m", "us"), ("a", "asia")].into_iter().enumerate() {
        world.register(node, uuid as u128 + 1, region, &format!("{region}-1")).unwrap();
    }
    let steps = u32::try_from(tasks.len()).unwrap();
    world.submit(1, job(tasks)).unwrap();
    for step in 0..steps {
        world.run(Command::AdvanceStep { run: RunId(1), step, limit: 10 }).unwrap();
        world.place(id(step), "n");
        world.report(id(step), AttemptPhase::Running, None);
    }
    world
}

/// Whether the first task may be placed on a node now; it is not, in the world that is asked.
fn goes_to(world: &Cluster, node: &str) -> bool {
    let row = world.state.node(&node.parse().unwrap()).unwrap().clone();
    let generation = world.state.task(id(0)).unwrap().generation;
    let placement = Placement {
        choice: Choice::FIRST,
        gpus: GpuHold::NONE,
        task: id(0),
        generation,
        node: row.name.clone(),
        epoch: row.epoch,
    };
    let mut other = Cluster { state: world.state.clone(), events: vec![], ..*world };
    match other.run(Command::CommitPlan { placements: vec![placement] }) {
        Ok(Reply::PlanCommitted(outcomes)) => match &outcomes[..] {
            [PlacementOutcome::Placed(_)] => true,
            [PlacementOutcome::Refused(why)] => {
                let why = (**why).clone();
                assert!(matches!(why, Rejection::Infeasible(Infeasible::Region | Infeasible::NodeLost)), "{why}");
                false
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn lost(world: &Cluster, region: &str) -> Option<Served> {
    world.state.region_lost(&region.parse().unwrap())
}

fn lose_eu(world: &mut Cluster) {
    world.expire("n");
    world.expire("o");
    assert_eq!(world.task(id(0)), TaskState::Ready);
}

#[test]
fn a_task_goes_nowhere_else_while_a_node_of_its_region_is_up() {
    for policy in [OnRegionLoss::Stay, moves(0, &[]), moves(0, &["us"])] {
        let mut world = world(vec![saying("a", policy)]);
        world.expire("n");
        assert_eq!(lost(&world, "eu"), None);
        world.pass(1_000_000);
        assert_eq!(["o", "m", "a"].map(|node| goes_to(&world, node)), [true, false, false]);
    }
}

#[test]
fn a_task_that_stays_waits_for_its_region_for_ever_and_goes_on_there() {
    let mut world = world(vec![saying("a", OnRegionLoss::Stay)]);
    lose_eu(&mut world);
    assert!(lost(&world, "eu").is_some());
    for _ in 0..3 {
        world.pass(100_000_000);
        assert_eq!(["m", "a"].map(|node| goes_to(&world, node)), [false, false]);
    }
    let seen = world.revision;
    world.return_of("o", seen, vec![]);
    assert_eq!(lost(&world, "eu"), None);
    assert_eq!(["o", "m"].map(|node| goes_to(&world, node)), [true, false]);
}

#[test]
fn a_task_that_moves_does_when_its_time_is_over_and_not_before() {
    let mut world = world(vec![saying("a", moves(AFTER_MS, &[]))]);
    world.expire("n");
    world.pass(3 * AFTER_MS);
    world.expire("o");
    let at = lost(&world, "eu").unwrap();
    assert_eq!(at, world.state.meta().served, "the last of its nodes makes the loss");
    world.pass(AFTER_MS - 1);
    assert_eq!(["m", "a"].map(|node| goes_to(&world, node)), [false, false]);
    world.pass(1);
    assert_eq!(["m", "a"].map(|node| goes_to(&world, node)), [true, true]);
}

#[test]
fn a_task_spills_to_the_regions_that_its_job_names_alone() {
    let mut world = world(vec![saying("a", moves(0, &["asia", "eu"]))]);
    lose_eu(&mut world);
    assert_eq!(["m", "a"].map(|node| goes_to(&world, node)), [false, true]);
    let row = world.state.task(id(0)).unwrap();
    let spec = &world.state.run(RunId(1)).unwrap().spec.tasks[0];
    let bound = world.state.bound(row.home.as_ref(), spec, world.state.meta().served);
    assert_eq!(bound, Bound::Spill(&["asia".parse().unwrap(), "eu".parse().unwrap()]));
}

#[test]
fn what_has_moved_stays_where_it_went_when_its_region_returns() {
    let mut world = world(vec![saying("a", moves(0, &[]))]);
    lose_eu(&mut world);
    world.place(id(0), "m");
    assert_eq!(world.state.task(id(0)).unwrap().home, Some("us".parse().unwrap()));
    let seen = world.revision;
    for node in ["n", "o"] {
        world.return_of(node, seen, vec![]);
    }
    assert_eq!(world.attempt(id(0)).node.as_str(), "m", "nothing moves by itself");
    // Its next try is at home where it is now: with us lost, it may come back.
    world.expire("m");
    assert!(goes_to(&world, "n"));
}

#[test]
fn a_drain_of_the_region_lets_go_at_once_of_what_may_move_and_of_nothing_that_stays() {
    for (policy, goes) in [(moves(AFTER_MS, &[]), true), (OnRegionLoss::Stay, false)] {
        let mut world = world(vec![saying("a", policy)]);
        lose_eu(&mut world);
        assert!(!goes_to(&world, "m"));
        let scope = Scope::Region("eu".parse().unwrap());
        let drain = Some(DrainTime { wait_ms: 0, for_ms: None });
        world.run(Command::WithdrawScope { scope: scope.clone(), drain, reason: "".into() }).unwrap();
        assert_eq!(goes_to(&world, "m"), goes);
        world.run(Command::RestoreScope { scope }).unwrap();
        assert!(!goes_to(&world, "m"), "without the drain it waits again");
    }
}

#[test]
fn a_region_of_which_all_nodes_are_forgotten_is_lost_for_ever() {
    let mut world = world(vec![saying("a", moves(u64::from(u32::MAX), &[]))]);
    lose_eu(&mut world);
    world.pass(1_000_000);
    assert!(!goes_to(&world, "m"));
    for node in ["n", "o"] {
        world.run(Command::ForgetNode { node: node.parse().unwrap() }).unwrap();
    }
    assert_eq!(lost(&world, "eu"), Some(Served(0)));
    assert!(!goes_to(&world, "m"), "its time is counted from when there was nobody: not over yet");
    world.pass(u64::from(u32::MAX));
    assert!(goes_to(&world, "m"));
}

#[test]
fn a_task_that_says_nothing_goes_at_once_and_has_no_home() {
    let mut world = world(vec![task("a", &[])]);
    assert_eq!(world.state.task(id(0)).unwrap().home, None);
    world.expire("n");
    assert_eq!(["o", "m"].map(|node| goes_to(&world, node)), [true, true]);
}

/// Its tasks stand in the queue by where they ran, and aside while the run is paused: none is forgotten.
#[test]
fn a_step_of_which_tasks_ran_in_several_regions_is_paused_and_resumed_as_one() {
    let several = |count| TaskSpec { count, ..saying("a", OnRegionLoss::Stay) };
    let mut world = world(vec![several(4)]);
    let element = |index| TaskId { run: RunId(1), step: 0, index };
    for (index, node) in [(1, "o"), (2, "m")] {
        world.place(element(index), node);
    }
    for node in ["n", "o", "m"] {
        world.expire(node);
    }
    let ready = |world: &Cluster| world.state.ready().map(|key| key.task.index).collect::<Vec<_>>();
    let of_step = |world: &Cluster| {
        let run = world.state.run(RunId(1)).unwrap();
        let mut all: Vec<u32> = world.state.ready_of_step(run, 0).map(|task| task.index).collect();
        all.sort_unstable();
        all
    };
    assert_eq!((ready(&world), of_step(&world)), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
    assert_eq!(world.state.lines().count(), 3, "two regions, and one that has run nowhere");
    world.run(Command::PauseRun { run: RunId(1), reason: "".into() }).unwrap();
    assert_eq!((ready(&world), of_step(&world)), (vec![], vec![0, 1, 2, 3]));
    world.run(Command::ResumeRun { run: RunId(1) }).unwrap();
    assert_eq!((ready(&world), of_step(&world)), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
    world.run(Command::CancelRun { run: RunId(1) }).unwrap();
    world.run(Command::AdvanceStep { run: RunId(1), step: 0, limit: 10 }).unwrap();
    assert_eq!((ready(&world), of_step(&world)), (vec![], vec![]));
}

#[test]
fn a_cluster_that_cannot_keep_homes_refuses_jobs_that_need_them() {
    let mut world = Cluster::new();
    let spec = || job(vec![saying("a", OnRegionLoss::Stay)]);
    assert_eq!(world.submit(1, spec()), Err(Rejection::FeatureNotEnabled(Feature::RegionLoss)));
    world.enable(Feature::RegionLoss);
    assert!(world.submit(1, spec()).is_ok());
}

#[test]
fn what_cannot_be_is_refused_field_by_field() {
    let mut world = Cluster::new();
    for feature in Feature::ALL {
        world.enable(feature);
    }
    let at_home = |spec: TaskSpec| TaskSpec {
        place: quorate_state::Place { regions: vec!["eu".parse().unwrap()], ..spec.place.clone() },
        ..spec
    };
    let gang = Some(GangSpec { within: None, start_ms: None });
    let many: Vec<String> = (0..65).map(|at| format!("r{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let spec: JobSpec = job(vec![
        at_home(saying("elsewhere", moves(0, &["us"]))),
        saying("twice", moves(0, &["us", "us"])),
        saying("long", moves(u64::MAX, &[])),
        saying("many", moves(0, &many)),
        TaskSpec { gang, count: 2, ..saying("gang", OnRegionLoss::Stay) },
    ]);
    let Err(Rejection::Invalid(violations)) = world.submit(1, spec) else { panic!("it was accepted") };
    let fields: Vec<&str> = violations.iter().map(|violation| &*violation.field).collect();
    assert_eq!(
        fields,
        [
            "task.elsewhere.on_region_loss.spill[0]",
            "task.twice.on_region_loss.spill[1]",
            "task.long.on_region_loss.move_after",
            "task.many.on_region_loss.spill",
            "task.gang.on_region_loss",
        ]
    );
}
