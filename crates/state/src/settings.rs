//! The limits and defaults that `apply` uses: rows set by command, never constants of a binary.

use crate::{Fairness, LeaseTerms, NodeAdmission, Preemption, Retention};

/// What `apply` reads instead of constants, so that two versions of the binary agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Granted to nodes that register from now on.
    pub lease: LeaseTerms,
    /// How long a request id is remembered, in served milliseconds.
    pub request_window_ms: u64,
    /// Request ids remembered at once; above it, submits are refused.
    pub requests_max: u64,
    /// Request ids forgotten by one entry at most, so that no entry stalls.
    pub request_expiries_max: u32,
    /// Revisions whose event rows are kept for watches.
    pub event_revisions_max: u64,
    /// Specs (`[task.*]` tables) in one job.
    pub steps_max: u32,
    /// Tasks of one run, counts included.
    pub tasks_per_run_max: u32,
    /// Bytes of argv and env of one task.
    pub argv_bytes_max: u32,
    /// Unfinished runs at once; above it, submits are refused.
    pub runs_unfinished_max: u32,
    /// Annotations of one run.
    pub annotations_per_run_max: u32,
    /// Bytes of the value of one annotation.
    pub annotation_value_bytes_max: u32,
    /// Nodes a task may lose before it fails.
    pub node_losses_max: u32,
    /// How long an `at_most_once` attempt may stay unknown before it counts as lost.
    pub unknown_ms_max: u64,
    /// What a machine that is not known needs to become a node. Anything but the default needs
    /// [`crate::Feature::JoinTokens`].
    pub node_admission: NodeAdmission,
    /// Bytes of the result of one attempt. Zero before [`crate::Feature::TaskOutcomes`] sets it.
    pub result_bytes_max: u32,
    /// Nodes that may go away under attempts of a task that run there, before it is quarantined. Zero: it never is;
    /// so it is before [`crate::Feature::TaskOutcomes`] sets it.
    pub suspect_nodes_max: u32,
    /// How long runs are kept, and where. None before [`crate::Feature::RunArchive`] sets it.
    pub retention: Option<Retention>,
    /// How namespaces are kept even. None before [`crate::Feature::FairShare`] sets it.
    pub fairness: Option<Fairness>,
    /// Who may be preempted by whom. None before that was said; anything that is on needs [`crate::Feature::Preemption`].
    pub preemption: Option<Preemption>,
}

/// What `result_bytes_max` is once results are kept: part of what enabling that feature means, for good.
pub(crate) const RESULT_BYTES_FIRST: u32 = 8 * 1024;
/// The same of `suspect_nodes_max`.
pub(crate) const SUSPECT_NODES_FIRST: u32 = 3;
/// What `tasks_per_run_max` is where every task has a row, and once those of a large step come when it is their turn.
pub(crate) const TASKS_PER_RUN_BEFORE: u32 = 100_000;
/// See above: part of what enabling `task-flow` means, for good.
pub(crate) const TASKS_PER_RUN_FIRST: u32 = 2_000_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: LeaseTerms { server_ms: 15_000, agent_ms: 9_000, kill_ms: 3_000, margin_ms: 1_000, rho_ppm: 1_000 },
            request_window_ms: 3_600_000,
            requests_max: 1_000_000,
            request_expiries_max: 1_000,
            event_revisions_max: 1_000_000,
            steps_max: 50_000,
            tasks_per_run_max: TASKS_PER_RUN_BEFORE,
            argv_bytes_max: 128 * 1024,
            runs_unfinished_max: 1_000_000,
            annotations_per_run_max: 64,
            annotation_value_bytes_max: 4 * 1024,
            node_losses_max: 16,
            unknown_ms_max: 600_000,
            node_admission: NodeAdmission::default(),
            result_bytes_max: 0,
            suspect_nodes_max: 0,
            retention: None,
            fairness: None,
            preemption: None,
        }
    }
}
