//! `quorate run events`: what has happened to a run, as it is kept, and what goes on to happen.

use clap::Args;
use quorate_client::Client;
use quorate_proto::v1;

use super::super::reference::{self, TaskArg};
use super::super::stale::Stale;
use super::super::{Context, PAGE_ROWS, wait};
use crate::exit::{Code, Error};
use crate::render::event::{OfRun, RunEvent, RunEventList};
use crate::render::paint_of_stdout;

/// What `run events --help` ends with.
const EXAMPLES: &str = "\
Examples:
  quorate run events nightly                    everything that happened to the job's latest run
  quorate run events nightly --task score[3]    to one element of one task
  quorate run events 0123 --since 4711 -f       what happened after revision 4711, and on
  quorate run events 0123 --json | jq '.events[] | select(.exit_code != null and .exit_code != 0)'";

/// `quorate run events`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReadEvents {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    run: String,
    /// Only what happened to this task, or to this element of it, such as score[3]
    #[arg(long, value_name = "TASK", value_parser = whose)]
    task: Option<Whose>,
    /// Only what happened after this revision: go on where an earlier look ended
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    since: u64,
    /// Go on with what happens, until the run has ended
    #[arg(long, short, conflicts_with_all = ["stale", "max_stale"])]
    follow: bool,
    #[command(flatten)]
    stale: Stale,
}

/// A task, or one element of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Whose {
    task: String,
    index: Option<u32>,
}

fn whose(text: &str) -> Result<Whose, String> {
    let TaskArg { name, index } = text.parse()?;
    Ok(Whose { task: name, index: text.contains('[').then_some(index) })
}

impl ReadEvents {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = if self.follow { context.patient_client()? } else { self.stale.client(context)? };
        let response = reference::resolve(context, &client, &self.run).await?;
        let run = response.run.unwrap_or_default();
        let of = OfRun::new(&run, &response.steps, response.revision);
        let has_ended = wait::has_ended(run.state);
        let (id, begins) = (run.id.clone(), run.submitted_revision.max(self.since.saturating_add(1)));
        let mut list = RunEventList {
            run: run.into(),
            events: Vec::new(),
            kept_from: 0,
            complete: true,
            revision: response.revision,
            of,
        };
        self.past(context, &client, &mut list, begins).await?;
        if context.output.json && !self.follow {
            context.output.show_read(&list, client.staleness())?;
        } else if self.follow && !has_ended {
            self.to_come(context, &client, &id, &list).await?;
        }
        Ok(Code::Ok)
    }

    /// What has happened. With `--json` and without `--follow` it is kept in `list`, else printed as it comes.
    async fn past(
        &self,
        context: &Context,
        client: &Client,
        list: &mut RunEventList,
        begins: u64,
    ) -> Result<(), Error> {
        let id = list.run.id.clone();
        let mut page_token = String::new();
        let mut is_first = true;
        loop {
            let request = v1::ListRunEventsRequest {
                run: reference::by_id(&id),
                after_revision: self.since,
                task: self.task.as_ref().map(|whose| whose.task.clone()).unwrap_or_default(),
                index: self.task.as_ref().and_then(|whose| whose.index),
                page_size: PAGE_ROWS,
                page_token,
            };
            let page = client.list_run_events(request).await?;
            list.revision = page.revision;
            if page.kept_from > list.kept_from {
                list.kept_from = page.kept_from;
                list.complete = page.kept_from <= begins;
                if !list.complete {
                    let kept_from = page.kept_from;
                    context.output.note(&format!(
                        "what happened before revision {kept_from} is not kept any more (asked for: from {begins} on)"
                    ));
                }
            }
            let events = page.events.into_iter().filter_map(|past| list.of.event(past.revision, past.event?));
            let events: Vec<RunEvent> = events.collect();
            if context.output.json && !self.follow {
                list.events.extend(events);
            } else {
                if is_first && !context.output.json {
                    context.output.show_staleness(client.staleness());
                    context.output.line(&list.of.heads(paint_of_stdout()))?;
                }
                print(context, &list.of, &events)?;
            }
            is_first = false;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(());
            }
        }
    }

    /// What happens after everything in `list`, until the run has ended.
    async fn to_come(&self, context: &Context, client: &Client, id: &str, list: &RunEventList) -> Result<(), Error> {
        let request = v1::WatchRunRequest { run: reference::by_id(id), after_revision: list.revision };
        let mut watch = client.watch_run(request);
        while let Some(message) = watch.next().await {
            let message = message?;
            if let Some(v1::watch_run_response::Item::Event(event)) = message.item
                && self.wants(&event)
                && let Some(event) = list.of.event(message.revision, event)
            {
                print(context, &list.of, &[event])?;
            }
        }
        Ok(())
    }

    fn wants(&self, event: &v1::RunEvent) -> bool {
        let Some(Whose { task, index }) = &self.task else { return true };
        let is = |name: &str, at: u32| task == name && index.is_none_or(|index| index == at);
        match &event.event {
            Some(v1::run_event::Event::Task(moved)) => is(&moved.task, moved.index),
            Some(v1::run_event::Event::Attempt(moved)) => is(&moved.task, moved.index),
            Some(v1::run_event::Event::Preempted(stopped)) => is(&stopped.task, stopped.index),
            Some(v1::run_event::Event::Rebalanced(stopped)) => is(&stopped.task, stopped.index),
            Some(v1::run_event::Event::Decided(decided)) => *task == decided.task,
            Some(v1::run_event::Event::Rest(rest)) => {
                let has = |index: u32| index >= rest.first && index - rest.first < rest.count;
                *task == rest.task && index.is_none_or(has)
            }
            Some(
                v1::run_event::Event::Run(_)
                | v1::run_event::Event::Annotated(_)
                | v1::run_event::Event::Paused(_)
                | v1::run_event::Event::Resumed(_)
                | v1::run_event::Event::PrioritySet(_)
                | v1::run_event::Event::Abandoned(_),
            )
            | None => false,
        }
    }
}

/// Prints events as they come: a line of text each, or an object.
fn print(context: &Context, of: &OfRun, events: &[RunEvent]) -> Result<(), Error> {
    if context.output.json {
        return events.iter().try_for_each(|event| context.output.show(event));
    }
    let lines: Vec<String> = events.iter().map(|event| of.line(event, paint_of_stdout())).collect();
    if lines.is_empty() { Ok(()) } else { context.output.line(&lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_meant_whole_unless_an_element_is_named() {
        assert_eq!(whose("score"), Ok(Whose { task: "score".into(), index: None }));
        assert_eq!(whose("score[0]"), Ok(Whose { task: "score".into(), index: Some(0) }));
        assert!(whose("score[").is_err());
    }
}
