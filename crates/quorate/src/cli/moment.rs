//! An instant as people type it: a time, or how long ago it was.

use std::time::{Duration, UNIX_EPOCH};

use quorate_seams::{Clock as _, SystemClock};

/// An instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long before the command began.
    Ago(Duration),
    /// Milliseconds since the Unix epoch.
    At(u64),
}

impl Moment {
    /// Milliseconds since the Unix epoch, by the clock of this machine.
    pub(crate) fn millis(self) -> u64 {
        match self {
            Self::At(at_ms) => at_ms,
            Self::Ago(ago) => SystemClock.wall().0.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// The value of a flag.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        let since = time.duration_since(UNIX_EPOCH).map_err(|_| format!("{text:?} is before 1970"))?;
        return Ok(Moment::At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)));
    }
    humantime::parse_duration(text)
        .map(Moment::Ago)
        .map_err(|_| format!("{text:?} is neither a time, such as 2026-11-21T15:04:05Z, nor a duration, such as 5m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_duration() {
        assert_eq!(moment("5m"), Ok(Moment::Ago(Duration::from_secs(300))));
        assert_eq!(moment("48h"), Ok(Moment::Ago(Duration::from_secs(48 * 3_600))));
        assert_eq!(moment("1970-01-01T00:00:02.5Z"), Ok(Moment::At(2_500)));
        for text in ["", "yesterday", "12", "1969-12-31T00:00:00Z"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
