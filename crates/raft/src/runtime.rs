//! The runtime openraft runs on: tokio's, with a random generator that can be seeded.
//!
//! Election timeouts are drawn from it. Seeded, the same simulation holds the same elections; the
//! generator that openraft's own runtime uses would differ from run to run.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use openraft::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::{TokioInstant, TokioMpsc, TokioMutex, TokioOneshot, TokioRuntime, TokioWatch};
use quorate_seams::{Entropy, SystemEntropy};
use rand_core::TryRng;

thread_local! {
    /// `None` until the thread is seeded or draws for the first time.
    static GENERATOR: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Seeds the calling thread's generator. A thread that nobody seeded seeds itself from the kernel.
pub(crate) fn seed(entropy: &dyn Entropy) {
    GENERATOR.set(Some(entropy.u64()));
}

/// The calling thread's generator. Good for jitter, not for secrets or ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Generator;

impl Generator {
    /// One step of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
    /// generators", 2014).
    fn next(self) -> u64 {
        let state = GENERATOR.get().unwrap_or_else(|| SystemEntropy.u64()).wrapping_add(0x9e37_79b9_7f4a_7c15);
        GENERATOR.set(Some(state));
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl TryRng for Generator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The upper half is the better mixed one.
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A duration between half of `most` and `most`, so that many who wait do not come back at once.
pub(crate) fn jittered(most: Duration) -> Duration {
    let half = most / 2;
    let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(Generator.next() % micros)
}

/// tokio, with our generator.
#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = tokio::task::JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = Generator;
    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Generator
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u64);

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0.to_le_bytes()[..bytes.len()]);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |number| {
            seed(&Fixed(number));
            (0..4).map(|_| Generator.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        let most = Duration::from_millis(100);
        for _ in 0..1_000 {
            let drawn = jittered(most);
            assert!(drawn >= most / 2 && drawn <= most, "{drawn:?}");
        }
    }
}
