//! Which runs can leave memory.

use quorate_planted::Bug;
use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use crate::{Attempt, Millis, Run, RunId, Task};

/// Part of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finished {
    /// When runs in memory ended.
    ended: Map<RunId, Millis>,
    /// What holds a run in memory beside itself: its attempts that are not confirmed gone, runs that are second tries of it,
    /// and the task that it is. Zero has no entry.
    holds: Map<RunId, u32>,
    /// Those that have ended and that nothing holds.
    archivable: Set<(Millis, RunId)>,
}

impl Finished {
    pub(crate) fn on_run(&mut self, old: Option<&Run>, new: &Run) {
        if let (None, Some(of)) = (old, new.restart_of) {
            self.hold(of);
        }
        if let Some(ended_at) = new.ended_at.filter(|_| new.state.is_terminal()) {
            self.ended.insert_mut(new.id, ended_at);
            self.settle(new.id);
        }
    }

    pub(crate) fn on_run_gone(&mut self, run: &Run) {
        if let Some(ended_at) = self.ended.get(&run.id).copied() {
            self.archivable.remove_mut(&(ended_at, run.id));
            self.ended.remove_mut(&run.id);
        }
        if let Some(of) = run.restart_of {
            self.release(of);
        }
    }

    pub(crate) fn on_attempt(&mut self, old: Option<&Attempt>, new: &Attempt) {
        let run = new.id.task.run;
        if quorate_planted::is(Bug::ArchivedTooSoon) {
            return;
        }
        match (old.is_some_and(|old| !old.gone), !new.gone) {
            (false, true) => self.hold(run),
            (true, false) => self.release(run),
            (true, true) | (false, false) => {}
        }
    }

    pub(crate) fn on_task(&mut self, old: Option<&Task>, new: Option<&Task>) {
        let (was, is) = (old.and_then(|old| old.sub_run), new.and_then(|new| new.sub_run));
        if was != is {
            was.into_iter().for_each(|run| self.release(run));
            is.into_iter().for_each(|run| self.hold(run));
        }
    }

    pub(crate) fn archivable(&self) -> impl Iterator<Item = RunId> {
        self.archivable.iter().map(|(_, run)| *run)
    }

    pub(crate) fn is_archivable(&self, run: RunId) -> bool {
        self.ended.get(&run).is_some_and(|ended_at| self.archivable.contains(&(*ended_at, run)))
    }

    fn hold(&mut self, run: RunId) {
        let holds = self.holds.get(&run).copied().unwrap_or_default();
        self.holds.insert_mut(run, holds.saturating_add(1));
        self.settle(run);
    }

    fn release(&mut self, run: RunId) {
        match self.holds.get(&run).copied().unwrap_or_default() {
            0 | 1 => {
                self.holds.remove_mut(&run);
            }
            holds => self.holds.insert_mut(run, holds - 1),
        }
        self.settle(run);
    }

    fn settle(&mut self, run: RunId) {
        let Some(ended_at) = self.ended.get(&run).copied() else { return };
        match (self.holds.contains_key(&run), self.archivable.contains(&(ended_at, run))) {
            (true, true) => {
                self.archivable.remove_mut(&(ended_at, run));
            }
            (false, false) => self.archivable.insert_mut((ended_at, run)),
            (true, false) | (false, true) => {}
        }
    }
}
