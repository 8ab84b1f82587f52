//! How long this replica's log waits for its device: the last waits, and those that have not ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Waits that are remembered.
const REMEMBERED_MAX: usize = 32;
/// Fewer than these say nothing of a device.
const ENOUGH: usize = 5;
/// What ended longer ago says nothing either.
const WINDOW: Duration = Duration::from_secs(10);
/// Where too few ended lately, one that has not ended counts from this age on.
const STUCK: Duration = Duration::from_millis(100);

/// The waits for a device.
#[derive(Default)]
pub(crate) struct Syncs(Mutex<Waits>);

#[derive(Default)]
struct Waits {
    /// The number of the next.
    next: u64,
    /// When they began, by number. As many as the pipeline in front of the log lets through.
    pending: BTreeMap<u64, Instant>,
    /// When they ended and how long they took, the oldest first.
    ended: VecDeque<(Instant, Duration)>,
}

/// One wait; it ends when this is dropped.
pub(crate) struct Wait {
    syncs: Arc<Syncs>,
    number: u64,
    since: Instant,
}

impl Syncs {
    /// A wait begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Wait {
        let since = Instant::now();
        let mut waits = self.lock();
        let number = waits.next;
        waits.next += 1;
        waits.pending.insert(number, since);
        drop(waits);
        Wait { syncs: self.clone(), number, since }
    }

    /// How long a wait takes lately: the median, or the age of one that has not ended where that is more.
    /// Nothing where there were too few.
    pub(crate) fn typical(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut waits = self.lock();
        waits.forget(now);
        let mut took = [Duration::ZERO; REMEMBERED_MAX];
        let count = waits.ended.len();
        took.iter_mut().zip(&waits.ended).for_each(|(slot, (_, took))| *slot = *took);
        let oldest = waits.oldest(now);
        drop(waits);
        let median = (count >= ENOUGH).then(|| *took[..count].select_nth_unstable(count / 2).1);
        // A wait that has only just begun says nothing by itself.
        median.max(oldest.filter(|age| *age >= median.unwrap_or(STUCK)))
    }

    /// The longest of the last few waits, or the age of one that has not ended where that is more: what
    /// may be relied upon, where the median lags behind a device that has just become slow. Nothing where
    /// there were too few.
    pub(crate) fn worst_lately(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut waits = self.lock();
        waits.forget(now);
        let ended = waits.ended.iter().rev().take(ENOUGH).map(|(_, took)| *took);
        let worst = ended.max().filter(|_| waits.ended.len() >= ENOUGH)?;
        Some(waits.oldest(now).map_or(worst, |age| age.max(worst)))
    }

    fn lock(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waits {
    /// Drops what is too old to say anything.
    fn forget(&mut self, now: Instant) {
        while self.ended.front().is_some_and(|(ended, _)| now - *ended > WINDOW) {
            self.ended.pop_front();
        }
    }

    /// The age of the wait that began first of those that have not ended.
    fn oldest(&self, now: Instant) -> Option<Duration> {
        self.pending.first_key_value().map(|(_, since)| now - *since)
    }
}

impl Wait {
    /// How long it has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut waits = self.syncs.lock();
        waits.pending.remove(&self.number);
        if waits.ended.len() >= REMEMBERED_MAX {
            waits.ended.pop_front();
        }
        waits.ended.push_back((now, now - self.since));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(syncs: &Arc<Syncs>, millis: u64) {
        let wait = syncs.begin();
        tokio::time::advance(Duration::from_millis(millis)).await;
        drop(wait);
    }

    #[tokio::test(start_paused = true)]
    async fn the_median_of_the_last_waits_and_one_that_is_stuck() {
        let syncs = Arc::new(Syncs::default());
        for _ in 1..ENOUGH {
            take(&syncs, 10).await;
        }
        assert_eq!(syncs.typical(), None, "too few");
        take(&syncs, 900).await;
        assert_eq!(syncs.typical(), Some(Duration::from_millis(10)), "one that was slow is no slow device");
        assert_eq!(syncs.worst_lately(), Some(Duration::from_millis(900)), "nor one to rely upon");
        let stuck = syncs.begin();
        assert_eq!(syncs.typical(), Some(Duration::from_millis(10)));
        tokio::time::advance(Duration::from_millis(700)).await;
        assert_eq!(syncs.typical(), Some(Duration::from_millis(700)));
        drop(stuck);
        for _ in 0..REMEMBERED_MAX {
            take(&syncs, 300).await;
        }
        assert_eq!(syncs.typical(), Some(Duration::from_millis(300)));
        assert_eq!(syncs.worst_lately(), Some(Duration::from_millis(300)), "the slow ones are some time ago");
        tokio::time::advance(WINDOW + Duration::from_millis(1)).await;
        assert_eq!((syncs.typical(), syncs.worst_lately()), (None, None), "long ago");
        let stuck = syncs.begin();
        tokio::time::advance(STUCK / 2).await;
        assert_eq!(syncs.typical(), None, "just begun");
        tokio::time::advance(STUCK).await;
        assert_eq!(syncs.typical(), Some(STUCK + STUCK / 2));
        drop(stuck);
    }
}
