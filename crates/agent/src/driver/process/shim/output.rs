//! Holds an attempt's output to its limit, as the agent does while it lives (`crate::logs`), for when there is none, or
//! one that was stopped. What is too old is cut out of the front of the files; offsets stay what they were. Both may do so at
//! once: each only frees what is too old by then.
//!
//! Between two looks an attempt may write what it likes. So the faster it writes, the sooner is the next look: about
//! when it would have written its limit once more.

use std::fs::File;
use std::time::Duration;

use quorate_seams::{BootInstant, Clock as _, SystemClock};

use crate::logs;

/// The soonest next look at an output that grows: what is written meanwhile is what a file may have beyond twice its limit.
const SOONEST: Duration = Duration::from_millis(100);
/// The latest one; the agent's own looks are as far apart.
pub(super) const LATEST: Duration = Duration::from_secs(1);

/// The files of standard output and error, as far as they were looked at.
#[derive(Debug)]
pub(super) struct Output {
    files: [File; 2],
    lengths: [u64; 2],
    bytes_max: u64,
    looked: BootInstant,
}

impl Output {
    /// Each file is to have at most `bytes_max` bytes.
    pub(super) fn new(files: [File; 2], bytes_max: u64) -> Self {
        Self { files, lengths: [0; 2], bytes_max, looked: SystemClock.boot() }
    }

    /// Cuts out what is too much. How soon to look again; none: it does not grow.
    pub(super) fn trim(&mut self) -> Option<Duration> {
        let mut grown = 0;
        for (file, before) in self.files.iter().zip(&mut self.lengths) {
            // An attempt is worth more than its output: where it cannot be cut, nothing is.
            let Ok(length) = file.metadata().map(|metadata| metadata.len()) else { continue };
            if length != *before {
                let _ = logs::cut(file, length, self.bytes_max);
            }
            grown = grown.max(length.saturating_sub(*before));
            *before = length;
        }
        let now = SystemClock.boot();
        let since = now.since(std::mem::replace(&mut self.looked, now));
        next_look(grown, since, self.bytes_max)
    }
}

/// How soon an output of which so much was written in that time will have grown by its limit.
fn next_look(grown: u64, since: Duration, bytes_max: u64) -> Option<Duration> {
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
    let soon = millis.saturating_mul(bytes_max).checked_div(grown)?;
    Some(Duration::from_millis(soon).clamp(SOONEST, LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_an_output_grows_the_sooner_is_the_next_look() {
        let (second, kib) = (Duration::from_secs(1), 1 << 10);
        let next = |grown, since| next_look(grown, since, 64 * kib);
        assert_eq!(next(0, second), None);
        assert_eq!(next(kib, second), Some(LATEST));
        assert_eq!(next(64 * kib, second), Some(second));
        assert_eq!(next(128 * kib, second), Some(second / 2));
        assert_eq!(next(1 << 30, second), Some(SOONEST));
        assert_eq!(next(kib, Duration::ZERO), Some(Duration::from_millis(100)), "a look at a signal comes early");
        assert_eq!(next(u64::MAX, Duration::MAX), Some(SOONEST));
    }
}
