//! Which nodes the newest entries were about: their rows, or attempts on them. Whoever serves thousands of nodes looks
//! at those alone, and not at all of them at every entry.

use std::collections::{BTreeSet, VecDeque};

use quorate_state::{Change, NodeName, Revision};

/// Mentions that are remembered; who is further behind is told to look at all nodes. A plan mentions a thousand.
const MENTIONS_MAX: usize = 65_536;

/// The newest mentions of nodes.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Nothing is known of this revision, nor of those before.
    forgotten: Revision,
    /// With their revisions, which rise.
    mentions: VecDeque<(Revision, NodeName)>,
}

impl Touched {
    /// Nothing is known of what led to this revision.
    pub(super) fn restart(&mut self, at: Revision) {
        self.forgotten = at;
        self.mentions.clear();
    }

    pub(super) fn note(&mut self, revision: Revision, change: &Change) {
        let Some(node) = node_of(change) else { return };
        // Most of what one entry says of a node it says in a row.
        if self.mentions.back().is_some_and(|(at, last)| *at == revision && last == node) {
            return;
        }
        if self.mentions.len() >= MENTIONS_MAX
            && let Some((oldest, _)) = self.mentions.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.mentions.push_back((revision, node.clone()));
    }

    /// The nodes of the revisions after one and up to another; none when that is not known any more.
    pub(super) fn between(&self, after: Revision, through: Revision) -> Option<BTreeSet<NodeName>> {
        if after < self.forgotten {
            return None;
        }
        let newest_first = self.mentions.iter().rev().skip_while(|(at, _)| *at > through);
        Some(newest_first.take_while(|(at, _)| *at > after).map(|(_, node)| node.clone()).collect())
    }
}

/// The node that a change is about, if it is about one.
fn node_of(change: &Change) -> Option<&NodeName> {
    match change {
        Change::Attempt(attempt) => Some(&attempt.node),
        Change::Node(node) => Some(&node.name),
        Change::NodeGone(node) => Some(node),
        // A spec never changes, and whether a run is cancelled is said to each of its attempts.
        Change::Meta(_)
        | Change::Settings(_)
        | Change::Namespace(..)
        | Change::Job(_)
        | Change::Run(_)
        | Change::Spec(..)
        | Change::Annotation(_)
        | Change::Step(_)
        | Change::Task(_)
        | Change::Cluster(_)
        // It keeps new work away, and who is told to stop has a row that says so.
        | Change::Scope(_)
        | Change::ScopeGone(_)
        | Change::Request(_)
        | Change::RequestGone(_)
        | Change::EventsBelow(_)
        | Change::Feature(_)
        | Change::JoinToken(_)
        | Change::JoinTokenGone(_)
        // What is archived holds no room anywhere.
        | Change::Segment(_)
        | Change::SegmentGone(_)
        | Change::Archived(_)
        | Change::Leaving(..)
        | Change::TaskArchived(..)
        | Change::AttemptArchived(..)
        | Change::Left(_)
        | Change::Version(_)
        | Change::VersionGone(_)
        // Its agent is told of it when the task is placed.
        | Change::Claim(_)
        | Change::ClaimGone(_)
        | Change::Rebalance(_)
        | Change::Move(_)
        | Change::MoveGone(_)
        | Change::Reservation(_)
        | Change::ReservationGone(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(touched: &mut Touched, revision: u64, node: &str) {
        touched.note(Revision(revision), &Change::NodeGone(NodeName::new(node).unwrap()));
    }

    fn between(touched: &Touched, after: u64, through: u64) -> Option<Vec<String>> {
        let nodes = touched.between(Revision(after), Revision(through))?;
        Some(nodes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nodes_are_told_by_the_revisions_that_are_asked_for_and_no_others() {
        let mut touched = Touched::default();
        for (revision, node) in [(1, "a"), (2, "b"), (2, "b"), (2, "a"), (4, "c")] {
            note(&mut touched, revision, node);
        }
        touched.note(Revision(5), &Change::EventsBelow(Revision(1)));
        assert_eq!(between(&touched, 0, 5).unwrap(), ["a", "b", "c"]);
        assert_eq!(between(&touched, 1, 3).unwrap(), ["a", "b"]);
        assert_eq!(between(&touched, 2, 3).unwrap(), [""; 0]);
        assert_eq!(between(&touched, 4, 5).unwrap(), [""; 0]);
    }

    #[test]
    fn who_is_behind_what_is_remembered_is_told_so() {
        let mut touched = Touched::default();
        for revision in 1..=MENTIONS_MAX as u64 + 2 {
            note(&mut touched, revision, "a");
        }
        assert_eq!(between(&touched, 1, 9), None);
        assert_eq!(between(&touched, 2, 9).unwrap(), ["a"]);
        touched.restart(Revision(100_000));
        assert_eq!(between(&touched, 99_999, 100_000), None);
        assert_eq!(between(&touched, 100_000, 100_000).unwrap(), [""; 0]);
    }
}
