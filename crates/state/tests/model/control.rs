//! Runs that are paused, resumed and put elsewhere in the queue.

use quorate_state::{Command, Feature, RunId, TaskId};

use crate::World;

impl World {
    pub(super) fn pause(&mut self, run: RunId, paused: bool) {
        let may = self.may_control(run);
        let command = if paused { Command::PauseRun { run, reason: "why".into() } } else { Command::ResumeRun { run } };
        let result = self.run(None, command);
        assert_eq!(result.is_ok(), may, "{result:?}");
        if may {
            assert_eq!(self.state.run(run).unwrap().paused.is_some(), paused);
            assert!(!paused || self.state.ready().all(|place| place.task.run != run), "it stands in the queue");
        }
    }

    pub(super) fn set_priority(&mut self, run: RunId, priority: u8) {
        let may = self.may_control(run) && priority <= 100;
        let result = self.run(None, Command::SetRunPriority { run, priority });
        assert_eq!(result.is_ok(), may, "{result:?}");
        if may {
            assert_eq!(self.state.run(run).unwrap().priority(), priority);
            let mut places = self.state.ready().filter(|place| place.task.run == run);
            assert!(places.all(|place| place.priority_inverse == 100 - priority));
        }
    }

    /// Ready tasks that are in no queue, for their run is paused.
    pub(super) fn aside(&self) -> Vec<TaskId> {
        let runs = self.state.runs_newest_first(None).filter(|run| run.paused.is_some());
        runs.flat_map(|run| (0..run.graph.steps()).flat_map(move |step| self.state.ready_of_step(run, step))).collect()
    }

    pub(super) fn resume_all(&mut self) {
        self.lift_all();
        let runs: Vec<RunId> = self.state.unfinished_runs().collect();
        for run in runs {
            if self.may_control(run) {
                self.pause(run, false);
            }
        }
    }

    pub(super) fn may_control(&self, run: RunId) -> bool {
        let row = self.state.run(run).unwrap();
        self.state.has_feature(Feature::RunControl) && !row.cancelling && !row.state.is_terminal()
    }
}
