//! How oracles read a step of the history: rows alone, never an index.

use std::collections::BTreeSet;

use quorate_state::{
    Attempt, AttemptId, Change, Choice, GpuModel, NodeName, OnNodeLoss, Resources, State, TaskId, TaskSpec,
};

use crate::ledger::Step;
use crate::scenario::{AgentPlan, RackPlan, Scenario};

/// Attempts that a step placed, each as it was placed.
pub(super) fn placed(step: &Step) -> Vec<&Attempt> {
    let mut seen = BTreeSet::new();
    attempts(step).filter(|attempt| step.before.attempt(attempt.id).is_none() && seen.insert(attempt.id)).collect()
}

/// Rows of attempts that a step wrote, in order.
pub(super) fn attempts(step: &Step) -> impl Iterator<Item = &Attempt> {
    step.changes.iter().filter_map(|change| match change {
        Change::Attempt(attempt) => Some(&**attempt),
        _ => None,
    })
}

/// What the job says of a task.
pub(super) fn spec_of(state: &State, task: TaskId) -> Option<&TaskSpec> {
    state.run(task.run)?.spec.tasks.get(task.step as usize)
}

/// What one element of a task takes by one of its alternatives.
pub(super) struct Takes<'a> {
    pub(super) resources: Resources,
    pub(super) gpu_models: &'a [GpuModel],
}

/// What the job says of an alternative, if it has that.
pub(super) fn takes(spec: &TaskSpec, choice: Choice) -> Option<Takes<'_>> {
    match choice.number() as usize {
        0 => Some(Takes { resources: spec.resources, gpu_models: &spec.gpu_models }),
        other => {
            let other = spec.alternatives.get(other - 1)?;
            Some(Takes { resources: other.resources, gpu_models: &other.gpu_models })
        }
    }
}

/// What a task's job was promised.
pub(super) fn promise_of(state: &State, task: TaskId) -> Option<OnNodeLoss> {
    spec_of(state, task).map(|spec| spec.on_node_loss)
}

/// A node as it was planned, and the machine that it shares.
pub(super) fn plan_of<'a>(scenario: &'a Scenario, node: &NodeName) -> Option<(&'a RackPlan, &'a AgentPlan)> {
    let agents = scenario.racks.iter().flat_map(|rack| rack.agents.iter().map(move |agent| (rack, agent)));
    agents.into_iter().find(|(_, agent)| agent.node == node.as_str())
}

/// A task, for people.
pub(super) fn task_name(task: TaskId) -> String {
    format!("task {}/{}[{}]", task.run, task.step, task.index)
}

/// An attempt, for people.
pub(super) fn attempt_name(attempt: AttemptId) -> String {
    format!("attempt {} of {}", attempt.number, task_name(attempt.task))
}
