//! Who is next: the ready tasks in order, one step of one run at a time; or one task at a time, where several namespaces have some.

mod fair;
mod tenants;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Range;

use quorate_planted::Bug;
use quorate_state::{
    Choice, Feature, Line, Namespace, OverQuota, ReadyKey, RegionName, Run, RunId, Served, State, TaskId, TaskSpec, mix,
};

use fair::Fair;
use tenants::Tenants;

/// Neighbours in a line that are passed one by one before the walk jumps: a jump costs as much as some.
const STRIDE: usize = 8;

/// A walk over the queue that can jump over the rest of a step, leave out a shape, and jump ahead.
pub(super) struct Queue<'a> {
    view: &'a State,
    /// Those of equal shape are neighbours.
    lines: Vec<Walk<'a>>,
    /// None before there are shares.
    tenants: Option<Tenants<'a>>,
    /// In the place of the queue's own order, where it makes a difference.
    fair: Option<Fair<'a>>,
    /// The next place of each line that has one, but for the line of the last step given out.
    heads: BinaryHeap<Reverse<(ReadyKey, usize)>>,
    /// The line of the last step given out.
    last: Option<usize>,
    /// Behind this place it goes on.
    after: Option<ReadyKey>,
    /// Where it was before the step that it gave out last.
    before: Option<ReadyKey>,
}

/// A walk over one line.
struct Walk<'a> {
    line: Line<'a>,
    /// The number of its shape.
    shape: usize,
    /// Its namespace, among the tenants.
    own: usize,
    places: Places<'a>,
    /// Tasks that do not wait for room any more, or wait for something else.
    passed: usize,
    is_left_out: bool,
    /// Tasks of a step may stand in several lines, by where they ran: each is a group of its own, so that the queue has one order.
    is_by_task: bool,
}

type Places<'a> = Box<dyn Iterator<Item = ReadyKey> + 'a>;

/// The ready tasks of one step: neighbours in the queue, and equal in all that placement looks at. A single one where that depends on where
/// they ran.
pub(super) struct Group<'a> {
    pub(super) run: &'a Run,
    pub(super) step: u32,
    pub(super) spec: &'a TaskSpec,
    /// Where its tasks ran, if what their job says makes that matter.
    pub(super) home: Option<&'a RegionName>,
    /// The same for all groups of its shape, in one plan.
    pub(super) shape: usize,
    /// The number of its line.
    pub(super) at: usize,
    /// So many of its tasks may be placed before it is somebody else's turn.
    at_once: usize,
    first: ReadyKey,
    line: Line<'a>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(view: &'a State, now: Served) -> Self {
        let namespaces: BTreeSet<&'a Namespace> = view.lines().map(Line::namespace).collect();
        let mut tenants = view.has_feature(Feature::FairShare).then(|| Tenants::of(view, &namespaces));
        if let Some(tenants) = &mut tenants {
            // What room is kept for has its part already.
            for (run, claim) in view.claims().filter_map(|claim| Some((view.run(claim.task.run)?, claim))) {
                if let Some(own) = tenants.own(&run.spec.namespace) {
                    tenants.spend(own, claim.terms.resources);
                }
            }
        }
        let mut lines: Vec<Walk<'a>> = Vec::new();
        for line in view.lines() {
            let shape = match lines.last() {
                Some(last) if last.line.shape() == line.shape() => last.shape,
                Some(last) => last.shape + 1,
                None => 0,
            };
            let own = tenants.as_ref().and_then(|tenants| tenants.own(line.namespace())).unwrap_or(0);
            lines.push(Walk::new(line, shape, own));
        }
        let (heads, fair) = (BinaryHeap::new(), None);
        let mut queue = Self { view, lines, tenants, fair, heads, last: None, after: None, before: None };
        queue.fair = queue.fairly(namespaces.len() > 1, now);
        if queue.fair.is_none() {
            queue.take_heads();
        }
        queue
    }

    /// The fair order, if it is another one than that of the queue.
    fn fairly(&mut self, are_several: bool, now: Served) -> Option<Fair<'a>> {
        let (fairness, tenants) = (self.view.fairness()?, self.tenants.as_mut()?);
        let overdue_before = now.0.checked_sub(fairness.overdue_ms).filter(|_| fairness.overdue_ms > 0).map(Served);
        if !are_several && overdue_before.is_none() {
            return None;
        }
        let lines: Vec<(Line<'a>, usize)> = self.lines.iter().map(|walk| (walk.line, walk.own)).collect();
        let mut fair = Fair::new(&lines, overdue_before);
        fair.begin(self.view, tenants);
        (are_several || fair.has_overdue()).then_some(fair)
    }

    /// The next step that has ready tasks.
    pub(super) fn next_group(&mut self) -> Option<Group<'a>> {
        loop {
            if let (Some(fair), Some(tenants)) = (&mut self.fair, &mut self.tenants) {
                let (first, number) = fair.next(self.view, tenants)?;
                let Some(group) = self.group(first, number, 1) else { continue };
                return Some(group);
            }
            if let Some(last) = self.last.take() {
                self.heads.extend(self.lines[last].next_after(self.after).map(|place| Reverse((place, last))));
            }
            let Reverse((first, number)) = self.heads.pop()?;
            if self.lines[number].is_left_out {
                continue;
            }
            let TaskId { run, step, index: _ } = first.task;
            self.last = Some(number);
            self.before = self.after;
            let (last, at_once) = match self.lines[number].is_by_task {
                true => (first, 1),
                false => (ReadyKey { task: TaskId { run, step, index: u32::MAX }, ..first }, usize::MAX),
            };
            self.after = Some(last);
            let Some(group) = self.group(first, number, at_once) else { continue };
            return Some(group);
        }
    }

    fn group(&self, first: ReadyKey, at: usize, at_once: usize) -> Option<Group<'a>> {
        let TaskId { run, step, index: _ } = first.task;
        // A ready task always has both; without them there is nothing to place.
        let run = self.view.run(run)?;
        let spec = run.spec.tasks.get(step as usize)?;
        let Walk { line, shape, .. } = self.lines[at];
        let home = line.shape().home();
        Some(Group { run, step, spec, home, shape, at, at_once, first, line })
    }

    /// Why a task of this group, or all of it if it is a gang, may not be placed by an alternative whatever the room.
    pub(super) fn over_quota(&self, group: &Group<'a>, choice: Choice) -> Option<OverQuota> {
        if quorate_planted::is(Bug::QuotaUnchecked) {
            return None;
        }
        self.tenants.as_ref()?.over_quota(self.lines[group.at].own, group.spec.taken_at_once(choice))
    }

    /// A task of this group has a place by an alternative, or all of them if they are a gang.
    pub(super) fn spend(&mut self, group: &Group<'a>, choice: Choice) {
        if let Some(tenants) = &mut self.tenants {
            tenants.spend(self.lines[group.at].own, group.spec.taken_at_once(choice));
        }
    }

    /// So many tasks of a line do not wait for room.
    pub(super) fn pass(&mut self, line: usize, tasks: usize) {
        self.lines[line].passed += tasks;
    }

    /// Nothing of the step of this group, of which so many tasks are ready, is placed now. How many are not given out for that.
    pub(super) fn pass_step(&mut self, group: &Group<'a>, ready: usize) -> usize {
        let is_by_task = self.lines[group.at].is_by_task;
        let tasks = if is_by_task { 1 } else { ready };
        self.pass(group.at, tasks);
        if let Some(fair) = self.fair.as_mut().filter(|_| !is_by_task) {
            fair.pass_step();
        }
        tasks
    }

    /// Gives out nothing more of this shape. How many of its tasks wait for room.
    pub(super) fn leave_out_shape(&mut self, shape: usize) -> usize {
        let first = self.lines.partition_point(|walk| walk.shape < shape);
        let behind = self.lines.partition_point(|walk| walk.shape <= shape);
        self.leave_out(first..behind)
    }

    /// Gives out nothing more of this line. How many of its tasks wait.
    pub(super) fn leave_out_line(&mut self, line: usize) -> usize {
        self.leave_out(line..line + 1)
    }

    fn leave_out(&mut self, lines: Range<usize>) -> usize {
        self.last = None;
        let mut waiting = 0;
        for walk in self.lines[lines.clone()].iter_mut().filter(|walk| !walk.is_left_out) {
            walk.is_left_out = true;
            waiting += walk.line.len().saturating_sub(walk.passed);
        }
        if let (Some(fair), Some(tenants)) = (&mut self.fair, &mut self.tenants) {
            fair.leave_out(tenants, |line| lines.contains(&line));
        }
        waiting
    }

    fn take_heads(&mut self) {
        let Self { lines, heads, after, .. } = self;
        let with = lines.iter_mut().enumerate().filter(|(_, walk)| !walk.is_left_out);
        *heads = with.filter_map(|(number, walk)| Some(Reverse((walk.next_after(*after)?, number)))).collect();
    }

    fn go_on_after(&mut self, place: Option<ReadyKey>) {
        (self.after, self.last) = (place, None);
        for walk in self.lines.iter_mut().filter(|walk| !walk.is_left_out) {
            walk.go_to(place);
        }
        self.take_heads();
    }

    /// Takes the last step back, but for its tasks up to `done`.
    pub(super) fn step_back(&mut self, done: Option<TaskId>) {
        if let Some(fair) = &mut self.fair {
            // It was a single task.
            return fair.step_back();
        }
        let place = self.after.zip(done).map(|(place, task)| ReadyKey { task, ..place }).or(self.before);
        self.go_on_after(place);
    }

    /// Jumps to a step of an unfinished run that `seed` chooses, if it lies ahead. Every step of every
    /// run can be chosen. True if it has jumped.
    pub(super) fn jump_ahead(&mut self, seed: u64) -> bool {
        let seed = mix(seed);
        let Some(run) = self.view.unfinished_run_at(seed).and_then(|run| self.view.run(run)) else { return false };
        let steps = run.spec.tasks.len().max(1) as u64;
        let before = match u32::try_from(mix(seed) % steps).ok().and_then(|step| step.checked_sub(1)) {
            Some(step) => TaskId { run: run.id, step, index: u32::MAX },
            // Before all tasks of any run that came with the same entry and item: there is only this one.
            None => TaskId { run: RunId(0), step: 0, index: 0 },
        };
        let place = ReadyKey::of(run, before);
        if let Some(fair) = &mut self.fair {
            fair.go_on_after(place);
            return true;
        }
        let is_ahead = self.after < Some(place);
        if is_ahead {
            self.go_on_after(Some(place));
        }
        is_ahead
    }
}

impl<'a> Walk<'a> {
    fn new(line: Line<'a>, shape: usize, own: usize) -> Self {
        let is_by_task = line.shape().task().is_some_and(|task| task.on_region_loss.is_some());
        Self { line, shape, own, places: Box::new(line.places()), passed: 0, is_left_out: false, is_by_task }
    }

    /// The first place of the line behind a place in the queue that is not before those given out.
    fn next_after(&mut self, after: Option<ReadyKey>) -> Option<ReadyKey> {
        let near = self.places.by_ref().take(STRIDE).find(|place| Some(*place) > after);
        near.or_else(|| {
            self.go_to(after);
            self.places.next()
        })
    }

    fn go_to(&mut self, place: Option<ReadyKey>) {
        self.places = match place {
            Some(place) => Box::new(self.line.places_after(place)),
            None => Box::new(self.line.places()),
        };
    }
}

impl<'a> Group<'a> {
    /// The first of its tasks.
    pub(super) fn first(&self) -> TaskId {
        self.first.task
    }

    /// Its tasks, by index.
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskId> + use<'a> {
        let TaskId { run, step, index: _ } = self.first.task;
        let (first, line) = (self.first, self.line);
        // Most often it is over with the first, for which the line need not be searched again.
        let others = std::iter::once_with(move || line.places_after(first)).flatten();
        let is_of_group = move |place: &ReadyKey| place.task.run == run && place.task.step == step;
        std::iter::once(first).chain(others).take_while(is_of_group).map(|place| place.task).take(self.at_once)
    }
}
