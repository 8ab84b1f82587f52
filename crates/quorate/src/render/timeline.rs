//! When a run's attempts were queued, placed, running and over: a bar for each, on one axis.
//!
//! Of a run with too many those are shown that one looks for: tasks that something went wrong with, then those
//! that took longest.

mod bars;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use quorate_proto::v1;
use serde::Serialize;

use super::attempt::Attempt;
use super::canvas::{Canvas, cut};
use super::ink::{heading, ink};
use super::run::Run;
use super::table::{Tone, tone};
use super::task::task_name;
use super::{Paint, View, plain, time};
use bars::{Phase, Scale};

/// Names of tasks are cut behind this many characters.
const NAME_CHARS_MAX: usize = 28;
/// Names of nodes are cut behind this many characters.
const NODE_CHARS_MAX: usize = 16;
/// How an attempt ended is cut behind this many characters.
const END_CHARS_MAX: usize = 26;
/// Bars are no shorter, however narrow the terminal is.
const BAR_CHARS_MIN: usize = 16;
/// Blanks between two columns.
const GAP: usize = 2;

/// One attempt, or a task that is in the queue.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bar {
    task: String,
    index: u32,
    /// None of a task that is in the queue.
    attempt: Option<u32>,
    /// None of a task that is in the queue.
    node: Option<String>,
    state: String,
    /// When it came into the queue, if that is known.
    queued_at_ms: Option<u64>,
    placed_at_ms: Option<u64>,
    started_at_ms: Option<u64>,
    /// Since when its node's lease is over.
    unknown_at_ms: Option<u64>,
    ended_at_ms: Option<u64>,
    exit_code: Option<i32>,
    exit_signal: Option<i32>,
    #[serde(skip)]
    is_array: bool,
    /// Place of its task in the job file.
    #[serde(skip)]
    step: usize,
}

/// A run's attempts and, as far as they are known, the events between them.
#[derive(Debug)]
pub(crate) struct History {
    /// The run.
    pub(crate) run: v1::Run,
    /// Its steps.
    pub(crate) steps: Vec<v1::Step>,
    /// All of them.
    pub(crate) attempts: Vec<v1::Attempt>,
    /// The oldest first.
    pub(crate) events: Vec<v1::RunEvent>,
    /// Some events are not known.
    pub(crate) has_gaps: bool,
    /// The state it was read from.
    pub(crate) revision: u64,
    /// By the clock of whoever asks.
    pub(crate) now_ms: u64,
}

/// `run timeline`.
#[derive(Debug, Serialize)]
pub(crate) struct RunTimeline {
    run: Run,
    /// Where the axis begins: the run's submit.
    from_ms: u64,
    /// Where it ends: the run's end, or now.
    to_ms: u64,
    /// In the order in which they began, those of one task together.
    attempts: Vec<Bar>,
    /// How many attempts are not shown.
    left_out: usize,
    /// When each attempt came into the queue, and when its node's lease was over, is known.
    complete: bool,
    revision: u64,
    /// What is not shown, by state.
    #[serde(skip)]
    left_out_states: BTreeMap<String, u64>,
    #[serde(skip)]
    canvas: Canvas,
}

/// What events say of tasks and attempts beside what their rows do.
#[derive(Default)]
struct Seen {
    /// Tasks that are in the queue, and since when.
    ready: BTreeMap<(String, u32), u64>,
    /// When an attempt had come into the queue.
    queued: BTreeMap<(String, u32, u32), u64>,
    /// Since when the lease of an attempt's node is over.
    unknown: BTreeMap<(String, u32, u32), u64>,
}

impl Seen {
    /// Tasks that need nothing are in the queue from the run's submit on, without an event of their own.
    fn of(run: &v1::Run, steps: &[v1::Step], events: Vec<v1::RunEvent>) -> Self {
        let is_first = |step: &&v1::Step| step.needs.is_empty() && step.role.is_none() && step.when.is_none();
        let first = steps.iter().filter(is_first);
        let first = first.flat_map(|step| (0..step.count).map(|index| (step.task.clone(), index)));
        let ready = first.map(|task| (task, run.submitted_at_ms)).collect();
        let mut seen = Self { ready, ..Self::default() };
        for v1::RunEvent { at_ms, event } in events {
            match event {
                Some(v1::run_event::Event::Task(task)) => seen.task(at_ms, task),
                Some(v1::run_event::Event::Attempt(attempt)) => seen.attempt(at_ms, attempt),
                Some(
                    v1::run_event::Event::Run(_)
                    | v1::run_event::Event::Annotated(_)
                    | v1::run_event::Event::Paused(_)
                    | v1::run_event::Event::Resumed(_)
                    | v1::run_event::Event::PrioritySet(_)
                    | v1::run_event::Event::Abandoned(_)
                    | v1::run_event::Event::Decided(_)
                    | v1::run_event::Event::Rest(_)
                    | v1::run_event::Event::Preempted(_)
                    | v1::run_event::Event::Rebalanced(_),
                )
                | None => {}
            }
        }
        seen
    }

    fn task(&mut self, at_ms: u64, task: v1::Task) {
        let is_ready = task.state() == v1::TaskState::Ready;
        let key = (task.task, task.index);
        if is_ready {
            self.ready.insert(key, at_ms);
        } else {
            self.ready.remove(&key);
        }
    }

    /// Comes before what it means for its task.
    fn attempt(&mut self, at_ms: u64, attempt: v1::Attempt) {
        let state = attempt.state();
        let task = (attempt.task, attempt.index);
        let key = (task.0.clone(), task.1, attempt.number);
        if state == v1::AttemptState::Assigned
            && let Some(since) = self.ready.remove(&task)
        {
            self.queued.insert(key, since);
        } else if state == v1::AttemptState::Unknown {
            self.unknown.insert(key, at_ms);
        } else if state == v1::AttemptState::Running || state == v1::AttemptState::Assigned {
            // Its node came back.
            self.unknown.remove(&key);
        }
    }
}

impl RunTimeline {
    /// At most `rows_max` attempts of a run.
    pub(crate) fn new(history: History, rows_max: usize, canvas: Canvas) -> Self {
        let History { run, steps, attempts, events, has_gaps, revision, now_ms } = history;
        let places: BTreeMap<&str, (usize, bool)> =
            steps.iter().zip(0..).map(|(step, place)| (&*step.task, (place, step.count > 1))).collect();
        // With gaps nobody can tell who has left the queue.
        let mut seen = Seen::of(&run, if has_gaps { &[] } else { &steps }, events);
        if has_gaps {
            seen.ready.clear();
        }
        let mut bars: Vec<Bar> =
            attempts.into_iter().map(|attempt| Bar::of_attempt(attempt.into(), &mut seen)).collect();
        bars.extend(std::mem::take(&mut seen.ready).into_iter().map(Bar::of_queue));
        for bar in &mut bars {
            (bar.step, bar.is_array) = places.get(&*bar.task).copied().unwrap_or_default();
        }
        let latest = bars.iter().filter_map(Bar::last_known).max().unwrap_or_default();
        let ended = run.ended_at_ms.map(|ended| ended.max(latest));
        let (from_ms, to_ms) = (run.submitted_at_ms, ended.unwrap_or_else(|| now_ms.max(latest)));
        let (attempts, left_out) = choose(bars, rows_max, to_ms);
        let mut left_out_states = BTreeMap::new();
        for bar in &left_out {
            *left_out_states.entry(bar.state.clone()).or_default() += 1;
        }
        Self {
            run: run.into(),
            from_ms,
            to_ms: to_ms.max(from_ms),
            attempts,
            left_out: left_out.len(),
            complete: !has_gaps,
            revision,
            left_out_states,
            canvas,
        }
    }
}

/// The bars to show, in the order of showing, and the others. Those of one task stay together; of one with too many
/// the newest are shown.
fn choose(bars: Vec<Bar>, rows_max: usize, now_ms: u64) -> (Vec<Bar>, Vec<Bar>) {
    let mut tasks: BTreeMap<(usize, u32), Vec<Bar>> = BTreeMap::new();
    for bar in bars {
        tasks.entry((bar.step, bar.index)).or_default().push(bar);
    }
    let mut tasks: Vec<Vec<Bar>> = tasks.into_values().collect();
    let took = |task: &Vec<Bar>| task.iter().map(|bar| bar.took_ms(now_ms)).sum::<u64>();
    tasks.sort_by_key(|task| (!task.iter().any(Bar::went_wrong), Reverse(took(task))));
    let (mut shown, mut left_out): (Vec<Vec<Bar>>, Vec<Bar>) = (Vec::new(), Vec::new());
    let mut room = rows_max;
    for mut task in tasks {
        task.sort_by_key(|bar| bar.attempt.unwrap_or(u32::MAX));
        let newest = task.split_off(task.len().saturating_sub(room));
        left_out.append(&mut task);
        room -= newest.len();
        if !newest.is_empty() {
            shown.push(newest);
        }
    }
    shown.sort_by_key(|task| (task.first().and_then(Bar::began_ms), task.first().map(|bar| (bar.step, bar.index))));
    (shown.into_iter().flatten().collect(), left_out)
}

impl Bar {
    fn of_attempt(attempt: Attempt, seen: &mut Seen) -> Self {
        let key = (attempt.task, attempt.index, attempt.number);
        let (queued_at_ms, unknown_at_ms) = (seen.queued.remove(&key), seen.unknown.remove(&key));
        let (task, index, number) = key;
        Self {
            task,
            index,
            attempt: Some(number),
            node: Some(attempt.node),
            state: attempt.state,
            queued_at_ms,
            placed_at_ms: Some(attempt.placed_at_ms),
            started_at_ms: attempt.started_at_ms,
            unknown_at_ms,
            ended_at_ms: attempt.ended_at_ms,
            exit_code: attempt.exit_code,
            exit_signal: attempt.exit_signal,
            is_array: false,
            step: 0,
        }
    }

    fn of_queue(((task, index), since): ((String, u32), u64)) -> Self {
        Self {
            task,
            index,
            attempt: None,
            node: None,
            state: "queued".to_owned(),
            queued_at_ms: Some(since),
            placed_at_ms: None,
            started_at_ms: None,
            unknown_at_ms: None,
            ended_at_ms: None,
            exit_code: None,
            exit_signal: None,
            is_array: false,
            step: 0,
        }
    }

    fn went_wrong(&self) -> bool {
        tone(&self.state) == Tone::Bad
    }

    fn began_ms(&self) -> Option<u64> {
        self.queued_at_ms.or(self.placed_at_ms)
    }

    fn last_known(&self) -> Option<u64> {
        [self.queued_at_ms, self.placed_at_ms, self.started_at_ms, self.unknown_at_ms, self.ended_at_ms]
            .into_iter()
            .max()
            .flatten()
    }

    /// From its placement, or its place in the queue, to its end.
    fn took_ms(&self, now_ms: u64) -> u64 {
        let from = self.placed_at_ms.or(self.queued_at_ms).unwrap_or(now_ms);
        self.ended_at_ms.unwrap_or(now_ms).saturating_sub(from)
    }

    /// Each phase that it was in, from one instant to the next.
    fn phases(&self, to_ms: u64) -> Vec<(Phase, u64, u64)> {
        let ended = self.ended_at_ms.unwrap_or(to_ms);
        let begins = [
            (Phase::Queued, self.queued_at_ms),
            (Phase::Starting, self.placed_at_ms),
            (Phase::Running, self.started_at_ms),
            (Phase::Unknown, self.unknown_at_ms),
        ];
        let begins: Vec<(Phase, u64)> = begins.into_iter().filter_map(|(phase, at)| Some((phase, at?))).collect();
        let ends = begins.iter().skip(1).map(|(_, at)| *at).chain([ended]);
        begins.iter().zip(ends).map(|((phase, from), to)| (*phase, *from, to)).collect()
    }

    fn name(&self) -> String {
        let name = task_name(&self.task, self.index, self.is_array);
        match self.attempt {
            Some(number) if number > 1 => format!("{name} #{number}"),
            Some(_) | None => name,
        }
    }

    /// How long it took, and how it ended.
    fn end(&self, to_ms: u64) -> String {
        let exit = match (self.exit_code, self.exit_signal) {
            (Some(0), _) | (None, None) => String::new(),
            (Some(code), _) => format!(", exit {code}"),
            (None, Some(signal)) => format!(", signal {signal}"),
        };
        format!("{} {}{exit}", self.state, time::span(self.took_ms(to_ms)))
    }
}

impl View for RunTimeline {
    const SCHEMA: &'static str = "quorate.v1.run_timeline/1";

    fn human(&self, paint: Paint) -> String {
        let text = |text: &str, chars_max| cut(&plain(text), chars_max, self.canvas);
        let cells: Vec<[String; 3]> = self
            .attempts
            .iter()
            .map(|bar| {
                let node = text(bar.node.as_deref().unwrap_or("-"), NODE_CHARS_MAX);
                [text(&bar.name(), NAME_CHARS_MAX), node, text(&bar.end(self.to_ms), END_CHARS_MAX)]
            })
            .collect();
        let widest = |column: usize, head: &str| {
            cells.iter().map(|cells| cells[column].chars().count()).chain([head.len()]).max().unwrap_or_default()
        };
        let (names, nodes, ends) = (widest(0, "TASK"), widest(1, "NODE"), widest(2, "STATE, TOOK"));
        let columns = self.canvas.columns.saturating_sub(names + nodes + ends + 3 * GAP).max(BAR_CHARS_MIN);
        let scale = Scale { span_ms: self.to_ms - self.from_ms, columns };

        let took = time::span(self.to_ms - self.from_ms);
        let mut lines = vec![
            format!("{}: {} after {took}", self.run.title(), self.run.state_word()),
            String::new(),
            heading(paint, &format!("{:<names$}  {:<nodes$}  {:<columns$}  STATE, TOOK", "TASK", "NODE", scale.axis())),
        ];
        for (bar, [name, node, end]) in self.attempts.iter().zip(&cells) {
            let phases: Vec<_> = bar.phases(self.to_ms).into_iter().map(|part| self.since_start(part)).collect();
            let tone = tone(&bar.state);
            let drawn = scale.bar(&phases, tone, self.canvas, paint);
            lines.push(format!("{name:<names$}  {node:<nodes$}  {drawn}  {}", ink(paint, tone, end)));
        }
        lines.push(String::new());
        lines.extend(self.notes().iter().map(|note| ink(paint, Tone::Faint, note)));
        lines.join("\n")
    }
}

impl RunTimeline {
    fn since_start(&self, (phase, from, to): (Phase, u64, u64)) -> (Phase, u64, u64) {
        (phase, from.saturating_sub(self.from_ms), to.saturating_sub(self.from_ms))
    }

    /// What the characters mean, and what is not there.
    fn notes(&self) -> Vec<String> {
        let legend: Vec<String> = Phase::ALL
            .iter()
            .map(|(phase, meaning)| format!("{} {meaning}", phase.character(self.canvas.is_unicode)))
            .collect();
        let mut notes = vec![legend.join("   ")];
        if self.left_out > 0 {
            let states: Vec<String> =
                self.left_out_states.iter().map(|(state, count)| format!("{count} {state}")).collect();
            let more = time::count(self.left_out as u64, "more attempt");
            notes.push(format!("and {more}: {} (--limit shows more)", states.join(", ")));
        }
        if !self.complete {
            notes
                .push("for how long attempts were queued is not known of all: not all events are kept, or read".into());
        }
        notes
    }
}
