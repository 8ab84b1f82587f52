//! Why a task is not running, as data that says the same as the planner would decide.

mod alternatives;
mod check;
mod expected;
mod gang;
mod nearest;
mod preview;
mod region_lost;
mod reservation;
mod standing;
mod survey;
mod why_not;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use quorate_state::{
    Attempt, AttemptId, AttemptState, Bound, Choice, Claim, Held, Namespace, NodeName, OverQuota, Pause, Phase,
    ReadyKey, RegionName, Rest, Role, Run, Served, ShareTaken, Shortfall, State, StepVerdict, Task, TaskId, TaskName,
    TaskState, Wait, step_verdict,
};

pub use alternatives::NoAlternative;
pub use check::{Check, Checks};
pub use expected::{ExpectedStart, expected_starts};
pub use gang::GangWaits;
pub(crate) use preview::copies;
pub use preview::{PREVIEW_CHECKS_MAX, PlannedStep, preview};
pub use region_lost::RegionLost;
pub use reservation::NotReserved;
pub use survey::{Survey, survey};
pub use why_not::{FailedCheck, Fitness, why_not};

use crate::placement::plan;
use crate::{Budget, LogNow, Observed};
use alternatives::{diagnose, no_alternative};
use expected::expected_start;
use region_lost::region_lost;
use reservation::not_reserved;
use standing::standing;

/// Why a task is not running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// It is on a node, or has ended, or does not exist: nothing to explain.
    NotWaiting {
        /// Where it runs, or how it ended.
        standing: String,
    },
    /// These tasks are not done yet. When there are none, it enters the queue at the leader's next step.
    Needs {
        /// Their names, in the order of the spec.
        tasks: Vec<TaskName>,
    },
    /// It stands in for these tasks if one of them fails, and they have not ended yet.
    Fallback {
        /// Their names, in the order of the spec.
        tasks: Vec<TaskName>,
    },
    /// Its needs are met, and the leader decides at its next step whether it runs, or for what.
    Condition,
    /// It runs when the work of its run has ended, and all that has to be has been undone.
    AfterWork,
    /// Enough of its step stands in the queue: it enters that when it is its turn.
    InTurn,
    /// Its next try is delayed.
    Backoff {
        /// For so many milliseconds.
        remaining_ms: u64,
    },
    /// Its lost copy may still run; it is `fenced`.
    Fence {
        /// The node of that copy.
        node: Option<NodeName>,
        /// Milliseconds until the copy is certainly gone, at the latest.
        remaining_ms: u64,
    },
    /// There is a node for it, but tasks before it in the queue come first.
    Queued {
        /// How many tasks are before it.
        position: u64,
    },
    /// Its namespace, or one above that, would hold more than it may.
    OverQuota(OverQuota),
    /// No node can take it.
    NoNodeFits(NoNodeFits),
    /// It may take one of several things, and is placed with none of them.
    NoAlternative(NoAlternative),
    /// Its gang is placed whole, and cannot be now.
    Gang(GangWaits),
    /// A node has the room, but is kept for a task before it or for a reservation, which it would delay.
    WouldDelay {
        /// When it begins at the latest, if that is known.
        expected: Option<ExpectedStart>,
    },
    /// The region that it ran in is lost, and it stays there, for ever or for some time.
    RegionLost(RegionLost),
    /// It asks for a reservation that is not there for it now.
    NotReserved(NotReserved),
    /// It is a run of another job, which the leader begins at its next step.
    SubRunDue,
    /// It is a run of another job, and so many runs have not ended that no other may begin.
    RunsFull {
        /// `runs_unfinished_max`.
        max: u32,
    },
    /// Its run is being cancelled.
    Cancelling,
    /// Its run is paused.
    Paused(Arc<Pause>),
    /// Room is kept for it on a node, where attempts that were asked to stop have not gone yet.
    RoomClaimed(RoomClaimed),
    /// It is placed at the leader's next step.
    FitsNow {
        /// There.
        node: NodeName,
    },
    /// The life of the data before this one may have started it, and it is started once; a person has to
    /// decide.
    Held,
    /// It is suspected of taking down the nodes that it runs on; a person has to look.
    Quarantined {
        /// Those that went away while it ran there.
        nodes: Vec<NodeName>,
    },
    /// The node of its only copy is lost and may come back with it; it is `at_most_once`.
    Unknown {
        /// The node.
        node: NodeName,
        /// Milliseconds until the copy counts as lost.
        remaining_ms: u64,
    },
}

/// Room that is kept for a task until attempts have gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomClaimed {
    /// There.
    pub node: NodeName,
    /// For a gang, on so many other nodes as well.
    pub others: u32,
    /// Those that were stopped for it and have not gone yet.
    pub victims: Vec<Victim>,
    /// The task in the spec of the first of them.
    pub first: Option<TaskName>,
    /// It is kept for so many milliseconds more.
    pub remaining_ms: u64,
}

/// An attempt that was stopped for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Which.
    pub attempt: AttemptId,
    /// The priority of its run.
    pub priority: u8,
    /// What decided, if that was what namespaces had; none: its priority.
    pub share: Option<ShareBetween>,
}

/// What two namespaces had beside their parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareBetween {
    /// The one that took something: of the task, or above it.
    pub namespace: Namespace,
    /// The one that it was taken from, beside it.
    pub from: Namespace,
    /// What they had.
    pub taken: ShareTaken,
}

/// Why no node can take a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoNodeFits {
    /// How many nodes fail which check.
    pub checks: Checks,
    /// The node that comes nearest; none when there is no node at all.
    pub nearest: Option<NearestMiss>,
    /// No node could hold it even when present and empty.
    pub never: bool,
    /// When it begins at the latest, if that is known.
    pub expected: Option<Box<ExpectedStart>>,
    /// The regions to which it is bound by what its job says of the loss of the region that it ran in; none: to none.
    pub bound: Box<[RegionName]>,
}

/// The node that comes nearest to taking a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearestMiss {
    /// Its name.
    pub node: NodeName,
    /// The first check that it fails.
    pub check: Check,
    /// What it would have to have more, beside what is used on it now. When `check` is about room,
    /// a node that gets exactly this can take the task.
    pub missing: Shortfall,
}

/// Why `task` is not running. Costs about one plan.
pub fn explain(view: &State, observed: &Observed, now: LogNow, task: TaskId) -> Explanation {
    let Some(run) = view.run(task.run) else {
        return Explanation::NotWaiting { standing: "it does not exist".into() };
    };
    let Some(task) = view.task(task) else { return without_row(view, run, task) };
    let newest = task.newest_attempt().and_then(|attempt| view.attempt(attempt));
    let left = |until: Served| until.0.saturating_sub(now.served.0);
    // What comes back from a delay, or is ready, would go on if it were not for the pause.
    let would_go_on = matches!(task.state, TaskState::Waiting(Wait::Backoff { .. }) | TaskState::Ready);
    if let Some(pause) = run.paused.as_ref().filter(|_| would_go_on && !run.is_ending(task.id.step)) {
        return Explanation::Paused(pause.clone());
    }
    match &task.state {
        TaskState::Succeeded | TaskState::Failed(_) | TaskState::Cancelled | TaskState::Skipped => {
            Explanation::NotWaiting { standing: standing(view, task) }
        }
        TaskState::Placed | TaskState::Running => on_node(view, task, newest.map(AsRef::as_ref), left),
        TaskState::Waiting(_) | TaskState::Ready if run.is_ending(task.id.step) => Explanation::Cancelling,
        TaskState::Waiting(Wait::Needs) => on_needs(view, run, task.id.step),
        TaskState::Waiting(Wait::Backoff { until }) => Explanation::Backoff { remaining_ms: left(*until) },
        TaskState::Waiting(Wait::Fence { until }) => {
            let remaining_ms = if *until == Served::NEVER { 0 } else { left(*until) };
            Explanation::Fence { node: newest.map(|attempt| attempt.node.clone()), remaining_ms }
        }
        TaskState::Waiting(Wait::Quarantine) => {
            Explanation::Quarantined { nodes: view.suspect_nodes(task.id).into_iter().cloned().collect() }
        }
        TaskState::Ready if run.sub_run(task.id.step).is_some() => before_sub_run(view),
        TaskState::Ready => in_queue(view, observed, now, task),
    }
}

fn on_node(view: &State, task: &Task, newest: Option<&Attempt>, left: impl Fn(Served) -> u64) -> Explanation {
    match newest {
        Some(attempt) if attempt.state == AttemptState::Unknown => Explanation::Unknown {
            node: attempt.node.clone(),
            remaining_ms: attempt.unknown_deadline.map(left).unwrap_or_default(),
        },
        Some(_) | None => Explanation::NotWaiting { standing: standing(view, task) },
    }
}

/// Why a task that is a run of another job has not begun, which nobody keeps from it.
fn before_sub_run(view: &State) -> Explanation {
    let max = view.settings().map_or(0, |settings| settings.runs_unfinished_max);
    if crate::workflow::room(view) == 0 { Explanation::RunsFull { max } } else { Explanation::SubRunDue }
}

/// Why an element that nothing has happened to is not running.
fn without_row(view: &State, run: &Run, task: TaskId) -> Explanation {
    let standing = |standing: &str| Explanation::NotWaiting { standing: standing.into() };
    if let Some(undone) = run.graph.undoes(task.step).and_then(|undone| run.spec.tasks.get(undone as usize)) {
        let of = format!("runs only if the work of its run ends without success, to undo what {} did", undone.name);
        return Explanation::NotWaiting { standing: of };
    }
    if task.index >= view.elements(run.id, task.step) {
        return standing("it does not exist");
    }
    match view.step(run.id, task.step).map(|step| step.rest) {
        Some(Rest::Cancelled) => standing("it was cancelled"),
        Some(Rest::Kept) => standing("it succeeded in the run of which this one is a second try"),
        Some(Rest::Skipped) => standing("it was skipped with its step"),
        Some(Rest::Waiting) if run.is_ending(task.step) => Explanation::Cancelling,
        Some(Rest::Waiting) => on_needs(view, run, task.step),
        None => standing("it does not exist"),
    }
}

/// Why tasks of a step that wait for their needs are not in the queue.
fn on_needs(view: &State, run: &Run, step: u32) -> Explanation {
    let spec = run.spec.tasks.get(step as usize);
    if spec.is_some_and(|spec| spec.role == Role::Finally) && view.phase(run) != Phase::Finally {
        return Explanation::AfterWork;
    }
    let targets = run.graph.stands_for(step);
    let is_open = |step: &u32| view.step_counts(run.id, *step).unfinished() > 0;
    if targets.iter().any(is_open) {
        return Explanation::Fallback { tasks: names(run, targets.iter().copied().filter(is_open)) };
    }
    match step_verdict(view, run.id, step) {
        StepVerdict::Decide => Explanation::Condition,
        StepVerdict::Release if view.waiting_rest(run.id, step) > 0 => Explanation::InTurn,
        StepVerdict::Release
        | StepVerdict::Wait
        | StepVerdict::Skip
        | StepVerdict::PassOver
        | StepVerdict::Fail
        | StepVerdict::Cancel => Explanation::Needs { tasks: unmet(view, run, step) },
    }
}

fn unmet(view: &State, run: &Run, step: u32) -> Vec<TaskName> {
    // In the place of one that has failed, what may still stand in for it.
    let open = |need: u32| {
        let fallbacks = run.graph.fallbacks(need);
        let has_ended = view.step_counts(run.id, need).unfinished() == 0;
        if has_ended && !fallbacks.is_empty() { fallbacks.to_vec() } else { vec![need] }
    };
    names(run, run.graph.needs(step).iter().copied().filter(|need| !view.is_done(run, *need)).flat_map(open))
}

fn names(run: &Run, steps: impl Iterator<Item = u32>) -> Vec<TaskName> {
    steps.filter_map(|step| run.spec.tasks.get(step as usize)).map(|spec| spec.name.clone()).collect()
}

fn in_queue(view: &State, observed: &Observed, now: LogNow, task: &Task) -> Explanation {
    let spec = view.run(task.id.run).and_then(|run| run.spec.tasks.get(task.id.step as usize).map(|spec| (run, spec)));
    match spec.and_then(|(run, spec)| view.held(run, spec, now.served)) {
        Some(Held::Fenced { until }) => {
            return Explanation::Fence { node: None, remaining_ms: until.0.saturating_sub(now.served.0) };
        }
        Some(Held::Once) => return Explanation::Held,
        None => {}
    }
    if let Some(why) = spec.and_then(|(run, spec)| not_reserved(view, now, run, spec)) {
        return Explanation::NotReserved(why);
    }
    let bound = spec.map_or(Bound::Free, |(_, spec)| view.bound(task.home.as_ref(), spec, now.served));
    if let Some(lost) = region_lost(view, now, bound) {
        return Explanation::RegionLost(lost);
    }
    // Of one with alternatives the others may be within it.
    let over = spec.filter(|(_, spec)| !spec.has_choice()).and_then(|(run, spec)| {
        view.over_quota_beside(task.id, &run.spec.namespace, spec.taken_at_once(Choice::FIRST), &[])
    });
    if let Some(over) = over {
        return Explanation::OverQuota(over);
    }
    if let Some(kept) = room_claimed(view, now, task.id) {
        return Explanation::RoomClaimed(kept);
    }
    // The seed makes no difference to a plan.
    let plan = plan(view, observed, now, 0, Budget::default());
    if let Some(placement) = plan.all_placements().find(|placement| placement.task == task.id) {
        return Explanation::FitsNow { node: placement.node.clone() };
    }
    let is_gang = spec.is_some_and(|(_, spec)| spec.gang.is_some());
    // What a gang is told its first member is.
    let is_own = |first: TaskId| {
        if is_gang { (first.run, first.step) == (task.id.run, task.id.step) } else { first == task.id }
    };
    let own = plan.explanations.into_iter().find(|waits| is_own(waits.first));
    let expected = own.as_ref().and_then(|own| own.expected.clone()).map(|expected| expected_start(expected, now));
    if let Some((run, spec)) = spec
        && let Some(gang) = &spec.gang
    {
        let waits = gang::diagnose(view, observed, (run, task.id.step), (spec, gang));
        let is_next = waits.ready == waits.members && waits.fits == waits.members;
        return match is_next {
            true if own.is_some_and(|own| own.would_delay) => Explanation::WouldDelay { expected },
            true => Explanation::Queued { position: position(view, task.id) },
            false => Explanation::Gang(GangWaits { expected, ..waits }),
        };
    }
    if let Some((run, spec)) = spec.filter(|(_, spec)| spec.has_choice()) {
        let would_delay = own.is_some_and(|own| own.would_delay);
        let why = no_alternative(view, observed, (run, spec, task), bound, (would_delay, expected));
        return why
            .map_or_else(|| Explanation::Queued { position: position(view, task.id) }, Explanation::NoAlternative);
    }
    let diagnosed = spec.map(|(run, spec)| diagnose(view, observed, (run, task.id.step), (spec, bound)));
    match diagnosed {
        Some(Err(why)) => Explanation::NoNodeFits(NoNodeFits { expected: expected.map(Box::new), ..why }),
        Some(Ok(())) if own.is_some_and(|own| own.would_delay) => Explanation::WouldDelay { expected },
        Some(Ok(())) | None => Explanation::Queued { position: position(view, task.id) },
    }
}

/// The room that is kept for a task, while somebody is in it.
fn room_claimed(view: &State, now: LogNow, task: TaskId) -> Option<RoomClaimed> {
    let claim = view.claim(task)?;
    let spec = view.run(task.run)?.spec.tasks.get(task.step as usize)?;
    let is_gang = spec.gang.is_some();
    let is_own = |by: TaskId| if is_gang { (by.run, by.step) == (task.run, task.step) } else { by == task };
    let claims: Vec<&Claim> = if is_gang { view.claims_of_gang(task.run, task.step).collect() } else { vec![claim] };
    let nodes: BTreeSet<&NodeName> = claims.iter().map(|claim| &claim.node).collect();
    let on_all = nodes.into_iter().flat_map(|node| view.attempts_on(node));
    let stopped: Vec<&Arc<Attempt>> =
        on_all.filter(|attempt| attempt.preempted.is_some_and(|by| is_own(by.by))).collect();
    let on: BTreeSet<&NodeName> = stopped.iter().map(|attempt| &attempt.node).collect();
    let node = stopped.first().map_or(&claim.node, |attempt| &attempt.node).clone();
    let others = u32::try_from(on.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let victims: Vec<Victim> = stopped
        .into_iter()
        .map(|attempt| Victim {
            attempt: attempt.id,
            priority: view.run(attempt.id.task.run).map_or(0, |run| run.priority()),
            share: share_between(view, attempt),
        })
        .collect();
    let first = victims.first().and_then(|first| {
        let TaskId { run, step, index: _ } = first.attempt.task;
        view.run(run)?.spec.tasks.get(step as usize).map(|spec| spec.name.clone())
    });
    let until = claims.iter().map(|claim| claim.terms.until).min().unwrap_or(claim.terms.until);
    let remaining_ms = until.0.saturating_sub(now.served.0);
    (!victims.is_empty()).then_some(RoomClaimed { node, others, victims, first, remaining_ms })
}

/// What decided that an attempt was stopped, if that was what namespaces had.
fn share_between(view: &State, attempt: &Attempt) -> Option<ShareBetween> {
    let preempted = attempt.preempted?;
    let taken = preempted.share?;
    let namespace = |run| view.run(run).map(|run| &run.spec.namespace);
    let (namespace, from) = view.siblings_of(namespace(preempted.by.run)?, namespace(attempt.id.task.run)?);
    Some(ShareBetween { namespace, from, taken })
}

fn position(view: &State, task: TaskId) -> u64 {
    let Some(run) = view.run(task.run) else { return 0 };
    let own = ReadyKey::of(run, task);
    view.ready().take_while(|key| *key < own).count() as u64
}

impl fmt::Display for NoNodeFits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(nearest) = &self.nearest else { return f.write_str("there is no node yet") };
        if let [first, rest @ ..] = &self.bound[..] {
            let rest: Vec<&str> = rest.iter().map(RegionName::as_str).collect();
            let others = if rest.is_empty() { String::new() } else { format!(" or {}", rest.join(" or ")) };
            write!(f, "on_region_loss binds it to region {first}{others}: ")?;
        }
        let subject = if self.never { "no node could hold it even when empty" } else { "no node fits" };
        write!(f, "{subject} ({}); nearest is {}, ", self.checks, nearest.node)?;
        if nearest.check.is_about_room() {
            write!(f, "short of {}", nearest.missing)
        } else {
            write!(f, "{}", nearest.check.phrase())
        }?;
        self.expected.as_ref().map_or(Ok(()), |expected| write!(f, "; {expected}"))
    }
}

impl fmt::Display for RoomClaimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, others, victims, first, remaining_ms: _ } = self;
        match victims.len() {
            1 => write!(f, "waits for an attempt to stop on node {node}")?,
            several => write!(f, "waits for {several} attempts to stop on node {node}")?,
        }
        match others {
            0 => {}
            1 => f.write_str(" and another one")?,
            others => write!(f, " and {others} others")?,
        }
        let (Some(victim), Some(first)) = (victims.first(), first) else { return Ok(()) };
        let TaskId { run, step: _, index } = victim.attempt.task;
        write!(f, " (preempting {run}/{first}[{index}], priority {}", victim.priority)?;
        let others = victims.len() - 1;
        if others > 0 { write!(f, ", and {others} more)") } else { f.write_str(")") }?;
        match victims.iter().find_map(|victim| victim.share.as_ref()) {
            Some(share) => write!(f, ": {share}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ShareBetween {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, from, taken } = self;
        let ShareTaken { had_ppm, part_ppm, from_had_ppm, from_part_ppm, guaranteed } = *taken;
        let [had, part, from_had, from_part] = [had_ppm, part_ppm, from_had_ppm, from_part_ppm].map(percent);
        let rule = if guaranteed { "it is within its guarantee" } else { "it is below its part" };
        write!(
            f,
            "namespace {namespace} had {had}% of the cluster of the {part}% that are its part, and {from} {from_had}% of \
             {from_part}%; {rule}"
        )
    }
}

/// With one decimal.
fn percent(ppm: u32) -> String {
    format!("{}.{}", ppm / 10_000, ppm / 1_000 % 10)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWaiting { standing } => f.write_str(standing),
            Self::Needs { tasks } if tasks.is_empty() => {
                f.write_str("all it needs has succeeded: it is about to be queued")
            }
            Self::Needs { tasks } => {
                let names: Vec<&str> = tasks.iter().map(TaskName::as_str).collect();
                write!(f, "waiting for {} to succeed", names.join(", "))
            }
            Self::Fallback { tasks } => {
                let names: Vec<&str> = tasks.iter().map(TaskName::as_str).collect();
                write!(f, "runs if one of {} fails, and waits until they have ended", names.join(", "))
            }
            Self::Condition => f.write_str("all it needs is done: whether it runs is about to be decided"),
            Self::AfterWork => f.write_str("runs when the work of its run has ended, and what has to be was undone"),
            Self::InTurn => f.write_str("enough of its step stands in the queue: it is queued when it is its turn"),
            Self::Backoff { remaining_ms } => write!(f, "tried again in {remaining_ms} ms"),
            Self::Fence { node: Some(node), remaining_ms: 0 } => {
                write!(f, "waiting for node {node} to confirm that its last copy is gone")
            }
            Self::Fence { node: Some(node), remaining_ms } => {
                write!(f, "its copy on lost node {node} is certainly gone in {remaining_ms} ms at the latest")
            }
            Self::Fence { node: None, remaining_ms } => {
                write!(f, "copies from before the restore are certainly gone in {remaining_ms} ms")
            }
            Self::Held => f.write_str(
                "it may have been started after the backup was taken, and is started once: \
                 look at what it did, then cancel its run (with --all, if this comes after its work) and submit the job again \
                 if need be",
            ),
            Self::Quarantined { nodes } => {
                let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
                write!(
                    f,
                    "in quarantine: it ran on {} when these went away, one after the other; look at what it does to \
                     a node, then release it with 'quorate task release', or cancel its run",
                    names.join(", ")
                )
            }
            Self::Queued { position: 0 } => f.write_str("first in the queue: about to be placed"),
            Self::Queued { position } => write!(f, "{position} tasks are before it in the queue and take the room"),
            Self::OverQuota(over) => write!(f, "{over}: it waits until something of it has ended, or the maximum is raised"),
            Self::NoNodeFits(why) => why.fmt(f),
            Self::NoAlternative(why) => why.fmt(f),
            Self::Gang(waits) => waits.fmt(f),
            Self::WouldDelay { expected } => {
                f.write_str("the nodes that have the room are kept for tasks before it or for a reservation, which it would delay")?;
                expected.as_ref().map_or(Ok(()), |expected| write!(f, "; {expected}"))
            }
            Self::RoomClaimed(kept) => kept.fmt(f),
            Self::RegionLost(lost) => lost.fmt(f),
            Self::NotReserved(why) => why.fmt(f),
            Self::SubRunDue => f.write_str("all it needs is done: the run that it is is about to begin"),
            Self::RunsFull { max } => write!(
                f,
                "as many runs as may be (runs_unfinished_max, {max}) have not ended: the run that it is begins when others \
                 have ended"
            ),
            Self::Cancelling => f.write_str("its run is being cancelled"),
            Self::Paused(_) => f.write_str("its run is paused"),
            Self::FitsNow { node } => write!(f, "about to be placed on node {node}"),
            Self::Unknown { node, remaining_ms } => {
                write!(f, "its copy is on lost node {node}, which may come back with it for another {remaining_ms} ms")
            }
        }
    }
}
