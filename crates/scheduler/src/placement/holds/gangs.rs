//! Nodes that are kept for a gang: by when all of it will fit on them together, at the earliest.
//!
//! The ends of what runs are read the soonest first, and the members counted that each node of a domain will hold after each, until
//! all fit in one domain. Of its nodes those are kept that hold most, until there is a place for each member: as few as do.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use quorate_state::{GangSpec, Resources, Served, TaskSpec};

use super::{Ends, Expected, Hold, Holds};
use crate::Budget;
use crate::explain::copies;
use crate::placement::gang::{Domains, domain_of};
use crate::placement::ledger::{Account, Ledger};

/// Ends of attempts, the soonest first, among which a plan looks for room for a gang. More than for a task, which needs one node.
pub const GANG_ENDS_AHEAD_MAX: usize = 4_096;

/// Nodes that are kept in one plan, for all tasks and gangs; a gang for which there would be more keeps none.
pub const NODES_KEPT_MAX: usize = 1_024;

/// What a node will hold of a gang.
struct Later {
    members: u64,
    /// From then on; none: from now on.
    at: Option<Served>,
    /// What will have been given back there.
    freed: Resources,
}

/// Nodes for all members of a gang.
struct Found {
    by: Served,
    /// With how many members go there.
    seats: Vec<(usize, u64, Later)>,
}

impl Holds<'_> {
    /// Keeps nodes for a gang that fits nowhere whole, if it is known that there will be room for all of it: `now` is what nodes hold of
    /// it already.
    pub(in crate::placement) fn keep_for_gang(
        &mut self,
        (task, gang): (&TaskSpec, &GangSpec),
        now: &Domains,
        ledger: &mut Ledger,
        budget: &mut Budget,
    ) -> Option<Expected> {
        if !self.may_search() {
            return None;
        }
        let Found { by, seats } = self.ends.room_for_gang((task, gang), now, ledger, budget)?;
        if self.holds.len() + seats.len() > NODES_KEPT_MAX {
            return None;
        }
        let mut names = Vec::with_capacity(seats.len());
        for (node, members, Later { freed, .. }) in seats {
            names.push(ledger.account(node)?.node.name.clone());
            ledger.keep(node);
            let want = times(task.resources, members);
            self.holds.push(Hold { node, by, want, freed, lent: Resources::ZERO });
        }
        self.promised += 1;
        let others = names.split_off(1);
        Some(Expected { node: names.pop()?, others, by })
    }

    /// How many of a gang may go to each node, as far as those before it are concerned for whom it may be kept, and reservations to come.
    pub(in crate::placement) fn members_let_pass(&self, task: &TaskSpec, ledger: &Ledger) -> Vec<u64> {
        let mut most = vec![u64::MAX; ledger.accounts().len()];
        for hold in &self.holds {
            if let (Some(account), Some(most)) = (ledger.account(hold.node), most.get_mut(hold.node)) {
                *most = hold.members_let_pass(account, task, self.now);
            }
        }
        for (node, from) in ledger.planned() {
            if let (Some(account), Some(most)) = (ledger.account(node), most.get_mut(node)) {
                *most = if super::ends_by(from, account, task, self.now) { u64::MAX } else { 0 };
            }
        }
        most
    }
}

impl Hold {
    fn members_let_pass(&self, account: &Account, task: &TaskSpec, now: Served) -> u64 {
        if self.ends_before(account, task, now) {
            return u64::MAX;
        }
        let Some(left) = self.left(account, task) else { return 0 };
        let of = |left: u64, want: u64| left.checked_div(want).unwrap_or(u64::MAX);
        let Resources { cpu_milli, memory_bytes, gpu_milli } = task.resources;
        of(left.cpu_milli, cpu_milli).min(of(left.memory_bytes, memory_bytes)).min(of(left.gpu_milli, gpu_milli))
    }
}

/// What so many take. They fit on a node, so that nothing saturates.
fn times(Resources { cpu_milli, memory_bytes, gpu_milli }: Resources, members: u64) -> Resources {
    let of = |each: u64| each.saturating_mul(members);
    Resources { cpu_milli: of(cpu_milli), memory_bytes: of(memory_bytes), gpu_milli: of(gpu_milli) }
}

impl Ends<'_> {
    /// The first nodes of one domain, none of them kept, on which all of a gang will fit together.
    fn room_for_gang(
        &mut self,
        (task, gang): (&TaskSpec, &GangSpec),
        now: &Domains,
        ledger: &Ledger,
        budget: &mut Budget,
    ) -> Option<Found> {
        let members = u64::from(task.count);
        // By domain, where all of them are one if its members may be anywhere.
        let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
        let mut later: BTreeMap<usize, Later> = BTreeMap::new();
        for (name, domain) in now.iter() {
            *totals.entry(gang.within.as_ref().map_or("", |_| name)).or_default() += domain.holds;
            let nodes = domain.nodes.iter();
            later.extend(
                nodes.map(|(at, members)| (*at, Later { members: *members, at: None, freed: Resources::ZERO })),
            );
        }
        // It should fit now, and does not as it is counted: nobody knows when it will.
        if totals.values().any(|total| *total >= members) {
            return None;
        }
        let mut next = 0;
        loop {
            while let Some(end) = self.ends.get(next) {
                next += 1;
                if !budget.take(1) {
                    return None;
                }
                let account = ledger.account(end.node)?;
                let Some(name) = domain_of(gang, &account.node).filter(|_| !account.is_kept) else { continue };
                let name = gang.within.as_ref().map_or("", |_| name);
                let holds = self.with_room_after(end, account, task, |room| {
                    copies(&account.node, account.presence, room, task).min(members)
                });
                if holds == 0 {
                    continue;
                }
                let none = Later { members: 0, at: None, freed: Resources::ZERO };
                let node = later.entry(end.node).or_insert(none);
                let total = totals.entry(name).or_default();
                *total += holds.saturating_sub(node.members);
                *node = Later { members: holds.max(node.members), at: Some(end.at), freed: end.freed };
                if *total >= members {
                    let is_there = |at: usize| {
                        let own = ledger.account(at).and_then(|account| domain_of(gang, &account.node));
                        gang.within.is_none() || own == Some(name)
                    };
                    later.retain(|at, _| is_there(*at));
                    return Some(Found::of(later, (end.node, end.at), members, ledger));
                }
            }
            if self.looked >= GANG_ENDS_AHEAD_MAX || !budget.take(1) {
                return None;
            }
            self.look(ledger)?;
        }
    }
}

impl Found {
    /// Of nodes that hold all members together, which they do not without the last one.
    fn of(nodes: BTreeMap<usize, Later>, (last, by): (usize, Served), members: u64, ledger: &Ledger) -> Self {
        let mut nodes: Vec<(usize, Later)> = nodes.into_iter().collect();
        nodes.sort_by(|(one, one_later), (other, other_later)| {
            let key = |at: usize, later: &Later| (at != last, Reverse(later.members));
            key(*one, one_later)
                .cmp(&key(*other, other_later))
                .then_with(|| ledger.tie(*one, *other))
                .then(one.cmp(other))
        });
        let mut found = Self { by, seats: Vec::new() };
        let mut left = members;
        for (at, later) in nodes {
            if left == 0 {
                break;
            }
            let own = later.members.min(left);
            left -= own;
            found.by = found.by.max(later.at.unwrap_or(by));
            found.seats.push((at, own, later));
        }
        found
    }
}
