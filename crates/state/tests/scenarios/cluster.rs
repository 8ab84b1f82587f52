//! A state that is changed by commands only, and checked after each.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Attempt, AttemptClaim, AttemptId, AttemptPhase, AttemptReport, Choice, Command, Digest, Driver, Entry, Event, Exit,
    Feature, GpuHold, Item, JobSpec, Millis, Node, OnFailure, OnNodeLoss, Outcome, Place, Placement, PlacementOutcome,
    Principal, Registration, Rejection, Reply, ReportOutcome, RequestId, RequestKey, Resources, Retry, Revision, RunId,
    Served, Settings, Stamp, State, TaskId, TaskSpec, TaskState, Timer, Token, Usage, Uuid, apply,
};

pub(crate) struct Cluster {
    pub(crate) state: State,
    pub(crate) revision: u64,
    pub(crate) elapsed: u64,
    pub(crate) changes: usize,
    /// What the last entry did.
    pub(crate) events: Vec<Event>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let mut cluster = Self { state: State::default(), revision: 0, elapsed: 0, changes: 0, events: Vec::new() };
        let settings = Box::new(Settings { request_window_ms: 60_000, ..Settings::default() });
        cluster.run(Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings }).unwrap();
        cluster.run(Command::CreateNamespace { namespace: "acme".parse().unwrap() }).unwrap();
        cluster
    }

    pub(crate) fn enable(&mut self, feature: Feature) {
        assert_eq!(self.run(Command::EnableFeature { feature, term: 1 }), Ok(Reply::Counted(1)));
    }

    pub(crate) fn claim(&self, attempt: AttemptId) -> AttemptClaim {
        let known = self.state.attempt(attempt).unwrap();
        AttemptClaim { attempt, token: known.token, gpus: known.gpus, choice: known.choice }
    }

    pub(crate) fn run(&mut self, command: Command) -> Result<Reply, Rejection> {
        self.run_as(None, command)
    }

    pub(crate) fn run_as(&mut self, request: Option<RequestKey>, command: Command) -> Result<Reply, Rejection> {
        self.entry(vec![(request, command)]).into_iter().next().unwrap()
    }

    /// All of them in one entry.
    pub(crate) fn entry(&mut self, commands: Vec<(Option<RequestKey>, Command)>) -> Vec<Result<Reply, Rejection>> {
        self.revision += 1;
        let stamp = Stamp { wall: Millis(1_000_000 + self.elapsed), term: 1, elapsed_ms: self.elapsed };
        let item = |(request, command)| Item { principal: Principal::anonymous_local(), request, command };
        let items = commands.into_iter().map(item).collect();
        let applied = apply(&self.state, Revision(self.revision), &Entry { stamp, items });
        let mut replayed = self.state.clone();
        applied.changes.iter().for_each(|change| replayed.commit(change));
        assert_eq!(replayed, applied.next, "the changes say all of it");
        self.state = applied.next;
        self.changes = applied.changes.len();
        self.events = applied.events.into_iter().map(|row| row.event).collect();
        assert_eq!(self.state.check(), Vec::<String>::new());
        applied.replies
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.elapsed += ms;
        self.run(Command::FireTimers { timers: vec![] }).unwrap();
        let due = self.state.timers().take_while(|timer| due(timer) <= self.state.meta().served).collect();
        self.run(Command::FireTimers { timers: due }).unwrap();
    }

    pub(crate) fn submit(&mut self, run: u64, spec: JobSpec) -> Result<Reply, Rejection> {
        self.run(Command::SubmitJob { run: RunId(run), spec: Arc::new(spec), spec_digest: Digest([1; 32]) })
    }

    pub(crate) fn register(&mut self, name: &str, uuid: u128, region: &str, cluster: &str) -> Result<Reply, Rejection> {
        self.run(self.registration(name, uuid, region, cluster))
    }

    pub(crate) fn registration(&self, name: &str, uuid: u128, region: &str, cluster: &str) -> Command {
        Command::RegisterNode(Box::new(Registration {
            gpus: [].into(),
            node: name.parse().unwrap(),
            uuid: Uuid(uuid),
            journal: Uuid(uuid),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: region.parse().unwrap(),
            cluster: cluster.parse().unwrap(),
            capacity: Resources { cpu_milli: 1_000, memory_bytes: 1 << 30, gpu_milli: 0 },
            labels: BTreeMap::new(),
            offer: Arc::default(),
            attempts: vec![],
            seen: Revision(self.revision),
        }))
    }

    pub(crate) fn return_of(&mut self, name: &str, seen: u64, attempts: Vec<AttemptClaim>) {
        let journal = self.state.node(&name.parse().unwrap()).unwrap().journal;
        self.register_as(name, journal.0, seen, attempts);
    }

    pub(crate) fn return_without_journal(&mut self, name: &str, new: u128, seen: u64) {
        self.register_as(name, new, seen, vec![]);
    }

    pub(crate) fn register_as(&mut self, name: &str, journal: u128, seen: u64, attempts: Vec<AttemptClaim>) {
        let node = self.state.node(&name.parse().unwrap()).unwrap().clone();
        self.run(Command::RegisterNode(Box::new(Registration {
            gpus: [].into(),
            node: node.name.clone(),
            uuid: node.uuid,
            journal: Uuid(journal),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: node.region.clone(),
            cluster: node.cluster.clone(),
            capacity: node.capacity,
            labels: BTreeMap::new(),
            offer: node.offer.clone(),
            attempts,
            seen: Revision(seen),
        })))
        .unwrap();
    }

    pub(crate) fn expire(&mut self, name: &str) {
        let node = self.state.node(&name.parse().unwrap()).unwrap().clone();
        self.run(Command::ExpireLeases { leases: vec![(node.name.clone(), node.epoch)] }).unwrap();
    }

    pub(crate) fn attempt(&self, task: TaskId) -> Attempt {
        let newest = self.state.task(task).unwrap().newest_attempt().unwrap();
        (**self.state.attempt(newest).unwrap()).clone()
    }

    pub(crate) fn place(&mut self, task: TaskId, node: &str) -> Token {
        match self.try_place(task, node) {
            PlacementOutcome::Placed(token) => token,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn try_place(&mut self, task: TaskId, node: &str) -> PlacementOutcome {
        let node = self.state.node(&node.parse().unwrap()).unwrap().clone();
        let generation = self.state.task(task).unwrap().generation;
        let placement = Placement {
            choice: Choice::FIRST,
            gpus: GpuHold::NONE,
            task,
            generation,
            node: node.name.clone(),
            epoch: node.epoch,
        };
        match self.run(Command::CommitPlan { placements: vec![placement] }).unwrap() {
            Reply::PlanCommitted(outcomes) if outcomes.len() == 1 => outcomes.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn report(&mut self, task: TaskId, phase: AttemptPhase, exit: Option<Exit>) {
        self.report_gone(task, phase, exit, phase == AttemptPhase::Ended);
    }

    /// The agent of a task's newest attempt says that it ended with these words.
    pub(crate) fn report_outcome(&mut self, task: TaskId, outcome: Outcome) {
        let row = self.attempt(task);
        let node = self.state.node(&row.node).unwrap().clone();
        let report = AttemptReport {
            attempt: row.id,
            token: row.token,
            phase: AttemptPhase::Ended,
            gone: true,
            exit: None,
            message: None,
            usage: Usage::default(),
            stopped: false,
            outcome: Some(Arc::new(outcome)),
            silent: false,
            payloads: None,
        };
        self.tell(&node, report);
    }

    /// What an agent answers to the order to stop something that it has never heard of.
    pub(crate) fn says_nothing_is_there(&mut self, task: TaskId) -> ReportOutcome {
        self.report_as(task, AttemptPhase::Ended, None, true, true)
    }

    pub(crate) fn report_gone(&mut self, task: TaskId, phase: AttemptPhase, exit: Option<Exit>, gone: bool) {
        let attempt = self.state.task(task).unwrap().newest_attempt().unwrap();
        let stopped = self.state.attempt(attempt).unwrap().stop.is_some();
        self.report_as(task, phase, exit, gone, stopped);
    }

    pub(crate) fn report_as(
        &mut self,
        task: TaskId,
        phase: AttemptPhase,
        exit: Option<Exit>,
        gone: bool,
        stopped: bool,
    ) -> ReportOutcome {
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
            usage: Usage::default(),
            stopped,
            outcome: None,
            silent: false,
            payloads: None,
        };
        self.tell(&node, report)
    }

    /// The agent of a task's newest attempt says that it runs, and has said nothing for too long.
    pub(crate) fn say_silent(&mut self, task: TaskId) {
        let row = self.attempt(task);
        let node = self.state.node(&row.node).unwrap().clone();
        let report = AttemptReport {
            attempt: row.id,
            token: row.token,
            phase: AttemptPhase::Running,
            gone: false,
            exit: None,
            message: None,
            usage: Usage::default(),
            stopped: false,
            outcome: None,
            silent: true,
            payloads: None,
        };
        self.tell(&node, report);
    }

    fn tell(&mut self, node: &Node, report: AttemptReport) -> ReportOutcome {
        let command = Command::ReportAttempts { node: node.name.clone(), epoch: node.epoch, reports: vec![report] };
        match self.run(command).unwrap() {
            Reply::Reported(outcomes) => outcomes[0],
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn task(&self, task: TaskId) -> TaskState {
        self.state.task(task).unwrap().state.clone()
    }
}

fn due(timer: &Timer) -> Served {
    match timer {
        Timer::TaskWait { due, .. }
        | Timer::RunTimeout { due, .. }
        | Timer::UnknownTooLong { due, .. }
        | Timer::QueueTimeout { due, .. }
        | Timer::RunDeadline { due, .. }
        | Timer::GangStart { due, .. } => *due,
    }
}

pub(crate) fn task(name: &str, needs: &[&str]) -> TaskSpec {
    TaskSpec {
        gpu_models: vec![],
        alternatives: vec![],
        name: name.parse().unwrap(),
        driver: Driver::Process,
        argv: vec!["true".into()],
        env: BTreeMap::new(),
        needs: needs.iter().map(|need| need.parse().unwrap()).collect(),
        count: 1,
        resources: Resources { cpu_milli: 500, memory_bytes: 0, gpu_milli: 0 },
        retry: Retry::default(),
        run_timeout_ms: None,
        queued_timeout_ms: None,
        silent_timeout_ms: None,
        place: Place::default(),
        on_node_loss: OnNodeLoss::AtLeastOnce,
        role: quorate_state::Role::Work,
        templated: false,
        when: None,
        each: None,
        on_region_loss: None,
        accept_failed: 0,
        sub_run: None,
        gang: None,
        preemptible: true,
    }
}

pub(crate) fn job(tasks: Vec<TaskSpec>) -> JobSpec {
    JobSpec {
        namespace: "acme".parse().unwrap(),
        name: "job".parse().unwrap(),
        priority: 50,
        labels: BTreeMap::new(),
        on_failure: OnFailure::Finish,
        timeout_ms: None,
        tasks,
        params: std::collections::BTreeMap::new(),
        result: std::collections::BTreeMap::new(),
    }
}

pub(crate) const fn id(step: u32) -> TaskId {
    TaskId { run: RunId(1), step, index: 0 }
}

pub(crate) fn request(id: &str, digest: u8) -> Option<RequestKey> {
    Some(RequestKey {
        id: RequestId(id.into()),
        namespace: Some("acme".parse().unwrap()),
        digest: Digest([digest; 32]),
    })
}
