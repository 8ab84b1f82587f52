//! Whose attempts are stopped for tasks that fit nowhere.
//!
//! It is looked for after the queue was served, for the shapes that fit nowhere, in queue order. On each node within the limits of a task
//! that is a set of attempts from which none could be left out; among the nodes it is the one on which the highest priority that is stopped is
//! lowest, then the fewest attempts, then the least work. Room that will be free before long, because attempts are leaving, comes first: where
//! that is enough, nobody is stopped, and the task waits. Of a task with alternatives it is the one that costs others least.
//!
//! Those that are less urgent by a gap are taken for their priority. For what is left, others are taken that are as urgent or less, of
//! namespaces that have more than their part, for those that have less (`shares`).
//!
//! **Invariant:** nobody is preempted by whom they could preempt, because priority must be higher by a gap, and what
//! namespaces lack of their parts grows less: whatever is repeated ends (ADR 0061, ADR 0068).

mod gangs;
mod shares;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use quorate_planted::Bug;
use quorate_state::{
    Amounts, Attempt, AttemptId, CLAIMS_MAX, Choice, GangPreempting, GpuUse, Namespace, NamespaceRow, NodeName,
    Placement, Preempting, Preemption, Resources, Room, Run, TaskId, TaskSpec, TaskState, VICTIMS_MAX, Vacancy,
    feasible, mix,
};

pub use shares::SHARES_PER_PLAN_MAX;

use shares::Shares;

use super::ledger::Account;
use super::{Expected, Pass};
use crate::{Budget, Presence};

/// Tasks for which one plan looks for somebody to stop; the rest is looked at by the next ones.
pub const PREEMPTIONS_PER_PLAN_MAX: usize = 64;

/// Nodes and attempts that one plan looks at for that. A cluster with more is looked at from a place that the seed chooses, so that
/// all are sooner or later.
pub const STEPS_PER_PLAN_MAX: u32 = 50_000;

/// What is to happen on a node for tasks that this plan has served.
#[derive(Default)]
struct Pledged {
    victims: BTreeSet<AttemptId>,
    held: Held,
    /// Somebody waits for room there that will be free anyway, which is written down nowhere: nobody is stopped there beyond that
    /// before it has come.
    has_waiter: bool,
}

/// What it costs to make room on a node: the least is best. What differs decides, and the number of the node, which goes by names, at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    highest: Option<u8>,
    victims: usize,
    /// For how long they have been there, together, in milliseconds.
    work_ms: u64,
    /// By which alternative: what it would rather have is worth nobody's work.
    choice: Choice,
    node: usize,
}

/// How room is made on a node, for one alternative.
struct Offer {
    victims: Vec<AttemptId>,
    resources: Resources,
    gpus: quorate_state::GpuHold,
}

impl Pass<'_> {
    /// Looks for attempts to stop for what fits nowhere.
    pub(super) fn preempt(&mut self, seed: u64, budget: &mut Budget) {
        let (Some(policy), Some(lowest)) = (self.view.preemption(), self.view.lowest_priority_held()) else { return };
        // The room of claims that have expired is free when these are gone: the next plan, which is made at once, sees it.
        if !self.expired.is_empty() || self.waits.without_room().next().is_none() {
            return;
        }
        let mut steps = Budget { steps: budget.steps.min(STEPS_PER_PLAN_MAX) };
        let mut search = Search { pledged: BTreeMap::new(), given: self.given(), own_nodes: Vec::new(), seed };
        if policy.by_priority {
            self.preempt_by_priority(&policy, lowest, &mut search, &mut steps);
        }
        if policy.by_share && !quorate_planted::is(Bug::ShareUnasked) {
            self.preempt_to_share(&policy, &mut search, &mut steps);
        }
    }

    /// Of those that are less urgent.
    fn preempt_by_priority(&mut self, policy: &Preemption, lowest: u8, search: &mut Search, steps: &mut Budget) {
        let mut served = 0;
        let firsts = self.waits.without_room().map(|(first, expected)| (first, self.nodes_of(expected)));
        let firsts: Vec<(TaskId, Vec<usize>)> = firsts.collect();
        for (first, own_nodes) in firsts {
            let Some(run) = self.view.run(first.run) else { continue };
            // Who is kept away by others may be so on that node, too.
            let spec = run.spec.tasks.get(first.step as usize);
            let is_alone = spec.is_some_and(|spec| spec.place.company.is_empty());
            if !is_alone || !policy.is_above(run.priority(), lowest) {
                continue;
            }
            search.own_nodes = own_nodes;
            if let Some((spec, gang)) = spec.and_then(|spec| Some((spec, spec.gang.as_ref()?))) {
                if served >= PREEMPTIONS_PER_PLAN_MAX || steps.is_spent() {
                    return;
                }
                served += 1;
                self.preempt_for_gang((run, first, spec, gang), search, None, steps);
                continue;
            }
            // Those that ran elsewhere are bound to other regions, and have a first task of their own.
            let home = |task: TaskId| self.view.task(task).and_then(|task| task.home.as_ref());
            let ready = self.view.ready_of_step(run, first.step).filter(|task| home(*task) == home(first));
            let tasks: Vec<TaskId> = ready.skip_while(|task| *task < first).take(PREEMPTIONS_PER_PLAN_MAX).collect();
            for task in tasks {
                let is_full = self.claims_with(1) > CLAIMS_MAX;
                if served >= PREEMPTIONS_PER_PLAN_MAX || steps.is_spent() || is_full {
                    return;
                }
                served += 1;
                if self.is_served(task) {
                    continue;
                }
                let ways = spec.map_or_else(Vec::new, |spec| self.ways(run, spec, task));
                if ways.is_empty() {
                    break;
                }
                match search.best(self, (run, task), &ways, None, steps) {
                    Some((_, None)) => {}
                    Some((_, Some(preempting))) => self.preemptions.push(preempting),
                    // Those behind it are equal to it.
                    None => break,
                }
            }
        }
    }

    /// Where nodes are that are kept for somebody, in order.
    fn nodes_of(&self, expected: Option<&Expected>) -> Vec<usize> {
        let names = expected.into_iter().flat_map(|expected| std::iter::once(&expected.node).chain(&expected.others));
        let mut nodes: Vec<usize> = names.filter_map(|node| self.ledger.find(node)).collect();
        nodes.sort_unstable();
        nodes
    }

    /// For how many tasks room is kept, or will be by this plan, with so many more.
    fn claims_with(&self, more: usize) -> usize {
        let in_gangs = self.gang_preemptions.iter().map(GangPreempting::members).sum::<usize>();
        self.view.claims_count() + self.preemptions.len() + in_gangs + more
    }

    /// What this plan has given on each node, beside room that was kept.
    fn given(&self) -> BTreeMap<NodeName, Held> {
        let mut given: BTreeMap<NodeName, Held> = BTreeMap::new();
        let in_gangs = self.gangs.iter().flat_map(|gang| &gang.placements);
        let all = self.placements.iter().chain(in_gangs);
        for placement in all.filter(|placement| self.view.claim(placement.task).is_none()) {
            let run = self.view.run(placement.task.run);
            let Some(spec) = run.and_then(|run| run.spec.tasks.get(placement.task.step as usize)) else { continue };
            let held = given.entry(placement.node.clone()).or_default();
            held.used = held.used.saturating_add(spec.resources_of(placement.choice));
            held.gpus.take(placement.gpus);
        }
        given
    }

    /// A task by each of its alternatives that its namespace may have.
    fn ways<'s>(&self, run: &Run, spec: &'s TaskSpec, task: TaskId) -> Vec<Way<'s>> {
        let all = spec.choices().filter_map(|choice| Some((choice, spec.chosen(choice)?)));
        all.filter(|(_, spec)| !self.is_over_quota(run, task, spec.resources)).collect()
    }

    /// By what it would take, beside what this plan gives to others, and stops attempts for.
    fn is_over_quota(&self, run: &Run, task: TaskId, asked: Resources) -> bool {
        let view = self.view;
        let is_limited = |row: &NamespaceRow| row.share.maximum != Amounts::default();
        if !view.lineage(&run.spec.namespace).any(|row| is_limited(row)) {
            return false;
        }
        let takes = |(task, choice): (TaskId, Choice)| {
            let run = view.run(task.run)?;
            Some((&run.spec.namespace, run.spec.tasks.get(task.step as usize)?.resources_of(choice)))
        };
        let in_gangs = self.gangs.iter().flat_map(|gang| &gang.placements);
        let given = self.placements.iter().chain(in_gangs).map(|placement| (placement.task, placement.choice));
        // What room was kept for is among what is kept.
        let given = given.filter(|(task, _)| view.claim(*task).is_none());
        let made = self.preemptions.iter().map(|preempting| (preempting.task, preempting.choice));
        let for_gangs = self.gang_preemptions.iter().filter_map(|preempting| {
            let run = view.run(preempting.run)?;
            let spec = run.spec.tasks.get(preempting.step as usize)?;
            Some((&run.spec.namespace, spec.taken_at_once(Choice::FIRST)))
        });
        let more: Vec<(&Namespace, Resources)> = given.chain(made).filter_map(takes).chain(for_gangs).collect();
        view.over_quota_beside(task, &run.spec.namespace, asked, &more).is_some()
    }

    fn is_served(&self, task: TaskId) -> bool {
        self.view.claim(task).is_some() || self.placements.iter().any(|placement: &Placement| placement.task == task)
    }
}

/// A task by one of its alternatives.
type Way<'a> = (Choice, Cow<'a, TaskSpec>);

struct Search {
    /// By number of the node.
    pledged: BTreeMap<usize, Pledged>,
    /// What this plan has given, beside room that was kept.
    given: BTreeMap<NodeName, Held>,
    /// The nodes that this plan keeps for the shape that is looked for, in order.
    own_nodes: Vec<usize>,
    seed: u64,
}

impl Search {
    /// The best node for a task, by any of these alternatives, and who is to be stopped there: none where room will be free anyway.
    fn best(
        &mut self,
        pass: &Pass<'_>,
        (run, task): (&Run, TaskId),
        ways: &[Way<'_>],
        shares: Option<&Shares<'_>>,
        steps: &mut Budget,
    ) -> Option<(usize, Option<Preempting>)> {
        let row = pass.view.task(task).filter(|row| row.state == TaskState::Ready)?;
        let (_, spec) = ways.first()?;
        let bound = pass.view.bound(row.home.as_ref(), spec, pass.now.served);
        let accounts = pass.ledger.accounts();
        let start = usize::try_from(mix(self.seed) % (accounts.len().max(1) as u64)).ok()?;
        let mut best: Option<(Cost, Offer)> = None;
        for at in (start..accounts.len()).chain(0..start) {
            if !steps.take(1) {
                break;
            }
            let Some(account) = accounts.get(at) else { continue };
            let is_open = self.is_open(account, at) && bound.allows(&account.node.region);
            for (choice, spec) in ways {
                if !is_open || feasible(&account.node, Room::empty(&account.node), spec).is_err() {
                    continue;
                }
                let asked = (run, *choice, &**spec, shares);
                let Some((cost, offer)) = self.offer(pass, account, at, asked, steps) else { continue };
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, offer));
                }
            }
        }
        let (Cost { node: at, choice, .. }, Offer { victims, resources, gpus }) = best?;
        let pledged = self.pledged.entry(at).or_default();
        pledged.victims.extend(victims.iter().copied());
        pledged.held.used = pledged.held.used.saturating_add(resources);
        pledged.held.gpus.take(gpus);
        pledged.has_waiter |= victims.is_empty();
        let node = &accounts.get(at)?.node;
        let (generation, epoch) = (row.generation, node.epoch);
        let preempting = Preempting { task, generation, node: node.name.clone(), epoch, choice, victims };
        Some((at, (!preempting.victims.is_empty()).then_some(preempting)))
    }

    /// A node that reports is asked to stop something, and no other; one that is kept for somebody before it is theirs.
    fn is_open(&self, account: &Account, at: usize) -> bool {
        let is_own = || self.own_nodes.binary_search(&at).is_ok();
        account.presence == Presence::Heard && (!account.is_kept || is_own())
    }

    /// True of an attempt on a node that leaves it anyway, or because this plan stops it.
    fn goes(&self, pass: &Pass<'_>, at: usize, attempt: &Attempt) -> bool {
        let pledged = self.pledged.get(&at);
        pass.view.is_leaving(attempt) || pledged.is_some_and(|pledged| pledged.victims.contains(&attempt.id))
    }

    /// What will be held of a node when all have gone that go: what is kept for others is as good as held, and so is what this plan
    /// has given.
    fn held(&self, pass: &Pass<'_>, account: &Account, at: usize, steps: &mut Budget) -> Held {
        let (view, node) = (pass.view, &account.node);
        steps.take(view.attempts_count_on(&node.name));
        let mut held = Held::default();
        let stays = view.attempts_on(&node.name).filter(|attempt| !self.goes(pass, at, attempt));
        stays.for_each(|attempt| held.take(attempt));
        for claim in view.claims_on(&node.name) {
            held.used = held.used.saturating_add(claim.terms.resources);
            held.gpus.take(claim.terms.gpus);
        }
        let pledged = self.pledged.get(&at).map(|pledged| &pledged.held);
        for given in [self.given.get(&node.name), pledged].into_iter().flatten() {
            held.used = held.used.saturating_add(given.used);
            held.gpus.take_all(&given.gpus);
        }
        held
    }

    /// Who would have to be stopped on a node; none if that does not help.
    fn offer(
        &self,
        pass: &Pass<'_>,
        account: &Account,
        at: usize,
        (run, choice, spec, shares): (&Run, Choice, &TaskSpec, Option<&Shares<'_>>),
        steps: &mut Budget,
    ) -> Option<(Cost, Offer)> {
        let (view, node) = (pass.view, &account.node);
        let pledged = self.pledged.get(&at);
        let goes = |attempt: &Attempt| self.goes(pass, at, attempt);
        let mut held = self.held(pass, account, at, steps);
        let offer = |victims: Vec<AttemptId>, gpus| Offer { victims, resources: spec.resources, gpus };
        let fits = |held: &Held| held.vacancy(account).hold(node, spec);
        if let Some(gpus) = fits(&held).filter(|_| !quorate_planted::is(Bug::PreemptsForNothing)) {
            return Some((Cost { highest: None, victims: 0, work_ms: 0, choice, node: at }, offer(Vec::new(), gpus)));
        }
        if pledged.is_some_and(|pledged| pledged.has_waiter) {
            return None;
        }
        // The cheapest first, until there is room.
        let mut chosen: Vec<&Attempt> = Vec::new();
        let open = view.victims_on(node, run.priority(), pass.now.served, shares.is_some());
        let mut exchange = shares.map(|shares| shares.exchange(run, spec));
        for attempt in open.into_iter().filter(|attempt| !goes(attempt)) {
            let may = exchange.as_mut().is_none_or(|exchange| exchange.add(view, attempt, steps));
            if !may {
                continue;
            }
            if chosen.len() == VICTIMS_MAX {
                break;
            }
            held.give_back(attempt);
            chosen.push(attempt);
            if fits(&held).is_some() {
                break;
            }
        }
        fits(&held)?;
        // Whoever need not go, the most urgent first.
        for place in (0..chosen.len()).rev() {
            let Some(attempt) = chosen.get(place).copied() else { continue };
            let mut without = held.clone();
            without.take(attempt);
            if fits(&without).is_some() && !quorate_planted::is(Bug::PreemptsForNothing) {
                held = without;
                chosen.remove(place);
            }
        }
        let gpus = fits(&held)?;
        let priority = |attempt: &&Attempt| view.run(attempt.id.task.run).map(|run| run.priority());
        let now = pass.now.now.0.max(view.meta().now.0);
        let cost = Cost {
            highest: chosen.iter().filter_map(priority).max(),
            victims: chosen.len(),
            work_ms: chosen.iter().map(|attempt| now.saturating_sub(attempt.placed_at.0)).sum(),
            choice,
            node: at,
        };
        Some((cost, offer(chosen.iter().map(|attempt| attempt.id).collect(), gpus)))
    }
}

/// What is held of a node.
#[derive(Clone, Default)]
struct Held {
    used: Resources,
    gpus: GpuUse,
}

impl Held {
    fn take(&mut self, attempt: &Attempt) {
        self.used = self.used.saturating_add(attempt.resources);
        self.gpus.take(attempt.gpus);
    }

    fn give_back(&mut self, attempt: &Attempt) {
        self.used = self.used.saturating_sub(attempt.resources);
        self.gpus.give_back(attempt.gpus);
    }

    fn vacancy(&self, account: &Account) -> Vacancy {
        Vacancy { free: account.node.capacity.saturating_sub(self.used), gpus: self.gpus.clone() }
    }
}
