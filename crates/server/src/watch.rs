//! What happens to runs, told to those who watch them: in order, without a gap, each once.
//!
//! One task reads each new event row once and hands it to the watches of its run. The argument that
//! nothing is missed or told twice: a watch enters its queue at `from`, the revision up to which
//! rows were handed out before, and from then on gets all rows above it. A view taken after that is
//! at least as new, so "the view, then queued rows above it" is complete; and a watch that resumes
//! reads the rows up to `from` from disk. Rows of one revision follow each other in an order that
//! never changes, so a client that was cut off between two of them resumes below that revision and
//! skips what it has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_planted::Bug;
use quorate_proto::convert::run::{event_to_wire, run_to_wire, step_to_wire, task_to_wire, watched_attempt_to_wire};
use quorate_proto::status::{ApiError, to_status};
use quorate_proto::v1;
use quorate_raft::{Parts, ReadError};
use quorate_state::{AttemptId, Event, EventRow, Revision, Run, RunId, State, TaskId};
use tokio::sync::mpsc;
use tonic::Status;

use crate::core::{Core, read_error};

/// Watches open at once on one replica.
const WATCHES_MAX: usize = 10_000;
/// Revisions that wait for one watch; one that falls further behind is cut off.
const QUEUE_MAX: usize = 1_024;
/// Event rows read from disk at once.
const ROWS_PER_READ: usize = 4_096;
/// Answers that wait for a client's connection.
pub(crate) const ANSWERS_WAITING_MAX: usize = 64;
/// After this long without an event, a bookmark says how far the watch has come, and that it lives;
/// a replica that cannot confirm that it still hears of events ends the watch instead, unless a stale
/// watch was asked for.
const BOOKMARK_EVERY: std::time::Duration = std::time::Duration::from_secs(2);
/// A client that takes nothing for this long is cut off.
const SEND_DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

/// The open watches of a replica.
#[derive(Default)]
pub(crate) struct Watches {
    hub: Mutex<Hub>,
}

#[derive(Default)]
struct Hub {
    /// Rows up to here have been handed out.
    handed_out: Revision,
    next: u64,
    count: usize,
    by_run: BTreeMap<RunId, BTreeMap<u64, mpsc::Sender<Rows>>>,
}

/// All rows of one revision about one run.
type Rows = Arc<Vec<EventRow>>;

/// A watch's place in the hub; it is given up when this is dropped.
struct Queue {
    core: Arc<Core>,
    run: RunId,
    id: u64,
    from: Revision,
    rows: mpsc::Receiver<Rows>,
}

impl Watches {
    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }

    fn enter(core: &Arc<Core>, run: RunId) -> Result<Queue, ApiError> {
        let mut hub = core.watches.lock();
        if hub.count >= WATCHES_MAX {
            return Err(ApiError::Limit {
                limit: "WATCHES_MAX".into(),
                max: WATCHES_MAX as u64,
                advice: "this replica serves no more watches: end some, or poll".into(),
            });
        }
        let (sender, rows) = mpsc::channel(QUEUE_MAX);
        hub.next += 1;
        hub.count += 1;
        let id = hub.next;
        hub.by_run.entry(run).or_default().insert(id, sender);
        Ok(Queue { core: core.clone(), run, id, from: hub.handed_out, rows })
    }

    /// Rows up to here are in the queues of those who watch.
    fn handed_out(&self) -> Revision {
        self.lock().handed_out
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut hub = self.core.watches.lock();
        hub.count = hub.count.saturating_sub(1);
        if let Some(watches) = hub.by_run.get_mut(&self.run) {
            watches.remove(&self.id);
            if watches.is_empty() {
                hub.by_run.remove(&self.run);
            }
        }
    }
}

/// Hands out new rows until the replica stops.
pub(crate) async fn hand_out(core: Arc<Core>) {
    let mut applied = core.replica.applied();
    loop {
        let now = *applied.borrow_and_update();
        advance(&core, now);
        tokio::select! {
            biased;
            () = core.stopping.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

fn advance(core: &Core, applied: Revision) {
    let mut hub = core.watches.lock();
    while hub.handed_out < applied {
        if hub.by_run.is_empty() {
            hub.handed_out = applied;
            return;
        }
        match core.replica.events(hub.handed_out, ROWS_PER_READ) {
            Ok(page) => {
                let stuck = page.through <= hub.handed_out;
                for rows in page.rows.chunk_by(|a, b| a.revision == b.revision) {
                    hub.hand(core, rows);
                }
                hub.handed_out = hub.handed_out.max(page.through);
                if stuck {
                    return;
                }
            }
            Err(error) => {
                // Those who watch resume from where they are, and are told there what is the case.
                tracing::warn!(%error, "event rows cannot be read: all watches are ended");
                hub.by_run.clear();
                hub.handed_out = applied;
                return;
            }
        }
    }
}

impl Hub {
    /// Hands the rows of one revision to those who watch.
    fn hand(&mut self, core: &Core, rows: &[EventRow]) {
        let mut by_run: BTreeMap<RunId, Vec<EventRow>> = BTreeMap::new();
        for row in rows {
            if let Some(run) = row.event.run().filter(|run| self.by_run.contains_key(run)) {
                by_run.entry(run).or_default().push(row.clone());
            }
        }
        for (run, rows) in by_run {
            let rows = Arc::new(rows);
            let Some(watches) = self.by_run.get_mut(&run) else { continue };
            watches.retain(|_, watch| match watch.try_send(rows.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    core.telemetry.cut_off();
                    false
                }
            });
        }
    }
}

/// Where answers of a watch go.
pub(crate) type Answers = mpsc::Sender<Result<v1::WatchRunResponse, Status>>;

/// Follows a run until it has ended and all was told. An error is the last answer.
///
/// Any replica will do: all of them apply the same events, in the same order.
pub(crate) async fn follow(core: Arc<Core>, run: RunId, after: Option<Revision>, stale: bool, answers: Answers) {
    let answers_to = answers.clone();
    let watch = Watch { core: core.clone(), run, stale, answers: answers_to, told: Revision(0), archived: None };
    let following = Box::pin(watch.follow(after));
    let end = tokio::select! {
        biased;
        () = core.stopping.cancelled() => Err(ApiError::Unavailable("this replica is stopping: ask another".into())),
        () = answers.closed() => return,
        end = following => end,
    };
    if let Err(error) = end {
        let _ = tokio::time::timeout(SEND_DEADLINE, answers.send(Err(to_status(&error)))).await;
    }
}

struct Watch {
    core: Arc<Core>,
    run: RunId,
    /// Goes on also when this replica no longer hears what happens.
    stale: bool,
    answers: Answers,
    /// Everything up to here was sent.
    told: Revision,
    /// A state with the run in it, once that is archived.
    archived: Option<Arc<State>>,
}

impl Watch {
    /// A state with the run in it, as it is now, or as it was when it was archived.
    fn view(&mut self) -> Result<Arc<State>, ApiError> {
        if let Some(archived) = &self.archived {
            return Ok(archived.clone());
        }
        let view = self.core.replica.view();
        if view.run(self.run).is_some() {
            return Ok(view);
        }
        let archive = self.core.replica.archive(&view);
        let Some(run) = archive.run(self.run).map_err(read_error)? else { return Ok(view) };
        let shown = Arc::new(archive.shown(&view, &run, &whole(self.run)).map_err(read_error)?);
        self.archived = Some(shown.clone());
        Ok(shown)
    }

    async fn follow(mut self, after: Option<Revision>) -> Result<(), ApiError> {
        let core = self.core.clone();
        let mut queue = match after {
            None => {
                let queue = Watches::enter(&core, self.run)?;
                // Taken after entering, so at least as new as the queue's start.
                let view = self.view()?;
                if self.snapshot(&view).await? {
                    return Ok(());
                }
                queue
            }
            Some(after) => {
                self.told = after;
                if self.catch_up(core.replica.view().revision()).await? {
                    return Ok(());
                }
                let queue = Watches::enter(&core, self.run)?;
                if self.catch_up(queue.from).await? {
                    return Ok(());
                }
                queue
            }
        };
        loop {
            match tokio::time::timeout(BOOKMARK_EVERY, queue.rows.recv()).await {
                Ok(Some(rows)) => {
                    if self.tell(&rows).await? {
                        return Ok(());
                    }
                }
                Ok(None) => return Err(cut_off()),
                Err(_) => {
                    if !self.stale {
                        core.confirm_informed().await?;
                    }
                    // All rows up to here are in the queue; when it is empty, they were sent.
                    let through = core.watches.handed_out();
                    if queue.rows.is_empty() {
                        self.bookmark(through.max(self.told)).await?;
                    }
                }
            }
        }
    }

    /// Sends the run as it stands; true when it has ended.
    async fn snapshot(&mut self, view: &State) -> Result<bool, ApiError> {
        let Some(run) = view.run(self.run) else {
            return Err(ApiError::NotFound { kind: "run".into(), name: self.run.to_string() });
        };
        self.told = view.revision();
        let snapshot = snapshot(view, run);
        self.send(self.told, v1::watch_run_response::Item::Snapshot(snapshot)).await?;
        Ok(run.state.is_terminal())
    }

    /// Sends rows from disk, at least up to `to`; true when the run has ended and all was told.
    async fn catch_up(&mut self, to: Revision) -> Result<bool, ApiError> {
        let ended_at = self.view()?;
        let ended = ended_at.run(self.run).is_some_and(|run| run.state.is_terminal());
        // Of a run that has ended, its end is among the rows up to here, or lies before `after`.
        let to = if ended { to.max(ended_at.revision()) } else { to };
        if quorate_planted::is(Bug::WatchSkipsOnResume) {
            self.told = self.told.max(to);
        }
        while self.told < to {
            let page = self.core.replica.events(self.told, ROWS_PER_READ).map_err(read_error)?;
            let mine: Vec<_> = page.rows.into_iter().filter(|row| row.event.run() == Some(self.run)).collect();
            let revisions: Vec<&[EventRow]> = mine.chunk_by(|a, b| a.revision == b.revision).collect();
            for rows in revisions {
                if self.tell(rows).await? {
                    return Ok(true);
                }
            }
            if page.through <= self.told && !page.more {
                break;
            }
            self.told = self.told.max(page.through);
        }
        // It had ended before what was asked for: nothing follows, so say how it stands.
        if ended { self.snapshot(&ended_at).await } else { Ok(false) }
    }

    /// Sends the rows of one revision, unless they were sent before; true when the run has ended.
    async fn tell(&mut self, rows: &[EventRow]) -> Result<bool, ApiError> {
        let view = self.view()?;
        let (mut ended, told) = (false, self.told);
        for row in rows {
            let told = if quorate_planted::is(Bug::WatchOneRow) { self.told } else { told };
            if row.revision <= told {
                continue;
            }
            ended |= matches!(row.event, Event::RunEnded { .. });
            if let Some(event) = event_to_wire(row, &view) {
                self.send(row.revision, v1::watch_run_response::Item::Event(event)).await?;
            }
            self.told = row.revision;
        }
        Ok(ended)
    }

    async fn bookmark(&mut self, through: Revision) -> Result<(), ApiError> {
        self.told = through;
        self.send(through, v1::watch_run_response::Item::Bookmark(v1::Bookmark {})).await
    }

    async fn send(&self, revision: Revision, item: v1::watch_run_response::Item) -> Result<(), ApiError> {
        let answer = v1::WatchRunResponse { revision: revision.0, item: Some(item) };
        match tokio::time::timeout(SEND_DEADLINE, self.answers.send(Ok(answer))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ApiError::Cancelled("the client is gone".into())),
            Err(_) => Err(cut_off()),
        }
    }
}

/// A run of more tasks and attempts than this is told without them at the beginning of a watch: whoever wants them lists them.
const SNAPSHOT_PARTS_MAX: usize = 100_000;

/// The tasks and attempts of a run, as far as a snapshot tells them.
fn whole(run: RunId) -> Parts {
    let first = TaskId { run, step: 0, index: 0 };
    let end = TaskId { step: u32::MAX, index: u32::MAX, ..first };
    let attempt = |task| AttemptId { task, number: 0 };
    Parts {
        tasks: Some((first..end, SNAPSHOT_PARTS_MAX + 1)),
        attempts: Some((attempt(first)..attempt(end), SNAPSHOT_PARTS_MAX + 1)),
    }
}

/// A run with all its parts, if they are not too many for a message.
fn snapshot(view: &State, run: &Run) -> v1::RunSnapshot {
    let parts = view.tasks_of(run.id).take(SNAPSHOT_PARTS_MAX + 1).count()
        + view.attempts_of_run(run.id).take(SNAPSHOT_PARTS_MAX + 1).count();
    let parts_max = if parts > SNAPSHOT_PARTS_MAX { 0 } else { usize::MAX };
    let steps = (0..run.graph.steps()).filter_map(|step| step_to_wire(run, step, view));
    let tasks = view.tasks_of(run.id).take(parts_max).map(|task| task_to_wire(task, run, view));
    let attempts = view.attempts_of_run(run.id).take(parts_max);
    let attempts = attempts
        .map(|attempt| watched_attempt_to_wire(attempt, &run.spec, view.node(&attempt.node).map(AsRef::as_ref)));
    v1::RunSnapshot {
        run: Some(run_to_wire(run, view)),
        steps: steps.collect(),
        tasks: tasks.collect(),
        attempts: attempts.collect(),
        partial: parts > SNAPSHOT_PARTS_MAX,
    }
}

/// Refuses a revision from which nothing can be resumed.
pub(crate) fn check_resumable(core: &Core, view: &State, after: Revision, stale: bool) -> Result<(), ApiError> {
    if stale && after > view.revision() {
        let why = format!("this replica is at {}, behind {after}: ask another", view.revision());
        return Err(ApiError::Unavailable(why));
    }
    if after > view.revision() {
        let why = format!("{after} is ahead of the cluster, which is at {}: watch from the start", view.revision());
        let violation = quorate_state::Violation { field: "after_revision".into(), message: why };
        return Err(ApiError::Invalid(vec![violation]));
    }
    match core.replica.events(after, 1) {
        Ok(_) => Ok(()),
        Err(error @ ReadError::Compacted { .. }) => Err(read_error(error)),
        Err(error) => Err(read_error(error)),
    }
}

fn cut_off() -> ApiError {
    ApiError::Unavailable(format!(
        "the watch fell more than QUEUE_MAX ({QUEUE_MAX}) revisions behind, or took nothing for {} s, and was cut off: \
         resume it after the last revision received",
        SEND_DEADLINE.as_secs()
    ))
}
