//! A run as it goes on: one sequence of messages over any number of connections.

use std::time::Duration;

use futures_util::Stream;
use quorate_proto::{ApiError, v1};
use tonic::{Request, Streaming};
use v1::watch_run_response::Item;

use super::Client;
use super::runs::runs;
use crate::Error;
use crate::channel::Failure;
use crate::retry::Tries;

/// A stream without a message for this long is opened anew, elsewhere: servers send bookmarks more
/// often, unless they are cut off from the rest.
const IDLE_MAX: Duration = Duration::from_secs(30);

impl Client {
    /// Follows a run to its end. It connects when the first message is asked for.
    pub fn watch_run(&self, request: v1::WatchRunRequest) -> RunWatch {
        let place = Place { complete: request.after_revision, partial: None };
        RunWatch {
            client: self.clone(),
            from_start: request.after_revision == 0,
            request,
            place,
            stream: None,
            tries: None,
            has_ended: false,
            is_over: false,
        }
    }
}

/// The messages of `WatchRun`, in order, without gap or duplicate, over changes of the leader and
/// broken connections.
///
/// A watch from the start begins with a snapshot. Should the cluster have forgotten what happened
/// while the watch was cut off, another snapshot comes and replaces everything before it.
pub struct RunWatch {
    client: Client,
    request: v1::WatchRunRequest,
    /// A snapshot is welcome whenever the history has a gap.
    from_start: bool,
    place: Place,
    stream: Option<Open>,
    /// The tries since the last message.
    tries: Option<Tries>,
    /// The run has reached a final state.
    has_ended: bool,
    is_over: bool,
}

struct Open {
    address: String,
    messages: Streaming<v1::WatchRunResponse>,
    /// Events of a half-delivered revision that come once more.
    repeated: Option<Partial>,
}

impl RunWatch {
    /// The next message; none after the last one of a run that has ended. May be dropped and
    /// called again.
    pub async fn next(&mut self) -> Option<Result<v1::WatchRunResponse, Error>> {
        while !self.is_over {
            match self.step().await {
                Ok(Some(message)) => return Some(Ok(message)),
                Ok(None) => {}
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// The same as a `Stream`.
    pub fn into_stream(self) -> impl Stream<Item = Result<v1::WatchRunResponse, Error>> + Send {
        futures_util::stream::unfold(
            self,
            |mut watch| async move { watch.next().await.map(|message| (message, watch)) },
        )
    }

    /// Opens the stream, or takes a message from it, or recovers from a failure.
    async fn step(&mut self) -> Result<Option<v1::WatchRunResponse>, Error> {
        let Some(open) = &mut self.stream else { return self.open().await.map(|()| None) };
        let failure = match tokio::time::timeout(IDLE_MAX, open.messages.message()).await {
            Ok(Ok(Some(message))) => {
                self.tries = None;
                return Ok(self.take(message));
            }
            Ok(Ok(None)) if self.has_ended => {
                self.is_over = true;
                return Ok(None);
            }
            Ok(Ok(None)) => {
                let error = ApiError::Unavailable("the replica ended the watch before the run ended".into());
                Failure { error, is_unsent: false }
            }
            Ok(Err(status)) => Failure::of(&status),
            Err(_) => Failure::silence(IDLE_MAX),
        };
        let address = open.address.clone();
        self.stream = None;
        self.recover(&address, failure).await.map(|()| None)
    }

    async fn open(&mut self) -> Result<(), Error> {
        let shared = &self.client.shared;
        let address = shared.targets.pick();
        let channel = self.client.channel(&address)?;
        let patience = shared.config.attempt_timeout;
        self.request.after_revision = self.place.complete;
        // No deadline on the request itself: it would end the stream.
        let mut request = Request::new(self.request.clone());
        if let Some(stale) = &self.client.stale {
            stale.ask(request.metadata_mut());
        }
        let failure = match tokio::time::timeout(patience, runs(channel).watch_run(request)).await {
            Ok(Ok(answer)) => {
                shared.targets.works(&address);
                if let Some(stale) = &self.client.stale {
                    stale.note(answer.metadata());
                }
                self.stream = Some(Open { address, messages: answer.into_inner(), repeated: self.place.partial });
                return Ok(());
            }
            Ok(Err(status)) => Failure::of(&status),
            Err(_) => Failure::silence(patience),
        };
        self.recover(&address, failure).await
    }

    async fn recover(&mut self, address: &str, failure: Failure) -> Result<(), Error> {
        if matches!(failure.error, ApiError::Compacted { .. }) && self.from_start && self.place.complete > 0 {
            self.place = Place { complete: 0, partial: None };
            return Ok(());
        }
        let shared = &self.client.shared;
        let patience = shared.config.deadline;
        self.tries.get_or_insert_with(|| Tries::new(patience, None)).again(shared, address, failure).await
    }

    /// Notes what the message says; none when it was delivered before.
    fn take(&mut self, message: v1::WatchRunResponse) -> Option<v1::WatchRunResponse> {
        match &message.item {
            Some(Item::Snapshot(snapshot)) => {
                if let Some(run) = &snapshot.run {
                    // "The latest run" or a prefix may mean another run by the time of the next connection.
                    let run_id = Some(v1::run_ref::Ref::RunId(run.id.clone()));
                    self.request.run = Some(v1::RunRef { r#ref: run_id });
                    self.has_ended = is_final(run.state());
                }
                self.place = Place { complete: message.revision, partial: None };
                Some(message)
            }
            Some(Item::Event(event)) => {
                if message.revision <= self.place.complete {
                    return None;
                }
                let repeated = self.stream.as_mut().and_then(|open| open.repeated.as_mut());
                if let Some(repeated) =
                    repeated.filter(|partial| partial.revision == message.revision && partial.events > 0)
                {
                    repeated.events -= 1;
                    return None;
                }
                if let Some(v1::run_event::Event::Run(run)) = &event.event {
                    self.has_ended = is_final(run.state());
                }
                self.place.event(message.revision);
                Some(message)
            }
            Some(Item::Bookmark(_)) | None => {
                if message.revision <= self.place.complete {
                    return None;
                }
                self.place.bookmark(message.revision);
                Some(message)
            }
        }
    }
}

/// How far a watch has come. Several events may have one revision, so that the newest one seen may
/// be half delivered: a new stream then begins before it and the part delivered is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// All of this revision and those before it has been delivered.
    complete: u64,
    partial: Option<Partial>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Partial {
    revision: u64,
    /// How many of its events have been delivered.
    events: u64,
}

impl Place {
    fn event(&mut self, revision: u64) {
        match &mut self.partial {
            Some(partial) if partial.revision == revision => partial.events += 1,
            Some(_) | None => {
                self.complete = self.complete.max(revision.saturating_sub(1));
                self.partial = Some(Partial { revision, events: 1 });
            }
        }
    }

    fn bookmark(&mut self, revision: u64) {
        self.complete = revision;
        self.partial = self.partial.filter(|partial| partial.revision > revision);
    }
}

fn is_final(state: v1::RunState) -> bool {
    match state {
        v1::RunState::Succeeded | v1::RunState::Failed | v1::RunState::Cancelled => true,
        v1::RunState::Unspecified | v1::RunState::Pending | v1::RunState::Running => false,
    }
}
