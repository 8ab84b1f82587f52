//! Which nodes take work, by what operators and the log said of them: commands and their answers alone, never a node's row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::{Command, Item, NodeName, Rejection, Reply, Revision, Scope, Served};

use crate::ledger::Step;

/// Nodes that are known, each with what was said of it.
#[derive(Default)]
pub(super) struct Service {
    nodes: BTreeMap<NodeName, Option<Out>>,
    /// Where each node said that it stands.
    places: BTreeMap<NodeName, [Scope; 2]>,
    /// Clusters and regions that take no work.
    scopes: BTreeMap<Scope, Out>,
    /// Requests that were carried out: sent again, they change nothing.
    done: BTreeSet<Arc<str>>,
}

/// A node that takes no work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Out {
    /// The revision at which that was said last.
    pub(super) since: Revision,
    pub(super) drain: Option<Terms>,
}

/// How its work is moved off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) due: Served,
    pub(super) ends: Option<Served>,
}

impl Service {
    /// Takes in an item and its answer.
    pub(super) fn take(&mut self, step: &Step, item: &Item, reply: &Result<Reply, Rejection>) {
        let is_new =
            item.request.as_ref().is_none_or(|request| reply.is_ok() && self.done.insert(request.id.0.clone()));
        if reply.is_err() || !is_new {
            return;
        }
        let (since, served) = (step.revision, step.after.meta().served);
        let terms = |wait_ms: u64, for_ms: Option<u64>| {
            Some(Terms { due: served.plus(wait_ms), ends: for_ms.map(|for_ms| served.plus(for_ms)) })
        };
        match &item.command {
            Command::CordonNode { node, cordoned } => {
                let out = self.nodes.entry(node.clone()).or_default();
                if out.is_some() != *cordoned {
                    *out = cordoned.then_some(Out { since, drain: None });
                }
            }
            Command::DrainNode { node, wait_ms, .. } => {
                self.nodes.insert(node.clone(), Some(Out { since, drain: terms(*wait_ms, None) }));
            }
            Command::MaintainNode { node, wait_ms, for_ms, .. } => {
                self.nodes.insert(node.clone(), Some(Out { since, drain: terms(*wait_ms, Some(*for_ms)) }));
            }
            Command::WithdrawScope { scope, drain, .. } => {
                let drain = drain.and_then(|time| terms(time.wait_ms, time.for_ms));
                if drain.is_some() || !self.scopes.contains_key(scope) {
                    self.scopes.insert(scope.clone(), Out { since, drain });
                }
            }
            Command::RestoreScope { scope } => {
                self.scopes.remove(scope);
            }
            Command::EndScopeDrains { drains } => {
                for (scope, ends) in drains {
                    let drain = self.scopes.get(scope).and_then(|out| out.drain);
                    if drain.is_some_and(|drain| drain.ends == Some(*ends) && *ends <= served) {
                        self.scopes.remove(scope);
                    }
                }
            }
            Command::EndDrains { drains } => {
                for (node, ends) in drains {
                    let own = self.own(node).and_then(|out| out.drain);
                    if own.is_some_and(|drain| drain.ends == Some(*ends) && *ends <= served) {
                        self.nodes.insert(node.clone(), None);
                    }
                }
            }
            Command::ForgetNode { node } => {
                self.nodes.remove(node);
            }
            Command::RegisterNode(registration) | Command::AdmitNode { registration, .. } => {
                let stands = [Scope::Cluster(registration.cluster.clone()), Scope::Region(registration.region.clone())];
                self.places.insert(registration.node.clone(), stands);
                self.nodes.entry(registration.node.clone()).or_default();
            }
            _ => {}
        }
    }

    /// True for a request that was carried out.
    pub(super) fn did(&self, request_id: &str) -> bool {
        self.done.contains(request_id)
    }

    /// True for a node that has registered since it was forgotten last.
    pub(super) fn knows(&self, node: &NodeName) -> bool {
        self.nodes.contains_key(node)
    }

    /// What was said of a node by itself, if it takes no work for that.
    pub(super) fn own(&self, node: &NodeName) -> Option<Out> {
        self.nodes.get(node).copied().flatten()
    }

    /// All for which a node takes no work: what was said of it, of its cluster and of its region.
    pub(super) fn outs(&self, node: &NodeName) -> impl Iterator<Item = Out> {
        let stands = self.places.get(node).into_iter().flatten();
        stands.filter_map(|scope| self.scopes.get(scope).copied()).chain(self.own(node))
    }

    /// From when on a node's work may be moved off, if it may.
    pub(super) fn due(&self, node: &NodeName) -> Option<Served> {
        self.outs(node).filter_map(|out| Some(out.drain?.due)).min()
    }

    /// True of a cluster or a region whose work is moved off.
    pub(super) fn drains(&self, scope: &Scope) -> bool {
        self.scopes.get(scope).is_some_and(|out| out.drain.is_some())
    }

    /// Clusters and regions that take no work.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.keys()
    }

    /// What is drained, by its name: nodes, clusters and regions.
    pub(super) fn drained(&self) -> impl Iterator<Item = (String, Terms)> {
        let nodes = self.nodes.iter().filter_map(|(node, out)| Some((format!("node {node}"), out.as_ref()?.drain?)));
        nodes.chain(self.scopes.iter().filter_map(|(scope, out)| Some((scope.to_string(), out.drain?))))
    }
}

/// The items of a step with their answers.
pub(super) fn answered(step: &Step) -> impl Iterator<Item = (&Item, &Result<Reply, Rejection>)> {
    step.entry.iter().flat_map(|entry| &entry.items).zip(&step.replies)
}
