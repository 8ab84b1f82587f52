//! Backups as bytes: pieces bound to each other by a chain of digests, and a file of them.
//!
//! A file is [`MAGIC`] and then, per piece, its length (4 bytes, big-endian), the digest of the chain
//! up to it (32 bytes) and the encoded piece. Whatever is cut off, flipped, doubled or exchanged
//! breaks the chain, and what comes after the end is no part of a backup.

mod reader;

/// The persisted messages, generated.
pub mod v1 {
    #![allow(clippy::all, clippy::pedantic, unreachable_pub, rustdoc::all)]
    tonic::include_proto!("quorate.backup.v1");
}

use std::io;

use prost::Message as _;

use crate::format::BACKUP_FORMAT;
pub use reader::Reader;
use v1::piece::Piece as Kind;

/// What a file begins with.
pub const MAGIC: &[u8; 16] = b"quorate snapshot";
/// Bytes of one piece. A row may have as many as a log entry, and a message between replicas holds it.
pub const PIECE_BYTES_MAX: usize = 64 << 20;
/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 32;

/// Why a backup was refused.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something else altogether.
    #[error("this is not a snapshot of quorate")]
    NotASnapshot,
    /// It ends in the middle.
    #[error("the snapshot is cut off after {pieces} pieces: use another copy of it")]
    CutOff {
        /// Whole ones.
        pieces: u64,
    },
    /// Its bytes are not those that were written.
    #[error("the snapshot is damaged at piece {piece}: use another copy of it")]
    Damaged {
        /// Counted from 0.
        piece: u64,
    },
    /// Pieces that no version known here writes in this order or number.
    #[error("the snapshot is not complete or not in order: {0}")]
    Shape(&'static str),
    /// Written by a newer version.
    #[error("the snapshot has format {found}, this version reads up to {max}: use a newer version of quorate")]
    Newer {
        /// Its number.
        found: u32,
        /// The highest number known.
        max: u32,
    },
    /// The file cannot be read or written.
    #[error("the file of the snapshot failed")]
    File(#[from] io::Error),
}

/// The digest of all pieces so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain([u8; DIGEST_BYTES]);

impl Chain {
    /// The chain with one more piece.
    pub fn with(self, piece: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(piece);
        Self(hasher.finalize().into())
    }

    /// The digest.
    pub fn digest(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }

    /// The digest as 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// The bytes of a piece.
pub fn encode_piece(piece: Kind) -> Vec<u8> {
    v1::Piece { piece: Some(piece) }.encode_to_vec()
}

/// The piece in `bytes`, which is number `number`. The header's format is looked at before anything
/// that a later version could have added.
fn decode_piece(bytes: &[u8], number: u64) -> Result<Kind, BackupError> {
    let damaged = BackupError::Damaged { piece: number };
    let Ok(piece) = v1::Piece::decode(bytes) else { return Err(damaged) };
    if let Some(Kind::Header(header)) = &piece.piece
        && header.format > BACKUP_FORMAT
    {
        return Err(BackupError::Newer { found: header.format, max: BACKUP_FORMAT });
    }
    let is_faithful = piece.encode_to_vec() == bytes;
    piece.piece.filter(|_| is_faithful).ok_or(BackupError::Shape("it has parts that this version does not know"))
}

/// Puts pieces into a file as they come, and checks each against the chain.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    chain: Chain,
    pieces: u64,
    header: Option<v1::Header>,
    end: Option<v1::End>,
    bytes: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// What the backup is of.
    pub header: v1::Header,
    /// How many rows.
    pub end: v1::End,
    /// Of the whole.
    pub digest: Chain,
    /// Of the file.
    pub bytes: u64,
}

impl<W: io::Write> Writer<W> {
    /// Begins a file.
    pub fn begin(mut out: W) -> Result<Self, BackupError> {
        out.write_all(MAGIC)?;
        Ok(Self { out, chain: Chain::default(), pieces: 0, header: None, end: None, bytes: MAGIC.len() as u64 })
    }

    /// Adds the next piece, which must come with the digest that the chain has with it.
    pub fn add(&mut self, piece: &[u8], digest: &[u8]) -> Result<(), BackupError> {
        let number = self.pieces;
        let next = self.chain.with(piece);
        if piece.len() > PIECE_BYTES_MAX || next.digest() != digest {
            return Err(BackupError::Damaged { piece: number });
        }
        match (decode_piece(piece, number)?, number, &self.end) {
            (_, _, Some(_)) => return Err(BackupError::Shape("something follows the end")),
            (Kind::Header(header), 0, None) => self.header = Some(header),
            (Kind::Header(_), _, None) | (Kind::Rows(_) | Kind::End(_), 0, None) => {
                return Err(BackupError::Shape("the header must come first, and once"));
            }
            (Kind::Rows(_), _, None) => {}
            (Kind::End(end), _, None) => self.end = Some(end),
        }
        let length = u32::try_from(piece.len()).map_err(|_| BackupError::Damaged { piece: number })?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(digest)?;
        self.out.write_all(piece)?;
        (self.chain, self.pieces) = (next, number + 1);
        self.bytes += (4 + DIGEST_BYTES + piece.len()) as u64;
        Ok(())
    }

    /// The whole, if it is one, and what it was written to.
    pub fn finish(mut self) -> Result<(Written, W), BackupError> {
        let (Some(header), Some(end)) = (self.header, self.end) else {
            return Err(BackupError::CutOff { pieces: self.pieces });
        };
        self.out.flush()?;
        Ok((Written { header, end, digest: self.chain, bytes: self.bytes }, self.out))
    }
}

#[cfg(test)]
mod tests;
