//! Receiving a snapshot: staged piece by piece, installed when it is whole.

use std::sync::Arc;

use futures_util::Stream;
use openraft::async_runtime::WatchReceiver as _;
use quorate_planted::Bug;
use quorate_proto::raft::v1 as pb;
use quorate_proto::raft::v1::snapshot_part::Part;
use quorate_proto::raft::v1::snapshot_reply::Outcome;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

use crate::gate::Gate;
use crate::halt::Halt;
use crate::measures::{Measures, Way};
use crate::snapshot::{Image, Snapshot, Staging, StagingError};
use crate::state_machine::Published;
use crate::type_config::{Raft, SnapshotMeta, Vote};
use crate::wire::{self, WireError};
use crate::{StopReason, store};

/// What the receivers of all streams share.
#[derive(Clone)]
pub(crate) struct Inbox {
    /// Locked while a snapshot is installed.
    pub(crate) staging: Arc<Mutex<Staging>>,
    /// Where installing goes on when the stream that brought the snapshot breaks.
    pub(crate) tasks: TaskTracker,
    pub(crate) halt: Halt,
}

/// The receiving end of one stream.
pub(super) struct Receiver {
    raft: Raft,
    gate: Arc<Gate>,
    published: Arc<Published>,
    inbox: Inbox,
    transfer: Option<Transfer>,
    counted: Counted,
}

/// What the stream began with.
#[derive(Clone, Copy)]
struct Transfer {
    number: u64,
    vote: Vote,
}

/// Counts the end of a transfer, also where its stream just breaks.
struct Counted {
    measures: Arc<Measures>,
    begun: bool,
    whole: bool,
}

impl Receiver {
    pub(super) fn new(
        raft: Raft,
        gate: Arc<Gate>,
        published: Arc<Published>,
        measures: Arc<Measures>,
        inbox: Inbox,
    ) -> Self {
        let counted = Counted { measures, begun: false, whole: false };
        Self { raft, gate, published, inbox, transfer: None, counted }
    }

    /// One answer to each part, until the first that ends it.
    pub(super) fn answers(
        self,
        parts: Streaming<pb::SnapshotPart>,
    ) -> impl Stream<Item = Result<pb::SnapshotReply, Status>> + Send + 'static {
        futures_util::stream::unfold(Some((self, parts)), |state| async move {
            let (mut receiver, mut parts) = state?;
            // A stream that breaks ends like one that is closed: what it brought stays.
            let part = parts.message().await.ok().flatten()?;
            let answer = receiver.hear(part).await;
            let goes_on = matches!(&answer, Ok(reply) if matches!(reply.outcome, Some(Outcome::Staged(_))));
            Some((answer, goes_on.then_some((receiver, parts))))
        })
    }

    async fn hear(&mut self, message: pb::SnapshotPart) -> Result<pb::SnapshotReply, Status> {
        let from = self.gate.check(message.header.as_ref()).await?;
        let outcome = match message.part.ok_or(WireError::Missing("part"))? {
            Part::Begin(begin) => self.begin(begin).await?,
            Part::Piece(piece) => self.piece(piece).await?,
            Part::End(end) => self.install(end).await?,
        };
        Ok(pb::SnapshotReply { header: Some(self.gate.header(from)), outcome: Some(outcome) })
    }

    async fn begin(&mut self, begin: pb::SnapshotBegin) -> Result<Outcome, Status> {
        let vote = wire::vote_from(begin.vote)?;
        self.counted.begun = true;
        // While the same snapshot is installed, for which another stream brought it, this waits.
        let mut staging = self.inbox.staging.lock().await;
        let ours = self.raft.metrics().borrow_watched().vote;
        let last = begin.meta.as_ref().and_then(|meta| meta.last_log_id).map(|id| id.index);
        let is_past = last.is_some_and(|last| self.published.has_applied(last));
        if ours > vote || is_past {
            self.counted.whole = is_past;
            return Ok(Outcome::Over(wire::vote_to(&ours)));
        }
        let begun = staging.begin(pb::Staged { snapshot: begin.snapshot, meta: begin.meta }).await;
        let (number, here) = begun.map_err(|error| refused(&self.inbox.halt, &error))?;
        if here.pieces > 0 {
            self.counted.measures.snapshot_resumed(Way::Received);
        }
        self.transfer = Some(Transfer { number, vote });
        Ok(Outcome::Staged(here))
    }

    async fn piece(&mut self, piece: pb::SnapshotPiece) -> Result<Outcome, Status> {
        let Transfer { number, .. } = self.transfer.ok_or(WireError::Missing("begin"))?;
        self.counted.measures.snapshot_piece(Way::Received, piece.rows.len());
        let taken = self.inbox.staging.lock().await.take(number, piece).await;
        Ok(Outcome::Staged(taken.map_err(|error| refused(&self.inbox.halt, &error))?))
    }

    async fn install(&mut self, end: pb::SnapshotEnd) -> Result<Outcome, Status> {
        let transfer = self.transfer.ok_or(WireError::Missing("begin"))?;
        if quorate_planted::is(Bug::InstallRefused) {
            return Err(Status::unavailable("not now"));
        }
        let installing = install(self.raft.clone(), self.inbox.clone(), transfer, end.pieces);
        let installed = self.inbox.tasks.spawn(installing).await;
        let vote = installed.map_err(|error| Status::internal(error.to_string()))??;
        self.counted.whole = vote <= transfer.vote;
        Ok(Outcome::Over(wire::vote_to(&vote)))
    }
}

/// Hands what is staged to openraft, and drops it when it is installed.
async fn install(raft: Raft, inbox: Inbox, transfer: Transfer, pieces: u64) -> Result<Vote, Status> {
    let mut staging = inbox.staging.lock().await;
    let whole = staging.whole(transfer.number, pieces).await;
    let (meta, received) = whole.map_err(|error| refused(&inbox.halt, &error))?;
    let meta = SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(wire::log_id_from),
        last_membership: wire::stored_membership_from(meta.membership)?,
    };
    let snapshot = Snapshot { meta, snapshot: Image::Rows(Box::new(received)) };
    let installed = raft.install_full_snapshot(transfer.vote, snapshot).await;
    let response = installed.map_err(|error| Status::unavailable(error.to_string()))?;
    staging.clear().await.map_err(|error| refused(&inbox.halt, &error))?;
    Ok(response.vote)
}

/// What the sender hears. A disk that failed ends this replica: nobody else hears of it.
fn refused(halt: &Halt, error: &StagingError) -> Status {
    let why = store::with_causes(error);
    match error {
        StagingError::Disk(_) => {
            halt.because(StopReason::Storage(why.clone()));
            Status::internal(why)
        }
        StagingError::Overtaken | StagingError::Wrong(_) => Status::aborted(why),
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.begun {
            self.measures.snapshot_ended(Way::Received, self.whole);
        }
    }
}
