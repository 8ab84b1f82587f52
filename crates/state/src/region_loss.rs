//! What becomes of a task when the region is lost in which it ran: where it may be placed now, beside what its `place` says.
//!
//! A task that says something of that has a home from its first attempt on: the region of its newest attempt's node. While its
//! home lives, it is placed there alone. A home is lost when none of its nodes is up, since the last of their leases ended. One function
//! says what follows; the planner asks it, and `apply` again.

use quorate_planted::Bug;

use crate::{RegionName, Scope, Served, State, TaskSpec};

/// What the loss of its region means for a task. Needs feature `region-loss`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnRegionLoss {
    /// It waits until its region is back.
    Stay,
    /// So long after the loss it goes elsewhere.
    MoveAfter {
        /// Milliseconds during which the cluster is led.
        after_ms: u64,
        /// To these regions alone, to the first of them that has room; none: to any that its place allows.
        spill: Vec<RegionName>,
    },
}

/// Where a task may be placed now, among what its place allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound<'a> {
    /// Everywhere.
    Free,
    /// In its home alone.
    Home {
        /// Which that is.
        region: &'a RegionName,
        /// Since when it is lost, if it is.
        lost: Option<Served>,
        /// When it may leave, if time alone brings that.
        leaves: Option<Served>,
    },
    /// In these, in the first that has room.
    Spill(&'a [RegionName]),
}

impl<'a> Bound<'a> {
    /// The regions to which it is bound, the best first; none: to none.
    pub fn regions(self) -> Option<&'a [RegionName]> {
        match self {
            Self::Free => None,
            Self::Home { region, .. } => Some(std::slice::from_ref(region)),
            Self::Spill(regions) => Some(regions),
        }
    }

    /// True of a region in which it may be placed, as far as this is concerned.
    pub fn allows(self, region: &RegionName) -> bool {
        self.regions().is_none_or(|regions| regions.contains(region))
    }
}

impl State {
    /// Where a task with this home and this spec may be placed at `served`.
    pub fn bound<'a>(&self, home: Option<&'a RegionName>, spec: &'a TaskSpec, served: Served) -> Bound<'a> {
        let (Some(region), Some(policy)) = (home, &spec.on_region_loss) else { return Bound::Free };
        // What was adopted after a restore may have run where its place allows nothing.
        if !spec.place.regions.is_empty() && !spec.place.regions.contains(region) {
            return Bound::Free;
        }
        let lost = self.region_lost(region);
        match policy {
            OnRegionLoss::Stay if quorate_planted::is(Bug::StayIgnored) && lost.is_some() => Bound::Free,
            OnRegionLoss::Stay => Bound::Home { region, lost, leaves: None },
            OnRegionLoss::MoveAfter { after_ms, spill } => {
                let after_ms = if quorate_planted::is(Bug::SpillEarly) { 0 } else { *after_ms };
                let leaves = lost.map(|at| at.plus(after_ms));
                let is_over = leaves.is_some_and(|at| at <= served) && !quorate_planted::is(Bug::SpillNever);
                let may_leave = is_over || self.is_drained(region);
                match (may_leave, &spill[..]) {
                    (false, _) => Bound::Home { region, lost, leaves },
                    (true, []) => Bound::Free,
                    (true, spill) => Bound::Spill(spill),
                }
            }
        }
    }

    /// Since when none of a region's nodes is up: the end of the last of their leases, or ever if it has none. None while one is.
    pub fn region_lost(&self, region: &RegionName) -> Option<Served> {
        self.index.region_lost(region)
    }

    /// Somebody said that its work goes elsewhere, so that nobody waits for its loss.
    fn is_drained(&self, region: &RegionName) -> bool {
        self.scope(&Scope::Region(region.clone())).is_some_and(|row| row.withdrawal.drain.is_some())
    }
}
