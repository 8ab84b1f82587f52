//! What came with feature `region-loss`: behind all that was frozen before it.

use std::sync::Arc;

use quorate_state::{Change, Command, JobSpec, OnRegionLoss, Run, RunId, Task, TaskId, TaskSpec};

use super::{RUN, runs, specs, tasks};
use crate::convert::job::spec_digest;

/// A job whose tasks say all that there is to say of the loss of their region.
pub(crate) fn region_loss_spec() -> JobSpec {
    let mut spec = specs().remove(1);
    let process = spec.tasks.remove(0);
    let task =
        |name: &str, policy| TaskSpec { name: name.parse().unwrap(), on_region_loss: Some(policy), ..process.clone() };
    let spill = vec!["us".parse().unwrap(), "asia".parse().unwrap()];
    let tasks = vec![
        task("stays", OnRegionLoss::Stay),
        task("moves", OnRegionLoss::MoveAfter { after_ms: 0, spill: vec![] }),
        task("spills", OnRegionLoss::MoveAfter { after_ms: 600_000, spill }),
    ];
    JobSpec { tasks, ..spec }
}

pub(super) fn region_loss_commands() -> Vec<Command> {
    let spec = Arc::new(region_loss_spec());
    vec![Command::SubmitJob { run: RUN, spec_digest: spec_digest(&spec), spec }]
}

pub(super) fn region_loss_changes() -> Vec<Change> {
    let spec = Arc::new(region_loss_spec());
    let run = Run { id: RunId(RUN.0 + 40), ..runs().remove(0) };
    let id = TaskId { run: run.id, step: 0, index: 0 };
    let task = Task { id, home: Some("eu".parse().unwrap()), ..tasks().remove(0) };
    vec![
        Change::Spec(RunId(RUN.0 + 41), spec_digest(&spec), spec),
        Change::Spec(run.id, run.spec_digest, run.spec.clone()),
        Change::Run(Arc::new(run)),
        Change::Task(Arc::new(task)),
    ]
}
