//! What came with feature `resource-alternatives`: behind all that was frozen before it.

use std::sync::Arc;

use quorate_state::{
    Alternative, Attempt, AttemptClaim, AttemptId, Change, Choice, Claim, ClaimTerms, Command, Epoch, GpuHold, JobSpec,
    Placement, Preempting, Registration, Resources, Run, RunId, Served, Task, TaskId, TaskSpec, TaskState, Token,
};

use super::{RUN, attempt_ids, attempts, gpus, registration, resources, runs, specs};
use crate::convert::job::spec_digest;

/// A job whose tasks leave something to choose.
pub(crate) fn alternatives_spec() -> JobSpec {
    let mut spec = specs().remove(1);
    let process = spec.tasks.remove(0);
    let only = |cpu_milli| Alternative { resources: Resources { cpu_milli, ..resources() }, gpu_models: vec![] };
    let task = |name: &str, gpu_milli, alternatives| TaskSpec {
        name: name.parse().unwrap(),
        resources: Resources { gpu_milli, ..resources() },
        gpu_models: if gpu_milli > 0 { gpus().to_vec() } else { vec![] },
        alternatives,
        ..process.clone()
    };
    let small = Alternative { resources: Resources { gpu_milli: 250, ..resources() }, gpu_models: vec![] };
    let tasks = vec![task("two", 0, vec![only(1)]), task("four", 2_000, vec![small, only(400), only(0)])];
    JobSpec { tasks, ..spec }
}

fn choice(number: u32) -> Choice {
    Choice::of(number).unwrap()
}

pub(super) fn alternatives_commands() -> Vec<Command> {
    let spec = Arc::new(alternatives_spec());
    let (task, node, epoch) = (TaskId { run: RUN, step: 1, index: 2 }, "eu-1-a".parse().unwrap(), Epoch(5));
    let placement = Placement { task, generation: 3, node, epoch, gpus: GpuHold::NONE, choice: choice(2) };
    let claim = AttemptClaim { attempt: attempt_ids()[0], token: Token(9), gpus: GpuHold::NONE, choice: choice(3) };
    let node = placement.node.clone();
    vec![
        Command::SubmitJob { run: RUN, spec_digest: spec_digest(&spec), spec },
        Command::CommitPlan { placements: vec![placement] },
        Command::RegisterNode(Box::new(Registration { attempts: vec![claim], ..registration() })),
        Command::PreemptAttempts(Preempting {
            task,
            generation: 3,
            node,
            epoch,
            choice: choice(1),
            victims: attempt_ids(),
        }),
    ]
}

pub(super) fn alternatives_changes() -> Vec<Change> {
    let spec = Arc::new(alternatives_spec());
    let run = Run { id: RunId(RUN.0 + 50), ..runs().remove(0) };
    let task = TaskId { run: run.id, step: 0, index: 0 };
    let terms = ClaimTerms { resources: resources(), gpus: GpuHold::NONE, choice: choice(3), until: Served(18_000) };
    let claim = Claim { task, node: "eu-1-a".parse().unwrap(), epoch: Epoch(5), terms };
    let attempt = Attempt { id: AttemptId { task, number: 1 }, choice: choice(2), ..attempts().remove(0) };
    vec![
        Change::Spec(RunId(RUN.0 + 51), spec_digest(&spec), spec),
        Change::Spec(run.id, run.spec_digest, run.spec.clone()),
        Change::Run(Arc::new(run)),
        Change::Task(Arc::new(Task { choice: choice(1), ..Task::new(task, TaskState::Ready) })),
        Change::Attempt(Arc::new(attempt)),
        Change::Claim(Arc::new(claim)),
    ]
}
