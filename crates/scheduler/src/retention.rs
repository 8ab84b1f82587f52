//! What is kept, and for how long: runs that have ended leave memory for the archive, the archive loses its oldest
//! segments, and history what happened to runs that nobody can look up any more.

use quorate_state::{
    Command, Meta, Millis, Retention as Limits, Revision, RunId, SEGMENT_MS_MAX, Segment, Served, State,
};

use crate::{Budget, Controller, Decision, LogNow, Observed, Report};

/// Work waits until there is more to keep than wanted by this part of it (1/8), so that it is
/// done seldom and in pieces worth it.
pub(crate) const SLACK_DIVISOR: u64 = 8;
/// Runs that one command archives at most, so that no entry stalls.
const RUNS_AT_ONCE: usize = 256;
/// Rows of tasks and attempts that one command archives, about.
const ROWS_AT_ONCE: u32 = 2_048;

/// Trims what is kept.
pub(crate) struct Retention;

impl Controller for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn observes(&self, _view: &State, _now: LogNow) -> bool {
        false
    }

    fn step(&mut self, view: &State, _: &Observed, now: LogNow, _seed: u64, _: Budget) -> Decision {
        let kept = view.meta().revision.0.saturating_sub(view.meta().events_from.0);
        let limits = view.retention();
        let archived = limits.and_then(|limits| archive(view, limits));
        let forgotten = limits.and_then(|limits| forget(view, limits, now.now));
        let below = view.settings().and_then(|settings| trim_below(view, settings.event_revisions_max, limits));
        let below = below.map(|below| Command::TrimEvents { below });
        let counts = vec![("event_revisions_kept", kept), ("archived_runs", view.archived_count())];
        Decision {
            commands: archived.into_iter().chain(forgotten).chain(below).collect(),
            wake_at: limits.and_then(|limits| next_due(view, limits, now)),
            report: Report { counts, ..Report::default() },
        }
    }
}

/// The runs that leave memory now: those on their way, and then the first that ended.
fn archive(view: &State, limits: Limits) -> Option<Command> {
    let over = |count: u64, max: u64| count.saturating_sub(max) > max / SLACK_DIVISOR;
    let finished = view.finished_count() as u64;
    let surplus = if over(view.rows_in_memory(), limits.memory_rows_max) {
        RUNS_AT_ONCE
    } else if over(finished, limits.memory_runs_max) {
        usize::try_from(finished.saturating_sub(limits.memory_runs_max)).unwrap_or(usize::MAX)
    } else {
        0
    };
    let runs: Vec<RunId> = view.leaving().chain(view.archivable().take(surplus)).take(RUNS_AT_ONCE).collect();
    (!runs.is_empty()).then_some(Command::ArchiveRuns { runs, rows_max: ROWS_AT_ONCE })
}

/// The segments that are forgotten now: the oldest one, if there are too many runs or its time is over. None while a run is
/// on its way: it may be into that one.
fn forget(view: &State, limits: Limits, now: Millis) -> Option<Command> {
    let oldest = closed(view, now)?;
    let is_surplus = view.archived_count() > limits.archive_runs_max;
    let is_old = expiry(oldest, limits).is_some_and(|at| at <= now);
    let is_due = (is_surplus || is_old) && view.leaving().next().is_none();
    is_due.then_some(Command::TrimArchive { below: oldest.number.saturating_add(1) })
}

/// The oldest segment, if it takes no more runs.
fn closed(view: &State, now: Millis) -> Option<&Segment> {
    let mut segments = view.segments();
    let oldest = segments.next()?;
    let is_closed = segments.next().is_some() || now.0.saturating_sub(oldest.began_at.0) >= SEGMENT_MS_MAX;
    is_closed.then_some(oldest)
}

/// When the time of a segment is over.
fn expiry(segment: &Segment, limits: Limits) -> Option<Millis> {
    (limits.archive_ms_max > 0).then(|| Millis(segment.last_ended.0.saturating_add(limits.archive_ms_max)))
}

/// When time alone makes the oldest segment one to forget.
fn next_due(view: &State, limits: Limits, now: LogNow) -> Option<Served> {
    let mut segments = view.segments();
    let oldest = segments.next()?;
    // The only one may take more runs until then.
    let closes = if segments.next().is_some() { 0 } else { oldest.began_at.0.saturating_add(SEGMENT_MS_MAX) };
    let due = expiry(oldest, limits)?.max(Millis(closes));
    let left = due.0.checked_sub(now.now.0).filter(|left| *left > 0)?;
    Some(now.served.plus(left))
}

/// Where to trim history so that `kept_max` revisions are left, and what happened to runs that are kept, if it is time to.
fn trim_below(view: &State, kept_max: u64, limits: Option<Limits>) -> Option<Revision> {
    let Meta { revision, events_from, .. } = view.meta();
    let mut below = revision.0.checked_sub(kept_max)?;
    if let Some(limits) = limits {
        let kept = view.segments().map(|segment| segment.first_submitted).chain(view.oldest_run()).min();
        let history = revision.0.saturating_sub(limits.history_revisions_max);
        below = below.min(kept.map_or(u64::MAX, |kept| kept.0)).max(history);
    }
    let surplus = below.checked_sub(events_from.0)?;
    (surplus > kept_max / SLACK_DIVISOR).then_some(Revision(below))
}
