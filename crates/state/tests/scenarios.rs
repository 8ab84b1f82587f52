//! Single stories about `apply`, told command by command, where the random histories of `model.rs`
//! would rarely go or could not tell right from wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    AttemptId, AttemptPhase, AttemptReport, AttemptState, Command, Digest, Driver, Entry, Exit, FailReason, Item,
    JobSpec, Millis, OnFailure, OnNodeLoss, Place, Placement, Principal, Registration, Rejection, Reply, RequestId,
    RequestKey, Resources, Retry, Revision, RunId, RunState, Settings, Stamp, State, TaskId, TaskSpec, TaskState,
    Token, Uuid, Wait, apply,
};

struct Cluster {
    state: State,
    revision: u64,
    elapsed: u64,
    changes: usize,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self { state: State::default(), revision: 0, elapsed: 0, changes: 0 };
        let settings = Box::new(Settings { request_window_ms: 60_000, ..Settings::default() });
        cluster.run(Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings }).unwrap();
        cluster.run(Command::CreateNamespace { namespace: "acme".parse().unwrap() }).unwrap();
        cluster
    }

    fn run(&mut self, command: Command) -> Result<Reply, Rejection> {
        self.run_as(None, command)
    }

    fn run_as(&mut self, request: Option<RequestKey>, command: Command) -> Result<Reply, Rejection> {
        self.revision += 1;
        let stamp = Stamp { wall: Millis(1_000_000 + self.elapsed), term: 1, elapsed_ms: self.elapsed };
        let item = Item { principal: Principal::anonymous_local(), request, command };
        let applied = apply(&self.state, Revision(self.revision), &Entry { stamp, items: vec![item] });
        self.state = applied.next;
        self.changes = applied.changes.len();
        assert_eq!(self.state.check(), Vec::<String>::new());
        applied.replies.into_iter().next().unwrap()
    }

    fn pass(&mut self, ms: u64) {
        self.elapsed += ms;
        self.run(Command::FireTimers { timers: vec![] }).unwrap();
        let due = self.state.timers().take_while(|timer| due(timer) <= self.state.meta().served).collect();
        self.run(Command::FireTimers { timers: due }).unwrap();
    }

    fn submit(&mut self, run: u64, spec: JobSpec) -> Result<Reply, Rejection> {
        self.run(Command::SubmitJob { run: RunId(run), spec: Arc::new(spec), spec_digest: Digest([1; 32]) })
    }

    fn register(&mut self, name: &str, uuid: u128, region: &str, cluster: &str) -> Result<Reply, Rejection> {
        self.run(Command::RegisterNode(Box::new(Registration {
            node: name.parse().unwrap(),
            uuid: Uuid(uuid),
            journal: Uuid(uuid),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: region.parse().unwrap(),
            cluster: cluster.parse().unwrap(),
            capacity: Resources { cpu_milli: 1_000, memory_bytes: 1 << 30 },
            labels: BTreeMap::new(),
            attempts: vec![],
            seen: Revision(self.revision),
        })))
    }

    fn return_of(&mut self, name: &str, seen: u64, attempts: Vec<quorate_state::AttemptClaim>) {
        let node = self.state.node(&name.parse().unwrap()).unwrap().clone();
        self.run(Command::RegisterNode(Box::new(Registration {
            node: node.name.clone(),
            uuid: node.uuid,
            journal: node.journal,
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: node.region.clone(),
            cluster: node.cluster.clone(),
            capacity: node.capacity,
            labels: BTreeMap::new(),
            attempts,
            seen: Revision(seen),
        })))
        .unwrap();
    }

    fn expire(&mut self, name: &str) {
        let node = self.state.node(&name.parse().unwrap()).unwrap().clone();
        self.run(Command::ExpireLeases { leases: vec![(node.name.clone(), node.epoch)] }).unwrap();
    }

    fn attempt(&self, task: TaskId) -> quorate_state::Attempt {
        let newest = self.state.task(task).unwrap().newest_attempt().unwrap();
        (**self.state.attempt(newest).unwrap()).clone()
    }

    fn place(&mut self, task: TaskId, node: &str) -> Token {
        let node = self.state.node(&node.parse().unwrap()).unwrap().clone();
        let generation = self.state.task(task).unwrap().generation;
        let placement = Placement { task, generation, node: node.name.clone(), epoch: node.epoch };
        let reply = self.run(Command::CommitPlan { placements: vec![placement] }).unwrap();
        match reply {
            Reply::PlanCommitted(outcomes) => match &outcomes[..] {
                [quorate_state::PlacementOutcome::Placed(token)] => *token,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn report(&mut self, task: TaskId, phase: AttemptPhase, exit: Option<Exit>) {
        self.report_gone(task, phase, exit, phase == AttemptPhase::Ended);
    }

    fn report_gone(&mut self, task: TaskId, phase: AttemptPhase, exit: Option<Exit>, gone: bool) {
        let attempt = self.state.task(task).unwrap().newest_attempt().unwrap();
        let row = self.state.attempt(attempt).unwrap().clone();
        let node = self.state.node(&row.node).unwrap().clone();
        let report = AttemptReport {
            attempt,
            token: row.token,
            phase,
            gone,
            exit,
            message: None,
            usage: quorate_state::Usage::default(),
            stopped: row.stop.is_some(),
        };
        self.run(Command::ReportAttempts { node: node.name.clone(), epoch: node.epoch, reports: vec![report] })
            .unwrap();
    }

    fn task(&self, task: TaskId) -> TaskState {
        self.state.task(task).unwrap().state.clone()
    }
}

fn due(timer: &quorate_state::Timer) -> quorate_state::Served {
    match timer {
        quorate_state::Timer::TaskWait { due, .. }
        | quorate_state::Timer::RunTimeout { due, .. }
        | quorate_state::Timer::UnknownTooLong { due, .. } => *due,
    }
}

fn task(name: &str, needs: &[&str]) -> TaskSpec {
    TaskSpec {
        name: name.parse().unwrap(),
        driver: Driver::Process,
        argv: vec!["true".into()],
        env: BTreeMap::new(),
        needs: needs.iter().map(|need| need.parse().unwrap()).collect(),
        count: 1,
        resources: Resources { cpu_milli: 500, memory_bytes: 0 },
        retry: Retry::default(),
        run_timeout_ms: None,
        place: Place::default(),
        on_node_loss: OnNodeLoss::AtLeastOnce,
    }
}

fn job(tasks: Vec<TaskSpec>) -> JobSpec {
    JobSpec {
        namespace: "acme".parse().unwrap(),
        name: "job".parse().unwrap(),
        priority: 50,
        labels: BTreeMap::new(),
        on_failure: OnFailure::Finish,
        tasks,
    }
}

const fn id(step: u32) -> TaskId {
    TaskId { run: RunId(1), step, index: 0 }
}

fn request(id: &str, digest: u8) -> Option<RequestKey> {
    Some(RequestKey {
        id: RequestId(id.into()),
        namespace: Some("acme".parse().unwrap()),
        digest: Digest([digest; 32]),
    })
}

#[test]
fn the_same_request_twice_is_one_run_and_another_body_is_refused() {
    let mut cluster = Cluster::new();
    let submit = |run| Command::SubmitJob {
        run: RunId(run),
        spec: Arc::new(job(vec![task("a", &[])])),
        spec_digest: Digest([1; 32]),
    };
    let first = cluster.run_as(request("r", 1), submit(1)).unwrap();
    assert_eq!(cluster.run_as(request("r", 1), submit(2)), Ok(first));
    assert_eq!(cluster.state.runs_newest_first(None).count(), 1);
    assert!(matches!(cluster.run_as(request("r", 2), submit(3)), Err(Rejection::RequestIdReused { .. })));
    // Forgotten by served time, not before.
    cluster.pass(60_001);
    assert!(matches!(cluster.run_as(request("r", 2), submit(4)), Ok(Reply::Submitted { run: RunId(4), .. })));
}

#[test]
fn a_refused_command_leaves_nothing_behind() {
    let mut cluster = Cluster::new();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    // The new cluster's row is made before the name turns out to be taken.
    assert!(matches!(cluster.register("n", 2, "us", "us-a"), Err(Rejection::NodeNameTaken { .. })));
    assert!(cluster.state.cluster(&"us-a".parse().unwrap()).is_none());
    assert_eq!(cluster.changes, 1, "only the meta row may change");
}

#[test]
fn a_cluster_lies_in_one_region() {
    let mut cluster = Cluster::new();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    assert!(matches!(cluster.register("m", 2, "us", "eu-a"), Err(Rejection::ClusterInOtherRegion { .. })));
}

#[test]
fn a_failed_try_waits_out_its_backoff_and_an_exit_code_of_never_is_final() {
    let mut cluster = Cluster::new();
    let retry = Retry { attempts: 3, first_ms: 1_000, jitter_milli: 0, never: vec![64], ..Retry::default() };
    let tasks = vec![TaskSpec { retry, ..task("a", &[]) }, task("b", &["a"])];
    cluster.submit(1, job(tasks)).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(1)));
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Backoff { .. })));
    cluster.pass(999);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Backoff { .. })));
    cluster.pass(1);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(64)));
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::Failed));
    // Its dependent is skipped and the run fails.
    assert_eq!(cluster.state.steps_to_advance().collect::<Vec<_>>(), [(RunId(1), 1)]);
    cluster.run(Command::AdvanceStep { run: RunId(1), step: 1, limit: 10 }).unwrap();
    assert_eq!(cluster.task(id(1)), TaskState::Skipped);
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.state.run(RunId(1)).unwrap().state, RunState::Failed);
}

#[test]
fn a_run_timeout_stops_the_attempt_and_counts_as_a_try() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![TaskSpec { run_timeout_ms: Some(5_000), ..task("a", &[]) }])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.pass(4_999);
    assert_eq!(cluster.state.timers().count(), 1);
    cluster.pass(1);
    assert_eq!(cluster.state.timers().count(), 0, "a timeout fires once");
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Signal(15)));
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::TimedOut));
}

#[test]
fn a_node_that_returns_with_the_current_token_keeps_its_attempt() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let token = cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    let epoch = cluster.state.node(&"n".parse().unwrap()).unwrap().epoch;
    cluster.run(Command::ExpireLeases { leases: vec![("n".parse().unwrap(), epoch)] }).unwrap();
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
    let attempt = AttemptId { task: id(0), number: 1 };
    assert_eq!(cluster.state.attempt(attempt).unwrap().state, AttemptState::Unknown);
    cluster
        .run(Command::RegisterNode(Box::new(Registration {
            node: "n".parse().unwrap(),
            uuid: Uuid(1),
            journal: Uuid(1),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: "eu".parse().unwrap(),
            cluster: "eu-a".parse().unwrap(),
            capacity: Resources { cpu_milli: 1_000, memory_bytes: 1 << 30 },
            labels: BTreeMap::new(),
            attempts: vec![quorate_state::AttemptClaim { attempt, token }],
            seen: Revision(token.0),
        })))
        .unwrap();
    assert_eq!(cluster.state.attempt(attempt).unwrap().state, AttemptState::Running);
    assert_eq!(cluster.task(id(0)), TaskState::Running);
    assert_eq!(cluster.state.ready_count(), 0);
}

#[test]
fn a_lost_task_is_placed_elsewhere_and_the_old_copy_no_longer_counts() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.register("m", 2, "us", "us-a").unwrap();
    let first = cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    let epoch = cluster.state.node(&"n".parse().unwrap()).unwrap().epoch;
    cluster.run(Command::ExpireLeases { leases: vec![("n".parse().unwrap(), epoch)] }).unwrap();
    let second = cluster.place(id(0), "m");
    assert!(second > first);
    let old = cluster.state.attempt(AttemptId { task: id(0), number: 1 }).unwrap().clone();
    assert_eq!((old.state, old.gone), (AttemptState::Lost, false));
    // Its room is held until the agent confirms.
    assert_eq!(cluster.state.used_on(&"n".parse().unwrap()).cpu_milli, 500);
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(0)));
    assert_eq!(cluster.task(id(0)), TaskState::Succeeded);
    assert_eq!(cluster.state.task(id(0)).unwrap().losses, 1);
    assert_eq!(cluster.state.task(id(0)).unwrap().tries, 0, "a lost node burns no try");
}

#[test]
fn bad_specs_are_refused_whole_with_every_violation() {
    let mut cluster = Cluster::new();
    let cases: Vec<(&str, JobSpec, &str)> = vec![
        ("no tasks", job(vec![]), "at least one task"),
        ("cycle", job(vec![task("a", &["c"]), task("b", &["a"]), task("c", &["b"])]), "needs form a cycle"),
        ("missing need", job(vec![task("a", &["zz"])]), "no task is called"),
        ("self", job(vec![task("a", &["a"])]), "cannot need itself"),
        ("twice", job(vec![task("a", &[]), task("a", &[])]), "another task has this name"),
        ("count", job(vec![TaskSpec { count: u32::MAX, ..task("a", &[]) }]), "tasks_per_run_max"),
        ("no program", job(vec![TaskSpec { argv: vec![], ..task("a", &[]) }]), "a program is needed"),
        ("NUL", job(vec![TaskSpec { argv: vec!["a\0b".into()], ..task("a", &[]) }]), "NUL byte"),
        (
            "absurd",
            job(vec![TaskSpec {
                resources: Resources { cpu_milli: u64::MAX, memory_bytes: u64::MAX },
                ..task("a", &[])
            }]),
            "over the limit",
        ),
        (
            "at_most_once with retries",
            job(vec![TaskSpec {
                on_node_loss: OnNodeLoss::AtMostOnce,
                retry: Retry { attempts: 2, ..Retry::default() },
                ..task("a", &[])
            }]),
            "started once",
        ),
        ("namespace", JobSpec { namespace: "nobody".parse().unwrap(), ..job(vec![task("a", &[])]) }, "does not exist"),
    ];
    for (name, spec, expected) in cases {
        let error = cluster.submit(1, spec).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(cluster.changes, 1, "{name} changed something");
    }
    let both = job(vec![task("a", &["x"]), TaskSpec { count: 0, ..task("b", &[]) }]);
    let Err(Rejection::Invalid(violations)) = cluster.submit(1, both) else { panic!("accepted") };
    assert_eq!(violations.len(), 2);
}

#[test]
fn a_cycle_is_named_task_by_task() {
    let mut cluster = Cluster::new();
    let tasks =
        vec![task("free", &[]), task("behind", &["b"]), task("a", &["b"]), task("b", &["c"]), task("c", &["a"])];
    let Err(Rejection::Invalid(violations)) = cluster.submit(1, job(tasks)) else { panic!("accepted") };
    assert_eq!(violations[0].message, "needs form a cycle: b -> c -> a -> b");
}

#[test]
fn served_time_stands_still_between_terms() {
    let mut cluster = Cluster::new();
    cluster.elapsed = 5_000;
    cluster.run(Command::FireTimers { timers: vec![] }).unwrap();
    assert_eq!(cluster.state.meta().served.0, 5_000);
    let stamp = Stamp { wall: Millis(99_000_000), term: 2, elapsed_ms: 3 };
    let applied = apply(&cluster.state, Revision(100), &Entry { stamp, items: vec![] });
    assert_eq!(applied.next.meta().served.0, 5_003, "a wall clock that jumps ahead ages no timeout");
    assert_eq!(applied.next.meta().now.0, 99_000_000);
    let stamp = Stamp { wall: Millis(5), term: 2, elapsed_ms: 1 };
    let applied = apply(&applied.next, Revision(101), &Entry { stamp, items: vec![] });
    assert_eq!((applied.next.meta().served.0, applied.next.meta().now.0), (5_003, 99_000_000), "time never goes back");
}

#[test]
fn a_registration_says_nothing_of_attempts_the_agent_was_never_told_of() {
    let mut cluster = Cluster::new();
    let tasks = vec![TaskSpec { on_node_loss: OnNodeLoss::AtMostOnce, ..task("a", &[]) }];
    cluster.submit(1, job(tasks)).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let before = cluster.revision;
    let token = cluster.place(id(0), "n");
    // Sent before the placement, delayed on the way: the attempt may be running by now.
    cluster.return_of("n", before, vec![]);
    assert_eq!(cluster.attempt(id(0)).state, AttemptState::Assigned);
    assert_eq!(cluster.task(id(0)), TaskState::Placed);
    assert_eq!(cluster.state.used_on(&"n".parse().unwrap()).cpu_milli, 500);
    // Sent after it was told of the placement: its journal would know of a start.
    cluster.return_of("n", token.0, vec![]);
    assert_eq!(cluster.attempt(id(0)).state, AttemptState::Lost);
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::Lost));
}

#[test]
fn an_agent_without_its_journal_is_not_given_the_same_attempt_again() {
    let mut cluster = Cluster::new();
    let promised = |name, on_node_loss| TaskSpec { on_node_loss, ..task(name, &[]) };
    cluster.submit(1, job(vec![promised("a", OnNodeLoss::AtMostOnce), promised("b", OnNodeLoss::Fenced)])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let (once, fenced) = (id(0), TaskId { step: 1, ..id(0) });
    for task in [once, fenced] {
        cluster.place(task, "n");
        cluster.report(task, AttemptPhase::Running, None);
    }
    // Its new journal has seen nothing, which says nothing of what the old one saw.
    let node = cluster.state.node(&"n".parse().unwrap()).unwrap().clone();
    cluster
        .run(Command::RegisterNode(Box::new(Registration {
            node: node.name.clone(),
            uuid: node.uuid,
            journal: Uuid(99),
            boot_id: node.boot_id.clone(),
            machine_id: node.machine_id.clone(),
            region: node.region.clone(),
            cluster: node.cluster.clone(),
            capacity: node.capacity,
            labels: BTreeMap::new(),
            attempts: vec![],
            seen: Revision(0),
        })))
        .unwrap();
    assert_eq!((cluster.attempt(once).state, cluster.attempt(once).gone), (AttemptState::Lost, false));
    assert_eq!(cluster.task(once), TaskState::Failed(FailReason::Lost));
    assert_eq!(cluster.attempt(fenced).state, AttemptState::Lost);
    cluster.pass(node.lease.server_ms + node.lease.kill_ms - 1);
    assert!(matches!(cluster.task(fenced), TaskState::Waiting(Wait::Fence { .. })), "{:?}", cluster.task(fenced));
    cluster.pass(1);
    assert_eq!(cluster.task(fenced), TaskState::Ready);
}

#[test]
fn a_fence_holds_while_a_copy_that_ended_is_claimed_under_a_live_lease() {
    let mut cluster = Cluster::new();
    let retry = Retry { attempts: 3, first_ms: 1_000, jitter_milli: 0, ..Retry::default() };
    let tasks = vec![TaskSpec { on_node_loss: OnNodeLoss::Fenced, retry, ..task("a", &[]) }];
    cluster.submit(1, job(tasks)).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let token = cluster.place(id(0), "n");
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Code(1)), false);
    cluster.expire("n");
    // The node is back before the fence is over, and still has what is left of the copy.
    let attempt = AttemptId { task: id(0), number: 1 };
    cluster.return_of("n", token.0, vec![quorate_state::AttemptClaim { attempt, token }]);
    cluster.pass(10_000_000);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Fence { .. })), "{:?}", cluster.task(id(0)));
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Code(1)), true);
    cluster.pass(1_000);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
}

#[test]
fn a_fenced_task_waits_for_its_copy_to_be_gone_while_the_lease_is_live() {
    let mut cluster = Cluster::new();
    let retry = Retry { attempts: 3, first_ms: 60_000, jitter_milli: 0, ..Retry::default() };
    let tasks = vec![TaskSpec { on_node_loss: OnNodeLoss::Fenced, retry, ..task("a", &[]) }];
    cluster.submit(1, job(tasks)).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    // Its leader ended, one of its children hangs.
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Code(1)), false);
    cluster.pass(10_000_000);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Fence { .. })), "{:?}", cluster.task(id(0)));
    // Gone at last: now the delay of its retry, not less.
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Code(1)), true);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Backoff { .. })), "{:?}", cluster.task(id(0)));
    cluster.pass(60_000);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
    // The same, but the node dies: the end of its lease and the kill bound lift the fence.
    cluster.place(id(0), "n");
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Code(1)), false);
    cluster.expire("n");
    cluster.pass(2_999);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Fence { .. })));
    cluster.pass(1);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
}

#[test]
fn a_copy_that_comes_back_after_its_run_was_cancelled_is_stopped() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let token = cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.expire("n");
    cluster.run(Command::CancelRun { run: RunId(1) }).unwrap();
    cluster.run(Command::AdvanceStep { run: RunId(1), step: 0, limit: 1 }).unwrap();
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.task(id(0)), TaskState::Cancelled);
    let attempt = cluster.attempt(id(0)).id;
    cluster.return_of("n", token.0, vec![quorate_state::AttemptClaim { attempt, token }]);
    let back = cluster.attempt(id(0));
    assert_eq!((back.state, back.stop), (AttemptState::Running, Some(quorate_state::StopReason::Cancelled)));
}

#[test]
fn a_copy_that_nobody_had_asked_to_stop_before_its_run_ended_is_stopped_when_it_comes_back() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![TaskSpec { count: 2, ..task("a", &[]) }])).unwrap();
    cluster.register("m", 1, "eu", "eu-a").unwrap();
    cluster.register("n", 2, "eu", "eu-a").unwrap();
    let (here, away) = (id(0), TaskId { index: 1, ..id(0) });
    cluster.place(here, "m");
    let token = cluster.place(away, "n");
    cluster.report(here, AttemptPhase::Running, None);
    cluster.report(away, AttemptPhase::Running, None);
    cluster.expire("n");
    cluster.run(Command::CancelRun { run: RunId(1) }).unwrap();
    // One task at a time: the live copy is asked to stop, the queued task of the lost one ends.
    cluster.run(Command::AdvanceStep { run: RunId(1), step: 0, limit: 1 }).unwrap();
    assert_eq!(cluster.attempt(away).stop, None);
    cluster.report(here, AttemptPhase::Ended, Some(Exit::Signal(15)));
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.state.run(RunId(1)).unwrap().state, RunState::Cancelled);
    let attempt = cluster.attempt(away).id;
    cluster.return_of("n", token.0, vec![quorate_state::AttemptClaim { attempt, token }]);
    assert_eq!(cluster.attempt(away).stop, Some(quorate_state::StopReason::Cancelled));
}

#[test]
fn a_cancel_gets_through_when_the_table_of_requests_is_full() {
    let mut cluster = Cluster { state: State::default(), revision: 0, elapsed: 0, changes: 0 };
    let settings = Box::new(Settings { requests_max: 1, ..Settings::default() });
    cluster.run(Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings }).unwrap();
    cluster.run(Command::CreateNamespace { namespace: "acme".parse().unwrap() }).unwrap();
    let submit = |run| Command::SubmitJob {
        run: RunId(run),
        spec: Arc::new(job(vec![task("a", &[])])),
        spec_digest: Digest([1; 32]),
    };
    cluster.run_as(request("a", 1), submit(1)).unwrap();
    assert!(matches!(cluster.run_as(request("b", 1), submit(2)), Err(Rejection::LimitReached { .. })));
    cluster.run_as(request("c", 1), Command::CancelRun { run: RunId(1) }).unwrap();
    assert!(cluster.state.run(RunId(1)).unwrap().cancelling);
}

#[test]
fn a_task_that_ended_by_itself_before_it_heard_of_its_timeout_succeeded() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![TaskSpec { run_timeout_ms: Some(5_000), ..task("a", &[]) }])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.pass(5_000);
    let row = cluster.attempt(id(0));
    assert_eq!(row.stop, Some(quorate_state::StopReason::TimedOut));
    let node = cluster.state.node(&row.node).unwrap().clone();
    let report = AttemptReport {
        attempt: row.id,
        token: row.token,
        phase: AttemptPhase::Ended,
        gone: true,
        exit: Some(Exit::Code(0)),
        message: None,
        usage: quorate_state::Usage::default(),
        stopped: false,
    };
    cluster.run(Command::ReportAttempts { node: node.name.clone(), epoch: node.epoch, reports: vec![report] }).unwrap();
    assert_eq!(cluster.task(id(0)), TaskState::Succeeded);
}

#[test]
fn a_node_that_loses_all_it_is_given_does_not_use_up_a_tasks_losses_in_an_instant() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report_gone(id(0), AttemptPhase::Lost, None, true);
    assert_eq!(cluster.task(id(0)), TaskState::Ready, "one loss costs no time");
    cluster.place(id(0), "n");
    cluster.report_gone(id(0), AttemptPhase::Lost, None, true);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Backoff { .. })));
}
