//! The loss of the whole cluster, drawn apart from all else: in a few seeds it takes the place of the
//! faults that were drawn.

use super::draw::SETTLED_MS;
use super::{Class, FaultPlan, FaultWhat, Kind, Scenario, Way};
use crate::seeded::Stream;

/// Swarms out of a hundred that become one of these.
const PERCENT: u64 = 6;
/// When the backup is taken, after everything has settled.
const BACKUP_AFTER_MS: (u64, u64) = (4_000, 10_000);
/// How much of the history is not in it.
const LOST_MS: (u64, u64) = (1_000, 8_000);
/// Until something goes on.
const DOWN_MS: (u64, u64) = (500, 6_000);
/// Machines that are cut off hear of the loss that much later.
const CUT_BEFORE_MS: u64 = 500;

/// Turns the scenario into one of these, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let possible = scenario.replicas.len() >= 3 && !scenario.replicas.iter().any(|replica| replica.rocksdb);
    if !dice.chance(PERCENT) || !possible || scenario.kind != Kind::Swarm {
        return;
    }
    scenario.kind = Kind::Restore;
    scenario.classes = vec![Class::Restore];
    scenario.spares_quorum = false;
    scenario.replicas.iter_mut().for_each(|replica| replica.start_ms = 0);
    let fault = |at_ms, for_ms, what| FaultPlan { at_ms, for_ms, class: Class::Restore, what };
    let backup_ms = SETTLED_MS + dice.within(BACKUP_AFTER_MS.0, BACKUP_AFTER_MS.1);
    let destroy_ms = backup_ms + dice.within(LOST_MS.0, LOST_MS.1);
    let survivor = dice.chance(30).then(|| dice.position(scenario.replicas.len()));
    scenario.faults = vec![fault(backup_ms, 0, FaultWhat::Backup)];
    if dice.chance(50) {
        // What runs there is not heard of by the new cluster before the old leases are over.
        let what = FaultWhat::IsolateFenced { rack: dice.position(scenario.racks.len()), way: Way::Both };
        let for_ms = dice.within(scenario.settings.lease_agent_ms / 2, 2 * scenario.settings.lease_server_ms);
        scenario.faults.push(fault(destroy_ms - CUT_BEFORE_MS, for_ms, what));
    }
    scenario.faults.push(fault(destroy_ms, dice.within(DOWN_MS.0, DOWN_MS.1), FaultWhat::Destroy { survivor }));
}
