//! Why a replica did not start, or stopped.

use quorate_raft::StopReason;

/// Why a replica did not start, or stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configured value is wrong.
    #[error("{key}: {why}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong and what would be right.
        why: String,
    },
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: stop what uses it, or choose another")]
    Bind {
        /// The key.
        key: &'static str,
        /// The address.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The replica did not start.
    #[error("the replica did not start")]
    Start(#[source] quorate_raft::Error),
    /// The replica cannot go on.
    #[error("the replica has stopped for good")]
    Stopped(#[source] StopReason),
    /// A listener ended by itself.
    #[error("the {listener} listener failed")]
    Serve {
        /// Which.
        listener: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
