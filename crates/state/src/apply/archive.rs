//! Runs that have ended leave memory for the disk, and the disk after their time.

use std::sync::Arc;

use super::overlay::Overlay;
use crate::archive::{RowToArchive, without_latest};
use crate::{
    ArchivedRun, ArchivedStep, Change, Rejection, Reply, Retention, Run, RunId, Segment, Settings, VERSIONS_KEPT_MAX,
    VersionRow, Violation,
};

/// Archives these runs, or goes on doing so, with at most about `rows_max` rows of tasks and attempts in all; passed over
/// singly where a run has not ended, or something still holds it.
pub(super) fn archive(overlay: &mut Overlay, runs: &[RunId], rows_max: u32) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let mut rows_left = rows_max as usize;
    let mut archived = 0_u32;
    for run in runs {
        if rows_left == 0 {
            break;
        }
        let leaving = overlay.state().archive.leaving.get(run).copied();
        let begun = leaving.or_else(|| begin(overlay, *run));
        let Some(segment) = begun else { continue };
        archived = archived.saturating_add(u32::from(leaving.is_none()));
        rows_left = rows_left.saturating_sub(move_rows(overlay, *run, segment, leaving.is_some(), rows_left));
    }
    Ok(Reply::Counted(archived))
}

/// Takes a run out of the tables, if it may leave; answers the segment into which it goes.
fn begin(overlay: &mut Overlay, id: RunId) -> Option<u32> {
    let run = overlay.state().run(id).filter(|_| overlay.state().index.finished().is_archivable(id))?.clone();
    let segment = segment_for(overlay, &run);
    let state = overlay.state();
    let step = |step: u32| ArchivedStep { counts: state.step_counts(id, step), rows: state.rows(id, step) };
    let steps = (0..run.graph.steps()).map(step).collect();
    let rows = (0..run.graph.steps()).filter_map(|step| state.step(id, step).cloned()).collect();
    let annotations = state.annotations_of(id).cloned().collect();
    let archived_at = overlay.now();
    let number = segment.number;
    let archived = ArchivedRun { segment: number, run: run.clone(), steps, rows, annotations, archived_at };
    keep_version(overlay, &run);
    let job = overlay.state().job_ever(&run.spec.namespace, &run.spec.name).cloned();
    if let Some(job) = job.filter(|job| job.latest_run == id) {
        overlay.put(Change::Job(Arc::new(without_latest(&job, &run))));
    }
    overlay.put(Change::Segment(Arc::new(segment)));
    overlay.put(Change::Archived(Arc::new(archived)));
    Some(number)
}

/// The newest segment with this run, or a new one.
fn segment_for(overlay: &Overlay, run: &Run) -> Segment {
    let newest = overlay.state().segments().next_back();
    let runs_max = overlay.state().retention().map_or(1, |retention| retention.segment_runs_max);
    if let Some(newest) = newest.filter(|newest| newest.is_open(overlay.now(), runs_max)) {
        return newest.with(run);
    }
    let first = Segment {
        number: newest.map_or(0, |newest| newest.number).saturating_add(1).max(overlay.state().meta().segments_from),
        runs: 0,
        first_submitted: run.submitted_revision,
        last_submitted: run.submitted_revision,
        first_submitted_at: run.submitted_at,
        last_submitted_at: run.submitted_at,
        began_at: overlay.now(),
        last_ended: run.ended_at.unwrap_or_default(),
    };
    first.with(run)
}

/// Keeps the spec of a version whose runs leave, and counts them; of the oldest versions nothing is kept.
fn keep_version(overlay: &mut Overlay, run: &Run) {
    let (namespace, job) = (&run.spec.namespace, &run.spec.name);
    let Some(row) = overlay.state().job_version(namespace, job, run.job_version) else { return };
    let row = VersionRow { runs: row.runs.saturating_add(1), ..(*row).clone() };
    overlay.put(Change::Version(Arc::new(row)));
    let key = |version: u32| (namespace.clone(), job.clone(), version);
    let kept = || overlay.state().archive.versions.range(key(0)..=key(u32::MAX));
    if kept().count() > VERSIONS_KEPT_MAX
        && let Some(oldest) = kept().next().map(|(key, _)| key.clone())
    {
        overlay.put(Change::VersionGone(oldest));
    }
}

/// Moves rows of tasks and attempts of a run that is leaving; answers how many these were.
fn move_rows(overlay: &mut Overlay, run: RunId, segment: u32, is_noted: bool, limit: usize) -> usize {
    let rows = overlay.state().rows_to_archive(run, limit);
    let moved = rows.len();
    for row in rows {
        overlay.put(match row {
            RowToArchive::Task(task) => Change::TaskArchived(segment, task),
            RowToArchive::Attempt(attempt) => Change::AttemptArchived(segment, attempt),
        });
    }
    let is_left = overlay.state().tasks_of(run).next().is_none();
    match (is_left, is_noted) {
        (true, true) => overlay.put(Change::Left(run)),
        (false, false) => overlay.put(Change::Leaving(run, segment)),
        (true, false) | (false, true) => {}
    }
    moved
}

/// Forgets the segments below this one, unless something is still on its way into one of them.
pub(super) fn trim(overlay: &mut Overlay, below: u32) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let gone: Vec<u32> = overlay.state().segments().map(|segment| segment.number).filter(|n| *n < below).collect();
    if overlay.state().archive.leaving.values().any(|segment| *segment < below) {
        return Err(Rejection::Stale("a run is still on its way into that segment"));
    }
    let Some(last) = gone.last().copied() else { return Ok(Reply::Counted(0)) };
    overlay.set_meta(|meta| meta.segments_from = last.saturating_add(1));
    let count = u32::try_from(gone.len()).unwrap_or(u32::MAX);
    for segment in gone {
        overlay.put(Change::SegmentGone(segment));
    }
    Ok(Reply::Counted(count))
}

/// Says how long runs are kept from now on.
pub(super) fn set_retention(overlay: &mut Overlay, retention: &Retention) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    let flaws = retention.limits().into_iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
    let flaws: Vec<Violation> = flaws
        .map(|(name, value, least, most)| Violation {
            field: format!("retention.{name}"),
            message: format!("is {value}, and must be from {least} to {most}"),
        })
        .collect();
    if !flaws.is_empty() {
        return Err(Rejection::Invalid(flaws));
    }
    overlay.put(Change::Settings(Arc::new(Settings { retention: Some(*retention), ..(*settings).clone() })));
    Ok(Reply::Done)
}
