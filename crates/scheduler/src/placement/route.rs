//! Where the tasks of a shape can go, best first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use quorate_state::{ClusterName, Driver, GpuModel, GpuWant, Node, RegionName, Room, Spread, TaskSpec, feasible};

use super::ledger::{Account, Ledger};
use super::room::Rooms;
use super::score::{Score, cluster_score, score};
use crate::explain::{Check, Checks};
use crate::{Budget, Presence};

/// Whether a node can take a task now: [`feasible`], which `apply` asks again, after one look at
/// what only the leader sees: a silent node is given nothing, for its lease is about to end.
pub(crate) fn admit(node: &Node, presence: Presence, room: Room<'_>, task: &TaskSpec) -> Result<(), Check> {
    let verdict = feasible(node, room, task).map_err(|why| Check::of(&why));
    match presence {
        Presence::Heard | Presence::Unheard => verdict,
        Presence::Silent if verdict == Err(Check::NodeLost) => verdict,
        Presence::Silent => Err(Check::NodeSilent),
    }
}

/// All that `feasible` looks at in a task, but the amounts of processors and memory.
type Limits<'a> = (Driver, &'a [RegionName], &'a [ClusterName], &'a BTreeMap<String, String>, (u64, &'a [GpuModel]));

/// The shapes met in this plan, by the number of their line.
#[derive(Default)]
pub(super) struct Shapes<'a> {
    shapes: BTreeMap<usize, Shape<'a>>,
    /// What was free on the nodes within some limits when a shape was last looked at there. In one plan
    /// room only shrinks, so what does not fit there will not fit later.
    rooms: BTreeMap<Limits<'a>, Rooms>,
}

struct Shape<'a> {
    task: &'a TaskSpec,
    progress: Progress,
    checks: Checks,
}

enum Progress {
    /// No node was looked at.
    Unexamined,
    /// All nodes were looked at, and those spent on up to there again.
    Open(Candidates),
    /// It fits nowhere any more.
    Refused,
}

/// Nodes that can take the shape, in one heap, or in one per cluster if the emptiest cluster goes
/// first. An entry is out of date once its node was spent on: a newer one stands beside it then.
struct Candidates {
    heaps: Vec<BinaryHeap<Reverse<Candidate>>>,
    seen: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    score: Score,
    node: usize,
    version: usize,
}

/// Where the next task of a shape goes.
pub(super) enum Pick {
    /// To this node.
    Node(usize),
    /// It fits nowhere.
    Nowhere,
    /// The budget ended before that was known.
    OutOfBudget,
}

impl<'a> Shapes<'a> {
    pub(super) fn len(&self) -> usize {
        self.shapes.len()
    }

    /// How many nodes failed which check for a shape.
    pub(super) fn checks(&self, shape: usize) -> Checks {
        self.shapes.get(&shape).map(|shape| shape.checks.clone()).unwrap_or_default()
    }

    /// The best node for the next task of a shape, of which `task` is one.
    pub(super) fn pick(&mut self, number: usize, task: &'a TaskSpec, ledger: &Ledger<'_>, budget: &mut Budget) -> Pick {
        let shape = self.shapes.entry(number).or_insert_with(|| Shape::of(task));
        let best = match &mut shape.progress {
            Progress::Refused => return Pick::Nowhere,
            Progress::Unexamined => {
                let known = self.rooms.get(&limits(shape.task));
                if known.is_some_and(|rooms| !rooms.hold(shape.task.resources)) {
                    shape.progress = Progress::Refused;
                    return Pick::Nowhere;
                }
                if !budget.take(ledger.accounts().len()) {
                    return Pick::OutOfBudget;
                }
                let (mut candidates, rooms) = Candidates::all(shape.task, ledger, &mut shape.checks);
                self.rooms.insert(limits(shape.task), rooms);
                let best = candidates.best(shape.task.place.spread, ledger);
                shape.progress = Progress::Open(candidates);
                best
            }
            Progress::Open(candidates) => {
                if !budget.take(candidates.heaps.len() + candidates.catch_up(shape.task, ledger)) {
                    return Pick::OutOfBudget;
                }
                candidates.best(shape.task.place.spread, ledger)
            }
        };
        if best.is_none() {
            shape.progress = Progress::Refused;
        }
        best.map_or(Pick::Nowhere, Pick::Node)
    }
}

impl<'a> Shape<'a> {
    fn of(task: &'a TaskSpec) -> Self {
        Self { task, progress: Progress::Unexamined, checks: Checks::default() }
    }
}

impl Candidates {
    /// Looks at all nodes. Also what is free on those that only room can keep from taking the shape.
    fn all(task: &TaskSpec, ledger: &Ledger<'_>, checks: &mut Checks) -> (Self, Rooms) {
        let heaps = match task.place.spread {
            Spread::Pack | Spread::Node => 1,
            Spread::Cluster => ledger.clusters().len(),
        };
        let (_, seen) = ledger.spent_since(0);
        let mut candidates = Self { heaps: (0..heaps).map(|_| BinaryHeap::new()).collect(), seen };
        let mut rooms = Vec::new();
        for (at, account) in ledger.accounts().iter().enumerate() {
            match candidates.consider(task, at, account) {
                Err(check) if !check.is_about_room() => checks.add(check),
                verdict => {
                    if has_gpus(task, account) {
                        rooms.push(account.free());
                    }
                    verdict.unwrap_or_else(|check| checks.add(check));
                }
            }
        }
        (candidates, Rooms::of(rooms))
    }

    /// Looks again at nodes that were spent on; how many there were.
    fn catch_up(&mut self, task: &TaskSpec, ledger: &Ledger<'_>) -> usize {
        let (spent, seen) = ledger.spent_since(self.seen);
        let mut looked_at = 0;
        for at in spent {
            looked_at += 1;
            // A node that is full now leaves the candidates: its old entry is out of date.
            let _ = self.consider(task, at, &ledger.accounts()[at]);
        }
        self.seen = seen;
        looked_at
    }

    fn consider(&mut self, task: &TaskSpec, at: usize, account: &Account<'_>) -> Result<(), Check> {
        admit(account.node, account.presence, account.room(), task)?;
        let heap = match task.place.spread {
            Spread::Pack | Spread::Node => 0,
            Spread::Cluster => account.cluster,
        };
        let score = score(account, task.resources, task.place.spread);
        self.heaps[heap].push(Reverse(Candidate { score, node: at, version: account.version }));
        Ok(())
    }

    fn best(&mut self, spread: Spread, ledger: &Ledger<'_>) -> Option<usize> {
        match spread {
            Spread::Pack | Spread::Node => self.heaps.iter_mut().find_map(|heap| top(heap, ledger)),
            Spread::Cluster => {
                let clusters = ledger.clusters();
                let tops = self.heaps.iter_mut().zip(clusters).zip(0_usize..);
                tops.filter_map(|((heap, cluster), number)| {
                    top(heap, ledger).map(|node| ((cluster_score(cluster), number), node))
                })
                .min()
                .map(|(_, node)| node)
            }
        }
    }
}

/// The best entry that is up to date; older ones before it are dropped.
fn top(heap: &mut BinaryHeap<Reverse<Candidate>>, ledger: &Ledger<'_>) -> Option<usize> {
    loop {
        let Reverse(candidate) = heap.peek()?;
        if ledger.accounts()[candidate.node].version == candidate.version {
            return Some(candidate.node);
        }
        heap.pop();
    }
}

/// True of a node whose GPUs, as they are taken, do not keep the task away.
fn has_gpus(task: &TaskSpec, account: &Account<'_>) -> bool {
    let want = GpuWant::of(task);
    want.milli == 0 || want.usable(want.allowed(account.node), &account.gpus) >= want.milli
}

fn limits(task: &TaskSpec) -> Limits<'_> {
    let gpus = (task.resources.gpu_milli, &task.gpu_models[..]);
    (task.driver, &task.place.regions, &task.place.clusters, &task.place.labels, gpus)
}
