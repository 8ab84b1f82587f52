//! Runs within runs: from what one begins, and what comes out of one.

use std::sync::Arc;

use quorate_state::{
    ARGS_BYTES_MAX, JobSpec, READY_AHEAD_MAX, Run, RunId, RunResult, State, SubRun, SubRunSpec, TaskId,
};
use quorate_values::{Each, Flaw, Reference};

use crate::args::complete_args;
use crate::decide::{BYTES_PER_UNIT, words};
use crate::elements::elements;
use crate::facts::Facts;
use crate::filling::Filling;

/// From what the run of a task is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The version of its job.
    pub version: u32,
    /// What it is told, as of [`Run::args`].
    pub args: Arc<str>,
    /// How many tasks have rows from its beginning, about.
    pub tasks: u32,
}

/// Finds out from what the runs of tasks begin, in one state, and keeps what it has read of the step that was asked for last:
/// its elements come together.
#[derive(Debug, Default)]
pub struct Begins {
    last: Option<((RunId, u32), Arc<Prepared>)>,
}

impl Begins {
    /// From what the run of a task of `run` begins now.
    ///
    /// # Errors
    /// Why none can be begun, for people: another time it would be the same.
    pub fn of(&mut self, state: &State, run: &Run, task: TaskId) -> Result<Begin, Arc<str>> {
        let mut begin = || {
            let sub_run = run.sub_run(task.step).ok_or_else(|| Flaw::new("the task is no run of another job"))?;
            let SubRunSpec { version, spec, digest: _ } = state.sub_run_spec(run, sub_run).map_err(Flaw::new)?;
            let args = self.prepared(state, run, task.step, sub_run)?.args(task.index)?;
            let args = complete_args(&spec, &args).map_err(|found| {
                let lines: Vec<String> =
                    found.iter().map(|found| format!("{}: {}", found.field, found.message)).collect();
                Flaw::new(format!("job {} cannot be told this: {}", spec.name, lines.join("; ")))
            })?;
            Ok(Begin { version, args: args.into(), tasks: tasks_of(&spec) })
        };
        begin().map_err(|flaw: Flaw| words(&flaw))
    }

    fn prepared(&mut self, state: &State, run: &Run, step: u32, sub_run: &SubRun) -> Result<Arc<Prepared>, Flaw> {
        let key = (run.id, step);
        if let Some((_, known)) = self.last.as_ref().filter(|(last, _)| *last == key) {
            return Ok(known.clone());
        }
        let prepared = Arc::new(Prepared::of(state, run, step, sub_run)?);
        self.last = Some((key, prepared.clone()));
        Ok(prepared)
    }
}

/// The expressions of a step, read, with what they name.
#[derive(Debug)]
struct Prepared {
    args: Filling,
    each: Option<Each>,
    several: bool,
    facts: Facts,
}

impl Prepared {
    fn of(state: &State, run: &Run, step: u32, sub_run: &SubRun) -> Result<Self, Flaw> {
        let spec = run.spec.tasks.get(step as usize).ok_or_else(|| Flaw::new("the job has no such task"))?;
        let args = Filling::read(&sub_run.args).map_err(|flaw| Flaw::new(format!("args.{flaw}")))?;
        let each = elements(spec)?;
        let several = spec.count > 1 || each.is_some();
        let named = args.references().into_iter().chain(each.as_ref().and_then(Each::reference));
        let facts = Facts::of(state, run, step, named)?;
        Ok(Self { args, each, several, facts })
    }

    fn args(&self, index: u32) -> Result<String, Flaw> {
        let each = self.each.as_ref().map(|each| each.element(&self.facts.at(None, None), index)).transpose()?;
        let scope = self.facts.at(each, self.several.then_some(index));
        let filled = self.args.fill(&scope, ARGS_BYTES_MAX, "ARGS_BYTES_MAX");
        filled.map(|args| args.to_string()).map_err(|flaw| Flaw::new(format!("args.{flaw}")))
    }
}

fn tasks_of(spec: &JobSpec) -> u32 {
    spec.tasks.iter().fold(0, |sum, task| sum.saturating_add(task.count.min(READY_AHEAD_MAX)))
}

/// What comes out of a run whose work has ended well, and what it cost to find out, in the units of [`crate::Decision`].
pub fn conclude(state: &State, run: &Run) -> (RunResult, u64) {
    let mut cost = 1;
    let result = try_conclude(state, run, &mut cost);
    let result = result.map_err(|flaw| words(&Flaw::new(format!("result.{flaw}"))));
    (result.map_or_else(RunResult::Flaw, RunResult::Value), cost)
}

fn try_conclude(state: &State, run: &Run, cost: &mut u64) -> Result<Arc<[u8]>, Flaw> {
    let filling = Filling::read(&run.spec.result)?;
    let named: Vec<&Reference> = filling.references();
    let facts = Facts::of_work(state, run, named)?;
    *cost += facts.bytes as u64 / BYTES_PER_UNIT;
    let bytes_max = state.settings().map_or(0, |settings| settings.result_bytes_max as usize);
    let result = filling.fill(&facts.at(None, None), bytes_max, "result_bytes_max")?;
    Ok(result.to_string().into_bytes().into())
}
