//! Why a task is not running.

use quorate_proto::v1;
use serde::Serialize;
use serde_json::value::RawValue;

use super::attempt::result;
use super::expected::Expected;
use super::payload::{self, Payload};
use super::run::Pause;
use super::share::ShareTaken;
use super::table::word;
use super::{Paint, View, plain, time};

/// How many nodes fail a check.
#[derive(Debug, Serialize)]
pub(crate) struct FailedCheck {
    check: String,
    nodes: u32,
}

/// The node that comes nearest.
#[derive(Debug, Serialize)]
pub(crate) struct NearestMiss {
    node: String,
    check: String,
    missing_cpu_milli: u64,
    missing_memory_bytes: u64,
    missing_gpu_milli: u64,
}

/// The maximum of a namespace, of one resource.
#[derive(Debug, Serialize)]
struct OverQuota {
    namespace: String,
    resource: String,
    used: u64,
    maximum: u64,
    asked: u64,
}

impl From<v1::OverQuota> for OverQuota {
    fn from(over: v1::OverQuota) -> Self {
        let v1::OverQuota { namespace, resource, used, maximum, asked } = over;
        Self { namespace, resource, used, maximum, asked }
    }
}

/// An attempt that was asked to stop to make room.
#[derive(Debug, Serialize)]
struct Victim {
    run_id: String,
    step: u32,
    index: u32,
    number: u32,
    priority: u32,
    /// What namespaces had, if it is stopped for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<ShareTaken>,
}

/// Why a task waits: a word, a sentence, and what belongs to the word.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Reason {
    kind: &'static str,
    /// The reason as a sentence.
    pub(crate) text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    needs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<Pause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    never: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<FailedCheck>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<NearestMiss>,
    /// When it begins at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Expected>,
    /// The limit that is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u32>,
    /// The maximum of a namespace that is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    over_quota: Option<OverQuota>,
    /// The region that is lost, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_ms: Option<u64>,
    /// The reservation that it asks for, and what is the matter with that.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flaw: Option<String>,
    /// The regions to which it is bound by what its job says of the loss of one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bound_regions: Vec<String>,
    /// How many of its gang could be placed now.
    #[serde(skip_serializing_if = "Option::is_none")]
    gang: Option<GangWait>,
    /// Why each of its alternatives is not taken, the best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alternatives: Vec<Reason>,
    /// Those whose room it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    victims: Vec<Victim>,
}

/// How a gang stands in the queue.
#[derive(Debug, Serialize)]
struct GangWait {
    members: u32,
    ready: u32,
    fits: u32,
    /// Where so many fit, if its members have to be together.
    domain: Option<String>,
}

impl Reason {
    /// With why no node fits.
    fn with(self, none: v1::NoNodeFits) -> Self {
        let checks = none.checks.into_iter().map(|check| FailedCheck { check: check.check, nodes: check.nodes });
        Self {
            never: Some(none.never),
            expected: none.expected.map(Expected::from),
            checks: checks.collect(),
            bound_regions: none.bound_regions,
            nearest: none.nearest.map(Into::into),
            ..self
        }
    }
}

impl From<v1::Victim> for Victim {
    fn from(victim: v1::Victim) -> Self {
        let v1::Victim { run_id, step, index, number, priority, share } = victim;
        Self { run_id, step, index, number, priority, share: share.map(ShareTaken::from) }
    }
}

impl From<v1::WaitReason> for Reason {
    fn from(reason: v1::WaitReason) -> Self {
        use v1::wait_reason::Reason as Wire;
        let base = Self { text: reason.text, ..Self::default() };
        match reason.reason {
            None => Self { kind: "unspecified", ..base },
            Some(Wire::NotWaiting(_)) => Self { kind: "not_waiting", ..base },
            Some(Wire::Needs(unmet)) => Self { kind: "needs", needs: unmet.tasks, ..base },
            Some(Wire::Fallback(unmet)) => Self { kind: "fallback", needs: unmet.tasks, ..base },
            Some(Wire::Condition(_)) => Self { kind: "condition", ..base },
            Some(Wire::AfterWork(_)) => Self { kind: "after_work", ..base },
            Some(Wire::InTurn(_)) => Self { kind: "in_turn", ..base },
            Some(Wire::SubRunDue(_)) => Self { kind: "sub_run_due", ..base },
            Some(Wire::RunsFull(full)) => Self { kind: "runs_full", max: Some(full.max), ..base },
            Some(Wire::OverQuota(over)) => Self { kind: "over_quota", over_quota: Some(over.into()), ..base },
            Some(Wire::RoomClaimed(claimed)) => Self {
                kind: "room_claimed",
                node: Some(claimed.node),
                remaining_ms: Some(claimed.remaining_ms),
                victims: claimed.victims.into_iter().map(Victim::from).collect(),
                ..base
            },
            Some(Wire::Backoff(wait)) => Self { kind: "backoff", remaining_ms: Some(wait.remaining_ms), ..base },
            Some(Wire::Fence(wait)) => {
                Self { kind: "fence", node: Some(wait.node), remaining_ms: Some(wait.remaining_ms), ..base }
            }
            Some(Wire::Queued(queued)) => Self { kind: "queued", position: Some(queued.position), ..base },
            Some(Wire::Cancelling(_)) => Self { kind: "cancelling", ..base },
            Some(Wire::Paused(pause)) => Self { kind: "paused", paused: Some(pause.into()), ..base },
            Some(Wire::Held(_)) => Self { kind: "held", ..base },
            Some(Wire::Quarantined(quarantined)) => Self { kind: "quarantined", nodes: quarantined.nodes, ..base },
            Some(Wire::FitsNow(fits)) => Self { kind: "fits_now", node: Some(fits.node), ..base },
            Some(Wire::Unknown(lost)) => {
                Self { kind: "unknown", node: Some(lost.node), remaining_ms: Some(lost.remaining_ms), ..base }
            }
            Some(Wire::NoNodeFits(none)) => Self { kind: "no_node_fits", ..base }.with(none),
            Some(Wire::NoAlternative(none)) => Self {
                kind: "no_alternative",
                alternatives: none.each.into_iter().map(Reason::from).collect(),
                expected: none.expected.map(Expected::from),
                ..base
            },
            Some(Wire::Gang(waits)) => {
                let v1::GangWait { members, ready, fits, domain, nearest, expected } = waits;
                let domain = Some(domain).filter(|domain| !domain.is_empty());
                let gang = Some(GangWait { members, ready, fits, domain });
                let base = Self { kind: "gang", gang, ..base };
                let base = match nearest {
                    Some(none) => base.with(none),
                    None => base,
                };
                Self { expected: expected.map(Expected::from), ..base }
            }
            Some(Wire::RegionLost(lost)) => {
                let v1::RegionLost { region, lost_ms, remaining_ms } = lost;
                Self { kind: "region_lost", region: Some(region), lost_ms, remaining_ms, ..base }
            }
            Some(Wire::NotReserved(why)) => {
                let flaw = word("RESERVATION_FLAW_", why.flaw().as_str_name());
                let v1::NotReserved { reservation, remaining_ms, .. } = why;
                Self { kind: "not_reserved", reservation: Some(reservation), flaw: Some(flaw), remaining_ms, ..base }
            }
            Some(Wire::RoomKept(kept)) => {
                Self { kind: "room_kept", expected: kept.expected.map(Expected::from), ..base }
            }
        }
    }
}

/// `task why`.
#[derive(Debug, Serialize)]
pub(crate) struct TaskWhy {
    run_id: String,
    task: String,
    index: u32,
    state: String,
    attempts: u32,
    tries: u32,
    losses: u32,
    /// The newest run that was begun for it, if it is a run of another job.
    sub_run: Option<String>,
    reason: Reason,
    /// The nodes that can take it now, the best first.
    candidates: Vec<Candidate>,
    /// Those that nearly could, the nearest first.
    misses: Vec<NearestMiss>,
    revision: u64,
    #[serde(skip)]
    is_array: bool,
}

/// A node that can take a task.
#[derive(Debug, Serialize)]
struct Candidate {
    node: String,
    /// In the order in which they decide.
    terms: Vec<ScoreTerm>,
}

/// What a node is worth by one measure.
#[derive(Debug, Serialize)]
struct ScoreTerm {
    name: String,
    value_milli: i64,
}

impl From<v1::NearestMiss> for NearestMiss {
    fn from(nearest: v1::NearestMiss) -> Self {
        Self {
            node: nearest.node,
            check: nearest.check,
            missing_cpu_milli: nearest.missing_cpu_milli,
            missing_memory_bytes: nearest.missing_memory_bytes,
            missing_gpu_milli: nearest.missing_gpu_milli,
        }
    }
}

impl From<v1::Candidate> for Candidate {
    fn from(candidate: v1::Candidate) -> Self {
        let terms = candidate.terms.into_iter();
        let terms = terms.map(|term| ScoreTerm { name: term.name, value_milli: term.value_milli });
        Self { node: candidate.node, terms: terms.collect() }
    }
}

impl TaskWhy {
    /// What the server said of a task of `run_id`.
    pub(crate) fn new(run_id: &str, response: v1::ExplainTaskResponse) -> Self {
        let task = response.task.unwrap_or_default();
        Self {
            run_id: run_id.to_owned(),
            state: task_word(task.state),
            task: task.task,
            index: task.index,
            is_array: task.count > 1,
            attempts: task.attempts,
            tries: task.tries,
            losses: task.losses,
            sub_run: Some(task.sub_run).filter(|run| !run.is_empty()),
            reason: response.reason.unwrap_or_default().into(),
            candidates: response.candidates.into_iter().map(Into::into).collect(),
            misses: response.misses.into_iter().map(Into::into).collect(),
            revision: response.revision,
        }
    }
}

impl View for TaskWhy {
    const SCHEMA: &'static str = "quorate.v1.task_why/1";

    fn human(&self, _: Paint) -> String {
        let name = task_name(&self.task, self.index, self.is_array);
        let why = match &self.reason.alternatives[..] {
            [] => plain(&self.reason.text),
            _ => "there is room for none of its alternatives".into(),
        };
        let mut text = format!("{name} of run {} is {}: {why}\n", self.run_id, self.state);
        for (number, alternative) in self.reason.alternatives.iter().enumerate() {
            text += &format!("  want[{number}]: {}\n", plain(&alternative.text));
        }
        if let Some(pause) = &self.reason.paused {
            text += &format!("  paused {}\n", pause.words());
        }
        for check in &self.reason.checks {
            text += &format!("  {} on {}\n", check.check, time::count(check.nodes.into(), "node"));
        }
        if let Some(nearest) = &self.reason.nearest {
            text += &format!("  nearest: {} ({})", nearest.node, nearest.check);
            if nearest.missing_cpu_milli > 0 {
                text += &format!(", missing {} cores", time::cores(nearest.missing_cpu_milli));
            }
            if nearest.missing_memory_bytes > 0 {
                text += &format!(", missing {} of memory", time::bytes(nearest.missing_memory_bytes));
            }
            if nearest.missing_gpu_milli > 0 {
                text += &format!(", missing {} of a GPU that it could use", time::cores(nearest.missing_gpu_milli));
            }
            text.push('\n');
        }
        text
    }
}

/// `task release`.
#[derive(Debug, Serialize)]
pub(crate) struct TaskReleased {
    pub(crate) run_id: String,
    pub(crate) task: String,
    pub(crate) index: u32,
    /// False: it was not in quarantine.
    pub(crate) released: bool,
}

impl View for TaskReleased {
    const SCHEMA: &'static str = "quorate.v1.task_released/1";

    fn human(&self, _: Paint) -> String {
        let name = format!("{}[{}] of run {}", self.task, self.index, self.run_id);
        if self.released {
            format!("{name} is out of quarantine: it may be placed again, and what spoke against it is forgotten")
        } else {
            format!("{name} is not in quarantine")
        }
    }
}

/// `task result`.
#[derive(Debug, Serialize)]
pub(crate) struct TaskResult {
    run_id: String,
    task: String,
    index: u32,
    /// Number of the attempt that it is of; none of a task that is a run of another job.
    attempt: Option<u32>,
    /// The run that it came out of, if the task is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_run: Option<String>,
    /// What it said that came out of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    /// Data that it has left behind, by name.
    payloads: Vec<Payload>,
}

impl TaskResult {
    /// What came out of an attempt; none when it left neither a result nor payloads.
    pub(crate) fn new(attempt: &v1::Attempt) -> Option<Self> {
        let said = attempt.outcome.as_ref().and_then(|outcome| outcome.outcome.as_ref());
        let result = said.and_then(result);
        let payloads: Vec<Payload> = attempt.payloads.iter().cloned().map(Into::into).collect();
        (result.is_some() || !payloads.is_empty()).then(|| Self {
            run_id: attempt.run_id.clone(),
            task: attempt.task.clone(),
            index: attempt.index,
            attempt: Some(attempt.number),
            sub_run: None,
            result,
            payloads,
        })
    }

    /// What came out of the run that a task of `run_id` is; none when nothing did.
    pub(crate) fn of_run(run_id: &str, task: v1::Task, run: &v1::Run) -> Option<Self> {
        let text = String::from_utf8(run.result.to_vec()).ok().filter(|text| !text.is_empty())?;
        Some(Self {
            run_id: run_id.to_owned(),
            task: task.task,
            index: task.index,
            attempt: None,
            sub_run: Some(run.id.clone()),
            result: Some(RawValue::from_string(text).ok()?),
            payloads: Vec::new(),
        })
    }
}

impl View for TaskResult {
    const SCHEMA: &'static str = "quorate.v1.task_result/1";

    fn human(&self, paint: Paint) -> String {
        let result = self.result.iter().map(|result| plain(result.get()));
        let payloads = (!self.payloads.is_empty()).then(|| payload::table(&self.payloads, paint));
        result.chain(payloads).collect::<Vec<_>>().join("\n\n")
    }
}

/// `split`, or `score[3]` for an element of an array.
pub(crate) fn task_name(task: &str, index: u32, is_array: bool) -> String {
    if is_array { format!("{task}[{index}]") } else { task.to_owned() }
}

/// The word of a task's state.
pub(crate) fn task_word(number: i32) -> String {
    v1::TaskState::try_from(number)
        .map_or_else(|_| format!("unknown-{number}"), |known| word("TASK_STATE_", known.as_str_name()))
}
