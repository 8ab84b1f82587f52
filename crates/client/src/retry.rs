//! Whether a failed try is worth another one, where, and when.

use std::time::Duration;

use quorate_proto::ApiError;
use tokio::time::Instant;

use crate::Error;
use crate::channel::Failure;
use crate::client::Shared;

/// First pause between tries; it doubles up to the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(25);
/// Longest pause: an election takes about as long.
const BACKOFF_MAX: Duration = Duration::from_millis(800);
/// Hints followed without a pause; two replicas may name each other for a moment.
const HOPS_MAX: u32 = 2;

/// What a failure means for the request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It would fail again in the same way.
    Final,
    /// Nothing was done; this one leads.
    Redirected(String),
    /// Nothing was done; another replica, or this one later, may do it.
    Undone,
    /// Nothing was done; the same replica may do it later.
    Later,
    /// It may have been done; the same request again tells.
    Unknown,
}

/// True when what was asked for is on a node that has no session with the leader; it may be on its way there.
pub(crate) fn is_absence(error: &ApiError) -> bool {
    matches!(error, ApiError::Precondition { what, .. } if what == "CONNECTED")
}

fn judge(failure: &Failure) -> Verdict {
    match &failure.error {
        absence if is_absence(absence) => Verdict::Later,
        ApiError::NotLeader { leader: Some(leader) } => Verdict::Redirected(leader.clone()),
        ApiError::NotLeader { leader: None } | ApiError::Unavailable(_) => Verdict::Undone,
        ApiError::Overloaded { .. } => Verdict::Later,
        ApiError::OutcomeUnknown(_) | ApiError::DeadlineExceeded(_) | ApiError::Cancelled(_) => Verdict::Unknown,
        ApiError::Transport(_) if failure.is_unsent => Verdict::Undone,
        ApiError::Transport(_) => Verdict::Unknown,
        ApiError::Invalid(_)
        | ApiError::NotFound { .. }
        | ApiError::Exists { .. }
        | ApiError::Stale(_)
        | ApiError::Precondition { .. }
        | ApiError::Limit { .. }
        | ApiError::Compacted { .. }
        | ApiError::Denied(_)
        | ApiError::Unsupported(_)
        | ApiError::Internal { .. } => Verdict::Final,
    }
}

/// The tries of one request.
pub(crate) struct Tries {
    began: Instant,
    until: Instant,
    pause: Duration,
    hops: u32,
    /// Set for requests that change something.
    request_id: Option<String>,
    may_be_done: bool,
    /// The last failure that says more than that time ran out.
    telling: Option<ApiError>,
}

impl Tries {
    /// Tries for at most `patience`. `request_id` names a request that changes something.
    pub(crate) fn new(patience: Duration, request_id: Option<String>) -> Self {
        let began = Instant::now();
        Self {
            began,
            until: began + patience,
            pause: BACKOFF_MIN,
            hops: 0,
            request_id,
            may_be_done: false,
            telling: None,
        }
    }

    /// How long the next try may take, at most `longest`.
    pub(crate) fn time_left(&self, longest: Duration) -> Duration {
        self.until.saturating_duration_since(Instant::now()).min(longest)
    }

    /// After a failure at `address`: returns when it is time for another try.
    ///
    /// # Errors
    /// Another try makes no sense, or there is no time for one.
    pub(crate) async fn again(&mut self, shared: &Shared, address: &str, failure: Failure) -> Result<(), Error> {
        let verdict = match judge(&failure) {
            // Of this try nothing came. An earlier one may have been carried out before the limit was reached.
            Verdict::Final if self.may_be_done && matches!(failure.error, ApiError::Limit { .. }) => Verdict::Later,
            verdict => verdict,
        };
        tracing::debug!(address, error = %failure.error, ?verdict, "a try failed");
        match verdict {
            Verdict::Final => return Err(Error::Api(failure.error)),
            Verdict::Redirected(leader) => {
                shared.targets.fails(address);
                shared.targets.redirect(&leader);
                self.hops += 1;
                if self.hops <= HOPS_MAX && leader != address && Instant::now() < self.until {
                    return Ok(());
                }
            }
            Verdict::Undone => shared.targets.fails(address),
            Verdict::Later => {}
            Verdict::Unknown => {
                self.may_be_done = true;
                shared.targets.fails(address);
            }
        }
        if matches!(failure.error, ApiError::Transport(_) | ApiError::DeadlineExceeded(_)) {
            shared.channels.forget(address);
        }
        self.hops = 0;
        let pause = jittered(self.pause, shared.entropy.u64());
        self.pause = (self.pause * 2).min(BACKOFF_MAX);
        if Instant::now() + pause >= self.until {
            return Err(self.give_up(shared, with_telling(failure.error, self.telling.as_ref())));
        }
        if !matches!(failure.error, ApiError::DeadlineExceeded(_)) {
            self.telling = Some(failure.error);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn give_up(&self, shared: &Shared, last: ApiError) -> Error {
        let waited = self.began.elapsed();
        match &self.request_id {
            Some(request_id) if self.may_be_done => {
                Error::OutcomeUnknown { request_id: request_id.clone(), waited, last }
            }
            Some(_) | None => Error::Unavailable { addresses: shared.targets.all(), waited, last },
        }
    }
}

/// The last failure; where it is only that time ran out, also what an earlier try found: the last one may have had a
/// millisecond.
fn with_telling(last: ApiError, telling: Option<&ApiError>) -> ApiError {
    match (last, telling) {
        (ApiError::DeadlineExceeded(text), Some(telling)) => {
            ApiError::DeadlineExceeded(format!("{text}; an earlier try ended so: {telling}"))
        }
        (last, _) => last,
    }
}

/// Half the pause to all of it, so that many clients do not come back at once.
fn jittered(pause: Duration, random: u64) -> Duration {
    let span = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX) / 2;
    pause / 2 + Duration::from_micros(random % (span + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_another_replica_or_time_can_change_is_tried_again() {
        let judge = |error| judge(&Failure { error, is_unsent: false });
        assert_eq!(judge(ApiError::NotLeader { leader: Some("b:1".into()) }), Verdict::Redirected("b:1".into()));
        assert_eq!(judge(ApiError::NotLeader { leader: None }), Verdict::Undone);
        assert_eq!(judge(ApiError::Unavailable(String::new())), Verdict::Undone);
        let overloaded = ApiError::Overloaded { limit: "queue".into(), max: 1, advice: String::new() };
        assert_eq!(judge(overloaded), Verdict::Later);
        let precondition =
            |what: &str| ApiError::Precondition { what: what.into(), subject: "".into(), why: "".into() };
        assert_eq!(judge(precondition("CONNECTED")), Verdict::Later);
        assert_eq!(judge(precondition("FEASIBLE")), Verdict::Final);
        assert_eq!(judge(ApiError::OutcomeUnknown(String::new())), Verdict::Unknown);
        assert_eq!(judge(ApiError::Transport(String::new())), Verdict::Unknown);
        assert_eq!(judge(ApiError::Invalid(Vec::new())), Verdict::Final);
        assert_eq!(judge(ApiError::Internal { request: String::new() }), Verdict::Final);
    }

    #[test]
    fn a_refused_connection_leaves_no_doubt() {
        let failure = Failure { error: ApiError::Transport("refused".into()), is_unsent: true };
        assert_eq!(judge(&failure), Verdict::Undone);
    }

    #[test]
    fn a_last_try_that_had_no_time_does_not_hide_what_the_others_found() {
        let late = || ApiError::DeadlineExceeded("no answer within 0.001 s".into());
        let refused = ApiError::Transport("the certificate was not issued by a CA in tls.ca".into());
        let said = with_telling(late(), Some(&refused)).to_string();
        assert!(said.contains("no answer within 0.001 s") && said.contains("not issued by a CA in tls.ca"), "{said}");
        assert_eq!(with_telling(late(), None), late());
        let other = ApiError::Unavailable("no leader".into());
        assert_eq!(with_telling(other.clone(), Some(&refused)), other);
    }

    #[test]
    fn a_pause_is_spread_over_its_second_half() {
        let pause = Duration::from_millis(100);
        assert_eq!(jittered(pause, 0), Duration::from_millis(50));
        for random in [1, 49_999, 50_000, u64::MAX] {
            assert!((pause / 2..=pause).contains(&jittered(pause, random)));
        }
    }
}
