//! Who can reach whom, and how fast: the sum of all network faults that are under way.

use std::collections::BTreeMap;
use std::time::Duration;

use turmoil::Sim;

use crate::scenario::{Scenario, Way};

/// The links between hosts, by position: replicas, then racks, then clients.
pub(super) struct Cuts {
    hosts: Vec<String>,
    replicas: usize,
    /// How many faults cut this direction.
    cut: BTreeMap<(usize, usize), u32>,
    /// How many faults hold this pair's messages.
    held: BTreeMap<(usize, usize), u32>,
    /// How often something was cut, held, or taken back.
    changes: u64,
}

impl Cuts {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            hosts: scenario.hosts(),
            replicas: scenario.replicas.len(),
            cut: BTreeMap::new(),
            held: BTreeMap::new(),
            changes: 0,
        }
    }

    /// A number that differs from what it was whenever who reaches whom does.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Gives links between regions their length.
    pub(super) fn lay_out(&self, sim: &Sim<'static>, scenario: &Scenario) {
        for one in 0..self.hosts.len() {
            for other in one + 1..self.hosts.len() {
                self.lay_link(sim, scenario, one, other);
            }
        }
    }

    /// Gives a link its ordinary latency.
    pub(super) fn lay_link(&self, sim: &Sim<'static>, scenario: &Scenario, one: usize, other: usize) {
        let region = |at: usize| {
            let replica = scenario.replicas.get(at).map(|replica| &replica.region);
            let rack = at.checked_sub(self.replicas).and_then(|at| scenario.racks.get(at)).map(|rack| &rack.region);
            replica.or(rack).or(scenario.replicas.first().map(|replica| &replica.region))
        };
        let (near, far) = (scenario.network.latency_ms, scenario.network.region_latency_ms);
        let millis = if region(one) == region(other) { (near.0 + near.1) / 2 } else { far.0 };
        self.set_latency(sim, one, other, millis);
    }

    /// All messages between two take this long.
    pub(super) fn set_latency(&self, sim: &Sim<'static>, one: usize, other: usize, millis: u64) {
        sim.set_link_latency(self.hosts[one].clone(), self.hosts[other].clone(), Duration::from_millis(millis));
    }

    /// Messages between two are lost at this rate.
    pub(super) fn set_loss(&self, sim: &mut Sim<'static>, one: usize, other: usize, per_million: u64) {
        sim.set_link_fail_rate(self.hosts[one].clone(), self.hosts[other].clone(), rate(per_million));
    }

    /// All messages are lost at this rate, but on links that have a rate of their own.
    pub(super) fn set_loss_everywhere(sim: &mut Sim<'static>, per_million: u64) {
        sim.set_fail_rate(rate(per_million));
    }

    /// Cuts these directions, once more if they are cut already.
    pub(super) fn cut(&mut self, sim: &Sim<'static>, directions: &[(usize, usize)]) {
        self.changes += 1;
        for (from, to) in directions {
            *self.cut.entry((*from, *to)).or_default() += 1;
            sim.partition_oneway(self.hosts[*from].clone(), self.hosts[*to].clone());
        }
    }

    /// Takes a cut back; a direction that another fault cuts too stays cut.
    pub(super) fn mend(&mut self, sim: &Sim<'static>, directions: &[(usize, usize)]) {
        self.changes += 1;
        for (from, to) in directions {
            let count = self.cut.entry((*from, *to)).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                sim.repair_oneway(self.hosts[*from].clone(), self.hosts[*to].clone());
            }
        }
    }

    /// Holds all messages between one host and others back.
    pub(super) fn hold(&mut self, sim: &Sim<'static>, one: usize) {
        self.changes += 1;
        for other in self.others(&[one]) {
            *self.held.entry((one.min(other), one.max(other))).or_default() += 1;
            sim.hold(self.hosts[one].clone(), self.hosts[other].clone());
        }
    }

    /// Lets them go on, where no other fault holds them.
    pub(super) fn release(&mut self, sim: &Sim<'static>, one: usize) {
        self.changes += 1;
        for other in self.others(&[one]) {
            let count = self.held.entry((one.min(other), one.max(other))).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                sim.release(self.hosts[one].clone(), self.hosts[other].clone());
            }
        }
    }

    /// The directions between some hosts and all others that `way` cuts.
    pub(super) fn around(&self, inside: &[usize], outside: &[usize], way: Way) -> Vec<(usize, usize)> {
        let pairs = inside.iter().flat_map(|one| outside.iter().map(move |other| (*one, *other)));
        pairs
            .flat_map(|(one, other)| match way {
                Way::Both => vec![(one, other), (other, one)],
                Way::Mute => vec![(one, other)],
                Way::Deaf => vec![(other, one)],
            })
            .collect()
    }

    /// How many of the replicas that run a host can reach, by way of others that run if need be, so that
    /// answers come back.
    pub(super) fn reach(&self, host: usize, runs: &[bool]) -> usize {
        let mut reached = vec![host];
        let mut next = 0;
        while let Some(from) = reached.get(next).copied() {
            next += 1;
            for to in (0..self.replicas).filter(|to| runs[*to] && !self.is_broken(from, *to)) {
                if !reached.contains(&to) {
                    reached.push(to);
                }
            }
        }
        reached.len() - 1
    }

    /// True when messages pass between two hosts, both ways.
    pub(super) fn joins(&self, one: usize, other: usize) -> bool {
        !self.is_broken(one, other)
    }

    /// True when what one host says comes to another, now or when it is no longer held back.
    pub(super) fn passes(&self, from: usize, to: usize) -> bool {
        self.cut.get(&(from, to)).is_none_or(|count| *count == 0)
    }

    /// True when no answer can come back between two hosts.
    fn is_broken(&self, one: usize, other: usize) -> bool {
        let held = self.held.get(&(one.min(other), one.max(other))).is_some_and(|count| *count > 0);
        !self.passes(one, other) || !self.passes(other, one) || held
    }

    /// All hosts but these.
    pub(super) fn others(&self, inside: &[usize]) -> Vec<usize> {
        (0..self.hosts.len()).filter(|at| !inside.contains(at)).collect()
    }

    /// All replicas but these.
    pub(super) fn other_replicas(&self, inside: &[usize]) -> Vec<usize> {
        (0..self.replicas).filter(|at| !inside.contains(at)).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count out of a million")]
fn rate(per_million: u64) -> f64 {
    per_million as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::sample::sample;

    #[test]
    fn a_host_reaches_what_answers_by_way_of_others() {
        // Replicas 0, 1, 2; racks 3, 4.
        let mut cuts = Cuts::new(&sample());
        assert_eq!(cuts.reach(3, &[true, true, true]), 3);
        assert_eq!(cuts.reach(3, &[true, false, true]), 2);
        cuts.cut.insert((3, 0), 1);
        cuts.cut.insert((1, 3), 1);
        assert_eq!(cuts.reach(3, &[true, true, true]), 3, "by way of the third");
        assert_eq!(cuts.reach(3, &[true, true, false]), 0, "one way is not enough");
        cuts.held.insert((2, 3), 1);
        assert_eq!(cuts.reach(3, &[true, true, true]), 0);
        assert_eq!(cuts.reach(4, &[true, true, true]), 3);
    }
}
