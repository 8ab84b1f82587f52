//! Disks that go back to an image of themselves, drawn apart from all else: a seed's other faults and jobs are the same
//! with it and without.

use super::draw::SETTLED_MS;
use super::{Class, FaultPlan, FaultWhat, Kind, Scenario, Target};
use crate::seeded::Stream;

/// Seeds out of a hundred that have the class: of swarms, and of those with a single class.
const SWARM_PERCENT: u64 = 16;
const SINGLE_PERCENT: u64 = 8;
/// How old an image is when it is put back, at least.
const AGE_MS: (u64, u64) = (1_000, 10_000);
/// It is put back so long before the faults end: whoever has it must be noticed and replaced.
const BACK_BEFORE_HEAL_MS: u64 = 3_000;
/// The others must be able to do without the one whose disk goes back.
const REPLICAS_MIN: usize = 3;

/// Adds the class, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let percent = match scenario.kind {
        Kind::FaultFree | Kind::Restore => 0,
        Kind::Single => SINGLE_PERCENT,
        Kind::Swarm => SWARM_PERCENT,
    };
    let is_single = scenario.kind == Kind::Single;
    // A real store is not replaced: its directory is the disk. And who joins late, or in the place of another, has not
    // heard of every start.
    let has = |class: Class| scenario.classes.contains(&class);
    let possible = scenario.replicas.len() >= REPLICAS_MIN
        && !scenario.replicas.iter().any(|replica| replica.rocksdb)
        && !has(Class::Membership)
        && !has(Class::Upgrade)
        && !has(Class::Join);
    if !dice.chance(percent) || !possible || (is_single && scenario.classes.iter().any(|class| class.is_elsewhere())) {
        return;
    }
    if is_single {
        // In the place of the class that was drawn.
        scenario.classes.clear();
        scenario.faults.clear();
    }
    for _ in 0..if is_single { 2 } else { dice.within(1, 3) } {
        let for_ms = dice.log_within(AGE_MS.0, AGE_MS.1);
        let at_ms = dice.within(SETTLED_MS + 1_000, scenario.heal_ms - BACK_BEFORE_HEAL_MS - for_ms);
        let replica = dice.position(scenario.replicas.len());
        let target = [Target::Leader, Target::Follower(replica), Target::Replica(replica)][dice.weighted(&[2, 2, 1])];
        let what = FaultWhat::OldImage { target, learner: dice.chance(30) };
        scenario.faults.push(FaultPlan { at_ms, for_ms, class: Class::OldImage, what });
    }
    scenario.faults.sort_by_key(|fault| fault.at_ms);
    scenario.classes.push(Class::OldImage);
    scenario.classes.sort_unstable();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{check, draw::draw as expand};

    #[test]
    fn some_seeds_have_it_where_all_others_can_hear_of_every_start() {
        let mut having = 0;
        for seed in 0..400 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let images = || scenario.faults.iter().filter(|fault| fault.class == Class::OldImage);
            assert_eq!(images().count() > 0, scenario.classes.contains(&Class::OldImage), "seed {seed}");
            if images().count() == 0 {
                continue;
            }
            having += 1;
            assert!(scenario.replicas.len() >= REPLICAS_MIN && !scenario.classes.contains(&Class::Membership));
            assert!(images().all(|fault| fault.at_ms + fault.for_ms < scenario.heal_ms), "seed {seed}");
        }
        assert!((15..60).contains(&having), "{having} of 400");
    }
}
