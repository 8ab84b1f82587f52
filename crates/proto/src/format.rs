//! Numbers of the persisted formats, and what can be wrong with persisted bytes.

pub(crate) mod parts;

use quorate_state::Violation;

use crate::convert::list;

/// Format of log entries; raised by any change of their encoding that older versions cannot read.
pub const ENTRY_FORMAT: u32 = 1;

/// Format of the rows of the state and of events; stands in the first row, that of `Meta`.
pub const ROWS_FORMAT: u32 = 1;

/// Format of backups; stands in their header.
pub const BACKUP_FORMAT: u32 = 1;

/// The one Raft group there is.
pub const GROUP: u64 = 1;

/// Why persisted bytes were refused. Whoever reads them halts: skipping would fork the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not the protobuf message it should be.
    #[error("{what} does not decode: the store is damaged or was written by something else")]
    Bytes {
        /// What was read.
        what: &'static str,
        /// Why not.
        #[source]
        source: prost::DecodeError,
    },
    /// Written in a format that this version does not know.
    #[error("{what} has format {found}, this version knows {known}: run the version that wrote it, or a newer one")]
    Number {
        /// What was read.
        what: &'static str,
        /// Its number.
        found: u32,
        /// The number known.
        known: u32,
    },
    /// It belongs to another Raft group.
    #[error("the entry belongs to group {found}, this replica to group {GROUP}")]
    Group {
        /// The group named.
        found: u64,
    },
    /// A field or command is absent, or one that this version does not know stands in its place.
    #[error(
        "{0} is missing, or of a kind that this version does not know: run the version that wrote it, or a newer one"
    )]
    Missing(&'static str),
    /// A feature is enabled that this version does not have.
    #[error("feature number {number} is enabled in this cluster, and this version does not have it: run a newer one")]
    Feature {
        /// The feature's number.
        number: u32,
    },
    /// A field has a value that nothing of ours writes.
    #[error("field {field} is not valid: {why}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A job spec has a shape that nothing of ours writes.
    #[error("a job spec is not valid: {}", list(.0))]
    Spec(Vec<Violation>),
    /// It decodes, but encodes to other bytes: it has fields that this version would drop.
    #[error("{0} has fields that this version does not know: run the version that wrote it, or a newer one")]
    Unfaithful(&'static str),
    /// The key of a row is not one of ours.
    #[error(
        "a row has the key {0:02x?}, which no version known here writes: run the version that wrote it, or a newer one"
    )]
    Key(Vec<u8>),
    /// A run was read before its spec.
    #[error("run {0} has no spec: rows must be read in key order")]
    NoSpec(quorate_state::RunId),
}
