//! What clients do: jobs of every shape, and requests about them.

use super::draw::SETTLED_MS;
use super::{
    Ask, Class, CompanyPlan, Demands, FlowPlan, GpuPart, JobPlan, Kind, OperationPlan, Promise, Scenario, SessionPlan,
    TaskPlan, When,
};
use crate::seeded::Stream;

/// Tasks in all, at least: the floor of a valid run, and some.
const TASKS_MIN: u64 = 240;
/// No job has more.
const TASKS_PER_JOB_MAX: u64 = 40;
/// Each of many equal tasks runs no longer.
const MANY_RUN_MS_MAX: u64 = 1_500;
/// Work is submitted up to so long before the faults end.
const LAST_SUBMIT_BEFORE_HEAL_MS: u64 = 3_000;
/// Fenced tasks that run through a good part of the faults, so that losing a lease has somebody to hurt.
const GUARDS: (u64, u64) = (3, 7);
const GUARD_RUNS_MS: (u64, u64) = (12_000, 22_000);
/// Somebody does nothing but read, so often, while there are faults: whoever answers reads without the right
/// to is found out.
const READ_EVERY_MS: u64 = 400;
/// After the faults: these must all be served.
const PROBES: u64 = 10;
/// A job that is cancelled this long after the heal must then come to its end long before its time.
const LONG_CANCEL_AFTER_HEAL_MS: u64 = 3_000;
/// Longer than P8 leaves a cancelled run, shorter than L4 leaves any.
const LONG_RUNS_MS: u64 = 90_000;
/// A job that would run as long has this timeout.
const SLOW_TIMEOUT_MS: u64 = 500;
/// While the heal is put off, the log is kept going by a small job so often, and so many of them.
const NUDGE_EVERY_MS: u64 = 1_000;
const NUDGES: u64 = 60;
const NUDGE_TASKS: u32 = 3;
/// Client hosts.
const HOSTS: usize = 2;

/// Sessions of all clients, the last of which probes whether the cluster serves after the heal.
pub(super) fn draw(dice: &mut Stream, scenario: &Scenario) -> Vec<SessionPlan> {
    let mut sessions: Vec<SessionPlan> = (0..usize::try_from(dice.within(4, 9)).unwrap_or(4))
        .map(|number| SessionPlan { host: number % HOSTS, when: When::Always, steps: vec![] })
        .collect();
    let last_ms = scenario.heal_ms - LAST_SUBMIT_BEFORE_HEAL_MS;
    // Bursts: most jobs come in a few moments.
    let bursts: Vec<u64> = (0..dice.within(1, 5)).map(|_| dice.within(SETTLED_MS, last_ms)).collect();
    let mut tasks = 0;
    let mut jobs: Vec<(u64, JobPlan)> = vec![];
    while tasks < TASKS_MIN {
        let at_ms = if dice.chance(50) {
            *dice.pick(&bursts) + dice.within(0, 500)
        } else {
            dice.within(SETTLED_MS / 2, last_ms)
        };
        let job = job(dice, scenario, jobs.len());
        tasks += job.tasks.iter().map(|task| u64::from(task.count)).sum::<u64>();
        jobs.push((at_ms, job));
    }
    let number = jobs.len();
    jobs.push((SETTLED_MS + dice.log_within(1, 8_000), guards(dice, number)));
    if scenario.classes.contains(&Class::Poison) {
        let number = jobs.len();
        jobs.push((dice.within(SETTLED_MS, last_ms - 6_000), poison(dice, number)));
    }
    let storm_ms = scenario.classes.contains(&Class::CancelStorm).then(|| dice.within(SETTLED_MS, last_ms));
    for (at_ms, job) in jobs {
        let session = dice.position(sessions.len());
        let name = job.name.clone();
        let mut add = |at: usize, at_ms: u64, what: Ask| sessions[at].steps.push(OperationPlan { at_ms, what });
        add(session, at_ms, Ask::Submit(job.clone()));
        if scenario.classes.contains(&Class::Duplicates) && dice.chance(40) {
            let other = dice.position(HOSTS * 2);
            add(other, at_ms + dice.log_within(1, 20_000), Ask::Resubmit(job));
        }
        for _ in 0..dice.within(0, 4) {
            let job = name.clone();
            let what = match dice.weighted(&[3, 1, 1, 1, 2]) {
                0 => Ask::Get { job },
                1 => Ask::List,
                2 => Ask::Tasks { job },
                3 => Ask::Attempts { job },
                _ => Ask::Watch { job },
            };
            let other = if dice.chance(50) { session } else { dice.position(HOSTS * 2) };
            add(other, at_ms + dice.log_within(1, 8_000), what);
        }
        if let Some(storm_ms) = storm_ms.filter(|storm_ms| *storm_ms > at_ms && dice.chance(50)) {
            add(session, storm_ms + dice.within(0, 1_000), Ask::Cancel { job: name });
        } else if dice.chance(8) {
            add(session, at_ms + dice.log_within(10, 6_000), Ask::Cancel { job: name });
        }
    }
    for session in &mut sessions {
        session.steps.sort_by_key(|step| step.at_ms);
    }
    sessions.push(reader(scenario));
    sessions.push(nudges(scenario));
    sessions.push(probe(scenario));
    sessions
}

fn reader(scenario: &Scenario) -> SessionPlan {
    let times = (SETTLED_MS..scenario.heal_ms).step_by(usize::try_from(READ_EVERY_MS).unwrap_or(1));
    let steps = times.map(|at_ms| OperationPlan { at_ms, what: Ask::List }).collect();
    SessionPlan { host: 0, when: When::Always, steps }
}

/// A job of one short task.
fn short(name: &str) -> JobPlan {
    let tasks = vec![TaskPlan { runs_ms: 50, ..plain("only") }];
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

/// A job that leaves a dozen entries in the log.
fn chain(name: &str) -> JobPlan {
    let task = |at: u32| TaskPlan {
        needs: at.checked_sub(1).map(|before| format!("step-{before}")).into_iter().collect(),
        runs_ms: 20,
        ..plain(&format!("step-{at}"))
    };
    JobPlan { tasks: (0..NUDGE_TASKS).map(task).collect(), ..short(name) }
}

fn nudges(scenario: &Scenario) -> SessionPlan {
    let nudge = |number: u64| OperationPlan {
        at_ms: scenario.heal_ms + number * NUDGE_EVERY_MS,
        what: Ask::Submit(chain(&format!("nudge-{number}"))),
    };
    SessionPlan { host: HOSTS - 1, when: When::UntilHealed, steps: (0..NUDGES).map(nudge).collect() }
}

/// Asks after the heal: small jobs, one with every promise that is cancelled while it runs, and one that
/// runs into its timeout.
fn probe(scenario: &Scenario) -> SessionPlan {
    let at_ms = scenario.heal_ms;
    let promises = [Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce];
    let long =
        |promise: Promise| TaskPlan { promise, runs_ms: LONG_RUNS_MS, ..plain(&format!("{promise:?}").to_lowercase()) };
    let long = JobPlan {
        edition: 0,
        result: vec![],
        name: "probe-long".into(),
        priority: 100,
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        tasks: promises.map(long).into(),
    };
    let cancel = Ask::Cancel { job: long.name.clone() };
    let slow = JobPlan {
        tasks: vec![TaskPlan { runs_ms: LONG_RUNS_MS, timeout_ms: Some(SLOW_TIMEOUT_MS), ..plain("only") }],
        ..short("probe-slow")
    };
    let probes = (0..PROBES).flat_map(|number| {
        let job = short(&format!("probe-{number}"));
        let name = job.name.clone();
        [Ask::Submit(job), Ask::Get { job: name }]
    });
    let steps =
        [Ask::Submit(long), Ask::Submit(slow)].into_iter().chain(probes).map(|what| OperationPlan { at_ms, what });
    let cancel = OperationPlan { at_ms: at_ms + LONG_CANCEL_AFTER_HEAL_MS, what: cancel };
    SessionPlan { host: 0, when: When::Healed, steps: steps.chain([cancel]).collect() }
}

impl TaskPlan {
    /// A small task.
    pub(crate) fn one() -> Self {
        plain("only")
    }
}

fn plain(name: &str) -> TaskPlan {
    TaskPlan {
        name: name.into(),
        needs: vec![],
        count: 1,
        cpu_milli: 200,
        memory_bytes: 1 << 26,
        promise: Promise::AtLeastOnce,
        attempts: 1,
        backoff_ms: 100,
        timeout_ms: None,
        regions: vec![],
        clusters: vec![],
        pool: None,
        gpu: GpuPart::default(),
        others: vec![],
        demands: Demands::default(),
        condition: None,
        company: CompanyPlan::default(),
        gang: None,
        runs_ms: 200,
        fails: 0,
        by_run: false,
        stubborn: false,
        poison: false,
        says: None,
        queued_ms: None,
        speech: None,
        flow: FlowPlan::default(),
        sub: None,
        region_loss: None,
    }
}

fn poison(dice: &mut Stream, number: usize) -> JobPlan {
    let task = TaskPlan {
        poison: true,
        runs_ms: 2_000,
        count: u32::try_from(dice.within(1, 3)).unwrap_or(1),
        ..plain("poison")
    };
    JobPlan {
        edition: 0,
        result: vec![],
        name: format!("job-{number}"),
        priority: 90,
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        tasks: vec![task],
    }
}

/// Fenced tasks that run long and, half of the time, take no notice of being asked to end.
fn guards(dice: &mut Stream, number: usize) -> JobPlan {
    let count = dice.within(GUARDS.0, GUARDS.1);
    let tasks = (0..count).map(|at| TaskPlan {
        promise: Promise::Fenced,
        cpu_milli: 500,
        runs_ms: dice.within(GUARD_RUNS_MS.0, GUARD_RUNS_MS.1),
        stubborn: dice.chance(50),
        ..plain(&format!("guard-{at}"))
    });
    let tasks = tasks.collect();
    JobPlan {
        edition: 0,
        result: vec![],
        name: format!("job-{number}"),
        priority: 100,
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        tasks,
    }
}

fn job(dice: &mut Stream, scenario: &Scenario, number: usize) -> JobPlan {
    let count = |dice: &mut Stream, from, to| u32::try_from(dice.within(from, to)).unwrap_or(1);
    let shape = dice.weighted(&[4, 3, 2, 2, 1]);
    let mut tasks: Vec<TaskPlan> = vec![];
    match shape {
        // One task.
        0 => tasks.push(task(dice, scenario, "only")),
        // Many of one kind.
        1 => {
            let one = task(dice, scenario, "many");
            // Two small nodes may be all that they can have.
            let runs_ms = one.runs_ms.min(MANY_RUN_MS_MAX);
            tasks.push(TaskPlan { count: count(dice, 2, TASKS_PER_JOB_MAX / 2), runs_ms, ..one });
        }
        // One after the other.
        2 => {
            for at in 0..dice.within(2, 7) {
                let needs = if at == 0 { vec![] } else { vec![format!("step-{}", at - 1)] };
                tasks.push(TaskPlan { needs, ..task(dice, scenario, &format!("step-{at}")) });
            }
        }
        // Split, work, join; the last ones named first, because files may.
        3 => {
            let width = count(dice, 2, TASKS_PER_JOB_MAX - 4);
            tasks.push(TaskPlan { needs: vec!["work".into(), "audit".into()], ..task(dice, scenario, "join") });
            let one = task(dice, scenario, "work");
            let runs_ms = one.runs_ms.min(MANY_RUN_MS_MAX);
            tasks.push(TaskPlan { needs: vec!["split".into()], count: width, runs_ms, ..one });
            tasks.push(TaskPlan { needs: vec!["split".into()], ..task(dice, scenario, "audit") });
            tasks.push(task(dice, scenario, "split"));
        }
        // A random graph: each task needs some of those before it.
        _ => {
            for at in 0..dice.within(3, 15) {
                let needs = (0..at).filter(|_| dice.chance(25)).map(|before| format!("node-{before}")).collect();
                tasks.push(TaskPlan { needs, ..task(dice, scenario, &format!("node-{at}")) });
            }
        }
    }
    JobPlan {
        edition: 0,
        result: vec![],
        name: format!("job-{number}"),
        priority: u8::try_from(dice.within(0, 101)).unwrap_or(50),
        cancel_on_failure: dice.chance(25),
        timeout_ms: None,
        args: None,
        tasks,
    }
}

fn task(dice: &mut Stream, scenario: &Scenario, name: &str) -> TaskPlan {
    let promise = [Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce][dice.weighted(&[3, 5, 2])];
    // Long ones are there to be caught by faults in the middle.
    let runs_ms = if dice.chance(16) { dice.within(4_000, 12_000) } else { dice.log_within(20, 1_500) };
    let may_retry = promise != Promise::AtMostOnce;
    let attempts = if may_retry { u32::try_from(dice.within(1, 4)).unwrap_or(1) } else { 1 };
    let fails = if scenario.kind != Kind::FaultFree && dice.chance(10) { attempts } else { attempts - 1 };
    let smallest_cpu = scenario.racks.iter().flat_map(|rack| &rack.agents).map(|agent| agent.cpu_milli).min();
    let region = dice.pick(&scenario.racks).region.clone();
    let cluster = dice.pick(&dice.clone().pick(&scenario.racks).agents).cluster.clone();
    let mut task = TaskPlan {
        cpu_milli: 100 * dice.within(1, smallest_cpu.unwrap_or(1_000) / 100 + 1),
        memory_bytes: (1 << 20) * dice.log_within(1, 512),
        promise,
        attempts,
        backoff_ms: dice.log_within(50, 1_000),
        runs_ms,
        fails: if dice.chance(25) { fails } else { 0 },
        stubborn: dice.chance(20),
        ..plain(name)
    };
    if dice.chance(10) {
        task.timeout_ms = Some(dice.log_within(200, 4_000));
    }
    match dice.within(0, 10) {
        0 => task.regions = vec![region],
        1 => task.clusters = vec![cluster],
        _ => {}
    }
    task
}
