//! Output of an attempt, fetched from its agent piece by piece as the client takes it: neither this
//! replica nor the log ever holds more than two pieces of it. `streams` counts who reads.

mod streams;

pub(crate) use streams::LogStreams;

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::convert::agent::attempt_ref_to_wire;
use quorate_proto::status::{ApiError, to_status};
use quorate_proto::v1;
use quorate_state::{AttemptId, NodeName, Run, State, TaskId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::{refs, violation};
use crate::auth::{Action, authorize, principal};
use crate::core::{Core, Shared};
use crate::sessions::LOG_CHUNK_BYTES_MAX;

/// Pieces that wait for the client: the next one is fetched while the last is on its way.
const PIECES_WAITING_MAX: usize = 1;
/// How long an agent waits for output when there is none yet.
const WAIT: Duration = Duration::from_secs(2);
/// While an attempt has yet to start, this replica confirms so often that it would hear of it.
const CONFIRM_EVERY: Duration = Duration::from_secs(2);
/// Pause before an agent that has nothing to read yet, or no time, is asked again.
const NOT_YET_PAUSE: Duration = Duration::from_millis(100);
/// An agent that has too many readers is asked so often in a row.
const BUSY_TRIES_MAX: u32 = 50;
/// A client that takes nothing for this long is given up.
const SEND_DEADLINE: Duration = Duration::from_secs(60);

type Pieces = mpsc::Sender<Result<v1::ReadLogsResponse, Status>>;

/// Begins to read.
pub(crate) async fn open(
    core: &Shared,
    request: Request<v1::ReadLogsRequest>,
) -> Result<ReceiverStream<Result<v1::ReadLogsResponse, Status>>, ApiError> {
    let principal = principal(&request)?;
    let request = request.into_inner();
    let stream = match request.stream() {
        v1::LogStream::Unspecified => return Err(violation("stream", "is missing: stdout or stderr")),
        stream @ (v1::LogStream::Stdout | v1::LogStream::Stderr) => stream,
    };
    let view = core.read().await?;
    let of_task = |run: &Run| {
        let step = refs::step(run, &request.task)?;
        Ok(refs::parts_of(TaskId { run: run.id, step, index: request.index }))
    };
    let (view, run) = refs::resolve_kept(core, &view, request.run.as_ref(), of_task)?;
    authorize(&principal, Action::ReadLogs(&run.spec.namespace))?;
    let task = refs::task(&view, &run, &request.task, request.index)?;
    let found = find(&view, task, request.attempt);
    if found.is_none() && !(request.follow && is_next(&view, task, request.attempt) && may_start(&view, &run, task)) {
        return Err(no_attempt(&request));
    }
    if request.offset > 0 && (request.tail_lines.is_some() || request.since_ms.is_some()) {
        return Err(violation("offset", "is a place of its own: leave out tail_lines and since_ms"));
    }
    let term = core.leading().ok_or_else(|| core.not_leader())?;
    let (pieces, receiver) = mpsc::channel(PIECES_WAITING_MAX);
    let reader = Reader { core: core.clone(), request, stream, task, found, pieces };
    tokio::spawn(reader.read(term));
    Ok(ReceiverStream::new(receiver))
}

struct Reader {
    core: Arc<Core>,
    request: v1::ReadLogsRequest,
    stream: v1::LogStream,
    task: TaskId,
    /// The attempt, if it was there when the read began.
    found: Option<(AttemptId, NodeName)>,
    pieces: Pieces,
}

impl Reader {
    async fn read(self, term: u64) {
        let reading = Box::pin(self.pieces());
        let end = tokio::select! {
            biased;
            () = self.core.deposed(term) => Err(self.core.not_leader()),
            () = self.pieces.closed() => return,
            end = reading => end,
        };
        if let Err(error) = end {
            let _ = tokio::time::timeout(SEND_DEADLINE, self.pieces.send(Err(to_status(&error)))).await;
        }
    }

    async fn pieces(&self) -> Result<(), ApiError> {
        let mut reading = self.core.log_streams.enter()?;
        let Some((attempt, node)) = self.attempt().await? else { return Ok(()) };
        reading.of(&node)?;
        let mut offset = self.request.offset;
        // The client knows which attempt it reads, and from where on.
        let mut placed = false;
        // Known before the read that is under way: nothing more is written.
        let mut gone = false;
        let mut busy = 0;
        loop {
            let wait = if self.request.follow && placed && !gone { WAIT } else { Duration::ZERO };
            let request = v1::LogRequest {
                id: 0,
                attempt: Some(attempt_ref_to_wire(attempt)),
                stream: self.stream.into(),
                offset,
                bytes_max: LOG_CHUNK_BYTES_MAX,
                wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
                tail_lines: self.request.tail_lines.filter(|_| !placed),
                since_ms: self.request.since_ms.filter(|_| !placed),
            };
            let asks_for_place = request.tail_lines.is_some() || request.since_ms.is_some();
            let chunk = match self.core.sessions.read_log(&node, request).await {
                Ok(chunk) => chunk,
                // Its agent is on its way to this leader; if it never comes, the attempt will be lost.
                Err(ApiError::Precondition { .. }) if self.request.follow && self.is_live(attempt) => {
                    tokio::time::sleep(NOT_YET_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !chunk.error.is_empty() {
                let is_busy = word(&chunk.error) == "BUSY";
                busy = if is_busy { busy + 1 } else { 0 };
                // It may be on its way to the agent still.
                let not_yet = !is_busy && self.request.follow && self.is_live(attempt);
                if not_yet || (is_busy && busy < BUSY_TRIES_MAX) {
                    tokio::time::sleep(NOT_YET_PAUSE).await;
                    continue;
                }
                return Err(unreadable(attempt, &node, &chunk.error));
            }
            busy = 0;
            if asks_for_place && !chunk.placed {
                let why = format!("the agent of node {node} is older and knows neither tail_lines nor since_ms");
                return Err(ApiError::Unsupported(why));
            }
            let length = chunk.data.len() as u64;
            // The beginning may not be kept any more; a piece never goes back.
            offset = offset.max(chunk.offset);
            if length > 0 || !placed {
                placed = true;
                let piece = v1::ReadLogsResponse { offset, data: chunk.data, attempt: attempt.number };
                match tokio::time::timeout(SEND_DEADLINE, self.pieces.send(Ok(piece))).await {
                    Ok(Ok(())) => offset = offset.saturating_add(length),
                    Ok(Err(_)) => return Ok(()),
                    Err(_) => return Err(ApiError::DeadlineExceeded("the client takes no output".into())),
                }
            }
            if chunk.end || (length == 0 && (gone || !self.request.follow)) {
                return Ok(());
            }
            // An attempt that was lost with its node has no end that its agent could tell. What it wrote
            // between the last read and its end is fetched by one read more.
            if length == 0 && !self.is_live(attempt) {
                tokio::time::sleep(NOT_YET_PAUSE).await;
                gone = self.is_gone(attempt);
            }
        }
    }

    /// The attempt to read, waiting for the next one of a task that has yet to start it; none when it
    /// never will.
    async fn attempt(&self) -> Result<Option<(AttemptId, NodeName)>, ApiError> {
        if let Some(found) = &self.found {
            return Ok(Some(found.clone()));
        }
        let mut applied = self.core.replica.applied();
        loop {
            applied.borrow_and_update();
            let view = self.core.replica.view();
            if let Some(found) = find(&view, self.task, self.request.attempt) {
                return Ok(Some(found));
            }
            let waits =
                self.request.follow && view.run(self.task.run).is_some_and(|run| may_start(&view, run, self.task));
            if !waits {
                return Ok(None);
            }
            match tokio::time::timeout(CONFIRM_EVERY, applied.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(None),
                Err(_) => self.core.confirm_leading().await?,
            }
        }
    }

    fn is_live(&self, attempt: AttemptId) -> bool {
        self.core.replica.view().attempt(attempt).is_some_and(|attempt| !attempt.state.is_terminal())
    }

    fn is_gone(&self, attempt: AttemptId) -> bool {
        self.core.replica.view().attempt(attempt).is_none_or(|attempt| attempt.gone)
    }
}

/// The attempt with this number, or the newest when it is zero, and its node.
fn find(view: &State, task: TaskId, number: u32) -> Option<(AttemptId, NodeName)> {
    let id = match number {
        0 => view.task(task)?.newest_attempt()?,
        number => AttemptId { task, number },
    };
    view.attempt(id).map(|attempt| (id, attempt.node.clone()))
}

/// True when an attempt of this number would be the next one of its task; zero stands for whichever comes.
fn is_next(view: &State, task: TaskId, number: u32) -> bool {
    let newest = view.task(task).and_then(|task| task.newest_attempt()).map_or(0, |newest| newest.number);
    number == 0 || number == newest + 1
}

fn may_start(view: &State, run: &Run, task: TaskId) -> bool {
    !run.state.is_terminal() && view.task(task).is_some_and(|task| !task.state.is_terminal())
}

fn no_attempt(request: &v1::ReadLogsRequest) -> ApiError {
    let number = if request.attempt == 0 { "newest".to_owned() } else { request.attempt.to_string() };
    refs::absent("attempt", &format!("{number} of task {}[{}]", request.task, request.index))
}

fn unreadable(attempt: AttemptId, node: &NodeName, error: &str) -> ApiError {
    let number = attempt.number;
    match word(error) {
        "BUSY" => ApiError::Overloaded {
            limit: "READS_MAX".into(),
            max: 0,
            advice: format!("too many readers of node {node}: try again later, or end some"),
        },
        "UNKNOWN_ATTEMPT" | "NO_LOGS" => {
            refs::absent("output", &format!("of attempt {number} on node {node} ({error})"))
        }
        _ => ApiError::Unavailable(format!("node {node} cannot read the output of attempt {number}: {error}")),
    }
}

/// The word for machines that an agent's error begins with.
fn word(error: &str) -> &str {
    error.split(':').next().unwrap_or_default()
}
