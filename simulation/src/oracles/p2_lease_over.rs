//! P2: when the log ends a node's lease, nothing fenced runs there any more: the lease's terms leave the
//! agent time to notice and to kill before the leader may say so. And nothing fenced outlives the agent's
//! own term on a machine of which a quorum can have confirmed nothing since: nobody may have renewed its lease.
//!
//! Stronger than waiting for a second copy: most ends of a lease have none.

use std::time::Duration;

use quorate_state::{Event, OnNodeLoss, State};

use super::executions::Executions;
use super::history::{attempt_name, promise_of};
use super::{Known, Oracle, Verdict};
use crate::facts::Fact;
use crate::ledger::Step;

/// For the turns of an agent and of its executor, which come in steps of simulated time.
const SLACK: Duration = Duration::from_millis(100);

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

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        // First: what ends at this instant has run until then.
        self.check_silent(at, known)?;
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

impl LeaseOver {
    fn check_silent(&self, at: Duration, known: &Known<'_>) -> Verdict {
        let settings = &known.scenario.settings;
        let (term_ms, rho) = (settings.lease_agent_ms + settings.lease_kill_ms, u64::from(settings.lease_rho_ppm));
        let term = Duration::from_micros(term_ms * (1_000_000 + rho) / 1_000) + SLACK;
        let over = |since: &Option<Duration>| since.is_some_and(|since| at > since + term);
        for (rack, _) in known.silences.iter().enumerate().filter(|(_, since)| over(since)) {
            let agents = &known.scenario.racks[rack].agents;
            for alive in self.executions.all() {
                let here = agents.iter().any(|agent| agent.node == alive.node.as_str());
                let fenced = promise_of(&self.state, alive.attempt.task) == Some(OnNodeLoss::Fenced);
                if here && fenced && !known.fence_waived(&alive.node, alive.started, at) {
                    let name = attempt_name(alive.attempt);
                    return Err(format!(
                        "{name}, fenced, runs on {}, which has reached no quorum for {term:?}",
                        alive.node
                    ));
                }
            }
        }
        Ok(())
    }
}
