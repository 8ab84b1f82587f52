//! The output of an attempt: one sequence of bytes over any number of connections.

use std::time::Duration;

use futures_util::Stream;
use quorate_proto::v1;
use tonic::{Request, Streaming};

use super::Client;
use super::runs::runs;
use crate::Error;
use crate::channel::Failure;
use crate::retry::Tries;

/// Without `follow`, a stream without a message for this long is opened anew. With it, silence is
/// normal, and the connection's own signs of life have to do.
const IDLE_MAX: Duration = Duration::from_secs(30);

impl Client {
    /// Reads the output of an attempt. It connects when the first piece is asked for.
    pub fn read_logs(&self, request: v1::ReadLogsRequest) -> LogReader {
        LogReader { client: self.clone(), request, is_pinned: false, stream: None, tries: None, is_over: false }
    }
}

/// Pieces of an attempt's output, in order, without gap or duplicate, over broken connections.
pub struct LogReader {
    client: Client,
    request: v1::ReadLogsRequest,
    /// The request names one attempt of one run, whatever is the newest later.
    is_pinned: bool,
    stream: Option<(String, Streaming<v1::ReadLogsResponse>)>,
    /// The tries since the last piece.
    tries: Option<Tries>,
    is_over: bool,
}

impl LogReader {
    /// The next piece; none at the end. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Result<v1::ReadLogsResponse, Error>> {
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
        let Some((address, pieces)) = &mut self.stream else { return self.open().await.map(|()| None) };
        let next = async {
            if self.request.follow {
                return Ok(pieces.message().await);
            }
            tokio::time::timeout(IDLE_MAX, pieces.message()).await
        };
        let failure = match next.await {
            Ok(Ok(Some(piece))) => {
                self.tries = None;
                return Ok(self.take(piece));
            }
            Ok(Ok(None)) => {
                self.is_over = true;
                return Ok(None);
            }
            Ok(Err(status)) => Failure::of(&status),
            Err(_) => Failure::silence(IDLE_MAX),
        };
        let address = address.clone();
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
                self.stream = Some((address, answer.into_inner()));
                return Ok(());
            }
            Ok(Err(status)) => Failure::of(&status),
            Err(_) => Failure::silence(patience),
        };
        self.recover(&address, failure).await
    }

    async fn recover(&mut self, address: &str, failure: Failure) -> Result<(), Error> {
        let shared = &self.client.shared;
        let patience = shared.config.deadline;
        self.tries.get_or_insert_with(|| Tries::new(patience, None)).again(shared, address, failure).await
    }

    /// The part of the piece that is new, if any.
    fn take(&mut self, mut piece: v1::ReadLogsResponse) -> Option<v1::ReadLogsResponse> {
        let known = self.request.offset.saturating_sub(piece.offset);
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(piece.data.len());
        let _ = piece.data.split_to(known);
        piece.offset += known as u64;
        if piece.data.is_empty() {
            return None;
        }
        self.request.offset = piece.offset + piece.data.len() as u64;
        Some(piece)
    }
}
