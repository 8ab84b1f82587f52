//! How each class of faults strikes, and how it ends.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use quorate_seams::{Clock as _, SystemClock};

use super::rolling::Rolling;
use super::{Cluster, EXCUSED};
use crate::hosts::{Host, REPLICAS, parted, peers, replicas};
use crate::judge::{Affair, Cause, Struck};
use crate::ledger::now_us;
use crate::schedule::{Class, Strike, Target};
use crate::tasks::{Living, living, stops};
use crate::transfers::Transferring;

/// What strikes now.
pub(super) struct Active {
    pub(super) class: Class,
    began_us: u64,
    /// Positions of machines that it strikes.
    pub(super) machines: Vec<usize>,
    /// From whom to whom nothing passes because of it.
    dropped: BTreeSet<(Ipv4Addr, Ipv4Addr)>,
    tasks: Vec<Living>,
    /// How long the log of the one machine was whose disk is full.
    log_bytes: u64,
    /// The region whose ways are slow, and how many packets had met a slow way before.
    slow: Option<(usize, u64)>,
    /// Leadership is passed on for as long as this is there; and how often it had been before.
    transferring: Option<(Transferring, usize)>,
}

impl Active {
    fn of(class: Class) -> Self {
        Self {
            class,
            began_us: now_us(),
            machines: Vec::new(),
            dropped: BTreeSet::new(),
            tasks: Vec::new(),
            log_bytes: 0,
            slow: None,
            transferring: None,
        }
    }
}

impl Cluster {
    /// Strikes; says whom, if there was anybody.
    pub(crate) fn strike(&mut self, position: usize, strike: &Strike) -> Result<Option<String>, String> {
        let class = strike.class;
        let mut active = Active::of(class);
        let whom = match class {
            Class::Kill | Class::Pause | Class::DiskFull | Class::AgentDiskFull | Class::Clock => {
                active.machines = self.free_machines(strike);
                active.log_bytes = active.machines.first().map_or(0, |machine| self.machines[*machine].log_bytes());
                for machine in active.machines.clone() {
                    self.strike_machine(machine, strike)?;
                }
                self.names(&active.machines)
            }
            Class::Cut | Class::Mute | Class::Deaf | Class::Lone => {
                active.machines = self.free_machines(strike);
                let struck: Vec<Host> = active.machines.iter().map(|one| self.machines[*one].host.clone()).collect();
                active.dropped = match class {
                    Class::Lone => silence(Class::Cut, &struck, &replicas()),
                    _ => silence(class, &struck, &peers()),
                };
                self.names(&active.machines)
            }
            Class::Isolate => {
                let Target::Region(region) = strike.target else { return Ok(None) };
                active.machines = self.targets(strike.target);
                let inside: Vec<Host> = parted().into_iter().filter(|host| host.region == region).collect();
                active.dropped = silence(Class::Cut, &inside, &parted());
                inside.into_iter().map(|host| host.name).collect()
            }
            Class::Slow => {
                let Target::Region(region) = strike.target else { return Ok(None) };
                if self.active.values().any(|other| other.slow.is_some_and(|(slow, _)| slow == region)) {
                    return Ok(None);
                }
                active.slow = Some((region, self.slow.touched()));
                self.slow.set(region, strike.by_ms.unsigned_abs());
                vec![strike.target.to_string()]
            }
            Class::TaskKill | Class::TaskPause | Class::GroupKill | Class::GroupPause => {
                let mut tasks = living(&self.ledger, &strike.target.to_string());
                tasks.retain(|task| task.strike(class));
                active.tasks = tasks;
                active.tasks.iter().map(Living::text).collect()
            }
            Class::Rolling => {
                if self.rolling.is_some() {
                    return Ok(None);
                }
                let machines = self.targets(strike.target);
                let names = self.names(&machines);
                self.rolling = Some(Rolling::of(machines));
                names
            }
            Class::Transfer => {
                if self.active.values().any(|other| other.transferring.is_some()) {
                    return Ok(None);
                }
                active.transferring = Some((self.transfers.begin(), self.transfers.made().len()));
                vec![strike.target.to_string()]
            }
        };
        if whom.is_empty() {
            return Ok(None);
        }
        // Of the others it is known later whether anything came of them.
        if !matches!(class, Class::AgentDiskFull | Class::Slow | Class::Rolling | Class::Transfer) {
            self.fire(class);
        }
        self.active.insert(position, active);
        self.apply_drops()?;
        Ok(Some(whom.join(", ")))
    }

    /// Ends what a strike began; says who had ended by itself meanwhile, where that is no violation.
    pub(crate) fn heal(&mut self, position: usize) -> Result<Vec<String>, String> {
        let mut ended = Vec::new();
        let Some(over) = self.active.remove(&position) else { return Ok(ended) };
        let mut is_room_missed = false;
        for number in over.machines.iter().copied() {
            let machine = &mut self.machines[number];
            match over.class {
                Class::Kill => machine.start()?,
                Class::Pause => machine.resume(),
                Class::DiskFull | Class::AgentDiskFull => {
                    is_room_missed |= machine.has_missed_room(over.log_bytes);
                    machine.free_disk();
                    // Whether it goes on without room or gives up is its own affair.
                    if machine.ended().is_some() {
                        ended.push(machine.host.name.clone());
                    }
                    machine.start()?;
                    self.excused.push((number, SystemClock.boot() + EXCUSED));
                }
                Class::Clock => machine.shift_clock(0)?,
                Class::Cut | Class::Mute | Class::Deaf | Class::Lone | Class::Isolate => {}
                Class::Slow | Class::TaskKill | Class::TaskPause | Class::GroupKill | Class::GroupPause => {}
                Class::Rolling | Class::Transfer => {}
            }
        }
        over.tasks.iter().for_each(|task| task.heal(over.class));
        let stopped_until_us = if stops(over.class) { now_us() } else { 0 };
        self.struck.extend(over.tasks.iter().map(|task| Struck::of(&task.record, stopped_until_us)));
        if over.class == Class::AgentDiskFull && is_room_missed {
            self.fire(Class::AgentDiskFull);
        }
        if let Some((region, before)) = over.slow {
            self.slow.set(region, 0);
            if self.slow.touched() > before {
                self.fire(Class::Slow);
            }
        }
        if over.transferring.as_ref().is_some_and(|(_, before)| self.transfers.made().len() > *before) {
            self.fire(Class::Transfer);
        }
        self.note(&over);
        self.apply_drops()?;
        Ok(ended)
    }

    /// Ends everything that strikes.
    pub(crate) fn heal_all(&mut self) -> Result<(), String> {
        let active: Vec<usize> = self.active.keys().copied().collect();
        active.into_iter().try_for_each(|position| self.heal(position).map(drop))
    }

    fn strike_machine(&mut self, number: usize, strike: &Strike) -> Result<(), String> {
        let resumes = !self.is_struck(number, Class::Pause);
        let machine = &mut self.machines[number];
        match strike.class {
            Class::Kill => machine.kill9(),
            Class::Pause => machine.pause(),
            Class::DiskFull | Class::AgentDiskFull => machine.fill_disk(resumes)?,
            _ => machine.shift_clock(strike.by_ms)?,
        }
        Ok(())
    }

    /// Positions of the machines that are meant.
    fn targets(&self, target: Target) -> Vec<usize> {
        match target {
            Target::Leader => self.leaders.last().map(|leader| leader.replica).into_iter().collect(),
            Target::Replica(number) => vec![number - 1],
            Target::Node(number) => vec![REPLICAS + number - 1],
            Target::Region(region) => {
                (0..self.machines.len()).filter(|one| self.machines[*one].host.region == region).collect()
            }
            Target::Replicas => (0..REPLICAS).collect(),
            Target::Nodes => (REPLICAS..self.machines.len()).collect(),
        }
    }

    /// Those of them that run, and that another strike does not hold down in the same way.
    fn free_machines(&self, strike: &Strike) -> Vec<usize> {
        let mut machines = self.targets(strike.target);
        machines.retain(|machine| self.machines[*machine].is_running() && !self.is_struck(*machine, strike.class));
        machines
    }

    fn names(&self, machines: &[usize]) -> Vec<String> {
        machines.iter().map(|machine| self.machines[*machine].host.name.clone()).collect()
    }

    /// Remembers what befell agents.
    fn note(&mut self, over: &Active) {
        let cause = match over.class {
            Class::Kill => Cause::AgentKilled,
            Class::Pause => Cause::AgentPaused,
            Class::Mute | Class::Deaf => Cause::AgentCutOneWay,
            Class::Cut | Class::Isolate => Cause::AgentCut,
            Class::AgentDiskFull => Cause::AgentDiskFull,
            Class::Lone | Class::Slow | Class::DiskFull | Class::Clock | Class::Rolling | Class::Transfer => return,
            Class::TaskKill | Class::TaskPause | Class::GroupKill | Class::GroupPause => return,
        };
        for machine in over.machines.iter().filter(|machine| **machine >= REPLICAS) {
            let node = Some(self.machines[*machine].host.name.clone());
            self.affairs.push(Affair { cause, node, from_us: over.began_us, to_us: now_us() });
        }
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

    #[test]
    fn nothing_parts_anybody_from_who_keeps_the_log() {
        let scribe = crate::hosts::scribe().address;
        assert!([parted(), peers()].concat().iter().all(|host| host.address != scribe));
    }

    #[test]
    fn only_a_region_that_is_isolated_loses_the_sink() {
        let sink = crate::hosts::sink();
        let to_sink = |dropped: &BTreeSet<(Ipv4Addr, Ipv4Addr)>| dropped.iter().any(|(_, to)| *to == sink.address);
        let node = &crate::hosts::agents()[1..2];
        assert!(!to_sink(&silence(Class::Cut, node, &peers())));
        let inside: Vec<Host> = parted().into_iter().filter(|host| host.region == node[0].region).collect();
        assert_ne!(node[0].region, sink.region);
        assert!(to_sink(&silence(Class::Cut, &inside, &parted())));
    }
}
