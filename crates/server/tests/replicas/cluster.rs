//! Replicas in this process, each on a runtime of its own so that it can be killed like a process.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientConfig};
use quorate_proto::v1;
use quorate_seams::{Disk, Network, Shutdown, ShutdownHandle, SystemClock, SystemEntropy, TcpNetwork};
use quorate_server::{Advertise, Bound, Config, Error, Formation, Listeners, Seams, Tuning};
use quorate_state::{FeatureSet, LeaseTerms, RegionName, Retention, Settings};
use quorate_tls::Tls;

use crate::disk::MemoryDisk;

/// Everything that a test waits for happens within this, or it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A lease that ends soon enough for a test to see it.
pub(crate) const SHORT_LEASE: LeaseTerms =
    LeaseTerms { server_ms: 2_000, agent_ms: 1_000, kill_ms: 200, margin_ms: 200, rho_ppm: 1_000 };

/// Settings with which what happened longer ago than so many revisions is forgotten, also of runs that are kept.
pub(crate) fn short_history(revisions: u64) -> Settings {
    let retention = Retention {
        memory_runs_max: 10_000,
        memory_rows_max: 500_000,
        archive_runs_max: 1_000_000,
        archive_ms_max: 0,
        history_revisions_max: revisions,
        segment_runs_max: 10_000,
    };
    Settings { event_revisions_max: revisions, retention: Some(retention), ..Settings::default() }
}

/// One replica.
pub(crate) struct Replica {
    pub(crate) bound: Bound,
    disk: Arc<dyn Disk>,
    life: Option<Life>,
}

struct Life {
    runtime: tokio::runtime::Runtime,
    _stop: ShutdownHandle,
}

/// Replicas that form one cluster.
pub(crate) struct Cluster {
    pub(crate) replicas: Vec<Replica>,
    /// How its clients reach it.
    network: Arc<dyn Network>,
}

impl Cluster {
    /// Starts `count` replicas with default settings and waits until all of them vote.
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_with(count, Settings::default()).await
    }

    /// The same with other settings.
    pub(crate) async fn start_with(count: usize, settings: Settings) -> Self {
        Self::start_each(vec![None; count], &settings, network()).await
    }

    /// A replica for each certificate, and clients that come in by `network`.
    pub(crate) async fn start_each(tls: Vec<Option<Arc<Tls>>>, settings: &Settings, network: Arc<dyn Network>) -> Self {
        let tls = tls.into_iter().map(|tls| move |config| Config { tls, ..config });
        Self::start_as(tls.collect(), settings, network).await
    }

    /// Replicas whose listeners for agents are reached at these addresses, by other replicas.
    pub(crate) async fn start_behind(agent: Vec<String>) -> Self {
        let behind = |address| {
            move |config| {
                let advertise = Advertise { agent: Some(address), ..Advertise::default() };
                Config { advertise, ..config }
            }
        };
        Self::start_as(agent.into_iter().map(behind).collect(), &Settings::default(), network()).await
    }

    /// One replica for each of these ways to configure it.
    async fn start_as(
        each: Vec<impl FnOnce(Config) -> Config>,
        settings: &Settings,
        network: Arc<dyn Network>,
    ) -> Self {
        let count = each.len();
        let mut cluster = Self { replicas: vec![], network };
        for configured in each {
            let peers = cluster.replicas.iter().map(|replica| replica.bound.raft.clone()).take(1).collect();
            let formation = if cluster.replicas.is_empty() { Formation::Init } else { Formation::Join { peers } };
            cluster.replicas.push(start(configured(config(formation, settings)), seams()).await);
        }
        let client = cluster.client();
        eventually("all replicas vote", || async {
            let replicas = client.list_replicas(v1::ListReplicasRequest {}).await.ok()?.replicas;
            (replicas.iter().filter(|replica| replica.voter).count() == count).then_some(())
        })
        .await;
        cluster
    }

    /// A single replica on this disk.
    pub(crate) async fn start_on(disk: MemoryDisk, settings: &Settings, network: Arc<dyn Network>) -> Self {
        let seams = Seams { disk: Arc::new(disk), ..seams() };
        let replicas = vec![start(config(Formation::Init, settings), seams).await];
        Self { replicas, network }
    }

    /// A single replica of a version from before there were features.
    pub(crate) async fn start_older() -> Self {
        let newer = config(Formation::Init, &Settings::default());
        let tuning = Tuning { features: FeatureSet::none(), ..newer.tuning.clone() };
        Self { replicas: vec![start(Config { tuning, ..newer }, seams()).await], network: network() }
    }

    /// Adds a replica that asks for a vote; its position.
    pub(crate) async fn add(&mut self) -> usize {
        let peers = vec![self.replicas[0].bound.raft.clone()];
        self.replicas.push(start(config(Formation::Join { peers }, &Settings::default()), seams()).await);
        self.replicas.len() - 1
    }

    /// Adds a replica without a vote; its position.
    pub(crate) async fn add_learner(&mut self) -> usize {
        self.add_learner_on(MemoryDisk::default()).await
    }

    /// The same on this disk.
    pub(crate) async fn add_learner_on(&mut self, disk: MemoryDisk) -> usize {
        let peers = vec![self.replicas[0].bound.raft.clone()];
        let config = Config { learner: true, ..config(Formation::Join { peers }, &Settings::default()) };
        self.replicas.push(start(config, Seams { disk: Arc::new(disk), ..seams() }).await);
        self.replicas.len() - 1
    }

    /// A client that knows all replicas.
    pub(crate) fn client(&self) -> Client {
        let addresses = self.replicas.iter().map(|replica| replica.bound.api.clone()).collect();
        let config = ClientConfig { deadline: PATIENCE, ..ClientConfig::new(addresses) };
        Client::new(config, self.network.clone(), Arc::new(SystemEntropy))
    }

    /// A client that knows one replica, until another is named to it.
    pub(crate) fn client_of(&self, at: usize) -> Client {
        let config =
            ClientConfig { deadline: PATIENCE, ..ClientConfig::new(vec![self.replicas[at].bound.api.clone()]) };
        Client::new(config, self.network.clone(), Arc::new(SystemEntropy))
    }

    /// The position of the replica that leads.
    pub(crate) async fn leader(&self) -> usize {
        let client = self.client();
        eventually("a replica leads", || async {
            let replicas = client.list_replicas(v1::ListReplicasRequest {}).await.ok()?.replicas;
            let leader = replicas.into_iter().find(|replica| replica.leader)?;
            self.replicas.iter().position(|replica| replica.bound.api == leader.api_address)
        })
        .await
    }

    /// A replica that does not lead.
    pub(crate) async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.replicas.len()).find(|at| *at != leader).expect("a cluster with followers")
    }

    /// Ends a replica, and starts it at the same addresses with what is on its disk.
    pub(crate) async fn restart(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if let Some(life) = replica.life.take() {
            let ends = move || life.runtime.shutdown_timeout(PATIENCE);
            tokio::task::spawn_blocking(ends).await.expect("the replica ends");
        }
        let Bound { api, agent, raft, ops, .. } = replica.bound.clone();
        let config =
            Config { listen: Listeners { api, agent, raft, ops }, ..config(Formation::Run, &Settings::default()) };
        let seams = Seams { disk: replica.disk.clone(), ..seams() };
        self.replicas[at] = start(config, seams).await;
    }

    /// Ends a replica without a word, as kill -9 would.
    pub(crate) fn kill(&mut self, at: usize) {
        if let Some(life) = self.replicas[at].life.take() {
            life.runtime.shutdown_background();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..self.replicas.len()).for_each(|at| self.kill(at));
    }
}

/// A replica's configuration on free ports.
pub(crate) fn config(formation: Formation, settings: &Settings) -> Config {
    let any = || "127.0.0.1:0".to_owned();
    let listen = Listeners { api: any(), agent: any(), raft: any(), ops: Some(any()) };
    // Leadership stays where it is while this machine does something else for a while: most tests count on that.
    let tuning = Tuning {
        heartbeat_ms: 100,
        election_ms_min: 1_000,
        election_ms_max: 2_000,
        snapshot_entries: 50,
        keep_entries: 0,
        ..Tuning::default()
    };
    let region = RegionName::new("eu").unwrap();
    Config { settings: settings.clone(), tuning, ..Config::new(formation, region, listen) }
}

/// What a replica is started with in these tests.
pub(crate) fn seams() -> Seams {
    let disk = Arc::new(MemoryDisk::default());
    Seams { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), network: network(), disk }
}

pub(crate) fn network() -> Arc<dyn Network> {
    Arc::new(TcpNetwork)
}

async fn start(config: Config, seams: Seams) -> Replica {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (stop, shutdown) = Shutdown::new();
    let (ready, bound) = tokio::sync::oneshot::channel();
    let disk = seams.disk.clone();
    let replica = run(config, seams, shutdown, ready);
    runtime.spawn(replica);
    let bound = tokio::time::timeout(PATIENCE, bound).await.expect("a replica starts in time");
    Replica { bound: bound.expect("the replica starts"), disk, life: Some(Life { runtime, _stop: stop }) }
}

async fn run(config: Config, seams: Seams, shutdown: Shutdown, ready: tokio::sync::oneshot::Sender<Bound>) {
    let ended: Result<(), Error> = quorate_server::run(config, seams, shutdown, |bound| {
        let _ = ready.send(bound);
    })
    .await;
    ended.unwrap_or_else(|error| panic!("the replica failed: {error:?}"));
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F>(what: &str, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("this did not happen: {what}"))
}
