//! Histories made by hand: what the product would do, and what it must never do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_state::{
    AttemptClaim, AttemptId, AttemptPhase, AttemptReport, Change, Choice, Command, Digest, Driver, Entry, Exit,
    GpuHold, GpuModel, Item, JobSpec, LeaseTerms, Millis, Node, OnFailure, OnNodeLoss, Place, Placement, Principal,
    Registration, Resources, Retry, Revision, Role, RunId, Settings, Stamp, State, TaskId, TaskSpec, Uuid, apply,
};

use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::{Ledger, Step};
use crate::scenario::{AgentPlan, ClockPlan, Gpus, Kind, Network, RackPlan, Scenario, Tunables};

/// The lease of every node.
const LEASE: LeaseTerms =
    LeaseTerms { server_ms: 15_000, agent_ms: 9_000, kill_ms: 3_000, margin_ms: 1_000, rho_ppm: 1_000 };

/// A history as it grows: nodes `n1` and so on, with 1000m cpu each, in cluster `c1` of region `eu`.
pub(crate) struct Hand {
    pub(crate) scenario: Scenario,
    pub(crate) healed: Option<Duration>,
    /// Since when each node has reached no quorum.
    pub(crate) silences: Vec<Option<Duration>>,
    pub(crate) state: State,
    revision: u64,
    ms: u64,
    ledger: Ledger,
    told: Vec<Told>,
}

enum Told {
    Step(Box<Step>),
    Fact(Duration, Box<Fact>),
}

impl Hand {
    /// A cluster of so many nodes that have all registered.
    pub(crate) fn new(nodes: usize) -> Self {
        let agent = |number: usize| AgentPlan {
            node: format!("n{number}"),
            cluster: "c1".into(),
            cpu_milli: 1_000,
            memory_bytes: 1 << 30,
            start_ms: 1,
            kill_ms: 1,
            pool: None,
            ground: Default::default(),
            zone: None,
            gpus: Gpus::default(),
        };
        let clock = ClockPlan { booted_before_ms: 0, wall_ahead_ms: 0, drift_ppm: 0 };
        let rack = |number| RackPlan { region: "eu".into(), clock, agents: vec![agent(number)] };
        let scenario = Scenario {
            seed: 1,
            kind: Kind::Swarm,
            classes: vec![],
            network: Network { tick_ms: 1, latency_ms: (1, 2), region_latency_ms: (1, 2) },
            settings: Tunables {
                heartbeat_ms: 50,
                election_ms: (150, 300),
                snapshot_entries: 50,
                keep_entries: 10,
                snapshot_chunk_bytes: 1_024,
                digest_every: 50,
                lease_server_ms: LEASE.server_ms,
                lease_agent_ms: LEASE.agent_ms,
                lease_kill_ms: LEASE.kill_ms,
                lease_margin_ms: LEASE.margin_ms,
                lease_rho_ppm: LEASE.rho_ppm,
                node_losses_max: 2,
                unknown_ms_max: 60_000,
                event_revisions_max: 1_000,
                memory_runs_max: None,
                preempts: None,
                stop_grace_ms: 5_000,
                ready_ahead: None,
            },
            replicas: vec![],
            racks: (1..=nodes).map(rack).collect(),
            sessions: vec![],
            rebalances: vec![],
            reservations: vec![],
            faults: vec![],
            spares_quorum: false,
            heal_ms: 0,
            end_ms: 0,
        };
        let mut hand = Self {
            scenario,
            healed: None,
            silences: vec![],
            state: State::default(),
            revision: 0,
            ms: 0,
            ledger: Ledger::new(0),
            told: vec![],
        };
        let settings = Box::new(Settings { lease: LEASE, node_losses_max: 2, ..Settings::default() });
        hand.commit(Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings });
        hand.commit(Command::CreateNamespace { namespace: "acme".parse().unwrap() });
        for number in 1..=nodes {
            let node = format!("n{number}");
            hand.fact(Fact::AgentStarted { node: node.parse().unwrap() });
            hand.register(&node, vec![]);
        }
        hand
    }

    /// What was said so far is of the life before: this one begins now.
    pub(crate) fn restore(&mut self) {
        self.ledger = Ledger::of_life(self.revision + 1);
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.ms += ms;
    }

    /// What the product does with a command, which it carries out.
    pub(crate) fn commit(&mut self, command: Command) {
        self.offer(command);
        self.twist(|step| assert!(step.replies.iter().all(Result::is_ok), "{:?}", step.replies));
    }

    /// What the product does with a command that it may refuse.
    pub(crate) fn offer(&mut self, command: Command) {
        let item = Item { principal: Principal::controller(), request: None, command };
        let stamp = Stamp { wall: Millis(1_000_000 + self.ms), term: 1, elapsed_ms: self.ms };
        let entry = Entry { stamp, items: vec![item] };
        let applied = apply(&self.state, Revision(self.revision + 1), &entry);
        let (after, changes) = (applied.next, applied.changes);
        self.push(|step| Step {
            entry: Some(entry),
            after,
            changes,
            events: applied.events,
            replies: applied.replies,
            ..step
        });
    }

    /// Rows that the product would not write.
    pub(crate) fn forge(&mut self, changes: Vec<Change>) {
        let mut after = self.state.clone();
        changes.iter().for_each(|change| after.commit(change));
        self.push(|step| Step { after, changes, ..step });
    }

    fn push(&mut self, fill: impl FnOnce(Step) -> Step) {
        self.revision += 1;
        self.ms += 1;
        let step = fill(Step {
            at: Duration::from_millis(self.ms),
            index: self.revision,
            term: 1,
            revision: Revision(self.revision),
            entry: None,
            before: self.state.clone(),
            after: State::default(),
            held: State::default(),
            changes: vec![],
            events: vec![],
            replies: vec![],
        });
        // What is told by hand is never archived.
        let step = Step { held: step.after.clone(), ..step };
        self.state = step.after.clone();
        self.told.push(Told::Step(Box::new(step)));
    }

    /// Changes the newest step after the event.
    pub(crate) fn twist(&mut self, edit: impl FnOnce(&mut Step)) {
        match self.told.last_mut() {
            Some(Told::Step(step)) => edit(step),
            Some(Told::Fact(..)) | None => panic!("the newest thing is no step"),
        }
    }

    /// What was committed, in order, from revision 1 on.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.told.iter().filter_map(|told| match told {
            Told::Step(step) => Some(&**step),
            Told::Fact(..) => None,
        })
    }

    /// Something happens outside of the log.
    pub(crate) fn fact(&mut self, fact: Fact) {
        self.ms += 1;
        self.told.push(Told::Fact(Duration::from_millis(self.ms), Box::new(fact)));
    }

    /// What `oracle`, told of all this, has to say in the end.
    pub(crate) fn judge(&self, mut oracle: impl Oracle) -> Verdict {
        self.judge_with(&mut oracle)
    }

    /// See [`Hand::judge`].
    pub(crate) fn judge_with(&self, oracle: &mut dyn Oracle) -> Verdict {
        let known = Known {
            scenario: &self.scenario,
            ledger: &self.ledger,
            healed: self.healed,
            stalls: &[],
            silences: &self.silences,
            fit: &[],
            rooms: &[],
        };
        for told in &self.told {
            match told {
                Told::Step(step) => oracle.step(step, &known)?,
                Told::Fact(at, fact) => oracle.fact(*at, fact, &known)?,
            }
        }
        oracle.end(Duration::from_millis(self.ms + 1), &known)
    }

    /// An agent arrives, or comes back with what it has.
    pub(crate) fn register(&mut self, node: &str, attempts: Vec<AttemptClaim>) {
        self.register_with(node, 1_000, attempts);
    }

    /// An agent arrives that has nothing, on a machine with these GPUs.
    pub(crate) fn register_gpus(&mut self, node: &str, count: u32, model: &str) {
        for agent in self.scenario.racks.iter_mut().flat_map(|rack| &mut rack.agents) {
            if agent.node == node {
                agent.gpus = Gpus { count, model: model.to_owned() };
            }
        }
        self.register_machine(node, 1_000, (0..count).map(|_| model.parse().unwrap()).collect(), vec![]);
    }

    /// The same, and says how much of a processor it has.
    pub(crate) fn register_with(&mut self, node: &str, cpu_milli: u64, attempts: Vec<AttemptClaim>) {
        self.register_machine(node, cpu_milli, vec![], attempts);
    }

    fn register_machine(&mut self, node: &str, cpu_milli: u64, gpus: Vec<GpuModel>, attempts: Vec<AttemptClaim>) {
        let seen = Revision(self.revision);
        let number: u128 = node[1..].parse().unwrap();
        self.commit(Command::RegisterNode(Box::new(Registration {
            gpus: gpus.into(),
            node: node.parse().unwrap(),
            uuid: Uuid(number),
            journal: Uuid(number),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: "eu".parse().unwrap(),
            cluster: "c1".parse().unwrap(),
            capacity: Resources { cpu_milli, memory_bytes: 1 << 30, gpu_milli: 0 },
            labels: BTreeMap::new(),
            offer: Arc::default(),
            attempts,
            seen,
        })));
    }

    /// Leases of nodes end.
    pub(crate) fn expire(&mut self, nodes: &[&str]) {
        let leases = nodes.iter().map(|node| (node.parse().unwrap(), self.node(node).epoch)).collect();
        self.commit(Command::ExpireLeases { leases });
    }

    /// A job is accepted; its only run.
    pub(crate) fn submit(&mut self, on_failure: OnFailure, tasks: Vec<TaskSpec>) -> RunId {
        self.submit_at(50, on_failure, tasks)
    }

    /// The same, with a priority.
    pub(crate) fn submit_at(&mut self, priority: u8, on_failure: OnFailure, tasks: Vec<TaskSpec>) -> RunId {
        self.submit_spec(JobSpec { priority, on_failure, tasks, ..self.bare_spec() })
    }

    /// The same, whose runs must not take longer.
    pub(crate) fn submit_timed(&mut self, timeout_ms: u64, tasks: Vec<TaskSpec>) -> RunId {
        self.submit_spec(JobSpec { timeout_ms: Some(timeout_ms), tasks, ..self.bare_spec() })
    }

    /// A spec without tasks, under a name of its own.
    pub(crate) fn bare_spec(&self) -> JobSpec {
        JobSpec {
            namespace: "acme".parse().unwrap(),
            name: format!("job{}", self.revision).parse().unwrap(),
            priority: 50,
            labels: BTreeMap::new(),
            on_failure: OnFailure::Finish,
            timeout_ms: None,
            params: BTreeMap::new(),
            result: BTreeMap::new(),
            tasks: vec![],
        }
    }

    /// A job of this spec is accepted; its only run.
    pub(crate) fn submit_spec(&mut self, spec: JobSpec) -> RunId {
        let run = RunId(self.revision);
        self.commit(Command::SubmitJob { run, spec: Arc::new(spec), spec_digest: Digest([1; 32]) });
        run
    }

    /// A job of one task.
    pub(crate) fn submit_one(&mut self, promise: OnNodeLoss) -> TaskId {
        let attempts = if promise == OnNodeLoss::AtMostOnce { 1 } else { 2 };
        let mut spec = task("a", &[]);
        spec.on_node_loss = promise;
        spec.retry.attempts = attempts;
        TaskId { run: self.submit(OnFailure::Finish, vec![spec]), step: 0, index: 0 }
    }

    /// A task is placed.
    pub(crate) fn place(&mut self, task: TaskId, node: &str) -> AttemptId {
        self.offer_place(task, node);
        let attempt = self.state.task(task).unwrap().newest_attempt().unwrap();
        assert_eq!(self.state.attempt(attempt).unwrap().token.0, self.revision, "it was placed");
        attempt
    }

    /// A task is placed if it fits.
    pub(crate) fn offer_place(&mut self, task: TaskId, node: &str) {
        self.offer_place_on(task, node, GpuHold::NONE);
    }

    /// The same, with these devices.
    pub(crate) fn offer_place_on(&mut self, task: TaskId, node: &str, gpus: GpuHold) {
        let generation = self.state.task(task).unwrap().generation;
        let epoch = self.node(node).epoch;
        let placement = Placement { choice: Choice::FIRST, gpus, task, generation, node: node.parse().unwrap(), epoch };
        self.commit(Command::CommitPlan { placements: vec![placement] });
    }

    /// The node of an attempt reports it.
    pub(crate) fn report(&mut self, attempt: AttemptId, phase: AttemptPhase, code: Option<i32>) {
        let row = self.state.attempt(attempt).unwrap();
        let report = AttemptReport {
            attempt,
            token: row.token,
            phase,
            gone: phase == AttemptPhase::Ended,
            exit: code.map(Exit::Code),
            message: None,
            usage: quorate_state::Usage::default(),
            stopped: row.stop.is_some(),
            outcome: None,
            silent: false,
            payloads: None,
        };
        let (node, epoch) = (row.node.clone(), self.node(row.node.as_str()).epoch);
        self.commit(Command::ReportAttempts { node, epoch, reports: vec![report] });
    }

    /// The executor of an attempt's node says so.
    pub(crate) fn executor(&mut self, attempt: AttemptId, what: Happening) {
        let row = self.state.attempt(attempt).unwrap();
        self.executor_told(attempt, what, row.gpus);
    }

    /// The same, of an attempt that was told to use these devices.
    pub(crate) fn executor_told(&mut self, attempt: AttemptId, what: Happening, gpus: GpuHold) {
        let row = self.state.attempt(attempt).unwrap();
        let (node, token) = (row.node.clone(), row.token);
        let spec = &self.state.run(attempt.task.run).unwrap().spec;
        let promise = spec.tasks[attempt.task.step as usize].on_node_loss;
        self.fact(Fact::Execution(Execution { node, attempt, token, promise, words: None, gpus, what }));
    }

    /// It runs, and that is known.
    pub(crate) fn runs(&mut self, attempt: AttemptId) {
        self.executor(attempt, Happening::Started);
        self.report(attempt, AttemptPhase::Running, None);
    }

    /// It ends, asked where it is to stop, and that is known.
    pub(crate) fn ends(&mut self, attempt: AttemptId, code: i32) {
        if self.state.attempt(attempt).is_some_and(|row| row.stop.is_some()) {
            self.executor(attempt, Happening::Asked);
        }
        self.executor(attempt, Happening::Ended { exit: Some(Exit::Code(code)) });
        self.report(attempt, AttemptPhase::Ended, Some(code));
    }

    /// Every timer that is due fires.
    pub(crate) fn fire(&mut self) {
        self.commit(Command::FireTimers { timers: vec![] });
        let timers = self.state.timers().collect();
        self.commit(Command::FireTimers { timers });
    }

    /// The workflow controller has done all it can.
    pub(crate) fn advance(&mut self, run: RunId) {
        let steps = self.state.run(run).unwrap().graph.steps();
        (0..steps).for_each(|step| self.commit(Command::AdvanceStep { run, step, limit: 100 }));
        self.commit(Command::FinishRun { run });
    }

    /// A node's row.
    pub(crate) fn node(&self, node: &str) -> Arc<Node> {
        self.state.node(&node.parse().unwrap()).unwrap().clone()
    }
}

/// A task that takes 600m cpu: a node holds one of them.
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
        resources: Resources { cpu_milli: 600, memory_bytes: 1 << 20, gpu_milli: 0 },
        retry: Retry { jitter_milli: 0, ..Retry::default() },
        run_timeout_ms: None,
        queued_timeout_ms: None,
        silent_timeout_ms: None,
        place: Place::default(),
        on_node_loss: OnNodeLoss::AtLeastOnce,
        role: Role::Work,
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
