//! Which faults strike when.

use super::draw::SETTLED_MS;
use super::{Class, FaultPlan, FaultWhat, Kind, Scenario, Target, Way};
use crate::seeded::Stream;

/// The last fault begins so long before all end.
const LAST_BEFORE_HEAL_MS: u64 = 3_000;
/// A single class strikes this often at least.
const SINGLE_MIN: u64 = 3;
/// A swarm has so many faults at least, some more than a valid run needs.
const SWARM_MIN: usize = 6;

/// All faults of a scenario, in order of their time.
pub(super) fn draw(dice: &mut Stream, scenario: &Scenario) -> Vec<FaultPlan> {
    let mut faults = vec![];
    for class in &scenario.classes {
        let most = match class {
            Class::QuorumLoss | Class::Absence | Class::DiskFull | Class::DiskError => 2,
            Class::Duplicates | Class::CancelStorm | Class::Poison | Class::Join => 1,
            _ => 4,
        };
        let least = if scenario.kind == Kind::Single { SINGLE_MIN.min(most) } else { 1 };
        for _ in 0..dice.within(least, most + 1) {
            faults.push(fault(dice, scenario, *class));
        }
    }
    if scenario.kind == Kind::Swarm {
        // Somebody else must lead at least once.
        let last_ms = scenario.heal_ms - 2 * LAST_BEFORE_HEAL_MS;
        faults.push(FaultPlan {
            at_ms: dice.within(SETTLED_MS + 1_000, last_ms),
            for_ms: dice.within(500, 4_000),
            class: Class::Crash,
            what: FaultWhat::Crash { target: Target::Leader, kept_percent: dice.within(0, 101) },
        });
        while faults.len() < SWARM_MIN {
            faults.push(fault(dice, scenario, Class::Crash));
        }
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

fn fault(dice: &mut Stream, scenario: &Scenario, class: Class) -> FaultPlan {
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    let at_ms = match class {
        // Long enough for the rest to go on without it.
        Class::Absence => dice.within(SETTLED_MS, SETTLED_MS + (last_ms - SETTLED_MS) / 3),
        Class::Join => scenario.replicas.last().map_or(0, |late| late.start_ms),
        _ => dice.within(SETTLED_MS - 1_000, last_ms),
    };
    let lease_ms = scenario.settings.lease_server_ms;
    let agent_ms = scenario.settings.lease_agent_ms;
    let election_ms = scenario.settings.election_ms.1;
    let for_ms = match class {
        Class::Crash | Class::Pause | Class::Handover => match dice.weighted(&[3, 2]) {
            0 => dice.log_within(election_ms / 2, 2 * election_ms),
            _ => dice.log_within(100, 12_000),
        },
        Class::Absence => scenario.heal_ms - at_ms,
        Class::AgentKill => dice.log_within(100, 3_000),
        // About as long as a lease, or as an election: around their end is where the mistakes are.
        Class::Partition | Class::RackPause | Class::RackCrash | Class::Hold => match dice.weighted(&[2, 3, 2]) {
            0 => dice.log_within(100, 20_000),
            1 => dice.within(lease_ms / 2, 2 * lease_ms + 1_000),
            _ => dice.within(election_ms, 3 * election_ms),
        },
        // Long enough to be felt.
        Class::SlowDisk | Class::DiskError | Class::DiskFull => dice.log_within(2_000, 10_000),
        _ => dice.log_within(200, 10_000),
    };
    let what = what(dice, scenario, class);
    let (at_ms, for_ms) = match what {
        // The leader's majority must notice, elect, wait for the lease to end, and place anew.
        FaultWhat::LeaderWithRack { .. } => {
            let whole_ms = lease_ms + 3 * election_ms + dice.within(1_000, 5_000);
            let latest_ms = scenario.heal_ms.saturating_sub(whole_ms).max(SETTLED_MS + 2_000);
            (dice.within(SETTLED_MS + 1_000, latest_ms), whole_ms)
        }
        // The leader misses renewals, and the agent is back before its lease is over.
        FaultWhat::IsolateFenced { .. } if dice.chance(50) => {
            (at_ms, dice.within(agent_ms * 6 / 10, agent_ms * 9 / 10))
        }
        _ => (at_ms, for_ms),
    };
    // Everything has ended by the time of the heal.
    FaultPlan { at_ms, for_ms: for_ms.min(scenario.heal_ms.saturating_sub(at_ms + 1)), class, what }
}

fn target(dice: &mut Stream, scenario: &Scenario) -> Target {
    match dice.weighted(&[5, 3, 2]) {
        0 => Target::Leader,
        1 => Target::Follower(dice.position(scenario.replicas.len())),
        _ => Target::Replica(dice.position(scenario.replicas.len())),
    }
}

fn what(dice: &mut Stream, scenario: &Scenario, class: Class) -> FaultWhat {
    let hosts = scenario.hosts().len();
    let replicas = scenario.replicas.len();
    let racks = scenario.racks.len();
    let rack = dice.position(racks);
    // A lost message would mend what is cut one way (see the simulated network's links).
    let one_way = if scenario.classes.contains(&Class::Loss) { 0 } else { 1 };
    let way = [Way::Both, Way::Mute, Way::Deaf][dice.weighted(&[2, one_way, one_way])];
    let one = dice.position(hosts);
    let other = (one + 1 + dice.position(hosts - 1)) % hosts;
    let target = target(dice, scenario);
    match class {
        Class::Loss if dice.chance(50) => FaultWhat::Loss { per_million: dice.within(50, 2_000) },
        Class::Loss => FaultWhat::LinkLoss { one, other, per_million: dice.within(50_000, 400_000) },
        Class::SlowLink => FaultWhat::SlowLink { one, other, latency_ms: dice.log_within(50, 800) },
        Class::Partition => partition(dice, scenario, target, way, rack),
        Class::Hold => FaultWhat::Hold { target },
        Class::Crash => FaultWhat::Crash { target, kept_percent: [0, 100, dice.within(0, 101)][dice.position(3)] },
        Class::Absence => {
            FaultWhat::Absence { target: Target::Follower(dice.position(replicas)), snapshots: dice.within(1, 4) }
        }
        Class::QuorumLoss => {
            FaultWhat::QuorumLoss { spared: dice.position(replicas / 2 + 1), kept_percent: dice.within(0, 101) }
        }
        Class::Pause => FaultWhat::Pause { target },
        Class::Handover => FaultWhat::Handover { target: Target::Leader },
        Class::AgentKill => FaultWhat::AgentKill { rack, agent: dice.position(scenario.racks[rack].agents.len()) },
        Class::RackCrash => FaultWhat::RackCrash { rack },
        Class::RackPause => FaultWhat::RackPause { rack },
        Class::Clock => {
            let far = i64::try_from(dice.log_within(100, 3_600_000)).unwrap_or(0);
            FaultWhat::ClockJump {
                host: dice.position(replicas + racks),
                by_ms: if dice.chance(50) { far } else { -far },
            }
        }
        Class::SlowDisk => FaultWhat::SlowDisk { target, sync_ms: dice.log_within(20, 8_000) },
        Class::DiskError => FaultWhat::DiskError { target, after: dice.within(0, 10), on_sync: dice.chance(60) },
        Class::DiskFull => FaultWhat::DiskFull { target },
        Class::Join | Class::Duplicates | Class::CancelStorm | Class::Poison => FaultWhat::Workload,
        // Drawn apart.
        Class::Membership
        | Class::OldImage
        | Class::Divergence
        | Class::Restore
        | Class::Upgrade
        | Class::Upkeep
        | Class::DiskLow => FaultWhat::Workload,
    }
}

fn partition(dice: &mut Stream, scenario: &Scenario, target: Target, way: Way, rack: usize) -> FaultWhat {
    let replicas = scenario.replicas.len();
    let one = dice.position(replicas);
    let other = (one + 1) % replicas.max(1);
    match dice.weighted(&[3, 3, 2, 4, 1, 1, 3]) {
        0 => FaultWhat::IsolateReplica { target, way },
        1 => FaultWhat::LeaderMinority { with: dice.position(((replicas - 1) / 2).max(1)), way },
        2 => FaultWhat::IsolateRegion { region: dice.pick(&scenario.racks).region.clone(), way },
        3 if dice.chance(60) => FaultWhat::IsolateFenced { rack, way },
        3 => FaultWhat::IsolateRack { rack, way },
        4 if replicas > 2 => FaultWhat::Bridge { one, other, way },
        4 => FaultWhat::IsolateRack { rack, way },
        5 => FaultWhat::Isolate { hosts: vec![one, replicas + rack], way },
        _ => FaultWhat::LeaderWithRack { rack },
    }
}
