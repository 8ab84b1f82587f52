//! What came with feature `run-archive`: behind all that was frozen before it.

use std::sync::Arc;

use quorate_state::{
    Annotation, ArchivedRun, ArchivedStep, Change, Command, Job, Meta, Millis, Principal, Retention, Revision, Run,
    RunId, RunState, Segment, Served, Settings, StepCounts, TaskId, Uuid, VersionRow,
};

use super::{RUN, attempts, flow_step, runs, tasks};

const LEFT: RunId = RunId(RUN.0 + 20);

fn retention() -> Retention {
    Retention {
        memory_runs_max: 1,
        memory_rows_max: 2,
        archive_runs_max: 10_003,
        archive_ms_max: 0,
        history_revisions_max: u64::MAX,
        segment_runs_max: 7,
    }
}

pub(super) fn archive_commands() -> Vec<Command> {
    let settings = Settings { retention: Some(retention()), ..Settings::default() };
    vec![
        Command::ArchiveRuns { runs: vec![RUN, RunId(0)], rows_max: 2_000 },
        Command::TrimArchive { below: 7 },
        Command::SetRetention { retention: retention() },
        Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings: Box::new(settings) },
    ]
}

/// A run that was archived.
pub(crate) fn archived() -> ArchivedRun {
    let ended = Run { id: LEFT, state: RunState::Failed, ended_at: Some(Millis(300)), ..runs().remove(0) };
    let counts = StepCounts {
        waiting: 1,
        quarantined: 2,
        ready: 3,
        placed: 4,
        running: 5,
        succeeded: 6,
        failed: 7,
        cancelled: 8,
        skipped: 9,
    };
    ArchivedRun {
        segment: 3,
        run: Arc::new(ended),
        steps: vec![ArchivedStep { counts, rows: 43 }, ArchivedStep::default()],
        rows: vec![Arc::new(flow_step(LEFT))],
        annotations: vec![Arc::new(Annotation {
            run: LEFT,
            key: "build.commit".parse().unwrap(),
            value: "4f1c".into(),
            at: Millis(140),
            principal: Principal::anonymous_local(),
        })],
        archived_at: Millis(400),
    }
}

pub(super) fn archive_changes() -> Vec<Change> {
    let archived = archived();
    let run = archived.run.clone();
    let segment = Segment {
        number: 3,
        runs: 2,
        first_submitted: Revision(4),
        last_submitted: Revision(u64::MAX),
        began_at: Millis(350),
        last_ended: Millis(300),
        first_submitted_at: Millis(100),
        last_submitted_at: Millis(290),
    };
    let version = VersionRow {
        namespace: run.spec.namespace.clone(),
        job: run.spec.name.clone(),
        version: 2,
        first_run: LEFT,
        runs: 5,
        spec_digest: run.spec_digest,
        spec: run.spec.clone(),
        args: "{}".into(),
        submitted_at: run.submitted_at,
        principal: run.principal.clone(),
    };
    let id = TaskId { run: LEFT, step: 1, index: 2 };
    let task = quorate_state::Task { id, ..tasks().remove(0) };
    let attempt = attempts().remove(0);
    let attempt = quorate_state::Attempt { id: quorate_state::AttemptId { task: id, ..attempt.id }, ..attempt };
    let key = (run.spec.namespace.clone(), run.spec.name.clone(), 2);
    let spec = run.spec.clone();
    let latest = Job {
        namespace: spec.namespace.clone(),
        name: "archived".parse().unwrap(),
        version: 2,
        spec_digest: run.spec_digest,
        spec,
        latest_run: LEFT,
        submitted_at: Millis(100),
        submitted_revision: Revision(4),
        deleted: false,
        latest_ended: Some(RunState::Failed),
    };
    let meta = Meta { revision: Revision(99), served: Served(1), segments_from: 2, ..Meta::default() };
    let settings = Settings { retention: Some(retention()), ..Settings::default() };
    vec![
        Change::Segment(Arc::new(segment)),
        Change::Leaving(LEFT, 3),
        Change::AttemptArchived(3, Arc::new(attempt)),
        Change::TaskArchived(3, Arc::new(task)),
        Change::Left(LEFT),
        Change::Version(Arc::new(version)),
        Change::VersionGone(key),
        Change::Archived(Arc::new(archived)),
        Change::SegmentGone(3),
        Change::Job(Arc::new(latest)),
        Change::Settings(Arc::new(settings)),
        Change::Meta(meta),
    ]
}
