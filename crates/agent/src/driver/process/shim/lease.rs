//! The instant at which the node's lease is over, in a file that all shims of `fenced` attempts read when they believe
//! that it has come: one write per renewal, however many they are.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_gettime,
    timerfd_settime,
};

/// The number and its complement: a reader that meets a writer notices.
const BYTES: usize = 16;
/// Tries of a reader.
const READS: u32 = 100;

/// Opens the file for [`write`]; what stands there stays.
pub(in super::super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}

/// Says until when, in milliseconds since boot.
pub(in super::super) fn write(file: &File, deadline_ms: u64) -> io::Result<()> {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&deadline_ms.to_le_bytes());
    bytes[8..].copy_from_slice(&(!deadline_ms).to_le_bytes());
    file.write_all_at(&bytes, 0)
}

/// Until when, in milliseconds since boot; zero, which is long ago, when it does not say.
pub(in super::super) fn read(path: &Path) -> u64 {
    let Ok(file) = File::open(path) else { return 0 };
    let mut bytes = [0; BYTES];
    for _ in 0..READS {
        if file.read_exact_at(&mut bytes, 0).is_err() {
            return 0;
        }
        let (number, complement) = bytes.split_at(8);
        let of = |half: &[u8]| half.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        if of(number) == !of(complement) {
            return of(number);
        }
    }
    0
}

/// A timer on the clock of leases, which goes on while the machine is suspended.
#[derive(Debug)]
pub(in super::super) struct Timer(OwnedFd);

impl Timer {
    /// One that fires then, in milliseconds since boot; none when that is over.
    pub(in super::super) fn until(deadline_ms: u64) -> io::Result<Option<Self>> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        let tv_sec = i64::try_from(deadline_ms / 1_000).map_err(io::Error::other)?;
        let tv_nsec = i64::try_from(deadline_ms % 1_000 * 1_000_000).map_err(io::Error::other)?;
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = Itimerspec { it_interval: never, it_value: Timespec { tv_sec, tv_nsec } };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &at)?;
        // Nothing is left of the time of one that has fired, or was set to nothing.
        let left = timerfd_gettime(&timer)?.it_value;
        Ok((left.tv_sec > 0 || left.tv_nsec > 0).then_some(Self(timer)))
    }

    /// Becomes readable when it fires.
    pub(super) fn fires(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_absent_was_over_long_ago() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lease");
        assert_eq!(read(&path), 0);
        let file = open(&path).unwrap();
        assert_eq!(read(&path), 0);
        write(&file, 123_456_789_012).unwrap();
        assert_eq!(read(&path), 123_456_789_012);
        write(&open(&path).unwrap(), 7).unwrap();
        assert_eq!(read(&path), 7);
        file.write_all_at(&[9], 3).unwrap();
        assert_eq!(read(&path), 0);
    }

    #[test]
    fn a_timer_knows_what_is_over() {
        assert!(Timer::until(0).unwrap().is_none());
        assert!(Timer::until(1).unwrap().is_none(), "a millisecond after the machine was started");
        assert!(Timer::until(1 << 40).unwrap().is_some());
    }
}
