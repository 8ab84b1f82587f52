//! Attempts: where each try of a task ran and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use quorate_proto::v1;
use serde::Serialize;

use super::run::Run;
use super::table::{Rows, entry, faint, state, word};
use super::task::task_name;
use super::usage::{Usage, cpu_time, or_dash};
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
    pub(super) exit_code: Option<i32>,
    pub(super) exit_signal: Option<i32>,
    message: String,
    cpu_us: Option<u64>,
    memory_peak_bytes: Option<u64>,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    /// What it uses while it runs, if that is known.
    pub(crate) live: Option<Usage>,
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
            live: None,
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

/// `run status --attempts` and `--usage`.
#[derive(Debug, Serialize)]
pub(crate) struct AttemptList {
    /// Whose they are.
    pub(crate) run: Run,
    /// In order of task and number.
    pub(crate) attempts: Vec<Attempt>,
    /// Of the state it was read from.
    pub(crate) revision: u64,
    /// People want to know what they use, and not where they are.
    #[serde(skip)]
    pub(crate) of_usage: bool,
}

impl View for AttemptList {
    const SCHEMA: &'static str = "quorate.v1.attempt_list/1";

    fn human(&self, paint: Paint) -> String {
        if self.of_usage {
            return self.usage(paint);
        }
        let heads = ["TASK", "ATTEMPT", "STATE", "NODE", "CLUSTER", "REGION", "STARTED", "TOOK", "EXIT", "MESSAGE"];
        let mut rows = Rows::new(paint, &heads);
        let arrays = self.arrays();
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

impl AttemptList {
    /// Takes in what is known of attempts that run.
    pub(crate) fn take(&mut self, usages: Vec<v1::AttemptUsage>) {
        let name = |task: &str, index, number| (task.to_owned(), index, number);
        let mut known: BTreeMap<_, _> =
            usages.into_iter().filter_map(|one| Some((name(&one.task, one.index, one.number), one.usage?))).collect();
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.ended_at_ms.is_none()) {
            attempt.live = known.remove(&name(&attempt.task, attempt.index, attempt.number)).map(Into::into);
        }
    }

    /// Tasks of more than one element.
    fn arrays(&self) -> BTreeSet<&str> {
        self.attempts.iter().filter(|attempt| attempt.index > 0).map(|attempt| attempt.task.as_str()).collect()
    }

    /// What each uses, or has used.
    fn usage(&self, paint: Paint) -> String {
        let heads =
            ["TASK", "ATTEMPT", "STATE", "NODE", "CPU TIME", "CPU", "MEMORY", "PEAK", "READ", "WRITTEN", "HEARD"];
        let mut rows = Rows::new(paint, &heads);
        let arrays = self.arrays();
        for attempt in &self.attempts {
            let live = attempt.live.as_ref();
            let either = |now: fn(&Usage) -> u64, then: Option<u64>, show: fn(u64) -> String| {
                // Until it has ended, what it used is not known to be nothing.
                let then = then.filter(|_| attempt.ended_at_ms.is_some());
                entry(or_dash(live.map(now).or(then), show))
            };
            rows.row(vec![
                entry(task_name(&attempt.task, attempt.index, arrays.contains(attempt.task.as_str()))),
                entry(attempt.number.to_string()),
                state(&attempt.state),
                entry(&attempt.node),
                either(|live| live.cpu_us, attempt.cpu_us, cpu_time),
                entry(or_dash(live.and_then(|live| live.cpu_milli), time::cores)),
                entry(or_dash(live.map(|live| live.memory_bytes), time::bytes)),
                either(|live| live.memory_peak_bytes, attempt.memory_peak_bytes, time::bytes),
                either(|live| live.read_bytes, attempt.read_bytes, time::bytes),
                either(|live| live.written_bytes, attempt.written_bytes, time::bytes),
                faint(match (live, attempt.ended_at_ms) {
                    (Some(live), _) => format!("{} ago", time::span(live.age_ms)),
                    (None, Some(_)) => "at its end".to_owned(),
                    (None, None) => "-".to_owned(),
                }),
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
