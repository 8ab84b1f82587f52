//! Nodes that are kept for tasks that wait for more room than there is: who passes such a task must not delay it.
//!
//! Of each of the first shapes that fit nowhere, the first task is told the node on which there will be room for it at the
//! earliest, by the limits of what runs there (`timeouts.run`), and by when. From then on that node is kept: what stands behind
//! in the queue goes there only if it will have ended by then, or leaves enough of it for the task all the same. Attempts without
//! a limit count as endless, so where nothing has one, nothing is kept and nothing costs anything.
//!
//! The nodes of a reservation whose time is to come are kept in the same way, all of each: what goes there will have ended when it
//! begins.
//!
//! For a gang several nodes are kept, so that all of it fits on them together by then (`gangs`).
//!
//! A plan works it out anew from what is. Whoever waits first in the queue is never told anything later by the next plan, unless
//! something comes before it or a node goes away; others may be, when those before them find room elsewhere (ADR 0066).

mod gangs;

use std::collections::BTreeMap;

use quorate_state::{GpuHold, GpuUse, NodeName, Resources, Room, Served, State, TaskSpec, Timer};

pub use gangs::{GANG_ENDS_AHEAD_MAX, NODES_KEPT_MAX};

use super::ledger::{Account, Ledger};
use super::route::{NODES_PER_STEP, admit};
use crate::Budget;

/// Tasks and gangs for which nodes are kept in one plan, each of another shape.
pub const HOLDS_MAX: usize = 8;

/// Shapes for which a plan looks for such a node: some fit nowhere as far as it sees.
pub const SEARCHES_MAX: usize = 2 * HOLDS_MAX;

/// Ends of attempts, the soonest first, among which a plan looks for room.
pub const ENDS_AHEAD_MAX: usize = 1_024;

/// Steps of runs that a plan passes over because they fit on kept nodes alone and would delay those tasks; it leaves out whole
/// shapes from then on.
pub const PASSED_OVER_MAX: usize = 64;

/// An attempt is expected to have started so many milliseconds after it was placed: its limit counts from there.
pub const START_ALLOWANCE_MS: u64 = 10_000;

/// By when a task that waits begins at the latest, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The node that is kept for it; of several that are for a gang, one. It goes elsewhere if there is room earlier.
    pub node: NodeName,
    /// The others that are kept for the rest of its gang.
    pub others: Vec<NodeName>,
    /// By then, on the log's clock.
    pub by: Served,
}

/// What is kept in a plan, for whom, and what is known of the time to come.
pub(super) struct Holds<'a> {
    now: Served,
    ends: Ends<'a>,
    holds: Vec<Hold>,
    /// Tasks and gangs for which these are.
    promised: usize,
    searches: usize,
    passed_over: usize,
}

/// A node that is kept.
struct Hold {
    node: usize,
    by: Served,
    /// What the task that it is kept for takes, or as many of a gang as are to go there.
    want: Resources,
    /// What attempts that run there will have given back by then.
    freed: Resources,
    /// What was given to others since that will have ended by then.
    lent: Resources,
}

/// What a node is kept for.
enum Keeper<'h> {
    /// A task that waits.
    Task(&'h Hold),
    /// A reservation that begins then, all of the node.
    Reservation(Served),
}

/// Who may go to the nodes that are kept.
pub(super) enum Passing {
    /// Such a task may go to this one.
    Goes(usize),
    /// It fits there, and would delay the task that it is kept for.
    Delays,
    /// It fits on none of them.
    FitsNone,
}

impl<'a> Holds<'a> {
    pub(super) fn new(view: &'a State, now: Served) -> Self {
        Self { now, ends: Ends::new(view), holds: Vec::new(), promised: 0, searches: 0, passed_over: 0 }
    }

    /// True, so many times in a plan, if nodes may be looked for that can be kept for one more task or gang.
    fn may_search(&mut self) -> bool {
        let may = self.promised < HOLDS_MAX && self.searches < SEARCHES_MAX;
        self.searches += usize::from(may);
        may
    }

    /// Keeps a node for a task that fits nowhere by any of these alternatives, if one is known to have room for it: for the alternative for
    /// which there will be room first, for the better one of two.
    pub(super) fn keep(&mut self, ways: &[TaskSpec], ledger: &mut Ledger, budget: &mut Budget) -> Option<Expected> {
        if !self.may_search() {
            return None;
        }
        let mut first: Option<(Served, usize, Resources, Resources)> = None;
        for task in ways {
            let found = self.ends.room_for(task, ledger, budget);
            let sooner = found.filter(|(_, by, _)| first.is_none_or(|(least, ..)| *by < least));
            first = sooner.map(|(node, by, freed)| (by, node, freed, task.resources)).or(first);
        }
        let (by, node, freed, want) = first?;
        let name = ledger.account(node)?.node.name.clone();
        ledger.keep(node);
        self.promised += 1;
        self.holds.push(Hold { node, by, want, freed, lent: Resources::ZERO });
        Some(Expected { node: name, others: Vec::new(), by })
    }

    /// How many nodes are kept.
    pub(super) fn len(&self) -> usize {
        self.holds.len()
    }

    /// What a look at all of them takes of a budget: nothing of few.
    pub(super) fn steps(&self, ledger: &Ledger) -> usize {
        (self.holds.len() + ledger.planned().len()) / NODES_PER_STEP
    }

    /// Where among the kept nodes a task may go that fits on no other.
    pub(super) fn passing(&self, task: &TaskSpec, ledger: &Ledger) -> Passing {
        let mut passing = Passing::FitsNone;
        let kept = self.holds.iter().map(|hold| (hold.node, Keeper::Task(hold)));
        let planned = ledger.planned().map(|(node, from)| (node, Keeper::Reservation(from)));
        for (node, keeper) in kept.chain(planned) {
            let Some(account) = ledger.account(node) else { continue };
            if !fits(account, account.room(), task) {
                continue;
            }
            let passes = match keeper {
                Keeper::Task(hold) => hold.lets_pass(account, task, self.now),
                Keeper::Reservation(from) => ends_by(from, account, task, self.now),
            };
            if passes {
                return Passing::Goes(node);
            }
            passing = Passing::Delays;
        }
        passing
    }

    /// A task was let pass onto a kept node.
    pub(super) fn lend(&mut self, node: usize, task: &TaskSpec, ledger: &Ledger) {
        let Some(account) = ledger.account(node) else { return };
        for hold in self.holds.iter_mut().filter(|hold| hold.node == node) {
            if hold.ends_before(account, task, self.now) {
                hold.lent = hold.lent.saturating_add(task.resources);
            }
        }
    }

    /// True, so many times in a plan, if a step may be passed over that would delay somebody, and what follows looked at.
    pub(super) fn may_pass_over(&mut self) -> bool {
        self.passed_over += 1;
        self.passed_over <= PASSED_OVER_MAX
    }
}

impl Hold {
    fn lets_pass(&self, account: &Account, task: &TaskSpec, now: Served) -> bool {
        if self.ends_before(account, task, now) {
            return true;
        }
        self.left(account, task).is_some_and(|left| task.resources.fits(left))
    }

    /// What will be left of the node then beside whom it is kept for, if some of that may be this task's.
    fn left(&self, account: &Account, task: &TaskSpec) -> Option<Resources> {
        // Which devices would be left is not foreseen, so of GPUs only one of both takes some.
        if self.want.gpu_milli > 0 && task.resources.gpu_milli > 0 {
            return None;
        }
        let used = account.used.saturating_sub(self.freed).saturating_sub(self.lent);
        account.node.capacity.saturating_sub(used).checked_sub(self.want)
    }

    fn ends_before(&self, account: &Account, task: &TaskSpec, now: Served) -> bool {
        ends_by(self.by, account, task, now)
    }
}

/// True of a task that will have ended on a node by then, if it is placed there now.
fn ends_by(by: Served, account: &Account, task: &TaskSpec, now: Served) -> bool {
    let took = |limit: u64| limit.saturating_add(START_ALLOWANCE_MS).saturating_add(account.node.lease.kill_ms);
    task.run_timeout_ms.is_some_and(|limit| now.plus(took(limit)) <= by)
}

/// The ends of attempts that are known, the soonest first; read as far as somebody asks.
struct Ends<'a> {
    view: &'a State,
    timers: Box<dyn Iterator<Item = Timer> + 'a>,
    looked: usize,
    ends: Vec<End>,
    freed: BTreeMap<usize, Freed>,
}

/// At this instant, so much will have been given back on a node.
struct End {
    at: Served,
    node: usize,
    freed: Resources,
    /// How many of the node's holds of devices are among it.
    gpus: usize,
}

/// What has been given back on a node so far.
#[derive(Default)]
struct Freed {
    resources: Resources,
    gpus: Vec<GpuHold>,
}

impl<'a> Ends<'a> {
    fn new(view: &'a State) -> Self {
        Self { view, timers: Box::new(view.timers()), looked: 0, ends: Vec::new(), freed: BTreeMap::new() }
    }

    /// The first node that is not kept on which a task will fit: by when, and what will have been given back there.
    fn room_for(
        &mut self,
        task: &TaskSpec,
        ledger: &Ledger,
        budget: &mut Budget,
    ) -> Option<(usize, Served, Resources)> {
        let mut next = 0;
        loop {
            while let Some(end) = self.ends.get(next) {
                next += 1;
                let account = ledger.account(end.node)?;
                if !account.is_kept && self.fits_after(end, account, task) {
                    return Some((end.node, end.at, end.freed));
                }
            }
            if self.looked >= ENDS_AHEAD_MAX || !budget.take(1) {
                return None;
            }
            self.look(ledger)?;
        }
    }

    /// Looks at one timer more; none if there is none.
    fn look(&mut self, ledger: &Ledger) -> Option<()> {
        self.looked += 1;
        let timer = self.timers.next()?;
        self.add(timer, ledger);
        Some(())
    }

    fn add(&mut self, timer: Timer, ledger: &Ledger) {
        let Timer::RunTimeout { attempt, due } = timer else { return };
        let Some(attempt) = self.view.attempt(attempt).filter(|attempt| attempt.holds_resources()) else { return };
        let Some(node) = ledger.find(&attempt.node) else { return };
        let Some(account) = ledger.account(node) else { return };
        // What leaves a node on which room is kept makes that room, and no other.
        if attempt.stop.is_some() && self.view.claims_on(&attempt.node).next().is_some() {
            return;
        }
        let freed = self.freed.entry(node).or_default();
        freed.resources = freed.resources.saturating_add(attempt.resources);
        if attempt.gpus != GpuHold::NONE {
            freed.gpus.push(attempt.gpus);
        }
        let at = due.plus(account.node.lease.kill_ms);
        self.ends.push(End { at, node, freed: freed.resources, gpus: freed.gpus.len() });
    }

    fn fits_after(&self, end: &End, account: &Account, task: &TaskSpec) -> bool {
        self.with_room_after(end, account, task, |room| fits(account, room, task))
    }

    /// What is to be known of the room that there will be on a node at an end, as far as a task looks at it.
    fn with_room_after<T>(&self, end: &End, account: &Account, task: &TaskSpec, tell: impl FnOnce(Room<'_>) -> T) -> T {
        let free = account.node.capacity.saturating_sub(account.used.saturating_sub(end.freed));
        if task.resources.gpu_milli == 0 {
            return tell(Room { free, gpus: GpuUse::none() });
        }
        let mut gpus = account.gpus.clone();
        let given_back = self.freed.get(&end.node).map_or(&[][..], |freed| &freed.gpus);
        given_back.iter().take(end.gpus).for_each(|hold| gpus.give_back(*hold));
        tell(Room { free, gpus: &gpus })
    }
}

fn fits(account: &Account, room: Room<'_>, task: &TaskSpec) -> bool {
    admit(&account.node, account.presence, room, task).is_ok()
}
