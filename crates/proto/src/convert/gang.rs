//! What is asked of gangs.

use quorate_state::{GangSpec, Within};

use crate::v1;

/// As sent.
pub(super) fn gang_to_wire(gang: &GangSpec) -> v1::Gang {
    use v1::gang::Within as Kind;
    let within = gang.within.as_ref().map(|within| match within {
        Within::Cluster => Kind::Cluster(v1::WithinCluster {}),
        Within::Region => Kind::Region(v1::WithinRegion {}),
        Within::Label(key) => Kind::Label(key.clone()),
    });
    v1::Gang { within, start_ms: gang.start_ms }
}

/// What was sent.
pub(super) fn gang_from_wire(gang: v1::Gang) -> GangSpec {
    use v1::gang::Within as Kind;
    let within = gang.within.map(|within| match within {
        Kind::Cluster(v1::WithinCluster {}) => Within::Cluster,
        Kind::Region(v1::WithinRegion {}) => Within::Region,
        Kind::Label(key) => Within::Label(key),
    });
    GangSpec { within, start_ms: gang.start_ms }
}
