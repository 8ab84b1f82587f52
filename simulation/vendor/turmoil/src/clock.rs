//! The clock of one host as it differs from simulated time: its rate, and what it misses in a pause.
//!
//! Not part of turmoil: see PATCH.md.

use std::time::Duration;

/// Beyond this a clock does not drift, it is broken; and a host must run on some of its ticks.
const RATE_PPM_MAX: u64 = 500_000;

/// A millisecond, the finest step of tokio's timers, in millionths of a nanosecond.
const MILLISECOND: i128 = 1_000_000 * 1_000_000;

#[derive(Default)]
pub(crate) struct HostClock {
    /// How much faster the clock runs than simulated time; slower when negative.
    rate_ppm: i64,

    /// The part of the drift that is not a whole millisecond yet, in millionths of a nanosecond.
    carry: i128,

    /// What the clock went on by during the current pause; none when the host is not paused.
    missed: Option<Duration>,
}

impl HostClock {
    pub(crate) fn set_rate(&mut self, ppm: i64) {
        assert!(
            ppm.unsigned_abs() <= RATE_PPM_MAX,
            "a clock's rate must be within {RATE_PPM_MAX} ppm of the true one, not {ppm}"
        );
        self.rate_ppm = ppm;
    }

    pub(crate) fn pause(&mut self) {
        self.missed.get_or_insert(Duration::ZERO);
    }

    /// Ends the pause, if there is one. Returns what the clock has missed.
    pub(crate) fn resume(&mut self) -> Duration {
        self.missed.take().unwrap_or_default()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.missed.is_some()
    }

    /// Lets simulated time go on by `tick`. Returns for how long, on its own clock, the host is to
    /// run; none when it is paused, or when its slow clock stands still on this tick.
    pub(crate) fn tick(&mut self, tick: Duration) -> Option<Duration> {
        let step = self.step(tick);
        match &mut self.missed {
            Some(missed) => {
                *missed += step;
                None
            }
            None => Some(step).filter(|step| !step.is_zero()),
        }
    }

    /// By how much this clock moves while simulated time moves by `tick`: the same, but for a whole
    /// millisecond whenever the drift has grown to one.
    fn step(&mut self, tick: Duration) -> Duration {
        self.carry += tick.as_nanos() as i128 * i128::from(self.rate_ppm);
        let whole = (self.carry / MILLISECOND).max(-(tick.as_millis() as i128));
        self.carry -= whole * MILLISECOND;

        let drift = Duration::from_millis(whole.unsigned_abs() as u64);
        if whole < 0 {
            tick - drift
        } else {
            tick + drift
        }
    }
}
