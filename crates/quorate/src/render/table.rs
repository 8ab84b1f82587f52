//! Tables without borders, as wide as the terminal where there is one.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use super::{Paint, plain};

/// A table under construction.
pub(crate) struct Rows {
    table: Table,
    paint: Paint,
}

impl Rows {
    /// A table with these column heads.
    pub(crate) fn new(paint: Paint, heads: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        match paint {
            Paint::Always => {
                table.enforce_styling();
                // Only a terminal has a width worth wrapping for.
                table.set_content_arrangement(ContentArrangement::Dynamic);
            }
            Paint::Never => {
                table.force_no_tty();
            }
        }
        table.set_header(heads.iter().map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
        Self { table, paint }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Entry>) {
        let paint = self.paint;
        self.table.add_row(cells.into_iter().map(|entry| entry.cell(paint)));
    }

    /// The text, without blanks at the ends of lines.
    pub(crate) fn text(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let text = self.table.to_string();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
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
        "failed" | "lost" | "timed_out" | "unknown" | "preempted" | "killed" => Tone::Bad,
        "waiting" | "pending" | "skipped" | "cancelled" => Tone::Faint,
        _ => Tone::Plain,
    }
}

/// A wire enum's name as a word: `RUN_STATE_TIMED_OUT` without its prefix, in lower case.
pub(crate) fn word(prefix: &str, name: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}
