//! Attempts that wrote nothing and whose files others have by now. Their output is known to be empty for as long as it
//! would be kept, also to the next life of the agent: one line each in one file, written and not synced, like outputs.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use quorate_state::{AttemptId, RunId};

use super::{STDOUT, parse_name};

/// The file's name; no run has it.
const NAME: &str = "silent";
/// The file is written anew when it has so many lines for each that counts, and at least so many.
const LINES_PER_ATTEMPT_MAX: usize = 4;
const LINES_MIN: usize = 4_096;

/// The list on the disk.
#[derive(Debug)]
pub(super) struct Silent {
    path: PathBuf,
    file: Option<File>,
    lines: usize,
}

impl Silent {
    /// The list below `root`, and what an earlier life has written there: when each ended, in milliseconds since the
    /// Unix epoch. What cannot be read is left out.
    pub(super) fn open(root: &Path) -> (Self, Vec<(u64, AttemptId)>) {
        let path = root.join(NAME);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        (Self { path, file: None, lines: text.lines().count() }, text.lines().filter_map(parse).collect())
    }

    /// Adds one.
    pub(super) fn note(&mut self, ended_ms: u64, attempt: AttemptId) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => File::options().create(true).append(true).open(&self.path)?,
        };
        file.write_all(line(ended_ms, attempt).as_bytes())?;
        self.lines += 1;
        self.file = Some(file);
        Ok(())
    }

    /// True when most of it is about attempts that nobody keeps any more.
    pub(super) fn is_long(&self, kept: usize) -> bool {
        self.lines > kept.saturating_mul(LINES_PER_ATTEMPT_MAX).max(LINES_MIN)
    }

    /// Writes the list anew.
    pub(super) fn rewrite(&mut self, kept: impl Iterator<Item = (u64, AttemptId)>) -> io::Result<()> {
        let lines: Vec<String> = kept.map(|(ended_ms, attempt)| line(ended_ms, attempt)).collect();
        if lines.len() == self.lines {
            return Ok(());
        }
        self.file = None;
        let part = self.path.with_extension("part");
        std::fs::write(&part, lines.concat())?;
        std::fs::rename(&part, &self.path)?;
        self.lines = lines.len();
        Ok(())
    }
}

fn line(ended_ms: u64, attempt: AttemptId) -> String {
    let AttemptId { task, number } = attempt;
    format!("{} {}.{}.{number}.{STDOUT} {ended_ms}\n", task.run, task.step, task.index)
}

fn parse(line: &str) -> Option<(u64, AttemptId)> {
    let mut words = line.split(' ');
    let run = words.next()?.parse::<RunId>().ok()?;
    let attempt = parse_name(run, words.next()?)?;
    Some((words.next()?.parse().ok()?, attempt))
}
