//! Moves work off nodes that are drained: asks attempts to stop, so that their tasks are placed elsewhere.
//!
//! A drain should be felt as little as possible, so it is bounded by what its jobs can do without, and not by the
//! node: of the elements of a step that are up, a tenth, and at least one, may be on the move at a time, whatever
//! number of nodes is drained. On the move means from the order to stop until the task is placed again. So a
//! wide step leaves a node in a few waves, a step of three keeps two, and when there is no room elsewhere, most
//! goes on where it is instead of waiting in a queue. What no other node could hold even when empty stays.
//!
//! A node is drained by what was said of it, of its cluster or of its region, which makes no difference here: the bound belongs to
//! the step. A drain that has an end is ended here as well, so that what was drained takes work again.
//!
//! All of it is read from the view, so a new leader goes on where the old one stopped.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use quorate_planted::Bug;
use quorate_state::{
    Attempt, AttemptId, AttemptState, Command, Node, NodeName, OnNodeLoss, RegionName, Room, RunId, Scope, Served,
    State, Stays, StopReason, TaskId, evictable, feasible,
};

use crate::controller::earlier;
use crate::{Budget, Controller, Decision, LogNow, Observed, Report};

/// Of the elements of a step that are up, this share may be on the move at a time, in per cent; at least one.
pub(crate) const MOVING_SHARE_PERCENT: u64 = 10;

/// Attempts that one step of the controller asks to stop.
pub(crate) const EVICTIONS_PER_STEP_MAX: usize = 1_000;

/// Drains that one step of the controller ends.
pub(crate) const ENDS_PER_STEP_MAX: usize = 1_000;

/// Queued elements of a step that are looked at for having been moved. They ran before, so that they stand in
/// front of those that never did.
pub(crate) const QUEUED_LOOK_MAX: usize = 1_000;

/// Why an attempt on a node is not being moved off it now, or would not be if the node were drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It must not, or need not, be asked to stop.
    Stays(Stays),
    /// Its node has not told this leader what runs on it.
    Unheard,
    /// No other node that takes work could hold it, even when empty.
    NoOtherNode,
    /// So many elements of its step are on the move, which is as many as may be.
    OthersFirst {
        /// How many.
        moving: u32,
    },
}

impl Hold {
    /// The machine-readable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stays(Stays::NotDraining) => "NOT_DRAINING",
            Self::Stays(Stays::Ending) => "ENDING",
            Self::Stays(Stays::NodeLost) => "NODE_LOST",
            Self::Stays(Stays::StartedOnce) => "STARTED_ONCE",
            Self::Stays(Stays::Until(_)) => "NOT_YET",
            Self::Unheard => "UNHEARD",
            Self::NoOtherNode => "NO_OTHER_NODE",
            Self::OthersFirst { .. } => "OTHERS_FIRST",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stays(stays) => stays.fmt(f),
            Self::Unheard => f.write_str("its node has not reported to this leader yet"),
            Self::NoOtherNode => f.write_str("no other node could hold it"),
            Self::OthersFirst { moving: 1 } => f.write_str("another element of its step is moved first"),
            Self::OthersFirst { moving } => write!(f, "{moving} other elements of its step are moved first"),
        }
    }
}

/// What every attempt on `node` waits for that is not gone, by id: none for one that is about to be asked to stop,
/// or would be if the node were drained.
pub fn holds(view: &State, observed: &Observed, now: LogNow, node: &Node) -> Vec<(AttemptId, Option<Hold>)> {
    let (mut moves, mut budget) = (Moves::survey(view, now.served), Budget::default());
    let mut hold = |attempt: &Attempt| match moves.verdict(observed, now.served, node, attempt, &mut budget) {
        Err(Hold::Stays(Stays::NotDraining)) => moves.prospect(attempt, &mut budget),
        verdict => verdict.err(),
    };
    view.attempts_on(&node.name).map(|attempt| (attempt.id, hold(attempt))).collect()
}

/// Moves work off nodes.
pub(crate) struct Drain;

impl Controller for Drain {
    fn name(&self) -> &'static str {
        "drain"
    }

    fn is_idle(&self, view: &State) -> bool {
        view.draining().next().is_none() && view.scopes().next().is_none()
    }

    fn step(&mut self, view: &State, observed: &Observed, now: LogNow, _seed: u64, mut budget: Budget) -> Decision {
        let mut moves = Moves::survey(view, now.served);
        let mut attempts = Vec::new();
        let (mut held, mut truncated, mut wake_at) = (0_u64, false, None);
        let (drains, ending) = (Ending::of_nodes(view, now.served), Ending::of_scopes(view, now.served));
        for ends in [drains.wake_at, ending.wake_at].into_iter().flatten() {
            wake_at = earlier(wake_at, ends);
        }
        truncated |= drains.truncated || ending.truncated;
        for node in view.draining() {
            // What is on it then may stay.
            if node.drain_at(now.served).is_none() {
                continue;
            }
            let mut on_node: Vec<&Attempt> = view.attempts_on(&node.name).map(AsRef::as_ref).collect();
            // The youngest first: it loses the least, and the others may end meanwhile.
            on_node.sort_by_key(|attempt| (Reverse(attempt.token), attempt.id));
            for attempt in on_node {
                if attempts.len() >= EVICTIONS_PER_STEP_MAX || !budget.take(1) {
                    truncated = true;
                    break;
                }
                match moves.verdict(observed, now.served, node, attempt, &mut budget) {
                    Ok(()) => {
                        moves.begin(attempt.id.task, &mut budget);
                        attempts.push(attempt.id);
                    }
                    Err(Hold::Stays(Stays::Until(due))) => wake_at = earlier(wake_at, due),
                    Err(Hold::Stays(Stays::Ending)) => {}
                    Err(_) => held += 1,
                }
            }
        }
        let counts = vec![
            ("attempts_evicted", attempts.len() as u64),
            ("attempts_held", held),
            ("drains_ended", (drains.over.len() + ending.over.len()) as u64),
        ];
        let mut commands = Vec::new();
        if !drains.over.is_empty() {
            commands.push(Command::EndDrains { drains: drains.over });
        }
        if !ending.over.is_empty() {
            commands.push(Command::EndScopeDrains { drains: ending.over });
        }
        if !attempts.is_empty() {
            commands.push(Command::EvictAttempts { attempts });
        }
        Decision { commands, wake_at, report: Report { counts, truncated, notes: Vec::new() } }
    }
}

/// Drains that have an end.
struct Ending<T> {
    /// Their time is over.
    over: Vec<(T, Served)>,
    /// When the next one's is.
    wake_at: Option<Served>,
    truncated: bool,
}

impl Ending<NodeName> {
    fn of_nodes(view: &State, served: Served) -> Self {
        let drains = view.draining().filter_map(|node| Some((&node.name, node.own_drain()?.ends?)));
        Self::among(drains, served)
    }
}

impl Ending<Scope> {
    fn of_scopes(view: &State, served: Served) -> Self {
        let drains = view.scopes().filter_map(|row| Some((&row.scope, row.withdrawal.drain?.ends?)));
        Self::among(drains, served)
    }
}

impl<T: Clone> Ending<T> {
    fn among<'a>(drains: impl Iterator<Item = (&'a T, Served)>, served: Served) -> Self
    where
        T: 'a,
    {
        let mut ending = Self { over: Vec::new(), wake_at: None, truncated: false };
        for (of, ends) in drains {
            if ends > served {
                ending.wake_at = earlier(ending.wake_at, ends);
            } else if ending.over.len() < ENDS_PER_STEP_MAX {
                ending.over.push((of.clone(), ends));
            } else {
                ending.truncated = true;
            }
        }
        ending
    }
}

/// What is on the move, by step.
struct Moves<'a> {
    view: &'a State,
    /// Attempts on draining nodes that were asked to stop and are not gone.
    stopping: BTreeMap<(RunId, u32), u32>,
    /// Of the steps that were looked at.
    steps: BTreeMap<(RunId, u32), StepMoves>,
    /// Whether a node that takes work could hold an element that ran in a region, if it were empty. The nodes that are drained
    /// take none.
    fitting: BTreeMap<(RunId, u32, Option<RegionName>), bool>,
    served: Served,
}

/// What is on the move of a step that has attempts on draining nodes.
#[derive(Clone, Copy)]
struct StepMoves {
    moving: u32,
    moving_max: u32,
}

impl<'a> Moves<'a> {
    fn survey(view: &'a State, served: Served) -> Self {
        let mut stopping: BTreeMap<(RunId, u32), u32> = BTreeMap::new();
        let attempts = view.draining().flat_map(|node| view.attempts_on(&node.name));
        for attempt in attempts.filter(|attempt| attempt.stop == Some(StopReason::Drained)) {
            *stopping.entry((attempt.id.task.run, attempt.id.task.step)).or_default() += 1;
        }
        Self { view, stopping, steps: BTreeMap::new(), fitting: BTreeMap::new(), served }
    }

    fn step(&mut self, run: RunId, step: u32, budget: &mut Budget) -> &mut StepMoves {
        let key = (run, step);
        if !self.steps.contains_key(&key) {
            let queued = self.queued_again(run, step, budget);
            let counts = self.view.step_counts(run, step);
            let up = u64::from(counts.placed) + u64::from(counts.running) + u64::from(queued);
            let moving_max = u32::try_from(up * MOVING_SHARE_PERCENT / 100).unwrap_or(u32::MAX).max(1);
            let moving = queued + self.stopping.get(&key).copied().unwrap_or_default();
            self.steps.insert(key, StepMoves { moving, moving_max });
        }
        self.steps.entry(key).or_insert(StepMoves { moving: 0, moving_max: 0 })
    }

    /// Elements that were moved off a node, and wait in the queue.
    fn queued_again(&self, run: RunId, step: u32, budget: &mut Budget) -> u32 {
        let Some(row) = self.view.run(run) else { return 0 };
        // Of a run that is paused they count as well: nobody takes the place of those that were moved until it goes on.
        let moved = self.view.ready_of_step(row, step).take(QUEUED_LOOK_MAX).filter(|task| {
            budget.take(1);
            let newest = self.view.task(*task).and_then(|task| task.newest_attempt());
            newest.and_then(|attempt| self.view.attempt(attempt)).is_some_and(|attempt| was_moved(attempt))
        });
        u32::try_from(moved.count()).unwrap_or(u32::MAX)
    }

    fn fits_elsewhere(&mut self, task: TaskId, budget: &mut Budget) -> bool {
        let home = self.view.task(task).and_then(|task| task.home.clone());
        let key = (task.run, task.step, home);
        if let Some(known) = self.fitting.get(&key) {
            return *known;
        }
        let fits = self.fits(task, None, budget);
        self.fitting.insert(key, fits);
        fits
    }

    fn fits(&self, task: TaskId, except: Option<&NodeName>, budget: &mut Budget) -> bool {
        let home = self.view.task(task).and_then(|task| task.home.as_ref());
        let spec = self.view.run(task.run).and_then(|run| run.spec.tasks.get(task.step as usize));
        spec.is_some_and(|spec| {
            let bound = self.view.bound(home, spec, self.served);
            let ways: Vec<_> = spec.choices().filter_map(|choice| spec.chosen(choice)).collect();
            self.view.nodes().any(|node| {
                budget.take(1);
                let is_allowed = except != Some(&node.name) && bound.allows(&node.region);
                is_allowed && ways.iter().any(|spec| feasible(node, Room::empty(node), spec).is_ok())
            })
        })
    }

    /// Whether an attempt is asked to stop now.
    fn verdict(
        &mut self,
        observed: &Observed,
        served: Served,
        node: &Node,
        attempt: &Attempt,
        budget: &mut Budget,
    ) -> Result<(), Hold> {
        evictable(self.view, attempt, served).map_err(Hold::Stays)?;
        if !observed.has_reported(node) {
            return Err(Hold::Unheard);
        }
        let TaskId { run, step, index: _ } = attempt.id.task;
        let StepMoves { moving, moving_max } = *self.step(run, step, budget);
        if !self.fits_elsewhere(attempt.id.task, budget) {
            return Err(Hold::NoOtherNode);
        }
        let is_bound = !quorate_planted::is(Bug::DrainAllAtOnce);
        if is_bound && moving >= moving_max { Err(Hold::OthersFirst { moving }) } else { Ok(()) }
    }

    fn begin(&mut self, task: TaskId, budget: &mut Budget) {
        self.step(task.run, task.step, budget).moving += 1;
    }

    /// What would hold an attempt back whose node is not being drained.
    fn prospect(&self, attempt: &Attempt, budget: &mut Budget) -> Option<Hold> {
        let TaskId { run, step, index: _ } = attempt.id.task;
        let spec = self.view.run(run).and_then(|run| run.spec.tasks.get(step as usize))?;
        if attempt.state.is_terminal() || attempt.stop.is_some() {
            return Some(Hold::Stays(Stays::Ending));
        }
        if spec.on_node_loss == OnNodeLoss::AtMostOnce {
            return Some(Hold::Stays(Stays::StartedOnce));
        }
        let fits = self.fits(attempt.id.task, Some(&attempt.node), budget);
        (!fits).then_some(Hold::NoOtherNode)
    }
}

fn was_moved(attempt: &Attempt) -> bool {
    attempt.state == AttemptState::Preempted && attempt.stop == Some(StopReason::Drained)
}
