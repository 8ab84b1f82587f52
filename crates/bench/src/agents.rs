//! What many agents cost the control plane, and what it does for them: registration, renewals, detection of lost
//! nodes, and the return of all after all replicas were gone.
//!
//! The agents are in one process and run nothing, but speak the whole protocol of sessions (`fleet`; `body` is what one
//! of them knows, `board` what all have seen). Everything else is real: replicas as processes with product defaults.

mod board;
mod body;
mod fleet;

mod detection;
mod idle;
mod placements;
mod region;
mod storm;

use std::path::PathBuf;
use std::time::Duration;

use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use crate::Error;
use crate::jobs::{Work, job};
use crate::local::{LocalCluster, Options};
use crate::samples::{Spread, rounded};
pub(crate) use body::{Processes, fails};
pub use detection::{Detection, Silence};
pub(crate) use fleet::Fleet;
pub(crate) use fleet::Site;
use fleet::connections;
pub use idle::{Idle, Load};
pub use placements::{ThroughLog, ThroughLogBench};
pub use region::{Loss, RegionBench};
pub use storm::Storm;

/// Agents at most: what one leader serves (`SESSIONS_MAX` of the server).
const AGENTS_MAX: usize = 20_000;
/// Rounds at most.
const ROUNDS_MAX: usize = 100;
/// Seconds of the idle window at most.
const SECONDS_MAX: u64 = 3_600;
/// Nodes that are lost in one round at most.
const KILLS_MAX: usize = 1_000;
/// Of the agents, so many may be lost in one round, in per cent: half of a cluster that falls silent is no failure of
/// single nodes any more, and the leader would slow down.
const KILLS_SHARE_PERCENT: usize = 40;
/// Sessions of one connection; replicas take 1,024 streams.
const SESSIONS_PER_CONNECTION_MAX: usize = 1_000;
/// Descriptors that a process needs beside its connections.
const FILES_BESIDE: u64 = 1_024;
/// Everything that is waited for has come by then.
const LONG: Duration = Duration::from_secs(300);

/// What is measured.
#[derive(Clone, Debug)]
pub struct AgentsBench {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// How many agents; one row each.
    pub agents: Vec<usize>,
    /// How often each row is measured, in a new cluster.
    pub rounds: usize,
    /// How long the agents are idle, in seconds.
    pub seconds: u64,
    /// Nodes that are lost in each round, one after the other.
    pub kills: usize,
    /// Sessions that share a connection.
    pub sessions_per_connection: usize,
    /// Our default for how long the leader waits for a silent node, in milliseconds.
    pub lease_server_ms: u64,
    /// Our default for how long killing a task takes, which a `fenced` task waits in addition.
    pub kill_ms: u64,
    /// Leave data and logs of the replicas behind.
    pub keep: bool,
}

/// What was measured with one number of agents.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `agents`.
    pub bench: &'static str,
    /// How many.
    pub agents: usize,
    /// How often it was measured.
    pub rounds: usize,
    /// From the first connection until every agent is registered, in seconds.
    pub register_s: Spread,
    /// Agents that do nothing but renew.
    pub idle: Idle,
    /// Lost nodes.
    pub detection: Detection,
    /// All replicas killed and started again.
    pub storm: Storm,
}

impl Row {
    /// True when nothing was lost that ran.
    pub fn is_clean(&self) -> bool {
        self.storm.tasks_lost == 0
    }
}

impl AgentsBench {
    /// Measures row by row; `note` is told what goes on.
    pub async fn run(&self, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Vec<Row>, Error> {
        self.check()?;
        let mut rows = Vec::with_capacity(self.agents.len());
        for agents in &self.agents {
            rows.push(self.measure(*agents, note).await?);
        }
        Ok(rows)
    }

    async fn measure(&self, agents: usize, note: &(dyn Fn(&str) + Send + Sync)) -> Result<Row, Error> {
        let mut register_s = Vec::with_capacity(self.rounds);
        let mut idle = idle::Rounds::default();
        let mut detection = detection::Rounds::default();
        let mut storm = storm::Rounds::default();
        for round in 1..=self.rounds {
            let tell = |text: &str| note(&format!("{agents} agents, round {round}: {text}"));
            tell("starting the replicas");
            let options = Options { keep: self.keep, ..Options::new(self.binary.clone(), self.replicas, 0) };
            let mut cluster = LocalCluster::start(options).await?;
            let begun = SystemClock.boot();
            let addresses = cluster.agent_addresses();
            let fleet =
                Fleet::start(addresses, agents, self.sessions_per_connection, Processes::Endless, &Site::default())?;
            fleet.all_registered(LONG).await?;
            register_s.push(seconds(begun, SystemClock.boot()));
            tell(&format!("all registered after {:.1} s; idle for {} s", register_s[round - 1], self.seconds));
            idle.measure(&mut cluster, agents, Duration::from_secs(self.seconds)).await?;
            fleet.all_registered(LONG).await?;
            tell(&format!("idle: {}; now {} nodes are lost", idle.last(), self.kills));
            detection.measure(self, &cluster, &fleet).await?;
            tell(&format!("{}; now all replicas are killed", detection.last()));
            storm.measure(&mut cluster, &fleet).await?;
            tell(&storm.last());
            cluster.check_processes()?;
            fleet.end().await;
            if self.keep {
                tell(&format!("data and logs are in {}", cluster.directory().display()));
            }
        }
        let none = || Error::Outcome("there was no round".to_owned());
        Ok(Row {
            bench: "agents",
            agents,
            rounds: self.rounds,
            register_s: Spread::of(register_s).ok_or_else(none)?,
            idle: idle.come_to(self.seconds).ok_or_else(none)?,
            detection: detection.come_to(self.lease_server_ms, self.kill_ms),
            storm: storm.come_to().ok_or_else(none)?,
        })
    }

    fn check(&self) -> Result<(), Error> {
        let within = |what: &str, value: usize, min: usize, max: usize| {
            let wrong = || Error::Option(format!("{what}: {value} is not between {min} and {max}"));
            if (min..=max).contains(&value) { Ok(()) } else { Err(wrong()) }
        };
        within("replicas", self.replicas, 1, 64)?;
        within("rounds", self.rounds, 1, ROUNDS_MAX)?;
        within("seconds", usize::try_from(self.seconds).unwrap_or(usize::MAX), 1, SECONDS_MAX as usize)?;
        within("kills", self.kills, 2, KILLS_MAX)?;
        within("sessions per connection", self.sessions_per_connection, 1, SESSIONS_PER_CONNECTION_MAX)?;
        for agents in &self.agents {
            within("agents", *agents, 10, AGENTS_MAX)?;
            let least = (self.kills * 100).div_ceil(KILLS_SHARE_PERCENT);
            if *agents < least {
                return Err(Error::Option(format!(
                    "kills: {} of {agents} agents is more than {KILLS_SHARE_PERCENT} %, which is no failure of single \
                     nodes: take at least {least} agents, or fewer kills",
                    self.kills
                )));
            }
            self.check_files(*agents, getrlimit(Resource::Nofile).current)?;
        }
        Ok(())
    }

    /// Every process that is started has the limits of this one.
    fn check_files(&self, agents: usize, limit: Option<u64>) -> Result<(), Error> {
        let connections = connections(agents, self.sessions_per_connection) * self.replicas;
        let needed = FILES_BESIDE + connections as u64;
        match limit {
            Some(limit) if limit < needed => Err(Error::Option(format!(
                "a process may open {limit} files here, and {agents} agents need {needed}: run 'ulimit -n {needed}' \
                 before, or share connections among more sessions"
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// A job of tasks that do nothing and, with [`v1::Driver::Process`], go on until they are asked to stop.
fn fake_job(name: &str, driver: v1::Driver, promise: v1::OnNodeLoss, count: usize) -> v1::JobSpec {
    let resources = v1::Resources { cpu_milli: 10, memory_bytes: 1 << 20, gpu_milli: 0 };
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    // Nobody runs this.
    let argv = if driver == v1::Driver::Process { vec!["/bin/true".to_owned()] } else { Vec::new() };
    let mut spec = job(Work { job: name.to_owned(), driver, argv, count, resources });
    for task in &mut spec.tasks {
        task.on_node_loss = promise.into();
        if let Some(retry) = &mut task.retry {
            retry.attempts = 10;
        }
    }
    spec
}

async fn submit(client: &quorate_client::Client, spec: v1::JobSpec) -> Result<String, Error> {
    Ok(client.submit_job(v1::SubmitJobRequest { spec: Some(spec), request_id: String::new() }).await?.run_id)
}

fn seconds(from: BootInstant, to: BootInstant) -> f64 {
    to.since(from).as_secs_f64()
}

fn mib(bytes: u64) -> f64 {
    rounded(bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> AgentsBench {
        AgentsBench {
            binary: "/nonexistent".into(),
            replicas: 3,
            agents: vec![100],
            rounds: 1,
            seconds: 1,
            kills: 40,
            sessions_per_connection: 500,
            lease_server_ms: 15_000,
            kill_ms: 3_000,
            keep: false,
        }
    }

    #[tokio::test]
    async fn what_cannot_be_measured_is_refused_before_anything_starts() {
        for (wrong, word) in [
            (AgentsBench { agents: vec![AGENTS_MAX + 1], ..bench() }, "agents"),
            (AgentsBench { kills: 41, ..bench() }, "at least 103 agents"),
            (AgentsBench { kills: 1, ..bench() }, "kills"),
            (AgentsBench { rounds: 0, ..bench() }, "rounds"),
            (AgentsBench { seconds: 0, ..bench() }, "seconds"),
            (AgentsBench { sessions_per_connection: 1_001, ..bench() }, "sessions per connection"),
        ] {
            let Err(Error::Option(why)) = wrong.run(&|_| {}).await else { panic!("{wrong:?}") };
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn too_few_files_are_refused_with_what_to_do() {
        let alone = AgentsBench { sessions_per_connection: 1, ..bench() };
        assert!(alone.check_files(1_000, Some(4_024)).is_ok());
        assert!(alone.check_files(1_000, None).is_ok());
        let Err(Error::Option(why)) = alone.check_files(1_000, Some(4_023)) else { panic!("it is taken") };
        assert!(why.contains("ulimit -n 4024"), "{why}");
    }
}
