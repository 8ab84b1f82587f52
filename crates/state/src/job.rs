//! What a user asks for: the job, its tasks, and what makes a spec valid.

mod check;
mod company;
mod condition;
mod near;
mod place;
mod want;

pub use check::{
    ATTEMPTS_MAX, CPU_MILLI_MAX, DURATION_MS_MAX, EXPRESSION_BYTES_MAX, FALLBACKS_DEEP_MAX, LABEL_BYTES_MAX, LIST_MAX,
    MEMORY_BYTES_MAX, PARAMS_MAX,
};
pub use company::{Apart, AtMost, Balance, Company, RULES_MAX, SHARE_MAX, TARGETS_MAX, Topology};
pub use condition::{ConditionFlaw, NodeCondition, Unsaid, WHERE_BYTES_MAX, WHERE_DEPTH_MAX, WHERE_PARTS_MAX};
pub use near::{DATASETS_MAX, Dataset, NEAR_WEIGHT, Near};
pub use place::{ANY_VALUE, PREFERENCES_MAX, Place, Preference, Spread, Trait, WEIGHT_OF_PREFERENCE_MAX};
pub use want::{ALTERNATIVES_MAX, Alternative, Choice};

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_planted::Bug;

use crate::{
    Digest, ErrorType, Exit, GangSpec, GpuModel, JobName, Millis, Namespace, OnRegionLoss, Outcome, Resources,
    Revision, RunId, RunState, SubRun, TaskName,
};

/// A job as submitted; a run pins one and never sees later edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: JobName,
    /// 0 (last) to 100 (first).
    pub priority: u8,
    /// Free words for people and selectors.
    pub labels: BTreeMap<String, String>,
    /// What happens to the rest when a task fails for good.
    pub on_failure: OnFailure,
    /// A run that takes longer is cancelled, and has failed. Needs [`crate::Feature::TaskOutcomes`].
    pub timeout_ms: Option<u64>,
    /// What a run of it can be told, by name. Needs [`crate::Feature::TaskFlow`].
    pub params: BTreeMap<String, Param>,
    /// The tasks, in file order. `needs` may point forward.
    pub tasks: Vec<TaskSpec>,
    /// What comes out of a run of it that ends well, by name: JSON whose texts may hold references, which the leader puts in
    /// then. Needs [`crate::Feature::SubRuns`].
    pub result: BTreeMap<String, String>,
}

/// Something that a run can be told. What its kinds and values mean is not for the state to know: it keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Param {
    /// What its value is, such as `date`.
    pub kind: String,
    /// JSON of the value that it has when nobody gives one; without, every submit must give it.
    pub default: Option<String>,
    /// For people.
    pub description: String,
}

/// One task of a job, or `count` equal ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// Unique in the job.
    pub name: TaskName,
    /// How it runs.
    pub driver: Driver,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to the process's environment.
    pub env: BTreeMap<String, String>,
    /// Names of tasks that must succeed first, all of their elements.
    pub needs: Vec<TaskName>,
    /// How many elements: 1 to the limit `tasks_per_run_max`.
    pub count: u32,
    /// What one element takes; where it has alternatives, the best of them. Whoever asks what an attempt takes asks
    /// [`TaskSpec::resources_of`] its choice, or a task that is [`TaskSpec::chosen`].
    pub resources: Resources,
    /// Models of which its GPUs may be; none: of any. Needs [`crate::Feature::Gpus`].
    pub gpu_models: Vec<GpuModel>,
    /// What one element is content with where there is no room for that, the best first; fewer than [`ALTERNATIVES_MAX`]. Needs
    /// [`crate::Feature::ResourceAlternatives`].
    pub alternatives: Vec<Alternative>,
    /// When a failed attempt is tried again.
    pub retry: Retry,
    /// An attempt that runs longer is stopped and counts as failed.
    pub run_timeout_ms: Option<u64>,
    /// A task that is ready for longer without being placed fails. Needs [`crate::Feature::TaskOutcomes`].
    pub queued_timeout_ms: Option<u64>,
    /// An attempt whose process says nothing for longer is stopped and counts as failed. Needs
    /// [`crate::Feature::TaskOutcomes`].
    pub silent_timeout_ms: Option<u64>,
    /// Where it may run.
    pub place: Place,
    /// What the loss of its node means.
    pub on_node_loss: OnNodeLoss,
    /// What the loss of the region means in which it ran; none: it goes at once where its place allows. Needs
    /// [`crate::Feature::RegionLoss`].
    pub on_region_loss: Option<OnRegionLoss>,
    /// What it is for in its run. Anything but [`Role::Work`] needs [`crate::Feature::TaskFlow`], as do the four below.
    pub role: Role,
    /// `argv` and the values of `env` hold references, which the leader puts in when an attempt is assigned.
    pub templated: bool,
    /// An expression that the leader asks once its needs are met: unless it is true, the task is passed over.
    pub when: Option<String>,
    /// What its elements are for; without, they are equal.
    pub each: Option<Each>,
    /// So many elements may fail, and it counts as done all the same.
    pub accept_failed: u32,
    /// It is no process, but a run of another job. Needs [`crate::Feature::SubRuns`].
    pub sub_run: Option<SubRun>,
    /// Its elements are placed all or none, and begin anew all together. Needs [`crate::Feature::Gangs`].
    pub gang: Option<GangSpec>,
    /// Its attempts may be stopped to make room for others. That they may not needs [`crate::Feature::Preemption`].
    pub preemptible: bool,
}

/// What a task is for in its run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// What the run is for.
    #[default]
    Work,
    /// It runs when one of these has failed, once all of them have ended, and stands in for those that did not succeed;
    /// otherwise it is passed over.
    Fallback { of: Vec<TaskName> },
    /// It takes back what an element of that task has done: one element of this for each of that that succeeded, when
    /// the work of the run ended without success, in the reverse order of their ends.
    Undo { of: TaskName },
    /// It runs when the work has ended, however, and all that had to be has been undone.
    Finally,
}

/// What the elements of a task are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Each {
    /// One for each of these values (JSON); `count` is their number.
    Items(Vec<String>),
    /// The first is for this number, each further one for the next.
    Range { from: i64 },
    /// One for each element of the list to which this reference points, or as many as the number there. It is decided
    /// once the task's needs are met; `count` is 1, and until then one element stands for all.
    Result(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Driver {
    /// A process on the node.
    #[default]
    Process,
    /// Nothing: the agent takes it through its states and reports success. For drills and for
    /// measuring the control plane alone.
    Noop,
}

/// What a failed task means for the rest of its run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Independent branches complete, dependents are skipped, the run fails.
    #[default]
    Finish,
    /// The rest is cancelled.
    Cancel,
}

/// The promise about copies of a task when its node is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnNodeLoss {
    /// It may be placed again once the lease has expired; the newest token wins.
    #[default]
    AtLeastOnce,
    /// Placed again only once the old copy is certainly gone.
    Fenced,
    /// One start, ever.
    AtMostOnce,
}

/// When a failed attempt is tried again. The delay before try `n + 1` is
/// `min(cap, first * factor^(n - 1))`, spread by up to `jitter` of itself either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// All tries, the first included: 1 to `ATTEMPTS_MAX`.
    pub attempts: u32,
    /// Delay before the second try, in milliseconds.
    pub first_ms: u64,
    /// Growth of the delay, in thousandths (2000 doubles it): 1000 to 100000.
    pub factor_milli: u32,
    /// Longest delay, in milliseconds.
    pub cap_ms: u64,
    /// Spread of the delay, in thousandths of itself: 0 to 1000.
    pub jitter_milli: u32,
    /// Exit codes that are not tried again.
    pub never: Vec<i32>,
    /// Error types that are not tried again. Needs [`crate::Feature::TaskOutcomes`].
    pub never_errors: Vec<ErrorType>,
}

impl JobSpec {
    /// True of one that replicas before [`crate::Feature::TaskOutcomes`] cannot read.
    pub(crate) fn knows_outcomes(&self) -> bool {
        let knows = |task: &TaskSpec| {
            let is_timed = task.queued_timeout_ms.is_some() || task.silent_timeout_ms.is_some();
            is_timed || !task.retry.never_errors.is_empty()
        };
        self.timeout_ms.is_some() || self.tasks.iter().any(knows)
    }

    /// True of one that replicas before [`crate::Feature::TaskFlow`] cannot read.
    pub fn is_flow(&self) -> bool {
        !self.params.is_empty() || self.has_sub_runs() || self.has_gangs() || self.tasks.iter().any(TaskSpec::is_flow)
    }

    /// True of one that replicas before [`crate::Feature::Gpus`] cannot read.
    pub fn has_gpus(&self) -> bool {
        let takes = |task: &TaskSpec, choice| task.resources_of(choice).gpu_milli > 0;
        let has = |task: &TaskSpec| task.choices().any(|choice| takes(task, choice)) || !task.gpu_models.is_empty();
        self.tasks.iter().any(has)
    }

    /// True of one that replicas before [`crate::Feature::PlaceConstraints`] cannot read.
    pub fn has_constraints(&self) -> bool {
        self.tasks.iter().any(|task| task.place.has_constraints())
    }

    /// True of one that replicas before [`crate::Feature::Preemption`] cannot read.
    pub fn has_protected(&self) -> bool {
        self.tasks.iter().any(|task| !task.preemptible)
    }

    /// True of one that replicas before [`crate::Feature::RegionLoss`] cannot read.
    pub fn knows_regions(&self) -> bool {
        self.tasks.iter().any(|task| task.on_region_loss.is_some())
    }

    /// True of one that replicas before [`crate::Feature::SpreadRules`] cannot read.
    pub fn has_company(&self) -> bool {
        self.tasks.iter().any(|task| !task.place.company.is_empty())
    }

    /// True of one that replicas before [`crate::Feature::DataLocality`] cannot read.
    pub fn has_data(&self) -> bool {
        self.tasks.iter().any(|task| !task.place.near.is_empty())
    }

    /// True of one that replicas before [`crate::Feature::PlaceWhere`] cannot read.
    pub fn says_where(&self) -> bool {
        self.tasks.iter().any(|task| task.place.condition.is_some())
    }

    /// True of one that replicas before [`crate::Feature::Reservations`] cannot read.
    pub fn asks_for_reservations(&self) -> bool {
        self.tasks.iter().any(|task| task.place.reservation.is_some())
    }

    /// True of one that replicas before [`crate::Feature::ResourceAlternatives`] cannot read.
    pub fn has_alternatives(&self) -> bool {
        self.tasks.iter().any(TaskSpec::has_choice)
    }

    /// True of one that replicas before [`crate::Feature::SubRuns`] cannot read.
    pub fn has_sub_runs(&self) -> bool {
        !self.result.is_empty() || self.tasks.iter().any(|task| task.sub_run.is_some())
    }

    /// True of one that replicas before [`crate::Feature::Gangs`] cannot read.
    pub fn has_gangs(&self) -> bool {
        self.tasks.iter().any(|task| task.gang.is_some())
    }
}

impl TaskSpec {
    fn is_flow(&self) -> bool {
        let is_decided = self.when.is_some() || self.each.is_some();
        self.role != Role::Work || self.templated || is_decided || self.accept_failed > 0
    }

    /// True of a task of which nobody knows yet how many elements it has.
    pub fn has_open_count(&self) -> bool {
        matches!(self.each, Some(Each::Result(_)))
    }

    /// True of a task of which something must be decided once its needs are met: whether it runs, or for what.
    pub fn is_decided(&self) -> bool {
        self.when.is_some() || self.has_open_count()
    }
}

impl Retry {
    /// True of an end after which there is no other try.
    pub fn rules_out(&self, exit: Option<Exit>, outcome: Option<&Outcome>) -> bool {
        let by_exit = match exit {
            Some(Exit::Code(code)) => self.never.contains(&code),
            Some(Exit::Signal(_)) | None => false,
        };
        let by_error = match outcome {
            Some(Outcome::Error(_)) if quorate_planted::is(Bug::ErrorTriedAgain) => false,
            Some(Outcome::Error(error)) => self.never_errors.contains(error),
            Some(Outcome::Result(_)) | None => false,
        };
        by_exit || by_error
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            first_ms: 1_000,
            factor_milli: 2_000,
            cap_ms: 100_000,
            jitter_milli: 200,
            never: Vec::new(),
            never_errors: Vec::new(),
        }
    }
}

/// A named job: its newest spec and its newest run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name there.
    pub name: JobName,
    /// Counts distinct specs submitted under this name, from 1.
    pub version: u32,
    /// Digest of the newest spec.
    pub spec_digest: Digest,
    /// The newest spec.
    pub spec: Arc<JobSpec>,
    /// The newest run.
    pub latest_run: RunId,
    /// When it was last submitted.
    pub submitted_at: Millis,
    /// The revision of that.
    pub submitted_revision: Revision,
    /// Nobody finds it under its name until that is submitted again; what ran of it stays, and versions go on counting.
    /// Needs [`crate::Feature::RunControl`].
    pub deleted: bool,
    /// How its newest run ended, once that is not in memory any more. Needs [`crate::Feature::RunArchive`].
    pub latest_ended: Option<RunState>,
}

/// What is known of a version of a job, by its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobVersion {
    /// Its number.
    pub version: u32,
    /// Its first run, which has its spec.
    pub first_run: RunId,
    /// How many runs it has.
    pub runs: u32,
}

/// One thing wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field in the job file, such as `task.split.needs[0]`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}
