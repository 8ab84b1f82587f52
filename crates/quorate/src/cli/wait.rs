//! Waiting for a run to end, and the exit code that its end stands for.

use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;

use super::{PAGE_ROWS, reference};
use crate::exit::{Code, Error};

/// Follows the run `id` until it ends; `None` when `timeout` passes first.
pub(crate) async fn to_end(
    client: &Client,
    id: &str,
    timeout: Option<Duration>,
) -> Result<Option<v1::GetRunResponse>, Error> {
    let watched = watch(client, id);
    match timeout {
        None => watched.await?,
        Some(timeout) => match tokio::time::timeout(timeout, watched).await {
            Ok(ended) => ended?,
            Err(_) => return Ok(None),
        },
    }
    Ok(Some(client.get_run(v1::GetRunRequest { run: reference::by_id(id) }).await?))
}

/// Ends when the run has.
async fn watch(client: &Client, id: &str) -> Result<(), Error> {
    let request = v1::WatchRunRequest { run: reference::by_id(id), after_revision: 0 };
    let mut stream = client.watch_run(request);
    while let Some(item) = stream.next().await {
        let state = match item?.item {
            Some(v1::watch_run_response::Item::Snapshot(snapshot)) => snapshot.run.map(|run| run.state),
            Some(v1::watch_run_response::Item::Event(event)) => match event.event {
                Some(v1::run_event::Event::Run(moved)) => Some(moved.state),
                Some(
                    v1::run_event::Event::Task(_)
                    | v1::run_event::Event::Attempt(_)
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
                | None => None,
            },
            Some(v1::watch_run_response::Item::Bookmark(_)) | None => None,
        };
        if state.is_some_and(has_ended) {
            return Ok(());
        }
    }
    Ok(())
}

/// The exit code for the end of a run.
pub(crate) async fn code(client: &Client, run: &v1::Run) -> Result<Code, Error> {
    match run.state() {
        v1::RunState::Succeeded => Ok(Code::Ok),
        v1::RunState::Cancelled => Ok(Code::RunCancelled),
        v1::RunState::Failed if run.timed_out => Ok(Code::RunTimedOut),
        v1::RunState::Failed => failure(client, &run.id).await,
        v1::RunState::Unspecified | v1::RunState::Pending | v1::RunState::Running => Ok(Code::WaitTimedOut),
    }
}

/// A run that failed only because tasks ran out of time has a code of its own.
async fn failure(client: &Client, id: &str) -> Result<Code, Error> {
    let mut timed_out = false;
    let mut page_token = String::new();
    loop {
        let run = reference::by_id(id);
        let request = v1::ListTasksRequest { run, task: String::new(), page_size: PAGE_ROWS, page_token };
        let page = client.list_tasks(request).await?;
        for task in page.tasks.iter().filter(|task| task.state() == v1::TaskState::Failed) {
            if !matches!(task.reason.as_str(), "TIMED_OUT" | "QUEUED" | "SILENT") {
                return Ok(Code::RunFailed);
            }
            timed_out = true;
        }
        if page.next_page_token.is_empty() {
            return Ok(if timed_out { Code::RunTimedOut } else { Code::RunFailed });
        }
        page_token = page.next_page_token;
    }
}

/// True when a task in this state will not move again.
pub(crate) fn task_has_ended(state: v1::TaskState) -> bool {
    match state {
        v1::TaskState::Succeeded | v1::TaskState::Failed | v1::TaskState::Cancelled | v1::TaskState::Skipped => true,
        v1::TaskState::Unspecified
        | v1::TaskState::Waiting
        | v1::TaskState::Ready
        | v1::TaskState::Placed
        | v1::TaskState::Running => false,
    }
}

/// True when a run in this state will not move again.
pub(crate) fn has_ended(state: i32) -> bool {
    match v1::RunState::try_from(state) {
        Ok(v1::RunState::Succeeded | v1::RunState::Failed | v1::RunState::Cancelled) => true,
        Ok(v1::RunState::Unspecified | v1::RunState::Pending | v1::RunState::Running) | Err(_) => false,
    }
}
