//! Callers that write without a pause, whoever leads, and what they see of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_seams::{BootInstant, Clock as _, SystemClock};
use tokio::task::JoinSet;

use crate::Error;
use crate::latency::Latencies;
use crate::load::Target;

/// Pause of a caller that was refused, before it asks the next member.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// What callers saw.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// From the first try of a write until it was acknowledged.
    pub(super) latencies: Latencies,
    /// Tries that were refused or not answered; the write was tried again.
    pub(super) failed: u64,
    /// The longest time in which no write was acknowledged,
    pub(super) longest_gap: Duration,
    /// of which this may become the next.
    last: BootInstant,
}

impl Seen {
    fn from(now: BootInstant) -> Self {
        Self { latencies: Latencies::default(), failed: 0, longest_gap: Duration::ZERO, last: now }
    }

    fn written(&mut self, begun: BootInstant, now: BootInstant) {
        self.latencies.record(now.since(begun));
        self.gap_until(now);
        self.last = now;
    }

    fn gap_until(&mut self, now: BootInstant) {
        self.longest_gap = self.longest_gap.max(now.since(self.last));
    }
}

/// Callers at work.
pub(super) struct Callers {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    is_over: AtomicBool,
    next: AtomicU64,
    seen: Mutex<Seen>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Callers {
    /// They begin at member `leader`; the next one is asked when it does not carry a write out.
    pub(super) fn start<T: Target>(target: &Arc<T>, members: usize, leader: usize, callers: usize) -> Self {
        let shared = Arc::new(Shared {
            is_over: AtomicBool::new(false),
            next: AtomicU64::new(0),
            seen: Mutex::new(Seen::from(SystemClock.boot())),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            tasks.spawn(call(target.clone(), shared.clone(), members, leader));
        }
        Self { tasks, shared }
    }

    /// Forgets what was seen before now.
    pub(super) fn begin_anew(&self) {
        *self.shared.seen() = Seen::from(SystemClock.boot());
    }

    /// What was seen until now; then lets each end its try.
    pub(super) async fn stop(mut self) -> Result<Seen, Error> {
        let seen = {
            let mut seen = self.shared.seen();
            seen.gap_until(SystemClock.boot());
            seen.clone()
        };
        self.shared.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| Error::Outcome(format!("a caller ended early: {error}")))?;
        }
        Ok(seen)
    }
}

async fn call<T: Target>(target: Arc<T>, shared: Arc<Shared>, members: usize, mut member: usize) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let begun = SystemClock.boot();
        while !shared.is_over.load(Ordering::Relaxed) {
            if target.operate(member, number).await.is_ok() {
                // The time is taken under the lock, so that none is before the last.
                let mut seen = shared.seen();
                seen.written(begun, SystemClock.boot());
                break;
            }
            shared.seen().failed += 1;
            member = (member + 1) % members;
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_millis(millis)
    }

    #[test]
    fn the_longest_gap_counts_from_the_start_to_the_end() {
        let mut seen = Seen::from(at(100));
        seen.gap_until(at(150));
        assert_eq!(seen.longest_gap, Duration::from_millis(50), "nothing was written at all");
        seen.written(at(90), at(160));
        seen.written(at(100), at(400));
        seen.gap_until(at(500));
        assert_eq!(seen.longest_gap, Duration::from_millis(240));
        assert_eq!(seen.latencies.count(), 2);
        assert!(seen.latencies.quantiles().max_ms >= 300.0);
    }

    /// Member 1 leads.
    struct Second(Semaphore);

    impl Target for Second {
        async fn operate(&self, member: usize, _: u64) -> Result<(), String> {
            tokio::task::yield_now().await;
            if member != 1 {
                return Err("not the leader".into());
            }
            self.0.add_permits(1);
            Ok(())
        }
    }

    #[tokio::test]
    async fn callers_look_for_whoever_writes() {
        let target = Arc::new(Second(Semaphore::new(0)));
        let callers = Callers::start(&target, 3, 0, 2);
        target.0.acquire_many(10).await.unwrap().forget();
        let seen = callers.stop().await.unwrap();
        assert_eq!(seen.failed, 2, "each asked the wrong member once");
        assert!(seen.latencies.count() >= 8, "{seen:?}");
    }
}
