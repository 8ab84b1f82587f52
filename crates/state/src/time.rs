//! Log time: the two clocks that `apply` sees, both driven by the leader's stamps.

use std::fmt;

/// Wall time in the log: milliseconds since the Unix epoch, never going back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// Time the cluster has been led: milliseconds elapsed within terms only. It stands still while
/// there is no leader and does not jump when a new one brings another wall clock, so every
/// duration (timeout, backoff, request window) runs on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Served(pub u64);

impl Served {
    /// The instant that does not come: a wait for a word, not for a time.
    pub const NEVER: Self = Self(u64::MAX);

    /// This instant plus a duration in milliseconds.
    pub fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The leader's time on an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The leader's idea of wall time, at least the log time at which its term began.
    pub wall: Millis,
    /// The leader's Raft term.
    pub term: u64,
    /// Milliseconds since this leader's term began, on its boot clock.
    pub elapsed_ms: u64,
}
