//! Whose attempts are stopped for a gang: for all of its members together, in one domain, or nobody's.
//!
//! On each node the attempts that may go are taken the cheapest first, and it is noted after which of them there is room for one
//! more member. In each domain the cheapest of these steps are taken, over all nodes, until all members have room; then whoever is
//! not needed is left alone. Of the domains it is the one in which least is lost. What will be free anyway counts first: where
//! that is enough, nobody is stopped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use quorate_planted::Bug;
use quorate_state::{
    Attempt, AttemptId, CLAIMS_MAX, Choice, Feature, GANG_VICTIMS_MAX, GangPreempting, GangRoom, GangSpec, Room, Run,
    TaskId, TaskSpec, VICTIMS_MAX, feasible, mix,
};

use super::shares::Shares;
use super::{Held, Pass, Search};
use crate::Budget;
use crate::explain::copies;
use crate::placement::gang::domain_of;
use crate::placement::ledger::Account;

/// A gang: its run, the first of its members, and what is said of it.
type Gang<'a> = (&'a Run, TaskId, &'a TaskSpec, &'a GangSpec);

/// A node, and what could be made free there.
struct Stand<'a> {
    at: usize,
    /// What will be held when all have gone that go anyway.
    held: Held,
    /// So many members fit then.
    free: u64,
    /// Those that may be stopped, the cheapest first.
    open: Vec<&'a Attempt>,
    steps: Vec<Step>,
}

/// Room for more members on a node.
#[derive(Clone, Copy)]
struct Step {
    /// If so many of those that may be stopped are.
    victims: usize,
    /// So many members fit then in all.
    members: u64,
    /// The highest priority among those that this step adds, and for how long they have been there, together.
    highest: u8,
    work_ms: u64,
}

/// What it costs to make room in a domain: the least is best.
type Cost = (Option<u8>, usize, u64);

/// What some members get on a node.
struct Seats {
    at: usize,
    members: u64,
    victims: Vec<AttemptId>,
    /// What will be held beside them.
    held: Held,
}

impl Pass<'_> {
    /// Makes room for a gang that fits nowhere. False if nobody is stopped for it.
    pub(super) fn preempt_for_gang(
        &mut self,
        gang: Gang<'_>,
        search: &mut Search,
        shares: Option<&Shares<'_>>,
        steps: &mut Budget,
    ) -> bool {
        let (run, first, spec, _) = gang;
        let (run_id, step) = (run.id, first.step);
        let is_served = self.gang_preemptions.iter().any(|made| (made.run, made.step) == (run_id, step))
            || self.gangs.iter().any(|placed| (placed.run, placed.step) == (run_id, step))
            || self.view.claims_of_gang(run_id, step).next().is_some();
        let is_whole = self.view.step_counts(run_id, step).ready == spec.count;
        if is_served || !is_whole || !self.view.has_feature(Feature::GangPreemption) {
            return false;
        }
        let is_over = self.is_over_quota(run, first, spec.taken_at_once(Choice::FIRST));
        if is_over || self.claims_with(spec.count as usize) > CLAIMS_MAX {
            return false;
        }
        let Some(seats) = search.seats_for_gang(self, gang, shares, steps) else { return false };
        let stops = seats.iter().any(|seats| !seats.victims.is_empty());
        let mut nodes = Vec::with_capacity(seats.len());
        for Seats { at, members, victims, .. } in seats {
            let Some(node) = self.ledger.account(at).map(|account| &account.node) else { continue };
            let members = u32::try_from(members).unwrap_or(u32::MAX);
            nodes.push(GangRoom { node: node.name.clone(), epoch: node.epoch, members, victims });
        }
        if stops {
            let generation = self.view.gang(run_id, step).map_or(0, |gang| gang.generation);
            self.gang_preemptions.push(GangPreempting { run: run_id, step, generation, nodes });
        }
        stops
    }
}

impl Search {
    /// Where the members go, and who is to be stopped there: nobody anywhere, where all of them will have room anyway.
    fn seats_for_gang(
        &mut self,
        pass: &Pass<'_>,
        (run, first, spec, gang): Gang<'_>,
        shares: Option<&Shares<'_>>,
        steps: &mut Budget,
    ) -> Option<Vec<Seats>> {
        let home = pass.view.task(first)?.home.as_ref();
        let bound = pass.view.bound(home, spec, pass.now.served);
        let accounts = pass.ledger.accounts();
        let start = usize::try_from(mix(self.seed) % (accounts.len().max(1) as u64)).ok()?;
        let mut domains: BTreeMap<&str, Vec<Stand<'_>>> = BTreeMap::new();
        for at in (start..accounts.len()).chain(0..start) {
            if !steps.take(1) {
                break;
            }
            let Some(account) = accounts.get(at) else { continue };
            let node = &account.node;
            let domain = domain_of(gang, node).map(|name| gang.within.as_ref().map_or("", |_| name));
            let is_open = self.is_open(account, at) && bound.allows(&node.region);
            if !is_open || feasible(node, Room::empty(node), spec).is_err() {
                continue;
            }
            if let (Some(domain), Some(stand)) = (domain, self.stand(pass, (account, at), (run, spec, shares), steps)) {
                domains.entry(domain).or_default().push(stand);
            }
        }
        let members = u64::from(spec.count);
        let mut best: Option<(Cost, Vec<Seats>)> = None;
        for mut stands in domains.into_values() {
            stands.sort_unstable_by_key(|stand| stand.at);
            let Some((cost, seats)) = cheapest(&stands, members, accounts, spec) else { continue };
            let may = shares.is_none_or(|shares| {
                let mut exchange = shares.exchange(run, spec);
                let victims = seats.iter().flat_map(|seats| &seats.victims);
                let mut attempts = victims.filter_map(|victim| pass.view.attempt(*victim));
                attempts.all(|attempt| exchange.add(pass.view, attempt, steps))
            });
            if may && best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, seats));
            }
        }
        let (_, seats) = best?;
        let waits = seats.iter().all(|seats| seats.victims.is_empty());
        for Seats { at, members, victims, held } in &seats {
            let account = accounts.get(*at)?;
            let members = u32::try_from(*members).ok()?;
            let gpus = held.vacancy(account).hold_all(&account.node, spec, members)?;
            let pledged = self.pledged.entry(*at).or_default();
            pledged.victims.extend(victims.iter().copied());
            for hold in gpus {
                pledged.held.used = pledged.held.used.saturating_add(spec.resources);
                pledged.held.gpus.take(hold);
            }
            pledged.has_waiter |= waits;
        }
        Some(seats)
    }

    /// What could be made free on a node; none if that helps no member.
    fn stand<'v>(
        &self,
        pass: &Pass<'v>,
        (account, at): (&'v Account, usize),
        (run, spec, shares): (&Run, &TaskSpec, Option<&Shares<'_>>),
        steps: &mut Budget,
    ) -> Option<Stand<'v>> {
        let view = pass.view;
        let held = self.held(pass, account, at, steps);
        let members = u64::from(spec.count);
        let free = members_in(&held, account, spec);
        let mut stand = Stand { at, free, open: Vec::new(), steps: Vec::new(), held: held.clone() };
        let has_waiter = self.pledged.get(&at).is_some_and(|pledged| pledged.has_waiter);
        if free < members && !has_waiter {
            let now = pass.now.now.0.max(view.meta().now.0);
            let (mut held, mut last, mut work_ms) = (held, free, 0_u64);
            let open = view.victims_on(&account.node, run.priority(), pass.now.served, shares.is_some());
            for attempt in open.into_iter().filter(|attempt| !self.goes(pass, at, attempt)) {
                let may = shares.is_none_or(|shares| shares.exchange(run, spec).add(view, attempt, steps));
                if !may {
                    continue;
                }
                if stand.open.len() == VICTIMS_MAX || last >= members {
                    break;
                }
                held.give_back(attempt);
                stand.open.push(attempt);
                work_ms = work_ms.saturating_add(now.saturating_sub(attempt.placed_at.0));
                let fit = members_in(&held, account, spec);
                if fit > last {
                    let highest = view.run(attempt.id.task.run).map_or(0, |run| run.priority());
                    stand.steps.push(Step { victims: stand.open.len(), members: fit, highest, work_ms });
                    (last, work_ms) = (fit, 0);
                }
            }
        }
        (free > 0 || !stand.steps.is_empty()).then_some(stand)
    }
}

/// How many members fit on a node beside what is held there, and all of them at most.
fn members_in(held: &Held, account: &Account, spec: &TaskSpec) -> u64 {
    copies(&account.node, account.presence, held.vacancy(account).room(), spec).min(u64::from(spec.count))
}

/// The cheapest way to make room for all members on these nodes, if there is one.
fn cheapest(stands: &[Stand<'_>], members: u64, accounts: &[Account], spec: &TaskSpec) -> Option<(Cost, Vec<Seats>)> {
    let mut total: u64 = stands.iter().map(|stand| stand.free).sum();
    // How many of its steps each node takes, and which took the last ones.
    let mut levels = vec![0_usize; stands.len()];
    let mut order: Vec<usize> = Vec::new();
    let next = |stand: usize, level: usize| {
        let own = stands.get(stand)?;
        let step = own.steps.get(level)?;
        let before = level.checked_sub(1).and_then(|level| own.steps.get(level)).map_or(0, |step| step.victims);
        Some(Reverse((step.highest, step.victims - before, step.work_ms, stand)))
    };
    let mut open: BinaryHeap<_> = (0..stands.len()).filter_map(|stand| next(stand, 0)).collect();
    while total < members {
        let Reverse((.., stand)) = open.pop()?;
        let (own, level) = (stands.get(stand)?, levels.get_mut(stand)?);
        let before = level.checked_sub(1).and_then(|level| own.steps.get(level)).map_or(own.free, |step| step.members);
        total += own.steps.get(*level)?.members.saturating_sub(before);
        *level += 1;
        order.push(stand);
        open.extend(next(stand, *level));
    }
    // What is more than enough is given up, where it costs most first.
    let mut surplus = total - members;
    for stand in order.iter().rev() {
        let (own, level) = (stands.get(*stand)?, levels.get_mut(*stand)?);
        let Some(step) = level.checked_sub(1).and_then(|level| own.steps.get(level)) else { continue };
        let before = level.checked_sub(2).and_then(|level| own.steps.get(level)).map_or(own.free, |step| step.members);
        if step.members - before <= surplus {
            surplus -= step.members - before;
            *level -= 1;
        }
    }
    let mut seats: Vec<Seats> = Vec::new();
    let mut cost: Cost = (None, 0, 0);
    for stand in order.into_iter().rev() {
        let level = std::mem::take(levels.get_mut(stand)?);
        let own = stands.get(stand)?;
        let Some(step) = level.checked_sub(1).and_then(|level| own.steps.get(level)) else { continue };
        let account = accounts.get(own.at)?;
        let least = step.members.saturating_sub(surplus);
        let (victims, held) = needed(own, step.victims, least, account, spec);
        let fit = members_in(&held, account, spec);
        surplus = surplus.saturating_sub(step.members.saturating_sub(fit));
        if victims.is_empty() {
            continue;
        }
        let steps = own.steps.iter().take(level);
        cost.0 = cost.0.max(steps.clone().map(|step| step.highest).max());
        cost.1 += victims.len();
        cost.2 = steps.map(|step| step.work_ms).fold(cost.2, u64::saturating_add);
        seats.push(Seats { at: own.at, members: fit, victims, held });
    }
    let mut left = members;
    for seats in &mut seats {
        seats.members = seats.members.min(left);
        left -= seats.members;
    }
    seats.retain(|seats| seats.members > 0);
    // The others go where there is room, to few nodes.
    let is_taken = |at: usize, seats: &[Seats]| seats.iter().any(|seats| seats.at == at);
    let mut free: Vec<&Stand<'_>> = stands.iter().filter(|stand| !is_taken(stand.at, &seats)).collect();
    free.sort_by_key(|stand| (Reverse(stand.free), stand.at));
    for stand in free {
        let own = stand.free.min(left);
        if own == 0 {
            break;
        }
        left -= own;
        seats.push(Seats { at: stand.at, members: own, victims: Vec::new(), held: stand.held.clone() });
    }
    seats.sort_unstable_by_key(|seats| seats.at);
    (left == 0 && cost.1 <= GANG_VICTIMS_MAX).then_some((cost, seats))
}

/// Of the first so many that may be stopped on a node those without whom so many members do not fit, and what will be held then.
/// Whoever need not go, the most urgent first.
fn needed(
    stand: &Stand<'_>,
    victims: usize,
    members: u64,
    account: &Account,
    spec: &TaskSpec,
) -> (Vec<AttemptId>, Held) {
    let mut chosen: Vec<&Attempt> = stand.open.iter().take(victims).copied().collect();
    let mut held = stand.held.clone();
    chosen.iter().for_each(|attempt| held.give_back(attempt));
    for place in (0..chosen.len()).rev().filter(|_| !quorate_planted::is(Bug::PreemptsForNothing)) {
        let Some(attempt) = chosen.get(place).copied() else { continue };
        let mut without = held.clone();
        without.take(attempt);
        if members_in(&without, account, spec) >= members {
            held = without;
            chosen.remove(place);
        }
    }
    (chosen.into_iter().map(|attempt| attempt.id).collect(), held)
}
