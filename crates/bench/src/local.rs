//! Replicas and agents as real processes of one binary on loopback, in a directory of their own.
//!
//! Every process has its log in a file and a pipe on its standard input: it stops when that closes,
//! so that nothing outlives whoever started the cluster, not even after `kill -9`. Waiting is for
//! conditions that the public API shows, each with a limit.

mod options;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, ClientConfig};
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock, SystemEntropy, TcpNetwork};
use tempfile::TempDir;

pub use options::{AgentOptions, LeaseOptions, Options, Times};

use crate::process::Process;
use crate::relay::Relay;
use crate::{Error, ports};

/// Longest wait for a cluster to be up, per condition; a start under load takes seconds.
const READY_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for a process that was asked to stop, before it is killed.
const STOP_WAIT: Duration = Duration::from_secs(15);
/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bound on one look: a replica that was just killed must not hold up the next look.
const LOOK_DEADLINE: Duration = Duration::from_millis(1500);
/// Starts with fresh ports before giving up: another process may take one between choosing and binding.
const STARTS_MAX: usize = 4;

/// A cluster of processes on this machine. Dropping it kills them all and removes the directory.
#[derive(Debug)]
pub struct LocalCluster {
    options: Options,
    // Before the directory: fields drop in order, and processes write into it.
    replicas: Vec<Process>,
    agents: Vec<Process>,
    api_addresses: Vec<String>,
    agent_addresses: Vec<String>,
    ops_addresses: Vec<String>,
    relay: Option<Relay>,
    directory: Directory,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its position among this cluster's replicas, from 0.
    pub replica: usize,
    /// Its id in the cluster.
    pub id: u64,
    /// The term that it leads in.
    pub term: u64,
}

#[derive(Debug)]
enum Directory {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn make(keep: bool) -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        let made = tempfile::Builder::new().prefix("quorate-").tempdir_in(&parent);
        let made = made.map_err(|source| Error::Write { path: parent, source })?;
        Ok(if keep { Self::Kept(made.keep()) } else { Self::Temporary(made) })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}

impl LocalCluster {
    /// Starts replicas and agents, and returns when all of them are part of the cluster.
    pub async fn start(options: Options) -> Result<Self, Error> {
        options.check()?;
        let mut start = 1;
        loop {
            let mut cluster = Self {
                directory: Directory::make(options.keep)?,
                options: options.clone(),
                replicas: Vec::new(),
                agents: Vec::new(),
                api_addresses: Vec::new(),
                agent_addresses: Vec::new(),
                ops_addresses: Vec::new(),
                relay: None,
            };
            match cluster.bring_up().await {
                Ok(()) => return Ok(cluster),
                Err(Error::Ended { log, .. }) if start < STARTS_MAX && ports::is_clash(&log) => start += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// A client that knows every replica.
    pub fn client(&self) -> Client {
        self.client_with(Duration::from_secs(30))
    }

    /// A client that knows every replica and gives each call this long.
    pub fn client_with(&self, deadline: Duration) -> Client {
        let config = ClientConfig { deadline, ..ClientConfig::new(self.api_addresses.clone()) };
        Client::new(config, Arc::new(TcpNetwork), Arc::new(SystemEntropy))
    }

    /// API addresses of the replicas, in their order.
    pub fn api_addresses(&self) -> &[String] {
        &self.api_addresses
    }

    /// Where agents reach the replicas, in their order.
    pub fn agent_addresses(&self) -> &[String] {
        &self.agent_addresses
    }

    /// Where the replicas show their metrics, in their order.
    pub fn ops_addresses(&self) -> &[String] {
        &self.ops_addresses
    }

    /// Where data and logs are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// How many replicas there are, dead ones included.
    pub fn replica_count(&self) -> usize {
        self.replicas.len()
    }

    /// How many agents there are, dead ones included.
    pub fn agent_count(&self) -> usize {
        self.agents.len()
    }

    /// The process id of replica `replica`, when it runs.
    pub fn replica_pid(&self, replica: usize) -> Option<u32> {
        self.replicas[replica].pid()
    }

    /// The process id of agent `agent`, when it runs.
    pub fn agent_pid(&self, agent: usize) -> Option<u32> {
        self.agents[agent].pid()
    }

    /// The log of replica `replica`, of all its starts.
    pub fn replica_log(&self, replica: usize) -> &Path {
        self.replicas[replica].log()
    }

    /// The log of agent `agent`, of all its starts.
    pub fn agent_log(&self, agent: usize) -> &Path {
        self.agents[agent].log()
    }

    /// Kills replica `replica` with SIGKILL and waits until the kernel has buried it.
    pub fn kill9(&mut self, replica: usize) {
        self.replicas[replica].kill9();
    }

    /// Takes the processor away from replica `replica` (SIGSTOP).
    pub fn pause(&self, replica: usize) {
        self.replicas[replica].pause();
    }

    /// Gives it back (SIGCONT).
    pub fn resume(&self, replica: usize) {
        self.replicas[replica].resume();
    }

    /// Cuts replica `replica` off from the others, or mends that with none. Clients and agents still
    /// reach it. Does nothing in a cluster that is not [`Options::relayed`].
    pub fn cut_off(&self, replica: Option<usize>) {
        if let Some(relay) = &self.relay {
            relay.cut(replica);
        }
    }

    /// Kills agent `agent` with SIGKILL and waits until the kernel has buried it.
    pub fn kill9_agent(&mut self, agent: usize) {
        self.agents[agent].kill9();
    }

    /// Takes the processor away from agent `agent` (SIGSTOP); its tasks keep theirs.
    pub fn pause_agent(&self, agent: usize) {
        self.agents[agent].pause();
    }

    /// Gives it back (SIGCONT).
    pub fn resume_agent(&self, agent: usize) {
        self.agents[agent].resume();
    }

    /// Asks replica `replica` to stop and waits for it. An error unless it ends in order.
    pub async fn stop(&mut self, replica: usize) -> Result<(), Error> {
        stop(&mut self.replicas[replica]).await
    }

    /// Asks agent `agent` to stop and waits for it. An error unless it ends in order.
    pub async fn stop_agent(&mut self, agent: usize) -> Result<(), Error> {
        stop(&mut self.agents[agent]).await
    }

    /// Starts replica `replica` again, on its data and addresses.
    pub fn restart(&mut self, replica: usize) -> Result<(), Error> {
        let process = &mut self.replicas[replica];
        process.kill9();
        process.replace_argument("init", "run");
        process.replace_argument("join", "run");
        process.start()?;
        if let Some(relay) = &self.relay {
            relay.learn(replica, process.pid());
        }
        Ok(())
    }

    /// Lets replica `replica` run another binary from its next start on.
    pub fn set_replica_binary(&mut self, replica: usize, binary: &Path) {
        self.replicas[replica].replace_binary(binary.to_path_buf());
    }

    /// Lets agent `agent` run another binary from its next start on.
    pub fn set_agent_binary(&mut self, agent: usize, binary: &Path) {
        self.agents[agent].replace_binary(binary.to_path_buf());
    }

    /// Lets agent `agent` offer this much CPU, such as `4` or `500m`, from its next start on.
    pub fn set_agent_cpu(&mut self, agent: usize, cpu: &str) {
        self.agents[agent].replace_value("--cpu", cpu);
    }

    /// Starts agent `agent` again, on its data.
    pub fn restart_agent(&mut self, agent: usize) -> Result<(), Error> {
        self.agents[agent].kill9();
        self.agents[agent].start()
    }

    /// The leader, as the replicas that answer know it; waits until there is one that `accept`s.
    pub async fn leader(&mut self, accept: impl Fn(&Leader) -> bool) -> Result<Leader, Error> {
        self.check_processes()?;
        self.leader_finder().find(accept).await
    }

    /// What looks for the leader without borrowing the cluster.
    pub fn leader_finder(&self) -> LeaderFinder {
        LeaderFinder { client: self.client_with(LOOK_DEADLINE), addresses: self.api_addresses.clone() }
    }

    /// Waits until every replica votes and has the log, and every agent's lease is live.
    pub async fn wait_ready(&mut self) -> Result<(), Error> {
        let replicas = self.replicas.iter().filter(|replica| replica.pid().is_some()).count();
        self.wait_voters(replicas).await?;
        self.wait_caught_up().await?;
        let agents = self.agents.iter().filter(|agent| agent.pid().is_some()).count();
        self.wait_nodes(agents).await
    }

    /// The most memory that replica `replica` has used since its start, in bytes.
    pub fn replica_peak_memory(&self, replica: usize) -> Result<u64, Error> {
        self.memory(replica, "VmHWM:")
    }

    /// The memory that replica `replica` uses now, in bytes.
    pub fn replica_memory(&self, replica: usize) -> Result<u64, Error> {
        self.memory(replica, "VmRSS:")
    }

    fn memory(&self, replica: usize, field: &str) -> Result<u64, Error> {
        let pid = self.replicas[replica].pid().unwrap_or(0);
        let failed = |source| Error::Usage { pid, source };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(failed)?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| failed(std::io::Error::other(format!("/proc has no {field}"))))
    }

    /// An error when a process that was started has ended by itself.
    pub fn check_processes(&mut self) -> Result<(), Error> {
        self.replicas.iter_mut().chain(&mut self.agents).try_for_each(Process::check)
    }

    async fn bring_up(&mut self) -> Result<(), Error> {
        let ports = ports::free(self.options.replicas * 4)?;
        let address = |index: usize| format!("127.0.0.1:{}", ports[index]);
        let raft = |number: usize| address(number * 4 + 2);
        if self.options.relayed {
            self.relay = Some(Relay::start((0..self.options.replicas).map(raft).collect()).await?);
        }
        let advertised = self.relay.as_ref().map(|relay| relay.addresses().to_vec());
        let first_raft = advertised.as_ref().map_or_else(|| raft(0), |addresses| addresses[0].clone());
        let configuration = self.directory.path().join("replicas.toml");
        if let Some(text) = self.options.configuration() {
            std::fs::write(&configuration, text)
                .map_err(|source| Error::Write { path: configuration.clone(), source })?;
        }
        for number in 0..self.options.replicas {
            let [api, agent, raft, ops] = [0, 1, 2, 3].map(|port| address(number * 4 + port));
            let mut arguments = vec!["server".to_owned()];
            let first = if self.options.first_data.is_some() { "run" } else { "init" };
            arguments.push(if number == 0 { first } else { "join" }.to_owned());
            if number > 0 {
                arguments.extend(["--peers".to_owned(), first_raft.clone()]);
            }
            arguments.extend(self.options.server_arguments(number));
            if self.options.times.is_some() {
                arguments.extend(["--config".to_owned(), configuration.display().to_string()]);
            }
            for (flag, value) in
                [("--listen-api", &api), ("--listen-agent", &agent), ("--listen-raft", &raft), ("--listen-ops", &ops)]
            {
                arguments.extend([flag.to_owned(), value.clone()]);
            }
            if let Some(addresses) = &advertised {
                arguments.extend(["--advertise-raft".to_owned(), addresses[number].clone()]);
            }
            let name = format!("replica-{}", number + 1);
            let mut process = self.process(&name, arguments)?;
            if let Some(data) = self.options.first_data.take().filter(|_| number == 0) {
                let to = self.directory.path().join(&name).join("data");
                std::fs::rename(&data, &to).map_err(|source| Error::Write { path: to, source })?;
            }
            process.start()?;
            if let Some(relay) = &self.relay {
                relay.learn(number, process.pid());
            }
            self.replicas.push(process);
            self.api_addresses.push(api);
            self.agent_addresses.push(agent);
            self.ops_addresses.push(ops);
            // One after the other: the first must lead before another can join it.
            self.wait_voters(number + 1).await?;
        }
        for number in 0..self.options.agents.len() {
            let options = &self.options.agents[number];
            let mut arguments = vec!["agent".to_owned(), "--replicas".to_owned(), self.agent_addresses.join(",")];
            arguments.extend(options.arguments());
            let name = options.node.clone();
            let mut process = self.process(&name, arguments)?;
            process.start()?;
            self.agents.push(process);
        }
        self.wait_nodes(self.agents.len()).await
    }

    fn process(&self, name: &str, mut arguments: Vec<String>) -> Result<Process, Error> {
        let directory = self.directory.path().join(name);
        std::fs::create_dir_all(&directory).map_err(|source| Error::Write { path: directory.clone(), source })?;
        arguments.extend(["--data-dir".to_owned(), directory.join("data").display().to_string()]);
        arguments.push("--stop-with-stdin".to_owned());
        if let Some(filter) = &self.options.log_filter {
            arguments.extend(["--log".to_owned(), filter.clone()]);
        }
        let process = Process::new(name, self.options.binary.clone(), arguments, directory.join("log"));
        // Not as a flag, which an older binary would refuse.
        let on_exit = if self.options.tasks_outlive { "leave" } else { "kill" };
        Ok(process.with("QUORATE_AGENT_ON_EXIT", on_exit))
    }

    async fn wait_voters(&mut self, count: usize) -> Result<(), Error> {
        let what = format!("{count} voting replicas with one leader");
        self.until(&what, |client| async move {
            let replicas = client.list_replicas(v1::ListReplicasRequest {}).await.map_err(|error| error.to_string())?;
            let voters = replicas.replicas.iter().filter(|replica| replica.voter).count();
            let has_leader = replicas.replicas.iter().any(|replica| replica.leader);
            if voters >= count && has_leader { Ok(()) } else { Err(format!("{voters} vote, leader: {has_leader}")) }
        })
        .await
    }

    /// Waits until every replica that runs has what the leader's log held when this was called.
    async fn wait_caught_up(&mut self) -> Result<(), Error> {
        let client = self.client();
        let now = client.list_replicas(v1::ListReplicasRequest {}).await?;
        let target = now.replicas.iter().filter_map(|replica| replica.matched_index).max().unwrap_or(0);
        let running = self.replicas.iter().zip(&self.api_addresses).filter(|(process, _)| process.pid().is_some());
        let running: Vec<String> = running.map(|(_, address)| address.clone()).collect();
        self.until("every running replica with the whole log", |client| {
            let running = &running;
            async move {
                let seen = client.list_replicas(v1::ListReplicasRequest {}).await.map_err(|error| error.to_string())?;
                let has_all = |address: &String| {
                    let replica = seen.replicas.iter().find(|replica| replica.api_address == *address);
                    replica.and_then(|replica| replica.matched_index).is_some_and(|index| index >= target)
                };
                match running.iter().find(|address| !has_all(address)) {
                    Some(late) => Err(format!("{late} is behind index {target}")),
                    None => Ok(()),
                }
            }
        })
        .await
    }

    async fn wait_nodes(&mut self, count: usize) -> Result<(), Error> {
        let what = format!("{count} nodes with a live lease");
        self.until(&what, |client| async move {
            let request = v1::ListNodesRequest { page_size: 1000, page_token: String::new() };
            let nodes = client.list_nodes(request).await.map_err(|error| error.to_string())?.nodes;
            let up = nodes.iter().filter(|node| node.status() == v1::NodeStatus::Up).count();
            if up >= count { Ok(()) } else { Err(format!("{up} are up")) }
        })
        .await
    }

    /// Looks until `look` gives a value, as long as all processes live.
    async fn until<T, F>(&mut self, what: &str, look: impl Fn(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, String>>,
    {
        let client = self.client_with(LOOK_DEADLINE);
        let where_to_look = format!("; logs are in {}", self.directory().display());
        let mut alive = || self.check_processes();
        until(what, &where_to_look, &client, &mut alive, look).await
    }
}

/// Looks for the leader.
#[derive(Clone)]
pub struct LeaderFinder {
    client: Client,
    addresses: Vec<String>,
}

impl LeaderFinder {
    /// Waits until there is a leader that `accept`s.
    pub async fn find(&self, accept: impl Fn(&Leader) -> bool) -> Result<Leader, Error> {
        let (addresses, accept) = (&self.addresses, &accept);
        let look = |client: Client| async move {
            let replicas = client.list_replicas(v1::ListReplicasRequest {}).await.map_err(|error| error.to_string())?;
            let leader = replicas.replicas.iter().find(|replica| replica.leader).ok_or("none leads")?;
            let replica = addresses.iter().position(|address| *address == leader.api_address);
            let replica = replica.ok_or_else(|| format!("{} is none of ours", leader.api_address))?;
            let leader = Leader { replica, id: leader.id, term: replicas.term };
            if accept(&leader) { Ok(leader) } else { Err(format!("it is {leader:?}")) }
        };
        until("a leader", "", &self.client, &mut || Ok(()), look).await
    }
}

/// Looks until `look` gives a value; each look's complaint explains a wait that ran out.
async fn until<T, F>(
    what: &str,
    where_to_look: &str,
    client: &Client,
    alive: &mut (dyn FnMut() -> Result<(), Error> + Send),
    look: impl Fn(Client) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, String>>,
{
    let begun = SystemClock.boot();
    let mut seen = String::new();
    while SystemClock.boot().since(begun) < READY_WAIT {
        alive()?;
        // The client keeps its own deadline; this one guards against a client that does not.
        match tokio::time::timeout(LOOK_DEADLINE * 2, look(client.clone())).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(complaint)) => seen = complaint,
            Err(_) => "no answer".clone_into(&mut seen),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Error::NotInTime { what: what.to_owned(), waited: READY_WAIT, detail: format!(": {seen}{where_to_look}") })
}

async fn stop(process: &mut Process) -> Result<(), Error> {
    let begun = SystemClock.boot();
    while !process.heeds_sigterm() && !process.has_ended()? && SystemClock.boot().since(begun) <= STOP_WAIT {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    process.terminate();
    while !process.has_ended()? {
        if SystemClock.boot().since(begun) > STOP_WAIT {
            process.kill9();
            let what = format!("the stop of {}", process.name());
            return Err(Error::NotInTime { what, waited: STOP_WAIT, detail: ": it was killed".to_owned() });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
