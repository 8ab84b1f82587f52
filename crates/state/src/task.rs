//! One unit of a run, and why it stands where it stands.

use std::sync::Arc;

use crate::{AttemptId, Choice, RegionName, Revision, RunId, Served, TaskId};

/// One unit of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Run, step and index.
    pub id: TaskId,
    /// Where it stands.
    pub state: TaskState,
    /// Raised by every change of `state`; a placement names the one it was planned on.
    pub generation: u32,
    /// Attempts made so far; also the number of the newest one.
    pub attempts: u32,
    /// Attempts that count against `retry.attempts`: those that failed or timed out. Of one that is a run of another job:
    /// runs that failed.
    pub tries: u32,
    /// Attempts that ended with their node; bounded by `node_losses_max`, never by `retry`.
    pub losses: u32,
    /// How often one of its attempts was stopped to make room for another task. Needs [`crate::Feature::Preemption`].
    pub preemptions: u32,
    /// While it is ready: the instant at which `timeouts.queued` fails it.
    pub queue_deadline: Option<Served>,
    /// While it is ready: since when. Needs [`crate::Feature::FairShare`].
    pub ready_since: Option<Served>,
    /// The region of its newest attempt's node, if its job says what becomes of it when that is lost. Needs
    /// [`crate::Feature::RegionLoss`].
    pub home: Option<RegionName>,
    /// Which of its alternatives its newest attempt takes: what it counts with while it is placed or runs. Any but the first needs
    /// [`crate::Feature::ResourceAlternatives`].
    pub choice: Choice,
    /// When it succeeded, if its job says how to undo it. Needs [`crate::Feature::TaskFlow`].
    pub succeeded_at: Option<Revision>,
    /// The newest run that was begun for it, if it is a run of another job. Needs [`crate::Feature::SubRuns`], as does the
    /// next one.
    pub sub_run: Option<RunId>,
    /// Why no run could be begun for it, for people: it has failed by that.
    pub flaw: Option<Arc<str>>,
}

impl Task {
    /// One to which nothing has happened yet.
    pub fn new(id: TaskId, state: TaskState) -> Self {
        Self {
            id,
            state,
            generation: 0,
            attempts: 0,
            tries: 0,
            losses: 0,
            preemptions: 0,
            queue_deadline: None,
            ready_since: None,
            home: None,
            choice: Choice::FIRST,
            succeeded_at: None,
            sub_run: None,
            flaw: None,
        }
    }

    /// The newest attempt, if one was made.
    pub fn newest_attempt(&self) -> Option<AttemptId> {
        (self.attempts > 0).then_some(AttemptId { task: self.id, number: self.attempts })
    }
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Not in the queue.
    Waiting(Wait),
    /// In the queue.
    Ready,
    /// Assigned to a node.
    Placed,
    /// Its process runs (or is not known to have stopped), or the run that it is has not ended.
    Running,
    /// Ended well.
    Succeeded,
    /// Failed for good.
    Failed(FailReason),
    /// Cancelled by a user or by `on_failure = cancel`.
    Cancelled,
    /// Something that it needs did not succeed.
    Skipped,
}

impl TaskState {
    /// True when it will not change again.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Waiting(_) | Self::Ready | Self::Placed | Self::Running => false,
            Self::Succeeded | Self::Failed(_) | Self::Cancelled | Self::Skipped => true,
        }
    }
}

/// What a task outside the queue waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The tasks it needs.
    Needs,
    /// The delay before its next try.
    Backoff { until: Served },
    /// The certainty that its last copy is gone: the agent's word, or this instant, at which that
    /// agent's lease and kill bound have passed ([`Served::NEVER`] while its lease is live).
    Fence { until: Served },
    /// A person's word: it is suspected of taking down the nodes that it runs on. Needs
    /// [`crate::Feature::TaskOutcomes`].
    Quarantine,
}

/// Why a task failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// Every try failed, or its exit code is one that is never retried.
    Failed,
    /// The last try ran out of time.
    TimedOut,
    /// Its `at_most_once` copy was lost with its node.
    Lost,
    /// It lost more nodes than `node_losses_max`.
    NodeLosses,
    /// It was ready for the whole of `timeouts.queued`, and nobody could place it.
    Queued,
    /// The process of its last try said nothing for the whole of `timeouts.silent`.
    Silent,
    /// What it asks for before it runs (its condition, what it is for) cannot be found out; the step says why. Needs
    /// [`crate::Feature::TaskFlow`].
    Undecidable,
    /// It is a run of another job, and none could be begun; the task says why. Needs [`crate::Feature::SubRuns`], as does the
    /// next one.
    NoSubRun,
    /// It is a run of another job, and somebody cancelled that.
    SubRunCancelled,
}
