//! What one fake agent knows and says of its attempts: a node without a machine, as a value.
//!
//! A task of the noop driver ends as soon as it starts; one of the process driver goes on until it is asked to
//! stop, or, when it is `fenced`, until the lease is over. Where its processes answer, it ends at once as well, and the
//! second word of its command is its result.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_proto::v1;
use quorate_seams::BootInstant;

/// Reports in one batch, and batches sent and not answered: as the product's agent.
const REPORTS_PER_BATCH_MAX: usize = 512;
const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// An attempt: run, step, index and number.
pub(super) type Key = (String, u32, u32, u32);

/// What becomes of a task of the process driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processes {
    /// It goes on until it is asked to stop.
    Endless,
    /// It succeeds at once, with the second word of its command as its result.
    Answer,
    /// The same, but one run in so many fails: its processes end with exit code 1. Which ones follows from
    /// [`fails`].
    AnswerOrFail { one_in: u64 },
}

/// True when the processes of a run fail, of which one in so many does.
pub(crate) fn fails(run: &str, one_in: u64) -> bool {
    // The ids of runs are chance already: any digits of them will do.
    let digits = run.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    digits % one_in.max(1) == 0
}

/// What a node is, beside what runs on it.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) node: String,
    pub(super) uuid: String,
    pub(super) journal: String,
    pub(super) region: String,
    pub(super) cluster: String,
}

/// What became of attempts, for whoever watches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) started: Vec<Key>,
    pub(super) ended: Vec<Key>,
}

/// One fake agent.
#[derive(Debug)]
pub(super) struct Body {
    who: Who,
    processes: Processes,
    /// Another one after each time that the machine was gone.
    boot: u32,
    lease: Option<Lease>,
    incarnation: u64,
    revision: u64,
    /// The revision of the set that the next delta starts from.
    at: u64,
    cluster: String,
    attempts: BTreeMap<Key, Held>,
    /// A set whose other parts have not come yet.
    parts: Vec<v1::Assignment>,
    /// What is to be said; some of it may be held no more.
    news: BTreeSet<Key>,
    /// Batches without an acknowledgement, each with what it said had ended.
    unanswered: BTreeMap<u64, Vec<Key>>,
    sequence: u64,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    epoch: u64,
    /// When the newest confirmed renewal was sent.
    sent: BootInstant,
    length: Duration,
}

#[derive(Clone, Debug)]
struct Held {
    attempt: v1::AttemptRef,
    token: u64,
    is_fenced: bool,
    /// None while it runs.
    over: Option<Over>,
    /// What its process says of its end, or why there was none.
    words: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Succeeded,
    Failed,
    Stopped,
    /// There was nothing to start: a reference in its command comes to nothing.
    Flawed,
    /// It never ran here, or its lease was over.
    Lost,
}

impl Over {
    /// True where something ran before.
    fn is_after_start(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Stopped => true,
            Self::Flawed | Self::Lost => false,
        }
    }
}

impl Body {
    pub(super) fn new(who: Who, processes: Processes) -> Self {
        Self {
            who,
            processes,
            boot: 0,
            lease: None,
            incarnation: 0,
            revision: 0,
            at: 0,
            cluster: String::new(),
            attempts: BTreeMap::new(),
            parts: Vec::new(),
            news: BTreeSet::new(),
            unanswered: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// True of one whose tasks are over as soon as they are known.
    pub(super) fn answers(&self) -> bool {
        self.processes != Processes::Endless
    }

    fn fails(&self, run: &str) -> bool {
        match self.processes {
            Processes::Endless | Processes::Answer => false,
            Processes::AnswerOrFail { one_in } => fails(run, one_in),
        }
    }

    /// The machine was gone and is back: nothing runs that ran before.
    pub(super) fn reboot(&mut self) {
        self.boot += 1;
        self.lease = None;
        self.attempts.clear();
        self.news.clear();
        self.unanswered.clear();
        self.parts.clear();
    }

    /// The first message of a session.
    pub(super) fn hello(&mut self) -> v1::Hello {
        self.parts.clear();
        self.unanswered.clear();
        // What the batches said whose answers are lost is said again, with all the rest.
        self.news = self.attempts.keys().cloned().collect();
        let claim = |held: &Held| v1::AttemptClaim {
            want: 0,
            gpus: None,
            attempt: Some(held.attempt.clone()),
            token: held.token,
        };
        v1::Hello {
            gpus: vec![],
            offer: None,
            node: self.who.node.clone(),
            uuid: self.who.uuid.clone(),
            journal: self.who.journal.clone(),
            boot_id: format!("{}-{}", self.who.uuid, self.boot),
            machine_id: self.who.uuid.clone(),
            region: self.who.region.clone(),
            cluster: self.who.cluster.clone(),
            capacity: Some(v1::Resources { cpu_milli: 64_000, memory_bytes: 256 << 30, gpu_milli: 0 }),
            labels: LABELS.map(|(key, value)| v1::Label { key: key.to_owned(), value: value.to_owned() }).to_vec(),
            attempts: self.attempts.values().map(claim).collect(),
            epoch: self.lease.map_or(0, |lease| lease.epoch),
            incarnation: self.incarnation,
            revision: self.revision,
            cluster_id: self.cluster.clone(),
            join_token: String::new(),
        }
    }

    /// A session begins: the pause between two renewals in it.
    pub(super) fn on_welcome(&mut self, welcome: v1::Welcome, sent: BootInstant) -> Duration {
        let length = Duration::from_millis(welcome.lease_agent_ms);
        self.cluster = welcome.cluster_id;
        if self.lease.is_none_or(|lease| lease.epoch != welcome.epoch) {
            self.lease = Some(Lease { epoch: welcome.epoch, sent, length });
        }
        length / 3
    }

    /// A renewal of the lease held, if one is.
    pub(super) fn renew(&self, now: BootInstant) -> Option<v1::Renew> {
        self.lease.map(|lease| v1::Renew { epoch: lease.epoch, sent_at_ms: now.as_millis() })
    }

    pub(super) fn on_renewed(&mut self, renewed: &v1::Renewed) {
        if let Some(lease) = self.lease.as_mut().filter(|lease| lease.epoch == renewed.epoch) {
            lease.sent = lease.sent.max(BootInstant::from_millis(renewed.sent_at_ms));
        }
    }

    /// When the lease is over, unless it is renewed.
    pub(super) fn deadline(&self) -> Option<BootInstant> {
        self.lease.map(|lease| lease.sent + lease.length)
    }

    /// Gives up a lease that is over, and what may not run without one.
    pub(super) fn expire(&mut self, now: BootInstant) -> Happened {
        let mut happened = Happened::default();
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.lease = None;
            for (key, held) in self.attempts.iter_mut().filter(|(_, held)| held.is_fenced && held.over.is_none()) {
                held.over = Some(Over::Lost);
                happened.ended.push(key.clone());
            }
        }
        happened
    }

    /// Every message says where the cluster stands.
    pub(super) fn meet(&mut self, incarnation: u64, revision: u64) {
        if incarnation > self.incarnation {
            (self.incarnation, self.revision) = (incarnation, 0);
        }
        self.revision = self.revision.max(revision);
    }

    /// A part of a full set, at `revision`; none while others are to come.
    pub(super) fn on_set(&mut self, set: v1::DesiredSet, revision: u64) -> Option<Happened> {
        self.parts.extend(set.assignments);
        if set.more {
            return None;
        }
        let whole = std::mem::take(&mut self.parts);
        self.at = revision;
        let named: BTreeSet<Key> = whole.iter().filter_map(|one| one.attempt.as_ref().map(key)).collect();
        let mut happened = Happened::default();
        self.attempts.retain(|key, held| {
            let stays = named.contains(key) || held.token > revision;
            if !stays && held.over.is_none() {
                happened.ended.push(key.clone());
            }
            stays
        });
        self.take(whole, &mut happened);
        self.note(&happened);
        Some(happened)
    }

    /// What changed since the set before; none when it does not start there.
    pub(super) fn on_delta(&mut self, delta: v1::DesiredDelta, revision: u64) -> Option<Happened> {
        if delta.from != self.at {
            return None;
        }
        self.at = revision;
        let mut happened = Happened::default();
        for key in delta.removed.iter().map(key) {
            if self.attempts.remove(&key).is_some_and(|held| held.over.is_none()) {
                happened.ended.push(key);
            }
        }
        self.take(delta.set, &mut happened);
        self.note(&happened);
        Some(happened)
    }

    fn note(&mut self, happened: &Happened) {
        self.news.extend(happened.started.iter().chain(&happened.ended).cloned());
    }

    fn take(&mut self, assignments: Vec<v1::Assignment>, happened: &mut Happened) {
        for mut one in assignments {
            let (driver, promise) = (one.driver(), one.on_node_loss());
            let Some(attempt) = one.attempt else { continue };
            let key = key(&attempt);
            match self.attempts.get_mut(&key) {
                Some(held) if one.stop && held.over.is_none() => {
                    held.over = Some(Over::Stopped);
                    happened.ended.push(key);
                }
                Some(_) => {}
                None => {
                    let (over, words) = match driver {
                        _ if one.stop => (Some(Over::Lost), None),
                        _ if one.flaw.is_some() => (Some(Over::Flawed), one.flaw),
                        v1::Driver::Process if self.processes == Processes::Endless => (None, None),
                        v1::Driver::Process if self.fails(&key.0) => (Some(Over::Failed), None),
                        v1::Driver::Process if one.argv.len() > 1 => {
                            (Some(Over::Succeeded), Some(one.argv.swap_remove(1)))
                        }
                        v1::Driver::Process | v1::Driver::Noop | v1::Driver::Unspecified => {
                            (Some(Over::Succeeded), None)
                        }
                    };
                    let known = if one.stop { &mut happened.ended } else { &mut happened.started };
                    known.push(key.clone());
                    let is_fenced = promise == v1::OnNodeLoss::Fenced;
                    self.attempts.insert(key, Held { attempt, token: one.token, is_fenced, over, words });
                }
            }
        }
    }

    /// The next batch of what is to be said; none when there is nothing, or enough is without an answer. What comes
    /// meanwhile shares the next one.
    pub(super) fn report(&mut self) -> Option<v1::Reports> {
        let epoch = self.lease?.epoch;
        if self.unanswered.len() >= BATCHES_IN_FLIGHT_MAX {
            return None;
        }
        let (mut reports, mut ended) = (Vec::new(), Vec::new());
        // Each may have two: that it runs, and that it is over.
        while reports.len() + 2 <= REPORTS_PER_BATCH_MAX {
            let Some(key) = self.news.pop_first() else { break };
            let Some(held) = self.attempts.get(&key) else { continue };
            if held.over.is_none_or(Over::is_after_start) {
                reports.push(report(held, None));
            }
            if let Some(over) = held.over {
                reports.push(report(held, Some(over)));
                ended.push(key);
            }
        }
        if reports.is_empty() {
            return None;
        }
        self.sequence += 1;
        self.unanswered.insert(self.sequence, ended);
        Some(v1::Reports { epoch, sequence: self.sequence, reports })
    }

    /// A batch is in the log: what had ended in it is forgotten, and what was refused too.
    pub(super) fn on_acknowledged(&mut self, ack: &v1::ReportsAck) -> Happened {
        for key in self.unanswered.remove(&ack.sequence).unwrap_or_default() {
            self.attempts.remove(&key);
        }
        let mut happened = Happened::default();
        for key in ack.refused.iter().map(key) {
            if self.attempts.remove(&key).is_some_and(|held| held.over.is_none()) {
                happened.ended.push(key);
            }
        }
        happened
    }
}

/// The error of an attempt whose command could not be made: as the product's agent.
const BAD_REFERENCE: &str = "BadReference";

/// What an agent finds out of its machine is as much as this.
const LABELS: [(&str, &str); 4] =
    [("quorate.dev/arch", "x86_64"), ("quorate.dev/kernel", "6.1.0"), ("quorate.dev/os", "linux"), ("rack", "fake")];

pub(super) fn key(attempt: &v1::AttemptRef) -> Key {
    (attempt.run_id.clone(), attempt.step, attempt.index, attempt.number)
}

fn report(held: &Held, over: Option<Over>) -> v1::AttemptReport {
    let phase = match over {
        None => v1::AttemptPhase::Running,
        Some(Over::Succeeded | Over::Failed | Over::Stopped | Over::Flawed) => v1::AttemptPhase::Ended,
        Some(Over::Lost) => v1::AttemptPhase::Lost,
    };
    let exit = match over {
        Some(Over::Succeeded) => Some(v1::exit::Exit::Code(0)),
        Some(Over::Failed) => Some(v1::exit::Exit::Code(1)),
        Some(Over::Stopped) => Some(v1::exit::Exit::Signal(15)),
        Some(Over::Lost | Over::Flawed) | None => None,
    };
    let words = over.and_then(|_| held.words.clone());
    let (message, outcome) = match (over, words) {
        (Some(Over::Flawed), why) => {
            (why.unwrap_or_default(), Some(v1::outcome::Outcome::Error(BAD_REFERENCE.to_owned())))
        }
        (Some(Over::Succeeded), Some(result)) => {
            (String::new(), Some(v1::outcome::Outcome::Result(result.into_bytes().into())))
        }
        _ => (String::new(), None),
    };
    v1::AttemptReport {
        attempt: Some(held.attempt.clone()),
        token: held.token,
        phase: phase.into(),
        gone: over.is_some(),
        exit: exit.map(|exit| v1::Exit { exit: Some(exit) }),
        message,
        usage: None,
        stopped: matches!(over, Some(Over::Stopped | Over::Lost)),
        outcome: outcome.map(|outcome| v1::Outcome { outcome: Some(outcome) }),
        silent: false,
        payloads: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        body_whose(Processes::Endless)
    }

    fn body_whose(processes: Processes) -> Body {
        let mut body = Body::new(
            Who { node: "n".into(), uuid: "u".into(), journal: "j".into(), region: "r".into(), cluster: "c".into() },
            processes,
        );
        let welcome = v1::Welcome {
            cluster_id: "c".into(),
            epoch: 7,
            lease_agent_ms: 9_000,
            kill_ms: 3_000,
            ..Default::default()
        };
        assert_eq!(body.on_welcome(welcome, at(1_000)), Duration::from_secs(3));
        body
    }

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_millis(millis)
    }

    fn assignment(index: u32, driver: v1::Driver, promise: v1::OnNodeLoss, stop: bool) -> v1::Assignment {
        let attempt = v1::AttemptRef { run_id: "r".into(), step: 0, index, number: 1 };
        v1::Assignment {
            attempt: Some(attempt),
            token: 40,
            driver: driver.into(),
            on_node_loss: promise.into(),
            stop,
            ..v1::Assignment::default()
        }
    }

    fn held(index: u32) -> v1::Assignment {
        assignment(index, v1::Driver::Process, v1::OnNodeLoss::AtLeastOnce, false)
    }

    fn set(assignments: Vec<v1::Assignment>, more: bool) -> v1::DesiredSet {
        v1::DesiredSet { assignments, more }
    }

    fn indexes(keys: &[Key]) -> Vec<u32> {
        keys.iter().map(|(_, _, index, _)| *index).collect()
    }

    #[test]
    fn noop_tasks_end_at_once_and_the_others_when_they_are_asked_to() {
        let mut body = body();
        let noop = assignment(1, v1::Driver::Noop, v1::OnNodeLoss::AtLeastOnce, false);
        assert_eq!(body.on_set(set(vec![held(0)], true), 41), None, "the set is not whole");
        let started = body.on_set(set(vec![noop], false), 41).unwrap();
        assert_eq!((indexes(&started.started), indexes(&started.ended)), (vec![0, 1], vec![]));
        let reports = body.report().unwrap();
        let phases: Vec<_> = reports.reports.iter().map(v1::AttemptReport::phase).collect();
        use v1::AttemptPhase::{Ended, Running};
        assert_eq!(phases, [Running, Running, Ended]);
        body.on_acknowledged(&v1::ReportsAck { sequence: reports.sequence, refused: Vec::new() });
        assert_eq!(body.hello().attempts.len(), 1, "what has ended is forgotten once that is in the log");

        let stop = v1::DesiredDelta { from: 41, set: vec![v1::Assignment { stop: true, ..held(0) }], removed: vec![] };
        assert_eq!(body.on_delta(v1::DesiredDelta { from: 40, ..stop.clone() }, 42), None, "it starts elsewhere");
        let stopped = body.on_delta(stop, 42).unwrap();
        assert_eq!(indexes(&stopped.ended), [0]);
        let report = &body.report().unwrap().reports[1];
        assert_eq!((report.phase(), report.stopped, report.gone), (Ended, true, true));
    }

    #[test]
    fn processes_that_answer_end_at_once_with_their_second_word() {
        let mut body = body_whose(Processes::Answer);
        let argv = ["answer", "{\"n\":3}", "more"].map(str::to_owned).to_vec();
        let flawed = v1::Assignment { flaw: Some("no such thing".into()), ..held(1) };
        let assignments = vec![v1::Assignment { argv, ..held(0) }, flawed, held(2)];
        body.on_set(set(assignments, false), 41).unwrap();
        let reports = body.report().unwrap().reports;
        let said: Vec<_> = reports.iter().map(|one| (one.attempt.as_ref().unwrap().index, one.phase())).collect();
        use v1::AttemptPhase::{Ended, Running};
        assert_eq!(said, [(0, Running), (0, Ended), (1, Ended), (2, Running), (2, Ended)]);
        let outcome = |at: usize| reports[at].outcome.clone().and_then(|outcome| outcome.outcome);
        assert_eq!(outcome(1), Some(v1::outcome::Outcome::Result(b"{\"n\":3}".to_vec().into())));
        assert_eq!(outcome(2), Some(v1::outcome::Outcome::Error("BadReference".into())));
        assert_eq!((&*reports[2].message, reports[2].exit, outcome(4)), ("no such thing", None, None));
    }

    #[test]
    fn some_runs_fail_where_they_should_and_the_same_ones_each_time() {
        let mut body = body_whose(Processes::AnswerOrFail { one_in: 10 });
        let of = |run: usize| {
            let attempt = v1::AttemptRef { run_id: format!("{run:013}"), step: 0, index: 0, number: 1 };
            v1::Assignment { attempt: Some(attempt), ..held(0) }
        };
        body.on_set(set((0..200).map(of).collect(), false), 41).unwrap();
        let reports = body.report().unwrap().reports;
        let code = |report: &v1::AttemptReport| report.exit.and_then(|exit| exit.exit);
        let mut failed = 0;
        for report in reports.iter().filter(|report| report.phase() == v1::AttemptPhase::Ended) {
            let expected = fails(&report.attempt.as_ref().unwrap().run_id, 10);
            assert_eq!(code(report), Some(v1::exit::Exit::Code(expected.into())), "{report:?}");
            failed += usize::from(expected);
        }
        assert!((10..30).contains(&failed), "{failed}");
    }

    #[test]
    fn much_news_goes_in_batches_and_no_more_than_two_are_on_their_way() {
        let mut body = body_whose(Processes::Answer);
        body.on_set(set((0..1_000).map(held).collect(), false), 41).unwrap();
        let (first, second) = (body.report().unwrap(), body.report().unwrap());
        assert_eq!((first.reports.len(), second.reports.len()), (REPORTS_PER_BATCH_MAX, REPORTS_PER_BATCH_MAX));
        assert_eq!(body.report(), None, "two are on their way");
        body.on_acknowledged(&v1::ReportsAck { sequence: first.sequence, refused: Vec::new() });
        assert!(body.report().is_some());
        assert_eq!(body.hello().attempts.len(), 1_000 - REPORTS_PER_BATCH_MAX / 2);
        let again = std::iter::from_fn(|| body.report()).next().unwrap();
        assert_eq!(again.reports[0].attempt.as_ref().unwrap().index, 256, "what was not answered is said again");
    }

    #[test]
    fn a_lease_that_is_over_ends_what_is_fenced_and_nothing_else() {
        let mut body = body();
        let fenced = assignment(1, v1::Driver::Process, v1::OnNodeLoss::Fenced, false);
        body.on_set(set(vec![held(0), fenced], false), 41).unwrap();
        body.on_renewed(&v1::Renewed { epoch: 7, sent_at_ms: 4_000 });
        body.on_renewed(&v1::Renewed { epoch: 6, sent_at_ms: 9_000 });
        assert_eq!(body.expire(at(12_999)), Happened::default());
        assert_eq!(indexes(&body.expire(at(13_000)).ended), [1]);
        assert_eq!((body.renew(at(13_000)), body.hello().epoch), (None, 0));
        assert_eq!(body.hello().attempts.len(), 2, "it is said until it is known");
    }

    #[test]
    fn after_a_reboot_nothing_is_claimed_and_another_boot_is_named() {
        let mut body = body();
        body.on_set(set(vec![held(0)], false), 41).unwrap();
        let before = body.hello();
        body.reboot();
        let after = body.hello();
        assert_eq!((before.attempts.len(), after.attempts.len(), after.epoch), (1, 0, 0));
        assert_ne!(before.boot_id, after.boot_id);
        assert_eq!(before.journal, after.journal);
    }

    #[test]
    fn what_a_set_does_not_name_is_over_unless_it_is_younger() {
        let mut body = body();
        body.on_set(set(vec![held(0)], false), 41).unwrap();
        let younger = v1::Assignment { token: 50, ..held(1) };
        body.on_delta(v1::DesiredDelta { from: 41, set: vec![younger], removed: vec![] }, 50).unwrap();
        assert_eq!(indexes(&body.on_set(set(vec![], false), 45).unwrap().ended), [0]);
        assert_eq!(body.hello().attempts.len(), 1);
    }
}
