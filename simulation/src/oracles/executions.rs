//! What runs where, by the executors' own records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::{AttemptId, GpuHold, NodeName, RunId, TaskId, Token};

use crate::facts::{Execution, Fact, Happening};

/// All that runs, and which agents are there.
#[derive(Default)]
pub(super) struct Executions {
    /// A copy that should not be there has its place beside the right one.
    alive: BTreeMap<AttemptId, Vec<Alive>>,
    agents: BTreeSet<NodeName>,
}

/// One execution between its first and its last instruction.
#[derive(Clone, Debug)]
pub(super) struct Alive {
    pub(super) attempt: AttemptId,
    pub(super) node: NodeName,
    pub(super) token: Token,
    pub(super) started: Duration,
    /// The devices that it was told to use.
    pub(super) gpus: GpuHold,
}

impl Executions {
    /// Takes in what happened.
    pub(super) fn take(&mut self, at: Duration, fact: &Fact) {
        match fact {
            Fact::Execution(Execution { node, attempt, token, what, gpus, .. }) => match what {
                Happening::Started => {
                    let (node, token) = (node.clone(), *token);
                    let alive = Alive { attempt: *attempt, node, token, started: at, gpus: *gpus };
                    self.alive.entry(*attempt).or_default().push(alive);
                }
                Happening::Asked | Happening::Killed => {}
                Happening::Ended { .. } => self.end(|alive| alive.attempt == *attempt && alive.node == *node),
            },
            Fact::AgentStarted { node, .. } => {
                self.agents.insert(node.clone());
            }
            Fact::AgentGone { node } => {
                self.agents.remove(node);
                self.end(|alive| alive.node == *node);
            }
            Fact::AgentStopped { node, .. } => {
                self.agents.remove(node);
            }
            _ => {}
        }
    }

    fn end(&mut self, which: impl Fn(&Alive) -> bool) {
        self.alive.retain(|_, copies| {
            copies.retain(|alive| !which(alive));
            !copies.is_empty()
        });
    }

    /// Everything that runs.
    pub(super) fn all(&self) -> impl Iterator<Item = &Alive> {
        self.alive.values().flatten()
    }

    /// What runs of a task.
    pub(super) fn of_task(&self, task: TaskId) -> impl Iterator<Item = &Alive> {
        let range = AttemptId { task, number: 0 }..=AttemptId { task, number: u32::MAX };
        self.alive.range(range).flat_map(|(_, copies)| copies)
    }

    /// What runs of a run.
    pub(super) fn of_run(&self, run: RunId) -> impl Iterator<Item = &Alive> {
        let first = AttemptId { task: TaskId { run, step: 0, index: 0 }, number: 0 };
        let last = AttemptId { task: TaskId { run, step: u32::MAX, index: u32::MAX }, number: u32::MAX };
        self.alive.range(first..=last).flat_map(|(_, copies)| copies)
    }

    /// What runs of an attempt on a node, if anything does.
    pub(super) fn of_attempt(&self, attempt: AttemptId, node: &NodeName) -> Option<&Alive> {
        self.alive.get(&attempt)?.iter().find(|alive| alive.node == *node)
    }

    /// True when the agent of a node is there.
    pub(super) fn has_agent(&self, node: &NodeName) -> bool {
        self.agents.contains(node)
    }
}
