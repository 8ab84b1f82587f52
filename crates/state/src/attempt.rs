//! One try of a task on one node, and which moves between its states are legal.

use std::sync::Arc;

use quorate_planted::Bug;

use crate::{
    AttemptId, Choice, Epoch, ErrorType, GpuHold, Millis, Moved, NodeName, Payloads, Preempted, Resources, Served,
    Token,
};

/// One try of a task on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Task and number.
    pub id: AttemptId,
    /// The node it was placed on.
    pub node: NodeName,
    /// That node's lease at the time.
    pub epoch: Epoch,
    /// Its fencing token.
    pub token: Token,
    /// Where it stands.
    pub state: AttemptState,
    /// Set once when it should end early; the agent is told.
    pub stop: Option<StopReason>,
    /// The agent has confirmed that its processes are gone, or never were. Until then it holds
    /// its resources, whatever its state.
    pub gone: bool,
    /// What it takes from the node.
    pub resources: Resources,
    /// The devices among that.
    pub gpus: GpuHold,
    /// Which of the alternatives of its task that is. Any but the first needs [`crate::Feature::ResourceAlternatives`].
    pub choice: Choice,
    /// When it was placed.
    pub placed_at: Millis,
    /// When it was reported running.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Instant at which `timeouts.run` stops it; set when it starts.
    pub run_deadline: Option<Served>,
    /// Until when nothing can be known of it. While `Unknown` under `at_most_once`: it becomes lost then.
    /// After its node came back with a new journal: until then it may run, whatever that agent says, and
    /// holds its room.
    pub unknown_deadline: Option<Served>,
    /// How its process ended.
    pub exit: Option<Exit>,
    /// A word from the agent, such as why it could not start.
    pub message: Option<Arc<str>>,
    /// What its process said of its end. Needs [`crate::Feature::TaskOutcomes`].
    pub outcome: Option<Arc<Outcome>>,
    /// It ran when its node went away, and that node has not come back with it: it may have taken the node down.
    /// Needs [`crate::Feature::TaskOutcomes`].
    pub suspect: bool,
    /// What it used.
    pub usage: Usage,
    /// Data that it left behind; none where there is nothing. Needs [`crate::Feature::PayloadRefs`].
    pub payloads: Option<Arc<Payloads>>,
    /// It is not preempted before; none where nobody was when it was placed. Needs [`crate::Feature::Preemption`], as does the
    /// next one.
    pub spared_until: Option<Served>,
    /// For whom it was stopped, if that was to make room.
    pub preempted: Option<Preempted>,
    /// Where its task was to go on, if it was stopped for that. Needs [`crate::Feature::Rebalance`].
    pub moved: Option<Moved>,
}

impl Attempt {
    /// True while it takes room on its node.
    pub fn holds_resources(&self) -> bool {
        let is_freed = quorate_planted::is(Bug::RoomFreedByOutcome) && self.state.is_terminal();
        !self.gone && !is_freed
    }
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptState {
    /// Placed; the agent may not know yet.
    Assigned,
    /// The agent has it and is starting it.
    Starting,
    /// Its process runs.
    Running,
    /// It was told to stop and has not ended.
    Stopping,
    /// Its node's lease has expired; we cannot know.
    Unknown,
    /// Exit code 0.
    Succeeded,
    /// Any other end of its own.
    Failed,
    /// We will never know.
    Lost,
    /// Stopped for a user.
    Cancelled,
    /// Stopped by the control plane, to run elsewhere or to make room; see [`StopReason`].
    Preempted,
    /// Stopped by a timeout: of its run, or of its silence; see [`StopReason`].
    TimedOut,
}

impl AttemptState {
    /// True when it will not change again.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Assigned | Self::Starting | Self::Running | Self::Stopping | Self::Unknown => false,
            Self::Succeeded | Self::Failed | Self::Lost | Self::Cancelled | Self::Preempted | Self::TimedOut => true,
        }
    }

    /// True when an attempt may go from `self` to `to`. Terminal states absorb.
    pub fn may_become(self, to: Self) -> bool {
        let rank = |state| match state {
            Self::Assigned => 0,
            Self::Starting => 1,
            Self::Running => 2,
            Self::Stopping => 3,
            Self::Unknown
            | Self::Succeeded
            | Self::Failed
            | Self::Lost
            | Self::Cancelled
            | Self::Preempted
            | Self::TimedOut => 4,
        };
        match (self.is_terminal(), self) {
            (true, _) => false,
            // The node came back with the current token.
            (false, Self::Unknown) => to != Self::Unknown,
            (false, _) => rank(to) > rank(self),
        }
    }
}

/// Why an attempt should end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A user cancelled its run, or `on_failure = cancel` did.
    Cancelled,
    /// `timeouts.run` passed.
    TimedOut,
    /// The scheduler needs its room.
    Preempted,
    /// Its node is being drained: its task runs elsewhere next.
    Drained,
    /// It said nothing for the whole of `timeouts.silent`. Needs [`crate::Feature::TaskOutcomes`].
    Silent,
    /// Another member of its gang ended or has to leave its place, or not all of them began in time. Needs
    /// [`crate::Feature::Gangs`].
    Gang,
    /// Its task goes on in a better place. Needs [`crate::Feature::Rebalance`].
    Rebalanced,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What a process says of its own end, besides its exit code. Whoever says that something went wrong has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What came out of it: bytes of JSON, exactly as they were written; nothing here looks into them. It counts
    /// only when the attempt succeeds.
    Result(Arc<[u8]>),
    /// What went wrong. An attempt that says so has not succeeded, whatever its exit code.
    Error(ErrorType),
}

/// The error type of an attempt whose result has more than `result_bytes_max` bytes.
pub const RESULT_TOO_LARGE: &str = "ResultTooLarge";

/// The error type of an attempt whose command could not be made, because a reference in it points to nothing. It is never
/// tried again: it would come to the same. Needs [`crate::Feature::TaskFlow`].
pub const BAD_REFERENCE: &str = "BadReference";

/// What an attempt used; zero where the platform does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, user and system, in microseconds.
    pub cpu_us: u64,
    /// Largest resident memory, in bytes.
    pub memory_peak_bytes: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub written_bytes: u64,
}
