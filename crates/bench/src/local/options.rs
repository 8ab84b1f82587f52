//! What a local cluster is made of.

use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// No local cluster has more of either.
const PROCESSES_MAX: usize = 64;

/// What a local cluster is made of; whatever is `None` keeps the product's default.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `quorate` binary.
    pub binary: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// Their regions, taken in turn; empty: the product's default.
    pub replica_regions: Vec<String>,
    /// The agents.
    pub agents: Vec<AgentOptions>,
    /// Log entries between two snapshots.
    pub snapshot_entries: Option<u64>,
    /// Log entries kept behind a snapshot.
    pub keep_entries: Option<u64>,
    /// Room that replicas keep free on their disks, such as `2Gi`.
    pub disk_reserve: Option<String>,
    /// When a silent leader is replaced.
    pub times: Option<Times>,
    /// Terms of the nodes' leases.
    pub lease: Option<LeaseOptions>,
    /// What the processes log.
    pub log_filter: Option<String>,
    /// A data directory that the first replica goes on with, instead of founding a cluster; it is moved.
    pub first_data: Option<PathBuf>,
    /// Replicas reach each other through a relay, so that one of them can be cut off.
    pub relayed: bool,
    /// Tasks go on when their agent ends, as by the product's default. Otherwise they end with it, as they do with
    /// their machine.
    pub tasks_outlive: bool,
    /// Leave data and logs behind.
    pub keep: bool,
}

/// When a silent leader is replaced, in milliseconds: the settings below `server.raft`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// The shortest election time,
    pub election_ms_min: u64,
    /// and the longest.
    pub election_ms_max: u64,
}

impl Times {
    /// Refuses what no replica would start with.
    pub(crate) fn check(self) -> Result<(), Error> {
        let Self { heartbeat_ms, election_ms_min, election_ms_max } = self;
        let is_possible = heartbeat_ms > 0
            && heartbeat_ms.checked_mul(2).is_some_and(|least| election_ms_min >= least)
            && election_ms_max > election_ms_min;
        let wrong = || {
            let rule = "the shortest election time is at least two heartbeats, and below the longest";
            Error::Option(format!("times: {self}: {rule}"))
        };
        if is_possible { Ok(()) } else { Err(wrong()) }
    }

    /// As a configuration file.
    fn configuration(self) -> String {
        let Self { heartbeat_ms, election_ms_min, election_ms_max } = self;
        format!(
            "[server.raft]\nheartbeat = \"{heartbeat_ms}ms\"\nelection_min = \"{election_ms_min}ms\"\n\
             election_max = \"{election_ms_max}ms\"\n"
        )
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{} ms", self.heartbeat_ms, self.election_ms_min, self.election_ms_max)
    }
}

/// Terms of the nodes' leases, as `server init` takes them.
#[derive(Clone, Copy, Debug)]
pub struct LeaseOptions {
    /// Silence after which the leader calls a node lost.
    pub server: Duration,
    /// Time an agent may work on without a renewal.
    pub agent: Duration,
    /// Longest time that killing a task takes.
    pub kill: Duration,
    /// Room for scheduling delays.
    pub margin: Duration,
}

/// One agent.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Its node's name.
    pub node: String,
    /// Where it stands.
    pub region: String,
    /// What it belongs to.
    pub cluster: String,
    /// Cores, such as `4` or `500m`; the machine's when `None`.
    pub cpu: Option<String>,
    /// Memory, such as `8Gi`; the machine's when `None`.
    pub memory: Option<String>,
    /// GPUs that it says it has, such as `T4:2`; those of the machine when `None`.
    pub gpus: Option<String>,
    /// What else is said to it, such as `--pool=gpu`.
    pub flags: Vec<String>,
}

impl Options {
    /// Replicas and agents with product defaults; every agent is a node of one cluster.
    pub fn new(binary: PathBuf, replicas: usize, agents: usize) -> Self {
        let agent = |number: usize| AgentOptions {
            node: format!("node-{}", number + 1),
            region: "default".to_owned(),
            cluster: "default".to_owned(),
            cpu: None,
            memory: None,
            gpus: None,
            flags: Vec::new(),
        };
        Self {
            binary,
            replicas,
            replica_regions: Vec::new(),
            agents: (0..agents).map(agent).collect(),
            snapshot_entries: None,
            keep_entries: None,
            disk_reserve: None,
            times: None,
            lease: None,
            log_filter: None,
            first_data: None,
            relayed: false,
            tasks_outlive: false,
            keep: false,
        }
    }

    /// Refuses what could not start.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.replicas == 0 || self.replicas > PROCESSES_MAX {
            return Err(Error::Option(format!("replicas: {} is not between 1 and {PROCESSES_MAX}", self.replicas)));
        }
        if self.agents.len() > PROCESSES_MAX {
            return Err(Error::Option(format!("agents: {} is over {PROCESSES_MAX}", self.agents.len())));
        }
        self.times.map_or(Ok(()), Times::check)
    }

    /// The configuration file of the replicas, unless they need none.
    pub(super) fn configuration(&self) -> Option<String> {
        self.times.map(Times::configuration)
    }

    /// Flags of replica `number` that do not depend on its addresses.
    pub(super) fn server_arguments(&self, number: usize) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut push = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        if !self.replica_regions.is_empty() {
            push("--region", self.replica_regions[number % self.replica_regions.len()].clone());
        }
        if let Some(entries) = self.snapshot_entries {
            push("--snapshot-entries", entries.to_string());
        }
        if let Some(entries) = self.keep_entries {
            push("--keep-entries", entries.to_string());
        }
        if let Some(reserve) = &self.disk_reserve {
            push("--disk-reserve", reserve.clone());
        }
        if let Some(lease) = self.lease {
            push("--lease-server", millis(lease.server));
            push("--lease-agent", millis(lease.agent));
            push("--lease-kill", millis(lease.kill));
            push("--lease-margin", millis(lease.margin));
        }
        arguments
    }
}

impl AgentOptions {
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut push = |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
        push("--node", &self.node);
        push("--region", &self.region);
        push("--cluster", &self.cluster);
        if let Some(gpus) = &self.gpus {
            push("--gpus", gpus);
        }
        if let Some(cpu) = &self.cpu {
            push("--cpu", cpu);
        }
        if let Some(memory) = &self.memory {
            push("--memory", memory);
        }
        arguments.extend(self.flags.iter().cloned());
        arguments
    }
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_no_replica_starts_with_are_refused() {
        let times =
            |heartbeat_ms, election_ms_min, election_ms_max| Times { heartbeat_ms, election_ms_min, election_ms_max };
        assert!(times(100, 500, 1_000).check().is_ok());
        for wrong in [times(0, 500, 1_000), times(100, 199, 1_000), times(100, 500, 500), times(u64::MAX, 500, 1_000)] {
            assert!(matches!(wrong.check(), Err(Error::Option(_))), "{wrong}");
        }
    }

    #[test]
    fn times_become_settings_of_the_replicas() {
        let times = Times { heartbeat_ms: 25, election_ms_min: 150, election_ms_max: 300 };
        let text = Options { times: Some(times), ..Options::new("quorate".into(), 3, 0) }.configuration().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let settings = ["heartbeat = \"25ms\"", "election_min = \"150ms\"", "election_max = \"300ms\""];
        assert_eq!(lines, [&["[server.raft]"], &settings[..]].concat());
        assert!(Options::new("quorate".into(), 3, 0).configuration().is_none());
    }
}
