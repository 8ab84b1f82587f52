//! Where the steps of a run stand, and what they mean for each other: by the spec and the rows, and never by an index.

use std::collections::BTreeMap;
use std::ops::Range;

use quorate_state::{
    Decided, Rest, Role, Run, RunState, State, TaskId, TaskName, TaskSpec, TaskState, ready_ahead_max,
};

/// True of a step that is not part of the work of its run: it undoes some of it, or comes at its end in any case.
pub(crate) fn comes_after(run: &Run, step: u32) -> bool {
    run.spec.tasks.get(step as usize).is_some_and(|spec| match spec.role {
        Role::Work | Role::Fallback { .. } => false,
        Role::Undo { .. } | Role::Finally => true,
    })
}

/// True of a run that is more than tasks which wait for each other, each with a row from the beginning.
pub(super) fn has_flow(run: &Run) -> bool {
    let is_large = || run.spec.tasks.iter().any(|task| task.count > ready_ahead_max());
    run.spec.is_flow() || run.restart_of.is_some() || is_large()
}

/// True when what has not ended of a step is to: of the work of a run that is cancelled, and of all of one that is given up.
pub(crate) fn is_to_end(run: &Run, step: u32) -> bool {
    run.abandoned || (run.cancelling && !comes_after(run, step))
}

/// The same, or what it is a part of is to end, at whatever height.
pub(crate) fn is_to_end_within(state: &State, run: &Run, step: u32) -> bool {
    is_to_end(run, step)
        || run.parent.is_some_and(|task| {
            let above = state.run(task.run);
            above.is_some_and(|above| is_to_end_within(state, above, task.step))
        })
}

/// How many elements can be told apart by their index in a step, as far as that is known: what undoes another step has
/// those of that.
pub(super) fn elements_of(state: &State, run: &Run, step: u32) -> u32 {
    let Some(spec) = run.spec.tasks.get(step as usize) else { return 0 };
    if let Role::Undo { of } = &spec.role {
        let undone = run.spec.tasks.iter().zip(0..).find(|(task, undone)| task.name == *of && *undone != step);
        return undone.map_or(0, |(_, undone)| elements_of(state, run, undone));
    }
    state.step(run.id, step).map_or(spec.count, |known| known.elements)
}

/// How many elements of a step stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// All of them, as far as that is known.
    pub(super) elements: u32,
    /// Those that have not ended.
    pub(super) open: u32,
    pub(super) succeeded: u32,
    pub(super) failed: u32,
    pub(super) cancelled: u32,
    pub(super) skipped: u32,
}

impl Tally {
    fn count(&mut self, state: &TaskState, many: u32) {
        let place = match state {
            TaskState::Waiting(_) | TaskState::Ready | TaskState::Placed | TaskState::Running => &mut self.open,
            TaskState::Succeeded => &mut self.succeeded,
            TaskState::Failed(_) => &mut self.failed,
            TaskState::Cancelled => &mut self.cancelled,
            TaskState::Skipped => &mut self.skipped,
        };
        *place += many;
    }
}

/// How a step stands towards those that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// That is open.
    Open,
    /// They may go on.
    Done,
    /// They cannot.
    Broken,
}

/// A run as a state has it.
pub(super) struct Flow<'a> {
    pub(super) state: &'a State,
    pub(super) run: &'a Run,
    /// Positions by name.
    steps: BTreeMap<&'a str, u32>,
}

impl<'a> Flow<'a> {
    pub(super) fn of(state: &'a State, run: &'a Run) -> Self {
        let steps = run.spec.tasks.iter().zip(0..).map(|(task, step)| (task.name.as_str(), step)).collect();
        Self { state, run, steps }
    }

    pub(super) fn spec(&self, step: u32) -> Option<&'a TaskSpec> {
        self.run.spec.tasks.get(step as usize)
    }

    /// All positions, in file order.
    pub(super) fn steps(&self) -> Range<u32> {
        0..u32::try_from(self.run.spec.tasks.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn step(&self, name: &str) -> Option<u32> {
        self.steps.get(name).copied()
    }

    fn named(&self, names: &[TaskName]) -> Vec<u32> {
        names.iter().filter_map(|name| self.step(name.as_str())).collect()
    }

    /// What a step needs.
    pub(super) fn needs(&self, step: u32) -> Vec<u32> {
        self.spec(step).map_or_else(Vec::new, |spec| self.named(&spec.needs))
    }

    /// Those that it stands in for.
    pub(super) fn targets(&self, step: u32) -> Vec<u32> {
        match self.spec(step).map(|spec| &spec.role) {
            Some(Role::Fallback { of }) => self.named(of),
            Some(Role::Work | Role::Undo { .. } | Role::Finally) | None => vec![],
        }
    }

    /// Those that stand in for it.
    fn fallbacks(&self, step: u32) -> Vec<u32> {
        let Some(name) = self.spec(step).map(|spec| &spec.name) else { return vec![] };
        let stands_in = |role: &Role| matches!(role, Role::Fallback { of } if of.contains(name));
        let all = self.steps().zip(&self.run.spec.tasks);
        all.filter(|(_, spec)| stands_in(&spec.role)).map(|(step, _)| step).collect()
    }

    /// The step that it undoes.
    pub(super) fn undoes(&self, step: u32) -> Option<u32> {
        match &self.spec(step)?.role {
            Role::Undo { of } => self.step(of.as_str()),
            Role::Work | Role::Fallback { .. } | Role::Finally => None,
        }
    }

    /// The step that undoes it.
    pub(super) fn undone_by(&self, step: u32) -> Option<u32> {
        self.steps().find(|other| self.undoes(*other) == Some(step))
    }

    pub(super) fn comes_after(&self, step: u32) -> bool {
        comes_after(self.run, step)
    }

    pub(super) fn decision(&self, step: u32) -> Option<&'a Decided> {
        self.state.step(self.run.id, step)?.decision.as_ref()
    }

    pub(super) fn is_passed_over(&self, step: u32) -> bool {
        self.decision(step) == Some(&Decided::PassOver)
    }

    pub(super) fn tally(&self, step: u32) -> Tally {
        let mut tally = Tally::default();
        let mut rows = 0;
        for task in self.state.tasks_of_step(self.run.id, step) {
            tally.count(&task.state, 1);
            rows += 1;
        }
        // The tasks of what undoes another come with what there is to undo.
        tally.elements = if self.undoes(step).is_some() { rows } else { elements_of(self.state, self.run, step) };
        let rest = tally.elements.saturating_sub(rows);
        match self.state.step(self.run.id, step).map(|known| known.rest) {
            Some(Rest::Waiting) | None => tally.open += rest,
            Some(Rest::Cancelled) => tally.cancelled += rest,
            Some(Rest::Skipped) => tally.skipped += rest,
            Some(Rest::Kept) => tally.succeeded += rest,
        }
        tally
    }

    /// Where the elements of a step stand that have no rows, if there are some.
    pub(super) fn rest(&self, step: u32) -> Option<TaskState> {
        let known = self.state.step(self.run.id, step)?;
        let rows = self.state.tasks_of_step(self.run.id, step).count();
        (rows < known.elements as usize).then(|| known.rest.state())
    }

    /// How many elements succeeded in the run of which this one is a second try, and are not run again.
    pub(super) fn kept(&self, step: u32) -> u32 {
        let known = self.state.step(self.run.id, step).filter(|known| known.rest == Rest::Kept);
        let rows = self.state.tasks_of_step(self.run.id, step).count();
        known.map_or(0, |known| known.elements.saturating_sub(u32::try_from(rows).unwrap_or(u32::MAX)))
    }

    /// More of it has failed than it accepts, or it could not be decided.
    pub(super) fn has_failed(&self, step: u32) -> bool {
        let tally = self.tally(step);
        let accepted = self.spec(step).map_or(0, |spec| spec.accept_failed);
        tally.failed > accepted || (tally.failed > 0 && matches!(self.decision(step), Some(Decided::Fail(_))))
    }

    pub(super) fn has_ended(&self, step: u32) -> bool {
        self.tally(step).open == 0
    }

    /// By itself, whatever stands in for it.
    pub(super) fn by_itself(&self, step: u32) -> Standing {
        let tally = self.tally(step);
        if self.is_passed_over(step) {
            Standing::Done
        } else if self.has_failed(step) || tally.cancelled + tally.skipped > 0 {
            Standing::Broken
        } else if tally.succeeded + tally.failed == tally.elements {
            Standing::Done
        } else {
            Standing::Open
        }
    }

    /// With what stands in for it.
    pub(super) fn standing(&self, step: u32) -> Standing {
        let own = self.by_itself(step);
        if own != Standing::Broken {
            return own;
        }
        let fallbacks = self.fallbacks(step);
        if fallbacks.iter().any(|fallback| self.standing(*fallback) == Standing::Open) {
            Standing::Open
        } else if fallbacks.iter().any(|fallback| self.stands_in(*fallback)) {
            Standing::Done
        } else {
            Standing::Broken
        }
    }

    fn stands_in(&self, fallback: u32) -> bool {
        !self.is_passed_over(fallback) && self.standing(fallback) == Standing::Done
    }

    /// The step whose results count as those of `step`.
    pub(super) fn stand_in(&self, step: u32) -> u32 {
        let mut at = step;
        while self.by_itself(at) == Standing::Broken {
            let Some(next) = self.fallbacks(at).into_iter().find(|fallback| self.stands_in(*fallback)) else { break };
            at = next;
        }
        at
    }

    /// Something of its work has not ended.
    pub(super) fn has_open_work(&self) -> bool {
        self.steps().any(|step| !self.comes_after(step) && !self.has_ended(step))
    }

    /// More of its work has failed than is accepted, and nothing stands in for it.
    pub(super) fn has_failed_work(&self) -> bool {
        let lost = |step: u32| self.has_failed(step) && self.standing(step) == Standing::Broken;
        self.steps().any(|step| !self.comes_after(step) && lost(step))
    }

    /// How its work ended, or would if it ended now.
    pub(super) fn work_outcome(&self) -> RunState {
        self.timed(self.outcome_of(|step| !self.comes_after(step)))
    }

    /// The same of all of it.
    pub(super) fn outcome(&self) -> RunState {
        let all = self.outcome_of(|_| true);
        if self.work_outcome() == RunState::Succeeded { all } else { self.timed(all) }
    }

    /// What did not succeed has failed when it took too long.
    fn timed(&self, outcome: RunState) -> RunState {
        if self.run.timed_out && outcome != RunState::Succeeded { RunState::Failed } else { outcome }
    }

    fn outcome_of(&self, counts: impl Fn(u32) -> bool) -> RunState {
        let broken: Vec<u32> =
            self.steps().filter(|step| counts(*step) && self.standing(*step) == Standing::Broken).collect();
        let was_cancelled = |step: &u32| self.tally(*step).cancelled > 0;
        if broken.is_empty() {
            RunState::Succeeded
        } else if !broken.iter().any(|step| self.has_failed(*step)) && broken.iter().any(was_cancelled) {
            RunState::Cancelled
        } else {
            RunState::Failed
        }
    }

    /// Elements that succeeded of steps that can be undone.
    pub(super) fn undoable(&self) -> Vec<TaskId> {
        let steps = self.steps().filter(|step| self.undone_by(*step).is_some());
        let of_step = |step: u32| self.state.tasks_of_step(self.run.id, step);
        let tasks = steps.flat_map(of_step).filter(|task| task.state == TaskState::Succeeded);
        tasks.map(|task| task.id).collect()
    }

    /// The task that undoes an element.
    pub(super) fn undo_of(&self, task: TaskId) -> Option<TaskId> {
        self.undone_by(task.step).map(|step| TaskId { step, ..task })
    }
}
