//! What really ran: a line for each process of each attempt, which that process itself writes when it begins and keeps
//! up to date for as long as it lives, by the clock since the machine was switched on.
//!
//! All lines have the same length, so that a process finds its own again and a page holds whole ones: what is written
//! at once is there or not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use quorate_seams::{Clock as _, SystemClock};

/// Bytes of a line.
const LINE_BYTES: u64 = 256;
/// Lines at the end of the ledger in which those who live are looked for.
const RECENT_LINES: u64 = 1_024;
/// Digits of an instant.
const DIGITS: usize = 16;

/// Which process of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The one that the agent started.
    First,
    /// One that the first has started.
    Child,
    /// The same, in a session of its own: no signal to the group of the first reaches it.
    Apart,
}

/// How far a process came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Runs,
    /// It did all that it had to do.
    Done,
    /// The sink knows a newer copy.
    Refused,
    /// The sink did not answer.
    Unanswered,
}

/// One process of one attempt, as it tells itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Microseconds since the machine was switched on: its first instruction, and the last one known.
    pub(crate) first_us: u64,
    pub(crate) last_us: u64,
    pub(crate) stage: Stage,
    pub(crate) part: Part,
    pub(crate) process: u32,
    pub(crate) run: String,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    /// The fencing token that it was given.
    pub(crate) token: u64,
    pub(crate) node: String,
    pub(crate) promise: String,
}

/// One attempt of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Execution {
    pub(crate) run: String,
    pub(crate) index: u32,
    pub(crate) attempt: u32,
    pub(crate) token: u64,
    pub(crate) node: String,
    pub(crate) promise: String,
    /// How often it began: once, if all is well.
    pub(crate) starts: usize,
    /// Microseconds since the machine was switched on: the first instruction of any of its processes, and the last.
    pub(crate) first_us: u64,
    pub(crate) last_us: u64,
    /// The last instruction of the first process alone, and of those that it has started; zero without any.
    pub(crate) alone_us: u64,
    pub(crate) children_us: u64,
    /// One of those was in a session of its own.
    pub(crate) has_left: bool,
    /// Its first process did all that it had to do.
    pub(crate) has_ended: bool,
}

/// This instant, as the ledger has it.
pub(crate) fn now_us() -> u64 {
    u64::try_from(SystemClock.boot().0.as_micros()).unwrap_or(u64::MAX)
}

/// A process's own line.
pub(crate) struct Line {
    file: File,
    /// Where it begins.
    at: u64,
    first_us: u64,
}

impl Line {
    /// Appends it to the ledger, which is there.
    pub(crate) fn begin(ledger: &Path, record: &Record) -> io::Result<Self> {
        let mut appended = OpenOptions::new().append(true).open(ledger)?;
        appended.write_all(record.line().as_bytes())?;
        let at = appended.stream_position()?.saturating_sub(LINE_BYTES);
        // What is opened to append writes nowhere else.
        let file = OpenOptions::new().write(true).open(ledger)?;
        Ok(Self { file, at, first_us: record.first_us })
    }

    /// It lives, or came so far.
    pub(crate) fn tell(&self, stage: Stage) -> io::Result<()> {
        let head = head(self.first_us, now_us(), stage);
        self.file.write_all_at(head.as_bytes(), self.at)
    }
}

fn head(first_us: u64, last_us: u64, stage: Stage) -> String {
    format!("{first_us:0DIGITS$} {last_us:0DIGITS$} {}", stage.word())
}

impl Stage {
    /// All words are as long.
    fn word(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Done => "done",
            Self::Refused => "late",
            Self::Unanswered => "gave",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Runs, Self::Done, Self::Refused, Self::Unanswered].into_iter().find(|stage| stage.word() == word)
    }
}

impl Record {
    fn line(&self) -> String {
        let Self { first_us, last_us, stage, part, process, run, index, attempt, token, node, promise } = self;
        let part = match part {
            Part::First => "first",
            Part::Child => "child",
            Part::Apart => "apart",
        };
        let mut line = head(*first_us, *last_us, *stage);
        let _ = write!(line, " {part} {process} {run} {index} {attempt} {token} {node} {promise}");
        let width = usize::try_from(LINE_BYTES).unwrap_or(0) - 1;
        format!("{line:width$.width$}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[first, last, stage, part, process, run, index, attempt, token, node, promise] = words.as_slice() else {
            return None;
        };
        Some(Self {
            first_us: first.parse().ok()?,
            last_us: last.parse().ok()?,
            stage: Stage::of(stage)?,
            part: match part {
                "first" => Part::First,
                "child" => Part::Child,
                "apart" => Part::Apart,
                _ => return None,
            },
            process: process.parse().ok()?,
            run: run.to_owned(),
            index: index.parse().ok()?,
            attempt: attempt.parse().ok()?,
            token: token.parse().ok()?,
            node: node.to_owned(),
            promise: promise.to_owned(),
        })
    }
}

/// Of the newest lines those of first processes that had not ended when they last wrote, newest first.
pub(crate) fn recent(ledger: &Path) -> io::Result<Vec<Record>> {
    let mut file = File::open(ledger)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(RECENT_LINES * LINE_BYTES)))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let records = text.lines().rev().filter_map(Record::parse);
    Ok(records.filter(|record| record.part == Part::First && record.stage == Stage::Runs).collect())
}

/// Reads the ledger, attempt by attempt.
pub(crate) fn read(text: &str) -> Vec<Execution> {
    let mut executions: BTreeMap<(String, u32, u32), Execution> = BTreeMap::new();
    for record in text.lines().filter_map(Record::parse) {
        let Record { first_us, last_us, stage, part, run, index, attempt, token, node, promise, .. } = record;
        let key = (run.clone(), index, attempt);
        let execution = executions.entry(key).or_insert_with(|| Execution {
            run,
            index,
            attempt,
            token,
            node,
            promise,
            starts: 0,
            first_us,
            last_us,
            alone_us: 0,
            children_us: 0,
            has_left: false,
            has_ended: false,
        });
        execution.first_us = execution.first_us.min(first_us);
        execution.last_us = execution.last_us.max(last_us);
        match part {
            Part::First => {
                execution.starts += 1;
                execution.has_ended |= stage == Stage::Done;
                execution.alone_us = execution.alone_us.max(last_us);
            }
            Part::Child | Part::Apart => {
                execution.children_us = execution.children_us.max(last_us);
                execution.has_left |= part == Part::Apart;
            }
        }
    }
    executions.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(part: Part, attempt: u32, first_us: u64) -> Record {
        Record {
            first_us,
            last_us: first_us,
            stage: Stage::Runs,
            part,
            process: 42,
            run: "0000000000abc".to_owned(),
            index: 1,
            attempt,
            token: 900,
            node: "node-1".to_owned(),
            promise: "fenced".to_owned(),
        }
    }

    fn ledger() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        File::create(&path).unwrap();
        (directory, path)
    }

    #[test]
    fn a_line_can_be_read_and_has_its_length() {
        for part in [Part::First, Part::Child, Part::Apart] {
            let record = record(part, 3, 1_234_567);
            assert_eq!(record.line().len() as u64, LINE_BYTES);
            assert_eq!(Record::parse(&record.line()), Some(record));
        }
    }

    #[test]
    fn each_process_keeps_its_own_line_up_to_date() {
        let (_directory, path) = ledger();
        let first = Line::begin(&path, &record(Part::First, 1, 10)).unwrap();
        let child = Line::begin(&path, &record(Part::Child, 1, 20)).unwrap();
        let late = Line::begin(&path, &record(Part::First, 2, 30)).unwrap();
        first.tell(Stage::Done).unwrap();
        child.tell(Stage::Runs).unwrap();
        late.tell(Stage::Refused).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.len() as u64, 3 * LINE_BYTES);
        let executions = read(&text);
        assert_eq!(executions.len(), 2);
        let (early, late) = (&executions[0], &executions[1]);
        assert_eq!((early.starts, early.first_us, early.has_ended), (1, 10, true));
        assert_eq!((late.starts, late.first_us, late.has_ended), (1, 30, false));
        assert!(early.last_us > 1_000, "the child lived longest, by the clock");
    }

    #[test]
    fn a_second_start_of_an_attempt_is_counted() {
        let lines = [record(Part::First, 1, 10), record(Part::First, 1, 50)].map(|record| record.line());
        let executions = read(&lines.concat());
        assert_eq!((executions.len(), executions[0].starts, executions[0].last_us), (1, 2, 50));
    }

    #[test]
    fn children_are_told_from_the_first_process_and_those_that_left_from_those_that_stayed() {
        let of = |part: Part, first_us: u64| record(part, 1, first_us).line();
        let stayed = &read(&[of(Part::First, 10), of(Part::Child, 30)].concat())[0];
        assert_eq!((stayed.alone_us, stayed.children_us, stayed.last_us, stayed.has_left), (10, 30, 30, false));
        let left = &read(&[of(Part::First, 40), of(Part::Apart, 30)].concat())[0];
        assert_eq!((left.alone_us, left.children_us, left.last_us, left.has_left), (40, 30, 40, true));
    }

    #[test]
    fn those_who_live_are_found_newest_first() {
        let (_directory, path) = ledger();
        for attempt in 1..=3 {
            let line = Line::begin(&path, &record(Part::First, attempt, 10)).unwrap();
            Line::begin(&path, &record(Part::Child, attempt, 10)).unwrap();
            line.tell(if attempt == 2 { Stage::Done } else { Stage::Runs }).unwrap();
        }
        let attempts: Vec<u32> = recent(&path).unwrap().iter().map(|record| record.attempt).collect();
        assert_eq!(attempts, [3, 1]);
    }
}
