//! What an agent is told at its start, and what makes it valid.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use quorate_state::{ClusterName, GPUS_PER_NODE_MAX, GpuModel, NodeName, Offer, RegionName, Resources, Uuid};

/// What an agent is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Agent addresses (`host:port`) of replicas; any of them will do, several survive its loss.
    pub servers: Vec<String>,
    /// This node's name, unique in the control plane.
    pub node: NodeName,
    /// The region that it stands in.
    pub region: RegionName,
    /// The cluster that it belongs to.
    pub cluster: ClusterName,
    /// What it offers to tasks.
    pub capacity: Resources,
    /// The model of each of its GPUs, in the order in which tasks are told their positions.
    pub gpus: Vec<GpuModel>,
    /// Free words for constraints, and what was found out of the machine ([`crate::attributes`]).
    pub labels: BTreeMap<String, String>,
    /// Its pool, its taints and its price.
    pub offer: Offer,
    /// What admits this node where new nodes need a join token; of no use once it is known.
    pub join_token: Option<JoinToken>,
    /// Where the journal, working directories and output live. One agent at a time.
    pub data_dir: PathBuf,
    /// The node's identity; none: read from the data directory, minted there at the first start.
    pub uuid: Option<Uuid>,
    /// The machine's identity; none: as the kernel says.
    pub machine: Option<Machine>,
    /// Where to listen (`host:port`) for metrics and health checks; none: nowhere.
    pub ops: Option<String>,
    /// Measures how far other regions are, when a leader asks for it.
    pub measure_latency: bool,
    /// Allows listeners on addresses that are not loopback although they have no TLS.
    pub insecure: bool,
    /// Bounds, each with its product default.
    pub limits: Limits,
}

/// The secret of a join token. It is not shown, whoever prints the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken(String);

impl JoinToken {
    /// The secret, as it was shown when the token was made; blanks around it do not count.
    ///
    /// # Errors
    /// It cannot be one.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let is_fine = !text.is_empty() && text.len() <= TOKEN_BYTES_MAX && text.bytes().all(|c| c.is_ascii_graphic());
        let wrong = || format!("is no join token: 1 to {TOKEN_BYTES_MAX} printable characters without blanks");
        is_fine.then(|| Self(text.to_owned())).ok_or_else(wrong)
    }

    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(a secret)")
    }
}

/// Bytes of the secret of a join token.
const TOKEN_BYTES_MAX: usize = 256;

/// Which machine this is, and which of its boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Changes with every boot: no process survives it.
    pub boot_id: String,
    /// Stays over boots.
    pub machine_id: String,
}

impl Machine {
    fn ids(&self) -> [(&'static str, &str); 2] {
        [("agent.machine.boot_id", &self.boot_id), ("agent.machine.machine_id", &self.machine_id)]
    }
}

/// Bounds on what one agent holds, each a key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attempts at once, ended but unacknowledged ones included; the rest wait in the agent.
    pub attempts_max: usize,
    /// Bytes kept of one output stream of one attempt; older ones are dropped.
    pub log_bytes_max: u64,
    /// Ended attempts whose output is kept; the oldest go first.
    pub logs_kept_max: usize,
    /// Bytes of output kept of all ended attempts together.
    pub logs_bytes_max: u64,
    /// Between SIGTERM and SIGKILL when the control plane wants an attempt to end.
    pub stop_grace: Duration,
    /// The same when the agent itself stops; also how long it tries to report that.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts_max: 2_048,
            log_bytes_max: 16 << 20,
            logs_kept_max: 5_000,
            logs_bytes_max: 4 << 30,
            stop_grace: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(3),
        }
    }
}

/// One wrong value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The configuration's key.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

/// No agent connects to more replicas than this.
const SERVERS_MAX: usize = 64;
/// Bytes of a machine's and of a boot's identity.
pub(crate) const MACHINE_BYTES_MAX: usize = 256;
/// Labels of a node: 64 of its user's, and what was found out of the machine.
const LABELS_MAX: usize = 96;
/// Bytes of one label, key and value together.
const LABEL_BYTES_MAX: usize = 512;

impl Config {
    /// All that is wrong with it; empty when nothing is.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut complain = |key, message: String| found.push(Violation { key, message });
        if self.servers.is_empty() {
            complain(
                "agent.replicas",
                "is empty: name the agent address of at least one replica, such as 127.0.0.1:7402".into(),
            );
        }
        if self.servers.len() > SERVERS_MAX {
            complain("agent.replicas", format!("has {} addresses, SERVERS_MAX is {SERVERS_MAX}", self.servers.len()));
        }
        for server in &self.servers {
            if let Err(why) = split_address(server) {
                complain("agent.replicas", why);
            }
        }
        if let Some(ops) = &self.ops {
            match split_address(ops) {
                Err(why) => complain("agent.ops", why),
                Ok((host, _)) if !self.insecure && !is_loopback(host) => complain(
                    "agent.ops",
                    format!(
                        "{ops} is not a loopback address and has no TLS: use 127.0.0.1, or set `agent.insecure = true`"
                    ),
                ),
                Ok(_) => {}
            }
        }
        if self.capacity.cpu_milli == 0 {
            complain("agent.cpu", "is zero: a node without CPU cannot take a task".into());
        }
        if self.capacity.memory_bytes == 0 {
            complain("agent.memory", "is zero: a node without memory cannot take a task".into());
        }
        if self.gpus.len() > GPUS_PER_NODE_MAX {
            let count = self.gpus.len();
            complain("agent.gpus", format!("{count} GPUs are over GPUS_PER_NODE_MAX ({GPUS_PER_NODE_MAX})"));
        }
        if self.labels.len() > LABELS_MAX {
            complain("agent.labels", format!("has {} entries, LABELS_MAX is {LABELS_MAX}", self.labels.len()));
        }
        if let Some((key, _)) = self.labels.iter().find(|(key, value)| key.len() + value.len() > LABEL_BYTES_MAX) {
            complain("agent.labels", format!("{key:.32?} has more than LABEL_BYTES_MAX ({LABEL_BYTES_MAX}) bytes"));
        }
        for flaw in self.offer.violations() {
            complain(if flaw.field == "taints" { "agent.taints" } else { "agent.price" }, flaw.message);
        }
        for (key, id) in self.machine.iter().flat_map(Machine::ids) {
            if id.len() > MACHINE_BYTES_MAX {
                complain(key, format!("has {} bytes, MACHINE_BYTES_MAX is {MACHINE_BYTES_MAX}", id.len()));
            }
        }
        if self.data_dir.as_os_str().is_empty() {
            complain("agent.data_dir", "is empty: name a directory on a local disk".into());
        }
        if self.limits.attempts_max == 0 {
            complain("agent.limits.attempts_max", "is zero: nothing could ever run; use 1 or more".into());
        }
        if self.limits.log_bytes_max < LOG_BYTES_MIN {
            complain("agent.log_bytes_max", format!("is below {LOG_BYTES_MIN} bytes"));
        }
        found
    }
}

/// Output is dropped in whole blocks: below this, nothing would be left.
const LOG_BYTES_MIN: u64 = 64 << 10;

/// Splits `host:port`; the port is checked, the host is looked up when it is used.
fn split_address(address: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("{address:?} is not an address: write host:port, such as 127.0.0.1:7402");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    if host.is_empty() { Err(wrong()) } else { Ok((host, port)) }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Config {
        Config {
            servers: vec!["127.0.0.1:7402".into()],
            node: NodeName::new("n1").unwrap(),
            region: RegionName::new("eu").unwrap(),
            cluster: ClusterName::new("eu-1").unwrap(),
            capacity: Resources { cpu_milli: 1_000, memory_bytes: 1 << 30, gpu_milli: 0 },
            gpus: Vec::new(),
            labels: BTreeMap::new(),
            offer: Offer::default(),
            join_token: None,
            data_dir: "data".into(),
            uuid: None,
            machine: None,
            ops: Some("[::1]:0".into()),
            measure_latency: true,
            insecure: false,
            limits: Limits::default(),
        }
    }

    #[test]
    fn a_valid_configuration_has_no_violations() {
        assert_eq!(valid().violations(), []);
    }

    #[test]
    fn every_wrong_value_is_named_with_its_key_at_once() {
        let wrong = Config {
            servers: vec!["nowhere".into(), ":1".into(), "host:70000".into()],
            capacity: Resources::ZERO,
            data_dir: "".into(),
            machine: Some(Machine { boot_id: "x".into(), machine_id: "x".repeat(MACHINE_BYTES_MAX + 1) }),
            ops: Some("0.0.0.0:9090".into()),
            limits: Limits { attempts_max: 0, log_bytes_max: 1, ..Limits::default() },
            ..valid()
        };
        let keys: Vec<_> = wrong.violations().into_iter().map(|violation| violation.key).collect();
        assert_eq!(
            keys,
            [
                "agent.replicas",
                "agent.replicas",
                "agent.replicas",
                "agent.ops",
                "agent.cpu",
                "agent.memory",
                "agent.machine.machine_id",
                "agent.data_dir",
                "agent.limits.attempts_max",
                "agent.log_bytes_max"
            ]
        );
    }

    #[test]
    fn a_join_token_is_not_shown() {
        let token = JoinToken::new(" qjt-123\n").unwrap();
        assert_eq!(token.secret(), "qjt-123");
        let shown = format!("{:?}", Config { join_token: Some(token), ..valid() });
        assert!(!shown.contains("qjt"), "{shown}");
        for text in ["", " ", "a b", "é", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(JoinToken::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_open_listener_needs_the_word_insecure() {
        let open = Config { ops: Some("0.0.0.0:9090".into()), insecure: true, ..valid() };
        assert_eq!(open.violations(), []);
    }
}
