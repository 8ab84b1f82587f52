//! Everything that `apply` can answer.

use crate::{
    Epoch, Feature, JobName, JoinTokenId, LeaseTerms, Namespace, NodeName, OverQuota, ReservationName, Revision, RunId,
    Scope, TaskId, Token, TokenFlaw, Uuid, Violation,
};

/// The answer to a command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done; nothing more to say.
    Done,
    /// A job was accepted.
    Submitted {
        /// Its run.
        run: RunId,
        /// The job's version.
        version: u32,
        /// The revision at which it was accepted.
        revision: Revision,
        /// How long a repeated request is recognised, in milliseconds.
        window_ms: u64,
    },
    /// The run will end (or had ended before, which is fine).
    Cancelling {
        /// It had ended before.
        ended_before: bool,
        /// The revision after which nothing of it is placed.
        revision: Revision,
    },
    /// The word stands at the run.
    Annotated {
        /// The revision since which it does.
        revision: Revision,
    },
    /// The run is paused or resumed, or has that priority.
    Controlled {
        /// The revision since which it is so. Of a run that is paused, nothing is placed after it.
        revision: Revision,
    },
    /// A lease was granted.
    Registered {
        /// Its epoch.
        epoch: Epoch,
        /// Its terms.
        lease: LeaseTerms,
    },
    /// What became of each placement, in order.
    PlanCommitted(Vec<PlacementOutcome>),
    /// What became of each report, in order.
    Reported(Vec<ReportOutcome>),
    /// How many items of a batch (leases, timers, tasks) took effect; the rest were stale.
    Counted(u32),
}

/// What became of a placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacementOutcome {
    /// An attempt with this token exists now.
    Placed(Token),
    /// The view it was planned on is out of date, or it never fitted.
    Refused(Box<Rejection>),
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportOutcome {
    /// Recorded, or known already.
    Accepted,
    /// No such attempt on this node with this token, or not under this lease: the agent must stop it and
    /// forget it.
    Refused,
}

/// Why a command was refused; deterministic, the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No `Bootstrap` yet.
    #[error("the cluster is not initialised yet")]
    NotBootstrapped,
    /// A second `Bootstrap`.
    #[error("the cluster is initialised already")]
    AlreadyBootstrapped,
    /// No such namespace.
    #[error("namespace {0} does not exist: create it with 'quorate namespace create {0}'")]
    UnknownNamespace(Namespace),
    /// It exists.
    #[error("namespace {0} exists already")]
    NamespaceExists(Namespace),
    /// No such run.
    #[error("run {0} does not exist")]
    UnknownRun(RunId),
    /// No such job.
    #[error("job {0}/{1} does not exist")]
    UnknownJob(Namespace, JobName),
    /// Somebody else was faster.
    #[error(
        "job {namespace}/{job} has version {newest}, not {checked}: look at what has changed with 'quorate job history {job}'"
    )]
    JobMovedOn {
        /// Its namespace.
        namespace: Namespace,
        /// Its name.
        job: JobName,
        /// The version that was to be its newest.
        checked: u32,
        /// The one that is.
        newest: u32,
    },
    /// It cannot be deleted.
    #[error("job {namespace}/{job} has runs that have not ended ({unfinished}): cancel them, or wait")]
    JobRuns {
        /// Its namespace.
        namespace: Namespace,
        /// Its name.
        job: JobName,
        /// How many of its runs have not ended.
        unfinished: u32,
    },
    /// It has ended, or is about to: there is nothing left to pause or to put first.
    #[error("run {0} has ended, or is being cancelled")]
    RunOver(RunId),
    /// The minted id is in use; mint another.
    #[error("run id {0} is taken")]
    RunIdTaken(RunId),
    /// The spec is wrong.
    #[error("the job is invalid: {}", list(.0))]
    Invalid(Vec<Violation>),
    /// The request id was used with another body.
    #[error("request id {id:?} was used before with another body: use a new id for a new request")]
    RequestIdReused {
        /// The id.
        id: String,
    },
    /// A named limit is reached.
    #[error("the limit {limit} ({max}) is reached: {advice}")]
    LimitReached {
        /// The setting's name.
        limit: &'static str,
        /// Its value.
        max: u64,
        /// What helps.
        advice: &'static str,
    },
    /// Another agent holds the name.
    #[error(
        "node name {node} is held by another agent ({holder}): give this agent another name, or stop the other one and wait until its lease has ended"
    )]
    NodeNameTaken {
        /// The name.
        node: NodeName,
        /// The holder's uuid.
        holder: Uuid,
    },
    /// A cluster lies in one region for good.
    #[error("cluster {cluster} lies in region {region}, not in {claimed}")]
    ClusterInOtherRegion {
        /// The cluster.
        cluster: crate::ClusterName,
        /// Where it lies.
        region: crate::RegionName,
        /// What the agent said.
        claimed: crate::RegionName,
    },
    /// New nodes need a join token.
    #[error(
        "node {0} is not known, and this cluster admits new nodes by join token alone: make one with 'quorate node token create' and start the agent with --join-token, or agent.join_token_file"
    )]
    JoinTokenNeeded(NodeName),
    /// The join token does not admit the node, or no longer with what the node says of itself.
    #[error("the join token of node {node} {why}")]
    JoinTokenRefused {
        /// The node.
        node: NodeName,
        /// What is wrong with it.
        why: TokenFlaw,
    },
    /// No such join token.
    #[error("join token {0} does not exist, or has expired long ago")]
    UnknownJoinToken(JoinTokenId),
    /// No such node.
    #[error("node {0} does not exist")]
    UnknownNode(NodeName),
    /// No such cluster or region.
    #[error("{0} does not exist: 'quorate {kind} list' shows those in which there are, or were, nodes", kind = .0.kind())]
    UnknownScope(Scope),
    /// No such reservation.
    #[error("reservation {0} does not exist, or is over: 'quorate reservation list' shows what there is")]
    UnknownReservation(ReservationName),
    /// The name is in use.
    #[error("reservation {0} exists: end it first, or choose another name")]
    ReservationExists(ReservationName),
    /// Two reservations want a node at a time.
    #[error(
        "node {node} is of reservation {other} for a part of that time: leave the node out, or choose another time"
    )]
    NodeReserved {
        /// The first such node.
        node: NodeName,
        /// The reservation that has it.
        other: ReservationName,
    },
    /// A node whose lease is live is not given up.
    #[error("node {0} is alive: drain it, stop its agent, and forget it when its lease has ended")]
    NodeAlive(NodeName),
    /// The lease of the node has ended, but what ran under it may not have.
    #[error("node {node} is lost, and what it ran may not have ended yet: wait another {remaining_ms} ms")]
    NodeMayRun {
        /// The node.
        node: NodeName,
        /// How much longer, in milliseconds.
        remaining_ms: u64,
    },
    /// It waits until every replica can do it.
    #[error("feature {0} is not enabled yet: 'quorate replica list' shows what it waits for")]
    FeatureNotEnabled(Feature),
    /// The lease named is not the node's current one: register again.
    #[error("epoch {epoch} of node {node} is over: register again")]
    EpochOver {
        /// The node.
        node: NodeName,
        /// The epoch named.
        epoch: Epoch,
    },
    /// What the command was computed from has changed.
    #[error("out of date: {0}")]
    Stale(&'static str),
    /// The node cannot take the task.
    #[error("it does not fit: {0}")]
    Infeasible(crate::Infeasible),
    /// A namespace would hold more than it may.
    #[error("{0}")]
    OverQuota(OverQuota),
    /// A gang cannot be placed, because this member of it cannot.
    #[error("element {} of the gang is refused: {why}", .task.index)]
    Member {
        /// The first of them.
        task: TaskId,
        /// Why not.
        why: Box<Rejection>,
    },
    /// A bug: an internal check failed and the command was refused whole.
    #[error("internal check failed: {0}")]
    Invariant(String),
}

fn list(violations: &[Violation]) -> String {
    let lines: Vec<String> =
        violations.iter().map(|violation| format!("{}: {}", violation.field, violation.message)).collect();
    lines.join("; ")
}
