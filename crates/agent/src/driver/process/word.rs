//! What an attempt has said of its end, kept beside its shim's file: the report itself goes with the working directory,
//! perhaps before the journal knows of that end. An agent that starts again in between must not take it for lost.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::shim::Begun;
use crate::report::LastWord;

const EXTENSION: &str = "word";

/// Where the word is kept of the attempt whose shim writes to `record`.
pub(super) fn path_of(record: &Path) -> PathBuf {
    record.with_extension(EXTENSION)
}

/// Keeps it, for a later life of this agent.
pub(super) fn keep(record: &Path, begun: &Begun, word: &LastWord) -> io::Result<()> {
    fs::write(path_of(record), format!("{}\n{}\n", whose(begun), word.to_lines()))
}

/// What an earlier life has kept; none if that was of another attempt.
pub(super) fn kept(record: &Path, begun: &Begun) -> Option<LastWord> {
    let text = fs::read_to_string(path_of(record)).ok()?;
    let (owner, lines) = text.strip_suffix('\n')?.split_once('\n')?;
    (owner == whose(begun)).then(|| LastWord::from_lines(lines))
}

/// Nobody has the same shim, as long as the machine is up.
fn whose(begun: &Begun) -> String {
    format!("{} {} {}", begun.boot_id, begun.shim, begun.shim_ticks)
}
