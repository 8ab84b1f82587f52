//! How many seeds came to what.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::outcome::{End, Outcome};

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) seeds: u64,
    pub(crate) violations: u64,
    pub(crate) invalid: u64,
}

/// The last line of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    seeds: u64,
    violations: u64,
    invalid: u64,
    /// Of the whole sweep, with one decimal.
    seeds_per_minute: f64,
    /// In so many processes at a time.
    jobs: usize,
}

impl Tally {
    /// One more.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        match outcome.end {
            End::Held | End::Stopped => {}
            End::Violated { .. } => self.violations += 1,
            End::Invalid { .. } => self.invalid += 1,
        }
    }

    /// Whether all of them held, but for so many that showed nothing.
    pub(crate) fn is_good(&self, invalid_max: u64) -> bool {
        self.violations == 0 && self.invalid <= invalid_max
    }

    /// With the speed that these many took.
    pub(crate) fn summary(&self, jobs: usize, took: Duration) -> Summary {
        let seeds_per_minute = per_minute(self.seeds, took);
        Summary { seeds: self.seeds, violations: self.violations, invalid: self.invalid, seeds_per_minute, jobs }
    }
}

impl Summary {
    /// Whether so many seeds were run per minute, or more.
    pub(crate) fn is_as_fast_as(&self, seeds_per_minute_min: f64) -> bool {
        self.seeds_per_minute >= seeds_per_minute_min
    }
}

/// With one decimal.
#[expect(clippy::cast_precision_loss, reason = "nobody runs 2^53 seeds")]
pub(crate) fn per_minute(seeds: u64, took: Duration) -> f64 {
    let minutes = took.as_secs_f64().max(0.001) / 60.0;
    (seeds as f64 / minutes * 10.0).round() / 10.0
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, violations, invalid, seeds_per_minute, jobs } = self;
        write!(
            f,
            "{seeds} seeds, {violations} violations, {invalid} invalid; {seeds_per_minute} per minute in {jobs} processes"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolate;

    #[test]
    fn each_seed_counts_once_and_the_speed_is_the_whole_sweeps() {
        let mut tally = Tally::default();
        let violated = isolate::broken(1, "crashed".to_owned(), vec![]);
        let held = Outcome { end: End::Held, ..violated.clone() };
        tally.add(&held);
        tally.add(&held);
        assert!(tally.is_good(0));
        tally.add(&Outcome { end: End::Invalid { why: "no tasks".to_owned() }, ..held });
        assert!(!tally.is_good(0));
        tally.add(&violated);
        let summary = tally.summary(2, Duration::from_secs(90));
        assert!(summary.is_as_fast_as(2.7) && !summary.is_as_fast_as(2.8));
        let line = serde_json::to_string(&summary).unwrap();
        assert_eq!(line, r#"{"seeds":4,"violations":1,"invalid":1,"seeds_per_minute":2.7,"jobs":2}"#);
    }
}
