//! Runs that have ended leave memory, and what is kept of them there.

use std::sync::Arc;

use quorate_state::{
    AttemptPhase, Change, Command, Digest, Exit, Feature, JobName, JobVersion, Namespace, Rejection, Reply, Retention,
    RunId, RunState, TaskId, TaskState, VERSIONS_KEPT_MAX,
};

use crate::cluster::{Cluster, job, task};

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    for feature in [Feature::TaskOutcomes, Feature::RunControl, Feature::TaskFlow, Feature::RunArchive] {
        cluster.enable(feature);
    }
    cluster
}

fn names() -> (Namespace, JobName) {
    ("acme".parse().unwrap(), "job".parse().unwrap())
}

fn archive(cluster: &mut Cluster, runs: &[u64], rows_max: u32) -> Result<Reply, Rejection> {
    cluster.run(Command::ArchiveRuns { runs: runs.iter().copied().map(RunId).collect(), rows_max })
}

/// A run of a job with so many tasks, which is its version, that was cancelled.
fn cancelled(cluster: &mut Cluster, run: u64, tasks: u8) {
    let spec = Arc::new(job((0..tasks).map(|number| task(&format!("t{number}"), &[])).collect()));
    cluster.run(Command::SubmitJob { run: RunId(run), spec, spec_digest: Digest([tasks; 32]) }).unwrap();
    cluster.run(Command::CancelRun { run: RunId(run) }).unwrap();
    for step in 0..u32::from(tasks) {
        cluster.run(Command::AdvanceStep { run: RunId(run), step, limit: 9 }).unwrap();
    }
    cluster.run(Command::FinishRun { run: RunId(run) }).unwrap();
}

#[test]
fn only_what_has_ended_and_is_held_by_nothing_is_archived() {
    let mut cluster = cluster();
    cluster.register("n", 1, "eu", "eu-1").unwrap();
    cluster.submit(7, job(vec![task("a", &[])])).unwrap();
    let id = TaskId { run: RunId(7), step: 0, index: 0 };
    cluster.place(id, "n");
    assert_eq!(archive(&mut cluster, &[7, 8], 100), Ok(Reply::Counted(0)), "it runs, and the other does not exist");
    // It has ended, and its processes are not known to be gone.
    cluster.report_gone(id, AttemptPhase::Ended, Some(Exit::Code(0)), false);
    cluster.run(Command::FinishRun { run: RunId(7) }).unwrap();
    assert_eq!(cluster.state.run(RunId(7)).unwrap().state, RunState::Succeeded);
    assert_eq!(cluster.state.archivable().count(), 0);
    assert_eq!(archive(&mut cluster, &[7], 100), Ok(Reply::Counted(0)), "it holds room");
    cluster.report_gone(id, AttemptPhase::Ended, Some(Exit::Code(0)), true);
    assert_eq!(cluster.state.archivable().collect::<Vec<_>>(), [RunId(7)]);
    assert_eq!(archive(&mut cluster, &[7, 7], 100), Ok(Reply::Counted(1)));
    assert!(cluster.state.run(RunId(7)).is_none() && cluster.state.task(id).is_none());
    assert_eq!((cluster.state.rows_in_memory(), cluster.state.finished_count()), (0, 0));
    assert_eq!(cluster.state.archived_count(), 1);
    let refused = cluster.run(Command::CancelRun { run: RunId(7) });
    assert_eq!(refused, Err(Rejection::UnknownRun(RunId(7))), "apply knows it no more");
}

#[test]
fn a_run_is_kept_while_another_is_a_second_try_of_it() {
    let mut cluster = cluster();
    cancelled(&mut cluster, 1, 2);
    cluster.run(Command::RestartRun { run: RunId(2), of: RunId(1), from: vec![] }).unwrap();
    assert_eq!(archive(&mut cluster, &[1], 100), Ok(Reply::Counted(0)), "its results may be asked for");
    cluster.run(Command::CancelRun { run: RunId(2) }).unwrap();
    (0..2).for_each(|step| drop(cluster.run(Command::AdvanceStep { run: RunId(2), step, limit: 9 })));
    cluster.run(Command::FinishRun { run: RunId(2) }).unwrap();
    assert_eq!(archive(&mut cluster, &[1, 2, 1], 100), Ok(Reply::Counted(2)), "once the second is gone");
    assert_eq!(cluster.state.finished_count(), 0);
}

#[test]
fn a_large_run_leaves_in_pieces_and_counts_as_archived_from_the_first_on() {
    let mut cluster = cluster();
    cancelled(&mut cluster, 5, 9);
    let mut changes = Vec::new();
    while cluster.state.rows_in_memory() > 0 {
        archive(&mut cluster, &[5], 4).unwrap();
        assert!(cluster.state.run(RunId(5)).is_none());
        changes.push(cluster.changes);
        let left = cluster.state.rows_in_memory() > 0;
        assert_eq!(cluster.state.leaving().collect::<Vec<_>>(), if left { vec![RunId(5)] } else { vec![] });
    }
    assert_eq!(changes.len(), 3, "nine tasks, four at once: {changes:?}");
    assert_eq!(archive(&mut cluster, &[5], 4), Ok(Reply::Counted(0)), "said again, nothing is done again");
    assert_eq!(cluster.state.archived_count(), 1);
}

#[test]
fn a_segment_is_not_forgotten_while_something_is_on_its_way_into_it() {
    let mut cluster = cluster();
    cancelled(&mut cluster, 5, 9);
    archive(&mut cluster, &[5], 4).unwrap();
    let refused = cluster.run(Command::TrimArchive { below: 2 });
    assert!(matches!(refused, Err(Rejection::Stale(_))), "{refused:?}");
    archive(&mut cluster, &[5], 100).unwrap();
    assert_eq!(cluster.run(Command::TrimArchive { below: 2 }), Ok(Reply::Counted(1)));
    assert_eq!(cluster.run(Command::TrimArchive { below: 2 }), Ok(Reply::Counted(0)));
    assert_eq!(cluster.state.archived_count(), 0);
}

#[test]
fn versions_of_a_job_and_how_its_newest_run_ended_outlive_its_runs() {
    let mut cluster = cluster();
    let (namespace, name) = names();
    for (run, tasks) in [(1, 1), (2, 1), (3, 2)] {
        cancelled(&mut cluster, run, tasks);
    }
    let told = |cluster: &Cluster, before| {
        let versions = cluster.state.job_versions(&namespace, &name, before);
        versions.map(|JobVersion { version, first_run, runs }| (version, first_run.0, runs)).collect::<Vec<_>>()
    };
    let whole = told(&cluster, None);
    assert_eq!(whole, [(2, 3, 1), (1, 1, 2)]);
    // Also when the later run of a version leaves before the first one.
    for run in [2, 1, 3] {
        archive(&mut cluster, &[run], 100).unwrap();
        assert_eq!(told(&cluster, None), whole, "run {run} left");
        assert_eq!(told(&cluster, Some(2)), whole[1..]);
        let version = cluster.state.job_version(&namespace, &name, 1).unwrap();
        assert_eq!((version.first_run, version.spec.tasks.len()), (RunId(1), 1));
    }
    let row = cluster.state.job(&namespace, &name).unwrap();
    assert_eq!((row.latest_run, row.latest_ended), (RunId(3), Some(RunState::Cancelled)));
    cancelled(&mut cluster, 4, 2);
    assert_eq!(told(&cluster, None), [(2, 3, 2), (1, 1, 2)], "what is submitted again goes on counting");
    assert_eq!(cluster.state.job(&namespace, &name).unwrap().latest_ended, None);
    assert!(cluster.state.job_version(&namespace, &name, 3).is_none());
}

#[test]
fn of_very_many_versions_the_newest_are_kept() {
    let mut cluster = cluster();
    let (namespace, name) = names();
    let spec = Arc::new(job(vec![task("t", &[])]));
    for run in 1..=VERSIONS_KEPT_MAX as u64 + 3 {
        let spec_digest = Digest([u8::try_from(run).unwrap(); 32]);
        cluster.run(Command::SubmitJob { run: RunId(run), spec: spec.clone(), spec_digest }).unwrap();
        cluster.run(Command::CancelRun { run: RunId(run) }).unwrap();
        cluster.run(Command::AdvanceStep { run: RunId(run), step: 0, limit: 9 }).unwrap();
        cluster.run(Command::FinishRun { run: RunId(run) }).unwrap();
        archive(&mut cluster, &[run], 100).unwrap();
    }
    let versions: Vec<u32> = cluster.state.job_versions(&namespace, &name, None).map(|found| found.version).collect();
    let newest = u32::try_from(VERSIONS_KEPT_MAX).unwrap() + 3;
    assert_eq!(versions, (4..=newest).rev().collect::<Vec<_>>());
}

#[test]
fn readers_see_an_archived_run_as_it_was() {
    let mut cluster = cluster();
    cancelled(&mut cluster, 5, 3);
    let before = cluster.state.clone();
    let (run, id) = (RunId(5), TaskId { run: RunId(5), step: 1, index: 0 });
    archive(&mut cluster, &[5], 100).unwrap();
    // What was written of it.
    let stamp = quorate_state::Stamp { wall: before.meta().now, term: 1, elapsed_ms: 0 };
    let command = Command::ArchiveRuns { runs: vec![run], rows_max: 100 };
    let item = quorate_state::Item { principal: quorate_state::Principal::controller(), request: None, command };
    let entry = quorate_state::Entry { stamp, items: vec![item] };
    let applied = quorate_state::apply(&before, quorate_state::Revision(before.revision().0 + 1), &entry);
    let archived = applied.changes.iter().find_map(|change| match change {
        Change::Archived(archived) => Some(archived.clone()),
        _ => None,
    });
    let archived = archived.unwrap();
    let task = (**before.task(id).unwrap()).clone();
    let shown = cluster.state.with_archived(&archived, [task], []);
    assert_eq!(shown.run(run), before.run(run));
    assert_eq!(shown.run_counts(run), before.run_counts(run));
    assert_eq!(shown.task(id).unwrap().state, TaskState::Cancelled);
    assert_eq!(shown.tasks_of(run).count(), 1, "what was not asked for is not there");
    assert!((0..3).all(|step| shown.step_counts(run, step) == before.step_counts(run, step)));
    assert_eq!(archived.counts(), before.run_counts(run));
    assert!(cluster.state.run(run).is_none(), "it is there for readers alone");
}

#[test]
fn retention_is_what_somebody_set_and_what_makes_no_sense_is_refused() {
    let mut cluster = Cluster::new();
    let retention = Retention {
        memory_runs_max: 5,
        memory_rows_max: 50,
        archive_runs_max: 500,
        archive_ms_max: 0,
        history_revisions_max: 5_000,
        segment_runs_max: 10,
    };
    assert_eq!(cluster.state.retention(), None);
    let refused = cluster.run(Command::SetRetention { retention });
    assert_eq!(refused, Err(Rejection::FeatureNotEnabled(Feature::RunArchive)));
    cluster.enable(Feature::RunArchive);
    assert_eq!(cluster.state.retention().unwrap().memory_runs_max, 10_000);
    let wrong = Retention { segment_runs_max: 0, history_revisions_max: 1, ..retention };
    let Err(Rejection::Invalid(flaws)) = cluster.run(Command::SetRetention { retention: wrong }) else { panic!() };
    let fields: Vec<&str> = flaws.iter().map(|flaw| &*flaw.field).collect();
    assert_eq!(fields, ["retention.history_revisions_max", "retention.segment_runs_max"]);
    cluster.run(Command::SetRetention { retention }).unwrap();
    assert_eq!(cluster.state.retention(), Some(retention));
}
