//! What came with feature `gangs`: behind all that was frozen before it.

use std::sync::Arc;

use quorate_state::{
    Attempt, AttemptState, Change, Choice, Command, Epoch, Gang, GangSpec, GpuHold, JobSpec, Placement, Rest, Run,
    RunId, Served, Step, StopReason, TaskSpec, Timer, Within,
};

use super::{RUN, attempts, runs, specs, task_id};
use crate::convert::job::spec_digest;

/// A job with gangs of every kind.
pub(crate) fn gang_spec() -> JobSpec {
    let mut spec = specs().remove(1);
    let process = spec.tasks.remove(0);
    let gang = |name: &str, within, start_ms| TaskSpec {
        name: name.parse().unwrap(),
        count: 4,
        gang: Some(GangSpec { within, start_ms }),
        ..process.clone()
    };
    let tasks = vec![
        gang("anywhere", None, None),
        gang("cluster", Some(Within::Cluster), Some(300_000)),
        gang("region", Some(Within::Region), None),
        gang("rack", Some(Within::Label("rack".into())), Some(1)),
    ];
    JobSpec { tasks, ..spec }
}

pub(super) fn gang_commands() -> Vec<Command> {
    let spec = Arc::new(gang_spec());
    let (node, epoch) = ("eu-1-a".parse().unwrap(), Epoch(5));
    let placement =
        Placement { task: task_id(), generation: 3, node, epoch, choice: Choice::FIRST, gpus: GpuHold::NONE };
    let start = Timer::GangStart { run: RUN, step: 1, generation: 2, due: Served(1_000) };
    vec![
        Command::SubmitFlow { run: RUN, spec_digest: spec_digest(&spec), spec, args: "".into(), version: None },
        Command::CommitGang { run: RUN, step: 1, generation: 1, placements: vec![placement] },
        Command::FireTimers { timers: vec![start] },
    ]
}

pub(super) fn gang_changes() -> Vec<Change> {
    let spec = Arc::new(gang_spec());
    let run = Run { id: RunId(RUN.0 + 30), ..runs().remove(0) };
    let gang = |step, gang| {
        let (elements, rest) = (4, Rest::Waiting);
        Change::Step(Arc::new(Step { run: run.id, step, decision: None, elements, rest, gang: Some(gang) }))
    };
    let id = quorate_state::AttemptId { task: quorate_state::TaskId { run: run.id, step: 1, index: 0 }, number: 1 };
    let state = AttemptState::Stopping;
    let stopped = Attempt { id, state, stop: Some(StopReason::Gang), ended_at: None, ..attempts().remove(0) };
    vec![
        Change::Spec(RunId(RUN.0 + 31), spec_digest(&spec), spec),
        Change::Spec(run.id, run.spec_digest, run.spec.clone()),
        Change::Run(Arc::new(run.clone())),
        gang(0, Gang { generation: 3, live: 4, is_breaking: true, start_due: None }),
        gang(1, Gang { generation: 1, live: 2, is_breaking: false, start_due: Some(Served(77)) }),
        Change::Attempt(Arc::new(stopped)),
    ]
}
