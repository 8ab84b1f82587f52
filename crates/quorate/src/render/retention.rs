//! How long runs that have ended are kept, and how much of that is in use.

use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry, faint};
use super::{Paint, View, time};

/// The limits, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Limits {
    memory_runs_max: u64,
    memory_rows_max: u64,
    archive_runs_max: u64,
    /// Zero: runs are not forgotten for their age.
    archive_ms_max: u64,
    history_revisions_max: u64,
    segment_runs_max: u32,
}

impl From<Option<v1::Retention>> for Limits {
    fn from(limits: Option<v1::Retention>) -> Self {
        let limits = limits.unwrap_or_default();
        Self {
            memory_runs_max: limits.memory_runs_max,
            memory_rows_max: limits.memory_rows_max,
            archive_runs_max: limits.archive_runs_max,
            archive_ms_max: limits.archive_ms_max,
            history_revisions_max: limits.history_revisions_max,
            segment_runs_max: limits.segment_runs_max,
        }
    }
}

/// `retention show`.
#[derive(Debug, Serialize)]
pub(crate) struct Kept {
    limits: Limits,
    /// Runs in memory that have ended.
    memory_runs: u64,
    /// Runs that have not ended.
    unfinished_runs: u64,
    /// Tasks and attempts in memory.
    memory_rows: u64,
    archive_runs: u64,
    segments: u32,
    /// When the oldest run that is kept was submitted.
    oldest_submitted_at_ms: Option<u64>,
    /// When the oldest segment will be forgotten for its age.
    forgotten_at_ms: Option<u64>,
    /// What happened since this revision is kept.
    history_from: u64,
    revision: u64,
}

impl From<v1::GetRetentionResponse> for Kept {
    fn from(response: v1::GetRetentionResponse) -> Self {
        Self {
            limits: response.limits.into(),
            memory_runs: response.memory_runs,
            unfinished_runs: response.unfinished_runs,
            memory_rows: response.memory_rows,
            archive_runs: response.archive_runs,
            segments: response.segments,
            oldest_submitted_at_ms: response.oldest_submitted_at_ms,
            forgotten_at_ms: response.forgotten_at_ms,
            history_from: response.history_from,
            revision: response.revision,
        }
    }
}

impl Kept {
    fn history_revisions(&self) -> u64 {
        self.revision.saturating_sub(self.history_from)
    }

    fn table(&self, paint: Paint) -> String {
        let limits = &self.limits;
        let mut rows = Rows::new(paint, &["KEPT", "NOW", "AT MOST", "FULL", "BEYOND THAT"]);
        for (kept, now, most, beyond) in [
            ("ended runs in memory", self.memory_runs, limits.memory_runs_max, "the first to end go to the archive"),
            (
                "tasks and attempts in memory",
                self.memory_rows,
                limits.memory_rows_max,
                "runs that have ended go to the archive",
            ),
            ("runs in the archive", self.archive_runs, limits.archive_runs_max, "the oldest segment is forgotten"),
            (
                "revisions of history",
                self.history_revisions(),
                limits.history_revisions_max,
                "the oldest history is forgotten",
            ),
        ] {
            let cells = vec![
                entry(kept),
                entry(now.to_string()),
                entry(most.to_string()),
                entry(percentage(now, most)),
                faint(beyond),
            ];
            rows.row(cells);
        }
        rows.text()
    }
}

impl View for Kept {
    const SCHEMA: &'static str = "quorate.v1.retention/1";

    fn human(&self, paint: Paint) -> String {
        let oldest = match self.oldest_submitted_at_ms {
            Some(at) => format!("submitted {}", time::instant(at)),
            None => "none is kept".into(),
        };
        let per_segment = format!("{} each at most", time::count(self.limits.segment_runs_max.into(), "run"));
        let segments = time::count(self.segments.into(), "segment");
        let forgotten = match (self.limits.archive_ms_max, self.forgotten_at_ms) {
            (0, _) => "runs are not forgotten for their age".into(),
            (age, None) => format!("{} after their end; there is nothing yet", time::span(age)),
            (age, Some(at)) => {
                format!("{} after their end; the oldest segment at {}", time::span(age), time::instant(at))
            }
        };
        let table = self.table(paint);
        format!(
            "{table}\n\nUnfinished  {}, all in memory\nOldest run  {oldest}\nArchive     {segments}, {per_segment}, forgotten as a whole\n\
             Forgotten   {forgotten}\nHistory     since revision {} of {}",
            time::count(self.unfinished_runs, "run"),
            self.history_from,
            self.revision,
        )
    }
}

/// `retention set`.
#[derive(Debug, Serialize)]
pub(crate) struct RetentionSet {
    before: Limits,
    limits: Limits,
    /// What goes for it, in sentences.
    surplus: Vec<String>,
    /// Since when they hold.
    revision: u64,
}

impl RetentionSet {
    /// What was before, and what is now.
    pub(crate) fn new(before: v1::GetRetentionResponse, response: v1::SetRetentionResponse) -> Self {
        let kept = Kept::from(before);
        let limits = response.limits.into();
        Self { before: kept.limits, limits, surplus: surplus(&kept, limits), revision: response.revision }
    }

    /// The limits that are others now, as they were and are.
    fn changes(&self) -> Vec<(&'static str, String, String)> {
        let (old, new) = (&self.before, &self.limits);
        let number = |name, old: u64, new: u64| (old != new).then(|| (name, old.to_string(), new.to_string()));
        let ages = (old.archive_ms_max != new.archive_ms_max)
            .then(|| ("time in the archive", age(old.archive_ms_max), age(new.archive_ms_max)));
        [
            number("ended runs in memory", old.memory_runs_max, new.memory_runs_max),
            number("tasks and attempts in memory", old.memory_rows_max, new.memory_rows_max),
            number("runs in the archive", old.archive_runs_max, new.archive_runs_max),
            ages,
            number("revisions of history", old.history_revisions_max, new.history_revisions_max),
            number("runs of a segment", old.segment_runs_max.into(), new.segment_runs_max.into()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl View for RetentionSet {
    const SCHEMA: &'static str = "quorate.v1.retention_set/1";

    fn human(&self, _: Paint) -> String {
        let changes = self.changes();
        if changes.is_empty() {
            return "Nothing has changed: what is kept was so before".into();
        }
        let mut lines = vec![format!("Since revision {} this is kept at most:", self.revision)];
        lines.extend(changes.iter().map(|(name, old, new)| format!("  {name}: {new} (was {old})")));
        lines.extend(self.surplus.iter().cloned());
        lines.join("\n")
    }
}

/// What is kept now and is more than limits that are lower than before allow.
fn surplus(kept: &Kept, limits: Limits) -> Vec<String> {
    let before = &kept.limits;
    let lowered = |new: u64, old: u64, now: u64| (new < old).then(|| now.saturating_sub(new)).filter(|more| *more > 0);
    let runs = lowered(limits.memory_runs_max, before.memory_runs_max, kept.memory_runs).map(|more| {
        format!("{} that ended first go to the archive soon, where they are still found", time::count(more, "run"))
    });
    let rows = lowered(limits.memory_rows_max, before.memory_rows_max, kept.memory_rows).map(|more| {
        format!(
            "{more} tasks and attempts too many are in memory: runs that have ended go to the archive soon, where they are \
             still found"
        )
    });
    let archived = lowered(limits.archive_runs_max, before.archive_runs_max, kept.archive_runs).map(|more| {
        let runs = time::count(more, "run");
        format!("About {runs} of the archive will be forgotten soon, in whole segments, and do not come back")
    });
    let is_shorter = limits.archive_ms_max > 0
        && (before.archive_ms_max == 0 || limits.archive_ms_max < before.archive_ms_max)
        && kept.archive_runs > 0;
    let aged = is_shorter.then(|| {
        let age = time::span(limits.archive_ms_max);
        format!("Segments of which all runs ended more than {age} ago will be forgotten soon, and do not come back")
    });
    let past = lowered(limits.history_revisions_max, before.history_revisions_max, kept.history_revisions())
        .map(|more| format!("What happened in the oldest {more} revisions will be forgotten, and does not come back"));
    [runs, rows, archived, aged, past].into_iter().flatten().collect()
}

/// How long a run is kept.
fn age(millis: u64) -> String {
    if millis == 0 { "for ever".into() } else { time::span(millis) }
}

/// How full it is, rounded down; a limit of zero has no parts.
fn percentage(now: u64, most: u64) -> String {
    match u128::from(now).saturating_mul(100).checked_div(u128::from(most)) {
        Some(percent) => format!("{percent}%"),
        None => "-".into(),
    }
}
