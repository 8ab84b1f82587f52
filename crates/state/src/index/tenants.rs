//! What each namespace holds, with all below it.

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use crate::namespace::NAMESPACES_DEEP_MAX;
use crate::{Namespace, NamespaceRow, Resources, Run, Task, TaskState};

/// The namespaces, as far as rows of them or of their tasks have been seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tenants(Map<Namespace, Tenant>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tenant {
    parent: Option<Namespace>,
    children: Set<Namespace>,
    /// By its own tasks.
    held: Resources,
    /// By its own attempts that run and that nobody has asked to stop, by the priority of their runs.
    unstopped: Map<u8, Resources>,
    below: Sums,
}

/// Of a namespace and all below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    held: Resources,
    past: Resources,
}

impl Sums {
    fn more(self, other: Self) -> Self {
        Self { held: self.held.saturating_add(other.held), past: self.past.saturating_add(other.past) }
    }

    fn less(self, other: Self) -> Self {
        Self { held: self.held.saturating_sub(other.held), past: self.past.saturating_sub(other.past) }
    }
}

impl Tenants {
    /// Rows may come in any order: a parent that was not seen yet is there from then on.
    pub(crate) fn on_namespace(&mut self, old: Option<&NamespaceRow>, new: &NamespaceRow) {
        let (old_parent, parent) = (old.and_then(|old| old.share.parent.clone()), new.share.parent.clone());
        if old_parent != parent {
            let sums = self.get(&new.name).below;
            if let Some(old_parent) = old_parent {
                self.on_lineage(&old_parent, |sum| sum.less(sums));
                self.change(&old_parent, |tenant| {
                    tenant.children.remove_mut(&new.name);
                });
            }
            if let Some(parent) = &parent {
                self.on_lineage(parent, |sum| sum.more(sums));
                self.change(parent, |tenant| tenant.children.insert_mut(new.name.clone()));
            }
        }
        self.change(&new.name, |tenant| tenant.parent = parent);
        let was = Sums { past: old.map_or(Resources::ZERO, |old| old.past.held), ..Sums::default() };
        let is = Sums { past: new.past.held, ..Sums::default() };
        if was != is {
            self.on_lineage(&new.name, |sum| sum.less(was).more(is));
        }
    }

    /// A task of `run` has moved.
    pub(crate) fn on_task(&mut self, run: &Run, old: Option<&Task>, new: &Task) {
        // A run of another job holds nothing: its tasks do.
        let spec = run.spec.tasks.get(new.id.step as usize).filter(|spec| spec.sub_run.is_none());
        let Some(spec) = spec else { return };
        // What its newest attempt takes.
        let held = |task: &Task| Sums { held: spec.resources_of(task.choice), ..Sums::default() };
        let (was, is) = (old.filter(|old| holds(old)).map(held), Some(new).filter(|new| holds(new)).map(held));
        if was == is {
            return;
        }
        let (was, is) = (was.unwrap_or_default(), is.unwrap_or_default());
        let namespace = &run.spec.namespace;
        self.on_lineage(namespace, |sums| sums.less(was).more(is));
        self.change(namespace, |tenant| {
            tenant.held = tenant.held.saturating_sub(was.held).saturating_add(is.held);
        });
    }

    /// Attempts of a run that have so much together are unstopped at this priority, or are not any more.
    pub(crate) fn on_unstopped(&mut self, namespace: &Namespace, priority: u8, resources: Resources, is: bool) {
        if resources == Resources::ZERO {
            return;
        }
        self.change(namespace, |tenant| {
            let held = tenant.unstopped.get(&priority).copied().unwrap_or_default();
            match if is { held.saturating_add(resources) } else { held.saturating_sub(resources) } {
                Resources::ZERO => {
                    tenant.unstopped.remove_mut(&priority);
                }
                left => tenant.unstopped.insert_mut(priority, left),
            }
        });
    }

    /// What the attempts of a namespace itself have that nobody has asked to stop, by priority.
    pub(crate) fn unstopped(&self, namespace: &Namespace) -> impl Iterator<Item = (u8, Resources)> {
        let of = self.0.get(namespace).into_iter().flat_map(|tenant| tenant.unstopped.iter());
        of.map(|(priority, held)| (*priority, *held))
    }

    pub(crate) fn children(&self, namespace: &Namespace) -> impl Iterator<Item = &Namespace> {
        self.0.get(namespace).into_iter().flat_map(|tenant| tenant.children.iter())
    }

    pub(crate) fn held(&self, namespace: &Namespace) -> Resources {
        self.0.get(namespace).map_or(Resources::ZERO, |tenant| tenant.held)
    }

    pub(crate) fn held_below(&self, namespace: &Namespace) -> Resources {
        self.0.get(namespace).map_or(Resources::ZERO, |tenant| tenant.below.held)
    }

    pub(crate) fn past_below(&self, namespace: &Namespace) -> Resources {
        self.0.get(namespace).map_or(Resources::ZERO, |tenant| tenant.below.past)
    }

    /// Changes the sums of a namespace and of those above it.
    fn on_lineage(&mut self, namespace: &Namespace, by: impl Fn(Sums) -> Sums) {
        let mut next = Some(namespace.clone());
        // While rows are read in any order, a lineage is never longer than it will be.
        for _ in 0..NAMESPACES_DEEP_MAX {
            let Some(name) = next else { return };
            self.change(&name, |tenant| tenant.below = by(tenant.below));
            next = self.0.get(&name).and_then(|tenant| tenant.parent.clone());
        }
    }

    fn get(&self, namespace: &Namespace) -> Tenant {
        self.0.get(namespace).cloned().unwrap_or_default()
    }

    fn change(&mut self, namespace: &Namespace, by: impl FnOnce(&mut Tenant)) {
        if let Some(tenant) = self.0.get_mut(namespace) {
            return by(tenant);
        }
        let mut tenant = Tenant::default();
        by(&mut tenant);
        self.0.insert_mut(namespace.clone(), tenant);
    }
}

/// True while a task counts against the quota of its namespace: from its placement to its end, or until it is in the queue
/// again, whatever becomes of its copies.
fn holds(task: &Task) -> bool {
    matches!(task.state, TaskState::Placed | TaskState::Running)
}
