//! `quorate run timeline`: when a run's attempts were queued, placed, running and over.

use clap::Args;
use quorate_client::Client;
use quorate_proto::{ApiError, v1};
use quorate_seams::{Clock as _, SystemClock};

use super::super::reference;
use super::super::stale::Stale;
use super::super::{Context, PAGE_ROWS};
use super::all_attempts;
use crate::exit::{Code, Error};
use crate::render::canvas::Canvas;
use crate::render::timeline::{History, RunTimeline};

/// Rows for people who do not say how many.
const ROWS_DEFAULT: u32 = 40;
/// Events of a run that are read for the parts of its bars; attempts beyond them begin with their placement.
const EVENTS_READ_MAX: usize = 50_000;

/// What `run timeline --help` ends with.
const EXAMPLES: &str = "\
Examples:
  quorate run timeline nightly                 the job's latest run
  quorate run timeline 0123 --limit 200        with more attempts of a large run
  quorate run timeline 0123 --json | jq '.attempts[] | select(.node == \"eu-a-1\")'";

/// `quorate run timeline`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShowTimeline {
    /// A run's id or a unique prefix of it (at least 4 characters), or [namespace/]job for that job's latest run
    run: String,
    /// Show at most this many attempts: of tasks that something went wrong with first, then of those that took
    /// longest (40; with --json all)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    stale: Stale,
}

impl ShowTimeline {
    pub(super) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let client = self.stale.client(context)?;
        let response = reference::resolve(context, &client, &self.run).await?;
        let run = response.run.unwrap_or_default();
        let (events, has_gaps) = events(&client, &run).await?;
        let (attempts, revision) = all_attempts(&client, &run.id).await?;
        let now_ms = SystemClock.wall().0;
        let history = History { run, steps: response.steps, attempts, events, has_gaps, revision, now_ms };
        let limit = self.limit.unwrap_or(if context.output.json { u32::MAX } else { ROWS_DEFAULT });
        let timeline = RunTimeline::new(history, limit as usize, Canvas::of_stdout());
        context.output.show_read(&timeline, client.staleness())?;
        Ok(Code::Ok)
    }
}

/// The events of a run, as far as there are not too many; true when some are missing.
async fn events(client: &Client, run: &v1::Run) -> Result<(Vec<v1::RunEvent>, bool), Error> {
    let mut events = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListRunEventsRequest {
            run: reference::by_id(&run.id),
            page_size: PAGE_ROWS,
            page_token,
            ..v1::ListRunEventsRequest::default()
        };
        let page = match client.list_run_events(request).await {
            // A replica of a version that does not tell them yet.
            Err(quorate_client::Error::Api(ApiError::Unsupported(_))) => return Ok((events, true)),
            page => page?,
        };
        events.extend(page.events.into_iter().filter_map(|past| past.event));
        page_token = page.next_page_token;
        if page_token.is_empty() || events.len() >= EVENTS_READ_MAX {
            return Ok((events, !page_token.is_empty() || page.kept_from > run.submitted_revision));
        }
    }
}
