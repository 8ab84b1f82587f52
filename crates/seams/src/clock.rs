//! The clock seam: time since boot for every duration, wall time for what a person reads.

use std::time::Duration;

/// Milliseconds since the Unix epoch. May jump; never used to measure a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WallMillis(pub u64);

/// An instant on this host's boot clock (`CLOCK_BOOTTIME`: monotonic, counts suspended time).
/// Instants of two hosts, or of two boots, must not be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct BootInstant(pub Duration);

impl BootInstant {
    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Milliseconds since boot.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// The instant this many milliseconds after boot.
    pub fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl std::ops::Add<Duration> for BootInstant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

/// What a host knows about time.
pub trait Clock: Send + Sync + 'static {
    /// Time since boot, for leases, timeouts and every other duration.
    fn boot(&self) -> BootInstant;
    /// Time of day, for stamps that people read.
    fn wall(&self) -> WallMillis;
}

/// The kernel's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot(&self) -> BootInstant {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        BootInstant(from_timespec(now))
    }

    fn wall(&self) -> WallMillis {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        WallMillis(u64::try_from(from_timespec(now).as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock before the epoch reads as the epoch.
fn from_timespec(at: rustix::time::Timespec) -> Duration {
    Duration::new(u64::try_from(at.tv_sec).unwrap_or(0), u32::try_from(at.tv_nsec).unwrap_or(0))
}
