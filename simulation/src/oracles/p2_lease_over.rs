//! P2: when the log ends a node's lease, nothing fenced runs there any more: the lease's terms leave the
//! agent time to notice and to kill before the leader may say so.
//!
//! Stronger than waiting for a second copy: most ends of a lease have none.

use std::time::Duration;

use quorate_state::{Event, OnNodeLoss, State};

use super::executions::Executions;
use super::history::{attempt_name, promise_of};
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::Step;

/// Follows what runs until its lease ends.
#[derive(Default)]
pub(crate) struct LeaseOver {
    executions: Executions,
    state: State,
}

impl Oracle for LeaseOver {
    fn id(&self) -> &'static str {
        "P2"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        self.executions.take(at, fact);
        Ok(())
    }

    fn step(&mut self, step: &Step, known: &Known<'_>) -> Verdict {
        self.state = step.after.clone();
        for row in &step.events {
            let Event::NodeLost { node, epoch } = &row.event else { continue };
            for alive in self.executions.all().filter(|alive| alive.node == *node) {
                let fenced = promise_of(&self.state, alive.attempt.task) == Some(OnNodeLoss::Fenced);
                if fenced && !known.fence_waived(node, alive.started, step.at) {
                    let name = attempt_name(alive.attempt);
                    return Err(format!("{name}, fenced, runs on {node}, whose lease {epoch} the log has ended"));
                }
            }
        }
        Ok(())
    }
}
