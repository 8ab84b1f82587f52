//! One attempt's life with a driver made of switches, in paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use quorate_seams::{FileJournal, SystemClock, SystemEntropy};
use quorate_state::{
    ClusterName, Driver as Kind, Exit, GpuHold, JobName, Namespace, NodeName, OnNodeLoss, RegionName, Resources, RunId,
    TaskId, TaskName,
};
use tokio::sync::Notify;

use super::*;
use crate::assignment::Assignment;
use crate::config::Limits;
use crate::driver::{Place, Pulse, Sign};
use crate::logs::Outputs;
use crate::telemetry::Metrics;
use crate::tidy::Tidier;
use crate::workspace::Workspaces;

/// What was done to the execution, with the time it was done at.
type Log = Arc<Mutex<Vec<(&'static str, Duration)>>>;

struct Switches {
    log: Log,
    began: Instant,
    /// It ignores being asked to end.
    stubborn: bool,
    refuses: bool,
    ended: Arc<(AtomicBool, Notify)>,
    words: Arc<AtomicU64>,
}

struct Running {
    log: Log,
    began: Instant,
    stubborn: bool,
    ended: Arc<(AtomicBool, Notify)>,
    words: Arc<AtomicU64>,
}

/// How much was said.
struct Words(Arc<AtomicU64>);

#[async_trait]
impl Pulse for Words {
    async fn sign(&self) -> Sign {
        Sign { bytes: self.0.load(Ordering::Relaxed), written_ns: 0 }
    }
}

impl Running {
    fn note(&self, what: &'static str) {
        self.log.lock().unwrap().push((what, self.began.elapsed()));
    }

    fn has_ended(&self) -> bool {
        self.ended.0.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.ended.0.store(true, Ordering::Relaxed);
        self.ended.1.notify_waiters();
    }
}

#[async_trait]
impl Driver for Switches {
    async fn start(&self, start: Start) -> Result<Box<dyn Execution>, NotStarted> {
        if *start.wish.borrow() != Wish::Run {
            return Err(NotStarted::Withdrawn);
        }
        if self.refuses {
            return Err(NotStarted::Job("no such program".into()));
        }
        Ok(Box::new(Running {
            log: self.log.clone(),
            began: self.began,
            stubborn: self.stubborn,
            ended: self.ended.clone(),
            words: self.words.clone(),
        }))
    }

    async fn recover(&self, _leftovers: Vec<Leftover>) -> std::collections::BTreeSet<AttemptId> {
        std::collections::BTreeSet::new()
    }
}

#[async_trait]
impl Execution for Running {
    fn process(&self) -> Option<(u32, u64)> {
        Some((7, 8))
    }

    async fn next(&mut self) -> Event {
        let ended = self.ended.clone();
        let notified = ended.1.notified();
        if !self.has_ended() {
            notified.await;
        }
        Event::Ended { ending: Ending { exit: Some(Exit::Code(0)), ..Ending::default() }, gone: true }
    }

    fn stop(&mut self) -> bool {
        self.note("stop");
        let hears = !self.has_ended();
        if !self.stubborn {
            self.end();
        }
        hears
    }

    fn kill(&mut self) -> bool {
        self.note("kill");
        let hears = !self.has_ended();
        self.end();
        hears
    }

    fn pulse(&self) -> Option<(Arc<dyn Pulse>, Duration)> {
        Some((Arc::new(Words(self.words.clone())), SILENT_MAX))
    }

    fn tend(&mut self) {
        self.note("tend");
    }
}

const GRACE: Duration = Duration::from_millis(2_500);
const SILENT_MAX: Duration = Duration::from_secs(60);

struct Setup {
    _directory: tempfile::TempDir,
    driver: Arc<Switches>,
    log: Log,
    wish: watch::Sender<Wish>,
    events: mpsc::Receiver<Happened>,
    task: tokio::task::JoinHandle<()>,
}

/// Starts an attempt with the driver's switches set as given and the wish already at `wish`.
fn setup(stubborn: bool, refuses: bool, wish: Wish) -> Setup {
    flawed(stubborn, refuses, wish, "")
}

/// The same of one whose command cannot be made, unless the words for that are empty.
fn flawed(stubborn: bool, refuses: bool, wish: Wish, flaw: &str) -> Setup {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::default();
    let ended = Arc::new((AtomicBool::new(false), Notify::new()));
    let words = Arc::default();
    let driver = Arc::new(Switches { log: log.clone(), began: Instant::now(), stubborn, refuses, ended, words });
    let attempt = AttemptId { task: TaskId { run: RunId(1), step: 0, index: 0 }, number: 1 };
    let flaw = (!flaw.is_empty()).then(|| flaw.to_owned());
    let assignment = Assignment {
        choice: None,
        gpus: GpuHold::NONE,
        attempt,
        token: Token(5),
        namespace: Namespace::new("default").unwrap(),
        job: JobName::new("job").unwrap(),
        task: TaskName::new("task").unwrap(),
        driver: Kind::Process,
        argv: vec!["x".into()],
        env: BTreeMap::new(),
        resources: Resources::ZERO,
        on_node_loss: OnNodeLoss::AtLeastOnce,
        stop: false,
        count: 1,
        silent_max: None,
        flaw,
        gang: None,
    };
    let place = Place {
        has_gpus: false,
        node: NodeName::new("n").unwrap(),
        region: RegionName::new("r").unwrap(),
        cluster: ClusterName::new("c").unwrap(),
    };
    let seam = Arc::new(FileJournal::open(directory.path().join("journal")).unwrap());
    let (journal, _, _writer) =
        crate::journal::open(seam, &SystemEntropy, Arc::new(SystemClock), Arc::new(Metrics::new()), "boot").unwrap();
    let outputs = Outputs::open(directory.path().join("attempts"), Limits::default(), &BTreeSet::new()).unwrap();
    let workspaces = Arc::new(Workspaces::open(directory.path().join("work"), &BTreeSet::new()).unwrap());
    let tidier = Tidier::start(outputs.clone(), workspaces.clone(), 1).unwrap();
    let (wish, wished) = watch::channel(wish);
    let (sender, events) = mpsc::channel(16);
    let start = Start {
        assignment: Arc::new(assignment),
        place: Arc::new(place),
        outputs,
        workspaces,
        tidier: Arc::new(tidier),
        wish: wished,
    };
    let line = Line { attempt, token: Token(5), events: sender };
    let task = tokio::spawn(live(line, driver.clone(), start, journal, 0, GRACE));
    Setup { _directory: directory, driver, log, wish, events, task }
}

impl Setup {
    async fn next(&mut self) -> What {
        self.events.recv().await.expect("an event").what
    }

    fn done(&self) -> Vec<&'static str> {
        self.log.lock().unwrap().iter().map(|(what, _)| *what).filter(|what| *what != "tend").collect()
    }
}

fn running() -> What {
    What::Running { process: Some((7, 8)) }
}

fn ended(stopped: bool) -> What {
    What::Ended { ending: Ending { exit: Some(Exit::Code(0)), ..Ending::default() }, gone: true, stopped }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_command_is_not_started() {
    let mut setup = flawed(false, false, Wish::Run, "`a.result.x`: has no key \"x\"");
    let why = NotStarted::Flawed("`a.result.x`: has no key \"x\"".into());
    assert_eq!(setup.next().await, What::NeverStarted { why });
    assert_eq!(setup.done(), [""; 0], "the driver was not asked");
}

#[tokio::test(start_paused = true)]
async fn it_runs_to_its_own_end() {
    let mut setup = setup(false, false, Wish::Run);
    assert_eq!(setup.next().await, running());
    setup.driver.ended.0.store(true, Ordering::Relaxed);
    setup.driver.ended.1.notify_waiters();
    assert_eq!(setup.next().await, ended(false));
    setup.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_before_it_heard_of_the_stop_was_not_stopped() {
    for wish in [Wish::Stop, Wish::Kill] {
        let mut setup = setup(false, false, Wish::Run);
        assert_eq!(setup.next().await, running());
        // Its end and the wish are both there when its task looks again.
        setup.driver.ended.0.store(true, Ordering::Relaxed);
        setup.driver.ended.1.notify_waiters();
        setup.wish.send_replace(wish);
        assert_eq!(setup.next().await, ended(false), "{wish:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_ignores_being_asked_is_killed_after_the_grace() {
    let mut setup = setup(true, false, Wish::Run);
    assert_eq!(setup.next().await, running());
    setup.wish.send_replace(Wish::Stop);
    assert_eq!(setup.next().await, What::Stopping);
    assert_eq!(setup.next().await, ended(true));
    assert_eq!(setup.done(), ["stop", "kill"]);
    let log = setup.log.lock().unwrap().clone();
    let at = |what| log.iter().find(|(noted, _)| *noted == what).unwrap().1;
    assert!(at("kill") - at("stop") >= GRACE && at("kill") - at("stop") < GRACE + Duration::from_millis(100));
    assert!(log.iter().filter(|(what, _)| *what == "tend").count() >= 1, "it is tended while it runs");
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_when_asked_is_not_killed() {
    let mut setup = setup(false, false, Wish::Run);
    assert_eq!(setup.next().await, running());
    setup.wish.send_replace(Wish::Stop);
    assert_eq!(setup.next().await, What::Stopping);
    assert_eq!(setup.next().await, ended(true));
    assert_eq!(setup.done(), ["stop"]);
}

#[tokio::test(start_paused = true)]
async fn a_kill_does_not_ask_and_does_not_wait() {
    let mut setup = setup(true, false, Wish::Run);
    assert_eq!(setup.next().await, running());
    setup.wish.send_replace(Wish::Kill);
    assert_eq!(setup.next().await, ended(true));
    assert_eq!(setup.done(), ["kill"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_withdrawn_or_impossible_never_starts() {
    let mut withdrawn = setup(false, false, Wish::Kill);
    assert_eq!(withdrawn.next().await, What::NeverStarted { why: NotStarted::Withdrawn });
    let mut impossible = setup(false, true, Wish::Run);
    let why = NotStarted::Job("no such program".into());
    assert_eq!(impossible.next().await, What::NeverStarted { why });
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_once_when_it_has_lasted_too_long_since_the_last_word() {
    let mut setup = setup(false, false, Wish::Run);
    assert!(matches!(setup.next().await, What::Running { .. }));
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(50)).await;
    setup.driver.words.fetch_add(1, Ordering::Relaxed);
    assert_eq!(setup.next().await, What::Silent { lasts: SILENT_MAX });
    let lasted = began.elapsed();
    assert!((Duration::from_secs(110)..Duration::from_secs(112)).contains(&lasted), "{lasted:?}");
    let more = tokio::time::timeout(Duration::from_secs(300), setup.events.recv()).await;
    assert!(more.is_err(), "it is said once, and ending it is for others to decide");
    assert_eq!(setup.done(), Vec::<&str>::new());
}
