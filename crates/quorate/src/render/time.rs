//! Times and amounts as people read them.

use std::time::{Duration, UNIX_EPOCH};

/// Years of five digits have no RFC 3339 form.
const RFC_3339_MILLIS: u64 = 253_402_300_800_000;

/// An instant as UTC, to the second.
pub(crate) fn instant(millis: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_millis(millis)) {
        Some(time) if millis < RFC_3339_MILLIS => humantime::format_rfc3339_seconds(time).to_string(),
        _ => "-".to_owned(),
    }
}

/// The same to the millisecond.
pub(crate) fn instant_millis(millis: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_millis(millis)) {
        Some(time) if millis < RFC_3339_MILLIS => humantime::format_rfc3339_millis(time).to_string(),
        _ => "-".to_owned(),
    }
}

/// A span in its two largest units, with tenths below a minute.
pub(crate) fn span(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 if millis < 1000 => format!("{millis}ms"),
        0..60 => format!("{seconds}.{}s", millis % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Time since a beginning, in seconds with tenths.
pub(crate) fn offset(millis: u64) -> String {
    format!("{}.{}s", millis / 1000, millis % 1000 / 100)
}

/// The span between two instants, or a dash while one is missing.
pub(crate) fn between(from: Option<u64>, to: Option<u64>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => span(to.saturating_sub(from)),
        _ => "-".to_owned(),
    }
}

/// A number of things, with the word in its right form.
pub(crate) fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Thousandths of a core as cores.
pub(crate) fn cores(milli: u64) -> String {
    if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") }
}

/// Bytes in the largest binary unit that stays above one.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit);
    match unit {
        None => format!("{bytes}B"),
        Some((name, unit)) if bytes.is_multiple_of(*unit) => format!("{}{name}", bytes / unit),
        Some((name, unit)) => format!("{}.{}{name}", bytes / unit, bytes % unit * 10 / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_keep_two_units() {
        assert_eq!(span(5), "5ms");
        assert_eq!(span(1_250), "1.2s");
        assert_eq!(span(61_000), "1m01s");
        assert_eq!(span(3_660_000), "1h01m");
        assert_eq!(span(90_000_000), "1d01h");
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(cores(4000), "4");
        assert_eq!(cores(1500), "1500m");
        assert_eq!(bytes(8 << 30), "8Gi");
        assert_eq!(bytes((3 << 30) / 2), "1.5Gi");
        assert_eq!(bytes(12), "12B");
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|number| count(number, "task")), ["0 tasks", "1 task", "2 tasks"]);
    }

    #[test]
    fn instants_beyond_the_calendar_are_not_shown() {
        assert_eq!(instant(0), "1970-01-01T00:00:00Z");
        assert_eq!(instant(u64::MAX), "-");
        assert_eq!(instant_millis(1), "1970-01-01T00:00:00.001Z");
        assert_eq!(instant_millis(u64::MAX), "-");
    }
}
