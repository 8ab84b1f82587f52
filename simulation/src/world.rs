//! A simulated world: hosts that run the production's replica on the four seams, and one seed that
//! decides everything else.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_seams::Shutdown;
use quorate_server::{Config, Formation, Listeners, Seams, Tuning};
use quorate_state::{RegionName, Settings};
use turmoil::{Builder, Sim};

use crate::disk::SimDisk;
use crate::net::SimNetwork;
use crate::seeded::{EPOCH, SimClock, SimEntropy, Stream};
use crate::trace::Trace;

/// Simulated time after which a run counts as hung.
const DURATION_MAX: Duration = Duration::from_secs(600);
const API_PORT: u16 = 7_001;
const AGENT_PORT: u16 = 7_002;
const RAFT_PORT: u16 = 7_003;
/// turmoil panics when a backlog overflows; no real one would be this long.
const TCP_CAPACITY: usize = 65_536;

/// The world of one seed.
pub(crate) struct World {
    pub(crate) sim: Sim<'static>,
    pub(crate) trace: Trace,
    pub(crate) dice: Stream,
    replicas: Vec<Replica>,
}

struct Replica {
    name: String,
    disk: SimDisk,
}

impl World {
    /// A world of `replicas` replicas, none of which has run yet.
    pub(crate) fn new(seed: u64, replicas: usize, trace: Trace) -> Self {
        let mut dice = Stream::of(seed, "world");
        let sim = Builder::new()
            .rng_seed(dice.next())
            .epoch(std::time::UNIX_EPOCH + EPOCH)
            .simulation_duration(DURATION_MAX)
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(dice.within(0, 5)))
            .max_message_latency(Duration::from_millis(dice.within(5, 60)))
            .tcp_capacity(TCP_CAPACITY)
            .enable_random_order()
            .build();
        let mut world = Self { sim, trace, dice, replicas: Vec::new() };
        for number in 1..=replicas {
            world.add_replica(seed, number);
        }
        world
    }

    fn add_replica(&mut self, seed: u64, number: usize) {
        let name = format!("r{number}");
        let disk = SimDisk::new(Duration::from_micros(self.dice.within(200, 8_000)));
        let clock = SimClock {
            booted_before: Duration::from_millis(self.dice.within(1_000, 100_000_000)),
            wall_ahead: Duration::from_millis(self.dice.within(0, 300)),
        };
        let starts = Rc::new(Cell::new(0_u64));
        let (host, host_disk, trace) = (name.clone(), disk.clone(), self.trace.clone());
        self.sim.host(name.clone(), move || {
            starts.set(starts.get() + 1);
            let entropy = SimEntropy::new(Stream::of(seed, &format!("{host} start {}", starts.get())));
            let seams = Seams {
                clock: Arc::new(clock),
                entropy: Arc::new(entropy),
                network: Arc::new(SimNetwork),
                disk: Arc::new(host_disk.clone()),
            };
            let config = config(&host, number, host_disk.is_empty());
            let trace = trace.clone();
            let host = host.clone();
            async move {
                trace.note(&format!("{host} starts with {:?}", config.formation));
                // Lives as long as the host: a crash drops both.
                let (_handle, shutdown) = Shutdown::new();
                Box::pin(quorate_server::run(config, seams, shutdown, |_| {})).await?;
                Ok(())
            }
        });
        self.replicas.push(Replica { name, disk });
    }

    /// Names of all replicas.
    pub(crate) fn names(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| replica.name.clone()).collect()
    }

    /// The client addresses of all replicas.
    pub(crate) fn api_addresses(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| format!("{}:{API_PORT}", replica.name)).collect()
    }

    /// Cuts a replica's power: what its disk had not synced is gone, but for a prefix that the seed
    /// lets survive. Returns how many batches were dropped.
    pub(crate) fn crash(&mut self, name: &str) -> u64 {
        self.sim.crash(name);
        let kept = usize::try_from(self.dice.within(0, 3)).unwrap_or(0);
        let dropped =
            self.replicas.iter().find(|replica| replica.name == name).map_or(0, |replica| replica.disk.crash(kept));
        self.trace.note(&format!("{name} crashes, {dropped} unsynced batches are lost"));
        dropped
    }

    /// Starts a crashed replica again, with what its disk has kept.
    pub(crate) fn bounce(&mut self, name: &str) {
        self.trace.note(&format!("{name} comes back"));
        self.sim.bounce(name);
    }

    /// Lets simulated time pass until `done` says so.
    ///
    /// # Errors
    /// When a host fails, or `limit` passes first.
    pub(crate) fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl Fn() -> bool,
    ) -> Result<(), crate::Failure> {
        let end = self.sim.elapsed() + limit;
        while !done() {
            if self.sim.elapsed() > end {
                return Err(crate::Failure::Late { what: what.into(), limit });
            }
            self.sim.step().map_err(|error| crate::Failure::Host(error.to_string()))?;
        }
        Ok(())
    }
}

/// As an operator would write it: the first replica founds the cluster, the others join it, and
/// every later start goes on with what is on the disk.
fn config(name: &str, number: usize, is_new: bool) -> Config {
    let formation = match (is_new, number) {
        (false, _) => Formation::Run,
        (true, 1) => Formation::Init,
        (true, _) => Formation::Join { peers: vec![format!("r1:{RAFT_PORT}")] },
    };
    let listen = |port| format!("0.0.0.0:{port}");
    Config {
        formation,
        region: RegionName::new("eu").unwrap_or_else(|error| unreachable!("{error}")),
        listen: Listeners { api: listen(API_PORT), agent: listen(AGENT_PORT), raft: listen(RAFT_PORT), ops: None },
        advertise: quorate_server::Advertise {
            api: Some(format!("{name}:{API_PORT}")),
            agent: Some(format!("{name}:{AGENT_PORT}")),
            raft: Some(format!("{name}:{RAFT_PORT}")),
        },
        insecure: true,
        settings: Settings::default(),
        // Small enough that snapshots and purges happen in every run.
        tuning: Tuning { snapshot_entries: 50, keep_entries: 0, ..Tuning::default() },
        connections_max: quorate_server::CONNECTIONS_MAX_DEFAULT,
    }
}
