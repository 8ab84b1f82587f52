//! Every way the state can change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{
    AnnotationKey, AttemptId, Choice, ClusterId, ClusterName, Decided, Digest, Epoch, Exit, Fairness, Feature,
    GangPreempting, GpuHold, GpuModel, JobName, JobSpec, JoinTerms, JoinTokenId, Moving, Namespace, NodeAdmission,
    NodeName, Offer, Outcome, Payloads, Preempting, Preemption, Principal, RebalanceEnd, RebalanceOrder, RegionName,
    RequestId, ReservationName, Resources, Retention, Revision, RunId, Scope, Served, Settings, ShareChange, Stamp,
    TaskId, TaskName, Token, Usage, Uuid,
};

/// One log entry: the leader's time and what it carries. Each item is atomic and has its own reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The leader's time.
    pub stamp: Stamp,
    /// Applied in order.
    pub items: Vec<Item>,
}

/// One command of one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Who asks.
    pub principal: Principal,
    /// How a retry is recognised; absent for commands that are idempotent by token or generation.
    pub request: Option<RequestKey>,
    /// What is asked.
    pub command: Command,
}

/// What makes a repeated request the same request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Chosen by the client.
    pub id: RequestId,
    /// The namespace it acts in; part of the key.
    pub namespace: Option<Namespace>,
    /// Digest of the body: the same id with another body is refused.
    pub digest: Digest,
}

/// Every way the state can change. Imperative, as the caller says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// First command of a cluster's life; refused ever after.
    Bootstrap { cluster: ClusterId, incarnation: u64, settings: Box<Settings> },
    /// Makes a namespace.
    CreateNamespace { namespace: Namespace },
    /// Changes the part of the cluster that a namespace has, or makes one with such a part. Needs [`Feature::FairShare`], as do
    /// the two below.
    SetNamespace { namespace: Namespace, is_new: bool, change: Box<ShareChange> },
    /// Says how namespaces are kept even.
    SetFairness { fairness: Fairness },
    /// Takes what these namespaces hold into what they have held; at most [`crate::SAMPLES_AT_ONCE_MAX`], and passed over singly
    /// where nothing is due. From the fairness controller.
    SampleUse { namespaces: Vec<Namespace> },
    /// Says who may be preempted by whom. Needs [`Feature::Preemption`], as do the two below.
    SetPreemption { preemption: Preemption },
    /// Asks attempts to stop so that a task finds room, and keeps that for it, or does nothing. From the placement controller.
    PreemptAttempts(Preempting),
    /// The same for all members of a gang, or for none. Needs [`Feature::GangPreemption`].
    PreemptForGang(GangPreempting),
    /// Keeps room no longer for these tasks, where that has expired; passed over singly where it has not. From the placement
    /// controller.
    EndClaims { tasks: Vec<TaskId> },
    /// Accepts a job: a new run with all its tasks.
    SubmitJob { run: RunId, spec: Arc<JobSpec>, spec_digest: Digest },
    /// The same if the job's newest version is this one; zero: if there is no such job. Needs [`Feature::RunControl`].
    SubmitJobAt { run: RunId, spec: Arc<JobSpec>, spec_digest: Digest, version: u32 },
    /// The same as one of the two above with what the run is told, a JSON object ([`crate::Run::args`]); `version` as there,
    /// if it is checked. Needs [`Feature::TaskFlow`].
    SubmitFlow { run: RunId, spec: Arc<JobSpec>, spec_digest: Digest, args: Arc<str>, version: Option<u32> },
    /// A second try of a run that has ended: what succeeded there is kept, and run again is the rest, with these tasks and all
    /// that waits for what is run again. Needs [`Feature::TaskFlow`].
    RestartRun { run: RunId, of: RunId, from: Vec<TaskName> },
    /// Hides a job of which nothing runs, until its name is submitted again. Needs [`Feature::RunControl`].
    DeleteJob { namespace: Namespace, job: JobName },
    /// Wants a run to end. Nothing of it is placed after the revision of the reply.
    CancelRun { run: RunId },
    /// The same, and nothing is undone or comes at its end in any case: what of that runs is stopped. Needs
    /// [`Feature::TaskFlow`].
    AbandonRun { run: RunId },
    /// Takes a task out of its quarantine: it is placed again, and what spoke against it is forgotten. Needs
    /// [`Feature::TaskOutcomes`].
    ReleaseTask { task: TaskId },
    /// The same of each of these that has not ended; what is not there is passed over. Needs [`Feature::RunControl`].
    CancelRuns { runs: Vec<RunId> },
    /// Places nothing more of a run until it is resumed; what runs goes on. Paused again, it is so for another reason.
    /// Needs [`Feature::RunControl`].
    PauseRun { run: RunId, reason: Arc<str> },
    /// Places tasks of a run again. Needs [`Feature::RunControl`].
    ResumeRun { run: RunId },
    /// Says where the tasks of a run stand in the queue, in the place of its spec. Needs [`Feature::RunControl`].
    SetRunPriority { run: RunId, priority: u8 },
    /// Leaves a word at a run, in the place of what stood under that key.
    AnnotateRun { run: RunId, key: AnnotationKey, value: Arc<str> },
    /// Moves waiting tasks of a step on, at most `limit`: into the queue, or to skipped or cancelled,
    /// whichever [`crate::step_verdict`] says. From the workflow controller.
    AdvanceStep { run: RunId, step: u32, limit: u32 },
    /// Says once of a step whose needs are met whether it runs, and how many elements it has if that was open. From the
    /// workflow controller. Needs [`Feature::TaskFlow`].
    DecideStep { run: RunId, step: u32, decided: Decided, elements: Option<u32> },
    /// Undoes what ended last of what has not been undone, at most `limit` tasks. From the workflow controller. Needs
    /// [`Feature::TaskFlow`].
    UndoNext { run: RunId, limit: u32 },
    /// Ends a run all of whose tasks are terminal. From the workflow controller.
    FinishRun { run: RunId },
    /// Places tasks; each is checked again and refused singly. From the placement controller.
    CommitPlan { placements: Vec<Placement> },
    /// Places all members of a gang, by index, or none; `generation` is the one before, as the view that was planned on had it.
    /// From the placement controller. Needs [`Feature::Gangs`].
    CommitGang { run: RunId, step: u32, generation: u32, placements: Vec<Placement> },
    /// Places nothing more on a node, or again. Needs [`Feature::NodeCordon`].
    CordonNode { node: NodeName, cordoned: bool },
    /// Places nothing more on a node, and moves off what runs there, from `wait_ms` on; asked for again, it waits
    /// anew. Ended by `CordonNode`. Needs [`Feature::NodeDrain`].
    DrainNode { node: NodeName, wait_ms: u64, reason: Arc<str> },
    /// The same for a time: `for_ms` later the node takes work again, by `EndDrains`. Needs
    /// [`Feature::NodeMaintenance`].
    MaintainNode { node: NodeName, wait_ms: u64, for_ms: u64, reason: Arc<str> },
    /// Ends drains whose time is over, each with the instant at which it ends; passed over singly where that is not
    /// so. From the drain controller. Needs [`Feature::NodeMaintenance`].
    EndDrains { drains: Vec<(NodeName, Served)> },
    /// Asks attempts on draining nodes to stop, so that their tasks are placed elsewhere; each is checked again
    /// and passed over singly. From the drain controller. Needs [`Feature::NodeDrain`].
    EvictAttempts { attempts: Vec<AttemptId> },
    /// Gives up a lost node and all that is on it, for good: somebody says that it will not be back. Needs
    /// [`Feature::NodeForget`].
    ForgetNode { node: NodeName },
    /// An agent's arrival or return: grants a lease.
    RegisterNode(Box<Registration>),
    /// The same of one that shows a join token, of whose secret this is the digest: where new nodes need one and this
    /// is one, it is used. Needs [`Feature::JoinTokens`].
    AdmitNode { registration: Box<Registration>, token: Digest },
    /// Says what a machine needs to become a node. Needs [`Feature::JoinTokens`].
    SetNodeAdmission { admission: NodeAdmission },
    /// Makes a join token of a secret's digest, for so many served milliseconds and nodes. Needs
    /// [`Feature::JoinTokens`].
    CreateJoinToken { digest: Digest, ttl_ms: u64, uses_max: u32, terms: Arc<JoinTerms> },
    /// Ends a join token; the nodes that it has admitted stay. Needs [`Feature::JoinTokens`].
    RevokeJoinToken { token: JoinTokenId },
    /// What an agent saw happen.
    ReportAttempts { node: NodeName, epoch: Epoch, reports: Vec<AttemptReport> },
    /// Ends leases that nobody renewed. From the lease controller.
    ExpireLeases { leases: Vec<(NodeName, Epoch)> },
    /// Fires timers that are due; each is checked again and refused singly. From the timer controller.
    FireTimers { timers: Vec<Timer> },
    /// Forgets event rows below a revision. From the retention controller.
    TrimEvents { below: Revision },
    /// Enables a feature, for good. From the leader of `term`, whom every member has told in that term
    /// that it has it; in another term it is refused.
    EnableFeature { feature: Feature, term: u64 },
    /// Moves runs that have ended from memory into the archive, with at most about `rows_max` rows of their tasks and
    /// attempts, or goes on doing so; passed over singly where that cannot be. From the retention controller. Needs
    /// [`Feature::RunArchive`].
    ArchiveRuns { runs: Vec<RunId>, rows_max: u32 },
    /// Forgets segments of the archive below this one. From the retention controller. Needs [`Feature::RunArchive`].
    TrimArchive { below: u32 },
    /// Says how long runs are kept. Needs [`Feature::RunArchive`].
    SetRetention { retention: Retention },
    /// Begins the run that a task is. From the workflow controller. Needs [`Feature::SubRuns`], as do the two below.
    StartSubRun(Box<SubRunStart>),
    /// Fails a task that is a run of another job, for good: none can be begun, and why, for people. From the workflow
    /// controller.
    FailSubRun { task: TaskId, generation: u32, flaw: Arc<str> },
    /// Ends a run that has ended well, with what comes out of it. From the workflow controller.
    ConcludeRun { run: RunId, result: RunResult },
    /// Places nothing more on the nodes of a cluster or a region, also those that come later; with `drain`, what runs there is
    /// moved off. Asked for again with it, it takes the place of what was said; without, it changes nothing then. What was said
    /// of nodes by themselves stays. Needs [`Feature::RegionPolicy`], as do the two below.
    WithdrawScope { scope: Scope, drain: Option<DrainTime>, reason: Arc<str> },
    /// Ends that. Nodes that were cordoned or drained by themselves stay so.
    RestoreScope { scope: Scope },
    /// Ends drains of clusters and regions whose time is over, as [`Command::EndDrains`] does those of nodes. From the drain
    /// controller.
    EndScopeDrains { drains: Vec<(Scope, Served)> },
    /// Has work moved to better places from now on, or no more. Needs [`Feature::Rebalance`], as does the next one.
    SetRebalance { order: RebalanceOrder },
    /// Asks attempts to stop so that their tasks go on elsewhere, and keeps the room for them there; each is checked again and passed
    /// over singly. `ends`: that rebalance is over, and why. From the rebalance controller.
    MoveAttempts { rebalance: u32, moves: Vec<Moving>, ends: Option<RebalanceEnd> },
    /// Sets nodes aside for a namespace from `wait_ms` on, for `for_ms`. Needs [`Feature::Reservations`], as do the two below.
    Reserve { reservation: ReservationName, namespace: Namespace, nodes: BTreeSet<NodeName>, wait_ms: u64, for_ms: u64 },
    /// Begins or ends the time of reservations, each with the instant at which that is due; passed over singly where it is not so. From
    /// the reservation controller.
    TurnReservations { due: Vec<(ReservationName, Served)> },
    /// Ends a reservation before its time is over, or before it began. What runs there goes on.
    EndReservation { reservation: ReservationName },
}

/// How long a drain takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainTime {
    /// So long attempts may end by themselves.
    pub wait_ms: u64,
    /// So long it lasts, which is longer; none: until somebody ends it.
    pub for_ms: Option<u64>,
}

/// The run that a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubRunStart {
    /// The task.
    pub task: TaskId,
    /// Its generation in the view that was looked at.
    pub generation: u32,
    /// The id of its run, minted by whoever proposes it.
    pub run: RunId,
    /// The version of its job.
    pub version: u32,
    /// What it is told, as of [`crate::Run::args`].
    pub args: Arc<str>,
}

/// What comes out of a run that has ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunResult {
    /// JSON of an object.
    Value(Arc<[u8]>),
    /// It cannot be said what, and why not, for people.
    Flaw(Arc<str>),
}

/// One task on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The task.
    pub task: TaskId,
    /// Its generation in the view that was planned on.
    pub generation: u32,
    /// The node.
    pub node: NodeName,
    /// The node's lease in that view.
    pub epoch: Epoch,
    /// The devices that it is given. Any needs [`Feature::Gpus`].
    pub gpus: GpuHold,
    /// Which of its alternatives it takes. Any but the first needs [`Feature::ResourceAlternatives`].
    pub choice: Choice,
}

/// What an agent says of itself when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its configured name.
    pub node: NodeName,
    /// Its data directory.
    pub uuid: Uuid,
    /// Its journal. A new one proves nothing of attempts that are older: what it does not claim of them is
    /// given up.
    pub journal: Uuid,
    /// The kernel's boot id.
    pub boot_id: Arc<str>,
    /// The machine's id.
    pub machine_id: Arc<str>,
    /// Its region.
    pub region: RegionName,
    /// Its cluster.
    pub cluster: ClusterName,
    /// What it offers, beside GPUs, which are counted.
    pub capacity: Resources,
    /// Its GPUs; see [`crate::Node::gpus`]. Any needs [`Feature::Gpus`].
    pub gpus: Arc<[GpuModel]>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its pool, its taints and its price. Any but the default needs [`Feature::PlaceConstraints`].
    pub offer: Arc<Offer>,
    /// Every attempt that it knows and that is not confirmed gone. What its journal proves gone is
    /// left out.
    pub attempts: Vec<AttemptClaim>,
    /// The newest revision it has seen: its silence says nothing about attempts with a larger token,
    /// which it may never have been told of. A registration that was delayed on the way is then
    /// harmless too.
    pub seen: Revision,
}

/// An attempt that an agent says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptClaim {
    /// Which.
    pub attempt: AttemptId,
    /// The token it was started with.
    pub token: Token,
    /// The devices that it was given.
    pub gpus: GpuHold,
    /// Which of the alternatives of its task it takes. Any but the first needs [`Feature::ResourceAlternatives`].
    pub choice: Choice,
}

/// What an agent saw happen to one attempt. Idempotent: told twice, it counts once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptReport {
    /// Which.
    pub attempt: AttemptId,
    /// The token it was started with; an older one is refused.
    pub token: Token,
    /// What happened.
    pub phase: AttemptPhase,
    /// Its processes are gone, or never were.
    pub gone: bool,
    /// How its process ended.
    pub exit: Option<Exit>,
    /// A word for people, such as why it could not start.
    pub message: Option<Arc<str>>,
    /// What it used so far.
    pub usage: Usage,
    /// It had been asked to stop before it ended: only then does the reason for that decide how the
    /// end counts.
    pub stopped: bool,
    /// What its process said of its end. Needs [`Feature::TaskOutcomes`].
    pub outcome: Option<Arc<Outcome>>,
    /// It runs, and its process has said nothing for as long as its job lets it. Needs [`Feature::TaskOutcomes`].
    pub silent: bool,
    /// Data that its process says it has left behind. Needs [`Feature::PayloadRefs`].
    pub payloads: Option<Arc<Payloads>>,
}

/// What an agent can see of an attempt. Whether an end is a cancellation, a timeout or a failure
/// follows from the reason for which it was stopped, which the log knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttemptPhase {
    /// Accepted, not started.
    Starting,
    /// Its process runs.
    Running,
    /// Told to stop, not ended.
    Stopping,
    /// Ended (or could not be started).
    Ended,
    /// Killed by the agent because its lease ran out, or never started by this agent.
    Lost,
}

/// A due instant; `apply` requires it to have passed on its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A task's backoff or fence is over.
    TaskWait { task: TaskId, generation: u32, due: Served },
    /// An attempt ran for its whole `timeouts.run`.
    RunTimeout { attempt: AttemptId, due: Served },
    /// The instant until which nothing could be known of an attempt has come.
    UnknownTooLong { attempt: AttemptId, due: Served },
    /// A task was ready for its whole `timeouts.queued`.
    QueueTimeout { task: TaskId, due: Served },
    /// A run has taken its job's whole `timeout`.
    RunDeadline { run: RunId, due: Served },
    /// A generation of a gang was placed so long ago that all of it has to run. Needs [`Feature::Gangs`].
    GangStart { run: RunId, step: u32, generation: u32, due: Served },
}
