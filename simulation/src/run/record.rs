//! The record of a run: a hash over everything that happened, and the last of it in words.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use quorate_seams::{Batch, Table, Write};

use crate::facts::Fact;
use crate::ledger::Step;
use crate::trace::Trace;

/// Lines kept for whoever reads of a violation.
const RECENT_MAX: usize = 60;

/// See the module.
pub(super) struct Record {
    hasher: blake3::Hasher,
    /// The words of a fact. Kept for the room alone.
    words: String,
    events: u64,
    recent: VecDeque<(Duration, Line)>,
    trace: Trace,
}

/// Put into words only when somebody reads it.
enum Line {
    Note(String),
    Fact(Box<Fact>),
    Step(Arc<Step>),
}

impl Line {
    fn words(&self) -> String {
        match self {
            Self::Note(words) => words.clone(),
            Self::Fact(fact) => shortened(format!("{fact:?}")),
            Self::Step(step) => {
                let Step { index, term, .. } = &**step;
                let items = step.entry.iter().flat_map(|entry| &entry.items);
                let refused = step.replies.iter().filter(|reply| reply.is_err()).count();
                let commands: Vec<String> = items.map(|item| shortened(format!("{:?}", item.command))).collect();
                let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
                format!("committed {index} (term {term}{refused}): {}", commands.join("; "))
            }
        }
    }
}

/// A line that people read to its end.
const WORDS_MAX: usize = 300;

fn shortened(mut words: String) -> String {
    if words.len() > WORDS_MAX {
        let end = (0..=WORDS_MAX).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
        words.truncate(end);
        words.push('…');
    }
    words
}

impl Record {
    pub(super) fn new(trace: Trace) -> Self {
        Self { hasher: blake3::Hasher::new(), words: String::new(), events: 0, recent: VecDeque::new(), trace }
    }

    /// Takes in a fact.
    pub(super) fn fact(&mut self, at: Duration, fact: &Fact) {
        self.events += 1;
        self.hasher.update(&at.as_nanos().to_le_bytes());
        match fact {
            Fact::Wrote { replica, number, batch, replaced } => {
                self.hasher.update(&[
                    0,
                    u8::try_from(*replica).unwrap_or(u8::MAX),
                    u8::try_from(replaced.len()).unwrap_or(0),
                ]);
                self.hasher.update(&number.to_le_bytes());
                for write in &batch.writes {
                    self.write(write);
                }
                if self.trace.shows_all() {
                    self.trace.show(at, &format!("r{} writes #{number}: {}", replica + 1, in_short(batch, replaced)));
                }
                return;
            }
            Fact::Synced { replica, through } => {
                self.hasher.update(&[1, u8::try_from(*replica).unwrap_or(u8::MAX)]);
                self.hasher.update(&through.to_le_bytes());
                return;
            }
            other => {
                self.words.clear();
                // A String never fails to take more.
                let _ = write!(self.words, "{other:?}");
                self.hasher.update(self.words.as_bytes());
            }
        }
        self.keep(at, Line::Fact(Box::new(fact.clone())));
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Put { table, key, value } => self.parts(table.name(), key, value),
            Write::Delete { table, key } => self.parts(table.name(), key, b"-"),
            Write::DeleteRange { table, from, to } => self.parts(table.name(), from, to),
        }
    }

    fn parts(&mut self, table: &str, one: &[u8], other: &[u8]) {
        self.hasher.update(table.as_bytes());
        self.hasher.update(&(one.len() as u64).to_le_bytes());
        self.hasher.update(one);
        self.hasher.update(&(other.len() as u64).to_le_bytes());
        self.hasher.update(other);
    }

    /// Takes in a committed entry; its bytes were hashed when they were written.
    pub(super) fn step(&mut self, step: &Arc<Step>) {
        self.keep(step.at, Line::Step(step.clone()));
    }

    /// Takes in a word of the harness.
    pub(super) fn note(&mut self, at: Duration, words: &str) {
        self.events += 1;
        self.hasher.update(&at.as_nanos().to_le_bytes());
        self.hasher.update(words.as_bytes());
        self.keep(at, Line::Note(words.into()));
    }

    fn keep(&mut self, at: Duration, line: Line) {
        if self.trace.shows_facts() {
            self.trace.show(at, &line.words());
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((at, line));
    }

    /// The last that happened, oldest first.
    pub(super) fn recent(&self) -> Vec<String> {
        self.recent.iter().map(|(at, line)| format!("{:9.3} {}", at.as_secs_f64(), line.words())).collect()
    }

    /// The hash and how many things went into it.
    pub(super) fn digest(&self) -> (String, u64) {
        (self.hasher.finalize().to_hex().to_string(), self.events)
    }
}

/// A batch in a few words: which rows of raft's tables, and how many others.
fn in_short(batch: &Batch, replaced: &[Table]) -> String {
    let index = |key: &[u8]| key.try_into().map(u64::from_be_bytes).unwrap_or_default();
    let mut words: Vec<String> = replaced.iter().map(|table| format!("{} replaced", table.name())).collect();
    let mut others = 0_u32;
    for write in &batch.writes {
        match write {
            Write::Put { table: Table::Log, key, .. } => words.push(format!("log {}", index(key))),
            Write::DeleteRange { table: Table::Log, from, to } => {
                words.push(format!("no log {}..{}", index(from), index(to)));
            }
            Write::Put { table: Table::Raft, key, .. } => words.push(String::from_utf8_lossy(key).into_owned()),
            Write::Put { .. } | Write::Delete { .. } | Write::DeleteRange { .. } => others += 1,
        }
    }
    format!("{}, {others} other rows", words.join(", "))
}
