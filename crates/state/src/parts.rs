//! What namespaces hold beside their parts of the cluster: whether a task of one may take the room of another's.
//!
//! The part of a namespace is that of its parent, by its weight among its siblings that hold or wait for anything; that of the
//! cluster is all of it. What it holds is what its attempts have that nobody has asked to stop, and what room is kept for: that will
//! be so when those who leave have gone and those for whom room is kept have come. Of what it has held before nothing counts: it would
//! change by itself, and nothing that is decided here could come to an end.
//!
//! **Counted is what is as urgent as the victim, or more**, on both sides. So what is less urgent cannot be pushed about by those above it
//! such that it lends what is more urgent a right to more.
//!
//! Whoever takes stays at or below its part, or within its guarantee, and whoever loses stays at or above its own, by a gap, and keeps
//! what is guaranteed to it; nor does a namespace above both come to lack anything by it. So what all lack of their parts grows less with
//! each exchange, and it comes to an end (ADR 0068).

use std::collections::{BTreeMap, BTreeSet};

use quorate_planted::Bug;

use crate::namespace::dominant;
use crate::{Amounts, Namespace, Resource, Resources, State, WEIGHT_FIRST};

/// All of the cluster, in the unit in which parts of it are counted.
const WHOLE: u128 = 1 << 60;

/// What a namespace had beside its part, and another one, when one took the room of the other: all in millionths of the cluster. What
/// counted is what was as urgent as the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareTaken {
    /// What the one had that took it, without that.
    pub had_ppm: u32,
    /// Its part.
    pub part_ppm: u32,
    /// What the other one had, with what it lost.
    pub from_had_ppm: u32,
    /// Its part.
    pub from_part_ppm: u32,
    /// It was within what is guaranteed to the one that took it.
    pub guaranteed: bool,
}

/// Why a task may not take the room of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfair {
    /// They are of the same namespace.
    Same,
    /// They stand at different heights beside it: each needs another measure.
    Apart,
    /// Its namespace has its part, or would have more.
    Enough,
    /// Another one would be left with less than its part and the gap, or than its guarantee.
    Needed,
    /// One above both would be left with less than its part, or than its guarantee.
    NeededAbove,
}

impl Unfair {
    /// In words.
    pub fn why(self) -> &'static str {
        match self {
            Self::Same => "an attempt to be stopped is as urgent, and of the same namespace",
            Self::Apart => "attempts to be stopped are of namespaces at different heights",
            Self::Enough => "the namespace of the task has its part",
            Self::Needed => "a namespace would be left with less than its part",
            Self::NeededAbove => "a namespace above both would be left with less than its part",
        }
    }
}

/// What an attempt has, or a task would have.
#[derive(Clone, Copy, Debug)]
pub struct Stake<'a> {
    /// Of this namespace.
    pub namespace: &'a Namespace,
    /// At this priority.
    pub priority: u8,
    /// So much.
    pub resources: Resources,
}

/// The namespaces that hold or wait for something, those above them, and what each has itself, which stands beside those below it.
pub struct Parts<'a> {
    /// The first one stands for the cluster.
    parties: Vec<Party>,
    own: BTreeMap<&'a Namespace, usize>,
    /// What all nodes that are up have together.
    capacity: Resources,
}

/// One that has a part: a namespace with all below it, or what it has itself.
struct Party {
    parent: usize,
    weight: u32,
    guaranteed: Amounts,
    part: u128,
    /// By priority.
    held: BTreeMap<u8, Resources>,
}

impl Party {
    /// Below this one.
    fn below(parent: usize) -> Self {
        let (guaranteed, held) = (Amounts::default(), BTreeMap::new());
        Self { parent, weight: WEIGHT_FIRST, guaranteed, part: WHOLE, held }
    }

    /// What it holds at this priority or above.
    fn held_from(&self, least: u8) -> Resources {
        self.held.range(least..).fold(Resources::ZERO, |sum, (_, held)| sum.saturating_add(*held))
    }
}

impl<'a> Parts<'a> {
    /// As they are in a state. Costs as much as there are namespaces, nodes, lines of the queue and claims.
    pub fn of(state: &'a State) -> Self {
        let waiting = state.lines().map(|line| line.namespace());
        // An attempt on a lost node still counts, and its task may wait for something else than a node meanwhile.
        let has =
            |name: &Namespace| state.held_by(name) != Resources::ZERO || state.unstopped_by(name).next().is_some();
        let holding = state.namespaces().map(|row| &row.name).filter(|name| has(name));
        let active: BTreeSet<&'a Namespace> = waiting.chain(holding).collect();
        let mut parts = Self { parties: vec![Party::below(0)], own: BTreeMap::new(), capacity: state.capacity() };
        let mut known: BTreeMap<&'a Namespace, usize> = BTreeMap::new();
        let all: BTreeSet<&'a Namespace> =
            active.iter().flat_map(|name| state.lineage(name)).map(|row| &row.name).collect();
        for name in all {
            known.insert(name, parts.parties.len());
            parts.parties.push(Party::below(0));
        }
        for (name, at) in &known {
            let Some(row) = state.namespace(name) else { continue };
            let parent = row.share.parent.as_ref().and_then(|parent| known.get(parent)).copied().unwrap_or(0);
            let party = &mut parts.parties[*at];
            (party.parent, party.weight, party.guaranteed) = (parent, row.share.weight, row.share.guaranteed);
        }
        for name in &active {
            let Some((name, at)) = known.get_key_value(name) else { continue };
            parts.own.insert(name, parts.parties.len());
            parts.parties.push(Party::below(*at));
        }
        parts.divide();
        for name in active {
            for (priority, resources) in state.unstopped_by(name) {
                parts.give(Stake { namespace: name, priority, resources });
            }
        }
        for claim in state.claims() {
            let Some(run) = state.run(claim.task.run) else { continue };
            let (namespace, priority) = (&run.spec.namespace, run.priority());
            parts.give(Stake { namespace, priority, resources: claim.terms.resources });
        }
        parts
    }

    /// There are several between whom something can change hands.
    pub fn are_several(&self) -> bool {
        self.own.len() > 1
    }

    /// A namespace has so much more.
    pub fn give(&mut self, stake: Stake<'_>) {
        self.change(stake, Resources::saturating_add);
    }

    /// It has so much less.
    pub fn take(&mut self, stake: Stake<'_>) {
        self.change(stake, Resources::saturating_sub);
    }

    /// What the exchange comes to in which a task takes the room of others: for each of them what decides, or why it may not be. The gap
    /// is in hundredths of a part.
    pub fn judge(&self, by: Stake<'_>, from: &[Stake<'_>], gap: u8) -> Result<Vec<ShareTaken>, Unfair> {
        let own = self.own.get(by.namespace).copied().ok_or(Unfair::Same)?;
        let mine: Vec<usize> = self.lineage(own).collect();
        let mut losers: Vec<(usize, Stake<'_>)> = Vec::new();
        let mut taker = None;
        for stake in from {
            let theirs = self.own.get(stake.namespace).copied().ok_or(Unfair::Same)?;
            let (mine, theirs) = self.beside(&mine, theirs).ok_or(Unfair::Same)?;
            if taker.is_some_and(|taker| taker != mine) {
                return Err(Unfair::Apart);
            }
            taker = Some(mine);
            losers.push((theirs, *stake));
        }
        let Some(taker) = taker else { return Ok(Vec::new()) };
        let above: Vec<usize> = self.lineage(self.parties[taker].parent).collect();
        let levels: BTreeSet<u8> = losers.iter().map(|(_, stake)| stake.priority).collect();
        let mut guaranteed = BTreeMap::new();
        for level in levels {
            let lost: Vec<(usize, Resources)> = losers
                .iter()
                .filter(|(_, stake)| stake.priority >= level)
                .map(|(loser, stake)| (*loser, stake.resources))
                .collect();
            let within = self.may_have(taker, level, by.resources).ok_or(Unfair::Enough)?;
            guaranteed.insert(level, within);
            let mut sums: BTreeMap<usize, Resources> = BTreeMap::new();
            for (loser, resources) in &lost {
                let sum = sums.entry(*loser).or_default();
                *sum = sum.saturating_add(*resources);
            }
            let can_spare = |(loser, lost): (&usize, &Resources)| self.can_spare(*loser, level, *lost, within, gap);
            if !sums.iter().all(can_spare) {
                return Err(Unfair::Needed);
            }
            let all = lost.iter().fold(Resources::ZERO, |sum, (_, lost)| sum.saturating_add(*lost));
            if !above.iter().all(|party| self.stays_whole(*party, level, all, by.resources)) {
                return Err(Unfair::NeededAbove);
            }
        }
        let taken = |(loser, stake): &(usize, Stake<'_>)| ShareTaken {
            had_ppm: ppm(self.has(taker, stake.priority)),
            part_ppm: ppm(self.parties[taker].part),
            from_had_ppm: ppm(self.has(*loser, stake.priority)),
            from_part_ppm: ppm(self.parties[*loser].part),
            guaranteed: guaranteed.get(&stake.priority).copied().unwrap_or_default(),
        };
        Ok(losers.iter().map(taken).collect())
    }

    /// Whether a task could take the room of anybody at all: somewhere above it a party is below its part that has a sibling above its
    /// own.
    pub fn may_ask(&self, by: Stake<'_>) -> bool {
        let Some(own) = self.own.get(by.namespace).copied() else { return false };
        self.lineage(own).any(|mine| {
            let is_beside = |party: &Party| party.parent == self.parties[mine].parent;
            let Some(within) = self.may_have(mine, by.priority, by.resources) else { return false };
            (1..self.parties.len()).any(|at| {
                at != mine && is_beside(&self.parties[at]) && (within || self.has(at, 0) > self.parties[at].part)
            })
        })
    }

    /// How a namespace stands beside others, the neediest least: from the top, whether it is beyond its guarantee with what it asks
    /// for, and what it has for its part.
    pub fn need(&self, by: Stake<'_>) -> Vec<(bool, u128)> {
        let Some(own) = self.own.get(by.namespace).copied() else { return Vec::new() };
        let need = |at: usize| {
            let party = &self.parties[at];
            let is_within = party.guaranteed.cover(party.held_from(by.priority), by.resources);
            (!is_within, self.has(at, by.priority).saturating_mul(1 << 20) / party.part.max(1))
        };
        let mut needs: Vec<(bool, u128)> = self.lineage(own).map(need).collect();
        needs.reverse();
        needs
    }

    /// All that have a part, each with its depth from 1 on, its guarantee, its part and what it holds at a priority or above, as it is
    /// and as a part, in the same unit.
    pub fn parties(&self, least: u8) -> impl Iterator<Item = (usize, Amounts, u128, Resources, u128)> {
        (1..self.parties.len()).map(move |at| {
            let Party { guaranteed, part, .. } = &self.parties[at];
            let held = self.parties[at].held_from(least);
            (self.lineage(at).count(), *guaranteed, *part, held, self.has(at, least))
        })
    }

    /// Says what part each has, from the top.
    fn divide(&mut self) {
        let mut weights: BTreeMap<usize, u128> = BTreeMap::new();
        for party in self.parties.iter().skip(1) {
            *weights.entry(party.parent).or_default() += u128::from(party.weight.max(1));
        }
        for at in 1..self.parties.len() {
            let lineage: Vec<usize> = self.lineage(at).collect();
            let part = lineage.iter().rev().fold(WHOLE, |part, at| {
                let party = &self.parties[*at];
                let all = weights.get(&party.parent).copied().unwrap_or(1);
                part * u128::from(party.weight.max(1)) / all
            });
            self.parties[at].part = part;
        }
    }

    /// Whether a party may have so much more: none if not, and true if that is within its guarantee.
    fn may_have(&self, at: usize, level: u8, more: Resources) -> Option<bool> {
        let party = &self.parties[at];
        let held = party.held_from(level);
        if party.guaranteed.cover(held, more) {
            return Some(true);
        }
        if quorate_planted::is(Bug::SharesRoundAndRound) {
            return Some(false);
        }
        let is_below = self.part_of(held) < party.part && self.part_of(held.saturating_add(more)) <= party.part;
        is_below.then_some(false)
    }

    /// Whether a party may lose so much.
    fn can_spare(&self, at: usize, level: u8, lost: Resources, within: bool, gap: u8) -> bool {
        if quorate_planted::is(Bug::SharesBelowPart) {
            return true;
        }
        let party = &self.parties[at];
        let left = party.held_from(level).saturating_sub(lost);
        let gap = u128::from(gap) + 100;
        let is_above = self.part_of(left).saturating_mul(100) >= party.part.saturating_mul(gap);
        keeps(party.guaranteed, left, lost) && (within || is_above)
    }

    /// Whether a party above both lacks nothing more, if so much of it is lost and so much comes.
    fn stays_whole(&self, at: usize, level: u8, lost: Resources, comes: Resources) -> bool {
        let party = &self.parties[at];
        let before = party.held_from(level);
        let after = before.saturating_sub(lost).saturating_add(comes);
        let net = before.saturating_sub(after);
        net == Resources::ZERO || (keeps(party.guaranteed, after, net) && self.part_of(after) >= party.part)
    }

    /// The two that stand beside each other below the last namespace above both: of this lineage, and of that party.
    fn beside(&self, mine: &[usize], theirs: usize) -> Option<(usize, usize)> {
        if quorate_planted::is(Bug::SharesIgnoreTree) {
            return mine.first().copied().filter(|mine| *mine != theirs).map(|mine| (mine, theirs));
        }
        let above = |at: usize| self.parties[at].parent;
        self.lineage(theirs).find_map(|theirs| {
            let sibling = mine.iter().copied().find(|mine| *mine != theirs && above(*mine) == above(theirs))?;
            // What they have in common comes further up.
            Some((sibling, theirs))
        })
    }

    fn lineage(&self, at: usize) -> impl Iterator<Item = usize> {
        let above = |at: &usize| Some(self.parties[*at].parent).filter(|parent| *parent != 0);
        std::iter::successors(Some(at).filter(|at| *at != 0), above)
    }

    /// What a party has at a priority or above.
    fn has(&self, at: usize, level: u8) -> u128 {
        self.part_of(self.parties[at].held_from(level))
    }

    fn part_of(&self, held: Resources) -> u128 {
        dominant(held, self.capacity, WHOLE)
    }

    fn change(
        &mut self,
        Stake { namespace, priority, resources }: Stake<'_>,
        by: impl Fn(Resources, Resources) -> Resources,
    ) {
        let Some(own) = self.own.get(namespace).copied() else { return };
        let lineage: Vec<usize> = self.lineage(own).collect();
        for at in lineage {
            let held = self.parties[at].held.entry(priority).or_default();
            *held = by(*held, resources);
        }
    }
}

impl State {
    /// The namespaces that stand beside each other below the last one that is above both, or none: each of the two, or one above it.
    pub fn siblings_of(&self, one: &Namespace, other: &Namespace) -> (Namespace, Namespace) {
        let lines = [one, other].map(|of| self.lineage(of).map(|row| &row.name).collect::<Vec<_>>());
        let common = lines[0].iter().rev().zip(lines[1].iter().rev()).take_while(|(one, other)| one == other).count();
        let below = |line: &[&Namespace], own: &Namespace| {
            line.len().checked_sub(common + 1).and_then(|at| line.get(at).copied()).unwrap_or(own).clone()
        };
        (below(&lines[0], one), below(&lines[1], other))
    }

    /// What the attempts of a namespace have that nobody has asked to stop, by priority; those of namespaces below it are not counted.
    pub fn unstopped_by(&self, namespace: &Namespace) -> impl Iterator<Item = (u8, Resources)> {
        self.index.tenants().unstopped(namespace)
    }
}

/// Whether what is left is no less than what is guaranteed, of all of which something is lost.
fn keeps(guaranteed: Amounts, left: Resources, lost: Resources) -> bool {
    Resource::ALL.into_iter().all(|resource| {
        resource.of(lost) == 0 || guaranteed.of(resource).is_none_or(|least| resource.of(left) >= least)
    })
}

/// In millionths.
fn ppm(part: u128) -> u32 {
    u32::try_from(part.saturating_mul(1_000_000) / WHOLE).unwrap_or(u32::MAX)
}
