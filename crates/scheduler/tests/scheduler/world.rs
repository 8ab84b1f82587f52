//! A small world to decide about: built from a text, changed by commands only, read as text.
//!
//! ```text
//! node a eu/eu-1 4000m 8Gi                    also: cordoned, draining, lost, silent, unheard, disk=ssd,
//!                                             pool=gpu taint=spot:yes price=0.35
//! use  a 1000m 1Gi timeout=1000               a task that runs there
//! job  first priority=60 on_failure=cancel    the tasks that follow are its own
//! task x 500m 1Gi count=3 spread=node         also: regions=eu,us clusters=… label=disk:ssd needs=y,z
//!                                             atmost=node/1 group=db apart=db/node balance=label:rack/a=2,b=1
//!                                             pools=gpu tolerate=spot:* prefer=region:eu:50 cheap=20
//!                                             where=node.gpus>1&&node.region=="eu" reservation=spring
//!                                             or=4000m/1Gi or=500m/1Gi/1000/A
//!                                             home=stay home=move:5000:us,asia
//!                                             loss=fenced timeout=1000 when=x.result.go each=${x.result}
//!                                             fallback=x undoes=x finally=yes
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_scheduler::placement::{Expected, Plan, plan};
use quorate_scheduler::{Budget, Decision, LogNow, NodeObserved, Observed, controllers};
use quorate_state::{
    Attempt, AttemptId, AttemptPhase, AttemptReport, Change, Choice, Command, Digest, DrainTime, Entry, Exit, Feature,
    FeatureRow, GPU_MILLI, GpuHold, GpuModel, Item, JobSpec, Millis, Namespace, Node, NodeName, NodeStatus, Outcome,
    Payloads, Placement, PlacementOutcome, Principal, Registration, Rejection, Reply, Resources, Revision, RunId,
    Scope, Served, Settings, Stamp, State, TaskId, TaskState, Usage, Uuid, apply,
};

pub(crate) use crate::spec::{job, task};

/// The state, and what the leader sees beside it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) observed: Observed,
    pub(crate) served: Served,
    runs: u64,
}

/// Builds `scenario`, releases its tasks, plans once, and compares what is placed and what waits.
/// Whatever the plan, `apply` must accept all of it and every property of the state must hold.
#[track_caller]
pub(crate) fn check(scenario: &str, expected: &str) {
    let mut world = World::of(scenario);
    let plan = world.plan();
    assert_eq!(world.render(&plan), lines(expected), "plan of:{scenario}");
    world.commit(&plan);
}

/// A text without indentation and empty lines.
pub(crate) fn lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

impl World {
    pub(crate) fn empty() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let mut world = Self { state: State::default(), observed: Observed::default(), served: Served(0), runs: 0 };
        let bootstrap = Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings: Box::new(settings) };
        world.apply(bootstrap);
        world.apply(Command::CreateNamespace { namespace: namespace() });
        let known = [
            Feature::PlaceLabels,
            Feature::Gpus,
            Feature::PlaceConstraints,
            Feature::RegionLoss,
            Feature::SpreadRules,
            Feature::DataLocality,
            Feature::ResourceAlternatives,
            Feature::PlaceWhere,
            Feature::Reservations,
        ];
        for feature in known {
            world.state.commit(&Change::Feature(FeatureRow { feature, revision: Revision(0), at: Millis(0) }));
        }
        world
    }

    pub(crate) fn of(scenario: &str) -> Self {
        let mut world = Self::empty();
        let mut jobs: Vec<JobSpec> = Vec::new();
        for line in scenario.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["node", name, place, cpu, memory, ref flags @ ..] => {
                    let (region, cluster) = place.split_once('/').expect("region/cluster");
                    world.node(name, region, cluster, resources(cpu, memory));
                    flags.iter().for_each(|flag| world.flag(name, flag));
                }
                ["use", node, cpu, memory, ref options @ ..] => {
                    world.occupy(node, resources(cpu, memory), options);
                }
                ["job", name, ref options @ ..] => jobs.push(job(name, options)),
                ["task", name, cpu, memory, ref options @ ..] => {
                    let job = jobs.last_mut().expect("a job before its tasks");
                    job.tasks.push(task(name, resources(cpu, memory), options));
                }
                _ => panic!("not a line of a scenario: {line}"),
            }
        }
        jobs.into_iter().for_each(|job| {
            world.submit(job);
        });
        world.release();
        world
    }

    /// Applies one command, which must be accepted and leave every property of the state intact.
    pub(crate) fn apply(&mut self, command: Command) -> Reply {
        self.try_apply(command.clone()).unwrap_or_else(|why| panic!("{command:?}: {why}"))
    }

    /// The same of what may be refused.
    pub(crate) fn try_apply(&mut self, command: Command) -> Result<Reply, Rejection> {
        let revision = Revision(self.state.revision().0 + 1);
        let stamp = Stamp { wall: self.now().now, term: 1, elapsed_ms: self.served.0 };
        let item = Item { principal: Principal::controller(), request: None, command: command.clone() };
        let applied = apply(&self.state, revision, &Entry { stamp, items: vec![item] });
        self.state = applied.next;
        assert_eq!(self.state.check(), Vec::<String>::new(), "after {command:?}");
        applied.replies.into_iter().next().expect("one reply")
    }

    /// The same of what the control of runs allows.
    pub(crate) fn control(&mut self, command: Command) -> Reply {
        let row = FeatureRow { feature: Feature::RunControl, revision: Revision(0), at: Millis(0) };
        self.state.commit(&Change::Feature(row));
        self.apply(command)
    }

    pub(crate) fn now(&self) -> LogNow {
        LogNow { served: self.served, now: quorate_state::Millis(1_700_000_000_000 + self.served.0) }
    }

    /// Lets time pass; no command carries it into the log.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.served = self.served.plus(millis);
    }

    /// One step of the controller called `name`.
    pub(crate) fn step(&self, name: &str) -> Decision {
        self.step_within(name, Budget::default())
    }

    pub(crate) fn step_within(&self, name: &str, budget: Budget) -> Decision {
        let controller = controllers().into_iter().find(|controller| controller.name() == name);
        controller.expect("a controller").step(&self.state, &self.observed, self.now(), 7, budget)
    }

    /// Steps the controller called `name` and applies what it decided.
    pub(crate) fn drive(&mut self, name: &str) -> Decision {
        let decision = self.step(name);
        decision.commands.iter().for_each(|command| {
            self.apply(command.clone());
        });
        decision
    }

    /// Lets the workflow controller do all that it can.
    pub(crate) fn release(&mut self) {
        while !self.drive("workflow").commands.is_empty() {}
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.state, &self.observed, self.now(), 7, Budget::default())
    }

    /// Commits a plan; every placement must be accepted.
    #[track_caller]
    pub(crate) fn commit(&mut self, plan: &Plan) {
        let reply = self.apply(Command::CommitPlan { placements: plan.placements.clone() });
        let Reply::PlanCommitted(outcomes) = reply else { panic!("{reply:?}") };
        for (outcome, placement) in outcomes.iter().zip(&plan.placements) {
            assert!(matches!(outcome, PlacementOutcome::Placed(_)), "{placement:?}: {outcome:?}");
        }
        let gangs = Plan { gangs: plan.gangs.clone(), ..Plan::default() };
        gangs.into_commands().into_iter().for_each(|command| drop(self.apply(command)));
    }

    /// All that were asked to stop on nodes that can tell do; how many.
    pub(crate) fn stop_all(&mut self) -> usize {
        let up: Vec<Arc<Node>> = self.state.nodes().filter(|node| node.status == NodeStatus::Up).cloned().collect();
        let on = up.iter().flat_map(|node| self.state.attempts_on(&node.name).map(move |attempt| (node, attempt)));
        let own = on.filter(|(node, attempt)| attempt.stop.is_some() && attempt.epoch == node.epoch);
        let stopped: Vec<Arc<Attempt>> = own.map(|(_, attempt)| attempt.clone()).collect();
        for attempt in &stopped {
            let report = AttemptReport {
                attempt: attempt.id,
                token: attempt.token,
                phase: AttemptPhase::Ended,
                gone: true,
                exit: Some(Exit::Signal(15)),
                message: None,
                usage: Usage::default(),
                stopped: true,
                outcome: None,
                silent: false,
                payloads: None,
            };
            let (node, epoch) = (attempt.node.clone(), attempt.epoch);
            self.apply(Command::ReportAttempts { node, epoch, reports: vec![report] });
        }
        stopped.len()
    }

    pub(crate) fn node(&mut self, name: &str, region: &str, cluster: &str, capacity: Resources) {
        let number = self.state.nodes().count() as u128 + 1;
        self.apply(Command::RegisterNode(Box::new(Registration {
            gpus: [].into(),
            node: name.parse().expect("a name"),
            uuid: Uuid(number),
            journal: Uuid(number),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: region.parse().expect("a name"),
            cluster: cluster.parse().expect("a name"),
            capacity,
            labels: BTreeMap::new(),
            offer: Arc::default(),
            attempts: Vec::new(),
            seen: self.state.revision(),
        })));
        self.see(name, |_| {});
    }

    /// Changes what the leader sees of a node: fresh, and about its present lease, unless said otherwise.
    pub(crate) fn see(&mut self, name: &str, change: impl FnOnce(&mut NodeObserved)) {
        let node = self.get(name);
        let mut seen = NodeObserved {
            epoch: node.epoch,
            expires_at: Some(self.served.plus(node.lease.server_ms)),
            reported_this_term: true,
            heard_ms_ago: 0,
        };
        change(&mut seen);
        self.observed.nodes.insert(node.name.clone(), seen);
    }

    pub(crate) fn get(&self, name: &str) -> Arc<Node> {
        self.state.node(&name.parse().expect("a name")).expect("a node").clone()
    }

    /// Changes a node's row: for what no command can do yet, and to grant room.
    pub(crate) fn change(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let mut node = (*self.get(name)).clone();
        change(&mut node);
        self.state.commit(&Change::Node(Arc::new(node)));
    }

    pub(crate) fn flag(&mut self, name: &str, flag: &str) {
        let node = self.get(name);
        if let Some((model, count)) = flag.strip_prefix("gpus=").and_then(|gpus| gpus.split_once(':')) {
            let count = count.parse().expect("a number of GPUs");
            let gpus: Arc<[GpuModel]> = std::iter::repeat_n(model.parse().expect("a model"), count).collect();
            return self.change(name, |node| {
                node.capacity.gpu_milli = count as u64 * GPU_MILLI;
                node.gpus = gpus;
            });
        }
        match flag {
            "cordoned" => {
                let row = FeatureRow { feature: Feature::NodeCordon, revision: Revision(0), at: Millis(0) };
                self.state.commit(&Change::Feature(row));
                self.apply(Command::CordonNode { node: node.name.clone(), cordoned: true });
            }
            "draining" => {
                self.flag(name, "cordoned");
                let row = FeatureRow { feature: Feature::NodeDrain, revision: Revision(0), at: Millis(0) };
                self.state.commit(&Change::Feature(row));
                self.drain(name, 0);
            }
            "lost" => {
                self.apply(Command::ExpireLeases { leases: vec![(node.name.clone(), node.epoch)] });
            }
            "silent" => self.see(name, |seen| seen.heard_ms_ago = node.lease.agent_ms + 1),
            "unheard" => self.see(name, |seen| seen.reported_this_term = false),
            flag => {
                let (key, value) = flag.split_once('=').unwrap_or_else(|| panic!("not a flag: {flag}"));
                let mut offer = (*node.offer).clone();
                match key {
                    "pool" => offer.pool = value.parse().expect("a name"),
                    "price" => offer.price = Some(value.parse().expect("a price")),
                    "taint" => {
                        let (key, value) = value.split_once(':').expect("key:value");
                        offer.taints.insert(key.into(), value.into());
                    }
                    key => return self.change(name, |node| drop(node.labels.insert(key.into(), value.into()))),
                }
                self.change(name, |node| node.offer = Arc::new(offer));
            }
        }
    }

    /// Drains a node from `wait_ms` on.
    pub(crate) fn drain(&mut self, name: &str, wait_ms: u64) {
        self.apply(Command::DrainNode { node: node_name(name), wait_ms, reason: "".into() });
    }

    /// Takes `region NAME` or `cluster NAME` out of service, with a drain of so long (after a wait) if there is one; or gives it
    /// back.
    pub(crate) fn withdraw(&mut self, scope: &str, drain: Option<DrainTime>) {
        for feature in [Feature::NodeDrain, Feature::RegionPolicy] {
            self.state.commit(&Change::Feature(FeatureRow { feature, revision: Revision(0), at: Millis(0) }));
        }
        self.apply(Command::WithdrawScope { scope: scope_of(scope), drain, reason: "power".into() });
    }

    pub(crate) fn restore(&mut self, scope: &str) {
        self.apply(Command::RestoreScope { scope: scope_of(scope) });
    }

    /// Drains a node from `wait_ms` on, for `for_ms`.
    pub(crate) fn maintain(&mut self, name: &str, wait_ms: u64, for_ms: u64) {
        for feature in [Feature::NodeDrain, Feature::NodeMaintenance] {
            self.state.commit(&Change::Feature(FeatureRow { feature, revision: Revision(0), at: Millis(0) }));
        }
        self.apply(Command::MaintainNode { node: node_name(name), wait_ms, for_ms, reason: "".into() });
    }

    /// Runs a task on a node.
    pub(crate) fn occupy(&mut self, node: &str, resources: Resources, options: &[&str]) {
        let mut spec = job(&format!("used-{}", self.runs), &[]);
        spec.tasks.push(task("used", resources, options));
        let run = self.submit(spec);
        self.release();
        let node = self.get(node);
        let task = TaskId { run, step: 0, index: 0 };
        let generation = self.state.task(task).expect("a task").generation;
        let placement = Placement {
            choice: Choice::FIRST,
            gpus: GpuHold::NONE,
            task,
            generation,
            node: node.name.clone(),
            epoch: node.epoch,
        };
        self.commit(&Plan { placements: vec![placement], ..Plan::default() });
        self.report(AttemptId { task, number: 1 }, AttemptPhase::Running, None);
    }

    pub(crate) fn submit(&mut self, spec: JobSpec) -> RunId {
        self.runs += 1;
        let run = RunId(self.runs);
        if spec.is_flow() {
            for feature in
                [Feature::TaskOutcomes, Feature::TaskFlow, Feature::SubRuns, Feature::PayloadRefs, Feature::Gangs]
            {
                self.state.commit(&Change::Feature(FeatureRow { feature, revision: Revision(0), at: Millis(0) }));
            }
            let settings = self.state.settings().expect("settings").clone();
            let settings = Settings { result_bytes_max: 8_192, ..settings };
            self.state.commit(&Change::Settings(Arc::new(settings)));
        }
        self.apply(Command::SubmitJob { run, spec: Arc::new(spec), spec_digest: Digest::default() });
        run
    }

    /// Leaves nothing in the queue but the tasks of the job called `name`.
    pub(crate) fn cancel_all_but(&mut self, name: &str) {
        let unfinished: Vec<RunId> = self.state.unfinished_runs().collect();
        for run in unfinished {
            if self.state.run(run).expect("a run").spec.name.as_str() != name {
                self.apply(Command::CancelRun { run });
            }
        }
        self.release();
    }

    /// What the attempt's agent saw of it; a report of an end also says that it is gone.
    pub(crate) fn report(&mut self, id: AttemptId, phase: AttemptPhase, code: Option<i32>) {
        let attempt = self.state.attempt(id).expect("an attempt").clone();
        let report = AttemptReport {
            attempt: id,
            token: attempt.token,
            phase,
            gone: phase == AttemptPhase::Ended,
            exit: code.map(Exit::Code),
            message: None,
            usage: Usage::default(),
            stopped: false,
            outcome: None,
            silent: false,
            payloads: None,
        };
        self.apply(Command::ReportAttempts { node: attempt.node.clone(), epoch: attempt.epoch, reports: vec![report] });
    }

    /// Places a task, and takes it to its end with this result.
    pub(crate) fn succeed(&mut self, task: &str, result: &str) {
        self.end_well(task, Some(Outcome::Result(result.as_bytes().into())), None);
    }

    /// The same with data that it leaves behind.
    pub(crate) fn leave(&mut self, task: &str, payloads: Payloads) {
        self.end_well(task, None, payloads.kept());
    }

    fn end_well(&mut self, task: &str, outcome: Option<Outcome>, payloads: Option<Arc<Payloads>>) {
        let task = self.find(task);
        self.commit(&self.plan());
        let id = self.state.task(task).and_then(|task| task.newest_attempt()).expect("an attempt");
        let attempt = self.state.attempt(id).expect("an attempt").clone();
        let report = AttemptReport {
            attempt: id,
            token: attempt.token,
            phase: AttemptPhase::Ended,
            gone: true,
            exit: Some(Exit::Code(0)),
            message: None,
            usage: Usage::default(),
            stopped: false,
            outcome: outcome.map(Arc::new),
            silent: false,
            payloads,
        };
        self.apply(Command::ReportAttempts { node: attempt.node.clone(), epoch: attempt.epoch, reports: vec![report] });
        self.release();
    }

    /// Ends every placed or running task with `code`.
    pub(crate) fn end_all(&mut self, code: i32) {
        let runs: Vec<RunId> = self.state.unfinished_runs().collect();
        let tasks = runs.iter().flat_map(|run| self.state.tasks_of(*run));
        let live: Vec<AttemptId> = tasks
            .filter(|task| matches!(task.state, TaskState::Placed | TaskState::Running))
            .filter_map(|task| task.newest_attempt())
            .collect();
        live.into_iter().for_each(|attempt| self.report(attempt, AttemptPhase::Ended, Some(code)));
    }

    /// The task written `job/task[index]`.
    pub(crate) fn find(&self, text: &str) -> TaskId {
        let runs = self.state.runs_newest_first(None);
        let mut tasks = runs.flat_map(|run| self.state.tasks_of(run.id));
        tasks.find(|task| self.name(task.id) == text).unwrap_or_else(|| panic!("no task {text}")).id
    }

    /// `job/task[index]`.
    pub(crate) fn name(&self, task: TaskId) -> String {
        let spec = &self.state.run(task.run).expect("a run").spec;
        format!("{}/{}[{}]", spec.name, spec.tasks[task.step as usize].name, task.index)
    }

    /// What is placed and what waits, a line each.
    pub(crate) fn render(&self, plan: &Plan) -> String {
        let placed =
            plan.all_placements().map(|placement| format!("{} -> {}", self.name(placement.task), placement.node));
        let waiting = plan.explanations.iter().map(|waits| {
            let checks: Vec<String> =
                waits.checks.iter().map(|(check, nodes)| format!("{nodes} {}", check.as_str())).collect();
            let line = format!("{} waits with {}: {}", self.name(waits.first), waits.tasks - 1, checks.join(", "));
            let expected = waits.expected.as_ref();
            let nodes = |expected: &Expected| {
                let others = expected.others.iter().map(|node| format!(", {node}"));
                format!("{}{}", expected.node, others.collect::<String>())
            };
            let by = expected.map(|expected| format!(" by {} on {}", expected.by.0, nodes(expected)));
            format!("{}{}", line.trim_end_matches([':', ' ']), by.unwrap_or_default())
        });
        placed.chain(waiting).collect::<Vec<_>>().join("\n")
    }

    /// Where every task stands, a line each, runs in the order of their submission.
    pub(crate) fn tasks(&self) -> String {
        let mut runs: Vec<_> = self.state.runs_newest_first(None).collect();
        runs.reverse();
        let tasks = runs.into_iter().flat_map(|run| self.state.tasks_of(run.id));
        let lines: Vec<String> = tasks.map(|task| format!("{} {:?}", self.name(task.id), task.state)).collect();
        lines.join("\n")
    }
}

pub(crate) fn resources(cpu: &str, memory: &str) -> Resources {
    let cpu_milli = cpu.strip_suffix('m').and_then(|cpu| cpu.parse().ok()).expect("a cpu amount such as 500m");
    let (number, unit) = memory.split_at(memory.len() - 2);
    let shift = match unit {
        "Mi" => 20,
        "Gi" => 30,
        _ => panic!("a memory amount such as 512Mi or 4Gi, not {memory}"),
    };
    Resources { cpu_milli, memory_bytes: number.parse::<u64>().expect("a number") << shift, gpu_milli: 0 }
}

fn scope_of(scope: &str) -> Scope {
    match scope.split_once(' ').expect("a kind and a name") {
        ("region", name) => Scope::Region(name.parse().expect("a name")),
        (_, name) => Scope::Cluster(name.parse().expect("a name")),
    }
}

pub(crate) fn node_name(name: &str) -> NodeName {
    name.parse().expect("a name")
}

pub(crate) fn namespace() -> Namespace {
    Namespace::new("default").expect("a name")
}
