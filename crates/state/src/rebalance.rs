//! Rebalancing: work that runs is moved to better places because somebody asked for it, and within the budget that they gave.
//!
//! What a better place is says a [`Goal`], by a number that counts against a place; a move must lower it by a margin. The same functions
//! are asked by whoever looks for moves, and again by `apply`.

use std::collections::BTreeSet;
use std::fmt;

use quorate_planted::Bug;

use crate::{
    Attempt, AttemptId, Epoch, Millis, Node, NodeName, NodeStatus, PREFERENCES_MAX, Place, Principal, Resources, Run,
    RunId, Served, Spared, State, Task, TaskId, TaskSpec, TaskState, WEIGHT_OF_PREFERENCE_MAX, Wait, preemptible,
};

/// Moves that one rebalance can begin. Part of what feature `rebalance` means, as are the next two.
pub const MOVES_MAX: u32 = 100_000;
/// Moves that can be under way at once.
pub const MOVES_AT_ONCE_MAX: u32 = 100;
/// The longest that a rebalance lasts, in milliseconds.
pub const REBALANCE_MS_MAX: u64 = 7 * 24 * 3_600_000;

/// All of a node, as its fullness is told.
const FULL: u64 = 1_000_000;

/// What a better place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Nodes are about as full as one another: what counts against a place is how full its node is.
    Spread,
    /// Tasks are where their jobs would rather have them: what counts is how far a node is from that.
    Prefer,
}

/// How far a move may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It stays in its cluster.
    Cluster,
    /// It stays in its region.
    Region,
    /// Anywhere.
    Everywhere,
}

impl Reach {
    /// True if a move may lead from one node to another, as far as this is concerned.
    pub fn spans(self, from: &Node, to: &Node) -> bool {
        match self {
            Self::Cluster => from.cluster == to.cluster,
            Self::Region => from.region == to.region,
            Self::Everywhere => true,
        }
    }
}

/// What somebody asked for, and the budget for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebalanceTerms {
    /// What a better place is.
    pub goal: Goal,
    /// How far a move may go.
    pub reach: Reach,
    /// So many moves in all.
    pub moves_max: u32,
    /// So many under way at a time.
    pub at_once: u32,
    /// This share of the elements of a step that are up may be on the move at a time, in per cent; at least one.
    pub share_percent: u32,
    /// A move is worth its while when what counts against the place gets less by so much: points of a hundred of a node's fullness, or
    /// points of a preference's weight.
    pub margin: u32,
    /// It ends so many milliseconds later.
    pub for_ms: u64,
}

impl RebalanceTerms {
    /// The least and the most that each number may be, by its name.
    pub fn limits(&self) -> [(&'static str, u64, u64, u64); 5] {
        [
            ("moves_max", self.moves_max.into(), 1, MOVES_MAX.into()),
            ("at_once", self.at_once.into(), 1, MOVES_AT_ONCE_MAX.into()),
            ("share_percent", self.share_percent.into(), 1, 100),
            ("margin", self.margin.into(), 1, 100),
            ("for_ms", self.for_ms, 1, REBALANCE_MS_MAX),
        ]
    }

    /// What moving a task from one node to another would bring; none where that is not worth its while.
    ///
    /// **Invariant:** of the fullnesses of all nodes, put in order from the fullest on, each move towards [`Goal::Spread`] makes the list
    /// less, and one towards [`Goal::Prefer`] makes the sum of all distances less: neither can go round in a circle.
    pub fn gain(&self, task: &TaskSpec, from: &Side<'_>, to: &Side<'_>) -> Option<Gain> {
        match self.goal {
            Goal::Spread => {
                let before = fullness(from.load, from.node.capacity);
                let left = fullness(from.load.saturating_sub(task.resources), from.node.capacity);
                let reached = fullness(to.load.saturating_add(task.resources), to.node.capacity);
                let margin = u64::from(self.margin) * (FULL / 100);
                let is_less = left < before && reached.saturating_add(margin) <= before;
                is_less.then_some(Gain { before, after: left.max(reached) })
            }
            Goal::Prefer => {
                let (before, after) = (distance(from.node, &task.place), distance(to.node, &task.place));
                let is_less = after.saturating_add(self.margin.into()) <= before;
                is_less.then_some(Gain { before, after })
            }
        }
    }

    /// How many elements of a step may be on the move at once, of which so many are up.
    pub fn moving_max(&self, up: u64) -> u32 {
        u32::try_from(up.saturating_mul(self.share_percent.into()) / 100).unwrap_or(u32::MAX).max(1)
    }
}

/// A node, and what it holds once all that is on the move has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The node.
    pub node: &'a Node,
    /// What it holds.
    pub load: Resources,
}

/// What counted against the place of a task, and what does after a move: millionths of the fuller of the two nodes, or how far the
/// node is from what the task would rather have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gain {
    /// Before.
    pub before: u64,
    /// After it, which is less.
    pub after: u64,
}

/// How far a node is from what a task prefers of nodes, in points of weight: from one that has all that could speak for it.
pub fn distance(node: &Node, place: &Place) -> u64 {
    let most = PREFERENCES_MAX as i64 * i64::from(WEIGHT_OF_PREFERENCE_MAX);
    let traits = place.prefer.iter().take(PREFERENCES_MAX).filter(|preference| preference.of.is_of(node));
    let worth: i64 = traits.map(|preference| i64::from(preference.weight)).sum();
    (most - worth.clamp(-most, most)).unsigned_abs()
}

/// How full a node is that holds so much, in millionths: of the resource of which it has least left. Nothing of nothing is none of it.
pub fn fullness(load: Resources, capacity: Resources) -> u64 {
    let of = |load: u64, capacity: u64| match (load, capacity) {
        (0, _) => 0,
        (_, 0) => 2 * FULL,
        (load, capacity) => {
            u64::try_from(u128::from(load) * u128::from(FULL) / u128::from(capacity)).unwrap_or(u64::MAX)
        }
    };
    let cpu = of(load.cpu_milli, capacity.cpu_milli);
    cpu.max(of(load.memory_bytes, capacity.memory_bytes)).max(of(load.gpu_milli, capacity.gpu_milli))
}

/// What somebody said about rebalancing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceOrder {
    /// Begin.
    Start(RebalanceTerms),
    /// Begin no more moves.
    Stop,
}

/// A rebalance: the one that goes on, or the last one. Needs feature `rebalance`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalance {
    /// From 1 on.
    pub number: u32,
    /// What was asked for.
    pub terms: RebalanceTerms,
    /// Who asked.
    pub by: Principal,
    /// When.
    pub at: Millis,
    /// The same instant in served time.
    pub began: Served,
    /// No move begins from then on.
    pub ends: Served,
    /// Moves that were begun.
    pub begun: u32,
    /// Tasks among them that were placed where room was kept for them.
    pub arrived: u32,
    /// Tasks that ended before, or were placed elsewhere.
    pub missed: u32,
    /// Why it is over, and since when.
    pub ended: Option<(RebalanceEnd, Millis)>,
}

/// Why a rebalance is over. Tasks that are on the move then still arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RebalanceEnd {
    /// No move is left that is worth its while.
    Done,
    /// All moves that it may make are made.
    MovesSpent,
    /// Its time is over.
    TimeOver,
    /// Somebody stopped it.
    Stopped,
    /// Work is moved off a node: that comes first.
    Draining,
    /// The lease of a node has ended since it began.
    NodeLost,
    /// So many nodes of a cluster are silent that their leases are kept for now.
    Silent,
}

impl RebalanceEnd {
    /// The machine-readable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "DONE",
            Self::MovesSpent => "MOVES_SPENT",
            Self::TimeOver => "TIME_OVER",
            Self::Stopped => "STOPPED",
            Self::Draining => "DRAINING",
            Self::NodeLost => "NODE_LOST",
            Self::Silent => "SILENT",
        }
    }
}

impl fmt::Display for RebalanceEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "no move is left that is worth its while",
            Self::MovesSpent => "all the moves that it may make are made",
            Self::TimeOver => "its time is over",
            Self::Stopped => "somebody stopped it",
            Self::Draining => "nodes are being drained, which comes first",
            Self::NodeLost => "a node was lost",
            Self::Silent => "many nodes of a cluster are silent",
        })
    }
}

/// An attempt that is to be stopped, so that its task goes on elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Which.
    pub attempt: AttemptId,
    /// The node on which its task is to go on.
    pub to: NodeName,
    /// That node's lease in the view that was looked at.
    pub epoch: Epoch,
}

/// Where a task was to go on for which an attempt was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// By which rebalance.
    pub rebalance: u32,
    /// On this node.
    pub to: NodeName,
}

/// A task that is on the move: from the order to stop until it is placed again, or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub task: TaskId,
    /// The number of the attempt that is to stop.
    pub attempt: u32,
    /// By which rebalance.
    pub rebalance: u32,
    /// The node of that attempt.
    pub from: NodeName,
    /// Where it is to go on.
    pub to: NodeName,
    /// Since when.
    pub began: Served,
}

impl Move {
    /// True when `task` is not on this move any more.
    pub(crate) fn is_over(&self, task: &Task) -> bool {
        task.attempts != self.attempt
            || match task.state {
                TaskState::Ready | TaskState::Placed | TaskState::Running | TaskState::Waiting(Wait::Fence { .. }) => {
                    false
                }
                TaskState::Waiting(Wait::Needs | Wait::Backoff { .. } | Wait::Quarantine)
                | TaskState::Succeeded
                | TaskState::Failed(_)
                | TaskState::Cancelled
                | TaskState::Skipped => true,
            }
    }
}

/// Why an attempt is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmovable {
    /// It would not be stopped for others either.
    Spared(Spared),
    /// There are rules about where it is beside others.
    InCompany,
    /// This rebalance has moved its task before.
    MovedBefore,
    /// It is not its task's newest.
    Replaced,
}

/// The run of an attempt that a rebalance of this number may move at `served`; none: of any that is to begin.
///
/// # Errors
/// Why it may not.
pub fn movable<'a>(
    state: &'a State,
    attempt: &Attempt,
    rebalance: Option<u32>,
    served: Served,
) -> Result<&'a Run, Unmovable> {
    let run = preemptible(state, attempt, served).map_err(Unmovable::Spared)?;
    let TaskId { run: _, step, index: _ } = attempt.id.task;
    if run.spec.tasks.get(step as usize).is_none_or(|spec| !spec.place.company.is_empty()) {
        return Err(Unmovable::InCompany);
    }
    if state.task(attempt.id.task).is_none_or(|task| task.newest_attempt() != Some(attempt.id)) {
        return Err(Unmovable::Replaced);
    }
    let is_of_it = |other: &Attempt| other.moved.as_ref().is_some_and(|moved| Some(moved.rebalance) == rebalance);
    let was_moved = rebalance.is_some() && state.attempts_of(attempt.id.task).any(|other| is_of_it(other));
    if was_moved && !quorate_planted::is(Bug::MovesTaskTwice) {
        return Err(Unmovable::MovedBefore);
    }
    Ok(run)
}

/// What nodes hold once all that is on the move has arrived.
#[derive(Debug)]
pub struct Loads<'a> {
    state: &'a State,
    /// Nodes from which something is on the move.
    left: BTreeSet<&'a NodeName>,
}

impl<'a> Loads<'a> {
    /// Of a state.
    pub fn of(state: &'a State) -> Self {
        Self { state, left: state.moves().map(|row| &row.from).collect() }
    }

    /// What a node will hold: what it holds, with what is kept there, and without what leaves if anything does for that.
    pub fn on(&self, node: &NodeName) -> Resources {
        let state = self.state;
        let is_quiet = !self.left.contains(node) && state.claims_on(node).next().is_none();
        if is_quiet {
            return state.used_on(node);
        }
        let stays = state.attempts_on(node).filter(|attempt| !state.is_leaving(attempt));
        let held = stays.map(|attempt| attempt.resources);
        let kept = state.claims_on(node).map(|claim| claim.terms.resources);
        held.chain(kept).fold(Resources::ZERO, Resources::saturating_add)
    }
}

impl State {
    /// The rebalance that goes on, or the last one.
    pub fn rebalance(&self) -> Option<&Rebalance> {
        self.rebalance.as_deref()
    }

    /// The one that goes on.
    pub fn rebalancing(&self) -> Option<&Rebalance> {
        self.rebalance().filter(|rebalance| rebalance.ended.is_none())
    }

    /// Tasks that are on the move, by id.
    pub fn moves(&self) -> impl Iterator<Item = &Move> {
        self.moves.values().map(AsRef::as_ref)
    }

    /// How many tasks are on the move.
    pub fn moves_count(&self) -> usize {
        self.moves.size()
    }

    /// On what move a task is.
    pub fn task_move(&self, task: TaskId) -> Option<&Move> {
        self.moves.get(&task).map(AsRef::as_ref)
    }

    /// Why `rebalance` begins no more moves at `served`, as far as the state tells.
    pub fn rebalance_over(&self, rebalance: &Rebalance, served: Served) -> Option<RebalanceEnd> {
        if served >= rebalance.ends {
            return Some(RebalanceEnd::TimeOver);
        }
        if self.draining().next().is_some() {
            return Some(RebalanceEnd::Draining);
        }
        let is_lost = |node: &Node| matches!(node.status, NodeStatus::Lost { at } if at >= rebalance.began);
        self.nodes().any(|node| is_lost(node)).then_some(RebalanceEnd::NodeLost)
    }

    /// How many elements of a step are on the move, and how many are up, those among them.
    pub fn step_moves(&self, run: RunId, step: u32) -> (u32, u64) {
        let is_of_it = |row: &&Move| row.task.run == run && row.task.step == step;
        let counts = self.step_counts(run, step);
        let (mut moving, mut queued) = (0, 0);
        for row in self.moves().filter(is_of_it) {
            moving += 1;
            let is_up =
                self.task(row.task).is_some_and(|task| matches!(task.state, TaskState::Placed | TaskState::Running));
            queued += u64::from(!is_up);
        }
        (moving, u64::from(counts.placed) + u64::from(counts.running) + queued)
    }
}
