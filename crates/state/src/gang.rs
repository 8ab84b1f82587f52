//! Gangs: elements of a task that are placed all or none, and begin anew all together.

use crate::{Node, RunId, Served, State};

/// Members of a gang. Part of what feature `gangs` means: all are placed by one command, each of them is told where all others
/// are, and they begin anew in one entry.
pub const GANG_MAX: u32 = 256;

/// That the elements of a task are a gang, and what is asked of it as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GangSpec {
    /// All members go to nodes that are alike in this; none: to any.
    pub within: Option<Within>,
    /// All members run so long after they were placed, or the gang begins anew; in milliseconds.
    pub start_ms: Option<u64>,
}

/// What the nodes of a gang have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Within {
    /// Their cluster.
    Cluster,
    /// Their region.
    Region,
    /// The value of this label, which they must have.
    Label(String),
}

impl Within {
    /// Where a node lies, by this; none: nowhere that a gang could be.
    pub fn domain<'a>(&self, node: &'a Node) -> Option<&'a str> {
        match self {
            Self::Cluster => Some(node.cluster.as_str()),
            Self::Region => Some(node.region.as_str()),
            Self::Label(key) => node.labels.get(key).map(String::as_str),
        }
    }
}

/// Where a gang stands that was placed. Its members' attempts have the number of its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gang {
    /// Counts its placements, from 1.
    pub generation: u32,
    /// Attempts of this generation that have not ended.
    pub live: u32,
    /// One of them ended without success, or has to: the others were asked to stop, and when all have ended the gang begins anew,
    /// or ends.
    pub is_breaking: bool,
    /// The instant at which all of them run, or it breaks.
    pub start_due: Option<Served>,
}

impl State {
    /// Where the gang of a step stands, if it was ever placed.
    pub fn gang(&self, run: RunId, step: u32) -> Option<Gang> {
        self.step(run, step).and_then(|row| row.gang)
    }
}
