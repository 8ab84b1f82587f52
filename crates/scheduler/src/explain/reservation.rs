//! Why a task waits that asks for a reservation.

use std::fmt;

use quorate_state::{ReservationName, Run, State, TaskSpec, Unreserved};

use super::expected::Span;
use crate::LogNow;

/// A task asks for a reservation, and that is not there for it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReserved {
    /// The reservation.
    pub name: ReservationName,
    /// What is the matter with it.
    pub why: Unreserved,
    /// Its time begins in so many milliseconds, if that is to come.
    pub remaining_ms: Option<u64>,
}

/// What is to be said of tasks of a step, if their reservation keeps them waiting.
pub(super) fn not_reserved(view: &State, now: LogNow, run: &Run, spec: &TaskSpec) -> Option<NotReserved> {
    let why = view.unreserved(run, spec)?;
    let remaining_ms = match why {
        Unreserved::Until(from) => Some(from.0.saturating_sub(now.served.0)),
        Unreserved::Missing | Unreserved::NotIts => None,
    };
    Some(NotReserved { name: spec.place.reservation.clone()?, why, remaining_ms })
}

impl fmt::Display for NotReserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, why, remaining_ms } = self;
        match why {
            Unreserved::Missing => write!(
                f,
                "it asks for reservation {name}, and there is none, or it is over: make it with 'quorate reservation create', or \
                 cancel the run"
            ),
            Unreserved::NotIts => write!(
                f,
                "it asks for reservation {name}, which is another namespace's: leave out place.reservation, or submit it there"
            ),
            Unreserved::Until(_) => {
                write!(f, "the time of reservation {name} begins in {}", Span(remaining_ms.unwrap_or_default()))
            }
        }
    }
}
