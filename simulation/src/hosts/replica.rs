//! A replica of the control plane on a simulated host.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_raft::{Addresses, Home, Loaded, recover};
use quorate_seams::{Batch, Disk, Shutdown, ShutdownHandle};
use quorate_server::{Advertise, CONNECTIONS_MAX_DEFAULT, Config, Formation, Listeners, Seams, Tuning};
use quorate_state::{FeatureSet, RegionName, Uuid};
use turmoil::Sim;

use super::{AGENT_PORT, API_PORT, RAFT_PORT, addresses, settings};
use crate::clock::SimClock;
use crate::disk::{SimDisk, Trouble};
use crate::facts::{Fact, Facts};
use crate::net::SimNetwork;
use crate::rocks::RocksInline;
use crate::rows::Kept;
use crate::scenario::{ReplicaPlan, Scenario};
use crate::seeded::{SimEntropy, Stream};

/// A replica, whether it runs or not.
pub(crate) struct Replica {
    pub(crate) host: String,
    pub(crate) disk: Store,
    pub(crate) clock: SimClock,
    /// To ask the life that runs to stop.
    stop: Rc<RefCell<Option<ShutdownHandle>>>,
    place: Rc<Cell<Place>>,
    /// What is done to the disk before the next start.
    begin: Rc<RefCell<Option<Begin>>>,
    was_started: bool,
    /// The life that runs is that of an older version.
    older: Rc<Cell<bool>>,
}

/// How the data begins another life, by the production's own functions.
pub(crate) enum Begin {
    /// On an empty disk, from a backup.
    Restored(Rc<Vec<u8>>),
    /// On the disk of a replica, without these other stores.
    Recovered(Vec<Uuid>),
}

/// How whoever has this place came to it.
#[derive(Clone, Copy, Default)]
struct Place {
    /// It makes a cluster, or made it.
    founds: bool,
    /// It joins, or joined, without asking for a vote.
    is_learner: bool,
    /// So will the next one.
    learner_next: bool,
}

/// A replica's store. It outlives the replica's crashes; cloning shares it.
#[derive(Clone)]
pub(crate) enum Store {
    /// In memory, with every fault there is.
    Simulated(SimDisk),
    /// On a real RocksDB, whose process can be killed and nothing else.
    Real(RocksInline),
}

impl Store {
    fn new(plan: &ReplicaPlan, position: usize, facts: &Facts) -> Self {
        let sync_time = Duration::from_micros(plan.sync_us);
        let simulated = || Self::Simulated(SimDisk::new(position, facts.clone(), sync_time));
        if !plan.rocksdb {
            return simulated();
        }
        // Without a place for files there is still the other one.
        RocksInline::new(position, facts.clone(), sync_time).map_or_else(|_| simulated(), Self::Real)
    }

    fn seam(&self) -> Arc<dyn Disk> {
        match self {
            Self::Simulated(disk) => Arc::new(disk.clone()),
            Self::Real(disk) => Arc::new(disk.clone()),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Simulated(disk) => disk.is_empty(),
            Self::Real(disk) => disk.is_empty().unwrap_or(false),
        }
    }

    /// See [`SimDisk::crash`].
    pub(crate) fn crash(&self, kept_percent: u64) -> (u64, u64) {
        match self {
            Self::Simulated(disk) => disk.crash(kept_percent),
            Self::Real(disk) => (disk.crash(), 0),
        }
    }

    /// See [`SimDisk::image`]; none of a real store.
    pub(crate) fn image(&self) -> Option<Kept> {
        match self {
            Self::Simulated(disk) => Some(disk.image()),
            Self::Real(_) => None,
        }
    }

    /// See [`SimDisk::put_back`].
    pub(crate) fn put_back(&self, image: Kept) {
        if let Self::Simulated(disk) = self {
            disk.put_back(image);
        }
    }

    /// See [`SimDisk::alter`].
    pub(crate) fn alter(&self, batch: &Batch) {
        if let Self::Simulated(disk) = self {
            disk.alter(batch);
        }
    }

    /// See [`SimDisk::renew`]; a real store is never replaced.
    fn renew(&self) {
        if let Self::Simulated(disk) = self {
            disk.renew();
        }
    }

    /// See [`SimDisk::set_trouble`].
    pub(crate) fn set_trouble(&self, change: impl FnOnce(&mut Trouble)) {
        if let Self::Simulated(disk) = self {
            disk.set_trouble(change);
        }
    }

    /// See [`SimDisk::is_low`].
    pub(crate) fn is_low(&self) -> bool {
        match self {
            Self::Simulated(disk) => disk.is_low(),
            Self::Real(_) => false,
        }
    }

    /// See [`SimDisk::felt`].
    pub(crate) fn felt(&self) -> u64 {
        match self {
            Self::Simulated(disk) => disk.felt(),
            Self::Real(_) => 0,
        }
    }
}

impl Replica {
    /// The replica at a position of the scenario; it does not run yet.
    pub(crate) fn new(scenario: &Scenario, position: usize, facts: &Facts) -> Self {
        let plan = &scenario.replicas[position];
        Self {
            host: Scenario::replica_host(position),
            disk: Store::new(plan, position, facts),
            clock: SimClock::new(plan.clock),
            stop: Rc::default(),
            place: Rc::new(Cell::new(Place { founds: position == 0, ..Place::default() })),
            begin: Rc::default(),
            was_started: false,
            older: Rc::default(),
        }
    }

    /// True while it runs as an older version does.
    pub(crate) fn is_older(&self) -> bool {
        self.older.get()
    }

    /// Another one will join in its place, once it is gone.
    pub(crate) fn give_way(&self, learner: bool) {
        self.place.set(Place { learner_next: learner, ..self.place.get() });
    }

    /// Whether that one will join as a learner.
    pub(crate) fn gives_way_to_learner(&self) -> bool {
        self.place.get().learner_next
    }

    /// A cluster goes on from here with its next start.
    pub(crate) fn go_on(&self, begin: Begin) {
        self.begin.replace(Some(begin));
        self.place.set(Place { founds: true, ..Place::default() });
    }

    /// It is gone, and with it its disk: the next start is that of another.
    pub(crate) fn renew(&self) {
        self.disk.renew();
        let learner = self.place.get().learner_next;
        self.place.set(Place { founds: false, is_learner: learner, learner_next: learner });
    }

    /// Starts it, for the first time or again.
    pub(crate) fn start(&mut self, sim: &mut Sim<'static>, scenario: &Rc<Scenario>, position: usize, facts: &Facts) {
        if std::mem::replace(&mut self.was_started, true) {
            sim.bounce(self.host.clone());
            return;
        }
        let lives = Rc::new(Cell::new(0_u32));
        let (disk, clock, stop) = (self.disk.clone(), self.clock.clone(), self.stop.clone());
        let (place, begin, older) = (self.place.clone(), self.begin.clone(), self.older.clone());
        let (scenario, facts, host) = (scenario.clone(), facts.clone(), self.host.clone());
        sim.host(self.host.clone(), move || {
            lives.set(lives.get() + 1);
            let life = lives.get();
            let starts = Duration::from_millis(scenario.replicas[position].start_ms);
            let entropy = SimEntropy::new(Stream::of(scenario.seed, &format!("{host} life {life}")));
            let seams = Seams {
                clock: Arc::new(clock.clone()),
                entropy: Arc::new(entropy),
                network: Arc::new(SimNetwork),
                disk: disk.seam(),
            };
            let begin = begin.take();
            let is_empty = disk.is_empty() && begin.is_none();
            let mut config = config(&scenario, position, is_empty, place.get());
            let (older, older_until) =
                (older.clone(), Duration::from_millis(scenario.replicas[position].older_until_ms));
            // Before it runs: it may be asked to stop in the very step in which it starts.
            let (handle, shutdown) = Shutdown::new();
            stop.replace(Some(handle));
            let facts = facts.clone();
            async move {
                // One that joins late has a host, and links, from the start.
                tokio::time::sleep(starts.saturating_sub(turmoil::sim_elapsed().unwrap_or_default())).await;
                older.set(turmoil::sim_elapsed().unwrap_or_default() < older_until);
                if older.get() {
                    config.tuning.features = FeatureSet::none();
                }
                facts.add(Fact::ReplicaStarted { replica: position });
                let begun = match begin {
                    Some(begin) => begin.carry_out(&config, &seams).await,
                    None => Ok(()),
                };
                let end = match begun {
                    Ok(()) => Box::pin(quorate_server::run(config, seams, shutdown, |_| {})).await.err(),
                    Err(error) => {
                        facts.add(Fact::ReplicaStopped { replica: position, error: Some(error) });
                        return std::future::pending().await;
                    }
                };
                facts.add(Fact::ReplicaStopped { replica: position, error: end.map(|error| with_causes(&error)) });
                // What a process leaves behind when it exits ends with the host, which is crashed now.
                std::future::pending().await
            }
        });
    }

    /// Asks it to stop, as a supervisor does.
    pub(crate) fn request_stop(&self) {
        if let Some(handle) = self.stop.borrow().as_ref() {
            handle.request();
        }
    }
}

impl Begin {
    /// What `quorate snapshot restore` and `quorate server recover` do.
    async fn carry_out(self, config: &Config, seams: &Seams) -> Result<(), String> {
        match self {
            Self::Restored(bytes) => {
                let address = |address: &Option<String>| address.clone().unwrap_or_default();
                let advertise = &config.advertise;
                let (raft, api, agent) = (address(&advertise.raft), address(&advertise.api), address(&advertise.agent));
                let home = Home { region: config.region.clone(), addresses: Addresses { raft, api, agent } };
                let loaded = Loaded::read(&bytes[..]).map_err(|error| with_causes(&error))?;
                loaded.restore(home, seams).await.map(drop).map_err(|error| with_causes(&error))
            }
            Self::Recovered(lost) => recover(seams, &lost, true).await.map(drop).map_err(|error| with_causes(&error)),
        }
    }
}

/// As an operator would write it: the first replica founds the cluster, the others join it, and
/// every later start goes on with what is on the disk.
fn config(scenario: &Scenario, position: usize, is_empty: bool, place: Place) -> Config {
    let host = Scenario::replica_host(position);
    let formation = match (is_empty, place.founds) {
        (true, true) => Formation::Init,
        (false, true) => Formation::Run,
        (_, false) => {
            let own = format!("{host}:{RAFT_PORT}");
            let peers = addresses(scenario, RAFT_PORT).into_iter().filter(|address| *address != own).collect();
            Formation::Join { peers }
        }
    };
    let listen = |port| format!("0.0.0.0:{port}");
    let tunables = &scenario.settings;
    let region = RegionName::new(&scenario.replicas[position].region);
    Config {
        formation,
        region: region.unwrap_or_else(|error| unreachable!("{error}")),
        listen: Listeners { api: listen(API_PORT), agent: listen(AGENT_PORT), raft: listen(RAFT_PORT), ops: None },
        advertise: Advertise {
            api: Some(format!("{host}:{API_PORT}")),
            agent: Some(format!("{host}:{AGENT_PORT}")),
            raft: Some(format!("{host}:{RAFT_PORT}")),
        },
        learner: place.is_learner,
        insecure: true,
        tls: None,
        settings: settings(tunables),
        tuning: Tuning {
            heartbeat_ms: tunables.heartbeat_ms,
            election_ms_min: tunables.election_ms.0,
            election_ms_max: tunables.election_ms.1,
            snapshot_entries: tunables.snapshot_entries,
            keep_entries: tunables.keep_entries,
            snapshot_chunk_bytes: tunables.snapshot_chunk_bytes,
            digest_every: tunables.digest_every,
            ..Tuning::default()
        },
        connections_max: CONNECTIONS_MAX_DEFAULT,
        disk_reserve_bytes: quorate_server::DISK_RESERVE_DEFAULT,
        // One thread, so that a seed is one history.
        clients: None,
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
