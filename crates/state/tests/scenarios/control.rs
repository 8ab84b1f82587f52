//! Runs that are paused, resumed, and put elsewhere in the queue.

use quorate_state::{
    AttemptPhase, Choice, Command, Exit, Feature, GpuHold, Millis, Placement, PlacementOutcome, Principal, Rejection,
    Reply, Retry, Revision, RunId, RunState, TaskId, TaskSpec, TaskState, Wait,
};

use crate::cluster::{Cluster, id, job, request, task};

const RUN: RunId = RunId(1);

fn pause() -> Command {
    Command::PauseRun { run: RUN, reason: "the disk is full".into() }
}

fn resume() -> Command {
    Command::ResumeRun { run: RUN }
}

fn priority(run: u64, priority: u8) -> Command {
    Command::SetRunPriority { run: RunId(run), priority }
}

/// A node, and a run of these tasks.
fn cluster(tasks: Vec<TaskSpec>) -> Cluster {
    let mut cluster = Cluster::new();
    for feature in Feature::ALL {
        cluster.run(Command::EnableFeature { feature, term: 1 }).unwrap();
    }
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.submit(1, job(tasks)).unwrap();
    cluster
}

/// What a plan that was made before the pause gets for an answer.
fn offer(cluster: &mut Cluster, task: TaskId) -> PlacementOutcome {
    let node = cluster.state.node(&"n".parse().unwrap()).unwrap().clone();
    let generation = cluster.state.task(task).unwrap().generation;
    let placement = Placement {
        choice: Choice::FIRST,
        gpus: GpuHold::NONE,
        task,
        generation,
        node: node.name.clone(),
        epoch: node.epoch,
    };
    match cluster.run(Command::CommitPlan { placements: vec![placement] }).unwrap() {
        Reply::PlanCommitted(outcomes) => outcomes.into_iter().next().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn queue(cluster: &Cluster) -> Vec<TaskId> {
    cluster.state.ready().map(|place| place.task).collect()
}

#[test]
fn nothing_of_a_paused_run_is_placed_and_what_runs_goes_on() {
    let mut cluster = cluster(vec![task("a", &[]), task("b", &[]), task("c", &["a"])]);
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    assert_eq!(cluster.run(pause()), Ok(Reply::Controlled { revision: Revision(cluster.revision) }));
    assert_eq!(queue(&cluster), []);
    assert_eq!((cluster.state.ready_count(), cluster.state.run_counts(RUN).ready), (0, 1), "it is ready all the same");
    let stale = PlacementOutcome::Refused(Box::new(Rejection::Stale("the run is paused")));
    assert_eq!(offer(&mut cluster, id(1)), stale);

    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(0)));
    assert_eq!(cluster.task(id(0)), TaskState::Succeeded);
    // Its dependents become ready, and wait with the others.
    assert_eq!(cluster.run(Command::AdvanceStep { run: RUN, step: 2, limit: 9 }), Ok(Reply::Counted(1)));
    assert_eq!((cluster.task(id(2)), queue(&cluster)), (TaskState::Ready, vec![]));

    cluster.run(resume()).unwrap();
    assert_eq!(queue(&cluster), [id(1), id(2)]);
    cluster.place(id(1), "n");
}

#[test]
fn a_pause_says_who_and_why_and_since_when() {
    let mut cluster = cluster(vec![task("a", &[])]);
    cluster.run(pause()).unwrap();
    let row = cluster.state.run(RUN).unwrap().paused.clone().unwrap();
    assert_eq!((&row.by, row.at, &*row.reason), (&Principal::anonymous_local(), Millis(1_000_000), "the disk is full"));
    cluster.elapsed += 5_000;
    cluster.run(Command::PauseRun { run: RUN, reason: "it still is".into() }).unwrap();
    let row = cluster.state.run(RUN).unwrap().paused.clone().unwrap();
    assert_eq!((row.at, &*row.reason), (Millis(1_000_000), "it still is"), "it is the same pause");
    let long = Command::PauseRun { run: RUN, reason: "x".repeat(4_097).into() };
    assert!(matches!(cluster.run(long), Err(Rejection::Invalid(_))));
}

#[test]
fn a_delay_goes_on_while_its_run_is_paused() {
    let retry = Retry { attempts: 2, first_ms: 1_000, jitter_milli: 0, ..Retry::default() };
    let mut cluster = cluster(vec![TaskSpec { retry, ..task("a", &[]) }]);
    cluster.place(id(0), "n");
    cluster.run(pause()).unwrap();
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(1)));
    let TaskState::Waiting(Wait::Backoff { until }) = cluster.task(id(0)) else { panic!("{:?}", cluster.task(id(0))) };
    cluster.pass(1_000);
    assert_eq!((cluster.task(id(0)), cluster.state.meta().served, queue(&cluster)), (TaskState::Ready, until, vec![]));
    cluster.run(resume()).unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(0)));
    assert_eq!(cluster.run(Command::FinishRun { run: RUN }), Ok(Reply::Counted(1)));
}

#[test]
fn a_paused_run_is_cancelled_and_ends() {
    let mut cluster = cluster(vec![task("a", &[])]);
    cluster.run(pause()).unwrap();
    cluster.run(Command::CancelRun { run: RUN }).unwrap();
    assert_eq!(cluster.run(resume()), Err(Rejection::RunOver(RUN)));
    assert_eq!(cluster.run(Command::AdvanceStep { run: RUN, step: 0, limit: 9 }), Ok(Reply::Counted(1)));
    cluster.run(Command::FinishRun { run: RUN }).unwrap();
    let row = cluster.state.run(RUN).unwrap();
    assert_eq!((row.state, row.paused.is_some()), (RunState::Cancelled, false));
    assert_eq!(cluster.run(pause()), Err(Rejection::RunOver(RUN)));
    assert_eq!(cluster.run(priority(1, 7)), Err(Rejection::RunOver(RUN)));
    assert_eq!(cluster.run(priority(9, 7)), Err(Rejection::UnknownRun(RunId(9))));
}

#[test]
fn a_run_that_has_nothing_left_ends_although_it_is_paused() {
    let mut cluster = cluster(vec![task("a", &[])]);
    cluster.place(id(0), "n");
    cluster.run(pause()).unwrap();
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(0)));
    cluster.run(Command::FinishRun { run: RUN }).unwrap();
    assert_eq!(cluster.state.run(RUN).unwrap().state, RunState::Succeeded);
}

/// What is said again late must not take back what was said since.
#[test]
fn a_pause_that_is_repeated_after_the_resume_changes_nothing() {
    let mut cluster = cluster(vec![task("a", &[])]);
    let first = cluster.run_as(request("p", 1), pause());
    cluster.run(resume()).unwrap();
    assert_eq!(cluster.run_as(request("p", 1), pause()), first);
    assert!(cluster.state.run(RUN).unwrap().paused.is_none());
    cluster.run(resume()).unwrap();
    assert_eq!(cluster.changes, 1, "nothing was paused");
}

/// However many wait: one row is written, and no task moves.
#[test]
fn a_pause_and_another_priority_write_one_row() {
    let mut cluster =
        cluster(vec![TaskSpec { count: 5_000, ..task("a", &[]) }, TaskSpec { count: 5_000, ..task("b", &[]) }]);
    for command in [pause(), priority(1, 99), resume(), priority(1, 3)] {
        cluster.run(command).unwrap();
        assert_eq!(cluster.changes, 2, "the run, and the one row about the whole");
    }
    assert_eq!(cluster.state.ready_count(), 10_000);
}

#[test]
fn another_priority_puts_what_waits_elsewhere_and_leaves_what_runs() {
    let mut cluster = cluster(vec![task("a", &[]), task("b", &[])]);
    cluster.submit(2, job(vec![task("a", &[])])).unwrap();
    let other = TaskId { run: RunId(2), step: 0, index: 0 };
    cluster.place(id(0), "n");
    assert_eq!(queue(&cluster), [id(1), other]);
    cluster.run(priority(2, 51)).unwrap();
    assert_eq!(queue(&cluster), [other, id(1)]);
    assert_eq!(cluster.task(id(0)), TaskState::Placed);
    // As its job has it, a run is back at its place in the order of submits.
    cluster.run(priority(2, 50)).unwrap();
    assert_eq!(queue(&cluster), [id(1), other]);
    // While it is paused as well.
    cluster.run(pause()).unwrap();
    cluster.run(priority(1, 0)).unwrap();
    cluster.run(resume()).unwrap();
    assert_eq!(queue(&cluster), [other, id(1)]);
    assert!(matches!(cluster.run(priority(1, 101)), Err(Rejection::Invalid(_))));
}

#[test]
fn nothing_is_controlled_before_every_replica_can() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    for command in [pause(), resume(), priority(1, 7)] {
        assert_eq!(cluster.run(command), Err(Rejection::FeatureNotEnabled(Feature::RunControl)));
    }
}

#[test]
fn many_are_cancelled_at_once_and_what_cannot_be_is_passed_over() {
    let mut cluster = cluster(vec![task("a", &[])]);
    for run in 2..5 {
        cluster.submit(run, job(vec![task("a", &[])])).unwrap();
    }
    cluster.run(Command::CancelRun { run: RunId(2) }).unwrap();
    let runs = [1, 2, 3, 9].map(RunId).into();
    assert_eq!(cluster.run(Command::CancelRuns { runs }), Ok(Reply::Counted(2)));
    let open = (1..5).filter(|run| !cluster.state.run(RunId(*run)).unwrap().cancelling).collect::<Vec<_>>();
    assert_eq!(open, [4]);
}
