//! Versions of jobs: counted, checked, and deleted with their job.

use std::sync::Arc;

use quorate_state::{
    Command, Digest, Feature, JobName, JobSpec, JobVersion, Namespace, Rejection, Reply, RunId, TaskSpec, Violation,
};

use crate::cluster::{Cluster, job, request, task};

fn names() -> (Namespace, JobName) {
    ("acme".parse().unwrap(), "job".parse().unwrap())
}

/// The spec of a job with so many tasks, whose digest is that.
fn spec(tasks: u8) -> (Arc<JobSpec>, Digest) {
    let tasks_of: Vec<TaskSpec> = (0..tasks).map(|number| task(&format!("t{number}"), &[])).collect();
    (Arc::new(job(tasks_of)), Digest([tasks; 32]))
}

fn submit(run: u64, tasks: u8) -> Command {
    let (spec, spec_digest) = spec(tasks);
    Command::SubmitJob { run: RunId(run), spec, spec_digest }
}

fn submit_at(run: u64, tasks: u8, version: u32) -> Command {
    let (spec, spec_digest) = spec(tasks);
    Command::SubmitJobAt { run: RunId(run), spec, spec_digest, version }
}

fn delete() -> Command {
    let (namespace, job) = names();
    Command::DeleteJob { namespace, job }
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.run(Command::EnableFeature { feature: Feature::RunControl, term: 1 }).unwrap();
    cluster
}

fn version(reply: Result<Reply, Rejection>) -> u32 {
    match reply {
        Ok(Reply::Submitted { version, .. }) => version,
        other => panic!("{other:?}"),
    }
}

fn versions(cluster: &Cluster, before: Option<u32>) -> Vec<(u32, u64, u32)> {
    let (namespace, job) = names();
    let versions = cluster.state.job_versions(&namespace, &job, before);
    versions.map(|JobVersion { version, first_run, runs }| (version, first_run.0, runs)).collect()
}

fn end(cluster: &mut Cluster, run: u64, steps: u8) {
    cluster.run(Command::CancelRun { run: RunId(run) }).unwrap();
    for step in 0..u32::from(steps) {
        cluster.run(Command::AdvanceStep { run: RunId(run), step, limit: 9 }).unwrap();
    }
    cluster.run(Command::FinishRun { run: RunId(run) }).unwrap();
}

#[test]
fn versions_are_known_by_their_runs() {
    let mut cluster = cluster();
    for (run, tasks) in [(9, 1), (3, 1), (5, 2), (1, 1)] {
        cluster.run(submit(run, tasks)).unwrap();
    }
    // What is submitted again is a new version, whatever was submitted before the one that it follows.
    assert_eq!(versions(&cluster, None), [(3, 1, 1), (2, 5, 1), (1, 9, 2)]);
    assert_eq!(versions(&cluster, Some(3)), [(2, 5, 1), (1, 9, 2)]);
    let (namespace, job) = names();
    assert_eq!(cluster.state.job_unfinished(&namespace, &job), 4);
    end(&mut cluster, 9, 1);
    assert_eq!(cluster.state.job_unfinished(&namespace, &job), 3);
}

#[test]
fn a_submit_over_a_version_is_refused_when_another_is_the_newest() {
    let mut cluster = cluster();
    assert_eq!(version(cluster.run(submit_at(1, 1, 0))), 1);
    let (namespace, job) = names();
    let moved_on = |checked, newest| {
        Err(Rejection::JobMovedOn { namespace: namespace.clone(), job: job.clone(), checked, newest })
    };
    assert_eq!(cluster.run(submit_at(2, 2, 0)), moved_on(0, 1));
    assert_eq!(version(cluster.run(submit_at(2, 2, 1))), 2);
    assert_eq!(cluster.run(submit_at(3, 3, 1)), moved_on(1, 2));
    assert_eq!(version(cluster.run(submit_at(3, 2, 2))), 2, "the same spec is the same version");
}

/// What is in it may wait for a feature of its own.
#[test]
fn a_submit_over_a_version_is_checked_like_any_other() {
    let mut cluster = cluster();
    let (spec, spec_digest) = spec(1);
    let mut choosy = (*spec).clone();
    choosy.tasks[0].place.labels.insert("disk".into(), "ssd".into());
    let choosy = Command::SubmitJobAt { run: RunId(1), spec: Arc::new(choosy), spec_digest, version: 0 };
    assert_eq!(cluster.run(choosy), Err(Rejection::FeatureNotEnabled(Feature::PlaceLabels)));
    let empty = Command::SubmitJobAt { run: RunId(1), spec: Arc::new(job(vec![])), spec_digest, version: 0 };
    let refused = cluster.run(empty);
    assert!(
        matches!(&refused, Err(Rejection::Invalid(found)) if matches!(&found[..], [Violation { .. }])),
        "{refused:?}"
    );
}

#[test]
fn a_job_is_deleted_when_nothing_of_it_runs_and_its_versions_go_on_counting() {
    let mut cluster = cluster();
    cluster.run(submit(1, 1)).unwrap();
    let (namespace, job) = names();
    let runs = Rejection::JobRuns { namespace: namespace.clone(), job: job.clone(), unfinished: 1 };
    assert_eq!(cluster.run(delete()), Err(runs));
    end(&mut cluster, 1, 1);
    assert_eq!(cluster.run(delete()), Ok(Reply::Done));
    assert_eq!(cluster.run(delete()), Err(Rejection::UnknownJob(namespace.clone(), job.clone())));
    assert!(cluster.state.job(&namespace, &job).is_none() && cluster.state.job_ever(&namespace, &job).is_some());
    assert_eq!(versions(&cluster, None), [(1, 1, 1)], "its runs stay");

    assert_eq!(version(cluster.run(submit_at(2, 2, 0))), 2);
    assert!(cluster.state.job(&namespace, &job).is_some());
    assert_eq!(versions(&cluster, None), [(2, 2, 1), (1, 1, 1)]);
}

#[test]
fn a_delete_that_is_repeated_late_does_not_delete_what_was_submitted_since() {
    let mut cluster = cluster();
    cluster.run(submit(1, 1)).unwrap();
    end(&mut cluster, 1, 1);
    assert_eq!(cluster.run_as(request("d", 1), delete()), Ok(Reply::Done));
    cluster.run(submit(2, 2)).unwrap();
    end(&mut cluster, 2, 2);
    assert_eq!(cluster.run_as(request("d", 1), delete()), Ok(Reply::Done));
    let (namespace, job) = names();
    assert!(cluster.state.job(&namespace, &job).is_some());
}
