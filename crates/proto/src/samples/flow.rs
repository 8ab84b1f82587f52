//! What came with feature `task-flow`: behind all that was frozen before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Change, Command, Decided, Each, Event, FailReason, JobSpec, Param, Rest, Revision, Role, Run, RunId, Step, Task,
    TaskId, TaskSpec, TaskState,
};

use super::{RUN, runs, specs, tasks, walk};
use crate::convert::job::spec_digest;

const ARGS: &str = "{\"day\":\"2026-11-21\"}";

/// A job with tasks of every role, with elements of every kind.
pub(crate) fn flow_spec() -> JobSpec {
    let mut spec = specs().remove(1);
    let task = spec.tasks.remove(0);
    let roles = walk(Role::Work, |role| match role {
        Role::Work => Some(Role::Fallback { of: vec!["task-0".parse().unwrap(), "task-4".parse().unwrap()] }),
        Role::Fallback { .. } => Some(Role::Undo { of: "task-0".parse().unwrap() }),
        Role::Undo { .. } => Some(Role::Finally),
        Role::Finally => None,
    });
    let eachs = walk(Each::Items(vec!["1".into(), "\"\u{e4}\"".into()]), |each| match each {
        Each::Items(_) => Some(Each::Range { from: -7 }),
        Each::Range { .. } => Some(Each::Result("${split.result.parts}".into())),
        Each::Result(_) => None,
    });
    let plain = roles.into_iter().map(|role| TaskSpec { role, ..task.clone() });
    let each = eachs.into_iter().map(|each| TaskSpec {
        argv: vec!["./score".into(), "${each}".into()],
        count: if matches!(each, Each::Items(_)) { 2 } else { 1 },
        templated: true,
        when: Some("params.day != ''".into()),
        each: Some(each),
        on_region_loss: None,
        accept_failed: 3,
        sub_run: None,
        preemptible: true,
        ..task.clone()
    });
    let day = Param { kind: "date".into(), default: Some("\"2026-11-20\"".into()), description: "of claims".into() };
    let many = Param { kind: "number".into(), ..Param::default() };
    JobSpec {
        params: BTreeMap::from([("day".into(), day), ("many".into(), many)]),
        result: BTreeMap::new(),
        tasks: plain
            .chain(each)
            .zip(0..)
            .map(|(task, at)| TaskSpec { name: format!("task-{at}").parse().unwrap(), ..task })
            .collect(),
        ..spec
    }
}

pub(crate) fn decisions() -> Vec<Decided> {
    walk(Decided::Run, |decided| match decided {
        Decided::Run => Some(Decided::PassOver),
        Decided::PassOver => Some(Decided::Fail("split.result is null".into())),
        Decided::Fail(_) => None,
    })
}

fn rests() -> Vec<Rest> {
    walk(Rest::Waiting, |rest| match rest {
        Rest::Waiting => Some(Rest::Cancelled),
        Rest::Cancelled => Some(Rest::Skipped),
        Rest::Skipped => Some(Rest::Kept),
        Rest::Kept => None,
    })
}

pub(super) fn flow_commands() -> Vec<Command> {
    let spec = Arc::new(flow_spec());
    let submit = Command::SubmitFlow {
        run: RUN,
        spec_digest: spec_digest(&spec),
        spec: spec.clone(),
        args: ARGS.into(),
        version: None,
    };
    let plain = Arc::new(specs().remove(1));
    let told_nothing = Command::SubmitFlow {
        run: RUN,
        spec_digest: spec_digest(&plain),
        spec: plain,
        args: "".into(),
        version: Some(0),
    };
    let from = vec!["split".parse().unwrap(), "merge".parse().unwrap()];
    let restart = Command::RestartRun { run: RunId(RUN.0 + 1), of: RUN, from };
    let decide = |(decided, elements)| Command::DecideStep { run: RUN, step: 1, decided, elements };
    [submit, told_nothing]
        .into_iter()
        .chain(decisions().into_iter().zip([None, Some(0), Some(1_000)]).map(decide))
        .chain([Command::UndoNext { run: RUN, limit: 100 }, Command::AbandonRun { run: RUN }, restart])
        .collect()
}

pub(super) fn flow_events() -> Vec<Event> {
    let decided = |decided| Event::StepDecided { run: RUN, step: 1, decided, elements: 9 };
    let rest = |rest: Rest| Event::RestEnded { run: RUN, step: 1, first: 2, count: 7, state: rest.state() };
    [Event::RunAbandoned { run: RUN }]
        .into_iter()
        .chain(decisions().into_iter().map(decided))
        .chain(rests().into_iter().map(rest))
        .collect()
}

/// The row of a step of some run.
pub(crate) fn flow_step(run: RunId) -> Step {
    Step { run, step: 1, decision: Some(Decided::Run), elements: 50, rest: Rest::Kept, gang: None }
}

/// A run that was told something and given up.
fn flow_run() -> Run {
    let restart_of = Some(RunId(u64::MAX));
    Run { id: RunId(RUN.0 + 10), restart_of, args: ARGS.into(), cancelling: true, abandoned: true, ..runs().remove(0) }
}

pub(super) fn flow_changes() -> Vec<Change> {
    let (run, task) = (flow_run(), tasks().remove(0));
    let id = |index| TaskId { run: run.id, step: 0, index };
    let undecidable = Task { id: id(0), state: TaskState::Failed(FailReason::Undecidable), ..task.clone() };
    let succeeded =
        Task { id: id(1), state: TaskState::Succeeded, succeeded_at: Some(Revision(u64::MAX)), ..task.clone() };
    let steps = rests().into_iter().zip([None].into_iter().chain(decisions().into_iter().map(Some))).zip(0..);
    let steps: Vec<Step> = steps
        .map(|((rest, decision), step)| Step { run: run.id, step, decision, elements: 100 * step, rest, gang: None })
        .chain([Step {
            run: RunId(u64::MAX),
            step: u32::MAX,
            decision: decisions().pop(),
            elements: 0,
            rest: Rest::Waiting,
            gang: None,
        }])
        .collect();
    let spec = Arc::new(flow_spec());
    [
        Change::Spec(run.id, run.spec_digest, run.spec.clone()),
        Change::Run(Arc::new(run)),
        Change::Spec(RunId(RUN.0 + 11), spec_digest(&spec), spec),
        Change::Task(Arc::new(undecidable)),
        Change::Task(Arc::new(succeeded)),
    ]
    .into_iter()
    .chain(steps.into_iter().map(|step| Change::Step(Arc::new(step))))
    .collect()
}
