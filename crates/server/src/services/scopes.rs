//! The methods of the service Cluster about all nodes of a cluster or a region at once: who takes them out of service.

use quorate_proto::status::ApiError;
use quorate_proto::v1::restore_scope_request::Scope as Restored;
use quorate_proto::v1::withdraw_scope_request::Scope as Withdrawn;
use quorate_proto::{v1, v1::RestoreScopeResponse, v1::WithdrawScopeResponse};
use quorate_state::{Command, DrainTime, Reply, Revision, Scope};
use tonic::Request;

use super::{name, request_key, violation};
use crate::auth::{Action, authorize, principal};
use crate::core::Core;

pub(super) async fn withdraw(
    core: &Core,
    request: Request<v1::WithdrawScopeRequest>,
) -> Result<WithdrawScopeResponse, ApiError> {
    let v1::WithdrawScopeRequest { scope, drain, wait_ms, for_ms, reason, request_id } = request.get_ref();
    let scope = match scope {
        Some(Withdrawn::Region(region)) => Scope::Region(name("region", region)?),
        Some(Withdrawn::Cluster(cluster)) => Scope::Cluster(name("cluster", cluster)?),
        None => return Err(nothing_named()),
    };
    if !drain && (*wait_ms > 0 || for_ms.is_some()) {
        return Err(violation("drain", "is not set, and a time for it is".to_owned()));
    }
    let times = [wait_ms.to_be_bytes(), for_ms.unwrap_or_default().to_be_bytes()].concat();
    let flags = [u8::from(*drain), u8::from(for_ms.is_some())];
    let body = [&flags[..], &times, scope.to_string().as_bytes(), &[0], reason.as_bytes()].concat();
    let drain = drain.then_some(DrainTime { wait_ms: *wait_ms, for_ms: *for_ms });
    let command = Command::WithdrawScope { scope, drain, reason: reason.as_str().into() };
    let revision = propose(core, &request, ("WithdrawScope", request_id, &body), command).await?.0;
    Ok(WithdrawScopeResponse { revision })
}

pub(super) async fn restore(
    core: &Core,
    request: Request<v1::RestoreScopeRequest>,
) -> Result<RestoreScopeResponse, ApiError> {
    let v1::RestoreScopeRequest { scope, request_id } = request.get_ref();
    let scope = match scope {
        Some(Restored::Region(region)) => Scope::Region(name("region", region)?),
        Some(Restored::Cluster(cluster)) => Scope::Cluster(name("cluster", cluster)?),
        None => return Err(nothing_named()),
    };
    let body = scope.to_string();
    let asked = ("RestoreScope", request_id.as_str(), body.as_bytes());
    let revision = propose(core, &request, asked, Command::RestoreScope { scope }).await?.0;
    Ok(RestoreScopeResponse { revision })
}

fn nothing_named() -> ApiError {
    violation("scope", "is missing: name a region or a cluster".to_owned())
}

/// Proposes it for whoever asks; the revision since which it holds.
async fn propose<T>(
    core: &Core,
    request: &Request<T>,
    (method, request_id, body): (&'static str, &str, &[u8]),
    command: Command,
) -> Result<Revision, ApiError> {
    let principal = principal(request)?;
    authorize(&principal, Action::CordonNode)?;
    let key = request_key(method, request_id, None, body)?;
    match core.propose(principal, key, command).await? {
        Reply::Done => Ok(core.replica.view().revision()),
        other => Err(core.internal(&format!("{method} was answered with {other:?}"))),
    }
}
