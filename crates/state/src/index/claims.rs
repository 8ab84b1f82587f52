//! What is kept on each node for tasks that wait for room there, and what of the node is not free by that.

use quorate_planted::Bug;
use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use crate::{Attempt, Claim, GpuUse, NodeName, Resources, TaskId};

/// Room that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    nodes: Map<NodeName, Kept>,
}

/// What is kept on a node, which is something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept {
    tasks: Set<TaskId>,
    sum: Taken,
    /// With what is held.
    taken: Taken,
}

/// What is not free of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) resources: Resources,
    pub(crate) gpus: GpuUse,
}

impl Taken {
    /// What attempts hold of a node on which so much is kept: all that they hold now, and no less than what is kept and what
    /// those hold that stay. What leaves makes the room that is kept, and whoever else has room beside both may have it.
    pub(crate) fn of<'a>(attempts: impl Iterator<Item = &'a Attempt>, kept: &Self) -> Self {
        let (mut now, mut then) = (Self::default(), kept.clone());
        for attempt in attempts {
            now.add(attempt);
            if attempt.stop.is_none() && !attempt.state.is_terminal() {
                then.add(attempt);
            }
        }
        Self { resources: now.resources.each_max(then.resources), gpus: now.gpus.each_max(&then.gpus) }
    }

    fn add(&mut self, attempt: &Attempt) {
        self.resources = self.resources.saturating_add(attempt.resources);
        self.gpus.take(attempt.gpus);
    }

    /// With the room of a claim.
    pub(crate) fn keep(&mut self, claim: &Claim) {
        self.resources = self.resources.saturating_add(claim.terms.resources);
        self.gpus.take(claim.terms.gpus);
    }
}

impl Claims {
    /// A claim is put in the place of another one, or goes; [`Self::refresh`] of their nodes follows.
    pub(super) fn on_claim(&mut self, old: Option<&Claim>, new: Option<&Claim>) {
        if let Some(old) = old {
            let mut kept = self.nodes.get(&old.node).cloned().unwrap_or_default();
            kept.tasks.remove_mut(&old.task);
            kept.sum.resources = kept.sum.resources.saturating_sub(old.terms.resources);
            kept.sum.gpus.give_back(old.terms.gpus);
            if kept.tasks.is_empty() {
                self.nodes.remove_mut(&old.node);
            } else {
                self.nodes.insert_mut(old.node.clone(), kept);
            }
        }
        if let Some(new) = new {
            let mut kept = self.nodes.get(&new.node).cloned().unwrap_or_default();
            kept.tasks.insert_mut(new.task);
            kept.sum.keep(new);
            self.nodes.insert_mut(new.node.clone(), kept);
        }
    }

    /// True if something is kept there.
    pub(super) fn has(&self, node: &NodeName) -> bool {
        self.nodes.size() > 0 && self.nodes.contains_key(node)
    }

    /// What is kept on a node, or held there, has changed; `attempts` are those that hold something.
    pub(super) fn refresh<'a>(&mut self, node: &NodeName, attempts: impl Iterator<Item = &'a Attempt>) {
        if let Some(kept) = self.nodes.get_mut(node) {
            kept.taken = Taken::of(attempts, &kept.sum);
        }
    }

    /// The nodes on which something is kept.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.keys()
    }

    /// Those on a node, by task.
    pub(crate) fn on(&self, node: &NodeName) -> impl Iterator<Item = TaskId> {
        self.nodes.get(node).into_iter().flat_map(|kept| kept.tasks.iter().copied())
    }

    /// What is not free of a node on which something is kept.
    pub(crate) fn taken_on(&self, node: &NodeName) -> Option<&Taken> {
        let kept = self.nodes.get(node).filter(|_| !quorate_planted::is(Bug::ClaimIgnored));
        kept.map(|kept| &kept.taken)
    }
}
