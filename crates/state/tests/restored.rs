//! A life of the data that came from a backup: what it takes in, what it holds back and for how long.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    AttemptClaim, AttemptId, AttemptPhase, AttemptReport, AttemptState, Change, Choice, Command, Digest, Driver, Entry,
    Exit, GpuHold, Held, Item, JobSpec, Millis, OnFailure, OnNodeLoss, Place, Placement, PlacementOutcome, Principal,
    Registration, Reply, Resources, Retry, Revision, RunId, Settings, Stamp, State, TaskId, TaskSpec, TaskState, Token,
    Uuid, Wait, apply,
};

const BASE: u64 = 1_700_000_000 << 20;
const STEPS: [(&str, OnNodeLoss); 3] =
    [("often", OnNodeLoss::AtLeastOnce), ("fenced", OnNodeLoss::Fenced), ("once", OnNodeLoss::AtMostOnce)];

struct World {
    state: State,
    revision: u64,
    term: u64,
    elapsed: u64,
}

impl World {
    /// One run with a ready task of each promise, and one that needs the first.
    fn new() -> Self {
        let mut world = Self { state: State::default(), revision: 0, term: 1, elapsed: 0 };
        world.run(Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings: Box::<Settings>::default() });
        world.run(Command::CreateNamespace { namespace: "acme".parse().unwrap() });
        world.submit(1);
        world.register("n", vec![], 0);
        world
    }

    fn run(&mut self, command: Command) -> Reply {
        self.revision += 1;
        let stamp = Stamp { wall: Millis(1_000_000 + self.elapsed), term: self.term, elapsed_ms: self.elapsed };
        let item = Item { principal: Principal::anonymous_local(), request: None, command };
        let applied = apply(&self.state, Revision(self.revision), &Entry { stamp, items: vec![item] });
        self.state = applied.next;
        assert_eq!(self.state.check(), Vec::<String>::new());
        applied.replies.into_iter().next().unwrap().unwrap()
    }

    fn submit(&mut self, run: u64) {
        let task = |(name, on_node_loss): (&str, OnNodeLoss), needs: &[&str]| TaskSpec {
            gpu_models: vec![],
            alternatives: vec![],
            name: name.parse().unwrap(),
            needs: needs.iter().map(|need| need.parse().unwrap()).collect(),
            count: 1,
            driver: Driver::Noop,
            place: Place::default(),
            argv: vec![],
            env: BTreeMap::new(),
            resources: Resources { cpu_milli: 100, memory_bytes: 1 << 20, gpu_milli: 0 },
            retry: Retry::default(),
            run_timeout_ms: None,
            queued_timeout_ms: None,
            silent_timeout_ms: None,
            on_node_loss,
            role: quorate_state::Role::Work,
            templated: false,
            when: None,
            each: None,
            on_region_loss: None,
            accept_failed: 0,
            sub_run: None,
            gang: None,
            preemptible: true,
        };
        let tasks = STEPS.map(|step| task(step, &[])).into_iter();
        let spec = JobSpec {
            name: "job".parse().unwrap(),
            namespace: "acme".parse().unwrap(),
            priority: 50,
            labels: BTreeMap::new(),
            on_failure: OnFailure::Finish,
            timeout_ms: None,
            tasks: tasks.chain([task(("after", OnNodeLoss::AtLeastOnce), &["often"])]).collect(),
            params: std::collections::BTreeMap::new(),
            result: std::collections::BTreeMap::new(),
        };
        self.run(Command::SubmitJob { run: RunId(run), spec: Arc::new(spec), spec_digest: Digest([1; 32]) });
        for step in 0..3 {
            self.run(Command::AdvanceStep { run: RunId(run), step, limit: 10 });
        }
    }

    fn register(&mut self, name: &str, attempts: Vec<AttemptClaim>, seen: u64) {
        self.run(Command::RegisterNode(Box::new(Registration {
            gpus: [].into(),
            node: name.parse().unwrap(),
            uuid: Uuid(7),
            journal: Uuid(7),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: "eu".parse().unwrap(),
            cluster: "eu-a".parse().unwrap(),
            capacity: Resources { cpu_milli: 1_000, memory_bytes: 1 << 30, gpu_milli: 0 },
            labels: BTreeMap::new(),
            offer: Arc::default(),
            attempts,
            seen: Revision(seen),
        })));
    }

    fn place(&mut self, task: TaskId) -> Result<Token, String> {
        let node = self.state.node(&"n".parse().unwrap()).unwrap().clone();
        let generation = self.state.task(task).unwrap().generation;
        let placement = Placement {
            choice: Choice::FIRST,
            gpus: GpuHold::NONE,
            task,
            generation,
            node: node.name.clone(),
            epoch: node.epoch,
        };
        let Reply::PlanCommitted(outcomes) = self.run(Command::CommitPlan { placements: vec![placement] }) else {
            panic!("a plan is answered as one");
        };
        match &outcomes[..] {
            [PlacementOutcome::Placed(token)] => Ok(*token),
            [PlacementOutcome::Refused(why)] => Err(why.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn report(&mut self, claim: AttemptClaim, phase: AttemptPhase) {
        let node = self.state.node(&"n".parse().unwrap()).unwrap().clone();
        let ended = phase == AttemptPhase::Ended;
        let report = AttemptReport {
            attempt: claim.attempt,
            token: claim.token,
            phase,
            gone: ended,
            exit: ended.then_some(Exit::Code(0)),
            message: None,
            usage: quorate_state::Usage::default(),
            stopped: false,
            outcome: None,
            silent: false,
            payloads: None,
        };
        let reply =
            self.run(Command::ReportAttempts { node: node.name.clone(), epoch: node.epoch, reports: vec![report] });
        assert_eq!(reply, Reply::Reported(vec![quorate_state::ReportOutcome::Accepted]));
    }

    /// The life that begins when this one is restored.
    fn restored(&self) -> Self {
        let mut state = self.state.clone();
        state.commit(&Change::Meta(state.next_life(Uuid(2), Revision(BASE))));
        assert_eq!(state.check(), Vec::<String>::new());
        Self { state, revision: BASE, term: 1, elapsed: 0 }
    }
}

fn id(run: u64, step: u32) -> TaskId {
    TaskId { run: RunId(run), step, index: 0 }
}

fn claim(task: TaskId, number: u32, token: Token) -> AttemptClaim {
    AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt: AttemptId { task, number }, token }
}

#[test]
fn the_next_life_is_later_in_everything() {
    let old = World::new();
    let new = old.restored();
    let (before, after) = (old.state.meta(), new.state.meta());
    assert_eq!((after.cluster, after.revision, after.events_from), (Uuid(2), Revision(BASE), Revision(BASE)));
    assert!(after.incarnation > before.incarnation && after.served == before.served && after.now == before.now);
    // Restored once more a second later, be it from the same backup: later again.
    let again = old.state.next_life(Uuid(3), Revision(BASE + (1 << 20)));
    assert!(again.incarnation > after.incarnation);
}

#[test]
fn a_fenced_task_waits_until_every_lease_of_the_life_before_is_over() {
    let mut world = World::new().restored();
    let lease = Settings::default().lease;
    let fenced = id(1, 1);
    world.register("n", vec![], 3);
    assert!(world.place(id(1, 0)).is_ok(), "only what is fenced waits");
    world.elapsed = lease.server_ms + lease.kill_ms;
    assert!(world.place(fenced).unwrap_err().contains("may still run"));
    world.elapsed += lease.margin_ms + 1;
    world.place(fenced).unwrap();
}

#[test]
fn a_task_that_may_have_had_its_one_start_is_held_and_new_ones_are_not() {
    let mut world = World::new().restored();
    world.register("n", vec![], 3);
    world.elapsed = 3_600_000;
    assert!(world.place(id(1, 2)).unwrap_err().contains("may have started"));
    let run = world.state.run(RunId(1)).unwrap().clone();
    assert_eq!(world.state.held(&run, &run.spec.tasks[2], world.state.meta().served), Some(Held::Once));
    world.submit(2);
    world.place(id(2, 2)).unwrap();
    // It can be given up.
    world.run(Command::CancelRun { run: RunId(1) });
    for step in 0..4 {
        world.run(Command::AdvanceStep { run: RunId(1), step, limit: 10 });
    }
    assert_eq!(world.state.task(id(1, 2)).unwrap().state, TaskState::Cancelled);
}

#[test]
fn what_runs_and_the_restored_state_does_not_know_is_taken_in_and_ends_as_it_ends() {
    let old = World::new();
    let mut world = old.restored();
    // After the backup the old life started all three, the first for the third time.
    let claims = [claim(id(1, 0), 3, Token(50)), claim(id(1, 1), 1, Token(51)), claim(id(1, 2), 1, Token(52))];
    world.register("n", claims.to_vec(), 60);
    for claim in claims {
        let attempt = world.state.attempt(claim.attempt).unwrap();
        assert_eq!((attempt.token, attempt.state, attempt.gone), (claim.token, AttemptState::Assigned, false));
        assert_eq!(world.state.task(claim.attempt.task).unwrap().state, TaskState::Placed);
        // Nobody can place it a second time.
        assert!(world.place(claim.attempt.task).is_err());
    }
    for claim in claims {
        world.report(claim, AttemptPhase::Running);
        world.report(claim, AttemptPhase::Ended);
        assert_eq!(world.state.task(claim.attempt.task).unwrap().state, TaskState::Succeeded);
    }
}

#[test]
fn what_runs_before_its_needs_have_succeeded_again_is_taken_in_too() {
    let mut world = World::new().restored();
    let after = claim(id(1, 3), 1, Token(70));
    world.register("n", vec![after], 80);
    world.report(after, AttemptPhase::Running);
    assert_eq!(world.state.task(id(1, 3)).unwrap().state, TaskState::Running);
    world.place(id(1, 0)).unwrap();
    world.report(after, AttemptPhase::Ended);
    assert_eq!(world.state.task(id(1, 3)).unwrap().state, TaskState::Succeeded);
}

#[test]
fn what_ran_before_its_needs_and_is_lost_waits_for_them() {
    let mut world = World::new().restored();
    let after = claim(id(1, 3), 1, Token(70));
    world.register("n", vec![after], 80);
    // The agent comes back without it.
    world.register("n", vec![], 80);
    assert_eq!(world.state.task(id(1, 3)).unwrap().state, TaskState::Waiting(Wait::Needs));
    let token = world.place(id(1, 0)).unwrap();
    let first = claim(id(1, 0), 1, token);
    world.report(first, AttemptPhase::Running);
    world.report(first, AttemptPhase::Ended);
    world.run(Command::AdvanceStep { run: RunId(1), step: 3, limit: 10 });
    world.place(id(1, 3)).unwrap();
}

#[test]
fn the_copy_that_the_backup_knows_gives_way_to_the_newer_one() {
    let mut old = World::new();
    let first = old.place(id(1, 0)).unwrap();
    old.report(claim(id(1, 0), 1, first), AttemptPhase::Running);
    let mut world = old.restored();
    let newer = claim(id(1, 0), 2, Token(first.0 + 9));
    world.register("n", vec![newer], first.0 + 10);
    let states: Vec<_> = world.state.attempts_of(id(1, 0)).map(|attempt| (attempt.state, attempt.gone)).collect();
    assert_eq!(states, [(AttemptState::Lost, true), (AttemptState::Assigned, false)]);
}

#[test]
fn claims_that_cannot_be_of_an_earlier_life_are_not_believed() {
    let claims = [claim(id(9, 0), 1, Token(50)), claim(id(1, 0), 1, Token(BASE + 1)), claim(id(1, 0), 5, Token(3))];
    for mut world in [World::new(), World::new().restored()] {
        let attempts = world.state.attempts_of_run(RunId(1)).count();
        let seen = world.revision;
        world.register("n", claims.to_vec(), seen);
        assert_eq!(world.state.attempts_of_run(RunId(1)).count(), attempts);
    }
    // In a first life no claim is.
    let mut world = World::new();
    world.register("n", vec![claim(id(1, 0), 1, Token(4))], 5);
    assert_eq!(world.state.attempts_of_run(RunId(1)).count(), 0);
}
