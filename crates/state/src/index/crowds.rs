//! Where those tasks are that others ask about, by node: what has rules about company, and nothing else.

use rpds::RedBlackTreeMapSync as Map;

use crate::{Attempt, Crowd, GroupName, Namespace, NodeName, Run, Topology};

/// How many attempts of each crowd hold room on which node. No crowd is empty, and no count zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Crowds(Map<Crowd, Map<NodeName, u32>>);

impl Crowds {
    /// An attempt of a run holds room on its node from now on, or no longer.
    pub(super) fn on_attempt(&mut self, run: &Run, attempt: &Attempt, holds: bool) {
        for crowd in Crowd::all_of(run, attempt.id.task.step) {
            let mut nodes = self.0.get(&crowd).cloned().unwrap_or_default();
            let count = nodes.get(&attempt.node).copied().unwrap_or_default();
            let count = if holds { count.saturating_add(1) } else { count.saturating_sub(1) };
            if count == 0 {
                nodes.remove_mut(&attempt.node);
            } else {
                nodes.insert_mut(attempt.node.clone(), count);
            }
            if nodes.is_empty() {
                self.0.remove_mut(&crowd);
            } else {
                self.0.insert_mut(crowd, nodes);
            }
        }
    }

    /// Where a crowd is, and how many of it.
    pub(crate) fn of(&self, crowd: &Crowd) -> impl Iterator<Item = (&NodeName, u32)> {
        self.0.get(crowd).into_iter().flat_map(|nodes| nodes.iter().map(|(node, count)| (node, *count)))
    }

    /// By what tasks that are there stay apart from a group.
    pub(crate) fn wary_of<'a>(
        &'a self,
        namespace: &'a Namespace,
        group: &'a GroupName,
    ) -> impl Iterator<Item = &'a Topology> {
        let first = Crowd::Wary(namespace.clone(), group.clone(), Topology::Node);
        self.0.range(first..).map_while(move |(crowd, _)| match crowd {
            Crowd::Wary(of, from, per) if of == namespace && from == group => Some(per),
            Crowd::Step(..) | Crowd::Group(..) | Crowd::Wary(..) => None,
        })
    }
}
