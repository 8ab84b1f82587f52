//! What runs attempts: the executor seam, and the drivers there are.
//!
//! A driver knows how to start, stop and kill; when to do so is decided above it. It never says that
//! an attempt is gone while anything of it may still run.

pub mod noop;
pub mod process;

pub use process::shim;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quorate_seams::BootInstant;
use quorate_state::{
    AttemptId, ClusterName, Driver as Kind, Exit, GpuHold, NodeName, OnNodeLoss, Outcome, Payloads, RegionName, TaskId,
    Token, Usage,
};
use tokio::sync::watch;

use crate::assignment::Assignment;
use crate::cgroup;
use crate::error::Error;
use crate::logs::Outputs;
use crate::tidy::Tidier;
use crate::usage::Live;
use crate::workspace::Workspaces;

/// The drivers of an agent, by the name that job files use.
pub trait Drivers: Send + Sync + 'static {
    /// The one for `kind`, if this agent has it.
    fn get(&self, kind: Kind) -> Option<Arc<dyn Driver>>;
}

impl Drivers for BTreeMap<Kind, Arc<dyn Driver>> {
    fn get(&self, kind: Kind) -> Option<Arc<dyn Driver>> {
        BTreeMap::get(self, &kind).cloned()
    }
}

/// The drivers of a real node.
pub fn system(groups: cgroup::Options, shims: shim::Options) -> Result<Arc<dyn Drivers>, Error> {
    let process: Arc<dyn Driver> = Arc::new(process::ProcessDriver::new(groups, shims)?);
    let noop: Arc<dyn Driver> = Arc::new(noop::NoopDriver);
    Ok(Arc::new(BTreeMap::from([(Kind::Process, process), (Kind::Noop, noop)])))
}

/// What is wanted of an attempt; it only ever rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Run to its own end.
    #[default]
    Run,
    /// End, with time to clean up.
    Stop,
    /// Be gone.
    Kill,
}

/// One attempt to start.
#[derive(Clone, Debug)]
pub struct Start {
    /// What to run.
    pub assignment: Arc<Assignment>,
    /// Where we are.
    pub place: Arc<Place>,
    /// Where its output goes.
    pub outputs: Arc<Outputs>,
    /// Where its working directory comes from.
    pub workspaces: Arc<Workspaces>,
    /// Who gives both back.
    pub tidier: Arc<Tidier>,
    /// Looked at again just before it starts: what was withdrawn meanwhile never runs.
    pub wish: watch::Receiver<Wish>,
}

/// Where a node stands, as its tasks are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: NodeName,
    /// Its region.
    pub region: RegionName,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its tasks are told which GPUs are theirs.
    pub has_gpus: bool,
}

/// Why an attempt was not started. Nothing of it runs or ever did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotStarted {
    /// It was no longer wanted.
    Withdrawn,
    /// The job asks for something that cannot be, such as a program that does not exist.
    Job(String),
    /// Its command cannot be made: a reference in it points to nothing.
    Flawed(String),
    /// This node cannot now; the job is not to blame.
    Node(String),
}

/// How an attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// How its main process ended.
    pub exit: Option<Exit>,
    /// A word for people.
    pub message: Option<Arc<str>>,
    /// What it said of its end by itself.
    pub outcome: Option<Arc<Outcome>>,
    /// Data that it says it has left behind.
    pub payloads: Option<Arc<Payloads>>,
    /// What it used.
    pub usage: Usage,
    /// It had been told to end, by this agent or by one before it.
    pub asked: bool,
    /// It was killed because the lease was over, without an agent.
    pub fenced: bool,
}

/// What an execution does by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It ended; `gone` when nothing of it is left.
    Ended { ending: Ending, gone: bool },
    /// After an end with something left: now nothing is.
    Gone,
}

/// Something that runs attempts.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// Starts an attempt; it runs when this returns.
    async fn start(&self, start: Start) -> Result<Box<dyn Execution>, NotStarted>;

    /// Whether its attempts go on when the agent ends, and can be taken over by the next one.
    fn outlives(&self) -> bool {
        false
    }

    /// The node's lease lasts until then, as far as is known now. Does not wait.
    fn lease(&self, _deadline: BootInstant) {}

    /// Finds those of an earlier life's attempts that go on, or of which it can be said how they ended, and ends those
    /// of the driver's attempts that are not among `leftovers`. Called once, before anything else.
    async fn survivors(&self, _leftovers: Vec<Leftover>) -> Vec<Survivor> {
        Vec::new()
    }

    /// Takes a survivor over. None: it cannot be.
    async fn resume(
        &self,
        _attempt: AttemptId,
        _workspaces: &Workspaces,
        _tidier: &Arc<Tidier>,
    ) -> Option<Box<dyn Execution>> {
        None
    }

    /// What tells how much its attempts use while they run, if it can be told.
    fn meter(&self) -> Option<Arc<dyn Meter>> {
        None
    }

    /// Nobody will ask for this attempt again, in this life of the agent or the next. Does not wait.
    fn forget(&self, _attempt: AttemptId, _token: Token) {}

    /// Ends what an earlier life of this agent may have left running, waits for a bounded time, and
    /// names those that are not certainly gone.
    async fn recover(&self, leftovers: Vec<Leftover>) -> BTreeSet<AttemptId>;
}

/// Measures attempts that run.
pub trait Meter: Send + Sync + 'static {
    /// What these attempts use `now`; those that do not run are left out. Waits for the kernel.
    fn measure(&self, attempts: &[AttemptId], now: BootInstant) -> Vec<(AttemptId, Live)>;
}

/// What an attempt's report looks like from outside: once it looks otherwise, the process has said something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sign {
    /// Its length.
    pub bytes: u64,
    /// When it was written, in nanoseconds by a clock that may jump: good for nothing but to be compared.
    pub written_ns: i128,
}

/// Tells whether an attempt says anything.
#[async_trait]
pub trait Pulse: Send + Sync + 'static {
    /// The look of its report now. Waits for the disk; cancel-safe.
    async fn sign(&self) -> Sign;
}

/// One attempt that runs. Dropping it kills it, unless its driver's attempts outlive the agent; what it had on the disk is given back when it is
/// dropped after an event that says it is gone, so the event can be told first.
#[async_trait]
pub trait Execution: Send {
    /// Its main process and when that began, in the kernel's ticks since boot.
    fn process(&self) -> Option<(u32, u64)>;

    /// The next event. Cancel-safe; not called again after an event that says it is gone.
    async fn next(&mut self) -> Event;

    /// Asks it to end. False when it had ended by itself before it could hear of that.
    fn stop(&mut self) -> bool;

    /// Ends it, all of it, without asking. False when it had ended by itself before.
    fn kill(&mut self) -> bool;

    /// What tells whether it says anything, and how long it may say nothing; none: as long as it likes.
    fn pulse(&self) -> Option<(Arc<dyn Pulse>, Duration)> {
        None
    }

    /// Called about once a second while it runs, has its output kept within bounds. Does not wait.
    fn tend(&mut self);
}

/// An attempt of an earlier life of this agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Which.
    pub attempt: AttemptId,
    /// Its fencing token.
    pub token: Token,
    /// Its main process and when that began, if that was written down.
    pub process: Option<(u32, u64)>,
    /// The machine has not been booted since.
    pub same_boot: bool,
}

/// An attempt that has outlived the agent that started it, or has ended since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Which.
    pub attempt: AttemptId,
    /// What the end of this node's lease means for it.
    pub on_node_loss: OnNodeLoss,
    /// The name of its working directory.
    pub workspace: String,
}

/// The same for all attempts of a task: what a sink recognises a repeated write by.
pub fn idempotency_key(task: TaskId) -> String {
    format!("{}-{}-{}", task.run, task.step, task.index)
}

/// Everything a task is told through its environment, besides what its job sets.
pub(crate) fn identity(start: &Start) -> Vec<(&'static str, String)> {
    let Start { assignment, place, .. } = start;
    let AttemptId { task, number } = assignment.attempt;
    let mut told = vec![
        ("QUORATE_RUN_ID", task.run.to_string()),
        ("QUORATE_NAMESPACE", assignment.namespace.to_string()),
        ("QUORATE_JOB", assignment.job.to_string()),
        ("QUORATE_TASK", assignment.task.to_string()),
        ("QUORATE_TASK_INDEX", task.index.to_string()),
        ("QUORATE_TASK_COUNT", assignment.count.to_string()),
        ("QUORATE_ATTEMPT", number.to_string()),
        ("QUORATE_FENCING_TOKEN", assignment.token.to_string()),
        ("QUORATE_IDEMPOTENCY_KEY", idempotency_key(task)),
        ("QUORATE_NODE", place.node.to_string()),
        ("QUORATE_CLUSTER", place.cluster.to_string()),
        ("QUORATE_REGION", place.region.to_string()),
    ];
    if place.has_gpus {
        told.extend(visible_gpus(assignment.gpus));
    }
    if let Some(choice) = assignment.choice {
        told.push(("QUORATE_WANT", choice.number().to_string()));
    }
    if let Some(nodes) = &assignment.gang {
        told.extend([
            ("QUORATE_GANG_GENERATION", number.to_string()),
            ("QUORATE_GANG_SIZE", nodes.len().to_string()),
            ("QUORATE_GANG_INDEX", task.index.to_string()),
            ("QUORATE_GANG_NODES", nodes.join(",")),
        ]);
    }
    told
}

/// Which GPUs an attempt may use, in the words of those who look for some: of the others it hears nothing. On a node that
/// has none, nothing is said.
fn visible_gpus(hold: GpuHold) -> [(&'static str, String); 5] {
    let positions: Vec<String> = hold.positions().map(|at| at.to_string()).collect();
    let list = positions.join(",");
    // For the runtime of containers, nothing is not the same as no word.
    let visible = if list.is_empty() { "void".to_owned() } else { list.clone() };
    [
        ("QUORATE_GPUS", list.clone()),
        ("QUORATE_GPU_MILLI", hold.milli.to_string()),
        ("CUDA_DEVICE_ORDER", "PCI_BUS_ID".to_owned()),
        ("CUDA_VISIBLE_DEVICES", list),
        ("NVIDIA_VISIBLE_DEVICES", visible),
    ]
}
