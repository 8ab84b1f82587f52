//! The model test: random histories of commands, valid and not, against everything that must hold.
//!
//! After every entry the state is checked from scratch, the rows alone must rebuild it, terminal
//! states must absorb, and a cancelled run must get no further placement.

#[path = "model/alternatives.rs"]
mod alternatives;
#[path = "model/company.rs"]
mod company;
#[path = "model/constraints.rs"]
mod constraints;
#[path = "model/control.rs"]
mod control;
#[path = "model/events.rs"]
mod events;
#[path = "model/gangs.rs"]
mod gangs;
#[path = "model/gpus.rs"]
mod gpus;
#[path = "model/namespaces.rs"]
mod namespaces;
#[path = "model/preemption.rs"]
mod preemption;
#[path = "model/rebalance.rs"]
mod rebalance;
#[path = "model/report.rs"]
mod report;
#[path = "model/reservations.rs"]
mod reservations;
#[path = "model/rows.rs"]
mod rows;
#[path = "model/scopes.rs"]
mod scopes;
#[path = "model/service.rs"]
mod service;
#[path = "model/sub_runs.rs"]
mod sub_runs;
#[path = "model/words.rs"]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use quorate_state::{
    AttemptClaim, AttemptState, Change, Choice, Command, Digest, Driver, Entry, Feature, Item, JobName, JobSpec,
    Millis, NodeName, NodeStatus, OnFailure, OnNodeLoss, Place, Placement, PlacementOutcome, Principal, Registration,
    Reply, RequestId, RequestKey, Resources, Retry, Revision, Role, RunId, Settings, Stamp, State, TaskId, TaskName,
    TaskSpec, Timer, Uuid, apply,
};

/// One step of a random history; numbers choose among what exists when it is carried out.
#[derive(Clone, Debug)]
enum Step {
    Submit { shape: usize, run: u64, request: Option<u8> },
    Cancel { pick: usize },
    Annotate { pick: usize, key: u8, value: u8 },
    Pause { pick: usize, paused: bool },
    Priority { pick: usize, priority: u8 },
    Advance { pick: usize, limit: u32 },
    Finish { pick: usize },
    SubRun { pick: usize, run: u64, flawed: bool, stale: bool },
    Place { picks: Vec<(usize, usize)>, stale: bool },
    Gang { pick: usize, nodes: [usize; 3], short: bool, stale: bool },
    Report { pick: usize, phase: u8, code: i32, gone: bool, wrong_token: bool },
    Register { node: usize, keep: bool, same_journal: bool },
    Expire { node: usize },
    Fire { all: bool },
    Release { pick: usize },
    Cordon { node: usize, cordoned: bool },
    Drain { node: usize, wait_ms: u64 },
    Maintain { node: usize, wait_ms: u64, for_ms: u64 },
    EndDrains { early: bool },
    Evict { picks: Vec<usize> },
    Forget { node: usize },
    Scope(scopes::Said),
    Token { made: bool, secret: u8, uses_max: u32 },
    Admission { token: bool },
    Say(namespaces::Said),
    Prefer(preemption::Policy),
    Preempt { pick: usize, node: usize, victims: Vec<usize>, stale: bool },
    PreemptForGang { pick: usize, nodes: Vec<usize>, stale: bool },
    EndClaims,
    Rebalance(rebalance::Said),
    Reserve(reservations::Said),
    Enable { asked_in: u64 },
    Wait { ms: u64, new_term: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..11_usize, 0..6_u64, proptest::option::of(0..3_u8)).prop_map(|(shape, run, request)| Step::Submit { shape, run, request }),
        1 => any::<usize>().prop_map(|pick| Step::Cancel { pick }),
        1 => (any::<usize>(), 0..4_u8, any::<u8>()).prop_map(|(pick, key, value)| Step::Annotate { pick, key, value }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(pick, paused)| Step::Pause { pick, paused }),
        1 => (any::<usize>(), 0..110_u8).prop_map(|(pick, priority)| Step::Priority { pick, priority }),
        4 => (any::<usize>(), 1..4_u32).prop_map(|(pick, limit)| Step::Advance { pick, limit }),
        2 => any::<usize>().prop_map(|pick| Step::Finish { pick }),
        5 => (any::<usize>(), 0..500_u64, prop::bool::weighted(0.1), prop::bool::weighted(0.1))
            .prop_map(|(pick, run, flawed, stale)| Step::SubRun { pick, run, flawed, stale }),
        6 => (proptest::collection::vec((any::<usize>(), any::<usize>()), 1..4), prop::bool::weighted(0.1)).prop_map(|(picks, stale)| Step::Place { picks, stale }),
        4 => (any::<usize>(), [0..3_usize, 0..3, 0..3], prop::bool::weighted(0.1), prop::bool::weighted(0.1))
            .prop_map(|(pick, nodes, short, stale)| Step::Gang { pick, nodes, short, stale }),
        10 => (any::<usize>(), 0..6_u8, 0..3_i32, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(pick, phase, code, gone, wrong_token)| Step::Report { pick, phase, code, gone, wrong_token }),
        2 => (0..3_usize, any::<bool>(), any::<bool>()).prop_map(|(node, keep, same_journal)| Step::Register { node, keep, same_journal }),
        1 => (0..3_usize).prop_map(|node| Step::Expire { node }),
        2 => any::<bool>().prop_map(|all| Step::Fire { all }),
        1 => any::<usize>().prop_map(|pick| Step::Release { pick }),
        1 => (0..3_usize, any::<bool>()).prop_map(|(node, cordoned)| Step::Cordon { node, cordoned }),
        1 => (0..3_usize, 0..20_000_u64).prop_map(|(node, wait_ms)| Step::Drain { node, wait_ms }),
        1 => (0..3_usize, 0..10_000_u64, 0..20_000_u64).prop_map(|(node, wait_ms, for_ms)| Step::Maintain { node, wait_ms, for_ms }),
        2 => prop::bool::weighted(0.2).prop_map(|early| Step::EndDrains { early }),
        2 => proptest::collection::vec(any::<usize>(), 1..3).prop_map(|picks| Step::Evict { picks }),
        1 => (0..3_usize).prop_map(|node| Step::Forget { node }),
        3 => scopes::said().prop_map(Step::Scope),
        1 => (any::<bool>(), 0..3_u8, 1..3_u32).prop_map(|(made, secret, uses_max)| Step::Token { made, secret, uses_max }),
        1 => any::<bool>().prop_map(|token| Step::Admission { token }),
        6 => namespaces::said().prop_map(Step::Say),
        2 => preemption::policy().prop_map(Step::Prefer),
        8 => (any::<usize>(), 0..3_usize, proptest::collection::vec(any::<usize>(), 1..4), prop::bool::weighted(0.1))
            .prop_map(|(pick, node, victims, stale)| Step::Preempt { pick, node, victims, stale }),
        8 => (any::<usize>(), proptest::collection::vec(any::<usize>(), 1..4), prop::bool::weighted(0.1))
            .prop_map(|(pick, nodes, stale)| Step::PreemptForGang { pick, nodes, stale }),
        2 => Just(Step::EndClaims),
        8 => rebalance::said().prop_map(Step::Rebalance),
        4 => reservations::said().prop_map(Step::Reserve),
        6 => (0..3_u64).prop_map(|asked_in| Step::Enable { asked_in }),
        2 => (0..30_000_u64, prop::bool::weighted(0.2)).prop_map(|(ms, new_term)| Step::Wait { ms, new_term }),
    ]
}

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

fn task(text: &str, needs: &[&str], count: u32, cpu: u64, promise: OnNodeLoss) -> TaskSpec {
    let attempts = if promise == OnNodeLoss::AtMostOnce { 1 } else { 2 };
    TaskSpec {
        gpu_models: vec![],
        alternatives: vec![],
        name: name(text),
        driver: Driver::Process,
        argv: vec!["true".into()],
        env: BTreeMap::new(),
        needs: needs.iter().map(|need| name::<TaskName>(need)).collect(),
        count,
        resources: Resources { cpu_milli: cpu, memory_bytes: 1 << 20, gpu_milli: 0 },
        retry: Retry { attempts, never: vec![2], ..Retry::default() },
        run_timeout_ms: Some(10_000),
        queued_timeout_ms: None,
        silent_timeout_ms: None,
        place: Place::default(),
        on_node_loss: promise,
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

fn spec(shape: usize) -> JobSpec {
    let (a, b, c) = (OnNodeLoss::AtLeastOnce, OnNodeLoss::Fenced, OnNodeLoss::AtMostOnce);
    let tasks = match shape {
        0 => vec![task("one", &[], 1, 500, a), constraints::choosy("choosy", 2)],
        1 => vec![
            task("left", &[], 2, 400, a),
            task("right", &[], 1, 400, b),
            task("join", &["left", "right"], 3, 300, c),
        ],
        2 => vec![task("z", &["y"], 1, 100, a), task("y", &["x"], 2, 900, b), task("x", &[], 2, 900, a)],
        5 | 6 => return sub_runs::with_sub_runs(shape),
        7 | 8 => return gangs::with_gangs(shape),
        9 => company::social(),
        10 => vec![alternatives::torn("torn", 3), task("after", &["torn"], 1, 100, a)],
        3 => vec![task("once", &[], 2, 700, c), task("after", &["once"], 1, 100, a), constraints::picky("picky", 2)],
        _ => vec![task("fenced", &[], 3, 600, b), gpus::sharing("shares", 3, 400), gpus::sharing("whole", 2, 2_000)],
    };
    JobSpec {
        namespace: name(if shape == 0 || shape == 3 { "beta" } else { "acme" }),
        name: JobName::new(&format!("job-{shape}")).unwrap(),
        priority: 50,
        labels: BTreeMap::new(),
        on_failure: if shape == 1 { OnFailure::Cancel } else { OnFailure::Finish },
        timeout_ms: None,
        tasks,
        params: std::collections::BTreeMap::new(),
        result: std::collections::BTreeMap::new(),
    }
}

/// Carries steps out and holds what the properties need to remember.
struct World {
    state: State,
    rebuilt_from: Vec<Change>,
    revision: u64,
    term: u64,
    elapsed: u64,
    cancelled_at: BTreeMap<RunId, Revision>,
    ended: BTreeMap<quorate_state::AttemptId, AttemptState>,
    /// Attempts whose node came back with another journal.
    given_up: BTreeSet<quorate_state::AttemptId>,
    /// From when on attempts cannot run any more, for their lease is over.
    dead_at: BTreeMap<quorate_state::AttemptId, u64>,
    answers: BTreeMap<u8, (usize, quorate_state::Reply)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            state: State::default(),
            rebuilt_from: Vec::new(),
            revision: 0,
            term: 1,
            elapsed: 0,
            cancelled_at: BTreeMap::new(),
            ended: BTreeMap::new(),
            given_up: BTreeSet::new(),
            dead_at: BTreeMap::new(),
            answers: BTreeMap::new(),
        };
        let settings = Box::new(Settings { node_losses_max: 3, annotations_per_run_max: 2, ..Settings::default() });
        world.run(None, Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings }).unwrap();
        world.make_namespaces();
        world
    }

    fn run(
        &mut self,
        request: Option<RequestKey>,
        command: Command,
    ) -> Result<quorate_state::Reply, quorate_state::Rejection> {
        self.revision += 1;
        let stamp = Stamp { wall: Millis(self.elapsed), term: self.term, elapsed_ms: self.elapsed };
        let item = Item { principal: Principal::anonymous_local(), request, command };
        let before = self.state.clone();
        let applied = apply(&before, Revision(self.revision), &Entry { stamp, items: vec![item] });
        self.state = applied.next;
        self.rebuilt_from.extend(applied.changes);
        self.check_events(&applied.events.into_iter().map(|row| row.event).collect::<Vec<_>>());
        applied.replies.into_iter().next().unwrap()
    }

    fn check(&self) {
        assert_eq!(self.state.check(), Vec::<String>::new());
        for attempt in &self.given_up {
            assert!(
                self.is_dead(*attempt) || !self.state.attempt(*attempt).unwrap().gone,
                "{attempt:?} is called gone by nobody"
            );
        }
        for run in self.state.unfinished_runs() {
            for task in self.state.tasks_of(run) {
                let promise = self.state.run(run).unwrap().spec.tasks[task.id.step as usize].on_node_loss;
                let attempts: Vec<_> = self.state.attempts_of(task.id).collect();
                // P2d.
                assert!(promise != OnNodeLoss::AtMostOnce || attempts.len() <= 1, "at_most_once started twice");
                // P9.
                assert!(task.tries <= 2 && task.losses <= 4, "{task:?}");
            }
        }
    }

    fn carry_out(&mut self, step: &Step) {
        match step {
            Step::Submit { shape, run, request } => self.submit(*shape, *run, *request),
            Step::Cancel { pick } => {
                if let Some(run) = self.pick_run(*pick) {
                    self.run(None, Command::CancelRun { run }).unwrap();
                }
            }
            Step::Annotate { pick, key, value } => {
                if let Some(run) = self.pick_run(*pick) {
                    self.annotate(run, *key, *value);
                }
            }
            Step::Pause { pick, paused } => {
                if let Some(run) = self.pick_run(*pick) {
                    self.pause(run, *paused);
                }
            }
            Step::Priority { pick, priority } => {
                if let Some(run) = self.pick_run(*pick) {
                    self.set_priority(run, *priority);
                }
            }
            Step::Advance { pick, limit } => {
                let due: Vec<_> = self.state.steps_to_advance().collect();
                if let Some((run, step)) = due.get(pick % due.len().max(1)).copied() {
                    let reply = self.run(None, Command::AdvanceStep { run, step, limit: *limit }).unwrap();
                    assert_ne!(reply, quorate_state::Reply::Counted(0), "the index named a step that cannot move");
                }
            }
            Step::Finish { pick } => {
                if let Some(run) = self.pick_run(*pick) {
                    self.end_run(run);
                }
            }
            Step::SubRun { pick, run, flawed, stale } => self.start_sub_run(*pick, *run, *flawed, *stale),
            Step::Place { picks, stale } => self.place(picks, *stale),
            Step::Gang { pick, nodes, short, stale } => self.place_gang(*pick, nodes, *short, *stale),
            Step::Report { pick, phase, code, gone, wrong_token } => {
                self.report(*pick, *phase, *code, *gone, *wrong_token)
            }
            Step::Register { node, keep, same_journal } => self.register(*node, *keep, *same_journal),
            Step::Expire { node } => self.expire(*node),
            Step::Fire { all } => {
                let timers: Vec<Timer> = self.state.timers().take(if *all { usize::MAX } else { 1 }).collect();
                self.run(None, Command::FireTimers { timers }).unwrap();
            }
            Step::Release { pick } => self.release(*pick),
            Step::Cordon { node, cordoned } => self.cordon(&name(&format!("node-{node}")), *cordoned),
            Step::Drain { node, wait_ms } => self.drain(&name(&format!("node-{node}")), *wait_ms),
            Step::Maintain { node, wait_ms, for_ms } => {
                self.maintain(&name(&format!("node-{node}")), *wait_ms, *for_ms)
            }
            Step::EndDrains { early } => self.end_drains(*early),
            Step::Evict { picks } => self.evict(picks),
            Step::Scope(said) => self.say_of_scope(*said),
            Step::Forget { node } => self.forget(&name(&format!("node-{node}"))),
            Step::Token { made, secret, uses_max } => self.token(*made, *secret, *uses_max),
            Step::Admission { token } => self.admission(*token),
            Step::Say(said) => self.say(said),
            Step::Prefer(policy) => self.prefer(policy),
            Step::Preempt { pick, node, victims, stale } => self.preempt(*pick, *node, victims, *stale),
            Step::PreemptForGang { pick, nodes, stale } => self.preempt_for_gang(*pick, nodes, *stale),
            Step::EndClaims => self.end_claims(),
            Step::Rebalance(said) => self.rebalance(said),
            Step::Reserve(said) => self.reserve(said),
            Step::Enable { asked_in } => self.enable(*asked_in),
            Step::Wait { ms, new_term } => {
                if *new_term {
                    self.term += 1;
                    self.elapsed = 0;
                }
                self.elapsed += ms;
                self.run(None, Command::FireTimers { timers: vec![] }).unwrap();
            }
        }
    }

    fn submit(&mut self, shape: usize, run: u64, request: Option<u8>) {
        let digest = Digest([u8::try_from(shape).unwrap(); 32]);
        let command = Command::SubmitJob { run: RunId(run), spec: Arc::new(spec(shape)), spec_digest: digest };
        let key = request.map(|id| RequestKey {
            id: RequestId(format!("request-{id}").into()),
            namespace: Some(name("acme")),
            digest,
        });
        let runs_before = self.state.runs_newest_first(None).count();
        let result = self.run(key, command);
        let runs_after = self.state.runs_newest_first(None).count();
        match (request.and_then(|id| self.answers.get(&id).cloned()), result) {
            (Some((seen, reply)), Ok(again)) => {
                // Either the id was still remembered, or its window had passed and this is a new run.
                if runs_before == runs_after {
                    assert_eq!((seen, reply), (shape, again), "the same request gave another answer");
                } else {
                    self.answers.insert(request.unwrap(), (shape, again));
                }
            }
            (None, Ok(reply)) => {
                assert_eq!(runs_after, runs_before + 1);
                if let Some(id) = request {
                    self.answers.insert(id, (shape, reply));
                }
            }
            (_, Err(_)) => assert_eq!(runs_before, runs_after, "a refused submit left a run"),
        }
    }

    fn pick_run(&self, pick: usize) -> Option<RunId> {
        let runs: Vec<RunId> = self.state.runs_newest_first(None).map(|run| run.id).collect();
        runs.get(pick % runs.len().max(1)).copied()
    }

    fn place(&mut self, picks: &[(usize, usize)], stale: bool) {
        let ready: Vec<TaskId> = self.state.ready().map(|place| place.task).chain(self.aside()).collect();
        let nodes: Vec<_> = self.state.nodes().cloned().collect();
        if ready.is_empty() || nodes.is_empty() {
            return;
        }
        let placements: Vec<Placement> = picks
            .iter()
            .map(|(task, node)| {
                let task = ready[task % ready.len()];
                let node = &nodes[node % nodes.len()];
                let generation = self.state.task(task).unwrap().generation.wrapping_sub(u32::from(stale));
                let (choice, gpus) = self.choose_for(task, node, generation);
                Placement { task, generation, node: node.name.clone(), epoch: node.epoch, gpus, choice }
            })
            .collect();
        let before = self.state.clone();
        let tasks: Vec<TaskId> = placements.iter().map(|placement| placement.task).collect();
        let needs_more = placements.iter().any(|placement| placement.choice != Choice::FIRST)
            && !before.has_feature(Feature::ResourceAlternatives);
        let reply = self.run(None, Command::CommitPlan { placements });
        if needs_more {
            assert!(reply.is_err(), "{reply:?}");
            return;
        }
        let Ok(Reply::PlanCommitted(outcomes)) = reply else { panic!("{reply:?}") };
        self.check_quota(&before);
        self.check_choices();
        for (task, outcome) in tasks.iter().zip(outcomes) {
            if let PlacementOutcome::Placed(token) = outcome {
                assert!(before.run(task.run).unwrap().paused.is_none(), "something of a paused run was placed");
                assert!(!stale, "a placement planned on an old generation was accepted");
                assert_eq!(token.0, self.revision);
                self.check_fence(&before, *task);
            }
        }
    }

    /// P2b as far as the log knows: a `fenced` task is placed again only when its last copy is
    /// confirmed gone, or its node's lease, and the kill bound after it, are over.
    fn check_fence(&self, before: &State, task: TaskId) {
        let promise = before.run(task.run).unwrap().spec.tasks[task.step as usize].on_node_loss;
        let Some(earlier) = before.attempts_of(task).last().filter(|_| promise == OnNodeLoss::Fenced) else { return };
        assert!(
            earlier.gone || self.is_dead(earlier.id),
            "a fenced task was placed again while its copy may run: {earlier:?}"
        );
    }

    fn register(&mut self, node: usize, keep: bool, same_journal: bool) {
        let text: NodeName = name(&format!("node-{node}"));
        let held = self.state.attempts_on(&text).filter(|_| keep);
        let attempts: Vec<AttemptClaim> =
            held.map(|it| AttemptClaim { attempt: it.id, token: it.token, gpus: it.gpus, choice: it.choice }).collect();
        let journal = Uuid(if same_journal { 7 } else { u128::from(self.revision) });
        if self.may_arrive(&text, Uuid(node as u128)) {
            self.note_journal(&text, journal, keep);
        }
        let registration = Registration {
            gpus: gpus::models(&self.state, node),
            node: text,
            uuid: Uuid(node as u128),
            journal,
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: name("eu"),
            cluster: name("eu-a"),
            capacity: Resources { cpu_milli: 1_000, memory_bytes: 1 << 30, gpu_milli: 0 },
            labels: BTreeMap::new(),
            offer: constraints::offer(&self.state, node),
            attempts,
            seen: Revision(if keep { self.revision / 2 } else { self.revision }),
        };
        self.arrive(Box::new(registration));
    }

    /// A node comes back: with `keep` it claims all that it holds. What it does not claim and another
    /// journal had may run on for as long as its lease could last.
    fn note_journal(&mut self, node: &NodeName, journal: Uuid, keep: bool) {
        let Some(row) = self.state.node(node) else { return };
        let may_last = match row.status {
            NodeStatus::Up => self.state.meta().served.0 + row.lease.server_ms,
            NodeStatus::Lost { at } => at.0,
        };
        for attempt in self.state.attempts_on(node) {
            if keep && self.given_up.contains(&attempt.id) && row.journal == journal {
                // Nobody but the journal that had it can claim it.
            } else if keep {
                self.given_up.remove(&attempt.id);
                // What is left of it after that instant is not the copy any more.
                if !self.is_dead(attempt.id) {
                    self.dead_at.remove(&attempt.id);
                }
            } else if row.journal != journal {
                self.given_up.insert(attempt.id);
                self.dead_at.entry(attempt.id).or_insert(may_last + row.lease.kill_ms);
            }
        }
    }

    fn expire(&mut self, node: usize) {
        let Some(node) = self.state.nodes().nth(node).cloned() else { return };
        if node.status == NodeStatus::Up {
            let dead_at = self.state.meta().served.0 + node.lease.kill_ms;
            for attempt in self.state.attempts_on(&node.name) {
                self.dead_at.entry(attempt.id).or_insert(dead_at);
            }
        }
        self.run(None, Command::ExpireLeases { leases: vec![(node.name.clone(), node.epoch)] }).unwrap();
    }

    fn is_dead(&self, attempt: quorate_state::AttemptId) -> bool {
        self.dead_at.get(&attempt).is_some_and(|at| *at <= self.state.meta().served.0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_every_property(steps in proptest::collection::vec(step(), 1..120), grown: bool) {
        let mut world = World::new();
        if grown {
            world.grow();
        }
        for node in 0..3 {
            world.register(node, false, true);
        }
        for step in &steps {
            world.carry_out(step);
            world.check();
        }
        world.check_rebuild();
    }

    /// L4 without faults: whatever happened, a fair leader and willing agents end every run.
    #[test]
    fn every_history_can_be_brought_to_its_end(steps in proptest::collection::vec(step(), 1..60), grown: bool) {
        let mut world = World::new();
        if grown {
            world.grow();
        }
        for step in &steps {
            world.carry_out(step);
        }
        for node in 0..3 {
            world.cordon(&name(&format!("node-{node}")), false);
        }
        world.restore_scopes();
        world.end_reservations();
        world.admission(false);
        world.resume_all();
        for _ in 0..400 {
            for node in 0..3 {
                let up = world.state.nodes().any(|row| row.name.as_str() == format!("node-{node}") && row.status == quorate_state::NodeStatus::Up);
                if !up {
                    world.register(node, true, true);
                }
            }
            world.carry_out(&Step::Wait { ms: 700_000, new_term: false });
            world.carry_out(&Step::Fire { all: true });
            for _ in 0..8 {
                world.carry_out(&Step::Advance { pick: 0, limit: 1_000 });
            }
            let ready: BTreeSet<usize> = (0..world.state.ready_count()).collect();
            world.place(&ready.iter().flat_map(|task| (0..3).map(move |node| (*task, node))).collect::<Vec<_>>(), false);
            world.place_gangs();
            for pick in 0..12 {
                world.report(pick, 4, 0, true, false);
            }
            let runs: Vec<RunId> = world.state.runs_to_finish().collect();
            for run in runs {
                world.end_run(run);
            }
            world.start_all();
            world.check();
            if world.state.unfinished_count() == 0 {
                break;
            }
        }
        prop_assert_eq!(world.state.unfinished_count(), 0);
        // P4 at quiescence: what is gone is released.
        for node in world.state.nodes() {
            let held: Vec<_> = world.state.attempts_on(&node.name).collect();
            prop_assert!(held.iter().all(|attempt| attempt.state.is_terminal()), "{:?}", held);
        }
    }
}
