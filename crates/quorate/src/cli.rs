//! One file per noun of the command line: parse, call, render.

pub(crate) mod agent;
pub(crate) mod bench;
pub(crate) mod cert;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod import;
pub(crate) mod job;
pub(crate) mod moment;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod preemption;
pub(crate) mod rebalance;
pub(crate) mod reference;
pub(crate) mod region;
pub(crate) mod replica;
pub(crate) mod reservation;
pub(crate) mod retention;
pub(crate) mod run;
pub(crate) mod scope;
pub(crate) mod select;
pub(crate) mod server;
pub(crate) mod snapshot;
pub(crate) mod source;
pub(crate) mod stale;
pub(crate) mod task;
pub(crate) mod wait;
pub(crate) mod whatif;

use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientConfig};
use quorate_seams::{Network, SystemEntropy};

use crate::args::Command;
use crate::exit::{Code, Error};
use crate::render::Output;
use crate::settings::{ClientSettings, Settings};
use crate::start;

/// Rows of one page, and the most a list shows without being asked for more.
pub(crate) const PAGE_ROWS: u32 = 1000;

/// How long a command that waits for a run goes on without hearing from any replica.
const OUTAGE_MAX: Duration = Duration::from_secs(120);

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct Context {
    /// All settings.
    pub(crate) settings: Settings,
    /// Where output goes.
    pub(crate) output: Output,
}

impl Context {
    /// How to reach the control plane.
    pub(crate) fn connection(&self) -> Result<ClientSettings, Error> {
        Ok(ClientSettings::from(&self.settings)?)
    }

    /// A client of the configured replicas; it connects when it is first used.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        self.client_with(Duration::ZERO)
    }

    /// The same of these replicas instead.
    pub(crate) fn client_of(&self, addresses: Vec<String>) -> Result<Client, Error> {
        let config = ClientConfig { deadline: self.connection()?.deadline, ..ClientConfig::new(addresses) };
        Ok(Client::new(config, self.network()?, Arc::new(SystemEntropy)))
    }

    /// The same for what waits: it outlives an outage of the whole control plane that is being repaired.
    pub(crate) fn patient_client(&self) -> Result<Client, Error> {
        self.client_with(OUTAGE_MAX)
    }

    fn client_with(&self, deadline_min: Duration) -> Result<Client, Error> {
        let connection = self.connection()?;
        let deadline = connection.deadline.max(deadline_min);
        let config = ClientConfig { deadline, ..ClientConfig::new(connection.servers) };
        Ok(Client::new(config, self.network()?, Arc::new(SystemEntropy)))
    }

    /// The way to the replicas.
    pub(crate) fn network(&self) -> Result<Arc<dyn Network>, Error> {
        let tls = start::tls(&self.settings)?;
        if let Some(tls) = &tls {
            // A command that waits may outlive its certificate.
            tokio::spawn(tls.clone().keep_fresh());
        }
        Ok(start::network(tls))
    }
}

/// Carries out a command.
pub(crate) async fn execute(command: Command, context: &Context) -> Result<Code, Error> {
    // Each future is boxed: the largest would otherwise set the size of all.
    match command {
        Command::Dev(dev) => Box::pin(dev.execute(context)).await,
        Command::Server(server) => Box::pin(server.execute(context)).await,
        Command::Agent(agent) => Box::pin(agent.execute(context)).await,
        Command::Job(job) => Box::pin(job.execute(context)).await,
        Command::Run(run) => Box::pin(run.execute(context)).await,
        Command::Task(task) => Box::pin(task.execute(context)).await,
        Command::Node(node) => Box::pin(node.execute(context)).await,
        Command::Cluster(cluster) => Box::pin(cluster.execute(context)).await,
        Command::Region(region) => Box::pin(region.execute(context)).await,
        Command::Replica(replica) => Box::pin(replica.execute(context)).await,
        Command::Snapshot(snapshot) => Box::pin(snapshot.execute(context)).await,
        Command::Namespace(namespace) => Box::pin(namespace.execute(context)).await,
        Command::Preemption(preemption) => Box::pin(preemption.execute(context)).await,
        Command::Rebalance(rebalance) => Box::pin(rebalance.execute(context)).await,
        Command::Reservation(reservation) => Box::pin(reservation.execute(context)).await,
        Command::Retention(retention) => Box::pin(retention.execute(context)).await,
        Command::Cert(cert) => cert.execute(context),
        Command::Import(import) => import.execute(context),
        Command::Demo(demo) => Box::pin(demo.execute(context)).await,
        Command::Bench(bench) => Box::pin(bench.execute(context)).await,
        Command::Completions(completions) => completions.execute(context),
    }
}
