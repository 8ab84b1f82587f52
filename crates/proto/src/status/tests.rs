//! Every error survives the wire, every refusal has a status, and foreign statuses are understood.

use super::*;
use crate::samples;

/// One of each; a new variant does not compile until it is here.
fn errors() -> Vec<ApiError> {
    let violations = vec![
        Violation { field: "task.a.needs[0]".into(), message: "names no task".into() },
        Violation { field: String::new(), message: "\u{e4}".into() },
    ];
    let mut all = vec![ApiError::Invalid(violations)];
    loop {
        let next = match all.last().unwrap() {
            ApiError::Invalid(_) => ApiError::NotFound { kind: "run".into(), name: "0000000000001".into() },
            ApiError::NotFound { .. } => {
                ApiError::Exists { kind: "namespace".into(), name: "a".into(), why: "it is there".into() }
            }
            ApiError::Exists { .. } => ApiError::Stale("task moved".into()),
            ApiError::Stale(_) => {
                ApiError::Precondition { what: "FEASIBLE".into(), subject: "node".into(), why: "it is full".into() }
            }
            ApiError::Precondition { .. } => {
                ApiError::Limit { limit: "requests_max".into(), max: u64::MAX, advice: "wait".into() }
            }
            ApiError::Limit { .. } => {
                ApiError::Overloaded { limit: "queue_items_max".into(), max: 7, advice: "later".into() }
            }
            ApiError::Overloaded { .. } => ApiError::NotLeader { leader: Some("127.0.0.1:7001".into()) },
            ApiError::NotLeader { leader: Some(_) } => ApiError::NotLeader { leader: None },
            ApiError::NotLeader { leader: None } => ApiError::Unavailable("no quorum".into()),
            ApiError::Unavailable(_) => ApiError::OutcomeUnknown("the leader went away".into()),
            ApiError::OutcomeUnknown(_) => ApiError::Compacted { from: Revision(1 << 52) },
            ApiError::Compacted { .. } => ApiError::Denied("not yours".into()),
            ApiError::Denied(_) => ApiError::Cancelled("client closed".into()),
            ApiError::Cancelled(_) => ApiError::DeadlineExceeded("5 s".into()),
            ApiError::DeadlineExceeded(_) => ApiError::Unsupported("cron".into()),
            ApiError::Unsupported(_) => ApiError::Internal { request: "r-1".into() },
            ApiError::Internal { request } if !request.is_empty() => ApiError::Internal { request: String::new() },
            ApiError::Internal { .. } => ApiError::Transport("connection refused".into()),
            ApiError::Transport(_) => return all,
        };
        all.push(next);
    }
}

/// A status as the other side of a connection has it: from headers alone.
fn over_the_wire(status: &Status) -> Status {
    let mut headers = tonic::codegen::http::HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    Status::from_header_map(&headers).unwrap()
}

#[test]
fn every_error_survives_the_wire() {
    for error in errors() {
        let status = over_the_wire(&to_status(&error));
        assert_eq!(from_status(&status), error, "{status:?}");
    }
}

#[test]
fn errors_of_one_code_are_told_apart_by_their_reason() {
    let code = |error: &ApiError| to_status(error).code();
    let unavailable: Vec<ApiError> = errors().into_iter().filter(|error| code(error) == Code::Unavailable).collect();
    assert_eq!(unavailable.len(), 5, "{unavailable:?}");
}

#[test]
fn every_refusal_becomes_an_error_that_survives_the_wire() {
    for rejection in samples::rejections() {
        let error = ApiError::from(rejection.clone());
        assert_eq!(from_status(&over_the_wire(&to_status(&error))), error, "{rejection:?}");
    }
}

#[test]
fn a_refusal_has_the_code_that_tells_callers_what_to_do() {
    let mut found = Vec::new();
    for rejection in samples::rejections() {
        let name = format!("{rejection:?}").split(['(', ' ', '{']).next().unwrap().to_owned();
        let line = format!("{name} {:?}", to_status(&rejection.into()).code());
        if !found.contains(&line) {
            found.push(line);
        }
    }
    let expected = [
        "NotBootstrapped Unavailable",
        "AlreadyBootstrapped FailedPrecondition",
        "UnknownNamespace NotFound",
        "NamespaceExists AlreadyExists",
        "UnknownRun NotFound",
        "RunIdTaken Aborted",
        "Invalid InvalidArgument",
        "RequestIdReused AlreadyExists",
        "LimitReached ResourceExhausted",
        "NodeNameTaken AlreadyExists",
        "ClusterInOtherRegion FailedPrecondition",
        "EpochOver Aborted",
        "Stale Aborted",
        "Infeasible FailedPrecondition",
        "Invariant Internal",
        "UnknownNode NotFound",
        "FeatureNotEnabled FailedPrecondition",
        "NodeAlive FailedPrecondition",
        "NodeMayRun FailedPrecondition",
        "JoinTokenNeeded PermissionDenied",
        "JoinTokenRefused PermissionDenied",
        "UnknownJoinToken NotFound",
        "RunOver FailedPrecondition",
        "UnknownJob NotFound",
        "JobMovedOn Aborted",
        "JobRuns FailedPrecondition",
        "OverQuota ResourceExhausted",
        "UnknownScope NotFound",
        "Member FailedPrecondition",
        "UnknownReservation NotFound",
        "ReservationExists AlreadyExists",
        "NodeReserved FailedPrecondition",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_bug_tells_the_request_and_nothing_else() {
    let error = ApiError::from(Rejection::Invariant("secret of another tenant".into()));
    let status = to_status(&error);
    assert!(!status.message().contains("secret"));
    let details = status.get_error_details();
    assert!(details.error_info().is_none() && details.request_info().is_some());
}

#[test]
fn statuses_of_others_are_understood_by_their_code() {
    let all = [
        Code::Ok,
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];
    for code in all {
        let error = from_status(&Status::new(code, "what a proxy says"));
        assert!(error.to_string().contains("what a proxy says"), "{code:?}: {error}");
    }
    let later = Status::with_error_details(
        Code::Aborted,
        "of a later version",
        ErrorDetails::with_error_info("NOT_KNOWN_YET", DOMAIN, HashMap::new()),
    );
    assert_eq!(from_status(&later), ApiError::Stale("of a later version".into()));
    let foreign = Status::with_error_details(
        Code::Unavailable,
        "elsewhere",
        ErrorDetails::with_error_info("NOT_LEADER", "example.com", HashMap::new()),
    );
    assert_eq!(from_status(&foreign), ApiError::Transport("elsewhere".into()));
}

#[test]
fn a_status_fits_into_the_headers_however_much_is_wrong() {
    const HEADER_BYTES_MAX: usize = 16 * 1024;
    let long = "\u{4e16}".repeat(10_000);
    let violation = Violation { field: long.clone(), message: long.clone() };
    let worst = [
        ApiError::Invalid(vec![violation; 500]),
        ApiError::Exists { kind: "request".into(), name: long.clone(), why: long.clone() },
        ApiError::Precondition { what: "X".into(), subject: long.clone(), why: long.clone() },
        ApiError::Stale(long),
    ];
    for error in worst {
        let mut headers = tonic::codegen::http::HeaderMap::new();
        to_status(&error).add_header(&mut headers).unwrap();
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(bytes <= HEADER_BYTES_MAX, "{bytes}");
    }
}

#[test]
fn violations_that_do_not_fit_are_counted() {
    let violation = Violation { field: "f".into(), message: "x".repeat(500) };
    let ApiError::Invalid(told) = from_status(&to_status(&ApiError::Invalid(vec![violation; 100]))) else {
        panic!("another error");
    };
    let (last, rest) = told.split_last().unwrap();
    assert_eq!(last.message, format!("and {} more", 100 - rest.len()));
    assert!(rest.len() >= 5);
}
