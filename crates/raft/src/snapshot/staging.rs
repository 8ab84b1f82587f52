//! What has come in of a snapshot: on disk, piece by piece, until it is whole.
//!
//! On disk, because a replica that restarts half way goes on where it was, and because memory holds one
//! piece at a time, also while it is installed. Nothing waits for the device: pieces that a loss of power
//! takes come again. What is found after a restart is believed only after its digests were checked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use quorate_proto::backup::Chain;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Batch, DiskError, DiskView, Durability, NewRows, Table};
use tokio::time::Instant;

use super::{Received, TableRow, row_from};
use crate::store::{self, STAGED, Store};
use crate::wire;

/// No snapshot that comes in may be larger.
pub(crate) const SNAPSHOT_BYTES_MAX: usize = 8 << 30;

/// What is staged is dropped when nothing was added for so long. Its sender has given up by then.
const STAGED_IDLE_MAX: Duration = Duration::from_secs(600);

/// The one snapshot that comes in.
pub(crate) struct Staging {
    store: Store,
    staged: Option<Staged>,
    /// The disk was searched for what an earlier start of this replica had staged.
    searched: bool,
    /// Transfers so far. Only the latest may add pieces.
    transfers: u64,
    touched: Instant,
}

struct Staged {
    record: pb::Staged,
    pieces: u64,
    chain: Chain,
    bytes: usize,
}

/// Why a piece, or a whole, was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StagingError {
    /// A later transfer goes on; this one is over.
    #[error("another transfer has begun")]
    Overtaken,
    /// What was staged is dropped.
    #[error("{0}: start again")]
    Wrong(&'static str),
    /// The disk failed.
    #[error("staging a snapshot failed")]
    Disk(#[from] crate::Error),
}

impl Staging {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, staged: None, searched: false, transfers: 0, touched: Instant::now() }
    }

    /// A transfer begins: its number, and how much of its snapshot is here. What is here of another
    /// snapshot is dropped.
    pub(crate) async fn begin(&mut self, record: pb::Staged) -> Result<(u64, pb::StagedSoFar), StagingError> {
        self.transfers += 1;
        self.search().await?;
        if self.staged.as_ref().is_none_or(|staged| staged.record != record) {
            self.restart(record).await?;
        }
        self.touched = Instant::now();
        Ok((self.transfers, self.so_far()))
    }

    /// Takes the next piece, or the first one again.
    pub(crate) async fn take(
        &mut self,
        transfer: u64,
        piece: pb::SnapshotPiece,
    ) -> Result<pb::StagedSoFar, StagingError> {
        self.may_add(transfer)?;
        if let Some(staged) = self.staged.take_if(|staged| piece.number == 0 && staged.pieces > 0) {
            self.restart(staged.record).await?;
        }
        let Some(staged) = &mut self.staged else { return Err(StagingError::Overtaken) };
        let bytes = staged.bytes + piece.rows.len();
        let wrong = match staged.next(&piece) {
            Ok(_) if bytes > SNAPSHOT_BYTES_MAX => Some("the snapshot is over SNAPSHOT_BYTES_MAX"),
            Ok(chain) => {
                (staged.chain, staged.pieces, staged.bytes) = (chain, staged.pieces + 1, bytes);
                None
            }
            Err(wrong) => Some(wrong),
        };
        if let Some(wrong) = wrong {
            self.clear().await?;
            return Err(StagingError::Wrong(wrong));
        }
        let mut batch = Batch::default();
        store::put(&mut batch, store::staged_piece(piece.number), &piece);
        self.write(batch).await?;
        self.touched = Instant::now();
        Ok(self.so_far())
    }

    /// All of it, if it has so many pieces and each is still what it was.
    pub(crate) async fn whole(
        &mut self,
        transfer: u64,
        pieces: u64,
    ) -> Result<(pb::SnapshotMeta, Received), StagingError> {
        self.may_add(transfer)?;
        let Some(staged) = &self.staged else { return Err(StagingError::Overtaken) };
        let meta = staged.record.meta.clone();
        let view = self.store.disk().view();
        let is_whole = staged.pieces == pieces && self.is_sound(&*view, pieces).await?;
        match meta {
            Some(meta) if is_whole => {
                let applied = meta.applied.clone().unwrap_or_default();
                let rows = move || -> NewRows { Box::new(StagedRows::new(view.clone(), pieces)) };
                Ok((meta, Received { applied, rows: Box::new(rows) }))
            }
            _ => {
                self.clear().await?;
                Err(StagingError::Wrong("what is staged of the snapshot is not what was sent"))
            }
        }
    }

    /// Drops what is staged.
    pub(crate) async fn clear(&mut self) -> Result<(), StagingError> {
        self.staged = None;
        let mut batch = Batch::default();
        batch.delete(Table::Raft, STAGED);
        batch.delete_range(Table::Raft, store::staged_piece(0), store::staged_end());
        self.write(batch).await
    }

    /// Drops what nobody adds to any more.
    pub(crate) async fn tidy(&mut self) -> Result<(), StagingError> {
        if self.touched.elapsed() < STAGED_IDLE_MAX {
            return Ok(());
        }
        let there = self.staged.is_some() || (!self.searched && self.record()?.is_some());
        self.searched = true;
        if there { self.clear().await } else { Ok(()) }
    }

    /// Makes sure that only the latest transfer adds anything: a broken one may still have pieces on
    /// their way.
    fn may_add(&self, transfer: u64) -> Result<(), StagingError> {
        if transfer == self.transfers { Ok(()) } else { Err(StagingError::Overtaken) }
    }

    fn so_far(&self) -> pb::StagedSoFar {
        let staged = self.staged.as_ref().filter(|staged| staged.pieces > 0);
        staged.map_or_else(Default::default, |staged| pb::StagedSoFar {
            pieces: staged.pieces,
            digest: Bytes::copy_from_slice(staged.chain.digest()),
        })
    }

    async fn restart(&mut self, record: pb::Staged) -> Result<(), StagingError> {
        self.clear().await?;
        let mut batch = Batch::default();
        store::put(&mut batch, STAGED, &record);
        self.write(batch).await?;
        self.staged = Some(Staged::new(record));
        Ok(())
    }

    /// Finds what an earlier start of this replica had staged. One piece that is not what it was spoils
    /// the whole: such a disk is not to be trusted with the rest.
    async fn search(&mut self) -> Result<(), StagingError> {
        if std::mem::replace(&mut self.searched, true) {
            return Ok(());
        }
        let Some(record) = self.record()? else { return Ok(()) };
        let mut staged = Staged::new(record);
        let view = self.store.disk().view();
        while let Some(bytes) = stored(&*view, staged.pieces)? {
            let piece: Option<pb::SnapshotPiece> = wire::decode("a piece", bytes).ok();
            let Some(Ok(chain)) = piece.as_ref().map(|piece| staged.next(piece)) else {
                tracing::warn!(piece = staged.pieces, "a staged piece of a snapshot is damaged");
                return self.clear().await;
            };
            staged.bytes += piece.map_or(0, |piece| piece.rows.len());
            (staged.chain, staged.pieces) = (chain, staged.pieces + 1);
            tokio::task::yield_now().await;
        }
        self.staged = Some(staged);
        Ok(())
    }

    /// True when every piece is what it was, and its rows can be read.
    async fn is_sound(&self, view: &dyn DiskView, pieces: u64) -> Result<bool, StagingError> {
        let mut chain = Chain::default();
        for number in 0..pieces {
            let Some(bytes) = stored(view, number)? else { return Ok(false) };
            let Ok(piece) = wire::decode::<pb::SnapshotPiece>("a piece", bytes) else { return Ok(false) };
            chain = chain.with(&piece.rows);
            if chain.digest()[..] != piece.digest || rows_of(piece).is_none() {
                return Ok(false);
            }
            // A large one shares the thread with elections.
            tokio::task::yield_now().await;
        }
        Ok(self.staged.as_ref().is_some_and(|staged| staged.chain == chain))
    }

    fn record(&self) -> Result<Option<pb::Staged>, StagingError> {
        Ok(store::read(&*self.store.disk().view(), STAGED)?)
    }

    async fn write(&self, batch: Batch) -> Result<(), StagingError> {
        Ok(self.store.disk().submit(batch, Durability::Buffered).await.map_err(crate::Error::from)?)
    }
}

impl Staged {
    fn new(record: pb::Staged) -> Self {
        Self { record, pieces: 0, chain: Chain::default(), bytes: 0 }
    }

    /// The digest of all pieces up to this one, if it is the next.
    fn next(&self, piece: &pb::SnapshotPiece) -> Result<Chain, &'static str> {
        let chain = self.chain.with(&piece.rows);
        if piece.number != self.pieces {
            Err("a piece of the snapshot is missing")
        } else if chain.digest()[..] != piece.digest {
            Err("a piece of the snapshot is not what was sent")
        } else {
            Ok(chain)
        }
    }
}

/// The rows of staged pieces, one piece in memory at a time.
struct StagedRows {
    view: Arc<dyn DiskView>,
    pieces: std::ops::Range<u64>,
    rows: std::vec::IntoIter<TableRow>,
}

impl StagedRows {
    fn new(view: Arc<dyn DiskView>, pieces: u64) -> Self {
        Self { view, pieces: 0..pieces, rows: vec![].into_iter() }
    }

    fn read(&self, number: u64) -> Result<Vec<TableRow>, DiskError> {
        let piece = self.view.get(Table::Raft, &store::staged_piece(number))?;
        let piece = piece.and_then(|bytes| wire::decode("a piece", bytes).ok());
        piece.and_then(rows_of).ok_or_else(|| DiskError::Corrupt(format!("staged piece {number} of a snapshot")))
    }
}

impl Iterator for StagedRows {
    type Item = Result<TableRow, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            let number = self.pieces.next()?;
            match self.read(number) {
                Ok(rows) => self.rows = rows.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn stored(view: &dyn DiskView, number: u64) -> Result<Option<Bytes>, StagingError> {
    Ok(view.get(Table::Raft, &store::staged_piece(number)).map_err(crate::Error::from)?)
}

/// The rows of a piece, if they can be read.
fn rows_of(piece: pb::SnapshotPiece) -> Option<Vec<TableRow>> {
    let decoded = pb::SnapshotRows::decode(piece.rows).ok()?;
    decoded.rows.into_iter().map(|row| row_from(row).ok()).collect()
}

#[cfg(test)]
mod tests;
