//! Where in an output a reading begins that names no offset: so many lines before the end, or at an instant.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::after_hole;

/// Instants remembered of the growing of one output. What is long ago is known less exactly than what was
/// just now.
pub(super) const MARKS_MAX: usize = 256;
/// The same of an output that grows no more: many of them are kept.
pub(super) const MARKS_ENDED_MAX: usize = 16;
/// Bytes that are searched for line breaks at a time.
const SEARCH_BYTES: usize = 64 << 10;
/// Bytes that are searched at most; a reader of more lines than these hold gets these.
const SEARCH_BYTES_MAX: u64 = 16 << 20;

/// How long an output was at some instants: processes write it without a word to the agent, so that only
/// the file's own length and time of change, seen together, tell what was written when.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<Mark>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// Milliseconds since the Unix epoch.
    at_ms: u64,
    /// All that was written later lies behind it.
    length: u64,
}

impl Marks {
    /// Notes that a file last changed at `at_ms` has `length` bytes.
    pub(super) fn note(&mut self, at_ms: u64, length: u64) {
        if self.0.last().is_some_and(|last| last.length >= length) {
            return;
        }
        self.0.push(Mark { at_ms, length });
        self.thin(MARKS_MAX);
    }

    /// Forgets some, so that at most `max` are left: those first whose neighbours are close, for their age.
    pub(super) fn thin(&mut self, max: usize) {
        while self.0.len() > max.max(2) {
            let now = self.0.last().map_or(0, |last| last.at_ms);
            let loss = |at: usize| {
                let gap = self.0[at + 1].at_ms.saturating_sub(self.0[at - 1].at_ms);
                u128::from(gap) * 1_000_000 / (u128::from(now.saturating_sub(self.0[at].at_ms)) + 1)
            };
            let Some(least) = (1..self.0.len() - 1).min_by_key(|at| loss(*at)) else { return };
            self.0.remove(least);
        }
    }

    /// Everything written at `since_ms` or later lies behind this offset; some that is older may, too.
    pub(super) fn before(&self, since_ms: u64) -> u64 {
        // The wall clock may have jumped back, so the order is that of the lengths.
        let later = self.0.iter().position(|mark| mark.at_ms >= since_ms).unwrap_or(self.0.len());
        later.checked_sub(1).map_or(0, |last| self.0[last].length)
    }
}

/// Where the last `lines` lines of a file of `length` bytes begin. A last line without a break counts.
pub(super) fn last_lines(file: &File, length: u64, lines: u32) -> io::Result<u64> {
    if lines == 0 {
        return Ok(length);
    }
    // What is no longer kept would read as zeroes.
    let kept = after_hole(file, 0, length)?;
    let first = kept.max(length.saturating_sub(SEARCH_BYTES_MAX));
    let mut buffer = vec![0; SEARCH_BYTES];
    let mut breaks = 0;
    let mut end = length;
    while end > first {
        let begin = end.saturating_sub(SEARCH_BYTES as u64).max(first);
        let part = &mut buffer[..usize::try_from(end - begin).unwrap_or(SEARCH_BYTES)];
        file.read_exact_at(part, begin)?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let line = begin + at as u64 + 1;
            // The break at the very end closes the last line.
            if line == length {
                continue;
            }
            breaks += 1;
            if breaks == lines {
                return Ok(line);
            }
        }
        end = begin;
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn marks(of: &[(u64, u64)]) -> Marks {
        let mut marks = Marks::default();
        of.iter().for_each(|(at_ms, length)| marks.note(*at_ms, *length));
        marks
    }

    #[test]
    fn nothing_that_is_new_enough_lies_before_the_place() {
        let marks = marks(&[(1_000, 10), (2_000, 10), (2_500, 30), (9_000, 31)]);
        for (since_ms, offset) in [(0, 0), (1_000, 0), (1_001, 10), (2_500, 10), (2_501, 30), (9_001, 31)] {
            assert_eq!(marks.before(since_ms), offset, "since {since_ms}");
        }
    }

    #[test]
    fn a_clock_that_jumps_back_only_adds_to_what_is_read() {
        let marks = marks(&[(5_000, 10), (1_000, 20), (6_000, 30)]);
        assert_eq!((marks.before(5_500), marks.before(4_000)), (20, 0));
    }

    #[test]
    fn a_long_life_is_remembered_less_exactly_the_longer_ago() {
        let mut marks = Marks::default();
        for second in 1..=50_000 {
            marks.note(second * 1_000, second);
            assert!(marks.0.len() <= MARKS_MAX);
        }
        for (max, share, oldest) in [(MARKS_MAX, 4, 20_000), (MARKS_ENDED_MAX, 1, 3_000)] {
            marks.thin(max);
            assert!(marks.0.len() <= max);
            for age in [2, 30, 300, 3_000, oldest] {
                let since = 50_000 - age;
                let place = marks.before(since * 1_000);
                assert!(place < since && since - place <= age / share + 2, "{age} s ago: {place} for {since}");
            }
        }
    }

    #[test]
    fn lines_are_counted_from_the_end() {
        let file = |text: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text).unwrap();
            file
        };
        for (text, lines, expected) in [
            ("", 3, ""),
            ("one\ntwo\nthree\n", 0, ""),
            ("one\ntwo\nthree\n", 1, "three\n"),
            ("one\ntwo\nthree\n", 2, "two\nthree\n"),
            ("one\ntwo\nthr", 2, "two\nthr"),
            ("one\ntwo\n", 9, "one\ntwo\n"),
            ("\n\n\n", 2, "\n\n"),
        ] {
            let place = last_lines(&file(text.as_bytes()), text.len() as u64, lines).unwrap();
            assert_eq!(&text[usize::try_from(place).unwrap()..], expected, "{lines} of {text:?}");
        }
        // Lines longer than what is searched at a time.
        let long = [vec![b'a'; 100_000], b"\n".to_vec(), vec![b'b'; 200_000], b"\n".to_vec()].concat();
        assert_eq!(last_lines(&file(&long), long.len() as u64, 1).unwrap(), 100_001);
        assert_eq!(last_lines(&file(&long), long.len() as u64, 2).unwrap(), 0);
    }
}
