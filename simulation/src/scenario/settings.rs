//! What an operator could have set.

use serde::{Deserialize, Serialize};

use super::Preempts;

/// What an operator could set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tunables {
    pub(crate) heartbeat_ms: u64,
    pub(crate) election_ms: (u64, u64),
    pub(crate) snapshot_entries: u64,
    pub(crate) keep_entries: u64,
    pub(crate) snapshot_chunk_bytes: usize,
    pub(crate) digest_every: u64,
    /// The lease's terms, as in `quorate_state::LeaseTerms`.
    pub(crate) lease_server_ms: u64,
    pub(crate) lease_agent_ms: u64,
    pub(crate) lease_kill_ms: u64,
    pub(crate) lease_margin_ms: u64,
    pub(crate) lease_rho_ppm: u32,
    pub(crate) node_losses_max: u32,
    pub(crate) unknown_ms_max: u64,
    pub(crate) event_revisions_max: u64,
    /// Runs that have ended and stay in memory; as many as the product keeps, when none.
    #[serde(default)]
    pub(crate) memory_runs_max: Option<u64>,
    /// Who may be preempted by whom; nobody, when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) preempts: Option<Preempts>,
    /// Between SIGTERM and SIGKILL.
    pub(crate) stop_grace_ms: u64,
    /// Tasks of one step that stand in the queue at once, where that is fewer than in the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ready_ahead: Option<u32>,
}
