//! Where the bytes of a stream go: through as they are, in lines, or into one JSON object at the end.

use std::borrow::Cow;

use super::reader::Reader;
use crate::exit::Error;
use crate::render::Output;
use crate::render::run::LogLine;

/// Bytes of output that `run logs --json` holds in memory, per stream.
const LOGS_JSON_BYTES_MAX: usize = 64 << 20;
/// A line that is longer is printed in parts.
const LINE_BYTES_MAX: usize = 64 << 10;

/// How output is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Raw,
    /// Each line with its task before it.
    Labelled,
    /// Each line as a JSON object.
    Objects,
    /// Not here: the caller shows all that was kept.
    Whole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Stdout,
    Stderr,
}

/// One stream of one attempt.
pub(super) struct Sink {
    output: Output,
    form: Form,
    target: Target,
    id: String,
    task: String,
    index: u32,
    attempt: u32,
    label: String,
    lines: Lines,
    kept: Vec<u8>,
}

/// What a stream held.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) text: String,
    /// Bytes that are no text were replaced.
    pub(super) lossy: bool,
}

impl Sink {
    pub(super) fn new(reader: &Reader, attempt: u32, target: Target) -> Self {
        Self {
            output: reader.output,
            form: reader.form,
            target,
            id: reader.id.clone(),
            task: reader.task.name.clone(),
            index: reader.task.index,
            attempt,
            label: reader.label.clone().unwrap_or_default(),
            lines: Lines::default(),
            kept: Vec::new(),
        }
    }

    /// The stream's name.
    pub(super) fn stream(&self) -> &'static str {
        match self.target {
            Target::Stdout => "stdout",
            Target::Stderr => "stderr",
        }
    }

    /// Takes the next bytes, which begin at `offset`.
    pub(super) fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        match self.form {
            Form::Raw => self.write(bytes),
            Form::Labelled | Form::Objects => {
                let lines = self.lines.take(offset, bytes);
                self.print(&lines)
            }
            Form::Whole if self.kept.len().saturating_add(bytes.len()) > LOGS_JSON_BYTES_MAX => Err(Error::TooLarge {
                what: "the output".to_owned(),
                limit: "LOGS_JSON_BYTES_MAX",
                max: LOGS_JSON_BYTES_MAX,
            }),
            Form::Whole => {
                self.kept.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Nothing follows: a last line without a break is one, too.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        let rest = self.lines.rest();
        self.print(&rest.into_iter().collect::<Vec<_>>())
    }

    /// What was kept for one object.
    pub(super) fn kept(self) -> Kept {
        match String::from_utf8_lossy(&self.kept) {
            Cow::Borrowed(text) => Kept { text: text.to_owned(), lossy: false },
            Cow::Owned(text) => Kept { text, lossy: true },
        }
    }

    fn print(&self, lines: &[Line]) -> Result<(), Error> {
        if self.form == Form::Labelled {
            // In one piece, so that what others print comes between lines.
            let mut text = Vec::new();
            for line in lines {
                text.extend_from_slice(self.label.as_bytes());
                text.extend_from_slice(b" | ");
                text.extend_from_slice(line.bytes.strip_suffix(b"\n").unwrap_or(&line.bytes));
                text.push(b'\n');
            }
            return if text.is_empty() { Ok(()) } else { self.write(&text) };
        }
        for line in lines {
            let text = String::from_utf8_lossy(&line.bytes);
            self.output.show(&LogLine {
                run_id: &self.id,
                task: &self.task,
                index: self.index,
                attempt: self.attempt,
                stream: self.stream(),
                offset: line.offset,
                lossy: matches!(text, Cow::Owned(_)),
                text: &text,
            })?;
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        match self.target {
            Target::Stdout => self.output.bytes(bytes),
            Target::Stderr => self.output.error_bytes(bytes),
        }
    }
}

/// Pieces put together to lines.
#[derive(Debug, Default)]
struct Lines {
    /// Offset of the first byte that waits for the rest of its line.
    offset: u64,
    waiting: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    offset: u64,
    bytes: Vec<u8>,
}

impl Lines {
    /// The lines that are whole with this piece.
    fn take(&mut self, offset: u64, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        // What was to follow was dropped.
        if offset != self.offset + self.waiting.len() as u64 {
            lines.extend(self.rest());
            self.offset = offset;
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut part = part;
            while !part.is_empty() {
                let room = LINE_BYTES_MAX - self.waiting.len();
                let (now, later) = part.split_at(room.min(part.len()));
                self.waiting.extend_from_slice(now);
                if now.ends_with(b"\n") || self.waiting.len() == LINE_BYTES_MAX {
                    lines.extend(self.rest());
                }
                part = later;
            }
        }
        lines
    }

    /// What waits, as a line without end.
    fn rest(&mut self) -> Option<Line> {
        let bytes = std::mem::take(&mut self.waiting);
        let line = Line { offset: self.offset, bytes };
        self.offset += line.bytes.len() as u64;
        (!line.bytes.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: Vec<Line>) -> Vec<(u64, String)> {
        lines.into_iter().map(|line| (line.offset, String::from_utf8(line.bytes).unwrap())).collect()
    }

    #[test]
    fn pieces_become_lines_with_their_offsets() {
        let mut lines = Lines::default();
        assert_eq!(texts(lines.take(7, b"one\ntw")), [(7, "one\n".to_owned())]);
        assert_eq!(texts(lines.take(13, b"o\n\nthr")), [(11, "two\n".to_owned()), (15, "\n".to_owned())]);
        // Bytes were dropped: the line before the gap ends there.
        assert_eq!(texts(lines.take(100, b"ee\n")), [(16, "thr".to_owned()), (100, "ee\n".to_owned())]);
        assert_eq!(lines.rest(), None);
        assert!(lines.take(103, b"end").is_empty());
        assert_eq!(lines.rest(), Some(Line { offset: 103, bytes: b"end".to_vec() }));
    }

    #[test]
    fn a_line_without_end_is_not_waited_for() {
        let mut lines = Lines::default();
        let taken = lines.take(0, &vec![b'x'; 2 * LINE_BYTES_MAX + 5]);
        let sizes: Vec<_> = taken.iter().map(|line| (line.offset, line.bytes.len())).collect();
        assert_eq!(sizes, [(0, LINE_BYTES_MAX), (LINE_BYTES_MAX as u64, LINE_BYTES_MAX)]);
        assert_eq!(lines.rest().map(|line| line.bytes.len()), Some(5));
    }
}
