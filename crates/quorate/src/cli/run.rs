//! `quorate run`: look at runs, wait for them, cancel them, pause them and put them first, leave a word at them, read
//! their output.

mod control;
mod events;
mod logs;
mod restart;
mod timeline;

use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_client::Client;
use quorate_proto::{ApiError, v1};

use super::reference;
use super::select::Select;
use super::stale::Stale;
use super::{Context, PAGE_ROWS, wait};
use crate::exit::{Code, Error};
use crate::render::attempt::AttemptList;
use crate::render::canvas::Canvas;
use crate::render::control::{RunAbandoned, RunsCancelled};
use crate::render::run::{Drawing, RunAnnotated, RunCancelled, RunList, RunStatus, run_word};
use crate::settings;
use control::{Pause, Priority, Resume};
use events::ReadEvents;
use logs::ReadLogs;
use restart::Restart;
use timeline::ShowTimeline;

/// `quorate run`.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List runs, newest first
    List(List),
    /// Show where a run and its tasks stand
    #[command(visible_alias = "show")]
    Status(Status),
    /// End a run, or all that fit: nothing of them is placed any more, what runs is stopped
    Cancel(Cancel),
    /// Place nothing more of a run until it is resumed; what runs goes on
    Pause(Pause),
    /// End a pause: tasks are placed again, and have kept their place in the queue
    Resume(Resume),
    /// Put a run elsewhere in the queue, whatever its job's priority; what runs goes on
    Priority(Priority),
    /// Try a run that has ended again: what succeeded is kept
    Restart(Restart),
    /// Leave a word at a run, also at one that has ended; it decides nothing
    Annotate(Annotate),
    /// Print what has happened to a run, an event per line
    Events(ReadEvents),
    /// Draw when a run's attempts were queued, placed, running and over
    Timeline(ShowTimeline),
    /// Print what a task wrote, or all tasks of a run
    Logs(ReadLogs),
    /// Wait until a run has ended; the exit code says how
    Wait(Wait),
}

/// What `run list --help` ends with.
const LIST_EXAMPLES: &str = "\
Examples:
  quorate run list --state failed --since 24h     what failed since yesterday
  quorate run list -l team=risk -l tier -A        runs of jobs with these labels, in all namespaces
  quorate run list --job nightly --limit 5        the last five runs of a job
  quorate run list --since 2026-11-21T00:00:00Z --until 2026-11-22T00:00:00Z --json";

#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// Only runs of this job
    #[arg(long)]
    job: Option<String>,
    #[command(flatten)]
    select: Select,
    /// Show at most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Runs of all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    #[command(flatten)]
    stale: Stale,
}

#[derive(Args, Debug)]
struct Status {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    run: String,
    /// Show every attempt instead of the steps
    #[arg(long)]
    attempts: bool,
    /// Show what every attempt uses, or has used, instead of the steps
    #[arg(long, conflicts_with = "attempts")]
    usage: bool,
    /// Draw which step needs which beside them: what failed and what is not finished, if there is no room for all
    #[arg(long, conflicts_with_all = ["attempts", "usage"])]
    graph: bool,
    /// With --graph: show at most this many steps
    #[arg(long, default_value_t = 50, requires = "graph", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    stale: Stale,
}

/// What `run cancel --help` ends with.
const CANCEL_EXAMPLES: &str = "\
Examples:
  quorate run cancel nightly                          the latest run of a job
  quorate run cancel nightly --all                    the same; nothing is undone, and nothing comes at its end
  quorate run cancel -l team=risk --dry-run           what would be cancelled
  quorate run cancel -l team=risk --state pending -A  in all namespaces, what has not begun";

#[derive(Args, Debug)]
#[command(after_help = CANCEL_EXAMPLES)]
struct Cancel {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    #[arg(required_unless_present_any = ["job", "state", "labels", "since", "until"])]
    run: Option<String>,
    /// All runs of this job that have not ended
    #[arg(long, conflicts_with = "run")]
    job: Option<String>,
    #[command(flatten)]
    select: Select,
    /// Runs of all namespaces
    #[arg(long, short = 'A', conflicts_with = "run")]
    all_namespaces: bool,
    /// Say which runs fit, and cancel nothing
    #[arg(long, conflicts_with = "run")]
    dry_run: bool,
    /// End all of it: nothing is undone, and what comes at its end in any case (finally) does not
    #[arg(long, requires = "run", conflicts_with_all = ["job", "state", "labels", "since", "until"])]
    all: bool,
}

#[derive(Args, Debug)]
struct Annotate {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    run: String,
    /// What to write down: a value replaces the one that the key had
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
    annotations: Vec<(String, String)>,
}

#[derive(Args, Debug)]
struct Wait {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    run: String,
    /// Give up after this time, such as 10m, with exit code 7; the run goes on
    #[arg(long, value_name = "TIME", value_parser = settings::timeout)]
    timeout: Option<Duration>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no '=': write KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Run {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::List(list) => list.execute(context).await,
            Verb::Status(status) => status.execute(context).await,
            Verb::Cancel(cancel) => cancel.execute(context).await,
            Verb::Pause(pause) => pause.execute(context).await,
            Verb::Resume(resume) => resume.execute(context).await,
            Verb::Priority(priority) => priority.execute(context).await,
            Verb::Restart(restart) => restart.execute(context).await,
            Verb::Annotate(annotate) => annotate.execute(context).await,
            Verb::Events(events) => events.execute(context).await,
            Verb::Timeline(timeline) => timeline.execute(context).await,
            Verb::Logs(logs) => logs.execute(context).await,
            Verb::Wait(wait) => wait.execute(context).await,
        }
    }
}

impl List {
    async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = self.stale.client(context)?;
        let namespace = if self.all_namespaces { String::new() } else { context.connection()?.namespace.to_string() };
        let selected = self.select.selected();
        let mut list = RunList { runs: Vec::new(), revision: 0, more: false, next_page_token: None };
        let mut page_token = self.select.page_token.clone();
        loop {
            let room = self.limit.saturating_sub(u32::try_from(list.runs.len()).unwrap_or(u32::MAX));
            let request = v1::ListRunsRequest {
                namespace: namespace.clone(),
                job: self.job.clone().unwrap_or_default(),
                states: selected.states.clone(),
                page_size: room.min(PAGE_ROWS),
                page_token,
                labels: selected.labels.clone(),
                submitted_since_ms: selected.since_ms,
                submitted_until_ms: selected.until_ms,
            };
            let page = client.list_runs(request).await?;
            list.revision = page.revision;
            list.runs.extend(page.runs.into_iter().map(Into::into));
            page_token = page.next_page_token;
            list.more = !page_token.is_empty();
            if !list.more || list.runs.len() >= self.limit as usize {
                break;
            }
        }
        list.next_page_token = Some(page_token).filter(|token| !token.is_empty());
        context.output.show_read(&list, client.staleness())?;
        if list.more {
            context.output.hint("there are more: raise --limit, or narrow it down with --state, -l or --since");
        }
        Ok(Code::Ok)
    }
}

impl Status {
    async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = self.stale.client(context)?;
        let response = reference::resolve(context, &client, &self.run).await?;
        let run = response.run.clone().unwrap_or_default();
        let usage = if wait::has_ended(run.state) { None } else { usage(context, &client, &run.id).await };
        let usage = usage.unwrap_or_default();
        if self.attempts || self.usage {
            let (attempts, revision) = all_attempts(&client, &run.id).await?;
            let attempts = attempts.into_iter().map(Into::into).collect();
            let mut list = AttemptList { run: run.into(), attempts, revision, of_usage: self.usage };
            list.take(usage.attempts);
            context.output.show_read(&list, client.staleness())?;
            return Ok(Code::Ok);
        }
        let waits_for_room = !wait::has_ended(run.state) && run.counts.is_some_and(|counts| counts.ready > 0);
        let starts = if waits_for_room { expected_starts(context, &client, &run.id).await } else { Vec::new() };
        let mut status = RunStatus::from(response);
        status.take(usage.steps);
        status.expect(starts);
        status.drawing = self.graph.then(|| Drawing { canvas: Canvas::of_stdout(), steps_max: self.limit as usize });
        context.output.show_read(&status, client.staleness())?;
        if !wait::has_ended(run.state) {
            context.output.hint(&format!("ask why a task waits with 'quorate task why {} TASK'", run.id));
        }
        Ok(Code::Ok)
    }
}

impl Cancel {
    async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = context.client()?;
        let Some(run) = &self.run else { return self.all_that_fit(context, &client).await };
        let id = reference::resolve(context, &client, run).await?.run.unwrap_or_default().id;
        if self.all {
            let request = v1::AbandonRunRequest { run: reference::by_id(&id), request_id: String::new() };
            let answer = client.abandon_run(request).await;
            let answer = answer.map_err(|error| Error::of_older(error, "how to end all of a run"))?;
            context.output.show(&RunAbandoned::from(answer))?;
            return Ok(Code::Ok);
        }
        let request = v1::CancelRunRequest { run: reference::by_id(&id), request_id: String::new() };
        let cancelled = client.cancel_run(request).await?;
        let running = !cancelled.ended_before;
        context.output.show(&RunCancelled::from(cancelled))?;
        if running {
            context.output.hint(&format!("what still runs is being stopped: 'quorate run wait {id}'"));
        }
        Ok(Code::Ok)
    }
}

impl Cancel {
    /// Page by page: what was cancelled before an error stays so, and the same command goes on.
    async fn all_that_fit(&self, context: &Context, client: &Client) -> Result<Code, Error> {
        let namespace = if self.all_namespaces { String::new() } else { context.connection()?.namespace.to_string() };
        let selected = self.select.selected();
        let mut all = RunsCancelled { dry_run: self.dry_run, run_ids: Vec::new(), cancelled: 0 };
        let mut page_token = self.select.page_token.clone();
        loop {
            let request = v1::CancelRunsRequest {
                namespace: namespace.clone(),
                job: self.job.clone().unwrap_or_default(),
                states: selected.states.clone(),
                labels: selected.labels.clone(),
                submitted_since_ms: selected.since_ms,
                submitted_until_ms: selected.until_ms,
                dry_run: self.dry_run,
                page_token,
                request_id: String::new(),
            };
            let page = client.cancel_runs(request).await?;
            all.run_ids.extend(page.run_ids);
            all.cancelled += page.cancelled;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        context.output.show(&all)?;
        Ok(Code::Ok)
    }
}

impl Annotate {
    async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = context.client()?;
        let id = reference::resolve(context, &client, &self.run).await?.run.unwrap_or_default().id;
        let mut revision = 0;
        // One request each: when a later one is refused, the error says which, and the earlier ones stand.
        for (key, value) in &self.annotations {
            let (key, value) = (key.clone(), value.clone());
            let request = v1::AnnotateRunRequest { run: reference::by_id(&id), key, value, request_id: String::new() };
            revision = client.annotate_run(request).await?.revision;
        }
        let keys = self.annotations.into_iter().map(|(key, _)| key).collect();
        context.output.show(&RunAnnotated { run_id: id, keys, revision })?;
        Ok(Code::Ok)
    }
}

impl Wait {
    async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = context.client()?;
        let response = reference::resolve(context, &client, &self.run).await?;
        let id = response.run.clone().unwrap_or_default().id;
        let client = context.patient_client()?;
        match wait::to_end(&client, &id, self.timeout).await? {
            Some(ended) => {
                let run = ended.run.clone().unwrap_or_default();
                let code = wait::code(&client, &run).await?;
                context.output.show(&RunStatus::from(ended))?;
                if code != Code::Ok {
                    context.output.hint(&format!("see what happened with 'quorate run events {id}'"));
                }
                Ok(code)
            }
            None => {
                let now = client.get_run(v1::GetRunRequest { run: reference::by_id(&id) }).await?;
                let state = run_word(now.run.as_ref().map_or(0, |run| run.state));
                context.output.show(&RunStatus::from(now))?;
                context.output.note(&format!("run {id} is still {state} after the timeout; it goes on"));
                Ok(Code::WaitTimedOut)
            }
        }
    }
}

/// What a run's attempts use, if it can be told: what else there is to show does not depend on it.
async fn usage(context: &Context, client: &Client, id: &str) -> Option<v1::GetUsageResponse> {
    match client.get_usage(v1::GetUsageRequest { run: reference::by_id(id) }).await {
        Ok(usage) => Some(usage),
        // A replica of a version that does not know it yet.
        Err(quorate_client::Error::Api(ApiError::Unsupported(_))) => None,
        Err(error) => {
            context.output.note(&format!("what its attempts use is not known: {error}"));
            None
        }
    }
}

/// When its tasks that wait for room begin at the latest, if it can be told.
async fn expected_starts(context: &Context, client: &Client, id: &str) -> Vec<v1::TaskExpectedStart> {
    match client.get_expected_starts(v1::GetExpectedStartsRequest { run: reference::by_id(id) }).await {
        Ok(answer) => answer.starts,
        // A replica of a version that does not know it yet.
        Err(quorate_client::Error::Api(ApiError::Unsupported(_))) => Vec::new(),
        Err(error) => {
            context.output.note(&format!("when its tasks begin is not known: {error}"));
            Vec::new()
        }
    }
}

/// Every attempt of a run, and the revision of the last page.
pub(crate) async fn all_attempts(client: &Client, id: &str) -> Result<(Vec<v1::Attempt>, u64), Error> {
    let mut attempts = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListAttemptsRequest {
            run: reference::by_id(id),
            task: String::new(),
            index: None,
            page_size: PAGE_ROWS,
            page_token,
        };
        let page = client.list_attempts(request).await?;
        attempts.extend(page.attempts);
        if page.next_page_token.is_empty() {
            return Ok((attempts, page.revision));
        }
        page_token = page.next_page_token;
    }
}
