//! What a call can end in besides success, and what helps.

use std::time::Duration;

use quorate_proto::ApiError;

/// Why a call failed for good.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The cluster answered, and trying again would bring the same answer.
    #[error(transparent)]
    Api(ApiError),
    /// No replica could serve the request in time; nothing was done.
    #[error(
        "no replica could answer within {} s (asked {}): {last}; check that a majority of the replicas runs and that the addresses are right",
        .waited.as_secs_f32(), .addresses.join(", ")
    )]
    Unavailable {
        /// The addresses that were tried.
        addresses: Vec<String>,
        /// How long.
        waited: Duration,
        /// What the last one said.
        last: ApiError,
    },
    /// The request was sent and may have been carried out, or may yet be.
    #[error(
        "the outcome of request {request_id} is unknown after {} s: {last}; repeat it with the same request id to find out",
        .waited.as_secs_f32()
    )]
    OutcomeUnknown {
        /// The id to repeat it with.
        request_id: String,
        /// How long it was tried.
        waited: Duration,
        /// What the last replica said.
        last: ApiError,
    },
    /// An address cannot be used.
    #[error("{address:?} is no address of a replica: {why}; expected host:port")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// What the cluster, or the last replica asked, said.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            Self::Unavailable { last, .. } | Self::OutcomeUnknown { last, .. } => Some(last),
            Self::Address { .. } => None,
        }
    }

    /// True when asking again later, with the same request id, may bring another answer.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::OutcomeUnknown { .. } => true,
            Self::Api(_) | Self::Address { .. } => false,
        }
    }
}
