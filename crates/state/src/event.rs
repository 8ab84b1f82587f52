//! Facts for watchers, in the past tense.

use crate::{
    AnnotationKey, AttemptId, AttemptState, Decided, Epoch, Exit, Feature, JobName, JoinTokenId, Millis, Namespace,
    NodeAdmission, NodeName, Principal, RebalanceEnd, ReservationMove, ReservationName, Revision, RunId, RunState,
    Scope, ShareTaken, TaskId, TaskState, Token,
};

/// An event and where it stands in the history. Rows of one revision are seen together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// The entry that caused it.
    pub revision: Revision,
    /// Its place among the events of that entry, from 0.
    pub sequence: u32,
    /// Log time.
    pub at: Millis,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A namespace was made.
    NamespaceCreated { namespace: Namespace },
    /// A job was accepted.
    RunSubmitted { run: RunId, namespace: Namespace, job: JobName },
    /// Its first task was placed.
    RunStarted { run: RunId },
    /// Somebody, or a failed task, wants it to end.
    RunCancelRequested { run: RunId },
    /// Somebody left a word at it. What it says is read from the run: a history of all values would
    /// be larger than the state.
    RunAnnotated { run: RunId, key: AnnotationKey },
    /// Somebody paused it. Why is read from the run.
    RunPaused { run: RunId, by: Principal },
    /// Somebody resumed it.
    RunResumed { run: RunId, by: Principal },
    /// Somebody gave it another priority.
    RunPrioritySet { run: RunId, priority: u8, by: Principal },
    /// Somebody gave up what would undo it, and what comes at its end.
    RunAbandoned { run: RunId },
    /// It was decided whether a step runs, and how many elements it has.
    StepDecided { run: RunId, step: u32, decided: Decided, elements: u32 },
    /// Elements of a step that have no rows, from index `first` on, ended together.
    RestEnded { run: RunId, step: u32, first: u32, count: u32, state: TaskState },
    /// It ended.
    RunEnded { run: RunId, state: RunState },
    /// A task moved.
    TaskMoved { task: TaskId, state: TaskState },
    /// An attempt moved.
    AttemptMoved { attempt: AttemptId, node: NodeName, token: Token, state: AttemptState, exit: Option<Exit> },
    /// It is asked to stop, so that a task of this priority finds room, which may be for what namespaces had.
    AttemptPreempted { attempt: AttemptId, node: NodeName, by: TaskId, priority: u8, share: Option<ShareTaken> },
    /// It is asked to stop, so that its task goes on at `to`, where room is kept for it.
    AttemptRebalanced { attempt: AttemptId, node: NodeName, to: NodeName, rebalance: u32 },
    /// Somebody asked for work to be moved to better places.
    RebalanceStarted { rebalance: u32, by: Principal },
    /// Nothing more is moved by it.
    RebalanceEnded { rebalance: u32, why: RebalanceEnd, by: Principal },
    /// A reservation was made, has begun, or is over.
    ReservationMoved { reservation: ReservationName, to: ReservationMove, by: Principal },
    /// A node was granted a lease.
    NodeRegistered { node: NodeName, epoch: Epoch },
    /// A node's lease expired.
    NodeLost { node: NodeName, epoch: Epoch },
    /// Nothing more is placed on a node, or again.
    NodeCordoned { node: NodeName, cordoned: bool },
    /// Nothing more is placed on any node of a cluster or a region; `drains`: and what runs there is moved off.
    ScopeWithdrawn { scope: Scope, drains: bool, by: Principal },
    /// What was said of it is over, and its nodes take work again that were not taken out of service by themselves.
    ScopeRestored { scope: Scope, by: Principal },
    /// A lost node was given up, and its name is free.
    NodeForgotten { node: NodeName, epoch: Epoch },
    /// Somebody said what a machine needs to become a node.
    NodeAdmissionSet { admission: NodeAdmission, by: Principal },
    /// A join token was made.
    JoinTokenCreated { token: JoinTokenId, by: Principal },
    /// It admitted a node.
    JoinTokenUsed { token: JoinTokenId, node: NodeName },
    /// It was ended before its time.
    JoinTokenRevoked { token: JoinTokenId, by: Principal },
    /// What a feature allows may be in the log from here on.
    FeatureEnabled { feature: Feature },
}

impl Event {
    /// The run it is about, if any.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Self::RunSubmitted { run, .. }
            | Self::RunStarted { run }
            | Self::RunCancelRequested { run }
            | Self::RunAnnotated { run, .. }
            | Self::RunPaused { run, .. }
            | Self::RunResumed { run, .. }
            | Self::RunPrioritySet { run, .. }
            | Self::RunAbandoned { run }
            | Self::StepDecided { run, .. }
            | Self::RestEnded { run, .. }
            | Self::RunEnded { run, .. } => Some(*run),
            Self::TaskMoved { task, .. } => Some(task.run),
            Self::AttemptMoved { attempt, .. }
            | Self::AttemptPreempted { attempt, .. }
            | Self::AttemptRebalanced { attempt, .. } => Some(attempt.task.run),
            Self::NamespaceCreated { .. }
            | Self::RebalanceStarted { .. }
            | Self::RebalanceEnded { .. }
            | Self::ReservationMoved { .. }
            | Self::NodeRegistered { .. }
            | Self::NodeLost { .. }
            | Self::NodeCordoned { .. }
            | Self::ScopeWithdrawn { .. }
            | Self::ScopeRestored { .. }
            | Self::NodeForgotten { .. }
            | Self::NodeAdmissionSet { .. }
            | Self::JoinTokenCreated { .. }
            | Self::JoinTokenUsed { .. }
            | Self::JoinTokenRevoked { .. }
            | Self::FeatureEnabled { .. } => None,
        }
    }
}
