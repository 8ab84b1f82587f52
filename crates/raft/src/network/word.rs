//! Words about commits that carry no entry wait a moment for one to go with.
//!
//! openraft tells each follower at once how far the log is committed, in a request of its own: to each entry there
//! would be two requests, two answers and two turns of each replica's core. Where entries follow closely upon
//! each other, the next one says the same a moment later. So while they do, a mere word waits for up to
//! [`WAIT_MAX`], and goes by itself only if no entry comes. What followers show lags by no more than that; whoever
//! reads there in order asks the leader, whose round tells them too (ADR 0044).
//!
//! **Invariant:** nothing that carries an entry ever waits, and neither does the first request of a stream, because
//! it may be a sign of life or a probe whose answer somebody waits for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt as _;
use futures_util::stream::Fuse;
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, Sleep};

use crate::type_config::TypeConfig;

/// A word waits no longer, and only where the last two entries came within this time of each other.
const WAIT_MAX: Duration = Duration::from_millis(5);

type Request = AppendEntriesRequest<TypeConfig>;

/// The requests of one stream, with fewer mere words among them.
pub(super) struct Sparing<S> {
    requests: Fuse<S>,
    /// The word that waits, and until when.
    word: Option<Request>,
    until: Pin<Box<Sleep>>,
    /// When entries were sent last.
    entries_at: Option<Instant>,
    /// The time between the last two that were.
    gap: Duration,
    is_first: bool,
}

impl<S: Stream<Item = Request>> Sparing<S> {
    pub(super) fn new(requests: S) -> Self {
        let until = Box::pin(tokio::time::sleep(Duration::ZERO));
        let requests = requests.fuse();
        Self { requests, word: None, until, entries_at: None, gap: Duration::MAX, is_first: true }
    }

    fn may_wait(&self, request: &Request, now: Instant) -> bool {
        let flows = self.gap <= WAIT_MAX && self.entries_at.is_some_and(|at| now - at <= WAIT_MAX);
        request.entries.is_empty() && !self.is_first && flows
    }

    fn sent(&mut self, request: &Request, now: Instant) {
        self.is_first = false;
        if !request.entries.is_empty() {
            let before = self.entries_at.replace(now);
            self.gap = before.map_or(Duration::MAX, |before| now - before);
        }
    }
}

impl<S: Stream<Item = Request> + Unpin> Stream for Sparing<S> {
    type Item = Request;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Request>> {
        loop {
            match self.requests.poll_next_unpin(context) {
                Poll::Ready(Some(request)) => {
                    let now = Instant::now();
                    if !self.may_wait(&request, now) {
                        // Whatever waited is said by this one as well: commits only rise within a stream.
                        self.word = None;
                        self.sent(&request, now);
                        return Poll::Ready(Some(request));
                    }
                    if self.word.replace(request).is_none() {
                        self.until.as_mut().reset(now + WAIT_MAX);
                    }
                }
                // Nothing comes after it.
                Poll::Ready(None) => return Poll::Ready(self.word.take()),
                Poll::Pending if self.word.is_none() => return Poll::Pending,
                Poll::Pending => {
                    return match self.until.as_mut().poll(context) {
                        Poll::Ready(()) => Poll::Ready(self.word.take()),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use openraft::EntryPayload;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::type_config::{LogEntry, Payload, Vote, log_id};

    fn request(entry: Option<u64>, commit: u64) -> Request {
        let payload = EntryPayload::Normal(Payload::of("entry".into()));
        let entries = entry.map(|index| LogEntry { log_id: log_id(1, index), payload }).into_iter().collect();
        let (prev_log_id, leader_commit) = (entry.map(|index| log_id(1, index - 1)), Some(log_id(1, commit)));
        AppendEntriesRequest { vote: Vote::new_committed(1, 1), prev_log_id, leader_commit, entries }
    }

    struct Bench {
        input: mpsc::Sender<Request>,
        output: Sparing<ReceiverStream<Request>>,
    }

    impl Bench {
        fn new() -> Self {
            let (input, requests) = mpsc::channel(16);
            Self { input, output: Sparing::new(ReceiverStream::new(requests)) }
        }

        /// What goes out at once when this comes in, as the index of its entry and what it says is committed.
        fn put(&mut self, entry: Option<u64>, commit: u64) -> Option<(Option<u64>, u64)> {
            self.input.try_send(request(entry, commit)).unwrap();
            self.next()
        }

        fn next(&mut self) -> Option<(Option<u64>, u64)> {
            let request = self.output.next().now_or_never()??;
            let commit = request.leader_commit.map_or(0, |id| id.index);
            Some((request.entries.first().map(|entry| entry.log_id.index), commit))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_word_goes_with_the_next_entry_while_they_follow_closely() {
        let mut bench = Bench::new();
        assert_eq!(bench.put(Some(1), 0), Some((Some(1), 0)));
        assert_eq!(bench.put(None, 1), Some((None, 1)), "nobody knows yet that another follows");
        tokio::time::advance(WAIT_MAX / 2).await;
        assert_eq!(bench.put(Some(2), 1), Some((Some(2), 1)));
        assert_eq!(bench.put(None, 2), None);
        tokio::time::advance(WAIT_MAX / 2).await;
        assert_eq!(bench.put(Some(3), 2), Some((Some(3), 2)));
        tokio::time::advance(WAIT_MAX * 2).await;
        assert_eq!(bench.next(), None, "the word was said");
    }

    #[tokio::test(start_paused = true)]
    async fn a_word_to_which_no_entry_comes_goes_by_itself_the_newest_as_soon_as_the_first() {
        let mut bench = Bench::new();
        bench.put(Some(1), 0);
        bench.put(Some(2), 0);
        assert_eq!(bench.put(None, 1), None);
        tokio::time::advance(WAIT_MAX / 2).await;
        assert_eq!(bench.put(None, 2), None);
        tokio::time::advance(WAIT_MAX / 2 + Duration::from_millis(1)).await;
        assert_eq!(bench.next(), Some((None, 2)));
        assert_eq!(bench.put(None, 3), Some((None, 3)), "the entries came a while ago");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_and_the_last_word_never_wait() {
        let mut bench = Bench::new();
        assert_eq!(bench.put(None, 1), Some((None, 1)));
        bench.put(Some(2), 1);
        bench.put(Some(3), 1);
        assert_eq!(bench.put(None, 3), None);
        let (closed, _) = mpsc::channel(1);
        bench.input = closed;
        assert_eq!(bench.next(), Some((None, 3)));
        assert_eq!(bench.next(), None);
    }
}
