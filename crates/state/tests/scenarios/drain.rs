//! Nodes that are taken out of service: drained while they live, forgotten when they are lost.

use quorate_state::{
    AttemptId, AttemptPhase, AttemptState, Command, Exit, FailReason, Feature, Infeasible, NodeName, OnNodeLoss,
    Principal, Rejection, Reply, ReportOutcome, RunId, Served, Stays, StopReason, TaskId, TaskSpec, TaskState, Wait,
    evictable,
};

use crate::cluster::{Cluster, id, job, task};

fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

fn drain(node: &str, wait_ms: u64) -> Command {
    Command::DrainNode { node: name(node), wait_ms, reason: "a new disk".into() }
}

fn maintain(node: &str, wait_ms: u64, for_ms: u64) -> Command {
    Command::MaintainNode { node: name(node), wait_ms, for_ms, reason: "a new disk".into() }
}

fn cordon(node: &str, cordoned: bool) -> Command {
    Command::CordonNode { node: name(node), cordoned }
}

fn forget(node: &str) -> Command {
    Command::ForgetNode { node: name(node) }
}

fn evict(task: TaskId) -> Command {
    Command::EvictAttempts { attempts: vec![AttemptId { task, number: 1 }] }
}

/// Two nodes, and a run with a task for each promise; all of them run on `n`.
fn cluster(promises: &[OnNodeLoss]) -> Cluster {
    let mut cluster = Cluster::new();
    for feature in Feature::ALL {
        cluster.run(Command::EnableFeature { feature, term: 1 }).unwrap();
    }
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.register("m", 2, "us", "us-a").unwrap();
    let tasks = promises.iter().zip(["a", "b", "c"]).map(|(promise, name)| {
        let resources = quorate_state::Resources { cpu_milli: 300, memory_bytes: 0, gpu_milli: 0 };
        TaskSpec { on_node_loss: *promise, resources, ..task(name, &[]) }
    });
    if !promises.is_empty() {
        cluster.submit(1, job(tasks.collect())).unwrap();
    }
    for step in 0..u32::try_from(promises.len()).unwrap() {
        cluster.place(id(step), "n");
        cluster.report(id(step), AttemptPhase::Running, None);
    }
    cluster
}

#[test]
fn a_drained_attempt_stops_and_its_task_runs_elsewhere_without_burning_a_try() {
    let mut cluster = cluster(&[OnNodeLoss::AtLeastOnce]);
    assert_eq!(cluster.run(evict(id(0))), Ok(Reply::Counted(0)), "nobody drains the node");
    cluster.run(drain("n", 0)).unwrap();
    assert_eq!(cluster.run(evict(id(0))), Ok(Reply::Counted(1)));
    assert_eq!(cluster.run(evict(id(0))), Ok(Reply::Counted(0)), "it is asked once");
    assert_eq!(cluster.attempt(id(0)).stop, Some(StopReason::Drained));

    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Signal(15)));
    assert_eq!(cluster.attempt(id(0)).state, AttemptState::Preempted);
    let row = cluster.state.task(id(0)).unwrap().clone();
    assert_eq!((row.state.clone(), row.tries, row.losses), (TaskState::Ready, 0, 0));
    let node = cluster.state.node(&name("n")).unwrap().clone();
    let spec = &cluster.state.run(RunId(1)).unwrap().spec.tasks[0];
    assert_eq!(quorate_state::feasible(&node, quorate_state::Room::empty(&node), spec), Err(Infeasible::Draining));
    cluster.place(id(0), "m");
    assert_eq!(cluster.attempt(id(0)).stop, None);
}

#[test]
fn what_ended_by_itself_before_it_heard_counts_as_it_ended() {
    let mut cluster = cluster(&[OnNodeLoss::AtLeastOnce]);
    cluster.run(drain("n", 0)).unwrap();
    cluster.run(evict(id(0))).unwrap();
    cluster.report_as(id(0), AttemptPhase::Ended, Some(Exit::Code(0)), true, false);
    assert_eq!(cluster.task(id(0)), TaskState::Succeeded);
}

#[test]
fn nothing_is_moved_before_it_is_due_and_what_is_started_once_never() {
    let mut cluster = cluster(&[OnNodeLoss::Fenced, OnNodeLoss::AtMostOnce]);
    cluster.run(drain("n", 5_000)).unwrap();
    assert_eq!(cluster.run(evict(id(0))), Ok(Reply::Counted(0)));
    cluster.pass(5_000);
    assert_eq!(cluster.run(evict(id(1))), Ok(Reply::Counted(0)));
    let why = evictable(&cluster.state, &cluster.attempt(id(1)), cluster.state.meta().served);
    assert_eq!(why, Err(Stays::StartedOnce));
    assert_eq!(cluster.run(evict(id(0))), Ok(Reply::Counted(1)));
    // Its successor waits for the agent's word, as after any end of a `fenced` copy.
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Signal(15)), false);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Fence { .. })));
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Signal(15)), true);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
}

#[test]
fn who_drains_why_and_from_when_is_kept_until_the_node_takes_work_again() {
    let mut cluster = cluster(&[]);
    cluster.run(cordon("n", true)).unwrap();
    let withdrawal = |cluster: &Cluster| cluster.state.node(&name("n")).unwrap().withdrawal.clone();
    let by_whom = withdrawal(&cluster).unwrap();
    assert_eq!((&by_whom.by, &*by_whom.reason, by_whom.drain), (&Principal::anonymous_local(), "", None));

    cluster.run(drain("n", 60_000)).unwrap();
    let drained = withdrawal(&cluster).unwrap();
    assert_eq!(
        (&*drained.reason, drained.drain.unwrap().due.0),
        ("a new disk", cluster.state.meta().served.0 + 60_000)
    );
    cluster.run(cordon("n", true)).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    assert_eq!(withdrawal(&cluster), Some(drained), "neither a cordon nor a new lease ends a drain");
    cluster.run(drain("n", 0)).unwrap();
    assert_eq!(withdrawal(&cluster).unwrap().drain.unwrap().due, cluster.state.meta().served, "the last word counts");
    cluster.run(cordon("n", false)).unwrap();
    assert_eq!((withdrawal(&cluster), cluster.state.draining().count()), (None, 0));
}

#[test]
fn a_drain_for_a_time_ends_at_its_instant_and_no_sooner() {
    let mut cluster = cluster(&[OnNodeLoss::AtLeastOnce]);
    let node = |cluster: &Cluster| cluster.state.node(&name("n")).unwrap().clone();
    cluster.run(maintain("n", 1_000, 5_000)).unwrap();
    let ends = node(&cluster).drain().unwrap().ends.unwrap();
    assert_eq!(ends, cluster.state.meta().served.plus(5_000));
    let end = |ends: Served| Command::EndDrains { drains: vec![(name("n"), ends), (name("x"), ends)] };
    cluster.pass(4_000);
    assert_eq!(cluster.run(end(ends)), Ok(Reply::Counted(0)), "its instant has not come");
    assert_eq!(cluster.run(evict(id(0))), Ok(Reply::Counted(1)), "it is a drain like any other");
    cluster.pass(1_000);
    assert_eq!(cluster.run(end(Served(ends.0 - 1))), Ok(Reply::Counted(0)), "it ends at another one");
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    assert_eq!(cluster.run(end(ends)), Ok(Reply::Counted(1)));
    assert!(!node(&cluster).cordoned && node(&cluster).withdrawal.is_none());
    assert_eq!(cluster.run(end(ends)), Ok(Reply::Counted(0)));

    cluster.run(maintain("n", 0, 5_000)).unwrap();
    let ends = node(&cluster).drain().unwrap().ends.unwrap();
    cluster.run(drain("n", 0)).unwrap();
    cluster.pass(5_000);
    assert_eq!(cluster.run(end(ends)), Ok(Reply::Counted(0)), "the last word counts: it lasts");
    let Err(Rejection::Invalid(violations)) = cluster.run(maintain("n", 5_000, 5_000)) else {
        panic!("no time is left")
    };
    assert_eq!(violations[0].field, "for_ms");
    cluster.run(maintain("n", 0, 5_000)).unwrap();
    cluster.run(cordon("n", false)).unwrap();
    assert_eq!(node(&cluster).withdrawal, None, "it may be ended early");
}

#[test]
fn a_drain_says_what_is_wrong_with_it() {
    let mut cluster = cluster(&[]);
    assert_eq!(cluster.run(drain("x", 0)), Err(Rejection::UnknownNode(name("x"))));
    let command = Command::DrainNode { node: name("n"), wait_ms: 0, reason: "x".repeat(4_097).into() };
    let Err(Rejection::Invalid(violations)) = cluster.run(command) else { panic!("too long a reason was taken") };
    assert!(violations[0].message.contains("annotation_value_bytes_max is 4096"), "{violations:?}");
}

#[test]
fn the_cancel_of_a_run_that_is_being_moved_ends_it() {
    let mut cluster = cluster(&[OnNodeLoss::AtLeastOnce, OnNodeLoss::AtLeastOnce]);
    cluster.run(drain("n", 0)).unwrap();
    cluster.run(evict(id(0))).unwrap();
    cluster.run(Command::CancelRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.run(evict(id(1))), Ok(Reply::Counted(0)), "it is stopped for good");
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Signal(15)));
    assert_eq!(cluster.task(id(0)), TaskState::Cancelled);
}

#[test]
fn a_node_is_forgotten_when_what_it_ran_has_ended_for_certain() {
    let mut cluster = cluster(&[OnNodeLoss::AtLeastOnce, OnNodeLoss::Fenced, OnNodeLoss::AtMostOnce]);
    assert_eq!(cluster.run(forget("n")), Err(Rejection::NodeAlive(name("n"))));
    cluster.expire("n");
    let kill_ms = cluster.state.node(&name("n")).unwrap().lease.kill_ms;
    let early = Rejection::NodeMayRun { node: name("n"), remaining_ms: kill_ms };
    assert_eq!(cluster.run(forget("n")), Err(early));
    let taken = cluster.register("n", 9, "eu", "eu-a");
    assert!(matches!(taken, Err(Rejection::NodeNameTaken { .. })), "{taken:?}");

    cluster.elapsed += kill_ms;
    cluster.run(forget("n")).unwrap();
    assert_eq!(cluster.state.used_on(&name("n")), quorate_state::Resources::ZERO);
    for step in 0..3 {
        let attempt = cluster.attempt(id(step));
        assert_eq!((attempt.state, attempt.gone), (AttemptState::Lost, true));
    }
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
    assert_eq!(cluster.task(id(1)), TaskState::Ready);
    assert_eq!(cluster.task(id(2)), TaskState::Failed(FailReason::Lost));
    assert_eq!(cluster.run(forget("n")), Err(Rejection::UnknownNode(name("n"))));
}

#[test]
fn a_forgotten_name_is_free_and_what_comes_back_under_it_has_no_say() {
    let mut cluster = cluster(&[OnNodeLoss::AtLeastOnce]);
    let before = cluster.state.node(&name("n")).unwrap().clone();
    cluster.run(drain("n", 0)).unwrap();
    cluster.expire("n");
    cluster.pass(60_000);
    cluster.run(forget("n")).unwrap();
    let report = Command::ReportAttempts { node: name("n"), epoch: before.epoch, reports: vec![] };
    let over = Rejection::EpochOver { node: name("n"), epoch: before.epoch };
    assert_eq!(cluster.run(report.clone()), Err(over.clone()));

    cluster.register("n", 9, "eu", "eu-a").unwrap();
    let after = cluster.state.node(&name("n")).unwrap().clone();
    assert!(after.epoch > before.epoch && !after.cordoned && after.withdrawal.is_none());
    assert_eq!(cluster.run(report), Err(over));
    assert_eq!(cluster.state.attempts_on(&name("n")).count(), 0, "whoever has an old copy is told to end it");
    // Its word about the old copy changes nothing that counts.
    let outcome = cluster.report_as(id(0), AttemptPhase::Ended, Some(Exit::Code(0)), true, false);
    assert_eq!(outcome, ReportOutcome::Accepted);
    assert_eq!((cluster.attempt(id(0)).state, cluster.task(id(0))), (AttemptState::Lost, TaskState::Ready));
}

#[test]
fn a_node_whose_agent_lost_its_journal_is_not_forgotten_before_the_old_copies_are_over() {
    let mut cluster = cluster(&[OnNodeLoss::Fenced]);
    cluster.return_without_journal("n", 7, 0);
    let until = cluster.attempt(id(0)).unknown_deadline.unwrap();
    cluster.expire("n");
    let ended = cluster.state.ended_on(cluster.state.node(&name("n")).unwrap()).unwrap();
    assert_eq!(ended, until, "a lease that ends at once cannot be, but would not hurt");
}
