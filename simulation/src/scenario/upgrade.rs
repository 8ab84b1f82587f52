//! A rolling upgrade from a version without features, drawn apart from all else: a seed's other faults are the same with
//! it and without.

use super::draw::SETTLED_MS;
use super::{Class, FaultPlan, FaultWhat, Kind, Scenario, Target};
use crate::seeded::Stream;

/// Swarms out of a hundred that have the class.
const PERCENT: u64 = 8;
/// Between two replicas, at least; and all together, at most.
const APART_MS_MIN: u64 = 1_500;
const TOGETHER_MS_MAX: u64 = 24_000;
/// How long one is away.
const AWAY_MS: (u64, u64) = (100, 1_500);

/// Adds the class, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    // Whoever joins meanwhile is of either version, and is refused if it is the older one too late.
    let joins = |class: &Class| matches!(class, Class::Join | Class::Membership);
    let possible = scenario.kind == Kind::Swarm && !scenario.classes.iter().any(joins);
    if !dice.chance(PERCENT) || !possible {
        return;
    }
    let mut at_ms = SETTLED_MS;
    let apart_ms_max = TOGETHER_MS_MAX / scenario.replicas.len() as u64;
    for position in 0..scenario.replicas.len() {
        at_ms += dice.within(APART_MS_MIN, apart_ms_max);
        scenario.replicas[position].older_until_ms = at_ms;
        let what = FaultWhat::Handover { target: Target::Replica(position) };
        let for_ms = dice.within(AWAY_MS.0, AWAY_MS.1);
        scenario.faults.push(FaultPlan { at_ms, for_ms, class: Class::Upgrade, what });
    }
    scenario.faults.sort_by_key(|fault| fault.at_ms);
    scenario.classes.push(Class::Upgrade);
    scenario.classes.sort_unstable();
}
