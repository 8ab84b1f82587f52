//! The wiring: what an agent consists of, in the order in which it comes up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use quorate_client::agent_link::AgentLink;
use quorate_proto::v1;
use quorate_seams::{Clock, Entropy, Journal, Network, Shutdown};
use quorate_state::{AttemptId, Driver as Kind};

use crate::blocking::blocking;
use crate::config::{Config, Machine};
use crate::driver::{Drivers, Leftover, Place, Survivor};
use crate::error::Error;
use crate::identity::DataDir;
use crate::journal::{self, Image};
use crate::logs::Outputs;
use crate::node::{Fate, Fixed, Node, leftover};
use crate::ops;
use crate::reconcile::Desired;
use crate::session::{Closed, Dial, Link, Session};
use crate::telemetry::Metrics;
use crate::tidy::Tidier;
use crate::workspace::Workspaces;

/// Everything through which an agent touches the world.
#[derive(Clone)]
pub struct Seams {
    /// For leases and durations.
    pub clock: Arc<dyn Clock>,
    /// For identities and jitter.
    pub entropy: Arc<dyn Entropy>,
    /// To the replicas, and for the ops listener.
    pub network: Arc<dyn Network>,
    /// What must never be forgotten; see [`crate::open_journal`].
    pub journal: Arc<dyn Journal>,
    /// What runs attempts; see [`crate::driver::system`].
    pub drivers: Arc<dyn Drivers>,
}

/// Runs an agent until it is asked to stop. Its attempts end with it, or go on, as their drivers say.
///
/// # Errors
/// What makes it impossible to start or to go on. Not reaching the control plane is no error.
pub async fn run(config: Config, seams: Seams, shutdown: Shutdown) -> Result<(), Error> {
    let violations = config.violations();
    if !violations.is_empty() {
        return Err(Error::Config(violations));
    }
    let Seams { clock, entropy, network, journal, drivers } = seams;
    let data_dir = DataDir::take(&config.data_dir)?;
    let uuid = match config.uuid {
        Some(uuid) => uuid,
        None => data_dir.uuid(&*entropy)?,
    };
    let machine = match config.machine.clone() {
        Some(machine) => machine,
        None => Machine::read(uuid)?,
    };
    let metrics = Arc::new(Metrics::new());
    let mut background = tokio::task::JoinSet::new();
    if let Some(address) = &config.ops {
        let (local, serve) = ops::open(&*network, address, metrics.clone()).await?;
        tracing::info!(address = %local, "serving /metrics, /healthz and /readyz");
        background.spawn(serve);
    }

    let (journal, left, writer) = journal::open(journal, &*entropy, clock.clone(), metrics.clone(), &machine.boot_id)?;
    background.spawn(writer);
    let survivors = survivors(&left, &*drivers, &machine).await;
    let going_on: BTreeSet<AttemptId> = survivors.keys().copied().collect();
    let failed = |path: PathBuf| move |source| Error::DataDir { path, source };
    let outputs = blocking(|| Outputs::open(data_dir.output(), config.limits.clone(), &going_on));
    let outputs = outputs.map_err(failed(data_dir.output()))?;
    let (leftovers, alive) = recover(&left, &going_on, &*drivers, &machine).await;
    // Only now: what an earlier life left running may have been writing there.
    let spared = survivors.values().map(|survivor| survivor.workspace.clone()).collect();
    let workspaces = blocking(|| Workspaces::open(data_dir.work(), &spared)).map_err(failed(data_dir.work()))?;
    let workspaces = Arc::new(workspaces);
    let tidier = Tidier::start(outputs.clone(), workspaces.clone(), config.limits.attempts_max);
    let tidier = Arc::new(tidier.map_err(failed(data_dir.work()))?);

    tracing::info!(
        node = %config.node, cluster = %config.cluster, region = %config.region, %uuid,
        journal = %left.journal, leftovers = left.attempts.len(), going_on = going_on.len(), alive = alive.len(), "starting"
    );
    let place = Place {
        node: config.node.clone(),
        region: config.region.clone(),
        cluster: config.cluster.clone(),
        has_gpus: !config.gpus.is_empty(),
    };
    let session = Session::new(config.servers.clone(), Arc::new(Dialer { network: network.clone() }), entropy);
    let desired = Desired::resume(left.seen);
    let boot_id = machine.boot_id.clone();
    let fixed = Fixed {
        config,
        uuid,
        machine,
        journal_uuid: left.journal,
        place: Arc::new(place),
        clock,
        network,
        drivers: drivers.clone(),
        outputs: outputs.clone(),
        workspaces: workspaces.clone(),
        tidier: tidier.clone(),
        metrics,
    };
    let mut node = Node::new(fixed, session, journal, left.cluster, desired);
    for (attempt, one) in left.attempts {
        let fate = match survivors.get(&attempt) {
            Some(survivor) => {
                let execution = match drivers.get(one.driver) {
                    Some(driver) => driver.resume(attempt, &workspaces, &tidier).await,
                    None => None,
                };
                if execution.is_none() {
                    // Its output was taken for that of one that goes on.
                    blocking(|| outputs.retire(attempt));
                }
                match (execution, leftover(attempt, &one, &boot_id)) {
                    (Some(execution), _) => Fate::GoesOn(execution, survivor.on_node_loss),
                    (None, Some(leftover)) => Fate::Left(leftover),
                    (None, None) => Fate::Gone,
                }
            }
            None => {
                let alive = alive.contains(&attempt).then(|| leftovers.get(&attempt).cloned()).flatten();
                alive.map_or(Fate::Gone, Fate::Left)
            }
        };
        node.inherit(attempt, one, fate);
    }
    Box::pin(node.run(shutdown)).await
}

/// What goes on of what an earlier life left, or can be told of.
async fn survivors(left: &Image, drivers: &dyn Drivers, machine: &Machine) -> BTreeMap<AttemptId, Survivor> {
    let mut survivors = BTreeMap::new();
    // Asked even when there is nothing: a driver may have what no journal knows.
    for kind in [Kind::Process, Kind::Noop] {
        let Some(driver) = drivers.get(kind) else { continue };
        let of_it = left.attempts.iter().filter(|(_, one)| one.driver == kind);
        let some = of_it.filter_map(|(attempt, one)| leftover(*attempt, one, &machine.boot_id)).collect();
        survivors.extend(driver.survivors(some).await.into_iter().map(|survivor| (survivor.attempt, survivor)));
    }
    survivors
}

/// Ends what an earlier life left running. What is asked about, and what is not certainly gone.
async fn recover(
    left: &Image,
    going_on: &BTreeSet<AttemptId>,
    drivers: &dyn Drivers,
    machine: &Machine,
) -> (BTreeMap<AttemptId, Leftover>, BTreeSet<AttemptId>) {
    let mut leftovers = BTreeMap::new();
    let mut by_driver: BTreeMap<_, Vec<Leftover>> = BTreeMap::new();
    for (attempt, one) in left.attempts.iter().filter(|(attempt, _)| !going_on.contains(attempt)) {
        if let Some(leftover) = leftover(*attempt, one, &machine.boot_id) {
            leftovers.insert(*attempt, leftover.clone());
            by_driver.entry(one.driver).or_default().push(leftover);
        }
    }
    let mut alive = BTreeSet::new();
    for (kind, some) in by_driver {
        match drivers.get(kind) {
            Some(driver) => alive.extend(driver.recover(some).await),
            // Without the driver nothing can be said of what it left: it stays until someone can.
            None => alive.extend(some.into_iter().map(|leftover| leftover.attempt)),
        }
    }
    (leftovers, alive)
}

/// Sessions over the network, by way of the client library.
struct Dialer {
    network: Arc<dyn Network>,
}

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self, address: &str, hello: v1::Hello) -> Result<Link, Closed> {
        match AgentLink::open(&[address.to_owned()], 0, hello, &self.network).await {
            Ok(link) => Ok(Link { sender: link.sender, answers: Box::pin(link.receiver) }),
            Err(error) => {
                let closed = error.api().map_or_else(|| Closed::lost(""), Closed::from);
                Err(Closed { why: error.to_string(), ..closed })
            }
        }
    }
}
