//! What has happened to a run, as its event rows say, page by page.
//!
//! Rows are on disk in order of the log. A run's lie behind its submit; of one to which nothing can happen any
//! more they end at the last instant that its rows in memory know of, or when it was archived, which is looked up on
//! disk. What lies between is looked at row by row, a bounded number for each page.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use quorate_proto::convert::run::event_to_wire;
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::{EventPlace, Parts};
use quorate_state::{Event, EventRow, Millis, Revision, Run, State, TaskId};
use tonic::Request;

use super::page::{Cursor, Pages};
use super::{refs, violation};
use crate::auth::{Action, authorize, principal};
use crate::core::read_error;
use crate::reading::Reading;

/// Event rows looked at for one page, of whatever run.
const EVENT_ROWS_LOOKED_AT_MAX: usize = 40_000;
/// Event rows read from disk at once; between two reads others get their turn.
const EVENT_ROWS_PER_READ: usize = 4_000;

pub(super) async fn list(
    reading: &Reading<'_>,
    request: Request<v1::ListRunEventsRequest>,
) -> Result<v1::ListRunEventsResponse, ApiError> {
    let principal = principal(&request)?;
    let request = request.into_inner();
    let live = reading.view().await?;
    let (view, run) = refs::resolve_kept(reading.core(), &live, request.run.as_ref(), |_| Ok(Parts::default()))?;
    let run = &*run;
    authorize(&principal, Action::Read(Some(&run.spec.namespace)))?;
    let only = Only::of(run, &request)?;
    let id = run.id.to_string();
    let after = request.after_revision.to_string();
    let filters = [&*id, &*after, &*request.task, &*format!("{:?}", request.index)];
    let pages = Pages::open(&view, "events", &filters, request.page_size, &request.page_token)?;
    let begin = run.submitted_revision.0.saturating_sub(1).max(request.after_revision);
    let mut place = match &pages.after {
        Some(cursor) => (Revision(cursor.part(0)?), cursor.part(1)?),
        None => (Revision(begin), u32::MAX),
    };

    let replica = &reading.core().replica;
    let archive = replica.archive(&live);
    let archived = match live.run(run.id) {
        Some(_) => None,
        None => archive.run(run.id).map_err(read_error)?,
    };
    // Rows of later revisions may be on disk already; the view knows nothing of them.
    let mut through = view.revision();
    let mut rows = Vec::new();
    let mut looked_at = 0;
    let next_page_token = loop {
        let found = replica.run_events(run.id, place, through, EVENT_ROWS_PER_READ).map_err(read_error)?;
        rows.extend(found.rows.into_iter().filter(|row| only.takes(&row.event)));
        if rows.len() > pages.size() {
            rows.truncate(pages.size());
            break rows.last().map(|last| pages.token(&cursor(place_of(last)))).unwrap_or_default();
        }
        let Some(stopped_at) = found.stopped_at else { break String::new() };
        if looked_at == 0
            && let Some(last) =
                archived.as_ref().map_or_else(|| last_event_at(&view, run), |archived| Some(archived.archived_at))
        {
            through = replica.revision_at(place.0, through, last).map_err(read_error)?;
        }
        looked_at += found.looked_at;
        place = stopped_at;
        if looked_at >= EVENT_ROWS_LOOKED_AT_MAX {
            break pages.token(&cursor(place));
        }
        tokio::task::yield_now().await;
    };
    // What an event does not carry, the rows of its task say: of an archived run they are on disk.
    let mut shown = BTreeMap::new();
    let tasks = rows.iter().filter_map(|row| task_of(&row.event)).collect::<BTreeSet<TaskId>>();
    for (archived, task) in archived.iter().flat_map(|archived| tasks.iter().map(move |task| (archived, *task))) {
        shown.insert(task, archive.shown(&live, archived, &refs::parts_of(task)).map_err(read_error)?);
    }
    let past = |row: &EventRow| {
        let known = task_of(&row.event).and_then(|task| shown.get(&task)).unwrap_or(&view);
        v1::PastEvent { revision: row.revision.0, event: event_to_wire(row, known) }
    };
    Ok(v1::ListRunEventsResponse {
        events: rows.iter().map(past).collect(),
        next_page_token,
        revision: view.revision().0,
        // Asked after everything was read: rows that were gone by then are announced by now.
        kept_from: replica.events_from().0,
    })
}

fn place_of(row: &EventRow) -> EventPlace {
    (row.revision, row.sequence)
}

fn cursor((revision, sequence): EventPlace) -> Cursor {
    Cursor::from([revision.to_string(), sequence.to_string()])
}

/// The instant behind which nothing has happened to a run, by log time; none while anything may.
///
/// What has ended does not move again, so all that can come are annotations, each of which says when.
fn last_event_at(view: &State, run: &Run) -> Option<Millis> {
    let mut last = run.ended_at?;
    for attempt in view.attempts_of_run(run.id) {
        last = last.max(attempt.ended_at?);
    }
    let annotated = view.annotations_of(run.id).map(|annotation| annotation.at).max();
    Some(annotated.map_or(last, |at| at.max(last)))
}

/// Whose events are wanted.
enum Only {
    All,
    Step(u32),
    Task(TaskId),
}

impl Only {
    fn of(run: &Run, request: &v1::ListRunEventsRequest) -> Result<Self, ApiError> {
        match (&*request.task, request.index) {
            ("", None) => Ok(Self::All),
            ("", Some(_)) => Err(violation("index", "goes with a task only")),
            (task, None) => Ok(Self::Step(refs::step(run, task)?)),
            (task, Some(index)) => Ok(Self::Task(TaskId { run: run.id, step: refs::step(run, task)?, index })),
        }
    }

    fn takes(&self, event: &Event) -> bool {
        let about = elements_of(event);
        match self {
            Self::All => true,
            Self::Step(wanted) => about.is_some_and(|(step, _)| step == *wanted),
            Self::Task(wanted) => {
                about.is_some_and(|(step, elements)| step == wanted.step && elements.contains(&wanted.index))
            }
        }
    }
}

/// The task that an event is about, or an attempt of which it is.
fn task_of(event: &Event) -> Option<TaskId> {
    if let Event::TaskMoved { task, .. } = event {
        Some(*task)
    } else if let Event::AttemptMoved { attempt, .. }
    | Event::AttemptPreempted { attempt, .. }
    | Event::AttemptRebalanced { attempt, .. } = event
    {
        Some(attempt.task)
    } else {
        None
    }
}

/// The step that an event is about, if it is about one, and which of its elements.
fn elements_of(event: &Event) -> Option<(u32, Range<u32>)> {
    if let Some(task) = task_of(event) {
        Some((task.step, task.index..task.index.saturating_add(1)))
    } else if let Event::StepDecided { step, .. } = event {
        Some((*step, 0..u32::MAX))
    } else if let Event::RestEnded { step, first, count, .. } = event {
        Some((*step, *first..first.saturating_add(*count)))
    } else {
        None
    }
}
