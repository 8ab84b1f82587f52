//! Operators who set nodes aside for a time, drawn apart from all else: a seed's faults and jobs are the same with it and without.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{Class, Kind, Scenario};
use crate::seeded::Stream;

/// Seeds out of a hundred in which somebody does.
const PERCENT: u64 = 25;
/// How often.
const TIMES: (u64, u64) = (1, 4);
/// How many nodes at once; fewer than there are.
const NODES: (u64, u64) = (1, 3);
const WAIT_MS: (u64, u64) = (200, 6_000);
const FOR_MS: (u64, u64) = (500, 8_000);
/// The last begins so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 2_000;

/// Nodes that somebody sets aside; see `quorate_state::Reservation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReservationPlan {
    pub(crate) at_ms: u64,
    /// By name; one that the scenario does not have any more is one that nobody knows.
    pub(crate) nodes: Vec<String>,
    pub(crate) wait_ms: u64,
    pub(crate) for_ms: u64,
    /// Somebody ends it so much later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end_ms: Option<u64>,
}

/// Adds them, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    // Of older replicas none can do it, and another life of the data knows nothing of who asked.
    let is_other = scenario.kind == Kind::Restore || scenario.classes.contains(&Class::Upgrade);
    if !dice.chance(PERCENT) || is_other {
        return;
    }
    let names: Vec<String> =
        scenario.racks.iter().flat_map(|rack| &rack.agents).map(|agent| agent.node.clone()).collect();
    let latest_ms = scenario.heal_ms.saturating_sub(LAST_BEFORE_HEAL_MS).max(SETTLED_MS + 1_001);
    let plans = (0..dice.within(TIMES.0, TIMES.1)).map(|_| {
        let at_ms = dice.within(SETTLED_MS + 1_000, latest_ms);
        let most = (names.len() as u64 / 2).clamp(1, NODES.1);
        let mut nodes: Vec<String> = (0..dice.within(NODES.0, most + 1)).map(|_| dice.pick(&names).clone()).collect();
        nodes.sort();
        nodes.dedup();
        let wait_ms = if dice.chance(30) { 0 } else { dice.log_within(WAIT_MS.0, WAIT_MS.1) };
        let for_ms = dice.log_within(FOR_MS.0, FOR_MS.1);
        ReservationPlan { at_ms, nodes, wait_ms, for_ms, end_ms: dice.chance(25).then(|| dice.within(100, 4_000)) }
    });
    scenario.reservations = plans.collect();
    scenario.reservations.sort_by_key(|plan| plan.at_ms);
}

#[cfg(test)]
mod tests {
    use crate::scenario::draw::draw as expand;

    #[test]
    fn nodes_are_set_aside_in_a_part_of_the_seeds_and_never_after_the_heal() {
        let mut having = 0;
        for seed in 0..200 {
            let scenario = expand(seed);
            having += u32::from(!scenario.reservations.is_empty());
            for plan in &scenario.reservations {
                assert!(plan.at_ms < scenario.heal_ms && !plan.nodes.is_empty(), "seed {seed}");
            }
        }
        assert!((25..70).contains(&having), "{having} of 200");
    }
}
