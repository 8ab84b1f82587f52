//! How many tasks of each priority are placed or run: enough to say of most tasks that there is nobody whom they could preempt.

use crate::{Run, StepCounts, Task, TaskState};

/// Priorities from 0 to 100, and one place for all that are above.
const PLACES: usize = 102;

/// Counts by priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldPriorities([u32; PLACES]);

impl Default for HeldPriorities {
    fn default() -> Self {
        Self([0; PLACES])
    }
}

impl HeldPriorities {
    pub(super) fn on_task(&mut self, run: &Run, old: Option<&Task>, new: &Task) {
        let was = old.is_some_and(|old| is_held(&old.state));
        match (was, is_held(&new.state)) {
            (false, true) => self.add(run.priority(), 1),
            (true, false) => self.take(run.priority(), 1),
            (true, true) | (false, false) => {}
        }
    }

    /// A run has another priority; `counts` says where its tasks stand.
    pub(super) fn on_run(&mut self, old: &Run, new: &Run, counts: impl FnOnce() -> StepCounts) {
        if old.priority() == new.priority() {
            return;
        }
        let counts = counts();
        let held = counts.placed.saturating_add(counts.running);
        self.take(old.priority(), held);
        self.add(new.priority(), held);
    }

    pub(crate) fn lowest(&self) -> Option<u8> {
        self.0.iter().position(|held| *held > 0).and_then(|place| u8::try_from(place).ok())
    }

    fn add(&mut self, priority: u8, count: u32) {
        if let Some(held) = self.0.get_mut(usize::from(priority).min(PLACES - 1)) {
            *held = held.saturating_add(count);
        }
    }

    fn take(&mut self, priority: u8, count: u32) {
        if let Some(held) = self.0.get_mut(usize::from(priority).min(PLACES - 1)) {
            *held = held.saturating_sub(count);
        }
    }
}

fn is_held(state: &TaskState) -> bool {
    match state {
        TaskState::Placed | TaskState::Running => true,
        TaskState::Waiting(_)
        | TaskState::Ready
        | TaskState::Succeeded
        | TaskState::Failed(_)
        | TaskState::Cancelled
        | TaskState::Skipped => false,
    }
}
