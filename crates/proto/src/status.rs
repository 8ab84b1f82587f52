//! Errors of the API and gRPC statuses, both directions, in one place.
//!
//! What machines read stands in `google.rpc` details: `ErrorInfo.reason` under [`DOMAIN`] says which
//! error it is and is never renamed. The status's message is for people and is never parsed.
#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::HashMap;
use std::time::Duration;

use quorate_state::{Rejection, Revision, Violation};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::convert::list;

/// The `ErrorInfo.domain` of every error of ours.
pub const DOMAIN: &str = "quorate";

/// Bytes of a status's message. It travels in a header, where other scripts take three times as much.
pub const MESSAGE_BYTES_MAX: usize = 1_024;

/// Bytes of one text in the details.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Bytes of all violations in a status; the rest is counted. A status that does not fit into its
/// peer's header limit (16 KiB as a rule) would arrive as a broken connection.
pub const VIOLATION_BYTES_MAX: usize = 4_096;

/// How long a caller may wait before it tries again what was not done for want of a leader.
pub const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Everything that a call can end in besides success. `Display` is for people and says what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request is wrong in itself; all violations at once.
    #[error("invalid: {}", list(.0))]
    Invalid(Vec<Violation>),
    /// There is no such thing, or none that the caller may see.
    #[error("{kind} {name} does not exist")]
    NotFound {
        /// `run`, `job`, `namespace`, `task`, `node`, `attempt`.
        kind: String,
        /// The name that was asked for.
        name: String,
    },
    /// The name or id is taken.
    #[error("{why}")]
    Exists {
        /// What it names.
        kind: String,
        /// The name.
        name: String,
        /// What holds it and what helps.
        why: String,
    },
    /// What the request was computed from has changed: read again and retry.
    #[error("{0}")]
    Stale(String),
    /// The system is not in the state that the request needs.
    #[error("{why}")]
    Precondition {
        /// The condition, a word for machines.
        what: String,
        /// What it is about.
        subject: String,
        /// What is the case and what helps.
        why: String,
    },
    /// A named limit is reached.
    #[error("the limit {limit} ({max}) is reached: {advice}")]
    Limit {
        /// Its name.
        limit: String,
        /// Its value; zero when it is not known.
        max: u64,
        /// What helps.
        advice: String,
    },
    /// As much is under way as a named limit allows; nothing was done, and the same request later may be.
    #[error("overloaded, {limit} ({max}) is reached: {advice}")]
    Overloaded {
        /// Its name.
        limit: String,
        /// Its value.
        max: u64,
        /// What helps.
        advice: String,
    },
    /// This replica does not lead; nothing was done.
    #[error("this replica does not lead: {}", .leader.as_ref().map_or("no leader is known yet".into(), |leader| format!("ask {leader}")))]
    NotLeader {
        /// API address of the one that does, if known.
        leader: Option<String>,
    },
    /// Not now; nothing was done.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It may have happened or may yet happen: retry with the same request id to find out.
    #[error("the outcome is unknown ({0}): retry with the same request id")]
    OutcomeUnknown(String),
    /// The history asked for is no longer kept.
    #[error("events before revision {from} are no longer kept: watch from the start")]
    Compacted {
        /// The oldest revision kept.
        from: Revision,
    },
    /// The caller may not do this.
    #[error("denied: {0}")]
    Denied(String),
    /// The caller gave up.
    #[error("cancelled: {0}")]
    Cancelled(String),
    /// The deadline passed first; the outcome is unknown.
    #[error("deadline exceeded: {0}")]
    DeadlineExceeded(String),
    /// The server does not offer this.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// A bug; the server's log has the rest under this id.
    #[error("internal error{}", if .request.is_empty() { String::new() } else { format!(", see request {request} in the server's log") })]
    Internal {
        /// The id of the request; empty when it has none.
        request: String,
    },
    /// The connection failed, or what answered is not one of ours.
    #[error("connection: {0}")]
    Transport(String),
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let why = rejection.to_string();
        let exists = |kind: &str, name: String, why: String| Self::Exists { kind: kind.into(), name, why };
        let precondition =
            |what: &str, subject: String, why: String| Self::Precondition { what: what.into(), subject, why };
        match rejection {
            Rejection::NotBootstrapped => Self::Unavailable(why),
            Rejection::AlreadyBootstrapped => precondition("NOT_BOOTSTRAPPED", "cluster".into(), why),
            Rejection::UnknownNamespace(name) => Self::NotFound { kind: "namespace".into(), name: name.to_string() },
            Rejection::NamespaceExists(name) => exists("namespace", name.to_string(), why),
            Rejection::UnknownRun(run) => Self::NotFound { kind: "run".into(), name: run.to_string() },
            Rejection::UnknownJob(ref namespace, ref job) => {
                Self::NotFound { kind: "job".into(), name: format!("{namespace}/{job}") }
            }
            Rejection::JobMovedOn { .. } => Self::Stale(why),
            Rejection::JobRuns { ref namespace, ref job, unfinished: _ } => {
                precondition("JOB_IDLE", format!("{namespace}/{job}"), why)
            }
            Rejection::RunOver(run) => precondition("RUN_OPEN", run.to_string(), why),
            // The proposer minted it: another try mints another.
            Rejection::RunIdTaken(_) => Self::Stale(why),
            Rejection::Invalid(violations) => Self::Invalid(violations),
            Rejection::RequestIdReused { id } => exists("request", id, why),
            Rejection::LimitReached { limit, max, advice } => {
                Self::Limit { limit: limit.into(), max, advice: advice.into() }
            }
            Rejection::NodeNameTaken { node, holder: _ } => exists("node", node.to_string(), why),
            Rejection::ClusterInOtherRegion { cluster, region: _, claimed: _ } => {
                precondition("CLUSTER_IN_REGION", cluster.to_string(), why)
            }
            Rejection::JoinTokenNeeded(_) | Rejection::JoinTokenRefused { node: _, why: _ } => Self::Denied(why),
            Rejection::UnknownJoinToken(token) => Self::NotFound { kind: "join token".into(), name: token.to_string() },
            Rejection::UnknownReservation(name) => {
                Self::NotFound { kind: "reservation".into(), name: name.to_string() }
            }
            Rejection::ReservationExists(name) => exists("reservation", name.to_string(), why),
            Rejection::NodeReserved { ref node, other: _ } => precondition("NODE_UNRESERVED", node.to_string(), why),
            Rejection::UnknownNode(name) => Self::NotFound { kind: "node".into(), name: name.to_string() },
            Rejection::UnknownScope(scope) => {
                Self::NotFound { kind: scope.kind().into(), name: scope.name().to_owned() }
            }
            Rejection::NodeAlive(ref node) => precondition("NODE_LOST", node.to_string(), why),
            Rejection::NodeMayRun { ref node, remaining_ms: _ } => precondition("NODE_ENDED", node.to_string(), why),
            Rejection::FeatureNotEnabled(feature) => precondition("FEATURE", feature.to_string(), why),
            Rejection::EpochOver { node: _, epoch: _ } => Self::Stale(why),
            Rejection::Stale(_) => Self::Stale(why),
            Rejection::Infeasible(_) | Rejection::Member { .. } => precondition("FEASIBLE", "placement".into(), why),
            Rejection::OverQuota(over) => {
                Self::Limit { limit: format!("maximum.{}", over.resource), max: over.maximum, advice: why }
            }
            // What failed is in the server's log; callers can do nothing about it.
            Rejection::Invariant(_) => Self::Internal { request: String::new() },
        }
    }
}

/// The status that stands for an error. Texts are cut at the limits named above.
pub fn to_status(error: &ApiError) -> Status {
    let mut details = ErrorDetails::new();
    let mut info = |reason: &str, metadata: &[(&str, &str)]| {
        let metadata: HashMap<String, String> =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), clip(value, TEXT_BYTES_MAX))).collect();
        details.set_error_info(reason, DOMAIN, metadata);
    };
    let code = match error {
        ApiError::Invalid(violations) => {
            info(reason::INVALID, &[]);
            details.set_bad_request(bounded(violations));
            Code::InvalidArgument
        }
        ApiError::NotFound { kind, name } => {
            info(reason::NOT_FOUND, &[]);
            details.set_resource_info(kind, clip(name, TEXT_BYTES_MAX), "", "");
            Code::NotFound
        }
        ApiError::Exists { kind, name, why } => {
            info(reason::EXISTS, &[]);
            details.set_resource_info(kind, clip(name, TEXT_BYTES_MAX), "", clip(why, TEXT_BYTES_MAX));
            Code::AlreadyExists
        }
        ApiError::Stale(text) => {
            info(reason::STALE, &[(TEXT, text)]);
            Code::Aborted
        }
        ApiError::Precondition { what, subject, why } => {
            info(reason::PRECONDITION, &[]);
            let (subject, why) = (clip(subject, TEXT_BYTES_MAX), clip(why, TEXT_BYTES_MAX));
            details.add_precondition_failure_violation(what, subject, why);
            Code::FailedPrecondition
        }
        ApiError::Limit { limit, max, advice } => {
            info(reason::LIMIT, &[(MAX, &max.to_string())]);
            details.add_quota_failure_violation(limit, clip(advice, TEXT_BYTES_MAX));
            Code::ResourceExhausted
        }
        ApiError::Overloaded { limit, max, advice } => {
            info(reason::OVERLOADED, &[(MAX, &max.to_string())]);
            details.add_quota_failure_violation(limit, clip(advice, TEXT_BYTES_MAX));
            details.set_retry_info(Some(RETRY_AFTER));
            Code::ResourceExhausted
        }
        ApiError::NotLeader { leader } => {
            match leader {
                Some(leader) => info(reason::NOT_LEADER, &[(LEADER, leader)]),
                None => info(reason::NOT_LEADER, &[]),
            }
            // With a leader to ask there is nothing to wait for.
            details.set_retry_info(Some(if leader.is_some() { Duration::ZERO } else { RETRY_AFTER }));
            Code::Unavailable
        }
        ApiError::Unavailable(text) => {
            info(reason::UNAVAILABLE, &[(TEXT, text)]);
            details.set_retry_info(Some(RETRY_AFTER));
            Code::Unavailable
        }
        ApiError::OutcomeUnknown(text) => {
            info(reason::OUTCOME_UNKNOWN, &[(TEXT, text)]);
            Code::Unavailable
        }
        ApiError::Compacted { from } => {
            info(reason::COMPACTED, &[(FROM, &from.to_string())]);
            Code::OutOfRange
        }
        ApiError::Denied(text) => {
            info(reason::DENIED, &[(TEXT, text)]);
            Code::PermissionDenied
        }
        ApiError::Cancelled(text) => {
            info(reason::CANCELLED, &[(TEXT, text)]);
            Code::Cancelled
        }
        ApiError::DeadlineExceeded(text) => {
            info(reason::DEADLINE_EXCEEDED, &[(TEXT, text)]);
            Code::DeadlineExceeded
        }
        ApiError::Unsupported(text) => {
            info(reason::UNSUPPORTED, &[(TEXT, text)]);
            Code::Unimplemented
        }
        ApiError::Internal { request } => {
            // Nothing else: what a bug knows may be another tenant's.
            details.set_request_info(clip(request, TEXT_BYTES_MAX), "");
            Code::Internal
        }
        // A client's own finding, which no server sends; without details it stays one.
        ApiError::Transport(text) => return Status::new(Code::Unavailable, clip(text, MESSAGE_BYTES_MAX)),
    };
    Status::with_error_details(code, clip(&error.to_string(), MESSAGE_BYTES_MAX), details)
}

/// The error that a status stands for; total, also for statuses that are not ours.
pub fn from_status(status: &Status) -> ApiError {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    info.and_then(|info| from_reason(&info.reason, &info.metadata, &details))
        .unwrap_or_else(|| from_code(status, &details))
}

/// Names of the metadata of `ErrorInfo`.
const TEXT: &str = "text";
const LEADER: &str = "leader";
const FROM: &str = "from";
const MAX: &str = "max";

/// Values of `ErrorInfo.reason`: API, never renamed.
mod reason {
    pub(super) const INVALID: &str = "INVALID";
    pub(super) const NOT_FOUND: &str = "NOT_FOUND";
    pub(super) const EXISTS: &str = "EXISTS";
    pub(super) const STALE: &str = "STALE";
    pub(super) const PRECONDITION: &str = "PRECONDITION";
    pub(super) const LIMIT: &str = "LIMIT";
    pub(super) const OVERLOADED: &str = "OVERLOADED";
    pub(super) const NOT_LEADER: &str = "NOT_LEADER";
    pub(super) const UNAVAILABLE: &str = "UNAVAILABLE";
    pub(super) const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";
    pub(super) const COMPACTED: &str = "COMPACTED";
    pub(super) const DENIED: &str = "DENIED";
    pub(super) const CANCELLED: &str = "CANCELLED";
    pub(super) const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
    pub(super) const UNSUPPORTED: &str = "UNSUPPORTED";
}

/// The error of one of our reasons; none for a reason of a later version, or without its details.
fn from_reason(reason: &str, metadata: &HashMap<String, String>, details: &ErrorDetails) -> Option<ApiError> {
    let text = || metadata.get(TEXT).cloned().unwrap_or_default();
    let number = |key: &str| metadata.get(key).and_then(|number| number.parse().ok());
    Some(match reason {
        reason::INVALID => ApiError::Invalid(violations(details)),
        reason::NOT_FOUND => {
            let resource = details.resource_info()?;
            ApiError::NotFound { kind: resource.resource_type.clone(), name: resource.resource_name.clone() }
        }
        reason::EXISTS => {
            let resource = details.resource_info()?;
            ApiError::Exists {
                kind: resource.resource_type.clone(),
                name: resource.resource_name.clone(),
                why: resource.description.clone(),
            }
        }
        reason::STALE => ApiError::Stale(text()),
        reason::PRECONDITION => {
            let violation = details.precondition_failure()?.violations.first()?;
            ApiError::Precondition {
                what: violation.r#type.clone(),
                subject: violation.subject.clone(),
                why: violation.description.clone(),
            }
        }
        reason::LIMIT | reason::OVERLOADED => {
            let violation = details.quota_failure()?.violations.first()?;
            let (limit, max, advice) = (violation.subject.clone(), number(MAX)?, violation.description.clone());
            match reason {
                reason::OVERLOADED => ApiError::Overloaded { limit, max, advice },
                _ => ApiError::Limit { limit, max, advice },
            }
        }
        reason::NOT_LEADER => ApiError::NotLeader { leader: metadata.get(LEADER).cloned() },
        reason::UNAVAILABLE => ApiError::Unavailable(text()),
        reason::OUTCOME_UNKNOWN => ApiError::OutcomeUnknown(text()),
        reason::COMPACTED => ApiError::Compacted { from: Revision(number(FROM)?) },
        reason::DENIED => ApiError::Denied(text()),
        reason::CANCELLED => ApiError::Cancelled(text()),
        reason::DEADLINE_EXCEEDED => ApiError::DeadlineExceeded(text()),
        reason::UNSUPPORTED => ApiError::Unsupported(text()),
        _ => return None,
    })
}

/// The error of a status that carries no reason of ours: from a proxy, from tonic itself, or from a
/// later version.
fn from_code(status: &Status, details: &ErrorDetails) -> ApiError {
    let text = status.message().to_owned();
    match status.code() {
        Code::InvalidArgument => {
            let found = violations(details);
            let general = || vec![Violation { field: String::new(), message: text }];
            ApiError::Invalid(if found.is_empty() { general() } else { found })
        }
        Code::NotFound => ApiError::NotFound { kind: "resource".into(), name: text },
        Code::AlreadyExists => ApiError::Exists { kind: "resource".into(), name: String::new(), why: text },
        Code::Aborted => ApiError::Stale(text),
        Code::FailedPrecondition => ApiError::Precondition { what: String::new(), subject: String::new(), why: text },
        // tonic says "out of range" of a message larger than its limit.
        Code::ResourceExhausted | Code::OutOfRange => {
            ApiError::Limit { limit: "of the connection".into(), max: 0, advice: text }
        }
        Code::PermissionDenied | Code::Unauthenticated => ApiError::Denied(text),
        Code::Cancelled => ApiError::Cancelled(text),
        Code::DeadlineExceeded => ApiError::DeadlineExceeded(text),
        Code::Unimplemented => ApiError::Unsupported(text),
        Code::Internal => match details.request_info() {
            Some(request) => ApiError::Internal { request: request.request_id.clone() },
            // tonic says "internal" of a broken connection too.
            None => ApiError::Transport(text),
        },
        Code::Ok | Code::Unknown | Code::DataLoss | Code::Unavailable => ApiError::Transport(text),
    }
}

fn violations(details: &ErrorDetails) -> Vec<Violation> {
    let found = details.bad_request().map(|request| request.field_violations.as_slice()).unwrap_or_default();
    found
        .iter()
        .map(|violation| Violation { field: violation.field.clone(), message: violation.description.clone() })
        .collect()
}

/// As many violations as fit, and a last one that counts the rest.
fn bounded(violations: &[Violation]) -> Vec<FieldViolation> {
    let mut room = VIOLATION_BYTES_MAX;
    let mut told = Vec::new();
    for violation in violations {
        let field = clip(&violation.field, TEXT_BYTES_MAX / 2);
        let message = clip(&violation.message, TEXT_BYTES_MAX / 2);
        match room.checked_sub(field.len() + message.len()) {
            Some(rest) => room = rest,
            None => break,
        }
        told.push(FieldViolation::new(field, message));
    }
    let untold = violations.len() - told.len();
    if untold > 0 {
        told.push(FieldViolation::new("", format!("and {untold} more")));
    }
    told
}

/// The text, cut to `max` bytes at the end of a character.
fn clip(text: &str, max: usize) -> String {
    const MARK: &str = "...";
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests;
