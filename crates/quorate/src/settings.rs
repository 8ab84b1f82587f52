//! Settings in three layers: a flag wins over `QUORATE_*`, which wins over the TOML file.
//!
//! Every setting is one row of [`KEYS`]. Its dotted key is its place in the file, its environment
//! variable follows from the key ([`variable`]), and every value found in any layer is checked at
//! start, also those that the command at hand does not read: a typing error in the file should not
//! wait for the night in which a replica restarts.

mod agent;
mod client;
mod file;
mod parse;
mod server;
mod tls;

pub(crate) use agent::AgentSettings;
pub(crate) use client::ClientSettings;
pub(crate) use server::ServerSettings;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// One setting.
pub(crate) struct Key {
    /// Its place in the file, such as `server.data_dir`.
    pub(crate) name: &'static str,
    /// Refuses a wrong value with what would be right.
    check: fn(&str) -> Result<(), String>,
    /// What it means, for `--help`.
    pub(crate) meaning: &'static str,
}

macro_rules! keys {
    ($($name:literal $check:path, $meaning:literal;)*) => {
        /// Every setting there is.
        pub(crate) const KEYS: &[Key] = &[$(Key { name: $name, check: |text| $check(text).map(drop), meaning: $meaning }),*];
    };
}

keys! {
    "servers" parse::addresses, "API addresses of replicas, any of them (127.0.0.1:7401)";
    "namespace" parse::namespace, "namespace of jobs and runs that name none (default)";
    "deadline" parse::duration, "how long a command tries before it gives up (10s)";
    "log.filter" parse::filter, "what is logged, as in 'info,quorate_raft=debug' (info,openraft=warn)";
    "log.format" parse::log_format, "text or json (text)";
    "tls.ca" parse::path, "PEM file of the CA that everybody's certificate must be from; no TLS without it (none)";
    "tls.cert" parse::path, "PEM file of our own certificate, which says who we are (none)";
    "tls.key" parse::path, "PEM file of its key (none)";
    "server.data_dir" parse::path, "directory of the replica's store (quorate-replica)";
    "server.region" parse::region, "region the replica stands in (default)";
    "server.listen.api" parse::address, "listener for clients (127.0.0.1:7401)";
    "server.listen.agent" parse::address, "listener for agents (127.0.0.1:7402)";
    "server.listen.raft" parse::address, "listener for the other replicas (127.0.0.1:7403)";
    "server.listen.ops" parse::ops, "listener for /metrics, /healthz and /readyz, or off (127.0.0.1:7404)";
    "server.advertise.api" parse::address, "where clients reach server.listen.api (the same address)";
    "server.advertise.agent" parse::address, "where agents reach server.listen.agent (the same address)";
    "server.advertise.raft" parse::address, "where replicas reach server.listen.raft (the same address)";
    "server.peers" parse::addresses, "raft addresses of replicas to join (none)";
    "server.learner" parse::boolean, "take part without a vote, until somebody promotes this replica (false)";
    "server.insecure" parse::boolean, "listen beyond loopback without TLS (false)";
    "server.disk_reserve" parse::reserve, "room kept free on the disk: below it no new work is accepted, or off (512Mi)";
    "server.raft.profile" parse::profile, "lan or wan: the three times below for one region, or for regions up to 200ms apart (lan)";
    "server.raft.heartbeat" parse::duration, "time between a leader's heartbeats";
    "server.raft.election_min" parse::duration, "shortest silence after which a replica stands for election";
    "server.raft.election_max" parse::duration, "longest silence after which it does";
    "server.raft.slow_sync" parse::duration, "a disk that takes this long to sync is slow, and a leader with one passes leadership on";
    "server.raft.snapshot_entries" parse::count, "log entries between two snapshots";
    "server.raft.keep_entries" parse::number, "log entries kept behind a snapshot";
    "server.lease.server" parse::duration, "silence after which the leader calls a node lost (set at init)";
    "server.lease.agent" parse::duration, "time an agent may work on without a renewal (set at init)";
    "server.lease.kill" parse::duration, "longest time that killing a task takes (set at init)";
    "server.lease.margin" parse::duration, "room for scheduling delays (set at init)";
    "agent.replicas" parse::addresses, "agent addresses of replicas, any of them (127.0.0.1:7402)";
    "agent.data_dir" parse::path, "directory for the journal, work directories and logs (quorate-agent)";
    "agent.node" parse::node, "name of this machine, unique in the control plane (the host's name)";
    "agent.region" parse::region, "region it stands in (default)";
    "agent.cluster" parse::cluster, "cluster it belongs to (default)";
    "agent.cpu" parse::cpu, "cores for tasks, such as 4 or 500m (all)";
    "agent.memory" parse::bytes, "memory for tasks, such as 8Gi (all)";
    "agent.gpus" parse::gpus, "models of the machine's GPUs in the order of the bus, such as A100-80G:8,T4, or none (found out)";
    "agent.labels" parse::labels, "free words for place.labels of jobs, such as disk=ssd,rack=7 (none)";
    "agent.pool" parse::pool, "pool it is in: it takes tasks that ask for that one alone (default)";
    "agent.taints" parse::taints, "what keeps tasks away that do not tolerate it, such as spot=yes,team=ml (none)";
    "agent.price" parse::price, "what it costs for an hour, in any unit that is the same for all, such as 0.35 (it does not say)";
    "agent.devices_probe" parse::command, "shell command that prints the machine's devices, as in 'gpu 2' (none)";
    "agent.join_token" parse::join_token, "what admits this machine where new nodes need a join token (none)";
    "agent.join_token_file" parse::path, "file with that, which may be gone once the node is known (none)";
    "agent.cgroups" parse::cgroups, "limits by control groups: auto, off, or require (auto)";
    "agent.processes_max" parse::count, "processes and threads of one attempt (4096)";
    "agent.log_bytes_max" parse::bytes, "output kept of each stream of an attempt (16Mi)";
    "agent.logs_bytes_max" parse::bytes, "output kept of all attempts that have ended (4Gi)";
    "agent.logs_kept_max" parse::count, "attempts that have ended whose output is kept (5000)";
    "agent.on_exit" parse::on_exit, "tasks when their agent ends: leave them to the next, or kill (leave)";
    "agent.ops" parse::ops, "listener for /metrics, /healthz and /readyz, or off (off)";
    "agent.measure_latency" parse::boolean, "measure the way to replicas of other regions, for place.near of jobs (true)";
    "agent.insecure" parse::boolean, "talk to replicas beyond loopback without TLS (false)";
    "dev.data_dir" parse::path, "directory of 'quorate dev' (quorate-dev)";
}

/// Where a value came from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Flag,
    Variable(String),
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// Values or keys are wrong; all of them.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

/// The settings of all layers, each value checked.
#[derive(Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, (String, Source)>,
}

/// Values given as flags: key and text, when given.
pub(crate) type Flags = Vec<(&'static str, Option<String>)>;

impl Settings {
    /// Merges flags, environment and the file, and checks every value found.
    pub(crate) fn load(
        flags: Flags,
        environment: impl Fn(&str) -> Option<String>,
        path: Option<&Path>,
    ) -> Result<Self, SettingsError> {
        let mut wrong = Vec::new();
        let mut values = BTreeMap::new();
        if let Some(path) = path {
            for (key, text) in file::read(path, &mut wrong)? {
                values.insert(key, (text, Source::File(path.to_path_buf())));
            }
        }
        for key in KEYS {
            let name = variable(key.name);
            if let Some(text) = environment(&name) {
                values.insert(key.name, (text, Source::Variable(name)));
            }
        }
        for (name, text) in flags {
            let key = KEYS.iter().find(|key| key.name == name);
            debug_assert!(key.is_some(), "flag for an unknown key {name}");
            if let (Some(key), Some(text)) = (key, text) {
                values.insert(key.name, (text, Source::Flag));
            }
        }
        for key in KEYS {
            if let Some((text, source)) = values.get(key.name)
                && let Err(message) = (key.check)(text)
            {
                wrong.push(complaint(key.name, source, &message));
            }
        }
        if wrong.is_empty() { Ok(Self { values }) } else { Err(SettingsError::Invalid(wrong)) }
    }

    /// The value of `key`, read with the parser that checked it; `None` when no layer has it.
    fn get<T>(&self, key: &'static str, parse: fn(&str) -> Result<T, String>) -> Result<Option<T>, SettingsError> {
        let Some((text, source)) = self.values.get(key) else { return Ok(None) };
        parse(text).map(Some).map_err(|message| SettingsError::Invalid(vec![complaint(key, source, &message)]))
    }

    /// True when some layer sets `key`.
    pub(crate) fn is_set(&self, key: &'static str) -> bool {
        self.values.contains_key(key)
    }

    /// What is logged.
    pub(crate) fn log_filter(&self) -> Result<Option<String>, SettingsError> {
        self.get("log.filter", parse::filter)
    }

    /// True when logs are lines of JSON.
    pub(crate) fn log_json(&self) -> Result<bool, SettingsError> {
        Ok(self.get("log.format", parse::log_format)?.unwrap_or(false))
    }

    /// The directory of `quorate dev`.
    pub(crate) fn dev_data_dir(&self) -> Result<PathBuf, SettingsError> {
        Ok(self.get("dev.data_dir", parse::path)?.unwrap_or_else(|| PathBuf::from("quorate-dev")))
    }
}

/// A flag that is no setting: how long to wait.
pub(crate) fn timeout(text: &str) -> Result<std::time::Duration, String> {
    parse::duration(text)
}

/// The environment variable of a key: `server.data_dir` is `QUORATE_SERVER_DATA_DIR`.
pub(crate) fn variable(key: &str) -> String {
    format!("QUORATE_{}", key.to_uppercase().replace('.', "_"))
}

fn complaint(key: &str, source: &Source, message: &str) -> String {
    format!("{key} ({source}): {message}")
}

#[cfg(test)]
mod tests;
