//! Disks that have less free than the reserve for a while, drawn apart from all else: a seed's other faults and jobs are
//! the same with it and without.

use super::draw::SETTLED_MS;
use super::{Class, FaultPlan, FaultWhat, Kind, Scenario, Target};
use crate::seeded::Stream;

/// Seeds out of a hundred that have the class: of swarms, and of those with a single class.
const SWARM_PERCENT: u64 = 12;
const SINGLE_PERCENT: u64 = 8;
/// How long: each replica looks once a second.
const LOW_MS: (u64, u64) = (2_000, 9_000);
/// There is room again so long before the faults end.
const BEFORE_HEAL_MS: u64 = 2_000;

/// Adds the class, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let percent = match scenario.kind {
        Kind::FaultFree | Kind::Restore => 0,
        Kind::Single => SINGLE_PERCENT,
        Kind::Swarm => SWARM_PERCENT,
    };
    let is_single = scenario.kind == Kind::Single;
    // What is free on a real store's device is no seed's business.
    let possible = !scenario.replicas.iter().any(|replica| replica.rocksdb);
    if !dice.chance(percent) || !possible || (is_single && scenario.classes.iter().any(|class| class.is_elsewhere())) {
        return;
    }
    if is_single {
        // In the place of the class that was drawn.
        scenario.classes.clear();
        scenario.faults.clear();
    }
    for _ in 0..if is_single { 3 } else { dice.within(1, 4) } {
        let for_ms = dice.within(LOW_MS.0, LOW_MS.1);
        let at_ms = dice.within(SETTLED_MS, scenario.heal_ms - BEFORE_HEAL_MS - for_ms);
        // The others' disks count once they lead.
        let replica = dice.position(scenario.replicas.len());
        let target = if dice.chance(75) { Target::Leader } else { Target::Replica(replica) };
        scenario.faults.push(FaultPlan { at_ms, for_ms, class: Class::DiskLow, what: FaultWhat::DiskLow { target } });
    }
    scenario.faults.sort_by_key(|fault| fault.at_ms);
    scenario.classes.push(Class::DiskLow);
    scenario.classes.sort_unstable();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{check, draw::draw as expand};

    #[test]
    fn one_seed_in_ten_has_it_and_room_again_before_the_heal() {
        let mut having = 0;
        for seed in 0..400 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            if scenario.classes.contains(&Class::DiskLow) {
                having += 1;
                let mut lows = scenario.faults.iter().filter(|fault| fault.class == Class::DiskLow);
                assert!(lows.all(|fault| fault.at_ms + fault.for_ms + BEFORE_HEAL_MS <= scenario.heal_ms), "{seed}");
            }
        }
        assert!((15..60).contains(&having), "{having} of 400");
    }
}
