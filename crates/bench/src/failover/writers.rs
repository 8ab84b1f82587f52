//! Writers that go on while the leader goes: each asks member after member for the same write until one
//! acknowledges it, as a client does that cannot know what became of a request.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::{TRY_DEADLINE, TRY_EVERY};
use crate::Error;
use crate::load::Target;

/// Writers at once: some requests are always under way when the leader goes, and the machine has time
/// left for whoever takes over.
const WRITERS: usize = 8;
/// Pause of a writer after each write.
const WRITE_EVERY: Duration = Duration::from_millis(5);

/// Writers at work.
pub(super) struct Writers {
    tasks: JoinSet<Vec<u64>>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    /// Carries out operations of these numbers, until all are done or they are stopped.
    pub(super) fn start<T: Target>(target: &Arc<T>, members: usize, numbers: Range<u64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new(numbers.start));
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let writer = Writer {
                target: target.clone(),
                members,
                member: writer % members,
                next: next.clone(),
                end: numbers.end,
                stop: stop.clone(),
            };
            tasks.spawn(writer.write());
        }
        Self { tasks, stop }
    }

    /// Ends them, and returns the numbers of the writes that were acknowledged.
    pub(super) async fn stop(mut self) -> Result<Vec<u64>, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            acknowledged.extend(ended.map_err(|error| Error::Outcome(format!("a writer ended early: {error}")))?);
        }
        Ok(acknowledged)
    }
}

struct Writer<T> {
    target: Arc<T>,
    members: usize,
    /// Who is asked next: whoever answered last, while that goes well.
    member: usize,
    next: Arc<AtomicU64>,
    end: u64,
    stop: Arc<AtomicBool>,
}

impl<T: Target> Writer<T> {
    async fn write(mut self) -> Vec<u64> {
        let mut acknowledged = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end {
                break;
            }
            if self.is_acknowledged(number).await {
                acknowledged.push(number);
            }
            tokio::time::sleep(WRITE_EVERY).await;
        }
        acknowledged
    }

    /// False when the end came first: then nobody knows whether it was written.
    async fn is_acknowledged(&mut self, number: u64) -> bool {
        while !self.stop.load(Ordering::Relaxed) {
            if let Ok(Ok(())) = tokio::time::timeout(TRY_DEADLINE, self.target.operate(self.member, number)).await {
                return true;
            }
            self.member = (self.member + 1) % self.members;
            tokio::time::sleep(TRY_EVERY).await;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    /// Only member 2 leads, and it never answers operation 3.
    struct Last(Semaphore);

    impl Target for Last {
        async fn operate(&self, member: usize, number: u64) -> Result<(), String> {
            if member != 2 || number == 3 {
                return Err("not the leader".into());
            }
            self.0.add_permits(1);
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_acknowledged_is_told_and_nothing_else() {
        let target = Arc::new(Last(Semaphore::new(0)));
        let writers = Writers::start(&target, 3, 2..9);
        // Numbers 2 and 4 to 8: everything but the one that nobody answers.
        target.0.acquire_many(6).await.unwrap().forget();
        let mut acknowledged = writers.stop().await.unwrap();
        acknowledged.sort_unstable();
        assert_eq!(acknowledged, [2, 4, 5, 6, 7, 8]);
    }
}
