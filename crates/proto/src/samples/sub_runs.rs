//! What came with feature `sub-runs`: behind all that was frozen before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Change, Command, Event, FailReason, JobSpec, Resources, Run, RunId, RunResult, RunState, SubRun, SubRunStart, Task,
    TaskId, TaskSpec, TaskState,
};

use super::{RUN, runs, specs, task_id, tasks};
use crate::convert::job::spec_digest;

/// A job with tasks that are runs of others, of any version and of one, and a result.
pub(crate) fn sub_run_spec() -> JobSpec {
    let mut spec = specs().remove(1);
    let process = spec.tasks.remove(0);
    let run_of = |name: &str, version| TaskSpec {
        name: name.parse().unwrap(),
        argv: Vec::new(),
        env: BTreeMap::new(),
        resources: Resources::ZERO,
        sub_run: Some(SubRun {
            job: "train".parse().unwrap(),
            version,
            args: BTreeMap::from([("day".into(), "\"${params.day}\"".into()), ("parts".into(), "[1,2]".into())]),
        }),
        ..process.clone()
    };
    let tasks = vec![run_of("newest", None), run_of("pinned", Some(3)), process.clone()];
    let result = BTreeMap::from([("model".into(), "\"${newest.result.model}\"".into()), ("rows".into(), "7".into())]);
    JobSpec { tasks, result, ..spec }
}

pub(super) fn sub_run_commands() -> Vec<Command> {
    let spec = Arc::new(sub_run_spec());
    let (task, run) = (task_id(), RunId(RUN.0 + 1));
    let start = SubRunStart { task, generation: 3, run, version: 2, args: "{\"day\":\"2026-11-21\"}".into() };
    let conclude = |result| Command::ConcludeRun { run, result };
    vec![
        Command::SubmitFlow { run: RUN, spec_digest: spec_digest(&spec), spec, args: "".into(), version: None },
        Command::StartSubRun(Box::new(start)),
        Command::FailSubRun { task, generation: 3, flaw: "job default/train does not exist any more".into() },
        conclude(RunResult::Value(Arc::from(&b"{\"rows\":7}"[..]))),
        conclude(RunResult::Flaw("result.model: newest.result has no model".into())),
    ]
}

pub(super) fn sub_run_events() -> Vec<Event> {
    let moved = |reason| Event::TaskMoved { task: task_id(), state: TaskState::Failed(reason) };
    [FailReason::NoSubRun, FailReason::SubRunCancelled].map(moved).into()
}

pub(super) fn sub_run_changes() -> Vec<Change> {
    let (parent, task) = (runs().remove(0), tasks().remove(0));
    let spec = Arc::new(sub_run_spec());
    let within = Run { id: RunId(RUN.0 + 20), parent: Some(task_id()), ..parent.clone() };
    let result = Some(Arc::from(&b"{\"rows\":7}"[..]));
    let said = Run { id: RunId(RUN.0 + 21), state: RunState::Succeeded, result, ..within.clone() };
    let flaw = Some("result.model: newest.result has no model".into());
    let unsaid = Run { id: RunId(RUN.0 + 22), state: RunState::Failed, flaw, ..within.clone() };
    let id = |index| TaskId { run: within.id, step: 0, index };
    let running = Task { id: id(0), state: TaskState::Running, sub_run: Some(RunId(0)), ..task.clone() };
    let failed = TaskState::Failed(FailReason::NoSubRun);
    let flawed = Task { id: id(1), state: failed, flaw: Some("it is too deep".into()), ..task.clone() };
    let cancelled = Task {
        id: id(2),
        state: TaskState::Failed(FailReason::SubRunCancelled),
        sub_run: Some(RunId(u64::MAX)),
        ..task
    };
    let runs = [&within, &said, &unsaid];
    let specs = runs.map(|run| Change::Spec(run.id, run.spec_digest, run.spec.clone()));
    specs
        .into_iter()
        .chain(runs.map(|run| Change::Run(Arc::new(run.clone()))))
        .chain([Change::Spec(RunId(RUN.0 + 23), spec_digest(&spec), spec)])
        .chain([running, flawed, cancelled].map(|task| Change::Task(Arc::new(task))))
        .collect()
}
