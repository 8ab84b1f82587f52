//! Tasks with rules about other tasks: how many of them may be where, whom they stay apart from, and how they are spread.
//!
//! What others are where is counted once in a plan, domain by domain, and kept up with what the plan places ([`Census`], which
//! `apply` asks too). The scores of nodes are those that all tasks of the shape share; which nodes the rules leave is looked up for
//! each task over all nodes. So such a task costs a short look at every node, and those without such rules cost what they did.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use quorate_state::{
    Balanced, Census, Choice, Crowd, GpuHold, Imbalance, Node, Rule, Rules, Run, RunId, Spread, State, TaskSpec,
    Topology,
};

use super::bound::Ways;
use super::kept::{Kept, Looks};
use super::ledger::{Account, Ledger};
use super::pack::Rank as _;
use super::route::NODES_PER_STEP;
use super::score::{Score, cluster_score};
use crate::Budget;
use crate::explain::{Check, Checks};

/// Steps of which the rules are kept worked out in one plan; when there would be more, all are worked out anew.
const GUIDES_MAX: usize = 64;

/// What the next task of a step gets.
pub(super) enum Seat {
    /// This node, with these of its devices, by this of its alternatives.
    Node(usize, GpuHold, Choice),
    /// No node fits, whoever is there.
    Nowhere,
    /// Where there would be room, others are.
    Apart(Checks),
    /// The budget ended before that was known.
    OutOfBudget,
}

/// Who is where, as one plan knows it.
pub(super) struct Company {
    census: Census,
    domains: BTreeMap<Topology, Rc<Domains>>,
    guides: BTreeMap<(RunId, u32), Guide>,
}

/// The domains of the nodes, numbered.
struct Domains {
    /// Of each node, if it is in one.
    of: Vec<Option<usize>>,
    /// A node of each.
    examples: Vec<usize>,
}

/// The rules of a step, worked out for every domain.
struct Guide {
    bounds: Vec<(Rule, Verdicts<bool>)>,
    balances: Vec<(Balanced, Verdicts<Imbalance>)>,
}

/// What is said of a node by the domain that it is in.
struct Verdicts<T> {
    domains: Rc<Domains>,
    of: Vec<T>,
    of_none: T,
}

impl Default for Company {
    fn default() -> Self {
        Self { census: Census::of_plan(), domains: BTreeMap::new(), guides: BTreeMap::new() }
    }
}

impl Company {
    /// Gives the next task of a step the best of the nodes that its rules leave, by the first of these ways that has any.
    pub(super) fn place_first(
        &mut self,
        view: &State,
        (run, step): (&Run, u32),
        ways: Ways<'_>,
        ledger: &mut Ledger,
        kept: &mut Kept,
        budget: &mut Budget,
    ) -> Seat {
        let mut last = Seat::Nowhere;
        for (_, choice, task) in ways.open() {
            match self.place(view, (run, step, task), choice, ledger, kept, budget) {
                Seat::Nowhere => {}
                apart @ Seat::Apart(_) => last = apart,
                seat @ (Seat::Node(..) | Seat::OutOfBudget) => return seat,
            }
        }
        last
    }

    fn place(
        &mut self,
        view: &State,
        (run, step, task): (&Run, u32, &TaskSpec),
        choice: Choice,
        ledger: &mut Ledger,
        kept: &mut Kept,
        budget: &mut Budget,
    ) -> Seat {
        if !budget.take(ledger.accounts().len().div_ceil(NODES_PER_STEP)) {
            return Seat::OutOfBudget;
        }
        let standing = kept.standing(&Looks::of(task), ledger);
        if standing.best(ledger).is_none() {
            return Seat::Nowhere;
        }
        let known = self.guides.remove(&(run.id, step));
        let mut guide = known.unwrap_or_else(|| self.guide(view, (run, step), ledger));
        let found = guide.best(task.place.spread, standing.scores(), ledger);
        let Some(at) = found else {
            let mut checks = standing.checks();
            standing.scores().filter(|score| score.fits()).for_each(|_| checks.add(Check::Apart));
            return Seat::Apart(checks);
        };
        let hold = ledger.spend(at, standing.wanted());
        self.note((run, step), at, ledger);
        guide.look_again(&self.census, at, ledger);
        if self.guides.len() >= GUIDES_MAX {
            self.guides.clear();
        }
        self.guides.insert((run.id, step), guide);
        Seat::Node(at, hold, choice)
    }

    /// How many members of a gang each node may take, as far as others there are concerned.
    pub(super) fn left_on<'n>(
        &mut self,
        view: &State,
        (run, step): (&Run, u32),
        nodes: impl Iterator<Item = &'n Arc<Node>>,
    ) -> Vec<u64> {
        let rules = self.census.rules(view, run, step);
        nodes.map(|node| self.census.left_on(&rules, node)).collect()
    }

    /// A task of a step goes to a node.
    pub(super) fn note(&mut self, (run, step): (&Run, u32), at: usize, ledger: &Ledger) {
        let Some(account) = ledger.account(at) else { return };
        self.census.note(run, step, &account.node);
        let is_own = |crowd: &Crowd| matches!(crowd, Crowd::Step(..));
        if !Crowd::all_of(run, step).iter().all(is_own) {
            self.guides.clear();
        }
    }

    fn guide(&mut self, view: &State, (run, step): (&Run, u32), ledger: &Ledger) -> Guide {
        let Rules { bounds, balances } = self.census.rules(view, run, step);
        let mut domains = |per: &Topology| match self.domains.get(per) {
            Some(known) => known.clone(),
            None => {
                let domains = Rc::new(Domains::of(per, ledger.accounts()));
                self.domains.insert(per.clone(), domains.clone());
                domains
            }
        };
        let bounds = bounds.into_iter().map(|bound| {
            let domains = domains(&bound.per);
            let verdicts = Verdicts::new(domains, ledger, bound.allows(&self.census, None), |node| {
                bound.allows(&self.census, Some(node))
            });
            (bound, verdicts)
        });
        let bounds = bounds.collect();
        let balances = balances.into_iter().map(|balance| {
            let domains = domains(&balance.per);
            let verdicts = Verdicts::new(domains, ledger, balance.imbalance(&self.census, None), |node| {
                balance.imbalance(&self.census, Some(node))
            });
            (balance, verdicts)
        });
        Guide { bounds, balances: balances.collect() }
    }
}

impl Domains {
    fn of(per: &Topology, accounts: &[Account]) -> Self {
        let (mut numbers, mut examples) = (BTreeMap::new(), Vec::new());
        let number = |(at, account): (usize, &Account)| {
            let domain = per.domain(&account.node)?.to_owned();
            let number = *numbers.entry(domain).or_insert_with(|| {
                examples.push(at);
                examples.len() - 1
            });
            Some(number)
        };
        let of = accounts.iter().enumerate().map(number).collect();
        Self { of, examples }
    }
}

impl<T: Copy> Verdicts<T> {
    fn new(domains: Rc<Domains>, ledger: &Ledger, of_none: T, judge: impl Fn(&Node) -> T) -> Self {
        let examples = domains.examples.iter().map(|at| ledger.account(*at).map(|account| &*account.node));
        let of = examples.map(|node| node.map_or(of_none, &judge)).collect();
        Self { domains, of, of_none }
    }

    fn get(&self, at: usize) -> T {
        let number = self.domains.of.get(at).copied().flatten();
        number.and_then(|number| self.of.get(number)).copied().unwrap_or(self.of_none)
    }

    /// The domain of a node is not as it was.
    fn set(&mut self, at: usize, verdict: T) {
        let number = self.domains.of.get(at).copied().flatten();
        if let Some(entry) = number.and_then(|number| self.of.get_mut(number)) {
            *entry = verdict;
        }
    }
}

impl Guide {
    /// One more is on a node.
    fn look_again(&mut self, census: &Census, at: usize, ledger: &Ledger) {
        let Some(account) = ledger.account(at) else { return };
        for (bound, verdicts) in &mut self.bounds {
            verdicts.set(at, bound.allows(census, Some(&account.node)));
        }
        for (balance, verdicts) in &mut self.balances {
            verdicts.set(at, balance.imbalance(census, Some(&account.node)));
        }
    }

    /// The best node of those that are left.
    fn best(&self, spread: Spread, scores: impl Iterator<Item = Score>, ledger: &Ledger) -> Option<usize> {
        let clusters: Vec<_> = match spread {
            Spread::Pack | Spread::Node => Vec::new(),
            Spread::Cluster => ledger.clusters().iter().map(cluster_score).collect(),
        };
        let mut best: Option<(Score, usize)> = None;
        for (at, score) in scores.enumerate() {
            if !score.fits() || !self.bounds.iter().all(|(_, verdicts)| verdicts.get(at)) {
                continue;
            }
            let is_better = best.is_none_or(|(least, other)| {
                let is_before = self.imbalance(at).cmp(self.imbalance(other)).then_with(|| {
                    let cluster = |at: usize, score: Score| {
                        let number = ledger.account(at).map(|account| account.cluster);
                        number
                            .and_then(|number| clusters.get(number))
                            .map(|fullness| (score.wishes(), *fullness, number))
                    };
                    cluster(at, score).cmp(&cluster(other, least))
                });
                let is_before = is_before.then(score.cmp(&least)).then_with(|| ledger.tie(at, other));
                is_before == Ordering::Less
            });
            if is_better {
                best = Some((score, at));
            }
        }
        best.map(|(_, at)| at)
    }

    /// How far a node is from what the step would rather have, the most important first.
    fn imbalance(&self, at: usize) -> impl Iterator<Item = Imbalance> {
        self.balances.iter().map(move |(_, verdicts)| verdicts.get(at))
    }
}
