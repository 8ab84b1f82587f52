//! What the cluster knows, and the only function that changes it.
//!
//! Read in this order: the nouns (`job`, `run`, `task`, `attempt`, `node`), then `command`, `reply`
//! and `event` (what goes into and comes out of [`apply`]), then `state` (the tables) and `apply`.
//!
//! **Invariant:** this crate has no async, IO, clock, randomness, floats or hash maps, because the
//! same log must give the same state, byte for byte, on every replica and in every version.
//! **Invariant:** [`State::commit`] is the only way a table changes, and each [`Change`] is also the
//! row written to disk, because a row that could be forgotten one day would be.
//! **Invariant:** [`apply`] never panics, because a command that crashes one replica crashes all.
#![warn(clippy::wildcard_enum_match_arm)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_arithmetic))]

mod gpu;
mod id;
mod resources;
mod time;

mod admission;
mod archive;
mod attempt;
mod census;
mod cluster;
mod gang;
mod job;
mod namespace;
mod node;
mod offer;
mod payload;
mod run;
mod scope;
mod settings;
mod sub_run;
mod task;

mod command;
mod event;
mod reply;

mod evictable;
mod feasible;
mod index;
mod state;

mod apply;
mod check;
mod dedup;
mod feature;
mod flow;
mod graph;
mod mix;
mod parts;
mod planning;
mod preemption;
mod progress;
mod ready;
mod rebalance;
mod region_loss;
mod reservation;
mod restored;
mod suspect;

pub use gpu::{GPU_MILLI, GPUS_PER_NODE_MAX, GpuHold, GpuUse, GpuWant};
pub use id::{
    AnnotationKey, AttemptId, ClusterId, ClusterName, Digest, Epoch, ErrorType, GpuModel, GroupName, JobName,
    JoinTokenId, NAME_BYTES_MAX, Namespace, NodeName, PayloadName, PoolName, Principal, RegionName, RequestId,
    ReservationName, Revision, RunId, TaskId, TaskName, Token, Uuid,
};
pub use resources::Resources;
pub use time::{Millis, Served, Stamp};

pub use admission::{
    Admission, JOIN_TOKENS_MAX, JOIN_TTL_MS_MAX, JOIN_USES_MAX, JoinTerms, JoinToken, NodeAdmission, TokenFlaw,
    labels_of,
};
pub use archive::{ArchivedRun, ArchivedStep, Retention, SEGMENT_MS_MAX, Segment, VERSIONS_KEPT_MAX, VersionRow};
pub use attempt::{Attempt, AttemptState, BAD_REFERENCE, Exit, Outcome, RESULT_TOO_LARGE, StopReason, Usage};
pub use census::{Balanced, Census, Crowd, IMBALANCE_BITS, Imbalance, Rule, Rules};
pub use cluster::Cluster;
pub use gang::{GANG_MAX, Gang, GangSpec, Within};
pub use job::{
    ALTERNATIVES_MAX, ANY_VALUE, ATTEMPTS_MAX, Alternative, Apart, AtMost, Balance, CPU_MILLI_MAX, Choice, Company,
    ConditionFlaw, DATASETS_MAX, DURATION_MS_MAX, Dataset, Driver, EXPRESSION_BYTES_MAX, Each, FALLBACKS_DEEP_MAX, Job,
    JobSpec, JobVersion, LABEL_BYTES_MAX, LIST_MAX, MEMORY_BYTES_MAX, NEAR_WEIGHT, Near, NodeCondition, OnFailure,
    OnNodeLoss, PARAMS_MAX, PREFERENCES_MAX, Param, Place, Preference, RULES_MAX, Retry, Role, SHARE_MAX, Spread,
    TARGETS_MAX, TaskSpec, Topology, Trait, Unsaid, Violation, WEIGHT_OF_PREFERENCE_MAX, WHERE_BYTES_MAX,
    WHERE_DEPTH_MAX, WHERE_PARTS_MAX,
};
pub use namespace::{
    Amounts, Fairness, NAMESPACE_CHILDREN_MAX, NAMESPACES_DEEP_MAX, NAMESPACES_MAX, NamespaceRow, OverQuota, Past,
    Resource, SAMPLES_AT_ONCE_MAX, Share, ShareChange, WEIGHT_FIRST, WEIGHT_MAX, dominant,
};
pub use node::{ATTRIBUTE_PREFIX, Around, Drain, LeaseTerms, Node, NodeStatus, Withdrawal};
pub use offer::{Offer, PRICE_MAX, Price, TAINTS_MAX};
pub use payload::{
    PAYLOAD_URI_BYTES_MAX, PAYLOADS_BYTES_MAX, PAYLOADS_MAX, Payload, PayloadDigest, PayloadError, Payloads,
};
pub use run::{ARGS_BYTES_MAX, Annotation, Decided, Pause, Rest, Run, RunState, Step, StepCounts};
pub use scope::{Scope, ScopeRow};
pub use settings::Settings;
pub use sub_run::{RUNS_DEEP_MAX, SubRun, SubRunSpec};
pub use task::{FailReason, Task, TaskState, Wait};

pub use command::{
    AttemptClaim, AttemptPhase, AttemptReport, Command, DrainTime, Entry, Item, Placement, Registration, RequestKey,
    RunResult, SubRunStart, Timer,
};
pub use event::{Event, EventRow};
pub use reply::{PlacementOutcome, Rejection, Reply, ReportOutcome};

pub use apply::{Applied, apply};
pub use dedup::{DedupKey, RequestRow};
pub use evictable::{Stays, evictable};
pub(crate) use feasible::within_limits;
pub use feasible::{Infeasible, Room, Shortfall, feasible, has_room};
pub use feature::{Feature, FeatureRow, FeatureSet};
pub use graph::Graph;
pub use index::{GpuShape, Load, TOUCHES_KEPT, Touch, TouchMark};
pub use mix::mix;
pub use parts::{Parts, ShareTaken, Stake, Unfair};
pub use preemption::{
    CLAIMS_MAX, Claim, ClaimTerms, GANG_VICTIMS_MAX, GangPreempting, GangRoom, Preempted, Preempting, Preemption,
    SHARE_GAP_FIRST, Spared, VICTIMS_MAX, Vacancy, preemptible,
};
pub use progress::{Phase, READY_AHEAD_MAX, StepVerdict, ready_ahead_max, step_verdict};
pub use ready::{Line, Shape};
pub use rebalance::{
    Gain, Goal, Loads, MOVES_AT_ONCE_MAX, MOVES_MAX, Move, Moved, Moving, REBALANCE_MS_MAX, Reach, Rebalance,
    RebalanceEnd, RebalanceOrder, RebalanceTerms, Side, Unmovable, distance, fullness, movable,
};
pub use region_loss::{Bound, OnRegionLoss};
pub use reservation::{
    RESERVATION_MS_MAX, RESERVATIONS_MAX, RESERVED_NODES_MAX, Reservation, ReservationMove, Unreserved,
};
pub use restored::{Held, REVISIONS_PER_SECOND_BITS};
pub use state::{Change, Meta, ReadyKey, State};
