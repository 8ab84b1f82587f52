//! Accepting a job: a run and all its tasks, in one revision.

use std::sync::Arc;

use super::overlay::Overlay;
use crate::{
    Change, Digest, Event, Graph, Job, JobName, JobSpec, Namespace, Principal, Rejection, Reply, Run, RunId, RunState,
    Task, TaskId, TaskState, Wait,
};

pub(super) fn submit(
    overlay: &mut Overlay,
    item: u32,
    principal: &Principal,
    run: RunId,
    spec: &Arc<JobSpec>,
    digest: Digest,
) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    if !overlay.state().has_namespace(&spec.namespace) {
        return Err(Rejection::UnknownNamespace(spec.namespace.clone()));
    }
    spec.check(&settings).map_err(Rejection::Invalid)?;
    if overlay.state().unfinished_count() as u64 >= u64::from(settings.runs_unfinished_max) {
        return Err(Rejection::LimitReached {
            limit: "runs_unfinished_max",
            max: settings.runs_unfinished_max.into(),
            advice: "wait until runs have ended, or cancel some",
        });
    }
    if overlay.state().run(run).is_some() {
        return Err(Rejection::RunIdTaken(run));
    }
    let version = put_job(overlay, run, spec, digest);
    overlay.put(Change::Spec(run, digest, spec.clone()));
    overlay.put_run(Run {
        id: run,
        spec: spec.clone(),
        graph: Arc::new(Graph::of(spec)),
        spec_digest: digest,
        job_version: version,
        principal: principal.clone(),
        state: RunState::Pending,
        cancelling: false,
        paused: None,
        priority_set: None,
        submitted_at: overlay.now(),
        submitted_revision: overlay.revision(),
        submitted_item: item,
        deadline: spec.timeout_ms.map(|timeout| overlay.served().plus(timeout)),
        timed_out: false,
        started_at: None,
        ended_at: None,
    });
    for (step, task) in (0_u32..).zip(&spec.tasks) {
        let state = if task.needs.is_empty() { TaskState::Ready } else { TaskState::Waiting(Wait::Needs) };
        for index in 0..task.count {
            let id = TaskId { run, step, index };
            let queue_deadline = if state == TaskState::Ready { overlay.queue_deadline(id) } else { None };
            let task =
                Task { id, state: state.clone(), generation: 0, attempts: 0, tries: 0, losses: 0, queue_deadline };
            overlay.put(Change::Task(Arc::new(task)));
        }
    }
    overlay.emit(Event::RunSubmitted { run, namespace: spec.namespace.clone(), job: spec.name.clone() });
    Ok(Reply::Submitted { run, version, revision: overlay.revision(), window_ms: settings.request_window_ms })
}

/// Refuses what was made for another version of a job.
pub(super) fn check_version(overlay: &Overlay, spec: &JobSpec, checked: u32) -> Result<(), Rejection> {
    overlay.settings()?;
    let (namespace, job) = (&spec.namespace, &spec.name);
    let newest = overlay.state().job(namespace, job).map_or(0, |job| job.version);
    if newest == checked {
        return Ok(());
    }
    Err(Rejection::JobMovedOn { namespace: namespace.clone(), job: job.clone(), checked, newest })
}

/// The row stays, so that versions of the name go on counting: runs of before have theirs.
pub(super) fn delete(overlay: &mut Overlay, namespace: &Namespace, job: &JobName) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let row = overlay.state().job(namespace, job).cloned();
    let row = row.ok_or_else(|| Rejection::UnknownJob(namespace.clone(), job.clone()))?;
    let unfinished = overlay.state().job_unfinished(namespace, job);
    if unfinished > 0 {
        return Err(Rejection::JobRuns { namespace: namespace.clone(), job: job.clone(), unfinished });
    }
    overlay.put(Change::Job(Arc::new(Job { deleted: true, ..(*row).clone() })));
    Ok(Reply::Done)
}

/// The job's row after this submit; its version rises only with a new spec.
fn put_job(overlay: &mut Overlay, run: RunId, spec: &Arc<JobSpec>, digest: Digest) -> u32 {
    let version = match overlay.state().job_ever(&spec.namespace, &spec.name) {
        Some(job) if job.spec_digest == digest => job.version,
        Some(job) => job.version.saturating_add(1),
        None => 1,
    };
    overlay.put(Change::Job(Arc::new(Job {
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        version,
        spec_digest: digest,
        spec: spec.clone(),
        latest_run: run,
        submitted_at: overlay.now(),
        submitted_revision: overlay.revision(),
        deleted: false,
    })));
    version
}
