//! What a run came to, as it is printed and passed between processes.

use serde::{Deserialize, Serialize};

use crate::scenario::{Class, Kind};

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The scenario's seed.
    pub(crate) seed: u64,
    pub(crate) end: End,
    pub(crate) stats: Stats,
    /// Hash over everything that happened, in hexadecimal.
    pub(crate) trace: String,
    /// How many things went into it.
    pub(crate) events: u64,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "end")]
pub(crate) enum End {
    /// Every property held.
    Held,
    /// One did not.
    Violated {
        /// Its number, such as `P3`.
        property: String,
        /// What happened, in a sentence.
        what: String,
        /// When, in simulated time.
        at_ms: u64,
        /// The last things that happened before, oldest first, one line each.
        before: Vec<String>,
    },
    /// It was asked to run no further; nothing was wrong until then, and nothing was judged as a whole.
    Stopped,
    /// The run was not what it should have been (too few tasks, a fault that never struck): it shows
    /// nothing.
    Invalid {
        /// What was missing.
        why: String,
    },
}

/// What happened in a run, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub(crate) kind: Option<Kind>,
    pub(crate) replicas: usize,
    pub(crate) regions: usize,
    pub(crate) agents: usize,
    /// Simulated.
    pub(crate) simulated_ms: u64,
    /// Committed log entries.
    pub(crate) commits: u64,
    pub(crate) runs: u64,
    pub(crate) tasks: u64,
    pub(crate) placements: u64,
    /// Attempts that an executor started.
    pub(crate) started: u64,
    pub(crate) leader_changes: u64,
    pub(crate) leases_expired: u64,
    /// Snapshots built and installed.
    pub(crate) snapshots_built: u64,
    pub(crate) snapshots_installed: u64,
    /// Client requests, and those whose outcome stayed unknown.
    pub(crate) requests: u64,
    pub(crate) requests_unknown: u64,
    /// Messages to watches.
    pub(crate) watched: u64,
    /// Changes of membership that an operator was told are done.
    #[serde(default)]
    pub(crate) changes: u64,
    /// What an operator was told is done about nodes.
    #[serde(default)]
    pub(crate) chores: u64,
    /// Faults that struck, by class.
    pub(crate) faults: std::collections::BTreeMap<Class, u64>,
}
