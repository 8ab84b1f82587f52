//! Versions of jobs: listed, compared, gone back to; and the end of a job.

use std::sync::Arc;

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_state::{Command, Job, JobName, JobSpec, JobVersion, Namespace, Reply, Run, State};
use tonic::Request;

use super::changes::changes;
use super::page::{Cursor, Pages};
use super::{jobs, name, refs, request_key, violation};
use crate::auth::{Action, authorize, principal};
use crate::core::Core;
use crate::reading::Reading;

pub(super) async fn list(
    reading: &Reading<'_>,
    request: Request<v1::ListJobVersionsRequest>,
) -> Result<v1::ListJobVersionsResponse, ApiError> {
    let principal = principal(&request)?;
    let request = request.into_inner();
    let (namespace, job) = named(request.job)?;
    authorize(&principal, Action::Read(Some(&namespace)))?;
    let view = reading.view().await?;
    let row = known(&view, &namespace, &job)?;
    let filters = [namespace.as_str(), job.as_str()];
    let pages = Pages::open(&view, "job versions", &filters, request.page_size, &request.page_token)?;
    let before = pages.after.as_ref().map(|cursor| cursor.part(0)).transpose()?;
    let rest = view.job_versions(&namespace, &job, before);
    let (page, next_page_token) = pages.take(rest, |version| Cursor::from([version.version.to_string()]));
    let versions = page.into_iter().filter_map(|version| Some(version_to_wire(version, view.run(version.first_run)?)));
    Ok(v1::ListJobVersionsResponse {
        versions: versions.collect(),
        next_page_token,
        revision: view.revision().0,
        deleted: row.deleted,
    })
}

pub(super) async fn diff(
    reading: &Reading<'_>,
    request: Request<v1::DiffJobVersionsRequest>,
) -> Result<v1::DiffJobVersionsResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::DiffJobVersionsRequest { job, from, to } = request.into_inner();
    let (namespace, job) = named(job)?;
    authorize(&principal, Action::Read(Some(&namespace)))?;
    let view = reading.view().await?;
    known(&view, &namespace, &job)?;
    let (from, to) = (spec_of(&view, &namespace, &job, from)?, spec_of(&view, &namespace, &job, to)?);
    Ok(v1::DiffJobVersionsResponse { revision: view.revision().0, changes: changes(Some(from), to) })
}

/// Goes back to what a version was, over the one that is the newest now: whoever submits another one meanwhile is not
/// overridden.
pub(super) async fn revert(
    core: &Core,
    request: Request<v1::RevertJobRequest>,
) -> Result<v1::SubmitJobResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::RevertJobRequest { job, version, request_id } = request.into_inner();
    let (namespace, job) = named(job)?;
    authorize(&principal, Action::Submit(&namespace))?;
    let view = core.read().await?;
    known(&view, &namespace, &job)?;
    let newest = view.job(&namespace, &job).map_or(0, |row| row.version);
    let run = run_of(&view, &namespace, &job, version)?;
    let mut body = job.as_str().as_bytes().to_vec();
    body.extend(version.to_be_bytes());
    let key = request_key("RevertJob", &request_id, Some(namespace), &body)?;
    // It is told what the first run of that version was.
    let args = run.spec.is_flow().then(|| run.args.clone());
    let submit = jobs::Submit { spec: run.spec.clone(), digest: run.spec_digest, args, over: Some(newest) };
    jobs::propose(core, principal, key, submit).await
}

pub(super) async fn delete(
    core: &Core,
    request: Request<v1::DeleteJobRequest>,
) -> Result<v1::DeleteJobResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::DeleteJobRequest { job, request_id } = request.into_inner();
    let (namespace, job) = named(job)?;
    authorize(&principal, Action::DeleteJob(&namespace))?;
    let key = request_key("DeleteJob", &request_id, Some(namespace.clone()), job.as_str().as_bytes())?;
    let command = Command::DeleteJob { namespace: namespace.clone(), job: job.clone() };
    match core.propose(principal.clone(), key, command).await? {
        Reply::Done => {
            tracing::info!(%namespace, %job, %principal, "job deleted");
            Ok(v1::DeleteJobResponse {})
        }
        other => Err(core.internal(&format!("the end of a job was answered with {other:?}"))),
    }
}

fn named(job: Option<v1::JobRef>) -> Result<(Namespace, JobName), ApiError> {
    let job = job.ok_or_else(|| violation("job", "is missing"))?;
    Ok((name("job.namespace", &job.namespace)?, name("job.name", &job.name)?))
}

/// The job, also when it was deleted.
fn known<'a>(view: &'a State, namespace: &Namespace, job: &JobName) -> Result<&'a Arc<Job>, ApiError> {
    view.job_ever(namespace, job).ok_or_else(|| refs::absent("job", &format!("{namespace}/{job}")))
}

fn spec_of<'a>(view: &'a State, namespace: &Namespace, job: &JobName, version: u32) -> Result<&'a JobSpec, ApiError> {
    let found = view.spec_of_version(namespace, job, version);
    let (spec, _) = found.ok_or_else(|| refs::absent("version", &format!("{version} of {namespace}/{job}")))?;
    Ok(spec)
}

/// The first run of a version: it has its spec.
fn run_of<'a>(view: &'a State, namespace: &Namespace, job: &JobName, version: u32) -> Result<&'a Arc<Run>, ApiError> {
    let mut versions = view.job_versions(namespace, job, Some(version.saturating_add(1)));
    let found = versions.next().filter(|found| found.version == version);
    let run = found.and_then(|found| view.run(found.first_run));
    run.ok_or_else(|| refs::absent("version", &format!("{version} of {namespace}/{job}")))
}

fn version_to_wire(version: JobVersion, run: &Run) -> v1::JobVersion {
    v1::JobVersion {
        version: version.version,
        submitted_at_ms: run.submitted_at.0,
        principal: run.principal.to_string(),
        first_run_id: run.id.to_string(),
        runs: version.runs,
        task_count: run.spec.tasks.iter().fold(0, |sum: u32, task| sum.saturating_add(task.count)),
        spec_digest: run.spec_digest.0.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
