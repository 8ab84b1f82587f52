//! Control of runs: cancelled in numbers, paused, resumed, put elsewhere in the queue.

use std::sync::Arc;

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_state::{Command, JobName, Namespace, Principal, Reply, RequestKey, Revision, Run, RunId};
use tonic::Request;

use super::page::{Cursor, Pages};
use super::runs::{order, run_cursor};
use super::select::Select;
use super::{optional_name, refs, request_key, violation};
use crate::auth::{Action, authorize, principal};
use crate::core::Core;

/// Runs that one entry cancels at most: each costs as much as it has steps.
const CANCELS_PER_ENTRY_MAX: u32 = 100;

/// Of a page of runs, those that fit. Whoever asks again, from the page that was not answered or from the first on,
/// cancels what is left.
pub(super) async fn cancel_all(
    core: &Core,
    request: Request<v1::CancelRunsRequest>,
) -> Result<v1::CancelRunsResponse, ApiError> {
    let principal = principal(&request)?;
    let request = request.into_inner();
    let namespace: Option<Namespace> = optional_name("namespace", &request.namespace)?;
    let job: Option<JobName> = optional_name("job", &request.job)?;
    let select = Select::of(&request.states, &request.labels, request.submitted_since_ms, request.submitted_until_ms)?;
    let is_narrow = job.is_some()
        || !(request.states.is_empty() && request.labels.is_empty())
        || request.submitted_since_ms.or(request.submitted_until_ms).is_some();
    if !is_narrow {
        return Err(violation("labels", "say which: by job, state, label or time of the submit"));
    }
    authorize(&principal, namespace.as_ref().map_or(Action::Read(None), Action::Cancel))?;
    let view = core.read().await?;
    let filters = [&*request.namespace, &*request.job, &*select.words()];
    let pages = Pages::open(&view, "cancels", &filters, CANCELS_PER_ENTRY_MAX, &request.page_token)?;
    let after = pages.after.as_ref().map(run_cursor).transpose()?;
    let wanted = |run: &&Arc<Run>| {
        !run.state.is_terminal()
            && !run.cancelling
            && namespace.as_ref().is_none_or(|namespace| run.spec.namespace == *namespace)
            && job.as_ref().is_none_or(|job| run.spec.name == *job)
            && select.takes(run.submitted_at, run.state, &run.spec.labels)
    };
    let before = match after {
        Some((revision, ..)) => Some(Revision(revision.0.saturating_add(1))),
        None => select.too_late_from(&view),
    };
    let rest = view.runs_newest_first(before).filter(|run| after.is_none_or(|after| order(run) < after));
    let rest = rest.take_while(|run| select.takes_since(run.submitted_at));
    let cursor = |run: &&Arc<Run>| {
        let (revision, item, id) = order(run);
        Cursor::from([revision.to_string(), item.to_string(), id.to_string()])
    };
    let (page, next_page_token) = pages.take_matching(rest, cursor, wanted);
    page.iter().try_for_each(|run| authorize(&principal, Action::Cancel(&run.spec.namespace)))?;
    let runs: Vec<RunId> = page.iter().map(|run| run.id).collect();
    let run_ids = runs.iter().map(ToString::to_string).collect();
    if request.dry_run || runs.is_empty() {
        return Ok(v1::CancelRunsResponse { run_ids, cancelled: 0, next_page_token });
    }
    // Not remembered: asked for again, it finds other runs, those that are left, and must not be answered for the first.
    match core.propose(principal.clone(), None, Command::CancelRuns { runs }).await? {
        Reply::Counted(cancelled) => {
            tracing::info!(cancelled, %principal, "runs cancelled");
            Ok(v1::CancelRunsResponse { run_ids, cancelled, next_page_token })
        }
        other => Err(core.internal(&format!("a cancel of runs was answered with {other:?}"))),
    }
}

/// Cancels a run, and what would undo it or comes at its end in any case.
pub(super) async fn abandon(
    core: &Core,
    request: Request<v1::AbandonRunRequest>,
) -> Result<v1::AbandonRunResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::AbandonRunRequest { run, request_id } = request.into_inner();
    let (run, namespace) = refs::resolve_fixed(core, run.as_ref()).await?;
    authorize(&principal, Action::Cancel(&namespace))?;
    let key = request_key("AbandonRun", &request_id, Some(namespace), &run.0.to_be_bytes())?;
    match core.propose(principal.clone(), key, Command::AbandonRun { run }).await {
        Ok(Reply::Cancelling { ended_before, revision }) => {
            tracing::info!(%run, %principal, ended_before, "run given up");
            Ok(v1::AbandonRunResponse { run_id: run.to_string(), ended_before, revision: revision.0 })
        }
        Err(error) if refs::says_archived(&error) => {
            let revision = core.replica.view().revision().0;
            Ok(v1::AbandonRunResponse { run_id: run.to_string(), ended_before: true, revision })
        }
        Err(error) => Err(error),
        Ok(other) => Err(core.internal(&format!("a run was given up, and the answer was {other:?}"))),
    }
}

pub(super) async fn pause(
    core: &Core,
    request: Request<v1::PauseRunRequest>,
) -> Result<v1::PauseRunResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::PauseRunRequest { run, reason, request_id } = request.into_inner();
    let (run, namespace) = allowed(core, &principal, run.as_ref()).await?;
    let mut body = run.0.to_be_bytes().to_vec();
    body.extend(reason.bytes());
    let key = request_key("PauseRun", &request_id, Some(namespace), &body)?;
    let revision = propose(core, &principal, key, Command::PauseRun { run, reason: reason.into() }).await?;
    tracing::info!(%run, %principal, "run paused");
    Ok(v1::PauseRunResponse { run_id: run.to_string(), revision: revision.0 })
}

pub(super) async fn resume(
    core: &Core,
    request: Request<v1::ResumeRunRequest>,
) -> Result<v1::ResumeRunResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::ResumeRunRequest { run, request_id } = request.into_inner();
    let (run, namespace) = allowed(core, &principal, run.as_ref()).await?;
    let key = request_key("ResumeRun", &request_id, Some(namespace), &run.0.to_be_bytes())?;
    let revision = propose(core, &principal, key, Command::ResumeRun { run }).await?;
    tracing::info!(%run, %principal, "run resumed");
    Ok(v1::ResumeRunResponse { run_id: run.to_string(), revision: revision.0 })
}

pub(super) async fn set_priority(
    core: &Core,
    request: Request<v1::SetRunPriorityRequest>,
) -> Result<v1::SetRunPriorityResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::SetRunPriorityRequest { run, priority, request_id } = request.into_inner();
    let priority =
        u8::try_from(priority).map_err(|_| violation("priority", format!("{priority} is above 100, the highest")))?;
    let (run, namespace) = allowed(core, &principal, run.as_ref()).await?;
    let mut body = run.0.to_be_bytes().to_vec();
    body.push(priority);
    let key = request_key("SetRunPriority", &request_id, Some(namespace), &body)?;
    let revision = propose(core, &principal, key, Command::SetRunPriority { run, priority }).await?;
    tracing::info!(%run, %principal, priority, "run given another priority");
    Ok(v1::SetRunPriorityResponse { run_id: run.to_string(), revision: revision.0 })
}

/// The run that is meant, if the principal may control it.
async fn allowed(core: &Core, principal: &Principal, run: Option<&v1::RunRef>) -> Result<(RunId, Namespace), ApiError> {
    let (run, namespace) = refs::resolve_fixed(core, run).await?;
    authorize(principal, Action::Control(&namespace))?;
    Ok((run, namespace))
}

/// The revision since which it is so. It takes no room on the disk to speak of, and makes some: it is never refused for
/// want of that.
async fn propose(
    core: &Core,
    principal: &Principal,
    key: Option<RequestKey>,
    command: Command,
) -> Result<Revision, ApiError> {
    match core.propose(principal.clone(), key, command).await? {
        Reply::Controlled { revision } => Ok(revision),
        other => Err(core.internal(&format!("the control of a run was answered with {other:?}"))),
    }
}
