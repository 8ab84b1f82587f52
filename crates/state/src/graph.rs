//! Who waits for whom in a job, by position.

use std::collections::BTreeMap;

use crate::{JobSpec, Role, TaskName};

/// Who waits for whom: computed once per run, never stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    needs: Vec<Vec<u32>>,
    dependents: Vec<Vec<u32>>,
    /// Of a job in which a task has another role than work; empty otherwise.
    flow: Option<Box<Flow>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Flow {
    /// By step: those that it stands in for, those that stand in for it, what undoes it, and what it undoes.
    stands_for: Vec<Vec<u32>>,
    fallbacks: Vec<Vec<u32>>,
    undone_by: Vec<Option<u32>>,
    undoes: Vec<Option<u32>>,
    /// The steps that are not part of the work, in order.
    after: Vec<u32>,
    /// Whether a step is one of them.
    is_after: Vec<bool>,
}

impl Graph {
    /// The graph of a spec. A name that no task has is left out; `JobSpec::check` refuses it.
    pub fn of(spec: &JobSpec) -> Self {
        let positions: BTreeMap<_, _> = spec.tasks.iter().zip(0_u32..).map(|(task, at)| (&task.name, at)).collect();
        let place = |name: &TaskName| positions.get(name).copied();
        let needs: Vec<Vec<u32>> =
            spec.tasks.iter().map(|task| task.needs.iter().filter_map(place).collect()).collect();
        let dependents = turned(&needs);
        let has_roles = spec.tasks.iter().any(|task| task.role != Role::Work);
        let flow = has_roles.then(|| {
            let stands_for: Vec<Vec<u32>> = spec
                .tasks
                .iter()
                .map(|task| match &task.role {
                    Role::Fallback { of } => of.iter().filter_map(place).collect(),
                    Role::Work | Role::Undo { .. } | Role::Finally => Vec::new(),
                })
                .collect();
            let undoes: Vec<Option<u32>> = spec
                .tasks
                .iter()
                .map(|task| match &task.role {
                    Role::Undo { of } => place(of),
                    Role::Work | Role::Fallback { .. } | Role::Finally => None,
                })
                .collect();
            let mut undone_by = vec![None; undoes.len()];
            for (step, undone) in (0_u32..).zip(&undoes) {
                if let Some(by) = undone.and_then(|undone| undone_by.get_mut(undone as usize)) {
                    *by = Some(step);
                }
            }
            let is_after: Vec<bool> = spec.tasks.iter().map(|task| task.role.is_after()).collect();
            let after = (0_u32..).zip(&is_after).filter(|(_, after)| **after).map(|(step, _)| step).collect();
            Box::new(Flow { fallbacks: turned(&stands_for), stands_for, undone_by, undoes, after, is_after })
        });
        Self { needs, dependents, flow }
    }

    /// How many steps.
    pub fn steps(&self) -> u32 {
        u32::try_from(self.needs.len()).unwrap_or(u32::MAX)
    }

    /// Positions of what a step needs.
    pub fn needs(&self, step: u32) -> &[u32] {
        at(&self.needs, step)
    }

    /// Positions of what needs a step.
    pub fn dependents(&self, step: u32) -> &[u32] {
        at(&self.dependents, step)
    }

    /// Positions of those for which a step stands in when they fail.
    pub fn stands_for(&self, step: u32) -> &[u32] {
        self.flow.as_deref().map_or(&[], |flow| at(&flow.stands_for, step))
    }

    /// Positions of those that stand in for a step when it fails.
    pub fn fallbacks(&self, step: u32) -> &[u32] {
        self.flow.as_deref().map_or(&[], |flow| at(&flow.fallbacks, step))
    }

    /// The step whose elements undo those of this one.
    pub fn undone_by(&self, step: u32) -> Option<u32> {
        self.flow.as_deref().and_then(|flow| flow.undone_by.get(step as usize).copied().flatten())
    }

    /// The step whose elements those of this one undo.
    pub fn undoes(&self, step: u32) -> Option<u32> {
        self.flow.as_deref().and_then(|flow| flow.undoes.get(step as usize).copied().flatten())
    }

    /// True of a step that is not part of the work: it undoes some of it, or comes at its end in any case.
    pub fn is_after(&self, step: u32) -> bool {
        self.flow.as_deref().is_some_and(|flow| flow.is_after.get(step as usize).copied().unwrap_or(false))
    }

    /// The steps that are not part of the work, in order.
    pub fn after(&self) -> &[u32] {
        self.flow.as_deref().map_or(&[], |flow| &flow.after)
    }
}

impl Role {
    /// True of what is not part of the work of a run, but comes after it.
    pub fn is_after(&self) -> bool {
        match self {
            Self::Work | Self::Fallback { .. } => false,
            Self::Undo { .. } | Self::Finally => true,
        }
    }
}

fn at(lists: &[Vec<u32>], step: u32) -> &[u32] {
    lists.get(step as usize).map_or(&[], Vec::as_slice)
}

/// By position: the lists in which it stands.
fn turned(lists: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let mut turned = vec![Vec::new(); lists.len()];
    for (step, list) in (0_u32..).zip(lists) {
        for place in list {
            if let Some(list) = turned.get_mut(*place as usize) {
                list.push(step);
            }
        }
    }
    turned
}
