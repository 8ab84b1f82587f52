//! The one way into a cluster: job files, a channel that follows the leader, typed errors.
//!
//! `jobfile` and `wfformat` turn what people write into a job's spec. [`Client`] calls the public
//! API from any replica's address, [`agent_link::AgentLink`] opens an agent's session.
//!
//! **Invariant:** a request that may have been carried out is repeated with the same request id only,
//! and never after the window in which the cluster remembers that id, because a job must not run
//! twice for a lost answer.

pub mod jobfile;
pub mod wfformat;

mod error;

mod channel;
mod retry;
mod target;

mod client;

pub mod agent_link;
pub mod snapshot_file;

pub use channel::{CONNECT_TIMEOUT, MESSAGE_BYTES_MAX};
pub use client::{
    ATTEMPT_TIMEOUT_DEFAULT, Client, ClientConfig, DEADLINE_DEFAULT, LogReader, RunWatch, SnapshotPieces,
};
pub use error::Error;
/// What a server answers instead of what was asked for.
pub use quorate_proto::ApiError;
/// What a stale answer says of itself.
pub use quorate_proto::staleness::Staleness;
