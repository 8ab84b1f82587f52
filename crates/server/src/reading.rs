//! A request that reads: from which state it is answered, and what the answer says of that state.
//!
//! A plain read is linearizable on any replica. One that asks for less (`quorate_proto::staleness`) is
//! answered from what this replica has, with or without a quorum, and says how far behind that may be.
//!
//! **Invariant:** only a request that asked for it is answered from a state whose age was not asked of
//! a quorum, because a caller that did not ask takes the answer for the present.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quorate_proto::staleness::{Staleness, TOLERANCE_KEY, Tolerance};
use quorate_proto::status::ApiError;
use quorate_raft::LogTime;
use quorate_scheduler::LogNow;
use quorate_state::{State, Violation};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use crate::core::Core;

/// A replica that has not found itself up to date for this long asks, so that stale reads can say that
/// they are behind by little more.
const CATCH_UP_EVERY: Duration = Duration::from_secs(1);

/// One request that reads.
pub(crate) struct Reading<'a> {
    core: &'a Core,
    asked: Result<Option<Tolerance>, String>,
    /// What the answer has to say of itself, once it is known.
    told: OnceLock<Staleness>,
}

impl<'a> Reading<'a> {
    /// The reading that goes with a request's metadata.
    pub(crate) fn of(core: &'a Core, request: &MetadataMap) -> Self {
        Self { core, asked: Tolerance::of(request), told: OnceLock::new() }
    }

    /// The state to answer from.
    pub(crate) async fn view(&self) -> Result<Arc<State>, ApiError> {
        match self.tolerance()? {
            Some(tolerance) => self.stale(tolerance),
            None => self.core.read_anywhere().await,
        }
    }

    /// The same for what only the leader knows well: others take nothing but stale reads.
    pub(crate) async fn view_of_leader(&self) -> Result<Arc<State>, ApiError> {
        match self.tolerance()? {
            Some(tolerance) => self.stale(tolerance),
            None => self.core.read().await,
        }
    }

    /// The log's time, by which durations in `view` are told.
    pub(crate) fn log_now(&self, view: &State) -> Result<LogNow, ApiError> {
        match self.core.replica.log_time() {
            Some(LogTime { now, served, .. }) => Ok(LogNow { served, now }),
            // What is asked is how it stood then.
            None if self.is_stale() => Ok(LogNow { served: view.meta().served, now: view.meta().now }),
            None => Err(self.core.not_leader()),
        }
    }

    /// The replica that is asked.
    pub(crate) fn core(&self) -> &'a Core {
        self.core
    }

    /// It takes what this replica has.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self.asked, Ok(Some(_)))
    }

    /// Answers, like [`Core::answer`], and says of the answer how stale it is, if it is.
    pub(crate) async fn answer<T>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<Response<T>, Status> {
        let mut answer = self.core.answer(method, work).await?;
        if let Some(staleness) = self.told.get() {
            staleness.write(answer.metadata_mut());
        }
        Ok(answer)
    }

    fn tolerance(&self) -> Result<Option<Tolerance>, ApiError> {
        self.asked.clone().map_err(|message| {
            ApiError::Invalid(vec![Violation { field: format!("metadata {TOLERANCE_KEY}"), message }])
        })
    }

    fn stale(&self, tolerance: Tolerance) -> Result<Arc<State>, ApiError> {
        // In this order: the view is at least as new as what is said of it.
        let up_to_date = self.core.replica.up_to_date_at();
        let view = self.core.view()?;
        let age = up_to_date.map(|at| self.core.seams.clock.boot().since(at));
        // Rounded up: it is a bound.
        let age_ms = age.map(|age| u64::try_from(age.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX));
        if !tolerance.accepts(age_ms) {
            let age = age_ms.map_or("at an age that it does not know".into(), |age| format!("up to {age} ms old"));
            return Err(ApiError::Unavailable(format!(
                "the state of this replica is {age}, which is more than {TOLERANCE_KEY} allows: ask another"
            )));
        }
        // The first view counts; no method takes two.
        let _ = self.told.set(Staleness { revision: view.revision(), age_ms });
        Ok(view)
    }
}

/// Keeps this replica informed of how up to date it is until it stops; whoever reads here does that too.
pub(crate) async fn stay_informed(core: &Core) {
    loop {
        let age = core.replica.up_to_date_at().map(|at| core.seams.clock.boot().since(at));
        let rest = age.map_or(Duration::ZERO, |age| CATCH_UP_EVERY.saturating_sub(age));
        if rest.is_zero() {
            // Without an answer the age just grows.
            let _ = core.replica.catch_up().await;
        }
        // Also after a failure, which may have taken no time at all.
        tokio::time::sleep(if rest.is_zero() { CATCH_UP_EVERY } else { rest }).await;
    }
}
