//! How good what tasks are told of their beginnings is: what each was told first, beside when it was placed.

use std::collections::BTreeMap;

use quorate_state::{Served, TaskId};

use super::Plan;

/// Tasks that were told something and still wait, at most; others are not counted.
pub const PROMISES_MAX: usize = 1_024;

/// What tasks were told, and what came of it since this leader leads.
///
/// **Invariant:** it never decides: a new leader counts from nothing.
#[derive(Debug, Default)]
pub(super) struct Promises {
    told: BTreeMap<TaskId, Served>,
    in_time: u64,
    late: u64,
    early_ms: u64,
    late_ms: u64,
}

impl Promises {
    /// Takes in a plan that was made at `now`.
    pub(super) fn take(&mut self, plan: &Plan, now: Served) {
        // Of a gang the first member was told for all.
        for placed in plan.all_placements() {
            let Some(by) = self.told.remove(&placed.task) else { continue };
            if now <= by {
                self.in_time += 1;
                self.early_ms += by.0 - now.0;
            } else {
                self.late += 1;
                self.late_ms += now.0 - by.0;
            }
        }
        for waits in &plan.explanations {
            if let Some(expected) = &waits.expected
                && (self.told.len() < PROMISES_MAX || self.told.contains_key(&waits.first))
            {
                self.told.entry(waits.first).or_insert(expected.by);
            }
        }
    }

    /// Forgets tasks that do not wait any more, when there are very many.
    pub(super) fn forget(&mut self, waits: impl Fn(TaskId) -> bool) {
        if self.told.len() >= PROMISES_MAX {
            self.told.retain(|task, _| waits(*task));
        }
    }

    /// For metrics; all since this leader leads.
    pub(super) fn counts(&self) -> [(&'static str, u64); 4] {
        let Self { told: _, in_time, late, early_ms, late_ms } = self;
        [
            ("starts_in_time", *in_time),
            ("starts_late", *late),
            ("starts_early_ms", *early_ms),
            ("starts_late_ms", *late_ms),
        ]
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::{Choice, Epoch, GpuHold, Placement, RunId};

    use super::super::{Expected, ShapeWaits};
    use super::*;
    use crate::explain::Checks;

    fn task(run: u64) -> TaskId {
        TaskId { run: RunId(run), step: 0, index: 0 }
    }

    fn waits(run: u64, by: u64) -> Plan {
        let expected = Some(Expected { node: "a".parse().unwrap(), others: Vec::new(), by: Served(by) });
        let (first, checks) = (task(run), Checks::default());
        let waits = ShapeWaits { first, tasks: 1, over_quota: None, would_delay: false, expected, checks };
        Plan { explanations: vec![waits], ..Plan::default() }
    }

    fn placed(run: u64) -> Plan {
        let (node, gpus) = ("a".parse().unwrap(), GpuHold::NONE);
        let placement =
            Placement { task: task(run), generation: 0, node, epoch: Epoch(1), gpus, choice: Choice::FIRST };
        Plan { placements: vec![placement], ..Plan::default() }
    }

    #[test]
    fn what_a_task_was_told_first_is_what_counts() {
        let mut promises = Promises::default();
        promises.take(&waits(1, 500), Served(100));
        promises.take(&waits(1, 400), Served(200));
        promises.take(&waits(2, 300), Served(200));
        promises.take(&placed(1), Served(350));
        promises.take(&placed(2), Served(350));
        promises.take(&placed(3), Served(350));
        let told = [("starts_in_time", 1), ("starts_late", 1), ("starts_early_ms", 150), ("starts_late_ms", 50)];
        assert_eq!(promises.counts(), told);
    }

    #[test]
    fn no_more_are_remembered_than_the_limit_says_until_some_of_them_wait_no_more() {
        let mut promises = Promises::default();
        (0..=PROMISES_MAX as u64).for_each(|run| promises.take(&waits(run, 500), Served(100)));
        assert_eq!(promises.told.len(), PROMISES_MAX);
        promises.forget(|task| task.run.0 % 2 == 0);
        assert_eq!(promises.told.len(), PROMISES_MAX / 2);
    }
}
