//! Who is next: the ready tasks in order, one step of one run at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use quorate_state::{Line, ReadyKey, Run, RunId, State, TaskId, TaskSpec, mix};

/// Neighbours in a line that are passed one by one before the walk jumps: a jump costs as much as some.
const STRIDE: usize = 8;

/// A walk over the queue that can jump over the rest of a step, leave out a shape, and jump ahead.
pub(super) struct Queue<'a> {
    view: &'a State,
    lines: Vec<Walk<'a>>,
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
    places: Places<'a>,
    /// Tasks that do not wait for room any more, or wait for something else.
    passed: usize,
    is_left_out: bool,
}

type Places<'a> = Box<dyn Iterator<Item = ReadyKey> + 'a>;

/// The ready tasks of one step: neighbours in the queue, and equal in all that placement looks at.
pub(super) struct Group<'a> {
    pub(super) run: &'a Run,
    pub(super) step: u32,
    pub(super) spec: &'a TaskSpec,
    /// The same for all groups of its shape, in one plan.
    pub(super) shape: usize,
    first: ReadyKey,
    line: Line<'a>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(view: &'a State) -> Self {
        let lines = view.lines().map(Walk::new);
        let mut queue =
            Self { view, lines: lines.collect(), heads: BinaryHeap::new(), last: None, after: None, before: None };
        queue.take_heads();
        queue
    }

    /// The next step that has ready tasks.
    pub(super) fn next_group(&mut self) -> Option<Group<'a>> {
        loop {
            if let Some(last) = self.last.take() {
                self.heads.extend(self.lines[last].next_after(self.after).map(|place| Reverse((place, last))));
            }
            let Reverse((first, number)) = self.heads.pop()?;
            let TaskId { run, step, index: _ } = first.task;
            self.last = Some(number);
            self.before = self.after;
            self.after = Some(ReadyKey { task: TaskId { run, step, index: u32::MAX }, ..first });
            // A ready task always has both; without them there is nothing to place.
            let Some(run) = self.view.run(run) else { continue };
            let Some(spec) = run.spec.tasks.get(step as usize) else { continue };
            return Some(Group { run, step, spec, shape: number, first, line: self.lines[number].line });
        }
    }

    /// So many tasks of a shape do not wait for room.
    pub(super) fn pass(&mut self, shape: usize, tasks: usize) {
        self.lines[shape].passed += tasks;
    }

    /// Gives out nothing more of the shape of the last step. How many of its tasks wait for room.
    pub(super) fn leave_out_shape(&mut self) -> usize {
        let Some(walk) = self.last.take().and_then(|last| self.lines.get_mut(last)) else { return 0 };
        walk.is_left_out = true;
        walk.line.len().saturating_sub(walk.passed)
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
        let is_ahead = self.after < Some(place);
        if is_ahead {
            self.go_on_after(Some(place));
        }
        is_ahead
    }
}

impl<'a> Walk<'a> {
    fn new(line: Line<'a>) -> Self {
        Self { line, places: Box::new(line.places()), passed: 0, is_left_out: false }
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
    /// Its tasks, by index.
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskId> + use<'a> {
        let TaskId { run, step, index: _ } = self.first.task;
        let (first, line) = (self.first, self.line);
        // Most often it is over with the first, for which the line need not be searched again.
        let others = std::iter::once_with(move || line.places_after(first)).flatten();
        let is_of_group = move |place: &ReadyKey| place.task.run == run && place.task.step == step;
        std::iter::once(first).chain(others).take_while(is_of_group).map(|place| place.task)
    }
}
