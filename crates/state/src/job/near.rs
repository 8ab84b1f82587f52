//! Where the data lies that a task reads.

use crate::RegionName;

/// Where the data lies that a task reads, and how much it matters to be near it. Needs [`crate::Feature::DataLocality`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Near {
    /// What it reads; none: it does not say. At most [`DATASETS_MAX`].
    pub data: Vec<Dataset>,
    /// What it is worth to be where all of that lies, as the weight of a preference; zero exactly if it does not say.
    pub weight: u32,
}

/// Data that lies in a region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dataset {
    /// Where.
    pub region: RegionName,
    /// How much, in bytes; from 1. What matters is how much it is of all that the task reads.
    pub bytes: u64,
}

/// Pieces of data that one task may name: more of one region are one.
pub const DATASETS_MAX: usize = 16;
/// The weight of what a task reads, if it does not say another.
pub const NEAR_WEIGHT: u32 = 50;

impl Near {
    /// It says nothing.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}
