//! Gangs: placed all or none, stopped all when one is lost to them, and begun anew all.

use quorate_state::{
    AttemptPhase, AttemptState, Choice, Command, Exit, FailReason, Feature, GangSpec, GpuHold, Infeasible, OnNodeLoss,
    Placement, PlacementOutcome, Rejection, Reply, Retry, RunId, RunState, Served, Shortfall, StopReason, TaskId,
    TaskSpec, TaskState, Violation, Wait, Within,
};

use crate::cluster::{Cluster, id, job, task};

const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn gang(count: u32) -> TaskSpec {
    let retry = Retry { attempts: 3, first_ms: 1_000, jitter_milli: 0, ..Retry::default() };
    TaskSpec { count, gang: Some(GangSpec::default()), retry, ..task("train", &[]) }
}

fn member(index: u32) -> TaskId {
    TaskId { index, ..id(0) }
}

/// Three nodes, each with room for two members, in clusters of their own, and a run of these tasks.
fn cluster(tasks: Vec<TaskSpec>) -> Cluster {
    let mut cluster = Cluster::new();
    [Feature::TaskOutcomes, Feature::TaskFlow, Feature::NodeCordon, Feature::NodeDrain, Feature::Gangs]
        .into_iter()
        .for_each(|feature| cluster.enable(feature));
    for (number, node) in (1..).zip(NODES) {
        cluster.register(node, number, "eu", &format!("c-{node}")).unwrap();
    }
    cluster.submit(1, job(tasks)).unwrap();
    cluster
}

fn commit(cluster: &mut Cluster, nodes: &[&str]) -> Result<Reply, Rejection> {
    let placements = nodes.iter().zip(0..).map(|(node, index)| {
        let node = cluster.state.node(&node.parse().unwrap()).unwrap();
        let generation = cluster.state.task(member(index)).map_or(0, |task| task.generation);
        let (node, epoch) = (node.name.clone(), node.epoch);
        Placement { task: member(index), generation, node, epoch, choice: Choice::FIRST, gpus: GpuHold::NONE }
    });
    let placements = placements.collect();
    let generation = generation(cluster);
    cluster.run(Command::CommitGang { run: RunId(1), step: 0, generation, placements })
}

fn generation(cluster: &Cluster) -> u32 {
    cluster.state.gang(RunId(1), 0).map_or(0, |gang| gang.generation)
}

fn states(cluster: &Cluster) -> Vec<TaskState> {
    cluster.state.tasks_of_step(RunId(1), 0).map(|task| task.state.clone()).collect()
}

fn stops(cluster: &Cluster) -> Vec<Option<StopReason>> {
    (0..states(cluster).len()).map(|index| cluster.attempt(member(index as u32)).stop).collect()
}

fn all_run(cluster: &mut Cluster) {
    for index in 0..states(cluster).len() {
        cluster.report(member(index as u32), AttemptPhase::Running, None);
    }
}

fn ends(cluster: &mut Cluster, index: u32, code: i32) {
    cluster.report(member(index), AttemptPhase::Ended, Some(Exit::Code(code)));
}

fn evict(index: u32) -> Command {
    let attempt = quorate_state::AttemptId { task: member(index), number: 1 };
    Command::EvictAttempts { attempts: vec![attempt] }
}

#[test]
fn all_members_are_placed_or_none_and_the_refusal_names_the_first_that_is_not() {
    let mut cluster = cluster(vec![gang(3)]);
    let full = Infeasible::Full(Shortfall { cpu_milli: 500, ..Shortfall::default() });
    let why = Box::new(Rejection::Infeasible(full));
    let refused = commit(&mut cluster, &["n1", "n1", "n1"]);
    assert_eq!(refused, Err(Rejection::Member { task: member(2), why }), "each alone would fit");
    assert!(refused.unwrap_err().to_string().starts_with("element 2 of the gang is refused"));
    assert_eq!(states(&cluster), [TaskState::Ready, TaskState::Ready, TaskState::Ready]);
    assert_eq!((cluster.state.gang(RunId(1), 0), cluster.state.attempts_of_run(RunId(1)).count()), (None, 0));

    let placed = commit(&mut cluster, &["n1", "n1", "n2"]).unwrap();
    let Reply::PlanCommitted(outcomes) = placed else { panic!("{placed:?}") };
    assert!(outcomes.iter().all(|outcome| matches!(outcome, PlacementOutcome::Placed(_))) && outcomes.len() == 3);
    assert_eq!(states(&cluster), [TaskState::Placed, TaskState::Placed, TaskState::Placed]);
    assert_eq!(generation(&cluster), 1);
}

#[test]
fn a_part_of_a_gang_is_refused_however_it_is_asked_for() {
    let mut cluster = cluster(vec![gang(3), task("single", &[])]);
    assert_eq!(commit(&mut cluster, &["n1", "n2"]), Err(Rejection::Stale("a gang is placed whole, by index")));
    let node = cluster.state.node(&"n1".parse().unwrap()).unwrap().clone();
    let single = |task| Placement {
        task,
        generation: 0,
        node: node.name.clone(),
        epoch: node.epoch,
        choice: Choice::FIRST,
        gpus: GpuHold::NONE,
    };
    let reply = cluster.run(Command::CommitPlan { placements: vec![single(member(0))] }).unwrap();
    let refused = PlacementOutcome::Refused(Box::new(Rejection::Stale("a gang is placed whole")));
    assert_eq!(reply, Reply::PlanCommitted(vec![refused]));
    let placements = vec![single(id(1))];
    let reply = cluster.run(Command::CommitGang { run: RunId(1), step: 1, generation: 0, placements });
    assert_eq!(reply, Err(Rejection::Stale("the task is not a gang")));
    commit(&mut cluster, &["n1", "n2", "n3"]).unwrap();
    let again = cluster.run(Command::CommitGang { run: RunId(1), step: 0, generation: 0, placements: vec![] });
    assert_eq!(again, Err(Rejection::Stale("the gang has moved")));
}

#[test]
fn nobody_has_succeeded_before_all_have() {
    let mut cluster = cluster(vec![gang(3), task("after", &["train"])]);
    commit(&mut cluster, &NODES).unwrap();
    all_run(&mut cluster);
    ends(&mut cluster, 0, 0);
    ends(&mut cluster, 2, 0);
    assert_eq!(states(&cluster), [TaskState::Running, TaskState::Running, TaskState::Running]);
    assert_eq!(cluster.attempt(member(0)).state, AttemptState::Succeeded);
    ends(&mut cluster, 1, 0);
    assert_eq!(states(&cluster), [TaskState::Succeeded, TaskState::Succeeded, TaskState::Succeeded]);
}

#[test]
fn one_failure_stops_all_costs_one_try_and_begins_all_anew() {
    let mut cluster = cluster(vec![gang(3)]);
    commit(&mut cluster, &NODES).unwrap();
    all_run(&mut cluster);
    ends(&mut cluster, 0, 0);
    ends(&mut cluster, 1, 7);
    assert_eq!(stops(&cluster), [None, None, Some(StopReason::Gang)], "what has ended is not asked to stop");
    assert_eq!(states(&cluster), [TaskState::Running, TaskState::Running, TaskState::Running]);
    // The last one is told, and its processes take a while.
    cluster.report_as(member(2), AttemptPhase::Ended, None, false, true);
    assert_eq!(cluster.task(member(2)), TaskState::Waiting(Wait::Fence { until: Served::NEVER }));
    cluster.pass(1_000);
    assert_eq!(cluster.task(member(0)), TaskState::Ready, "it succeeded, and is run again");
    assert!(matches!(commit(&mut cluster, &NODES), Err(Rejection::Member { .. })), "one of them may still run");
    cluster.report_as(member(2), AttemptPhase::Ended, None, true, true);
    assert_eq!(states(&cluster), [TaskState::Ready, TaskState::Ready, TaskState::Ready]);
    commit(&mut cluster, &NODES).unwrap();
    assert_eq!(generation(&cluster), 2);
    let tries: Vec<u32> = cluster.state.tasks_of_step(RunId(1), 0).map(|task| task.tries).collect();
    assert_eq!(tries, [1, 1, 1]);
    all_run(&mut cluster);
    (0..3).for_each(|index| ends(&mut cluster, index, 0));
    assert_eq!(states(&cluster), [TaskState::Succeeded, TaskState::Succeeded, TaskState::Succeeded]);
}

#[test]
fn tries_end_and_so_does_all_of_the_gang() {
    let mut cluster = cluster(vec![gang(2)]);
    for number in 1..=3 {
        commit(&mut cluster, &["n1", "n2"]).unwrap();
        all_run(&mut cluster);
        ends(&mut cluster, 0, 7);
        // It noticed by itself: that is the same failure.
        cluster.report_as(member(1), AttemptPhase::Ended, Some(Exit::Code(9)), true, false);
        assert_eq!(cluster.state.task(member(1)).unwrap().tries, number);
        cluster.pass(10_000);
    }
    let failed = TaskState::Failed(FailReason::Failed);
    assert_eq!(states(&cluster), [failed.clone(), failed]);
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.state.run(RunId(1)).unwrap().state, RunState::Failed);
}

#[test]
fn a_lost_node_costs_all_of_it_a_loss_and_no_try() {
    for promise in [OnNodeLoss::AtLeastOnce, OnNodeLoss::Fenced] {
        let mut cluster = cluster(vec![TaskSpec { on_node_loss: promise, ..gang(3) }]);
        commit(&mut cluster, &NODES).unwrap();
        all_run(&mut cluster);
        // It failed for the others were silent.
        ends(&mut cluster, 2, 1);
        cluster.expire("n1");
        assert_eq!(stops(&cluster)[1], Some(StopReason::Gang));
        cluster.report(member(1), AttemptPhase::Ended, None);
        let first = cluster.task(member(0));
        match promise {
            OnNodeLoss::Fenced => assert!(matches!(first, TaskState::Waiting(Wait::Fence { .. }))),
            OnNodeLoss::AtLeastOnce | OnNodeLoss::AtMostOnce => assert_eq!(first, TaskState::Ready),
        }
        cluster.pass(60_000);
        assert_eq!(states(&cluster), [TaskState::Ready, TaskState::Ready, TaskState::Ready]);
        let counted: Vec<_> = cluster.state.tasks_of_step(RunId(1), 0).map(|task| (task.tries, task.losses)).collect();
        assert_eq!(counted, [(0, 1); 3]);
        commit(&mut cluster, &["n2", "n2", "n3"]).unwrap();
        // What comes back is told to stop, and its word moves nothing.
        let old = quorate_state::AttemptId { task: member(0), number: 1 };
        let claim = cluster.claim(old);
        cluster.return_of("n1", cluster.revision, vec![claim]);
        assert_eq!(generation(&cluster), 2);
        assert_eq!(states(&cluster), [TaskState::Placed, TaskState::Placed, TaskState::Placed]);
    }
}

#[test]
fn what_leaves_its_node_takes_the_others_along_and_burns_nothing() {
    let mut cluster = cluster(vec![gang(3)]);
    commit(&mut cluster, &NODES).unwrap();
    all_run(&mut cluster);
    let drain = Command::DrainNode { node: "n1".parse().unwrap(), wait_ms: 0, reason: "".into() };
    cluster.run(drain).unwrap();
    assert_eq!(cluster.run(evict(0)), Ok(Reply::Counted(1)));
    assert_eq!(stops(&cluster), [Some(StopReason::Drained), Some(StopReason::Gang), Some(StopReason::Gang)]);
    (0..3).for_each(|index| cluster.report(member(index), AttemptPhase::Ended, None));
    assert_eq!(states(&cluster), [TaskState::Ready, TaskState::Ready, TaskState::Ready]);
    let task = cluster.state.task(member(0)).unwrap();
    assert_eq!((task.tries, task.losses), (0, 0));
}

#[test]
fn losses_end_as_well() {
    let mut cluster = cluster(vec![gang(2)]);
    let most = cluster.state.settings().unwrap().node_losses_max;
    for _ in 0..=most {
        commit(&mut cluster, &["n1", "n2"]).unwrap();
        cluster.expire("n1");
        cluster.report(member(1), AttemptPhase::Ended, None);
        cluster.return_of("n1", cluster.revision, vec![]);
        cluster.pass(200_000);
    }
    let failed = TaskState::Failed(FailReason::NodeLosses);
    assert_eq!(states(&cluster), [failed.clone(), failed]);
}

#[test]
fn a_cancelled_gang_ends_as_one() {
    let mut cluster = cluster(vec![gang(3)]);
    commit(&mut cluster, &NODES).unwrap();
    all_run(&mut cluster);
    ends(&mut cluster, 0, 0);
    cluster.run(Command::CancelRun { run: RunId(1) }).unwrap();
    cluster.run(Command::AdvanceStep { run: RunId(1), step: 0, limit: 1 }).unwrap();
    cluster.run(Command::AdvanceStep { run: RunId(1), step: 0, limit: 10 }).unwrap();
    (1..3).for_each(|index| cluster.report(member(index), AttemptPhase::Ended, None));
    assert_eq!(states(&cluster), [TaskState::Cancelled, TaskState::Cancelled, TaskState::Cancelled]);
}

#[test]
fn a_gang_that_does_not_begin_in_time_begins_anew_elsewhere() {
    let gang = TaskSpec { gang: Some(GangSpec { within: None, start_ms: Some(5_000) }), ..gang(2) };
    let mut cluster = cluster(vec![gang]);
    commit(&mut cluster, &["n1", "n2"]).unwrap();
    cluster.report(member(0), AttemptPhase::Running, None);
    cluster.pass(4_999);
    assert_eq!(stops(&cluster), [None, None]);
    cluster.pass(1);
    assert_eq!(stops(&cluster), [Some(StopReason::Gang), Some(StopReason::Gang)]);
    (0..2).for_each(|index| cluster.report(member(index), AttemptPhase::Ended, None));
    assert_eq!(cluster.state.task(member(0)).unwrap().losses, 1);
    commit(&mut cluster, &["n2", "n3"]).unwrap();
    all_run(&mut cluster);
    cluster.pass(60_000);
    assert_eq!(stops(&cluster), [None, None], "all of them run");
}

#[test]
fn a_gang_waits_in_the_queue_as_one() {
    let mut cluster = cluster(vec![TaskSpec { queued_timeout_ms: Some(3_000), ..gang(2) }]);
    commit(&mut cluster, &["n1", "n2"]).unwrap();
    all_run(&mut cluster);
    ends(&mut cluster, 0, 1);
    cluster.report_as(member(1), AttemptPhase::Ended, None, false, true);
    // One of them is ready, and waits for the other, for longer than it may wait for room.
    cluster.pass(1_000);
    cluster.pass(3_000);
    cluster.pass(2_999);
    assert_eq!(cluster.task(member(0)), TaskState::Ready);
    cluster.report_as(member(1), AttemptPhase::Ended, None, true, true);
    cluster.pass(3_000);
    let failed = TaskState::Failed(FailReason::Queued);
    assert_eq!(states(&cluster), [failed.clone(), failed]);
}

#[test]
fn members_go_to_nodes_that_are_alike() {
    let gang = TaskSpec { gang: Some(GangSpec { within: Some(Within::Cluster), start_ms: None }), ..gang(2) };
    let mut cluster = cluster(vec![gang]);
    let why = Box::new(Rejection::Stale("its node is not alike to those of the other members"));
    let refused = Err(Rejection::Member { task: member(1), why });
    assert_eq!(commit(&mut cluster, &["n1", "n2"]), refused);
    commit(&mut cluster, &["n1", "n1"]).unwrap();
}

#[test]
fn what_cannot_be_a_gang_is_told_at_once() {
    let mut cluster = Cluster::new();
    let refused = cluster.submit(1, job(vec![gang(3)]));
    assert_eq!(refused, Err(Rejection::FeatureNotEnabled(Feature::Gangs)));
    [Feature::TaskFlow, Feature::Gangs].into_iter().for_each(|feature| cluster.enable(feature));
    let wrong = TaskSpec {
        accept_failed: 1,
        on_node_loss: OnNodeLoss::AtMostOnce,
        retry: Retry::default(),
        gang: Some(GangSpec { within: Some(Within::Label(String::new())), start_ms: Some(0) }),
        ..gang(257)
    };
    let Err(Rejection::Invalid(found)) = cluster.submit(1, job(vec![wrong])) else { panic!("it is refused") };
    let fields: Vec<&str> = found.iter().map(|Violation { field, .. }| &**field).collect();
    assert_eq!(
        fields,
        [
            "task.train.count",
            "task.train.accept.failed",
            "task.train.on_node_loss",
            "task.train.gang.within",
            "task.train.gang.start",
        ]
    );
}
