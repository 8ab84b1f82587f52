//! What one agent needs to start.

use std::collections::BTreeMap;
use std::path::PathBuf;

use quorate_agent::driver::shim::OnExit;
use quorate_agent::{Config, JoinToken, Limits, attributes, cgroup};
use quorate_state::{ClusterName, GpuModel, NodeName, Offer, RegionName, Resources};

use super::{Settings, SettingsError, parse};

/// What one agent needs to start.
#[derive(Clone, Debug)]
pub(crate) struct AgentSettings {
    /// Agent addresses of replicas.
    pub(crate) replicas: Vec<String>,
    /// Journal, work directories and logs.
    pub(crate) data_dir: PathBuf,
    /// This machine.
    pub(crate) node: NodeName,
    /// Where it stands.
    pub(crate) region: RegionName,
    /// What it belongs to.
    pub(crate) cluster: ClusterName,
    /// Thousandths of a core for tasks.
    pub(crate) cpu_milli: u64,
    /// Bytes for tasks.
    pub(crate) memory_bytes: u64,
    /// GPUs for tasks, each by its model.
    pub(crate) gpus: Vec<GpuModel>,
    /// Free words.
    pub(crate) labels: BTreeMap<String, String>,
    /// Its pool, its taints and its price.
    pub(crate) offer: Offer,
    /// Says which devices there are.
    pub(crate) devices_probe: Option<String>,
    /// Admits this machine.
    pub(crate) join_token: Option<JoinToken>,
    /// Whether attempts are put into control groups.
    pub(crate) cgroups: cgroup::Use,
    /// Processes of one attempt.
    pub(crate) processes_max: u64,
    /// How much output it keeps, among others.
    pub(crate) limits: Limits,
    /// What becomes of tasks when the agent ends.
    pub(crate) on_exit: OnExit,
    /// Metrics and health, when wanted.
    pub(crate) ops: Option<String>,
    /// Talk to replicas beyond loopback without TLS.
    pub(crate) measure_latency: bool,
    pub(crate) insecure: bool,
}

impl AgentSettings {
    /// Reads them; what is not set comes from the machine.
    pub(crate) fn from(settings: &Settings) -> Result<Self, SettingsError> {
        let invalid = |message: String| SettingsError::Invalid(vec![message]);
        let node = match settings.get("agent.node", parse::node)? {
            Some(node) => node,
            None => host_name()
                .and_then(|name| parse::node(&name))
                .map_err(|message| invalid(format!("agent.node: {message}; set it")))?,
        };
        let cpu_milli = match settings.get("agent.cpu", parse::cpu)? {
            Some(cpu) => cpu,
            None => attributes::cpu_milli().map_err(|message| invalid(format!("agent.cpu: {message}; set it")))?,
        };
        let memory_bytes = settings.get("agent.memory", parse::bytes)?.unwrap_or_else(attributes::memory_bytes);
        let limits = Limits::default();
        Ok(Self {
            replicas: settings
                .get("agent.replicas", parse::addresses)?
                .unwrap_or_else(|| vec!["127.0.0.1:7402".to_owned()]),
            data_dir: settings.get("agent.data_dir", parse::path)?.unwrap_or_else(|| PathBuf::from("quorate-agent")),
            node,
            region: settings
                .get("agent.region", parse::region)?
                .map_or_else(|| parse::region("default"), Ok)
                .map_err(invalid)?,
            cluster: settings
                .get("agent.cluster", parse::cluster)?
                .map_or_else(|| parse::cluster("default"), Ok)
                .map_err(invalid)?,
            cpu_milli,
            memory_bytes,
            gpus: settings.get("agent.gpus", parse::gpus)?.unwrap_or_else(attributes::gpus),
            labels: settings.get("agent.labels", parse::labels)?.unwrap_or_default(),
            offer: Offer {
                pool: settings.get("agent.pool", parse::pool)?.unwrap_or_default(),
                taints: settings.get("agent.taints", parse::taints)?.unwrap_or_default(),
                price: settings.get("agent.price", parse::price)?,
            },
            devices_probe: settings.get("agent.devices_probe", parse::command)?,
            join_token: join_token(settings)?,
            cgroups: settings.get("agent.cgroups", parse::cgroups)?.unwrap_or_default(),
            processes_max: settings.get("agent.processes_max", parse::count)?.unwrap_or(cgroup::PROCESSES_MAX_DEFAULT),
            limits: Limits {
                log_bytes_max: settings.get("agent.log_bytes_max", parse::bytes)?.unwrap_or(limits.log_bytes_max),
                logs_bytes_max: settings.get("agent.logs_bytes_max", parse::bytes)?.unwrap_or(limits.logs_bytes_max),
                logs_kept_max: match settings.get("agent.logs_kept_max", parse::count)? {
                    Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
                    None => limits.logs_kept_max,
                },
                ..limits
            },
            on_exit: settings.get("agent.on_exit", parse::on_exit)?.unwrap_or_default(),
            ops: settings.get("agent.ops", parse::ops)?.flatten(),
            measure_latency: settings.get("agent.measure_latency", parse::boolean)?.unwrap_or(true),
            insecure: settings.get("agent.insecure", parse::boolean)?.unwrap_or(false),
        })
    }
}

impl AgentSettings {
    /// Where to look for what this machine is.
    pub(crate) fn attributes(&self) -> attributes::Options {
        attributes::Options { data_dir: self.data_dir.clone(), devices_probe: self.devices_probe.clone() }
    }

    /// How its processes are held.
    pub(crate) fn groups(&self) -> cgroup::Options {
        cgroup::Options {
            mode: self.cgroups,
            data_dir: self.data_dir.clone(),
            node: self.node.clone(),
            processes_max: self.processes_max,
        }
    }

    /// The same as the agent takes it.
    pub(crate) fn config(&self) -> Config {
        Config {
            servers: self.replicas.clone(),
            node: self.node.clone(),
            region: self.region.clone(),
            cluster: self.cluster.clone(),
            capacity: Resources { cpu_milli: self.cpu_milli, memory_bytes: self.memory_bytes, gpu_milli: 0 },
            gpus: self.gpus.clone(),
            labels: self.labels.clone(),
            offer: self.offer.clone(),
            join_token: self.join_token.clone(),
            data_dir: self.data_dir.clone(),
            uuid: None,
            machine: None,
            ops: self.ops.clone(),
            measure_latency: self.measure_latency,
            insecure: self.insecure,
            limits: self.limits.clone(),
        }
    }
}

/// The join token, as it is or from its file. A file that is not there is one that is not needed any more: a node that
/// is known joins without.
fn join_token(settings: &Settings) -> Result<Option<JoinToken>, SettingsError> {
    let invalid = |message: String| SettingsError::Invalid(vec![message]);
    let token = settings.get("agent.join_token", JoinToken::new)?;
    let Some(path) = settings.get("agent.join_token_file", parse::path)? else { return Ok(token) };
    if token.is_some() {
        return Err(invalid("agent.join_token and agent.join_token_file: give one of them".to_owned()));
    }
    let wrong = |why: String| invalid(format!("agent.join_token_file: {}: {why}", path.display()));
    match std::fs::read_to_string(&path) {
        Ok(text) => JoinToken::new(&text).map(Some).map_err(|why| wrong(format!("its content {why}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn host_name() -> Result<String, String> {
    Ok(rustix::system::uname().nodename().to_string_lossy().into_owned())
}
