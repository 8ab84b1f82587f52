//! Tasks that are runs of other jobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    AttemptPhase, Change, Choice, Command, Digest, Exit, FailReason, Feature, GpuHold, JobSpec, Placement,
    PlacementOutcome, RUNS_DEEP_MAX, Rejection, Reply, Retry, Role, RunId, RunResult, RunState, Settings, SubRun,
    SubRunStart, TaskId, TaskSpec, TaskState, Wait,
};

use crate::cluster::{Cluster, job, task};
use crate::flow::{cluster, finally, undo};

const PARENT: RunId = RunId(1);

fn at(run: u64, step: u32) -> TaskId {
    TaskId { run: RunId(run), step, index: 0 }
}

/// A task that is a run of `of`, of its newest version.
fn run_of(name: &str, of: &str, needs: &[&str]) -> TaskSpec {
    let sub_run = Some(SubRun { job: of.parse().unwrap(), version: None, args: BTreeMap::new() });
    TaskSpec { argv: Vec::new(), resources: quorate_state::Resources::ZERO, sub_run, ..task(name, needs) }
}

fn named(name: &str, tasks: Vec<TaskSpec>) -> JobSpec {
    JobSpec { name: name.parse().unwrap(), ..job(tasks) }
}

/// A job with a result.
fn telling(name: &str, tasks: Vec<TaskSpec>) -> JobSpec {
    JobSpec { result: BTreeMap::from([("of".into(), "\"${a.result}\"".into())]), ..named(name, tasks) }
}

fn submit(cluster: &mut Cluster, run: u64, spec: JobSpec) -> Result<Reply, Rejection> {
    let digest = Digest([u8::try_from(spec.tasks.len()).unwrap(); 32]);
    let args = "".into();
    cluster.run(Command::SubmitFlow { run: RunId(run), spec: Arc::new(spec), spec_digest: digest, args, version: None })
}

/// Submits a job and ends that run, so that it is known.
fn known(cluster: &mut Cluster, run: u64, spec: JobSpec) {
    submit(cluster, run, spec).unwrap();
    drive(cluster, &[]);
    assert!(cluster.state.run(RunId(run)).unwrap().state.is_terminal());
}

fn start_of(cluster: &Cluster, task: TaskId, run: u64) -> SubRunStart {
    let parent = cluster.state.run(task.run).unwrap();
    let version = cluster.state.sub_run_spec(parent, parent.sub_run(task.step).unwrap()).map_or(0, |spec| spec.version);
    let generation = cluster.state.task(task).unwrap().generation;
    SubRunStart { task, generation, run: RunId(run), version, args: "{\"x\":1}".into() }
}

fn start(cluster: &mut Cluster, task: TaskId, run: u64) -> Result<Reply, Rejection> {
    let start = start_of(cluster, task, run);
    cluster.run(Command::StartSubRun(Box::new(start)))
}

/// What the controllers would do, but for new runs.
fn control(cluster: &mut Cluster) -> bool {
    let mut commands: Vec<Command> = Vec::new();
    for run in cluster.state.runs_to_finish() {
        let owes = cluster.state.owes_result(cluster.state.run(run).unwrap());
        let result = RunResult::Value(Arc::from(&b"{\"of\":7}"[..]));
        commands.push(if owes { Command::ConcludeRun { run, result } } else { Command::FinishRun { run } });
    }
    commands.extend(cluster.state.runs_to_undo().map(|run| Command::UndoNext { run, limit: 100 }));
    commands.extend(cluster.state.steps_to_advance().map(|(run, step)| Command::AdvanceStep { run, step, limit: 3 }));
    let acts = !commands.is_empty();
    for command in commands {
        cluster.run(command).unwrap();
    }
    acts
}

/// Runs all that can run on the node; tasks with these names fail.
fn drive(cluster: &mut Cluster, fails: &[&str]) {
    loop {
        while control(cluster) {}
        let Some(next) = cluster.state.ready().next() else { return };
        let run = cluster.state.run(next.task.run).unwrap();
        let fails = fails.contains(&run.spec.tasks[next.task.step as usize].name.as_str());
        cluster.place(next.task, "n");
        cluster.report(next.task, AttemptPhase::Running, None);
        cluster.report(next.task, AttemptPhase::Ended, Some(Exit::Code(i32::from(fails))));
    }
}

fn state(cluster: &Cluster, run: u64) -> RunState {
    cluster.state.run(RunId(run)).unwrap().state
}

/// A parent of which `sub` is a run of the job "child", which is known.
fn family(child: JobSpec, parent: Vec<TaskSpec>) -> Cluster {
    let mut cluster = cluster();
    known(&mut cluster, 100, child);
    submit(&mut cluster, 1, parent_of(parent)).unwrap();
    while control(&mut cluster) {}
    cluster
}

fn parent_of(tasks: Vec<TaskSpec>) -> JobSpec {
    JobSpec { priority: 70, ..named("parent", tasks) }
}

#[test]
fn a_task_that_is_a_run_succeeds_with_it_and_has_its_result() {
    let child = || telling("child", vec![task("a", &[])]);
    let mut cluster = family(child(), vec![run_of("sub", "child", &[]), task("after", &["sub"])]);
    assert_eq!(cluster.task(at(1, 0)), TaskState::Ready);
    assert_eq!(cluster.state.ready().count(), 0, "no node is looked for");
    assert_eq!(cluster.state.sub_runs_to_start().collect::<Vec<_>>(), [at(1, 0)]);

    start(&mut cluster, at(1, 0), 2).unwrap();
    let child = cluster.state.run(RunId(2)).unwrap().clone();
    assert_eq!((child.parent, child.priority(), &*child.args), (Some(at(1, 0)), 70, "{\"x\":1}"));
    assert_eq!(cluster.task(at(1, 0)), TaskState::Running);
    assert_eq!(state(&cluster, 1), RunState::Running);
    assert_eq!(cluster.state.sub_runs_to_start().count(), 0);

    drive(&mut cluster, &[]);
    assert_eq!((state(&cluster, 1), state(&cluster, 2)), (RunState::Succeeded, RunState::Succeeded));
    assert_eq!(cluster.state.result(at(1, 0)).map(|result| &**result), Some(&b"{\"of\":7}"[..]));
    assert_eq!(cluster.state.task(at(1, 0)).unwrap().tries, 0);
}

#[test]
fn what_was_looked_at_too_long_ago_begins_no_run() {
    let mut cluster = family(named("child", vec![task("a", &[])]), vec![run_of("sub", "child", &[])]);
    let begun = start_of(&cluster, at(1, 0), 2);
    let mut refused = |start: SubRunStart| cluster.run(Command::StartSubRun(Box::new(start))).unwrap_err();
    assert!(matches!(refused(SubRunStart { generation: 9, ..begun.clone() }), Rejection::Stale(_)));
    assert!(matches!(refused(SubRunStart { version: 2, ..begun.clone() }), Rejection::Stale(_)));
    assert_eq!(refused(SubRunStart { run: RunId(100), ..begun.clone() }), Rejection::RunIdTaken(RunId(100)));
    assert!(matches!(refused(SubRunStart { task: at(100, 0), ..begun.clone() }), Rejection::Stale(_)));
    cluster.run(Command::StartSubRun(Box::new(begun.clone()))).unwrap();
    // Another leader that saw the same begins nothing beside it.
    let again = SubRunStart { run: RunId(3), ..begun };
    assert!(matches!(cluster.run(Command::StartSubRun(Box::new(again))), Err(Rejection::Stale(_))));
    assert_eq!(cluster.state.unfinished_count(), 2);
}

#[test]
fn no_node_gets_a_task_that_is_a_run() {
    let mut cluster = family(named("child", vec![task("a", &[])]), vec![run_of("sub", "child", &[])]);
    let node = cluster.state.node(&"n".parse().unwrap()).unwrap().clone();
    let placement = Placement {
        choice: Choice::FIRST,
        gpus: GpuHold::NONE,
        task: at(1, 0),
        generation: 0,
        node: node.name.clone(),
        epoch: node.epoch,
    };
    let reply = cluster.run(Command::CommitPlan { placements: vec![placement] });
    assert!(
        matches!(reply, Ok(Reply::PlanCommitted(outcomes)) if matches!(outcomes[..], [PlacementOutcome::Refused(_)]))
    );
}

#[test]
fn a_run_that_fails_is_followed_by_another_as_often_as_the_task_may_be_tried() {
    let retry = Retry { attempts: 2, first_ms: 1_000, jitter_milli: 0, ..Retry::default() };
    let sub = TaskSpec { retry, ..run_of("sub", "child", &[]) };
    let mut cluster = family(named("child", vec![task("bad", &[])]), vec![sub]);
    start(&mut cluster, at(1, 0), 2).unwrap();
    drive(&mut cluster, &["bad"]);
    assert_eq!(state(&cluster, 2), RunState::Failed);
    assert!(matches!(cluster.task(at(1, 0)), TaskState::Waiting(Wait::Backoff { .. })));
    assert_eq!(cluster.state.sub_runs_to_start().count(), 0);

    cluster.pass(1_000);
    assert_eq!(cluster.state.sub_runs_to_start().collect::<Vec<_>>(), [at(1, 0)]);
    start(&mut cluster, at(1, 0), 3).unwrap();
    assert_eq!(cluster.state.task(at(1, 0)).unwrap().sub_run, Some(RunId(3)));
    drive(&mut cluster, &["bad"]);
    assert_eq!(cluster.task(at(1, 0)), TaskState::Failed(FailReason::Failed));
    assert_eq!(cluster.state.task(at(1, 0)).unwrap().tries, 2);
    assert_eq!(state(&cluster, 1), RunState::Failed);
}

#[test]
fn a_cancel_goes_down_to_the_last_run() {
    let mut cluster = cluster();
    known(&mut cluster, 100, named("leaf", vec![task("a", &[])]));
    submit(&mut cluster, 101, named("middle", vec![run_of("sub", "leaf", &[]), finally("tidy", &[])])).unwrap();
    cluster.run(Command::AbandonRun { run: RunId(101) }).unwrap();
    while control(&mut cluster) {}
    submit(&mut cluster, 1, parent_of(vec![run_of("sub", "middle", &[])])).unwrap();
    start(&mut cluster, at(1, 0), 2).unwrap();
    start(&mut cluster, at(2, 0), 3).unwrap();
    cluster.place(at(3, 0), "n");
    cluster.report(at(3, 0), AttemptPhase::Running, None);

    cluster.run(Command::CancelRun { run: PARENT }).unwrap();
    while control(&mut cluster) {}
    assert!([1, 2, 3].iter().all(|run| cluster.state.run(RunId(*run)).unwrap().cancelling));
    assert!(cluster.attempt(at(3, 0)).stop.is_some());
    cluster.report(at(3, 0), AttemptPhase::Ended, None);
    while control(&mut cluster) {}
    assert_eq!((state(&cluster, 3), cluster.task(at(2, 0))), (RunState::Cancelled, TaskState::Cancelled));
    // What comes at the end in any case does, also there.
    assert_eq!(state(&cluster, 2), RunState::Running);
    assert_eq!(cluster.task(at(1, 0)), TaskState::Running);
    cluster.place(at(2, 1), "n");
    cluster.report(at(2, 1), AttemptPhase::Running, None);

    cluster.run(Command::AbandonRun { run: PARENT }).unwrap();
    while control(&mut cluster) {}
    assert!(cluster.state.run(RunId(2)).unwrap().abandoned);
    assert!(cluster.attempt(at(2, 1)).stop.is_some());
    cluster.report(at(2, 1), AttemptPhase::Ended, None);
    while control(&mut cluster) {}
    assert_eq!((state(&cluster, 1), state(&cluster, 2)), (RunState::Cancelled, RunState::Cancelled));
}

#[test]
fn a_run_that_somebody_cancels_fails_its_task_for_good() {
    let sub = TaskSpec { retry: Retry { attempts: 5, ..Retry::default() }, ..run_of("sub", "child", &[]) };
    let mut cluster = family(named("child", vec![task("a", &[])]), vec![sub]);
    start(&mut cluster, at(1, 0), 2).unwrap();
    cluster.run(Command::CancelRun { run: RunId(2) }).unwrap();
    while control(&mut cluster) {}
    assert_eq!(cluster.task(at(1, 0)), TaskState::Failed(FailReason::SubRunCancelled));
    assert_eq!(state(&cluster, 1), RunState::Failed);
}

#[test]
fn the_timeout_of_a_run_ends_those_within_it_and_that_of_a_task_its_own() {
    let mut cluster = cluster();
    known(&mut cluster, 100, named("child", vec![task("a", &[])]));
    let spec = JobSpec { timeout_ms: Some(5_000), ..parent_of(vec![run_of("sub", "child", &[])]) };
    submit(&mut cluster, 1, spec).unwrap();
    start(&mut cluster, at(1, 0), 2).unwrap();
    cluster.pass(5_000);
    while control(&mut cluster) {}
    assert_eq!((state(&cluster, 1), state(&cluster, 2)), (RunState::Failed, RunState::Cancelled));

    let timed = TaskSpec { run_timeout_ms: Some(1_000), ..run_of("sub", "child", &[]) };
    submit(&mut cluster, 3, parent_of(vec![timed])).unwrap();
    start(&mut cluster, at(3, 0), 4).unwrap();
    cluster.pass(1_000);
    while control(&mut cluster) {}
    assert_eq!((state(&cluster, 4), cluster.task(at(3, 0))), (RunState::Failed, TaskState::Failed(FailReason::Failed)));
}

#[test]
fn a_paused_run_begins_no_others_and_those_within_it_go_on() {
    let two = vec![run_of("one", "child", &[]), run_of("two", "child", &[])];
    let mut cluster = family(named("child", vec![task("a", &[])]), two);
    start(&mut cluster, at(1, 0), 2).unwrap();
    let two = start_of(&cluster, at(1, 1), 3);
    cluster.run(Command::PauseRun { run: PARENT, reason: "".into() }).unwrap();
    assert_eq!(cluster.state.sub_runs_to_start().count(), 0);
    assert!(matches!(cluster.run(Command::StartSubRun(Box::new(two))), Err(Rejection::Stale("the run is paused"))));
    drive(&mut cluster, &[]);
    assert_eq!(cluster.task(at(1, 0)), TaskState::Succeeded);
    cluster.run(Command::ResumeRun { run: PARENT }).unwrap();
    assert_eq!(cluster.state.sub_runs_to_start().collect::<Vec<_>>(), [at(1, 1)]);
}

#[test]
fn runs_stand_no_deeper_in_each_other_than_they_may() {
    let mut cluster = cluster();
    submit(&mut cluster, 1, named("again", vec![run_of("sub", "again", &[])])).unwrap();
    let deepest = u64::from(RUNS_DEEP_MAX);
    for run in 1..deepest {
        start(&mut cluster, at(run, 0), run + 1).unwrap();
    }
    let last = at(deepest, 0);
    assert!(matches!(start(&mut cluster, last, 99), Err(Rejection::Stale(_))));
    let parent = cluster.state.run(last.run).unwrap().clone();
    let flaw = cluster.state.sub_run_spec(&parent, parent.sub_run(0).unwrap()).unwrap_err();
    assert!(flaw.contains("RUNS_DEEP_MAX is 8"), "{flaw}");
    cluster.run(Command::FailSubRun { task: last, generation: 0, flaw: flaw.into() }).unwrap();
    drive(&mut cluster, &[]);
    assert!((1..=deepest).all(|run| state(&cluster, run) == RunState::Failed));
    assert_eq!(cluster.task(last), TaskState::Failed(FailReason::NoSubRun));
}

#[test]
fn what_there_is_not_is_refused_at_the_submit_and_fails_its_task_when_it_has_gone_since() {
    let mut cluster = cluster();
    let violations = |reply| match reply {
        Err(Rejection::Invalid(violations)) => {
            violations.into_iter().map(|found| (found.field, found.message)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let found = violations(submit(&mut cluster, 1, parent_of(vec![run_of("sub", "child", &[])])));
    assert_eq!(found, [("task.sub.run".into(), "job acme/child does not exist: submit it first".into())]);

    known(&mut cluster, 100, named("child", vec![task("a", &[])]));
    let pinned = |version| {
        let sub_run = Some(SubRun { job: "child".parse().unwrap(), version: Some(version), args: BTreeMap::new() });
        TaskSpec { sub_run, ..run_of("sub", "child", &[]) }
    };
    let found = violations(submit(&mut cluster, 1, parent_of(vec![pinned(2)])));
    assert_eq!(found, [("task.sub.run".into(), "job acme/child has no version 2: its newest is 1".into())]);

    submit(&mut cluster, 1, parent_of(vec![pinned(1)])).unwrap();
    known(&mut cluster, 101, named("child", vec![task("a", &[]), task("b", &[])]));
    start(&mut cluster, at(1, 0), 2).unwrap();
    let child = cluster.state.run(RunId(2)).unwrap();
    assert_eq!((child.job_version, child.spec.tasks.len()), (1, 1), "not the newest");
    assert_eq!(cluster.state.job(&child.spec.namespace, &child.spec.name).unwrap().version, 2);
    drive(&mut cluster, &[]);

    submit(&mut cluster, 3, parent_of(vec![run_of("sub", "child", &[])])).unwrap();
    let (namespace, job) = ("acme".parse().unwrap(), "child".parse().unwrap());
    cluster.run(Command::DeleteJob { namespace, job }).unwrap();
    let parent = cluster.state.run(RunId(3)).unwrap().clone();
    let flaw = cluster.state.sub_run_spec(&parent, parent.sub_run(0).unwrap()).unwrap_err();
    assert_eq!(flaw, "job acme/child does not exist any more");
    assert!(matches!(start(&mut cluster, at(3, 0), 4), Err(Rejection::Stale(_))));
}

#[test]
fn there_is_no_room_for_a_run_within_another_where_there_is_none_for_another_run() {
    let mut cluster = family(named("child", vec![task("a", &[])]), vec![run_of("sub", "child", &[])]);
    let settings = cluster.state.settings().unwrap().clone();
    let full = Settings { runs_unfinished_max: 1, ..settings.clone() };
    cluster.state.commit(&Change::Settings(Arc::new(full)));
    let refused = start(&mut cluster, at(1, 0), 2);
    assert!(matches!(refused, Err(Rejection::LimitReached { limit: "runs_unfinished_max", .. })));
    assert_eq!(cluster.state.sub_runs_to_start().collect::<Vec<_>>(), [at(1, 0)], "it waits");
    cluster.state.commit(&Change::Settings(Arc::new(settings)));
    start(&mut cluster, at(1, 0), 2).unwrap();
}

#[test]
fn what_comes_out_of_a_run_is_kept_and_what_cannot_be_said_fails_it() {
    let mut cluster = cluster();
    let ended = |cluster: &mut Cluster, run: u64, result: RunResult| {
        submit(cluster, run, telling("child", vec![task("a", &[])])).unwrap();
        let task = at(run, 0);
        cluster.place(task, "n");
        cluster.report(task, AttemptPhase::Running, None);
        cluster.report(task, AttemptPhase::Ended, Some(Exit::Code(0)));
        assert_eq!(cluster.run(Command::FinishRun { run: RunId(run) }), Ok(Reply::Counted(0)), "it owes a result");
        let conclude = Command::ConcludeRun { run: RunId(run), result };
        assert_eq!(cluster.run(conclude.clone()), Ok(Reply::Counted(1)));
        assert_eq!(cluster.run(conclude), Ok(Reply::Counted(0)));
        let row = cluster.state.run(RunId(run)).unwrap();
        (row.state, row.result.as_ref().map(|result| result.len()), row.flaw.as_deref().map(str::to_owned))
    };
    let max = cluster.state.settings().unwrap().result_bytes_max as usize;
    let value = |bytes: usize| RunResult::Value(vec![b' '; bytes].into());
    assert_eq!(ended(&mut cluster, 1, value(max)), (RunState::Succeeded, Some(max), None));
    let (state, result, flaw) = ended(&mut cluster, 2, value(max + 1));
    assert_eq!((state, result), (RunState::Failed, None));
    assert!(flaw.unwrap().contains("8193 bytes, result_bytes_max is 8192"));
    let (state, _, flaw) = ended(&mut cluster, 3, RunResult::Flaw("of: nothing".into()));
    assert_eq!((state, flaw.as_deref()), (RunState::Failed, Some("of: nothing")));
}

#[test]
fn a_run_that_fails_owes_nothing() {
    let mut cluster = cluster();
    submit(&mut cluster, 1, telling("child", vec![task("a", &[])])).unwrap();
    drive(&mut cluster, &["a"]);
    let run = cluster.state.run(PARENT).unwrap();
    assert_eq!((run.state, &run.result, &run.flaw), (RunState::Failed, &None, &None));
    let result = RunResult::Value(Arc::from(&b"{}"[..]));
    assert_eq!(cluster.run(Command::ConcludeRun { run: PARENT, result }), Ok(Reply::Counted(0)));
}

#[test]
fn a_second_try_keeps_the_results_of_runs_and_begins_others_for_the_rest() {
    let child = telling("child", vec![task("a", &[])]);
    let mut cluster = family(child, vec![run_of("sub", "child", &[]), task("bad", &["sub"])]);
    start(&mut cluster, at(1, 0), 2).unwrap();
    drive(&mut cluster, &["bad"]);
    cluster.run(Command::RestartRun { run: RunId(3), of: PARENT, from: vec![] }).unwrap();
    assert_eq!(cluster.state.sub_runs_to_start().count(), 0, "it is kept");
    assert!(cluster.state.result(at(3, 0)).is_some());
    drive(&mut cluster, &[]);
    assert_eq!(state(&cluster, 3), RunState::Succeeded);
    cluster.run(Command::RestartRun { run: RunId(4), of: PARENT, from: vec!["sub".parse().unwrap()] }).unwrap();
    assert_eq!(cluster.state.sub_runs_to_start().collect::<Vec<_>>(), [at(4, 0)]);
    start(&mut cluster, at(4, 0), 5).unwrap();
    drive(&mut cluster, &[]);
    assert_eq!(state(&cluster, 4), RunState::Succeeded);
    // A run within another that is tried again is one of its own.
    cluster.run(Command::RestartRun { run: RunId(6), of: RunId(2), from: vec!["a".parse().unwrap()] }).unwrap();
    assert_eq!(cluster.state.run(RunId(6)).unwrap().parent, None);
}

#[test]
fn a_run_within_another_can_be_undone_stood_in_for_and_come_at_the_end() {
    let fallback = Role::Fallback { of: vec!["bad".parse().unwrap()] };
    let tasks = vec![
        run_of("sub", "child", &[]),
        undo("sub"),
        task("bad", &["sub"]),
        TaskSpec { role: fallback, ..run_of("instead", "broken", &[]) },
        TaskSpec { role: Role::Finally, ..run_of("tidy", "child", &[]) },
    ];
    let mut cluster = cluster();
    known(&mut cluster, 100, named("child", vec![task("a", &[])]));
    submit(&mut cluster, 101, named("broken", vec![task("bad", &[])])).unwrap();
    drive(&mut cluster, &["bad"]);
    submit(&mut cluster, 1, parent_of(tasks)).unwrap();
    for run in 2..=4 {
        drive(&mut cluster, &["bad"]);
        let next = cluster.state.sub_runs_to_start().next().unwrap();
        start(&mut cluster, next, run).unwrap();
    }
    drive(&mut cluster, &["bad"]);
    let ends: Vec<TaskState> = (0..5).map(|step| cluster.task(at(1, step))).collect();
    let failed = TaskState::Failed(FailReason::Failed);
    assert_eq!(ends, [TaskState::Succeeded, TaskState::Succeeded, failed.clone(), failed, TaskState::Succeeded]);
    assert_eq!(state(&cluster, 1), RunState::Failed);
}

#[test]
fn what_a_process_is_told_is_refused_of_a_run() {
    let mut cluster = cluster();
    known(&mut cluster, 100, named("child", vec![task("a", &[])]));
    let sub = TaskSpec {
        argv: vec!["./program".into()],
        env: BTreeMap::from([("A".into(), "1".into())]),
        queued_timeout_ms: Some(1_000),
        on_node_loss: quorate_state::OnNodeLoss::Fenced,
        ..run_of("sub", "child", &[])
    };
    let Err(Rejection::Invalid(found)) = submit(&mut cluster, 1, parent_of(vec![sub])) else { panic!("accepted") };
    let fields: Vec<&str> = found.iter().map(|found| &*found.field).collect();
    assert_eq!(fields, ["task.sub.run", "task.sub.env", "task.sub.on_node_loss", "task.sub.timeouts.queued"]);
}

#[test]
fn nobody_runs_jobs_within_jobs_before_every_replica_can() {
    let mut cluster = Cluster::new();
    for feature in Feature::ALL.into_iter().filter(|feature| *feature != Feature::SubRuns) {
        cluster.enable(feature);
    }
    for spec in [named("job", vec![run_of("sub", "job", &[])]), telling("job", vec![task("a", &[])])] {
        assert_eq!(submit(&mut cluster, 1, spec), Err(Rejection::FeatureNotEnabled(Feature::SubRuns)));
    }
}

#[test]
fn a_run_within_another_stays_in_memory_until_that_has_left() {
    let mut cluster =
        family(telling("child", vec![task("a", &[])]), vec![run_of("sub", "child", &[]), task("b", &["sub"])]);
    start(&mut cluster, at(1, 0), 2).unwrap();
    let archive = |cluster: &mut Cluster, run: u64| {
        let command = Command::ArchiveRuns { runs: vec![RunId(run)], rows_max: 100 };
        cluster.run(command).unwrap()
    };
    // What it comes to is asked for until its parent has ended, and shown there afterwards.
    while state(&cluster, 2) != RunState::Succeeded {
        control(&mut cluster);
        let next = cluster.state.ready().find(|next| next.task.run == RunId(2));
        if let Some(next) = next {
            cluster.place(next.task, "n");
            cluster.report(next.task, AttemptPhase::Running, None);
            cluster.report(next.task, AttemptPhase::Ended, Some(Exit::Code(0)));
        }
    }
    assert_eq!(archive(&mut cluster, 2), Reply::Counted(0), "its parent goes on");
    drive(&mut cluster, &[]);
    assert_eq!(state(&cluster, 1), RunState::Succeeded);
    assert_eq!(archive(&mut cluster, 2), Reply::Counted(0), "its parent is there");
    assert!(cluster.state.result(at(1, 0)).is_some());
    assert_eq!(archive(&mut cluster, 1), Reply::Counted(1));
    assert_eq!(archive(&mut cluster, 2), Reply::Counted(1));
    assert_eq!(cluster.state.rows_in_memory(), 2, "those of the run by which the job is known");
}
