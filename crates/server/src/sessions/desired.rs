//! What an agent should run: a full set first, then what changed since the last one sent.

use std::collections::BTreeMap;

use quorate_proto::convert::agent::{assignment_to_wire, attempt_ref_to_wire};
use quorate_proto::v1;
use quorate_state::{Attempt, AttemptId, NodeName, Revision, State};

/// The set as an agent knows it.
#[derive(Debug)]
pub(crate) struct Desired {
    at: Revision,
    /// Each attempt sent, and whether it was sent with the order to stop: nothing else of an
    /// assignment ever changes.
    sent: BTreeMap<AttemptId, bool>,
}

impl Desired {
    /// The whole set at the revision of `view`.
    pub(crate) fn full(view: &State, node: &NodeName) -> (Self, v1::DesiredSet) {
        let mut sent = BTreeMap::new();
        let mut assignments = Vec::new();
        for attempt in wanted(view, node) {
            if let Some(assignment) = assignment(view, attempt) {
                sent.insert(attempt.id, attempt.stop.is_some());
                assignments.push(assignment);
            }
        }
        (Self { at: view.revision(), sent }, v1::DesiredSet { assignments })
    }

    /// What has changed for the node since the last set or delta; none when nothing has.
    pub(crate) fn delta(&mut self, view: &State, node: &NodeName) -> Option<v1::DesiredDelta> {
        let mut set = Vec::new();
        let mut now = BTreeMap::new();
        for attempt in wanted(view, node) {
            let stop = attempt.stop.is_some();
            if self.sent.get(&attempt.id) != Some(&stop) {
                let Some(assignment) = assignment(view, attempt) else { continue };
                tracing::debug!(run = %attempt.id.task.run, task = assignment.task, index = attempt.id.task.index,
                    attempt = attempt.id.number, stop, "assigned");
                set.push(assignment);
            }
            now.insert(attempt.id, stop);
        }
        let gone = self.sent.keys().filter(|attempt| !now.contains_key(attempt));
        let removed: Vec<_> = gone.map(|attempt| attempt_ref_to_wire(*attempt)).collect();
        if set.is_empty() && removed.is_empty() {
            return None;
        }
        let from = self.at.0;
        self.at = view.revision();
        self.sent = now;
        Some(v1::DesiredDelta { from, set, removed })
    }
}

/// Attempts that should be on the node. One that is terminal while its processes are not confirmed
/// gone is left out: the agent then stops it and confirms.
fn wanted<'a>(view: &'a State, node: &'a NodeName) -> impl Iterator<Item = &'a Attempt> {
    view.attempts_on(node).map(AsRef::as_ref).filter(|attempt| !attempt.state.is_terminal())
}

fn assignment(view: &State, attempt: &Attempt) -> Option<v1::Assignment> {
    let run = view.run(attempt.id.task.run)?;
    assignment_to_wire(attempt, run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    fn names(assignments: &[v1::Assignment]) -> Vec<(&str, bool)> {
        assignments.iter().map(|assignment| (&*assignment.task, assignment.stop)).collect()
    }

    #[test]
    fn a_full_set_is_followed_by_what_changed() {
        let mut world = World::new();
        let node = world.node("n1");
        let run = world.submit(&["one", "two"]);
        world.place(run, 0, &node);
        let (mut desired, set) = Desired::full(&world.state, &node);
        assert_eq!(names(&set.assignments), [("one", false)]);
        let from = world.state.revision().0;

        assert_eq!(desired.delta(&world.state, &node), None, "nothing has changed");
        world.place(run, 1, &node);
        let delta = desired.delta(&world.state, &node).unwrap();
        assert_eq!((delta.from, names(&delta.set), delta.removed.len()), (from, vec![("two", false)], 0));
    }

    #[test]
    fn a_cancelled_run_is_told_to_stop_and_then_gone() {
        let mut world = World::new();
        let node = world.node("n1");
        let run = world.submit(&["one"]);
        let attempt = world.place(run, 0, &node);
        let (mut desired, _) = Desired::full(&world.state, &node);

        world.cancel(run);
        let delta = desired.delta(&world.state, &node).unwrap();
        assert_eq!(names(&delta.set), [("one", true)]);

        world.ended(&node, attempt, false);
        let delta = desired.delta(&world.state, &node).unwrap();
        assert_eq!(delta.set, []);
        assert_eq!(
            delta.removed,
            [attempt_ref_to_wire(attempt)],
            "terminal, though its processes are not known to be gone"
        );

        world.ended(&node, attempt, true);
        assert_eq!(desired.delta(&world.state, &node), None);
        assert_eq!(Desired::full(&world.state, &node).1.assignments, []);
    }

    #[test]
    fn another_nodes_work_is_none_of_its_business() {
        let mut world = World::new();
        let (mine, other) = (world.node("n1"), world.node("n2"));
        let run = world.submit(&["one"]);
        let (mut desired, _) = Desired::full(&world.state, &mine);
        world.place(run, 0, &other);
        assert_eq!(desired.delta(&world.state, &mine), None);
    }
}
