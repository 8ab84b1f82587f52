//! Everything wrong with a job file, each with its place in it.

use std::fmt;

/// Problems told in one answer; the rest is only counted.
pub const PROBLEMS_MAX: usize = 100;

/// One thing wrong with a job file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the field, such as `task.split.needs[0]`; empty for what concerns the file as a whole.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Everything wrong with a job file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Errors {
    /// The file's name, as the user knows it.
    pub file: String,
    /// In file order, at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub omitted: usize,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}:{}: ", self.file, problem.line, problem.column)?;
            if !problem.field.is_empty() {
                write!(f, "{}: ", problem.field)?;
            }
            write!(f, "{}", problem.message)?;
        }
        if self.omitted > 0 {
            write!(f, "\n{}: {} more problems", self.file, self.omitted)?;
        }
        Ok(())
    }
}

/// A problem whose place is still a byte offset: lines and columns are counted for those told only,
/// because a file may be one line of megabytes.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) at: usize,
    pub(super) field: String,
    pub(super) message: String,
}

/// Collects findings up to [`PROBLEMS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    omitted: usize,
}

impl Findings {
    /// One finding and nothing else.
    pub(super) fn one(at: usize, message: impl Into<String>) -> Self {
        let mut findings = Self::default();
        findings.push(Finding { at, field: String::new(), message: message.into() });
        findings
    }

    pub(super) fn push(&mut self, finding: Finding) {
        if self.is_full() {
            self.omitted += 1;
        } else {
            self.list.push(finding);
        }
    }

    /// True when further findings are only counted, so that working out their text is in vain.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= PROBLEMS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// True when something is known to be wrong with `field`, with what contains it or with a part of it.
    pub(super) fn concerns(&self, field: &str) -> bool {
        self.list.iter().any(|finding| is_within(field, &finding.field) || is_within(&finding.field, field))
    }

    /// The findings in file order, with lines and columns.
    pub(super) fn into_errors(mut self, file: &str, text: &[u8]) -> Errors {
        self.list.sort_by_key(|finding| finding.at);
        let problems = self.list.into_iter().map(|Finding { at, field, message }| {
            let (line, column) = line_column(text, at);
            Problem { line, column, field, message }
        });
        Errors { file: file.to_owned(), problems: problems.collect(), omitted: self.omitted }
    }
}

fn is_within(inner: &str, outer: &str) -> bool {
    !outer.is_empty()
        && inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

/// Line and column of a byte, both from 1; the text need not be UTF-8.
fn line_column(text: &[u8], at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = 1 + before[..line_start].iter().filter(|byte| **byte == b'\n').count();
    // Continuation bytes of UTF-8 are not characters of their own.
    let column = 1 + before[line_start..].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        let text = "ab\nä€c\n".as_bytes();
        for (at, place) in [(0, (1, 1)), (2, (1, 3)), (3, (2, 1)), (5, (2, 2)), (8, (2, 3)), (10, (3, 1)), (99, (3, 1))]
        {
            assert_eq!(line_column(text, at), place, "{at}");
        }
    }

    #[test]
    fn findings_past_the_limit_are_counted() {
        let mut findings = Findings::default();
        for at in 0..PROBLEMS_MAX + 3 {
            findings.push(Finding { at, field: "count".into(), message: "wrong".into() });
        }
        let errors = findings.into_errors("job.toml", b"");
        assert_eq!((errors.problems.len(), errors.omitted), (PROBLEMS_MAX, 3));
        assert!(errors.to_string().ends_with("job.toml: 3 more problems"));
    }

    #[test]
    fn a_finding_concerns_what_contains_it_and_its_parts() {
        let mut findings = Findings::default();
        findings.push(Finding { at: 0, field: "task.a.needs[1]".into(), message: String::new() });
        for (field, concerned) in [
            ("task.a.needs", true),
            ("task.a.needs[1]", true),
            ("task.a.needs[1].x", true),
            ("task.a.needs[12]", false),
            ("task.a.needs[0]", false),
            ("task.a.run", false),
        ] {
            assert_eq!(findings.concerns(field), concerned, "{field}");
        }
    }
}
