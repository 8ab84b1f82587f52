//! The v1 API, one file per gRPC service, and what they share.

mod admin;
mod admission;
mod agents;
mod batches;
mod cluster;
mod jobs;
mod namespaces;
mod nodes;
mod preemption;
mod rebalance;
mod relays;
mod replicas;
mod reservations;
mod retention;
mod runs;
mod scopes;

mod control;
mod events;
mod explain;
mod forecast;
mod kept;
mod logs;
mod usage;
mod versions;
mod why;

mod changes;
mod page;
mod refs;
mod select;

mod health;

pub(crate) use admin::{AdminService, SNAPSHOTS_MAX};
pub(crate) use agents::AgentsService;
pub(crate) use batches::BatchesService;
pub(crate) use cluster::ClusterService;
pub(crate) use health::Health;
pub(crate) use jobs::JobsService;
pub(crate) use logs::LogStreams;
pub(crate) use refs::unknown as unknown_run;
pub(crate) use relays::{RELAYS_MAX, RelaysService};
pub(crate) use runs::RunsService;

use quorate_proto::status::ApiError;
use quorate_raft::ProposeError;
use quorate_state::{Digest, Feature, Namespace, RequestId, RequestKey, State, Violation};

use crate::core::{Core, propose_error};

/// Bytes of a request id.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// How a retry of a request is recognised; none when the client does not want it to be.
///
/// `body` is everything that makes it this request and no other; the method is part of it, so that
/// an id is never mistaken across methods.
fn request_key(
    method: &str,
    id: &str,
    namespace: Option<Namespace>,
    body: &[u8],
) -> Result<Option<RequestKey>, ApiError> {
    if id.is_empty() {
        return Ok(None);
    }
    if id.len() > REQUEST_ID_BYTES_MAX {
        let why = format!("has {} bytes, REQUEST_ID_BYTES_MAX is {REQUEST_ID_BYTES_MAX}", id.len());
        return Err(violation("request_id", why));
    }
    let mut digest = blake3::Hasher::new();
    digest.update(method.as_bytes()).update(&[0]).update(body);
    Ok(Some(RequestKey { id: RequestId(id.into()), namespace, digest: Digest(*digest.finalize().as_bytes()) }))
}

/// One thing wrong with a request.
fn violation(field: &str, message: impl Into<String>) -> ApiError {
    ApiError::Invalid(vec![Violation { field: field.into(), message: message.into() }])
}

/// A name in a request, checked.
fn name<T: std::str::FromStr<Err = E>, E: std::fmt::Display>(field: &str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error: E| violation(field, error.to_string()))
}

/// Refuses what needs a feature that is not enabled yet, and says which replicas that waits for.
fn enabled(view: &State, core: &Core, feature: Feature) -> Result<(), ApiError> {
    if view.has_feature(feature) {
        return Ok(());
    }
    let status = core.replica.features().into_iter().find(|status| status.feature == feature);
    let waits_for = status.map(|status| status.waits_for).unwrap_or_default();
    Err(propose_error(ProposeError::FeatureNotEnabled { feature, waits_for }))
}

/// A name in a request that may be left out.
fn optional_name<T: std::str::FromStr<Err = E>, E: std::fmt::Display>(
    field: &str,
    text: &str,
) -> Result<Option<T>, ApiError> {
    if text.is_empty() { Ok(None) } else { name(field, text).map(Some) }
}
