//! The output of an attempt: one sequence of bytes over any number of connections.

use std::time::Duration;

use futures_util::Stream;
use quorate_proto::{ApiError, v1};
use tokio::time::Instant;
use tonic::{Request, Streaming};

use super::Client;
use super::runs::runs;
use crate::Error;
use crate::channel::Failure;
use crate::retry::{Tries, is_absence};

/// Without `follow`, a stream without a message for this long is opened anew. With it, silence is
/// normal, and the connection's own signs of life have to do.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(10);
/// How long an agent without a session is waited for: it finds a new leader in less, if it runs.
const ABSENCE_MAX: Duration = Duration::from_secs(10);

impl Client {
    /// Reads the output of an attempt. It connects when the first piece is asked for.
    pub fn read_logs(&self, request: v1::ReadLogsRequest) -> LogReader {
        LogReader {
            client: self.clone(),
            request,
            is_pinned: false,
            begun: None,
            missed: 0,
            first: None,
            stream: None,
            tries: None,
            is_over: false,
        }
    }
}

/// Pieces of an attempt's output, in order and without duplicate, over broken connections, other leaders
/// and agents that come back. There is a gap only where bytes were not kept: [`LogReader::missed`] counts
/// them.
pub struct LogReader {
    client: Client,
    request: v1::ReadLogsRequest,
    /// The request names one attempt of one run, whatever is the newest later.
    is_pinned: bool,
    /// Number of the attempt, once a replica has said where the reading begins.
    begun: Option<u32>,
    missed: u64,
    /// What came with that.
    first: Option<v1::ReadLogsResponse>,
    stream: Option<Open>,
    /// The tries since the last piece, and whether all that failed was that the agent is not there.
    tries: Option<(bool, Tries)>,
    is_over: bool,
}

struct Open {
    address: String,
    pieces: Streaming<v1::ReadLogsResponse>,
    since: Instant,
}

impl LogReader {
    /// Waits until there is an attempt to read, which may be empty still, and gives its number; none when
    /// there will be no such attempt. May be dropped and called again.
    ///
    /// # Errors
    /// It cannot be read; there is nothing more to come.
    pub async fn begin(&mut self) -> Result<Option<u32>, Error> {
        while self.begun.is_none() && !self.is_over {
            match self.step().await {
                Ok(piece) => self.first = piece,
                Err(error) => {
                    self.is_over = true;
                    return Err(error);
                }
            }
        }
        Ok(self.begun)
    }

    /// Bytes before the newest piece that were not there any more: the node keeps only so many of an
    /// attempt. What lies before the beginning that was asked for does not count.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The next piece; none at the end. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Result<v1::ReadLogsResponse, Error>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        while !self.is_over {
            match self.step().await {
                Ok(Some(piece)) => return Some(Ok(piece)),
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
    pub fn into_stream(self) -> impl Stream<Item = Result<v1::ReadLogsResponse, Error>> + Send {
        futures_util::stream::unfold(self, |mut logs| async move { logs.next().await.map(|piece| (piece, logs)) })
    }

    async fn step(&mut self) -> Result<Option<v1::ReadLogsResponse>, Error> {
        if !self.is_pinned {
            self.pin().await?;
        }
        let Some(open) = &mut self.stream else { return self.open().await.map(|()| None) };
        let next = async {
            if self.request.follow {
                return Ok(open.pieces.message().await);
            }
            tokio::time::timeout(IDLE_MAX, open.pieces.message()).await
        };
        let failure = match next.await {
            Ok(Ok(Some(piece))) => {
                self.tries = None;
                let chooses_place = self.request.tail_lines.is_some() || self.request.since_ms.is_some();
                if chooses_place && piece.attempt == 0 {
                    let why =
                        format!("the replica at {} is older and knows neither tail_lines nor since_ms", open.address);
                    return Err(Error::Api(ApiError::Unsupported(why)));
                }
                return Ok(self.take(piece));
            }
            Ok(Ok(None)) => {
                self.is_over = true;
                return Ok(None);
            }
            Ok(Err(status)) => Failure::of(&status),
            Err(_) => Failure::silence(IDLE_MAX),
        };
        let address = open.address.clone();
        // It was a good connection to a task that said nothing: what came before it has been overcome.
        if open.since.elapsed() >= STEADY {
            self.tries = None;
        }
        self.stream = None;
        self.recover(&address, failure).await.map(|()| None)
    }

    /// Settles which attempt "the newest" is, so that a new connection does not go on in another one.
    async fn pin(&mut self) -> Result<(), Error> {
        let mut request = v1::ListAttemptsRequest {
            run: self.request.run.clone(),
            task: self.request.task.clone(),
            index: Some(self.request.index),
            page_size: 0,
            page_token: String::new(),
        };
        loop {
            let page = self.client.list_attempts(request.clone()).await?;
            let wanted = |attempt: &&v1::Attempt| self.request.attempt == 0 || self.request.attempt == attempt.number;
            let is_last = page.next_page_token.is_empty();
            if let Some(newest) = page.attempts.iter().rev().find(wanted)
                && (is_last || self.request.attempt != 0)
            {
                let run_id = Some(v1::run_ref::Ref::RunId(newest.run_id.clone()));
                self.request.run = Some(v1::RunRef { r#ref: run_id });
                self.request.attempt = newest.number;
            }
            if is_last || page.next_page_token == request.page_token {
                break;
            }
            request.page_token = page.next_page_token;
        }
        // Without an attempt the server says what is the matter.
        self.is_pinned = true;
        Ok(())
    }

    async fn open(&mut self) -> Result<(), Error> {
        let shared = &self.client.shared;
        let address = shared.targets.pick();
        let channel = self.client.channel(&address)?;
        let patience = shared.config.attempt_timeout;
        let request = Request::new(self.request.clone());
        let failure = match tokio::time::timeout(patience, runs(channel).read_logs(request)).await {
            Ok(Ok(answer)) => {
                shared.targets.works(&address);
                self.stream = Some(Open { address, pieces: answer.into_inner(), since: Instant::now() });
                return Ok(());
            }
            Ok(Err(status)) => Failure::of(&status),
            Err(_) => Failure::silence(patience),
        };
        self.recover(&address, failure).await
    }

    async fn recover(&mut self, address: &str, failure: Failure) -> Result<(), Error> {
        // Nothing was interrupted: whoever asks decides whether to wait for a place.
        if self.begun.is_none() && matches!(failure.error, ApiError::Overloaded { .. }) {
            return Err(Error::Api(failure.error));
        }
        let shared = &self.client.shared;
        let absent = is_absence(&failure.error);
        // More than its agent is gone now: a new leader takes its time.
        let is_more = matches!(self.tries, Some((true, _))) && !absent;
        if is_more || self.tries.is_none() {
            let deadline = shared.config.deadline;
            let patience = if absent { ABSENCE_MAX.min(deadline) } else { deadline };
            self.tries = Some((absent, Tries::new(patience, None)));
        }
        let Some((_, tries)) = &mut self.tries else { return Ok(()) };
        tries.again(shared, address, failure).await.map_err(|error| match error {
            // There was an answer, and it stayed the same.
            Error::Unavailable { last, .. } if is_absence(&last) => Error::Api(last),
            error => error,
        })
    }

    /// The part of the piece that is new, if any.
    fn take(&mut self, mut piece: v1::ReadLogsResponse) -> Option<v1::ReadLogsResponse> {
        // Older replicas do not say the number; then it is the one that was asked for.
        let number = if piece.attempt == 0 { self.request.attempt } else { piece.attempt };
        let is_first = self.begun.replace(number).is_none();
        let chose_place = self.request.tail_lines.take().is_some() | self.request.since_ms.take().is_some();
        if number != 0 {
            self.request.attempt = number;
        }
        if is_first && chose_place {
            self.request.offset = piece.offset;
        }
        let known = self.request.offset.saturating_sub(piece.offset);
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(piece.data.len());
        let _ = piece.data.split_to(known);
        piece.offset += known as u64;
        if piece.data.is_empty() {
            return None;
        }
        self.missed += piece.offset.saturating_sub(self.request.offset);
        self.request.offset = piece.offset + piece.data.len() as u64;
        Some(piece)
    }
}
