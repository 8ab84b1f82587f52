//! P5: no placement takes a namespace above its maximum, nor one that it stands below.
//!
//! Stands for a plan that was made before the maximum was lowered, or beside another one.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::{Amounts, AttemptId, Change, Choice, Namespace, Resource, Resources, Task, TaskId, TaskState};

use super::history::{attempts, spec_of, takes, task_name};
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Keeps its own books of what every namespace may hold and holds.
#[derive(Default)]
pub(crate) struct Quota {
    namespaces: BTreeMap<Namespace, Terms>,
    /// Tasks that are placed or run: whose, and what they take.
    held: BTreeMap<TaskId, (Namespace, Resources)>,
}

#[derive(Default)]
struct Terms {
    parent: Option<Namespace>,
    maximum: Amounts,
}

impl Oracle for Quota {
    fn id(&self) -> &'static str {
        "P5"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        // One that comes back to a copy that its node has kept was not placed now.
        let placed: BTreeSet<TaskId> = attempts(step)
            .filter(|attempt| step.before.attempt(attempt.id).is_none())
            .map(|attempt| attempt.id.task)
            .collect();
        for change in &step.changes {
            match change {
                Change::Namespace(row) => {
                    let terms = Terms { parent: row.share.parent.clone(), maximum: row.share.maximum };
                    self.namespaces.insert(row.name.clone(), terms);
                }
                Change::Task(task) => self.on_task(task, step, placed.contains(&task.id))?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Quota {
    fn on_task(&mut self, task: &Task, step: &Step, is_placed: bool) -> Verdict {
        if !matches!(task.state, TaskState::Placed | TaskState::Running) {
            self.held.remove(&task.id);
            return Ok(());
        }
        let (Some(run), Some(spec)) = (step.after.run(task.id.run), spec_of(&step.after, task.id)) else {
            return Ok(());
        };
        if spec.sub_run.is_some() {
            return Ok(());
        }
        let whose = run.spec.namespace.clone();
        // What its newest attempt was given.
        let newest = AttemptId { task: task.id, number: task.attempts };
        let choice = step.after.attempt(newest).map_or(Choice::FIRST, |attempt| attempt.choice);
        let taken = takes(spec, choice).map_or(Resources::ZERO, |takes| takes.resources);
        let is_new = self.held.insert(task.id, (whose.clone(), taken)).is_none();
        if is_new && is_placed { self.check(task.id, &whose, taken) } else { Ok(()) }
    }

    /// What it asks for is within the maximum of its namespace and of all that this stands below.
    fn check(&self, task: TaskId, whose: &Namespace, asked: Resources) -> Verdict {
        for above in self.lineage(whose) {
            let Some(terms) = self.namespaces.get(above) else { continue };
            for resource in Resource::ALL.into_iter().filter(|resource| resource.of(asked) > 0) {
                let Some(most) = terms.maximum.of(resource) else { continue };
                let below = self.held.values().filter(|(namespace, _)| self.lineage(namespace).any(|one| one == above));
                let held: u64 = below.map(|(_, held)| resource.of(*held)).sum();
                if held > most {
                    let name = task_name(task);
                    return Err(format!(
                        "{name} takes namespace {above} to {held} of {resource}, and it may hold {most}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn lineage<'a>(&'a self, namespace: &'a Namespace) -> impl Iterator<Item = &'a Namespace> {
        let above = |namespace: &&'a Namespace| self.namespaces.get(*namespace)?.parent.as_ref();
        std::iter::successors(Some(namespace), above)
    }
}
