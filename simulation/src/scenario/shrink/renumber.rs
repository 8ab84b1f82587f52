//! Hosts leave a scenario: those that stay move up, and faults name them by their new positions.

use std::ops::Range;

use crate::scenario::{FaultPlan, FaultWhat, Scenario, Target};

/// Which hosts stay, by their positions before.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    replicas: Vec<bool>,
    /// Of each rack its agents; a rack stays while one of them does.
    racks: Vec<Vec<bool>>,
    /// How many hosts clients had.
    clients: usize,
}

impl Kept {
    /// All of them.
    pub(super) fn all(scenario: &Scenario) -> Self {
        Self {
            replicas: vec![true; scenario.replicas.len()],
            racks: scenario.racks.iter().map(|rack| vec![true; rack.agents.len()]).collect(),
            clients: scenario.client_hosts(),
        }
    }

    /// Not this replica.
    pub(super) fn drop_replica(&mut self, replica: usize) {
        if let Some(kept) = self.replicas.get_mut(replica) {
            *kept = false;
        }
    }

    /// Not this rack.
    pub(super) fn drop_rack(&mut self, rack: usize) {
        if let Some(agents) = self.racks.get_mut(rack) {
            agents.fill(false);
        }
    }

    /// Not these agents, counted over all racks.
    pub(super) fn drop_agents(&mut self, range: &Range<usize>) {
        let agents = self.racks.iter_mut().flatten();
        agents.enumerate().filter(|(agent, _)| range.contains(agent)).for_each(|(_, kept)| *kept = false);
    }

    /// Takes the others out, with client hosts that no session has any more, and the faults that would
    /// strike nobody.
    pub(super) fn renumber(&self, scenario: &mut Scenario) {
        let used = |host: usize| scenario.sessions.iter().any(|session| session.host == host);
        let clients: Vec<bool> = (0..self.clients).map(used).collect();
        let racks: Vec<bool> = self.racks.iter().map(|agents| agents.contains(&true)).collect();
        let moves = Moves {
            replicas: positions(&self.replicas),
            hosts: positions(&[self.replicas.as_slice(), &racks, &clients].concat()),
            racks: positions(&racks),
            agents: self.racks.iter().map(|agents| positions(agents)).collect(),
            replicas_left: self.replicas.iter().filter(|kept| **kept).count(),
        };
        let clients = positions(&clients);
        for session in &mut scenario.sessions {
            session.host = clients.get(session.host).copied().flatten().unwrap_or(session.host);
        }
        for (rack, kept) in scenario.racks.iter_mut().zip(&self.racks) {
            retain(&mut rack.agents, kept);
        }
        retain(&mut scenario.racks, &racks);
        retain(&mut scenario.replicas, &self.replicas);
        scenario.faults.retain_mut(|fault| moves.strikes(fault));
        let (replicas, racks) = (&scenario.replicas, &scenario.racks);
        scenario.faults.retain(|fault| match &fault.what {
            FaultWhat::IsolateRegion { region, .. } => {
                replicas.iter().any(|replica| replica.region == *region)
                    || racks.iter().any(|rack| rack.region == *region)
            }
            _ => true,
        });
    }
}

/// New positions of those that stay.
fn positions(kept: &[bool]) -> Vec<Option<usize>> {
    let mut next = 0..;
    kept.iter().map(|kept| if *kept { next.next() } else { None }).collect()
}

fn retain<T>(parts: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    parts.retain(|_| kept.next().copied().unwrap_or(true));
}

/// New positions by old ones.
struct Moves {
    replicas: Vec<Option<usize>>,
    /// Replicas, racks, clients.
    hosts: Vec<Option<usize>>,
    racks: Vec<Option<usize>>,
    agents: Vec<Vec<Option<usize>>>,
    replicas_left: usize,
}

impl Moves {
    /// Renames those that a fault strikes; says whether it still strikes anyone.
    fn strikes(&self, fault: &mut FaultPlan) -> bool {
        match &mut fault.what {
            FaultWhat::Loss { .. }
            | FaultWhat::IsolateRegion { .. }
            | FaultWhat::BreakTransfer { .. }
            | FaultWhat::Backup
            | FaultWhat::Destroy { survivor: None }
            | FaultWhat::Workload => true,
            FaultWhat::Destroy { survivor: Some(survivor) } => follow(&self.replicas, survivor),
            FaultWhat::LinkLoss { one, other, .. } | FaultWhat::SlowLink { one, other, .. } => {
                follow(&self.hosts, one) && follow(&self.hosts, other)
            }
            FaultWhat::Isolate { hosts, .. } => {
                hosts.retain_mut(|host| follow(&self.hosts, host));
                !hosts.is_empty()
            }
            FaultWhat::LeaderMinority { with, .. } => self.unless_fewer(*with + 1),
            FaultWhat::QuorumLoss { spared, .. } => self.unless_fewer(*spared),
            FaultWhat::Bridge { one, other, .. } => follow(&self.replicas, one) && follow(&self.replicas, other),
            FaultWhat::IsolateReplica { target, .. }
            | FaultWhat::Hold { target }
            | FaultWhat::Crash { target, .. }
            | FaultWhat::Absence { target, .. }
            | FaultWhat::Pause { target }
            | FaultWhat::Handover { target }
            | FaultWhat::Replace { target, .. }
            | FaultWhat::Transfer { target }
            | FaultWhat::SlowDisk { target, .. }
            | FaultWhat::DiskError { target, .. }
            | FaultWhat::DiskFull { target }
            | FaultWhat::DiskLow { target }
            | FaultWhat::OldImage { target, .. }
            | FaultWhat::Diverge { target, .. } => match target {
                Target::Leader => true,
                Target::Follower(follower) => self.unless_fewer(*follower + 1),
                Target::Replica(replica) => follow(&self.replicas, replica),
            },
            FaultWhat::IsolateRack { rack, .. }
            | FaultWhat::IsolateFenced { rack, .. }
            | FaultWhat::LeaderWithRack { rack }
            | FaultWhat::RackCrash { rack }
            | FaultWhat::RackPause { rack } => follow(&self.racks, rack),
            FaultWhat::AgentKill { rack, agent } | FaultWhat::Upkeep { rack, agent, .. } => {
                let stays = self.agents.get(*rack).is_some_and(|agents| follow(agents, agent));
                stays && follow(&self.racks, rack)
            }
            FaultWhat::ClockJump { host, .. } => follow(&self.hosts, host),
        }
    }

    /// Whether replicas are left beside `others`. What was drawn is not judged, only what went on.
    fn unless_fewer(&self, others: usize) -> bool {
        self.replicas_left == self.replicas.len() || others < self.replicas_left
    }
}

/// Moves a position along; says whether it is still one.
fn follow(moves: &[Option<usize>], position: &mut usize) -> bool {
    moves.get(*position).copied().flatten().map(|moved| *position = moved).is_some()
}
