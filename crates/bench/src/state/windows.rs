//! How long writes take, second by second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quorate_seams::{Clock as _, SystemClock};
use tokio::task::JoinSet;

use crate::Error;
use crate::load::Target;
use crate::samples::{Spread, quantile};

/// Latencies in microseconds, by the second in which the write began.
#[derive(Debug, Default)]
pub(super) struct Windows(Vec<Vec<u32>>);

/// Numbers of operations, so that none is made twice.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Windows {
    fn add(&mut self, second: usize, micros: u32) {
        if self.0.len() <= second {
            self.0.resize(second + 1, Vec::new());
        }
        self.0[second].push(micros);
    }

    /// The 99th percentiles of all seconds, in milliseconds; none when nothing was written. A second in
    /// which no write began belongs to the writes that were waited for then.
    pub(super) fn p99_ms(mut self) -> Option<Spread> {
        self.0.retain(|window| !window.is_empty());
        let p99 = |window: &mut Vec<u32>| {
            window.sort_unstable();
            quantile(window, 0.99) / 1e3
        };
        Spread::of(self.0.iter_mut().map(p99).collect())
    }
}

/// Lets `callers` write one after the other until `work` ends; its value comes back, and how long they took.
pub(super) async fn write_until<T: Target, R>(
    target: &Arc<T>,
    callers: usize,
    work: impl Future<Output = R>,
) -> Result<(R, Windows), Error> {
    let over = Arc::new(AtomicBool::new(false));
    let begun = SystemClock.boot();
    let mut writers: JoinSet<Result<Vec<(usize, u32)>, String>> = JoinSet::new();
    for _ in 0..callers {
        let (target, over) = (target.clone(), over.clone());
        writers.spawn(async move {
            let mut samples = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let sent = SystemClock.boot();
                target.operate(0, NEXT.fetch_add(1, Ordering::Relaxed)).await?;
                let took = u32::try_from(SystemClock.boot().since(sent).as_micros()).unwrap_or(u32::MAX);
                let second = usize::try_from(sent.since(begun).as_secs()).unwrap_or(usize::MAX);
                samples.push((second, took));
            }
            Ok(samples)
        });
    }
    let value = work.await;
    over.store(true, Ordering::Relaxed);
    let mut windows = Windows::default();
    while let Some(ended) = writers.join_next().await {
        let ended = ended.map_err(|error| Error::Outcome(format!("a writer ended early: {error}")))?;
        let samples = ended.map_err(|why| Error::Outcome(format!("a write failed: {why}")))?;
        samples.into_iter().for_each(|(second, micros)| windows.add(second, micros));
    }
    Ok((value, windows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own_percentile_and_empty_ones_have_none() {
        let mut windows = Windows::default();
        assert_eq!(Windows::default().p99_ms(), None);
        for (second, micros) in [(0, 1_000), (0, 2_000), (2, 9_000), (3, 4_000)] {
            windows.add(second, micros);
        }
        assert_eq!(windows.p99_ms(), Some(Spread { median: 4.0, min: 2.0, max: 9.0 }));
    }
}
