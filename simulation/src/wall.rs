//! Real time, for budgets and progress: the time that the person waits, not the time of any run.

use std::time::{Duration, Instant};

/// Now.
#[expect(clippy::disallowed_methods, reason = "sweeps are measured and bounded outside of every simulation")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Until when a command may go on taking up work; without a budget as long as there is some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    began: Instant,
    span: Option<Duration>,
}

impl Budget {
    /// Begins now.
    pub(crate) fn new(span: Option<Duration>) -> Self {
        Self { began: now(), span }
    }

    /// How long it has been used.
    pub(crate) fn used(&self) -> Duration {
        now().saturating_duration_since(self.began)
    }

    /// Whether some is left.
    pub(crate) fn is_left(&self) -> bool {
        self.span.is_none_or(|span| self.used() < span)
    }
}
