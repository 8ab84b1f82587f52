//! What every node has left, as this plan spends it; and before that, as the view says.
//!
//! It is kept between plans. A view that goes on from the last one says which nodes have changed since, and those are read
//! again, with those that the last plan spent on, whatever became of that plan. After any other view, and when a node has come
//! or gone, all are read.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_planted::Bug;
use quorate_state::{
    ClusterName, Epoch, GpuHold, GpuUse, GpuWant, Load, Node, NodeName, NodeStatus, Reservation, Resources, Room,
    Served, State, Touch, TouchMark, Vacancy, has_room,
};

use super::candidates::Term;
use super::changes::Changes;
use super::devices::{Devices, Gpus};
use super::kept::Wanted;
use super::route::admit;
use super::score::{Score, score, terms};
use crate::explain::Check;
use crate::{Latencies, Observed, Presence};

/// The nodes with their room, numbered in the order of their clusters' names and then of their own. Clusters are numbered in
/// the order of their names.
#[derive(Default)]
pub(super) struct Ledger {
    nodes: Vec<Account>,
    clusters: Vec<ClusterAccount>,
    /// By name.
    sights: Vec<Sight>,
    /// Which nodes have changed: whoever keeps something about nodes reads from where it stopped and looks at those again.
    changes: Changes,
    gpus: Gpus,
    /// Up to where the views have been read. None: all of the next one must be.
    mark: Option<TouchMark>,
    /// Spent on since the last view was read, each as often as it was.
    spent: Vec<usize>,
    /// Nodes that are kept for somebody.
    kept: Vec<usize>,
    /// Nodes of reservations whose time has not begun, and when the first of them does.
    planned: BTreeMap<usize, Served>,
    /// Those reservations.
    reservations: Vec<Arc<Reservation>>,
    /// How far regions are from each other.
    latencies: Latencies,
}

/// What is void of all that was kept about nodes, once another view was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Void {
    /// Nothing: the changes tell what to look at again.
    Nothing,
    /// What goes by how far regions are from each other.
    Distances,
    /// All of it: nodes have other numbers now.
    All,
}

/// One node's account.
pub(super) struct Account {
    pub(super) node: Arc<Node>,
    pub(super) presence: Presence,
    /// Number of its cluster.
    pub(super) cluster: usize,
    pub(super) used: Resources,
    /// What is taken of each of its GPUs.
    pub(super) gpus: GpuUse,
    /// The same as packing sees it; none without GPUs, or when packing can foretell nothing of them.
    pub(super) devices: Option<Box<Devices>>,
    /// Attempts that are there or planned to be.
    pub(super) attempts: u64,
    /// Differs where what it has and what is free of it do, as good as always.
    digest: u64,
    /// Its place by name.
    sight: usize,
    /// The number of the last change of its row or its presence: what keeps a task away but room has been the same since.
    limits_since: u64,
    /// It is kept: for a task that waits, until the next view is read, or for a reservation.
    pub(super) is_kept: bool,
}

/// What is looked at in what the leader sees of a node.
struct Sight {
    name: NodeName,
    number: usize,
    epoch: Epoch,
    agent_ms: u64,
    /// The account says the same.
    presence: Presence,
}

/// What the nodes of a cluster that take work have in total; wide, for what agents claim is only
/// bounded node by node.
#[derive(Clone, Default)]
pub(super) struct ClusterAccount {
    pub(super) capacity: [u128; 3],
    pub(super) used: [u128; 3],
    pub(super) attempts: u64,
    /// The number of its first node.
    pub(super) first: usize,
    /// How many nodes it has.
    pub(super) nodes: usize,
}

impl Account {
    pub(super) fn free(&self) -> Resources {
        self.node.capacity.saturating_sub(self.used)
    }

    pub(super) fn room(&self) -> Room<'_> {
        Room { free: self.free(), gpus: &self.gpus }
    }

    fn is_open(&self) -> bool {
        self.node.status == NodeStatus::Up && !self.node.is_out()
    }

    /// All that placement can tell two nodes apart by that are worth the same for a task.
    fn content(&self) -> ([u64; 3], [u64; 3], u64, Option<&Devices>) {
        let amounts = |of: Resources| [of.cpu_milli, of.memory_bytes, of.gpu_milli];
        let price = self.node.offer.price.map_or(u64::MAX, |price| price.0);
        (amounts(self.free()), amounts(self.node.capacity), price, self.devices.as_deref())
    }

    /// Works out what follows from the rest.
    fn settle(&mut self, gpus: &Gpus) {
        self.devices = gpus.devices(&self.node, self.free(), &self.gpus).map(Box::new);
        let (free, capacity, price, devices) = self.content();
        let amounts = free.into_iter().chain(capacity).chain([price]).chain(devices.map(|devices| devices.digest));
        self.digest = amounts.fold(0, |digest, amount| quorate_state::mix(digest ^ amount));
    }
}

impl Ledger {
    /// Reads a view, and what is seen beside it.
    pub(super) fn follow(&mut self, view: &State, observed: &Observed) -> Void {
        let kept = std::mem::take(&mut self.kept);
        kept.into_iter().for_each(|at| self.set_kept(at, false));
        let is_new = !self.read_changes(view);
        if is_new {
            self.read_all(view);
        }
        self.spent.clear();
        self.mark = view.touch_mark();
        self.see(observed);
        self.foresee(view, is_new);
        let Self { nodes, changes, gpus, .. } = self;
        let rooms = nodes.iter().filter_map(|account| account.devices.as_deref());
        if gpus.judge_anew(view, rooms, is_new) {
            for (at, account) in nodes.iter_mut().enumerate() {
                if let Some(devices) = &mut account.devices {
                    devices.forget();
                    changes.add(at);
                }
            }
        }
        let has_moved = self.latencies != observed.latencies;
        if has_moved {
            self.latencies = observed.latencies.clone();
        }
        match (is_new, has_moved) {
            (true, _) => Void::All,
            (false, true) => Void::Distances,
            (false, false) => Void::Nothing,
        }
    }

    /// Reads what has changed since the last view. False, with some of it read, if that is not enough.
    fn read_changes(&mut self, view: &State) -> bool {
        let Some(touched) = self.mark.as_ref().and_then(|mark| view.touched_since(mark)) else { return false };
        // Most are those that the last plan spent on, which are found by where their names are.
        let address = |name: &NodeName| name.as_str().as_ptr() as usize;
        let mut spent = std::mem::take(&mut self.spent);
        spent.sort_unstable();
        spent.dedup();
        let addressed = |at: &usize| self.nodes.get(*at).map(|account| (address(&account.node.name), *at));
        let mut at_hand: Vec<(usize, usize)> = spent.iter().filter_map(addressed).collect();
        at_hand.sort_unstable();
        let find = |name: &NodeName| {
            let near = at_hand.binary_search_by_key(&address(name), |(address, _)| *address).ok();
            let near = near.and_then(|place| at_hand.get(place)).map(|(_, at)| *at);
            near.or_else(|| self.find(name))
        };
        let mut again: Vec<(usize, Touch)> = spent.into_iter().map(|at| (at, Touch::Load)).collect();
        let mut last = None;
        for (name, touch) in touched {
            if last == Some((name, touch)) {
                continue;
            }
            last = Some((name, touch));
            let Some(at) = find(name) else { return false };
            again.push((at, touch));
        }
        again.sort_unstable_by_key(|(at, touch)| (*at, *touch != Touch::Row));
        // Of each the first is left, which is that of its row if there is any.
        again.dedup_by_key(|(at, _)| *at);
        again.into_iter().all(|(at, touch)| self.read_one(view, at, touch))
    }

    /// False if it is another node now, or none.
    fn read_one(&mut self, view: &State, at: usize, touch: Touch) -> bool {
        let Some(account) = self.nodes.get_mut(at) else { return false };
        let node = match touch {
            Touch::Row => view.node(&account.node.name),
            Touch::Load => Some(&account.node),
        };
        let Some(node) = node.cloned() else { return false };
        if node.cluster != account.node.cluster || node.gpus != account.node.gpus {
            return false;
        }
        let load = load_on(view, &node);
        let is_same_row = Arc::ptr_eq(&node, &account.node);
        let is_same =
            is_same_row && load.used == account.used && load.attempts == account.attempts && *load.gpus == account.gpus;
        if is_same {
            return true;
        }
        let Some(cluster) = self.clusters.get_mut(account.cluster) else { return false };
        cluster.remove(account);
        account.node = node;
        (account.used, account.attempts) = (load.used, load.attempts);
        account.gpus.clone_from(load.gpus);
        account.settle(&self.gpus);
        cluster.add(account);
        if let Some(sight) = self.sights.get_mut(account.sight) {
            let Node { name, epoch, lease, .. } = &*account.node;
            (sight.name, sight.epoch, sight.agent_ms) = (name.clone(), *epoch, lease.agent_ms);
        }
        self.changes.add(at);
        if !is_same_row {
            account.limits_since = self.changes.count();
        }
        true
    }

    fn read_all(&mut self, view: &State) {
        let in_order = quorate_planted::in_hash_order(Bug::HashOrderInPlan, view.nodes(), |node| &node.name);
        let mut nodes: Vec<&Arc<Node>> = in_order.collect();
        // They come by name, and stay so in their clusters.
        nodes.sort_by(|one, other| one.cluster.cmp(&other.cluster));
        let names: BTreeSet<&ClusterName> = nodes.iter().map(|node| &node.cluster).collect();
        let numbers: BTreeMap<&ClusterName, usize> = names.into_iter().zip(0..).collect();
        self.gpus = Gpus::of(nodes.iter().flat_map(|node| node.gpus.iter()));
        self.clusters = vec![ClusterAccount::default(); numbers.len()];
        self.nodes.clear();
        self.sights.clear();
        for (at, node) in nodes.into_iter().enumerate() {
            let load = load_on(view, node);
            let mut account = Account {
                node: node.clone(),
                presence: Presence::Unheard,
                cluster: numbers.get(&node.cluster).copied().unwrap_or_default(),
                used: load.used,
                gpus: load.gpus.clone(),
                devices: None,
                attempts: load.attempts,
                digest: 0,
                sight: 0,
                limits_since: 0,
                is_kept: false,
            };
            account.settle(&self.gpus);
            if let Some(cluster) = self.clusters.get_mut(account.cluster) {
                if cluster.nodes == 0 {
                    cluster.first = at;
                }
                cluster.nodes += 1;
                cluster.add(&account);
            }
            let (name, epoch, agent_ms) = (node.name.clone(), node.epoch, node.lease.agent_ms);
            self.sights.push(Sight { name, number: at, epoch, agent_ms, presence: account.presence });
            self.nodes.push(account);
        }
        self.sights.sort_by(|one, other| one.name.cmp(&other.name));
        for (place, sight) in self.sights.iter().enumerate() {
            if let Some(account) = self.nodes.get_mut(sight.number) {
                account.sight = place;
            }
        }
        self.changes = Changes::new(self.nodes.len());
    }

    /// Keeps the nodes of reservations whose time is to come. It costs as much as such nodes, and only when those are others.
    fn foresee(&mut self, view: &State, is_new: bool) {
        let rows: Vec<Arc<Reservation>> = view.planned_reservations().cloned().collect();
        let are_same = rows.len() == self.reservations.len()
            && rows.iter().zip(&self.reservations).all(|(one, other)| Arc::ptr_eq(one, other));
        if are_same && !is_new {
            return;
        }
        for at in std::mem::take(&mut self.planned).into_keys() {
            self.set_kept(at, false);
        }
        for (row, node) in rows.iter().flat_map(|row| row.nodes.iter().map(move |node| (row, node))) {
            if let Some(at) = self.find(node) {
                let from = self.planned.entry(at).or_insert(row.from);
                *from = row.from.min(*from);
            }
        }
        let planned: Vec<usize> = self.planned.keys().copied().collect();
        planned.into_iter().for_each(|at| self.set_kept(at, true));
        self.reservations = rows;
    }

    /// Nodes of reservations whose time has not begun, and when that of the first one does.
    pub(super) fn planned(&self) -> impl ExactSizeIterator<Item = (usize, Served)> {
        self.planned.iter().map(|(at, from)| (*at, *from))
    }

    /// Takes in how present nodes are. Both are in the order of names, so this is one walk over them.
    fn see(&mut self, observed: &Observed) {
        let mut seen = observed.nodes.iter();
        let mut next = seen.next();
        for sight in &mut self.sights {
            // Most often it is the next one, and of the very same name.
            while next.is_some_and(|(name, _)| *name != sight.name && *name < sight.name) {
                next = seen.next();
            }
            let own = next.filter(|(name, _)| **name == sight.name);
            if own.is_some() {
                next = seen.next();
            }
            let current = own.map(|(_, seen)| seen).filter(|seen| seen.epoch == sight.epoch);
            let presence = current.map_or(Presence::Unheard, |seen| seen.presence(sight.agent_ms));
            if sight.presence != presence {
                sight.presence = presence;
                self.changes.add(sight.number);
                if let Some(account) = self.nodes.get_mut(sight.number) {
                    (account.presence, account.limits_since) = (presence, self.changes.count());
                }
            }
        }
    }

    pub(super) fn accounts(&self) -> &[Account] {
        &self.nodes
    }

    pub(super) fn account(&self, at: usize) -> Option<&Account> {
        self.nodes.get(at)
    }

    /// Tasks have the room that was kept for them there, together, of which so much was vacant for them, and each these devices.
    pub(super) fn settle_claims(&mut self, at: usize, takes: Resources, vacancy: &Vacancy, given: &[GpuHold]) {
        let Some(account) = self.nodes.get_mut(at) else { return };
        let Some(cluster) = self.clusters.get_mut(account.cluster) else { return };
        cluster.remove(account);
        account.used = account.node.capacity.saturating_sub(vacancy.free).saturating_add(takes);
        account.gpus.clone_from(&vacancy.gpus);
        given.iter().for_each(|hold| account.gpus.take(*hold));
        account.attempts += given.len() as u64;
        account.settle(&self.gpus);
        cluster.add(account);
        self.spent.push(at);
        self.changes.add(at);
    }

    pub(super) fn clusters(&self) -> &[ClusterAccount] {
        &self.clusters
    }

    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    pub(super) fn gpus(&self) -> &Gpus {
        &self.gpus
    }

    /// How often this plan has spent so far.
    pub(super) fn spendings(&self) -> usize {
        self.spent.len()
    }

    /// Where a node is.
    pub(super) fn find(&self, name: &NodeName) -> Option<usize> {
        let place = self.sights.binary_search_by(|sight| sight.name.cmp(name)).ok()?;
        self.sights.get(place).map(|sight| sight.number)
    }

    /// Gives a node to nobody who asks for the best one, until the next view is read.
    pub(super) fn keep(&mut self, at: usize) {
        self.kept.push(at);
        self.set_kept(at, true);
    }

    fn set_kept(&mut self, at: usize, is_kept: bool) {
        self.changes.add(at);
        if let Some(account) = self.nodes.get_mut(at) {
            (account.is_kept, account.limits_since) = (is_kept, self.changes.count());
        }
    }

    /// How good a node is for a task, or what keeps it from going there.
    pub(super) fn score(&mut self, at: usize, wanted: &Wanted) -> Result<Score, Check> {
        let Some(account) = self.nodes.get_mut(at) else { return Err(Check::NodeLost) };
        admit(&account.node, account.presence, account.room(), &wanted.task)?;
        if account.is_kept {
            return Err(Check::Kept);
        }
        Ok(score(account, &mut self.gpus, wanted, &self.latencies))
    }

    /// The same, for whomever it is kept.
    pub(super) fn score_of_any(&mut self, at: usize, wanted: &Wanted) -> Result<Score, Check> {
        let Some(account) = self.nodes.get_mut(at) else { return Err(Check::NodeLost) };
        admit(&account.node, account.presence, account.room(), &wanted.task)?;
        Ok(score(account, &mut self.gpus, wanted, &self.latencies))
    }

    /// What a node, which can take a task, is worth by each measure.
    pub(super) fn terms(&mut self, at: usize, wanted: &Wanted) -> Vec<Term> {
        let fill = self.nodes.get(at).and_then(|account| self.clusters.get(account.cluster)).cloned();
        let Some(account) = self.nodes.get_mut(at) else { return Vec::new() };
        terms(account, (&fill.unwrap_or_default(), &self.latencies), &mut self.gpus, wanted)
    }

    /// The same of a node of which this was said after so many changes.
    pub(super) fn score_again(&mut self, at: usize, wanted: &Wanted, was: Score, seen: u64) -> Result<Score, Check> {
        let Some(account) = self.nodes.get_mut(at) else { return Err(Check::NodeLost) };
        if account.limits_since > seen || account.is_kept {
            return self.score(at, wanted);
        }
        match was.check() {
            Some(Check::Full) | None => {
                has_room(&account.node, account.room(), &wanted.task).map_err(|why| Check::of(&why))?;
                Ok(score(account, &mut self.gpus, wanted, &self.latencies))
            }
            Some(check) => Err(check),
        }
    }

    /// Which of two nodes that are worth the same for a task is better, by anything but their names.
    pub(super) fn tie(&self, one: usize, other: usize) -> Ordering {
        let (Some(one), Some(other)) = (self.nodes.get(one), self.nodes.get(other)) else { return Ordering::Equal };
        if one.digest == other.digest { Ordering::Equal } else { one.content().cmp(&other.content()) }
    }

    /// Gives a task, which fits, its part of a node; the devices that it is given.
    pub(super) fn spend(&mut self, at: usize, wanted: &Wanted) -> GpuHold {
        let Some(account) = self.nodes.get_mut(at) else { return GpuHold::NONE };
        let (want, resources) = (GpuWant::of(&wanted.task), wanted.task.resources);
        let foreseen = self.gpus.hold(account.devices.as_deref_mut(), wanted);
        let hold = foreseen.or_else(|| want.choose(want.allowed(&account.node), &account.gpus)).unwrap_or_default();
        account.gpus.take(hold);
        // Feasible means that it fits, so the sum is at most the capacity.
        account.used = account.used.checked_add(resources).unwrap_or(account.node.capacity);
        account.attempts += 1;
        account.settle(&self.gpus);
        if let Some(cluster) = self.clusters.get_mut(account.cluster) {
            add(&mut cluster.used, resources);
            cluster.attempts += 1;
        }
        self.spent.push(at);
        self.changes.add(at);
        hold
    }

    /// Takes back the last spending but those that were taken back: all is as it was before it, but that the node counts as
    /// changed, twice.
    pub(super) fn give_back(&mut self, at: usize, wanted: &Wanted, hold: GpuHold) {
        let Some(account) = self.nodes.get_mut(at) else { return };
        let resources = wanted.task.resources;
        account.gpus.give_back(hold);
        account.used = account.used.saturating_sub(resources);
        account.attempts -= 1;
        account.settle(&self.gpus);
        if let Some(cluster) = self.clusters.get_mut(account.cluster) {
            take(&mut cluster.used, resources);
            cluster.attempts -= 1;
        }
        self.spent.pop();
        self.changes.add(at);
    }
}

impl ClusterAccount {
    fn add(&mut self, account: &Account) {
        if account.is_open() {
            add(&mut self.capacity, account.node.capacity);
            add(&mut self.used, account.used);
            self.attempts += account.attempts;
        }
    }

    /// Takes away what `add` has added.
    fn remove(&mut self, account: &Account) {
        if account.is_open() {
            take(&mut self.capacity, account.node.capacity);
            take(&mut self.used, account.used);
            self.attempts -= account.attempts;
        }
    }
}

fn load_on<'a>(view: &'a State, node: &Node) -> Load<'a> {
    let load = view.load_on(&node.name);
    let is_unchecked = quorate_planted::is(Bug::CapacityUnchecked);
    let gpus = if quorate_planted::is(Bug::DevicesUnchecked) { GpuUse::none() } else { load.gpus };
    if is_unchecked { Load { used: Resources::ZERO, gpus: GpuUse::none(), ..load } } else { Load { gpus, ..load } }
}

fn wide(resources: Resources) -> [u128; 3] {
    [resources.cpu_milli, resources.memory_bytes, resources.gpu_milli].map(u128::from)
}

fn add(total: &mut [u128; 3], more: Resources) {
    total.iter_mut().zip(wide(more)).for_each(|(total, more)| *total += more);
}

fn take(total: &mut [u128; 3], less: Resources) {
    total.iter_mut().zip(wide(less)).for_each(|(total, less)| *total = total.saturating_sub(less));
}
