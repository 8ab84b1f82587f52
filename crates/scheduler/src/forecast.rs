//! What would become of the work if some nodes went away now: told by the controllers and by `apply` themselves, on a copy
//! of the state whose clock runs ahead.
//!
//! Nothing is decided here that is not decided in the same way on the day: the brake, the fences, backoffs, the promises of
//! each task, the order of the queue and the choice of nodes are those of the product. What a forecast cannot know is how
//! long processes take: nothing that runs elsewhere ends in it, so that it errs on the side of too little room.
//!
//! It goes on in steps, so that whoever asks can let others have their turn.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::{
    AttemptState, Bound, ClusterName, Command, Entry, Item, Millis, NodeName, NodeStatus, Principal, RegionName,
    Revision, Run, RunId, Served, Stamp, State, Task, TaskId, TaskState, apply,
};

use crate::controller::earlier;
use crate::explain::{Explanation, explain};
use crate::{Budget, Controller, LogNow, NodeObserved, Note, Observed, lease, placement, timer, workflow};

/// A forecast looks no further than this ahead.
pub const HORIZON_MS: u64 = 600_000;

/// Instants at which a forecast looks; it says so when it has come to this without knowing what becomes of everything.
pub const LOOKS_MAX: u32 = 4_000;

/// Tasks whose fate is followed; what there is more is counted only.
pub const TASKS_MAX: usize = 100_000;

/// Steps of runs of which it is said why their tasks wait: each costs about a plan made from nothing.
pub const EXPLAINED_MAX: usize = 16;

/// The term in which a forecast goes on.
const OWN_TERM: u64 = u64::MAX;

/// A forecast in the making.
pub struct Forecast {
    state: State,
    observed: Observed,
    began: LogNow,
    now: LogNow,
    /// Where each task was.
    tasks: BTreeMap<TaskId, NodeName>,
    left_out: u64,
    lost: BTreeSet<NodeName>,
    controllers: Vec<Box<dyn Controller + Send + Sync>>,
    looks: u32,
    moved_by: Served,
    /// The same of each step.
    steps_moved_by: BTreeMap<(RunId, u32), Served>,
    brake: Option<Note>,
    is_over: bool,
}

/// What becomes of the work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Nodes that went away.
    pub nodes: u32,
    /// Step by step, in the order in which runs were made.
    pub steps: Vec<StepFate>,
    /// Tasks on these nodes that were not followed, because there are too many.
    pub left_out: u64,
    /// Milliseconds until everything that finds another place has been given it.
    pub settled_ms: u64,
    /// What the brake said when it held most, if it worked.
    pub brake: Option<Note>,
    /// It was looked at until nothing more would have come of it; false: a limit ended it before.
    pub is_whole: bool,
}

/// What becomes of the tasks of one step that were on the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFate {
    /// The run.
    pub run: RunId,
    /// Number of the step in it.
    pub step: u32,
    /// How many are placed in another cluster, or on another node of the same one.
    pub moved: BTreeMap<(RegionName, ClusterName), u64>,
    /// Started once, so that they wait until their node comes back, or counts as gone for good.
    pub kept: u64,
    /// How many end without success, because they have been lost too often.
    pub failed: u64,
    /// How many wait.
    pub waiting: u64,
    /// So many of those stay with their region, for ever or for longer than was looked ahead, because their job says so.
    pub staying: u64,
    /// Milliseconds until the last of those that are placed elsewhere is; 0 if none is.
    pub moved_ms: u64,
    /// Why the first of those waits; none when none does, or too many steps would have to be explained.
    pub reason: Option<Explanation>,
}

impl Forecast {
    /// What is known `now`, and then the nodes for which `goes` is true fall silent.
    pub fn new(view: &State, observed: &Observed, now: LogNow, goes: impl Fn(&quorate_state::Node) -> bool) -> Self {
        let lost: BTreeSet<NodeName> = view
            .nodes()
            .filter(|node| node.status == NodeStatus::Up && goes(node))
            .map(|node| node.name.clone())
            .collect();
        let on = |name| view.attempts_on(name).map(move |attempt| (attempt.id.task, name));
        let all = lost.iter().flat_map(on);
        // What has ended and is not proven gone has nothing to lose.
        let open = all.filter(|(task, _)| view.task(*task).is_some_and(|task| !task.state.is_terminal()));
        let mut tasks: BTreeMap<TaskId, NodeName> = BTreeMap::new();
        let mut left_out = 0;
        for (task, node) in open {
            if tasks.len() < TASKS_MAX {
                tasks.insert(task, node.clone());
            } else {
                left_out += 1;
            }
        }
        let controllers: Vec<Box<dyn Controller + Send + Sync>> = vec![
            Box::new(workflow::Workflow),
            Box::new(placement::PlacementController::default()),
            Box::new(timer::Timers),
            Box::new(lease::Leases),
        ];
        Self {
            state: view.clone(),
            observed: observed.clone(),
            began: now,
            now,
            tasks,
            left_out,
            lost,
            controllers,
            looks: 0,
            moved_by: now.served,
            steps_moved_by: BTreeMap::new(),
            brake: None,
            is_over: false,
        }
    }

    /// Looks once. True while there is more to see.
    pub fn step(&mut self) -> bool {
        if self.is_over || self.looks >= LOOKS_MAX {
            return false;
        }
        self.looks += 1;
        self.see();
        let mut wake_at = None;
        let mut has_changed = false;
        for position in 0..self.controllers.len() {
            let decision = self.controllers[position].step(
                &self.state,
                &self.observed,
                self.now,
                self.looks.into(),
                Budget::default(),
            );
            if let Some(at) = decision.wake_at {
                wake_at = earlier(wake_at, at);
            }
            for note in decision.report.notes {
                if held(&note) > self.brake.as_ref().map_or(0, held) {
                    self.brake = Some(note);
                }
            }
            for command in decision.commands {
                has_changed |= self.carry_out(command);
            }
        }
        if has_changed {
            return true;
        }
        let next = wake_at.filter(|at| *at > self.now.served && at.0 <= self.began.served.0 + HORIZON_MS);
        match next {
            Some(at) if !self.is_settled() => {
                let passed = at.0 - self.now.served.0;
                self.now = LogNow { served: at, now: Millis(self.now.now.0 + passed) };
            }
            _ => self.is_over = true,
        }
        !self.is_over
    }

    /// What has come of it so far.
    pub fn fate(&self) -> Fate {
        let mut steps: BTreeMap<(RunId, u32), StepFate> = BTreeMap::new();
        let mut explained = 0;
        for task in self.tasks.keys() {
            let fate = steps.entry((task.run, task.step)).or_insert_with(|| StepFate::none(*task));
            match self.end_of(*task) {
                End::Moved(region, cluster) => *fate.moved.entry((region, cluster)).or_default() += 1,
                End::Kept => fate.kept += 1,
                End::Failed => fate.failed += 1,
                End::Waits => {
                    fate.waiting += 1;
                    fate.staying += u64::from(self.stays(*task));
                    if fate.reason.is_none() && explained < EXPLAINED_MAX {
                        explained += 1;
                        fate.reason = Some(explain(&self.state, &self.observed, self.now, *task));
                    }
                }
            }
        }
        for (step, at) in &self.steps_moved_by {
            if let Some(fate) = steps.get_mut(step).filter(|fate| !fate.moved.is_empty()) {
                fate.moved_ms = at.0 - self.began.served.0;
            }
        }
        Fate {
            nodes: u32::try_from(self.lost.len()).unwrap_or(u32::MAX),
            steps: steps.into_values().collect(),
            left_out: self.left_out,
            settled_ms: self.moved_by.0 - self.began.served.0,
            brake: self.brake.clone(),
            is_whole: self.is_over && self.left_out == 0,
        }
    }

    /// A run that a forecast names.
    pub fn run(&self, run: RunId) -> Option<&Run> {
        self.state.run(run).map(AsRef::as_ref)
    }

    /// All nodes but those that went away are heard of at every moment.
    fn see(&mut self) {
        let elapsed = self.now.served.0 - self.began.served.0;
        let Self { state, observed, lost, began, .. } = self;
        for node in state.nodes().filter(|node| node.status == NodeStatus::Up) {
            let is_lost = lost.contains(&node.name);
            let fresh = NodeObserved {
                epoch: node.epoch,
                expires_at: is_lost.then(|| began.served.plus(node.lease.server_ms)),
                reported_this_term: true,
                heard_ms_ago: 0,
            };
            let seen = observed.nodes.entry(node.name.clone()).or_insert(fresh);
            if is_lost {
                seen.reported_this_term = true;
                seen.expires_at = seen.expires_at.or(fresh.expires_at);
                seen.heard_ms_ago = seen.heard_ms_ago.max(elapsed);
            } else {
                *seen = fresh;
            }
        }
    }

    /// True when it was not refused.
    fn carry_out(&mut self, command: Command) -> bool {
        if let Command::CommitPlan { placements } | Command::CommitGang { placements, .. } = &command {
            for placement in placements.iter().filter(|placement| self.tasks.contains_key(&placement.task)) {
                let TaskId { run, step, index: _ } = placement.task;
                self.moved_by = self.now.served;
                self.steps_moved_by.insert((run, step), self.now.served);
            }
        }
        let revision = Revision(self.state.revision().0 + 1);
        let before = self.state.meta();
        // A term of its own, the clock of which begins where that of the state stands.
        let passed = self.now.served.0.saturating_sub(before.served.0);
        let elapsed_ms = if before.term == OWN_TERM { before.elapsed_ms + passed } else { passed };
        let stamp = Stamp { wall: self.now.now, term: OWN_TERM, elapsed_ms };
        let item = Item { principal: Principal::controller(), request: None, command };
        let applied = apply(&self.state, revision, &Entry { stamp, items: vec![item] });
        self.state = applied.next;
        applied.replies.iter().any(Result::is_ok)
    }

    /// Nothing that time brings would change what becomes of the tasks.
    fn is_settled(&self) -> bool {
        let is_gone = |name| self.state.node(name).is_none_or(|node| node.status != NodeStatus::Up);
        self.lost.iter().all(is_gone)
            && self.tasks.keys().all(|task| match self.end_of(*task) {
                End::Moved(..) | End::Kept | End::Failed => true,
                // What stands in the queue and was not placed finds no room.
                End::Waits => {
                    self.state.task(*task).is_none_or(|task| task.state == TaskState::Ready && !self.leaves(task))
                }
            })
    }

    /// True of a task that time lets go from the region that it ran in.
    fn leaves(&self, task: &Task) -> bool {
        matches!(self.bound(task), Some(Bound::Home { leaves: Some(_), .. }))
    }

    /// True of a task that waits for its region alone.
    fn stays(&self, task: TaskId) -> bool {
        let task = self.state.task(task);
        matches!(task.and_then(|task| self.bound(task)), Some(Bound::Home { lost: Some(_), .. }))
    }

    fn bound<'a>(&'a self, task: &'a Task) -> Option<Bound<'a>> {
        let spec = self.state.run(task.id.run)?.spec.tasks.get(task.id.step as usize)?;
        Some(self.state.bound(task.home.as_ref(), spec, self.now.served))
    }

    fn end_of(&self, task: TaskId) -> End {
        let Some(row) = self.state.task(task) else { return End::Waits };
        let newest = row.newest_attempt().and_then(|attempt| self.state.attempt(attempt));
        match (&row.state, newest) {
            (TaskState::Placed | TaskState::Running, Some(attempt)) if attempt.state == AttemptState::Unknown => {
                End::Kept
            }
            (TaskState::Placed | TaskState::Running, Some(attempt)) if !self.lost.contains(&attempt.node) => {
                let node = self.state.node(&attempt.node);
                node.map_or(End::Waits, |node| End::Moved(node.region.clone(), node.cluster.clone()))
            }
            (TaskState::Failed(_) | TaskState::Cancelled | TaskState::Skipped, _) => End::Failed,
            _ => End::Waits,
        }
    }
}

/// Leases that the brake held.
fn held(note: &Note) -> u32 {
    match note {
        Note::LeaseBrake { held, .. } => *held,
        Note::TimersHeld { .. } => 0,
    }
}

/// Where a task has come to.
enum End {
    Moved(RegionName, ClusterName),
    Kept,
    Failed,
    Waits,
}

impl StepFate {
    fn none(task: TaskId) -> Self {
        Self {
            run: task.run,
            step: task.step,
            moved: BTreeMap::new(),
            kept: 0,
            failed: 0,
            waiting: 0,
            staying: 0,
            moved_ms: 0,
            reason: None,
        }
    }
}
