//! Which nodes have changed of late, for whoever keeps something about nodes between two looks at the state.
//!
//! It says nothing about what the cluster knows: it is empty after rows were read from a disk, takes no part in comparisons, and
//! whoever asks it must do without an answer.

use std::sync::Arc;

use rpds::VectorSync as Vector;

use crate::NodeName;

/// Changes that are remembered at least, once there were so many; twice as many are at most, and take about 2 MB.
pub const TOUCHES_KEPT: usize = 16_384;

/// What of a node has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Its row, and perhaps what it holds.
    Row,
    /// What it holds.
    Load,
}

/// How far somebody has read who was told which nodes have changed.
#[derive(Clone, Debug)]
pub struct TouchMark {
    count: usize,
    /// The last change that it has seen. Kept, so that no other one is ever at its address.
    last: Arc<(NodeName, Touch)>,
}

/// Changes of nodes, the oldest first. Each is a value of its own, so that two states with a common past can be told apart
/// from there on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    older: Vector<Arc<(NodeName, Touch)>>,
    newer: Vector<Arc<(NodeName, Touch)>>,
    /// How many there were before these.
    dropped: usize,
}

/// All are equal: what was touched is not among the things that are the same wherever the same was applied.
impl PartialEq for Touched {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Touched {}

impl Touched {
    /// Something about a node has changed: its row, or what it holds. Also when it was the last to change: somebody may
    /// have read that far.
    pub(crate) fn add(&mut self, node: &NodeName, touch: Touch) {
        if self.newer.len() >= TOUCHES_KEPT {
            self.dropped += self.older.len();
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.push_back_mut(Arc::new((node.clone(), touch)));
    }

    /// Where the next change comes. None before the first.
    pub(crate) fn mark(&self) -> Option<TouchMark> {
        let last = self.newer.last().or_else(|| self.older.last())?;
        Some(TouchMark { count: self.count(), last: last.clone() })
    }

    /// The nodes that have changed since, a node as often as it has. None if that is not known: changes are not kept that
    /// long, or they are not those of a state that goes on from the one of the mark.
    pub(crate) fn since(&self, mark: &TouchMark) -> Option<impl Iterator<Item = (&NodeName, Touch)>> {
        let seen = mark.count.checked_sub(1).and_then(|last| self.get(last))?;
        let is_known = Arc::ptr_eq(seen, &mark.last);
        is_known.then(|| (mark.count..self.count()).filter_map(|at| self.get(at)).map(|entry| (&entry.0, entry.1)))
    }

    fn count(&self) -> usize {
        self.dropped + self.older.len() + self.newer.len()
    }

    fn get(&self, at: usize) -> Option<&Arc<(NodeName, Touch)>> {
        let at = at.checked_sub(self.dropped)?;
        match at.checked_sub(self.older.len()) {
            Some(at) => self.newer.get(at),
            None => self.older.get(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(touched: &Touched, mark: &TouchMark) -> Option<Vec<String>> {
        touched.since(mark).map(|nodes| nodes.map(|(node, _)| node.as_str().to_owned()).collect())
    }

    #[test]
    fn what_has_changed_since_is_known_only_to_states_that_go_on_from_there() {
        let [a, b, c] = ["a", "b", "c"].map(|name| NodeName::new(name).unwrap());
        let mut touched = Touched::default();
        assert!(touched.mark().is_none());
        touched.add(&a, Touch::Load);
        let mark = touched.mark().unwrap();
        let mut other = touched.clone();
        let mut stranger = Touched::default();
        for node in [&b, &a, &a] {
            touched.add(node, Touch::Load);
        }
        other.add(&c, Touch::Load);
        stranger.add(&a, Touch::Load);
        assert_eq!(names(&touched, &mark), Some(vec!["b".into(), "a".into(), "a".into()]));
        assert_eq!(names(&other, &mark), Some(vec!["c".into()]));
        assert_eq!(names(&stranger, &mark), None);
        // Both have gone on since, each in its own way.
        assert_eq!(names(&touched, &other.mark().unwrap()), None);
        assert_eq!(names(&other, &touched.mark().unwrap()), None);
    }

    #[test]
    fn changes_are_forgotten_after_twice_as_many_as_are_kept() {
        let node = NodeName::new("a").unwrap();
        let mut touched = Touched::default();
        touched.add(&node, Touch::Load);
        let mark = touched.mark().unwrap();
        let mut known = 0;
        while touched.since(&mark).is_some() {
            touched.add(&node, Touch::Load);
            known += 1;
            assert!(touched.older.len() + touched.newer.len() <= 2 * TOUCHES_KEPT);
        }
        assert_eq!(known, 2 * TOUCHES_KEPT);
        assert_eq!(touched.since(&touched.mark().unwrap()).map(Iterator::count), Some(0));
    }
}
