//! Gangs: all members of one get a place, or none does.
//!
//! Nodes are counted by how many members each of them holds, and that by domain: by what the job says that the nodes of a gang have
//! in common, or by cluster. Of the domains that hold all of it the tightest is taken, the one that holds least beyond it, so that
//! larger gangs keep theirs; a gang that may be anywhere goes to as few clusters as hold it, those with the most room first, if
//! none does alone. Within a domain each member goes to the best node by the rule for all tasks.
//!
//! One that fits nowhere has nodes kept for it (`holds`), and goes to nodes that are kept for others before it only if that delays
//! them by nothing.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use quorate_planted::Bug;
use quorate_state::{Choice, GangSpec, GpuHold, Node, Placement, Run, State, TaskSpec};

use super::company::Company;
use super::holds::Expected;
use super::kept::{Looks, Wanted};
use super::ledger::Ledger;
use super::queue::{Group, Queue};
use super::score::Score;
use super::{End, Outcome, PLACEMENTS_PER_PLAN_MAX, Pass, PlacedGang};
use crate::Budget;
use crate::explain::copies;

/// A node and its devices, for one member.
type Seat = (usize, GpuHold);

/// Where a gang goes.
enum Found {
    /// There, by index.
    Seats(Vec<Seat>),
    /// It does not fit whole: this much of it does.
    Nowhere(Domains),
    /// The budget ended before that was known.
    OutOfBudget,
}

/// By name: the nodes that a gang could go to.
pub(super) type Domains = BTreeMap<String, Domain>;

/// Nodes that are alike.
#[derive(Default)]
pub(super) struct Domain {
    /// So many members they hold together.
    pub(super) holds: u64,
    /// Those that hold any, and how many each.
    pub(super) nodes: Vec<(usize, u64)>,
}

/// Where a node lies, as the members of a gang count: by cluster if they may be anywhere; none: nowhere that they could be.
pub(super) fn domain_of<'a>(gang: &GangSpec, node: &'a Node) -> Option<&'a str> {
    gang.within.as_ref().map_or(Some(node.cluster.as_str()), |within| within.domain(node))
}

impl<'a> Pass<'a> {
    /// Places all of a gang, or nothing. What does not fit in this plan any more is first in the next one.
    pub(super) fn serve_gang(
        &mut self,
        group: &Group<'a>,
        gang: &GangSpec,
        queue: &mut Queue<'a>,
        budget: &mut Budget,
    ) -> Outcome {
        let (run, step, members) = (group.run.id, group.step, group.spec.count as usize);
        if self.view.step_counts(run, step).ready as usize != members {
            return Outcome::Passed;
        }
        // Room is kept for it: it goes there, or nowhere for now.
        if self.view.claims_of_gang(run, step).next().is_some() {
            return Outcome::Passed;
        }
        if self.placements.len() + self.in_gangs + members > PLACEMENTS_PER_PLAN_MAX {
            return Outcome::End(End::Plan);
        }
        // A gang has no alternatives.
        let choice = Choice::FIRST;
        if let Some(over) = queue.over_quota(group, choice) {
            return Outcome::OverQuota(group.first(), over);
        }
        let has_company = !group.spec.place.company.is_empty();
        let company = has_company.then_some(&mut self.company);
        let asked = (group.run, step, group.spec, gang);
        let seats = match place(self.view, asked, company, self.ledger, budget) {
            Found::Seats(seats) => seats,
            Found::OutOfBudget => return Outcome::End(End::Budget),
            // Rules about others say of nodes that are kept what nobody has worked out.
            Found::Nowhere(_) if has_company => return Outcome::Nowhere(group.first(), None),
            Found::Nowhere(holding) => match self.pass_with_gang(group, gang, budget) {
                Passing::Goes(seats) => seats,
                Passing::OutOfBudget => return Outcome::End(End::Budget),
                Passing::Delays => {
                    return Outcome::Delays(group.first(), self.keep_nodes_for_gang(group, gang, &holding, budget));
                }
                Passing::FitsNone => {
                    return Outcome::Nowhere(group.first(), self.keep_nodes_for_gang(group, gang, &holding, budget));
                }
            },
        };
        for (at, _) in seats.iter().filter(|_| has_company) {
            self.company.note((group.run, step), *at, self.ledger);
        }
        let tasks = self.view.tasks_of_step(run, step);
        let placements: Vec<Placement> = tasks
            .zip(seats)
            .filter_map(|(task, (at, gpus))| {
                let node = &self.ledger.account(at)?.node;
                let (node, epoch) = (node.name.clone(), node.epoch);
                Some(Placement { task: task.id, generation: task.generation, node, epoch, gpus, choice })
            })
            .collect();
        let generation = self.view.gang(run, step).map_or(0, |gang| gang.generation);
        self.in_gangs += placements.len();
        self.gangs.push(PlacedGang { run, step, generation, placements });
        queue.spend(group, choice);
        Outcome::Passed
    }

    /// Looks for places for a gang on nodes that are kept for others as well.
    fn pass_with_gang(&mut self, group: &Group<'a>, gang: &GangSpec, budget: &mut Budget) -> Passing {
        if self.holds.len() == 0 && self.ledger.planned().len() == 0 {
            return Passing::FitsNone;
        }
        if !budget.take(self.ledger.accounts().len()) {
            return Passing::OutOfBudget;
        }
        let (task, members) = (group.spec, group.spec.count as usize);
        let most = self.holds.members_let_pass(task, self.ledger);
        let asked = (task, gang, members);
        let all = domains(asked, &[], true, self.ledger);
        if !may_hold(&all, gang, members) {
            return Passing::FitsNone;
        }
        match seats(asked, &most, true, self.ledger) {
            Ok(seats) => {
                for (at, _) in &seats {
                    self.holds.lend(*at, task, self.ledger);
                }
                Passing::Goes(seats)
            }
            Err(_) => Passing::Delays,
        }
    }

    /// Keeps nodes for the first gang of a shape that does not fit now, if there will be room for all of it.
    fn keep_nodes_for_gang(
        &mut self,
        group: &Group<'a>,
        gang: &GangSpec,
        holding: &Domains,
        budget: &mut Budget,
    ) -> Option<Expected> {
        let is_first = group.home.is_none() && self.sought.insert(group.shape);
        is_first.then(|| self.holds.keep_for_gang((group.spec, gang), holding, self.ledger, budget)).flatten()
    }
}

/// Whether a gang goes to nodes that are kept for others.
enum Passing {
    /// It goes there, and may be elsewhere too, in part.
    Goes(Vec<Seat>),
    /// It would fit, and delay them.
    Delays,
    /// It fits nowhere.
    FitsNone,
    /// The budget ended before that was known.
    OutOfBudget,
}

/// Gives all members of a gang their places, each its part of a node; or spends nothing. A step of the budget is a node, or a
/// member.
///
/// `company`, if it has rules about other tasks: they say how many members a node may take.
fn place(
    view: &State,
    (run, step, task, gang): (&Run, u32, &TaskSpec, &GangSpec),
    company: Option<&mut Company>,
    ledger: &mut Ledger,
    budget: &mut Budget,
) -> Found {
    let members = task.count as usize;
    if !budget.take(ledger.accounts().len() + members) {
        return Found::OutOfBudget;
    }
    let most: Vec<u64> = company.map_or_else(Vec::new, |company| {
        let nodes = ledger.accounts().iter().map(|account| &account.node);
        company.left_on(view, (run, step), nodes)
    });
    seats((task, gang, members), &most, false, ledger).map_or_else(Found::Nowhere, Found::Seats)
}

/// A seat for each member, on nodes none of which takes more than `most` says of it, `with_kept` among them that are kept for others;
/// or what there is for some of them.
fn seats(
    (task, gang, members): (&TaskSpec, &GangSpec, usize),
    most: &[u64],
    with_kept: bool,
    ledger: &mut Ledger,
) -> Result<Vec<Seat>, Domains> {
    let in_part = quorate_planted::is(Bug::GangPlacedInPart);
    let wanted = Wanted::of(&Looks::of(task), ledger);
    let domains = domains((task, gang, members), most, with_kept, ledger);
    if !may_hold(&domains, gang, members) && !in_part {
        return Err(domains);
    }
    let tightest = domains.iter().filter(|(_, domain)| domain.holds >= members as u64);
    let tightest = tightest.min_by_key(|(name, domain)| (domain.holds, *name));
    let tried: Vec<&Domain> = match tightest {
        Some((_, domain)) => vec![domain],
        None => {
            let mut all: Vec<(&String, &Domain)> = domains.iter().collect();
            all.sort_by_key(|(name, domain)| (Reverse(domain.holds), *name));
            all.into_iter().map(|(_, domain)| domain).collect()
        }
    };
    let mut seats = Vec::with_capacity(members);
    for domain in tried {
        fill(&domain.nodes, members, (&wanted, with_kept), most, ledger, &mut seats);
    }
    if seats.len() == members || (in_part && !seats.is_empty()) {
        return Ok(seats);
    }
    // What a node holds was counted too high: all is as it was.
    for (at, hold) in seats.into_iter().rev() {
        ledger.give_back(at, &wanted, hold);
    }
    Err(domains)
}

/// True if all members fit together, as far as they were counted.
fn may_hold(domains: &Domains, gang: &GangSpec, members: usize) -> bool {
    let mut holds = domains.values().map(|domain| domain.holds);
    match gang.within {
        Some(_) => holds.any(|holds| holds >= members as u64),
        None => holds.sum::<u64>() >= members as u64,
    }
}

/// The nodes that the gang could go to; with those that are kept for others, or without.
fn domains(
    (task, gang, members): (&TaskSpec, &GangSpec, usize),
    most: &[u64],
    with_kept: bool,
    ledger: &Ledger,
) -> Domains {
    let mut domains = Domains::new();
    for (at, account) in ledger.accounts().iter().enumerate().filter(|(_, account)| with_kept || !account.is_kept) {
        let holds = copies(&account.node, account.presence, account.room(), task).min(members as u64);
        let holds = most.get(at).map_or(holds, |most| holds.min(*most));
        let Some(name) = domain_of(gang, &account.node).filter(|_| holds > 0) else { continue };
        if !domains.contains_key(name) {
            domains.insert(name.to_owned(), Domain::default());
        }
        if let Some(domain) = domains.get_mut(name) {
            domain.holds += holds;
            domain.nodes.push((at, holds));
        }
    }
    domains
}

/// Gives further members the best of these nodes, until all have a seat or no node has room. No node takes more than `most` says of
/// it.
fn fill(
    nodes: &[(usize, u64)],
    members: usize,
    (wanted, with_kept): (&Wanted, bool),
    most: &[u64],
    ledger: &mut Ledger,
    seats: &mut Vec<Seat>,
) {
    let score_of = |at: usize, ledger: &mut Ledger| match with_kept {
        true => ledger.score_of_any(at, wanted),
        false => ledger.score(at, wanted),
    };
    let mut taken: BTreeMap<usize, u64> = BTreeMap::new();
    let mut open: Vec<(Score, usize)> = Vec::with_capacity(nodes.len());
    for (at, _) in nodes {
        open.extend(score_of(*at, ledger).ok().map(|score| (score, *at)));
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
            && let Ok(score) = score_of(at, ledger)
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
