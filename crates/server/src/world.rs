//! A state for unit tests, made by commands alone: what no log could hold, no test should rest on.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    AttemptId, AttemptPhase, AttemptReport, Choice, ClusterName, Command, Digest, Driver, Entry, Epoch, Exit, GpuHold,
    Item, JobName, JobSpec, Millis, Namespace, NodeName, OnFailure, OnNodeLoss, Place, Placement, Principal,
    RegionName, Registration, Reply, Resources, Retry, Revision, RunId, Settings, Stamp, State, StepVerdict, TaskId,
    TaskName, TaskSpec, Usage, Uuid, apply, step_verdict,
};

/// The state and what leads it on.
pub(crate) struct World {
    pub(crate) state: State,
    runs: u64,
}

impl World {
    /// A cluster with a namespace.
    pub(crate) fn new() -> Self {
        let mut world = Self { state: State::default(), runs: 0 };
        let settings = Box::new(Settings::default());
        world.apply(Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings });
        world.apply(Command::CreateNamespace { namespace: namespace() });
        world
    }

    /// Applies a command that must be carried out.
    pub(crate) fn apply(&mut self, command: Command) -> Reply {
        let revision = Revision(self.state.revision().0 + 1);
        let item = Item { principal: Principal::controller(), request: None, command };
        // Several revisions share an instant.
        let stamp = Stamp { wall: Millis(revision.0 / 3), term: 1, elapsed_ms: revision.0 };
        let mut applied = apply(&self.state, revision, &Entry { stamp, items: vec![item] });
        self.state = applied.next;
        applied.replies.remove(0).expect("the command is refused")
    }

    /// A node registers, perhaps again.
    pub(crate) fn node(&mut self, name: &str) -> NodeName {
        let node = NodeName::new(name).unwrap();
        self.returns(&node, self.state.revision());
        node
    }

    /// A node registers that has seen all up to a revision and has nothing.
    pub(crate) fn returns(&mut self, node: &NodeName, seen: Revision) {
        self.apply(Command::RegisterNode(Box::new(Registration {
            gpus: [].into(),
            node: node.clone(),
            uuid: Uuid(7),
            journal: Uuid(8),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: RegionName::new("eu").unwrap(),
            cluster: ClusterName::new("eu-1").unwrap(),
            capacity: Resources { cpu_milli: 64_000, memory_bytes: 1 << 40, gpu_milli: 0 },
            labels: BTreeMap::new(),
            offer: Arc::default(),
            attempts: Vec::new(),
            seen,
        })));
    }

    /// The lease that a node holds.
    pub(crate) fn epoch(&self, node: &NodeName) -> Epoch {
        self.state.node(node).unwrap().epoch
    }

    /// A run of independent tasks with these names, all in the queue.
    pub(crate) fn submit(&mut self, tasks: &[&str]) -> RunId {
        self.runs += 1;
        let run = RunId(self.runs);
        let spec = Arc::new(JobSpec {
            namespace: namespace(),
            name: JobName::new("job").unwrap(),
            priority: 50,
            labels: BTreeMap::new(),
            on_failure: OnFailure::Finish,
            timeout_ms: None,
            tasks: tasks.iter().map(|name| task(name)).collect(),
            params: std::collections::BTreeMap::new(),
            result: std::collections::BTreeMap::new(),
        });
        self.apply(Command::SubmitJob { run, spec, spec_digest: Digest([1; 32]) });
        for step in 0..u32::try_from(tasks.len()).unwrap() {
            if step_verdict(&self.state, run, step) == StepVerdict::Release {
                let waits = self.state.steps_to_advance().any(|due| due == (run, step));
                if waits {
                    self.apply(Command::AdvanceStep { run, step, limit: 1 });
                }
            }
        }
        run
    }

    /// The first element of a step goes to a node.
    pub(crate) fn place(&mut self, run: RunId, step: u32, node: &NodeName) -> AttemptId {
        let task = TaskId { run, step, index: 0 };
        let generation = self.state.task(task).unwrap().generation;
        let epoch = self.epoch(node);
        let placements =
            vec![Placement { choice: Choice::FIRST, gpus: GpuHold::NONE, task, generation, node: node.clone(), epoch }];
        self.apply(Command::CommitPlan { placements });
        self.state.task(task).unwrap().newest_attempt().expect("the placement is refused")
    }

    /// A user wants a run to end.
    pub(crate) fn cancel(&mut self, run: RunId) {
        self.apply(Command::CancelRun { run });
        let due: Vec<_> = self.state.steps_to_advance().collect();
        for (run, step) in due {
            self.apply(Command::AdvanceStep { run, step, limit: 100 });
        }
    }

    /// An agent reports an attempt's end.
    pub(crate) fn ended(&mut self, node: &NodeName, attempt: AttemptId, gone: bool) {
        let known = self.state.attempt(attempt).unwrap();
        let (token, stopped) = (known.token, known.stop.is_some());
        let report = AttemptReport {
            attempt,
            token,
            phase: AttemptPhase::Ended,
            gone,
            exit: Some(Exit::Code(0)),
            message: None,
            usage: Usage::default(),
            stopped,
            outcome: None,
            silent: false,
            payloads: None,
        };
        let epoch = self.epoch(node);
        self.apply(Command::ReportAttempts { node: node.clone(), epoch, reports: vec![report] });
    }
}

fn namespace() -> Namespace {
    Namespace::new("default").unwrap()
}

fn task(name: &str) -> TaskSpec {
    TaskSpec {
        gpu_models: vec![],
        alternatives: vec![],
        name: TaskName::new(name).unwrap(),
        driver: Driver::Noop,
        argv: Vec::new(),
        env: BTreeMap::new(),
        needs: Vec::new(),
        count: 1,
        resources: Resources { cpu_milli: 100, memory_bytes: 1 << 20, gpu_milli: 0 },
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
