//! The executor of a simulated node: a driver that runs nothing, and keeps the true record of what
//! it would have run, and when.
//!
//! An attempt's argv says how it behaves: how long it runs, up to which attempt it fails, whether
//! it heeds a request to end, whether it takes its agent down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use quorate_agent::driver::{Driver, Ending, Event, Execution, Leftover, NotStarted, Pulse, Sign, Start, Wish};
use quorate_state::{AttemptId, Exit, NodeName, OnNodeLoss, Outcome, Payload, PayloadDigest, Payloads, Token};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::facts::{self, Fact, Facts, Happening};
use crate::scenario::{Says, Speech};

/// Between a request to end and the end of what heeds it.
const HEEDS_AFTER: Duration = Duration::from_millis(20);
/// Between the start of a poisonous attempt and the end of its agent.
const POISON_AFTER: Duration = Duration::from_millis(50);
/// How much longer an attempt runs that is hastened.
const HASTENED: Duration = Duration::from_millis(500);
/// How long an attempt runs on that has fallen silent.
const HANGS_FOR: Duration = Duration::from_secs(90);
/// Requests of poisonous attempts that wait for the supervisor.
const POISONED_MAX: usize = 16;
/// SIGTERM and SIGKILL.
const TERM: i32 = 15;
const KILL: i32 = 9;

/// How an attempt behaves, as its argv says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behaviour {
    pub(crate) runs: Duration,
    pub(crate) fails: u32,
    /// It fails in runs with an odd id only.
    pub(crate) by_run: bool,
    pub(crate) stubborn: bool,
    pub(crate) poison: bool,
    /// What it says of its end by itself.
    pub(crate) says: Option<Says>,
    /// What it says while it runs, where that matters.
    pub(crate) speech: Option<Speech>,
    /// Only these elements of its step fail, a bit for each.
    pub(crate) failing: Option<u32>,
}

/// The error type that attempts report which are to fail.
pub(crate) const UNLUCKY: &str = "Unlucky";

/// What an attempt with this token says came out of it, in so many bytes. Each says something else.
pub(crate) fn result_of(token: Token, bytes: u32) -> String {
    let number = token.to_string();
    let rest = (bytes as usize).saturating_sub(number.len() + 3);
    format!("\"{number}-{}\"", "x".repeat(rest))
}

/// Where an attempt with this token that has a result says it has left data, so large and recognised by its token.
pub(crate) fn left_by(token: Token) -> Option<Arc<Payloads>> {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&token.0.to_be_bytes());
    let payload = Payload::new(&format!("sim:{token}"), Some(token.0), Some(PayloadDigest::Sha256(digest)));
    let mut payloads = Payloads::default();
    payloads.put("left".parse().ok()?, payload.ok()?).ok()?;
    payloads.kept()
}

/// A few values that an attempt with this token says came out of it, where it says so. Each says who it is.
pub(crate) fn values_of(token: Token, go: Option<bool>, n: u32, many: u32) -> String {
    let go = go.map_or_else(String::new, |go| format!("\"go\":{go},"));
    let list: Vec<String> = (n..n.saturating_add(many)).map(|number| number.to_string()).collect();
    format!("{{\"by\":\"{token}\",{go}\"n\":{n},\"list\":[{}]}}", list.join(","))
}

/// How arguments begin: by which an attempt is told to speak, what values it says came out of it, which elements of its
/// step fail, and what else its command says.
const SPEAKS: &str = "speaks/";
const VALUES: &str = "values/";
const FAILING: &str = "failing/";
const WORDS: &str = "words/";
/// The argument of an attempt that fails in every other run only.
const BY_RUN: &str = "by-run";

impl Behaviour {
    /// The argv of a task that behaves so.
    pub(crate) fn to_argv(self) -> Vec<String> {
        let flag = |flag: bool| u8::from(flag).to_string();
        let millis = self.runs.as_millis().to_string();
        let mut argv = vec!["simulated".into(), millis, self.fails.to_string(), flag(self.stubborn), flag(self.poison)];
        argv.extend(self.says.map(|says| match says {
            Says::Result { bytes } => bytes.to_string(),
            Says::Values { go, n, many } => {
                let go = go.map_or_else(|| "-".to_owned(), |go| go.to_string());
                format!("{VALUES}{go}/{n}/{many}")
            }
            Says::Error { .. } => UNLUCKY.to_owned(),
        }));
        argv.extend(
            self.speech
                .map(|Speech { silent_ms, every_ms, hangs_ms }| format!("{SPEAKS}{silent_ms}/{every_ms}/{hangs_ms}")),
        );
        argv.extend(self.failing.map(|failing| format!("{FAILING}{failing}")));
        argv.extend(self.by_run.then(|| BY_RUN.to_owned()));
        argv
    }

    /// How a task with this argv behaves, as far as it matters to its executor; none: nobody's task.
    pub(crate) fn from_argv(argv: &[String]) -> Option<Self> {
        let [_, runs, fails, stubborn, poison, rest @ ..] = argv else { return None };
        let mut behaviour = Self {
            runs: Duration::from_millis(runs.parse().ok()?),
            fails: fails.parse().ok()?,
            by_run: false,
            stubborn: stubborn == "1",
            poison: poison == "1",
            says: None,
            speech: None,
            failing: None,
        };
        for word in rest {
            if let Some(numbers) = word.strip_prefix(SPEAKS) {
                behaviour.speech = Some(speech(numbers)?);
            } else if let Some(elements) = word.strip_prefix(FAILING) {
                behaviour.failing = Some(elements.parse().ok()?);
            } else if word == BY_RUN {
                behaviour.by_run = true;
            } else if !word.starts_with(WORDS) {
                behaviour.says = Some(says(word)?);
            }
        }
        Some(behaviour)
    }

    /// Whether this attempt fails.
    fn fails(&self, attempt: AttemptId) -> bool {
        let is_one = self.failing.is_none_or(|failing| (failing >> (attempt.task.index % u32::BITS)) & 1 == 1);
        is_one && attempt.number <= self.fails && (!self.by_run || attempt.task.run.0 % 2 == 1)
    }
}

/// The argument that says `words`, which may hold references.
pub(crate) fn with_words(words: &str) -> String {
    format!("{WORDS}{words}")
}

/// What a command says besides how its attempt behaves.
pub(crate) fn words_of(argv: &[String]) -> Option<&str> {
    argv.iter().find_map(|word| word.strip_prefix(WORDS))
}

fn says(word: &str) -> Option<Says> {
    let Some(values) = word.strip_prefix(VALUES) else {
        return if word == UNLUCKY {
            Some(Says::Error { never: false })
        } else {
            Some(Says::Result { bytes: word.parse().ok()? })
        };
    };
    let mut values = values.split('/');
    let go = match values.next()? {
        "-" => None,
        go => Some(go.parse().ok()?),
    };
    let mut number = || values.next()?.parse().ok();
    Some(Says::Values { go, n: number()?, many: number()? })
}

fn speech(numbers: &str) -> Option<Speech> {
    let mut numbers = numbers.split('/').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(Speech { silent_ms: next()?, every_ms: next()?, hangs_ms: next()? })
}

/// What an attempt says while it runs: a word every so often, until it falls silent.
struct Voice {
    began: Instant,
    every: Duration,
    until: Duration,
}

#[async_trait]
impl Pulse for Voice {
    async fn sign(&self) -> Sign {
        let words = self.began.elapsed().min(self.until).as_millis() / self.every.as_millis().max(1);
        Sign { bytes: u64::try_from(words).unwrap_or(u64::MAX), written_ns: 0 }
    }
}

/// The executor of one node. It outlives its agents; cloning shares it.
#[derive(Clone)]
pub(crate) struct Executor(Arc<Shared>);

struct Shared {
    node: NodeName,
    facts: Facts,
    starts_in: Duration,
    kills_in: Duration,
    /// Asks for the end of the agent.
    poisoned: mpsc::Sender<()>,
    /// What is to come to its end soon.
    hastened: watch::Sender<BTreeSet<AttemptId>>,
    /// What runs.
    alive: Mutex<BTreeMap<AttemptId, facts::Execution>>,
}

impl Executor {
    /// An executor and the requests of poisonous attempts to end its agent.
    pub(crate) fn new(
        node: NodeName,
        facts: Facts,
        starts_in: Duration,
        kills_in: Duration,
    ) -> (Self, mpsc::Receiver<()>) {
        let (poisoned, requests) = mpsc::channel(POISONED_MAX);
        let hastened = watch::Sender::default();
        let shared = Shared { node, facts, starts_in, kills_in, poisoned, hastened, alive: Mutex::default() };
        (Self(Arc::new(shared)), requests)
    }

    /// How many attempts run.
    pub(crate) fn alive(&self) -> usize {
        self.0.lock().len()
    }

    /// How many fenced attempts run.
    pub(crate) fn fenced(&self) -> usize {
        self.0.lock().values().filter(|execution| execution.promise == OnNodeLoss::Fenced).count()
    }

    /// This attempt comes to its own end soon, where it would have run on for long.
    pub(crate) fn hasten(&self, attempt: AttemptId) {
        self.0.hastened.send_if_modified(|hastened| hastened.insert(attempt));
    }

    /// Everything ends at this instant, with its agent or with its machine.
    pub(crate) fn end_all(&self, at: Duration) {
        for (_, execution) in std::mem::take(&mut *self.0.lock()) {
            let what = Happening::Ended { exit: None };
            self.0.facts.add_at(at, Fact::Execution(facts::Execution { what, ..execution }));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, facts::Execution>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, execution: &facts::Execution, what: Happening) {
        self.facts.add(Fact::Execution(facts::Execution { what, ..execution.clone() }));
    }
}

struct Running {
    shared: Arc<Shared>,
    record: facts::Execution,
    behaviour: Behaviour,
    ends_at: Instant,
    exit: Exit,
    poisons_at: Option<Instant>,
    hastened: watch::Receiver<BTreeSet<AttemptId>>,
    pulse: Option<(Arc<dyn Pulse>, Duration)>,
}

#[async_trait]
impl Driver for Executor {
    async fn start(&self, start: Start) -> Result<Box<dyn Execution>, NotStarted> {
        tokio::time::sleep(self.0.starts_in).await;
        if *start.wish.borrow() != Wish::Run {
            return Err(NotStarted::Withdrawn);
        }
        let assignment = &start.assignment;
        let Some(behaviour) = Behaviour::from_argv(&assignment.argv) else {
            return Err(NotStarted::Job(format!("{:?} is no behaviour", assignment.argv)));
        };
        let record = facts::Execution {
            node: self.0.node.clone(),
            attempt: assignment.attempt,
            token: assignment.token,
            promise: assignment.on_node_loss,
            words: words_of(&assignment.argv).map(Arc::from),
            gpus: assignment.gpus,
            what: Happening::Started,
        };
        self.0.record(&record, Happening::Started);
        self.0.lock().insert(assignment.attempt, record.clone());
        let now = Instant::now();
        let fails = behaviour.fails(assignment.attempt);
        let hangs_after = behaviour.speech.filter(|_| fails).map(|speech| Duration::from_millis(speech.hangs_ms));
        let voice = behaviour.speech.map(|speech| Voice {
            began: now,
            every: Duration::from_millis(speech.every_ms),
            until: hangs_after.unwrap_or(Duration::MAX),
        });
        let voice = voice.map(|voice| -> Arc<dyn Pulse> { Arc::new(voice) });
        Ok(Box::new(Running {
            shared: self.0.clone(),
            record,
            behaviour,
            ends_at: now + hangs_after.map_or(behaviour.runs, |after| after + HANGS_FOR),
            exit: Exit::Code(i32::from(fails)),
            poisons_at: behaviour.poison.then(|| now + POISON_AFTER),
            hastened: self.0.hastened.subscribe(),
            pulse: voice.zip(assignment.silent_max),
        }))
    }

    /// What an agent ran dies with it.
    async fn recover(&self, _leftovers: Vec<Leftover>) -> BTreeSet<AttemptId> {
        BTreeSet::new()
    }
}

impl Running {
    /// What it has said of its end: one that was killed had no time to. One that failed may have had its result by then.
    fn outcome(&self) -> Option<Outcome> {
        let Exit::Code(code) = self.exit else { return None };
        match self.behaviour.says? {
            Says::Result { bytes } => Some(Outcome::Result(result_of(self.record.token, bytes).into_bytes().into())),
            Says::Values { go, n, many } => {
                Some(Outcome::Result(values_of(self.record.token, go, n, many).into_bytes().into()))
            }
            Says::Error { .. } if code == 0 => None,
            Says::Error { .. } => UNLUCKY.parse().ok().map(Outcome::Error),
        }
    }

    /// Data that it says it has left behind, beside its result.
    fn payloads(&self) -> Option<Arc<Payloads>> {
        let has_result = matches!((self.exit, self.behaviour.says), (Exit::Code(_), Some(Says::Result { .. })));
        left_by(self.record.token).filter(|_| has_result)
    }

    fn ends_sooner(&mut self, within: Duration, signal: i32) {
        let at = Instant::now() + within;
        if at < self.ends_at {
            self.ends_at = at;
            self.exit = Exit::Signal(signal);
        }
    }
}

#[async_trait]
impl Execution for Running {
    fn process(&self) -> Option<(u32, u64)> {
        None
    }

    async fn next(&mut self) -> Event {
        if let Some(at) = self.poisons_at.filter(|at| *at < self.ends_at) {
            tokio::time::sleep_until(at).await;
            self.poisons_at = None;
            // One request is as good as many.
            let _ = self.shared.poisoned.try_send(());
        }
        let hastened =
            async { self.hastened.wait_for(|hastened| hastened.contains(&self.record.attempt)).await.is_ok() };
        if let Ok(true) = tokio::time::timeout_at(self.ends_at, hastened).await {
            self.ends_at = self.ends_at.min(Instant::now() + HASTENED);
            tokio::time::sleep_until(self.ends_at).await;
        }
        if self.shared.lock().remove(&self.record.attempt).is_some() {
            self.shared.record(&self.record, Happening::Ended { exit: Some(self.exit) });
        }
        let (outcome, payloads) = (self.outcome().map(Arc::new), self.payloads());
        let ending = Ending { exit: Some(self.exit), outcome, payloads, ..Ending::default() };
        Event::Ended { ending, gone: true }
    }

    fn stop(&mut self) -> bool {
        if Instant::now() >= self.ends_at {
            return false;
        }
        self.shared.record(&self.record, Happening::Asked);
        if !self.behaviour.stubborn {
            self.ends_sooner(HEEDS_AFTER, TERM);
        }
        true
    }

    fn kill(&mut self) -> bool {
        if Instant::now() >= self.ends_at {
            return false;
        }
        self.shared.record(&self.record, Happening::Killed);
        self.ends_sooner(self.shared.kills_in, KILL);
        true
    }

    fn pulse(&self) -> Option<(Arc<dyn Pulse>, Duration)> {
        self.pulse.clone()
    }

    fn tend(&mut self) {}
}

impl Drop for Running {
    fn drop(&mut self) {
        // Dropping kills it.
        if self.shared.lock().remove(&self.record.attempt).is_some() {
            self.shared.record(&self.record, Happening::Ended { exit: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::{RunId, TaskId};

    use super::*;

    #[test]
    fn an_argv_says_how_its_task_behaves_whatever_else_it_says() {
        let plain = Behaviour {
            runs: Duration::from_millis(20),
            fails: 2,
            by_run: false,
            stubborn: true,
            poison: false,
            says: None,
            speech: None,
            failing: None,
        };
        let speech = Some(Speech { silent_ms: 3, every_ms: 2, hangs_ms: 1 });
        for says in [
            None,
            Some(Says::Result { bytes: 9 }),
            Some(Says::Values { go: None, n: 3, many: 0 }),
            Some(Says::Values { go: Some(true), n: 0, many: 4 }),
            Some(Says::Error { never: false }),
        ] {
            let behaviour = Behaviour { says, speech, failing: Some(5), by_run: true, ..plain };
            let mut argv = behaviour.to_argv();
            argv.push(with_words("a=1/2"));
            assert_eq!(Behaviour::from_argv(&argv), Some(behaviour));
            assert_eq!(words_of(&argv), Some("a=1/2"));
        }
        assert_eq!(Behaviour::from_argv(&["sleep".to_owned(), "1".to_owned()]), None);
        let fails = |behaviour: Behaviour, index, number| {
            behaviour.fails(AttemptId { task: TaskId { run: RunId(1), step: 0, index }, number })
        };
        assert!(fails(plain, 1, 2) && !fails(plain, 1, 3));
        let in_run = |run: u64| {
            let task = TaskId { run: RunId(run), step: 0, index: 0 };
            Behaviour { by_run: true, ..plain }.fails(AttemptId { task, number: 1 })
        };
        assert!(in_run(7) && !in_run(8));
        let first_and_third = Behaviour { failing: Some(0b101), ..plain };
        assert!(fails(first_and_third, 2, 1) && !fails(first_and_third, 1, 1));
    }

    #[test]
    fn values_are_json_and_say_whose_they_are() {
        assert_eq!(values_of(Token(7), Some(false), 2, 3), r#"{"by":"7","go":false,"n":2,"list":[2,3,4]}"#);
        assert_eq!(values_of(Token(7), None, 0, 0), r#"{"by":"7","n":0,"list":[]}"#);
    }
}
