//! The machines of a run, and how they are looked after while faults strike them.

mod rolling;
mod strikes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};

use crate::hosts::{AGENT, API, CPU, Host, MEMORY, RAFT, REGIONS, REPLICAS, agents, replicas, scribe};
use crate::judge::{Affair, Struck};
use crate::leaders::Leaders;
use crate::machine::{Machine, Programs};
use crate::network::Network;
use crate::schedule::Class;
use crate::sessions::{api_addresses, client};
use crate::transfers::Transfers;
use crate::wide_area::SlowWays;
use rolling::Rolling;
use strikes::Active;

/// Longest wait for the cluster to form, or to be whole again.
const WHOLE_WAIT: Duration = Duration::from_secs(180);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a look at the whole cluster may take.
const ASK: Duration = Duration::from_secs(3);
/// A process may still end of a full disk for so long after it had room again.
const EXCUSED: Duration = Duration::from_secs(5);
/// Terms of the nodes' leases: short, so that strikes outlast them, with room for a machine that is slow to kill.
const LEASE: [&str; 8] = ["--lease-server", "9s", "--lease-agent", "5s", "--lease-kill", "2s", "--lease-margin", "1s"];
/// So few entries between snapshots that replicas which were away need one.
const SNAPSHOTS: [&str; 4] = ["--snapshot-entries", "500", "--keep-entries", "100"];
/// So many that the one who keeps the log never cuts it.
const WHOLE_LOG: [&str; 5] = ["--learner", "--snapshot-entries", "1000000000", "--keep-entries", "1000000000"];

/// Replicas and agents, each on its host.
pub(crate) struct Cluster {
    network: Network,
    slow: Arc<SlowWays>,
    /// What tasks write.
    ledger: PathBuf,
    /// Replicas first, then agents.
    machines: Vec<Machine>,
    /// A replica without a vote that keeps the whole log.
    scribe: Machine,
    pub(crate) leaders: Leaders,
    pub(crate) transfers: Transfers,
    /// What strikes now, by the strike's position.
    active: BTreeMap<usize, Active>,
    rolling: Option<Rolling>,
    /// How often each class did what it is for.
    pub(crate) fired: BTreeMap<Class, usize>,
    /// What befell agents, once it is over.
    pub(crate) affairs: Vec<Affair>,
    /// Tasks that were struck themselves, once it is over.
    pub(crate) struck: Vec<Struck>,
    /// Until then an end of a process is the end of the run.
    has_formed: bool,
    /// Processes that ended by themselves and had no reason to.
    pub(crate) deaths: Vec<String>,
    /// Machines whose disk was full, and until when that still explains an end.
    excused: Vec<(usize, BootInstant)>,
}

impl Cluster {
    /// Prepares every machine; none is started. Within a runtime.
    pub(crate) fn prepare(
        network: Network,
        slow: Arc<SlowWays>,
        programs: &Programs,
        directory: &Path,
        ledger: &Path,
    ) -> Result<Self, String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let mut machines = Vec::new();
        let server = |verb: &str, host: &Host| {
            let [api, agent, raft] = [API, AGENT, RAFT].map(|port| host.listens_at(port));
            let mut arguments = words(&["server", verb, "--insecure", "--region", REGIONS[host.region]]);
            arguments.extend(words(&["--listen-api", &api, "--listen-agent", &agent, "--listen-raft", &raft]));
            if verb == "join" {
                arguments.extend(words(&["--peers", &replicas()[0].listens_at(RAFT)]));
            }
            arguments
        };
        for host in replicas() {
            let mut arguments = server(if machines.is_empty() { "init" } else { "join" }, &host);
            arguments.extend(words(&SNAPSHOTS));
            if machines.is_empty() {
                arguments.extend(words(&LEASE));
            }
            machines.push(Machine::new(host, programs, directory, arguments)?);
        }
        let arguments = [server("join", &scribe()), words(&WHOLE_LOG)].concat();
        let scribe = Machine::new(scribe(), programs, directory, arguments)?;
        let addresses: Vec<String> = replicas().iter().map(|replica| replica.listens_at(AGENT)).collect();
        for host in agents() {
            let region = REGIONS[host.region];
            let mut arguments =
                words(&["agent", "--insecure", "--replicas", &addresses.join(","), "--node", &host.name]);
            arguments.extend(words(&["--region", region, "--cluster", region, "--cpu", CPU.0, "--memory", MEMORY.0]));
            machines.push(Machine::new(host, programs, directory, arguments)?);
        }
        Ok(Self {
            network,
            slow,
            ledger: ledger.to_path_buf(),
            machines,
            scribe,
            leaders: Leaders::watch(),
            transfers: Transfers::new(&programs.quorate),
            active: BTreeMap::new(),
            rolling: None,
            fired: BTreeMap::new(),
            affairs: Vec::new(),
            struck: Vec::new(),
            has_formed: false,
            deaths: Vec::new(),
            excused: Vec::new(),
        })
    }

    /// Starts everything, the replicas one after the other.
    pub(crate) async fn form(&mut self) -> Result<(), String> {
        for position in 0..self.machines.len() {
            self.machines[position].start()?;
            if position < REPLICAS {
                self.until_whole(position + 1, 0).await?;
            }
            if position + 1 == REPLICAS {
                // Before the log is cut for the first time.
                self.scribe.start()?;
            }
        }
        self.until_whole(REPLICAS, self.machines.len() - REPLICAS).await?;
        self.has_formed = true;
        Ok(())
    }

    /// Waits for so many voters with a leader, and so many nodes with a live lease; with nodes, also for the one who
    /// keeps the log.
    pub(crate) async fn until_whole(&mut self, voters: usize, nodes: usize) -> Result<(), String> {
        let begun = SystemClock.boot();
        let client = client(api_addresses(), ASK);
        loop {
            let seen = whole(&client, voters, nodes).await;
            let Err(why) = seen else { return Ok(()) };
            self.look_after();
            let death = self.deaths.first();
            if let Some(death) = death.filter(|_| !self.has_formed) {
                return Err(death.clone());
            }
            if SystemClock.boot().since(begun) > WHOLE_WAIT {
                let death = death.map_or("", String::as_str);
                return Err(format!(
                    "{voters} voters and {nodes} nodes were not there within {WHOLE_WAIT:?}: {why}; {death}"
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Goes on with restarts, notes processes that have ended by themselves, and starts them again.
    pub(crate) fn look_after(&mut self) {
        self.roll();
        for position in 0..self.machines.len() {
            let is_asked = self.rolling.as_ref().is_some_and(|rolling| rolling.stops(position));
            if is_asked || self.has_no_room(position) {
                continue;
            }
            if let Some(status) = self.machines[position].ended() {
                if !self.is_excused(position) {
                    self.deaths.push(self.machines[position].obituary(status));
                }
                self.start(position);
            }
        }
        if let Some(status) = self.scribe.ended() {
            self.deaths.push(self.scribe.obituary(status));
            self.deaths.extend(self.scribe.start().err());
        }
    }

    /// Ends every process.
    pub(crate) fn stop(&mut self) {
        self.machines.iter_mut().for_each(Machine::kill9);
        self.scribe.kill9();
    }

    /// How much of the fullest replica's disk is taken, in MiB.
    pub(crate) fn disk_mib(&self) -> u64 {
        self.machines[..REPLICAS].iter().map(Machine::disk_mib).max().unwrap_or(0)
    }

    /// True while replicas or agents are restarted in turn.
    pub(crate) fn is_rolling(&self) -> bool {
        self.rolling.is_some()
    }

    fn is_struck(&self, machine: usize, class: Class) -> bool {
        let strikes = |active: &Active| active.class == class && active.machines.contains(&machine);
        self.active.values().any(strikes)
    }

    /// True while its disk is full.
    fn has_no_room(&self, machine: usize) -> bool {
        [Class::DiskFull, Class::AgentDiskFull].into_iter().any(|class| self.is_struck(machine, class))
    }

    /// True when a full disk explains its end.
    fn is_excused(&self, machine: usize) -> bool {
        let now = SystemClock.boot();
        self.excused.iter().any(|(excused, until)| *excused == machine && now < *until)
    }

    fn start(&mut self, machine: usize) {
        if let Err(why) = self.machines[machine].start() {
            self.deaths.push(why);
        }
    }

    /// A fault of this class did what it is for.
    fn fire(&mut self, class: Class) {
        *self.fired.entry(class).or_default() += 1;
    }
}

async fn whole(client: &quorate_client::Client, voters: usize, nodes: usize) -> Result<(), String> {
    let replicas = client.list_replicas(v1::ListReplicasRequest {}).await.map_err(|error| error.to_string())?.replicas;
    let votes = replicas.iter().filter(|replica| replica.voter).count();
    let request = v1::ListNodesRequest { page_size: 100, page_token: String::new() };
    let known = client.list_nodes(request).await.map_err(|error| error.to_string())?.nodes;
    let up = known.iter().filter(|node| node.status() == v1::NodeStatus::Up).count();
    let is_kept = nodes == 0 || replicas.len() > votes;
    if votes >= voters && up >= nodes && is_kept {
        return Ok(());
    }
    Err(format!("{votes} of {} replicas vote, {up} nodes are up", replicas.len()))
}
