//! The service Jobs: accept a job, say what accepting it would do, list jobs. Their versions are in `versions`.

use std::sync::Arc;

use quorate_proto::convert::job::{job_to_wire, spec_digest, spec_from_wire};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_state::{
    Command, Digest, Feature, Job, JobName, JobSpec, Namespace, Principal, Rejection, Reply, RequestKey, RunId,
    RunState, State, TaskName,
};
use tokio::sync::SemaphorePermit;
use tonic::{Request, Response, Status};

use super::changes::changes;
use super::explain::planned_task;
use super::page::{Cursor, Pages};
use super::select::Select;
use super::{name, optional_name, refs, request_key, versions, violation};
use crate::auth::{Action, authorize, principal};
use crate::core::{Core, SUBMITS_WAITING_MAX, Shared};
use crate::reading::Reading;

/// Run ids are random: this many taken ones in a row mean that something else is wrong.
const RUN_IDS_TRIED_MAX: u32 = 4;

/// The service Jobs of one replica.
pub(crate) struct JobsService(pub(crate) Shared);

#[tonic::async_trait]
impl v1::jobs_server::Jobs for JobsService {
    async fn submit_job(
        &self,
        request: Request<v1::SubmitJobRequest>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        self.0.answer("SubmitJob", submit(&self.0, request)).await
    }

    async fn plan_job(&self, request: Request<v1::PlanJobRequest>) -> Result<Response<v1::PlanJobResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("PlanJob", plan(&reading, request)).await
    }

    async fn submit_job_at(
        &self,
        request: Request<v1::SubmitJobAtRequest>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        self.0.answer("SubmitJobAt", submit_at(&self.0, request)).await
    }

    async fn submit_flow(
        &self,
        request: Request<v1::SubmitFlowRequest>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        self.0.answer("SubmitFlow", submit_flow(&self.0, request)).await
    }

    async fn restart_run(
        &self,
        request: Request<v1::RestartRunRequest>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        self.0.answer("RestartRun", restart(&self.0, request)).await
    }

    async fn list_job_versions(
        &self,
        request: Request<v1::ListJobVersionsRequest>,
    ) -> Result<Response<v1::ListJobVersionsResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListJobVersions", versions::list(&reading, request)).await
    }

    async fn diff_job_versions(
        &self,
        request: Request<v1::DiffJobVersionsRequest>,
    ) -> Result<Response<v1::DiffJobVersionsResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("DiffJobVersions", versions::diff(&reading, request)).await
    }

    async fn revert_job(
        &self,
        request: Request<v1::RevertJobRequest>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        self.0.answer("RevertJob", versions::revert(&self.0, request)).await
    }

    async fn delete_job(
        &self,
        request: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        self.0.answer("DeleteJob", versions::delete(&self.0, request)).await
    }

    async fn list_jobs(&self, request: Request<v1::ListJobsRequest>) -> Result<Response<v1::ListJobsResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListJobs", list(&reading, request)).await
    }
}

pub(super) async fn submit(
    core: &Core,
    request: Request<v1::SubmitJobRequest>,
) -> Result<v1::SubmitJobResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::SubmitJobRequest { spec, request_id } = request.into_inner();
    let spec = converted(spec)?;
    authorize(&principal, Action::Submit(&spec.namespace))?;
    // Apply checks again, with the settings of its own revision; this one answers without a round.
    let view = core.replica.view();
    let Some(settings) = view.settings() else { return Err(not_here(core)) };
    spec.check(settings).map_err(ApiError::Invalid)?;
    refuse_flow(&spec)?;

    let digest = spec_digest(&spec);
    let key = request_key("SubmitJob", &request_id, Some(spec.namespace.clone()), &digest.0)?;
    propose(core, principal, key, Submit { spec: Arc::new(spec), digest, args: None, over: None }).await
}

async fn submit_at(core: &Core, request: Request<v1::SubmitJobAtRequest>) -> Result<v1::SubmitJobResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::SubmitJobAtRequest { spec, version, request_id } = request.into_inner();
    let spec = converted(spec)?;
    authorize(&principal, Action::Submit(&spec.namespace))?;
    refuse_flow(&spec)?;
    let digest = spec_digest(&spec);
    let mut body = digest.0.to_vec();
    body.extend(version.to_be_bytes());
    let key = request_key("SubmitJobAt", &request_id, Some(spec.namespace.clone()), &body)?;
    propose(core, principal, key, Submit { spec: Arc::new(spec), digest, args: None, over: Some(version) }).await
}

async fn submit_flow(core: &Core, request: Request<v1::SubmitFlowRequest>) -> Result<v1::SubmitJobResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::SubmitFlowRequest { spec, args, version, request_id } = request.into_inner();
    let spec = converted(spec)?;
    authorize(&principal, Action::Submit(&spec.namespace))?;
    let view = core.replica.view();
    let Some(settings) = view.settings() else { return Err(not_here(core)) };
    spec.check(settings).map_err(ApiError::Invalid)?;
    let digest = spec_digest(&spec);
    let mut body = digest.0.to_vec();
    body.push(u8::from(version.is_some()));
    body.extend(version.unwrap_or_default().to_be_bytes());
    body.extend(args.bytes());
    let key = request_key("SubmitFlow", &request_id, Some(spec.namespace.clone()), &body)?;
    let args = told(&spec, &args)?;
    // An older leader would find no meaning in such a reference.
    if quorate_flow::names_payloads(&spec) && !view.has_feature(Feature::PayloadRefs) {
        return Err(Rejection::FeatureNotEnabled(Feature::PayloadRefs).into());
    }
    propose(core, principal, key, Submit { spec: Arc::new(spec), digest, args, over: version }).await
}

/// Refuses what an older server would take without the fields that it does not know.
fn refuse_flow(spec: &JobSpec) -> Result<(), ApiError> {
    if !spec.is_flow() {
        return Ok(());
    }
    Err(violation(
        "spec",
        "uses params, references, when, each, on, undo, finally, accept, gang, job:// or result: submit it with SubmitFlow",
    ))
}

/// What a run of the job is told that is given `args`: none of a job that takes nothing of the kind.
fn told(spec: &JobSpec, args: &str) -> Result<Option<Arc<str>>, ApiError> {
    if !spec.is_flow() && args.is_empty() {
        return Ok(None);
    }
    quorate_flow::check(spec).map_err(ApiError::Invalid)?;
    let args = quorate_flow::complete_args(spec, args).map_err(ApiError::Invalid)?;
    Ok(spec.is_flow().then(|| args.into()))
}

/// What is submitted.
pub(super) struct Submit {
    pub(super) spec: Arc<JobSpec>,
    pub(super) digest: Digest,
    /// What its run is told, of a job that decides something.
    pub(super) args: Option<Arc<str>>,
    /// The version that is to be the job's newest; none: whichever that is.
    pub(super) over: Option<u32>,
}

/// Proposes a submit, under a run id that is minted here.
pub(super) async fn propose(
    core: &Core,
    principal: Principal,
    key: Option<RequestKey>,
    submit: Submit,
) -> Result<v1::SubmitJobResponse, ApiError> {
    let Submit { spec, digest, args, over } = submit;
    let _permit = admitted(core)?;
    let command = |run| {
        let (spec, spec_digest) = (spec.clone(), digest);
        match (args.clone(), over) {
            (Some(args), version) => Command::SubmitFlow { run, spec, spec_digest, args, version },
            (None, None) => Command::SubmitJob { run, spec, spec_digest },
            (None, Some(version)) => Command::SubmitJobAt { run, spec, spec_digest, version },
        }
    };
    let accepted = accept(core, &principal, key, command).await?;
    let run = &accepted.run_id;
    tracing::info!(run, namespace = %spec.namespace, job = %spec.name, version = accepted.version,
        revision = accepted.revision, %principal, "run submitted");
    Ok(accepted)
}

/// Proposes what makes a run, under an id that is minted here.
async fn accept(
    core: &Core,
    principal: &Principal,
    key: Option<RequestKey>,
    command: impl Fn(RunId) -> Command,
) -> Result<v1::SubmitJobResponse, ApiError> {
    for _ in 0..RUN_IDS_TRIED_MAX {
        let run = RunId(core.seams.entropy.u64());
        let reply = match core.propose(principal.clone(), key.clone(), command(run)).await {
            Err(ApiError::Exists { kind, .. }) if kind == "run" => continue,
            reply => reply?,
        };
        let Reply::Submitted { run, version, revision, window_ms } = reply else {
            return Err(core.internal(&format!("a submit was answered with {reply:?}")));
        };
        tracing::Span::current().record("run", tracing::field::display(run));
        return Ok(v1::SubmitJobResponse {
            run_id: run.to_string(),
            version,
            revision: revision.0,
            request_window_ms: window_ms,
        });
    }
    Err(core.internal("every run id drawn was taken: the source of entropy is broken"))
}

/// Tries a run that has ended a second time.
async fn restart(core: &Core, request: Request<v1::RestartRunRequest>) -> Result<v1::SubmitJobResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::RestartRunRequest { run, from, request_id } = request.into_inner();
    let (of, namespace) = refs::resolve_fixed(core, run.as_ref()).await?;
    authorize(&principal, Action::Submit(&namespace))?;
    let from: Vec<TaskName> = from
        .iter()
        .enumerate()
        .map(|(number, text)| name(&format!("from[{number}]"), text))
        .collect::<Result<_, _>>()?;
    let mut body = of.0.to_be_bytes().to_vec();
    // No name contains the byte that ends it.
    from.iter().for_each(|name| body.extend(name.as_str().bytes().chain([0])));
    let key = request_key("RestartRun", &request_id, Some(namespace), &body)?;
    let _permit = admitted(core)?;
    let accepted = accept(core, &principal, key, |run| Command::RestartRun { run, of, from: from.clone() }).await?;
    tracing::info!(run = accepted.run_id, %of, revision = accepted.revision, %principal, "run restarted");
    Ok(accepted)
}

/// The right to propose new work.
fn admitted(core: &Core) -> Result<SemaphorePermit<'_>, ApiError> {
    core.admit_new_work()?;
    core.submits.try_acquire().map_err(|_| ApiError::Overloaded {
        limit: "SUBMITS_WAITING_MAX".into(),
        max: SUBMITS_WAITING_MAX as u64,
        advice: "the leader is busy with submits: try again later".into(),
    })
}

async fn plan(reading: &Reading<'_>, request: Request<v1::PlanJobRequest>) -> Result<v1::PlanJobResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::PlanJobRequest { spec, args } = request.into_inner();
    let spec = converted(spec)?;
    authorize(&principal, Action::Read(Some(&spec.namespace)))?;
    let view = reading.view().await?;
    if let Some(settings) = view.settings() {
        spec.check(settings).map_err(ApiError::Invalid)?;
    }
    told(&spec, &args)?;
    if !view.has_namespace(&spec.namespace) {
        return Err(Rejection::UnknownNamespace(spec.namespace).into());
    }
    let violations = view.sub_run_violations(&spec);
    if !violations.is_empty() {
        return Err(ApiError::Invalid(violations));
    }
    Ok(planned(&view, &spec))
}

fn planned(view: &State, spec: &JobSpec) -> v1::PlanJobResponse {
    let current = view.job(&spec.namespace, &spec.name);
    let current_version = current.map_or(0, |job| job.version);
    // Versions go on counting when a job was deleted.
    let ever = view.job_ever(&spec.namespace, &spec.name);
    let newest = ever.map_or(0, |job| job.version);
    let same = ever.is_some_and(|job| job.spec_digest == spec_digest(spec));
    let tasks = quorate_scheduler::explain::preview(view, spec);
    v1::PlanJobResponse {
        revision: view.revision().0,
        version: if same { newest } else { newest.saturating_add(1) },
        current_version,
        changes: changes(current.map(|job| &*job.spec), spec),
        tasks: tasks.into_iter().map(planned_task).collect(),
        task_count: spec.tasks.iter().fold(0, |sum: u32, task| sum.saturating_add(task.count)),
    }
}

async fn list(reading: &Reading<'_>, request: Request<v1::ListJobsRequest>) -> Result<v1::ListJobsResponse, ApiError> {
    let principal = principal(&request)?;
    let request = request.into_inner();
    let namespace: Option<Namespace> = optional_name("namespace", &request.namespace)?;
    authorize(&principal, Action::Read(namespace.as_ref()))?;
    let select = Select::of(&request.states, &request.labels, request.submitted_since_ms, request.submitted_until_ms)?;
    let view = reading.view().await?;
    let filters = [&*request.namespace, &*select.words()];
    let pages = Pages::open(&view, "jobs", &filters, request.page_size, &request.page_token)?;
    let after = pages.after.as_ref().map(job_cursor).transpose()?;

    let wanted = |job: &&Arc<Job>| {
        !job.deleted
            && namespace.as_ref().is_none_or(|namespace| job.namespace == *namespace)
            && select.takes_since(job.submitted_at)
            && latest_state(&view, job).is_some_and(|state| select.takes(job.submitted_at, state, &job.spec.labels))
    };
    let rest = view.jobs_after(after);
    let rest = rest.take_while(|job| namespace.as_ref().is_none_or(|namespace| job.namespace <= *namespace));
    let cursor = |job: &&Arc<Job>| Cursor::from([job.namespace.to_string(), job.name.to_string()]);
    let (page, next_page_token) = pages.take_matching(rest, cursor, wanted);
    let jobs = page.into_iter().map(|job| job_to_wire(job, latest_state(&view, job)));
    Ok(v1::ListJobsResponse { jobs: jobs.collect(), next_page_token, revision: view.revision().0 })
}

/// Where the newest run of a job stands, or how it ended.
fn latest_state(view: &State, job: &Job) -> Option<RunState> {
    view.run(job.latest_run).map(|run| run.state).or(job.latest_ended)
}

fn job_cursor(cursor: &Cursor) -> Result<(Namespace, JobName), ApiError> {
    Ok((cursor.part(0)?, cursor.part(1)?))
}

fn converted(spec: Option<v1::JobSpec>) -> Result<JobSpec, ApiError> {
    let spec = spec.ok_or_else(|| violation("spec", "is missing"))?;
    spec_from_wire(spec).map_err(ApiError::Invalid)
}

/// A replica without settings is a follower that has yet to learn them, or leads a cluster that is
/// being initialised.
fn not_here(core: &Core) -> ApiError {
    match core.leading() {
        Some(_) => ApiError::Unavailable("the cluster is being initialised: try again in a moment".into()),
        None => core.not_leader(),
    }
}
