//! One of everything that is converted or persisted, for the tests of this crate. Enums are walked
//! variant by variant with exhaustive matches: a new variant does not compile until it is here.

mod alternatives;
mod archive;
mod flow;
mod gangs;
mod golden;
mod join_tokens;
mod namespaces;
mod persisted;
mod places;
mod preemption;
mod rebalance;
mod region_loss;
mod reservations;
mod scopes;
mod sub_runs;

pub(crate) use alternatives::alternatives_spec;
pub(crate) use archive::archived;
pub(crate) use flow::{flow_spec, flow_step};
pub(crate) use gangs::gang_spec;
pub(crate) use golden::*;
pub(crate) use join_tokens::join_tokens;
pub(crate) use persisted::*;
pub(crate) use places::offer;
pub(crate) use region_loss::region_loss_spec;
pub(crate) use sub_runs::sub_run_spec;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Admission, Around, Attempt, AttemptClaim, AttemptId, AttemptPhase, AttemptReport, AttemptState, Choice, Drain,
    Driver, Epoch, Exit, FailReason, GpuHold, GpuModel, Graph, JobSpec, JoinTokenId, LeaseTerms, Millis, Node,
    NodeStatus, OnFailure, OnNodeLoss, Outcome, Pause, Payload, PayloadDigest, Payloads, Place, Principal,
    Registration, Resources, Retry, Revision, Role, Run, RunId, RunState, Served, Settings, Spread, StopReason, Task,
    TaskId, TaskSpec, TaskState, Token, Usage, Uuid, Wait, Withdrawal,
};

use crate::convert::job::spec_digest;

/// The run that most samples are of.
pub(crate) const RUN: RunId = RunId(0x8123_4567_89ab_cdef);

/// All values that `next` leads to from `first`.
fn walk<T: Clone>(first: T, next: impl Fn(&T) -> Option<T>) -> Vec<T> {
    std::iter::successors(Some(first), next).collect()
}

pub(crate) fn specs() -> Vec<JobSpec> {
    let split = TaskSpec {
        gpu_models: vec![],
        alternatives: vec![],
        name: "split".parse().unwrap(),
        driver: Driver::Process,
        argv: vec!["/bin/sh".into(), "-c".into(), "echo \u{e4} \"x\"".into()],
        env: BTreeMap::from([("A".into(), "1".into()), ("B".into(), String::new())]),
        needs: vec![],
        count: 3,
        resources: Resources { cpu_milli: 500, memory_bytes: 1 << 30, gpu_milli: 0 },
        retry: Retry { attempts: 3, never: vec![0, -1, 137], ..Retry::default() },
        run_timeout_ms: Some(0),
        queued_timeout_ms: None,
        silent_timeout_ms: None,
        place: Place {
            regions: vec!["eu".parse().unwrap()],
            clusters: vec!["eu-1".parse().unwrap(), "eu-2".parse().unwrap()],
            spread: Spread::Cluster,
            ..Place::default()
        },
        on_node_loss: OnNodeLoss::Fenced,
        role: Role::Work,
        templated: false,
        when: None,
        each: None,
        on_region_loss: None,
        accept_failed: 0,
        sub_run: None,
        gang: None,
        preemptible: true,
    };
    let merge = TaskSpec {
        gpu_models: vec![],
        alternatives: vec![],
        name: "merge".parse().unwrap(),
        driver: Driver::Noop,
        argv: vec![],
        env: BTreeMap::new(),
        needs: vec!["split".parse().unwrap()],
        count: 1,
        resources: Resources::ZERO,
        retry: Retry::default(),
        run_timeout_ms: None,
        queued_timeout_ms: None,
        silent_timeout_ms: None,
        place: Place { spread: Spread::Node, ..Place::default() },
        on_node_loss: OnNodeLoss::AtMostOnce,
        role: Role::Work,
        templated: false,
        when: None,
        each: None,
        on_region_loss: None,
        accept_failed: 0,
        sub_run: None,
        gang: None,
        preemptible: true,
    };
    let full = JobSpec {
        namespace: "default".parse().unwrap(),
        name: "claims".parse().unwrap(),
        priority: 60,
        labels: BTreeMap::from([("team".into(), "risk".into())]),
        on_failure: OnFailure::Cancel,
        timeout_ms: None,
        params: BTreeMap::new(),
        result: BTreeMap::new(),
        tasks: vec![split, merge.clone()],
    };
    let bare = JobSpec {
        namespace: "other".parse().unwrap(),
        name: "claims".parse().unwrap(),
        priority: 0,
        labels: BTreeMap::new(),
        on_failure: OnFailure::Finish,
        timeout_ms: None,
        params: BTreeMap::new(),
        result: BTreeMap::new(),
        tasks: vec![TaskSpec {
            needs: vec![],
            place: Place { spread: Spread::Pack, ..Place::default() },
            on_node_loss: OnNodeLoss::AtLeastOnce,
            ..merge
        }],
    };
    vec![full, bare]
}

pub(crate) fn task_id() -> TaskId {
    TaskId { run: RUN, step: 0, index: 2 }
}

pub(crate) fn attempt_ids() -> Vec<AttemptId> {
    vec![
        AttemptId { task: task_id(), number: 1 },
        AttemptId { task: TaskId { run: RunId(0), step: 0, index: 0 }, number: 0 },
        AttemptId { task: TaskId { run: RunId(u64::MAX), step: u32::MAX, index: u32::MAX }, number: u32::MAX },
    ]
}

pub(crate) fn resources() -> Resources {
    Resources { cpu_milli: 4_000, memory_bytes: 8 << 30, gpu_milli: 0 }
}

fn lease() -> LeaseTerms {
    Settings::default().lease
}

fn usage() -> Usage {
    Usage { cpu_us: 1, memory_peak_bytes: 2, read_bytes: 3, written_bytes: u64::MAX }
}

pub(crate) fn registration() -> Registration {
    Registration {
        gpus: [].into(),
        node: "eu-1-a".parse().unwrap(),
        uuid: Uuid(7),
        journal: Uuid(u128::MAX),
        boot_id: "boot".into(),
        machine_id: "".into(),
        region: "eu".parse().unwrap(),
        cluster: "eu-1".parse().unwrap(),
        capacity: resources(),
        labels: BTreeMap::from([("disk".into(), "ssd".into())]),
        offer: Arc::default(),
        attempts: attempt_ids()
            .into_iter()
            .map(|attempt| AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt, token: Token(9) })
            .collect(),
        seen: Revision(8),
    }
}

pub(crate) fn reports() -> Vec<AttemptReport> {
    let phases = walk(AttemptPhase::Starting, |phase| match phase {
        AttemptPhase::Starting => Some(AttemptPhase::Running),
        AttemptPhase::Running => Some(AttemptPhase::Stopping),
        AttemptPhase::Stopping => Some(AttemptPhase::Ended),
        AttemptPhase::Ended => Some(AttemptPhase::Lost),
        AttemptPhase::Lost => None,
    });
    let exits = [None, Some(Exit::Code(0)), Some(Exit::Code(-1)), Some(Exit::Signal(9)), None];
    phases
        .into_iter()
        .zip(exits)
        .map(|(phase, exit)| AttemptReport {
            attempt: attempt_ids()[0],
            token: Token(11),
            phase,
            gone: exit.is_some(),
            exit,
            message: exit.is_none().then(|| "no such program".into()),
            usage: if exit.is_some() { usage() } else { Usage::default() },
            stopped: false,
            outcome: None,
            silent: false,
            payloads: None,
        })
        .collect()
}
pub(crate) fn runs() -> Vec<Run> {
    let states = walk(RunState::Pending, |state| match state {
        RunState::Pending => Some(RunState::Running),
        RunState::Running => Some(RunState::Succeeded),
        RunState::Succeeded => Some(RunState::Failed),
        RunState::Failed => Some(RunState::Cancelled),
        RunState::Cancelled => None,
    });
    let spec = Arc::new(specs().remove(0));
    let graph = Arc::new(Graph::of(&spec));
    states
        .into_iter()
        .zip(0_u32..)
        .map(|(state, number)| Run {
            id: RunId(RUN.0 + u64::from(number)),
            spec: spec.clone(),
            graph: graph.clone(),
            spec_digest: spec_digest(&spec),
            job_version: 2,
            restart_of: None,
            args: "".into(),
            principal: Principal::anonymous_local(),
            state,
            cancelling: state == RunState::Cancelled,
            abandoned: false,
            paused: None,
            priority_set: None,
            submitted_at: Millis(100),
            submitted_revision: Revision(4),
            submitted_item: number,
            deadline: None,
            timed_out: false,
            started_at: (state != RunState::Pending).then_some(Millis(110)),
            ended_at: state.is_terminal().then_some(Millis(0)),
            parent: None,
            result: None,
            flaw: None,
        })
        .chain([late_run(&spec, &graph)])
        .collect()
}

/// One that took too long.
fn late_run(spec: &Arc<JobSpec>, graph: &Arc<Graph>) -> Run {
    Run {
        id: RunId(RUN.0 + 100),
        spec: spec.clone(),
        graph: graph.clone(),
        spec_digest: spec_digest(spec),
        job_version: 1,
        restart_of: None,
        args: "".into(),
        principal: Principal::anonymous_local(),
        state: RunState::Pending,
        cancelling: true,
        abandoned: false,
        submitted_at: Millis(100),
        submitted_revision: Revision(5),
        submitted_item: 0,
        deadline: Some(Served(60_000)),
        timed_out: true,
        paused: None,
        priority_set: None,
        started_at: None,
        ended_at: None,
        parent: None,
        result: None,
        flaw: None,
    }
}

/// A run that is paused, and has another priority than its job.
pub(crate) fn controlled_run() -> Run {
    let pause = Pause { by: Principal::anonymous_local(), at: Millis(150), reason: "the disk is full".into() };
    Run { id: RunId(RUN.0 + 9), paused: Some(Arc::new(pause)), priority_set: Some(0), ..runs().remove(0) }
}

pub(crate) fn task_states() -> Vec<TaskState> {
    walk(TaskState::Waiting(Wait::Needs), |state| {
        Some(match state {
            TaskState::Waiting(Wait::Needs) => TaskState::Waiting(Wait::Backoff { until: Served(5) }),
            TaskState::Waiting(Wait::Backoff { .. }) => TaskState::Waiting(Wait::Fence { until: Served(0) }),
            TaskState::Waiting(Wait::Fence { .. }) => TaskState::Ready,
            TaskState::Ready => TaskState::Placed,
            TaskState::Placed => TaskState::Running,
            TaskState::Running => TaskState::Succeeded,
            TaskState::Succeeded => TaskState::Failed(FailReason::Failed),
            TaskState::Failed(FailReason::Failed) => TaskState::Failed(FailReason::TimedOut),
            TaskState::Failed(FailReason::TimedOut) => TaskState::Failed(FailReason::Lost),
            TaskState::Failed(FailReason::Lost) => TaskState::Failed(FailReason::NodeLosses),
            TaskState::Failed(FailReason::NodeLosses) => TaskState::Cancelled,
            TaskState::Cancelled => TaskState::Skipped,
            // Behind what was frozen before there was one.
            TaskState::Skipped => TaskState::Waiting(Wait::Quarantine),
            TaskState::Waiting(Wait::Quarantine) => TaskState::Failed(FailReason::Queued),
            TaskState::Failed(FailReason::Queued) => TaskState::Failed(FailReason::Silent),
            // That is behind all the rest, with what came with it.
            TaskState::Failed(
                FailReason::Silent | FailReason::Undecidable | FailReason::NoSubRun | FailReason::SubRunCancelled,
            ) => return None,
        })
    })
}

/// As many states of tasks were frozen before others came.
const LATER: u32 = 13;

pub(crate) fn tasks() -> Vec<Task> {
    task_states()
        .into_iter()
        .zip(0_u32..)
        .map(|(state, index)| Task {
            id: TaskId { run: RUN, step: index % 2, index },
            state,
            generation: index + 1,
            attempts: 2,
            tries: 1,
            // Behind what was frozen before there was one.
            queue_deadline: (index >= LATER).then_some(Served(77)),
            ready_since: None,
            home: None,
            choice: Choice::FIRST,
            losses: index,
            preemptions: 0,
            succeeded_at: None,
            sub_run: None,
            flaw: None,
        })
        .collect()
}

pub(crate) fn attempts() -> Vec<Attempt> {
    let states = walk(AttemptState::Assigned, |state| {
        Some(match state {
            AttemptState::Assigned => AttemptState::Starting,
            AttemptState::Starting => AttemptState::Running,
            AttemptState::Running => AttemptState::Stopping,
            AttemptState::Stopping => AttemptState::Unknown,
            AttemptState::Unknown => AttemptState::Succeeded,
            AttemptState::Succeeded => AttemptState::Failed,
            AttemptState::Failed => AttemptState::Lost,
            AttemptState::Lost => AttemptState::Cancelled,
            AttemptState::Cancelled => AttemptState::Preempted,
            AttemptState::Preempted => AttemptState::TimedOut,
            AttemptState::TimedOut => return None,
        })
    });
    let stops = walk(StopReason::Cancelled, |stop| match stop {
        StopReason::Cancelled => Some(StopReason::TimedOut),
        StopReason::TimedOut => Some(StopReason::Preempted),
        StopReason::Preempted => Some(StopReason::Drained),
        // That is below, behind what was frozen before.
        StopReason::Drained | StopReason::Silent | StopReason::Gang | StopReason::Rebalanced => None,
    });
    states
        .into_iter()
        .zip(0_u32..)
        .map(|(state, number)| {
            let ended = state.is_terminal();
            Attempt {
                choice: Choice::FIRST,
                gpus: GpuHold::NONE,
                // The last one is of a step that the run does not have.
                id: AttemptId {
                    task: TaskId { step: if number == 10 { 99 } else { number % 2 }, ..task_id() },
                    number: number + 1,
                },
                node: "eu-1-a".parse().unwrap(),
                epoch: Epoch(5),
                token: Token(20 + u64::from(number)),
                state,
                stop: stops.get(number as usize).copied(),
                gone: ended,
                resources: resources(),
                placed_at: Millis(100),
                started_at: (number > 1).then_some(Millis(120)),
                ended_at: ended.then_some(Millis(130)),
                run_deadline: (number == 2).then_some(Served(0)),
                unknown_deadline: (number == 4).then_some(Served(9)),
                exit: ended.then_some(if number % 2 == 0 { Exit::Code(0) } else { Exit::Signal(15) }),
                message: (number == 6).then(|| "gone".into()),
                outcome: None,
                suspect: false,
                usage: if ended { usage() } else { Usage::default() },
                payloads: None,
                spared_until: None,
                preempted: None,
                moved: None,
            }
        })
        .chain(telling())
        .chain([silent(), leaving(), rendering()])
        .collect()
}

/// What processes say of their ends.
pub(crate) fn outcomes() -> Vec<Outcome> {
    walk(Outcome::Result(b"{\"parts\" : [1, 2.0]}".as_slice().into()), |outcome| match outcome {
        Outcome::Result(_) => Some(Outcome::Error("BadInput".parse().unwrap())),
        Outcome::Error(_) => None,
    })
}

/// Attempts that said something of their ends.
fn telling() -> impl Iterator<Item = Attempt> {
    outcomes().into_iter().zip(12..).map(|(outcome, number)| {
        let succeeded = matches!(outcome, Outcome::Result(_));
        Attempt {
            choice: Choice::FIRST,
            gpus: GpuHold::NONE,
            id: AttemptId { task: task_id(), number },
            node: "eu-1-a".parse().unwrap(),
            epoch: Epoch(5),
            token: Token(20 + u64::from(number)),
            state: if succeeded { AttemptState::Succeeded } else { AttemptState::Failed },
            stop: None,
            gone: true,
            resources: resources(),
            placed_at: Millis(100),
            started_at: Some(Millis(120)),
            ended_at: Some(Millis(130)),
            run_deadline: None,
            unknown_deadline: None,
            exit: Some(Exit::Code(0)),
            message: None,
            outcome: Some(Arc::new(outcome)),
            suspect: !succeeded,
            usage: usage(),
            payloads: None,
            spared_until: None,
            preempted: None,
            moved: None,
        }
    })
}

/// Dataset that a task has left behind: all that may be said of it, and as little as may be.
pub(crate) fn payloads() -> Payloads {
    let digests = walk(PayloadDigest::Sha256([0xab; 32]), |digest| match digest {
        PayloadDigest::Sha256(_) => Some(PayloadDigest::Blake3([0x01; 32])),
        PayloadDigest::Blake3(_) => None,
    });
    let digests = digests.into_iter().map(|digest| (Some(0), Some(digest)));
    let mut payloads = Payloads::default();
    for ((size, digest), name) in digests.chain([(Some(1 << 40), None), (None, None)]).zip(["model", "a.b", "log", "Z"])
    {
        let payload = Payload::new(&format!("s3://bucket/{name}"), size, digest).unwrap();
        payloads.put(name.parse().unwrap(), payload).unwrap();
    }
    payloads
}

/// An attempt that left data behind.
fn leaving() -> Attempt {
    let said = telling().next().unwrap();
    Attempt {
        id: AttemptId { number: 15, ..said.id },
        token: Token(35),
        outcome: None,
        payloads: payloads().kept(),
        ..said
    }
}

/// An attempt that has a part of a GPU.
fn rendering() -> Attempt {
    let said = telling().next().unwrap();
    Attempt {
        id: AttemptId { number: 16, ..said.id },
        token: Token(36),
        resources: Resources { gpu_milli: 250, ..resources() },
        gpus: GpuHold { devices: 0b10, milli: 250 },
        ..said
    }
}

/// Those of a node that has some.
pub(crate) fn gpus() -> Arc<[GpuModel]> {
    ["A100-80G", "T4"].map(|model| model.parse().unwrap()).into()
}

/// An attempt that said nothing for too long.
fn silent() -> Attempt {
    let said = telling().next().unwrap();
    Attempt {
        id: AttemptId { number: 14, ..said.id },
        token: Token(34),
        state: AttemptState::TimedOut,
        stop: Some(StopReason::Silent),
        exit: Some(Exit::Signal(15)),
        outcome: None,
        ..said
    }
}

fn withdrawal() -> Withdrawal {
    let drain = Some(Drain { due: Served(90_000), ends: None });
    Withdrawal { by: Principal::anonymous_local(), at: Millis(150), reason: "a new disk".into(), drain }
}

/// The same for a time.
fn maintenance() -> Withdrawal {
    Withdrawal { drain: Some(Drain { due: Served(90_000), ends: Some(Served(7_290_000)) }), ..withdrawal() }
}

pub(crate) fn nodes() -> Vec<Node> {
    let registration = registration();
    let statuses = walk(NodeStatus::Up, |status| match status {
        NodeStatus::Up => Some(NodeStatus::Lost { at: Served(0) }),
        NodeStatus::Lost { .. } => None,
    });
    let names = ["eu-1-a", "eu-1-b", "eu-1-c", "eu-1-e", "eu-1-m", "eu-1-f", "eu-1-g"];
    let terms = join_tokens()[0].terms.clone();
    let admission = Admission { token: JoinTokenId(7), at: Millis(1), terms };
    statuses
        .into_iter()
        .map(|status| (status, None, None))
        .chain([(NodeStatus::Up, Some(Arc::new(withdrawal())), None)])
        .chain([(NodeStatus::Up, None, Some(Arc::new(admission)))])
        .chain([(NodeStatus::Up, Some(Arc::new(maintenance())), None)])
        .chain([(NodeStatus::Up, None, None), (NodeStatus::Up, None, None)])
        .zip(names)
        .map(|((status, withdrawal, admission), name)| Node {
            gpus: if name == "eu-1-f" { gpus() } else { [].into() },
            name: name.parse().unwrap(),
            uuid: registration.uuid,
            journal: registration.journal,
            boot_id: registration.boot_id.clone(),
            machine_id: registration.machine_id.clone(),
            region: registration.region.clone(),
            cluster: registration.cluster.clone(),
            capacity: Resources { gpu_milli: if name == "eu-1-f" { 2_000 } else { 0 }, ..registration.capacity },
            labels: registration.labels.clone(),
            offer: if name == "eu-1-g" { offer() } else { Arc::default() },
            epoch: Epoch(5),
            lease: lease(),
            status,
            cordoned: status != NodeStatus::Up || withdrawal.is_some(),
            withdrawal,
            around: Around::default(),
            registered_at: Millis(1),
            admission,
        })
        .collect()
}
