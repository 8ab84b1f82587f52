//! Which nodes have changed, for whoever keeps something for each of them.

/// Changes of nodes that are kept one by one for each node there is; whoever has not asked since looks through all nodes.
const CHANGES_PER_NODE: usize = 2;

/// Which nodes have changed, change by change.
#[derive(Default)]
pub(super) struct Changes {
    /// The last of them, oldest first.
    latest: Vec<usize>,
    /// All that there were.
    count: u64,
    /// Up to which change there were none of a node after that, node by node: the number of its last one.
    last_of: Vec<u64>,
}

impl Changes {
    /// All changes that there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn new(nodes: usize) -> Self {
        Self { latest: Vec::new(), count: 0, last_of: vec![0; nodes] }
    }

    pub(super) fn add(&mut self, node: usize) {
        // Half of them go at once, so that this costs little for each.
        if self.latest.len() >= 2 * CHANGES_PER_NODE * self.last_of.len() {
            self.latest.drain(..self.latest.len() / 2);
        }
        self.latest.push(node);
        self.count += 1;
        if let Some(last) = self.last_of.get_mut(node) {
            *last = self.count;
        }
    }

    /// The nodes that have changed since there were so many changes, each once.
    pub(super) fn since(&self, seen: u64) -> impl Iterator<Item = usize> + '_ {
        let first = self.count - self.latest.len() as u64;
        let is_kept = seen >= first;
        let from = if is_kept { (seen - first) as usize } else { self.latest.len() };
        let each = self.latest.iter().enumerate().skip(from);
        let newest = each.filter(move |(at, node)| self.last_of.get(**node) == Some(&(first + *at as u64 + 1)));
        let all = if is_kept { &[][..] } else { &self.last_of[..] };
        let changed = all.iter().enumerate().filter(move |(_, last)| **last > seen).map(|(node, _)| node);
        newest.map(|(_, node)| *node).chain(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_have_changed_are_told_once_however_long_ago_it_was() {
        let mut changes = Changes::new(3);
        let mut since = vec![];
        for step in 0..60_usize {
            since.push(step * step % 3);
            changes.add(step * step % 3);
            for seen in 0..=since.len() {
                let mut told: Vec<usize> = changes.since(seen as u64).collect();
                told.sort_unstable();
                let mut expected = since[seen..].to_vec();
                expected.sort_unstable();
                expected.dedup();
                assert_eq!(told, expected, "since {seen} of {since:?}");
            }
        }
    }
}
