//! What must hold of namespaces: a tree within its limits, sums that are true, and no more held than was ever allowed.

use std::collections::BTreeMap;

use crate::{
    Feature, NAMESPACE_CHILDREN_MAX, NAMESPACES_DEEP_MAX, Namespace, NamespaceRow, Resource, Resources, Share, State,
    TaskState,
};

impl State {
    pub(super) fn check_namespaces(&self, broken: &mut Vec<String>) {
        for row in self.namespaces.values() {
            self.check_place(row, broken);
            broken.extend(row.share.violations().into_iter().map(|flaw| format!("namespace {}: {flaw:?}", row.name)));
            let is_used = row.share != Share::default() || !row.past.is_none();
            if is_used && !self.has_feature(Feature::FairShare) {
                broken.push(format!("namespace {} has a share before feature {}", row.name, Feature::FairShare));
            }
        }
        let is_set = self.settings.as_ref().is_some_and(|settings| settings.fairness.is_some());
        let was_kept = self.tasks.values().any(|task| task.ready_since.is_some());
        if (is_set || was_kept) && !self.has_feature(Feature::FairShare) {
            broken.push(format!("there is fairness, and feature {} is not enabled", Feature::FairShare));
        }
        if let Some(task) =
            self.tasks.values().find(|task| task.ready_since.is_some() && task.state != TaskState::Ready)
        {
            broken.push(format!("task {:?} is {:?} and ready since {:?}", task.id, task.state, task.ready_since));
        }
        self.check_held(broken);
    }

    /// It stands in a tree, with its guarantee within that of its parent.
    fn check_place(&self, row: &NamespaceRow, broken: &mut Vec<String>) {
        let lineage: Vec<_> = self.lineage(&row.name).collect();
        let is_rooted = lineage.last().is_some_and(|last| last.share.parent.is_none());
        if !is_rooted || lineage.len() > NAMESPACES_DEEP_MAX {
            broken.push(format!("namespace {} is in no tree, or too deep in one", row.name));
        }
        let children: Vec<_> = self.namespaces_below(&row.name).collect();
        let rows = self.namespaces.values().filter(|other| other.share.parent.as_ref() == Some(&row.name));
        if !children.iter().map(|child| &child.name).eq(rows.map(|child| &child.name)) {
            broken.push(format!("the index has other namespaces below {} than the table", row.name));
        }
        if children.len() > NAMESPACE_CHILDREN_MAX {
            broken.push(format!("there are {} namespaces below {}", children.len(), row.name));
        }
        for resource in Resource::ALL {
            let below: u64 = children.iter().filter_map(|child| child.share.guaranteed.of(resource)).sum();
            if below > row.share.guaranteed.of(resource).unwrap_or(0) {
                broken.push(format!("more {resource} is guaranteed below namespace {} than to it", row.name));
            }
        }
    }

    /// P5: what namespaces hold is what their tasks do that are placed or run.
    fn check_held(&self, broken: &mut Vec<String>) {
        let mut sums: BTreeMap<&Namespace, Resources> = BTreeMap::new();
        for task in self.tasks.values().filter(|task| matches!(task.state, TaskState::Placed | TaskState::Running)) {
            let Some(run) = self.runs.get(&task.id.run) else { continue };
            let Some(spec) = run.spec.tasks.get(task.id.step as usize).filter(|spec| spec.sub_run.is_none()) else {
                continue;
            };
            for row in self.lineage(&run.spec.namespace) {
                let sum = sums.entry(&row.name).or_default();
                *sum = sum.saturating_add(spec.resources_of(task.choice));
            }
        }
        for row in self.namespaces.values() {
            let held = sums.get(&row.name).copied().unwrap_or_default();
            if held != self.held_below(&row.name) {
                let told = self.held_below(&row.name);
                broken.push(format!("namespace {} holds {held:?}, its index says {told:?}", row.name));
            }
        }
    }
}
