//! What processes say of their ends: kept byte for byte, by the current token alone, and never when it is too large.

use std::sync::Arc;

use quorate_state::{
    Attempt, AttemptId, AttemptPhase, AttemptReport, AttemptState, Command, Exit, FailReason, Feature, Outcome,
    RESULT_TOO_LARGE, Rejection, Reply, ReportOutcome, Retry, TaskSpec, TaskState, Usage, Wait,
};

use crate::cluster::{Cluster, id, job, task};

fn result(text: &str) -> Outcome {
    Outcome::Result(text.as_bytes().into())
}

fn error(text: &str) -> Outcome {
    Outcome::Error(text.parse().unwrap())
}

/// An agent's word for the end of an attempt of the first task, as the node that has it says it.
fn ended(cluster: &Cluster, number: u32, exit: Exit, outcome: Outcome) -> Command {
    let attempt = cluster.state.attempt(AttemptId { task: id(0), number }).unwrap();
    let report = AttemptReport {
        attempt: attempt.id,
        token: attempt.token,
        phase: AttemptPhase::Ended,
        gone: true,
        exit: Some(exit),
        message: None,
        usage: Usage::default(),
        stopped: attempt.stop.is_some(),
        outcome: Some(Arc::new(outcome)),
        silent: false,
        payloads: None,
    };
    let node = cluster.state.node(&attempt.node).unwrap();
    Command::ReportAttempts { node: node.name.clone(), epoch: node.epoch, reports: vec![report] }
}

/// A cluster whose first task runs, with two nodes.
fn running(spec: TaskSpec) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.enable(Feature::TaskOutcomes);
    cluster.submit(1, job(vec![spec])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.register("m", 2, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster
}

fn outcome(attempt: &Attempt) -> Option<Outcome> {
    attempt.outcome.as_deref().cloned()
}

#[test]
fn a_result_is_kept_as_it_was_written_and_an_error_fails_the_attempt() {
    let mut cluster = running(task("a", &[]));
    let said = result("{\"b\" : 1.0}");
    cluster.run(ended(&cluster, 1, Exit::Code(0), said.clone())).unwrap();
    assert_eq!((cluster.task(id(0)), outcome(&cluster.attempt(id(0)))), (TaskState::Succeeded, Some(said)));

    let mut cluster = running(task("a", &[]));
    cluster.run(ended(&cluster, 1, Exit::Code(0), error("BadInput"))).unwrap();
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::Failed));
    assert_eq!(outcome(&cluster.attempt(id(0))), Some(error("BadInput")));
}

#[test]
fn what_failed_has_no_result() {
    let mut cluster = running(task("a", &[]));
    cluster.run(ended(&cluster, 1, Exit::Code(1), result("1"))).unwrap();
    assert_eq!((cluster.attempt(id(0)).state, outcome(&cluster.attempt(id(0)))), (AttemptState::Failed, None));
}

#[test]
fn a_result_over_the_limit_fails_the_attempt_and_is_not_kept() {
    let mut cluster = running(task("a", &[]));
    let max = cluster.state.settings().unwrap().result_bytes_max as usize;
    cluster.run(ended(&cluster, 1, Exit::Code(0), result(&"1".repeat(max + 1)))).unwrap();
    let attempt = cluster.attempt(id(0));
    assert_eq!((attempt.state, outcome(&attempt)), (AttemptState::Failed, Some(error(RESULT_TOO_LARGE))));
    assert_eq!(attempt.message.as_deref(), Some("its result has 8193 bytes, result_bytes_max is 8192"));

    let mut cluster = running(task("a", &[]));
    cluster.run(ended(&cluster, 1, Exit::Code(0), result(&"1".repeat(max)))).unwrap();
    assert_eq!(cluster.task(id(0)), TaskState::Succeeded);
}

#[test]
fn the_word_of_a_copy_that_was_replaced_is_not_kept() {
    let mut cluster = running(TaskSpec { retry: Retry { attempts: 2, ..Retry::default() }, ..task("a", &[]) });
    let late = ended(&cluster, 1, Exit::Code(0), result("\"old\""));
    cluster.expire("n");
    cluster.place(id(0), "m");
    cluster.return_of("n", cluster.revision, vec![cluster.claim(AttemptId { task: id(0), number: 1 })]);
    let Command::ReportAttempts { node, reports, .. } = late else { panic!("a report") };
    let epoch = cluster.state.node(&node).unwrap().epoch;
    let late = Command::ReportAttempts { node, epoch, reports };
    assert_eq!(cluster.run(late), Ok(Reply::Reported(vec![ReportOutcome::Accepted])), "it is gone, which is news");
    let old = cluster.state.attempt(AttemptId { task: id(0), number: 1 }).unwrap();
    assert_eq!((old.state, old.gone, outcome(old)), (AttemptState::Lost, true, None));
    cluster.run(ended(&cluster, 2, Exit::Code(0), result("\"new\""))).unwrap();
    assert_eq!(outcome(&cluster.attempt(id(0))), Some(result("\"new\"")));
}

#[test]
fn told_twice_the_first_word_stands() {
    let mut cluster = running(task("a", &[]));
    cluster.run(ended(&cluster, 1, Exit::Code(0), result("1"))).unwrap();
    for other in [result("2"), error("Late")] {
        cluster.run(ended(&cluster, 1, Exit::Code(0), other)).unwrap();
        assert_eq!(outcome(&cluster.attempt(id(0))), Some(result("1")));
    }
}

#[test]
fn an_error_type_of_never_is_final_and_another_is_tried_again() {
    let retry = Retry { attempts: 3, never_errors: vec!["BadInput".parse().unwrap()], ..Retry::default() };
    let mut cluster = running(TaskSpec { retry, ..task("a", &[]) });
    cluster.run(ended(&cluster, 1, Exit::Code(1), error("Busy"))).unwrap();
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Backoff { .. })));
    cluster.pass(10_000);
    cluster.place(id(0), "n");
    cluster.run(ended(&cluster, 2, Exit::Code(1), error("BadInput"))).unwrap();
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::Failed));
}

#[test]
fn nothing_is_said_before_the_feature_is_enabled() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.state.settings().unwrap().result_bytes_max, 0);
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    let early = ended(&cluster, 1, Exit::Code(0), result("1"));
    assert_eq!(cluster.run(early.clone()), Err(Rejection::FeatureNotEnabled(Feature::TaskOutcomes)));
    cluster.enable(Feature::TaskOutcomes);
    cluster.run(early).unwrap();
    assert_eq!(outcome(&cluster.attempt(id(0))), Some(result("1")));
}
