//! The namespaces that have something in the queue, and those above them: what each holds as this plan spends, and whose turn it
//! is.
//!
//! Fairness is that of dominant resources (Ghodsi and others, "Dominant Resource Fairness", NSDI 2011) over a tree: at each level goes first who has
//! the most urgent task, then who stays within its guarantee, then who has the least for its weight. What somebody has is the part of
//! the cluster that it holds of that resource of which it holds most, and the same of what it has held.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::{Amounts, Namespace, OverQuota, ReadyKey, Resources, State, WEIGHT_FIRST, WEIGHT_MAX, dominant};

/// Parts in which what somebody has is counted, for the largest weight.
const PARTS: u128 = (1 << 24) * WEIGHT_MAX as u128;

/// The tree. Its first node stands for the cluster.
pub(super) struct Tenants<'a> {
    nodes: Vec<Tenant<'a>>,
    /// What those have in the queue themselves is a node of its own, beside those below them.
    own: BTreeMap<&'a Namespace, usize>,
    /// What all nodes that are up have together.
    capacity: Resources,
}

struct Tenant<'a> {
    /// None: the cluster, or what a namespace runs itself.
    name: Option<&'a Namespace>,
    parent: usize,
    weight: u32,
    guaranteed: Amounts,
    maximum: Amounts,
    /// With what this plan has given to it.
    held: Resources,
    past: Resources,
    /// What it has in the queue itself: the first task of each line, with its line.
    heads: BTreeSet<(ReadyKey, usize)>,
    /// Those below it that have something in the queue, the next one first.
    turns: BTreeSet<(Turn, usize)>,
    /// Its own place among those of its parent.
    turn: Option<Turn>,
}

/// Who goes first: the least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// Of its most urgent task.
    priority_inverse: u8,
    /// With that it would have more than is guaranteed to it.
    is_beyond: bool,
    /// What it has, for its weight.
    has: u64,
}

impl<'a> Tenants<'a> {
    /// Those of `namespaces` and above them; `namespaces` is in order.
    pub(super) fn of(view: &'a State, namespaces: &BTreeSet<&'a Namespace>) -> Self {
        let cluster = Tenant::of(None, 0, (Resources::ZERO, Resources::ZERO));
        let mut tenants = Self { nodes: vec![cluster], own: BTreeMap::new(), capacity: view.capacity() };
        let mut known: BTreeMap<&'a Namespace, usize> = BTreeMap::new();
        // In the order of their names, so that the first of equals has the smallest number.
        let all: BTreeSet<&'a Namespace> =
            namespaces.iter().flat_map(|name| view.lineage(name)).map(|row| &row.name).collect();
        for name in all {
            known.insert(name, tenants.nodes.len());
            let own = (view.held_below(name), view.past_below(name));
            tenants.nodes.push(Tenant::of(Some(name), 0, own));
        }
        for (name, at) in &known {
            let Some(row) = view.namespace(name) else { continue };
            let parent = row.share.parent.as_ref().and_then(|parent| known.get(parent)).copied().unwrap_or(0);
            let node = &mut tenants.nodes[*at];
            (node.parent, node.weight) = (parent, row.share.weight);
            (node.guaranteed, node.maximum) = (row.share.guaranteed, row.share.maximum);
        }
        for name in namespaces {
            let Some((name, at)) = known.get_key_value(name) else { continue };
            tenants.own.insert(name, tenants.nodes.len());
            let past = view.namespace(name).map_or(Resources::ZERO, |row| row.past.held);
            tenants.nodes.push(Tenant::of(None, *at, (view.held_by(name), past)));
        }
        tenants
    }

    /// Where what a namespace runs itself stands.
    pub(super) fn own(&self, namespace: &Namespace) -> Option<usize> {
        self.own.get(namespace).copied()
    }

    /// Why a task of the namespace at `own` that takes so much may not be placed whatever the room.
    pub(super) fn over_quota(&self, own: usize, asked: Resources) -> Option<OverQuota> {
        self.lineage(own).find_map(|node| {
            let name = node.name?;
            OverQuota::of(name, node.maximum, node.held, asked)
        })
    }

    /// Gives so much to the namespace at `own`, and so to all above it.
    pub(super) fn spend(&mut self, own: usize, taken: Resources) {
        let mut at = own;
        while at != 0 {
            let node = &mut self.nodes[at];
            node.held = node.held.saturating_add(taken);
            at = node.parent;
        }
    }

    /// The first task of a line is this one from now on, in the place of that one.
    pub(super) fn set_head(&mut self, own: usize, line: usize, old: Option<ReadyKey>, new: Option<ReadyKey>) {
        let heads = &mut self.nodes[own].heads;
        if let Some(old) = old {
            heads.remove(&(old, line));
        }
        heads.extend(new.map(|new| (new, line)));
    }

    /// The task whose turn it is, and its line.
    pub(super) fn next(&self) -> Option<(ReadyKey, usize)> {
        self.first_of(0)
    }

    fn first_of(&self, at: usize) -> Option<(ReadyKey, usize)> {
        let mut node = self.nodes.get(at)?;
        while let Some((_, below)) = node.turns.first() {
            node = &self.nodes[*below];
        }
        node.heads.first().copied()
    }

    /// Puts a namespace and those above it where they belong, after something of it has changed. `asks` says what the tasks of
    /// a line take.
    pub(super) fn settle(&mut self, own: usize, asks: impl Fn(usize) -> Resources) {
        let mut at = own;
        while at != 0 {
            let turn = self.first_of(at).map(|(head, line)| self.turn(&self.nodes[at], head, asks(line)));
            let (parent, old) = (self.nodes[at].parent, std::mem::replace(&mut self.nodes[at].turn, turn));
            let turns = &mut self.nodes[parent].turns;
            if let Some(old) = old {
                turns.remove(&(old, at));
            }
            turns.extend(turn.map(|turn| (turn, at)));
            at = parent;
        }
    }

    fn turn(&self, node: &Tenant<'_>, head: ReadyKey, asked: Resources) -> Turn {
        let is_beyond = !node.guaranteed.cover(node.held, asked);
        let part = |held| dominant(held, self.capacity, PARTS);
        let has = part(node.held) + part(node.past);
        let has = u64::try_from(has / u128::from(node.weight.max(1))).unwrap_or(u64::MAX);
        Turn { priority_inverse: head.priority_inverse, is_beyond, has }
    }

    fn lineage(&self, own: usize) -> impl Iterator<Item = &Tenant<'a>> {
        let above = |at: &usize| Some(self.nodes[*at].parent).filter(|parent| *parent != 0);
        std::iter::successors(Some(own).filter(|own| *own != 0), above).map(|at| &self.nodes[at])
    }
}

impl<'a> Tenant<'a> {
    fn of(name: Option<&'a Namespace>, parent: usize, (held, past): (Resources, Resources)) -> Self {
        let (guaranteed, maximum) = (Amounts::default(), Amounts::default());
        let (heads, turns) = (BTreeSet::new(), BTreeSet::new());
        Self { name, parent, weight: WEIGHT_FIRST, guaranteed, maximum, held, past, heads, turns, turn: None }
    }
}
