//! Versions of jobs: listed, compared, gone back to; and the end of a job.

use std::sync::Arc;

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_state::{Command, Job, JobName, JobVersion, Namespace, Reply, State, VersionRow};
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
    let versions = page.into_iter().filter_map(|found| {
        let kept = view.job_version(&namespace, &job, found.version)?;
        Some(version_to_wire(found, &kept))
    });
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
    let (from, to) = (version_of(&view, &namespace, &job, from)?, version_of(&view, &namespace, &job, to)?);
    Ok(v1::DiffJobVersionsResponse { revision: view.revision().0, changes: changes(Some(&from.spec), &to.spec) })
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
    let back = version_of(&view, &namespace, &job, version)?;
    let mut body = job.as_str().as_bytes().to_vec();
    body.extend(version.to_be_bytes());
    let key = request_key("RevertJob", &request_id, Some(namespace), &body)?;
    // It is told what the first run of that version was.
    let args = back.spec.is_flow().then(|| back.args.clone());
    let submit = jobs::Submit { spec: back.spec.clone(), digest: back.spec_digest, args, over: Some(newest) };
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

/// What is kept of a version.
fn version_of(view: &State, namespace: &Namespace, job: &JobName, version: u32) -> Result<Arc<VersionRow>, ApiError> {
    let found = view.job_version(namespace, job, version);
    found.ok_or_else(|| refs::absent("version", &format!("{version} of {namespace}/{job}")))
}

fn version_to_wire(found: JobVersion, kept: &VersionRow) -> v1::JobVersion {
    v1::JobVersion {
        version: found.version,
        submitted_at_ms: kept.submitted_at.0,
        principal: kept.principal.to_string(),
        first_run_id: kept.first_run.to_string(),
        runs: found.runs,
        task_count: kept.spec.tasks.iter().fold(0, |sum: u32, task| sum.saturating_add(task.count)),
        spec_digest: kept.spec_digest.0.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
