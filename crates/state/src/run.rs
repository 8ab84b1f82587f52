//! One execution of a job.

use std::sync::Arc;

use quorate_planted::Bug;

use crate::{
    AnnotationKey, Digest, Gang, Graph, JobSpec, Millis, Principal, Revision, RunId, Served, SubRun, TaskId, TaskState,
    Wait,
};

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
    /// The run of which it is a second try: what is not run again here has its results there. Needs
    /// [`crate::Feature::TaskFlow`].
    pub restart_of: Option<RunId>,
    /// What it was told: a JSON object with a value for each of the spec's `params`; empty where there are none. At most
    /// [`ARGS_BYTES_MAX`] bytes. Needs [`crate::Feature::TaskFlow`].
    pub args: Arc<str>,
    /// Who submitted it.
    pub principal: Principal,
    /// Where it stands.
    pub state: RunState,
    /// Set once: a user (or `on_failure = cancel`) wants it to end. Nothing of its work is placed any more.
    pub cancelling: bool,
    /// Set once, with `cancelling`: what would undo its work, and what comes at its end in any case, is not placed any more
    /// either. Needs [`crate::Feature::TaskFlow`].
    pub abandoned: bool,
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
    /// The task that it is, of another run. Needs [`crate::Feature::SubRuns`], as do the two below.
    pub parent: Option<TaskId>,
    /// What came out of it: JSON of an object with what its spec's `result` names; at most `result_bytes_max` bytes.
    pub result: Option<Arc<[u8]>>,
    /// Why nothing came out of it although its work ended well, for people: it has failed by that.
    pub flaw: Option<Arc<str>>,
}

impl Run {
    /// 0 (last) to 100 (first): where its tasks stand in the queue.
    pub fn priority(&self) -> u8 {
        self.priority_set.unwrap_or(self.spec.priority)
    }

    /// True when what has not ended of a step is being cancelled: of its work by a cancel, of the rest only when all of
    /// the run is given up.
    pub fn is_ending(&self, step: u32) -> bool {
        let spares = self.graph.is_after(step) && !self.abandoned && !quorate_planted::is(Bug::FinallyCancelled);
        self.cancelling && !spares
    }

    /// True when nothing is left to be asked of it, as a task of `parent`, while that is being cancelled or given up.
    pub(crate) fn is_stopped_with(&self, parent: &Self) -> bool {
        self.state.is_terminal() || self.abandoned || (self.cancelling && !parent.abandoned)
    }

    /// What the tasks of a step are runs of, if they are runs.
    pub fn sub_run(&self, step: u32) -> Option<&SubRun> {
        self.spec.tasks.get(step as usize).and_then(|task| task.sub_run.as_ref())
    }
}

/// Bytes of what a run can be told. Part of what feature `task-flow` means.
pub const ARGS_BYTES_MAX: usize = 16 * 1024;

/// What is known of a step of a run beyond its tasks; there is none of most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The run.
    pub run: RunId,
    /// Its position in the spec.
    pub step: u32,
    /// What was decided of it.
    pub decision: Option<Decided>,
    /// How many elements it has. The first ones have rows, or, where the rest is kept, those that are run again; those that
    /// nothing has happened to have none.
    pub elements: u32,
    /// Where those stand that have no rows.
    pub rest: Rest,
    /// Where it stands as a gang, once that was placed. Needs [`crate::Feature::Gangs`].
    pub gang: Option<Gang>,
}

/// What was decided of a step once its needs were met. It is never decided anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It runs.
    Run,
    /// It is passed over: there is nothing to do. What needs it goes on as if it had succeeded.
    PassOver,
    /// It fails, because what it asks for cannot be found out; why, for people.
    Fail(Arc<str>),
}

/// Where elements without rows stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// They wait for their needs, or their turn.
    Waiting,
    /// They were cancelled.
    Cancelled,
    /// They were skipped.
    Skipped,
    /// They succeeded in the run of which this one is a second try, and are not run again. Those that are have rows.
    Kept,
}

impl Rest {
    /// The state of each of them.
    pub fn state(self) -> TaskState {
        match self {
            Self::Waiting => TaskState::Waiting(Wait::Needs),
            Self::Cancelled => TaskState::Cancelled,
            Self::Skipped => TaskState::Skipped,
            Self::Kept => TaskState::Succeeded,
        }
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

    /// With those of `other` as well.
    pub(crate) fn more(self, other: Self) -> Self {
        self.with(other, u32::saturating_add)
    }

    /// Without those of `other`.
    pub(crate) fn less(self, other: Self) -> Self {
        self.with(other, u32::saturating_sub)
    }

    fn with(self, other: Self, by: impl Fn(u32, u32) -> u32) -> Self {
        Self {
            waiting: by(self.waiting, other.waiting),
            quarantined: by(self.quarantined, other.quarantined),
            ready: by(self.ready, other.ready),
            placed: by(self.placed, other.placed),
            running: by(self.running, other.running),
            succeeded: by(self.succeeded, other.succeeded),
            failed: by(self.failed, other.failed),
            cancelled: by(self.cancelled, other.cancelled),
            skipped: by(self.skipped, other.skipped),
        }
    }

    /// Those that are not terminal.
    pub fn unfinished(self) -> u32 {
        self.waiting + self.ready + self.placed + self.running
    }
}
