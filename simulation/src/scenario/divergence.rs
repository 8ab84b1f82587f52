//! A replica whose history differs from that of the others, drawn apart from all else, and alone: who takes a snapshot of
//! such a replica before it is noticed is as wrong, which nobody can mend.

use super::draw::SETTLED_MS;
use super::{Class, FaultPlan, FaultWhat, Kind, Scenario, Target};
use crate::seeded::Stream;

/// Seeds out of a hundred that have it, of those with a single class.
const SINGLE_PERCENT: u64 = 20;
/// A majority must know better.
const REPLICAS_MIN: usize = 3;
/// How long it is away meanwhile. Who needs a snapshot then is mended by that.
const AWAY_MS: (u64, u64) = (100, 800);
/// It happens so long before the faults end, at least.
const BEFORE_HEAL_MS: u64 = 4_000;
/// Entries from one comparison to the next: some hundred are written in a run.
const DIGEST_EVERY: (u64, u64) = (20, 120);

/// Adds the class, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let possible = scenario.replicas.len() >= REPLICAS_MIN && !scenario.replicas.iter().any(|replica| replica.rocksdb);
    let is_elsewhere = scenario.classes.iter().any(|class| class.is_elsewhere());
    if !dice.chance(SINGLE_PERCENT) || !possible || scenario.kind != Kind::Single || is_elsewhere {
        return;
    }
    // In the place of the class that was drawn.
    scenario.settings.digest_every = dice.within(DIGEST_EVERY.0, DIGEST_EVERY.1);
    let for_ms = dice.log_within(AWAY_MS.0, AWAY_MS.1);
    let at_ms = dice.within(SETTLED_MS + 1_000, scenario.heal_ms - BEFORE_HEAL_MS - for_ms);
    let target = Target::Replica(dice.position(scenario.replicas.len()));
    let what = FaultWhat::Diverge { target, leads: dice.chance(60) };
    scenario.faults = vec![FaultPlan { at_ms, for_ms, class: Class::Divergence, what }];
    scenario.classes = vec![Class::Divergence];
}
