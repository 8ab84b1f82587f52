//! A library to load before all others: the time of day, shifted by what a file says.
//!
//! The file named by `WALL_CLOCK_FILE` holds 8 bytes, a number of milliseconds; whoever writes another
//! one there makes the clock jump. Every other clock is the kernel's.

#![expect(unsafe_code, reason = "replacing symbols of libc is unsafe by nature; see each block")]

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

/// Where the file's name is.
const VARIABLE: &CStr = c"WALL_CLOCK_FILE";
/// Bytes of the file.
const BYTES: usize = size_of::<AtomicI64>();

/// The file in memory, once somebody has asked for the time.
static SHIFT: AtomicPtr<AtomicI64> = AtomicPtr::new(ptr::null_mut());

/// Milliseconds to add. Allocates nothing: allocators ask for the time, too.
fn shift_ms() -> i64 {
    let mut shift = SHIFT.load(Ordering::Acquire);
    if shift.is_null() {
        shift = map();
        SHIFT.store(shift, Ordering::Release);
    }
    if shift.is_null() {
        return 0;
    }
    // SAFETY: the mapping is never removed, is as large as the number and aligned to a page.
    unsafe { (*shift).load(Ordering::Relaxed) }
}

/// The file mapped, or null when there is none.
fn map() -> *mut AtomicI64 {
    // SAFETY: the name is a C string, and so is what getenv returns, unless it is null. The descriptor is
    // ours, and the kernel chooses where it maps the file.
    unsafe {
        let path = libc::getenv(VARIABLE.as_ptr());
        if path.is_null() {
            return ptr::null_mut();
        }
        let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return ptr::null_mut();
        }
        let mapped = libc::mmap(ptr::null_mut(), BYTES, libc::PROT_READ, libc::MAP_SHARED, file, 0);
        libc::close(file);
        if mapped == libc::MAP_FAILED { ptr::null_mut() } else { mapped.cast() }
    }
}

/// Replaces libc's.
///
/// # Safety
/// As libc's: `at` must point to a writable `timespec`.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, at: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the same call, with the caller's own arguments.
    let answered = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, at) };
    if answered == 0 && (clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE) {
        let shift = shift_ms();
        // SAFETY: the kernel has just written there.
        let time = unsafe { &mut *at };
        let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec) + i128::from(shift) * 1_000_000;
        time.tv_sec = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0);
        time.tv_nsec = i64::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0);
    }
    if answered == 0 { 0 } else { -1 }
}

/// Replaces libc's.
///
/// # Safety
/// As libc's: `at` must be null or point to a writable `timeval`.
#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(at: *mut libc::timeval, _zone: *mut libc::c_void) -> libc::c_int {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    let answered = unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    if answered == 0 && !at.is_null() {
        // SAFETY: the caller owns a writable `timeval`.
        unsafe { at.write(libc::timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1_000 }) };
    }
    answered
}

/// Replaces libc's.
///
/// # Safety
/// As libc's: `at` must be null or point to a writable `time_t`.
#[unsafe(no_mangle)]
unsafe extern "C" fn time(at: *mut libc::time_t) -> libc::time_t {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    if !at.is_null() {
        // SAFETY: the caller owns a writable `time_t`.
        unsafe { at.write(now.tv_sec) };
    }
    now.tv_sec
}
