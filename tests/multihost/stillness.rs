//! When the machine itself stood still: a thread that only sleeps, and notices when it was woken late.
//!
//! Everything of a run shares one kernel. If this thread was not woken for seconds, then perhaps neither was what had
//! to kill a task in time, and the promise of `fenced`, which is one about time, says nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ledger::now_us;

/// How long it sleeps.
const NAP: Duration = Duration::from_millis(20);
/// Woken later than this, the machine stood still.
const LATE_US: u64 = 1_000_000;
/// Of so many times it is remembered when.
const TIMES_MAX: usize = 10_000;

/// The thread at work.
pub(crate) struct Stillness(Arc<Mutex<Vec<(u64, u64)>>>);

impl Stillness {
    /// Watches for as long as the process lives.
    pub(crate) fn watch() -> Self {
        let times: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
        let seen = times.clone();
        std::thread::spawn(move || {
            loop {
                let from_us = now_us();
                nap();
                let to_us = now_us();
                if to_us.saturating_sub(from_us) > LATE_US {
                    let mut times = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    if times.len() < TIMES_MAX {
                        times.push((from_us, to_us));
                    }
                }
            }
        });
        Self(times)
    }

    /// From when to when, in microseconds since the machine was switched on.
    pub(crate) fn times(&self) -> Vec<(u64, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, which does nothing else")]
fn nap() {
    std::thread::sleep(NAP);
}
