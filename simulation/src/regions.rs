//! Three replicas in three regions, nothing going wrong: how long a commit takes, by where the leader
//! stands, and how many there are at once.
//!
//! Time is simulated and computing takes none of it, so this shows what the protocol waits for: round
//! trips and syncs. What a machine can do is the benchmark's business.

use std::cell::{Cell as Shared, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientConfig, Error};
use quorate_proto::v1;
use serde::Serialize;
use turmoil::{Builder, Sim};

use crate::clock::EPOCH;
use crate::facts::Facts;
use crate::hosts::{API_PORT, Replica, a_job};
use crate::net::SimNetwork;
use crate::scenario::{ClockPlan, Kind, Network, ReplicaPlan, Scenario, Tunables};
use crate::seeded::{SimEntropy, Stream};

/// Where a replica and callers stand each.
const REGIONS: [&str; 3] = ["a", "b", "c"];
/// From region to region and back.
const ROUND_TRIP_MS: [(usize, usize, u64); 3] = [(0, 1, 20), (0, 2, 80), (1, 2, 150)];
/// How many ask at once.
const CALLERS: [usize; 2] = [1, 64];
/// What a disk needs for a sync.
const SYNC: Duration = Duration::from_millis(1);
/// Not measured, so that connections are there and the leader is used to it.
const WARM_UP: Duration = Duration::from_secs(1);
/// Between two tries of what must work in the end.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Everything is over by then, or never.
const DURATION_MAX: Duration = Duration::from_secs(900);
/// The job whose run is annotated, and what with.
const JOB: &str = "measured";
const VALUE_BYTES: usize = 256;

/// What was measured with the leader in one region and so many callers beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cell {
    /// The region of the leader, and of the callers.
    pub(crate) leader: String,
    /// The round trip to the nearest other replica: with it, the leader is a majority.
    pub(crate) nearest_ms: u64,
    pub(crate) callers: u64,
    pub(crate) operations: u64,
    pub(crate) per_second: u64,
    /// From the call to the answer.
    pub(crate) p50_ms: u64,
    pub(crate) p99_ms: u64,
    /// Of a linearizable read, by as many callers.
    pub(crate) read_p50_ms: u64,
    /// Entries of the log that they came in.
    pub(crate) entries: u64,
}

/// Measures for so many simulated seconds per cell. On a thread of its own, see [`crate::isolate`].
pub(crate) fn measure(seed: u64, seconds: u64) -> Result<Vec<Cell>, String> {
    let scenario = Rc::new(scenario(seed));
    let mut sim = Builder::new()
        .rng_seed(Stream::of(seed, "network").next())
        .epoch(std::time::UNIX_EPOCH + EPOCH)
        .simulation_duration(DURATION_MAX)
        .tick_duration(Duration::from_millis(scenario.network.tick_ms))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::ZERO)
        .tcp_capacity(65_536)
        .build();
    let facts = Facts::default();
    let mut replicas: Vec<Replica> =
        (0..REGIONS.len()).map(|position| Replica::new(&scenario, position, &facts)).collect();
    for (position, replica) in replicas.iter_mut().enumerate() {
        replica.start(&mut sim, &scenario, position, &facts);
    }
    let (turn, cells) = (Rc::new(Shared::new(0)), Rc::new(RefCell::new(vec![])));
    for region in 0..REGIONS.len() {
        let (turn, cells) = (turn.clone(), cells.clone());
        sim.client(caller(region), async move {
            while turn.get() != region {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            let measured = in_region(seed, region, Duration::from_secs(seconds)).await;
            cells.borrow_mut().extend(measured);
            turn.set(region + 1);
            Ok(())
        });
    }
    lay_out(&sim);
    while turn.get() < REGIONS.len() {
        if let Err(error) = sim.step() {
            return Err(format!("a host failed: {error}"));
        }
        // Nobody judges them.
        facts.take();
    }
    Ok(cells.take())
}

fn caller(region: usize) -> String {
    format!("caller-{}", REGIONS[region])
}

fn round_trip_ms(one: usize, other: usize) -> u64 {
    let is_pair = |(from, to, _): &&(usize, usize, u64)| (*from, *to) == (one.min(other), one.max(other));
    ROUND_TRIP_MS.iter().find(is_pair).map_or(0, |(_, _, millis)| *millis)
}

fn lay_out(sim: &Sim<'static>) {
    let hosts = |region: usize| [Scenario::replica_host(region), caller(region)];
    for one in 0..REGIONS.len() {
        for other in one + 1..REGIONS.len() {
            let latency = Duration::from_millis(round_trip_ms(one, other) / 2);
            for (from, to) in hosts(one).iter().flat_map(|from| hosts(other).map(|to| (from.clone(), to))) {
                sim.set_link_latency(from, to, latency);
            }
        }
    }
}

/// Has the replica of a region lead, and asks it for commits, by one caller and by many.
async fn in_region(seed: u64, region: usize, lasts: Duration) -> Vec<Cell> {
    let all = client(seed, "all", (0..REGIONS.len()).collect());
    let run = insist(|| all.submit_job(a_job(JOB))).await.run_id;
    let leads = async || {
        let listed = all.list_replicas(v1::ListReplicasRequest {}).await?;
        let here = listed.replicas.iter().find(|it| it.region == REGIONS[region]);
        let (id, is_leader) = here.map_or((0, false), |here| (here.id, here.leader && listed.replicas.len() == 3));
        if !is_leader {
            all.transfer_leadership(v1::TransferLeadershipRequest { to: id, ..Default::default() }).await?;
        }
        Ok(is_leader)
    };
    while !matches!(leads().await, Ok::<bool, Error>(true)) {
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    let near = client(seed, REGIONS[region], vec![region]);
    let mut cells = vec![];
    for callers in CALLERS {
        ask(&near, &run, callers, WARM_UP, false).await;
        let written = ask(&near, &run, callers, lasts, false).await;
        let read = ask(&near, &run, callers, WARM_UP, true).await;
        cells.push(cell(region, callers, lasts, written, read));
    }
    cells
}

fn client(seed: u64, label: &str, replicas: Vec<usize>) -> Client {
    let addresses = replicas.into_iter().map(|at| format!("{}:{API_PORT}", Scenario::replica_host(at))).collect();
    let entropy = SimEntropy::new(Stream::of(seed, &format!("caller {label}")));
    Client::new(ClientConfig::new(addresses), Arc::new(SimNetwork), Arc::new(entropy))
}

/// Asks again until it is done.
async fn insist<T>(work: impl AsyncFn() -> Result<T, Error>) -> T {
    loop {
        match work().await {
            Ok(done) => return done,
            Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
        }
    }
}

/// How long each commit took, or each read, and its revision.
async fn ask(client: &Client, run: &str, callers: usize, lasts: Duration, reads: bool) -> Vec<(Duration, u64)> {
    let until = now() + lasts;
    let asked = (0..callers).map(|caller| {
        let client = client.clone();
        let run = v1::RunRef { r#ref: Some(v1::run_ref::Ref::RunId(run.to_owned())) };
        tokio::task::spawn_local(async move {
            let mut asked = vec![];
            while now() < until {
                let called = now();
                let run = Some(run.clone());
                let revision = if reads {
                    client.get_run(v1::GetRunRequest { run }).await.map(|answer| answer.revision)
                } else {
                    let (key, value) = (format!("caller-{caller}"), "x".repeat(VALUE_BYTES));
                    let request = v1::AnnotateRunRequest { run, key, value, ..Default::default() };
                    client.annotate_run(request).await.map(|answer| answer.revision)
                };
                asked.extend(revision.map(|revision| (now().saturating_sub(called), revision)));
            }
            asked
        })
    });
    let asked: Vec<_> = asked.collect();
    let mut all = vec![];
    for asked in asked {
        all.extend(asked.await.unwrap_or_default());
    }
    all
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

fn cell(
    region: usize,
    callers: usize,
    lasts: Duration,
    mut asked: Vec<(Duration, u64)>,
    mut read: Vec<(Duration, u64)>,
) -> Cell {
    let others = (0..REGIONS.len()).filter(|other| *other != region);
    asked.sort_unstable();
    read.sort_unstable();
    let percentile = |sorted: &[(Duration, u64)], percent: usize| {
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0, |(took, _)| u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    };
    let revisions: std::collections::BTreeSet<u64> = asked.iter().map(|(_, revision)| *revision).collect();
    Cell {
        leader: REGIONS[region].to_owned(),
        nearest_ms: others.map(|other| round_trip_ms(region, other)).min().unwrap_or(0),
        callers: callers as u64,
        operations: asked.len() as u64,
        per_second: asked.len() as u64 / lasts.as_secs().max(1),
        p50_ms: percentile(&asked, 50),
        p99_ms: percentile(&asked, 99),
        read_p50_ms: percentile(&read, 50),
        entries: revisions.len() as u64,
    }
}

/// As an operator would set it up, but for the regions.
fn scenario(seed: u64) -> Scenario {
    let replica = |region: &str| ReplicaPlan {
        region: region.to_owned(),
        start_ms: 0,
        older_until_ms: 0,
        clock: ClockPlan { booted_before_ms: 1_000, wall_ahead_ms: 0, drift_ppm: 0 },
        sync_us: u64::try_from(SYNC.as_micros()).unwrap_or(0),
        rocksdb: false,
    };
    let product = quorate_server::Tuning::default();
    let settings = quorate_state::Settings::default();
    Scenario {
        seed,
        kind: Kind::FaultFree,
        classes: vec![],
        network: Network { tick_ms: 1, latency_ms: (0, 0), region_latency_ms: (0, 0) },
        settings: Tunables {
            heartbeat_ms: product.heartbeat_ms,
            election_ms: (product.election_ms_min, product.election_ms_max),
            snapshot_entries: product.snapshot_entries,
            keep_entries: product.keep_entries,
            snapshot_chunk_bytes: product.snapshot_chunk_bytes,
            digest_every: product.digest_every,
            lease_server_ms: settings.lease.server_ms,
            lease_agent_ms: settings.lease.agent_ms,
            lease_kill_ms: settings.lease.kill_ms,
            lease_margin_ms: settings.lease.margin_ms,
            lease_rho_ppm: settings.lease.rho_ppm,
            node_losses_max: settings.node_losses_max,
            unknown_ms_max: settings.unknown_ms_max,
            event_revisions_max: settings.event_revisions_max,
            memory_runs_max: None,
            preempts: None,
            stop_grace_ms: 1_000,
            ready_ahead: None,
        },
        replicas: REGIONS.map(replica).into(),
        racks: vec![],
        sessions: vec![],
        rebalances: vec![],
        reservations: vec![],
        faults: vec![],
        spares_quorum: false,
        heal_ms: 0,
        end_ms: 0,
    }
}
