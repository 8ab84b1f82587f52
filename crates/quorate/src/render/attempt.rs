//! Attempts: where each try of a task ran and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use quorate_proto::v1;
use serde::Serialize;
use serde_json::value::RawValue;

use super::payload::Payload;
use super::run::Run;
use super::share::ShareTaken;
use super::table::{Rows, entry, faint, state, word};
use super::task::task_name;
use super::usage::{Usage, cpu_time, or_dash};
use super::{Paint, View, plain, time};

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
    /// What went wrong, by its own word.
    error: Option<String>,
    /// What came out of it, as its process wrote it.
    result: Option<Box<RawValue>>,
    /// Data that it has left behind, by name.
    payloads: Vec<Payload>,
    cpu_us: Option<u64>,
    memory_peak_bytes: Option<u64>,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    /// What it uses while it runs, if that is known.
    pub(crate) live: Option<Usage>,
    /// For whom it was stopped, if that was to make room.
    #[serde(skip_serializing_if = "Option::is_none")]
    preempted_by: Option<PreemptedBy>,
    /// Where its task was to go on, if it was stopped for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_to: Option<MovedTo>,
    /// Which of the alternatives of its task it takes, from 0, if that has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    want: Option<u32>,
    /// How far it is by its own words, while it runs.
    progress: Option<Progress>,
}

/// Where a task goes on, by a rebalance.
#[derive(Debug, Serialize)]
struct MovedTo {
    rebalance: u32,
    node: String,
}

impl MovedTo {
    /// `stopped to go on at us-1-a, by rebalance 3`.
    fn words(&self) -> String {
        format!("stopped to go on at {}, by rebalance {}", self.node, self.rebalance)
    }
}

/// A task that had room made for it.
#[derive(Debug, Serialize)]
struct PreemptedBy {
    run_id: String,
    /// None of a run that is known no more.
    task: Option<String>,
    index: u32,
    priority: u32,
    /// What the namespaces had, if it was for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<ShareTaken>,
}

impl From<v1::PreemptedBy> for PreemptedBy {
    fn from(by: v1::PreemptedBy) -> Self {
        let v1::PreemptedBy { run_id, task, index, priority, share } = by;
        let task = Some(task).filter(|task| !task.is_empty());
        Self { run_id, task, index, priority, share: share.map(ShareTaken::from) }
    }
}

impl PreemptedBy {
    /// `stopped to make room for 0123456789abc/score[3], priority 90`.
    fn words(&self) -> String {
        let task = self.task.as_ref().map(|task| format!("/{}[{}]", plain(task), self.index)).unwrap_or_default();
        let share = self.share.as_ref().map(|share| format!(": {}", share.words())).unwrap_or_default();
        format!("stopped to make room for {}{task}, priority {}{share}", self.run_id, self.priority)
    }
}

/// How far an attempt is by its own words.
#[derive(Debug, Serialize)]
pub(crate) struct Progress {
    done_milli: Option<u32>,
    words: String,
    metrics: BTreeMap<String, f64>,
}

impl From<v1::Progress> for Progress {
    fn from(progress: v1::Progress) -> Self {
        let v1::Progress { done_milli, words, metrics } = progress;
        let metrics = metrics.into_iter().map(|metric| (metric.name, metric.value)).collect();
        Self { done_milli, words, metrics }
    }
}

impl Progress {
    /// `40% counting`.
    fn words(&self) -> String {
        let done = self.done_milli.map(|milli| format!("{}%", milli / 10)).unwrap_or_default();
        format!("{done} {}", plain(&self.words)).trim().to_owned()
    }
}

impl From<v1::Attempt> for Attempt {
    fn from(attempt: v1::Attempt) -> Self {
        let exit = attempt.exit.and_then(|exit| exit.exit);
        let usage = attempt.usage;
        let said = attempt.outcome.and_then(|outcome| outcome.outcome);
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
            error: said.as_ref().and_then(error_type),
            result: said.as_ref().and_then(result),
            payloads: attempt.payloads.into_iter().map(Into::into).collect(),
            cpu_us: usage.as_ref().map(|usage| usage.cpu_us),
            memory_peak_bytes: usage.as_ref().map(|usage| usage.memory_peak_bytes),
            read_bytes: usage.as_ref().map(|usage| usage.read_bytes),
            written_bytes: usage.as_ref().map(|usage| usage.written_bytes),
            live: None,
            preempted_by: attempt.preempted_by.map(Into::into),
            moved_to: attempt.moved_to.map(|moved| MovedTo { rebalance: moved.rebalance, node: moved.node }),
            want: attempt.want,
            progress: None,
        }
    }
}

/// What went wrong, by the process's own word.
pub(super) fn error_type(said: &v1::outcome::Outcome) -> Option<String> {
    match said {
        v1::outcome::Outcome::Error(error) => Some(error.clone()),
        v1::outcome::Outcome::Result(_) => None,
    }
}

/// The result among what a process said of its end. Whoever took it has seen that it is JSON.
pub(crate) fn result(said: &v1::outcome::Outcome) -> Option<Box<RawValue>> {
    match said {
        v1::outcome::Outcome::Result(result) => serde_json::from_slice(result).ok(),
        v1::outcome::Outcome::Error(_) => None,
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

    /// What went wrong, how far it is, or what its agent has to say.
    fn remark(&self) -> String {
        let progress = self.progress.as_ref().map(Progress::words);
        let preempted = self.preempted_by.as_ref().map(PreemptedBy::words);
        let moved = self.moved_to.as_ref().map(MovedTo::words);
        let want = self.want.map(|want| format!("by want[{want}]"));
        let words = [want, preempted, moved, self.error.clone(), progress, Some(self.message.clone())];
        let words: Vec<String> = words.into_iter().flatten().filter(|words| !words.is_empty()).collect();
        words.join(": ")
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
        if self.attempts.is_empty() {
            return "No attempts: nothing of it was ever placed. 'quorate task why RUN TASK' says why.".to_owned();
        }
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
                faint(attempt.remark()),
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
            usages.into_iter().map(|one| (name(&one.task, one.index, one.number), one)).collect();
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.ended_at_ms.is_none()) {
            if let Some(told) = known.remove(&name(&attempt.task, attempt.index, attempt.number)) {
                attempt.live = told.usage.map(Into::into);
                attempt.progress = told.progress.map(Into::into);
            }
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
