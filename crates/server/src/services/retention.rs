//! The methods of the service Cluster about how long runs that have ended are kept.

use prost::Message as _;
use quorate_proto::convert::retention::{retention_asked, retention_to_wire};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::ProposeError;
use quorate_state::{Command, Feature, Millis, Reply, Retention, Revision, SEGMENT_MS_MAX, State};
use tonic::Request;

use super::request_key;
use crate::auth::{Action, authorize, principal};
use crate::core::{Core, propose_error};
use crate::reading::Reading;

pub(super) async fn get(
    reading: &Reading<'_>,
    request: Request<v1::GetRetentionRequest>,
) -> Result<v1::GetRetentionResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let view = reading.view().await?;
    let limits = view.retention().ok_or_else(|| not_enabled(reading.core()))?;
    Ok(kept(&view, limits))
}

pub(super) async fn set(
    core: &Core,
    request: Request<v1::SetRetentionRequest>,
) -> Result<v1::SetRetentionResponse, ApiError> {
    let principal = principal(&request)?;
    authorize(&principal, Action::SetRetention)?;
    let mut asked = request.into_inner();
    let request_id = std::mem::take(&mut asked.request_id);
    let body = asked.encode_to_vec();
    // What is not given is what the leader has applied, and on a full disk too this is no new work: it may make room.
    let view = core.read().await?;
    let retention = retention_asked(view.retention().ok_or_else(|| not_enabled(core))?, &asked);
    let key = request_key("SetRetention", &request_id, None, &body)?;
    tracing::info!(%principal, ?retention, "how long runs are kept");
    match core.propose(principal, key, Command::SetRetention { retention }).await? {
        Reply::Done => {
            let view = core.replica.view();
            let limits = view.retention().map(retention_to_wire);
            Ok(v1::SetRetentionResponse { limits, revision: view.revision().0 })
        }
        other => Err(core.internal(&format!("how long runs are kept was answered with {other:?}"))),
    }
}

/// What is kept now, beside its limits.
fn kept(view: &State, limits: Retention) -> v1::GetRetentionResponse {
    v1::GetRetentionResponse {
        limits: Some(retention_to_wire(limits)),
        memory_runs: view.finished_count() as u64,
        unfinished_runs: view.unfinished_count() as u64,
        memory_rows: view.rows_in_memory(),
        archive_runs: view.archived_count(),
        segments: u32::try_from(view.segments().count()).unwrap_or(u32::MAX),
        oldest_submitted_at_ms: oldest_submitted(view).map(|at| at.0),
        forgotten_at_ms: forgotten_at(view, limits).map(|at| at.0),
        history_from: view.meta().events_from.0,
        revision: view.revision().0,
    }
}

/// When the oldest run was submitted that is in memory or in the archive.
fn oldest_submitted(view: &State) -> Option<Millis> {
    let behind_oldest = view.oldest_run().map(|oldest| Revision(oldest.0.saturating_add(1)));
    let in_memory = behind_oldest.and_then(|behind| view.runs_newest_first(Some(behind)).last());
    let archived = view.segments().map(|segment| segment.first_submitted_at);
    archived.chain(in_memory.map(|run| run.submitted_at)).min()
}

/// When the time of the oldest segment is over. The only one is not forgotten while it still takes runs.
fn forgotten_at(view: &State, limits: Retention) -> Option<Millis> {
    let mut segments = view.segments();
    let oldest = segments.next()?;
    let closes = if segments.next().is_none() { oldest.began_at.0.saturating_add(SEGMENT_MS_MAX) } else { 0 };
    let over = oldest.last_ended.0.saturating_add(limits.archive_ms_max);
    (limits.archive_ms_max > 0).then(|| Millis(over.max(closes)))
}

fn not_enabled(core: &Core) -> ApiError {
    let feature = Feature::RunArchive;
    let status = core.replica.features().into_iter().find(|status| status.feature == feature);
    let waits_for = status.map(|status| status.waits_for).unwrap_or_default();
    propose_error(ProposeError::FeatureNotEnabled { feature, waits_for })
}
