//! What libraries ask the kernel behind the seams' back, answered from the seed: the time (hyper's
//! date header, `Instant`) and random bytes (keys of hash maps, thread generators).
//!
//! The overrides replace symbols of libc for the whole program, so they look first whether the thread
//! is a simulation's; every other thread gets the kernel's answer.

#![expect(unsafe_code, reason = "replacing symbols of libc is unsafe by nature; see each block")]

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::clock::EPOCH;
use crate::seeded::Stream;

thread_local! {
    static STREAM: RefCell<Option<Stream>> = const { RefCell::new(None) };
}

/// Makes this thread a simulation's, for good: use a fresh thread per seed.
pub(crate) fn enter(seed: u64) {
    STREAM.with_borrow_mut(|stream| *stream = Some(Stream::of(seed, "libc")));
}

fn fill(buffer: *mut u8, length: usize) -> bool {
    STREAM
        .try_with(|stream| {
            let Ok(mut stream) = stream.try_borrow_mut() else { return false };
            let Some(stream) = stream.as_mut() else { return false };
            for at in 0..length {
                let byte = stream.next().to_le_bytes()[0];
                // SAFETY: the caller of getrandom or getentropy owns `length` writable bytes.
                unsafe { buffer.add(at).write(byte) };
            }
            true
        })
        .unwrap_or(false)
}

/// Replaces libc's.
///
/// # Safety
/// As libc's: `buffer` must have room for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut libc::c_void, length: libc::size_t, flags: libc::c_uint) -> libc::ssize_t {
    if fill(buffer.cast(), length) {
        return libc::ssize_t::try_from(length).unwrap_or(libc::ssize_t::MAX);
    }
    // SAFETY: the same call, with the caller's own arguments.
    let filled = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
    filled as libc::ssize_t
}

/// Replaces libc's.
///
/// # Safety
/// As libc's: `buffer` must have room for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(buffer: *mut libc::c_void, length: libc::size_t) -> libc::c_int {
    // SAFETY: the same contract.
    let filled = unsafe { getrandom(buffer, length, 0) };
    if usize::try_from(filled).is_ok_and(|filled| filled == length) { 0 } else { -1 }
}

/// Replaces libc's.
///
/// # Safety
/// As libc's: `at` must point to a writable `timespec`.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, at: *mut libc::timespec) -> libc::c_int {
    let simulated = STREAM.try_with(|stream| stream.try_borrow().is_ok_and(|stream| stream.is_some())).unwrap_or(false);
    if simulated {
        let elapsed = elapsed();
        let now = if clock == libc::CLOCK_REALTIME { EPOCH + elapsed } else { BOOT + elapsed };
        let answer = libc::timespec {
            tv_sec: libc::time_t::try_from(now.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(now.subsec_nanos()),
        };
        // SAFETY: the caller of clock_gettime owns a writable `timespec`.
        unsafe { at.write(answer) };
        return 0;
    }
    // SAFETY: the same call, with the caller's own arguments.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, at) };
    libc::c_int::try_from(result).unwrap_or(-1)
}

/// Simulated time; outside of any host turmoil itself asks for the time, which must not go round.
fn elapsed() -> Duration {
    thread_local! {
        static ASKING: Cell<bool> = const { Cell::new(false) };
    }
    if ASKING.replace(true) {
        return Duration::ZERO;
    }
    let elapsed = turmoil::sim_elapsed().unwrap_or_default();
    ASKING.set(false);
    elapsed
}

/// What monotonic clocks show when a simulation begins: not zero, because code subtracts from them.
const BOOT: Duration = Duration::from_secs(1_000);
