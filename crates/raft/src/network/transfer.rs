//! Sending a snapshot, piece by piece, straight from a view of the disk.

use std::time::Duration;

use quorate_proto::raft::v1 as pb;
use tokio::time::Instant;
use tonic::Status;

use super::Link;
use crate::measures::Way;
use crate::snapshot::{Image, Snapshot, pieces};
use crate::type_config::Vote;
use crate::{store, wire};

/// A piece is answered once it is in memory.
const PIECE_DEADLINE: Duration = Duration::from_secs(10);
/// The last piece is answered once everything is on disk.
const INSTALL_DEADLINE: Duration = Duration::from_secs(120);

/// Sends it and returns the receiver's vote.
pub(super) async fn send(link: &mut Link, vote: Vote, snapshot: Snapshot) -> Result<Vote, Status> {
    let (measures, since) = (link.shared.measures.clone(), Instant::now());
    let sent = send_pieces(link, vote, snapshot).await;
    measures.snapshot_ended(Way::Sent, sent.is_ok());
    if sent.is_ok() {
        measures.snapshot_installed(since);
    }
    sent
}

async fn send_pieces(link: &mut Link, vote: Vote, snapshot: Snapshot) -> Result<Vote, Status> {
    let Image::View(view) = snapshot.snapshot else {
        return Err(Status::internal("a snapshot that came in is installed, not sent on"));
    };
    let failed = |error: &dyn std::error::Error| Status::internal(format!("reading the snapshot: {error}"));
    let applied: Option<pb::Applied> = store::read(&*view, store::APPLIED).map_err(|error| failed(&error))?;
    let mut meta = Some(pb::SnapshotMeta {
        last_log_id: snapshot.meta.last_log_id.as_ref().map(wire::log_id_to),
        membership: Some(wire::stored_membership_to(&snapshot.meta.last_membership)),
        applied,
    });
    let transfer = link.shared.entropy.u64();
    let mut vote_back = None;
    for (sequence, piece) in (0..).zip(pieces(view, link.shared.tuning.snapshot_chunk_bytes)) {
        let (rows, last) = piece.map_err(|error| failed(&error))?;
        let bytes = rows.iter().map(|row| row.key.len() + row.value.len()).sum();
        let chunk = pb::SnapshotChunk {
            header: link.header(),
            vote: Some(wire::vote_to(&vote)),
            // With the first piece only: the receiver keeps it.
            meta: meta.take(),
            transfer,
            sequence,
            rows,
            last,
        };
        let deadline = if last { INSTALL_DEADLINE } else { PIECE_DEADLINE };
        let reply = link
            .call(
                deadline,
                |reply: &pb::SnapshotReply| reply.header.as_ref(),
                |mut client| async move { client.snapshot(chunk).await },
            )
            .await?;
        link.shared.measures.snapshot_piece(Way::Sent, bytes);
        vote_back = reply.vote;
    }
    Ok(wire::vote_from(vote_back)?)
}
