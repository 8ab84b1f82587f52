//! Tasks that are runs of other jobs: what their specs say, and what is asked about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Digest, JobName, JobSpec, Phase, Run, RunId, RunState, State, Task, TaskId, Violation};

/// Runs within runs, the outermost included. Part of what feature `sub-runs` means.
pub const RUNS_DEEP_MAX: u32 = 8;

/// No answer lists more.
const VIOLATIONS_MAX: usize = 100;

/// A run of another job, in the place of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubRun {
    /// A job of the same namespace.
    pub job: JobName,
    /// Which version of it; without, the newest at the moment when it begins.
    pub version: Option<u32>,
    /// What it is told, by name: JSON whose texts may hold references, which the leader puts in when it begins. What is not
    /// among them has its default.
    pub args: BTreeMap<String, String>,
}

/// What a run can be begun from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubRunSpec {
    /// The version.
    pub version: u32,
    /// Its spec.
    pub spec: Arc<JobSpec>,
    /// The digest of that.
    pub digest: Digest,
}

impl State {
    /// What a task of `run` that is a run of another job would be begun from now.
    ///
    /// # Errors
    /// Why it cannot be, for people: nothing that happens to this run will change that.
    pub fn sub_run_spec(&self, run: &Run, sub_run: &SubRun) -> Result<SubRunSpec, String> {
        let deep = self.runs_deep(run);
        if deep >= RUNS_DEEP_MAX {
            return Err(format!(
                "its run stands {deep} deep in others, and RUNS_DEEP_MAX is {RUNS_DEEP_MAX}: let fewer jobs run each other"
            ));
        }
        let SubRun { job, version, .. } = sub_run;
        let namespace = &run.spec.namespace;
        let Some(row) = self.job(namespace, job) else {
            return Err(format!("job {namespace}/{job} does not exist any more"));
        };
        let version = version.unwrap_or(row.version);
        let Some(kept) = self.job_version(namespace, job, version) else {
            return Err(format!("job {namespace}/{job} has no version {version}"));
        };
        Ok(SubRunSpec { version, spec: kept.spec.clone(), digest: kept.spec_digest })
    }

    /// Tasks of a spec that are runs of what there is not: it cannot be submitted then. A job may run itself.
    pub fn sub_run_violations(&self, spec: &JobSpec) -> Vec<Violation> {
        let tasks = spec.tasks.iter().filter_map(|task| Some((task, task.sub_run.as_ref()?)));
        let violations = tasks.filter_map(|(task, sub_run)| {
            let message = self.sub_run_flaw(spec, sub_run)?;
            Some(Violation { field: format!("task.{}.run", task.name), message })
        });
        violations.take(VIOLATIONS_MAX).collect()
    }

    fn sub_run_flaw(&self, spec: &JobSpec, sub_run: &SubRun) -> Option<String> {
        let SubRun { job, version, .. } = sub_run;
        let namespace = &spec.namespace;
        match (self.job(namespace, job), version) {
            (None, None) if *job == spec.name => None,
            (None, _) => Some(format!("job {namespace}/{job} does not exist: submit it first")),
            (Some(_), None) => None,
            (Some(row), Some(version)) if self.job_version(namespace, job, *version).is_none() => {
                Some(format!("job {namespace}/{job} has no version {version}: its newest is {}", row.version))
            }
            (Some(_), Some(_)) => None,
        }
    }

    /// How deep a run stands in others, itself included: 1 for one that is no task of another.
    pub fn runs_deep(&self, run: &Run) -> u32 {
        let mut deep = 1;
        let mut at = run.parent;
        while let Some(above) = at.and_then(|task| self.run(task.run)) {
            deep += 1;
            at = if deep > RUNS_DEEP_MAX { None } else { above.parent };
        }
        deep
    }

    /// The newest run that was begun for a task, if it is a run of another job.
    pub fn sub_run(&self, task: &Task) -> Option<&Arc<Run>> {
        task.sub_run.and_then(|run| self.run(run))
    }

    /// Tasks for which a run of another job is to be begun, in the order of the queue. Those of runs that are paused are not
    /// among them; of those of a run that is being cancelled none begins any more.
    pub fn sub_runs_to_start(&self) -> impl Iterator<Item = TaskId> {
        self.index.starts().places().map(|place| place.task)
    }

    /// How a run all of whose tasks have ended ends, unless it must say what comes out of it and cannot.
    pub fn outcome(&self, run: &Run) -> RunState {
        let outcome = self.index.steps().outcome(run.id);
        // What was under way may have succeeded all the same.
        let timed_out = run.timed_out && self.index.steps().work_outcome(run.id) != RunState::Succeeded;
        if timed_out { RunState::Failed } else { outcome }
    }

    /// True of a run that can only be ended with what comes out of it.
    pub fn owes_result(&self, run: &Run) -> bool {
        !run.spec.result.is_empty() && self.can_end(run) && self.outcome(run) == RunState::Succeeded
    }

    /// True of a run all of whose tasks have ended, and that has not.
    pub(crate) fn can_end(&self, run: &Run) -> bool {
        let undoes = self.phase(run) == Phase::Undo;
        !run.state.is_terminal() && self.run_counts(run.id).unfinished() == 0 && !undoes
    }

    /// What came out of the run that a task is.
    pub(crate) fn sub_run_result(&self, run: RunId) -> Option<&Arc<[u8]>> {
        self.run(run).and_then(|run| run.result.as_ref())
    }
}
