//! The methods of the service Cluster about who becomes a node: what that takes, and join tokens.

use quorate_proto::convert::join_token::{
    create_from_wire, join_token_to_wire, node_admission_from_wire, node_admission_to_wire,
};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_state::{Command, JoinTokenId, NodeAdmission, Principal, Reply, RequestKey, Revision};
use tonic::Request;

use super::{name, request_key, violation};
use crate::auth::{Action, authorize, principal};
use crate::core::Core;
use crate::reading::Reading;

pub(super) async fn set(
    core: &Core,
    request: Request<v1::SetNodeAdmissionRequest>,
) -> Result<v1::SetNodeAdmissionResponse, ApiError> {
    let principal = operator(&request)?;
    let request = request.into_inner();
    let admission = node_admission_from_wire(request.admission())
        .ok_or_else(|| violation("admission", "is missing, or of a kind that this server does not know"))?;
    let key = request_key("SetNodeAdmission", &request.request_id, None, &request.admission.to_be_bytes())?;
    tracing::info!(%principal, ?admission, "what a new node needs");
    let revision = propose(core, principal, key, Command::SetNodeAdmission { admission }).await?;
    Ok(v1::SetNodeAdmissionResponse { revision: revision.0 })
}

pub(super) async fn create(
    core: &Core,
    request: Request<v1::CreateJoinTokenRequest>,
) -> Result<v1::CreateJoinTokenResponse, ApiError> {
    let principal = operator(&request)?;
    let request = request.into_inner();
    core.admit_new_work()?;
    let request_id = request.request_id.clone();
    // No two secrets have one digest: the rest makes no other request of it.
    let body = request.digest.clone();
    let (id, command) = create_from_wire(request).map_err(ApiError::Invalid)?;
    let key = request_key("CreateJoinToken", &request_id, None, &body)?;
    tracing::info!(%principal, token = %id, "join token made");
    let revision = propose(core, principal, key, command).await?;
    Ok(v1::CreateJoinTokenResponse { id: id.to_string(), revision: revision.0 })
}

pub(super) async fn list(
    reading: &Reading<'_>,
    request: Request<v1::ListJoinTokensRequest>,
) -> Result<v1::ListJoinTokensResponse, ApiError> {
    operator(&request)?;
    // The leader knows the time.
    let view = reading.view_of_leader().await?;
    let served = reading.log_now(&view)?.served;
    let admission = view.settings().map_or(NodeAdmission::default(), |settings| settings.node_admission);
    Ok(v1::ListJoinTokensResponse {
        tokens: view.join_tokens().map(|token| join_token_to_wire(token, served)).collect(),
        admission: node_admission_to_wire(admission).into(),
        revision: view.revision().0,
    })
}

pub(super) async fn revoke(
    core: &Core,
    request: Request<v1::RevokeJoinTokenRequest>,
) -> Result<v1::RevokeJoinTokenResponse, ApiError> {
    let principal = operator(&request)?;
    let v1::RevokeJoinTokenRequest { id, request_id } = request.into_inner();
    let token: JoinTokenId = name("id", &id)?;
    let key = request_key("RevokeJoinToken", &request_id, None, &token.0.to_be_bytes())?;
    tracing::info!(%principal, %token, "join token revoked");
    let revision = propose(core, principal, key, Command::RevokeJoinToken { token }).await?;
    Ok(v1::RevokeJoinTokenResponse { revision: revision.0 })
}

fn operator<T>(request: &Request<T>) -> Result<Principal, ApiError> {
    let principal = principal(request)?;
    authorize(&principal, Action::AdmitNodes)?;
    Ok(principal)
}

async fn propose(
    core: &Core,
    principal: Principal,
    key: Option<RequestKey>,
    command: Command,
) -> Result<Revision, ApiError> {
    match core.propose(principal, key, command).await? {
        Reply::Done => Ok(core.replica.view().revision()),
        other => Err(core.internal(&format!("a change of who is admitted was answered with {other:?}"))),
    }
}
