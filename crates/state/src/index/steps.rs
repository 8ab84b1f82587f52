//! Where steps and runs stand, and which of them can move on.
//!
//! A change of one task is carried on from step to step: to those that need it, to those that stand in for it, and to those
//! for which it stands in. Each holds counters of what it looks at, so that this costs what changes, not what there is.

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use crate::progress::{RunProgress, StepProgress, Undoable, View};
use crate::{ArchivedStep, Phase, Run, RunId, RunState, Step, StepCounts, StepVerdict, Task, TaskId, ready_ahead_max};

/// Part of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    steps: Map<(RunId, u32), StepProgress>,
    runs: Map<RunId, RunProgress>,
    /// The rows of large steps that have not ended, by index: of many rows few have not.
    open: Map<(RunId, u32), Set<u32>>,
    advance: Set<(RunId, u32)>,
    decide: Set<(RunId, u32)>,
    undo: Set<RunId>,
    finish: Set<RunId>,
}

impl Steps {
    /// Names of what differs between `self` and `other`.
    pub(crate) fn differences(&self, other: &Self) -> Vec<&'static str> {
        [
            ("steps", self.steps == other.steps),
            ("runs", self.runs == other.runs),
            ("open", self.open == other.open),
            ("advance", self.advance == other.advance),
            ("decide", self.decide == other.decide),
            ("undo", self.undo == other.undo),
            ("finish", self.finish == other.finish),
        ]
        .into_iter()
        .filter_map(|(name, equal)| (!equal).then_some(name))
        .collect()
    }

    pub(crate) fn on_run(&mut self, old: Option<&Run>, new: &Run) {
        if old.is_none() {
            for step in 0..new.graph.steps() {
                // Runs that tasks of it are may have come before it.
                let known = self.steps.get(&(new.id, step)).copied().unwrap_or_default();
                self.steps.insert_mut((new.id, step), StepProgress::new(new, step).with_live_of(known));
            }
            self.runs.insert_mut(new.id, RunProgress::default());
        }
        let ends = |run: &Run| (run.cancelling, run.abandoned, run.state);
        if old.is_some_and(|old| ends(old) != ends(new)) {
            for step in 0..new.graph.steps() {
                self.refresh_step(new, step);
            }
        }
        self.refresh_run(new);
    }

    /// One that has ended, and leaves the tables.
    pub(crate) fn on_run_gone(&mut self, run: &Run) {
        for step in 0..run.graph.steps() {
            let key = (run.id, step);
            self.steps.remove_mut(&key);
            self.open.remove_mut(&key);
            toggle(&mut self.advance, key, false);
            toggle(&mut self.decide, key, false);
        }
        self.runs.remove_mut(&run.id);
        toggle(&mut self.undo, run.id, false);
        toggle(&mut self.finish, run.id, false);
    }

    /// Counters of a run that was archived, as if all its tasks were here.
    pub(crate) fn show_archived(&mut self, run: RunId, steps: &[ArchivedStep]) {
        for (step, archived) in (0_u32..).zip(steps) {
            let progress = self.step(run, step).as_archived(archived);
            self.steps.insert_mut((run, step), progress);
        }
        let mut of_run = self.runs.get(&run).cloned().unwrap_or_default();
        of_run.counts = steps.iter().fold(StepCounts::default(), |sum, step| sum.more(step.counts));
        self.runs.insert_mut(run, of_run);
    }

    pub(crate) fn on_step(&mut self, run: &Run, new: &Step) {
        self.change(run, new.step, |progress| progress.on_step(new), |_| {});
    }

    pub(crate) fn on_task(&mut self, run: &Run, old: Option<&Task>, new: &Task) {
        let undoable = |task: &Task| task.succeeded_at.map(|revision| (revision, task.id));
        let (was, is) = (old.and_then(undoable), undoable(new));
        let undoes = run.graph.undoes(new.id.step);
        if is_large(run, new.id.step) {
            self.note_open(new);
        }
        self.change(
            run,
            new.id.step,
            |progress| progress.on_task(old.map(|old| &old.state), &new.state),
            |of_run| {
                let Some((revision, id)) = is.filter(|_| was.is_none()) else { return };
                match undoes {
                    Some(step) => of_run.on_undo((revision, TaskId { step, ..id })),
                    None => of_run.on_undoable((revision, id)),
                }
            },
        );
    }

    pub(crate) fn on_unstopped(&mut self, run: Option<&Run>, task: TaskId, more: bool) {
        let mut progress = self.step(task.run, task.step);
        progress.on_unstopped(more);
        self.steps.insert_mut((task.run, task.step), progress);
        if let Some(run) = run {
            self.refresh_step(run, task.step);
        }
    }

    /// A run moves that a task is, whether or not the run of that has been seen.
    pub(crate) fn on_sub_run(&mut self, parent: Option<&Run>, task: TaskId, old: Option<&Run>, new: &Run) {
        let goes_on = |run: &Run| !run.state.is_terminal() && !run.cancelling;
        let is_kept = |run: &Run| !run.state.is_terminal() && !run.abandoned;
        let was = (old.is_some_and(goes_on), old.is_some_and(is_kept));
        let is = (goes_on(new), is_kept(new));
        if was == is {
            return;
        }
        let mut progress = self.step(task.run, task.step);
        progress.on_sub_run(was, is);
        self.steps.insert_mut((task.run, task.step), progress);
        if let Some(parent) = parent {
            self.refresh_step(parent, task.step);
        }
    }

    pub(crate) fn verdict(&self, run: &Run, step: u32) -> StepVerdict {
        self.step(run.id, step).verdict(run, step, self.phase(run))
    }

    pub(crate) fn phase(&self, run: &Run) -> Phase {
        // Most have nothing that comes after their work.
        if run.graph.after().is_empty() {
            return Phase::Work;
        }
        self.runs.get(&run.id).map_or(Phase::Work, |of_run| of_run.phase(run))
    }

    pub(crate) fn counts(&self, run: RunId, step: u32) -> StepCounts {
        self.steps.get(&(run, step)).map_or_else(StepCounts::default, |progress| progress.counts)
    }

    pub(crate) fn run_counts(&self, run: RunId) -> StepCounts {
        self.runs.get(&run).map_or_else(StepCounts::default, |of_run| of_run.counts)
    }

    pub(crate) fn has_open_work(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(RunProgress::has_open_work)
    }

    pub(crate) fn has_failed_work(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(RunProgress::has_failed_work)
    }

    pub(crate) fn work_outcome(&self, run: RunId) -> RunState {
        self.runs.get(&run).map_or(RunState::Succeeded, RunProgress::work_outcome)
    }

    pub(crate) fn outcome(&self, run: RunId) -> RunState {
        self.runs.get(&run).map_or(RunState::Succeeded, RunProgress::outcome)
    }

    pub(crate) fn step(&self, run: RunId, step: u32) -> StepProgress {
        self.steps.get(&(run, step)).copied().unwrap_or_default()
    }

    pub(crate) fn to_advance(&self) -> impl Iterator<Item = (RunId, u32)> {
        self.advance.iter().copied()
    }

    pub(crate) fn to_decide(&self) -> impl Iterator<Item = (RunId, u32)> {
        self.decide.iter().copied()
    }

    pub(crate) fn to_undo(&self) -> impl Iterator<Item = RunId> {
        self.undo.iter().copied()
    }

    pub(crate) fn undo_next(&self, run: &Run) -> impl Iterator<Item = Undoable> {
        self.runs.get(&run.id).into_iter().flat_map(|of_run| of_run.undo_next(run))
    }

    pub(crate) fn to_finish(&self) -> impl Iterator<Item = RunId> {
        self.finish.iter().copied()
    }

    /// The rows of a step that have not ended, by index, if that is kept: of a large step.
    pub(crate) fn open(&self, run: &Run, step: u32) -> Option<impl Iterator<Item = u32>> {
        let open = self.open.get(&(run.id, step));
        is_large(run, step).then(|| open.into_iter().flat_map(|open| open.iter().copied()))
    }

    fn note_open(&mut self, task: &Task) {
        let key = (task.id.run, task.id.step);
        let mut open = self.open.get(&key).cloned().unwrap_or_default();
        if task.state.is_terminal() {
            open.remove_mut(&task.id.index);
        } else {
            open.insert_mut(task.id.index);
        }
        if open.is_empty() {
            self.open.remove_mut(&key);
        } else {
            self.open.insert_mut(key, open);
        }
    }

    /// Changes a step, and carries on what that means.
    fn change(
        &mut self,
        run: &Run,
        step: u32,
        act: impl FnOnce(&mut StepProgress),
        act_on_run: impl FnOnce(&mut RunProgress),
    ) {
        let phase = self.phase(run);
        let before = self.step(run.id, step);
        let mut after = before;
        act(&mut after);
        let mut of_run = self.runs.get(&run.id).cloned().unwrap_or_default();
        of_run.on_counts(run, step, before.counts, after.counts);
        act_on_run(&mut of_run);
        self.runs.insert_mut(run.id, of_run);
        self.steps.insert_mut((run.id, step), after);
        self.carry_on(run, step, before.view(run, step), after.view(run, step));
        self.refresh_step(run, step);
        if self.phase(run) != phase {
            run.graph.after().iter().for_each(|step| self.refresh_step(run, *step));
        }
        self.refresh_run(run);
    }

    /// Tells those that look at a step what has become of it. How deep this goes is bounded by how deep fallbacks of
    /// fallbacks may go.
    fn carry_on(&mut self, run: &Run, step: u32, was: View, is: View) {
        if was == is {
            return;
        }
        if was.flaw != is.flaw {
            let mut of_run = self.runs.get(&run.id).cloned().unwrap_or_default();
            of_run.on_flaw(run, step, was.flaw, is.flaw);
            self.runs.insert_mut(run.id, of_run);
        }
        if was.as_target() != is.as_target() {
            for fallback in run.graph.fallbacks(step) {
                self.edit(run, *fallback, |progress| progress.on_target(was.as_target(), is.as_target()));
            }
        }
        if was.as_need() != is.as_need() {
            for dependent in run.graph.dependents(step) {
                self.edit(run, *dependent, |progress| progress.on_need(was.as_need(), is.as_need()));
            }
        }
        if was.stands_in() != is.stands_in() {
            for target in run.graph.stands_for(step) {
                let before = self.step(run.id, *target).view(run, *target);
                self.edit(run, *target, |progress| progress.on_fallback(was.stands_in(), is.stands_in()));
                let after = self.step(run.id, *target).view(run, *target);
                self.carry_on(run, *target, before, after);
            }
        }
    }

    fn edit(&mut self, run: &Run, step: u32, act: impl FnOnce(&mut StepProgress)) {
        let mut progress = self.step(run.id, step);
        act(&mut progress);
        self.steps.insert_mut((run.id, step), progress);
        self.refresh_step(run, step);
    }

    /// A step is worth the workflow controller's while when its tasks can move on, or it must be decided.
    fn refresh_step(&mut self, run: &Run, step: u32) {
        let progress = self.step(run.id, step);
        let verdict = progress.verdict(run, step, self.phase(run));
        let is_open = !run.state.is_terminal();
        toggle(&mut self.advance, (run.id, step), is_open && progress.is_due(run, step, verdict));
        toggle(&mut self.decide, (run.id, step), is_open && verdict == StepVerdict::Decide);
    }

    fn refresh_run(&mut self, run: &Run) {
        let Some(of_run) = self.runs.get(&run.id) else { return };
        let (unfinished, total) = (of_run.counts.unfinished(), of_run.counts.total());
        let undoes = of_run.undo_next(run).next().is_some();
        let ends = !run.state.is_terminal() && unfinished == 0 && total > 0;
        toggle(&mut self.undo, run.id, undoes);
        toggle(&mut self.finish, run.id, ends && !undoes);
    }
}

/// Whether a step may have more rows than are walked through for a few of them.
fn is_large(run: &Run, step: u32) -> bool {
    let spec = run.spec.tasks.get(step as usize);
    spec.is_some_and(|spec| spec.count > ready_ahead_max() || spec.has_open_count())
}

fn toggle<K: Clone + Ord>(set: &mut Set<K>, key: K, is_in: bool) {
    match (is_in, set.contains(&key)) {
        (true, false) => set.insert_mut(key),
        (false, true) => {
            set.remove_mut(&key);
        }
        (true, true) | (false, false) => {}
    }
}
