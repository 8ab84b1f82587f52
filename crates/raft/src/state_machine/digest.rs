//! The running hash of everything that was ever applied, by which replicas compare their histories.

use bytes::Bytes;
use quorate_proto::rows::RowWrite;
use quorate_state::Revision;

/// BLAKE3 of the digest before and the writes of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

/// The digest of an entry in the making.
pub(crate) struct Hasher(blake3::Hasher);

impl Digest {
    /// Starts the digest after this one.
    pub(crate) fn next(self, revision: Revision) -> Hasher {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&revision.0.to_be_bytes());
        Hasher(hasher)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl Hasher {
    pub(crate) fn add(&mut self, write: &RowWrite) {
        match write {
            RowWrite::Put { key, value } => self.part(0, &[key, value]),
            RowWrite::Delete { key } => self.part(1, &[key]),
            RowWrite::DeleteEventsBelow { to } => self.part(2, &[to]),
            RowWrite::DeleteRange { from, to } => self.part(4, &[from, to]),
            RowWrite::All(writes) => writes.iter().for_each(|write| self.add(write)),
        }
    }

    pub(crate) fn add_event(&mut self, key: &[u8], value: &[u8]) {
        self.part(3, &[key, value]);
    }

    pub(crate) fn done(self) -> Digest {
        Digest(self.0.finalize().into())
    }

    /// Lengths go in too, so that no two lists of writes run together into the same bytes.
    fn part(&mut self, kind: u8, parts: &[&[u8]]) {
        self.0.update(&[kind]);
        for part in parts {
            self.0.update(&(part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }
}
