//! Which task goes to which node: the pipeline, from the queue to a plan.
//!
//! The queue is served in order: priority, then submit order, then step and index. Where several namespaces have tasks in it, each in its
//! turn (`queue/tenants.rs`), and none beyond its maximum. A task that fits
//! nowhere does not hold up tasks of other shapes behind it; but where it is known when there will be room for it, a node is
//! kept, and those behind it pass only if that delays it by nothing (`holds`, ADR 0066).
//!
//! Tasks of equal shape share their work, in one plan and over many: a planner keeps the nodes in their order for every shape
//! (`kept`), and what they have left (`ledger`), and looks again only at nodes that have changed. A shape that fits nowhere is
//! told by the largest rooms that are left, and all of its tasks are left out at once. So a plan costs its placements, shapes
//! met x nodes changed, and shapes that wait; never tasks x nodes, nor the length of the queue, and shapes x nodes only once.
//! What is kept never decides (ADR 0056).
//!
//! Tasks that take GPUs, and those that would keep others from some, go where the GPUs that stay idle grow least (`pack`).
//!
//! Tasks with rules about other tasks look for their node among those that the rules leave (`company`).
//!
//! Gangs are placed all or none (`gang`), in their turn. For one that does not fit nodes are kept, as for any other task.
//!
//! A queue that is longer than the budget is served from its head, and then from another place, which
//! the seed chooses: whatever waits in front, everything is looked at sooner or later, though no plan
//! goes by the last one.
//!
//! A task with alternatives is placed by the first of them for which there is a node, in its turn (`bound`): each is looked for as a shape of its own.
//!
//! What a task says that it would rather have (`wishes`) comes before all packing; a task that says nothing is placed as if there were
//! no such thing.
//!
//! Ties between nodes that differ in nothing but their name go to the first name, never to chance: with
//! ties broken by chance, packing gets worse, not better.

mod queue;
mod route;

mod bound;

mod ledger;
mod score;
mod waits;
mod wishes;

mod company;
mod gang;

mod holds;
mod promises;

mod candidates;
mod changes;
mod devices;
mod kept;
mod room;

mod claims;
mod preempt;

mod propose;

pub mod backfill;
pub mod pack;

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_planted::Bug;
use quorate_state::{
    AttemptId, Choice, Command, GangPreempting, GpuHold, Held, OverQuota, Placement, Preempting, RunId, Served, State,
    Task, TaskId,
};

pub(crate) use bound::bound_to;

pub use candidates::{CANDIDATES_MAX, Candidate, Term};
pub use holds::{
    ENDS_AHEAD_MAX, Expected, GANG_ENDS_AHEAD_MAX, HOLDS_MAX, NODES_KEPT_MAX, PASSED_OVER_MAX, SEARCHES_MAX,
    START_ALLOWANCE_MS,
};
pub use kept::{SCORES_KEPT_MAX, SHAPES_KEPT_MAX};
pub use promises::PROMISES_MAX;

pub use preempt::{PREEMPTIONS_PER_PLAN_MAX, SHARES_PER_PLAN_MAX, STEPS_PER_PLAN_MAX};

pub(crate) use candidates::candidates;
pub(crate) use propose::PlacementController;
pub(crate) use route::admit;
pub(crate) use score::share;

use crate::controller::earlier;
use crate::explain::Checks;
use crate::{Budget, LogNow, Observed, Report};
use bound::{Bounds, Ways, Within};
use company::{Company, Seat};
use holds::Holds;
use kept::Kept;
use ledger::{Ledger, Void};
use queue::{Group, Queue};
use route::{Pick, Shapes};
use waits::{ShapeWait, Waits};

/// Placements in one plan, and so in one log entry; the leader plans again at once after it.
pub const PLACEMENTS_PER_PLAN_MAX: usize = 1_024;

/// One part in so many of a plan's budget is for a place further back in the queue, when the rest
/// has not been enough for all of it. A budget below this has no such part.
pub const SEARCH_ONE_IN: u32 = 4;

/// What passing over a step of a run or leaving out a shape costs, in looks at a node.
const GROUP_STEPS: usize = 4;

/// How soon a plan that saw only a part of the queue, and placed nothing, is made again.
pub(crate) const SEARCH_AGAIN_MS: u64 = 200;

/// Shapes whose waiting a plan explains.
pub const EXPLANATIONS_PER_PLAN_MAX: usize = 64;

/// Placements proposed together, from one view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In queue order.
    pub placements: Vec<Placement>,
    /// Gangs, each whole, in queue order.
    pub gangs: Vec<PlacedGang>,
    /// Attempts that are to be stopped for tasks that fit nowhere, in queue order.
    pub preemptions: Vec<Preempting>,
    /// The same for gangs, each whole.
    pub gang_preemptions: Vec<GangPreempting>,
    /// Tasks for which room was kept long enough.
    pub expired: Vec<TaskId>,
    /// When tasks become free to be placed that are held now, or room is kept long enough.
    pub wake_at: Option<Served>,
    /// What is left waiting, by shape, in queue order.
    pub explanations: Vec<ShapeWaits>,
    /// What the plan found.
    pub report: Report,
}

/// A gang that is placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedGang {
    /// Its run.
    pub run: RunId,
    /// Its step.
    pub step: u32,
    /// Its generation before, in the view.
    pub generation: u32,
    /// All its members, by index.
    pub placements: Vec<Placement>,
}

/// All attempts that are to be stopped, for tasks and for gangs.
fn victims<'a>(
    preemptions: &'a [Preempting],
    gang_preemptions: &'a [GangPreempting],
) -> impl Iterator<Item = AttemptId> + 'a {
    let single = preemptions.iter().flat_map(|preempting| preempting.victims.iter().copied());
    single.chain(gang_preemptions.iter().flat_map(GangPreempting::victims))
}

impl Plan {
    /// How many tasks are placed.
    pub fn placed(&self) -> usize {
        self.placements.len() + self.gangs.iter().map(|gang| gang.placements.len()).sum::<usize>()
    }

    /// All that are placed, one by one and in gangs.
    pub fn all_placements(&self) -> impl Iterator<Item = &Placement> {
        self.placements.iter().chain(self.gangs.iter().flat_map(|gang| &gang.placements))
    }

    /// What carries it out: nothing when nothing is placed, and nobody is stopped. What is stopped for single tasks goes before
    /// what is for gangs: where it was to add to room that is made for a gang it is refused, and decided again by the next plan.
    pub fn into_commands(self) -> Vec<Command> {
        let Self { placements, gangs, preemptions, gang_preemptions, expired, .. } = self;
        let expired = (!expired.is_empty()).then_some(Command::EndClaims { tasks: expired });
        let single = (!placements.is_empty()).then_some(Command::CommitPlan { placements });
        let gangs = gangs.into_iter().map(|gang| {
            let PlacedGang { run, step, generation, placements } = gang;
            Command::CommitGang { run, step, generation, placements }
        });
        let for_gangs = gang_preemptions.into_iter().map(Command::PreemptForGang);
        let preemptions = preemptions.into_iter().map(Command::PreemptAttempts).chain(for_gangs);
        expired.into_iter().chain(single).chain(gangs).chain(preemptions).collect()
    }
}

/// Tasks of one shape that fit nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeWaits {
    /// The first of them.
    pub first: TaskId,
    /// How many.
    pub tasks: u64,
    /// Why they are not placed whatever the room.
    pub over_quota: Option<OverQuota>,
    /// A node has the room for the first of them, and is kept for a task before it, which it would delay.
    pub would_delay: bool,
    /// When the first of them begins, at the latest as far as is known, and where; none where that is not known.
    pub expected: Option<Expected>,
    /// How many nodes failed which check when this plan looked at them. Empty when it was known that
    /// none has the room, so that no node was looked at for this shape.
    pub checks: Checks,
}

/// The plan of a planner that knows nothing yet: see [`Planner::plan`].
pub fn plan(view: &State, observed: &Observed, now: LogNow, seed: u64, budget: Budget) -> Plan {
    Planner::default().plan(view, observed, now, seed, budget)
}

/// Makes plans, and keeps what it has found out about nodes. Whatever it keeps, its plan is the one of a planner that knows
/// nothing.
#[derive(Default)]
pub struct Planner {
    ledger: Ledger,
    kept: Kept,
}

impl Planner {
    /// Plans the head of the queue onto the nodes. A task that fits on a node is placed, unless the
    /// budget or [`PLACEMENTS_PER_PLAN_MAX`] ends the plan first. The budget then has a part left for a
    /// place further back, which `seed` chooses.
    pub fn plan(&mut self, view: &State, observed: &Observed, now: LogNow, seed: u64, budget: Budget) -> Plan {
        // Room that is kept for a task that still runs elsewhere may have been so long enough.
        if view.ready_count() == 0 && view.claims_count() == 0 {
            return Plan::default();
        }
        match self.ledger.follow(view, observed) {
            Void::All => self.kept.clear(),
            Void::Distances => self.kept.forget_distances(),
            Void::Nothing => {}
        }
        let Self { ledger, kept } = self;
        let (shapes, waits, placements, gangs) = (Shapes::default(), Waits::default(), Vec::new(), Vec::new());
        let (holds, sought, company) = (Holds::new(view, now.served), BTreeSet::new(), Company::default());
        let (preemptions, gang_preemptions, expired) = (Vec::new(), Vec::new(), Vec::new());
        let bounds = Bounds::default();
        let mut pass = Pass {
            view,
            now,
            wake_at: None,
            ledger,
            kept,
            holds,
            sought,
            company,
            shapes,
            bounds,
            waits,
            placements,
            gangs,
            in_gangs: 0,
            preemptions,
            gang_preemptions,
            expired,
        };
        pass.serve_claims();
        pass.run(seed, budget)
    }
}

/// A plan in the making.
struct Pass<'a> {
    view: &'a State,
    now: LogNow,
    /// A hold on what waits ends then, the first that does.
    wake_at: Option<Served>,
    ledger: &'a mut Ledger,
    kept: &'a mut Kept,
    holds: Holds<'a>,
    /// Shapes for which a node was looked for that can be kept.
    sought: BTreeSet<usize>,
    company: Company,
    shapes: Shapes,
    bounds: Bounds,
    waits: Waits,
    placements: Vec<Placement>,
    gangs: Vec<PlacedGang>,
    /// Placements in those.
    in_gangs: usize,
    preemptions: Vec<Preempting>,
    gang_preemptions: Vec<GangPreempting>,
    expired: Vec<TaskId>,
}

/// What became of a group.
enum Outcome {
    /// All of it has a place.
    Done,
    /// Nothing of its step is given out again: it was a gang, and all of that has a place, or not all of it stands in the queue.
    Passed,
    /// From this task on, nothing of its shape fits anywhere. It is told this of its beginning, if it is a gang.
    Nowhere(TaskId, Option<Expected>),
    /// From this task on, nothing of its line fits anywhere by those of its alternatives that its namespace may have.
    NowhereWithinQuota(TaskId),
    /// From this task on, nothing of its group may pass those before it; with the same.
    Delays(TaskId, Option<Expected>),
    /// From this task on, nothing of its step may be where there is room: others are there.
    Apart(TaskId, Checks),
    /// From this task on, nothing of its line may be placed.
    OverQuota(TaskId, OverQuota),
    /// The walk is over.
    End(End),
}

/// Where a walk over the queue has stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Queue,
    Budget,
    Plan,
}

impl<'a> Pass<'a> {
    fn run(mut self, seed: u64, mut budget: Budget) -> Plan {
        let mut kept_back = budget.keep_back(SEARCH_ONE_IN);
        let mut queue = Queue::new(self.view, self.now.served);
        let mut end = self.walk(&mut queue, &mut budget);
        let mut truncated = end != End::Queue;
        if end == End::Budget {
            let has_jumped = queue.jump_ahead(seed);
            end = self.walk(&mut queue, &mut kept_back);
            truncated = has_jumped || end != End::Queue;
        }
        self.preempt(seed, &mut budget);
        self.finish(truncated)
    }

    /// Serves the queue from where it stands; it stands where this stopped afterwards.
    fn walk(&mut self, queue: &mut Queue<'a>, budget: &mut Budget) -> End {
        while let Some(group) = queue.next_group() {
            if budget.is_spent() {
                queue.step_back(None);
                return End::Budget;
            }
            // A cancelled run's tasks are taken out of the queue by the workflow controller.
            let is_cancelled = group.run.is_ending(group.step) && !quorate_planted::is(Bug::PlacedAfterCancel);
            if is_cancelled || self.is_held(&group) {
                queue.pass_step(&group, self.view.step_counts(group.run.id, group.step).ready as usize);
                budget.take(GROUP_STEPS);
                continue;
            }
            let before = self.placements.len();
            let outcome = self.serve(&group, queue, budget);
            let placed = self.placements.len() - before;
            queue.pass(group.at, placed);
            match outcome {
                Outcome::Done => {}
                Outcome::Passed => {
                    queue.pass_step(&group, self.view.step_counts(group.run.id, group.step).ready as usize);
                    budget.take(GROUP_STEPS);
                }
                Outcome::Nowhere(first, expected) => {
                    let expected = expected.or_else(|| self.keep_node_for(&group, budget));
                    let tasks = queue.leave_out_shape(group.shape);
                    self.waits.add(ShapeWait { expected, ..ShapeWait::of(group.shape, first, tasks) });
                    budget.take(GROUP_STEPS);
                }
                Outcome::NowhereWithinQuota(first) => {
                    let tasks = queue.leave_out_line(group.at);
                    self.waits.add(ShapeWait::of(group.shape, first, tasks));
                    budget.take(GROUP_STEPS);
                }
                Outcome::Delays(first, expected) => {
                    let expected = expected.or_else(|| self.keep_node_for(&group, budget));
                    // Others of the shape may end sooner, so that they delay nobody.
                    let tasks = if self.holds.may_pass_over() {
                        queue.pass_step(&group, self.left_of(&group))
                    } else {
                        queue.leave_out_shape(group.shape)
                    };
                    let waits = ShapeWait::of(group.shape, first, tasks);
                    self.waits.add(ShapeWait { expected, would_delay: true, ..waits });
                    budget.take(GROUP_STEPS);
                }
                Outcome::Apart(first, checks) => {
                    let tasks = queue.pass_step(&group, self.left_of(&group));
                    let waits = ShapeWait::of(group.shape, first, tasks);
                    self.waits.add(ShapeWait { checks: Some(checks), ..waits });
                    budget.take(GROUP_STEPS);
                }
                Outcome::OverQuota(first, over) => {
                    let tasks = queue.leave_out_line(group.at);
                    self.waits.add(ShapeWait { over_quota: Some(over), ..ShapeWait::of(group.shape, first, tasks) });
                    budget.take(GROUP_STEPS);
                }
                Outcome::End(end) => {
                    let last = self.placements.get(before..).and_then(|placed| placed.last());
                    queue.step_back(last.map(|placed| placed.task));
                    return end;
                }
            }
        }
        End::Queue
    }

    /// Its run was restored, or it asks for a reservation: it must not be placed yet.
    fn is_held(&mut self, group: &Group<'a>) -> bool {
        let held = self.view.held(group.run, group.spec, self.now.served);
        if let Some(Held::Fenced { until }) = held {
            self.wake_at = earlier(self.wake_at, until);
        }
        // What ends that wait changes the state, and so brings a plan.
        held.is_some() || self.view.unreserved(group.run, group.spec).is_some()
    }

    /// Places the tasks of a group for as long as there is a node for them.
    fn serve(&mut self, group: &Group<'a>, queue: &mut Queue<'a>, budget: &mut Budget) -> Outcome {
        if let Some(gang) = &group.spec.gang {
            return self.serve_gang(group, gang, queue, budget);
        }
        let has_company = !group.spec.place.company.is_empty();
        let within = self.within(group);
        let ways = within.as_ref().map_or_else(|| Ways::of_one(group.spec), |within| within.ways());
        for task in group.tasks() {
            if self.placements.len() + self.in_gangs >= PLACEMENTS_PER_PLAN_MAX {
                return Outcome::End(End::Plan);
            }
            let ways = match ways.within_quota(|choice| queue.over_quota(group, choice)) {
                Ok(ways) => ways,
                Err(over) => return Outcome::OverQuota(task, over),
            };
            let Some(task) = self.view.task(task) else { continue };
            // Its room is kept for it: it goes there, or nowhere for now.
            if self.view.claim(task.id).is_some() {
                continue;
            }
            if has_company {
                let of = (group.run, group.step);
                match self.company.place_first(self.view, of, ways, self.ledger, self.kept, budget) {
                    Seat::Node(at, gpus, choice) => self.give(task, (at, gpus), choice, group, queue),
                    Seat::Nowhere if ways.has_closed() => return Outcome::NowhereWithinQuota(task.id),
                    Seat::Nowhere => return Outcome::Nowhere(task.id, None),
                    Seat::Apart(checks) => return Outcome::Apart(task.id, checks),
                    Seat::OutOfBudget => return Outcome::End(End::Budget),
                }
                continue;
            }
            let (shapes, holds) = (&mut self.shapes, &mut self.holds);
            match shapes.place_first(group.shape, ways, self.ledger, self.kept, holds, budget) {
                Pick::Node(at, gpus, choice) => self.give(task, (at, gpus), choice, group, queue),
                // Other namespaces may have more than these of its alternatives.
                Pick::Nowhere | Pick::Delays if ways.has_closed() => return Outcome::NowhereWithinQuota(task.id),
                Pick::Nowhere => return Outcome::Nowhere(task.id, None),
                Pick::Delays => return Outcome::Delays(task.id, None),
                Pick::OutOfBudget => return Outcome::End(End::Budget),
            }
        }
        Outcome::Done
    }

    /// Gives a task of a group a node and its devices, which the ledger has spent, by one of its alternatives.
    fn give(
        &mut self,
        task: &Task,
        (at, gpus): (usize, GpuHold),
        choice: Choice,
        group: &Group<'a>,
        queue: &mut Queue<'a>,
    ) {
        let Some(account) = self.ledger.account(at) else { return };
        let (node, epoch) = (account.node.name.clone(), account.node.epoch);
        self.placements.push(Placement { task: task.id, generation: task.generation, node, epoch, gpus, choice });
        queue.spend(group, choice);
    }

    /// Keeps a node for the first task of a shape that does not fit now, if there will be room somewhere.
    fn keep_node_for(&mut self, group: &Group<'a>, budget: &mut Budget) -> Option<Expected> {
        let lacks_room = self.shapes.is_short_of_room(group.shape);
        let is_first = lacks_room && self.sought.insert(group.shape);
        if !is_first {
            return None;
        }
        let within = self.within(group);
        let ways = within.as_ref().map_or(std::slice::from_ref(group.spec), |within| &within.all);
        self.holds.keep(ways, self.ledger, budget)
    }

    /// What the tasks of a group may take and where they may go, if they have alternatives, or it depends on where they ran.
    fn within(&mut self, group: &Group<'a>) -> Option<Arc<Within>> {
        if group.home.is_none() && !group.spec.has_choice() {
            return None;
        }
        let within = self.bounds.within(group.shape, group.spec, group.home, (self.view, self.now.served));
        self.wake_at = within.leaves.map_or(self.wake_at, |leaves| earlier(self.wake_at, leaves));
        Some(within)
    }

    /// Ready tasks of a step that this plan has given no place.
    fn left_of(&self, group: &Group<'a>) -> usize {
        let is_of_step = |task: TaskId| task.run == group.run.id && task.step == group.step;
        let placed = self.placements.iter().filter(|placed| is_of_step(placed.task)).count();
        (self.view.step_counts(group.run.id, group.step).ready as usize).saturating_sub(placed)
    }

    fn finish(self, truncated: bool) -> Plan {
        let Self {
            view: _,
            now: _,
            wake_at,
            ledger: _,
            kept: _,
            holds,
            sought: _,
            company: _,
            shapes,
            bounds: _,
            waits,
            placements,
            gangs,
            in_gangs,
            preemptions,
            gang_preemptions,
            expired,
        } = self;
        let counts = vec![
            ("placed", (placements.len() + in_gangs) as u64),
            ("waiting", waits.tasks),
            ("shapes", shapes.len() as u64),
            ("shapes_waiting", waits.shapes.len() as u64),
            ("nodes_kept", holds.len() as u64),
            ("preempting", (preemptions.len() + gang_preemptions.len()) as u64),
            ("preempted", victims(&preemptions, &gang_preemptions).count() as u64),
        ];
        let has_room_made = |first: TaskId| {
            preemptions.iter().any(|made| made.task == first)
                || gang_preemptions.iter().any(|made| (made.run, made.step) == (first.run, first.step))
        };
        let explanations = waits
            .shapes
            .into_iter()
            .take(EXPLANATIONS_PER_PLAN_MAX)
            .map(|waits| ShapeWaits {
                first: waits.first,
                tasks: waits.tasks as u64,
                would_delay: waits.would_delay,
                // It is told of the room that is made for it, and waits for no other.
                expected: waits.expected.filter(|_| !has_room_made(waits.first)),
                checks: match waits.checks {
                    Some(checks) => checks,
                    None if waits.over_quota.is_some() => Checks::default(),
                    None => shapes.checks(waits.shape),
                },
                over_quota: waits.over_quota,
            })
            .collect();
        Plan {
            placements,
            gangs,
            preemptions,
            gang_preemptions,
            expired,
            wake_at,
            explanations,
            report: Report { counts, truncated, notes: Vec::new() },
        }
    }
}
