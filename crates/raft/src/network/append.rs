//! The stream of appends to one replica, and of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use openraft::base::BoxStream;
use openraft::errors::{RPCError, Unreachable};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use quorate_proto::raft::v1 as pb;
use tonic::{Status, Streaming};

use super::sign::Sign;
use super::word::Sparing;
use super::{Link, REST, Rpc};
use crate::type_config::TypeConfig;
use crate::wire::{self, WireError};

/// openraft may decide to send entries that are cut off before it reads them, and then sends nothing
/// instead, again and again, for as long as the stream works. After so many in a row the stream fails,
/// and openraft looks anew at what the peer needs: a snapshot.
const STARVING_MAX: u64 = 20;

/// Opens the stream.
pub(super) async fn open<S>(
    link: &mut Link,
    input: S,
) -> Result<BoxStream<'_, Rpc<StreamAppendResult<TypeConfig>>>, (&mut Link, Status)>
where
    S: futures_core::Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let sign = Sign::new(link.shared.measures.clone(), link.target, link.shared.tuning.heartbeat_ms);
    let (mut client, deadline) = (link.client(), link.patience());
    let header = link.header();
    let (sent, starving) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counter, hungry, first) = (sent.clone(), starving.clone(), sign.first());
    // Hunger is seen in all that openraft says, whether it is sent or not.
    let requests = input.inspect(move |request| {
        if has_nothing_for_who_needs_more(request) {
            hungry.fetch_add(1, Ordering::SeqCst);
        } else {
            hungry.store(0, Ordering::SeqCst);
        }
    });
    let requests = Sparing::new(requests).map(move |request| {
        if counter.fetch_add(1, Ordering::SeqCst) == 0 {
            first.store(request.entries.is_empty(), Ordering::SeqCst);
        }
        request_to(header.clone(), &request)
    });
    match tokio::time::timeout(deadline, client.append(requests)).await {
        Ok(Ok(response)) => {
            let replies = Replies {
                // An answer waits for the peer's disk, so it may take longer than opening does.
                patience: Duration::from_millis(link.shared.tuning.election_ms_max),
                link,
                stream: response.into_inner(),
                sent,
                starving,
                received: 0,
                sign,
            };
            Ok(Box::pin(futures_util::stream::unfold(Some(replies), replies_next)))
        }
        Ok(Err(status)) => Err(given_up(link, status)),
        Err(_) => Err(given_up(link, Status::deadline_exceeded("no answer in time"))),
    }
}

fn given_up(link: &mut Link, status: Status) -> (&mut Link, Status) {
    link.line.give_up();
    (link, status)
}

struct Replies<'a> {
    link: &'a mut Link,
    stream: Streaming<pb::AppendReply>,
    sent: Arc<AtomicU64>,
    /// Requests in a row that carried nothing to a peer that lacks committed entries.
    starving: Arc<AtomicU64>,
    received: u64,
    patience: Duration,
    sign: Sign,
}

type Next<'a> = Option<(Rpc<StreamAppendResult<TypeConfig>>, Option<Replies<'a>>)>;

async fn replies_next(replies: Option<Replies<'_>>) -> Next<'_> {
    let mut replies = replies?;
    match replies.next().await {
        Ok(Some(result)) => {
            replies.link.line.answered();
            // After a conflict or a higher vote the peer has ended the stream.
            let rest = if result.is_ok() { Some(replies) } else { None };
            Some((Ok(result), rest))
        }
        Ok(None) => None,
        Err(status) => {
            replies.link.line.give_up();
            let error: Unreachable<TypeConfig> = replies.link.unreachable(&status);
            tokio::time::sleep(REST).await;
            Some((Err(RPCError::Unreachable(error)), None))
        }
    }
}

impl Replies<'_> {
    /// The next answer. Silence is no error while nothing is owed, and one that lasts is while
    /// something is.
    async fn next(&mut self) -> Result<Option<StreamAppendResult<TypeConfig>>, Status> {
        let mut owed_before = false;
        loop {
            let owed = self.sent.load(Ordering::SeqCst) > self.received;
            let message = match tokio::time::timeout(self.patience, self.stream.message()).await {
                Ok(message) => message?,
                // Owed for a whole period of patience, not only since a moment ago.
                Err(_) if owed && owed_before => return Err(Status::deadline_exceeded("an append is not answered")),
                Err(_) => {
                    owed_before = owed;
                    continue;
                }
            };
            let Some(reply) = message else { return Ok(None) };
            self.link.shared.gate.check_answer(reply.header.as_ref()).await?;
            self.received += 1;
            self.sign.answered();
            let sync = reply.sync_us.map(Duration::from_micros);
            self.link.shared.measures.peers.note_sync(self.link.target, sync);
            if self.starving.load(Ordering::SeqCst) >= STARVING_MAX {
                return Err(Status::out_of_range("the entries that it needs are cut off here: it needs a snapshot"));
            }
            return Ok(Some(result_from(reply)?));
        }
    }
}

/// A request without entries, though more is committed than what it follows on.
fn has_nothing_for_who_needs_more(request: &AppendEntriesRequest<TypeConfig>) -> bool {
    let index = |id: &Option<crate::type_config::LogId>| id.as_ref().map(|id| id.index);
    request.entries.is_empty() && index(&request.leader_commit) > index(&request.prev_log_id)
}

fn request_to(header: Option<pb::Header>, request: &AppendEntriesRequest<TypeConfig>) -> pb::AppendRequest {
    pb::AppendRequest {
        header,
        vote: Some(wire::vote_to(&request.vote)),
        prev: request.prev_log_id.as_ref().map(wire::log_id_to),
        entries: request.entries.iter().map(wire::entry_encode).collect(),
        leader_commit: request.leader_commit.as_ref().map(wire::log_id_to),
    }
}

fn result_from(reply: pb::AppendReply) -> Result<StreamAppendResult<TypeConfig>, WireError> {
    use pb::append_reply::Outcome;
    Ok(match reply.outcome.ok_or(WireError::Missing("reply.outcome"))? {
        Outcome::Matched(matched) => Ok(matched.log_id.as_ref().map(wire::log_id_from)),
        Outcome::Conflict(log_id) => Err(StreamAppendError::Conflict(wire::log_id_from(&log_id))),
        Outcome::HigherVote(vote) => Err(StreamAppendError::HigherVote(wire::vote_from(Some(vote))?)),
    })
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::*;
    use crate::type_config::{LogEntry, Payload, Vote, log_id};

    fn request(prev: u64, commit: u64, entries: Vec<LogEntry>) -> AppendEntriesRequest<TypeConfig> {
        let vote = Vote::new_committed(1, 1);
        let (prev_log_id, leader_commit) = (Some(log_id(1, prev)), Some(log_id(1, commit)));
        AppendEntriesRequest { vote, prev_log_id, leader_commit, entries }
    }

    #[test]
    fn only_an_empty_append_to_a_peer_that_lacks_committed_entries_is_a_sign_of_hunger() {
        let entry = LogEntry { log_id: log_id(1, 6), payload: EntryPayload::Normal(Payload::of("entry".into())) };
        assert!(has_nothing_for_who_needs_more(&request(5, 9, vec![])));
        assert!(!has_nothing_for_who_needs_more(&request(5, 9, vec![entry])), "it gets some of them");
        assert!(!has_nothing_for_who_needs_more(&request(9, 9, vec![])), "a sign of life to one that has all");
    }
}
