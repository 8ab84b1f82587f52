//! How a run within another ends, and what of it goes up and down.

use std::collections::BTreeMap;

use quorate_state::{FailReason, Run, RunId, RunState, Served, State, TaskId, TaskState, Wait};
use quorate_values::{Value, parse};

use super::{Verdict, task_name};
use crate::ledger::Step;
use crate::oracles::flow::{Flow, is_to_end};
use crate::oracles::history::spec_of;
use crate::oracles::values::Sight;

/// Served time that a leader may take to see that a run is to end with its parent, and to commit that: two syncs of a slow disk.
const SLACK_MS: u64 = 12_000;
/// Entries that it may commit meanwhile.
const SLACK_ENTRIES: u32 = 30;

/// The run of a task has just ended, the so-manieth: so has the task, or it is to be tried again.
pub(super) fn check_settled(task: TaskId, run: &Run, tries: usize, step: &Step) -> Verdict {
    let attempts = spec_of(&step.after, task).map_or(0, |spec| spec.retry.attempts as usize);
    let state = step.after.task(task).map(|row| row.state.clone());
    let ends = |state: &State| state.run(task.run).is_some_and(|parent| is_to_end(parent, task.step));
    // What shares an entry with a cancel may come before it or after it.
    let (ends_before, ends_after) = (ends(&step.before), ends(&step.after));
    let is_right = match (run.state, &state) {
        (RunState::Succeeded, Some(TaskState::Succeeded)) => true,
        (RunState::Failed | RunState::Cancelled, Some(TaskState::Cancelled)) => ends_after,
        (RunState::Cancelled, Some(TaskState::Failed(FailReason::SubRunCancelled))) => !ends_before,
        (RunState::Failed, Some(TaskState::Failed(FailReason::Failed))) => !ends_before && tries == attempts,
        (RunState::Failed, Some(TaskState::Waiting(Wait::Backoff { .. }) | TaskState::Ready)) => {
            !ends_before && tries < attempts
        }
        _ => false,
    };
    if is_right {
        return Ok(());
    }
    Err(format!(
        "run {} ended as {:?}, and {}, which may be tried {attempts} times, is {state:?} (to end: {ends_before}, {ends_after})",
        run.id,
        run.state,
        task_name(task)
    ))
}

/// What came out of a run that has ended is what its job says of it; where that cannot be said, it has failed.
pub(super) fn check_result(run: &Run, state: &State) -> Verdict {
    let result = run.result.as_ref().map(|result| parse(result, "what came out of it"));
    if run.spec.result.is_empty() || (run.state != RunState::Succeeded && run.flaw.is_none()) {
        return if result.is_none() { Ok(()) } else { Err(format!("run {} has a result: {result:?}", run.id)) };
    }
    let flow = Flow::of(state, run);
    let wanted = Sight::of_work(&flow).fill(&run.spec.result);
    let max = state.settings().map_or(0, |settings| settings.result_bytes_max as usize);
    let is_large = || wanted.as_ref().is_ok_and(|wanted| as_json(wanted).len() > max);
    let is_right = match (&result, run.state) {
        (Some(Ok(Value::Object(result))), RunState::Succeeded) => {
            wanted.as_ref().is_ok_and(|wanted| result.iter().eq(wanted.iter()))
        }
        (None, RunState::Failed) => wanted.is_err() || is_large(),
        _ => false,
    };
    if is_right {
        return Ok(());
    }
    Err(format!(
        "run {} ended as {:?} with {result:?} ({:?}); what its job says comes to {wanted:?}",
        run.id, run.state, run.flaw
    ))
}

fn as_json(values: &BTreeMap<String, Value>) -> String {
    Value::Object(values.clone().into_iter().collect()).to_string()
}

pub(super) fn has_open_work(state: &State, run: &Run) -> bool {
    Flow::of(state, run).has_open_work()
}

/// Runs within others that are to end with these, and have not been told so: since when, and how many entries ago.
#[derive(Default)]
pub(super) struct Unheeded(BTreeMap<RunId, (Served, u32)>);

impl Unheeded {
    /// An entry later, with the runs that are open now.
    pub(super) fn check(&mut self, step: &Step, open: &[(TaskId, RunId)]) -> Verdict {
        let now = step.after.meta().served;
        let before = std::mem::take(&mut self.0);
        for (task, run) in open {
            let (Some(above), Some(row)) = (step.after.run(task.run), step.after.run(*run)) else { continue };
            let is_told = row.abandoned || (row.cancelling && !above.abandoned);
            if !is_to_end(above, task.step) || is_told {
                continue;
            }
            let (since, entries) = before.get(run).copied().unwrap_or((now, 0));
            if now > since.plus(SLACK_MS) && entries > SLACK_ENTRIES {
                return Err(format!(
                    "run {run} goes on at served time {now:?}, that of {} is to end since {since:?}",
                    task_name(*task)
                ));
            }
            self.0.insert(*run, (since, entries.saturating_add(1)));
        }
        Ok(())
    }
}
