//! The methods of the service Cluster about who may be preempted by whom.

use prost::Message as _;
use quorate_proto::convert::preemption::preemption_to_wire;
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::ProposeError;
use quorate_state::{Command, Feature, Preemption, Reply, State};
use tonic::Request;

use super::request_key;
use crate::auth::{Action, authorize, principal};
use crate::core::{Core, propose_error};
use crate::reading::Reading;

pub(super) async fn get(
    reading: &Reading<'_>,
    request: Request<v1::GetPreemptionRequest>,
) -> Result<v1::GetPreemptionResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let view = reading.view().await?;
    if !view.has_feature(Feature::Preemption) {
        return Err(not_enabled(reading.core()));
    }
    Ok(v1::GetPreemptionResponse { preemption: said(&view), revision: view.revision().0 })
}

pub(super) async fn set(
    core: &Core,
    request: Request<v1::SetPreemptionRequest>,
) -> Result<v1::SetPreemptionResponse, ApiError> {
    let principal = principal(&request)?;
    authorize(&principal, Action::SetPreemption)?;
    let mut asked = request.into_inner();
    let request_id = std::mem::take(&mut asked.request_id);
    let body = asked.encode_to_vec();
    let view = core.read().await?;
    if !view.has_feature(Feature::Preemption) {
        return Err(not_enabled(core));
    }
    let before = view.settings().and_then(|settings| settings.preemption).unwrap_or(Preemption::OFF);
    let preemption = Preemption {
        by_priority: asked.by_priority.unwrap_or(before.by_priority),
        // What is too large for one is larger than any that may be.
        gap: asked.gap.map_or(before.gap, |gap| u8::try_from(gap).unwrap_or(u8::MAX)),
        spare_ms: asked.spare_ms.unwrap_or(before.spare_ms),
        times_max: asked.times_max.unwrap_or(before.times_max),
        by_share: asked.by_share.unwrap_or(before.by_share),
        share_gap: asked.share_gap.map_or(before.share_gap, |gap| u8::try_from(gap).unwrap_or(u8::MAX)),
    };
    let key = request_key("SetPreemption", &request_id, None, &body)?;
    tracing::info!(%principal, ?preemption, "who may be preempted by whom");
    match core.propose(principal, key, Command::SetPreemption { preemption }).await? {
        Reply::Done => {
            let view = core.replica.view();
            Ok(v1::SetPreemptionResponse { preemption: said(&view), revision: view.revision().0 })
        }
        other => Err(core.internal(&format!("a change of preemption was answered with {other:?}"))),
    }
}

fn said(view: &State) -> Option<v1::Preemption> {
    view.settings().and_then(|settings| settings.preemption).map(preemption_to_wire)
}

fn not_enabled(core: &Core) -> ApiError {
    let feature = Feature::Preemption;
    let status = core.replica.features().into_iter().find(|status| status.feature == feature);
    let waits_for = status.map(|status| status.waits_for).unwrap_or_default();
    propose_error(ProposeError::FeatureNotEnabled { feature, waits_for })
}
