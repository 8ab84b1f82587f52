//! May this task join those that are there? One answer, asked by the planner and again by `apply`.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_planted::Bug;

use crate::{Balance, GroupName, Infeasible, Namespace, Node, Run, RunId, State, Topology};

/// Tasks that rules about company ask of together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Crowd {
    /// Elements of a step that says how they are spread.
    Step(RunId, u32),
    /// Those of a group.
    Group(Namespace, GroupName),
    /// Those that stay apart from a group, by this.
    Wary(Namespace, GroupName, Topology),
}

impl Crowd {
    /// The crowds that the tasks of a step belong to.
    pub fn all_of(run: &Run, step: u32) -> Vec<Self> {
        let Some(company) = run.spec.tasks.get(step as usize).map(|spec| &spec.place.company) else {
            return Vec::new();
        };
        if company.is_empty() {
            return Vec::new();
        }
        let namespace = &run.spec.namespace;
        let own = company.counts_own().then_some(Self::Step(run.id, step));
        let group = company.group.clone().map(|group| Self::Group(namespace.clone(), group));
        let wary = company.apart.iter().map(|apart| {
            let (from, per) = (apart.from.clone(), apart.per.clone());
            Self::Wary(namespace.clone(), from, per)
        });
        own.into_iter().chain(group).chain(wary).collect()
    }
}

/// How many of which crowd are in which domain: counted when it is first asked for, and kept up with what is noted. The nodes stay
/// as they are for as long as it is used.
#[derive(Debug, Default)]
pub struct Census {
    tallies: Vec<Tally>,
    /// What is noted is not in the state that is asked: it is kept for tallies to come.
    noted: Option<Vec<(Crowd, Arc<Node>)>>,
}

#[derive(Debug)]
struct Tally {
    crowd: Crowd,
    per: Topology,
    counts: BTreeMap<String, u32>,
}

/// What a step asks of the company of its next element.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What keeps it from a node.
    pub bounds: Vec<Rule>,
    /// What it would rather have, the most important first.
    pub balances: Vec<Balanced>,
}

/// Less than so many of a crowd in one domain.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What the domains are.
    pub per: Topology,
    /// So many are one too many.
    pub below: u32,
    tally: usize,
    /// A node that is in no domain is no place.
    needs_domain: bool,
}

/// Elements of a step spread over domains.
#[derive(Clone, Debug)]
pub struct Balanced {
    /// What the domains are.
    pub per: Topology,
    tally: usize,
    targets: BTreeMap<String, u32>,
}

/// How far a node is from the target of a balance: how many of its share its domain would have; the least is the best. Before that
/// stands whether its domain has a share, and whether it is in a domain.
pub type Imbalance = (u8, u64);

/// A share of 1 of an [`Imbalance`], in fixed point.
pub const IMBALANCE_BITS: u32 = 32;

impl Census {
    /// Of a state to which all that is noted has been added.
    pub fn of_state() -> Self {
        Self::default()
    }

    /// Of a state that stays as it is, and of a plan made on it: all that is noted.
    pub fn of_plan() -> Self {
        Self { tallies: Vec::new(), noted: Some(Vec::new()) }
    }

    /// What the next element of a step has to keep to.
    pub fn rules(&mut self, state: &State, run: &Run, step: u32) -> Rules {
        let Some(company) = run.spec.tasks.get(step as usize).map(|spec| &spec.place.company) else {
            return Rules::default();
        };
        if company.is_empty() {
            return Rules::default();
        }
        let namespace = &run.spec.namespace;
        let mut bounds = Vec::new();
        for rule in &company.at_most {
            let tally = self.tally(state, &Crowd::Step(run.id, step), &rule.per);
            if !quorate_planted::is(Bug::AtMostIgnored) {
                bounds.push(Rule { tally, per: rule.per.clone(), below: rule.tasks, needs_domain: true });
            }
        }
        let apart = company.apart.iter().map(|apart| {
            let crowd = Crowd::Group(namespace.clone(), apart.from.clone());
            (crowd, apart.per.clone())
        });
        let mut others: Vec<(Crowd, Topology)> = apart.collect();
        if let Some(group) = company.group.as_ref().filter(|_| !quorate_planted::is(Bug::ApartOneWay)) {
            let known = state.wary_of(namespace, group).cloned();
            let noted = self.noted.iter().flatten().filter_map(|(crowd, _)| match crowd {
                Crowd::Wary(of, from, per) if of == namespace && from == group => Some(per.clone()),
                Crowd::Step(..) | Crowd::Group(..) | Crowd::Wary(..) => None,
            });
            let mut wary: Vec<Topology> = known.chain(noted).collect();
            wary.sort_unstable();
            wary.dedup();
            others
                .extend(wary.into_iter().map(|per| (Crowd::Wary(namespace.clone(), group.clone(), per.clone()), per)));
        }
        for (crowd, per) in others {
            let tally = self.tally(state, &crowd, &per);
            bounds.push(Rule { tally, per, below: 1, needs_domain: false });
        }
        let balances = company.balance.iter().map(|Balance { per, targets }| {
            let tally = self.tally(state, &Crowd::Step(run.id, step), per);
            Balanced { per: per.clone(), tally, targets: targets.clone() }
        });
        Rules { balances: balances.collect(), bounds }
    }

    /// Whether an element of the step whose rules these are may go to `node`, as far as others are concerned.
    ///
    /// # Errors
    /// [`Infeasible::Apart`]
    pub fn admits(&self, rules: &Rules, node: &Node) -> Result<(), Infeasible> {
        let is_allowed = rules.bounds.iter().all(|bound| bound.allows(self, Some(node)));
        if is_allowed { Ok(()) } else { Err(Infeasible::Apart) }
    }

    /// How many more elements of the step may go to `node`, as far as others are concerned, if nothing but single nodes bounds them.
    pub fn left_on(&self, rules: &Rules, node: &Node) -> u64 {
        if self.admits(rules, node).is_err() {
            return 0;
        }
        let own = rules.bounds.iter().filter(|bound| bound.needs_domain && bound.per == Topology::Node);
        let left = own.map(|bound| bound.below.saturating_sub(self.count(bound.tally, node.name.as_str())));
        left.min().map_or(u64::MAX, u64::from)
    }

    /// An element of a step goes to `node`.
    pub fn note(&mut self, run: &Run, step: u32, node: &Arc<Node>) {
        for crowd in Crowd::all_of(run, step) {
            for tally in self.tallies.iter_mut().filter(|tally| tally.crowd == crowd) {
                tally.add(node, 1);
            }
            if let Some(noted) = &mut self.noted {
                noted.push((crowd, node.clone()));
            }
        }
    }

    fn count(&self, tally: usize, domain: &str) -> u32 {
        self.tallies.get(tally).and_then(|tally| tally.counts.get(domain)).copied().unwrap_or_default()
    }

    /// The number of a tally, which is made if it was not asked for before.
    fn tally(&mut self, state: &State, crowd: &Crowd, per: &Topology) -> usize {
        let known = self.tallies.iter().position(|tally| tally.crowd == *crowd && tally.per == *per);
        known.unwrap_or_else(|| {
            let mut tally = Tally { crowd: crowd.clone(), per: per.clone(), counts: BTreeMap::new() };
            for (node, count) in state.crowd(crowd) {
                if let Some(node) = state.node(node) {
                    tally.add(node, count);
                }
            }
            for (_, node) in self.noted.iter().flatten().filter(|(of, _)| of == crowd) {
                tally.add(node, 1);
            }
            self.tallies.push(tally);
            self.tallies.len() - 1
        })
    }
}

impl State {
    /// On which nodes those of a crowd hold room, and how many on each.
    pub fn crowd(&self, crowd: &Crowd) -> impl Iterator<Item = (&crate::NodeName, u32)> {
        self.index.crowds().of(crowd)
    }

    /// By what tasks that are there stay apart from a group of a namespace.
    pub(crate) fn wary_of<'a>(
        &'a self,
        namespace: &'a Namespace,
        group: &'a GroupName,
    ) -> impl Iterator<Item = &'a Topology> {
        self.index.crowds().wary_of(namespace, group)
    }
}

impl Rule {
    /// Of whom there may not be as many.
    pub fn crowd<'c>(&self, census: &'c Census) -> Option<&'c Crowd> {
        census.tallies.get(self.tally).map(|tally| &tally.crowd)
    }

    /// How many of these are in a domain.
    pub fn there(&self, census: &Census, domain: &str) -> u32 {
        census.count(self.tally, domain)
    }

    /// Whether it leaves a node that is in this domain; none: in no domain at all.
    pub fn allows(&self, census: &Census, node: Option<&Node>) -> bool {
        match node.and_then(|node| self.per.domain(node)) {
            Some(domain) => census.count(self.tally, domain) < self.below,
            None => !self.needs_domain,
        }
    }
}

impl Balanced {
    /// How far a node is from its target.
    pub fn imbalance(&self, census: &Census, node: Option<&Node>) -> Imbalance {
        let Some(domain) = node.and_then(|node| self.per.domain(node)) else { return (2, 0) };
        let next = (u64::from(census.count(self.tally, domain)) + 1) << IMBALANCE_BITS;
        match self.targets.get(domain) {
            Some(share) => (0, next / u64::from(*share).max(1)),
            None => (u8::from(!self.targets.is_empty()), next),
        }
    }
}

impl Tally {
    fn add(&mut self, node: &Node, more: u32) {
        if let Some(domain) = self.per.domain(node) {
            let count = self.counts.entry(domain.to_owned()).or_default();
            *count = count.saturating_add(more);
        }
    }
}
