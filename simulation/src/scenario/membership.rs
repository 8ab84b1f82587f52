//! What an operator changes about who takes part, drawn apart from all else: a seed's other faults are
//! the same with it and without.

use super::draw::SETTLED_MS;
use super::{Amid, Class, FaultPlan, FaultWhat, Kind, Scenario, Target};
use crate::seeded::Stream;

/// Seeds out of a hundred that have the class: of swarms, and of those with a single class.
const SWARM_PERCENT: u64 = 25;
const SINGLE_PERCENT: u64 = 10;
/// A change takes its time: it begins so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 8_000;
/// Replicas that can be replaced: a quorum without one must be left.
const REPLICAS_MIN: usize = 3;

/// Adds the class, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    // A real store is not replaced: its directory is the disk.
    let possible = scenario.replicas.len() >= REPLICAS_MIN && !scenario.replicas.iter().any(|replica| replica.rocksdb);
    let percent = match scenario.kind {
        Kind::FaultFree | Kind::Restore => 0,
        Kind::Single => SINGLE_PERCENT,
        Kind::Swarm => SWARM_PERCENT,
    };
    let is_single = scenario.kind == Kind::Single;
    if !dice.chance(percent) || !possible || (is_single && scenario.classes.iter().any(|class| class.is_elsewhere())) {
        return;
    }
    if is_single {
        // In the place of the class that was drawn.
        scenario.classes.clear();
        scenario.faults.clear();
    }
    let least = if is_single { 3 } else { 1 };
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    let mut times: Vec<u64> = (0..dice.within(least, 4)).map(|_| dice.within(SETTLED_MS + 1_000, last_ms)).collect();
    times.sort_unstable();
    for (number, at_ms) in times.into_iter().enumerate() {
        // The first is one that must come to its end.
        let fault = if number == 0 { replace(dice, scenario, Amid::Nothing) } else { other(dice, scenario) };
        scenario.faults.push(FaultPlan { at_ms, ..fault });
    }
    scenario.faults.sort_by_key(|fault| fault.at_ms);
    scenario.classes.push(Class::Membership);
    scenario.classes.sort_unstable();
}

fn other(dice: &mut Stream, scenario: &Scenario) -> FaultPlan {
    match dice.weighted(&[2, 2, 3, 3, 1]) {
        0 => replace(dice, scenario, Amid::Nothing),
        1 => replace(dice, scenario, Amid::ItsCrash),
        2 => replace(dice, scenario, Amid::TheLeadersCrash),
        3 => replace(dice, scenario, Amid::Scarcity),
        _ => {
            let target = Target::Follower(dice.position(scenario.replicas.len()));
            fault(FaultWhat::Transfer { target }, 1_000)
        }
    }
}

fn replace(dice: &mut Stream, scenario: &Scenario, amid: Amid) -> FaultPlan {
    let election_ms = scenario.settings.election_ms.1;
    let replicas = scenario.replicas.len();
    let target = match amid {
        // Others than the leader must be left to lose, and the leader to say no.
        Amid::ItsCrash | Amid::Scarcity => Target::Follower(dice.position(replicas)),
        Amid::Nothing | Amid::TheLeadersCrash if dice.chance(35) => Target::Leader,
        Amid::Nothing | Amid::TheLeadersCrash => Target::Replica(dice.position(replicas)),
    };
    let for_ms = match amid {
        Amid::Nothing => 1_000,
        Amid::ItsCrash => dice.log_within(election_ms, 10_000),
        Amid::TheLeadersCrash => dice.log_within(election_ms / 2, 6_000),
        // The operator asks when the leader has missed them for long enough, and is to be refused while
        // they are away.
        Amid::Scarcity => 5 * election_ms + 6_000,
    };
    fault(FaultWhat::Replace { target, learner: dice.chance(50), amid }, for_ms)
}

fn fault(what: FaultWhat, for_ms: u64) -> FaultPlan {
    FaultPlan { at_ms: 0, for_ms, class: Class::Membership, what }
}
