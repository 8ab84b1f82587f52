//! All output: data to standard output, everything else to standard error.
//!
//! A command hands in a [`View`]; with `--json` it becomes one object on one line with its schema's
//! name and version, else text for people. Texts that others wrote (job names, messages of agents)
//! lose their control characters on the way to a terminal.

pub(crate) mod attempt;
pub(crate) mod bench;
pub(crate) mod canvas;
pub(crate) mod cert;
pub(crate) mod control;
pub(crate) mod demo;
pub(crate) mod event;
mod expected;
pub(crate) mod forecast;
pub(crate) mod graph;
pub(crate) mod ink;
pub(crate) mod job;
pub(crate) mod join_token;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod node_status;
pub(crate) mod payload;
pub(crate) mod preemption;
pub(crate) mod rebalance;
pub(crate) mod region;
pub(crate) mod replica;
pub(crate) mod reservation;
pub(crate) mod retention;
pub(crate) mod run;
pub(crate) mod scope;
mod share;
pub(crate) mod snapshot;
pub(crate) mod stale;
pub(crate) mod step;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod time;
pub(crate) mod timeline;
pub(crate) mod usage;
pub(crate) mod version;
pub(crate) mod why_not;
mod within;

use std::io::{IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use quorate_client::Staleness;
use serde::Serialize;

use crate::exit::Error;
use stale::Stale;

/// What a command shows.
pub(crate) trait View: Serialize {
    /// Name and version of the JSON object. A field may be added within a version; one that goes or
    /// changes its meaning raises it.
    const SCHEMA: &'static str;

    /// The same for people.
    fn human(&self, paint: Paint) -> String;
}

/// Whether text for people carries colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Plain text.
    Never,
    /// ANSI escapes.
    Always,
}

/// Where a command's output goes, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// One JSON object instead of text.
    pub(crate) json: bool,
}

impl Output {
    /// Shows what the command is about, on standard output.
    pub(crate) fn show<T: View>(self, view: &T) -> Result<(), Error> {
        self.show_read(view, None)
    }

    /// Shows what was read, and how far behind that may be, if it may.
    pub(crate) fn show_read<T: View>(self, view: &T, staleness: Option<Staleness>) -> Result<(), Error> {
        if self.json {
            return self.line(&json(view, staleness.map(Stale::from)));
        }
        self.show_staleness(staleness);
        let text = view.human(paint_of_stdout());
        self.line(text.trim_end_matches('\n'))
    }

    /// How far behind what follows may be, if it may, on standard error.
    pub(crate) fn show_staleness(self, staleness: Option<Staleness>) {
        if let Some(staleness) = staleness {
            self.note(&Stale::from(staleness).text());
        }
    }

    /// Bytes as they are, on standard output.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Output)
    }

    /// Bytes as they are, on standard error.
    pub(crate) fn error_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = std::io::stderr().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Output)
    }

    /// A line of data on standard output; colours are dropped where they do not belong.
    pub(crate) fn line(self, text: &str) -> Result<(), Error> {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Error::Output)
    }

    /// What goes on, on standard error.
    pub(crate) fn note(self, text: &str) {
        // Nobody can be told that standard error is gone.
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }

    /// What to do next, on standard error; not for scripts.
    pub(crate) fn hint(self, text: &str) {
        if !self.json {
            let dim = Style::new().dimmed();
            self.note(&format!("{dim}hint: {text}{dim:#}"));
        }
    }

    /// A failure, on standard error; with `--json` as an object with its exit code.
    pub(crate) fn failure(self, error: &Error) {
        if self.json {
            #[derive(Serialize)]
            struct Failure {
                schema: &'static str,
                code: u8,
                message: String,
            }
            let failure = Failure { schema: "quorate.v1.error/1", code: error.code() as u8, message: error.chain() };
            self.note(&serde_json::to_string(&failure).unwrap_or_default());
            return;
        }
        let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
        self.note(&format!("{red}error:{red:#} {}", plain(&error.chain())));
        if let Some(hint) = error.hint() {
            self.hint(&hint);
        }
    }

    /// True when standard error shows to a person, so that a progress bar makes sense.
    pub(crate) fn is_live(self) -> bool {
        std::io::stderr().is_terminal()
    }
}

/// The object of a view: its schema first, then how far behind it may be, if it may, then its fields.
pub(crate) fn json<T: View>(view: &T, stale: Option<Stale>) -> String {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        schema: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        stale: Option<Stale>,
        #[serde(flatten)]
        view: &'a T,
    }
    // Views are plain structs with string keys: there is nothing in them that JSON cannot say.
    serde_json::to_string(&Envelope { schema: T::SCHEMA, stale, view }).unwrap_or_default()
}

/// `text` without what could steer a terminal; line breaks and tabs stay.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Whether standard output shows colours.
pub(crate) fn paint_of_stdout() -> Paint {
    match anstream::AutoStream::choice(&std::io::stdout()) {
        anstream::ColorChoice::Never => Paint::Never,
        anstream::ColorChoice::Auto | anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi => {
            Paint::Always
        }
    }
}

#[cfg(test)]
mod golden;
