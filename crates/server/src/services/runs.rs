//! The service Runs: read, list, cancel, annotate and watch runs; read their output; say why a task waits. What they use is in
//! `usage`, why tasks wait in `why`, what happened to them in `events`, and how they are paused and put first in `control`.

use quorate_planted::Bug;
use quorate_proto::convert::preemption::preempted_to_wire;
use quorate_proto::convert::run::{
    annotation_to_wire, attempt_to_wire, child_to_wire, run_to_wire, step_to_wire, task_to_wire,
};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_raft::Parts;
use quorate_state::{
    AnnotationKey, Attempt, AttemptId, Command, JobName, Namespace, Outcome, Reply, Revision, Run, RunId, State, Task,
    TaskId,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::kept::{self, Merged};
use super::page::{Cursor, Pages};
use super::select::Select;
use super::{control, events, logs, name, optional_name, refs, request_key, usage, violation, why};
use crate::auth::{Action, authorize, principal};
use crate::core::{Core, Shared};
use crate::reading::Reading;
use crate::watch;

/// Runs that tasks are, in one answer.
const CHILDREN_PER_ANSWER_MAX: usize = 100;

/// The service Runs of one replica.
pub(crate) struct RunsService(pub(crate) Shared);

#[tonic::async_trait]
impl v1::runs_server::Runs for RunsService {
    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::GetRunResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("GetRun", get(&reading, request)).await
    }

    async fn list_runs(&self, request: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListRuns", list(&reading, request)).await
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListTasks", list_tasks(&reading, request)).await
    }

    async fn list_attempts(
        &self,
        request: Request<v1::ListAttemptsRequest>,
    ) -> Result<Response<v1::ListAttemptsResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListAttempts", list_attempts(&reading, request)).await
    }

    async fn cancel_run(
        &self,
        request: Request<v1::CancelRunRequest>,
    ) -> Result<Response<v1::CancelRunResponse>, Status> {
        self.0.answer("CancelRun", cancel(&self.0, request)).await
    }

    async fn annotate_run(
        &self,
        request: Request<v1::AnnotateRunRequest>,
    ) -> Result<Response<v1::AnnotateRunResponse>, Status> {
        self.0.answer("AnnotateRun", annotate(&self.0, request)).await
    }

    async fn release_task(
        &self,
        request: Request<v1::ReleaseTaskRequest>,
    ) -> Result<Response<v1::ReleaseTaskResponse>, Status> {
        self.0.answer("ReleaseTask", release(&self.0, request)).await
    }

    async fn cancel_runs(
        &self,
        request: Request<v1::CancelRunsRequest>,
    ) -> Result<Response<v1::CancelRunsResponse>, Status> {
        self.0.answer("CancelRuns", control::cancel_all(&self.0, request)).await
    }

    async fn abandon_run(
        &self,
        request: Request<v1::AbandonRunRequest>,
    ) -> Result<Response<v1::AbandonRunResponse>, Status> {
        self.0.answer("AbandonRun", control::abandon(&self.0, request)).await
    }

    async fn pause_run(&self, request: Request<v1::PauseRunRequest>) -> Result<Response<v1::PauseRunResponse>, Status> {
        self.0.answer("PauseRun", control::pause(&self.0, request)).await
    }

    async fn resume_run(
        &self,
        request: Request<v1::ResumeRunRequest>,
    ) -> Result<Response<v1::ResumeRunResponse>, Status> {
        self.0.answer("ResumeRun", control::resume(&self.0, request)).await
    }

    async fn set_run_priority(
        &self,
        request: Request<v1::SetRunPriorityRequest>,
    ) -> Result<Response<v1::SetRunPriorityResponse>, Status> {
        self.0.answer("SetRunPriority", control::set_priority(&self.0, request)).await
    }

    type WatchRunStream = ReceiverStream<Result<v1::WatchRunResponse, Status>>;

    async fn watch_run(&self, request: Request<v1::WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("WatchRun", open_watch(&self.0, &reading, request)).await
    }

    async fn list_run_events(
        &self,
        request: Request<v1::ListRunEventsRequest>,
    ) -> Result<Response<v1::ListRunEventsResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListRunEvents", events::list(&reading, request)).await
    }

    type ReadLogsStream = ReceiverStream<Result<v1::ReadLogsResponse, Status>>;

    async fn read_logs(&self, request: Request<v1::ReadLogsRequest>) -> Result<Response<Self::ReadLogsStream>, Status> {
        self.0.answer("ReadLogs", logs::open(&self.0, request)).await
    }

    async fn get_usage(&self, request: Request<v1::GetUsageRequest>) -> Result<Response<v1::GetUsageResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("GetUsage", usage::get(&reading, request)).await
    }

    async fn explain_task(
        &self,
        request: Request<v1::ExplainTaskRequest>,
    ) -> Result<Response<v1::ExplainTaskResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ExplainTask", why::task(&reading, request)).await
    }

    async fn get_expected_starts(
        &self,
        request: Request<v1::GetExpectedStartsRequest>,
    ) -> Result<Response<v1::GetExpectedStartsResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("GetExpectedStarts", why::starts(&reading, request)).await
    }

    async fn explain_placement(
        &self,
        request: Request<v1::ExplainPlacementRequest>,
    ) -> Result<Response<v1::ExplainPlacementResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ExplainPlacement", why::placement(&reading, request)).await
    }
}

async fn get(reading: &Reading<'_>, request: Request<v1::GetRunRequest>) -> Result<v1::GetRunResponse, ApiError> {
    let principal = principal(&request)?;
    let view = reading.view().await?;
    let reference = request.into_inner().run;
    let (view, run) = refs::resolve_kept(reading.core(), &view, reference.as_ref(), |_| Ok(Parts::default()))?;
    authorize(&principal, Action::Read(Some(&run.spec.namespace)))?;
    let steps = (0..run.graph.steps()).filter_map(|step| step_to_wire(&run, step, &view));
    Ok(v1::GetRunResponse {
        run: Some(run_to_wire(&run, &view)),
        steps: steps.collect(),
        revision: view.revision().0,
        annotations: view.annotations_of(run.id).map(|annotation| annotation_to_wire(annotation)).collect(),
        children: children(&view, &run),
    })
}

async fn list(reading: &Reading<'_>, request: Request<v1::ListRunsRequest>) -> Result<v1::ListRunsResponse, ApiError> {
    let principal = principal(&request)?;
    let request = request.into_inner();
    let namespace: Option<Namespace> = optional_name("namespace", &request.namespace)?;
    let job: Option<JobName> = optional_name("job", &request.job)?;
    authorize(&principal, Action::Read(namespace.as_ref()))?;
    let select = Select::of(&request.states, &request.labels, request.submitted_since_ms, request.submitted_until_ms)?;
    let view = reading.view().await?;
    let filters = [&*request.namespace, &*request.job, &*select.words()];
    let pages = Pages::open(&view, "runs", &filters, request.page_size, &request.page_token)?;
    let after = pages.after.as_ref().map(run_cursor).transpose()?;

    let wanted = |run: &&std::sync::Arc<Run>| {
        namespace.as_ref().is_none_or(|namespace| run.spec.namespace == *namespace)
            && job.as_ref().is_none_or(|job| run.spec.name == *job)
            && select.takes(run.submitted_at, run.state, &run.spec.labels)
    };
    // Several runs may have been submitted at one revision: begin with all of that revision.
    let before = match after {
        Some((revision, ..)) => Some(Revision(revision.0.saturating_add(1))),
        None => select.too_late_from(&view),
    };
    let rest = view.runs_newest_first(before).filter(|run| after.is_none_or(|after| order(run) < after));
    let rest = rest.take_while(|run| select.takes_since(run.submitted_at));
    let (live, stopped) = pages.looked_at(rest, |run| order(run), wanted);
    let live = live.into_iter().map(|run| (order(run), kept::listed(run, view.run_counts(run.id), &view))).collect();
    let kept = kept::list(reading.core(), &view, &select.words_of(namespace, job), after, pages.size())?;
    let found = Merged::of([(live, stopped), kept], pages.size());
    let next_page_token = found.stopped.map(|(revision, item, id)| {
        pages.token(&Cursor::from([revision.to_string(), item.to_string(), id.to_string()]))
    });
    Ok(v1::ListRunsResponse {
        runs: found.runs,
        next_page_token: next_page_token.unwrap_or_default(),
        revision: view.revision().0,
    })
}

/// The newest runs of tasks that are runs, the first ones.
fn children(view: &State, run: &Run) -> Vec<v1::ChildRun> {
    let steps = (0..run.graph.steps()).filter(|step| run.sub_run(*step).is_some());
    let begun = steps.flat_map(|step| view.tasks_of_step(run.id, step)).filter_map(|task| {
        let child = view.sub_run(task)?;
        Some(child_to_wire(run, task, child))
    });
    begun.take(CHILDREN_PER_ANSWER_MAX).collect()
}

/// The submit order.
pub(super) fn order(run: &Run) -> (Revision, u32, RunId) {
    (run.submitted_revision, run.submitted_item, run.id)
}

pub(super) fn run_cursor(cursor: &Cursor) -> Result<(Revision, u32, RunId), ApiError> {
    Ok((Revision(cursor.part(0)?), cursor.part(1)?, cursor.part(2)?))
}

async fn list_tasks(
    reading: &Reading<'_>,
    request: Request<v1::ListTasksRequest>,
) -> Result<v1::ListTasksResponse, ApiError> {
    let principal = principal(&request)?;
    let request = request.into_inner();
    let view = reading.view().await?;
    let page = |run: &Run| {
        let only = if request.task.is_empty() { None } else { Some(refs::step(run, &request.task)?) };
        let filters = [&*run.id.to_string(), &*request.task];
        let pages = Pages::open(&view, "tasks", &filters, request.page_size, &request.page_token)?;
        let after = pages.after.as_ref().map(|cursor| task_cursor(run.id, cursor)).transpose()?;
        Ok::<_, ApiError>((pages, only, after))
    };
    let parts = |run: &Run| {
        let (pages, only, after) = page(run)?;
        // From where the last page ended, or where the first that is asked for can be, to where the last one can.
        let of_step = |step: u32| TaskId { run: run.id, step, index: 0 };
        let after = after.map(|after| TaskId { index: after.index.saturating_add(1), ..after });
        let first = after.max(only.map(of_step)).unwrap_or_else(|| of_step(0));
        let end = only.map_or_else(|| run.graph.steps(), |only| only.saturating_add(1));
        Ok(Parts { tasks: Some((first..of_step(end), pages.size() + 1)), attempts: None })
    };
    let (shown, run) = refs::resolve_kept(reading.core(), &view, request.run.as_ref(), parts)?;
    authorize(&principal, Action::Read(Some(&run.spec.namespace)))?;
    let (pages, only, after) = page(&run)?;
    let rest = tasks_after(&shown, &run, only, after);
    let cursor = |task: &std::sync::Arc<Task>| Cursor::from([task.id.step.to_string(), task.id.index.to_string()]);
    let (page, next_page_token) = pages.take(rest, cursor);
    let tasks = page.iter().map(|task| task_to_wire(task, &run, &shown));
    Ok(v1::ListTasksResponse { tasks: tasks.collect(), next_page_token, revision: view.revision().0 })
}

/// Tasks of a run, or of one of its steps, after a given one.
fn tasks_after<'a>(
    view: &'a State,
    run: &'a Run,
    only: Option<u32>,
    after: Option<TaskId>,
) -> impl Iterator<Item = std::sync::Arc<Task>> {
    let first = only.unwrap_or_else(|| after.map_or(0, |after| after.step));
    let last = only.map_or_else(|| run.graph.steps(), |only| only + 1);
    let from = move |step: u32| match after {
        Some(after) if after.step == step => after.index.saturating_add(1),
        Some(after) if after.step > step => u32::MAX,
        Some(_) | None => 0,
    };
    (first..last).flat_map(move |step| view.elements_from(run.id, step, from(step)))
}

fn task_cursor(run: RunId, cursor: &Cursor) -> Result<TaskId, ApiError> {
    Ok(TaskId { run, step: cursor.part(0)?, index: cursor.part(1)? })
}

async fn list_attempts(
    reading: &Reading<'_>,
    request: Request<v1::ListAttemptsRequest>,
) -> Result<v1::ListAttemptsResponse, ApiError> {
    let principal = principal(&request)?;
    let request = request.into_inner();
    if request.task.is_empty() && request.index.is_some() {
        return Err(violation("index", "goes with a task only"));
    }
    let view = reading.view().await?;
    let page = |run: &Run| {
        let only = if request.task.is_empty() { None } else { Some(refs::step(run, &request.task)?) };
        let filters = [&*run.id.to_string(), &*request.task, &*format!("{:?}", request.index)];
        let pages = Pages::open(&view, "attempts", &filters, request.page_size, &request.page_token)?;
        let after = pages.after.as_ref().map(|cursor| attempt_cursor(run.id, cursor)).transpose()?;
        // From where the last page ended, or where the first that is asked for can be.
        let first = only.map(|step| AttemptId {
            task: TaskId { run: run.id, step, index: request.index.unwrap_or_default() },
            number: 0,
        });
        Ok::<_, ApiError>((pages, only, after.max(first)))
    };
    let parts = |run: &Run| {
        let (pages, only, after) = page(run)?;
        let of_task = |step: u32, index: u32| AttemptId { task: TaskId { run: run.id, step, index }, number: 0 };
        let end = match (only, request.index) {
            (Some(step), Some(index)) => of_task(step, index.saturating_add(1)),
            (Some(step), None) => of_task(step.saturating_add(1), 0),
            (None, _) => of_task(u32::MAX, u32::MAX),
        };
        let attempts = Some((after.unwrap_or_else(|| of_task(0, 0))..end, pages.size() + 2));
        Ok(Parts { tasks: None, attempts })
    };
    let (shown, run) = refs::resolve_kept(reading.core(), &view, request.run.as_ref(), parts)?;
    authorize(&principal, Action::Read(Some(&run.spec.namespace)))?;
    let (pages, only, after) = page(&run)?;
    // To where the last one can be.
    let attempts = shown.attempts_of_run_after(run.id, after);
    let attempts = attempts.take_while(|attempt| only.is_none_or(|step| attempt.id.task.step == step));
    let attempts = attempts.take_while(|attempt| request.index.is_none_or(|index| attempt.id.task.index == index));
    let cursor = |attempt: &&std::sync::Arc<Attempt>| {
        let AttemptId { task, number } = attempt.id;
        Cursor::from([task.step.to_string(), task.index.to_string(), number.to_string()])
    };
    let said_bytes = |attempt: &&std::sync::Arc<Attempt>| {
        let result = match attempt.outcome.as_deref() {
            Some(Outcome::Result(result)) => result.len(),
            Some(Outcome::Error(_)) | None => 0,
        };
        result + attempt.payloads.as_ref().map_or(0, |payloads| payloads.bytes())
    };
    let (page, next_page_token) = pages.take_weighed(attempts, cursor, said_bytes);
    let attempts = page.into_iter().map(|attempt| v1::Attempt {
        preempted_by: attempt.preempted.map(|preempted| preempted_to_wire(preempted, &run.spec.namespace, &view)),
        ..attempt_to_wire(attempt, &run.spec, view.node(&attempt.node).map(AsRef::as_ref))
    });
    Ok(v1::ListAttemptsResponse { attempts: attempts.collect(), next_page_token, revision: view.revision().0 })
}

fn attempt_cursor(run: RunId, cursor: &Cursor) -> Result<AttemptId, ApiError> {
    Ok(AttemptId { task: task_cursor(run, cursor)?, number: cursor.part(2)? })
}

pub(super) async fn cancel(
    core: &Shared,
    request: Request<v1::CancelRunRequest>,
) -> Result<v1::CancelRunResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::CancelRunRequest { run, request_id } = request.into_inner();
    let view = core.read().await?;
    let (_, run) = refs::resolve_kept(core, &view, run.as_ref(), |_| Ok(Parts::default()))?;
    let namespace = run.spec.namespace.clone();
    authorize(&principal, Action::Cancel(&namespace))?;
    let key = request_key("CancelRun", &request_id, Some(namespace), &run.id.0.to_be_bytes())?;
    if quorate_planted::is(Bug::CancelAckedEarly) {
        let (core, run, ended_before) = (core.clone(), run.id, run.state.is_terminal());
        let answer = v1::CancelRunResponse { run_id: run.to_string(), ended_before, revision: view.revision().0 };
        tokio::spawn(async move { core.propose(principal, key, Command::CancelRun { run }).await });
        return Ok(answer);
    }
    match core.propose(principal.clone(), key, Command::CancelRun { run: run.id }).await {
        Ok(Reply::Cancelling { ended_before, revision }) => {
            tracing::info!(run = %run.id, %principal, ended_before, "run cancelled");
            Ok(v1::CancelRunResponse { run_id: run.id.to_string(), ended_before, revision: revision.0 })
        }
        // It had ended, long ago or just now.
        Err(error) if refs::says_archived(&error) => {
            let revision = core.replica.view().revision().0;
            Ok(v1::CancelRunResponse { run_id: run.id.to_string(), ended_before: true, revision })
        }
        Err(error) => Err(error),
        Ok(other) => Err(core.internal(&format!("a cancel was answered with {other:?}"))),
    }
}

pub(super) async fn annotate(
    core: &Core,
    request: Request<v1::AnnotateRunRequest>,
) -> Result<v1::AnnotateRunResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::AnnotateRunRequest { run, key, value, request_id } = request.into_inner();
    let key: AnnotationKey = name("key", &key)?;
    let (run, namespace) = refs::resolve_fixed(core, run.as_ref()).await?;
    authorize(&principal, Action::Annotate(&namespace))?;
    core.admit_new_work()?;
    let mut body = run.0.to_be_bytes().to_vec();
    // No key contains the byte that ends it.
    body.extend(key.as_str().bytes().chain([0]).chain(value.bytes()));
    let request = request_key("AnnotateRun", &request_id, Some(namespace), &body)?;
    let command = Command::AnnotateRun { run, key, value: value.into() };
    match core.propose(principal, request, command).await? {
        Reply::Annotated { revision } => Ok(v1::AnnotateRunResponse { run_id: run.to_string(), revision: revision.0 }),
        other => Err(core.internal(&format!("an annotation was answered with {other:?}"))),
    }
}

async fn release(core: &Core, request: Request<v1::ReleaseTaskRequest>) -> Result<v1::ReleaseTaskResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::ReleaseTaskRequest { run, task: name, index, request_id } = request.into_inner();
    let view = core.read().await?;
    let run = refs::resolve_live(core, &view, run.as_ref())?;
    let (id, namespace) = (run.id, run.spec.namespace.clone());
    authorize(&principal, Action::ReleaseTask(&namespace))?;
    let task = refs::task(&view, run, &name, index)?;
    let body = [&id.0.to_be_bytes()[..], &task.step.to_be_bytes()[..], &task.index.to_be_bytes()[..]].concat();
    let key = request_key("ReleaseTask", &request_id, Some(namespace), &body)?;
    match core.propose(principal.clone(), key, Command::ReleaseTask { task }).await? {
        Reply::Counted(count) => {
            tracing::info!(run = %id, task = name, index, %principal, released = count > 0, "task released");
            Ok(v1::ReleaseTaskResponse { run_id: id.to_string(), released: count > 0 })
        }
        other => Err(core.internal(&format!("a release was answered with {other:?}"))),
    }
}

async fn open_watch(
    core: &Shared,
    reading: &Reading<'_>,
    request: Request<v1::WatchRunRequest>,
) -> Result<ReceiverStream<Result<v1::WatchRunResponse, Status>>, ApiError> {
    let principal = principal(&request)?;
    let request = request.into_inner();
    let view = reading.view().await?;
    let (_, run) = refs::resolve_kept(core, &view, request.run.as_ref(), |_| Ok(Parts::default()))?;
    authorize(&principal, Action::Read(Some(&run.spec.namespace)))?;
    let after = (request.after_revision > 0).then_some(Revision(request.after_revision));
    if let Some(after) = after {
        watch::check_resumable(core, &view, after, reading.is_stale())?;
    }
    let (answers, stream) = mpsc::channel(watch::ANSWERS_WAITING_MAX);
    tokio::spawn(watch::follow(core.clone(), run.id, after, reading.is_stale(), answers));
    Ok(ReceiverStream::new(stream))
}
