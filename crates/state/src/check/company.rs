//! What must hold of rules about other tasks: on no node is one too many, or one too near.

use std::collections::BTreeMap;

use crate::{AttemptId, Feature, GroupName, Namespace, NodeName, RunId, State, Topology};

type Place<'a> = (&'a NodeName, &'a Namespace, &'a GroupName);

impl State {
    /// Only single nodes are looked at: what a node says of where it lies changes with its lease, and what it holds by then may stay.
    pub(super) fn check_company(&self, broken: &mut Vec<String>) {
        let run = self.runs.values().find(|run| run.spec.has_company());
        if let Some(run) = run.filter(|_| !self.has_feature(Feature::SpreadRules)) {
            let feature = Feature::SpreadRules;
            broken.push(format!("run {} has rules about other tasks, and feature {feature} is not enabled", run.id));
        }
        let mut own: BTreeMap<(RunId, u32, &NodeName), u32> = BTreeMap::new();
        let mut groups: BTreeMap<Place<'_>, Vec<AttemptId>> = BTreeMap::new();
        let mut wary: Vec<(AttemptId, Place<'_>)> = Vec::new();
        for attempt in self.attempts.values().filter(|attempt| attempt.holds_resources()) {
            let task = attempt.id.task;
            let Some(run) = self.runs.get(&task.run) else { continue };
            let Some(spec) = run.spec.tasks.get(task.step as usize) else { continue };
            let company = &spec.place.company;
            let place = |group| (&attempt.node, &run.spec.namespace, group);
            if let Some(group) = &company.group {
                groups.entry(place(group)).or_default().push(attempt.id);
            }
            let by_node = company.apart.iter().filter(|apart| apart.per == Topology::Node);
            wary.extend(by_node.map(|apart| (attempt.id, place(&apart.from))));
            let count = own.entry((task.run, task.step, &attempt.node)).or_default();
            *count += 1;
            let over = company.at_most.iter().find(|rule| rule.per == Topology::Node && *count > rule.tasks);
            if let Some(rule) = over {
                let (node, most) = (&attempt.node, rule.tasks);
                broken.push(format!("{:?} is on node {node} with more than {most} of its step", attempt.id));
            }
        }
        for (attempt, place) in wary {
            let other = groups.get(&place).into_iter().flatten().find(|other| **other != attempt);
            if let Some(other) = other {
                broken.push(format!("{attempt:?} stays apart from {}, and {other:?} is on its node", place.2));
            }
        }
    }
}
