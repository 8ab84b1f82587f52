//! The state that plans are made of: nodes of several sizes, tasks of several shapes, all by commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_scheduler::{Budget, LogNow, NodeObserved, Observed, controllers};
use quorate_state::{
    AttemptId, AttemptPhase, AttemptReport, Command, Digest, Driver, Entry, Exit, Feature, GPU_MILLI, GpuModel, Item,
    JobName, JobSpec, Millis, Namespace, NodeName, OnFailure, OnNodeLoss, Place, Placement, Principal, Registration,
    Reply, Resources, Retry, Revision, Role, RunId, Settings, Spread, Stamp, State, TaskName, TaskSpec, Usage, Uuid,
    apply,
};

use super::{PlacementBench, cpu_milli};
use crate::Error;
use crate::dice::Dice;

/// Commands of one entry, of those that are many.
const ITEMS_PER_ENTRY: usize = 256;
/// Elements of one job at most; how many it is, is chance.
const COUNT_MAX: u64 = 100;
/// Cores of the nodes.
const CORES: [u64; 4] = [16, 32, 64, 128];
/// Memory of a node for each core.
const BYTES_PER_CORE: u64 = 4 << 30;
/// Nodes of one cluster, about.
const NODES_PER_CLUSTER: u32 = 500;
const REGIONS: u32 = 3;
/// GPUs of a node that has any.
const GPUS: u64 = 8;
const MODELS: [&str; 3] = ["A", "B", "C"];

/// A task that was placed and has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    attempt: AttemptId,
    cpu_milli: u64,
}

/// The state, and what the leader sees beside it.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) state: State,
    observed: Observed,
    shapes: Vec<TaskSpec>,
    dice: Dice,
    runs: u64,
    /// Thousandths of cores in all, and those that are taken.
    cpu_milli: u64,
    taken_milli: u64,
}

impl Ground {
    /// Nodes, and nothing on them.
    pub(super) fn new(bench: &PlacementBench) -> Result<Self, Error> {
        let mut ground = Self {
            state: State::default(),
            observed: Observed::default(),
            shapes: (0..bench.shapes).map(|number| shape(number, bench.gpu_percent > 0)).collect::<Result<_, _>>()?,
            dice: Dice(bench.seed),
            runs: 0,
            cpu_milli: 0,
            taken_milli: 0,
        };
        let settings = Box::new(Settings::default());
        ground.apply(vec![Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings }])?;
        ground.apply(vec![Command::CreateNamespace { namespace: name(Namespace::new("bench"))? }])?;
        let features = [Feature::PlaceLabels, Feature::Gpus];
        ground.apply(features.map(|feature| Command::EnableFeature { feature, term: 1 }).into())?;
        let nodes: Vec<Command> =
            (0..bench.nodes).map(|number| ground.node(number, bench)).collect::<Result<_, _>>()?;
        for nodes in nodes.chunks(ITEMS_PER_ENTRY) {
            ground.apply(nodes.to_vec())?;
        }
        let seen = ground.state.nodes().map(|node| {
            let expires_at = Some(ground.state.meta().served.plus(node.lease.server_ms));
            (
                node.name.clone(),
                NodeObserved { epoch: node.epoch, expires_at, reported_this_term: true, heard_ms_ago: 0 },
            )
        });
        ground.observed = Observed { nodes: seen.collect(), ..Observed::default() };
        ground.cpu_milli = cpu_milli(&ground.state);
        Ok(ground)
    }

    fn node(&mut self, number: u32, bench: &PlacementBench) -> Result<Command, Error> {
        let cores = CORES[self.dice.below(CORES.len() as u64) as usize];
        let clusters = (bench.nodes / NODES_PER_CLUSTER).max(REGIONS);
        let cluster = self.dice.below(clusters.into()) as u32;
        let has_gpus = self.dice.below(100) < u64::from(bench.gpu_percent);
        let model: GpuModel = name(MODELS[self.dice.below(MODELS.len() as u64) as usize].parse())?;
        let disk = if self.dice.below(2) == 0 { "ssd" } else { "hdd" };
        let gpus = if has_gpus { GPUS } else { 0 };
        let uuid = Uuid(u128::from(number) + 1);
        Ok(Command::RegisterNode(Box::new(Registration {
            node: name(NodeName::new(&format!("node-{number:06}")))?,
            uuid,
            journal: uuid,
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: name(format!("region-{}", cluster % REGIONS).parse())?,
            cluster: name(format!("cluster-{cluster:04}").parse())?,
            capacity: Resources {
                cpu_milli: cores * 1_000,
                memory_bytes: cores * BYTES_PER_CORE,
                gpu_milli: gpus * GPU_MILLI,
            },
            gpus: std::iter::repeat_n(model, gpus as usize).collect(),
            labels: BTreeMap::from([("disk".to_owned(), disk.to_owned())]),
            offer: Arc::default(),
            attempts: Vec::new(),
            seen: Revision(0),
        })))
    }

    /// Tasks come, in jobs of one shape each, and are ready to be placed.
    pub(super) fn submit(&mut self, tasks: u32) -> Result<(), Error> {
        let mut left = tasks;
        let mut commands = Vec::new();
        while left > 0 {
            let count = left.min(1 + self.dice.below(COUNT_MAX) as u32);
            left -= count;
            let shape = &self.shapes[self.dice.below(self.shapes.len() as u64) as usize];
            self.runs += 1;
            let spec = JobSpec {
                namespace: name(Namespace::new("bench"))?,
                name: shape_job(shape)?,
                priority: 50,
                labels: BTreeMap::new(),
                on_failure: OnFailure::Finish,
                timeout_ms: None,
                tasks: vec![TaskSpec { count, ..shape.clone() }],
                params: BTreeMap::new(),
                result: BTreeMap::new(),
            };
            let run = RunId(self.runs);
            commands.push(Command::SubmitJob { run, spec: Arc::new(spec), spec_digest: Digest::default() });
        }
        for commands in commands.chunks(ITEMS_PER_ENTRY) {
            self.apply(commands.to_vec())?;
        }
        self.advance()
    }

    /// Lets runs go on and end, as their controller does.
    fn advance(&mut self) -> Result<(), Error> {
        let workflow = controllers().into_iter().find(|controller| controller.name() == "workflow");
        let mut workflow = workflow.ok_or_else(|| Error::Outcome("there is no controller of workflows".to_owned()))?;
        loop {
            let decision = workflow.step(&self.state, &self.observed, self.now(), 0, Budget::default());
            if decision.commands.is_empty() {
                return Ok(());
            }
            self.apply(decision.commands)?;
        }
    }

    /// These have ended, and what they had is free.
    pub(super) fn end(&mut self, ended: &[Live]) -> Result<(), Error> {
        let mut commands = Vec::with_capacity(ended.len());
        for live in ended {
            let unknown = || Error::Outcome(format!("attempt {:?} is not there", live.attempt));
            let attempt = self.state.attempt(live.attempt).ok_or_else(unknown)?;
            let report = AttemptReport {
                attempt: live.attempt,
                token: attempt.token,
                phase: AttemptPhase::Ended,
                gone: true,
                exit: Some(Exit::Code(0)),
                message: None,
                usage: Usage::default(),
                stopped: false,
                outcome: None,
                silent: false,
                payloads: None,
            };
            let (node, epoch) = (attempt.node.clone(), attempt.epoch);
            commands.push(Command::ReportAttempts { node, epoch, reports: vec![report] });
            self.taken_milli -= live.cpu_milli;
        }
        for commands in commands.chunks(ITEMS_PER_ENTRY) {
            self.apply(commands.to_vec())?;
        }
        self.advance()
    }

    /// What a plan that was applied has placed.
    pub(super) fn placed(&mut self, placements: &[Placement]) -> Result<Vec<Live>, Error> {
        let mut live = Vec::with_capacity(placements.len());
        for placement in placements {
            let spec = self.state.run(placement.task.run).and_then(|run| run.spec.tasks.first());
            let cpu_milli = spec.map_or(0, |spec| spec.resources.cpu_milli);
            self.taken_milli += cpu_milli;
            live.push(Live { attempt: AttemptId { task: placement.task, number: 1 }, cpu_milli });
        }
        Ok(live)
    }

    /// Of a hundred cores, how many are taken.
    pub(super) fn taken_percent(&self) -> f64 {
        100.0 * self.taken_milli as f64 / self.cpu_milli.max(1) as f64
    }

    pub(super) fn observed(&self) -> &Observed {
        &self.observed
    }

    pub(super) fn now(&self) -> LogNow {
        LogNow { served: self.state.meta().served, now: self.state.meta().now }
    }

    /// Applies commands as one entry; all of them must be accepted.
    pub(super) fn apply(&mut self, commands: Vec<Command>) -> Result<Vec<Reply>, Error> {
        let item = |command| Item { principal: Principal::controller(), request: None, command };
        let stamp = Stamp { wall: Millis(1), term: 1, elapsed_ms: 0 };
        let entry = Entry { stamp, items: commands.into_iter().map(item).collect() };
        let applied = apply(&self.state, Revision(self.state.revision().0 + 1), &entry);
        self.state = applied.next;
        let refused = |why| Error::Outcome(format!("a command was refused: {why}"));
        applied.replies.into_iter().map(|reply| reply.map_err(refused)).collect()
    }
}

/// What the tasks of one kind look like. A fifth is bound to a region, a seventh to a kind of disk, a tenth each is spread over
/// nodes and over clusters; if there are GPUs, a tenth takes a half, one or two of them.
fn shape(number: u32, has_gpus: bool) -> Result<TaskSpec, Error> {
    let cpu_milli = [500, 1_000, 2_000, 4_000, 8_000][(number % 5) as usize];
    // No two are equal.
    let memory_bytes = cpu_milli * (u64::from(2 + number % 3) << 20) + (u64::from(number) << 20);
    let gpu_milli = match number % 10 {
        7 if has_gpus => [GPU_MILLI / 2, GPU_MILLI, 2 * GPU_MILLI][(number / 10 % 3) as usize],
        _ => 0,
    };
    let mut place = Place::default();
    if number % 5 == 1 {
        place.regions.push(name(format!("region-{}", number / 5 % REGIONS).parse())?);
    }
    if number % 7 == 3 {
        place.labels.insert("disk".to_owned(), "ssd".to_owned());
    }
    place.spread = match number % 10 {
        9 => Spread::Node,
        4 => Spread::Cluster,
        _ => Spread::Pack,
    };
    Ok(TaskSpec {
        name: name(TaskName::new(&format!("shape-{number:05}")))?,
        driver: Driver::Noop,
        argv: Vec::new(),
        env: BTreeMap::new(),
        needs: Vec::new(),
        count: 1,
        resources: Resources { cpu_milli, memory_bytes, gpu_milli },
        gpu_models: Vec::new(),
        alternatives: vec![],
        retry: Retry::default(),
        run_timeout_ms: None,
        queued_timeout_ms: None,
        silent_timeout_ms: None,
        place,
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
    })
}

fn shape_job(shape: &TaskSpec) -> Result<JobName, Error> {
    name(JobName::new(shape.name.as_str()))
}

fn name<T, E: std::fmt::Display>(made: Result<T, E>) -> Result<T, Error> {
    made.map_err(|why| Error::Outcome(format!("a name is none: {why}")))
}
