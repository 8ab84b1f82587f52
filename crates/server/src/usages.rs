//! What attempts use while they run, as their agents said last: in the leader's memory alone, for as long as it has
//! the session of their node. Nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_proto::convert::agent::attempt_ref_from_wire;
use quorate_proto::v1;
use quorate_seams::BootInstant;
use quorate_state::{AttemptId, NodeName, RunId, State, TaskId, Token};

/// Attempts of which it is known at once; of more, those that come first keep their places.
pub(crate) const USAGES_MAX: usize = 100_000;
/// Messages that a leader takes in a second, however many agents there are.
const MESSAGES_PER_SECOND_MAX: u64 = 1_000;
/// How often an agent says it, where they are few.
const EVERY: Duration = Duration::from_secs(5);

/// How often each of so many agents is to say it.
pub(crate) fn every(agents: usize) -> Duration {
    EVERY.max(Duration::from_secs((agents as u64).div_ceil(MESSAGES_PER_SECOND_MAX)))
}

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Usages(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    by_attempt: BTreeMap<AttemptId, Known>,
    by_node: BTreeMap<NodeName, BTreeSet<AttemptId>>,
}

#[derive(Debug)]
struct Known {
    node: NodeName,
    token: Token,
    usage: v1::LiveUsage,
    progress: Option<Arc<v1::Progress>>,
    heard: BootInstant,
}

/// What is said of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) usage: v1::LiveUsage,
    pub(crate) progress: Option<Arc<v1::Progress>>,
}

impl Known {
    /// It is that of an attempt that has not ended.
    fn is_current(&self, view: &State, attempt: AttemptId) -> bool {
        runs_there(view, attempt, self.token, &self.node)
    }

    fn told(&self, now: BootInstant) -> Told {
        let age_ms = u64::try_from(now.since(self.heard).as_millis()).unwrap_or(u64::MAX);
        Told { usage: v1::LiveUsage { age_ms, ..self.usage }, progress: self.progress.clone() }
    }
}

impl Usages {
    /// Takes what a node says of its own attempts; what it says of others is dropped.
    pub(crate) fn take(&self, view: &State, node: &NodeName, reports: Vec<v1::UsageReport>, now: BootInstant) {
        let mut guard = self.lock();
        let Table { by_attempt, by_node } = &mut *guard;
        let attempts = by_node.entry(node.clone()).or_default();
        attempts.retain(|attempt| {
            let is_current = by_attempt.get(attempt).is_some_and(|known| known.is_current(view, *attempt));
            if !is_current {
                by_attempt.remove(attempt);
            }
            is_current
        });
        for report in reports {
            let v1::UsageReport { attempt: Some(attempt), token, usage: Some(usage), progress } = report else {
                continue;
            };
            let Ok(attempt) = attempt_ref_from_wire(&attempt) else { continue };
            let token = Token(token);
            let has_room = by_attempt.len() < USAGES_MAX || by_attempt.contains_key(&attempt);
            if has_room && runs_there(view, attempt, token, node) {
                let progress = progress.map(Arc::new);
                by_attempt.insert(attempt, Known { node: node.clone(), token, usage, progress, heard: now });
                attempts.insert(attempt);
            }
        }
    }

    /// A node's session is over: what it said is as good as unknown from now on.
    pub(crate) fn left(&self, node: &NodeName) {
        let mut table = self.lock();
        for attempt in table.by_node.remove(node).unwrap_or_default() {
            table.by_attempt.remove(&attempt);
        }
    }

    /// What is known of a run's attempts, by their names.
    pub(crate) fn of_run(&self, view: &State, run: RunId, now: BootInstant) -> Vec<(AttemptId, Told)> {
        let first = AttemptId { task: TaskId { run, step: 0, index: 0 }, number: 0 };
        let last = AttemptId { task: TaskId { run, step: u32::MAX, index: u32::MAX }, number: u32::MAX };
        let table = self.lock();
        let known = table.by_attempt.range(first..=last).filter(|(attempt, known)| known.is_current(view, **attempt));
        known.map(|(attempt, known)| (*attempt, known.told(now))).collect()
    }

    /// What is known of the attempts on a node.
    pub(crate) fn of_node(
        &self,
        view: &State,
        node: &NodeName,
        now: BootInstant,
    ) -> BTreeMap<AttemptId, v1::LiveUsage> {
        let table = self.lock();
        let known = table.by_node.get(node).into_iter().flatten().filter_map(|attempt| {
            let known = table.by_attempt.get(attempt).filter(|known| known.is_current(view, *attempt))?;
            Some((*attempt, known.told(now).usage))
        });
        known.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What several attempts use together; none when nothing is known of any.
pub(crate) fn sum<'a>(usages: impl Iterator<Item = &'a v1::LiveUsage>) -> Option<v1::UsageSum> {
    let add = |sum: v1::UsageSum, one: &v1::LiveUsage| v1::UsageSum {
        attempts: sum.attempts.saturating_add(1),
        cpu_us: sum.cpu_us.saturating_add(one.cpu_us),
        cpu_milli: sum.cpu_milli.saturating_add(one.cpu_milli.unwrap_or(0)),
        memory_bytes: sum.memory_bytes.saturating_add(one.memory_bytes),
        read_bytes: sum.read_bytes.saturating_add(one.read_bytes),
        written_bytes: sum.written_bytes.saturating_add(one.written_bytes),
        age_ms: sum.age_ms.max(one.age_ms),
    };
    Some(usages.fold(v1::UsageSum::default(), add)).filter(|sum| sum.attempts > 0)
}

fn runs_there(view: &State, attempt: AttemptId, token: Token, node: &NodeName) -> bool {
    view.attempt(attempt).is_some_and(|one| one.token == token && one.node == *node && !one.state.is_terminal())
}

#[cfg(test)]
mod tests {
    use quorate_proto::convert::agent::attempt_ref_to_wire;

    use super::*;
    use crate::world::World;

    fn heard() -> BootInstant {
        BootInstant::from_millis(1_000)
    }

    fn now() -> BootInstant {
        BootInstant::from_millis(3_500)
    }

    fn report(world: &World, attempt: AttemptId, memory_bytes: u64) -> v1::UsageReport {
        let token = world.state.attempt(attempt).unwrap().token.0;
        let usage = Some(v1::LiveUsage { memory_bytes, cpu_milli: Some(500), ..v1::LiveUsage::default() });
        let progress = Some(v1::Progress { done_milli: Some(250), ..v1::Progress::default() });
        v1::UsageReport { attempt: Some(attempt_ref_to_wire(attempt)), token, usage, progress }
    }

    fn memory(usages: &Usages, world: &World, run: RunId) -> Vec<u64> {
        usages.of_run(&world.state, run, now()).iter().map(|(_, told)| told.usage.memory_bytes).collect()
    }

    #[test]
    fn what_a_node_says_of_its_attempts_is_known_with_its_age_until_they_end() {
        let mut world = World::new();
        let (one, two) = (world.node("n1"), world.node("n2"));
        let run = world.submit(&["a", "b"]);
        let other = world.submit(&["a"]);
        let (a, b) = (world.place(run, 0, &one), world.place(run, 1, &two));
        let c = world.place(other, 0, &one);
        let usages = Usages::default();
        usages.take(&world.state, &one, vec![report(&world, a, 10), report(&world, c, 30)], heard());
        usages.take(&world.state, &two, vec![report(&world, b, 20)], heard());
        assert_eq!(memory(&usages, &world, run), [10, 20]);
        let told = usages.of_run(&world.state, run, now());
        assert_eq!(told[0].1.progress.as_ref().and_then(|progress| progress.done_milli), Some(250));
        let on_one = usages.of_node(&world.state, &one, now());
        assert_eq!(on_one[&a].age_ms, 2_500);
        let all = sum(on_one.values()).unwrap();
        assert_eq!((all.attempts, all.memory_bytes, all.cpu_milli, all.age_ms), (2, 40, 1_000, 2_500));

        world.ended(&one, a, true);
        assert_eq!(memory(&usages, &world, run), [20], "an end says what it used by itself");
        usages.take(&world.state, &one, vec![report(&world, c, 31)], now());
        assert_eq!(usages.lock().by_attempt.len(), 2, "and it is forgotten with the next message");
        usages.left(&one);
        assert_eq!((memory(&usages, &world, other), memory(&usages, &world, run)), (vec![], vec![20]));
        assert_eq!(sum([].iter()), None);
    }

    #[test]
    fn what_is_said_of_anothers_attempt_or_with_an_old_token_is_dropped() {
        let mut world = World::new();
        let (one, two) = (world.node("n1"), world.node("n2"));
        let run = world.submit(&["a"]);
        let a = world.place(run, 0, &one);
        let usages = Usages::default();
        let old = v1::UsageReport { token: 1, ..report(&world, a, 10) };
        usages.take(&world.state, &one, vec![old, v1::UsageReport::default()], heard());
        usages.take(&world.state, &two, vec![report(&world, a, 10)], heard());
        assert_eq!(memory(&usages, &world, run), [0_u64; 0]);
    }

    #[test]
    fn many_agents_say_it_less_often() {
        for (agents, seconds) in [(0, 5), (1, 5), (5_000, 5), (5_001, 6), (20_000, 20)] {
            assert_eq!(every(agents), Duration::from_secs(seconds), "{agents}");
        }
    }
}
