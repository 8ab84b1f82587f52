//! One execution of a job.

use std::sync::Arc;

use crate::{AnnotationKey, Digest, Graph, JobSpec, Millis, Principal, Revision, RunId, Served};

/// One execution of one version of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Minted by whoever proposed the submit.
    pub id: RunId,
    /// The spec it executes, pinned (namespace and job name are in it).
    pub spec: Arc<JobSpec>,
    /// Who needs whom in it ([`Graph::of`]); derived, never stored.
    pub graph: Arc<Graph>,
    /// Digest of that spec.
    pub spec_digest: Digest,
    /// Version of the job at the time.
    pub job_version: u32,
    /// Who submitted it.
    pub principal: Principal,
    /// Where it stands.
    pub state: RunState,
    /// Set once: a user (or `on_failure = cancel`) wants it to end. Nothing is placed any more.
    pub cancelling: bool,
    /// Nothing more of it is placed, until somebody resumes it. Needs [`crate::Feature::RunControl`].
    pub paused: Option<Arc<Pause>>,
    /// What somebody said in the place of its spec's priority; read it with [`Run::priority`]. Needs
    /// [`crate::Feature::RunControl`].
    pub priority_set: Option<u8>,
    /// When it was submitted.
    pub submitted_at: Millis,
    /// The revision of that; also its place in the submit order.
    pub submitted_revision: Revision,
    /// Which of that entry's items it was: submit order within one entry.
    pub submitted_item: u32,
    /// The instant at which the job's `timeout` cancels it.
    pub deadline: Option<Served>,
    /// That is why it is cancelling: it ends as one that failed.
    pub timed_out: bool,
    /// When its first task was placed.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
}

impl Run {
    /// 0 (last) to 100 (first): where its tasks stand in the queue.
    pub fn priority(&self) -> u8 {
        self.priority_set.unwrap_or(self.spec.priority)
    }
}

/// Who paused a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Who.
    pub by: Principal,
    /// Since when.
    pub at: Millis,
    /// Why, in their words; at most `annotation_value_bytes_max` bytes.
    pub reason: Arc<str>,
}

/// A word that somebody left at a run. It decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The run.
    pub run: RunId,
    /// What it is called.
    pub key: AnnotationKey,
    /// What it says, at most `annotation_value_bytes_max` bytes.
    pub value: Arc<str>,
    /// When it was last set.
    pub at: Millis,
    /// Who set it.
    pub principal: Principal,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunState {
    /// Accepted; nothing placed yet.
    Pending,
    /// At least one task was placed.
    Running,
    /// Every task succeeded.
    Succeeded,
    /// A task failed for good.
    Failed,
    /// Cancelled before it ended.
    Cancelled,
}

impl RunState {
    /// True when it will not change again.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// How many tasks of a step (or of a run) stand where; derived, never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Waiting for needs, a backoff, a fence, or in quarantine.
    pub waiting: u32,
    /// Those of them that are in quarantine.
    pub quarantined: u32,
    /// In the queue.
    pub ready: u32,
    /// Assigned to a node.
    pub placed: u32,
    /// Running on it.
    pub running: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Failed for good.
    pub failed: u32,
    /// Cancelled.
    pub cancelled: u32,
    /// Skipped because something it needs did not succeed.
    pub skipped: u32,
}

impl StepCounts {
    /// All of them.
    pub fn total(self) -> u32 {
        self.unfinished() + self.succeeded + self.failed + self.cancelled + self.skipped
    }

    /// Those that are not terminal.
    pub fn unfinished(self) -> u32 {
        self.waiting + self.ready + self.placed + self.running
    }
}
