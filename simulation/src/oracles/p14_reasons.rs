//! P14: an agent asks an execution to end, or kills it, only for a reason: the history wants that, or
//! the execution is fenced and the lease of its node may be over, or the agent itself ends. Losing the
//! control plane kills nothing else, and an old order nothing newer.
//!
//! Stands for clients that saw two leaders, and stopped what the newer one had just started.

use std::collections::VecDeque;
use std::time::Duration;

use quorate_state::{NodeName, NodeStatus, OnNodeLoss, State};

use super::calm::Calm;
use super::flow::is_to_end;
use super::history::attempt_name;
use super::{Known, Oracle, Verdict};
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;

/// An agent that fails takes what it runs along before anybody is told that it has ended.
const AGENT_ENDS: Duration = Duration::from_millis(100);

/// Looks at each end that an agent brought about.
#[derive(Default)]
pub(crate) struct Reasons {
    calm: Calm,
    /// Without a reason so far, unless the agent turns out to be ending.
    suspects: VecDeque<Suspect>,
    /// The newest.
    state: State,
}

struct Suspect {
    at: Duration,
    node: NodeName,
    what: String,
}

impl Oracle for Reasons {
    fn id(&self) -> &'static str {
        "P14"
    }

    fn fact(&mut self, at: Duration, fact: &Fact, known: &Known<'_>) -> Verdict {
        self.calm.take(at, fact, known);
        match fact {
            Fact::AgentGone { node } | Fact::AgentStopped { node, .. } => {
                self.suspects.retain(|suspect| suspect.node != *node);
            }
            Fact::Execution(execution) => {
                let verb = match execution.what {
                    Happening::Asked => "asked to end",
                    Happening::Killed => "killed",
                    Happening::Started | Happening::Ended { .. } => return self.convict(at),
                };
                if !self.has_reason(at, execution, known) {
                    let state = self.state.attempt(execution.attempt).map(|row| row.state);
                    let Execution { node, attempt, promise, .. } = execution;
                    let name = attempt_name(*attempt);
                    let what = format!(
                        "{name}, {promise:?}, was {verb} on {node} at {at:?} for no reason; the history says {state:?}"
                    );
                    self.suspects.push_back(Suspect { at, node: node.clone(), what });
                }
            }
            _ => {}
        }
        self.convict(at)
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        self.state = step.after.clone();
        self.convict(step.at)
    }

    fn end(&mut self, _: Duration, _: &Known<'_>) -> Verdict {
        self.convict(Duration::MAX)
    }
}

impl Reasons {
    fn has_reason(&self, at: Duration, execution: &Execution, known: &Known<'_>) -> bool {
        let Execution { node, attempt, token, promise, .. } = execution;
        let Some(row) = self.state.attempt(*attempt).filter(|row| row.node == *node && row.token == *token) else {
            return true;
        };
        let cancelled = self.state.run(attempt.task.run).is_none_or(|run| is_to_end(run, attempt.task.step));
        if row.stop.is_some() || row.state.is_terminal() || cancelled {
            return true;
        }
        // Only its agent knows when its own lease ended: when anything was wrong lately, it may have.
        let lease = self.state.node(node).filter(|node| node.epoch == row.epoch && node.status == NodeStatus::Up);
        *promise == OnNodeLoss::Fenced && (lease.is_none() || !self.calm.reigns(at, known))
    }

    /// Those whose agent has not ended meanwhile.
    fn convict(&self, now: Duration) -> Verdict {
        match self.suspects.front() {
            Some(suspect) if suspect.at + AGENT_ENDS < now => Err(suspect.what.clone()),
            Some(_) | None => Ok(()),
        }
    }
}
