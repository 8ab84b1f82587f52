//! Randomness of simulated hosts: all of it follows from the seed.

use std::sync::Mutex;

use quorate_seams::Entropy;

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
        from + self.next() % to.saturating_sub(from).max(1)
    }

    /// True so many times out of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.within(0, 100) < percent
    }

    /// A position below `count`.
    pub(crate) fn position(&mut self, count: usize) -> usize {
        usize::try_from(self.within(0, count as u64)).unwrap_or(0)
    }

    /// One of them; `among` is not empty.
    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.position(among.len())]
    }

    /// A position among weights, in proportion to them.
    pub(crate) fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut at = self.within(0, weights.iter().sum());
        for (position, weight) in weights.iter().enumerate() {
            if at < *weight {
                return position;
            }
            at -= weight;
        }
        0
    }

    /// A number from `from` to `to`, small ones more often: its logarithm is uniform.
    pub(crate) fn log_within(&mut self, from: u64, to: u64) -> u64 {
        let from = from.max(1);
        let doublings = u64::from((to / from).max(1).ilog2());
        let low = from << self.within(0, doublings + 1);
        self.within(low, (low * 2).min(to + 1)).clamp(from, to.max(from))
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
