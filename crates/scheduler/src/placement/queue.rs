//! Who is next: the ready tasks in order, one step of one run at a time.

use std::sync::Arc;

use quorate_state::{ReadyKey, Run, State, Task, TaskId, TaskSpec};

/// A walk over the queue that can jump over the rest of a step.
pub(super) struct Queue<'a> {
    view: &'a State,
    after: Option<ReadyKey>,
}

/// The ready tasks of one step: neighbours in the queue, and equal in all that placement looks at.
pub(super) struct Group<'a> {
    pub(super) run: &'a Run,
    pub(super) step: u32,
    pub(super) spec: &'a TaskSpec,
    first: ReadyKey,
}

impl<'a> Queue<'a> {
    pub(super) fn new(view: &'a State) -> Self {
        Self { view, after: None }
    }

    /// The next step that has ready tasks.
    pub(super) fn next_group(&mut self) -> Option<Group<'a>> {
        loop {
            let first = match self.after {
                None => self.view.ready().next(),
                Some(place) => self.view.ready_after(place).next(),
            }?;
            let TaskId { run, step, index: _ } = first.task;
            self.after = Some(ReadyKey { task: TaskId { run, step, index: u32::MAX }, ..first });
            // A ready task always has both; without them there is nothing to place.
            let Some(run) = self.view.run(run) else { continue };
            let Some(spec) = run.spec.tasks.get(step as usize) else { continue };
            return Some(Group { run, step, spec, first });
        }
    }
}

impl Group<'_> {
    /// Its tasks, by index.
    pub(super) fn tasks<'a>(&self, view: &'a State) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        let TaskId { run, step, index: _ } = self.first.task;
        std::iter::once(self.first)
            .chain(view.ready_after(self.first))
            .take_while(move |key| key.task.run == run && key.task.step == step)
            .filter_map(|key| view.task(key.task))
    }
}
