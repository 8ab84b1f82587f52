//! Reads a backup from a file, and believes nothing of it before the chain says so.

use std::io;

use super::v1::piece::Piece as Kind;
use super::{BackupError, Chain, DIGEST_BYTES, MAGIC, PIECE_BYTES_MAX, decode_piece, v1};
use crate::raft::v1::SnapshotRow;

/// A backup that is being read: its header is known, rows follow.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    chain: Chain,
    pieces: u64,
    bytes: u64,
    header: v1::Header,
    counts: v1::End,
    is_over: bool,
}

impl<R: io::Read> Reader<R> {
    /// Reads the header.
    pub fn open(mut input: R) -> Result<Self, BackupError> {
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
            Err(_) => return Err(BackupError::NotASnapshot),
            Ok(()) if magic != *MAGIC => return Err(BackupError::NotASnapshot),
            Ok(()) => {}
        }
        let mut reader = Self {
            input,
            chain: Chain::default(),
            pieces: 0,
            bytes: MAGIC.len() as u64,
            header: v1::Header::default(),
            counts: v1::End::default(),
            is_over: false,
        };
        let Kind::Header(header) = reader.piece()? else {
            return Err(BackupError::Shape("it does not begin with a header"));
        };
        Ok(Self { header, ..reader })
    }

    /// What the backup is of.
    pub fn header(&self) -> &v1::Header {
        &self.header
    }

    /// The next rows; none once the end was read, found to be right and found to be the end.
    pub fn rows(&mut self) -> Result<Option<Vec<SnapshotRow>>, BackupError> {
        if self.is_over {
            return Ok(None);
        }
        match self.piece()? {
            Kind::Header(_) => Err(BackupError::Shape("it has two headers")),
            Kind::Rows(rows) => {
                let events = rows.rows.iter().filter(|row| row.table == 2).count() as u64;
                self.counts.event_rows += events;
                self.counts.state_rows += rows.rows.len() as u64 - events;
                Ok(Some(rows.rows))
            }
            Kind::End(end) if end != self.counts => Err(BackupError::Shape("its end counts other rows")),
            Kind::End(_) => {
                if self.input.read(&mut [0])? > 0 {
                    return Err(BackupError::Shape("something follows the end"));
                }
                self.is_over = true;
                Ok(None)
            }
        }
    }

    /// Rows read so far; all of them at the end.
    pub fn counts(&self) -> v1::End {
        self.counts
    }

    /// The digest of what was read so far.
    pub fn digest(&self) -> Chain {
        self.chain
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn piece(&mut self) -> Result<Kind, BackupError> {
        let number = self.pieces;
        let (mut length, mut digest) = ([0; 4], [0; DIGEST_BYTES]);
        self.fill(&mut length)?;
        self.fill(&mut digest)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > PIECE_BYTES_MAX {
            return Err(BackupError::Damaged { piece: number });
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        let next = self.chain.with(&bytes);
        if *next.digest() != digest {
            return Err(BackupError::Damaged { piece: number });
        }
        let piece = decode_piece(&bytes, number)?;
        (self.chain, self.pieces) = (next, number + 1);
        self.bytes += (4 + DIGEST_BYTES + length) as u64;
        Ok(piece)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::CutOff { pieces: self.pieces },
            _ => error.into(),
        })
    }
}
