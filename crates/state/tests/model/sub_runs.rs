//! Tasks that are runs of other jobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Command, Feature, JobSpec, OnNodeLoss, Rejection, Reply, Resources, RunId, RunResult, SubRun, SubRunStart, TaskId,
    TaskSpec,
};

use crate::{World, name, spec, task};

/// Jobs one of whose tasks is a run of a job that `spec` has, or of the job of that.
pub(super) fn with_sub_runs(shape: usize) -> JobSpec {
    let inner = task("inner", &[], 2, 0, OnNodeLoss::AtLeastOnce);
    let of = if shape == 5 { "job-0" } else { "job-5" };
    let sub_run = Some(SubRun { job: name(of), version: None, args: BTreeMap::new() });
    let inner = TaskSpec { argv: Vec::new(), resources: Resources::ZERO, run_timeout_ms: None, sub_run, ..inner };
    let after = task("after", &["inner"], 1, 100, OnNodeLoss::AtLeastOnce);
    let result = BTreeMap::from([("of".to_owned(), "\"${inner.result}\"".to_owned())]);
    JobSpec { name: name(&format!("job-{shape}")), tasks: vec![inner, after], result, ..spec(0) }
}

impl World {
    /// All that can be is enabled, and the jobs are known of which others are runs. The run of the last of them has a large
    /// id: what is begun for its tasks has smaller ones.
    pub(super) fn grow(&mut self) {
        for feature in Feature::ALL {
            self.run(None, Command::EnableFeature { feature, term: self.term }).unwrap();
        }
        self.plant_tree();
        self.submit(0, 100, None);
        self.submit(5, 900, None);
    }

    /// Begins the run that a task is, or says that none can be begun. Of a view that is stale nothing comes.
    pub(super) fn start_sub_run(&mut self, pick: usize, run: u64, flawed: bool, stale: bool) {
        let due: Vec<TaskId> = self.state.sub_runs_to_start().collect();
        let Some(id) = due.get(pick % due.len().max(1)).copied() else { return };
        let parent = self.state.run(id.run).unwrap().clone();
        let found = self.state.sub_run_spec(&parent, parent.sub_run(id.step).unwrap());
        let generation = self.state.task(id).unwrap().generation.wrapping_sub(u32::from(stale));
        let is_taken = self.state.run(RunId(run)).is_some();
        let result = match (&found, flawed) {
            (Ok(found), false) => {
                let start =
                    SubRunStart { task: id, generation, run: RunId(run), version: found.version, args: "".into() };
                self.run(None, Command::StartSubRun(Box::new(start)))
            }
            (Ok(_) | Err(_), _) => self.run(None, Command::FailSubRun { task: id, generation, flaw: Arc::from("why") }),
        };
        let begins = found.is_ok() && !flawed;
        match result {
            Err(Rejection::RunIdTaken(_)) => assert!(begins && is_taken),
            Err(_) => assert!(stale || parent.is_ending(id.step)),
            Ok(_) => {
                assert!(!stale && !parent.is_ending(id.step));
                assert!(!begins || !is_taken, "another run has this id");
            }
        }
    }

    /// Ends a run as it must be ended; of one that has not come so far, nothing changes.
    pub(super) fn end_run(&mut self, run: RunId) {
        let owes = self.state.owes_result(self.state.run(run).unwrap());
        let (finish, result) = (Command::FinishRun { run }, RunResult::Value(Arc::from(&b"{\"of\":null}"[..])));
        let conclude = Command::ConcludeRun { run, result };
        let (right, wrong) = if owes { (conclude, finish) } else { (finish, conclude) };
        assert_eq!(self.run(None, wrong).ok().filter(|reply| *reply != Reply::Counted(0)), None);
        self.run(None, right).unwrap();
    }

    /// Begins all that can be begun.
    pub(super) fn start_all(&mut self) {
        for _ in 0..self.state.sub_runs_to_start().count() {
            self.start_sub_run(0, 1_000 + self.revision, false, false);
        }
    }
}
