//! `quorate agent`: offer this machine to the control plane.

use clap::Args;

use super::Context;
use crate::exit::{Code, Error};
use crate::settings::{AgentSettings, Flags};
use crate::start;

/// `quorate agent`.
#[derive(Args, Debug)]
pub(crate) struct Agent {
    /// Agent addresses of replicas, separated by commas; any one is enough [key: agent.replicas]
    #[arg(long, value_name = "HOST:PORT")]
    replicas: Option<String>,
    /// Directory for the journal, work directories and logs [key: agent.data_dir]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Name of this machine, unique in the control plane [key: agent.node]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Region it stands in [key: agent.region]
    #[arg(long)]
    region: Option<String>,
    /// Cluster it belongs to [key: agent.cluster]
    #[arg(long)]
    cluster: Option<String>,
    /// Cores for tasks, such as 4 or 500m; all when not given [key: agent.cpu]
    #[arg(long, value_name = "CORES")]
    cpu: Option<String>,
    /// Memory for tasks, such as 8Gi; all when not given [key: agent.memory]
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,
    /// GPUs for tasks by model, such as A100-80G:8,T4, or none; found out when not given [key: agent.gpus]
    #[arg(long, value_name = "MODEL[:COUNT]")]
    gpus: Option<String>,
    /// Free words for place.labels of jobs, such as disk=ssd,rack=7 [key: agent.labels]
    #[arg(long, value_name = "KEY=VALUE")]
    labels: Option<String>,
    /// Pool it is in: it takes tasks that ask for that one alone [key: agent.pool]
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// What keeps tasks away that do not tolerate it, such as spot=yes,team=ml [key: agent.taints]
    #[arg(long, value_name = "KEY=VALUE")]
    taints: Option<String>,
    /// What it costs for an hour, in any unit that is the same for all, such as 0.35 [key: agent.price]
    #[arg(long, value_name = "PRICE")]
    price: Option<String>,
    /// Shell command that prints the machine's devices, as in 'gpu 2' [key: agent.devices_probe]
    #[arg(long, value_name = "COMMAND")]
    devices_probe: Option<String>,
    /// What admits this machine where new nodes need a join token [key: agent.join_token]
    #[arg(long, value_name = "TOKEN")]
    join_token: Option<String>,
    /// File with that; it may be gone once the node is known [key: agent.join_token_file]
    #[arg(long, value_name = "FILE", conflicts_with = "join_token")]
    join_token_file: Option<String>,
    /// Limits of tasks by control groups: auto, off, or require [key: agent.cgroups]
    #[arg(long, value_name = "WHEN")]
    cgroups: Option<String>,
    /// Processes and threads of one attempt [key: agent.processes_max]
    #[arg(long, value_name = "NUMBER")]
    processes_max: Option<String>,
    /// What becomes of tasks when the agent ends: leave them to the next one, or kill [key: agent.on_exit]
    #[arg(long, value_name = "HOW")]
    on_exit: Option<String>,
    /// Listener for /metrics, /healthz and /readyz, or off [key: agent.ops]
    #[arg(long, value_name = "HOST:PORT")]
    listen_ops: Option<String>,
    /// Talk beyond loopback without TLS [key: agent.insecure]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    insecure: Option<String>,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

impl Agent {
    /// The settings given as flags.
    pub(crate) fn flags(&self) -> Flags {
        vec![
            ("agent.replicas", self.replicas.clone()),
            ("agent.data_dir", self.data_dir.clone()),
            ("agent.node", self.node.clone()),
            ("agent.region", self.region.clone()),
            ("agent.cluster", self.cluster.clone()),
            ("agent.cpu", self.cpu.clone()),
            ("agent.memory", self.memory.clone()),
            ("agent.gpus", self.gpus.clone()),
            ("agent.labels", self.labels.clone()),
            ("agent.pool", self.pool.clone()),
            ("agent.taints", self.taints.clone()),
            ("agent.price", self.price.clone()),
            ("agent.devices_probe", self.devices_probe.clone()),
            ("agent.join_token", self.join_token.clone()),
            ("agent.join_token_file", self.join_token_file.clone()),
            ("agent.cgroups", self.cgroups.clone()),
            ("agent.processes_max", self.processes_max.clone()),
            ("agent.on_exit", self.on_exit.clone()),
            ("agent.ops", self.listen_ops.clone()),
            ("agent.insecure", self.insecure.clone()),
        ]
    }

    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        let settings = AgentSettings::from(&context.settings)?;
        let tls = start::tls(&context.settings)?;
        if settings.insecure && tls.is_none() {
            context.output.note("insecure = true: what this agent says and hears has no TLS");
        }
        let shutdown = start::stop_on_signals(self.stop_with_stdin)?;
        start::agent(&settings, tls, shutdown).await?;
        Ok(Code::Ok)
    }
}
