//! What has happened to a run: an event per line, with when, at which revision, and what in words.

use std::collections::BTreeSet;

use quorate_proto::v1;
use serde::Serialize;

use super::attempt::{attempt_word, error_type};
use super::ink::{heading, ink};
use super::run::{Run, run_word};
use super::share::ShareTaken;
use super::table::{Tone, tone};
use super::task::{task_name, task_word};
use super::{Paint, View, plain, time};

/// A task's column is no wider: what is longer pushes the words aside.
const TASK_CHARS_MAX: usize = 32;
/// A revision's column is no narrower.
const REVISION_CHARS_MIN: usize = 8;
/// The column of times since the run's submit.
const AFTER_CHARS: usize = 8;
/// The column of instants, to the millisecond.
const INSTANT_CHARS: usize = 24;

/// One event.
#[derive(Debug, Serialize)]
pub(crate) struct RunEvent {
    run_id: String,
    revision: u64,
    at_ms: u64,
    /// `run`, `task`, `attempt`, `annotation`, `paused`, `resumed`, `priority`, `abandoned`, `decided`, `rest`, `preempted` or `rebalanced`.
    kind: &'static str,
    /// The state of run, task or attempt since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    /// Number of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_signal: Option<i32>,
    /// A word of the agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// What went wrong, by the process's own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// A machine-readable word for why a task waits or has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Key of the annotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Who paused the run, resumed it or gave it another priority; for which task the attempt is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// That priority, or that task's.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u32>,
    /// What namespaces had, if it is stopped for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<ShareTaken>,
    /// `run`, `pass_over` or `fail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided: Option<&'static str>,
    /// How many elements the step has, or, of the rest of one, those from the index on that ended together.
    #[serde(skip_serializing_if = "Option::is_none")]
    elements: Option<u32>,
    /// All of it as a sentence.
    text: String,
    /// The task has more than one element.
    #[serde(skip)]
    is_array: bool,
}

/// What is known of a run whose events are shown, and how wide that makes the columns.
#[derive(Debug)]
pub(crate) struct OfRun {
    id: String,
    submitted_at_ms: u64,
    submitted_by: String,
    /// It took longer than its job's timeout.
    timed_out: bool,
    /// Tasks with more than one element.
    arrays: BTreeSet<String>,
    task_chars: usize,
    revision_chars: usize,
}

impl OfRun {
    /// What a run's own row and steps say.
    pub(crate) fn new(run: &v1::Run, steps: &[v1::Step], revision: u64) -> Self {
        let chars = |step: &v1::Step| task_name(&step.task, step.count.saturating_sub(1), step.count > 1).len();
        let widest = steps.iter().map(chars).max().unwrap_or_default();
        Self {
            id: run.id.clone(),
            submitted_at_ms: run.submitted_at_ms,
            submitted_by: format!("submitted by {}, version {} of {}", run.principal, run.version, run.job),
            timed_out: run.timed_out,
            arrays: steps.iter().filter(|step| step.count > 1).map(|step| step.task.clone()).collect(),
            task_chars: widest.clamp("TASK".len(), TASK_CHARS_MAX),
            revision_chars: revision.to_string().len().max(REVISION_CHARS_MIN),
        }
    }

    /// An event as it is shown; none of those that this version does not know.
    pub(crate) fn event(&self, revision: u64, event: v1::RunEvent) -> Option<RunEvent> {
        let at_ms = event.at_ms;
        let blank = |kind, text| RunEvent {
            run_id: self.id.clone(),
            revision,
            at_ms,
            kind,
            state: None,
            task: None,
            index: None,
            attempt: None,
            node: None,
            token: None,
            exit_code: None,
            exit_signal: None,
            message: None,
            error: None,
            reason: None,
            key: None,
            by: None,
            priority: None,
            share: None,
            decided: None,
            elements: None,
            text,
            is_array: false,
        };
        Some(match event.event? {
            v1::run_event::Event::Run(moved) => {
                RunEvent { state: Some(run_word(moved.state)), ..blank("run", self.run_text(&moved)) }
            }
            v1::run_event::Event::Annotated(annotated) => {
                let text = format!("annotation {} set", annotated.key);
                RunEvent { key: Some(annotated.key), ..blank("annotation", text) }
            }
            v1::run_event::Event::Paused(v1::RunPaused { by }) => {
                let text = format!("run paused by {by}");
                RunEvent { by: Some(by), ..blank("paused", text) }
            }
            v1::run_event::Event::Resumed(v1::RunResumed { by }) => {
                let text = format!("run resumed by {by}");
                RunEvent { by: Some(by), ..blank("resumed", text) }
            }
            v1::run_event::Event::PrioritySet(v1::RunPrioritySet { priority, by }) => {
                let text = format!("run given priority {priority} by {by}");
                RunEvent { by: Some(by), priority: Some(priority), ..blank("priority", text) }
            }
            v1::run_event::Event::Abandoned(v1::RunAbandoned {}) => {
                blank("abandoned", "run given up: nothing of it is undone, and nothing comes at its end".to_owned())
            }
            v1::run_event::Event::Decided(decided) => {
                let (word, text) = decided_text(&decided);
                let message = Some(decided.message).filter(|message| !message.is_empty());
                let (task, elements) = (Some(decided.task), Some(decided.elements));
                RunEvent { task, decided: word, elements, message, ..blank("decided", text) }
            }
            v1::run_event::Event::Preempted(preempted) => {
                let v1::AttemptPreempted { task, index, number, node, by } = preempted;
                let by = by.unwrap_or_default();
                let share = by.share.map(ShareTaken::from);
                let text = format!(
                    "attempt {number} on {node} is to be stopped to make room for {} of run {}, priority {}{}",
                    task_name(&by.task, by.index, true),
                    by.run_id,
                    by.priority,
                    share.as_ref().map(|share| format!(": {}", share.words())).unwrap_or_default()
                );
                RunEvent {
                    is_array: index > 0 || self.arrays.contains(&task),
                    task: Some(task),
                    index: Some(index),
                    attempt: Some(number),
                    node: Some(node),
                    by: Some(format!("{}/{}[{}]", by.run_id, by.task, by.index)),
                    priority: Some(by.priority),
                    share,
                    ..blank("preempted", text)
                }
            }
            v1::run_event::Event::Rebalanced(rebalanced) => {
                let v1::AttemptRebalanced { task, index, number, node, to } = rebalanced;
                let to = to.unwrap_or_default();
                let text = format!(
                    "attempt {number} on {node} is to be stopped, and its task to go on at {}, by rebalance {}",
                    to.node, to.rebalance
                );
                RunEvent {
                    is_array: index > 0 || self.arrays.contains(&task),
                    task: Some(task),
                    index: Some(index),
                    attempt: Some(number),
                    node: Some(node),
                    ..blank("rebalanced", text)
                }
            }
            v1::run_event::Event::Rest(rest) => {
                let text = format!(
                    "{} from [{}] on {}",
                    time::count(rest.count.into(), "element"),
                    rest.first,
                    task_word(rest.state)
                );
                RunEvent {
                    state: Some(task_word(rest.state)),
                    task: Some(rest.task),
                    index: Some(rest.first),
                    elements: Some(rest.count),
                    ..blank("rest", text)
                }
            }
            v1::run_event::Event::Task(task) => RunEvent {
                state: Some(task_word(task.state)),
                is_array: task.index > 0 || task.count > 1 || self.arrays.contains(&task.task),
                index: Some(task.index),
                reason: Some(task.reason.clone()).filter(|reason| !reason.is_empty()),
                ..RunEvent { task: Some(task.task.clone()), ..blank("task", task_text(&task)) }
            },
            v1::run_event::Event::Attempt(attempt) => {
                let error = attempt.outcome.as_ref().and_then(|said| error_type(said.outcome.as_ref()?));
                let text = attempt_text(&attempt, error.as_deref());
                let exit = attempt.exit.and_then(|exit| exit.exit);
                RunEvent {
                    state: Some(attempt_word(attempt.state)),
                    is_array: attempt.index > 0 || self.arrays.contains(&attempt.task),
                    task: Some(attempt.task),
                    index: Some(attempt.index),
                    attempt: Some(attempt.number),
                    node: Some(attempt.node),
                    token: Some(attempt.token),
                    exit_code: match exit {
                        Some(v1::exit::Exit::Code(code)) => Some(code),
                        Some(v1::exit::Exit::Signal(_)) | None => None,
                    },
                    exit_signal: match exit {
                        Some(v1::exit::Exit::Signal(signal)) => Some(signal),
                        Some(v1::exit::Exit::Code(_)) | None => None,
                    },
                    message: Some(attempt.message).filter(|message| !message.is_empty()),
                    error,
                    ..blank("attempt", text)
                }
            }
        })
    }

    /// The heads of the columns.
    pub(crate) fn heads(&self, paint: Paint) -> String {
        let text = format!(
            "{:<INSTANT_CHARS$}  {:>AFTER_CHARS$}  {:>revision$}  {:<task$}  EVENT",
            "TIME",
            "AFTER",
            "REVISION",
            "TASK",
            revision = self.revision_chars,
            task = self.task_chars
        );
        heading(paint, &text)
    }

    /// A line of the table.
    pub(crate) fn line(&self, event: &RunEvent, paint: Paint) -> String {
        let after = format!("+{}", time::span(event.at_ms.saturating_sub(self.submitted_at_ms)));
        let name = |task: &String| task_name(task, event.index.unwrap_or_default(), event.is_array);
        let task = event.task.as_ref().map_or("-".to_owned(), name);
        let tone = match event.kind {
            "run" | "attempt" => event.state.as_deref().map_or(Tone::Plain, tone),
            _ => Tone::Plain,
        };
        format!(
            "{}  {after:>AFTER_CHARS$}  {:>revision$}  {:<task_chars$}  {}",
            ink(paint, Tone::Faint, &format!("{:<INSTANT_CHARS$}", time::instant_millis(event.at_ms))),
            event.revision,
            plain(&task),
            ink(paint, tone, &plain(&event.text)),
            revision = self.revision_chars,
            task_chars = self.task_chars
        )
    }

    fn run_text(&self, moved: &v1::RunMoved) -> String {
        match moved.state() {
            v1::RunState::Pending | v1::RunState::Running if moved.cancelling && self.timed_out => {
                "run took longer than its job's timeout: it is to be cancelled".to_owned()
            }
            v1::RunState::Pending | v1::RunState::Running if moved.cancelling => "run is to be cancelled".to_owned(),
            v1::RunState::Pending => format!("run {}", self.submitted_by),
            v1::RunState::Running => "run started: its first task is placed".to_owned(),
            v1::RunState::Failed if self.timed_out => "run ended: failed (timed out)".to_owned(),
            v1::RunState::Succeeded | v1::RunState::Failed | v1::RunState::Cancelled | v1::RunState::Unspecified => {
                format!("run ended: {}", run_word(moved.state))
            }
        }
    }
}

fn decided_text(decided: &v1::StepDecided) -> (Option<&'static str>, String) {
    match decided.decided() {
        v1::Decision::Run => {
            let elements = time::count(decided.elements.into(), "element");
            (Some("run"), format!("runs, with {elements}"))
        }
        v1::Decision::PassOver => (Some("pass_over"), "passed over: there is nothing to do".to_owned()),
        v1::Decision::Fail => (Some("fail"), format!("fails: {}", decided.message)),
        v1::Decision::Unspecified => (None, "decided".to_owned()),
    }
}

fn task_text(task: &v1::Task) -> String {
    let word = task_word(task.state);
    match &*task.reason {
        "" if task.state() == v1::TaskState::Ready => "ready: in the queue".to_owned(),
        "" => word,
        "NEEDS" => format!("{word} for what it needs"),
        "BACKOFF" => format!("{word} before its next try"),
        "FENCE" => format!("{word} until its last copy is certainly gone"),
        "FAILED" => format!("{word} for good: no try is left, or its end is one of retry.never"),
        "TIMED_OUT" => format!("{word} for good: it ran out of time"),
        "LOST" => format!("{word} for good: its only copy was lost"),
        "NODE_LOSSES" => format!("{word} for good: it lost too many nodes"),
        "QUEUED" => format!("{word} for good: nobody could place it in its time"),
        "SILENT" => format!("{word} for good: it said nothing for too long"),
        "UNDECIDABLE" => format!("{word} for good: whether it runs, or for what, cannot be found out"),
        "QUARANTINE" => format!("{word} in quarantine: nodes went away while it ran there"),
        other => format!("{word}: {other}"),
    }
}

fn attempt_text(attempt: &v1::Attempt, error: Option<&str>) -> String {
    let (number, node) = (attempt.number, &attempt.node);
    let mut text = match attempt.state() {
        v1::AttemptState::Assigned => format!("attempt {number} placed on {node}, token {}", attempt.token),
        v1::AttemptState::Starting => format!("attempt {number} starting on {node}"),
        v1::AttemptState::Running => format!("attempt {number} running on {node}"),
        v1::AttemptState::Stopping => format!("attempt {number} stopping on {node}"),
        v1::AttemptState::Unknown => format!("attempt {number} unknown: the lease of {node} is over"),
        v1::AttemptState::TimedOut => format!("attempt {number} ran out of time on {node}"),
        v1::AttemptState::Lost => format!("attempt {number} lost with {node}"),
        v1::AttemptState::Preempted => format!("attempt {number} moved off {node}"),
        v1::AttemptState::Succeeded
        | v1::AttemptState::Failed
        | v1::AttemptState::Cancelled
        | v1::AttemptState::Unspecified => {
            format!("attempt {number} {} on {node}", attempt_word(attempt.state))
        }
    };
    match attempt.exit.and_then(|exit| exit.exit) {
        Some(v1::exit::Exit::Code(code)) => text += &format!(", exit code {code}"),
        Some(v1::exit::Exit::Signal(signal)) => text += &format!(", ended by signal {signal}"),
        None => {}
    }
    let said = [error.unwrap_or_default(), &*attempt.message];
    for words in said.into_iter().filter(|words| !words.is_empty()) {
        text += &format!(": {words}");
    }
    text
}

/// `run events`.
#[derive(Debug, Serialize)]
pub(crate) struct RunEventList {
    /// Whose they are.
    pub(crate) run: Run,
    /// The oldest first.
    pub(crate) events: Vec<RunEvent>,
    /// Those of earlier revisions are not kept any more.
    pub(crate) kept_from: u64,
    /// Nothing that was asked for is gone.
    pub(crate) complete: bool,
    /// Of the state it was read from.
    pub(crate) revision: u64,
    #[serde(skip)]
    pub(crate) of: OfRun,
}

impl View for RunEventList {
    const SCHEMA: &'static str = "quorate.v1.run_event_list/1";

    fn human(&self, paint: Paint) -> String {
        let lines = self.events.iter().map(|event| self.of.line(event, paint));
        std::iter::once(self.of.heads(paint)).chain(lines).collect::<Vec<_>>().join("\n")
    }
}

/// `run events --follow --json`: one of them.
impl View for RunEvent {
    const SCHEMA: &'static str = "quorate.v1.run_event/1";

    fn human(&self, _: Paint) -> String {
        plain(&self.text)
    }
}
