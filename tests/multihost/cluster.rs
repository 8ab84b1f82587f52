//! The machines of a run, and the faults that strike them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};

use crate::hosts::{AGENT, API, Host, RAFT, REGIONS, REPLICAS, agents, all, replicas};
use crate::machine::{Machine, Programs};
use crate::network::Network;
use crate::schedule::{Class, Strike, Target};
use crate::sessions::{api_addresses, client};

/// Longest wait for the cluster to form, or to be whole again.
const WHOLE_WAIT: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a replica is given to say whether it leads.
const ASK: Duration = Duration::from_millis(1_000);
/// A process may still end of a full disk for so long after it had room again.
const EXCUSED: Duration = Duration::from_secs(5);
/// Terms of the nodes' leases: short, so that strikes outlast them.
const LEASE: [&str; 8] =
    ["--lease-server", "7s", "--lease-agent", "5s", "--lease-kill", "1s", "--lease-margin", "500ms"];
/// So few entries between snapshots that replicas which were away need one.
const SNAPSHOTS: [&str; 4] = ["--snapshot-entries", "500", "--keep-entries", "100"];

/// Replicas and agents, each on its host.
pub(crate) struct Cluster {
    network: Network,
    /// Replicas first, then agents.
    machines: Vec<Machine>,
    /// What strikes now: by the strike's position, whom, and what does not pass because of it.
    active: BTreeMap<usize, Active>,
    /// Agents that stand still, or did, in hundredths of a second since the machine was switched on.
    pub(crate) stalls: Vec<(String, u64, u64)>,
    /// Processes that ended by themselves and had no reason to.
    pub(crate) deaths: Vec<String>,
    /// The last replica that was seen to lead.
    last_leader: Option<Leader>,
    /// Machines whose disk was full, and until when that still explains an end.
    excused: Vec<(usize, BootInstant)>,
}

struct Active {
    class: Class,
    /// Positions of machines.
    machines: Vec<usize>,
    /// From whom to whom nothing passes.
    dropped: BTreeSet<(Ipv4Addr, Ipv4Addr)>,
    began_cs: u64,
}

/// Who leads, by position, and in which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leader {
    pub(crate) term: u64,
    pub(crate) replica: usize,
}

impl Cluster {
    /// Prepares every machine; none is started.
    pub(crate) fn prepare(network: Network, programs: &Programs, directory: &Path) -> Result<Self, String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let mut machines = Vec::new();
        for host in replicas() {
            let [api, agent, raft] = [API, AGENT, RAFT].map(|port| host.listens_at(port));
            let mut arguments = words(&["server", "init", "--insecure", "--region", REGIONS[host.region]]);
            arguments.extend(words(&["--listen-api", &api, "--listen-agent", &agent, "--listen-raft", &raft]));
            arguments.extend(words(&SNAPSHOTS));
            if machines.is_empty() {
                arguments.extend(words(&LEASE));
            } else {
                "join".clone_into(&mut arguments[1]);
                arguments.extend(words(&["--peers", &replicas()[0].listens_at(RAFT)]));
            }
            machines.push(Machine::new(host, programs, directory, arguments)?);
        }
        let addresses: Vec<String> = replicas().iter().map(|replica| replica.listens_at(AGENT)).collect();
        for host in agents() {
            let region = REGIONS[host.region];
            let mut arguments =
                words(&["agent", "--insecure", "--replicas", &addresses.join(","), "--node", &host.name]);
            arguments.extend(words(&["--region", region, "--cluster", region, "--cpu", "4", "--memory", "4Gi"]));
            machines.push(Machine::new(host, programs, directory, arguments)?);
        }
        Ok(Self {
            network,
            machines,
            active: BTreeMap::new(),
            stalls: Vec::new(),
            deaths: Vec::new(),
            excused: Vec::new(),
            last_leader: None,
        })
    }

    /// Starts everything, the replicas one after the other.
    pub(crate) async fn form(&mut self) -> Result<(), String> {
        for position in 0..self.machines.len() {
            self.machines[position].start()?;
            if position < REPLICAS {
                self.until_whole(position + 1, 0).await?;
            }
        }
        self.until_whole(REPLICAS, self.machines.len() - REPLICAS).await
    }

    /// Waits for so many voters with a leader, and so many nodes with a live lease.
    pub(crate) async fn until_whole(&mut self, voters: usize, nodes: usize) -> Result<(), String> {
        let begun = SystemClock.boot();
        let client = client(api_addresses(), ASK * 3);
        loop {
            let seen = whole(&client, voters, nodes).await;
            let Err(why) = seen else { return Ok(()) };
            self.look_after();
            if let Some(death) = self.deaths.first() {
                return Err(death.clone());
            }
            if SystemClock.boot().since(begun) > WHOLE_WAIT {
                return Err(format!("{voters} voters and {nodes} nodes were not there within {WHOLE_WAIT:?}: {why}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Who leads, as far as the replicas that answer say.
    pub(crate) async fn leader(&mut self) -> Option<Leader> {
        let ask = |replica: usize| async move {
            let client = client(vec![api_addresses().swap_remove(replica)], ASK);
            let status = client.replica_status(v1::GetReplicaStatusRequest {}).await.ok()?;
            (status.role() == v1::ReplicaRole::Leader).then_some(Leader { term: status.term, replica })
        };
        let (first, second, third) = tokio::join!(ask(0), ask(1), ask(2));
        let leader = [first, second, third].into_iter().flatten().max();
        self.last_leader = leader.or(self.last_leader);
        leader
    }

    /// Lets a fault strike; says whom, or nobody when there is nobody to strike.
    pub(crate) async fn strike(&mut self, position: usize, strike: &Strike) -> Result<Option<String>, String> {
        let machines = match strike.target {
            Target::Leader => {
                let leader = self.leader().await.or(self.last_leader);
                leader.map(|leader| leader.replica).into_iter().collect()
            }
            Target::Replica(number) => vec![number - 1],
            Target::Node(number) => vec![REPLICAS + number - 1],
            Target::Region(region) => {
                let there = |(_, machine): &(usize, &Machine)| machine.host.region == region;
                self.machines.iter().enumerate().filter(there).map(|(position, _)| position).collect()
            }
        };
        // What another strike holds down cannot be struck in the same way.
        let is_free = |machine: &usize| self.machines[*machine].is_running() && !self.is_struck(*machine, strike.class);
        let machines: Vec<usize> = machines.into_iter().filter(is_free).collect();
        if machines.is_empty() {
            return Ok(None);
        }
        let struck: Vec<Host> = machines.iter().map(|machine| self.machines[*machine].host.clone()).collect();
        let mut dropped = BTreeSet::new();
        match strike.class {
            Class::Kill => machines.iter().for_each(|machine| self.machines[*machine].kill9()),
            Class::Pause => machines.iter().for_each(|machine| self.machines[*machine].pause()),
            Class::DiskFull => {
                for machine in &machines {
                    let resumes = !self.is_struck(*machine, Class::Pause);
                    self.machines[*machine].fill_disk(resumes)?;
                }
            }
            Class::Clock => machines.iter().try_for_each(|one| self.machines[*one].shift_clock(strike.jump_ms))?,
            Class::Cut | Class::Mute | Class::Deaf => dropped = silence(strike.class, &struck, &all()),
            Class::Lone => dropped = silence(Class::Cut, &struck, &replicas()),
        }
        self.active.insert(position, Active { class: strike.class, machines, dropped, began_cs: now_cs() });
        self.apply_drops()?;
        let names: Vec<String> = struck.into_iter().map(|host| host.name).collect();
        Ok(Some(names.join(" ")))
    }

    /// Ends what a strike began; says who had ended by itself meanwhile, where that is no violation.
    pub(crate) fn heal(&mut self, position: usize) -> Result<Vec<String>, String> {
        let mut ended = Vec::new();
        let Some(over) = self.active.remove(&position) else { return Ok(ended) };
        for number in over.machines {
            let machine = &mut self.machines[number];
            match over.class {
                Class::Kill => machine.start()?,
                Class::Pause => {
                    machine.resume();
                    self.stalls.push((machine.host.name.clone(), over.began_cs, now_cs()));
                }
                Class::DiskFull => {
                    machine.free_disk();
                    // Whether it goes on without room or gives up is its own affair.
                    if machine.death().is_some() {
                        ended.push(machine.host.name.clone());
                    }
                    machine.start()?;
                    self.excused.push((number, SystemClock.boot() + EXCUSED));
                }
                Class::Clock => machine.shift_clock(0)?,
                Class::Cut | Class::Mute | Class::Deaf | Class::Lone => {}
            }
        }
        self.apply_drops()?;
        Ok(ended)
    }

    /// Ends everything that strikes.
    pub(crate) fn heal_all(&mut self) -> Result<(), String> {
        let active: Vec<usize> = self.active.keys().copied().collect();
        active.into_iter().try_for_each(|position| self.heal(position).map(drop))
    }

    /// Notes processes that have ended by themselves, and starts them again.
    pub(crate) fn look_after(&mut self) {
        for position in 0..self.machines.len() {
            if self.is_struck(position, Class::DiskFull) {
                continue;
            }
            if let Some(death) = self.machines[position].death() {
                let now = SystemClock.boot();
                if !self.excused.iter().any(|(machine, until)| *machine == position && now < *until) {
                    self.deaths.push(death);
                }
                if let Err(why) = self.machines[position].start() {
                    self.deaths.push(why);
                }
            }
        }
    }

    fn is_struck(&self, machine: usize, class: Class) -> bool {
        let strikes = |active: &Active| active.class == class && active.machines.contains(&machine);
        self.active.values().any(strikes)
    }

    fn apply_drops(&mut self) -> Result<(), String> {
        let dropped = self.active.values().flat_map(|active| active.dropped.iter().copied()).collect();
        self.network.drop_between(&dropped)
    }
}

/// From whom to whom nothing passes when these are silenced towards `others`.
fn silence(class: Class, struck: &[Host], others: &[Host]) -> BTreeSet<(Ipv4Addr, Ipv4Addr)> {
    let mut dropped = BTreeSet::new();
    for one in struck {
        for other in others.iter().filter(|other| !struck.contains(other)) {
            if class != Class::Deaf {
                dropped.insert((one.address, other.address));
            }
            if class != Class::Mute {
                dropped.insert((other.address, one.address));
            }
        }
    }
    dropped
}

async fn whole(client: &quorate_client::Client, voters: usize, nodes: usize) -> Result<(), String> {
    let replicas = client.list_replicas(v1::ListReplicasRequest {}).await.map_err(|error| error.to_string())?.replicas;
    let votes = replicas.iter().filter(|replica| replica.voter).count();
    let request = v1::ListNodesRequest { page_size: 100, page_token: String::new() };
    let known = client.list_nodes(request).await.map_err(|error| error.to_string())?.nodes;
    let up = known.iter().filter(|node| node.status() == v1::NodeStatus::Up).count();
    if votes >= voters && up >= nodes { Ok(()) } else { Err(format!("{votes} vote, {up} nodes are up")) }
}

/// The clock that tasks write down, in hundredths of a second.
fn now_cs() -> u64 {
    SystemClock.boot().as_millis() / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_cuts_leave_the_other_way() {
        let (struck, others) = (&replicas()[..1], replicas());
        let from =
            |dropped: &BTreeSet<(Ipv4Addr, Ipv4Addr)>| dropped.iter().filter(|(a, _)| *a == struck[0].address).count();
        let mute = silence(Class::Mute, struck, &others);
        let deaf = silence(Class::Deaf, struck, &others);
        assert_eq!((mute.len(), from(&mute)), (2, 2));
        assert_eq!((deaf.len(), from(&deaf)), (2, 0));
        assert_eq!(silence(Class::Cut, struck, &others), mute.union(&deaf).copied().collect());
    }
}
