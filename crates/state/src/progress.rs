//! How a run moves on: what the tasks of a step may do next.

use quorate_planted::{Bound, Bug};
use rpds::RedBlackTreeSetSync as Set;

use crate::index::count;
use crate::{
    ArchivedStep, Decided, Rest, Revision, Role, Run, RunId, RunState, State, Step, StepCounts, TaskId, TaskState, Wait,
};

/// Tasks of one step that stand in the queue at once, if it has more than that: the rest has no rows until then. Part of
/// what feature `task-flow` means, as is how many rows a submit makes.
pub const READY_AHEAD_MAX: u32 = 10_000;

/// [`READY_AHEAD_MAX`], unless a simulation has made it smaller.
pub fn ready_ahead_max() -> u32 {
    quorate_planted::at_most(Bound::ReadyAhead, READY_AHEAD_MAX)
}

/// The step goes on when no more than this many are left in the queue: in large pieces, not one by one.
fn ready_ahead_min() -> u32 {
    ready_ahead_max() / 2
}

/// What the tasks of a step may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepVerdict {
    /// Those that wait for their needs go on waiting.
    Wait,
    /// Its needs are met, and it must be decided whether it runs, or for what.
    Decide,
    /// They enter the queue: all that the step needs is done.
    Release,
    /// They are skipped: something that it needs ended without success.
    Skip,
    /// They are skipped, and nothing is wrong: there is nothing to do.
    PassOver,
    /// They fail: what the step asks for cannot be found out.
    Fail,
    /// All that has not ended is cancelled, or stopped where it runs: the run is ending.
    Cancel,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It does what it is for.
    Work,
    /// The work ended without success, and what of it can be undone is not yet.
    Undo,
    /// What comes at its end in any case may run.
    Finally,
}

/// What tasks of `step` may do now.
pub fn step_verdict(state: &State, run: RunId, step: u32) -> StepVerdict {
    state.run(run).map_or(StepVerdict::Wait, |run| state.index.steps().verdict(run, step))
}

/// How a step stands towards those that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// That is open.
    Open,
    /// They may go on.
    Done,
    /// They cannot.
    Broken,
}

/// What is wrong with a step that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Failed,
    Cancelled,
    Skipped,
}

/// What others look at in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// By itself.
    pub(crate) own: Standing,
    /// With those that stand in for it.
    pub(crate) with_fallbacks: Standing,
    /// All its elements have ended.
    pub(crate) ended: bool,
    /// More of it has failed than it accepts.
    pub(crate) failed: bool,
    passed_over: bool,
    pub(crate) flaw: Option<Flaw>,
}

impl View {
    /// As one that stands in for others: whether it may still, and whether it does.
    pub(crate) fn stands_in(self) -> (bool, bool) {
        let is_done = self.with_fallbacks == Standing::Done && !self.passed_over;
        (self.with_fallbacks == Standing::Open, is_done)
    }

    /// As one that is needed: done, and broken.
    pub(crate) fn as_need(self) -> (bool, bool) {
        (self.with_fallbacks == Standing::Done, self.with_fallbacks == Standing::Broken)
    }

    /// As one for which another stands in: open, failed, and broken.
    pub(crate) fn as_target(self) -> (bool, bool, bool) {
        (!self.ended, self.failed, self.own == Standing::Broken)
    }
}

/// Where a step stands; part of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepProgress {
    /// Elements without rows are counted where the rest stands.
    pub(crate) counts: StepCounts,
    /// Tasks that wait for their needs and have rows (`counts.waiting` has the other waits, and the rest, too).
    pub(crate) on_needs: u32,
    /// Elements with rows.
    rows: u32,
    /// Elements, as far as that is known.
    elements: u32,
    rest: Option<Rest>,
    is_decided: bool,
    passed_over: bool,
    fails: bool,
    /// Needs that are not done.
    unmet: u32,
    /// Needs that are broken.
    broken: u32,
    /// Those that it stands in for: not all ended, failed, broken by themselves.
    targets_open: u32,
    targets_failed: u32,
    targets_broken: u32,
    /// Those that stand in for it: that still may, and that do.
    fallbacks_open: u32,
    fallbacks_done: u32,
    /// Live attempts, and runs that its tasks are, that nobody has asked to stop.
    unstopped: u32,
    /// Runs that its tasks are, and that nobody has given up.
    kept_up: u32,
}

impl StepProgress {
    pub(crate) fn new(run: &Run, step: u32) -> Self {
        let length = |list: &[u32]| u32::try_from(list.len()).unwrap_or(u32::MAX);
        Self {
            elements: run.spec.tasks.get(step as usize).map_or(0, |task| task.count),
            unmet: length(run.graph.needs(step)),
            targets_open: length(run.graph.stands_for(step)),
            fallbacks_open: length(run.graph.fallbacks(step)),
            ..Self::default()
        }
    }

    /// As it stood when its run was archived.
    pub(crate) fn as_archived(self, archived: &ArchivedStep) -> Self {
        Self { counts: archived.counts, rows: archived.rows, ..self }
    }

    /// How many elements have no rows.
    pub(crate) fn without_rows(&self) -> u32 {
        if self.rest.is_some() { self.elements.saturating_sub(self.rows) } else { 0 }
    }

    /// Those of them that may get one.
    pub(crate) fn waiting_rest(&self) -> u32 {
        if self.rest == Some(Rest::Waiting) { self.without_rows() } else { 0 }
    }

    /// How many elements it has, as far as that is known.
    pub(crate) fn elements(&self) -> u32 {
        self.elements
    }

    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// A task that was in `old` is in `new`, or has come.
    pub(crate) fn on_task(&mut self, old: Option<&TaskState>, new: &TaskState) {
        if let Some(old) = old {
            self.count(old, |count| *count = count.saturating_sub(1));
        } else {
            self.count_rest(|count, rest| *count = count.saturating_sub(rest));
            self.rows = self.rows.saturating_add(1);
            self.count_rest(|count, rest| *count = count.saturating_add(rest));
        }
        self.count(new, |count| *count = count.saturating_add(1));
    }

    pub(crate) fn on_step(&mut self, new: &Step) {
        self.count_rest(|count, rest| *count = count.saturating_sub(rest));
        self.elements = new.elements;
        self.rest = Some(new.rest);
        self.is_decided = new.decision.is_some();
        self.passed_over = new.decision == Some(Decided::PassOver);
        self.fails = matches!(new.decision, Some(Decided::Fail(_)));
        self.count_rest(|count, rest| *count = count.saturating_add(rest));
    }

    fn count(&mut self, state: &TaskState, by: impl Fn(&mut u32)) {
        if *state == TaskState::Waiting(Wait::Needs) {
            by(&mut self.on_needs);
        }
        count(&mut self.counts, state, by);
    }

    fn count_rest(&mut self, by: impl Fn(&mut u32, u32)) {
        let without_rows = self.without_rows();
        match self.rest {
            Some(Rest::Waiting) => by(&mut self.counts.waiting, without_rows),
            Some(Rest::Cancelled) => by(&mut self.counts.cancelled, without_rows),
            Some(Rest::Skipped) => by(&mut self.counts.skipped, without_rows),
            Some(Rest::Kept) => by(&mut self.counts.succeeded, without_rows),
            None => {}
        }
    }

    pub(crate) fn view(&self, run: &Run, step: u32) -> View {
        let accepted = run.spec.tasks.get(step as usize).map_or(0, |task| task.accept_failed);
        let failed = self.counts.failed > accepted || (self.fails && self.counts.failed > 0);
        let own = if self.passed_over {
            Standing::Done
        } else if failed || self.counts.cancelled + self.counts.skipped > 0 {
            // One lost element settles it: what is left cannot turn the fate of those that wait for it.
            Standing::Broken
        } else if self.is_done() {
            Standing::Done
        } else {
            Standing::Open
        };
        let with_fallbacks = match own {
            // Which of several counts does not change once one of them does.
            Standing::Broken if self.fallbacks_open > 0 => Standing::Open,
            Standing::Broken if self.fallbacks_done > 0 => Standing::Done,
            Standing::Open | Standing::Done | Standing::Broken => own,
        };
        let flaw = (with_fallbacks == Standing::Broken).then_some(if failed {
            Flaw::Failed
        } else if self.counts.cancelled > 0 {
            Flaw::Cancelled
        } else {
            Flaw::Skipped
        });
        let ended = self.counts.unfinished() == 0 && self.counts.total() >= self.elements;
        View { own, with_fallbacks, ended, failed, passed_over: self.passed_over, flaw }
    }

    fn is_done(&self) -> bool {
        if quorate_planted::is(Bug::OneSuccessIsEnough) {
            return self.counts.succeeded > 0;
        }
        self.counts.succeeded + self.counts.failed == self.elements
    }

    /// Takes in that a need went from (done, broken) to (done, broken).
    pub(crate) fn on_need(&mut self, was: (bool, bool), is: (bool, bool)) {
        step(&mut self.unmet, !was.0, !is.0);
        step(&mut self.broken, was.1, is.1);
    }

    /// The same of one that it stands in for: (open, failed, broken).
    pub(crate) fn on_target(&mut self, was: (bool, bool, bool), is: (bool, bool, bool)) {
        step(&mut self.targets_open, was.0, is.0);
        step(&mut self.targets_failed, was.1, is.1);
        step(&mut self.targets_broken, was.2, is.2);
    }

    /// The same of one that stands in for it: (may, does).
    pub(crate) fn on_fallback(&mut self, was: (bool, bool), is: (bool, bool)) {
        step(&mut self.fallbacks_open, was.0, is.0);
        step(&mut self.fallbacks_done, was.1, is.1);
    }

    pub(crate) fn on_unstopped(&mut self, more: bool) {
        self.unstopped = if more { self.unstopped.saturating_add(1) } else { self.unstopped.saturating_sub(1) };
    }

    /// With what lives of it, as it was seen before its run was.
    pub(crate) fn with_live_of(self, known: Self) -> Self {
        Self { unstopped: known.unstopped, kept_up: known.kept_up, ..self }
    }

    /// A run that a task of it is went from (nobody has asked it to end, nobody has given it up) to the same.
    pub(crate) fn on_sub_run(&mut self, was: (bool, bool), is: (bool, bool)) {
        step(&mut self.unstopped, was.0, is.0);
        step(&mut self.kept_up, was.1, is.1);
    }

    pub(crate) fn unstopped(&self) -> u32 {
        self.unstopped
    }

    /// What a cancelled run still has to end here.
    fn cancellable(&self, run: &Run) -> u32 {
        let kept_up = if run.abandoned { self.kept_up } else { 0 };
        self.counts.waiting + self.counts.ready + self.unstopped.max(kept_up)
    }

    pub(crate) fn verdict(&self, run: &Run, step: u32, phase: Phase) -> StepVerdict {
        if run.is_ending(step) {
            return StepVerdict::Cancel;
        }
        let Some(spec) = run.spec.tasks.get(step as usize) else { return StepVerdict::Wait };
        match &spec.role {
            // Its tasks come with their rows, one after the other.
            Role::Undo { .. } => return StepVerdict::Release,
            Role::Finally if phase != Phase::Finally => return StepVerdict::Wait,
            Role::Fallback { .. } if self.targets_open > 0 => return StepVerdict::Wait,
            Role::Fallback { .. } if self.targets_broken == 0 => return StepVerdict::PassOver,
            Role::Fallback { .. } if self.targets_failed == 0 => return StepVerdict::Skip,
            Role::Fallback { .. } if quorate_planted::is(Bug::FallbackLost) => return StepVerdict::Skip,
            Role::Fallback { .. } | Role::Work | Role::Finally => {}
        }
        if self.passed_over {
            StepVerdict::PassOver
        } else if self.fails {
            StepVerdict::Fail
        } else if self.broken > 0 {
            StepVerdict::Skip
        } else if self.unmet > 0 {
            StepVerdict::Wait
        } else if spec.is_decided() && !self.is_decided {
            StepVerdict::Decide
        } else {
            StepVerdict::Release
        }
    }

    /// Whether tasks of it can move on now.
    pub(crate) fn is_due(&self, run: &Run, step: u32, verdict: StepVerdict) -> bool {
        // A gang is placed when all of it stands in the queue.
        let is_gang = || run.spec.tasks.get(step as usize).is_some_and(|spec| spec.gang.is_some());
        let is_low = self.counts.ready <= ready_ahead_min() || (self.waiting_rest() > 0 && is_gang());
        match verdict {
            StepVerdict::Wait | StepVerdict::Decide => false,
            StepVerdict::Release => self.on_needs > 0 || (self.waiting_rest() > 0 && is_low),
            StepVerdict::PassOver => self.on_needs > 0 || self.waiting_rest() > 0 || !self.passed_over,
            StepVerdict::Skip | StepVerdict::Fail => self.on_needs > 0 || self.waiting_rest() > 0,
            StepVerdict::Cancel => self.cancellable(run) > 0,
        }
    }
}

fn step(count: &mut u32, was: bool, is: bool) {
    match (was, is) {
        (false, true) => *count = count.saturating_add(1),
        (true, false) => *count = count.saturating_sub(1),
        (true, true) | (false, false) => {}
    }
}

/// How many steps are broken, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flaws {
    failed: u32,
    cancelled: u32,
    skipped: u32,
}

impl Flaws {
    pub(crate) fn on_flaw(&mut self, was: Option<Flaw>, is: Option<Flaw>) {
        let has = |flaw: Option<Flaw>, one: Flaw| flaw == Some(one);
        step(&mut self.failed, has(was, Flaw::Failed), has(is, Flaw::Failed));
        step(&mut self.cancelled, has(was, Flaw::Cancelled), has(is, Flaw::Cancelled));
        step(&mut self.skipped, has(was, Flaw::Skipped), has(is, Flaw::Skipped));
    }

    /// A run that lost a task failed, also when that made it cancel the rest.
    fn outcome(self) -> RunState {
        if self.failed > 0 {
            RunState::Failed
        } else if self.cancelled > 0 {
            RunState::Cancelled
        } else if self.skipped > 0 {
            RunState::Failed
        } else {
            RunState::Succeeded
        }
    }
}

/// Something that succeeded and can be undone: when it did, and which.
pub(crate) type Undoable = (Revision, TaskId);

/// Where a run stands; part of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunProgress {
    pub(crate) counts: StepCounts,
    /// Tasks of its work that have not ended, and of what undoes it.
    work_open: u32,
    undo_open: u32,
    /// Of its work, and of what comes after it.
    work: Flaws,
    after: Flaws,
    to_undo: Set<Undoable>,
    /// What is being undone, or was, of which nothing else has been seen yet: rows come in any order.
    undone: Set<Undoable>,
}

impl RunProgress {
    pub(crate) fn on_counts(&mut self, run: &Run, step: u32, was: StepCounts, is: StepCounts) {
        self.counts = self.counts.less(was).more(is);
        let open = match run.graph.undoes(step) {
            Some(_) => &mut self.undo_open,
            None if run.graph.is_after(step) => return,
            None => &mut self.work_open,
        };
        *open = open.saturating_sub(was.unfinished()).saturating_add(is.unfinished());
    }

    pub(crate) fn on_flaw(&mut self, run: &Run, step: u32, was: Option<Flaw>, is: Option<Flaw>) {
        let flaws = if run.graph.is_after(step) { &mut self.after } else { &mut self.work };
        flaws.on_flaw(was, is);
    }

    pub(crate) fn on_undoable(&mut self, task: Undoable) {
        if !self.undone.remove_mut(&task) {
            self.to_undo.insert_mut(task);
        }
    }

    pub(crate) fn on_undo(&mut self, task: Undoable) {
        if quorate_planted::is(Bug::UndoTwice) {
            return;
        }
        if !self.to_undo.remove_mut(&task) {
            self.undone.insert_mut(task);
        }
    }

    /// How its work ended, or would if it ended now.
    pub(crate) fn work_outcome(&self) -> RunState {
        self.work.outcome()
    }

    /// The same of all of it.
    pub(crate) fn outcome(&self) -> RunState {
        let Flaws { failed, cancelled, skipped } = self.after;
        let Flaws { failed: work_failed, cancelled: work_cancelled, skipped: work_skipped } = self.work;
        Flaws {
            failed: failed.saturating_add(work_failed),
            cancelled: cancelled.saturating_add(work_cancelled),
            skipped: skipped.saturating_add(work_skipped),
        }
        .outcome()
    }

    pub(crate) fn phase(&self, run: &Run) -> Phase {
        let has_failed = self.work_outcome() != RunState::Succeeded;
        let undoes = has_failed && !run.abandoned && !self.to_undo.is_empty();
        if self.work_open > 0 {
            Phase::Work
        } else if undoes || self.undo_open > 0 {
            Phase::Undo
        } else {
            Phase::Finally
        }
    }

    /// True when more of its work has failed than it accepts, and nothing stands in for it any more.
    pub(crate) fn has_failed_work(&self) -> bool {
        self.work.failed > 0
    }

    pub(crate) fn has_open_work(&self) -> bool {
        self.work_open > 0
    }

    /// What is to be undone next: what succeeded last, together with what did so in the same entry. Nothing while
    /// something is being undone.
    pub(crate) fn undo_next(&self, run: &Run) -> impl Iterator<Item = Undoable> {
        let may = !run.state.is_terminal() && !run.abandoned && self.undo_open == 0 && self.phase(run) == Phase::Undo;
        let forwards = quorate_planted::is(Bug::UndoForwards);
        let newest = if forwards { self.to_undo.first() } else { self.to_undo.last() };
        let newest = newest.filter(|_| may).map(|(revision, _)| *revision);
        let from = newest.map(|revision| {
            let first = TaskId { run: RunId(0), step: 0, index: 0 };
            (revision, first)
        });
        let last = (Revision(u64::MAX), TaskId { run: RunId(u64::MAX), step: u32::MAX, index: u32::MAX });
        let of_newest = move |task: &Undoable| newest == Some(task.0);
        self.to_undo.range(from.unwrap_or(last)..).copied().take_while(of_newest)
    }
}
