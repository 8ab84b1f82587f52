//! How replicas stand at the moment: who runs, who leads, who has a quorum.

use std::time::Duration;

use super::strike::{Power, Undo};
use super::{Cuts, World};
use crate::ledger::{Ledger, RaftRows as _};
use crate::oracles::quorum::id_of;
use crate::scenario::{Amid, FaultWhat};

impl World {
    /// Which replicas run and do not stand still.
    fn who_runs(&self) -> Vec<bool> {
        let runs = |at: usize| self.is_running(at) && self.striking.replicas[at].paused_until.is_none();
        (0..self.replicas.len()).map(runs).collect()
    }

    /// True when a replica's process runs and is not stopping. One whose disk went back is nobody to count on.
    pub(super) fn is_running(&self, position: usize) -> bool {
        let power = self.striking.replicas[position];
        let has_started = self.sim.elapsed() > Duration::from_millis(self.scenario.replicas[position].start_ms);
        let is_there = has_started && power.off_until.is_none() && power.stopping_until.is_none();
        is_there && !self.striking.outcasts.is_out(position)
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
        let voters: Vec<u64> = voters(&self.ledger).iter().flatten().copied().collect();
        let is_voter = |at: usize| {
            let identity = self.ledger.shadows()[at].live().record::<quorate_proto::raft::v1::Identity>(b"identity");
            identity.is_some_and(|identity| voters.contains(&identity.replica))
        };
        let is_away =
            |at: usize| self.striking.replicas[at].until_purged.is_some() || self.striking.outcasts.is_out(at);
        let stays = |at: &usize| !is_away(*at) && without != Some(*at);
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
            | FaultWhat::OldImage { .. }
            | FaultWhat::Diverge { .. }
            | FaultWhat::Transfer { .. } => 1,
            FaultWhat::Replace { amid, .. } => match amid {
                Amid::Nothing | Amid::ItsCrash => 1,
                Amid::TheLeadersCrash => 2,
                Amid::Scarcity => quorum(&self.ledger).saturating_sub(1),
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
            | FaultWhat::DiskLow { .. }
            | FaultWhat::Upkeep { .. }
            | FaultWhat::Workload => 0,
        }
    }

    /// True when those that have each other are a quorum even without the replicas that a fault takes, or
    /// when it would be none anyway.
    pub(super) fn spares_quorum(&self, what: &FaultWhat) -> bool {
        let (takes, quorum, runs) = (self.takes(what), quorum(&self.ledger), self.who_runs());
        let together = |at: usize| if runs[at] { self.cuts.reach(at, &runs) + 1 } else { 0 };
        let most = (0..self.replicas.len()).map(together).max().unwrap_or(0);
        takes == 0 || takes + quorum > self.replicas.len() || most >= takes + quorum
    }

    /// Notes since when replicas can lead and machines are silent, where that is so. While a link or a disk is in
    /// trouble, no replica is sure to lead.
    pub(super) fn note_standing(&mut self, now: Duration) {
        let runs = self.who_runs();
        self.standing.refresh(runs, &self.cuts, &self.ledger);
        let is_calm = self.striking.under_way().all(|undo| matches!(undo, Undo::Cut(_) | Undo::DiskLow(_)));
        for (since, has_majority) in self.fit.iter_mut().zip(&self.standing.has_majority) {
            *since = if is_calm && *has_majority { since.or(Some(now)) } else { None };
        }
        let (standing, ledger) = (self.who_has_power(), &self.ledger);
        self.silences = self.silence.note(now, &self.cuts, standing, || quorum(ledger), ledger.who_changes());
    }

    /// Which replicas' machines are on, whatever their processes are about, and which of these do not stand still.
    fn who_has_power(&self) -> (Vec<bool>, Vec<bool>) {
        let powers = self.striking.replicas.iter();
        powers
            .map(|power| (power.off_until.is_none(), power.off_until.is_none() && power.paused_until.is_none()))
            .unzip()
    }
}

/// What follows from which replicas run, who reaches whom, who votes, and whose disk is whose. Ticks are many and
/// changes of these are few, so it is kept from one to the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Which replicas run and do not stand still.
    runs: Vec<bool>,
    /// The changes of cuts and of the ledger that are taken in.
    since: (u64, u64),
    /// Which replicas run and can exchange messages with a majority of each list of voters.
    has_majority: Vec<bool>,
}

impl Standing {
    /// Puts it together anew if what it follows from has changed.
    fn refresh(&mut self, runs: Vec<bool>, cuts: &Cuts, ledger: &Ledger) {
        if self.runs != runs || self.since != Self::since(cuts, ledger) {
            *self = Self::new(runs, cuts, ledger);
        }
    }

    fn since(cuts: &Cuts, ledger: &Ledger) -> (u64, u64) {
        (cuts.changes(), ledger.who_changes())
    }

    fn new(runs: Vec<bool>, cuts: &Cuts, ledger: &Ledger) -> Self {
        Self {
            has_majority: (0..runs.len()).map(|at| runs[at] && has_majority(at, &runs, cuts, ledger)).collect(),
            since: Self::since(cuts, ledger),
            runs,
        }
    }
}

/// The voters in force now.
fn voters(ledger: &Ledger) -> &[Vec<u64>] {
    ledger.voters_at((ledger.steps().len() as u64).saturating_sub(1))
}

/// How many voters are a quorum.
fn quorum(ledger: &Ledger) -> usize {
    voters(ledger).iter().map(|voters| voters.len() / 2 + 1).min().unwrap_or(0)
}

/// True when a replica hears a majority of the voters, and they hear it.
fn has_majority(position: usize, runs: &[bool], cuts: &Cuts, ledger: &Ledger) -> bool {
    let reached = (0..runs.len()).filter(|at| *at == position || (runs[*at] && cuts.joins(position, *at)));
    let ids: Vec<u64> = reached.filter_map(|at| id_of(ledger.shadows()[at].live())).collect();
    let is_majority = |list: &Vec<u64>| list.iter().filter(|id| ids.contains(id)).count() * 2 > list.len();
    !voters(ledger).is_empty() && voters(ledger).iter().all(is_majority)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prost::Message as _;
    use quorate_proto::raft::v1 as pb;
    use quorate_seams::{Batch, Table};
    use turmoil::{Builder, Sim};

    use super::*;
    use crate::facts::Fact;
    use crate::scenario::sample::sample;

    /// What a standing follows from, and the one that is kept.
    struct Ground {
        sim: Sim<'static>,
        cuts: Cuts,
        ledger: Ledger,
        runs: Vec<bool>,
        kept: Standing,
        numbers: u64,
    }

    impl Ground {
        fn new() -> Self {
            let scenario = sample();
            let mut sim = Builder::new().build();
            for host in scenario.hosts() {
                sim.host(host, std::future::pending);
            }
            Self {
                sim,
                cuts: Cuts::new(&scenario),
                ledger: Ledger::new(3),
                runs: vec![true; 3],
                kept: Standing::default(),
                numbers: 0,
            }
        }

        /// The kept one is what it would be if it were made anew. Returns who has a majority.
        fn look(&mut self) -> Vec<bool> {
            self.kept.refresh(self.runs.clone(), &self.cuts, &self.ledger);
            assert_eq!(self.kept, Standing::new(self.runs.clone(), &self.cuts, &self.ledger));
            self.kept.has_majority.clone()
        }

        fn tell(&mut self, fact: &Fact) {
            self.ledger.take(Duration::from_secs(1), fact).unwrap();
        }

        fn write(&mut self, replica: usize, batch: Batch) {
            self.numbers += 1;
            let (number, batch) = (self.numbers, Arc::new(batch));
            self.tell(&Fact::Wrote { replica, number, batch, replaced: Arc::new([]) });
        }

        fn name(&mut self, replica: usize, id: u64) {
            let mut batch = Batch::default();
            let identity = pb::Identity { replica: id, ..Default::default() };
            batch.put(Table::Raft, &b"identity"[..], identity.encode_to_vec());
            self.write(replica, batch);
        }

        /// The first replica stores and applies a membership.
        fn members(&mut self, voters: &[u64]) {
            let index = self.ledger.steps().len() as u64;
            let configs = vec![pb::Voters { replicas: voters.to_vec() }];
            let payload = pb::log_entry::Payload::Membership(pb::Membership { configs, peers: vec![] });
            let log_id = Some(pb::LogId { term: 1, index });
            let mut batch = Batch::default();
            let entry = pb::LogEntry { log_id, payload: Some(payload) };
            batch.put(Table::Log, index.to_be_bytes().to_vec(), entry.encode_to_vec());
            let applied = pb::Applied { log_id, ..Default::default() };
            batch.put(Table::Raft, &b"applied"[..], applied.encode_to_vec());
            self.write(0, batch);
        }
    }

    #[test]
    fn what_is_kept_is_what_would_be_put_together_anew() {
        let (all, none) = (vec![true; 3], vec![false; 3]);
        let mut ground = Ground::new();
        assert_eq!(ground.look(), none, "nobody votes yet");
        for replica in 0..3 {
            ground.name(replica, replica as u64 + 1);
        }
        ground.members(&[1, 2, 3]);
        assert_eq!(ground.look(), all);

        ground.runs[1] = false;
        assert_eq!(ground.look(), [true, false, true]);
        ground.runs[1] = true;
        let cut = ground.cuts.around(&[0], &ground.cuts.others(&[0]), crate::scenario::Way::Mute);
        ground.cuts.cut(&ground.sim, &cut);
        assert_eq!(ground.look(), [false, true, true]);
        ground.cuts.hold(&ground.sim, 1);
        assert_eq!(ground.look(), none);
        ground.cuts.mend(&ground.sim, &cut);
        assert_eq!(ground.look(), [true, false, true]);
        ground.cuts.release(&ground.sim, 1);
        assert_eq!(ground.look(), all);

        // Ids that no sync has covered are lost with the power.
        ground.tell(&Fact::ReplicaGone { replica: 1, survived: 0 });
        ground.tell(&Fact::ReplicaGone { replica: 2, survived: 0 });
        assert_eq!(ground.look(), none);
        ground.name(1, 2);
        assert_eq!(ground.look(), all, "whoever is named hears two of three");
        ground.tell(&Fact::ReplicaRenewed { replica: 1 });
        assert_eq!(ground.look(), none);
        ground.members(&[1]);
        assert_eq!(ground.look(), all);
        ground.ledger = ground.ledger.next_life();
        assert_eq!(ground.look(), none, "a new life has no voters yet");
    }
}
