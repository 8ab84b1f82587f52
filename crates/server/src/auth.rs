//! Who calls: the connection layer names the principal, and every service method asks for it.

mod policy;
mod tls;

pub(crate) use policy::{Action, authorize, speaks_for};
pub(crate) use tls::Certificates;
pub use tls::{Plain, Tls};

use quorate_proto::status::ApiError;
use quorate_state::Principal;

/// What the connection layer knows of a connection; found in the extensions of its requests.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) peer: std::net::SocketAddr,
}

/// The principal of a request. A request that did not pass the connection layer has none, which
/// is a bug of ours and must not count as an anonymous caller.
pub(crate) fn principal<T>(request: &tonic::Request<T>) -> Result<Principal, ApiError> {
    // tonic keeps what the connection layer says under the type that it says it in.
    match request.extensions().get::<Caller>() {
        Some(Caller { principal, peer }) => {
            tracing::trace!(%principal, %peer, "request");
            Ok(principal.clone())
        }
        None => Err(ApiError::Denied("the connection layer has not named a principal".into())),
    }
}
