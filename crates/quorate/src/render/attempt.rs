//! Attempts: where each try of a task ran and how it ended.

use std::collections::BTreeSet;

use quorate_proto::v1;
use serde::Serialize;

use super::run::Run;
use super::table::{Rows, entry, faint, state, word};
use super::task::task_name;
use super::{Paint, View, time};

/// One attempt.
#[derive(Debug, Serialize)]
pub(crate) struct Attempt {
    pub(crate) task: String,
    pub(crate) index: u32,
    pub(crate) number: u32,
    pub(crate) state: String,
    pub(crate) node: String,
    pub(crate) cluster: String,
    pub(crate) region: String,
    token: u64,
    pub(crate) placed_at_ms: u64,
    pub(crate) started_at_ms: Option<u64>,
    pub(crate) ended_at_ms: Option<u64>,
    exit_code: Option<i32>,
    exit_signal: Option<i32>,
    message: String,
    cpu_us: Option<u64>,
    memory_peak_bytes: Option<u64>,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
}

impl From<v1::Attempt> for Attempt {
    fn from(attempt: v1::Attempt) -> Self {
        let exit = attempt.exit.and_then(|exit| exit.exit);
        let usage = attempt.usage;
        Self {
            state: attempt_word(attempt.state),
            task: attempt.task,
            index: attempt.index,
            number: attempt.number,
            node: attempt.node,
            cluster: attempt.cluster,
            region: attempt.region,
            token: attempt.token,
            placed_at_ms: attempt.placed_at_ms,
            started_at_ms: attempt.started_at_ms,
            ended_at_ms: attempt.ended_at_ms,
            exit_code: match exit {
                Some(v1::exit::Exit::Code(code)) => Some(code),
                Some(v1::exit::Exit::Signal(_)) | None => None,
            },
            exit_signal: match exit {
                Some(v1::exit::Exit::Signal(signal)) => Some(signal),
                Some(v1::exit::Exit::Code(_)) | None => None,
            },
            message: attempt.message,
            cpu_us: usage.as_ref().map(|usage| usage.cpu_us),
            memory_peak_bytes: usage.as_ref().map(|usage| usage.memory_peak_bytes),
            read_bytes: usage.as_ref().map(|usage| usage.read_bytes),
            written_bytes: usage.as_ref().map(|usage| usage.written_bytes),
        }
    }
}

impl Attempt {
    fn exit(&self) -> String {
        match (self.exit_code, self.exit_signal) {
            (Some(code), _) => code.to_string(),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "-".to_owned(),
        }
    }
}

/// `run status --attempts`.
#[derive(Debug, Serialize)]
pub(crate) struct AttemptList {
    /// Whose they are.
    pub(crate) run: Run,
    /// In order of task and number.
    pub(crate) attempts: Vec<Attempt>,
    /// Of the state it was read from.
    pub(crate) revision: u64,
}

impl View for AttemptList {
    const SCHEMA: &'static str = "quorate.v1.attempt_list/1";

    fn human(&self, paint: Paint) -> String {
        let heads = ["TASK", "ATTEMPT", "STATE", "NODE", "CLUSTER", "REGION", "STARTED", "TOOK", "EXIT", "MESSAGE"];
        let mut rows = Rows::new(paint, &heads);
        let arrays: BTreeSet<&str> =
            self.attempts.iter().filter(|attempt| attempt.index > 0).map(|attempt| attempt.task.as_str()).collect();
        for attempt in &self.attempts {
            rows.row(vec![
                entry(task_name(&attempt.task, attempt.index, arrays.contains(attempt.task.as_str()))),
                entry(attempt.number.to_string()),
                state(&attempt.state),
                entry(&attempt.node),
                entry(&attempt.cluster),
                entry(&attempt.region),
                faint(attempt.started_at_ms.map_or("-".to_owned(), time::instant)),
                faint(time::between(attempt.started_at_ms, attempt.ended_at_ms)),
                entry(attempt.exit()),
                faint(&attempt.message),
            ]);
        }
        rows.text()
    }
}

/// The word of an attempt's state.
pub(crate) fn attempt_word(number: i32) -> String {
    v1::AttemptState::try_from(number)
        .map_or_else(|_| format!("unknown-{number}"), |known| word("ATTEMPT_STATE_", known.as_str_name()))
}
