//! Why a task waits for the region that it ran in.

use std::fmt;

use quorate_state::{Bound, RegionName, State};

use crate::LogNow;

/// The region that a task ran in is lost, and the task stays with it, for ever or for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionLost {
    /// Which.
    pub region: RegionName,
    /// For so many milliseconds; none: it has no node any more.
    pub lost_ms: Option<u64>,
    /// It goes elsewhere in so many; none: it waits until the region is back.
    pub remaining_ms: Option<u64>,
}

/// What is to be said of a task that is bound so, if its region is lost.
pub(super) fn region_lost(view: &State, now: LogNow, bound: Bound<'_>) -> Option<RegionLost> {
    let Bound::Home { region, lost: Some(lost), leaves } = bound else { return None };
    let has_nodes = view.nodes().any(|node| node.region == *region);
    let lost_ms = has_nodes.then(|| now.served.0.saturating_sub(lost.0));
    let remaining_ms = leaves.map(|at| at.0.saturating_sub(now.served.0));
    Some(RegionLost { region: region.clone(), lost_ms, remaining_ms })
}

impl fmt::Display for RegionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, lost_ms, remaining_ms } = self;
        match lost_ms {
            Some(lost_ms) => write!(f, "region {region}, where it ran, is lost since {lost_ms} ms")?,
            None => write!(f, "region {region}, where it ran, has no node any more")?,
        }
        write!(f, ", and on_region_loss binds it to that: it goes on when a node of {region} is up")?;
        match remaining_ms {
            Some(remaining_ms) => write!(f, ", or elsewhere in {remaining_ms} ms"),
            None => Ok(()),
        }
    }
}
