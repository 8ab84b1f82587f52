//! Which work is moved to better places while somebody has asked for that.
//!
//! Moves are looked for one after another, each as if those before it had arrived: towards an even spread from the fullest node on, each
//! attempt to the emptiest node that takes it; towards what jobs prefer, each to the nearest to that. `apply` asks the same
//! functions again, and keeps the budget, which is a row: a new leader goes on where the old one stopped.
//!
//! While nodes are silent, or have not reported to this leader yet, nothing is moved; when work is drained, a lease has ended or the brake
//! works, the rebalance is over (ADR 0069).

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_planted::Bug;
use quorate_state::{
    Attempt, AttemptId, Choice, Command, Gain, Goal, GpuUse, GpuWant, Loads, MOVES_AT_ONCE_MAX, Moving, Node, NodeName,
    NodeStatus, Reach, Rebalance, RebalanceEnd, RebalanceTerms, RegionName, Resources, Room, RunId, Served, Side,
    Spared, State, TaskSpec, Unmovable, distance, feasible, fullness, movable,
};

use crate::controller::earlier;
use crate::{Budget, Controller, Decision, LogNow, Observed, Presence, Report, lease};

/// How soon it is looked again while a rebalance goes on.
pub(crate) const LOOK_AGAIN_MS: u64 = 250;

/// A move that is worth its while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The attempt that is to stop, and where its task is to go on.
    pub moving: Moving,
    /// Where it is.
    pub from: NodeName,
    /// What that brings.
    pub gain: Gain,
}

/// What a look for moves has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// In order.
    pub moves: Vec<Proposed>,
    /// The fullest and the emptiest node that take part, in millionths: before, and after these moves.
    pub fullness: [(u64, u64); 2],
    /// How far tasks that prefer something are from that, all together: before, and after these moves.
    pub distance: [u64; 2],
    /// Attempts that were looked at and may not be moved, by the word for why not.
    pub spared: BTreeMap<&'static str, u64>,
    /// Some of these may be from then on.
    pub spared_until: Option<Served>,
    /// The budget ended the look before all was looked at.
    pub truncated: bool,
}

/// How many moves are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// By the rebalance of this number; none: of one that is to begin.
    pub rebalance: Option<u32>,
    /// At most so many.
    pub moves: usize,
    /// Of each step no more than may be on the move at once.
    pub keeps_share: bool,
}

/// Looks for moves. A pure function of what it is given; `seed` chooses where a look begins that cannot see all.
pub fn propose(
    view: &State,
    observed: &Observed,
    served: Served,
    terms: &RebalanceTerms,
    limits: Limits,
    seed: u64,
    mut budget: Budget,
) -> Proposal {
    let mut search = Search::new((view, observed, served), terms, limits, &mut budget);
    search.proposal.fullness = [search.extremes(); 2];
    match terms.goal {
        Goal::Spread => search.spread(seed, &mut budget),
        Goal::Prefer => search.prefer(seed, &mut budget),
    }
    search.proposal.truncated |= budget.is_spent();
    let [_, after] = &mut search.proposal.fullness;
    *after = search.sites.extremes();
    search.proposal
}

/// A node that takes part.
struct Site {
    node: Arc<Node>,
    /// What it will hold.
    load: Resources,
    /// What is free now.
    free: Resources,
    gpus: GpuUse,
    /// Which of the places between which moves lead.
    domain: usize,
}

impl Site {
    fn side(&self) -> Side<'_> {
        Side { node: &self.node, load: self.load }
    }

    fn fullness(&self) -> u64 {
        fullness(self.load, self.node.capacity)
    }
}

#[derive(Default)]
struct Sites(Vec<Site>);

impl Sites {
    fn extremes(&self) -> (u64, u64) {
        let each = || self.0.iter().map(Site::fullness);
        (each().max().unwrap_or_default(), each().min().unwrap_or_default())
    }
}

struct Search<'a> {
    view: &'a State,
    served: Served,
    terms: &'a RebalanceTerms,
    limits: Limits,
    sites: Sites,
    /// Sites from the emptiest on, by domain.
    order: BTreeSet<(usize, u64, usize)>,
    /// Elements of steps on the move, and how many may be.
    steps: BTreeMap<(RunId, u32), (u32, u32)>,
    proposal: Proposal,
}

/// What tells two elements of a step apart, as far as a node for them is concerned.
type Alike = (RunId, u32, Choice, Option<RegionName>);

/// What has one order of nodes: a step by one of its alternatives, in a domain.
type Prefers = (RunId, u32, Choice, usize);

impl<'a> Search<'a> {
    fn new(
        (view, observed, served): (&'a State, &Observed, Served),
        terms: &'a RebalanceTerms,
        limits: Limits,
        budget: &mut Budget,
    ) -> Self {
        let loads = Loads::of(view);
        let mut domains: BTreeMap<&str, usize> = BTreeMap::new();
        let mut sites = Sites::default();
        // What is on nodes of reservations stays, and nothing is moved there.
        let reserved: BTreeSet<&NodeName> = view.reservations().flat_map(|row| &row.nodes).collect();
        for node in view.nodes() {
            budget.take(1);
            let is_up = node.status == NodeStatus::Up && !node.is_out();
            let takes_part = is_up && !reserved.contains(&node.name) && observed.presence(node) == Presence::Heard;
            if !takes_part {
                continue;
            }
            let name = match terms.reach {
                Reach::Cluster => node.cluster.as_str(),
                Reach::Region => node.region.as_str(),
                Reach::Everywhere => "",
            };
            let next = domains.len();
            let domain = *domains.entry(name).or_insert(next);
            let room = view.room_on(node);
            let (load, free, gpus) = (loads.on(&node.name), room.free, room.gpus.clone());
            sites.0.push(Site { node: node.clone(), load, free, gpus, domain });
        }
        let each = sites.0.iter().enumerate();
        let order = each.map(|(at, site)| (site.domain, site.fullness(), at)).collect();
        Self { view, served, terms, limits, sites, order, steps: BTreeMap::new(), proposal: Proposal::default() }
    }

    fn extremes(&self) -> (u64, u64) {
        self.sites.extremes()
    }

    fn is_full(&self) -> bool {
        self.proposal.moves.len() >= self.limits.moves
    }

    /// From the fullest node of all on, as long as a move brings something.
    fn spread(&mut self, seed: u64, budget: &mut Budget) {
        let mut fullest: BTreeSet<(u64, usize)> =
            self.sites.0.iter().enumerate().map(|(at, site)| (site.fullness(), at)).collect();
        let mut open: BTreeMap<usize, Vec<&'a Arc<Attempt>>> = BTreeMap::new();
        let mut kept_back = budget.keep_back(crate::placement::SEARCH_ONE_IN);
        let mut has_jumped = false;
        while let Some(&(full, at)) = fullest.last() {
            if self.is_full() {
                break;
            }
            if budget.is_spent() {
                // The rest of it from another place, so that all is looked at sooner or later.
                if has_jumped || kept_back.is_spent() {
                    break;
                }
                has_jumped = true;
                self.proposal.truncated = true;
                std::mem::swap(budget, &mut kept_back);
                let skip = usize::try_from(quorate_state::mix(seed) % (fullest.len() as u64)).unwrap_or_default();
                let rest: BTreeSet<(u64, usize)> = fullest.iter().rev().skip(skip).copied().collect();
                fullest = rest;
                continue;
            }
            fullest.remove(&(full, at));
            let emptiest = self.emptiest_of(at);
            let margin = u64::from(self.terms.margin) * 10_000;
            if emptiest.is_none_or(|emptiest| emptiest.saturating_add(margin) > full) {
                continue;
            }
            let candidates = open.entry(at).or_insert_with(|| self.candidates(at, budget));
            let Some((was, moved_to)) = self.move_one_of(at, candidates, budget) else { continue };
            // Both are as full as they are then.
            fullest.remove(&(was, moved_to));
            for changed in [at, moved_to] {
                if let Some(site) = self.sites.0.get(changed) {
                    fullest.insert((site.fullness(), changed));
                }
            }
        }
        budget.steps = budget.steps.saturating_add(kept_back.steps);
    }

    fn emptiest_of(&self, at: usize) -> Option<u64> {
        let domain = self.sites.0.get(at)?.domain;
        let mut others = self.order.range((domain, 0, 0)..(domain + 1, 0, 0)).filter(|(_, _, other)| *other != at);
        others.next().map(|(_, full, _)| *full)
    }

    /// The attempts on a node that may be moved, the oldest first: the youngest, which lose the least, are taken from the end.
    fn candidates(&mut self, at: usize, budget: &mut Budget) -> Vec<&'a Arc<Attempt>> {
        let view = self.view;
        let Some(node) = self.sites.0.get(at).map(|site| site.node.clone()) else { return Vec::new() };
        let mut candidates = Vec::new();
        for id in view.attempts_on(&node.name).map(|attempt| attempt.id).collect::<Vec<AttemptId>>() {
            budget.take(1);
            let Some(attempt) = view.attempt(id) else { continue };
            match movable(view, attempt, self.limits.rebalance, self.served) {
                Ok(_) => candidates.push(attempt),
                Err(why) => self.note(why),
            }
        }
        candidates.sort_by_key(|attempt| (attempt.token, Reverse(attempt.id)));
        candidates
    }

    fn note(&mut self, why: Unmovable) {
        if let Unmovable::Spared(Spared::Until(until)) = why
            && until != Served::NEVER
        {
            self.proposal.spared_until = earlier(self.proposal.spared_until, until);
        }
        *self.proposal.spared.entry(word(why)).or_default() += 1;
    }

    /// Moves the first of these that has a better place; where that is, and how full it was. Who has none has none later in this look
    /// either.
    fn move_one_of(
        &mut self,
        at: usize,
        candidates: &mut Vec<&'a Arc<Attempt>>,
        budget: &mut Budget,
    ) -> Option<(u64, usize)> {
        let mut tried: BTreeSet<Alike> = BTreeSet::new();
        while let Some(attempt) = candidates.pop() {
            let task = attempt.id.task;
            let home = self.view.task(task).and_then(|task| task.home.clone());
            let alike = (task.run, task.step, attempt.choice, home);
            if tried.contains(&alike) || !self.may_begin(task.run, task.step) {
                continue;
            }
            let Some((to, gain)) = self.emptiest_for(at, attempt, budget) else {
                tried.insert(alike);
                continue;
            };
            let was = self.sites.0.get(to).map_or(0, Site::fullness);
            self.take(at, to, attempt, gain);
            return Some((was, to));
        }
        None
    }

    /// The emptiest node that takes it, where that brings something.
    fn emptiest_for(&self, at: usize, attempt: &Attempt, budget: &mut Budget) -> Option<(usize, Gain)> {
        let spec = self.spec(attempt)?;
        let from = self.sites.0.get(at)?;
        for &(_, _, to) in self.order.range((from.domain, 0, 0)..(from.domain + 1, 0, 0)) {
            if !budget.take(1) {
                return None;
            }
            let site = self.sites.0.get(to).filter(|_| to != at)?;
            if site.fullness() >= from.fullness() {
                return None;
            }
            let gain = self.terms.gain(&spec, &from.side(), &site.side());
            if let Some(gain) = gain.filter(|_| self.takes(site, attempt, &spec)) {
                return Some((to, gain));
            }
        }
        None
    }

    /// Each attempt that prefers something to the node that is nearest to that.
    fn prefer(&mut self, seed: u64, budget: &mut Budget) {
        let count = self.sites.0.len();
        let start = usize::try_from(quorate_state::mix(seed) % (count.max(1) as u64)).unwrap_or_default();
        let mut ranked: BTreeMap<Prefers, Vec<(u64, usize)>> = BTreeMap::new();
        for at in (start..count).chain(0..start) {
            let mut candidates = self.candidates(at, budget);
            while let Some(attempt) = candidates.pop() {
                if budget.is_spent() {
                    return;
                }
                let Some(spec) = self.spec(attempt).filter(|spec| !spec.place.prefer.is_empty()) else { continue };
                let Some(from) = self.sites.0.get(at) else { continue };
                self.proposal.distance[0] += distance(&from.node, &spec.place);
                self.proposal.distance[1] += distance(&from.node, &spec.place);
                let task = attempt.id.task;
                if self.is_full() || !self.may_begin(task.run, task.step) {
                    continue;
                }
                let domain = self.sites.0.get(at).map_or(0, |site| site.domain);
                let key = (task.run, task.step, attempt.choice, domain);
                let ranking = ranked.entry(key).or_insert_with(|| self.ranking(domain, &spec, budget));
                let Some((to, gain)) = self.nearest_for(at, attempt, ranking, budget) else { continue };
                self.proposal.distance[1] -= gain.before - gain.after;
                self.take(at, to, attempt, gain);
            }
        }
    }

    /// The nodes of a domain within a task's limits, the nearest to what it prefers first, of these the emptiest.
    fn ranking(&self, domain: usize, spec: &TaskSpec, budget: &mut Budget) -> Vec<(u64, usize)> {
        let of_domain = self.order.range((domain, 0, 0)..(domain + 1, 0, 0));
        let mut ranking: Vec<(u64, usize)> = of_domain
            .filter_map(|&(_, _, at)| {
                budget.take(1);
                let site = self.sites.0.get(at)?;
                feasible(&site.node, Room::empty(&site.node), spec).ok()?;
                Some((distance(&site.node, &spec.place), at))
            })
            .collect();
        ranking.sort_by_key(|(distance, _)| *distance);
        ranking
    }

    fn nearest_for(
        &self,
        at: usize,
        attempt: &Attempt,
        ranking: &[(u64, usize)],
        budget: &mut Budget,
    ) -> Option<(usize, Gain)> {
        let spec = self.spec(attempt)?;
        let from = self.sites.0.get(at)?;
        for &(_, to) in ranking {
            if !budget.take(1) {
                return None;
            }
            let site = self.sites.0.get(to)?;
            // Those behind it are farther away.
            let gain = self.terms.gain(&spec, &from.side(), &site.side())?;
            if to != at && self.takes(site, attempt, &spec) {
                return Some((to, gain));
            }
        }
        None
    }

    /// The task as it goes on elsewhere: by the alternative that the attempt has taken.
    fn spec(&self, attempt: &Attempt) -> Option<Cow<'a, TaskSpec>> {
        let spec = self.view.run(attempt.id.task.run)?.spec.tasks.get(attempt.id.task.step as usize)?;
        spec.chosen(attempt.choice)
    }

    fn takes(&self, site: &Site, attempt: &Attempt, spec: &TaskSpec) -> bool {
        let home = self.view.task(attempt.id.task).and_then(|task| task.home.as_ref());
        self.view.bound(home, spec, self.served).allows(&site.node.region)
            && feasible(&site.node, Room { free: site.free, gpus: &site.gpus }, spec).is_ok()
    }

    fn may_begin(&mut self, run: RunId, step: u32) -> bool {
        let (moving, max) = self.step(run, step);
        moving < max
    }

    fn step(&mut self, run: RunId, step: u32) -> (u32, u32) {
        if !self.limits.keeps_share {
            return (0, u32::MAX);
        }
        let (view, terms) = (self.view, self.terms);
        *self.steps.entry((run, step)).or_insert_with(|| {
            let (moving, up) = view.step_moves(run, step);
            (moving, terms.moving_max(up))
        })
    }

    /// It goes there: as if it had arrived, and with the room taken.
    fn take(&mut self, at: usize, to: usize, attempt: &Attempt, gain: Gain) {
        let Some(spec) = self.spec(attempt) else { return };
        let task = attempt.id.task;
        let counted = self.step(task.run, task.step);
        self.steps.insert((task.run, task.step), (counted.0.saturating_add(1), counted.1));
        for changed in [at, to] {
            if let Some(site) = self.sites.0.get(changed) {
                self.order.remove(&(site.domain, site.fullness(), changed));
            }
        }
        let from = self.sites.0.get_mut(at).map(|site| {
            site.load = site.load.saturating_sub(attempt.resources);
            site.node.name.clone()
        });
        let reached = self.sites.0.get_mut(to).map(|site| {
            site.load = site.load.saturating_add(spec.resources);
            site.free = site.free.saturating_sub(spec.resources);
            let want = GpuWant::of(&spec);
            if let Some(hold) = want.choose(want.allowed(&site.node), &site.gpus) {
                site.gpus.take(hold);
            }
            (site.node.name.clone(), site.node.epoch)
        });
        for changed in [at, to] {
            if let Some(site) = self.sites.0.get(changed) {
                self.order.insert((site.domain, site.fullness(), changed));
            }
        }
        let (Some(from), Some((to, epoch))) = (from, reached) else { return };
        self.proposal.moves.push(Proposed { moving: Moving { attempt: attempt.id, to, epoch }, from, gain });
    }
}

/// The machine-readable word for why an attempt is not moved.
fn word(why: Unmovable) -> &'static str {
    match why {
        Unmovable::Spared(Spared::Ending) => "ENDING",
        Unmovable::Spared(Spared::NodeLost) => "NODE_LOST",
        Unmovable::Spared(Spared::StartedOnce) => "STARTED_ONCE",
        Unmovable::Spared(Spared::Protected) => "NOT_PREEMPTIBLE",
        Unmovable::Spared(Spared::InGang) => "IN_GANG",
        Unmovable::Spared(Spared::Paused) => "PAUSED",
        Unmovable::Spared(Spared::Until(_)) => "PLACED_RECENTLY",
        Unmovable::InCompany => "IN_COMPANY",
        Unmovable::MovedBefore => "MOVED_BEFORE",
        Unmovable::Replaced => "REPLACED",
    }
}

/// Moves work to better places while somebody has asked for that.
///
/// **Invariant:** what it remembers never decides: the budget is in the view.
#[derive(Debug, Default)]
pub(crate) struct Rebalancer {
    /// Moves that this leader has asked for, of the rebalance of that number.
    asked: (u32, u32),
}

impl Controller for Rebalancer {
    fn name(&self) -> &'static str {
        "rebalance"
    }

    fn is_idle(&self, view: &State) -> bool {
        view.rebalancing().is_none()
    }

    /// It looks a few times in a second: whoever is on the move takes longer.
    fn is_timed(&self) -> bool {
        true
    }

    fn step(&mut self, view: &State, observed: &Observed, now: LogNow, seed: u64, budget: Budget) -> Decision {
        let Some(rebalance) = view.rebalancing() else { return Decision::default() };
        if self.asked.0 != rebalance.number {
            self.asked = (rebalance.number, 0);
        }
        let (moves, ends, truncated) = self.decide(view, rebalance, observed, now, seed, budget);
        self.asked.1 = self.asked.1.saturating_add(u32::try_from(moves.len()).unwrap_or(u32::MAX));
        let under_way = view.moves_count() as u64;
        let counts = vec![("moves_asked", moves.len() as u64), ("moves_under_way", under_way)];
        let wake_at = Some(now.served.plus(LOOK_AGAIN_MS).min(rebalance.ends.max(now.served.plus(1))));
        let commands = if moves.is_empty() && ends.is_none() {
            Vec::new()
        } else {
            vec![Command::MoveAttempts { rebalance: rebalance.number, moves, ends }]
        };
        Decision { commands, wake_at, report: Report { counts, truncated, notes: Vec::new() } }
    }
}

impl Rebalancer {
    /// What moves now, whether it is over, and whether there was more to look at.
    fn decide(
        &self,
        view: &State,
        rebalance: &Rebalance,
        observed: &Observed,
        now: LogNow,
        seed: u64,
        budget: Budget,
    ) -> (Vec<Moving>, Option<RebalanceEnd>, bool) {
        let nothing = |ends| (Vec::new(), ends, false);
        if let Some(over) = view.rebalance_over(rebalance, now.served) {
            return nothing(Some(over));
        }
        if lease::is_braked(view, observed, now.served) {
            return nothing(Some(RebalanceEnd::Silent));
        }
        let is_still = view.moves_count() == 0;
        let spent = self.spent(rebalance);
        if spent >= rebalance.terms.moves_max {
            return nothing(is_still.then_some(RebalanceEnd::MovesSpent));
        }
        let left = rebalance.terms.moves_max.saturating_sub(spent).min(MOVES_AT_ONCE_MAX) as usize;
        let room = (rebalance.terms.at_once as usize).saturating_sub(view.moves_count());
        let is_open = |node: &Node| node.status == NodeStatus::Up && observed.presence(node) != Presence::Heard;
        // What is silent may be lost, and what has not reported may be full: both are known soon.
        let is_unclear = view.nodes().any(|node| is_open(node));
        if room == 0 || is_unclear {
            return nothing(None);
        }
        let limits = Limits { rebalance: Some(rebalance.number), moves: left.min(room), keeps_share: true };
        let found = propose(view, observed, now.served, &rebalance.terms, limits, seed, budget);
        let moves: Vec<Moving> = found.moves.into_iter().map(|proposed| proposed.moving).collect();
        // Those that were placed a short time ago may be moved later.
        let is_later = found.spared_until.is_some_and(|until| until < rebalance.ends);
        let is_done = moves.is_empty() && is_still && !found.truncated && !is_later;
        (moves, is_done.then_some(RebalanceEnd::Done), found.truncated)
    }

    /// Moves that were begun, as the row says.
    fn spent(&self, rebalance: &Rebalance) -> u32 {
        if quorate_planted::is(Bug::MovesCountedByLeader) { self.asked.1 } else { rebalance.begun }
    }
}
