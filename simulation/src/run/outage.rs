//! Ten minutes without a control plane: all replicas lose power while work of every promise goes on, and come back.
//!
//! A scenario of its own, which no seed draws. What is claimed here beyond the oracles, which judge the run as they judge
//! every other, is told by the executors' own record and by the history: nothing is killed except what is `fenced`, and
//! everything is reported on return.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use quorate_state::{
    Attempt, AttemptId, AttemptState, Change, Event, Exit, NodeName, NodeStatus, OnNodeLoss, RunId, Settings, State,
    TaskId, TaskState,
};

use super::{Options, Rest, Scratch, TraceLevel, Violation, World};
use crate::facts::{Execution, Fact, Happening};
use crate::isolate;
use crate::ledger::Step;
use crate::oracles::{Known, Oracle, Verdict};
use crate::scenario::{
    AgentPlan, Ask, Class, ClockPlan, FaultPlan, FaultWhat, Gpus, Ground, JobPlan, Kind, Network, OperationPlan,
    Promise, RackPlan, ReplicaPlan, Scenario, SessionPlan, TaskPlan, Tunables, When, check,
};
use crate::trace::Trace;

/// No seed draws this scenario; hosts draw from it all the same.
const SEED: u64 = 600;
/// When the jobs are submitted, and when all replicas lose power and have it again.
const SUBMITTED_MS: u64 = 6_000;
const GONE_MS: u64 = 60_000;
const BACK_MS: u64 = GONE_MS + 600_000;
/// Then things must go well.
const HEAL_MS: u64 = BACK_MS + 1_000;
/// How long tasks run that end in the middle of it, and those that go on to its other side.
const WITHIN_MS: u64 = 300_000;
const THROUGH_MS: u64 = 675_000;
/// Some of the latter may run no longer than this, of which less than a half has been served by their end.
const TIMEOUT_MS: u64 = 250_000;
/// A session stays for so long, and with it everything takes the time that it takes (`hasten`).
const PATIENT_UNTIL_MS: u64 = 700_000;
/// What ended meanwhile is known so long after the return: an election, a session, a report.
const REPORTED_WITHIN: Duration = Duration::from_secs(30);
/// For the turns of an agent and of its executor, which come in steps of simulated time.
const SLACK: Duration = Duration::from_millis(100);
/// Tasks that a run wants at least, beside those that are looked at.
const OTHERS: u32 = 200;

/// Tasks of each job, by their step.
const THROUGH: u32 = 0;
const WITHIN: u32 = 1;
const FAILING: u32 = 2;
const STUBBORN: u32 = 3;
const NEXT: u32 = 4;
/// Of those whose copies are not killed.
const LIMITED: u32 = 5;
/// Of the one that may be tried again.
const RETRIED: u32 = 6;

const PROMISES: [(Promise, &str); 3] =
    [(Promise::AtLeastOnce, "at-least-once"), (Promise::AtMostOnce, "at-most-once"), (Promise::Fenced, "fenced")];

fn scenario() -> Scenario {
    let settings = Settings::default();
    let lease = settings.lease;
    Scenario {
        seed: SEED,
        kind: Kind::Single,
        classes: vec![Class::QuorumLoss],
        network: Network { tick_ms: 10, latency_ms: (1, 9), region_latency_ms: (10, 30) },
        settings: Tunables {
            heartbeat_ms: 100,
            election_ms: (500, 1_000),
            snapshot_entries: 50,
            keep_entries: 10,
            snapshot_chunk_bytes: 1 << 16,
            digest_every: 10,
            lease_server_ms: lease.server_ms,
            lease_agent_ms: lease.agent_ms,
            lease_kill_ms: lease.kill_ms,
            lease_margin_ms: lease.margin_ms,
            lease_rho_ppm: lease.rho_ppm,
            node_losses_max: settings.node_losses_max,
            unknown_ms_max: settings.unknown_ms_max,
            event_revisions_max: settings.event_revisions_max,
            memory_runs_max: None,
            preempts: None,
            stop_grace_ms: 5_000,
            ready_ahead: None,
        },
        replicas: ["eu", "us", "asia"].map(replica).into(),
        racks: vec![rack("eu", ["n1", "n2"]), rack("us", ["n3", "n4"])],
        sessions: sessions(),
        rebalances: vec![],
        reservations: vec![],
        faults: vec![FaultPlan {
            at_ms: GONE_MS,
            for_ms: BACK_MS - GONE_MS,
            class: Class::QuorumLoss,
            what: FaultWhat::QuorumLoss { spared: 0, kept_percent: 0 },
        }],
        spares_quorum: false,
        heal_ms: HEAL_MS,
        end_ms: HEAL_MS + 6_000,
    }
}

fn clock() -> ClockPlan {
    ClockPlan { booted_before_ms: 1_000_000, wall_ahead_ms: 500, drift_ppm: 0 }
}

fn replica(region: &str) -> ReplicaPlan {
    let clock = clock();
    ReplicaPlan { region: region.into(), start_ms: 0, older_until_ms: 0, clock, sync_us: 1_000, rocksdb: false }
}

fn rack(region: &str, nodes: [&str; 2]) -> RackPlan {
    let agent = |node: &str| AgentPlan {
        node: node.into(),
        cluster: format!("{region}-1"),
        cpu_milli: 4_000,
        memory_bytes: 4 << 30,
        start_ms: 20,
        kill_ms: 500,
        pool: None,
        gpus: Gpus::default(),
        ground: Ground::default(),
        zone: None,
    };
    RackPlan { region: region.into(), clock: clock(), agents: nodes.map(agent).into() }
}

fn sessions() -> Vec<SessionPlan> {
    let step = |at_ms: u64, what: Ask| OperationPlan { at_ms, what };
    let submits = PROMISES.map(|(promise, name)| step(SUBMITTED_MS, Ask::Submit(job(promise, name))));
    let others = JobPlan {
        name: "others".into(),
        tasks: vec![TaskPlan { count: OTHERS, ..TaskPlan::one() }],
        ..job(Promise::AtLeastOnce, "others")
    };
    let small = JobPlan { name: "after".into(), tasks: vec![TaskPlan::one()], ..others.clone() };
    let watches = PROMISES.map(|(_, name)| step(SUBMITTED_MS + 3_000, Ask::Watch { job: name.into() }));
    let unheard = step(GONE_MS + 60_000, Ask::List);
    let after = vec![step(HEAL_MS, Ask::Submit(small)), step(HEAL_MS, Ask::Get { job: "after".into() })];
    let always = |steps: Vec<OperationPlan>| SessionPlan { host: 0, when: When::Always, steps };
    vec![
        always(submits.into_iter().chain([step(SUBMITTED_MS, Ask::Submit(others))]).collect()),
        always(watches.into_iter().chain([unheard, step(PATIENT_UNTIL_MS, Ask::List)]).collect()),
        SessionPlan { host: 1, when: When::Healed, steps: after },
    ]
}

fn job(promise: Promise, name: &str) -> JobPlan {
    let task = |name: &str, runs_ms: u64| TaskPlan { name: name.into(), promise, runs_ms, ..TaskPlan::one() };
    let mut tasks = vec![
        task("through", THROUGH_MS),
        task("within", WITHIN_MS),
        TaskPlan { fails: u32::MAX, ..task("failing", WITHIN_MS) },
        TaskPlan { stubborn: true, ..task("stubborn", WITHIN_MS) },
        TaskPlan { needs: vec!["within".into()], ..task("next", 1_000) },
    ];
    if promise != Promise::Fenced {
        tasks.push(TaskPlan { timeout_ms: Some(TIMEOUT_MS), ..task("limited", THROUGH_MS) });
    }
    if promise == Promise::AtLeastOnce {
        tasks.push(TaskPlan { attempts: 2, fails: 1, ..task("retried", WITHIN_MS) });
    }
    JobPlan {
        edition: 0,
        result: vec![],
        name: name.into(),
        priority: 50,
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        tasks,
    }
}

/// What was seen of it.
#[derive(Clone, Default)]
struct Story {
    executions: Vec<(Duration, Execution)>,
    /// When each attempt had ended, as the history has it, and how.
    ends: BTreeMap<AttemptId, (Duration, AttemptState, Option<Exit>)>,
    /// The jobs that are looked at.
    jobs: BTreeMap<RunId, String>,
    /// Leases that the history has ended.
    lost: Vec<NodeName>,
    /// Served time by the last entry before it, and by the first one after it.
    served_before_ms: u64,
    served_after_ms: Option<u64>,
    /// In the end.
    nodes: Vec<(NodeName, NodeStatus)>,
    tasks: BTreeMap<TaskId, TaskState>,
    /// What did not hold, by the oracles.
    violated: Option<String>,
}

/// An oracle that only writes down.
struct Diary(Rc<RefCell<Story>>);

impl Oracle for Diary {
    fn id(&self) -> &'static str {
        "diary"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        if let Fact::Execution(execution) = fact {
            self.0.borrow_mut().executions.push((at, execution.clone()));
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        self.0.borrow_mut().read(step);
        Ok(())
    }
}

impl Story {
    fn read(&mut self, step: &Step) {
        let served_ms = step.after.meta().served.0;
        if step.at < ms(GONE_MS) {
            self.served_before_ms = served_ms;
        } else if step.entry.is_some() {
            self.served_after_ms.get_or_insert(served_ms);
        }
        for row in &step.events {
            match &row.event {
                Event::RunSubmitted { run, job, .. } if PROMISES.iter().any(|(_, name)| *name == job.as_str()) => {
                    self.jobs.insert(*run, job.to_string());
                }
                Event::NodeLost { node, .. } => self.lost.push(node.clone()),
                _ => {}
            }
        }
        for change in &step.changes {
            let Change::Attempt(attempt) = change else { continue };
            let Attempt { id, state, exit, .. } = &**attempt;
            if state.is_terminal() {
                self.ends.entry(*id).or_insert((step.at, *state, *exit));
            }
        }
    }

    fn close(&mut self, state: &State) {
        self.nodes = state.nodes().map(|node| (node.name.clone(), node.status)).collect();
        let tasks = self.jobs.keys().flat_map(|run| state.tasks_of(*run));
        self.tasks = tasks.map(|task| (task.id, task.state.clone())).collect();
    }

    /// All attempts of the jobs that are looked at, by the executors' record.
    fn lives(&self) -> Vec<Life> {
        let mut lives: BTreeMap<AttemptId, Life> = BTreeMap::new();
        for (at, execution) in self.executions.iter().filter(|(_, one)| self.jobs.contains_key(&one.attempt.task.run)) {
            let life = lives.entry(execution.attempt).or_insert_with(|| Life {
                attempt: execution.attempt,
                promise: execution.promise,
                starts: vec![],
                told_to_end: vec![],
                killed: vec![],
                ended: None,
            });
            match execution.what {
                Happening::Started => life.starts.push(*at),
                Happening::Asked => life.told_to_end.push(*at),
                Happening::Killed => life.killed.push(*at),
                Happening::Ended { exit } => life.ended = Some((*at, exit)),
            }
        }
        lives.into_values().collect()
    }

    /// Those that ran when the replicas were gone.
    fn caught(&self) -> Vec<Life> {
        let runs = |life: &Life| life.starts.iter().any(|at| *at < ms(GONE_MS)) && !life.has_ended_by(ms(GONE_MS));
        self.lives().into_iter().filter(runs).collect()
    }
}

/// An attempt, as its executor has it.
#[derive(Clone, Debug)]
struct Life {
    attempt: AttemptId,
    promise: OnNodeLoss,
    starts: Vec<Duration>,
    told_to_end: Vec<Duration>,
    killed: Vec<Duration>,
    ended: Option<(Duration, Option<Exit>)>,
}

impl Life {
    fn has_ended_by(&self, at: Duration) -> bool {
        self.ended.is_some_and(|(ended, _)| ended < at)
    }

    fn is(&self, promise: OnNodeLoss, step: u32) -> bool {
        self.promise == promise && self.attempt.task.step == step
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The run, which all claims are about.
static STORY: LazyLock<Story> = LazyLock::new(|| {
    let scenario = scenario();
    check(&scenario).unwrap();
    let (story, panic) = isolate::alone(SEED, move || tell(scenario)).unwrap();
    assert_eq!(panic, None);
    story.unwrap()
});

fn tell(scenario: Scenario) -> Story {
    let scratch = Scratch::new(scenario.seed);
    let story = Rc::new(RefCell::new(Story::default()));
    let mut world = World::new(Rc::new(scenario), Trace::new(TraceLevel::None), &scratch);
    world.oracles.push(Box::new(Diary(story.clone())));
    let ended = world.live(&Options::default());
    let mut story = story.take();
    story.violated = match ended {
        Ok(Rest::Over) => None,
        Ok(Rest::Cut) => Some("it was cut short".into()),
        Err(Violation { property, what }) => Some(format!("{property}: {what}")),
    };
    story.close(world.ledger.state().unwrap());
    story
}

#[test]
fn every_property_holds_and_work_of_every_promise_was_under_way() {
    assert_eq!(STORY.violated, None);
    let caught = STORY.caught();
    for (promise, tasks) in [(OnNodeLoss::AtLeastOnce, 6), (OnNodeLoss::AtMostOnce, 5), (OnNodeLoss::Fenced, 4)] {
        assert_eq!(caught.iter().filter(|life| life.promise == promise).count(), tasks, "{promise:?}: {caught:#?}");
    }
}

#[test]
fn nothing_is_killed_or_asked_to_end_except_what_is_fenced() {
    let mut others = STORY.caught();
    others.retain(|life| life.promise != OnNodeLoss::Fenced);
    for life in &others {
        assert!(life.told_to_end.is_empty() && life.killed.is_empty(), "{life:?}");
    }
    for life in &others {
        let runs_ms = if [THROUGH, LIMITED].contains(&life.attempt.task.step) { THROUGH_MS } else { WITHIN_MS };
        let (ended, exit) = life.ended.unwrap();
        assert!(matches!(exit, Some(Exit::Code(_))) && ended >= life.starts[0] + ms(runs_ms), "{life:?}");
    }
}

#[test]
fn what_is_fenced_is_killed_within_its_bound() {
    let lease = Settings::default().lease;
    let term = ms(lease.agent_ms + lease.kill_ms).mul_f64(1.0 + f64::from(lease.rho_ppm) / 1e6);
    for life in STORY.caught().iter().filter(|life| life.promise == OnNodeLoss::Fenced) {
        assert!(life.killed.iter().all(|at| *at > ms(GONE_MS)) && !life.killed.is_empty(), "{life:?}");
        assert!(life.has_ended_by(ms(GONE_MS) + term + SLACK), "{life:?}");
    }
}

#[test]
fn what_ended_meanwhile_is_reported_on_return_with_its_own_outcome() {
    let meanwhile = |life: &&Life| life.promise != OnNodeLoss::Fenced && life.has_ended_by(ms(BACK_MS));
    let mut seen = BTreeMap::new();
    for life in STORY.caught().iter().filter(meanwhile) {
        let (at, state, exit) = STORY.ends[&life.attempt];
        let (_, real) = life.ended.unwrap();
        assert_eq!(exit, real, "{life:?}");
        let own = if real == Some(Exit::Code(0)) { AttemptState::Succeeded } else { AttemptState::Failed };
        assert_eq!(state, own, "{life:?}");
        assert!(ms(BACK_MS) < at && at < ms(BACK_MS) + REPORTED_WITHIN, "{life:?} was known at {at:?}");
        *seen.entry((life.promise, own)).or_insert(0) += 1;
    }
    let of = |promise, state| seen.get(&(promise, state)).copied().unwrap_or(0);
    for (promise, failed) in [(OnNodeLoss::AtLeastOnce, 2), (OnNodeLoss::AtMostOnce, 1)] {
        assert_eq!((of(promise, AttemptState::Succeeded), of(promise, AttemptState::Failed)), (2, failed), "{seen:?}");
    }
}

#[test]
fn nothing_runs_twice_that_may_not() {
    let lives = STORY.lives();
    assert!(lives.iter().all(|life| life.starts.len() == 1), "{lives:#?}");
    let of_task = |task: TaskId| lives.iter().filter(move |life| life.attempt.task == task);
    for life in &lives {
        let copies: Vec<&Life> = of_task(life.attempt.task).collect();
        match life.promise {
            OnNodeLoss::AtMostOnce => assert_eq!(copies.len(), 1, "{copies:?}"),
            // The one that failed was tried again, and nothing else was given up.
            OnNodeLoss::AtLeastOnce => {
                assert_eq!(copies.len(), 1 + usize::from(life.attempt.task.step == RETRIED), "{copies:?}");
            }
            OnNodeLoss::Fenced => {
                assert_eq!(copies.len(), if life.attempt.task.step == NEXT { 1 } else { 2 }, "{copies:?}");
                for pair in copies.windows(2) {
                    assert!(pair[0].ended.is_some_and(|(ended, _)| ended < pair[1].starts[0]), "{pair:?}");
                    assert!(pair[1].starts[0] > ms(BACK_MS), "{pair:?}");
                }
            }
        }
    }
}

#[test]
fn no_node_is_lost_or_forgotten() {
    assert_eq!(STORY.lost, vec![]);
    assert_eq!(STORY.nodes.len(), 4);
    assert!(STORY.nodes.iter().all(|(_, status)| *status == NodeStatus::Up), "{:?}", STORY.nodes);
}

#[test]
fn the_time_of_the_outage_is_not_served_and_no_timeout_fires_for_it() {
    let served_ms = STORY.served_after_ms.unwrap() - STORY.served_before_ms;
    assert!(ms(served_ms) < REPORTED_WITHIN, "{served_ms} ms were served between two leaders");
    let caught = STORY.caught();
    for promise in [OnNodeLoss::AtLeastOnce, OnNodeLoss::AtMostOnce] {
        let limited = caught.iter().find(|life| life.is(promise, LIMITED)).unwrap();
        let (ended, _) = limited.ended.unwrap();
        assert!(ended > ms(BACK_MS), "{limited:?}");
        assert_eq!(STORY.ends[&limited.attempt].1, AttemptState::Succeeded, "{limited:?}");
    }
}

#[test]
fn every_task_comes_to_its_end() {
    for (task, state) in &STORY.tasks {
        let is_right =
            if task.step == FAILING { matches!(state, TaskState::Failed(_)) } else { *state == TaskState::Succeeded };
        assert!(is_right, "{} {task:?} {state:?}", STORY.jobs[&task.run]);
    }
    assert_eq!(STORY.tasks.len(), 3 * 5 + 2 + 1);
    let next = STORY.lives().into_iter().filter(|life| life.attempt.task.step == NEXT);
    assert!(next.filter(|life| life.starts[0] > ms(BACK_MS)).count() == 3, "what needs something waits for the report");
    let within = STORY.caught().into_iter().filter(|life| life.attempt.task.step == WITHIN);
    assert_eq!(within.count(), 3);
    let stubborn = STORY.caught().into_iter().filter(|life| life.is(OnNodeLoss::Fenced, STUBBORN));
    assert_eq!(stubborn.count(), 1, "one that does not heed SIGTERM was killed as the others");
}
