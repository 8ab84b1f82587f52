//! P9: a task that waits for its place fails after its time in the queue, and a run is ended after its job's timeout, by
//! served time, neither sooner nor much later.

use std::collections::BTreeMap;

use quorate_state::{Change, FailReason, Run, RunId, Served, Task, TaskId, TaskState};

use super::flow::{Flow, is_to_end};
use super::history::{spec_of, task_name};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Served time that a leader may take to see that an instant has come, and to commit that: two syncs of a slow disk.
const SLACK_MS: u64 = 12_000;
/// Entries that it may commit meanwhile. Of a leader that stood still, served time goes on by all of that at once.
const SLACK_ENTRIES: u32 = 30;

/// Follows who is in the queue, and until when, and until when runs may go on.
#[derive(Default)]
pub(crate) struct Deadlines {
    due: BTreeMap<TaskId, Due>,
    runs: BTreeMap<RunId, Due>,
}

/// An instant, and how many entries were committed since it has come.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Served,
    entries: u32,
}

impl Due {
    fn after(now: Served, timeout_ms: u64) -> Self {
        Self { at: now.plus(timeout_ms), entries: 0 }
    }

    /// Another entry. True: somebody should have seen to it by now.
    fn is_missed(&mut self, now: Served) -> bool {
        self.entries = self.entries.saturating_add(u32::from(now >= self.at));
        now > self.at.plus(SLACK_MS) && self.entries > SLACK_ENTRIES
    }
}

impl Oracle for Deadlines {
    fn id(&self) -> &'static str {
        "P9"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        let now = step.after.meta().served;
        for change in &step.changes {
            match change {
                Change::Task(task) => self.on_task(task, step, now)?,
                Change::Run(run) => self.on_run(run, step, now)?,
                _ => {}
            }
        }
        // What comes after the work takes the time that it takes.
        let works = |run: &RunId| step.after.run(*run).is_some_and(|run| Flow::of(&step.after, run).has_open_work());
        let late = |(run, due): (&RunId, &mut Due)| (due.is_missed(now) && works(run)).then_some((*run, due.at));
        if let Some((run, due)) = self.runs.iter_mut().find_map(late) {
            return Err(format!("run {run} goes on at served time {now:?}, its time was over at {due:?}"));
        }
        // A run that is ending takes its tasks out of the queue in its own time.
        let is_over = |run: &Run, step: u32| is_to_end(run, step) || run.state.is_terminal();
        let ends = |task: &TaskId| step.after.run(task.run).is_none_or(|run| is_over(run, task.step));
        let late = |(task, due): (&TaskId, &mut Due)| (due.is_missed(now) && !ends(task)).then_some((*task, due.at));
        self.due.iter_mut().find_map(late).map_or(Ok(()), |(task, due)| {
            Err(format!(
                "{} is in the queue at served time {now:?}, its time there was over at {due:?}",
                task_name(task)
            ))
        })
    }
}

impl Deadlines {
    fn on_run(&mut self, run: &Run, step: &Step, now: Served) -> Verdict {
        let before = step.before.run(run.id);
        let of_task = run.parent.and_then(|task| spec_of(&step.after, task)).and_then(|spec| spec.run_timeout_ms);
        let timeout = run.spec.timeout_ms.into_iter().chain(of_task).min();
        if let Some(timeout) = timeout.filter(|_| before.is_none()) {
            self.runs.insert(run.id, Due::after(now, timeout));
        }
        let due = self.runs.get(&run.id).map(|due| due.at);
        let was_timed_out = before.is_some_and(|before| before.timed_out);
        if run.timed_out && !was_timed_out && due.is_none_or(|due| now < due) {
            return Err(format!("run {} timed out at served time {now:?}, due {due:?}", run.id));
        }
        // A run of which nothing is left has only to be told so.
        let has_work = step.after.run_counts(run.id).unfinished() > 0;
        if run.cancelling || run.state.is_terminal() || !has_work {
            self.runs.remove(&run.id);
        }
        Ok(())
    }

    fn on_task(&mut self, task: &Task, step: &Step, now: Served) -> Verdict {
        let due = self.due.remove(&task.id).map(|due| due.at);
        let timeout = spec_of(&step.after, task.id).and_then(|spec| spec.queued_timeout_ms);
        match (&task.state, timeout) {
            (TaskState::Ready, Some(timeout)) => {
                self.due.insert(task.id, Due::after(now, timeout));
                Ok(())
            }
            (TaskState::Failed(FailReason::Queued), _) if due.is_none_or(|due| now < due) => {
                Err(format!("{} failed in the queue at served time {now:?}, due {due:?}", task_name(task.id)))
            }
            _ => Ok(()),
        }
    }
}
