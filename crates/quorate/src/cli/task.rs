//! `quorate task`: questions about one task.

use clap::{Args, Subcommand};
use quorate_client::Client;
use quorate_proto::{ApiError, v1};

use super::reference::{self, TaskArg};
use super::stale::Stale;
use super::{Context, PAGE_ROWS};
use crate::exit::{Code, Error};
use crate::render::attempt::attempt_word;
use crate::render::run::run_word;
use crate::render::task::{TaskReleased, TaskResult, TaskWhy, task_name};

/// `quorate task`.
#[derive(Args, Debug)]
pub(crate) struct Task {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say why a task is not running
    Why {
        /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
        run: String,
        /// The task: name, or name[index]
        task: TaskArg,
        #[command(flatten)]
        stale: Stale,
    },
    /// Let a task run again that is in quarantine, because nodes went away under it
    Release {
        /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
        run: String,
        /// The task: name, or name[index]
        task: TaskArg,
    },
    /// Print what came out of a task, as its process wrote it
    Result {
        /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
        run: String,
        /// The task: name, or name[index]
        task: TaskArg,
        #[command(flatten)]
        stale: Stale,
    },
}

impl Task {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::Why { run, task, stale } => why(context, &run, task, &stale).await,
            Verb::Release { run, task } => release(context, &run, task).await,
            Verb::Result { run, task, stale } => result(context, &run, task, &stale).await,
        }
    }
}

async fn why(context: &Context, run: &str, task: TaskArg, stale: &Stale) -> Result<Code, Error> {
    let client = stale.client(context)?;
    let id = reference::resolve(context, &client, run).await?.run.unwrap_or_default().id;
    let request = v1::ExplainTaskRequest { run: reference::by_id(&id), task: task.name, index: task.index };
    let response = client.explain_task(request).await?;
    context.output.show_read(&TaskWhy::new(&id, response), client.staleness())?;
    Ok(Code::Ok)
}

async fn release(context: &Context, run: &str, task: TaskArg) -> Result<Code, Error> {
    let client = context.client()?;
    let id = reference::resolve(context, &client, run).await?.run.unwrap_or_default().id;
    let (name, index) = (task.name, task.index);
    let request =
        v1::ReleaseTaskRequest { run: reference::by_id(&id), task: name.clone(), index, request_id: String::new() };
    let answer = client.release_task(request).await?;
    context.output.show(&TaskReleased { run_id: answer.run_id, task: name, index, released: answer.released })?;
    Ok(Code::Ok)
}

async fn result(context: &Context, run: &str, task: TaskArg, stale: &Stale) -> Result<Code, Error> {
    let client = stale.client(context)?;
    let response = reference::resolve(context, &client, run).await?;
    let id = response.run.unwrap_or_default().id;
    let step = response.steps.iter().find(|step| step.task == task.name);
    // Those that undo something are called after what they undo, and come when it is their turn.
    let is_known = |step: &v1::Step| {
        let undoes = matches!(step.role, Some(v1::Role { role: Some(v1::role::Role::Undo(_)) }));
        undoes || task.index < step.count
    };
    if step.is_some_and(|step| !is_known(step)) {
        let name = format!("{}[{}] of run {id}", task.name, task.index);
        return Err(quorate_client::Error::Api(ApiError::NotFound { kind: "task".into(), name }).into());
    }
    if step.is_some_and(|step| !step.sub_run.is_empty()) {
        return result_of_run(context, &client, id, task).await;
    }
    let mut newest = None;
    let mut page_token = String::new();
    loop {
        let request = v1::ListAttemptsRequest {
            run: reference::by_id(&id),
            task: task.name.clone(),
            index: Some(task.index),
            page_size: PAGE_ROWS,
            page_token,
        };
        let page = client.list_attempts(request).await?;
        newest = page.attempts.into_iter().next_back().or(newest);
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    let name = task_name(&task.name, task.index, step.is_some_and(|step| step.count > 1));
    let missing = |why: &str| Error::Missing(format!("{name} of run {id} has no result: {why}"));
    let attempt = newest.ok_or_else(|| missing("it was never started"))?;
    let found = TaskResult::new(&attempt).ok_or_else(|| match attempt.ended_at_ms {
        None => missing(&format!("its newest attempt is {}", attempt_word(attempt.state))),
        Some(_) if attempt.state() == v1::AttemptState::Succeeded => missing("it reported none"),
        Some(_) => missing("its newest attempt has not succeeded"),
    })?;
    context.output.show_read(&found, client.staleness())?;
    Ok(Code::Ok)
}

/// What came out of the run that a task is.
async fn result_of_run(context: &Context, client: &Client, id: String, task: TaskArg) -> Result<Code, Error> {
    let request = v1::ExplainTaskRequest { run: reference::by_id(&id), task: task.name, index: task.index };
    let row = client.explain_task(request).await?.task.unwrap_or_default();
    let name = task_name(&row.task, row.index, row.count > 1);
    let missing = |why: &str| Error::Missing(format!("{name} of run {id} has no result: {why}"));
    if row.sub_run.is_empty() {
        return Err(missing("the run that it is has not begun"));
    }
    let request = v1::GetRunRequest { run: reference::by_id(&row.sub_run) };
    let run = client.get_run(request).await?.run.unwrap_or_default();
    let found = TaskResult::of_run(&id, row.clone(), &run).ok_or_else(|| match run.state() {
        v1::RunState::Succeeded => missing(&format!("the job of run {}, which it is, says none", run.id)),
        state => missing(&format!("run {}, which it is, is {}", run.id, run_word(state.into()))),
    })?;
    context.output.show_read(&found, client.staleness())?;
    Ok(Code::Ok)
}
