//! What is observed of a run from outside of the product: what disks were told, what executors ran,
//! what clients were answered, which faults struck.
//!
//! Oracles judge facts and nothing else, so that no oracle believes the code that it checks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_proto::v1;
use quorate_seams::{Batch, Table};
use quorate_state::{AttemptId, Exit, GpuHold, NodeName, OnNodeLoss, Token};

use crate::scenario::{Class, Control, Listing};

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// A replica's process began.
    ReplicaStarted { replica: usize },
    /// A replica handed a batch to its disk. Numbers rise by one per replica, over all of its lives.
    /// `replaced` names the tables whose content the batch replaces whole.
    Wrote { replica: usize, number: u64, batch: Arc<Batch>, replaced: Arc<[Table]> },
    /// Everything up to and including this batch is on stable storage.
    Synced { replica: usize, through: u64 },
    /// A replica's process is gone; of its batches, those up to and including `survived` are still there.
    ReplicaGone { replica: usize, survived: u64 },
    /// A replica's disk was replaced with an empty one, while its process was gone.
    ReplicaRenewed { replica: usize },
    /// What is durable on a replica's disk was copied.
    DiskImaged { replica: usize },
    /// A replica's disk is the copy that was made of it, while its process was gone.
    DiskReverted { replica: usize },
    /// A replica's disk was changed by somebody else while its process was gone, so that its history differs.
    DiskAltered { replica: usize, batch: Arc<Batch> },
    /// A replica's process ended by itself.
    ReplicaStopped { replica: usize, error: Option<String> },
    /// An agent's process began.
    AgentStarted { node: NodeName },
    /// An agent's process is gone, by a fault, and all it ran with it.
    AgentGone { node: NodeName },
    /// An agent's process ended by itself.
    AgentStopped { node: NodeName, error: Option<String> },
    /// An executor's own record, which no agent can change.
    Execution(Execution),
    /// A client's request came to its end.
    Operation(Arc<Operation>),
    /// An operator's request about who takes part came to its end.
    Change(Arc<Change>),
    /// An operator's request about a node came to its end.
    Errand(Arc<Errand>),
    /// Something happened to a watch.
    Watch(Arc<Watch>),
    /// A fault struck.
    #[expect(dead_code, reason = "people read what it was")]
    Fault { class: Class, what: String },
}

/// What an executor did with one attempt. All on the simulation's true time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Execution {
    /// Where.
    pub(crate) node: NodeName,
    /// What.
    pub(crate) attempt: AttemptId,
    /// The token it was handed.
    pub(crate) token: Token,
    /// What its job was promised.
    pub(crate) promise: OnNodeLoss,
    /// What its command says besides how it behaves, if anything: references in it are replaced.
    pub(crate) words: Option<Arc<str>>,
    /// The devices that it was told to use.
    pub(crate) gpus: GpuHold,
    /// What happened.
    pub(crate) what: Happening,
}

/// See [`Execution`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Its first instruction.
    Started,
    /// The agent asked it to end.
    Asked,
    /// The agent had it killed; it may need a moment to be gone.
    Killed,
    /// Its last instruction.
    Ended {
        /// How, unless its machine or agent took it along.
        exit: Option<Exit>,
    },
}

/// A request of a client and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// Which session: its operations follow each other.
    pub(crate) session: usize,
    /// When it was called; it returned at the fact's time.
    pub(crate) called: Duration,
    /// What was asked.
    pub(crate) request: Request,
    /// What was heard.
    pub(crate) outcome: Outcome,
}

/// What a client asks.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// Submit a job; of one that has a flow, with what its run is told.
    Submit { request_id: String, spec: Arc<v1::JobSpec>, args: Option<String> },
    /// Cancel a job's latest run. Jobs of one name are submitted once, or again with the same request id.
    Cancel { request_id: String, job: String },
    /// Give up a job's latest run, with all that would come after its work.
    Abandon { request_id: String, job: String },
    /// Try a run of a job, which is named by its id, a second time; from these tasks on.
    Restart { request_id: String, job: String, run: String, from: Vec<String> },
    /// Pause or resume a job's latest run, or give it another priority.
    Control { request_id: String, job: String, what: Control },
    /// Read a job's latest run.
    Get { job: String },
    /// Read the newest runs.
    List,
    /// Read the tasks of a job's latest run.
    Tasks { job: String },
    /// Read the attempts of a job's latest run.
    Attempts { job: String },
    /// Read a page of a list.
    Page(Page),
}

/// A page of a list, by what the page before it said.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// What is listed.
    pub(crate) of: Listing,
    /// Rows on it at most.
    pub(crate) size: u32,
    /// What the page before gave for this one; empty for the first.
    pub(crate) token: String,
    /// The row that the page before ended with, as [`Answer::next_page`] names it.
    pub(crate) after: Option<String>,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// With an answer.
    Answered(Answer),
    /// With a refusal that says that nothing was done, or nothing found.
    Refused(String),
    /// Nobody knows whether it was carried out, or will be.
    #[expect(dead_code, reason = "people read why")]
    Unknown(String),
}

/// A good answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Submitted(v1::SubmitJobResponse),
    Cancelled(v1::CancelRunResponse),
    Abandoned(v1::AbandonRunResponse),
    /// The run, and since when it is so.
    Controlled {
        run_id: String,
        revision: u64,
    },
    Run(Box<v1::GetRunResponse>),
    Runs(v1::ListRunsResponse),
    Tasks(v1::ListTasksResponse),
    Attempts(v1::ListAttemptsResponse),
}

impl Answer {
    /// The name of its last row, where it is a list, and the token of what follows; none at the end.
    pub(crate) fn next_page(&self) -> Option<(String, String)> {
        let (row, token) = match self {
            Self::Runs(answer) => (answer.runs.last().map(|run| run.id.clone()), &answer.next_page_token),
            Self::Tasks(answer) => {
                (answer.tasks.last().map(|task| task_row(&task.task, task.index)), &answer.next_page_token)
            }
            Self::Attempts(answer) => {
                let row = |it: &v1::Attempt| attempt_row(&it.task, it.index, it.number);
                (answer.attempts.last().map(row), &answer.next_page_token)
            }
            Self::Submitted(_) | Self::Cancelled(_) | Self::Abandoned(_) | Self::Controlled { .. } | Self::Run(_) => {
                return None;
            }
        };
        Some((row?, token.clone())).filter(|(_, token)| !token.is_empty())
    }

    /// The revision at which it was true.
    pub(crate) fn revision(&self) -> u64 {
        match self {
            Self::Submitted(answer) => answer.revision,
            Self::Cancelled(answer) => answer.revision,
            Self::Abandoned(answer) => answer.revision,
            Self::Controlled { revision, .. } => *revision,
            Self::Run(answer) => answer.revision,
            Self::Runs(answer) => answer.revision,
            Self::Tasks(answer) => answer.revision,
            Self::Attempts(answer) => answer.revision,
        }
    }
}

/// A change of who takes part, as an operator asks for it, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// When it was called; it returned at the fact's time.
    #[expect(dead_code, reason = "people read when")]
    pub(crate) called: Duration,
    /// What was asked.
    pub(crate) asked: Asked,
    /// What was heard.
    pub(crate) heard: Heard,
}

/// See [`Change`]; replicas by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// That a replica belongs to the cluster no more.
    Remove(u64),
    /// That a learner votes.
    Promote(u64),
    /// That a replica leads.
    Transfer(u64),
}

/// See [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is done.
    Done,
    /// It will not be done, and why.
    Refused(String),
    /// Nobody knows, and why.
    Unknown(String),
}

/// A request about a node, as an operator sends it, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    /// When it was called; it returned at the fact's time.
    #[expect(dead_code, reason = "people read when")]
    pub(crate) called: Duration,
    pub(crate) request_id: String,
    /// The name of a node, a cluster or a region.
    pub(crate) node: String,
    /// What was asked.
    pub(crate) asked: Told,
    /// What was heard.
    pub(crate) heard: Heard,
}

/// See [`Errand`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// To take nothing new.
    Cordon,
    /// To take work again.
    Uncordon,
    /// To take nothing new, and to have its work moved off, after so long.
    Drain { wait_ms: u64 },
    /// The same for so long.
    Maintain { wait_ms: u64, lasts_ms: u64 },
    /// To be given up.
    Forget,
    /// A region (or else a cluster): to take nothing new; with a drain, to have its work moved off after so long, for so long.
    Withdraw { region: bool, drain: Option<(u64, Option<u64>)> },
    /// The same: to take work again.
    Restore { region: bool },
}

/// The name of a task's row in a list.
pub(crate) fn task_row(task: &str, index: u32) -> String {
    format!("{task}[{index}]")
}

/// The name of an attempt's row in a list.
pub(crate) fn attempt_row(task: &str, index: u32, number: u32) -> String {
    format!("{task}[{index}]#{number}")
}

/// What a watch of a job's run was told.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// Which watch.
    pub(crate) number: usize,
    /// Of which run (its id).
    pub(crate) run: String,
    /// What happened.
    pub(crate) what: Watched,
}

/// See [`Watch`].
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are messages")]
pub(crate) enum Watched {
    /// It was opened, to be told what follows a revision (0: to begin with the run's state).
    Opened { after: u64 },
    /// It was told this.
    Message(v1::WatchRunResponse),
    /// Its end: the run's.
    Ended,
    /// It failed, for a client that gave up.
    #[expect(dead_code, reason = "people read why")]
    Failed(String),
}

/// Where facts are handed in, in the order in which they happen. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(Arc<Mutex<Vec<(Duration, Fact)>>>);

impl Facts {
    /// Hands one in that happened at this instant, on the host that calls.
    pub(crate) fn add(&self, fact: Fact) {
        self.add_at(turmoil::sim_elapsed().unwrap_or_default(), fact);
    }

    /// Hands one in that happened at `at`.
    pub(crate) fn add_at(&self, at: Duration, fact: Fact) {
        self.lock().push((at, fact));
    }

    /// Takes all that were handed in since the last call.
    pub(crate) fn take(&self) -> Vec<(Duration, Fact)> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Duration, Fact)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
