//! What one fake agent knows and says of its attempts: a node without a machine, as a value.
//!
//! A task of the noop driver ends as soon as it starts; one of the process driver goes on until it is asked to
//! stop, or, when it is `fenced`, until the lease is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_proto::v1;
use quorate_seams::BootInstant;

/// An attempt: run, step, index and number.
pub(super) type Key = (String, u32, u32, u32);

/// What a node is, beside what runs on it.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) node: String,
    pub(super) uuid: String,
    pub(super) journal: String,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Succeeded,
    Stopped,
    /// It never ran here, or its lease was over.
    Lost,
}

impl Body {
    pub(super) fn new(who: Who) -> Self {
        Self {
            who,
            boot: 0,
            lease: None,
            incarnation: 0,
            revision: 0,
            at: 0,
            cluster: String::new(),
            attempts: BTreeMap::new(),
            parts: Vec::new(),
            unanswered: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// The machine was gone and is back: nothing runs that ran before.
    pub(super) fn reboot(&mut self) {
        self.boot += 1;
        self.lease = None;
        self.attempts.clear();
        self.unanswered.clear();
        self.parts.clear();
    }

    /// The first message of a session.
    pub(super) fn hello(&mut self) -> v1::Hello {
        self.parts.clear();
        self.unanswered.clear();
        let claim = |held: &Held| v1::AttemptClaim { attempt: Some(held.attempt.clone()), token: held.token };
        v1::Hello {
            node: self.who.node.clone(),
            uuid: self.who.uuid.clone(),
            journal: self.who.journal.clone(),
            boot_id: format!("{}-{}", self.who.uuid, self.boot),
            machine_id: self.who.uuid.clone(),
            region: "default".to_owned(),
            cluster: "default".to_owned(),
            capacity: Some(v1::Resources { cpu_milli: 64_000, memory_bytes: 256 << 30 }),
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
        Some(happened)
    }

    fn take(&mut self, assignments: Vec<v1::Assignment>, happened: &mut Happened) {
        for one in assignments {
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
                    let over = match driver {
                        _ if one.stop => Some(Over::Lost),
                        v1::Driver::Process => None,
                        v1::Driver::Noop | v1::Driver::Unspecified => Some(Over::Succeeded),
                    };
                    let known = if one.stop { &mut happened.ended } else { &mut happened.started };
                    known.push(key.clone());
                    let is_fenced = promise == v1::OnNodeLoss::Fenced;
                    self.attempts.insert(key, Held { attempt, token: one.token, is_fenced, over });
                }
            }
        }
    }

    /// All there is to report of what is held, or only of these; none when that is nothing.
    pub(super) fn report(&mut self, only: Option<&Happened>) -> Option<v1::Reports> {
        let epoch = self.lease?.epoch;
        let is_news = |key: &Key| only.is_none_or(|only| only.started.contains(key) || only.ended.contains(key));
        let unsaid = self.attempts.iter().filter(|(key, _)| is_news(key));
        let (mut reports, mut ended) = (Vec::new(), Vec::new());
        for (key, held) in unsaid {
            if held.over != Some(Over::Lost) {
                reports.push(report(held, None));
            }
            if let Some(over) = held.over {
                reports.push(report(held, Some(over)));
                ended.push(key.clone());
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

/// What an agent finds out of its machine is as much as this.
const LABELS: [(&str, &str); 4] =
    [("quorate.dev/arch", "x86_64"), ("quorate.dev/kernel", "6.1.0"), ("quorate.dev/os", "linux"), ("rack", "fake")];

pub(super) fn key(attempt: &v1::AttemptRef) -> Key {
    (attempt.run_id.clone(), attempt.step, attempt.index, attempt.number)
}

fn report(held: &Held, over: Option<Over>) -> v1::AttemptReport {
    let phase = match over {
        None => v1::AttemptPhase::Running,
        Some(Over::Succeeded | Over::Stopped) => v1::AttemptPhase::Ended,
        Some(Over::Lost) => v1::AttemptPhase::Lost,
    };
    let exit = match over {
        Some(Over::Succeeded) => Some(v1::exit::Exit::Code(0)),
        Some(Over::Stopped) => Some(v1::exit::Exit::Signal(15)),
        Some(Over::Lost) | None => None,
    };
    v1::AttemptReport {
        attempt: Some(held.attempt.clone()),
        token: held.token,
        phase: phase.into(),
        gone: over.is_some(),
        exit: exit.map(|exit| v1::Exit { exit: Some(exit) }),
        message: String::new(),
        usage: None,
        stopped: over.is_some_and(|over| over != Over::Succeeded),
        outcome: None,
        silent: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        let mut body = Body::new(Who { node: "n".into(), uuid: "u".into(), journal: "j".into() });
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
        let reports = body.report(Some(&started)).unwrap();
        let phases: Vec<_> = reports.reports.iter().map(v1::AttemptReport::phase).collect();
        use v1::AttemptPhase::{Ended, Running};
        assert_eq!(phases, [Running, Running, Ended]);
        body.on_acknowledged(&v1::ReportsAck { sequence: reports.sequence, refused: Vec::new() });
        assert_eq!(body.hello().attempts.len(), 1, "what has ended is forgotten once that is in the log");

        let stop = v1::DesiredDelta { from: 41, set: vec![v1::Assignment { stop: true, ..held(0) }], removed: vec![] };
        assert_eq!(body.on_delta(v1::DesiredDelta { from: 40, ..stop.clone() }, 42), None, "it starts elsewhere");
        let stopped = body.on_delta(stop, 42).unwrap();
        assert_eq!(indexes(&stopped.ended), [0]);
        let report = &body.report(Some(&stopped)).unwrap().reports[1];
        assert_eq!((report.phase(), report.stopped, report.gone), (Ended, true, true));
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
