//! Accepting a job: a run and all its tasks, in one revision.

use std::sync::Arc;

use super::flow;
use super::overlay::Overlay;
use crate::{
    Change, Digest, Event, Feature, Graph, Job, JobName, JobSpec, Namespace, Principal, Rejection, Reply, Rest, Role,
    Run, RunId, RunState, Step, TaskId, TaskSpec, TaskState, Wait, ready_ahead_max,
};

/// Rows of tasks that one submit makes, about; a job of more steps has one for each. Part of what feature `task-flow`
/// means.
pub(super) const ROWS_PER_SUBMIT_MAX: u32 = 100_000;

pub(super) fn submit(
    overlay: &mut Overlay,
    item: u32,
    principal: &Principal,
    run: RunId,
    spec: &Arc<JobSpec>,
    digest: Digest,
    args: &Arc<str>,
) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    if !overlay.state().has_namespace(&spec.namespace) {
        return Err(Rejection::UnknownNamespace(spec.namespace.clone()));
    }
    spec.check(&settings).map_err(Rejection::Invalid)?;
    check_sub_runs(overlay, spec)?;
    admit(overlay, run)?;
    let version = put_job(overlay, run, spec, digest);
    let accepted = Accepted {
        run,
        item,
        principal,
        spec,
        digest,
        version,
        args,
        restart_of: None,
        parent: None,
        priority_set: None,
        timeout_ms: None,
    };
    put_run(overlay, &accepted);
    let rows_max = rows_per_step(overlay, spec);
    for (step, _) in (0_u32..).zip(&spec.tasks) {
        put_step(overlay, run, spec, step, rows_max);
    }
    overlay.emit(Event::RunSubmitted { run, namespace: spec.namespace.clone(), job: spec.name.clone() });
    Ok(Reply::Submitted { run, version, revision: overlay.revision(), window_ms: settings.request_window_ms })
}

/// Refuses tasks that are runs of what there is not.
fn check_sub_runs(overlay: &Overlay, spec: &JobSpec) -> Result<(), Rejection> {
    let violations = overlay.state().sub_run_violations(spec);
    if violations.is_empty() { Ok(()) } else { Err(Rejection::Invalid(violations)) }
}

/// Refuses a run for which there is no room, or whose id is taken.
pub(super) fn admit(overlay: &Overlay, run: RunId) -> Result<(), Rejection> {
    let settings = overlay.settings()?;
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
    Ok(())
}

/// A run that is accepted.
pub(super) struct Accepted<'a> {
    pub(super) run: RunId,
    pub(super) item: u32,
    pub(super) principal: &'a Principal,
    pub(super) spec: &'a Arc<JobSpec>,
    pub(super) digest: Digest,
    pub(super) version: u32,
    pub(super) args: &'a Arc<str>,
    pub(super) restart_of: Option<RunId>,
    pub(super) parent: Option<TaskId>,
    pub(super) priority_set: Option<u8>,
    /// How long it may take, besides what its spec says.
    pub(super) timeout_ms: Option<u64>,
}

/// The row of a run that begins now, and its spec.
pub(super) fn put_run(overlay: &mut Overlay, accepted: &Accepted<'_>) {
    let Accepted { run, item, principal, spec, digest, version, args, restart_of, parent, priority_set, timeout_ms } =
        *accepted;
    let timeout = spec.timeout_ms.into_iter().chain(timeout_ms).min();
    overlay.put(Change::Spec(run, digest, spec.clone()));
    overlay.put_run(Run {
        id: run,
        spec: spec.clone(),
        graph: Arc::new(Graph::of(spec)),
        spec_digest: digest,
        job_version: version,
        restart_of,
        args: args.clone(),
        principal: principal.clone(),
        state: RunState::Pending,
        cancelling: false,
        abandoned: false,
        paused: None,
        priority_set,
        submitted_at: overlay.now(),
        submitted_revision: overlay.revision(),
        submitted_item: item,
        deadline: timeout.map(|timeout| overlay.served().plus(timeout)),
        timed_out: false,
        started_at: None,
        ended_at: None,
        parent,
        result: None,
        flaw: None,
    });
}

/// The tasks of a step with which nothing has happened yet; at most `rows_max` of them have rows.
pub(super) fn put_step(overlay: &mut Overlay, run: RunId, spec: &JobSpec, step: u32, rows_max: u32) {
    let Some(task) = spec.tasks.get(step as usize) else { return };
    let state = first_state(task);
    let rows = match task.role {
        // They come when there is something to undo.
        Role::Undo { .. } => 0,
        Role::Work | Role::Fallback { .. } | Role::Finally => task.count.min(rows_max),
    };
    for index in 0..rows {
        flow::put_task(overlay, TaskId { run, step, index }, state.clone(), |_| {});
    }
    if (1..task.count).contains(&rows) {
        let (decision, elements, rest) = (None, task.count, Rest::Waiting);
        overlay.put(Change::Step(Arc::new(Step { run, step, decision, elements, rest, gang: None })));
    }
}

/// Where a task begins: in the queue, if it waits for nothing.
pub(super) fn first_state(task: &TaskSpec) -> TaskState {
    let is_free = task.needs.is_empty() && task.role == Role::Work && !task.is_decided();
    if is_free { TaskState::Ready } else { TaskState::Waiting(Wait::Needs) }
}

/// Tasks of each step that have rows from the beginning; those of a large one come when it is their turn, so that no entry
/// makes very many.
pub(super) fn rows_per_step(overlay: &Overlay, spec: &JobSpec) -> u32 {
    if !overlay.state().has_feature(Feature::TaskFlow) {
        return u32::MAX;
    }
    let steps = u32::try_from(spec.tasks.len()).unwrap_or(u32::MAX);
    (ROWS_PER_SUBMIT_MAX / steps.max(1)).clamp(1, ready_ahead_max())
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
        latest_ended: None,
    })));
    version
}
