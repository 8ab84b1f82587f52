//! The leader's clock: what it stamps on entries during its term.

use quorate_planted::Bug;
use quorate_state::{Meta, Millis, Served, Stamp};

use crate::LogTime;

/// The clock may run this much faster or slower than time does, to come closer to the host's wall
/// clock without ever jumping: one part in this many.
const SLEW: u64 = 100;

/// The clock of one term. It is read with the milliseconds since the term began, on the boot clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogClock {
    term: u64,
    /// Wall time when the term began; the log's, where the host's was behind it.
    start_ms: u64,
    /// How far slewing has come, in microseconds.
    slewed_us: i64,
    /// When it was last read.
    elapsed_ms: u64,
}

impl LogClock {
    /// Begins at the host's wall time, or at the log's where that is later: log time never goes back.
    pub(crate) fn new(term: u64, log_now: Millis, host_wall_ms: u64) -> Self {
        Self { term, start_ms: log_now.0.max(host_wall_ms), slewed_us: 0, elapsed_ms: 0 }
    }

    /// The stamp for an entry, `elapsed_ms` after the term began, where the host's wall clock shows
    /// `host_wall_ms`.
    pub(crate) fn stamp(&mut self, elapsed_ms: u64, host_wall_ms: u64) -> Stamp {
        let passed_ms = elapsed_ms.saturating_sub(self.elapsed_ms);
        self.elapsed_ms = self.elapsed_ms.max(elapsed_ms);
        let budget_us = i64::try_from(passed_ms.saturating_mul(1_000 / SLEW)).unwrap_or(i64::MAX);
        let ahead_us = i128::from(host_wall_ms) * 1_000 - self.wall_us();
        let step = ahead_us.clamp(-i128::from(budget_us), i128::from(budget_us));
        self.slewed_us += i64::try_from(step).unwrap_or(0);
        let wall = Millis(u64::try_from(self.wall_us() / 1_000).unwrap_or(0));
        Stamp { wall, term: self.term, elapsed_ms: self.elapsed_ms }
    }

    fn wall_us(&self) -> i128 {
        (i128::from(self.start_ms) + i128::from(self.elapsed_ms)) * 1_000 + i128::from(self.slewed_us)
    }
}

/// The log's two clocks as they would be after an entry with this stamp.
pub(crate) fn after(meta: &Meta, stamp: Stamp) -> LogTime {
    let counted = if stamp.term == meta.term { meta.elapsed_ms } else { 0 };
    let mut passed_ms = stamp.elapsed_ms.saturating_sub(counted);
    if quorate_planted::is(Bug::OutageCountsAsServed) && meta.term > 0 && stamp.term != meta.term {
        passed_ms = passed_ms.max(stamp.wall.0.saturating_sub(meta.now.0));
    }
    let served = Served(meta.served.0 + passed_ms);
    LogTime { now: meta.now.max(stamp.wall), served, term: stamp.term }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_begins_before_the_log() {
        assert_eq!(LogClock::new(1, Millis(5_000), 1_000).stamp(0, 1_000).wall, Millis(5_000));
        assert_eq!(LogClock::new(1, Millis(5_000), 9_000).stamp(0, 9_000).wall, Millis(9_000));
    }

    #[test]
    fn it_approaches_the_host_by_one_percent_at_most() {
        let mut clock = LogClock::new(1, Millis(0), 10_000);
        // The host's clock was set ahead by an hour.
        assert_eq!(clock.stamp(1_000, 3_611_000).wall, Millis(11_010));
        assert_eq!(clock.stamp(2_000, 3_612_000).wall, Millis(12_020));
        // And back by an hour: slower, never backwards.
        assert_eq!(clock.stamp(3_000, 13_000).wall, Millis(13_010));
        assert_eq!(clock.stamp(4_000, 14_000).wall, Millis(14_000));
        assert_eq!(clock.stamp(5_000, 15_000).wall, Millis(15_000));
    }

    #[test]
    fn it_never_goes_back() {
        let mut clock = LogClock::new(3, Millis(0), 1_000_000);
        let mut last = Millis(0);
        for (elapsed, host) in [(0, 1_000_000), (10, 0), (10, 9_999_999), (9, 0), (500, 1), (501, 8_000_000)] {
            let stamp = clock.stamp(elapsed, host);
            assert!(stamp.wall >= last, "{stamp:?} after {last}");
            last = stamp.wall;
        }
    }

    #[test]
    fn served_counts_within_terms_only() {
        let meta = Meta { served: Served(100), term: 2, elapsed_ms: 40, ..Meta::default() };
        let stamp = |term, elapsed_ms| Stamp { wall: Millis(7), term, elapsed_ms };
        assert_eq!(after(&meta, stamp(2, 50)).served, Served(110));
        assert_eq!(after(&meta, stamp(3, 50)).served, Served(150));
        assert_eq!(after(&meta, stamp(2, 30)).served, Served(100));
    }
}
