//! Preemption: whose attempts are stopped to make room for a task that waits, and the room that is kept for it meanwhile.

use std::fmt;
use std::sync::Arc;

use quorate_planted::Bug;

use crate::index::Taken;
use crate::{
    Amounts, Attempt, AttemptId, AttemptState, Choice, Epoch, Feature, GpuHold, GpuUse, GpuWant, Namespace, Node,
    NodeName, NodeStatus, OnNodeLoss, OverQuota, Resources, Room, Run, RunId, Served, ShareTaken, State, TaskId,
    TaskSpec, Token, within_limits,
};

/// Attempts that one task can have stopped at once. Part of what feature `preemption` means, as is the next one.
pub const VICTIMS_MAX: usize = 256;
/// Attempts that one gang can have stopped at once, on all nodes together. Part of what feature `gang-preemption` means.
pub const GANG_VICTIMS_MAX: usize = 1_024;
/// Tasks for which room is kept at once.
pub const CLAIMS_MAX: usize = 1_000;

/// What `share_gap` is where nothing is said of it, for good.
pub const SHARE_GAP_FIRST: u8 = 10;

/// Who may be preempted by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// Tasks take the room of others of lower priority.
    pub by_priority: bool,
    /// Those must be so much lower at least, from 1 to 100.
    pub gap: u8,
    /// So long after it was placed an attempt is not preempted, in milliseconds; twice as long after each time that its task
    /// was.
    pub spare_ms: u64,
    /// A task that was preempted so often is not any more.
    pub times_max: u32,
    /// Tasks of namespaces that have less than their part take the room of others, as urgent or less, of namespaces that have
    /// more than theirs. Anything but off needs [`Feature::FairPreemption`].
    pub by_share: bool,
    /// So many hundredths of its part a namespace must have beyond that, and keeps, from 0 to 100.
    pub share_gap: u8,
}

impl Preemption {
    /// Nobody is.
    pub const OFF: Self = Self {
        by_priority: false,
        gap: 10,
        spare_ms: 60_000,
        times_max: 5,
        by_share: false,
        share_gap: SHARE_GAP_FIRST,
    };

    /// The least and the most that each number may be, by its name.
    pub fn limits(&self) -> [(&'static str, u64, u64, u64); 4] {
        [
            ("gap", self.gap.into(), 1, 100),
            ("spare_ms", self.spare_ms, 0, 24 * 3_600_000),
            ("times_max", self.times_max.into(), 1, 100),
            ("share_gap", self.share_gap.into(), 0, 100),
        ]
    }

    /// Somebody may be.
    pub fn is_on(&self) -> bool {
        self.by_priority || self.by_share
    }

    /// It says something of shares.
    pub fn says_share(&self) -> bool {
        self.by_share || self.share_gap != SHARE_GAP_FIRST
    }

    /// True if a task of one priority may take the room of one of another, if what their namespaces have allows it.
    pub fn may_share(&self, priority: u8, other: u8) -> bool {
        self.by_share && other <= priority
    }

    /// True if a task of one priority may take the room of one of another.
    pub fn is_above(&self, priority: u8, other: u8) -> bool {
        let gap = if quorate_planted::is(Bug::PreemptsEqualPriority) { 0 } else { self.gap.max(1) };
        self.by_priority && other.checked_add(gap).is_some_and(|least| priority >= least)
    }

    /// Until when an attempt that is placed now is not preempted, if its task was so often.
    pub(crate) fn spared_until(&self, now: Served, times: u32) -> Served {
        if times >= self.times_max {
            return Served::NEVER;
        }
        // At most a hundred times; more than 32 would be for ever anyway.
        now.plus(self.spare_ms.saturating_mul(1 << times.min(32)))
    }
}

/// With what preemption begins in a cluster in which nobody has worked yet: part of what enabling the feature means, for good.
pub(crate) const PREEMPTION_FIRST: Preemption = Preemption { by_priority: true, ..Preemption::OFF };

/// Who took the room of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preempted {
    /// The task.
    pub by: TaskId,
    /// The priority that it had then.
    pub priority: u8,
    /// What the namespaces had, if it was for that. Needs [`Feature::FairPreemption`].
    pub share: Option<ShareTaken>,
}

/// Room on a node that is kept for a task that waits for attempts to stop there. There is one as long as the task is ready and the
/// node takes work, until it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimTerms {
    /// So much of everything.
    pub resources: Resources,
    /// The devices among that.
    pub gpus: GpuHold,
    /// Which of the alternatives of the task that is. Any but the first needs [`Feature::ResourceAlternatives`].
    pub choice: Choice,
    /// It expires then: by then what was stopped is gone, or the lease of the node is over.
    pub until: Served,
}

/// Room that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// For this task.
    pub task: TaskId,
    /// On this node.
    pub node: NodeName,
    /// Under this lease.
    pub epoch: Epoch,
    /// What, and for how long.
    pub terms: ClaimTerms,
}

/// Attempts that are to be stopped for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preempting {
    /// The task.
    pub task: TaskId,
    /// Its generation in the view that was looked at.
    pub generation: u32,
    /// The node on which all of them are.
    pub node: NodeName,
    /// Its lease in that view.
    pub epoch: Epoch,
    /// By which of its alternatives the task fits when they are gone. Any but the first needs [`Feature::ResourceAlternatives`].
    pub choice: Choice,
    /// At least one, at most [`VICTIMS_MAX`].
    pub victims: Vec<AttemptId>,
}

/// Room for all members of a gang, for which attempts are to be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GangPreempting {
    /// Its run.
    pub run: RunId,
    /// Its step.
    pub step: u32,
    /// Its generation in the view that was looked at.
    pub generation: u32,
    /// Each once; by index, the first members go to the first of these.
    pub nodes: Vec<GangRoom>,
}

/// Room for members of a gang on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GangRoom {
    /// The node.
    pub node: NodeName,
    /// Its lease in the view that was looked at.
    pub epoch: Epoch,
    /// So many members go there, at least one.
    pub members: u32,
    /// Those that are to be stopped there, at most [`VICTIMS_MAX`]; none where there is room, or will be anyway.
    pub victims: Vec<AttemptId>,
}

impl GangPreempting {
    /// All that are to be stopped.
    pub fn victims(&self) -> impl Iterator<Item = AttemptId> {
        self.nodes.iter().flat_map(|room| room.victims.iter().copied())
    }

    /// How many members it is for.
    pub fn members(&self) -> usize {
        self.nodes.iter().map(|room| room.members as usize).fold(0, usize::saturating_add)
    }
}

/// Why an attempt is nobody's victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spared {
    /// It has ended, or is about to.
    Ending,
    /// Its node cannot be reached.
    NodeLost,
    /// It is started once: nobody can start it elsewhere.
    StartedOnce,
    /// Its job says so.
    Protected,
    /// It is a member of a gang: all of that would end and begin anew.
    InGang,
    /// Its run is paused, and what runs of it goes on.
    Paused,
    /// It was placed a short time ago, or its task was preempted often.
    Until(Served),
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ending => f.write_str("it is about to end"),
            Self::NodeLost => f.write_str("its node is lost"),
            Self::StartedOnce => f.write_str("it is at_most_once"),
            Self::Protected => f.write_str("it is not preemptible"),
            Self::InGang => f.write_str("it is a member of a gang"),
            Self::Paused => f.write_str("its run is paused"),
            Self::Until(Served::NEVER) => f.write_str("its task was preempted too often"),
            Self::Until(_) => f.write_str("it was placed a short time ago"),
        }
    }
}

/// What would be free on a node.
#[derive(Clone, Debug)]
pub struct Vacancy {
    /// Of everything.
    pub free: Resources,
    /// What would be taken of each device.
    pub gpus: GpuUse,
}

impl Vacancy {
    /// As others see it.
    pub fn room(&self) -> Room<'_> {
        Room { free: self.free, gpus: &self.gpus }
    }

    /// The devices that a task would be given there, if it is within its limits there and fits.
    pub fn hold(&self, node: &Node, task: &TaskSpec) -> Option<GpuHold> {
        let want = GpuWant::of(task);
        let fits = within_limits(node, task).is_ok() && task.resources.fits(self.free);
        fits.then(|| want.choose(want.allowed(node), &self.gpus)).flatten()
    }

    /// The devices that each of so many such tasks would be given there, if all of them fit together.
    pub fn hold_all(mut self, node: &Node, task: &TaskSpec, members: u32) -> Option<Vec<GpuHold>> {
        let mut holds = Vec::new();
        for _ in 0..members {
            let hold = self.hold(node, task)?;
            self.free = self.free.saturating_sub(task.resources);
            self.gpus.take(hold);
            holds.push(hold);
        }
        Some(holds)
    }
}

/// The run of an attempt, if that may be preempted at `served` by somebody with a right to its room.
pub fn preemptible<'a>(state: &'a State, attempt: &Attempt, served: Served) -> Result<&'a Run, Spared> {
    if state.node(&attempt.node).is_none_or(|node| node.status != NodeStatus::Up) {
        return Err(Spared::NodeLost);
    }
    match attempt.state {
        AttemptState::Assigned | AttemptState::Starting | AttemptState::Running if attempt.stop.is_none() => {}
        AttemptState::Unknown => return Err(Spared::NodeLost),
        AttemptState::Assigned
        | AttemptState::Starting
        | AttemptState::Running
        | AttemptState::Stopping
        | AttemptState::Succeeded
        | AttemptState::Failed
        | AttemptState::Lost
        | AttemptState::Cancelled
        | AttemptState::Preempted
        | AttemptState::TimedOut => return Err(Spared::Ending),
    }
    let run = state.run(attempt.id.task.run).filter(|run| !run.is_ending(attempt.id.task.step));
    let run = run.ok_or(Spared::Ending)?;
    if run.paused.is_some() {
        return Err(Spared::Paused);
    }
    let spec = run.spec.tasks.get(attempt.id.task.step as usize).ok_or(Spared::Ending)?;
    if spec.on_node_loss == OnNodeLoss::AtMostOnce {
        return Err(Spared::StartedOnce);
    }
    if !spec.preemptible {
        return Err(Spared::Protected);
    }
    if spec.gang.is_some() {
        return Err(Spared::InGang);
    }
    match attempt.spared_until {
        Some(until) if until > served && !quorate_planted::is(Bug::PreemptsAgainAtOnce) => Err(Spared::Until(until)),
        Some(_) | None => Ok(run),
    }
}

impl State {
    /// Who may be preempted by whom; none before that was said.
    pub fn preemption(&self) -> Option<Preemption> {
        let policy = self.settings().and_then(|settings| settings.preemption)?;
        let may_share = self.has_feature(Feature::FairPreemption) && self.has_feature(Feature::FairShare);
        let policy = Preemption { by_share: policy.by_share && may_share, ..policy };
        Some(policy).filter(|policy| self.has_feature(Feature::Preemption) && policy.is_on())
    }

    /// The room that is kept for a task.
    pub fn claim(&self, task: TaskId) -> Option<&Claim> {
        self.claims.get(&task).map(AsRef::as_ref)
    }

    /// The room that is kept for members of a gang, by index.
    pub fn claims_of_gang(&self, run: RunId, step: u32) -> impl Iterator<Item = &Claim> {
        let of = |index| TaskId { run, step, index };
        self.claims.range(of(0)..=of(u32::MAX)).map(|(_, claim)| &**claim)
    }

    /// All room that is kept, by task.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values().map(AsRef::as_ref)
    }

    /// How many tasks there are for which room is kept.
    pub fn claims_count(&self) -> usize {
        self.claims.size()
    }

    /// The room that is kept on a node.
    pub fn claims_on<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = &'a Claim> {
        self.index.claims().on(node).filter_map(|task| self.claim(task))
    }

    /// The lowest priority of a run of which something is placed or runs.
    pub fn lowest_priority_held(&self) -> Option<u8> {
        self.index.held_priorities().lowest()
    }

    /// Why `task`, which is of this namespace and takes so much, may not be placed whatever the room, if what is kept for others
    /// is theirs, and so is `more`.
    pub fn over_quota_beside(
        &self,
        task: TaskId,
        namespace: &Namespace,
        asked: Resources,
        more: &[(&Namespace, Resources)],
    ) -> Option<OverQuota> {
        if self.claims.is_empty() && more.is_empty() {
            return self.over_quota(namespace, asked);
        }
        if quorate_planted::is(Bug::QuotaUnchecked) {
            return None;
        }
        let kept = self.claims().filter(|claim| claim.task != task).filter_map(|claim| {
            let run = self.run(claim.task.run)?;
            Some((&run.spec.namespace, claim.terms.resources))
        });
        let kept: Vec<(&Namespace, Resources)> = kept.chain(more.iter().copied()).collect();
        self.lineage(namespace).filter(|row| row.share.maximum != Amounts::default()).find_map(|row| {
            let is_below = |other: &Namespace| self.lineage(other).any(|above| above.name == row.name);
            let kept = kept.iter().filter(|(other, _)| is_below(other));
            let held = kept.fold(self.held_below(&row.name), |sum, (_, kept)| sum.saturating_add(*kept));
            OverQuota::of(&row.name, row.share.maximum, held, asked)
        })
    }

    /// True of an attempt whose room will be free before long: it is asked to stop or will be, or has ended.
    pub fn is_leaving(&self, attempt: &Attempt) -> bool {
        let AttemptId { task, number: _ } = attempt.id;
        attempt.stop.is_some()
            || attempt.state.is_terminal()
            || self.run(task.run).is_none_or(|run| run.is_ending(task.step))
    }

    /// What is free on a node for `task`, for which room may be kept there, once all that `goes` is gone. What is kept for others is
    /// taken.
    pub fn vacancy(&self, node: &Node, task: TaskId, goes: impl Fn(&Attempt) -> bool) -> Vacancy {
        self.vacancy_beside(node, |other| other == task, goes)
    }

    /// The same for all members of a gang.
    pub fn vacancy_for_gang(&self, node: &Node, (run, step): (RunId, u32), goes: impl Fn(&Attempt) -> bool) -> Vacancy {
        self.vacancy_beside(node, |other| (other.run, other.step) == (run, step), goes)
    }

    fn vacancy_beside(&self, node: &Node, is_own: impl Fn(TaskId) -> bool, goes: impl Fn(&Attempt) -> bool) -> Vacancy {
        let mut kept = Taken::default();
        self.claims_on(&node.name).filter(|claim| !is_own(claim.task)).for_each(|claim| kept.keep(claim));
        let stays = self.attempts_on(&node.name).map(AsRef::as_ref).filter(|attempt| !goes(attempt));
        let Taken { resources, gpus } = Taken::of(stays, &kept);
        Vacancy { free: node.capacity.saturating_sub(resources), gpus }
    }

    /// The attempts on a node that may be preempted at `served` by a task of this priority, first those whose end costs least: of
    /// the lowest priority, and of these the youngest. With those among them that it may only if what namespaces have allows
    /// it, if `shares`.
    pub fn victims_on<'a>(&'a self, node: &'a Node, priority: u8, served: Served, shares: bool) -> Vec<&'a Attempt> {
        let Some(policy) = self.preemption() else { return Vec::new() };
        let open = self.attempts_on(&node.name).filter_map(|attempt| {
            let run = preemptible(self, attempt, served).ok()?;
            let other = run.priority();
            let may = policy.is_above(priority, other) || (shares && policy.may_share(priority, other));
            may.then(|| (other, std::cmp::Reverse(attempt.token), attempt))
        });
        let mut victims: Vec<(u8, std::cmp::Reverse<Token>, _)> = open.collect();
        victims.sort_unstable_by_key(|(priority, age, attempt)| (*priority, *age, attempt.id));
        victims.into_iter().map(|(_, _, attempt)| &**attempt).collect()
    }

    /// Keeps room for a task, or does no longer.
    pub(crate) fn put_claim(&mut self, task: TaskId, new: Option<&Arc<Claim>>) {
        let old = self.claims.get(&task).cloned();
        self.index.on_claim(old.as_deref(), new.map(AsRef::as_ref));
        for claim in old.iter().chain(new) {
            self.index.refresh_claims(&claim.node, &self.attempts);
        }
        match new {
            Some(claim) => self.claims.insert_mut(task, claim.clone()),
            None => {
                self.claims.remove_mut(&task);
            }
        }
    }
}
