//! What a client whose reads may be stale asks for, and what it was told.

use std::sync::{Mutex, PoisonError};

use quorate_proto::staleness::{Staleness, Tolerance};
use tonic::metadata::MetadataMap;

/// How stale answers may be, and how stale they were.
pub(super) struct StaleReads {
    tolerance: Tolerance,
    told: Mutex<Option<Staleness>>,
}

impl StaleReads {
    pub(super) fn new(tolerance: Tolerance) -> Self {
        Self { tolerance, told: Mutex::default() }
    }

    /// Asks for it in a request.
    pub(super) fn ask(&self, request: &mut MetadataMap) {
        self.tolerance.write(request);
    }

    /// Takes note of what an answer says of itself.
    pub(super) fn note(&self, answer: &MetadataMap) {
        if let Some(staleness) = Staleness::of(answer) {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            *told = Some(told.map_or(staleness, |before| before.and(staleness)));
        }
    }

    /// What holds for all of them.
    pub(super) fn told(&self) -> Option<Staleness> {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
