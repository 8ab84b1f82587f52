//! Who may be preempted by whom, drawn apart from all else: in some seeds the more urgent take the room of others.

use serde::{Deserialize, Serialize};

use super::{Class, Kind, Scenario};
use crate::seeded::Stream;

/// Seeds out of a hundred in which somebody is preempted.
const PERCENT: u64 = 35;
const GAP: (u64, u64) = (1, 30);
const SPARE_MS: (u64, u64) = (1, 3_000);
const TIMES: (u64, u64) = (1, 5);

/// See `quorate_state::Preemption`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Preempts {
    /// By those that are more urgent.
    #[serde(default = "always")]
    pub(crate) by_priority: bool,
    pub(crate) gap: u8,
    pub(crate) spare_ms: u64,
    pub(crate) times_max: u32,
    /// By those whose namespaces have less than their part; not, when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) share_gap: Option<u8>,
}

fn always() -> bool {
    true
}

/// Says who.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_drawn = dice.chance(PERCENT);
    let gap = u8::try_from(dice.within(GAP.0, GAP.1)).unwrap_or(10);
    let spare_ms = dice.log_within(SPARE_MS.0, SPARE_MS.1);
    let times_max = u32::try_from(dice.within(TIMES.0, TIMES.1)).unwrap_or(1);
    // Another life of the data does not know who was stopped last; and of older replicas none can know it.
    let is_other = scenario.kind == Kind::Restore || scenario.classes.contains(&Class::Upgrade);
    scenario.settings.preempts = Some(Preempts { by_priority: true, gap, spare_ms, times_max, share_gap: None })
        .filter(|_| is_drawn && !is_other);
}

#[cfg(test)]
mod tests {
    use crate::scenario::draw::draw as expand;

    #[test]
    fn somebody_is_preempted_in_a_part_of_the_seeds() {
        let having = (0..100)
            .filter(|seed| expand(*seed).settings.preempts.is_some_and(|preempts| preempts.by_priority))
            .count();
        assert!((15..50).contains(&having), "{having}");
    }
}
