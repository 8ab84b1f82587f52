//! Output: data to standard output, everything else to standard error.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use quorate_planted::Bug;
use serde::Serialize;

use crate::error::Error;
use crate::outcome::{End, Outcome};
use crate::wall;

/// The shortest time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(3);

/// Blanks between two columns of a table.
const GAP: usize = 2;

/// Prints a line, or several.
pub(crate) fn line(text: &str) -> Result<(), Error> {
    writeln!(std::io::stdout().lock(), "{}", text.trim_end_matches('\n')).map_err(Error::Output)
}

/// Prints a value as one line of JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), Error> {
    line(&serde_json::to_string(value).map_err(|source| Error::Json { what: "the result".to_owned(), source })?)
}

/// Says something to the person beside the data. Nobody is served by failing over it.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Says what kept a command from its work, with the causes.
pub(crate) fn failure(error: &Error) {
    let mut text = format!("error: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    note(&text);
}

/// Says how far it is, now and then, if a person is watching.
#[derive(Debug)]
pub(crate) struct Progress(Option<Instant>);

impl Progress {
    /// Begins; the first line comes a while later.
    pub(crate) fn new() -> Self {
        Self(std::io::stderr().is_terminal().then(wall::now))
    }

    /// Says it, unless it said something a moment ago.
    pub(crate) fn say(&mut self, text: impl FnOnce() -> String) {
        let now = wall::now();
        if let Some(last) = self.0.as_mut().filter(|last| now.saturating_duration_since(**last) >= PROGRESS_EVERY) {
            *last = now;
            note(&text());
        }
    }
}

/// A run that showed a violation, or nothing, with the command that shows it again; nothing for one
/// in which all held. `why` says what the seed is kept for.
pub(crate) fn not_held(outcome: &Outcome, bug: Option<Bug>, why: Option<&str>) -> Option<String> {
    let mut text = verdict(outcome);
    match &outcome.end {
        End::Held | End::Stopped => return None,
        End::Violated { before, .. } => {
            for line in before {
                // A String never fails to take more; so below.
                let _ = write!(text, "\n    {line}");
            }
        }
        End::Invalid { .. } => {}
    }
    if let Some(why) = why {
        let _ = write!(text, "\n  kept because: {why}");
    }
    let _ = write!(text, "\n  again: {}", again(outcome.seed, bug));
    Some(text)
}

/// How a run ended, in a line.
pub(crate) fn verdict(outcome: &Outcome) -> String {
    let seed = outcome.seed;
    match &outcome.end {
        End::Held => format!("seed {seed}: every property held"),
        End::Stopped => format!("seed {seed}: nothing is wrong so far"),
        End::Violated { property, what, at_ms, .. } => {
            format!("seed {seed}: VIOLATED {property} at {}: {what}", seconds(*at_ms))
        }
        End::Invalid { why } => format!("seed {seed}: INVALID, it shows nothing: {why}"),
    }
}

/// The command that runs a seed once more.
pub(crate) fn again(seed: u64, bug: Option<Bug>) -> String {
    let planted = bug.map_or_else(String::new, |bug| format!(" --planted {}", bug.name()));
    format!("cargo sim repro --seed {seed}{planted}")
}

/// Milliseconds as seconds.
pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

/// An enum's value in the words of its JSON.
pub(crate) fn word<T: Serialize + std::fmt::Debug>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => format!("{value:?}"),
    }
}

/// Rows under their heads; the first column reads from the left, `numbers` says which others hold
/// numbers and end at the right.
pub(crate) fn table(heads: &[&str], numbers: &[bool], rows: &[Vec<String>]) -> String {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&heads).chain(rows).collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let lines = all.iter().map(|row| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let right = numbers.get(column).copied().unwrap_or(false);
            if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolate;
    use crate::scenario::Class;

    #[test]
    fn a_violation_is_told_with_its_last_events_and_the_command() {
        let outcome = isolate::broken(7, "hung".to_owned(), vec!["one".to_owned(), "two".to_owned()]);
        let bug = Bug::ALL[0];
        let text = not_held(&outcome, Some(bug), None).unwrap();
        assert_eq!(
            text,
            format!(
                "seed 7: VIOLATED H at 0.000 s: hung\n    one\n    two\n  again: cargo sim repro --seed 7 --planted {}",
                bug.name()
            )
        );
        let held = Outcome { end: End::Held, ..outcome };
        assert_eq!(not_held(&held, None, None), None);
        let invalid = Outcome { end: End::Invalid { why: "no tasks".to_owned() }, ..held };
        let text = not_held(&invalid, None, Some("it lost a task")).unwrap();
        assert_eq!(
            text,
            "seed 7: INVALID, it shows nothing: no tasks\n  kept because: it lost a task\n  again: cargo sim repro --seed 7"
        );
    }

    #[test]
    fn columns_align() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "100".to_owned()]];
        assert_eq!(table(&["NAME", "N"], &[false, true], &rows), "NAME    N\na       1\nlong  100");
    }

    #[test]
    fn words_and_times_read_as_people_write_them() {
        assert_eq!(word(&Class::QuorumLoss), "quorum-loss");
        assert_eq!(seconds(83_007), "83.007 s");
    }
}
