//! Faults as they strike and end.

use std::collections::VecDeque;
use std::time::Duration;

use super::change::Trap;
use super::late::ABSENT_LATE_MAX;
use super::old_image::Images;
use super::outcast::Outcasts;
use super::transfer::{Break, Lurking};
use super::{Cuts, Violation, World};
use crate::disk::Failing;
use crate::facts::Fact;
use crate::ledger::RaftRows as _;
use crate::oracles::Stall;
use crate::scenario::{FaultPlan, FaultWhat, Scenario, Target, Way};

/// A supervisor starts a replica that ended by itself again after this.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// A fault that finds nothing to strike tries again after this.
const AGAIN_AFTER_MS: u64 = 250;
/// A disk's trouble that nobody has felt lasts so much longer.
const UNFELT: Duration = Duration::from_millis(500);
/// A replica that was asked to stop and does not is cut off.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Faults that are to come, and what must be undone when.
pub(super) struct Striking {
    coming: VecDeque<FaultPlan>,
    under_way: Vec<UnderWay>,
    pub(super) replicas: Vec<Power>,
    pub(super) racks: Vec<RackPower>,
    /// The leader loses power once a change of membership is half way.
    pub(super) trap: Option<Trap>,
    pub(super) lurking: Lurking,
    pub(super) images: Images,
    pub(super) outcasts: Outcasts,
}

struct UnderWay {
    ends: Duration,
    undo: Undo,
}

/// What the end of a fault takes back.
pub(super) enum Undo {
    LossEverywhere,
    LinkLoss {
        one: usize,
        other: usize,
    },
    SlowLink {
        one: usize,
        other: usize,
    },
    Cut(Vec<(usize, usize)>),
    Hold(usize),
    /// With how often the disk's trouble had been felt before.
    SlowDisk(usize, u64),
    DiskFailing(usize, u64),
    DiskFull(usize, u64),
    DiskLow(usize),
}

impl Undo {
    /// Whose disk is in trouble.
    pub(super) fn disk(&self) -> Option<usize> {
        match self {
            Self::SlowDisk(replica, _) | Self::DiskFailing(replica, _) | Self::DiskFull(replica, _) => Some(*replica),
            Self::LossEverywhere
            | Self::LinkLoss { .. }
            | Self::SlowLink { .. }
            | Self::Cut(_)
            | Self::Hold(_)
            | Self::DiskLow(_) => None,
        }
    }
}

/// Whether a replica's process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Power {
    /// Off; started again at this instant.
    pub(super) off_until: Option<Duration>,
    /// Off until the log that it lacks has been cut off so many snapshots later.
    pub(super) until_purged: Option<u64>,
    /// Stands still until then.
    pub(super) paused_until: Option<Duration>,
    /// Was asked to stop; is cut off at this instant if it has not.
    pub(super) stopping_until: Option<Duration>,
    /// Comes back so long after it has stopped.
    pub(super) away: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RackPower {
    pub(super) off_until: Option<Duration>,
    pub(super) paused_until: Option<Duration>,
}

impl Striking {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            coming: scenario.faults.iter().cloned().collect(),
            under_way: vec![],
            replicas: vec![Power::default(); scenario.replicas.len()],
            racks: vec![RackPower::default(); scenario.racks.len()],
            trap: None,
            lurking: Lurking::default(),
            images: Images::default(),
            outcasts: Outcasts::default(),
        }
    }

    /// What a fault did is to be taken back then.
    pub(super) fn begun(&mut self, ends: Duration, undo: Undo) {
        self.under_way.push(UnderWay { ends, undo });
    }

    /// True when nothing has to be taken back.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// What has to be taken back.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Undo> {
        self.under_way.iter().map(|one| &one.undo)
    }
}

impl World {
    /// Lets faults begin and end that are due.
    pub(super) fn strike(&mut self, now: Duration) -> Result<(), Violation> {
        self.end_due(now);
        self.power_due(now)?;
        self.spring_trap(now)?;
        self.note_standing(now);
        self.break_transfer(now)?;
        self.put_image_back(now)?;
        let mut later = vec![];
        while self.striking.coming.front().is_some_and(|fault| Duration::from_millis(fault.at_ms) <= now) {
            let Some(mut fault) = self.striking.coming.pop_front() else { break };
            if !self.begin(now, &fault)? {
                fault.at_ms += AGAIN_AFTER_MS;
                later.push(fault);
            }
        }
        for fault in later {
            let at = self.striking.coming.partition_point(|other| other.at_ms <= fault.at_ms);
            self.striking.coming.insert(at, fault);
        }
        self.note_rooms(now);
        Ok(())
    }

    /// Ends everything that goes on; one that is to miss a snapshot stays away, where nobody has needed one.
    pub(super) fn end_faults(&mut self, now: Duration) -> Result<(), Violation> {
        self.striking.coming.clear();
        self.striking.trap = None;
        self.striking.lurking.clear();
        self.striking.images.clear();
        let mut stays_away =
            self.healed.is_none() && self.stats().snapshots_installed == 0 && self.is_core_enough(None);
        for fault in &mut self.striking.under_way {
            fault.ends = now;
        }
        for power in &mut self.striking.replicas {
            power.paused_until = power.paused_until.map(|_| now);
            if power.until_purged.is_some() && stays_away {
                power.until_purged = Some(1);
                power.off_until = Some(now + ABSENT_LATE_MAX);
                stays_away = false;
            } else {
                power.until_purged = None;
                power.off_until = power.off_until.map(|_| now);
            }
        }
        for power in &mut self.striking.racks {
            power.off_until = power.off_until.map(|_| now);
            power.paused_until = power.paused_until.map(|_| now);
        }
        self.end_due(now);
        self.power_due(now)
    }

    /// From now on things must go well.
    pub(super) fn heal(&mut self, now: Duration) -> Result<(), Violation> {
        self.healed = Some(now);
        self.common.healed.set(Some(now));
        self.end_faults(now)?;
        self.record.note(now, "healed");
        Ok(())
    }

    fn end_due(&mut self, now: Duration) {
        if self.striking.under_way.iter().all(|one| one.ends > now) {
            return;
        }
        // Late, it is enough that any disk's trouble was felt.
        let is_late = now >= Duration::from_millis(self.scenario.heal_ms);
        let any_felt = self.replicas.iter().any(|replica| replica.disk.felt() > 0);
        let may_wait = self.healed.is_none() && !(is_late && any_felt);
        let (over, rest) = std::mem::take(&mut self.striking.under_way).into_iter().partition(|one| one.ends <= now);
        self.striking.under_way = rest;
        let over: Vec<UnderWay> = over;
        for UnderWay { undo, .. } in over {
            if let Undo::SlowDisk(replica, felt) | Undo::DiskFailing(replica, felt) | Undo::DiskFull(replica, felt) =
                undo
                && may_wait
                && self.replicas[replica].disk.felt() == felt
            {
                self.striking.under_way.push(UnderWay { ends: now + UNFELT, undo });
                continue;
            }
            match undo {
                Undo::LossEverywhere => Cuts::set_loss_everywhere(&mut self.sim, 0),
                Undo::LinkLoss { one, other } => self.cuts.set_loss(&mut self.sim, one, other, 0),
                Undo::SlowLink { one, other } => self.cuts.lay_link(&self.sim, &self.scenario, one, other),
                Undo::Cut(directions) => self.cuts.mend(&self.sim, &directions),
                Undo::Hold(host) => self.cuts.release(&self.sim, host),
                Undo::SlowDisk(replica, _) => self.replicas[replica].disk.set_trouble(|trouble| trouble.slow = None),
                Undo::DiskFailing(replica, _) => {
                    self.replicas[replica].disk.set_trouble(|trouble| trouble.failing = None);
                }
                Undo::DiskFull(replica, _) => self.replicas[replica].disk.set_trouble(|trouble| trouble.full = false),
                Undo::DiskLow(replica) => self.replicas[replica].disk.set_trouble(|trouble| trouble.low = false),
            }
        }
    }

    fn power_due(&mut self, now: Duration) -> Result<(), Violation> {
        for position in 0..self.replicas.len() {
            let power = self.striking.replicas[position];
            if power.paused_until.is_some_and(|until| until <= now) {
                self.resume_replica(position);
            }
            if power.stopping_until.is_some_and(|until| until <= now) {
                return Err(Violation::new(
                    "L10",
                    format!("r{} was asked to stop and still runs {STOP_PATIENCE:?} later", position + 1),
                ));
            }
            if let Some(snapshots) = power.until_purged
                && self.has_missed(position, snapshots)
            {
                self.striking.replicas[position].off_until = Some(now);
            }
            if self.striking.replicas[position].off_until.is_some_and(|until| until <= now) {
                self.striking.replicas[position] = Power::default();
                self.record.note(now, &format!("r{} comes back", position + 1));
                self.start_replica(position);
            }
        }
        for position in 0..self.racks.len() {
            let power = self.striking.racks[position];
            if power.paused_until.is_some_and(|until| until <= now) {
                self.resume_rack(now, position);
            }
            if power.off_until.is_some_and(|until| until <= now) {
                self.striking.racks[position].off_until = None;
                let scenario = self.scenario.clone();
                self.racks[position].start(&mut self.sim, &scenario, &self.facts);
            }
        }
        Ok(())
    }

    /// True when the log that a replica lacks is gone from everybody else's.
    fn has_missed(&self, position: usize, snapshots: u64) -> bool {
        let shadows = self.ledger.shadows();
        let own = shadows[position].live().log_bounds().map_or(0, |(_, last)| last);
        let needed = own + snapshots.saturating_sub(1) * self.scenario.settings.snapshot_entries;
        let purged = |at: &usize| shadows[*at].live().purged().unwrap_or(0);
        // Those that are away like it cut nothing off.
        let stays = |at: &usize| self.striking.replicas[*at].until_purged.is_none();
        let takes_part = |at: &usize| *at != position && shadows[*at].live().applied().is_some();
        let others: Vec<usize> = (0..shadows.len()).filter(|at| takes_part(at) && stays(at)).collect();
        !others.is_empty() && others.iter().map(purged).min().unwrap_or(0) > needed
    }

    /// Whom to strike: one that runs, if any does.
    pub(super) fn resolve(&self, target: Target) -> usize {
        let leader = self.leader().unwrap_or(0);
        let count = self.replicas.len();
        let wanted = match target {
            Target::Leader => leader,
            Target::Replica(position) => position % count,
            Target::Follower(number) => {
                let followers: Vec<usize> = (0..count).filter(|at| *at != leader).collect();
                followers.get(number % followers.len().max(1)).copied().unwrap_or(leader)
            }
        };
        let runs = |at: &usize| self.is_running(*at) && self.striking.replicas[*at].paused_until.is_none();
        (0..count).map(|step| (wanted + step) % count).find(runs).unwrap_or(wanted)
    }

    /// Whose disk to trouble. One that went back must be able to say so on the disk.
    fn with_disk(&self, target: Target) -> Option<usize> {
        Some(self.resolve(target)).filter(|replica| !self.striking.outcasts.is_out(*replica))
    }

    /// False when there is nothing to strike at the moment.
    pub(super) fn begin(&mut self, now: Duration, fault: &FaultPlan) -> Result<bool, Violation> {
        if self.scenario.spares_quorum && !self.spares_quorum(&fault.what) {
            return Ok(false);
        }
        let ends = now + Duration::from_millis(fault.for_ms);
        let racks_from = self.replicas.len();
        let undo = match &fault.what {
            FaultWhat::Loss { per_million } => {
                Cuts::set_loss_everywhere(&mut self.sim, *per_million);
                Some(Undo::LossEverywhere)
            }
            FaultWhat::LinkLoss { one, other, per_million } => {
                self.cuts.set_loss(&mut self.sim, *one, *other, *per_million);
                Some(Undo::LinkLoss { one: *one, other: *other })
            }
            FaultWhat::SlowLink { one, other, latency_ms } => {
                self.cuts.set_latency(&self.sim, *one, *other, *latency_ms);
                Some(Undo::SlowLink { one: *one, other: *other })
            }
            FaultWhat::Isolate { hosts, way } => {
                Some(Undo::Cut(self.cuts.around(hosts, &self.cuts.others(hosts), *way)))
            }
            FaultWhat::LeaderMinority { with, way } => {
                let leader = self.leader().unwrap_or(0);
                let with = (0..self.replicas.len()).filter(|at| *at != leader).take(*with);
                let inside: Vec<usize> = with.chain([leader]).collect();
                Some(Undo::Cut(self.cuts.around(&inside, &self.cuts.other_replicas(&inside), *way)))
            }
            FaultWhat::LeaderWithRack { rack } => {
                let inside = [self.leader().unwrap_or(0), racks_from + self.fenced_rack(*rack)];
                Some(Undo::Cut(self.cuts.around(&inside, &self.cuts.other_replicas(&inside), Way::Both)))
            }
            FaultWhat::IsolateReplica { target, way } => {
                let inside = [self.resolve(*target)];
                Some(Undo::Cut(self.cuts.around(&inside, &self.cuts.others(&inside), *way)))
            }
            FaultWhat::IsolateRegion { region, way } => {
                let replicas = self.scenario.replicas.iter().map(|replica| &replica.region);
                let racks = self.scenario.racks.iter().map(|rack| &rack.region);
                let inside: Vec<usize> =
                    replicas.chain(racks).enumerate().filter(|(_, at)| *at == region).map(|(at, _)| at).collect();
                Some(Undo::Cut(self.cuts.around(&inside, &self.cuts.others(&inside), *way)))
            }
            FaultWhat::IsolateRack { rack, way } => {
                Some(Undo::Cut(self.cuts.around(&[racks_from + rack], &self.cuts.other_replicas(&[]), *way)))
            }
            FaultWhat::IsolateFenced { rack, way } => {
                let rack = racks_from + self.fenced_rack(*rack);
                Some(Undo::Cut(self.cuts.around(&[rack], &self.cuts.other_replicas(&[]), *way)))
            }
            FaultWhat::Bridge { one, other, way } => Some(Undo::Cut(self.cuts.around(&[*one], &[*other], *way))),
            FaultWhat::BreakTransfer { pieces, crash } => {
                // It strikes, and is told, once there is one.
                self.striking.lurking.add(Break { pieces: *pieces, crash: *crash, lasts: ends - now });
                return Ok(true);
            }
            FaultWhat::OldImage { target, learner } => {
                // It strikes, and is told, once the copy is put back.
                return self.begin_old_image(now, ends, *target, *learner);
            }
            FaultWhat::Hold { target } => {
                let host = self.resolve(*target);
                self.cuts.hold(&self.sim, host);
                Some(Undo::Hold(host))
            }
            FaultWhat::SlowDisk { target, sync_ms } => {
                let Some(replica) = self.with_disk(*target) else { return Ok(false) };
                let slow = Some(Duration::from_millis(*sync_ms));
                self.replicas[replica].disk.set_trouble(|trouble| trouble.slow = slow);
                Some(Undo::SlowDisk(replica, self.replicas[replica].disk.felt()))
            }
            FaultWhat::DiskError { target, after, on_sync } => {
                let Some(replica) = self.with_disk(*target) else { return Ok(false) };
                let failing = Some(Failing { after: *after, on_sync: *on_sync });
                self.replicas[replica].disk.set_trouble(|trouble| trouble.failing = failing);
                Some(Undo::DiskFailing(replica, self.replicas[replica].disk.felt()))
            }
            FaultWhat::DiskFull { target } => {
                let Some(replica) = self.with_disk(*target) else { return Ok(false) };
                self.replicas[replica].disk.set_trouble(|trouble| trouble.full = true);
                Some(Undo::DiskFull(replica, self.replicas[replica].disk.felt()))
            }
            FaultWhat::DiskLow { target } => {
                let replica = self.resolve(*target);
                self.replicas[replica].disk.set_trouble(|trouble| trouble.low = true);
                Some(Undo::DiskLow(replica))
            }
            FaultWhat::Upkeep { rack, agent, chore } => {
                let Some(cut) = self.begin_upkeep(now, ends, (*rack, *agent), chore) else { return Ok(false) };
                Some(Undo::Cut(cut))
            }
            at_once => {
                if !self.begin_at_once(now, ends, at_once)? {
                    return Ok(false);
                }
                None
            }
        };
        if let Some(Undo::Cut(directions)) = &undo {
            self.cuts.cut(&self.sim, directions);
        }
        self.striking.under_way.extend(undo.map(|undo| UnderWay { ends, undo }));
        self.facts.add_at(now, Fact::Fault { class: fault.class, what: format!("{:?}", fault.what) });
        Ok(true)
    }

    /// Faults that strike processes. False when there is nothing to strike.
    fn begin_at_once(&mut self, now: Duration, ends: Duration, what: &FaultWhat) -> Result<bool, Violation> {
        match what {
            FaultWhat::Crash { target, kept_percent } => {
                let replica = self.resolve(*target);
                self.crash_replica(now, replica, *kept_percent, ends)
            }
            FaultWhat::Absence { target, snapshots } => {
                let replica = self.resolve(*target);
                // The others must go on without it, or it misses nothing.
                if !self.is_core_enough(Some(replica)) {
                    return Ok(false);
                }
                let struck = self.crash_replica(now, replica, 100, ends)?;
                if struck {
                    let power = &mut self.striking.replicas[replica];
                    power.until_purged = Some(*snapshots);
                    // The end of the faults decides, if nothing does before.
                    power.off_until = Some(now.max(Duration::from_millis(self.scenario.heal_ms)) + ABSENT_LATE_MAX);
                }
                Ok(struck)
            }
            FaultWhat::QuorumLoss { spared, kept_percent } => {
                let mut struck = false;
                for replica in *spared..self.replicas.len() {
                    struck |= self.crash_replica(now, replica, *kept_percent, ends)?;
                }
                Ok(struck)
            }
            FaultWhat::Pause { target } => {
                let replica = self.resolve(*target);
                let can = self.is_running(replica) && self.striking.replicas[replica].paused_until.is_none();
                if can {
                    self.sim.pause(self.replicas[replica].host.clone());
                    self.striking.replicas[replica].paused_until = Some(ends);
                }
                Ok(can)
            }
            FaultWhat::Handover { target } => {
                let replica = self.resolve(*target);
                let can = self.is_running(replica) && self.striking.replicas[replica].paused_until.is_none();
                if can {
                    self.replicas[replica].request_stop();
                    let power = &mut self.striking.replicas[replica];
                    power.stopping_until = Some(now + STOP_PATIENCE);
                    power.away = ends - now;
                }
                Ok(can)
            }
            FaultWhat::AgentKill { rack, agent } => {
                let Some(rack) = self.running_rack(*rack) else { return Ok(false) };
                let agents = &self.racks[rack].agents;
                agents[agent % agents.len()].kill(ends - now);
                Ok(true)
            }
            FaultWhat::RackCrash { rack } => {
                let Some(rack) = self.running_rack(*rack) else { return Ok(false) };
                for agent in &self.racks[rack].agents {
                    agent.executor.end_all(now);
                    self.facts.add_at(now, Fact::AgentGone { node: agent.node.clone() });
                }
                self.sim.crash(self.racks[rack].host.clone());
                self.striking.racks[rack].off_until = Some(ends);
                Ok(true)
            }
            FaultWhat::RackPause { rack } => {
                let Some(rack) = self.running_rack(*rack) else { return Ok(false) };
                self.striking.racks[rack].paused_until = Some(ends);
                self.stalls.push(Stall { rack, from: now, to: None });
                self.sim.pause(self.racks[rack].host.clone());
                Ok(true)
            }
            FaultWhat::ClockJump { host, by_ms } => {
                match host.checked_sub(self.replicas.len()) {
                    None => self.replicas[*host].clock.jump(*by_ms),
                    Some(rack) => self.racks[rack].clock.jump(*by_ms),
                }
                Ok(true)
            }
            FaultWhat::Diverge { target, leads } => self.begin_diverge(now, ends, *target, *leads),
            FaultWhat::Replace { target, learner, amid } => self.begin_replace(now, ends, *target, *learner, *amid),
            FaultWhat::Backup => Ok(self.begin_backup(now)),
            FaultWhat::Destroy { survivor } => self.begin_destroy(now, ends, *survivor),
            FaultWhat::Transfer { target } => Ok(self.begin_transfer(now, *target)),
            // It is part of the workload, or was handled before.
            _ => Ok(true),
        }
    }

    /// The machine on which most fenced attempts run, or this one where none do.
    fn fenced_rack(&self, wanted: usize) -> usize {
        let fenced = |at: &usize| -> usize { self.racks[*at].agents.iter().map(|agent| agent.executor.fenced()).sum() };
        (0..self.racks.len()).filter(|at| fenced(at) > 0).max_by_key(fenced).unwrap_or(wanted)
    }

    /// This machine, or the next one that runs.
    pub(super) fn running_rack(&self, wanted: usize) -> Option<usize> {
        let runs = |at: &usize| self.striking.racks[*at] == RackPower::default();
        (0..self.racks.len()).map(|step| (wanted + step) % self.racks.len()).find(runs)
    }

    /// A replica loses power until `ends`. False when it has none.
    pub(super) fn crash_replica(
        &mut self,
        now: Duration,
        position: usize,
        kept_percent: u64,
        ends: Duration,
    ) -> Result<bool, Violation> {
        let has_started = now > Duration::from_millis(self.scenario.replicas[position].start_ms);
        // One whose disk went back has started once more, and once more would be the start that the others know.
        let is_out = self.striking.replicas[position].off_until.is_some() || self.striking.outcasts.is_out(position);
        if is_out || !has_started {
            return Ok(false);
        }
        self.hear()?;
        self.switch_off(now, position, kept_percent)?;
        self.striking.replicas[position] = Power { off_until: Some(ends), ..Power::default() };
        Ok(true)
    }

    fn switch_off(&mut self, now: Duration, position: usize, kept_percent: u64) -> Result<(), Violation> {
        if self.striking.replicas[position].paused_until.is_some() {
            self.resume_replica(position);
        }
        self.sim.crash(self.replicas[position].host.clone());
        // What the host's end itself gave rise to.
        self.hear()?;
        let (survived, lost) = self.replicas[position].disk.crash(kept_percent);
        self.record.note(now, &format!("r{} is gone, {lost} unsynced batches are lost", position + 1));
        self.facts.add_at(now, Fact::ReplicaGone { replica: position, survived });
        self.hear()
    }

    fn resume_replica(&mut self, position: usize) {
        self.sim.resume(self.replicas[position].host.clone());
        self.striking.replicas[position].paused_until = None;
    }

    fn resume_rack(&mut self, now: Duration, position: usize) {
        self.sim.resume(self.racks[position].host.clone());
        self.striking.racks[position].paused_until = None;
        for stall in self.stalls.iter_mut().filter(|stall| stall.rack == position && stall.to.is_none()) {
            stall.to = Some(now);
        }
    }

    /// A replica's process ended by itself.
    pub(super) fn on_stopped(&mut self, now: Duration, position: usize, error: Option<&str>) -> Result<(), Violation> {
        let power = self.striking.replicas[position];
        let was_asked = power.stopping_until.is_some();
        let felt = self.replicas[position].disk.felt();
        let was_removed = self.is_removed(position);
        match error {
            Some(_) if was_removed => {}
            // Judged by C10 and C14.
            Some(_) if self.striking.outcasts.is_out(position) => self.replace_outcast(now, position),
            Some(_) if self.ledger.shadows()[position].is_altered() => self.replace_outcast(now, position),
            // It came too late to be a member before all others were newer, and is told so until it is newer itself.
            Some(error) if self.replicas[position].is_older() && error.contains(": it lacks feature ") => {}
            Some(error) if felt == 0 && !was_asked => {
                return Err(Violation::new("H6", format!("r{} stopped by itself: {error}", position + 1)));
            }
            // Its disk had failed or was full, which it must not survive; or it was asked to stop before
            // it was up.
            Some(_) => {}
            None if was_asked => {}
            None => return Err(Violation::new("H6", format!("r{} stopped though nobody asked it to", position + 1))),
        }
        self.record.note(now, &format!("r{} stopped: {}", position + 1, error.unwrap_or("as asked")));
        // The rest of its process ends with it. What it wrote is in the page cache.
        self.switch_off(now, position, 100)?;
        if was_removed {
            self.renew(now, position)?;
        }
        let away = if was_asked { power.away } else { RESTART_AFTER };
        self.striking.replicas[position] = Power { off_until: Some(now + away), ..Power::default() };
        Ok(())
    }
}
