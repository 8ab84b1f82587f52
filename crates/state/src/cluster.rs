//! A set of nodes that share capacity and a failure domain.

use crate::{ClusterName, Millis, RegionName};

/// A cluster; it exists from the first registration of one of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Unique over all regions.
    pub name: ClusterName,
    /// The region it lies in, for good.
    pub region: RegionName,
    /// When its first node registered.
    pub created_at: Millis,
}
