//! Backups: a point in time of a replica's disk on the way out, and a file of one on the way in.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::backup::v1::piece::Piece;
use quorate_proto::backup::{BackupError, Chain, Reader, encode_piece, v1 as pb};
use quorate_proto::format::BACKUP_FORMAT;
use quorate_proto::raft::v1::Applied;
use quorate_proto::rows::{SpecCache, decode_event, decode_row, is_archived};
use quorate_seams::{Disk, DiskView, Row, Table};
use quorate_state::{Change, ClusterId, Meta, Revision, State};

use crate::life::{self, Home, NewLife};
use crate::snapshot::{Rows, pieces, row_from};
use crate::{ReadError, Seams, store, wire};

/// Bytes of rows in one piece; a larger row is a piece of its own.
const PIECE_BYTES: usize = 1 << 20;

/// A point in time of a replica, to be read piece by piece.
pub struct Backup {
    view: Arc<dyn DiskView>,
    header: pb::Header,
}

impl Backup {
    /// What `view` holds. `replica` and `taken_at_ms` say where it comes from.
    pub(crate) fn take(view: Arc<dyn DiskView>, replica: u64, taken_at_ms: u64) -> Result<Self, ReadError> {
        let storage = |error: &dyn std::error::Error| ReadError::Storage(store::with_causes(error));
        let applied: Applied =
            store::read(&*view, store::APPLIED).map_err(|error| storage(&error))?.unwrap_or_default();
        let first = view.scan(Table::State, &[], None, 1).map_err(|error| storage(&error))?;
        let meta = first.first().map(|(key, value)| decode_row(key, value, &mut SpecCache::default()));
        let Some(Change::Meta(meta)) = meta.transpose().map_err(|error| storage(&error))? else {
            return Err(ReadError::Unavailable("this replica holds nothing yet".into()));
        };
        if meta.cluster == ClusterId::default() {
            return Err(ReadError::Unavailable("the cluster is being initialised: try again in a moment".into()));
        }
        let header = pb::Header {
            format: BACKUP_FORMAT,
            cluster: wire::uuid_to(meta.cluster),
            incarnation: meta.incarnation,
            base: applied.base,
            revision: meta.revision.0,
            taken_at_ms,
            replica,
            history: applied.digest,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Self { view, header })
    }

    /// The revision of everything in it.
    pub fn revision(&self) -> Revision {
        Revision(self.header.revision)
    }

    /// The encoded pieces in their order, each with the digest of all up to it. It ends after an error.
    pub fn pieces(self) -> impl Iterator<Item = Result<(Bytes, Bytes), ReadError>> + Send {
        let mut rows = pieces(Rows::new(self.view), PIECE_BYTES);
        let mut chain = Chain::default();
        let mut end = Some(pb::End::default());
        let mut header = Some(self.header);
        std::iter::from_fn(move || {
            let piece = if let Some(header) = header.take() {
                Piece::Header(header)
            } else {
                match rows.next() {
                    Some(Ok((rows, _))) => {
                        let events = rows.iter().filter(|row| row.table == 2).count() as u64;
                        let end = end.as_mut()?;
                        end.event_rows += events;
                        end.state_rows += rows.len() as u64 - events;
                        Piece::Rows(pb::Rows { rows })
                    }
                    Some(Err(error)) => {
                        end = None;
                        return Some(Err(ReadError::Storage(store::with_causes(&error))));
                    }
                    None => Piece::End(end.take()?),
                }
            };
            let bytes = encode_piece(piece);
            chain = chain.with(&bytes);
            Some(Ok((bytes.into(), Bytes::copy_from_slice(chain.digest()))))
        })
    }
}

/// Why a file was not taken for a backup, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file is damaged, incomplete, newer, or something else.
    #[error(transparent)]
    File(#[from] BackupError),
    /// What it says is not what a replica would store.
    #[error("the snapshot holds what no replica stores: {0}: use another copy of it")]
    Content(String),
    /// It is of another cluster than expected.
    #[error("the snapshot is of cluster {found}, expected was {expected}")]
    OtherCluster { found: ClusterId, expected: ClusterId },
    /// Something is on the disk already.
    #[error("there is a store already: restore into an empty directory")]
    NotEmpty,
    /// The clock of this machine is behind the data.
    #[error(transparent)]
    Clock(#[from] life::ClockBehind),
    /// The store that is made.
    #[error("the new store failed")]
    Store(#[source] quorate_seams::DiskError),
}

/// What a backup is of, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// BACKUP_FORMAT of whoever wrote it.
    pub format: u32,
    /// The version of quorate that wrote it.
    pub version: String,
    /// Whose data.
    pub cluster: ClusterId,
    /// Which life of it.
    pub incarnation: u64,
    /// Revision = base + index in that life.
    pub base: u64,
    /// The last entry that is in it.
    pub revision: Revision,
    /// On the clock of the replica that was asked.
    pub taken_at_ms: u64,
    /// That replica.
    pub replica: u64,
    /// The running digest of the history up to the revision, in hexadecimal digits.
    pub history: String,
    /// The digest of the whole, in hexadecimal digits.
    pub digest: String,
    /// Of the file.
    pub bytes: u64,
    /// Rows by what they are, in the order of the store.
    pub counts: Vec<(&'static str, u64)>,
}

/// A backup that was read whole and holds together.
pub struct Loaded {
    summary: Summary,
    state: State,
    /// Rows of the state, the archive included, in order.
    rows: Vec<Row>,
}

impl Loaded {
    /// Reads a backup to its end and checks all that can be: every digest, that every row is one that
    /// this version would write, and that together they are a state.
    pub fn read(input: impl io::Read) -> Result<Self, RestoreError> {
        let content = |why: &dyn std::fmt::Display| RestoreError::Content(why.to_string());
        let mut reader = Reader::open(input)?;
        let mut state = State::default();
        let mut specs = SpecCache::default();
        let mut rows: Vec<Row> = Vec::new();
        let mut last: Option<(Table, Bytes)> = None;
        while let Some(more) = reader.rows()? {
            for row in more {
                let (table, (key, value)) = row_from(row).map_err(|error| content(&error))?;
                if last.as_ref().is_some_and(|(before, last)| (*before, last) >= (table, &key)) {
                    return Err(content(&"its rows are not in order"));
                }
                last = Some((table, key.clone()));
                match table {
                    Table::State if is_archived(&key) => {}
                    Table::State => {
                        state.commit(&decode_row(&key, &value, &mut specs).map_err(|error| content(&error))?);
                    }
                    // Events are not restored: they would tell watchers of a past that has a gap behind it.
                    Table::Events => {
                        decode_event(&key, &value).map_err(|error| content(&error))?;
                        continue;
                    }
                    Table::Log | Table::Raft => return Err(content(&"a row of an unknown table")),
                }
                rows.push((key, value));
            }
        }
        let broken = state.check();
        if let Some(first) = broken.first() {
            return Err(content(&format!("{first} ({} findings)", broken.len())));
        }
        let summary = summary(&reader, &state)?;
        Ok(Self { summary, state, rows })
    }

    /// What it is.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Fills an empty disk with the one replica of a new cluster whose data goes on from here.
    pub async fn restore(self, home: Home, seams: &Seams) -> Result<NewLife, RestoreError> {
        for table in Table::ALL {
            if seams.disk.view().last(table, None).map_err(RestoreError::Store)?.is_some() {
                return Err(RestoreError::NotEmpty);
            }
        }
        let base = life::base_at(seams.clock.wall(), self.state.revision())?;
        let (life, and) = life::begin(&self.state, base, life::FIRST_REPLICA, 0, home, &*seams.entropy);
        let rows = self.rows.into_iter().map(|row| Ok((Table::State, row)));
        let disk: &dyn Disk = &*seams.disk;
        disk.replace(&Table::ALL, Box::new(rows), and).await.map_err(RestoreError::Store)?;
        Ok(life)
    }
}

fn summary<R: io::Read>(reader: &Reader<R>, state: &State) -> Result<Summary, RestoreError> {
    let header = reader.header();
    let cluster =
        wire::uuid_from("cluster", &header.cluster).map_err(|error| RestoreError::Content(error.to_string()))?;
    let Meta { cluster: meant, incarnation, revision, .. } = state.meta();
    if (cluster, header.incarnation, header.revision) != (*meant, *incarnation, revision.0) {
        return Err(RestoreError::Content("its header and its rows are of different data".into()));
    }
    let mut counts = state.counts();
    counts.push(("events", reader.counts().event_rows));
    Ok(Summary {
        format: header.format,
        version: header.version.clone(),
        cluster,
        incarnation: header.incarnation,
        base: header.base,
        revision: Revision(header.revision),
        taken_at_ms: header.taken_at_ms,
        replica: header.replica,
        history: header.history.iter().map(|byte| format!("{byte:02x}")).collect(),
        digest: reader.digest().hex(),
        bytes: reader.bytes(),
        counts,
    })
}
