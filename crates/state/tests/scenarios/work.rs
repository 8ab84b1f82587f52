//! Submits, tries, timeouts and cancels.

use std::sync::Arc;

use quorate_state::{
    AttemptPhase, AttemptReport, AttemptState, Command, Digest, Entry, Exit, FailReason, Feature, Item, JobSpec,
    Millis, OnNodeLoss, Principal, Rejection, Reply, Resources, Retry, Revision, RunId, RunState, Settings, Stamp,
    State, StopReason, TaskId, TaskSpec, TaskState, Timer, Usage, Uuid, Wait, apply,
};

use crate::cluster::{Cluster, id, job, request, task};

#[test]
fn the_same_request_twice_is_one_run_and_another_body_is_refused() {
    let mut cluster = Cluster::new();
    let submit = |run| Command::SubmitJob {
        run: RunId(run),
        spec: Arc::new(job(vec![task("a", &[])])),
        spec_digest: Digest([1; 32]),
    };
    let first = cluster.run_as(request("r", 1), submit(1)).unwrap();
    assert_eq!(cluster.run_as(request("r", 1), submit(2)), Ok(first));
    assert_eq!(cluster.state.runs_newest_first(None).count(), 1);
    assert!(matches!(cluster.run_as(request("r", 2), submit(3)), Err(Rejection::RequestIdReused { .. })));
    // Forgotten by served time, not before.
    cluster.pass(60_001);
    assert!(matches!(cluster.run_as(request("r", 2), submit(4)), Ok(Reply::Submitted { run: RunId(4), .. })));
}

#[test]
fn a_refused_command_leaves_nothing_behind() {
    let mut cluster = Cluster::new();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    // The new cluster's row is made before the name turns out to be taken.
    assert!(matches!(cluster.register("n", 2, "us", "us-a"), Err(Rejection::NodeNameTaken { .. })));
    assert!(cluster.state.cluster(&"us-a".parse().unwrap()).is_none());
    assert_eq!(cluster.changes, 1, "only the meta row may change");
}

#[test]
fn a_failed_try_waits_out_its_backoff_and_an_exit_code_of_never_is_final() {
    let mut cluster = Cluster::new();
    let retry = Retry { attempts: 3, first_ms: 1_000, jitter_milli: 0, never: vec![64], ..Retry::default() };
    let tasks = vec![TaskSpec { retry, ..task("a", &[]) }, task("b", &["a"])];
    cluster.submit(1, job(tasks)).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(1)));
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Backoff { .. })));
    cluster.pass(999);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Backoff { .. })));
    cluster.pass(1);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(64)));
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::Failed));
    // Its dependent is skipped and the run fails.
    assert_eq!(cluster.state.steps_to_advance().collect::<Vec<_>>(), [(RunId(1), 1)]);
    cluster.run(Command::AdvanceStep { run: RunId(1), step: 1, limit: 10 }).unwrap();
    assert_eq!(cluster.task(id(1)), TaskState::Skipped);
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.state.run(RunId(1)).unwrap().state, RunState::Failed);
}

#[test]
fn a_run_timeout_stops_the_attempt_and_counts_as_a_try() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![TaskSpec { run_timeout_ms: Some(5_000), ..task("a", &[]) }])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.pass(4_999);
    assert_eq!(cluster.state.timers().count(), 1);
    cluster.pass(1);
    assert_eq!(cluster.state.timers().count(), 0, "a timeout fires once");
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Signal(15)));
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::TimedOut));
}

/// A cluster whose replicas know all timeouts.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.enable(Feature::TaskOutcomes);
    cluster
}

#[test]
fn a_task_that_nobody_can_place_fails_after_its_time_in_the_queue_and_only_then() {
    let mut cluster = cluster();
    let tasks = vec![TaskSpec { queued_timeout_ms: Some(5_000), ..task("a", &[]) }, task("b", &["a"])];
    cluster.submit(1, job(tasks)).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.pass(4_000);
    cluster.place(id(0), "n");
    assert_eq!(cluster.state.timers().count(), 0, "it has found its place");
    cluster.report_gone(id(0), AttemptPhase::Lost, None, true);
    cluster.pass(4_999);
    assert_eq!(cluster.task(id(0)), TaskState::Ready, "each time in the queue counts for itself");
    cluster.pass(1);
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::Queued));
    assert_eq!((cluster.state.timers().count(), cluster.state.ready_count()), (0, 0));
    cluster.run(Command::AdvanceStep { run: RunId(1), step: 1, limit: 10 }).unwrap();
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.state.run(RunId(1)).unwrap().state, RunState::Failed);
}

#[test]
fn time_in_the_queue_stands_still_while_nobody_leads() {
    let mut cluster = cluster();
    cluster.submit(1, job(vec![TaskSpec { queued_timeout_ms: Some(5_000), ..task("a", &[]) }])).unwrap();
    let timers: Vec<Timer> = cluster.state.timers().collect();
    let stamp = Stamp { wall: Millis(99_000_000), term: 2, elapsed_ms: 4_999 };
    let principal = Principal::anonymous_local();
    let items = vec![Item { principal, request: None, command: Command::FireTimers { timers: timers.clone() } }];
    let applied = apply(&cluster.state, Revision(100), &Entry { stamp, items });
    assert_eq!((&applied.replies[..], applied.next.ready_count()), (&[Ok(Reply::Counted(0))][..], 1));
    assert_eq!(applied.next.timers().collect::<Vec<_>>(), timers, "the next leader has it too");
}

#[test]
fn a_run_that_takes_too_long_is_cancelled_and_has_failed() {
    let mut cluster = cluster();
    let spec = JobSpec { timeout_ms: Some(60_000), ..job(vec![task("a", &[]), task("b", &["a"])]) };
    cluster.submit(1, spec.clone()).unwrap();
    cluster.submit(2, spec).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.run(Command::CancelRun { run: RunId(2) }).unwrap();
    cluster.pass(59_999);
    assert!(!cluster.state.run(RunId(1)).unwrap().cancelling);
    cluster.pass(1);
    let run = cluster.state.run(RunId(1)).unwrap();
    assert!(run.cancelling && run.timed_out);
    assert!(!cluster.state.run(RunId(2)).unwrap().timed_out, "somebody was faster");
    assert_eq!(cluster.state.timers().count(), 0, "a timeout fires once");
    for step in [0, 1] {
        cluster.run(Command::AdvanceStep { run: RunId(1), step, limit: 10 }).unwrap();
    }
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Signal(15)));
    assert_eq!(cluster.task(id(0)), TaskState::Cancelled);
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.state.run(RunId(1)).unwrap().state, RunState::Failed);
}

#[test]
fn a_run_that_succeeds_while_it_is_ended_for_its_timeout_has_succeeded() {
    let mut cluster = cluster();
    cluster.submit(1, JobSpec { timeout_ms: Some(60_000), ..job(vec![task("a", &[])]) }).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.pass(60_000);
    assert!(cluster.state.run(RunId(1)).unwrap().timed_out);
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(0)));
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    let run = cluster.state.run(RunId(1)).unwrap();
    assert_eq!((run.state, run.timed_out), (RunState::Succeeded, false));
}

#[test]
fn a_run_of_which_nothing_is_left_does_not_time_out() {
    let mut cluster = cluster();
    cluster.submit(1, JobSpec { timeout_ms: Some(60_000), ..job(vec![task("a", &[])]) }).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(0)));
    cluster.pass(60_000);
    assert!(!cluster.state.run(RunId(1)).unwrap().cancelling);
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.state.run(RunId(1)).unwrap().state, RunState::Succeeded);
}

#[test]
fn an_attempt_that_says_nothing_for_too_long_is_stopped_once_and_counts_as_a_try() {
    let mut cluster = cluster();
    let retry = Retry { attempts: 2, first_ms: 100, ..Retry::default() };
    let quiet = TaskSpec { silent_timeout_ms: Some(20_000), retry, ..task("a", &[]) };
    cluster.submit(1, job(vec![quiet])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    for tries in 1..=2 {
        cluster.place(id(0), "n");
        cluster.report(id(0), AttemptPhase::Running, None);
        cluster.say_silent(id(0));
        let row = cluster.attempt(id(0));
        assert_eq!((row.state, row.stop), (AttemptState::Running, Some(StopReason::Silent)));
        cluster.say_silent(id(0));
        assert_eq!(cluster.attempt(id(0)), row, "its agent repeats itself");
        cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Signal(15)));
        assert_eq!(cluster.attempt(id(0)).state, AttemptState::TimedOut);
        assert_eq!(cluster.state.task(id(0)).unwrap().tries, tries);
        cluster.pass(1_000);
    }
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::Silent));
}

#[test]
fn silence_ends_nothing_that_may_be_silent_or_is_to_end_anyway() {
    let mut cluster = cluster();
    let quiet = TaskSpec { silent_timeout_ms: Some(20_000), ..task("b", &[]) };
    cluster.submit(1, job(vec![task("a", &[]), quiet])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let other = TaskId { step: 1, ..id(0) };
    for one in [id(0), other] {
        cluster.place(one, "n");
        cluster.report(one, AttemptPhase::Running, None);
    }
    cluster.say_silent(id(0));
    assert_eq!(cluster.attempt(id(0)).stop, None, "its job does not mind");
    cluster.run(Command::CancelRun { run: RunId(1) }).unwrap();
    cluster.run(Command::AdvanceStep { run: RunId(1), step: 1, limit: 10 }).unwrap();
    cluster.say_silent(other);
    assert_eq!(cluster.attempt(other).stop, Some(StopReason::Cancelled), "the first reason counts");
}

#[test]
fn bad_specs_are_refused_whole_with_every_violation() {
    let mut cluster = Cluster::new();
    let cases: Vec<(&str, JobSpec, &str)> = vec![
        ("no tasks", job(vec![]), "at least one task"),
        ("cycle", job(vec![task("a", &["c"]), task("b", &["a"]), task("c", &["b"])]), "needs form a cycle"),
        ("missing need", job(vec![task("a", &["zz"])]), "no task is called"),
        ("self", job(vec![task("a", &["a"])]), "cannot need itself"),
        ("twice", job(vec![task("a", &[]), task("a", &[])]), "another task has this name"),
        ("count", job(vec![TaskSpec { count: u32::MAX, ..task("a", &[]) }]), "tasks_per_run_max"),
        ("no program", job(vec![TaskSpec { argv: vec![], ..task("a", &[]) }]), "a program is needed"),
        ("NUL", job(vec![TaskSpec { argv: vec!["a\0b".into()], ..task("a", &[]) }]), "NUL byte"),
        (
            "absurd",
            job(vec![TaskSpec {
                resources: Resources { cpu_milli: u64::MAX, memory_bytes: u64::MAX, gpu_milli: 0 },
                ..task("a", &[])
            }]),
            "over the limit",
        ),
        (
            "at_most_once with retries",
            job(vec![TaskSpec {
                on_node_loss: OnNodeLoss::AtMostOnce,
                retry: Retry { attempts: 2, ..Retry::default() },
                ..task("a", &[])
            }]),
            "started once",
        ),
        ("namespace", JobSpec { namespace: "nobody".parse().unwrap(), ..job(vec![task("a", &[])]) }, "does not exist"),
    ];
    for (name, spec, expected) in cases {
        let error = cluster.submit(1, spec).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(cluster.changes, 1, "{name} changed something");
    }
    let both = job(vec![task("a", &["x"]), TaskSpec { count: 0, ..task("b", &[]) }]);
    let Err(Rejection::Invalid(violations)) = cluster.submit(1, both) else { panic!("accepted") };
    assert_eq!(violations.len(), 2);
}

#[test]
fn a_cycle_is_named_task_by_task() {
    let mut cluster = Cluster::new();
    let tasks =
        vec![task("free", &[]), task("behind", &["b"]), task("a", &["b"]), task("b", &["c"]), task("c", &["a"])];
    let Err(Rejection::Invalid(violations)) = cluster.submit(1, job(tasks)) else { panic!("accepted") };
    assert_eq!(violations[0].message, "needs form a cycle: b -> c -> a -> b");
}

#[test]
fn served_time_stands_still_between_terms() {
    let mut cluster = Cluster::new();
    cluster.elapsed = 5_000;
    cluster.run(Command::FireTimers { timers: vec![] }).unwrap();
    assert_eq!(cluster.state.meta().served.0, 5_000);
    let stamp = Stamp { wall: Millis(99_000_000), term: 2, elapsed_ms: 3 };
    let applied = apply(&cluster.state, Revision(100), &Entry { stamp, items: vec![] });
    assert_eq!(applied.next.meta().served.0, 5_003, "a wall clock that jumps ahead ages no timeout");
    assert_eq!(applied.next.meta().now.0, 99_000_000);
    let stamp = Stamp { wall: Millis(5), term: 2, elapsed_ms: 1 };
    let applied = apply(&applied.next, Revision(101), &Entry { stamp, items: vec![] });
    assert_eq!((applied.next.meta().served.0, applied.next.meta().now.0), (5_003, 99_000_000), "time never goes back");
}

#[test]
fn a_cancel_gets_through_when_the_table_of_requests_is_full() {
    let mut cluster = Cluster { state: State::default(), revision: 0, elapsed: 0, changes: 0, events: Vec::new() };
    let settings = Box::new(Settings { requests_max: 1, ..Settings::default() });
    cluster.run(Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings }).unwrap();
    cluster.run(Command::CreateNamespace { namespace: "acme".parse().unwrap() }).unwrap();
    let submit = |run| Command::SubmitJob {
        run: RunId(run),
        spec: Arc::new(job(vec![task("a", &[])])),
        spec_digest: Digest([1; 32]),
    };
    cluster.run_as(request("a", 1), submit(1)).unwrap();
    assert!(matches!(cluster.run_as(request("b", 1), submit(2)), Err(Rejection::LimitReached { .. })));
    cluster.run_as(request("c", 1), Command::CancelRun { run: RunId(1) }).unwrap();
    assert!(cluster.state.run(RunId(1)).unwrap().cancelling);
}

#[test]
fn a_task_that_ended_by_itself_before_it_heard_of_its_timeout_succeeded() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![TaskSpec { run_timeout_ms: Some(5_000), ..task("a", &[]) }])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.pass(5_000);
    let row = cluster.attempt(id(0));
    assert_eq!(row.stop, Some(StopReason::TimedOut));
    let node = cluster.state.node(&row.node).unwrap().clone();
    let report = AttemptReport {
        attempt: row.id,
        token: row.token,
        phase: AttemptPhase::Ended,
        gone: true,
        exit: Some(Exit::Code(0)),
        message: None,
        usage: Usage::default(),
        stopped: false,
        outcome: None,
        silent: false,
        payloads: None,
    };
    cluster.run(Command::ReportAttempts { node: node.name.clone(), epoch: node.epoch, reports: vec![report] }).unwrap();
    assert_eq!(cluster.task(id(0)), TaskState::Succeeded);
}

#[test]
fn every_unfinished_run_lies_somewhere_between_the_first_and_the_last() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.state.unfinished_run_at(7), None);
    let runs = [1, 5, u64::MAX];
    for run in runs {
        cluster.submit(run, job(vec![task("a", &[])])).unwrap();
    }
    let found = [0, 2, u64::MAX].map(|at| cluster.state.unfinished_run_at(at));
    assert_eq!(found, runs.map(|run| Some(RunId(run))));
    assert_eq!(cluster.state.unfinished_run_at(u64::MAX / 2), Some(RunId(u64::MAX)));
}
