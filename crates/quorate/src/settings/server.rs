//! What one replica needs to start.

use std::path::PathBuf;
use std::time::Duration;

use quorate_server::{Advertise, Config, DISK_RESERVE_DEFAULT, Formation, Listeners, Tuning};
use quorate_state::{LeaseTerms, RegionName};

use super::{Settings, SettingsError, parse};

/// A listener: where it binds and where others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `host:port` to bind.
    pub(crate) listen: String,
    /// `host:port` that others are told.
    pub(crate) advertise: String,
}

/// What one replica needs to start.
#[derive(Clone, Debug)]
pub(crate) struct ServerSettings {
    /// Its store.
    pub(crate) data_dir: PathBuf,
    /// Where it stands.
    pub(crate) region: RegionName,
    /// For clients.
    pub(crate) api: Address,
    /// For agents.
    pub(crate) agent: Address,
    /// For the other replicas.
    pub(crate) raft: Address,
    /// Metrics and health, when wanted.
    pub(crate) ops: Option<String>,
    /// Raft addresses of replicas to join.
    pub(crate) peers: Vec<String>,
    /// Take part without a vote.
    pub(crate) learner: bool,
    /// Listen beyond loopback without TLS.
    pub(crate) insecure: bool,
    /// Bytes of the disk that are kept free for what cannot wait; zero: none.
    pub(crate) disk_reserve: u64,
    /// Overrides of the product's tuning.
    pub(crate) tuning: TuningSettings,
    /// Granted to nodes; written into the cluster by `server init`.
    pub(crate) lease: LeaseTerms,
}

/// Overrides of the product's tuning; `None` leaves its default.
#[derive(Clone, Debug, Default)]
pub(crate) struct TuningSettings {
    /// What the rest overrides.
    pub(crate) profile: Option<Tuning>,
    /// Time between heartbeats.
    pub(crate) heartbeat: Option<Duration>,
    /// Shortest election timeout.
    pub(crate) election_min: Option<Duration>,
    /// Longest election timeout.
    pub(crate) election_max: Option<Duration>,
    /// What a slow disk takes to sync.
    pub(crate) slow_sync: Option<Duration>,
    /// Entries between snapshots.
    pub(crate) snapshot_entries: Option<u64>,
    /// Entries kept behind a snapshot.
    pub(crate) keep_entries: Option<u64>,
}

impl ServerSettings {
    /// Reads them, with defaults, and checks what only holds between keys.
    pub(crate) fn from(settings: &Settings) -> Result<Self, SettingsError> {
        let invalid = |message: String| SettingsError::Invalid(vec![message]);
        let address = |key, advertise, default: &str| -> Result<Address, SettingsError> {
            let listen = settings.get(key, parse::address)?.unwrap_or_else(|| default.to_owned());
            let advertise = settings.get(advertise, parse::address)?.unwrap_or_else(|| listen.clone());
            Ok(Address { listen, advertise })
        };
        let tuning = TuningSettings {
            profile: settings.get("server.raft.profile", parse::profile)?,
            heartbeat: settings.get("server.raft.heartbeat", parse::duration)?,
            election_min: settings.get("server.raft.election_min", parse::duration)?,
            election_max: settings.get("server.raft.election_max", parse::duration)?,
            slow_sync: settings.get("server.raft.slow_sync", parse::duration)?,
            snapshot_entries: settings.get("server.raft.snapshot_entries", parse::count)?,
            keep_entries: settings.get("server.raft.keep_entries", parse::number)?,
        };
        Ok(Self {
            data_dir: settings.get("server.data_dir", parse::path)?.unwrap_or_else(|| PathBuf::from("quorate-replica")),
            region: settings
                .get("server.region", parse::region)?
                .map_or_else(|| parse::region("default"), Ok)
                .map_err(invalid)?,
            api: address("server.listen.api", "server.advertise.api", "127.0.0.1:7401")?,
            agent: address("server.listen.agent", "server.advertise.agent", "127.0.0.1:7402")?,
            raft: address("server.listen.raft", "server.advertise.raft", "127.0.0.1:7403")?,
            ops: settings.get("server.listen.ops", parse::ops)?.unwrap_or_else(|| Some("127.0.0.1:7404".to_owned())),
            peers: settings.get("server.peers", parse::addresses)?.unwrap_or_default(),
            learner: settings.get("server.learner", parse::boolean)?.unwrap_or(false),
            insecure: settings.get("server.insecure", parse::boolean)?.unwrap_or(false),
            disk_reserve: settings.get("server.disk_reserve", parse::reserve)?.unwrap_or(DISK_RESERVE_DEFAULT),
            tuning,
            lease: lease(settings)?,
        })
    }
}

impl ServerSettings {
    /// The same as the server takes it.
    pub(crate) fn config(&self, formation: Formation) -> Config {
        let told = |address: &Address| (address.advertise != address.listen).then(|| address.advertise.clone());
        let listen = Listeners {
            api: self.api.listen.clone(),
            agent: self.agent.listen.clone(),
            raft: self.raft.listen.clone(),
            ops: self.ops.clone(),
        };
        let product = self.tuning.profile.clone().unwrap_or_default();
        let millis = |set: Option<Duration>, product| {
            set.map_or(product, |set| u64::try_from(set.as_millis()).unwrap_or(u64::MAX))
        };
        Config {
            advertise: Advertise { api: told(&self.api), agent: told(&self.agent), raft: told(&self.raft) },
            learner: self.learner,
            insecure: self.insecure,
            disk_reserve_bytes: self.disk_reserve,
            settings: quorate_state::Settings { lease: self.lease, ..quorate_state::Settings::default() },
            tuning: Tuning {
                heartbeat_ms: millis(self.tuning.heartbeat, product.heartbeat_ms),
                election_ms_min: millis(self.tuning.election_min, product.election_ms_min),
                election_ms_max: millis(self.tuning.election_max, product.election_ms_max),
                slow_sync_ms: millis(self.tuning.slow_sync, product.slow_sync_ms),
                snapshot_entries: self.tuning.snapshot_entries.unwrap_or(product.snapshot_entries),
                keep_entries: self.tuning.keep_entries.unwrap_or(product.keep_entries),
                ..product
            },
            ..Config::new(formation, self.region.clone(), listen)
        }
    }
}

/// The terms of leases: the product's, with the overrides, when together they are safe.
fn lease(settings: &Settings) -> Result<LeaseTerms, SettingsError> {
    let product = quorate_state::Settings::default().lease;
    let millis = |key, default| -> Result<u64, SettingsError> {
        let set = settings.get(key, parse::duration)?;
        Ok(set.map_or(default, |set| u64::try_from(set.as_millis()).unwrap_or(u64::MAX)))
    };
    let lease = LeaseTerms {
        server_ms: millis("server.lease.server", product.server_ms)?,
        agent_ms: millis("server.lease.agent", product.agent_ms)?,
        kill_ms: millis("server.lease.kill", product.kill_ms)?,
        margin_ms: millis("server.lease.margin", product.margin_ms)?,
        rho_ppm: product.rho_ppm,
    };
    if lease.is_safe() {
        return Ok(lease);
    }
    Err(SettingsError::Invalid(vec![format!(
        "server.lease.server ({} ms) is too short: it must exceed server.lease.agent ({} ms) + server.lease.kill ({} ms) \
         + server.lease.margin ({} ms) by {} ppm of drift either way",
        lease.server_ms, lease.agent_ms, lease.kill_ms, lease.margin_ms, lease.rho_ppm
    )]))
}
