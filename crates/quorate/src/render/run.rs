//! Runs: list, status, output, and what became of a cancel or an annotation.

use std::collections::BTreeMap;

use quorate_proto::v1;
use serde::Serialize;
use serde_json::Value;

use super::canvas::Canvas;
use super::expected::Start;
use super::graph;
use super::ink::ink;
use super::step::{self, Phase, Step};
use super::table::{Rows, Tone, entry, faint, state, word};
use super::usage::UsageSum;
use super::within::{self, Child, Within};
use super::{Paint, View, plain, time};

/// How many tasks stand where.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Counts {
    pub(super) waiting: u32,
    pub(super) ready: u32,
    pub(super) placed: u32,
    pub(super) running: u32,
    pub(super) succeeded: u32,
    pub(super) failed: u32,
    pub(super) cancelled: u32,
    pub(super) skipped: u32,
    /// Those of the waiting that are in quarantine.
    pub(super) quarantined: u32,
}

impl From<v1::TaskCounts> for Counts {
    fn from(counts: v1::TaskCounts) -> Self {
        Self {
            waiting: counts.waiting,
            ready: counts.ready,
            placed: counts.placed,
            running: counts.running,
            succeeded: counts.succeeded,
            failed: counts.failed,
            cancelled: counts.cancelled,
            skipped: counts.skipped,
            quarantined: counts.quarantined,
        }
    }
}

impl Counts {
    pub(super) fn total(&self) -> u32 {
        self.named().iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    pub(super) fn ended(&self) -> u32 {
        self.succeeded.saturating_add(self.failed).saturating_add(self.cancelled).saturating_add(self.skipped)
    }

    pub(super) fn named(&self) -> [(&'static str, u32); 8] {
        [
            ("waiting", self.waiting),
            ("ready", self.ready),
            ("placed", self.placed),
            ("running", self.running),
            ("succeeded", self.succeeded),
            ("failed", self.failed),
            ("cancelled", self.cancelled),
            ("skipped", self.skipped),
        ]
    }

    /// `12 succeeded, 3 running`.
    pub(crate) fn words(&self) -> String {
        let parts: Vec<String> = self
            .named()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let words = if parts.is_empty() { "none".to_owned() } else { parts.join(", ") };
        if self.quarantined > 0 { format!("{words} ({} in quarantine)", self.quarantined) } else { words }
    }
}

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    /// 13 characters.
    pub(crate) id: String,
    namespace: String,
    job: String,
    version: u32,
    /// A word.
    pub(crate) state: String,
    cancelling: bool,
    /// Nothing of it is undone, nor does what comes at its end in any case.
    abandoned: bool,
    /// It took longer than its job's timeout.
    timed_out: bool,
    /// While it is paused.
    paused: Option<Pause>,
    priority: u32,
    submitted_at_ms: u64,
    started_at_ms: Option<u64>,
    ended_at_ms: Option<u64>,
    submitted_revision: u64,
    principal: String,
    /// Of its job.
    labels: BTreeMap<String, String>,
    /// What it was told, by the names of its job's params.
    args: Option<BTreeMap<String, Value>>,
    /// The run of which it is a second try.
    restart_of: Option<String>,
    /// The task that it is, of another run.
    within: Option<Within>,
    /// What came out of it, by the names of its job's result.
    result: Option<BTreeMap<String, Value>>,
    /// Why that cannot be said, of one that has failed by that.
    flaw: Option<String>,
    /// How many tasks stand where.
    pub(crate) tasks: Counts,
}

impl From<v1::Run> for Run {
    fn from(run: v1::Run) -> Self {
        Self {
            state: run_word(run.state),
            id: run.id,
            namespace: run.namespace,
            job: run.job,
            version: run.version,
            cancelling: run.cancelling,
            abandoned: run.abandoned,
            args: serde_json::from_str(&run.args).ok(),
            restart_of: Some(run.restart_of).filter(|of| !of.is_empty()),
            within: run.parent.map(Into::into),
            result: serde_json::from_slice(&run.result).ok(),
            flaw: Some(run.flaw).filter(|flaw| !flaw.is_empty()),
            timed_out: run.timed_out,
            paused: run.paused.map(Into::into),
            priority: run.priority,
            submitted_at_ms: run.submitted_at_ms,
            started_at_ms: run.started_at_ms,
            ended_at_ms: run.ended_at_ms,
            submitted_revision: run.submitted_revision,
            principal: run.principal,
            labels: labels(run.labels),
            tasks: run.counts.unwrap_or_default().into(),
        }
    }
}

impl Run {
    /// Which run of what it is.
    pub(super) fn title(&self) -> String {
        format!("Run {} of {}/{} version {}", self.id, self.namespace, self.job, self.version)
    }

    /// The state as people read it; a run that is being cancelled, or paused, says so.
    pub(super) fn state_word(&self) -> String {
        let has_ended = matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled");
        if self.timed_out {
            format!("{} (timed out)", self.state)
        } else if self.abandoned && !has_ended {
            format!("{} (given up)", self.state)
        } else if self.cancelling && !has_ended {
            format!("{} (cancelling)", self.state)
        } else if self.paused.is_some() {
            format!("{} (paused)", self.state)
        } else {
            self.state.clone()
        }
    }
}

/// Who paused a run, since when and why.
#[derive(Debug, Serialize)]
pub(crate) struct Pause {
    by: String,
    at_ms: u64,
    reason: String,
}

impl From<v1::Pause> for Pause {
    fn from(pause: v1::Pause) -> Self {
        let v1::Pause { by, at_ms, reason } = pause;
        Self { by, at_ms, reason }
    }
}

impl Pause {
    /// `since … by …: …`, on one line whatever the reason is.
    pub(super) fn words(&self) -> String {
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        let words = format!("since {} by {}{reason}", time::instant(self.at_ms), self.by);
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        words.chars().map(|c| if breaks(c) { ' ' } else { c }).collect()
    }
}

/// `run list`.
#[derive(Debug, Serialize)]
pub(crate) struct RunList {
    /// Newest first.
    pub(crate) runs: Vec<Run>,
    /// Of the state it was read from.
    pub(crate) revision: u64,
    /// There are more than were asked for.
    pub(crate) more: bool,
    /// Where they begin, if there are more.
    pub(crate) next_page_token: Option<String>,
}

impl View for RunList {
    const SCHEMA: &'static str = "quorate.v1.run_list/1";

    fn human(&self, paint: Paint) -> String {
        let heads = ["RUN", "JOB", "VERSION", "STATE", "TASKS", "SUBMITTED", "TOOK", "WITHIN"];
        let has_within = self.runs.iter().any(|run| run.within.is_some());
        let mut rows = Rows::new(paint, if has_within { &heads } else { &heads[..7] });
        for run in &self.runs {
            let mut cells = vec![
                entry(&run.id),
                entry(format!("{}/{}", run.namespace, run.job)),
                entry(run.version.to_string()),
                state(&run.state_word()),
                entry(format!("{}/{}", run.tasks.ended(), run.tasks.total())),
                faint(time::instant(run.submitted_at_ms)),
                faint(time::between(Some(run.submitted_at_ms), run.ended_at_ms)),
            ];
            if has_within {
                cells.push(faint(run.within.as_ref().map_or_else(String::new, Within::words)));
            }
            rows.row(cells);
        }
        rows.text()
    }
}

/// How the graph of a run is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawing {
    /// What it is drawn on.
    pub(crate) canvas: Canvas,
    /// No more steps than these.
    pub(crate) steps_max: usize,
}

/// `run status`, and the last word of `run wait` and `job run --wait`.
#[derive(Debug, Serialize)]
pub(crate) struct RunStatus {
    run: Run,
    steps: Vec<Step>,
    revision: u64,
    annotations: Vec<Annotation>,
    /// The newest runs of its tasks that are runs, the first hundred.
    children: Vec<Child>,
    /// Tasks that wait for room, and when they begin at the latest, where that is known.
    expected: Vec<Start>,
    /// People want to see who needs whom.
    #[serde(skip)]
    pub(crate) drawing: Option<Drawing>,
}

/// A word left at a run.
#[derive(Debug, Serialize)]
pub(crate) struct Annotation {
    key: String,
    value: String,
    at_ms: u64,
    principal: String,
}

impl From<v1::GetRunResponse> for RunStatus {
    fn from(response: v1::GetRunResponse) -> Self {
        Self {
            run: response.run.unwrap_or_default().into(),
            steps: response.steps.into_iter().map(Step::from).collect(),
            revision: response.revision,
            annotations: response.annotations.into_iter().map(Into::into).collect(),
            children: response.children.into_iter().map(Into::into).collect(),
            expected: Vec::new(),
            drawing: None,
        }
    }
}

impl RunStatus {
    /// Takes in what is known of what runs.
    pub(crate) fn take(&mut self, usages: Vec<v1::StepUsage>) {
        for v1::StepUsage { task, usage } in usages {
            if let Some(step) = self.steps.iter_mut().find(|step| step.task == task) {
                step.usage = usage.map(Into::into);
            }
        }
    }

    /// Takes in when tasks begin that wait for room.
    pub(crate) fn expect(&mut self, starts: Vec<v1::TaskExpectedStart>) {
        self.expected = starts.into_iter().map(Start::from).collect();
    }

    /// The steps, phase by phase.
    fn phases(&self, paint: Paint) -> String {
        let phases = [Phase::Work, Phase::Undo, Phase::Finally].map(|phase| {
            let steps: Vec<&Step> = self.steps.iter().filter(|step| step.phase() == phase).collect();
            match self.drawing {
                _ if steps.is_empty() && phase != Phase::Work => String::new(),
                Some(Drawing { canvas, steps_max }) => {
                    let heading = phase.heading().map(|words| ink(paint, Tone::Faint, words));
                    let lines = graph::lines(&steps, steps_max, canvas, paint);
                    heading.into_iter().chain(lines).collect::<Vec<_>>().join("\n")
                }
                None => step::table(phase, &steps, &self.steps, paint),
            }
        });
        phases.into_iter().filter(|phase| !phase.is_empty()).collect::<Vec<_>>().join("\n\n")
    }

    fn usage(&self) -> Option<UsageSum> {
        self.steps.iter().filter_map(|step| step.usage.clone()).reduce(|sum, one| sum.and(&one))
    }
}

impl From<v1::Annotation> for Annotation {
    fn from(annotation: v1::Annotation) -> Self {
        let v1::Annotation { key, value, at_ms, principal } = annotation;
        Self { key, value, at_ms, principal }
    }
}

impl View for RunStatus {
    const SCHEMA: &'static str = "quorate.v1.run_status/1";

    fn human(&self, paint: Paint) -> String {
        let run = &self.run;
        let mut text = run.title() + "\n";
        text += &format!("State      {}\n", run.state_word());
        if let Some(pause) = run.paused.as_ref().filter(|_| !run.cancelling) {
            text += &format!("Paused     {}\n", pause.words());
        }
        text += &format!("Priority   {}\n", run.priority);
        text += &format!("Tasks      {}\n", run.tasks.words());
        text += &format!("Submitted  {} by {}\n", time::instant(run.submitted_at_ms), run.principal);
        if !run.labels.is_empty() {
            let labels: Vec<String> = run.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            text += &format!("Labels     {}\n", plain(&labels.join(", ")));
        }
        if let Some(args) = &run.args {
            let args: Vec<String> = args.iter().map(|(name, value)| format!("{name}={value}")).collect();
            text += &format!("Told       {}\n", plain(&args.join(", ")));
        }
        if let Some(within) = &run.within {
            text += &format!("Within     {}\n", within.words());
        }
        if let Some(result) = &run.result {
            let result: Vec<String> = result.iter().map(|(name, value)| format!("{name}={value}")).collect();
            text += &format!("Result     {}\n", plain(&result.join(", ")));
        }
        if let Some(flaw) = &run.flaw {
            text += &format!("No result  {}\n", plain(flaw));
        }
        if let Some(of) = &run.restart_of {
            text += &format!("Second try of {of}\n");
        }
        if let Some(started) = run.started_at_ms {
            text += &format!("Started    {}\n", time::instant(started));
        }
        if let Some(ended) = run.ended_at_ms {
            let took = time::between(Some(run.submitted_at_ms), Some(ended));
            text += &format!("Ended      {} (took {took})\n", time::instant(ended));
        }
        for start in &self.expected {
            text += &format!("Expected   {}\n", start.words());
        }
        if let Some(usage) = self.usage() {
            let running = u64::from(run.tasks.running).max(usage.attempts.into());
            text += &format!("Usage      {}\n", usage.words(running));
        }
        text.push('\n');
        text += &self.phases(paint);
        if !self.children.is_empty() {
            text = text.trim_end().to_owned() + "\n\n" + &within::table(&self.children, paint);
        }
        if !self.annotations.is_empty() {
            let mut rows = Rows::new(paint, &["ANNOTATION", "VALUE", "SET", "BY"]);
            for annotation in &self.annotations {
                rows.row(vec![
                    entry(&annotation.key),
                    entry(&annotation.value),
                    faint(time::instant(annotation.at_ms)),
                    faint(&annotation.principal),
                ]);
            }
            text = text.trim_end().to_owned() + "\n\n" + &rows.text();
        }
        text
    }
}

/// `run annotate`.
#[derive(Debug, Serialize)]
pub(crate) struct RunAnnotated {
    /// The run.
    pub(crate) run_id: String,
    /// What was set.
    pub(crate) keys: Vec<String>,
    /// Since when all of it stands.
    pub(crate) revision: u64,
}

impl View for RunAnnotated {
    const SCHEMA: &'static str = "quorate.v1.run_annotated/1";

    fn human(&self, _: Paint) -> String {
        format!("Run {} has {} since revision {}", self.run_id, self.keys.join(", "), self.revision)
    }
}

/// `run cancel`.
#[derive(Debug, Serialize)]
pub(crate) struct RunCancelled {
    run_id: String,
    ended_before: bool,
    revision: u64,
}

impl From<v1::CancelRunResponse> for RunCancelled {
    fn from(response: v1::CancelRunResponse) -> Self {
        Self { run_id: response.run_id, ended_before: response.ended_before, revision: response.revision }
    }
}

impl View for RunCancelled {
    const SCHEMA: &'static str = "quorate.v1.run_cancelled/1";

    fn human(&self, _: Paint) -> String {
        if self.ended_before {
            format!("Run {} had ended before", self.run_id)
        } else {
            format!("Run {} is being cancelled: nothing of it is placed after revision {}", self.run_id, self.revision)
        }
    }
}

/// `run logs --json`: what was read, as text; bytes that are not UTF-8 are replaced.
#[derive(Debug, Serialize)]
pub(crate) struct Logs {
    /// The run.
    pub(crate) run_id: String,
    /// The task's name.
    pub(crate) task: String,
    /// Its index.
    pub(crate) index: u32,
    /// Number of the attempt that wrote it; none when there was none.
    pub(crate) attempt: Option<u32>,
    /// Some bytes are not UTF-8 and were replaced.
    pub(crate) lossy: bool,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl View for Logs {
    const SCHEMA: &'static str = "quorate.v1.logs/1";

    fn human(&self, _: Paint) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// `run logs --json` of a whole run, or with `--follow`: one line of a task's output.
#[derive(Debug, Serialize)]
pub(crate) struct LogLine<'a> {
    /// The run.
    pub(crate) run_id: &'a str,
    /// The task's name.
    pub(crate) task: &'a str,
    /// Its index.
    pub(crate) index: u32,
    /// Number of the attempt that wrote it.
    pub(crate) attempt: u32,
    /// `stdout` or `stderr`.
    pub(crate) stream: &'a str,
    /// Where in the stream it begins, in bytes.
    pub(crate) offset: u64,
    /// Some bytes are not UTF-8 and were replaced.
    pub(crate) lossy: bool,
    /// With the line break, if it has one: the last line may not, nor one that is very long.
    pub(crate) text: &'a str,
}

impl View for LogLine<'_> {
    const SCHEMA: &'static str = "quorate.v1.log_line/1";

    fn human(&self, _: Paint) -> String {
        self.text.to_owned()
    }
}

/// Labels by key.
pub(crate) fn labels(labels: Vec<v1::Label>) -> BTreeMap<String, String> {
    labels.into_iter().map(|label| (label.key, label.value)).collect()
}

/// The word of a run's state.
pub(crate) fn run_word(number: i32) -> String {
    v1::RunState::try_from(number)
        .map_or_else(|_| format!("unknown-{number}"), |known| word("RUN_STATE_", known.as_str_name()))
}
