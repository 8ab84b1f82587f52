//! How a run moves on: what the tasks of a step may do next.

use quorate_planted::Bug;

use crate::index::count;
use crate::{JobSpec, Run, RunId, State, StepCounts, TaskState, Wait};

/// What the tasks of a step may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepVerdict {
    /// Those that wait for their needs go on waiting.
    Wait,
    /// They enter the queue: all that the step needs has succeeded.
    Release,
    /// They are skipped: something that it needs ended without success.
    Skip,
    /// All that has not ended is cancelled, or stopped where it runs: the run is ending.
    Cancel,
}

/// What tasks of `step` may do now.
pub fn step_verdict(state: &State, run: RunId, step: u32) -> StepVerdict {
    state.run(run).map_or(StepVerdict::Wait, |run| state.index.step(run.id, step).verdict(run))
}

/// Who needs whom, by position: computed once per run, never stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    needs: Vec<Vec<u32>>,
    dependents: Vec<Vec<u32>>,
}

impl Graph {
    /// The graph of a spec. A need that names no task is left out; `JobSpec::check` refuses it.
    pub fn of(spec: &JobSpec) -> Self {
        let positions: std::collections::BTreeMap<_, _> =
            spec.tasks.iter().zip(0_u32..).map(|(task, at)| (&task.name, at)).collect();
        let needs: Vec<Vec<u32>> = spec
            .tasks
            .iter()
            .map(|task| task.needs.iter().filter_map(|need| positions.get(need).copied()).collect())
            .collect();
        let mut dependents = vec![Vec::new(); needs.len()];
        for (step, needs) in (0_u32..).zip(&needs) {
            for need in needs {
                if let Some(dependents) = dependents.get_mut(*need as usize) {
                    dependents.push(step);
                }
            }
        }
        Self { needs, dependents }
    }

    /// How many steps.
    pub fn steps(&self) -> u32 {
        u32::try_from(self.needs.len()).unwrap_or(u32::MAX)
    }

    /// Positions of what a step needs.
    pub fn needs(&self, step: u32) -> &[u32] {
        self.needs.get(step as usize).map_or(&[], Vec::as_slice)
    }

    /// Positions of what needs a step.
    pub fn dependents(&self, step: u32) -> &[u32] {
        self.dependents.get(step as usize).map_or(&[], Vec::as_slice)
    }
}

/// Where a step stands; part of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepProgress {
    pub(crate) counts: StepCounts,
    /// Tasks that wait for their needs (`counts.waiting` has the other waits too).
    pub(crate) on_needs: u32,
    /// Needs not all of whose tasks have succeeded.
    unmet: u32,
    /// Needs with a task that ended without success.
    broken: u32,
    /// Live attempts that nobody has asked to stop.
    unstopped: u32,
}

impl StepProgress {
    pub(crate) fn new(needs: usize) -> Self {
        Self { unmet: u32::try_from(needs).unwrap_or(u32::MAX), ..Self::default() }
    }

    pub(crate) fn count(&mut self, state: &TaskState, by: impl Fn(&mut u32)) {
        if *state == TaskState::Waiting(Wait::Needs) {
            by(&mut self.on_needs);
        }
        count(&mut self.counts, state, by);
    }

    pub(crate) fn is_done(&self, run: &Run, step: u32) -> bool {
        if quorate_planted::is(Bug::OneSuccessIsEnough) {
            return self.counts.succeeded > 0;
        }
        run.spec.tasks.get(step as usize).is_some_and(|task| self.counts.succeeded == task.count)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.counts.failed + self.counts.cancelled + self.counts.skipped > 0
    }

    /// Takes in that a need went from (done, broken) to (done, broken).
    pub(crate) fn on_need(&mut self, was: (bool, bool), is: (bool, bool)) {
        let step = |count: &mut u32, was: bool, is: bool| match (was, is) {
            (false, true) => *count = count.saturating_add(1),
            (true, false) => *count = count.saturating_sub(1),
            (true, true) | (false, false) => {}
        };
        step(&mut self.unmet, !was.0, !is.0);
        step(&mut self.broken, was.1, is.1);
    }

    pub(crate) fn on_unstopped(&mut self, more: bool) {
        self.unstopped = if more { self.unstopped.saturating_add(1) } else { self.unstopped.saturating_sub(1) };
    }

    /// What a cancelled run still has to end here.
    pub(crate) fn cancellable(&self) -> u32 {
        self.counts.waiting + self.counts.ready + self.unstopped
    }

    pub(crate) fn verdict(&self, run: &Run) -> StepVerdict {
        if run.cancelling {
            StepVerdict::Cancel
        } else if self.broken > 0 {
            // One lost element settles it: what is left of that need cannot turn this step's fate.
            StepVerdict::Skip
        } else if self.unmet == 0 {
            StepVerdict::Release
        } else {
            StepVerdict::Wait
        }
    }
}
