//! Gangs: all members of one get a place, or none does.
//!
//! Nodes are counted by how many members each of them holds, and that by domain: by what the job says that the nodes of a gang have
//! in common, or by cluster. Of the domains that hold all of it the tightest is taken, the one that holds least beyond it, so that
//! larger gangs keep theirs; a gang that may be anywhere goes to as few clusters as hold it, those with the most room first, if
//! none does alone. Within a domain each member goes to the best node by the rule for all tasks.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use quorate_planted::Bug;
use quorate_state::{GangSpec, GpuHold, Run, State, TaskSpec};

use super::company::Company;
use super::kept::{Looks, Wanted};
use super::ledger::Ledger;
use super::score::Score;
use crate::Budget;
use crate::explain::copies;

/// A node and its devices, for one member.
type Seat = (usize, GpuHold);

/// Where a gang goes.
pub(super) enum Found {
    /// There, by index.
    Seats(Vec<Seat>),
    /// It does not fit whole.
    Nowhere,
    /// The budget ended before that was known.
    OutOfBudget,
}

/// Nodes that are alike.
#[derive(Default)]
struct Domain {
    /// So many members they hold together.
    holds: u64,
    /// Those that hold any.
    nodes: Vec<usize>,
}

/// Gives all members of a gang their places, each its part of a node; or spends nothing. A step of the budget is a node, or a
/// member.
///
/// `company`, if it has rules about other tasks: they say how many members a node may take.
pub(super) fn place(
    view: &State,
    (run, step, task, gang): (&Run, u32, &TaskSpec, &GangSpec),
    company: Option<&mut Company>,
    ledger: &mut Ledger,
    budget: &mut Budget,
) -> Found {
    let (members, in_part) = (task.count as usize, quorate_planted::is(Bug::GangPlacedInPart));
    if !budget.take(ledger.accounts().len() + members) {
        return Found::OutOfBudget;
    }
    let wanted = Wanted::of(&Looks::of(task), ledger);
    let most: Vec<u64> = company.map_or_else(Vec::new, |company| {
        let nodes = ledger.accounts().iter().map(|account| &account.node);
        company.left_on(view, (run, step), nodes)
    });
    let domains = domains(&wanted, gang, members, &most, ledger);
    let tightest = domains.iter().filter(|(_, domain)| domain.holds >= members as u64);
    let tightest = tightest.min_by_key(|(name, domain)| (domain.holds, *name));
    let tried: Vec<&Domain> = match (tightest, &gang.within) {
        (Some((_, domain)), _) => vec![domain],
        (None, Some(_)) if !in_part => return Found::Nowhere,
        (None, _) => {
            let mut all: Vec<(&String, &Domain)> = domains.iter().collect();
            all.sort_by_key(|(name, domain)| (Reverse(domain.holds), *name));
            all.into_iter().map(|(_, domain)| domain).collect()
        }
    };
    if tried.iter().map(|domain| domain.holds).sum::<u64>() < members as u64 && !in_part {
        return Found::Nowhere;
    }
    let mut seats = Vec::with_capacity(members);
    for domain in tried {
        fill(&domain.nodes, members, &wanted, &most, ledger, &mut seats);
    }
    if seats.len() == members || (in_part && !seats.is_empty()) {
        return Found::Seats(seats);
    }
    // What a node holds was counted too high: all is as it was.
    for (at, hold) in seats.into_iter().rev() {
        ledger.give_back(at, &wanted, hold);
    }
    Found::Nowhere
}

/// By name: the nodes that the gang could go to.
fn domains(
    wanted: &Wanted,
    gang: &GangSpec,
    members: usize,
    most: &[u64],
    ledger: &Ledger,
) -> BTreeMap<String, Domain> {
    let mut domains: BTreeMap<String, Domain> = BTreeMap::new();
    // What is kept for others is not theirs.
    for (at, account) in ledger.accounts().iter().enumerate().filter(|(_, account)| !account.is_kept) {
        let name = match &gang.within {
            Some(within) => within.domain(&account.node),
            None => Some(account.node.cluster.as_str()),
        };
        let holds = copies(&account.node, account.presence, account.room(), &wanted.task).min(members as u64);
        let holds = most.get(at).map_or(holds, |most| holds.min(*most));
        let Some(name) = name.filter(|_| holds > 0) else { continue };
        if !domains.contains_key(name) {
            domains.insert(name.to_owned(), Domain::default());
        }
        if let Some(domain) = domains.get_mut(name) {
            domain.holds += holds;
            domain.nodes.push(at);
        }
    }
    domains
}

/// Gives further members the best of these nodes, until all have a seat or no node has room. No node takes more than `most` says of
/// it.
fn fill(nodes: &[usize], members: usize, wanted: &Wanted, most: &[u64], ledger: &mut Ledger, seats: &mut Vec<Seat>) {
    let mut taken: BTreeMap<usize, u64> = BTreeMap::new();
    let mut open: Vec<(Score, usize)> = Vec::with_capacity(nodes.len());
    for at in nodes {
        open.extend(ledger.score(*at, wanted).ok().map(|score| (score, *at)));
    }
    // The best one last.
    open.sort_by(|one, other| order(ledger, *other, *one));
    while seats.len() < members
        && let Some((_, at)) = open.pop()
    {
        let hold = ledger.spend(at, wanted);
        seats.push((at, hold));
        let taken = taken.entry(at).or_default();
        *taken += 1;
        if most.get(at).is_none_or(|most| *taken < *most)
            && let Ok(score) = ledger.score(at, wanted)
        {
            let place = open.partition_point(|other| order(ledger, (score, at), *other).is_lt());
            open.insert(place, (score, at));
        }
    }
}

/// The better one first.
fn order(ledger: &Ledger, one: (Score, usize), other: (Score, usize)) -> Ordering {
    one.0.cmp(&other.0).then_with(|| ledger.tie(one.1, other.1)).then_with(|| one.1.cmp(&other.1))
}
