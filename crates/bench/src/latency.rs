//! Latencies and their quantiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Error;
use crate::samples::quantile;

/// Recorded precisely up to here, in microseconds; longer ones count as this.
const MICROS_MAX: u64 = 24 * 3600 * 1_000_000;
/// Significant decimal digits that are kept.
const DIGITS: u8 = 3;

/// Latencies of many tasks or writes, in little memory.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// What they come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// The longest, in milliseconds.
    pub max_ms: f64,
}

impl Quantiles {
    /// Of latencies in microseconds, in any order.
    pub(crate) fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let millis = |share| (quantile(&micros, share) / 100.0).round() / 10.0;
        Self { p50_ms: millis(0.5), p99_ms: millis(0.99), max_ms: millis(1.0) }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        // The bounds are constants within what the histogram takes; were they not, the tests would say so.
        let bounded = Histogram::new_with_bounds(1, MICROS_MAX, DIGITS);
        Self(bounded.expect("constant bounds are valid"))
    }
}

impl Latencies {
    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(MICROS_MAX);
        self.0.saturating_record(micros.clamp(1, MICROS_MAX));
    }

    pub(crate) fn add(&mut self, other: &Self) -> Result<(), Error> {
        self.0.add(&other.0).map_err(|error| Error::Outcome(format!("latencies do not add up: {error}")))
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let millis = |micros: u64| (micros as f64 / 100.0).round() / 10.0;
        Quantiles {
            p50_ms: millis(self.0.value_at_quantile(0.5)),
            p99_ms: millis(self.0.value_at_quantile(0.99)),
            max_ms: millis(self.0.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::default();
        for millis in 1..=100 {
            latencies.record(Duration::from_millis(millis));
        }
        let mut all = Latencies::default();
        all.add(&latencies).unwrap();
        let quantiles = all.quantiles();
        assert!((quantiles.p50_ms - 50.0).abs() < 0.2, "{quantiles:?}");
        assert!((quantiles.p99_ms - 99.0).abs() < 0.2, "{quantiles:?}");
        assert_eq!(all.count(), 100);
    }

    #[test]
    fn absurd_latencies_are_counted_as_the_longest() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);
        assert_eq!(latencies.count(), 2);
    }
}
