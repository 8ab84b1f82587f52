//! `quorate run logs`: what tasks wrote, of one or of all tasks of a run, as it stands or as it is written.
//!
//! Here is decided what is read; `reader` reads one task, attempt after attempt, and `sink` prints.

mod reader;
mod sink;

use clap::{Args, ValueEnum};
use quorate_client::Client;
use quorate_proto::v1;
use tokio::task::JoinSet;

use super::super::moment::{Moment, moment};
use super::super::reference::{self, TaskArg};
use super::super::{Context, PAGE_ROWS, wait};
use crate::exit::{Code, Error};
use crate::render::run::Logs;
use crate::render::task::{task_name, task_word};
use reader::{Reader, Wanted};
use sink::{Form, Kept};

/// Tasks whose output is followed at once: each takes a stream of its node's for standard output and one for
/// standard error, of which a node has a limited number.
const TASKS_FOLLOWED_MAX: usize = 16;

#[derive(Args, Debug)]
pub(super) struct ReadLogs {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    run: String,
    /// The task: name, or name[index]; all tasks of the run when not given, each line with its task before it
    task: Option<TaskArg>,
    /// Go on as it is written, with the next attempt too, until the task has ended
    #[arg(long, short)]
    follow: bool,
    /// Number of the attempt, and no other; the newest when not given
    #[arg(long, value_name = "NUMBER", requires = "task", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// Begin with the last lines, at most so many of each stream; 0 with --follow prints what is new
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Leave out what was written longer ago, such as 5m, or before a time, such as 2026-11-21T15:04:05Z,
    /// as far as the node knows: some of what is older may come too
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Begin at this byte of the stream, counted from 0, of the first attempt that is read; needs --stream stdout or
    /// --stream stderr
    #[arg(long, value_name = "BYTES", requires = "task", conflicts_with_all = ["tail", "since"])]
    offset: Option<u64>,
    /// Which output: its standard output goes to standard output, its standard error to standard error
    #[arg(long, value_enum, default_value_t = Stream::Both)]
    stream: Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stream {
    Stdout,
    Stderr,
    Both,
}

impl ReadLogs {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        if self.offset.is_some() && self.stream == Stream::Both {
            let why = "--offset is a place in one stream: choose it with --stream stdout or --stream stderr";
            return Err(Error::Usage(why.to_owned()));
        }
        let client = if self.follow { context.patient_client()? } else { context.client()? };
        let id = reference::resolve(context, &client, &self.run).await?.run.unwrap_or_default().id;
        let task = match &self.task {
            Some(task) => task.clone(),
            None => {
                let mut tasks = self.tasks(&client, &id).await?;
                if tasks.len() != 1 {
                    return self.all(context, &client, &id, tasks).await;
                }
                let task = tasks.remove(0);
                TaskArg { name: task.task, index: task.index }
            }
        };
        // Both streams are read of the same attempt, also when a next one starts meanwhile.
        let number = match self.attempt {
            Some(number) => number,
            None => newest_attempt(&client, &id, &task, self.follow).await?,
        };
        let whole = context.output.json && !self.follow;
        let form = match (context.output.json, whole) {
            (true, true) => Form::Whole,
            (true, false) => Form::Objects,
            (false, _) => Form::Raw,
        };
        let mut reader = Reader { client, id, task, wanted: self.wanted(), output: context.output, form, label: None };
        if self.follow {
            reader.follow(number).await?;
            return Ok(Code::Ok);
        }
        let (_, [stdout, stderr]) = reader.attempt(number, true).await?;
        if whole {
            context.output.show(&whole_object(reader, number, stdout, stderr))?;
        }
        Ok(Code::Ok)
    }

    /// Everything that all tasks of a run wrote, with the task before each line.
    async fn all(&self, context: &Context, client: &Client, id: &str, tasks: Vec<v1::Task>) -> Result<Code, Error> {
        if self.follow && tasks.len() > TASKS_FOLLOWED_MAX {
            return Err(Error::Usage(format!(
                "run {id} has {} tasks, TASKS_FOLLOWED_MAX is {TASKS_FOLLOWED_MAX}: name the task to follow, or read \
                 the output of all without --follow",
                tasks.len()
            )));
        }
        let mut failed = None;
        let mut following: JoinSet<Result<(), Error>> = JoinSet::new();
        for task in tasks {
            let form = if context.output.json { Form::Objects } else { Form::Labelled };
            let mut reader = Reader {
                client: client.clone(),
                id: id.to_owned(),
                label: Some(task_name(&task.task, task.index, task.count > 1)),
                task: TaskArg { name: task.task, index: task.index },
                wanted: self.wanted(),
                output: context.output,
                form,
            };
            if self.follow {
                following.spawn(async move { reader.whole_task(task.attempts).await });
            } else if task.attempts > 0 {
                keep_first(&mut failed, reader.whole_task(task.attempts).await)?;
            }
        }
        while let Some(ended) = following.join_next().await {
            let ended = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            keep_first(&mut failed, ended)?;
        }
        failed.map_or(Ok(Code::Ok), Err)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            follow: self.follow,
            is_one_attempt: self.attempt.is_some(),
            offset: self.offset.unwrap_or(0),
            tail_lines: self.tail,
            since_ms: self.since.map(Moment::millis),
            stdout: self.stream != Stream::Stderr,
            stderr: self.stream != Stream::Stdout,
        }
    }

    /// All tasks of the run; with `--follow` no more than it takes to know that there are too many.
    async fn tasks(&self, client: &Client, id: &str) -> Result<Vec<v1::Task>, Error> {
        let mut tasks = Vec::new();
        let mut page_token = String::new();
        loop {
            let run = reference::by_id(id);
            let request = v1::ListTasksRequest { run, task: String::new(), page_size: PAGE_ROWS, page_token };
            let page = client.list_tasks(request).await?;
            tasks.extend(page.tasks);
            page_token = page.next_page_token;
            if page_token.is_empty() || (self.follow && tasks.len() > TASKS_FOLLOWED_MAX) {
                return Ok(tasks);
            }
        }
    }
}

/// Keeps the first failure to read, and ends at once when there is nobody to print for.
fn keep_first(failed: &mut Option<Error>, outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Ok(()) => {}
        Err(error @ Error::Output(_)) => return Err(error),
        Err(error) => {
            failed.get_or_insert(error);
        }
    }
    Ok(())
}

fn whole_object(reader: Reader, attempt: u32, stdout: Kept, stderr: Kept) -> Logs {
    Logs {
        run_id: reader.id,
        task: reader.task.name,
        index: reader.task.index,
        attempt: (attempt > 0).then_some(attempt),
        lossy: stdout.lossy || stderr.lossy,
        stdout: stdout.text,
        stderr: stderr.text,
    }
}

/// Number of the task's newest attempt. When there is none, that of the first one if there may be one.
async fn newest_attempt(client: &Client, id: &str, task: &TaskArg, may_come: bool) -> Result<u32, Error> {
    let request = v1::ExplainTaskRequest { run: reference::by_id(id), task: task.name.clone(), index: task.index };
    let task = client.explain_task(request).await?.task.unwrap_or_default();
    if task.attempts > 0 {
        return Ok(task.attempts);
    }
    let name = task_name(&task.task, task.index, task.count > 1);
    if !task.sub_run.is_empty() {
        let run = &task.sub_run;
        return Err(Error::Missing(format!(
            "{name} of run {id} is run {run}: its tasks have logs, 'quorate run logs {run}'"
        )));
    }
    let ended = wait::task_has_ended(task.state());
    if may_come && !ended {
        return Ok(1);
    }
    Err(Error::NotStarted { task: name, run: id.to_owned(), state: task_word(task.state), ended })
}
