//! C6, where only a leader can break it: what the controllers decide follows from what they are given.
//! Asked twice, they say the same; the order of a hash map would show, since each has keys of its own. So would anything that
//! decides because it was remembered: who is asked the second time has never been asked before.

use quorate_scheduler::{Budget, Controller, Decision, LogNow, NodeObserved, Observed, controllers};
use quorate_state::{NodeStatus, State};

use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Planning is not cheap: one in so many revisions has to do.
const ASK_EVERY: u64 = 40;

/// Asks every controller, and one like it that knows nothing.
pub(crate) struct Plans {
    controllers: Vec<Box<dyn Controller + Send + Sync>>,
    /// The same, as they are in the beginning.
    fresh: fn() -> Vec<Box<dyn Controller + Send + Sync>>,
    asked: u64,
}

impl Default for Plans {
    fn default() -> Self {
        Self { controllers: controllers(), fresh: controllers, asked: 0 }
    }
}

impl Oracle for Plans {
    fn id(&self) -> &'static str {
        "C6"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        let is_due = step.revision.0 >= self.asked + ASK_EVERY;
        if !is_due || step.held.ready().next().is_none() {
            return Ok(());
        }
        self.asked = step.revision.0;
        self.ask(&step.held)
    }
}

impl Plans {
    fn ask(&mut self, view: &State) -> Verdict {
        let now = LogNow { served: view.meta().served, now: view.meta().now };
        let observed = all_heard(view);
        for (controller, fresh) in self.controllers.iter_mut().zip(&mut (self.fresh)()) {
            let one = controller.step(view, &observed, now, 1, Budget::default());
            let other = fresh.step(view, &observed, now, 1, Budget::default());
            // What it counts since it began is its own.
            let decided =
                |decision: &Decision| (decision.commands.clone(), decision.wake_at, decision.report.truncated);
            if decided(&one) != decided(&other) {
                return Err(format!(
                    "controller {} decides {:?} and then {:?} on revision {}",
                    controller.name(),
                    one.commands,
                    other.commands,
                    view.revision()
                ));
            }
        }
        Ok(())
    }
}

/// Every node that is up was heard of just now, and its lease has a whole term to go.
fn all_heard(view: &State) -> Observed {
    let served = view.meta().served;
    let up = view.nodes().filter(|node| node.status == NodeStatus::Up);
    let seen = up.map(|node| {
        let expires_at = Some(served.plus(node.lease.server_ms));
        let seen = NodeObserved { epoch: node.epoch, expires_at, reported_this_term: true, heard_ms_ago: 0 };
        (node.name.clone(), seen)
    });
    Observed { nodes: seen.collect(), ..Observed::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use quorate_state::{Command, Revision};

    use super::*;

    /// Says what it has to say in the order of a hash set.
    struct Leaky;

    impl Controller for Leaky {
        fn name(&self) -> &'static str {
            "leaky"
        }

        fn step(&mut self, _: &State, _: &Observed, _: LogNow, _: u64, _: Budget) -> Decision {
            let revisions: HashSet<u64> = (0..100).collect();
            let commands = revisions.into_iter().map(|below| Command::TrimEvents { below: Revision(below) });
            Decision { commands: commands.collect(), ..Decision::default() }
        }
    }

    #[test]
    fn an_order_that_leaks_from_a_hash_set_is_caught() {
        let mut plans = Plans { controllers: vec![Box::new(Leaky)], fresh: || vec![Box::new(Leaky)], asked: 0 };
        assert!(plans.ask(&State::default()).is_err());
        assert_eq!(Plans::default().ask(&State::default()), Ok(()));
    }
}
