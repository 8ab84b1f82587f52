//! Time of a simulated host: true time, and how this host's clocks are wrong about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quorate_seams::{BootInstant, Clock, WallMillis};

use crate::scenario::ClockPlan;

/// 2026-01-01: where simulated wall clocks begin.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// The clock seam of one host: simulated time at the host's own rate, plus how long it was up
/// before, plus an error of its wall clock that can jump. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct SimClock {
    plan: ClockPlan,
    wall_jumps_ms: Arc<AtomicI64>,
}

impl SimClock {
    pub(crate) fn new(plan: ClockPlan) -> Self {
        Self { plan, wall_jumps_ms: Arc::default() }
    }

    /// The time of day jumps; durations are not touched.
    pub(crate) fn jump(&self, by_ms: i64) {
        self.wall_jumps_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Simulated time since the beginning, as this host counts it.
    fn own_micros(&self) -> i64 {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let elapsed = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        elapsed + elapsed / 1_000_000 * self.plan.drift_ppm + elapsed % 1_000_000 * self.plan.drift_ppm / 1_000_000
    }
}

impl Clock for SimClock {
    fn boot(&self) -> BootInstant {
        let own = Duration::from_micros(u64::try_from(self.own_micros()).unwrap_or(0));
        BootInstant(Duration::from_millis(self.plan.booted_before_ms) + own)
    }

    fn wall(&self) -> WallMillis {
        let began = i64::try_from(EPOCH.as_millis()).unwrap_or(i64::MAX);
        let ahead = i64::try_from(self.plan.wall_ahead_ms).unwrap_or(0) + self.wall_jumps_ms.load(Ordering::SeqCst);
        WallMillis(u64::try_from(began + ahead + self.own_micros() / 1_000).unwrap_or(0))
    }
}
