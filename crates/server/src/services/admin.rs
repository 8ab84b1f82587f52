//! The service Admin: what keeps the cluster's data safe.

use std::time::Duration;

use quorate_proto::status::{ApiError, to_status};
use quorate_proto::v1;
use quorate_raft::Backup;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::auth::{Action, authorize, principal};
use crate::core::{Shared, read_error};

/// Backups that are read from one replica at once: each pins what it reads on the disk.
pub(crate) const SNAPSHOTS_MAX: usize = 2;
/// Pieces that wait for the client: the next one is read while the last is on its way.
const PIECES_WAITING_MAX: usize = 2;
/// A client that takes nothing for this long is given up, and with it what is pinned.
const SEND_DEADLINE: Duration = Duration::from_secs(60);

/// The service Admin of one replica.
pub(crate) struct AdminService(pub(crate) Shared);

#[tonic::async_trait]
impl v1::admin_server::Admin for AdminService {
    type SaveSnapshotStream = ReceiverStream<Result<v1::SaveSnapshotResponse, Status>>;

    async fn save_snapshot(
        &self,
        request: Request<v1::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        self.0.answer("SaveSnapshot", save(&self.0, request)).await
    }
}

async fn save(
    core: &Shared,
    request: Request<v1::SaveSnapshotRequest>,
) -> Result<ReceiverStream<Result<v1::SaveSnapshotResponse, Status>>, ApiError> {
    authorize(&principal(&request)?, Action::Backup)?;
    if !request.into_inner().stale {
        // Everything that was accepted before is applied here once this ends.
        core.read().await?;
    }
    let permit = core.snapshots.clone().try_acquire_owned().map_err(|_| ApiError::Limit {
        limit: "SNAPSHOTS_MAX".into(),
        max: SNAPSHOTS_MAX as u64,
        advice: "others are reading snapshots from this replica: ask another with --from, or try again later".into(),
    })?;
    let backup = core.replica.backup(core.seams.clock.wall().0).map_err(read_error)?;
    tracing::info!(revision = %backup.revision(), "a snapshot is being read");
    let (pieces, receiver) = mpsc::channel(PIECES_WAITING_MAX);
    tokio::spawn(send(core.clone(), backup, pieces, permit));
    Ok(ReceiverStream::new(receiver))
}

/// Reads piece after piece as the client takes them.
async fn send(
    core: Shared,
    backup: Backup,
    pieces: mpsc::Sender<Result<v1::SaveSnapshotResponse, Status>>,
    permit: OwnedSemaphorePermit,
) {
    let revision = backup.revision();
    for piece in backup.pieces() {
        let message = match piece {
            Ok((piece, digest)) => Ok(v1::SaveSnapshotResponse { piece, digest }),
            Err(error) => Err(to_status(&read_error(error))),
        };
        let sent = tokio::select! {
            biased;
            () = core.stopping.cancelled() => return,
            sent = tokio::time::timeout(SEND_DEADLINE, pieces.send(message)) => sent,
        };
        if !matches!(sent, Ok(Ok(()))) {
            tracing::info!(%revision, "whoever read the snapshot is gone");
            return;
        }
    }
    tracing::info!(%revision, "a snapshot was read to its end");
    drop(permit);
}
