//! What is kept between plans: for every shape the order of the nodes, for every limit the largest rooms.
//!
//! Whatever is kept is brought up to date before it is asked, by a look at the nodes that have changed since. So a plan costs its
//! placements and, for every shape that it meets, the nodes that have changed; all nodes only for a shape that is new.
//!
//! **Invariant:** what is kept never decides, because a new leader must decide as the old one would have: a plan with all of it
//! and one with nothing are the same.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use quorate_state::{Company, Driver, GpuModel, Near, OnNodeLoss, Place, Resources, Retry, Role, Spread, TaskSpec};

use super::ledger::Ledger;
use super::pack::{Rank as _, Ranking, Want};
use super::room::Rooms;
use super::route::admit;
use super::score::{Score, cluster_score};
use crate::explain::{Check, Checks};

/// Scores that are kept, of all shapes together, rooms counted as two. What was not asked for longest is let go of when there
/// would be more: 4 million are 200 shapes on 20,000 nodes, and about 100 MB.
pub const SCORES_KEPT_MAX: usize = 4_000_000;

/// Shapes that are kept, and limits as many, however few nodes there are.
pub const SHAPES_KEPT_MAX: usize = 4_096;

/// What is asked for: as much of a task as placement looks at.
pub(super) struct Wanted {
    pub(super) task: TaskSpec,
    /// The same as packing sees it, if it can be said.
    pub(super) want: Option<Want>,
}

impl Wanted {
    /// What tasks that look so ask for.
    pub(super) fn of(Looks(task): &Looks, ledger: &Ledger) -> Self {
        Self { want: ledger.gpus().want(task), task: task.clone() }
    }
}

/// A task, of which nothing is left to choose, without all that placement does not look at. Two are the same when those that they stand for fit on the same nodes,
/// the same one of them best.
#[derive(Clone, Debug)]
pub(super) struct Looks(TaskSpec);

/// All that placement looks at in a task.
type Parts<'a> = ((u64, u64, u64), &'a [GpuModel], Driver, &'a Place);

impl Looks {
    /// Of a task.
    pub(super) fn of(task: &TaskSpec) -> Self {
        Self(TaskSpec {
            name: task.name.clone(),
            driver: task.driver,
            argv: Vec::new(),
            env: BTreeMap::new(),
            needs: Vec::new(),
            count: 1,
            resources: task.resources,
            gpu_models: task.gpu_models.clone(),
            alternatives: Vec::new(),
            retry: Retry::default(),
            run_timeout_ms: None,
            queued_timeout_ms: None,
            silent_timeout_ms: None,
            place: Place { company: Company::default(), ..task.place.clone() },
            on_node_loss: OnNodeLoss::default(),
            on_region_loss: None,
            role: Role::Work,
            templated: false,
            when: None,
            each: None,
            accept_failed: 0,
            sub_run: None,
            gang: None,
            preemptible: true,
        })
    }

    /// Of all tasks that differ in nothing that keeps them from a node but processors and memory.
    pub(super) fn limits(task: &TaskSpec) -> Self {
        let Self(mut task) = Self::of(task);
        (task.resources.cpu_milli, task.resources.memory_bytes) = (0, 0);
        let (spread, company, near) = (Spread::default(), Company::default(), Near::default());
        task.place = Place { spread, prefer: Vec::new(), cheap: 0, near, company, ..task.place };
        Self(task)
    }

    fn parts(&self) -> Parts<'_> {
        let TaskSpec { resources, gpu_models, driver, place, .. } = &self.0;
        let Resources { cpu_milli, memory_bytes, gpu_milli } = *resources;
        let amounts = (cpu_milli, memory_bytes, gpu_milli);
        (amounts, gpu_models, *driver, place)
    }
}

impl PartialEq for Looks {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Looks {}

impl PartialOrd for Looks {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Looks {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

/// What is kept of the nodes in a ledger.
#[derive(Default)]
pub(super) struct Kept {
    shapes: BTreeMap<Looks, Standing>,
    limits: BTreeMap<Looks, Limits>,
    /// Rises with every question.
    asked: u64,
    /// How many scores there are in all.
    scores: usize,
}

/// The nodes in their order for one shape.
pub(super) struct Standing {
    wanted: Wanted,
    /// One over all nodes, or one for each cluster if the emptiest cluster goes first.
    rankings: Vec<Ranking<Score>>,
    /// How many nodes fail each check.
    failing: [u32; Check::ALL.len()],
    /// Changes of the ledger that are in it.
    seen: u64,
    asked: u64,
}

/// The rooms of the nodes that tasks with some limits can go to.
struct Limits {
    rooms: Rooms,
    seen: u64,
    asked: u64,
}

impl Kept {
    /// Lets go of everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Regions are not as far from each other as they were: lets go of all that went by that.
    pub(super) fn forget_distances(&mut self) {
        self.shapes.retain(|Looks(task), _| task.place.near.is_empty());
        self.count();
    }

    /// Counts the scores that there are.
    fn count(&mut self) {
        let shapes = self.shapes.values().map(Standing::len);
        self.scores = shapes.chain(self.limits.values().map(|limits| 2 * limits.rooms.len())).sum();
    }

    /// The nodes in their order for a shape, as they are now.
    pub(super) fn standing(&mut self, looks: &Looks, ledger: &mut Ledger) -> &mut Standing {
        self.asked += 1;
        if !self.shapes.contains_key(looks) {
            self.make_room(ledger.accounts().len());
        }
        let standing = self.shapes.entry(looks.clone()).or_insert_with(|| Standing::new(looks, ledger));
        standing.asked = self.asked;
        standing.catch_up(ledger);
        standing
    }

    /// True if somewhere within the limits of a shape there is room for it.
    pub(super) fn has_room(&mut self, limits: &Looks, want: Resources, ledger: &Ledger) -> bool {
        self.asked += 1;
        if !self.limits.contains_key(limits) {
            self.make_room(2 * ledger.accounts().len());
        }
        let within = self.limits.entry(limits.clone()).or_insert_with(|| Limits::new(limits, ledger));
        within.asked = self.asked;
        within.catch_up(limits, ledger);
        within.rooms.hold(want)
    }

    /// Lets go of the half that was not asked for longest, until there is room for so many scores.
    fn make_room(&mut self, scores: usize) {
        while !self.has_place_for(scores) {
            let shapes = self.shapes.values().map(|standing| standing.asked);
            let mut asked: Vec<u64> = shapes.chain(self.limits.values().map(|limits| limits.asked)).collect();
            asked.sort_unstable();
            // No two were asked for at once, so at least one goes.
            let Some(oldest_kept) = asked.get(asked.len().div_ceil(2)).or(asked.last()).copied() else { return };
            let is_only = asked.len() == 1;
            self.shapes.retain(|_, standing| !is_only && standing.asked >= oldest_kept);
            self.limits.retain(|_, limits| !is_only && limits.asked >= oldest_kept);
            self.count();
        }
        self.scores += scores;
    }

    fn has_place_for(&self, scores: usize) -> bool {
        let is_full = self.shapes.len() >= SHAPES_KEPT_MAX || self.limits.len() >= SHAPES_KEPT_MAX;
        (!is_full && self.scores + scores <= SCORES_KEPT_MAX) || (self.shapes.is_empty() && self.limits.is_empty())
    }
}

impl Standing {
    fn new(looks: &Looks, ledger: &mut Ledger) -> Self {
        let (wanted, Looks(task)) = (Wanted::of(looks, ledger), looks);
        let mut failing = [0; Check::ALL.len()];
        let mut scores = Vec::with_capacity(ledger.accounts().len());
        for at in 0..ledger.accounts().len() {
            scores.push(ledger.score(at, &wanted).unwrap_or_else(|check| {
                failing[check as usize] += 1;
                Score::failing(check)
            }));
        }
        let rankings = match task.place.spread {
            Spread::Pack | Spread::Node => vec![ranking(scores, 0, ledger)],
            Spread::Cluster => {
                let each = ledger.clusters().iter().map(|cluster| {
                    let own = scores.get(cluster.first..cluster.first + cluster.nodes).unwrap_or_default();
                    ranking(own.to_vec(), cluster.first, ledger)
                });
                each.collect()
            }
        };
        Self { wanted, rankings, failing, seen: ledger.changes().count(), asked: 0 }
    }

    fn len(&self) -> usize {
        self.rankings.iter().map(Ranking::len).sum()
    }

    /// How many orders there are, of which each has a best node.
    pub(super) fn rankings(&self) -> usize {
        self.rankings.len()
    }

    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// How good each node is, by number.
    pub(super) fn scores(&self) -> impl Iterator<Item = Score> {
        self.rankings.iter().flat_map(|ranking| (0..ranking.len() as u32).map(|at| ranking.score(at)))
    }

    /// How many nodes fail which check.
    pub(super) fn checks(&self) -> Checks {
        Check::ALL.into_iter().zip(self.failing).filter(|(_, nodes)| *nodes > 0).collect()
    }

    /// Looks again at nodes that have changed.
    fn catch_up(&mut self, ledger: &mut Ledger) {
        if self.seen == ledger.changes().count() {
            return;
        }
        let changed: Vec<usize> = ledger.changes().since(self.seen).collect();
        for at in changed {
            self.look_again(at, ledger);
        }
        self.seen = ledger.changes().count();
    }

    fn look_again(&mut self, at: usize, ledger: &mut Ledger) {
        let number = if self.rankings.len() == 1 { 0 } else { ledger.account(at).map_or(0, |account| account.cluster) };
        let first = if number == 0 { 0 } else { ledger.clusters().get(number).map_or(0, |cluster| cluster.first) };
        let Some(ranking) = self.rankings.get_mut(number) else { return };
        let before = ranking.score((at - first) as u32);
        let score = ledger.score_again(at, &self.wanted, before, self.seen).unwrap_or_else(Score::failing);
        if let Some(check) = before.check() {
            self.failing[check as usize] -= 1;
        }
        if let Some(check) = score.check() {
            self.failing[check as usize] += 1;
        }
        // Of one that keeps failing the same nothing has changed that matters here.
        if before != score || score.fits() {
            ranking.set(at - first, score, |one, other| ledger.tie(first + one as usize, first + other as usize));
        }
    }

    /// The best node, if the shape fits anywhere.
    pub(super) fn best(&self, ledger: &Ledger) -> Option<usize> {
        match self.wanted.task.place.spread {
            Spread::Pack | Spread::Node => self.rankings.first().and_then(Ranking::best),
            Spread::Cluster => {
                let bests = self.rankings.iter().zip(ledger.clusters()).enumerate();
                let has_wishes = self.wanted.task.place.has_wishes();
                let bests = bests.filter_map(|(number, (ranking, cluster))| {
                    let best = ranking.best()?;
                    let wishes = if has_wishes { ranking.score(best as u32).wishes() } else { 0 };
                    Some((wishes, cluster_score(cluster), number, cluster.first + best))
                });
                bests.min().map(|(_, _, _, node)| node)
            }
        }
    }
}

impl Limits {
    fn new(limits: &Looks, ledger: &Ledger) -> Self {
        let rooms = Rooms::of((0..ledger.accounts().len()).map(|at| room_within(limits, at, ledger)));
        Self { rooms, seen: ledger.changes().count(), asked: 0 }
    }

    fn catch_up(&mut self, limits: &Looks, ledger: &Ledger) {
        for at in ledger.changes().since(self.seen) {
            self.rooms.set(at, room_within(limits, at, ledger));
        }
        self.seen = ledger.changes().count();
    }
}

/// What is free on a node, if nothing but that can keep a task with these limits away.
fn room_within(Looks(task): &Looks, at: usize, ledger: &Ledger) -> Option<Resources> {
    let account = ledger.account(at)?;
    let admitted = admit(&account.node, account.presence, account.room(), task).ok().filter(|()| !account.is_kept);
    admitted.map(|()| account.free())
}

fn ranking(scores: Vec<Score>, first: usize, ledger: &Ledger) -> Ranking<Score> {
    Ranking::new(scores, |one, other| ledger.tie(first + one as usize, first + other as usize))
}
