//! Operators who have work moved to better places, drawn apart from all else: a seed's faults and jobs are the same with it and without.

use quorate_proto::v1;
use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{Class, Kind, Scenario};
use crate::seeded::Stream;

/// Seeds out of a hundred in which somebody does.
const PERCENT: u64 = 35;
/// How often.
const TIMES: (u64, u64) = (1, 5);
const MOVES: (u64, u64) = (1, 12);
const AT_ONCE: (u64, u64) = (1, 4);
const SHARE_PERCENT: (u64, u64) = (1, 60);
const MARGIN: (u64, u64) = (1, 20);
const FOR_MS: (u64, u64) = (500, 8_000);
/// The last begins so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 2_000;

/// A rebalance that somebody asks for; see `quorate_state::RebalanceTerms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RebalancePlan {
    pub(crate) at_ms: u64,
    /// Towards what jobs prefer, instead of an even spread.
    pub(crate) prefers: bool,
    pub(crate) reach: Far,
    pub(crate) moves_max: u32,
    pub(crate) at_once: u32,
    pub(crate) share_percent: u32,
    pub(crate) margin: u32,
    pub(crate) for_ms: u64,
    /// Somebody stops it so much later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stop_ms: Option<u64>,
}

/// How far a move may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Far {
    Cluster,
    Region,
    Everywhere,
}

impl RebalancePlan {
    /// As it is asked for.
    pub(crate) fn terms(&self) -> v1::RebalanceTerms {
        let goal = if self.prefers { v1::RebalanceGoal::Prefer } else { v1::RebalanceGoal::Spread };
        let reach = match self.reach {
            Far::Cluster => v1::RebalanceReach::Cluster,
            Far::Region => v1::RebalanceReach::Region,
            Far::Everywhere => v1::RebalanceReach::Everywhere,
        };
        v1::RebalanceTerms {
            goal: goal.into(),
            reach: reach.into(),
            moves_max: self.moves_max,
            at_once: self.at_once,
            share_percent: self.share_percent,
            margin: self.margin,
            for_ms: self.for_ms,
        }
    }
}

/// Adds them, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    // Of older replicas none can do it, and another life of the data knows nothing of who asked.
    let is_other = scenario.kind == Kind::Restore || scenario.classes.contains(&Class::Upgrade);
    if !dice.chance(PERCENT) || is_other {
        return;
    }
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let latest_ms = scenario.heal_ms.saturating_sub(LAST_BEFORE_HEAL_MS).max(SETTLED_MS + 1_001);
    let plans = (0..dice.within(TIMES.0, TIMES.1)).map(|_| {
        let at_ms = dice.within(SETTLED_MS + 1_000, latest_ms);
        let rest_ms = scenario.heal_ms.saturating_sub(at_ms).max(1);
        RebalancePlan {
            at_ms,
            prefers: dice.chance(25),
            reach: [Far::Cluster, Far::Region, Far::Everywhere][dice.weighted(&[1, 1, 3])],
            moves_max: small(dice.log_within(MOVES.0, MOVES.1)),
            at_once: small(dice.log_within(AT_ONCE.0, AT_ONCE.1)),
            share_percent: small(dice.within(SHARE_PERCENT.0, SHARE_PERCENT.1)),
            margin: small(dice.within(MARGIN.0, MARGIN.1)),
            for_ms: dice.log_within(FOR_MS.0, FOR_MS.1).min(rest_ms),
            stop_ms: dice.chance(25).then(|| dice.within(100, 2_000)),
        }
    });
    scenario.rebalances = plans.collect();
    scenario.rebalances.sort_by_key(|plan| plan.at_ms);
}

#[cfg(test)]
mod tests {
    use crate::scenario::draw::draw as expand;

    #[test]
    fn work_is_moved_in_a_part_of_the_seeds_and_never_after_the_heal() {
        let mut having = 0;
        for seed in 0..200 {
            let scenario = expand(seed);
            having += u32::from(!scenario.rebalances.is_empty());
            let is_late = |at_ms: u64, for_ms: u64| at_ms + for_ms > scenario.heal_ms;
            assert!(!scenario.rebalances.iter().any(|plan| is_late(plan.at_ms, plan.for_ms)), "seed {seed}");
        }
        assert!((35..90).contains(&having), "{having} of 200");
    }
}
