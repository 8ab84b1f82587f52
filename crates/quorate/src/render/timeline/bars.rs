//! Spans of time as bars of characters, and the axis above them.

use super::super::Paint;
use super::super::canvas::Canvas;
use super::super::ink::ink;
use super::super::table::Tone;

/// Characters between two labels of the axis, at least.
const LABEL_GAP_MIN: usize = 4;
/// Distances between labels that people can count in, in milliseconds; above the last, its multiples by two.
const TICKS: [u64; 25] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    900_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 86_400_000,
];

/// What goes on in a part of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In the queue, until it is placed.
    Queued,
    /// Placed, until it runs.
    Starting,
    /// Its process runs.
    Running,
    /// Its node's lease is over: nobody can tell.
    Unknown,
}

impl Phase {
    /// All, with what the legend says.
    pub(super) const ALL: [(Self, &str); 4] = [
        (Self::Queued, "queued"),
        (Self::Starting, "placed, starting"),
        (Self::Running, "running"),
        (Self::Unknown, "node unknown"),
    ];

    pub(super) fn character(self, is_unicode: bool) -> char {
        let (unicode, plain) = match self {
            Self::Queued => ('·', '.'),
            Self::Starting => ('░', '-'),
            Self::Running => ('█', '='),
            Self::Unknown => ('?', '?'),
        };
        if is_unicode { unicode } else { plain }
    }
}

/// Milliseconds since the run's submit, drawn on a number of characters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) span_ms: u64,
    pub(super) columns: usize,
}

impl Scale {
    /// The column of an instant.
    fn column(self, at_ms: u64) -> usize {
        let at = u128::from(at_ms) * self.columns as u128 / u128::from(self.span_ms.max(1));
        usize::try_from(at).unwrap_or(usize::MAX).min(self.columns.saturating_sub(1))
    }

    /// The column behind the one in which an instant lies, or before it if that is where it begins.
    fn end(self, at_ms: u64) -> usize {
        let at = (u128::from(at_ms) * self.columns as u128).div_ceil(u128::from(self.span_ms.max(1)));
        usize::try_from(at).unwrap_or(usize::MAX)
    }

    /// Phases, each from one instant to another, in order. A phase is never too short to be seen, unless the next
    /// one begins where it does.
    pub(super) fn bar(self, phases: &[(Phase, u64, u64)], tone: Tone, canvas: Canvas, paint: Paint) -> String {
        let mut cells = vec![None; self.columns];
        for (phase, from, to) in phases {
            let from = self.column(*from);
            let to = self.end(*to).max(from + 1).min(self.columns);
            cells[from..to].fill(Some(*phase));
        }
        let part = |part: &[Option<Phase>]| match part[0] {
            None => " ".repeat(part.len()),
            Some(phase) => {
                let tone = if phase == Phase::Queued { Tone::Faint } else { tone };
                ink(paint, tone, &phase.character(canvas.is_unicode).to_string().repeat(part.len()))
            }
        };
        cells.chunk_by(|one, next| one == next).map(part).collect()
    }

    /// The labels above the bars.
    pub(super) fn axis(self) -> String {
        let step = self.step();
        let mut axis = String::new();
        for number in 0.. {
            let at = step.saturating_mul(number);
            if at >= self.span_ms.max(1) {
                break;
            }
            let (column, label) = (self.column(at), label(at));
            if column + label.len() > self.columns {
                break;
            }
            axis += &" ".repeat(column.saturating_sub(axis.len()));
            axis += &label;
        }
        axis
    }

    /// The distance between labels at which they do not touch.
    fn step(self) -> u64 {
        let fits = |step: &u64| {
            let longest = label(self.span_ms / step * step).len().max(label(*step).len());
            self.column(*step) >= longest + LABEL_GAP_MIN || *step >= self.span_ms
        };
        let day = TICKS[TICKS.len() - 1];
        let longer = std::iter::successors(Some(day), |step| step.checked_mul(2));
        TICKS.into_iter().chain(longer).find(fits).unwrap_or(u64::MAX)
    }
}

/// An instant in as few characters as it can be said.
fn label(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600, seconds / 60);
    match (days, hours, minutes, ms % 1_000) {
        (0, 0, 0, 0) => format!("{seconds}s"),
        (0, 0, 0, _) if ms < 1_000 => format!("{ms}ms"),
        (0, 0, 0, millis) => {
            let tenths = format!("{seconds}.{millis:03}");
            format!("{}s", tenths.trim_end_matches('0'))
        }
        (0, 0, ..) => unit(minutes, "m", seconds % 60, "s"),
        (0, ..) => unit(hours, "h", minutes % 60, "m"),
        _ => unit(days, "d", hours % 24, "h"),
    }
}

fn unit(large: u64, large_name: &str, small: u64, small_name: &str) -> String {
    if small == 0 { format!("{large}{large_name}") } else { format!("{large}{large_name}{small:02}{small_name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANVAS: Canvas = Canvas { columns: 80, is_unicode: false };

    fn bar(span_ms: u64, columns: usize, phases: &[(Phase, u64, u64)]) -> String {
        Scale { span_ms, columns }.bar(phases, Tone::Plain, CANVAS, Paint::Never)
    }

    #[test]
    fn phases_are_as_long_as_they_took() {
        let phases = [(Phase::Queued, 100, 200), (Phase::Starting, 200, 300), (Phase::Running, 300, 900)];
        assert_eq!(bar(1_000, 20, &phases), "  ..--============  ");
    }

    #[test]
    fn what_took_no_time_is_seen_all_the_same() {
        assert_eq!(bar(1_000_000, 10, &[(Phase::Running, 500_000, 500_001)]), "     =    ");
        assert_eq!(bar(1_000, 10, &[(Phase::Running, 1_000, 1_000)]), "         =");
        assert_eq!(bar(0, 3, &[(Phase::Queued, 0, 0), (Phase::Running, 0, 0)]), "=  ");
    }

    #[test]
    fn labels_do_not_touch_and_can_be_counted_in() {
        let axis = |span_ms, columns| Scale { span_ms, columns }.axis();
        assert_eq!(axis(10_000, 40), "0s      2s      4s      6s      8s");
        assert_eq!(axis(90_000, 30), "0s        30s       1m");
        assert_eq!(axis(5, 30), "0s          2ms         4ms");
        for columns in 20..200 {
            for span_ms in [1, 7, 1_500, 61_000, 3_700_000, 90_000_000, 9_000_000_000] {
                let axis = axis(span_ms, columns);
                assert!(axis.len() <= columns && axis.starts_with("0s"), "{span_ms} {columns}: {axis:?}");
            }
        }
    }

    #[test]
    fn labels_are_short() {
        let of = [0, 20, 1_500, 61_000, 120_000, 5_400_000, 172_800_000, 180_000_000].map(label);
        assert_eq!(of, ["0s", "20ms", "1.5s", "1m01s", "2m", "1h30m", "2d", "2d02h"]);
    }
}
