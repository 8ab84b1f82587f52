//! The checks that a node can fail, and how many nodes fail which.

use std::collections::BTreeMap;
use std::fmt;

use quorate_state::Infeasible;

/// How many nodes fail which check; each node is counted under the first that it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks(BTreeMap<Check, u32>);

/// A check that a node can fail, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// Its lease has expired.
    NodeLost,
    /// Its lease is about to: the leader has not heard of it for too long.
    NodeSilent,
    /// It takes no new work.
    Cordoned,
    /// It takes no new work, and what it has is moved off.
    Draining,
    /// It is set aside for a reservation that the task does not ask for.
    Reserved,
    /// It is not of the reservation that the task asks for.
    Unreserved,
    /// Its region is not among those allowed.
    Region,
    /// Its cluster is not among those allowed.
    Cluster,
    /// It is in a pool that the task does not ask for.
    Pool,
    /// It lacks a label that is demanded, or has it with another value.
    Labels,
    /// It has a taint that the task does not tolerate.
    Taint,
    /// What must hold of it, by the words of the task, does not, or cannot be decided.
    Where,
    /// Its GPUs are not of a model that is allowed.
    GpuModel,
    /// It could not hold the task even when empty.
    TooSmall,
    /// It is too full.
    Full,
    /// It is too near to tasks from which the task stays apart, or has enough elements of its step.
    Apart,
    /// It has the room, and is kept for a task before this one in the queue, or for a reservation, which this one would delay.
    Kept,
}

impl Check {
    /// All of them, in the order in which they are made: the number of each is its place here.
    pub const ALL: [Self; 17] = [
        Self::NodeLost,
        Self::NodeSilent,
        Self::Cordoned,
        Self::Draining,
        Self::Reserved,
        Self::Unreserved,
        Self::Region,
        Self::Cluster,
        Self::Pool,
        Self::Labels,
        Self::Taint,
        Self::Where,
        Self::GpuModel,
        Self::TooSmall,
        Self::Full,
        Self::Apart,
        Self::Kept,
    ];

    /// The check that `feasible` names.
    pub fn of(why: &Infeasible) -> Self {
        match why {
            Infeasible::NodeLost => Self::NodeLost,
            Infeasible::Cordoned => Self::Cordoned,
            Infeasible::Draining => Self::Draining,
            Infeasible::Reserved => Self::Reserved,
            Infeasible::Unreserved => Self::Unreserved,
            Infeasible::Region => Self::Region,
            Infeasible::Cluster => Self::Cluster,
            Infeasible::Pool => Self::Pool,
            Infeasible::Labels => Self::Labels,
            Infeasible::Taint => Self::Taint,
            Infeasible::Where => Self::Where,
            Infeasible::GpuModel => Self::GpuModel,
            Infeasible::TooSmall(_) => Self::TooSmall,
            Infeasible::Full(_) => Self::Full,
            Infeasible::Apart => Self::Apart,
        }
    }

    /// The machine-readable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NodeLost => "NODE_LOST",
            Self::NodeSilent => "NODE_SILENT",
            Self::Cordoned => "CORDONED",
            Self::Draining => "DRAINING",
            Self::Reserved => "RESERVED",
            Self::Unreserved => "NOT_RESERVED",
            Self::Region => "REGION",
            Self::Cluster => "CLUSTER",
            Self::Pool => "POOL",
            Self::Labels => "LABELS",
            Self::Taint => "TAINT",
            Self::Where => "WHERE",
            Self::GpuModel => "GPU_MODEL",
            Self::TooSmall => "TOO_SMALL",
            Self::Full => "FULL",
            Self::Apart => "APART",
            Self::Kept => "KEPT",
        }
    }

    /// True when more room would help.
    pub fn is_about_room(self) -> bool {
        match self {
            Self::NodeLost
            | Self::NodeSilent
            | Self::Cordoned
            | Self::Draining
            | Self::Reserved
            | Self::Unreserved
            | Self::Region
            | Self::Cluster
            | Self::Pool
            | Self::Labels
            | Self::Taint
            | Self::Where
            | Self::GpuModel
            | Self::Apart
            | Self::Kept => false,
            Self::TooSmall | Self::Full => true,
        }
    }

    /// The same for people, after a number of nodes.
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::NodeLost => "lost",
            Self::NodeSilent => "silent",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Reserved => "set aside for a reservation",
            Self::Unreserved => "not of its reservation",
            Self::Region => "in other regions",
            Self::Cluster => "in other clusters",
            Self::Pool => "in other pools",
            Self::Labels => "without the labels it demands",
            Self::Taint => "with taints it does not tolerate",
            Self::Where => "for which its place.where does not hold",
            Self::GpuModel => "with other GPUs",
            Self::TooSmall => "too small",
            Self::Full => "too full",
            Self::Apart => "too near to other tasks",
            Self::Kept => "kept for tasks before it or for a reservation",
        }
    }
}

impl Checks {
    pub(crate) fn add(&mut self, check: Check) {
        *self.0.entry(check).or_default() += 1;
    }

    /// Checks and how many nodes fail each, in the order in which they are made.
    pub fn iter(&self) -> impl Iterator<Item = (Check, u32)> {
        self.0.iter().map(|(check, nodes)| (*check, *nodes))
    }

    /// True when no node was looked at.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Check, u32)> for Checks {
    fn from_iter<T: IntoIterator<Item = (Check, u32)>>(checks: T) -> Self {
        Self(checks.into_iter().collect())
    }
}

impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (check, nodes)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{nodes} {}", check.phrase())?;
        }
        Ok(())
    }
}
