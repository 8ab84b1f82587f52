//! Sending a snapshot, piece by piece, straight from a view of the disk.
//!
//! Each transfer begins with a question: how much of this view is there already? So one that breaks
//! costs what was on its way, and no more.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use quorate_planted::Bug;
use quorate_proto::backup::Chain;
use quorate_proto::raft::v1 as pb;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Link;
use crate::measures::Way;
use crate::snapshot::{Image, Mark, Outgoing, Rows, Snapshot, pieces, place_of};
use crate::type_config::Vote;
use crate::{store, wire};

/// A piece is answered once it is in the hands of the receiver's disk.
const PIECE_DEADLINE: Duration = Duration::from_secs(10);
/// The end is answered once everything is installed, and so is a begin that comes meanwhile.
const INSTALL_DEADLINE: Duration = Duration::from_secs(120);
/// Pieces sent and not yet answered. On a long way the next is there before the answer is back.
const PIECES_AHEAD_MAX: usize = 4;

/// Sends it and returns the receiver's vote.
pub(super) async fn send(link: &mut Link, vote: Vote, snapshot: Snapshot) -> Result<Vote, Status> {
    let (measures, since) = (link.shared.measures.clone(), Instant::now());
    let sent = send_all(link, vote, snapshot).await;
    measures.snapshot_ended(Way::Sent, sent.is_ok());
    match &sent {
        Ok(_) => measures.snapshot_installed(since),
        Err(_) => link.line.give_up(),
    }
    sent
}

async fn send_all(link: &mut Link, vote: Vote, snapshot: Snapshot) -> Result<Vote, Status> {
    let Image::View(out) = snapshot.snapshot else {
        return Err(Status::internal("a snapshot that came in is installed, not sent on"));
    };
    let applied: Option<pb::Applied> = store::read(&*out.view, store::APPLIED).map_err(|error| failed(&error))?;
    let meta = pb::SnapshotMeta {
        last_log_id: snapshot.meta.last_log_id.as_ref().map(wire::log_id_to),
        membership: Some(wire::stored_membership_to(&snapshot.meta.last_membership)),
        applied,
    };
    let begin = pb::SnapshotBegin {
        vote: Some(wire::vote_to(&vote)),
        meta: Some(meta),
        snapshot: out.id(&*link.shared.entropy),
    };
    let mut transfer = Transfer::open(link, out, begin).await?;
    let here = match transfer.reply(INSTALL_DEADLINE).await? {
        Heard::Staged(here) => here,
        Heard::Over(vote) => return Ok(transfer.ended(vote)),
    };
    if let Some(vote) = transfer.send_pieces(&here).await? {
        return Ok(vote);
    }
    match transfer.reply(INSTALL_DEADLINE).await? {
        Heard::Over(vote) => Ok(transfer.ended(vote)),
        Heard::Staged(_) => Err(Status::internal("the end of a snapshot was answered like a piece of it")),
    }
}

/// A transfer under way. Dropped half way, it leaves the receiver with what it has.
struct Transfer<'a> {
    link: &'a mut Link,
    out: Arc<Outgoing>,
    parts: mpsc::Sender<pb::SnapshotPart>,
    replies: Streaming<pb::SnapshotReply>,
}

/// What the receiver says.
enum Heard {
    Staged(pb::StagedSoFar),
    Over(Vote),
}

impl<'a> Transfer<'a> {
    async fn open(link: &'a mut Link, out: Arc<Outgoing>, begin: pb::SnapshotBegin) -> Result<Self, Status> {
        // Beside what is unanswered there is room for the end.
        let (parts, queue) = mpsc::channel(PIECES_AHEAD_MAX + 1);
        let (mut client, patience, header) = (link.client(), link.patience(), link.header());
        let begin = pb::SnapshotPart { header, part: Some(pb::snapshot_part::Part::Begin(begin)) };
        let queued = parts.try_send(begin);
        queued.map_err(|_| Status::internal("no room for the begin of a snapshot"))?;
        let opened = tokio::time::timeout(patience, client.snapshot(ReceiverStream::new(queue))).await;
        let replies = opened.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner();
        Ok(Self { link, out, parts, replies })
    }

    /// Sends what is not there yet, and the end. The receiver's vote if it wants no more.
    async fn send_pieces(&mut self, here: &pb::StagedSoFar) -> Result<Option<Vote>, Status> {
        let view = self.out.view.clone();
        let (rows, mut number, mut chain) = match self.out.after(here.pieces, &here.digest) {
            Some(mark) => {
                self.link.shared.measures.snapshot_resumed(Way::Sent);
                tracing::info!(target = self.link.target, pieces = here.pieces, "a transfer of a snapshot goes on");
                let mut rows = Rows::after(view, &mark.last);
                if quorate_planted::is(Bug::ResumeSkipsRow) {
                    rows.next();
                }
                (rows, here.pieces, mark.chain)
            }
            // With the first piece the receiver drops whatever it has.
            None => (Rows::new(view), 0, Chain::default()),
        };
        let mut pieces = pieces(rows, self.link.shared.tuning.snapshot_chunk_bytes);
        let mut unanswered = 0;
        loop {
            while unanswered < PIECES_AHEAD_MAX
                && let Some(piece) = pieces.next()
            {
                let (rows, _) = piece.map_err(|error| failed(&error))?;
                // After the last row there is one without any.
                let Some(last) = rows.last().map(place_of) else { continue };
                let rows = bytes::Bytes::from(pb::SnapshotRows { rows }.encode_to_vec());
                chain = chain.with(&rows);
                self.out.cut(number, Mark { last, chain });
                self.link.shared.measures.snapshot_piece(Way::Sent, rows.len());
                let digest = bytes::Bytes::copy_from_slice(chain.digest());
                self.say(pb::snapshot_part::Part::Piece(pb::SnapshotPiece { number, rows, digest }));
                (number, unanswered) = (number + 1, unanswered + 1);
            }
            if unanswered == 0 {
                self.say(pb::snapshot_part::Part::End(pb::SnapshotEnd { pieces: number }));
                return Ok(None);
            }
            match self.reply(PIECE_DEADLINE).await? {
                Heard::Staged(_) => self.link.shared.views.took(&self.out, self.link.target),
                Heard::Over(vote) => return Ok(Some(self.ended(vote))),
            }
            unanswered -= 1;
        }
    }

    /// There is room for all that may be unanswered. When the stream has broken, the next reply says so.
    fn say(&self, part: pb::snapshot_part::Part) {
        let _ = self.parts.try_send(pb::SnapshotPart { header: self.link.header(), part: Some(part) });
    }

    async fn reply(&mut self, deadline: Duration) -> Result<Heard, Status> {
        let message = tokio::time::timeout(deadline, self.replies.message()).await;
        let message = message.map_err(|_| Status::deadline_exceeded("no answer in time"))??;
        let reply = message.ok_or_else(|| Status::unavailable("the receiver of a snapshot went away"))?;
        self.link.shared.gate.check_answer(reply.header.as_ref()).await?;
        self.link.line.answered();
        match reply.outcome.ok_or(wire::WireError::Missing("reply.outcome"))? {
            pb::snapshot_reply::Outcome::Staged(here) => Ok(Heard::Staged(here)),
            pb::snapshot_reply::Outcome::Over(vote) => Ok(Heard::Over(wire::vote_from(Some(vote))?)),
        }
    }

    fn ended(&self, vote: Vote) -> Vote {
        self.link.shared.views.ended(&self.out, self.link.target);
        vote
    }
}

fn failed(error: &dyn std::error::Error) -> Status {
    Status::internal(format!("reading the snapshot: {error}"))
}
