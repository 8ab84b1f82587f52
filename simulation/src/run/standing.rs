//! How replicas stand at the moment: who runs, who leads, who has a quorum.

use std::time::Duration;

use super::World;
use super::strike::{Power, Undo};
use crate::ledger::RaftRows as _;
use crate::oracles::quorum::id_of;
use crate::scenario::{Amid, FaultWhat};

impl World {
    /// How many voters are a quorum.
    fn quorum(&self) -> usize {
        let last = (self.ledger.steps().len() as u64).saturating_sub(1);
        self.ledger.voters_at(last).iter().map(|voters| voters.len() / 2 + 1).min().unwrap_or(0)
    }

    /// Which replicas run and do not stand still.
    fn who_runs(&self) -> Vec<bool> {
        let runs = |at: usize| self.is_running(at) && self.striking.replicas[at].paused_until.is_none();
        (0..self.replicas.len()).map(runs).collect()
    }

    /// True when a replica's process runs and is not stopping.
    pub(super) fn is_running(&self, position: usize) -> bool {
        let power = self.striking.replicas[position];
        let has_started = self.sim.elapsed() > Duration::from_millis(self.scenario.replicas[position].start_ms);
        has_started && power.off_until.is_none() && power.stopping_until.is_none()
    }

    /// True when everything that was switched off or stands still is back.
    pub(super) fn is_all_up(&self) -> bool {
        self.striking.replicas.iter().all(|power| *power == Power::default())
            && self.striking.racks.iter().all(|power| power.off_until.is_none() && power.paused_until.is_none())
    }

    /// Who leads, as far as disks tell.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |position: &usize| {
            let disk = self.ledger.shadows()[*position].live();
            let vote = disk.vote().filter(|vote| vote.committed)?;
            let own = disk.record::<quorate_proto::raft::v1::Identity>(b"identity")?.replica;
            (vote.replica == own && self.is_running(*position)).then_some(vote.term)
        };
        (0..self.replicas.len()).filter_map(|at| leads(&at).map(|term| (term, at))).max().map(|(_, at)| at)
    }

    /// True when the voters that are not away for long, and are not this one, have a quorum.
    pub(super) fn is_core_enough(&self, without: Option<usize>) -> bool {
        let last = (self.ledger.steps().len() as u64).saturating_sub(1);
        let voters: Vec<u64> = self.ledger.voters_at(last).iter().flatten().copied().collect();
        let is_voter = |at: usize| {
            let identity = self.ledger.shadows()[at].live().record::<quorate_proto::raft::v1::Identity>(b"identity");
            identity.is_some_and(|identity| voters.contains(&identity.replica))
        };
        let stays = |at: &usize| self.striking.replicas[*at].until_purged.is_none() && without != Some(*at);
        let core = (0..self.replicas.len()).filter(stays).filter(|at| is_voter(*at)).count();
        core * 2 > voters.len().max(2)
    }

    /// How many replicas a fault takes from the others.
    fn takes(&self, what: &FaultWhat) -> usize {
        match what {
            FaultWhat::IsolateReplica { .. }
            | FaultWhat::LeaderWithRack { .. }
            | FaultWhat::Hold { .. }
            | FaultWhat::Crash { .. }
            | FaultWhat::Absence { .. }
            | FaultWhat::Pause { .. }
            | FaultWhat::Handover { .. }
            | FaultWhat::Transfer { .. } => 1,
            FaultWhat::Replace { amid, .. } => match amid {
                Amid::Nothing | Amid::ItsCrash => 1,
                Amid::TheLeadersCrash => 2,
                Amid::Scarcity => self.quorum().saturating_sub(1),
            },
            FaultWhat::LeaderMinority { with, .. } => with + 1,
            FaultWhat::Isolate { hosts, .. } => hosts.iter().filter(|host| **host < self.replicas.len()).count(),
            FaultWhat::IsolateRegion { region, .. } => {
                self.scenario.replicas.iter().filter(|replica| replica.region == *region).count()
            }
            FaultWhat::Loss { .. }
            | FaultWhat::LinkLoss { .. }
            | FaultWhat::SlowLink { .. }
            | FaultWhat::IsolateRack { .. }
            | FaultWhat::IsolateFenced { .. }
            | FaultWhat::Bridge { .. }
            | FaultWhat::BreakTransfer { .. }
            | FaultWhat::QuorumLoss { .. }
            | FaultWhat::AgentKill { .. }
            | FaultWhat::RackCrash { .. }
            | FaultWhat::RackPause { .. }
            | FaultWhat::ClockJump { .. }
            | FaultWhat::Backup
            | FaultWhat::Destroy { .. }
            | FaultWhat::SlowDisk { .. }
            | FaultWhat::DiskError { .. }
            | FaultWhat::DiskFull { .. }
            | FaultWhat::Workload => 0,
        }
    }

    /// True when those that have each other are a quorum even without the replicas that a fault takes, or
    /// when it would be none anyway.
    pub(super) fn spares_quorum(&self, what: &FaultWhat) -> bool {
        let (takes, quorum, runs) = (self.takes(what), self.quorum(), self.who_runs());
        let together = |at: usize| if runs[at] { self.cuts.reach(at, &runs) + 1 } else { 0 };
        let most = (0..self.replicas.len()).map(together).max().unwrap_or(0);
        takes == 0 || takes + quorum > self.replicas.len() || most >= takes + quorum
    }

    /// Notes which replicas can lead, and since when: those that run and can exchange messages with a majority of
    /// each list of voters. While a link or a disk is in trouble, none is sure to.
    pub(super) fn note_fit(&mut self, now: Duration) {
        let is_calm = self.striking.under_way().all(|undo| matches!(undo, Undo::Cut(_)));
        let runs = self.who_runs();
        let fit: Vec<bool> = (0..runs.len()).map(|at| is_calm && runs[at] && self.has_majority(at, &runs)).collect();
        for (since, is_fit) in self.fit.iter_mut().zip(fit) {
            *since = if is_fit { since.or(Some(now)) } else { None };
        }
    }

    /// True when a replica hears a majority of the voters, and they hear it.
    fn has_majority(&self, position: usize, runs: &[bool]) -> bool {
        let last = (self.ledger.steps().len() as u64).saturating_sub(1);
        let reached = (0..runs.len()).filter(|at| *at == position || (runs[*at] && self.cuts.joins(position, *at)));
        let ids: Vec<u64> = reached.filter_map(|at| id_of(self.ledger.shadows()[at].live())).collect();
        let voters = self.ledger.voters_at(last);
        let is_majority = |list: &Vec<u64>| list.iter().filter(|id| ids.contains(id)).count() * 2 > list.len();
        !voters.is_empty() && voters.iter().all(is_majority)
    }

    /// Notes which machines cannot reach a quorum, and since when.
    pub(super) fn note_silences(&mut self, now: Duration) {
        let (quorum, runs) = (self.quorum(), self.who_runs());
        for (rack, silence) in self.silences.iter_mut().enumerate() {
            let is_silent = self.cuts.reach(self.replicas.len() + rack, &runs) < quorum;
            *silence = if is_silent { silence.or(Some(now)) } else { None };
        }
    }
}
