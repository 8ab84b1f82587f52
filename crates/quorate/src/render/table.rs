//! Tables without borders, as wide as the terminal where there is one.
//!
//! Only columns of free text wrap: an id or a name in two halves cannot be copied.

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};

use super::{Paint, plain};

/// Heads of the columns that may wrap.
const WRAPPED: [&str; 5] = ["LABELS", "MESSAGE", "NEEDS", "WHY", "WHY NOT"];
/// A column is not wrapped to fewer characters: a terminal's own wrapping reads better than that.
const WRAPPED_CHARS_MIN: u16 = 24;

/// Blanks between two columns.
const GAP: u16 = 2;

/// A table under construction.
pub(crate) struct Rows {
    table: Table,
    paint: Paint,
    wraps: Vec<bool>,
}

impl Rows {
    /// A table with these column heads.
    pub(crate) fn new(paint: Paint, heads: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        match paint {
            Paint::Always => {
                table.enforce_styling();
            }
            Paint::Never => {
                table.force_no_tty();
            }
        }
        table.set_header(heads.iter().map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
        Self { table, paint, wraps: heads.iter().map(|head| WRAPPED.contains(head)).collect() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Entry>) {
        let paint = self.paint;
        self.table.add_row(cells.into_iter().map(|entry| entry.cell(paint)));
    }

    /// The text, without blanks at the ends of lines.
    pub(crate) fn text(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        // Only a terminal has a width worth wrapping for, and not every terminal knows it.
        if let Some(width) = self.table.width().filter(|width| *width > 0) {
            self.wrap(width);
        }
        let text = self.table.to_string();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    fn wrap(&mut self, width: u16) {
        let mut width_min: u16 = 0;
        let widths = self.table.column_max_content_widths();
        for ((column, wraps), content) in self.table.column_iter_mut().zip(&self.wraps).zip(widths) {
            let least = if *wraps { content.min(WRAPPED_CHARS_MIN) } else { content };
            width_min = width_min.saturating_add(least).saturating_add(GAP);
            if !*wraps {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self.table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(width_min));
    }
}

/// One cell.
pub(crate) struct Entry {
    text: String,
    tone: Tone,
}

/// What a cell's colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing.
    Plain,
    /// Ended well.
    Good,
    /// Under way.
    Busy,
    /// Ended badly.
    Bad,
    /// Of less interest.
    Faint,
}

impl Entry {
    fn cell(self, paint: Paint) -> Cell {
        let cell = Cell::new(plain(&self.text));
        if paint == Paint::Never {
            return cell;
        }
        match self.tone {
            Tone::Plain => cell,
            Tone::Good => cell.fg(Color::Green),
            Tone::Busy => cell.fg(Color::Cyan),
            Tone::Bad => cell.fg(Color::Red),
            Tone::Faint => cell.add_attribute(Attribute::Dim),
        }
    }
}

/// A cell without colour.
pub(crate) fn entry(text: impl Into<String>) -> Entry {
    Entry { text: text.into(), tone: Tone::Plain }
}

/// A cell that shows a state in its colour.
pub(crate) fn state(word: &str) -> Entry {
    Entry { text: word.to_owned(), tone: tone(word) }
}

/// A cell of less interest.
pub(crate) fn faint(text: impl Into<String>) -> Entry {
    Entry { text: text.into(), tone: Tone::Faint }
}

/// The colour of a state's word, the same wherever it appears.
pub(crate) fn tone(word: &str) -> Tone {
    match word {
        "succeeded" | "up" | "leader" => Tone::Good,
        "running" | "starting" | "placed" | "assigned" | "stopping" => Tone::Busy,
        "failed" | "lost" | "unreachable" | "timed_out" | "unknown" | "preempted" | "killed" => Tone::Bad,
        "waiting" | "pending" | "skipped" | "cancelled" => Tone::Faint,
        _ => Tone::Plain,
    }
}

/// A wire enum's name as a word: `RUN_STATE_TIMED_OUT` without its prefix, in lower case.
pub(crate) fn word(prefix: &str, name: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Rows {
        let mut rows = Rows::new(Paint::Never, &["RUN", "NODE", "MESSAGE"]);
        rows.row(vec![entry("0123456789abc"), entry("a-node-with-a-long-name"), entry("word ".repeat(20))]);
        rows
    }

    #[test]
    fn ids_stay_whole_however_narrow_the_terminal() {
        for width in [1, 40, 60, 80, 120] {
            let mut rows = table();
            rows.wrap(width);
            let text = rows.text();
            assert!(text.contains("0123456789abc  a-node-with-a-long-name  word"), "{width}: {text}");
            assert!(text.lines().count() < 8, "{width}: {text}");
        }
    }

    #[test]
    fn what_is_no_terminal_is_not_wrapped_for() {
        assert_eq!(table().text().lines().count(), 2);
    }
}
