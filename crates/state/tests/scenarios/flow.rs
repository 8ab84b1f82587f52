//! What runs decide, undo, and do in any case at their end.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    AttemptPhase, BAD_REFERENCE, Command, Decided, Digest, Each, Exit, FailReason, Feature, JobSpec, OnFailure,
    Outcome, Phase, READY_AHEAD_MAX, Rejection, Reply, Resources, Rest, Retry, Role, RunId, RunState, State, TaskId,
    TaskSpec, TaskState, Wait,
};

use crate::cluster::{Cluster, id, job, task};

pub(crate) const RUN: RunId = RunId(1);

pub(crate) fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    for feature in Feature::ALL {
        cluster.enable(feature);
    }
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster
}

pub(crate) fn submit(cluster: &mut Cluster, spec: JobSpec) -> Result<Reply, Rejection> {
    let spec = Arc::new(spec);
    let args = r#"{"day":"2026-01-01"}"#.into();
    cluster.run(Command::SubmitFlow { run: RUN, spec, spec_digest: Digest([1; 32]), args, version: None })
}

pub(crate) fn undo(of: &str) -> TaskSpec {
    TaskSpec { role: Role::Undo { of: of.parse().unwrap() }, ..task(&format!("{of}.undo"), &[]) }
}

pub(crate) fn fallback(name: &str, of: &[&str]) -> TaskSpec {
    TaskSpec { role: Role::Fallback { of: of.iter().map(|of| of.parse().unwrap()).collect() }, ..task(name, &[]) }
}

pub(crate) fn finally(name: &str, needs: &[&str]) -> TaskSpec {
    TaskSpec { role: Role::Finally, ..task(name, needs) }
}

pub(crate) fn when(spec: TaskSpec) -> TaskSpec {
    TaskSpec { when: Some("a.result.go".into()), ..spec }
}

/// What a test says of the world: whose tasks fail, and what is decided.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) fails: Vec<(&'static str, u32)>,
    pub(crate) decided: BTreeMap<&'static str, (Decided, Option<u32>)>,
}

impl World {
    pub(crate) fn failing(fails: &[(&'static str, u32)]) -> Self {
        Self { fails: fails.to_vec(), decided: BTreeMap::new() }
    }

    pub(crate) fn deciding(mut self, task: &'static str, decided: Decided, elements: Option<u32>) -> Self {
        self.decided.insert(task, (decided, elements));
        self
    }
}

fn name(cluster: &Cluster, run: RunId, step: u32) -> String {
    cluster.state.run(run).unwrap().spec.tasks[step as usize].name.to_string()
}

/// All that the controllers would do now.
fn control(cluster: &mut Cluster, world: &World) -> bool {
    let mut commands: Vec<Command> = Vec::new();
    commands.extend(cluster.state.runs_to_finish().map(|run| Command::FinishRun { run }));
    commands.extend(cluster.state.runs_to_undo().map(|run| Command::UndoNext { run, limit: 100 }));
    for (run, step) in cluster.state.steps_to_decide() {
        let known = world.decided.get(&*name(cluster, run, step)).cloned();
        let (decided, elements) = known.unwrap_or((Decided::Run, None));
        commands.push(Command::DecideStep { run, step, decided, elements });
    }
    commands.extend(cluster.state.steps_to_advance().map(|(run, step)| Command::AdvanceStep { run, step, limit: 3 }));
    let acts = !commands.is_empty();
    for command in commands {
        cluster.run(command).unwrap();
    }
    acts
}

/// One task, from the queue to its end.
pub(crate) fn execute(cluster: &mut Cluster, world: &World, task: TaskId) {
    cluster.place(task, "n");
    cluster.report(task, AttemptPhase::Running, None);
    let fails = world.fails.contains(&(&*name(cluster, task.run, task.step), task.index));
    cluster.report(task, AttemptPhase::Ended, Some(Exit::Code(i32::from(fails))));
}

/// Runs all that can run; what was started, in order.
pub(crate) fn drive(cluster: &mut Cluster, world: &World) -> Vec<String> {
    let mut started = Vec::new();
    loop {
        while control(cluster, world) {}
        let Some(next) = cluster.state.ready().next() else { break };
        let index = if next.task.index > 0 { format!("[{}]", next.task.index) } else { String::new() };
        started.push(format!("{}{index}", name(cluster, next.task.run, next.task.step)));
        execute(cluster, world, next.task);
    }
    started
}

fn next_step(cluster: &Cluster) -> Option<(RunId, u32)> {
    cluster.state.steps_to_advance().next()
}

pub(crate) fn ended(cluster: &Cluster) -> RunState {
    cluster.state.run(RUN).unwrap().state
}

#[test]
fn nothing_of_this_is_taken_before_its_feature_is_enabled() {
    let mut cluster = Cluster::new();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let refused = Err(Rejection::FeatureNotEnabled(Feature::TaskFlow));
    assert_eq!(submit(&mut cluster, job(vec![task("a", &[])])), refused);
    assert_eq!(cluster.submit(1, job(vec![when(task("a", &[]))])), refused);
    for command in [
        Command::AbandonRun { run: RUN },
        Command::UndoNext { run: RUN, limit: 1 },
        Command::DecideStep { run: RUN, step: 0, decided: Decided::Run, elements: None },
    ] {
        assert_eq!(cluster.run(command), refused);
    }
}

#[test]
fn a_run_keeps_what_it_was_told_and_no_more_than_it_may() {
    let mut cluster = cluster();
    let spec = Arc::new(job(vec![task("a", &[])]));
    let submit = |bytes: usize| {
        let (spec, args) = (spec.clone(), format!("\"{}\"", "x".repeat(bytes - 2)).into());
        Command::SubmitFlow { run: RUN, spec, spec_digest: Digest([1; 32]), args, version: None }
    };
    assert!(matches!(cluster.run(submit(quorate_state::ARGS_BYTES_MAX + 1)), Err(Rejection::Invalid(_))));
    assert!(cluster.state.run(RUN).is_none());
    cluster.run(submit(quorate_state::ARGS_BYTES_MAX)).unwrap();
    assert_eq!(cluster.state.run(RUN).unwrap().args.len(), quorate_state::ARGS_BYTES_MAX);
}

#[test]
fn a_task_whose_condition_is_false_is_passed_over_and_what_needs_it_goes_on() {
    let mut cluster = cluster();
    submit(&mut cluster, job(vec![task("a", &[]), when(task("b", &["a"])), task("c", &["b"])])).unwrap();
    let world = World::default().deciding("b", Decided::PassOver, None);
    assert_eq!(drive(&mut cluster, &world), ["a", "c"]);
    assert_eq!((cluster.task(id(1)), ended(&cluster)), (TaskState::Skipped, RunState::Succeeded));
    assert!(cluster.state.is_passed_over(RUN, 1));
}

#[test]
fn nothing_is_decided_before_its_time_or_twice() {
    let mut cluster = cluster();
    submit(&mut cluster, job(vec![task("a", &[]), when(task("b", &["a"]))])).unwrap();
    let decide = |decided| Command::DecideStep { run: RUN, step: 1, decided, elements: None };
    assert_eq!(cluster.run(decide(Decided::PassOver)), Ok(Reply::Counted(0)), "its needs are open");
    execute(&mut cluster, &World::default(), id(0));
    assert_eq!(cluster.task(id(1)), TaskState::Waiting(Wait::Needs));
    assert_eq!(cluster.state.steps_to_decide().collect::<Vec<_>>(), [(RUN, 1)]);
    assert_eq!(cluster.run(decide(Decided::Run)), Ok(Reply::Counted(1)));
    assert_eq!(cluster.run(decide(Decided::PassOver)), Ok(Reply::Counted(0)), "it is decided");
    assert_eq!(drive(&mut cluster, &World::default()), ["b"]);
    assert_eq!(ended(&cluster), RunState::Succeeded);
}

#[test]
fn what_cannot_be_decided_fails_and_another_may_stand_in_for_it() {
    let mut cluster = cluster();
    let spec = job(vec![when(task("a", &[])), task("b", &["a"]), fallback("f", &["a"])]);
    submit(&mut cluster, spec).unwrap();
    let world = World::default().deciding("a", Decided::Fail("a.result has no key go".into()), None);
    assert_eq!(drive(&mut cluster, &world), ["f", "b"]);
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::Undecidable));
    assert_eq!(ended(&cluster), RunState::Succeeded);
}

#[test]
fn a_fallback_stands_in_for_what_failed_and_is_passed_over_otherwise() {
    let tasks = || vec![task("a", &[]), task("b", &[]), fallback("f", &["a", "b"]), task("c", &["b"])];
    let mut well = cluster();
    submit(&mut well, job(tasks())).unwrap();
    assert_eq!(drive(&mut well, &World::default()), ["a", "b", "c"]);
    assert_eq!((well.task(id(2)), ended(&well)), (TaskState::Skipped, RunState::Succeeded));
    assert_eq!(well.state.stand_in(&well.state.run(RUN).unwrap().clone(), 1), 1);

    let mut ill = cluster();
    submit(&mut ill, job(tasks())).unwrap();
    assert_eq!(drive(&mut ill, &World::failing(&[("b", 0)])), ["a", "b", "f", "c"]);
    assert_eq!(ended(&ill), RunState::Succeeded);
    assert_eq!(ill.state.stand_in(&ill.state.run(RUN).unwrap().clone(), 1), 2, "its result is that of the fallback");

    let mut lost = cluster();
    submit(&mut lost, job(tasks())).unwrap();
    assert_eq!(drive(&mut lost, &World::failing(&[("b", 0), ("f", 0)])), ["a", "b", "f"]);
    assert_eq!((lost.task(id(3)), ended(&lost)), (TaskState::Skipped, RunState::Failed));
}

#[test]
fn a_fallback_waits_until_all_for_which_it_stands_in_have_ended() {
    let mut cluster = cluster();
    submit(&mut cluster, job(vec![task("a", &[]), task("b", &[]), fallback("f", &["a", "b"])])).unwrap();
    let world = World::failing(&[("a", 0)]);
    execute(&mut cluster, &world, id(0));
    while control(&mut cluster, &world) {}
    assert_eq!(cluster.task(id(2)), TaskState::Waiting(Wait::Needs));
    assert_eq!(drive(&mut cluster, &world), ["b", "f"]);
}

#[test]
fn a_fallback_of_a_fallback_is_tried_and_what_is_only_skipped_has_none() {
    let mut first = cluster();
    let tasks = vec![task("a", &[]), fallback("f", &["a"]), fallback("g", &["f"]), task("z", &["a"])];
    submit(&mut first, job(tasks)).unwrap();
    assert_eq!(drive(&mut first, &World::failing(&[("a", 0), ("f", 0)])), ["a", "f", "g", "z"]);
    assert_eq!(ended(&first), RunState::Succeeded);

    let mut second = cluster();
    submit(&mut second, job(vec![task("a", &[]), task("b", &["a"]), fallback("f", &["b"])])).unwrap();
    assert_eq!(drive(&mut second, &World::failing(&[("a", 0)])), ["a"], "b did not fail");
    assert_eq!((second.task(id(2)), ended(&second)), (TaskState::Skipped, RunState::Failed));
}

#[test]
fn on_failure_waits_for_those_that_may_stand_in() {
    let tasks = || vec![task("a", &[]), fallback("f", &["a"]), task("other", &["f"])];
    let spec = || JobSpec { on_failure: OnFailure::Cancel, ..job(tasks()) };
    let mut saved = cluster();
    submit(&mut saved, spec()).unwrap();
    assert_eq!(drive(&mut saved, &World::failing(&[("a", 0)])), ["a", "f", "other"]);
    assert_eq!(ended(&saved), RunState::Succeeded);
    let mut lost = cluster();
    submit(&mut lost, spec()).unwrap();
    assert_eq!(drive(&mut lost, &World::failing(&[("a", 0), ("f", 0)])), ["a", "f"]);
    let run = lost.state.run(RUN).unwrap();
    assert_eq!((run.state, run.cancelling), (RunState::Failed, true));
}

#[test]
fn so_many_may_fail_and_one_more_may_not() {
    let spec = || {
        let many = TaskSpec { count: 4, accept_failed: 2, ..task("many", &[]) };
        JobSpec { on_failure: OnFailure::Cancel, ..job(vec![many, task("after", &["many"])]) }
    };
    let mut well = cluster();
    submit(&mut well, spec()).unwrap();
    let started = drive(&mut well, &World::failing(&[("many", 0), ("many", 2)]));
    assert_eq!(started.last().map(String::as_str), Some("after"));
    assert_eq!(ended(&well), RunState::Succeeded);
    let mut ill = cluster();
    submit(&mut ill, spec()).unwrap();
    drive(&mut ill, &World::failing(&[("many", 0), ("many", 2), ("many", 3)]));
    assert_eq!((ill.task(id(1)), ended(&ill)), (TaskState::Cancelled, RunState::Failed));
}

/// Three tasks, two of which can be undone, and one that comes at the end in any case.
pub(crate) fn saga(extra: Option<TaskSpec>) -> JobSpec {
    let two = TaskSpec { count: 2, ..task("two", &["one"]) };
    let mut tasks = vec![task("one", &[]), two, task("three", &["two"]), undo("one"), undo("two"), finally("f", &[])];
    tasks.extend(extra);
    job(tasks)
}

#[test]
fn what_succeeded_is_undone_in_the_reverse_order_of_its_ends_when_the_work_fails() {
    let mut cluster = cluster();
    submit(&mut cluster, saga(None)).unwrap();
    let started = drive(&mut cluster, &World::failing(&[("three", 0)]));
    assert_eq!(started, ["one", "two", "two[1]", "three", "two.undo[1]", "two.undo", "one.undo", "f"]);
    assert_eq!(ended(&cluster), RunState::Failed);
}

#[test]
fn nothing_is_undone_when_the_work_succeeds_and_what_comes_at_the_end_comes() {
    let mut cluster = cluster();
    submit(&mut cluster, saga(None)).unwrap();
    assert_eq!(drive(&mut cluster, &World::default()), ["one", "two", "two[1]", "three", "f"]);
    assert_eq!(ended(&cluster), RunState::Succeeded);
    assert_eq!(cluster.state.run_counts(RUN).total(), 5, "there was nothing to undo");
}

#[test]
fn an_undo_that_fails_does_not_keep_the_others_and_an_end_that_fails_fails_the_run() {
    let mut first = cluster();
    submit(&mut first, saga(None)).unwrap();
    let started = drive(&mut first, &World::failing(&[("three", 0), ("two.undo", 1)]));
    assert_eq!(started[4..], ["two.undo[1]", "two.undo", "one.undo", "f"]);
    let mut second = cluster();
    submit(&mut second, saga(Some(finally("g", &["f"])))).unwrap();
    drive(&mut second, &World::failing(&[("f", 0)]));
    assert_eq!((second.task(id(6)), ended(&second)), (TaskState::Skipped, RunState::Failed));
}

#[test]
fn a_cancel_ends_the_work_and_what_was_done_is_undone() {
    let mut cluster = cluster();
    submit(&mut cluster, saga(None)).unwrap();
    let world = World::default();
    execute(&mut cluster, &world, id(0));
    cluster.run(Command::CancelRun { run: RUN }).unwrap();
    assert_eq!(drive(&mut cluster, &world), ["one.undo", "f"]);
    assert_eq!(ended(&cluster), RunState::Cancelled);
    assert_eq!(cluster.state.phase(cluster.state.run(RUN).unwrap()), Phase::Finally);
}

#[test]
fn a_second_cancel_changes_nothing_of_what_is_undone_and_giving_up_ends_it() {
    let mut cluster = cluster();
    submit(&mut cluster, saga(None)).unwrap();
    let world = World::default();
    execute(&mut cluster, &world, id(0));
    cluster.run(Command::CancelRun { run: RUN }).unwrap();
    while control(&mut cluster, &world) {}
    let undoing = cluster.state.ready().next().unwrap().task;
    assert_eq!(undoing, id(3));
    cluster.place(undoing, "n");
    cluster.report(undoing, AttemptPhase::Running, None);
    cluster.run(Command::CancelRun { run: RUN }).unwrap();
    while control(&mut cluster, &world) {}
    assert_eq!(cluster.attempt(undoing).stop, None);
    assert_eq!(cluster.run(Command::AbandonRun { run: RUN }).map(|_| ()), Ok(()));
    while control(&mut cluster, &world) {}
    assert!(cluster.attempt(undoing).stop.is_some());
    cluster.report(undoing, AttemptPhase::Ended, None);
    assert_eq!(drive(&mut cluster, &world), Vec::<String>::new());
    assert_eq!((cluster.task(id(5)), ended(&cluster)), (TaskState::Cancelled, RunState::Cancelled));
}

#[test]
fn a_run_that_is_paused_when_it_is_cancelled_can_be_resumed_to_undo_what_it_did() {
    let mut cluster = cluster();
    submit(&mut cluster, saga(None)).unwrap();
    let world = World::default();
    execute(&mut cluster, &world, id(0));
    cluster.run(Command::PauseRun { run: RUN, reason: "wait".into() }).unwrap();
    cluster.run(Command::CancelRun { run: RUN }).unwrap();
    assert_eq!(drive(&mut cluster, &world), Vec::<String>::new(), "it is paused");
    cluster.run(Command::ResumeRun { run: RUN }).unwrap();
    assert_eq!(drive(&mut cluster, &world), ["one.undo", "f"]);
    assert_eq!(ended(&cluster), RunState::Cancelled);
}

#[test]
fn what_has_no_command_is_not_tried_again() {
    let mut cluster = cluster();
    let again = TaskSpec { retry: Retry { attempts: 5, ..Retry::default() }, ..task("a", &[]) };
    submit(&mut cluster, job(vec![again])).unwrap();
    cluster.place(id(0), "n");
    let error = Outcome::Error(BAD_REFERENCE.parse().unwrap());
    cluster.report_outcome(id(0), error);
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::Failed));
}

#[test]
fn a_timeout_ends_the_work_alone() {
    let mut cluster = cluster();
    submit(&mut cluster, JobSpec { timeout_ms: Some(1_000), ..saga(None) }).unwrap();
    let world = World::default();
    execute(&mut cluster, &world, id(0));
    cluster.pass(1_000);
    assert_eq!(drive(&mut cluster, &world), ["one.undo", "f"]);
    let run = cluster.state.run(RUN).unwrap();
    assert_eq!((run.state, run.timed_out), (RunState::Failed, true));
    let mut late = self::cluster();
    submit(&mut late, JobSpec { timeout_ms: Some(1_000), ..job(vec![task("a", &[]), finally("f", &[])]) }).unwrap();
    execute(&mut late, &world, id(0));
    late.pass(2_000);
    assert_eq!(late.state.timers().next(), None, "nothing is left that could fire again and again");
    assert_eq!(drive(&mut late, &world), ["f"], "the work had ended in time");
    assert_eq!(ended(&late), RunState::Succeeded);
}

#[test]
fn what_undoes_is_tried_again_like_everything_else() {
    let mut cluster = cluster();
    let again = TaskSpec { retry: Retry { attempts: 2, ..Retry::default() }, ..undo("one") };
    submit(&mut cluster, job(vec![task("one", &[]), task("bad", &["one"]), again])).unwrap();
    let world = World::failing(&[("bad", 0), ("one.undo", 0)]);
    assert_eq!(drive(&mut cluster, &world), ["one", "bad", "one.undo"]);
    assert!(matches!(cluster.task(id(2)), TaskState::Waiting(Wait::Backoff { .. })));
    assert_eq!(ended(&cluster), RunState::Running);
    cluster.pass(10_000);
    assert_eq!(drive(&mut cluster, &World::default()), ["one.undo"]);
    assert_eq!(ended(&cluster), RunState::Failed);
}

#[test]
fn a_step_gets_as_many_elements_as_was_decided_and_none_is_nothing_to_do() {
    let each = |name: &str| TaskSpec { each: Some(Each::Result("${a.result}".into())), ..task(name, &["a"]) };
    let mut five = cluster();
    submit(&mut five, job(vec![task("a", &[]), each("b"), task("c", &["b"])])).unwrap();
    let started = drive(&mut five, &World::default().deciding("b", Decided::Run, Some(5)));
    assert_eq!(started, ["a", "b", "b[1]", "b[2]", "b[3]", "b[4]", "c"]);
    assert_eq!((five.state.elements(RUN, 1), ended(&five)), (5, RunState::Succeeded));
    let mut none = cluster();
    submit(&mut none, job(vec![task("a", &[]), each("b"), task("c", &["b"])])).unwrap();
    let started = drive(&mut none, &World::default().deciding("b", Decided::PassOver, None));
    assert_eq!((started, ended(&none)), (vec!["a".to_owned(), "c".to_owned()], RunState::Succeeded));
    let mut many = cluster();
    submit(&mut many, job(vec![task("a", &[]), each("b"), task("c", &["b"])])).unwrap();
    drive(&mut many, &World::default().deciding("b", Decided::Run, Some(u32::MAX)));
    assert_eq!((many.task(id(1)), ended(&many)), (TaskState::Failed(FailReason::Undecidable), RunState::Failed));
}

/// A job with a step of a hundred thousand elements, which take nothing.
fn wide() -> JobSpec {
    let resources = Resources { cpu_milli: 0, memory_bytes: 0, gpu_milli: 0 };
    let wide = TaskSpec { count: 100_000, resources, ..task("wide", &[]) };
    job(vec![wide, task("after", &["wide"])])
}

fn ready(state: &State) -> u32 {
    state.step_counts(RUN, 0).ready
}

#[test]
fn elements_of_a_large_step_have_rows_when_it_is_their_turn() {
    let mut cluster = cluster();
    submit(&mut cluster, wide()).unwrap();
    assert_eq!((cluster.state.rows(RUN, 0), ready(&cluster.state)), (READY_AHEAD_MAX, READY_AHEAD_MAX));
    let counts = cluster.state.step_counts(RUN, 0);
    assert_eq!((counts.total(), counts.waiting), (100_000, 90_000));
    assert_eq!(cluster.state.steps_to_advance().count(), 0, "enough of it stands in the queue");
    let advance = Command::AdvanceStep { run: RUN, step: 0, limit: 1_000 };
    assert_eq!(cluster.run(advance), Ok(Reply::Counted(1_000)), "a controller may be early");
    cluster.run(Command::CancelRun { run: RUN }).unwrap();
    while let Some((run, step)) = next_step(&cluster) {
        cluster.run(Command::AdvanceStep { run, step, limit: 4_000 }).unwrap();
    }
    assert_eq!(cluster.state.step(RUN, 0).map(|step| step.rest), Some(Rest::Cancelled));
    assert_eq!(cluster.state.step_counts(RUN, 0).cancelled, 100_000);
    cluster.run(Command::FinishRun { run: RUN }).unwrap();
    assert_eq!(ended(&cluster), RunState::Cancelled);
}

#[test]
fn a_large_step_that_is_skipped_makes_no_rows() {
    let mut cluster = cluster();
    let mut spec = wide();
    spec.tasks[0].needs = vec!["first".parse().unwrap()];
    spec.tasks.push(task("first", &[]));
    submit(&mut cluster, spec).unwrap();
    let world = World::failing(&[("first", 0)]);
    execute(&mut cluster, &world, id(2));
    while let Some((run, step)) = next_step(&cluster) {
        cluster.run(Command::AdvanceStep { run, step, limit: 4_000 }).unwrap();
    }
    assert_eq!(cluster.state.step_counts(RUN, 0).skipped, 100_000);
    assert_eq!(cluster.state.rows(RUN, 0), READY_AHEAD_MAX);
    cluster.run(Command::FinishRun { run: RUN }).unwrap();
    assert_eq!(ended(&cluster), RunState::Failed);
}

#[test]
fn tasks_that_wait_for_each_other_are_refused() {
    let of = |spec: JobSpec| match submit(&mut cluster(), spec) {
        Err(Rejection::Invalid(found)) => found.iter().map(|found| found.field.clone()).collect::<Vec<_>>().join(" "),
        other => panic!("{other:?}"),
    };
    let needing = |spec: TaskSpec, needs: &[&str]| TaskSpec {
        needs: needs.iter().map(|need| need.parse().unwrap()).collect(),
        ..spec
    };
    // The fallback waits for what waits for what it stands in for.
    let spec = job(vec![task("a", &[]), task("b", &["a"]), needing(fallback("f", &["a"]), &["b"])]);
    assert_eq!(of(spec), "task.a.needs");
    // It would wait for the end of what waits for it.
    assert_eq!(of(job(vec![task("a", &[]), task("b", &["a"]), fallback("f", &["a", "b"])])), "task.a.needs");
    assert_eq!(of(job(vec![task("a", &["f"]), fallback("f", &["a"])])), "task.a.needs");
    assert_eq!(of(job(vec![fallback("f", &["g"]), fallback("g", &["f"])])), "task.f.needs");
    assert_eq!(
        of(job(vec![task("a", &[]), fallback("f", &["f", "x", "a", "a"])])),
        "task.f.on.failed[0] task.f.on.failed[1] task.f.on.failed[3]"
    );
    assert_eq!(of(job(vec![task("a", &[]), fallback("f", &["a"]), fallback("g", &["a"])])), "task.g.on.failed[0]");
    assert_eq!(of(job(vec![task("a", &["f"]), finally("f", &[])])), "task.a.needs[0]");
    assert_eq!(of(job(vec![task("a", &[]), finally("f", &["a"])])), "task.f.needs[0]");
    assert_eq!(of(job(vec![undo("a"), task("a", &[])])), "task.a.undo.undo");
    assert_eq!(of(job(vec![task("a", &[]), undo("a"), task("b", &["a.undo"])])), "task.b.needs[0]");
    assert_eq!(of(job(vec![task("a", &[]), finally("f", &[]), undo("f")])), "task.f.undo.undo");
    let mut deep = vec![task("t0", &[])];
    deep.extend((1..=17).map(|number| fallback(&format!("t{number}"), &[&format!("t{}", number - 1)])));
    assert_eq!(of(job(deep)), "task.t0");
    assert_eq!(of(job(vec![TaskSpec { accept_failed: 2, ..task("a", &[]) }])), "task.a.accept.failed");
}
