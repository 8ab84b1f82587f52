//! A machine that runs agents: they share its power, its network and its clocks.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_agent::driver::{Driver, Drivers};
use quorate_agent::{Config, Limits, Machine, Seams};
use quorate_seams::{Journal, Shutdown};
use quorate_state::{ClusterName, Driver as Kind, NodeName, Offer, PoolName, Price, RegionName, Resources, Uuid};
use tokio::sync::mpsc;
use turmoil::Sim;

use super::{AGENT_PORT, addresses};
use crate::clock::SimClock;
use crate::executor::Executor;
use crate::facts::{Fact, Facts};
use crate::net::SimNetwork;
use crate::scenario::{AgentPlan, Ground, POOL, RackPlan, Scenario, TAINT, ZONE};
use crate::seeded::{SimEntropy, Stream};

/// A supervisor starts an agent again after this, when it ended by itself or took poison.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// Kills of one agent that wait for its supervisor.
const KILLS_MAX: usize = 64;

/// A machine, whether it runs or not.
pub(crate) struct Rack {
    pub(crate) host: String,
    pub(crate) clock: SimClock,
    pub(crate) agents: Vec<Agent>,
    was_started: bool,
}

/// What of an agent outlives its process.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) node: NodeName,
    pub(crate) executor: Executor,
    journal: SimJournal,
    /// Kills of this agent: how long it stays away.
    kills: mpsc::Sender<Duration>,
    orders: Arc<tokio::sync::Mutex<Orders>>,
    lives: Arc<Mutex<u32>>,
    /// What its label says from its next life on.
    pool: Arc<Mutex<Option<String>>>,
    zone: Option<String>,
    config: Config,
}

/// What an agent's supervisor listens to.
struct Orders {
    kills: mpsc::Receiver<Duration>,
    poisoned: mpsc::Receiver<()>,
}

impl Agent {
    /// Kills its process, and starts it again after `away`.
    pub(crate) fn kill(&self, away: Duration) {
        // An agent with so many kills to come is dead enough.
        let _ = self.kills.try_send(away);
    }

    /// Its label says this from its next life on.
    pub(crate) fn relabel(&self, pool: &str) {
        *self.pool.lock().unwrap_or_else(PoisonError::into_inner) = Some(pool.to_owned());
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pool.iter().map(|pool| (POOL.to_owned(), pool.clone()));
        pool.chain(self.zone.iter().map(|zone| (ZONE.to_owned(), zone.clone()))).collect()
    }
}

fn name<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| unreachable!("{text:?}: {error}"))
}

impl Rack {
    /// The machine at a position of the scenario; it does not run yet. Agents keep locks and the like
    /// below `scratch`.
    pub(crate) fn new(scenario: &Scenario, position: usize, facts: &Facts, scratch: &std::path::Path) -> Self {
        let plan = &scenario.racks[position];
        let agents =
            plan.agents.iter().map(|agent| Agent::new(scenario, plan, agent, facts, scratch.join(&agent.node)));
        Self {
            host: Scenario::rack_host(position),
            clock: SimClock::new(plan.clock),
            agents: agents.collect(),
            was_started: false,
        }
    }

    /// Switches it on, for the first time or again.
    pub(crate) fn start(&mut self, sim: &mut Sim<'static>, scenario: &Rc<Scenario>, facts: &Facts) {
        if std::mem::replace(&mut self.was_started, true) {
            sim.bounce(self.host.clone());
            return;
        }
        let boots = Rc::new(Cell::new(0_u32));
        let (clock, agents, facts) = (self.clock.clone(), self.agents.clone(), facts.clone());
        let (seed, host) = (scenario.seed, self.host.clone());
        sim.host(self.host.clone(), move || {
            boots.set(boots.get() + 1);
            let boot_id = format!("{host} boot {}", boots.get());
            let machine = Machine { boot_id, machine_id: host.clone() };
            let (clock, agents, facts) = (clock.clone(), agents.clone(), facts.clone());
            async move {
                let mut supervisors = tokio::task::JoinSet::new();
                for agent in agents {
                    supervisors.spawn(supervise(agent, seed, machine.clone(), clock.clone(), facts.clone()));
                }
                while supervisors.join_next().await.is_some() {}
                Ok(())
            }
        });
    }
}

impl Agent {
    fn new(scenario: &Scenario, rack: &RackPlan, plan: &AgentPlan, facts: &Facts, data_dir: PathBuf) -> Self {
        let node: NodeName = name(&plan.node);
        let millis = Duration::from_millis;
        let (executor, poisoned) =
            Executor::new(node.clone(), facts.clone(), millis(plan.start_ms), millis(plan.kill_ms));
        let (kills, killed) = mpsc::channel(KILLS_MAX);
        let config = Config {
            gpus: plan.gpus.models().map(name).collect(),
            servers: addresses(scenario, AGENT_PORT),
            node: node.clone(),
            region: name::<RegionName>(&rack.region),
            cluster: name::<ClusterName>(&plan.cluster),
            capacity: Resources { cpu_milli: plan.cpu_milli, memory_bytes: plan.memory_bytes, gpu_milli: 0 },
            labels: BTreeMap::new(),
            offer: offer(&plan.ground),
            join_token: None,
            data_dir,
            uuid: Some(Uuid(u128::from(Stream::of(scenario.seed, &plan.node).next()) + 1)),
            machine: None,
            ops: None,
            // Whoever measures sends words that shift all that comes after them.
            measure_latency: false,
            insecure: true,
            limits: Limits { stop_grace: millis(scenario.settings.stop_grace_ms), ..Limits::default() },
        };
        Self {
            node,
            executor,
            journal: SimJournal::default(),
            kills,
            orders: Arc::new(tokio::sync::Mutex::new(Orders { kills: killed, poisoned })),
            lives: Arc::default(),
            pool: Arc::new(Mutex::new(plan.pool.clone())),
            zone: plan.zone.clone(),
            config,
        }
    }

    fn next_life(&self) -> u32 {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        *lives += 1;
        *lives
    }
}

fn offer(ground: &Ground) -> Offer {
    Offer {
        pool: ground.pool.as_deref().map(name::<PoolName>).unwrap_or_default(),
        taints: ground.taint.iter().map(|taint| (TAINT.to_owned(), taint.clone())).collect(),
        price: ground.price.map(Price),
    }
}

/// Keeps an agent running, as an init system does.
async fn supervise(agent: Agent, seed: u64, machine: Machine, clock: SimClock, facts: Facts) {
    let mut orders = agent.orders.lock().await;
    loop {
        let life = agent.next_life();
        let node = agent.node.clone();
        facts.add(Fact::AgentStarted { node: node.clone() });
        let drivers: BTreeMap<Kind, Arc<dyn Driver>> =
            BTreeMap::from([(Kind::Process, Arc::new(agent.executor.clone()) as Arc<dyn Driver>)]);
        let seams = Seams {
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SimEntropy::new(Stream::of(seed, &format!("{node} life {life}")))),
            network: Arc::new(SimNetwork),
            journal: Arc::new(agent.journal.clone()),
            drivers: Arc::new(drivers) as Arc<dyn Drivers>,
        };
        let config = Config { machine: Some(machine.clone()), labels: agent.labels(), ..agent.config.clone() };
        let (_handle, shutdown) = Shutdown::new();
        let mut process = tokio::spawn(Box::pin(quorate_agent::run(config, seams, shutdown)));
        let Orders { kills, poisoned } = &mut *orders;
        let away = tokio::select! {
            biased;
            Some(away) = kills.recv() => away,
            Some(()) = poisoned.recv() => RESTART_AFTER,
            ended = &mut process => {
                let error = match ended {
                    Ok(ended) => ended.err().map(|error| error.to_string()),
                    Err(panic) => Some(panic.to_string()),
                };
                facts.add(Fact::AgentStopped { node: node.clone(), error });
                tokio::time::sleep(RESTART_AFTER).await;
                continue;
            }
        };
        process.abort();
        let _ = process.await;
        agent.executor.end_all(turmoil::sim_elapsed().unwrap_or_default());
        facts.add(Fact::AgentGone { node });
        tokio::time::sleep(away).await;
    }
}

/// A journal in memory that loses nothing it has taken: appends are durable when they return.
#[derive(Clone, Default)]
struct SimJournal(Arc<Mutex<Vec<Vec<u8>>>>);

impl SimJournal {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for SimJournal {
    fn load(&self) -> io::Result<Vec<Vec<u8>>> {
        Ok(self.lock().clone())
    }

    fn append(&self, record: &[u8]) -> io::Result<()> {
        self.lock().push(record.to_vec());
        Ok(())
    }

    fn rewrite(&self, records: &[Vec<u8>]) -> io::Result<()> {
        *self.lock() = records.to_vec();
        Ok(())
    }
}
