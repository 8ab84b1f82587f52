//! Transfers of snapshots that break half way, drawn apart from all else.

use super::draw::SETTLED_MS;
use super::{Class, FaultPlan, FaultWhat, Kind, Scenario};
use crate::seeded::Stream;

/// Swarms out of a hundred that have them, of those where somebody needs a snapshot and links are cut.
const PERCENT: u64 = 50;
/// Pieces that have come in by then.
const PIECES: (u64, u64) = (1, 6);
/// The receiver cannot be reached for so long, or is away. Not for longer: a leader keeps no view of what its
/// log does not go on from.
const CUT_MS: (u64, u64) = (100, 2_500);
const AWAY_MS: (u64, u64) = (20, 400);

/// Adds the faults, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let has = |class| scenario.classes.contains(&class);
    let is_possible = scenario.kind == Kind::Swarm && has(Class::Absence) && has(Class::Partition);
    if !dice.chance(PERCENT) || !is_possible {
        return;
    }
    for _ in 0..dice.within(1, 4) {
        let crash = dice.chance(60);
        let (class, (from_ms, to_ms)) = if crash { (Class::Crash, AWAY_MS) } else { (Class::Partition, CUT_MS) };
        let what = FaultWhat::BreakTransfer { pieces: dice.within(PIECES.0, PIECES.1), crash };
        let at_ms = dice.within(SETTLED_MS, scenario.heal_ms);
        let for_ms = dice.log_within(from_ms, to_ms);
        scenario.faults.push(FaultPlan { at_ms, for_ms, class, what });
    }
    scenario.faults.sort_by_key(|fault| fault.at_ms);
}
