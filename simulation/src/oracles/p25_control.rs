//! P25: nothing of a run is placed while it is paused: not from the revision on at which that was said, until it is
//! resumed. The run's row says what was said of it, and of its priority. That a resumed run comes to its end is L4, that it is
//! served by its new priority is P11.
//!
//! Stands for schedulers in which a pause keeps new work out and lets retries and dependents through.

use std::collections::BTreeMap;

use quorate_state::{Change, Command, Item, Rejection, Reply, Revision, RunId};

use super::history::{attempt_name, placed};
use super::service::answered;
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Follows what was said of runs, by commands and their answers alone.
#[derive(Default)]
pub(crate) struct Control {
    /// Runs that are paused, and since which revision.
    paused: BTreeMap<RunId, Revision>,
    /// Runs whose priority was set.
    priorities: BTreeMap<RunId, u8>,
}

impl Oracle for Control {
    fn id(&self) -> &'static str {
        "P25"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        for (item, reply) in answered(step) {
            self.take(step, item, reply);
        }
        for attempt in placed(step) {
            // What shares an entry with the pause may come before it.
            let since = self.paused.get(&attempt.id.task.run).filter(|since| **since < step.revision);
            if let Some(since) = since {
                let name = attempt_name(attempt.id);
                return Err(format!("{name} was placed, its run is paused since revision {since}"));
            }
        }
        for change in &step.changes {
            let Change::Run(row) = change else { continue };
            // Only the last row of the step counts.
            let Some(row) = step.after.run(row.id).filter(|_| step.entry.is_some()) else { continue };
            // A run within another begins with the priority of that: P29.
            if let Some(priority) =
                row.priority_set.filter(|_| row.parent.is_some() && step.before.run(row.id).is_none())
            {
                self.priorities.entry(row.id).or_insert(priority);
            }
            if row.state.is_terminal() {
                self.paused.remove(&row.id);
            }
            let (is_paused, priority) = (self.paused.contains_key(&row.id), self.priorities.get(&row.id).copied());
            if row.paused.is_some() != is_paused || row.priority_set != priority {
                let (run, paused, set) = (row.id, &row.paused, row.priority_set);
                return Err(format!("run {run}: {paused:?}, {set:?}; what was said is {is_paused} and {priority:?}"));
            }
        }
        Ok(())
    }
}

impl Control {
    fn take(&mut self, step: &Step, item: &Item, reply: &Result<Reply, Rejection>) {
        // A request that was carried out before is answered with the revision of that.
        if !matches!(reply, Ok(Reply::Controlled { revision }) if *revision == step.revision) {
            return;
        }
        match &item.command {
            Command::PauseRun { run, .. } => {
                self.paused.entry(*run).or_insert(step.revision);
            }
            Command::ResumeRun { run } => {
                self.paused.remove(run);
            }
            Command::SetRunPriority { run, priority } => {
                let before = self.priorities.get(run).copied();
                let was = before.or_else(|| step.before.run(*run).map(|row| row.spec.priority));
                if was != Some(*priority) {
                    self.priorities.insert(*run, *priority);
                }
            }
            _ => {}
        }
    }
}
