//! Time and randomness of a simulated host: both follow from the seed and from simulated time.

use std::sync::Mutex;
use std::time::Duration;

use quorate_seams::{BootInstant, Clock, Entropy, WallMillis};

/// A stream of random numbers (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub(crate) struct Stream(u64);

impl Stream {
    /// The stream of `seed` that is called `label`: independent of all others.
    pub(crate) fn of(seed: u64, label: &str) -> Self {
        let digest = blake3::hash(format!("{seed} {label}").as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_bytes()[..8]);
        Self(u64::from_le_bytes(first))
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `from..to`.
    pub(crate) fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from).max(1)
    }
}

/// The entropy seam of one process: a restart gets a stream of its own, as a real one would.
pub(crate) struct SimEntropy(Mutex<Stream>);

impl SimEntropy {
    pub(crate) fn new(stream: Stream) -> Self {
        Self(Mutex::new(stream))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut stream = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            let number = stream.next().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

/// The clock seam of one host: simulated time, plus how long it was up before, plus an error of its
/// wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimClock {
    pub(crate) booted_before: Duration,
    pub(crate) wall_ahead: Duration,
}

/// 2026-01-01: where simulated wall clocks begin.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_767_225_600);

impl Clock for SimClock {
    fn boot(&self) -> BootInstant {
        BootInstant(self.booted_before + turmoil::sim_elapsed().unwrap_or_default())
    }

    fn wall(&self) -> WallMillis {
        let now = EPOCH + self.wall_ahead + turmoil::sim_elapsed().unwrap_or_default();
        WallMillis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }
}
