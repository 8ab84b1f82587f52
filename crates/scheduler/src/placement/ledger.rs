//! What every node has left, as this plan spends it.

use std::collections::BTreeMap;

use quorate_planted::Bug;
use quorate_state::{ClusterName, GpuHold, GpuUse, GpuWant, Node, NodeStatus, Resources, Room, State, TaskSpec};

use crate::{Observed, Presence};

/// The nodes with their room. Nodes and clusters are numbered in the order of their names.
pub(super) struct Ledger<'a> {
    nodes: Vec<Account<'a>>,
    clusters: Vec<ClusterAccount>,
    /// Which node was spent on, spending by spending: whoever keeps an order of nodes reads from
    /// where it stopped and looks at those again.
    spendings: Vec<usize>,
}

/// One node's account.
pub(super) struct Account<'a> {
    pub(super) node: &'a Node,
    pub(super) presence: Presence,
    /// Number of its cluster.
    pub(super) cluster: usize,
    pub(super) used: Resources,
    /// What is taken of each of its GPUs.
    pub(super) gpus: GpuUse,
    /// Attempts that are there or planned to be.
    pub(super) attempts: u64,
    /// Raised by every spending on it.
    pub(super) version: usize,
}

/// What the nodes of a cluster that take work have in total; wide, for what agents claim is only
/// bounded node by node.
#[derive(Clone, Copy, Default)]
pub(super) struct ClusterAccount {
    pub(super) capacity: [u128; 3],
    pub(super) used: [u128; 3],
    pub(super) attempts: u64,
}

impl Account<'_> {
    pub(super) fn free(&self) -> Resources {
        self.node.capacity.saturating_sub(self.used)
    }

    pub(super) fn room(&self) -> Room<'_> {
        Room { free: self.free(), gpus: &self.gpus }
    }

    fn is_open(&self) -> bool {
        self.node.status == NodeStatus::Up && !self.node.cordoned
    }
}

impl<'a> Ledger<'a> {
    pub(super) fn open(view: &'a State, observed: &Observed) -> Self {
        let names: std::collections::BTreeSet<&ClusterName> = view.nodes().map(|node| &node.cluster).collect();
        let numbers: BTreeMap<&ClusterName, usize> = names.into_iter().zip(0..).collect();
        let mut ledger =
            Self { nodes: Vec::new(), clusters: vec![ClusterAccount::default(); numbers.len()], spendings: Vec::new() };
        let is_unchecked = quorate_planted::is(Bug::CapacityUnchecked);
        for node in quorate_planted::in_hash_order(Bug::HashOrderInPlan, view.nodes(), |node| &node.name) {
            let account = Account {
                node,
                presence: observed.presence(node),
                cluster: numbers.get(&node.cluster).copied().unwrap_or_default(),
                used: if is_unchecked { Resources::ZERO } else { view.used_on(&node.name) },
                gpus: if is_unchecked { GpuUse::default() } else { view.gpus_used_on(&node.name).clone() },
                attempts: view.attempts_count_on(&node.name) as u64,
                version: 0,
            };
            if account.is_open()
                && let Some(cluster) = ledger.clusters.get_mut(account.cluster)
            {
                add(&mut cluster.capacity, node.capacity);
                add(&mut cluster.used, account.used);
                cluster.attempts += account.attempts;
            }
            ledger.nodes.push(account);
        }
        ledger
    }

    pub(super) fn accounts(&self) -> &[Account<'a>] {
        &self.nodes
    }

    pub(super) fn node(&self, at: usize) -> &'a Node {
        self.nodes[at].node
    }

    pub(super) fn clusters(&self) -> &[ClusterAccount] {
        &self.clusters
    }

    /// Nodes spent on since `from`, each once, and where to go on next time.
    pub(super) fn spent_since(&self, from: usize) -> (impl Iterator<Item = usize> + '_, usize) {
        let later = self.spendings.iter().enumerate().skip(from);
        let newest = later.filter(|(at, node)| self.nodes[**node].version == at + 1).map(|(_, node)| *node);
        (newest, self.spendings.len())
    }

    /// Gives a task, which fits, its part of a node; the devices that it is given.
    pub(super) fn spend(&mut self, at: usize, task: &TaskSpec) -> GpuHold {
        self.spendings.push(at);
        let account = &mut self.nodes[at];
        let (want, resources) = (GpuWant::of(task), task.resources);
        let hold = want.choose(want.allowed(account.node), &account.gpus).unwrap_or_default();
        account.gpus.take(hold);
        // Feasible means that it fits, so the sum is at most the capacity.
        account.used = account.used.checked_add(resources).unwrap_or(account.node.capacity);
        account.attempts += 1;
        account.version = self.spendings.len();
        let cluster = &mut self.clusters[account.cluster];
        add(&mut cluster.used, resources);
        cluster.attempts += 1;
        hold
    }
}

fn add(total: &mut [u128; 3], more: Resources) {
    for (total, more) in total.iter_mut().zip([more.cpu_milli, more.memory_bytes, more.gpu_milli]) {
        *total += u128::from(more);
    }
}
