//! The controller that proposes what is planned, and keeps the planner from one step to the next.

use quorate_state::{State, TaskState};

use super::claims::ClaimCounts;
use super::promises::Promises;
use super::{Planner, SEARCH_AGAIN_MS};
use crate::{Budget, Controller, Decision, LogNow, Observed};

/// Turns plans into commands.
#[derive(Default)]
pub(crate) struct PlacementController {
    planner: Planner,
    promises: Promises,
    claims: ClaimCounts,
}

impl Controller for PlacementController {
    fn name(&self) -> &'static str {
        "placement"
    }

    fn observes(&self, view: &State, _now: LogNow) -> bool {
        view.ready_count() > 0 || view.claims_count() > 0
    }

    fn step(&mut self, view: &State, observed: &Observed, now: LogNow, seed: u64, budget: Budget) -> Decision {
        let plan = self.planner.plan(view, observed, now, seed, budget);
        self.promises.take(&plan, now.served);
        self.claims.take(view, &plan);
        self.promises.forget(|task| view.task(task).is_some_and(|task| task.state == TaskState::Ready));
        let (wake_at, mut report) = (plan.wake_at, plan.report.clone());
        report.counts.extend(self.promises.counts());
        report.counts.extend(self.claims.counts());
        let commands = plan.into_commands();
        if commands.is_empty() {
            // Beside a hold that ends, only a change of the state brings room or work, but what was not
            // looked at may fit as it is.
            let again = report.truncated.then(|| now.served.plus(SEARCH_AGAIN_MS));
            let wake_at = wake_at.into_iter().chain(again).min();
            return Decision { commands, wake_at, report };
        }
        Decision { commands, wake_at, report }
    }
}
