//! What came with feature `preemption`: behind all that was frozen before it.

use std::sync::Arc;

use quorate_state::{
    Attempt, Change, Choice, Claim, ClaimTerms, Command, Epoch, Event, GangPreempting, GangRoom, GpuHold, Preempted,
    Preempting, Preemption, Resources, Served, Settings, ShareTaken, StopReason, Task, TaskId, TaskState, Uuid,
};

use super::{RUN, attempt_ids, attempts, resources, specs};
use crate::convert::job::spec_digest;

const PREEMPTION: Preemption = Preemption { by_priority: true, gap: 25, spare_ms: 0, times_max: 3, ..Preemption::OFF };

const SHARES: Preemption = Preemption { by_share: true, share_gap: 0, ..PREEMPTION };

const TAKEN: ShareTaken =
    ShareTaken { had_ppm: 1, part_ppm: 500_000, from_had_ppm: 1_250_000, from_part_ppm: 250_000, guaranteed: true };

pub(super) fn preemption_commands() -> Vec<Command> {
    let mut protected = specs().remove(1);
    protected.tasks[0].preemptible = false;
    let settings = Settings { preemption: Some(Preemption::OFF), ..Settings::default() };
    let (task, node) = (TaskId { run: RUN, step: 1, index: 2 }, "eu-1-a".parse().unwrap());
    vec![
        Command::SetPreemption { preemption: PREEMPTION },
        Command::PreemptAttempts(Preempting {
            task,
            generation: 3,
            node,
            epoch: Epoch(5),
            choice: Choice::FIRST,
            victims: attempt_ids(),
        }),
        Command::EndClaims { tasks: vec![task] },
        Command::SubmitJob { run: RUN, spec_digest: spec_digest(&protected), spec: Arc::new(protected) },
        Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings: Box::new(settings) },
    ]
}

pub(super) fn preemption_changes() -> Vec<Change> {
    let task = TaskId { run: RUN, step: 1, index: 2 };
    let gpus = GpuHold { devices: 1 << 40, milli: 500 };
    let claim = |resources, gpus, until| {
        let terms = ClaimTerms { resources, gpus, choice: Choice::FIRST, until };
        Change::Claim(Arc::new(Claim { task, node: "eu-1-a".parse().unwrap(), epoch: Epoch(5), terms }))
    };
    let attempt = attempts().remove(0);
    let stopped = Attempt {
        stop: Some(StopReason::Preempted),
        spared_until: Some(Served::NEVER),
        preempted: Some(Preempted { by: task, priority: 100, share: None }),
        ..attempt
    };
    let often = TaskId { run: RUN, step: 0, index: 41 };
    vec![
        Change::Settings(Arc::new(Settings { preemption: Some(PREEMPTION), ..Settings::default() })),
        claim(Resources { gpu_milli: 500, ..resources() }, gpus, Served(18_000)),
        claim(Resources::ZERO, GpuHold::NONE, Served(0)),
        Change::Attempt(Arc::new(stopped)),
        Change::Task(Arc::new(Task { preemptions: 5, ..Task::new(often, TaskState::Ready) })),
        Change::ClaimGone(task),
    ]
}

pub(super) fn preemption_events() -> Vec<Event> {
    let by = TaskId { run: RUN, step: 1, index: 2 };
    let attempt = attempt_ids()[0];
    vec![Event::AttemptPreempted { attempt, node: "eu-1-a".parse().unwrap(), by, priority: 70, share: None }]
}

/// What came with feature `gang-preemption`.
pub(super) fn gang_preemption_commands() -> Vec<Command> {
    let room =
        |node: &str, members, victims| GangRoom { node: node.parse().unwrap(), epoch: Epoch(5), members, victims };
    vec![Command::PreemptForGang(GangPreempting {
        run: RUN,
        step: 1,
        generation: 3,
        nodes: vec![room("eu-1-a", 2, attempt_ids()), room("eu-1-b", 1, Vec::new())],
    })]
}

/// What came with feature `fair-preemption`.
pub(super) fn share_commands() -> Vec<Command> {
    vec![Command::SetPreemption { preemption: SHARES }]
}

pub(super) fn share_changes() -> Vec<Change> {
    let by = TaskId { run: RUN, step: 1, index: 2 };
    let attempt = attempts().remove(0);
    let preempted = Some(Preempted { by, priority: 50, share: Some(TAKEN) });
    let stopped = Attempt { stop: Some(StopReason::Preempted), preempted, ..attempt };
    vec![
        Change::Settings(Arc::new(Settings { preemption: Some(SHARES), ..Settings::default() })),
        Change::Attempt(Arc::new(stopped)),
    ]
}

pub(super) fn share_events() -> Vec<Event> {
    let by = TaskId { run: RUN, step: 1, index: 2 };
    let (attempt, node) = (attempt_ids()[0], "eu-1-a".parse().unwrap());
    vec![Event::AttemptPreempted { attempt, node, by, priority: 50, share: Some(TAKEN) }]
}
