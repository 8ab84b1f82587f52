//! Mutual TLS from files: who a peer is by its certificate, connections that prove it both ways, and
//! certificates that change without a restart.
//!
//! Read in this order: `peer` (what a certificate says of its holder), `files` and `credentials` (what
//! is read, and what is made of it), `verify` and `words` (who is refused, and how that is said),
//! `tls` (handshakes, and the watch over the files), `network` (the network seam over TLS), `plain`
//! (the same without, which notices that the other end has it), `refusals` (what the log says of them), `issue` (certificates for development).
//!
//! **Invariant:** no session is ever resumed, because a ticket from before a change of `tls.ca` would
//! let in whom the new one refuses.
//! **Invariant:** a connection is handed out only after the other end has accepted our certificate,
//! because with TLS 1.3 its refusal would otherwise look like an answer that was lost.

mod peer;

mod credentials;
mod files;
mod verify;
mod words;

mod network;
mod plain;
mod refusals;
mod tls;

mod issue;

#[cfg(test)]
mod tests;

pub use files::{Error, Files};
pub use issue::{Authority, IssueError, Issued, Request};
pub use network::TlsNetwork;
pub use peer::{Peer, PeerError, Role};
pub use plain::PlainNetwork;
pub use refusals::Refusals;
pub use tls::{Accepts, Tls};
