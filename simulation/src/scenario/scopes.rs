//! Operators who take whole regions and clusters out of service, drawn apart from all else, beside what they do about nodes.

use super::draw::SETTLED_MS;
use super::{Chore, Class, FaultPlan, FaultWhat, Scenario};
use crate::seeded::Stream;

/// Of a hundred seeds with operators who see to nodes, so many have this.
const PERCENT: u64 = 60;
/// How often.
const TIMES: (u64, u64) = (1, 4);
/// For how long.
const OUT_MS: (u64, u64) = (1_000, 10_000);
/// How long what runs there may end by itself, where it may.
const WAIT_MS: (u64, u64) = (200, 3_000);
/// The last begins so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 4_000;
/// How long an agent is away that comes back to a place that is out of service.
const AWAY_MS: (u64, u64) = (100, 1_000);

/// Adds them, in some seeds. Each time a node of that place is taken out of service by itself, for longer than its place, and an
/// agent of it starts again meanwhile.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    if !scenario.classes.contains(&Class::Upkeep) || !dice.chance(PERCENT) {
        return;
    }
    let latest_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    for _ in 0..dice.within(TIMES.0, TIMES.1) {
        let rack = dice.position(scenario.racks.len());
        let agents = scenario.racks[rack].agents.len();
        let at_ms = dice.within(SETTLED_MS + 1_000, latest_ms.max(SETTLED_MS + 1_001));
        let rest_ms = scenario.heal_ms - at_ms - 1;
        let for_ms = dice.log_within(OUT_MS.0, OUT_MS.1).min(rest_ms);
        let wait_ms = if dice.chance(50) { 0 } else { dice.log_within(WAIT_MS.0, WAIT_MS.1) };
        let lasts_ms = dice.chance(30).then(|| wait_ms + for_ms);
        let drain = dice.chance(75).then_some((wait_ms, lasts_ms));
        let chore = Chore::Scope { region: dice.chance(50), drain };
        let mut add = |at_ms: u64, for_ms: u64, agent: usize, chore| {
            let what = FaultWhat::Upkeep { rack, agent, chore };
            scenario.faults.push(FaultPlan { at_ms, for_ms, class: Class::Upkeep, what });
        };
        add(at_ms, for_ms, dice.position(agents), chore);
        if dice.chance(60) {
            add(at_ms, rest_ms, dice.position(agents), Chore::Cordon);
        }
        if dice.chance(60) {
            let (again_ms, away_ms) = (at_ms + for_ms / 3, dice.within(AWAY_MS.0, AWAY_MS.1));
            add(
                again_ms,
                away_ms.min(rest_ms - for_ms / 3),
                dice.position(agents),
                Chore::Relabel { pool: "a".to_owned() },
            );
        }
    }
    scenario.faults.sort_by_key(|fault| fault.at_ms);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{check, draw::draw as expand};

    #[test]
    fn half_of_the_seeds_with_upkeep_have_it() {
        let (mut having, mut upkeep) = (0, 0);
        for seed in 0..400 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let has = |fault: &FaultPlan| matches!(fault.what, FaultWhat::Upkeep { chore: Chore::Scope { .. }, .. });
            having += u32::from(scenario.faults.iter().any(has));
            let mut own = scenario.faults.iter().filter(|fault| has(fault));
            upkeep += u32::from(scenario.classes.contains(&Class::Upkeep));
            assert!(own.all(|fault| fault.at_ms + fault.for_ms <= scenario.heal_ms), "seed {seed}");
        }
        assert!((upkeep / 3..upkeep).contains(&having), "{having} of {upkeep}");
    }
}
