//! From a seed to a scenario: the cluster, its settings, and which classes of faults it will see.

use super::{
    AgentPlan, Class, ClockPlan, Gpus, Ground, Kind, Network, RackPlan, ReplicaPlan, Scenario, Tunables, alternatives,
    archive, company, conditions, control, disk_low, divergence, faults, flow, gangs, gpus, ground, large, membership,
    old_image, pages, preemption, rebalance, region_loss, reports, reservations, restarts, restore, rivals, scopes,
    sub_runs, timeouts, transfers, upgrade, upkeep, workload,
};
use crate::seeded::Stream;

/// A leader, voters and nodes are there by then, in a cluster that is spared.
pub(super) const SETTLED_MS: u64 = 4_000;
/// Faults and work last so long.
const ACTIVE_MS: (u64, u64) = (24_000, 34_000);
/// After the faults' end, even if everything is quiet at once.
const QUIET_MS: u64 = 6_000;
/// No rack holds more agents: they would all share its fate.
const AGENTS_PER_RACK_MAX: u64 = 3;

/// Seeds out of a hundred whose replicas have real stores, where no fault needs another.
const ROCKSDB_PERCENT: u64 = 15;

/// Entries that are kept for followers that lag, where these are to be spared a snapshot.
const KEEP_LONG: (u64, u64) = (40, 100);

/// Swarms out of a hundred in which a quorum is always left, but for the class that is about that.
const SPARING_PERCENT: u64 = 50;

/// Classes and how many seeds out of a hundred have them.
const CLASSES: [(Class, u64); 20] = [
    (Class::Loss, 30),
    (Class::SlowLink, 40),
    (Class::Partition, 70),
    (Class::Hold, 40),
    (Class::Crash, 80),
    (Class::Absence, 60),
    (Class::QuorumLoss, 15),
    (Class::Pause, 50),
    (Class::Handover, 40),
    (Class::Join, 30),
    (Class::AgentKill, 50),
    (Class::RackCrash, 40),
    (Class::RackPause, 30),
    (Class::Clock, 40),
    (Class::SlowDisk, 50),
    (Class::DiskError, 30),
    (Class::DiskFull, 20),
    (Class::Duplicates, 50),
    (Class::CancelStorm, 40),
    (Class::Poison, 30),
];

/// Expands a seed. The same seed gives the same scenario.
pub(crate) fn draw(seed: u64) -> Scenario {
    let mut dice = Stream::of(seed, "cluster");
    let kind = [Kind::FaultFree, Kind::Single, Kind::Swarm][dice.weighted(&[10, 10, 80])];
    let replicas = [1, 3, 5, 7][dice.weighted(&[1, 6, 3, 1])];
    let regions = usize::try_from(dice.within(1, 5)).unwrap_or(1).min(replicas.max(2));
    let classes = classes(&mut dice, kind, replicas);
    let has = |class| classes.contains(&class);

    let far_ms = if regions > 1 && dice.chance(60) { dice.within(5, 100) } else { 5 };
    let latency_ms = (dice.within(0, 4), dice.within(4, 30));
    let network =
        Network { tick_ms: dice.within(1, 6), latency_ms, region_latency_ms: (far_ms, far_ms + dice.within(0, 10)) };
    let region = |at: usize| ["eu", "us", "asia", "africa"][at % regions].to_owned();
    let mut clock = |dice: &mut Stream| ClockPlan {
        booted_before_ms: dice.within(1_000, 1_000_000_000),
        wall_ahead_ms: dice.within(0, 2_000),
        drift_ppm: if has(Class::Clock) { i64::try_from(dice.within(0, 1_001)).unwrap_or(0) - 500 } else { 0 },
    };
    // A real store cannot lose what was not synced, so the classes that are about that leave it out.
    let disks = [Class::SlowDisk, Class::DiskError, Class::DiskFull];
    let rocksdb = dice.chance(ROCKSDB_PERCENT) && !disks.iter().any(|class| has(*class));
    let replica_plans = (0..replicas).map(|at| ReplicaPlan {
        region: region(at),
        start_ms: 0,
        older_until_ms: 0,
        clock: clock(&mut dice),
        sync_us: dice.log_within(200, 20_000),
        rocksdb,
    });
    let mut replica_plans: Vec<ReplicaPlan> = replica_plans.collect();
    let settings = tunables(&mut dice, &network, kind);
    let racks = racks(&mut dice, settings.lease_kill_ms, region, &mut clock);
    let heal_ms = SETTLED_MS + dice.within(ACTIVE_MS.0, ACTIVE_MS.1);
    if has(Class::Join)
        && let Some(late) = replica_plans.last_mut()
    {
        late.start_ms = dice.within(SETTLED_MS, heal_ms - 8_000);
    }
    let mut scenario = Scenario {
        seed,
        kind,
        classes,
        network,
        settings,
        replicas: replica_plans,
        racks,
        sessions: vec![],
        rebalances: vec![],
        reservations: vec![],
        faults: vec![],
        spares_quorum: kind == Kind::Swarm && replicas >= 3 && dice.chance(SPARING_PERCENT),
        heal_ms,
        end_ms: heal_ms + QUIET_MS,
    };
    scenario.sessions = workload::draw(&mut Stream::of(seed, "workload"), &scenario);
    scenario.faults = faults::draw(&mut Stream::of(seed, "faults"), &scenario);
    pages::draw(&mut Stream::of(seed, "pages"), &mut scenario);
    membership::draw(&mut Stream::of(seed, "membership"), &mut scenario);
    restore::draw(&mut Stream::of(seed, "restore"), &mut scenario);
    upgrade::draw(&mut Stream::of(seed, "upgrade"), &mut scenario);
    transfers::draw(&mut Stream::of(seed, "transfers"), &mut scenario);
    upkeep::draw(&mut Stream::of(seed, "upkeep"), &mut scenario);
    old_image::draw(&mut Stream::of(seed, "old image"), &mut scenario);
    disk_low::draw(&mut Stream::of(seed, "disk low"), &mut scenario);
    divergence::draw(&mut Stream::of(seed, "divergence"), &mut scenario);
    reports::draw(&mut Stream::of(seed, "reports"), &mut scenario);
    timeouts::draw(&mut Stream::of(seed, "timeouts"), &mut scenario);
    // These look at what kind of seed has come of it.
    control::draw(&mut Stream::of(seed, "control"), &mut scenario);
    flow::draw(&mut Stream::of(seed, "flow"), &mut scenario);
    large::draw(&mut Stream::of(seed, "large"), &mut scenario);
    restarts::draw(&mut Stream::of(seed, "restarts"), &mut scenario);
    archive::draw(&mut Stream::of(seed, "archive"), &mut scenario);
    sub_runs::draw(&mut Stream::of(seed, "sub runs"), &mut scenario);
    gpus::draw(&mut Stream::of(seed, "gpus"), &mut scenario);
    scopes::draw(&mut Stream::of(seed, "scopes"), &mut scenario);
    ground::draw(&mut Stream::of(seed, "ground"), &mut scenario);
    gangs::draw(&mut Stream::of(seed, "gangs"), &mut scenario);
    preemption::draw(&mut Stream::of(seed, "preemption"), &mut scenario);
    region_loss::draw(&mut Stream::of(seed, "region loss"), &mut scenario);
    company::draw(&mut Stream::of(seed, "company"), &mut scenario);
    reservations::draw(&mut Stream::of(seed, "reservations"), &mut scenario);
    rebalance::draw(&mut Stream::of(seed, "rebalance"), &mut scenario);
    rivals::draw(&mut Stream::of(seed, "rivals"), &mut scenario);
    alternatives::draw(&mut Stream::of(seed, "alternatives"), &mut scenario);
    conditions::draw(&mut Stream::of(seed, "where"), &mut scenario);
    ground::suit(&mut scenario);
    scenario
}

/// Faults that a cluster of this shape can see at all.
fn is_possible(class: Class, replicas: usize) -> bool {
    match class {
        Class::Absence | Class::Handover | Class::Join => replicas >= 3,
        _ => true,
    }
}

fn classes(dice: &mut Stream, kind: Kind, replicas: usize) -> Vec<Class> {
    let possible: Vec<(Class, u64)> = CLASSES.into_iter().filter(|(class, _)| is_possible(*class, replicas)).collect();
    let mut classes: Vec<Class> = match kind {
        // Restores are made of swarms, later.
        Kind::FaultFree | Kind::Restore => vec![],
        Kind::Single => vec![dice.pick(&possible).0],
        Kind::Swarm => {
            possible.into_iter().filter(|(_, percent)| dice.chance(*percent)).map(|(class, _)| class).collect()
        }
    };
    if kind == Kind::Swarm {
        // The floor of a swarm: somebody leads after somebody else, and somebody needs a snapshot.
        classes.push(Class::Crash);
        if replicas >= 3 {
            classes.push(Class::Absence);
        }
        // The simulated network cannot cut one way what it holds back.
        if classes.contains(&Class::Partition) {
            classes.retain(|class| *class != Class::Hold);
        }
    }
    classes.sort_unstable();
    classes.dedup();
    classes
}

fn tunables(dice: &mut Stream, network: &Network, kind: Kind) -> Tunables {
    let round_trip_ms = 2 * network.region_latency_ms.1.max(network.latency_ms.1);
    let heartbeat_ms = (2 * round_trip_ms).clamp(100, 400);
    let election_min = 5 * heartbeat_ms;
    // A renewal is passed on to the leader and confirmed by a quorum: several round trips.
    let lease_server_ms = dice.within(4_000, 8_000) + 20 * round_trip_ms;
    let (kill_ms, margin_ms) = (dice.within(300, 1_000), dice.within(200, 600));
    let rho_ppm = 1_000;
    // The longest that the terms allow, or a bit less.
    let agent_most = lease_server_ms * 998 / 1_000 - kill_ms - margin_ms;
    let is_pressed = kind == Kind::Swarm && dice.chance(60);
    Tunables {
        heartbeat_ms,
        election_ms: (election_min, 2 * election_min),
        snapshot_entries: if is_pressed { dice.log_within(10, 60) } else { 50 },
        // Who kept nothing could only send snapshots to whoever was away, never what ends another's log.
        keep_entries: match dice.weighted(&[4, 2, 4]) {
            0 => 0,
            1 => dice.within(1, 20),
            _ => dice.within(KEEP_LONG.0, KEEP_LONG.1),
        },
        // Each piece waits for the one before it: far away, small ones would take for ever.
        snapshot_chunk_bytes: if round_trip_ms > 60 || dice.chance(50) { 1 << 20 } else { 1 << dice.within(11, 15) },
        digest_every: dice.log_within(5, 200),
        lease_server_ms,
        lease_agent_ms: if dice.chance(50) { agent_most - 1 } else { agent_most - dice.within(1, agent_most / 4) },
        lease_kill_ms: kill_ms,
        lease_margin_ms: margin_ms,
        lease_rho_ppm: rho_ppm,
        node_losses_max: 4,
        unknown_ms_max: dice.within(2_000, 10_000),
        event_revisions_max: 1_000_000,
        memory_runs_max: None,
        preempts: None,
        stop_grace_ms: dice.within(1_000, 5_001),
        ready_ahead: None,
    }
}

fn racks(
    dice: &mut Stream,
    kill_ms: u64,
    region: impl Fn(usize) -> String,
    clock: &mut impl FnMut(&mut Stream) -> ClockPlan,
) -> Vec<RackPlan> {
    let wanted = dice.within(10, 15);
    let mut racks: Vec<RackPlan> = vec![];
    let mut agents = 0;
    while agents < wanted {
        let at = racks.len();
        let here = dice.within(2, AGENTS_PER_RACK_MAX + 1).min(wanted - agents);
        let plans = (0..here).map(|number| AgentPlan {
            node: format!("n{}", agents + number + 1),
            cluster: format!("{}-1", region(at)),
            cpu_milli: 500 * dice.within(2, 7),
            memory_bytes: (1 << 30) * dice.within(1, 4),
            start_ms: dice.log_within(1, 200),
            kill_ms: dice.within(1, kill_ms * 8 / 10),
            pool: None,
            gpus: Gpus::default(),
            ground: Ground::default(),
            zone: None,
        });
        let agents_here: Vec<AgentPlan> = plans.collect();
        racks.push(RackPlan { region: region(at), clock: clock(dice), agents: agents_here });
        agents += here;
    }
    racks
}
