//! What an agent should run: a full set first, then what changed since the last one sent.

use std::collections::BTreeMap;

use prost::Message as _;
use quorate_flow::Commands;
use quorate_proto::convert::agent::{assignment_to_wire, attempt_ref_to_wire};
use quorate_proto::convert::job::labels_to_wire;
use quorate_proto::v1;
use quorate_proto::v1::server_message::Message;
use quorate_state::{Attempt, AttemptId, NodeName, Revision, State};

/// Bytes of assignments in one message; a set that is larger goes in parts. A single assignment is
/// never divided: the limits of a job keep it below what a message may hold.
pub(crate) const PART_BYTES_MAX: usize = 4 << 20;

/// What the agent of this session was told.
#[derive(Debug)]
pub(crate) struct Desired {
    part_bytes_max: usize,
    /// None until it has a full set.
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    /// The revision of the set as the agent has it, where the next delta starts.
    at: Revision,
    /// Up to here there was nothing else to tell.
    looked: Revision,
    /// Each attempt sent, and whether it was sent with the order to stop: nothing else of an
    /// assignment ever changes.
    sent: BTreeMap<AttemptId, bool>,
}

impl Desired {
    /// An agent that knows nothing yet, told in parts of at most about so many bytes.
    pub(crate) fn new(part_bytes_max: usize) -> Self {
        Self { part_bytes_max, told: None }
    }

    /// The agent does not have what it was told: it needs a full set.
    pub(crate) fn forget(&mut self) {
        self.told = None;
    }

    /// All that the agent has to hear, in this order and at the revision of `view`, to know what
    /// `view` wants of it; nothing when it knows.
    pub(crate) fn news(&mut self, view: &State, node: &NodeName) -> Vec<Message> {
        let Some(told) = &mut self.told else { return self.full(view, node) };
        if told.looked >= view.revision() {
            return Vec::new();
        }
        told.looked = view.revision();
        match told.delta(view, node) {
            None => Vec::new(),
            Some(delta) if delta.encoded_len() > self.part_bytes_max => self.full(view, node),
            Some(delta) => vec![Message::Delta(delta)],
        }
    }

    fn full(&mut self, view: &State, node: &NodeName) -> Vec<Message> {
        let mut sent = BTreeMap::new();
        let mut assignments = Vec::new();
        let mut commands = Commands::default();
        for attempt in view.attempts_on(node) {
            if let Some(assignment) = assignment(view, attempt, &mut commands) {
                sent.insert(attempt.id, assignment.stop);
                assignments.push(assignment);
            }
        }
        self.told = Some(Told { at: view.revision(), looked: view.revision(), sent });
        parts(assignments, self.part_bytes_max).into_iter().map(Message::Desired).collect()
    }
}

impl Told {
    /// What has changed for the node since the last set or delta; none when nothing has.
    fn delta(&mut self, view: &State, node: &NodeName) -> Option<v1::DesiredDelta> {
        let mut commands = Commands::default();
        let mut set = Vec::new();
        let mut now = BTreeMap::new();
        for attempt in view.attempts_on(node) {
            let stop = must_end(attempt);
            if self.sent.get(&attempt.id) != Some(&stop) {
                let Some(assignment) = assignment(view, attempt, &mut commands) else { continue };
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

/// A full set in parts: at least one, each with at least one assignment unless the set is empty.
fn parts(assignments: Vec<v1::Assignment>, bytes_max: usize) -> Vec<v1::DesiredSet> {
    let mut parts = Vec::new();
    let mut part = v1::DesiredSet::default();
    let mut bytes = 0_usize;
    for assignment in assignments {
        let length = field_len(&assignment);
        if !part.assignments.is_empty() && bytes.saturating_add(length) > bytes_max {
            part.more = true;
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes = bytes.saturating_add(length);
        part.assignments.push(assignment);
    }
    parts.push(part);
    parts
}

/// Bytes of a message as a field of another: its tag, its length and itself.
fn field_len(message: &impl prost::Message) -> usize {
    let length = message.encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

/// True for what must not run. One that is terminal while its processes are not confirmed gone is told
/// too: an agent that has it stops it, and one that was never told of it says that there is nothing.
/// Left out, it would hold its room for ever, because nobody else can say so.
fn must_end(attempt: &Attempt) -> bool {
    attempt.stop.is_some() || attempt.state.is_terminal()
}

fn assignment(view: &State, attempt: &Attempt, commands: &mut Commands) -> Option<v1::Assignment> {
    let run = view.run(attempt.id.task.run)?;
    let assignment = v1::Assignment { stop: must_end(attempt), ..assignment_to_wire(attempt, run, view)? };
    // What is to end is only named.
    if assignment.stop {
        return Some(assignment);
    }
    Some(match commands.render(view, run, attempt.id.task) {
        None => assignment,
        Some(Ok(command)) => v1::Assignment { argv: command.argv, env: labels_to_wire(&command.env), ..assignment },
        // An agent that knows nothing of flaws cannot start it either: it has no program.
        Some(Err(flaw)) => {
            let (driver, flaw) = (v1::Driver::Process.into(), Some(flaw.to_string()));
            v1::Assignment { driver, argv: Vec::new(), env: Vec::new(), flaw, ..assignment }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    fn names(assignments: &[v1::Assignment]) -> Vec<(&str, bool)> {
        assignments.iter().map(|assignment| (&*assignment.task, assignment.stop)).collect()
    }

    /// An agent that has been sent its first set, and that set.
    fn told(world: &World, node: &NodeName) -> (Desired, v1::DesiredSet) {
        let mut desired = Desired::new(PART_BYTES_MAX);
        let mut sets = sets(desired.news(&world.state, node));
        assert_eq!(sets.len(), 1, "a small set is not divided: {sets:?}");
        (desired, sets.remove(0))
    }

    fn sets(news: Vec<Message>) -> Vec<v1::DesiredSet> {
        let set = |message| match message {
            Message::Desired(set) => set,
            other => panic!("only sets are expected, not {other:?}"),
        };
        news.into_iter().map(set).collect()
    }

    fn delta(desired: &mut Desired, world: &World, node: &NodeName) -> Option<v1::DesiredDelta> {
        match <[Message; 1]>::try_from(desired.news(&world.state, node)) {
            Ok([Message::Delta(delta)]) => Some(delta),
            Err(none) if none.is_empty() => None,
            other => panic!("a delta or nothing is expected, not {other:?}"),
        }
    }

    /// The tasks of each part, with what it says of further ones.
    fn divided(sets: &[v1::DesiredSet]) -> Vec<(Vec<&str>, bool)> {
        sets.iter().map(|set| (set.assignments.iter().map(|one| &*one.task).collect(), set.more)).collect()
    }

    #[test]
    fn a_full_set_is_followed_by_what_changed() {
        let mut world = World::new();
        let node = world.node("n1");
        let run = world.submit(&["one", "two"]);
        world.place(run, 0, &node);
        let (mut desired, set) = told(&world, &node);
        assert_eq!(names(&set.assignments), [("one", false)]);
        let from = world.state.revision().0;

        assert_eq!(delta(&mut desired, &world, &node), None, "nothing has changed");
        world.place(run, 1, &node);
        let news = delta(&mut desired, &world, &node).unwrap();
        assert_eq!((news.from, names(&news.set), news.removed.len()), (from, vec![("two", false)], 0));
    }

    #[test]
    fn a_cancelled_run_is_told_to_stop_and_then_gone() {
        let mut world = World::new();
        let node = world.node("n1");
        let run = world.submit(&["one"]);
        let attempt = world.place(run, 0, &node);
        let (mut desired, _) = told(&world, &node);

        world.cancel(run);
        let news = delta(&mut desired, &world, &node).unwrap();
        assert_eq!(names(&news.set), [("one", true)]);

        world.ended(&node, attempt, false);
        assert_eq!(delta(&mut desired, &world, &node), None, "its processes are not known to be gone");
        assert_eq!(names(&told(&world, &node).1.assignments), [("one", true)]);

        world.ended(&node, attempt, true);
        let news = delta(&mut desired, &world, &node).unwrap();
        assert_eq!((news.set.len(), news.removed), (0, vec![attempt_ref_to_wire(attempt)]));
        assert_eq!(told(&world, &node).1.assignments, []);
    }

    #[test]
    fn an_agent_hears_of_what_was_given_up_before_it_was_told() {
        let mut world = World::new();
        let (node, other) = (world.node("n1"), world.node("n2"));
        let run = world.submit(&["one"]);
        let told_up_to = world.state.revision();
        world.place(run, 0, &node);
        let lease = (node.clone(), world.epoch(&node));
        world.apply(quorate_state::Command::ExpireLeases { leases: vec![lease] });
        world.place(run, 0, &other);

        world.returns(&node, told_up_to);
        assert_eq!(names(&told(&world, &node).1.assignments), [("one", true)]);
    }

    #[test]
    fn another_nodes_work_is_none_of_its_business() {
        let mut world = World::new();
        let (mine, other) = (world.node("n1"), world.node("n2"));
        let run = world.submit(&["one"]);
        let (mut desired, _) = told(&world, &mine);
        world.place(run, 0, &other);
        assert_eq!(delta(&mut desired, &world, &mine), None);
    }

    #[test]
    fn a_set_that_is_too_large_goes_in_parts_at_one_revision() {
        let mut world = World::new();
        let node = world.node("n1");
        let run = world.submit(&["one", "two", "three"]);
        for step in 0..3 {
            world.place(run, step, &node);
        }
        let (_, whole) = told(&world, &node);
        let two_fit: usize = whole.assignments[..2].iter().map(field_len).sum();

        let sent = sets(Desired::new(two_fit).news(&world.state, &node));
        assert_eq!(divided(&sent), [(vec!["one", "two"], true), (vec!["three"], false)]);
        assert!(sent.iter().all(|part| part.encoded_len() <= two_fit + 2), "beside the mark that more follow");
        let sent = sets(Desired::new(two_fit - 1).news(&world.state, &node));
        assert_eq!(divided(&sent), [(vec!["one"], true), (vec!["two"], true), (vec!["three"], false)]);
        let sent = sets(Desired::new(1).news(&world.state, &node));
        assert_eq!(divided(&sent), [(vec!["one"], true), (vec!["two"], true), (vec!["three"], false)]);
    }

    #[test]
    fn an_empty_set_is_one_part() {
        let mut world = World::new();
        let node = world.node("n1");
        assert_eq!(sets(Desired::new(1).news(&world.state, &node)), [v1::DesiredSet::default()]);
    }

    #[test]
    fn a_delta_that_is_too_large_becomes_a_full_set_in_parts() {
        let mut world = World::new();
        let node = world.node("n1");
        let run = world.submit(&["one", "two", "three"]);
        world.place(run, 0, &node);
        let (_, whole) = told(&world, &node);
        let mut desired = Desired::new(field_len(&whole.assignments[0]));
        assert_eq!(divided(&sets(desired.news(&world.state, &node))), [(vec!["one"], false)]);

        world.place(run, 1, &node);
        world.place(run, 2, &node);
        let sent = sets(desired.news(&world.state, &node));
        assert_eq!(sent.iter().map(|part| part.assignments.len()).sum::<usize>(), 3, "{sent:?}");
        assert_eq!(sent.iter().map(|part| part.more).collect::<Vec<_>>(), [true, true, false]);

        let from = world.state.revision().0;
        world.cancel(run);
        desired.part_bytes_max = PART_BYTES_MAX;
        let stops = delta(&mut desired, &world, &node).unwrap();
        assert_eq!((stops.from, stops.set.len()), (from, 3), "the next delta starts at the set sent in parts");
    }

    #[test]
    fn an_agent_that_asks_again_gets_all_again() {
        let mut world = World::new();
        let node = world.node("n1");
        let run = world.submit(&["one"]);
        world.place(run, 0, &node);
        let (mut desired, set) = told(&world, &node);
        desired.forget();
        assert_eq!(sets(desired.news(&world.state, &node)), [set]);
    }
}
