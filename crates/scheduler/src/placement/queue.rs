//! Who is next: the ready tasks in order, one step of one run at a time.

use quorate_state::{ReadyKey, Run, RunId, State, TaskId, TaskSpec, mix};

/// Neighbours in the queue that are passed one by one before the walk jumps: a jump costs as much as some.
const STRIDE: usize = 8;

/// A walk over the queue that can jump over the rest of a step, and ahead.
pub(super) struct Queue<'a> {
    view: &'a State,
    keys: Keys<'a>,
    /// Behind this place it goes on.
    after: Option<ReadyKey>,
    /// Where it was before the step that it gave out last.
    before: Option<ReadyKey>,
}

type Keys<'a> = Box<dyn Iterator<Item = ReadyKey> + 'a>;

/// The ready tasks of one step: neighbours in the queue, and equal in all that placement looks at.
pub(super) struct Group<'a> {
    pub(super) run: &'a Run,
    pub(super) step: u32,
    pub(super) spec: &'a TaskSpec,
    first: ReadyKey,
}

impl<'a> Queue<'a> {
    pub(super) fn new(view: &'a State) -> Self {
        Self { view, keys: Box::new(view.ready()), after: None, before: None }
    }

    /// The next step that has ready tasks.
    pub(super) fn next_group(&mut self) -> Option<Group<'a>> {
        loop {
            let first = self.next_first()?;
            let TaskId { run, step, index: _ } = first.task;
            self.before = self.after;
            self.after = Some(ReadyKey { task: TaskId { run, step, index: u32::MAX }, ..first });
            // A ready task always has both; without them there is nothing to place.
            let Some(run) = self.view.run(run) else { continue };
            let Some(spec) = run.spec.tasks.get(step as usize) else { continue };
            return Some(Group { run, step, spec, first });
        }
    }

    fn next_first(&mut self) -> Option<ReadyKey> {
        let after = self.after;
        let near = self.keys.by_ref().take(STRIDE).find(|key| Some(*key) > after);
        near.or_else(|| {
            self.go_on_after(after?);
            self.keys.next()
        })
    }

    fn go_on_after(&mut self, place: ReadyKey) {
        self.after = Some(place);
        self.keys = Box::new(self.view.ready_after(place));
    }

    /// Takes the last step back, but for its tasks up to `done`.
    pub(super) fn step_back(&mut self, done: Option<TaskId>) {
        let place = self.after.zip(done).map(|(place, task)| ReadyKey { task, ..place }).or(self.before);
        match place {
            Some(place) => self.go_on_after(place),
            None => *self = Self::new(self.view),
        }
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
            self.go_on_after(place);
        }
        is_ahead
    }
}

impl Group<'_> {
    /// Its tasks, by index.
    pub(super) fn tasks<'a>(&self, view: &'a State) -> impl Iterator<Item = TaskId> + use<'a> {
        let TaskId { run, step, index: _ } = self.first.task;
        let first = self.first;
        // Most often it is over with the first, for which the queue need not be searched again.
        let others = std::iter::once_with(move || view.ready_after(first)).flatten();
        let is_of_group = move |key: &ReadyKey| key.task.run == run && key.task.step == step;
        std::iter::once(first).chain(others).take_while(is_of_group).map(|key| key.task)
    }
}
