//! Data that tasks leave behind: kept with the attempt that succeeded, by the current token alone, and still there for a run
//! that is tried again.

use std::sync::Arc;

use quorate_state::{
    AttemptId, AttemptPhase, AttemptReport, AttemptState, Command, Exit, Feature, Outcome, Payload, Payloads,
    RESULT_TOO_LARGE, Rejection, Reply, ReportOutcome, Retry, RunId, RunState, TaskId, TaskSpec, TaskState, Usage,
};

use crate::cluster::{Cluster, id, job, task};
use crate::flow::{World, drive, ended as run_end, submit};

fn left(uri: &str) -> Payloads {
    let mut payloads = Payloads::default();
    payloads.put("model".parse().unwrap(), Payload::new(uri, Some(7), None).unwrap()).unwrap();
    payloads
}

/// An agent's word for the end of an attempt, as the node that has it says it.
fn ended(cluster: &Cluster, attempt: AttemptId, exit: i32, outcome: Option<Outcome>, uri: &str) -> Command {
    let attempt = cluster.state.attempt(attempt).unwrap();
    let report = AttemptReport {
        attempt: attempt.id,
        token: attempt.token,
        phase: AttemptPhase::Ended,
        gone: true,
        exit: Some(Exit::Code(exit)),
        message: None,
        usage: Usage::default(),
        stopped: attempt.stop.is_some(),
        outcome: outcome.map(Arc::new),
        silent: false,
        payloads: left(uri).kept(),
    };
    let node = cluster.state.node(&attempt.node).unwrap();
    Command::ReportAttempts { node: node.name.clone(), epoch: node.epoch, reports: vec![report] }
}

fn first(number: u32) -> AttemptId {
    AttemptId { task: id(0), number }
}

/// A cluster whose first task runs, with two nodes.
fn running(spec: TaskSpec) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.enable(Feature::TaskOutcomes);
    cluster.enable(Feature::PayloadRefs);
    cluster.submit(1, job(vec![spec])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.register("m", 2, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster
}

fn payloads(cluster: &Cluster, number: u32) -> Option<Payloads> {
    cluster.state.attempt(first(number)).unwrap().payloads.as_deref().cloned()
}

#[test]
fn what_succeeds_keeps_what_it_left() {
    let mut cluster = running(task("a", &[]));
    assert_eq!(cluster.state.payloads(id(0)), None, "it has not ended");
    let result = Outcome::Result(b"1".as_slice().into());
    cluster.run(ended(&cluster, first(1), 0, Some(result), "s3://b/k")).unwrap();
    assert_eq!((cluster.task(id(0)), payloads(&cluster, 1)), (TaskState::Succeeded, Some(left("s3://b/k"))));
    assert_eq!(cluster.state.payloads(id(0)), Some(&left("s3://b/k")));
    assert_eq!(cluster.state.result(id(0)).map(|result| &**result), Some(b"1".as_slice()));
    // Told once more, the first word stands.
    cluster.run(ended(&cluster, first(1), 0, None, "s3://b/other")).unwrap();
    assert_eq!(payloads(&cluster, 1), Some(left("s3://b/k")));
}

#[test]
fn what_leaves_nothing_is_told_from_what_has_not_succeeded() {
    let mut cluster = running(task("a", &[]));
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(0)));
    assert_eq!((payloads(&cluster, 1), cluster.state.payloads(id(0))), (None, Some(Payloads::none())));
}

#[test]
fn what_does_not_succeed_leaves_nothing() {
    let too_large = Outcome::Result(vec![b'1'; 8_193].into());
    for (exit, outcome) in [(1, None), (0, Some(Outcome::Error("Bad".parse().unwrap()))), (0, Some(too_large))] {
        let mut cluster = running(task("a", &[]));
        cluster.run(ended(&cluster, first(1), exit, outcome, "s3://b/k")).unwrap();
        assert_eq!((cluster.attempt(id(0)).state, payloads(&cluster, 1)), (AttemptState::Failed, None));
        assert_eq!(cluster.state.payloads(id(0)), None);
    }
}

#[test]
fn a_result_that_is_too_large_is_told_where_it_belongs() {
    let mut cluster = running(task("a", &[]));
    let too_large = Outcome::Result(vec![b'1'; 8_193].into());
    cluster.run(ended(&cluster, first(1), 0, Some(too_large), "s3://b/k")).unwrap();
    let attempt = cluster.attempt(id(0));
    assert_eq!(attempt.outcome.as_deref(), Some(&Outcome::Error(RESULT_TOO_LARGE.parse().unwrap())));
    assert_eq!(
        attempt.message.as_deref(),
        Some(
            "its result has 8193 bytes, result_bytes_max is 8192: put the data where tasks can reach it, and report it with `payload`"
        )
    );
}

#[test]
fn a_copy_that_was_replaced_leaves_nothing() {
    let mut cluster = running(TaskSpec { retry: Retry { attempts: 2, ..Retry::default() }, ..task("a", &[]) });
    let late = ended(&cluster, first(1), 0, None, "s3://b/old");
    cluster.expire("n");
    cluster.place(id(0), "m");
    cluster.return_of("n", cluster.revision, vec![cluster.claim(first(1))]);
    let Command::ReportAttempts { node, reports, .. } = late else { panic!("a report") };
    let epoch = cluster.state.node(&node).unwrap().epoch;
    let late = Command::ReportAttempts { node: node.clone(), epoch, reports: reports.clone() };
    assert_eq!(cluster.run(late), Ok(Reply::Reported(vec![ReportOutcome::Accepted])), "it is gone, which is news");
    assert_eq!((cluster.attempt(id(0)).id.number, payloads(&cluster, 1)), (2, None));
    // The same with the number of the newer one, and the token of the older.
    let forged = AttemptReport { attempt: first(2), ..reports[0].clone() };
    let forged = Command::ReportAttempts { node, epoch, reports: vec![forged] };
    assert_eq!(cluster.run(forged), Ok(Reply::Reported(vec![ReportOutcome::Refused])));
    assert_eq!(payloads(&cluster, 2), None);
    cluster.run(ended(&cluster, first(2), 0, None, "s3://b/new")).unwrap();
    assert_eq!(cluster.state.payloads(id(0)), Some(&left("s3://b/new")));
}

#[test]
fn nothing_is_left_before_the_feature_is_enabled() {
    let mut cluster = Cluster::new();
    cluster.enable(Feature::TaskOutcomes);
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    let early = ended(&cluster, first(1), 0, None, "s3://b/k");
    assert_eq!(cluster.run(early.clone()), Err(Rejection::FeatureNotEnabled(Feature::PayloadRefs)));
    cluster.enable(Feature::PayloadRefs);
    cluster.run(early).unwrap();
    assert_eq!(payloads(&cluster, 1), Some(left("s3://b/k")));
}

/// Also of a task that is kept for the second time, and of each element of a step.
#[test]
fn what_a_restart_keeps_has_left_what_it_left_before() {
    let mut cluster = crate::flow::cluster();
    let node = cluster.state.nodes().next().unwrap().name.to_string();
    let many = TaskSpec { count: 2, ..task("many", &[]) };
    submit(&mut cluster, job(vec![many, task("b", &["many"])])).unwrap();
    let of = |run: u64, index: u32| TaskId { run: RunId(run), step: 0, index };
    for index in 0..2 {
        cluster.place(of(1, index), &node);
        let attempt = AttemptId { task: of(1, index), number: 1 };
        cluster.run(ended(&cluster, attempt, 0, None, &format!("s3://b/{index}"))).unwrap();
    }
    drive(&mut cluster, &World::failing(&[("b", 0)]));
    assert_eq!(run_end(&cluster), RunState::Failed);
    cluster.run(Command::RestartRun { run: RunId(2), of: RunId(1), from: vec![] }).unwrap();
    drive(&mut cluster, &World::failing(&[("b", 0)]));
    cluster.run(Command::RestartRun { run: RunId(3), of: RunId(2), from: vec![] }).unwrap();
    for (run, index) in [(2, 0), (2, 1), (3, 0), (3, 1)] {
        assert!(cluster.state.task(of(run, index)).is_none(), "it is kept");
        assert_eq!(cluster.state.payloads(of(run, index)), Some(&left(&format!("s3://b/{index}"))));
    }
    assert_eq!(cluster.state.payloads(of(3, 2)), None, "there is no such element");
}
