//! Namespaces that stand below one another, and hold no more than they may.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_state::{
    Amounts, Command, Feature, Namespace, Rejection, Reply, Resource, Resources, ShareChange, State, TaskState,
};

use crate::{World, name};

/// What a history says of a namespace.
#[derive(Clone, Debug)]
pub(super) struct Said {
    namespace: usize,
    parent: Option<Option<usize>>,
    weight: Option<u32>,
    guaranteed: Option<Option<u64>>,
    maximum: Option<Option<u64>>,
    /// The node of the tree is sampled instead.
    sample: bool,
}

pub(super) fn said() -> impl Strategy<Value = Said> {
    let amount = || proptest::option::of(proptest::option::of(0..2_000_u64));
    // Mostly below the last, or none.
    let parent = proptest::option::of(prop_oneof![Just(None), Just(Some(4)), (0..NAMES.len()).prop_map(Some)]);
    (0..NAMES.len(), parent, proptest::option::of(0..5_u32), amount(), amount(), prop::bool::weighted(0.3)).prop_map(
        |(namespace, parent, weight, guaranteed, maximum, sample)| Said {
            namespace,
            parent,
            weight,
            guaranteed,
            maximum,
            sample,
        },
    )
}

/// The first three are there from the beginning.
const NAMES: [&str; 5] = ["acme", "beta", "gamma", "delta", "above"];

impl World {
    pub(super) fn make_namespaces(&mut self) {
        for namespace in &NAMES[..3] {
            self.run(None, Command::CreateNamespace { namespace: name(namespace) }).unwrap();
        }
    }

    /// Both namespaces with jobs stand below one that may hold less than their tasks would.
    pub(super) fn plant_tree(&mut self) {
        let said = |namespace, parent, maximum| Said {
            namespace,
            parent: Some(parent),
            weight: None,
            guaranteed: None,
            maximum: Some(maximum),
            sample: false,
        };
        for one in [said(4, None, Some(1_300)), said(0, Some(4), None), said(1, Some(4), None)] {
            self.say(&one);
        }
    }

    pub(super) fn say(&mut self, said: &Said) {
        let namespace: Namespace = name(NAMES[said.namespace]);
        let before = self.state.clone();
        if said.sample {
            let result = self.run(None, Command::SampleUse { namespaces: vec![namespace] });
            assert_eq!(result.is_ok(), before.has_feature(Feature::FairShare), "{result:?}");
            return;
        }
        let amounts = |cpu_milli: Option<u64>| Amounts { cpu_milli, ..Amounts::default() };
        let change = ShareChange {
            parent: said.parent.map(|parent| parent.map(|parent| name(NAMES[parent]))),
            weight: said.weight,
            guaranteed: said.guaranteed.map(amounts),
            maximum: said.maximum.map(amounts),
        };
        let is_new = !before.has_namespace(&namespace);
        let command = Command::SetNamespace { namespace: namespace.clone(), is_new, change: Box::new(change.clone()) };
        match self.run(None, command) {
            Ok(reply) => {
                assert_eq!(reply, Reply::Done);
                let row = self.state.namespace(&namespace).unwrap();
                let old = before.namespace(&namespace).map(|row| row.share.clone()).unwrap_or_default();
                assert_eq!(row.share, old.with(&change));
                // What is held stays, wherever it counts.
                assert_eq!(self.state.held_by(&namespace), before.held_by(&namespace));
            }
            Err(why) => {
                let may = matches!(why, Rejection::Invalid(_) | Rejection::UnknownNamespace(_));
                assert!(
                    may && before.has_feature(Feature::FairShare)
                        || why == Rejection::FeatureNotEnabled(Feature::FairShare),
                    "{why:?}"
                );
                assert!(before.namespaces().eq(self.state.namespaces()), "refused, and something has changed");
            }
        }
    }

    /// P5: what has been placed brought no namespace above its maximum that was not there before.
    pub(super) fn check_quota(&self, before: &State) {
        let (was, is) = (held(before), held(&self.state));
        for row in self.state.namespaces() {
            let of = |sums: &BTreeMap<Namespace, Resources>| sums.get(&row.name).copied().unwrap_or_default();
            for resource in Resource::ALL {
                let (was, is) = (resource.of(of(&was)), resource.of(of(&is)));
                let may = row.share.maximum.of(resource).is_none_or(|most| is <= most.max(was));
                assert!(may, "{} holds {is} {resource}, and held {was}: {:?}", row.name, row.share);
            }
        }
    }

    /// Nothing has a maximum any more.
    pub(super) fn lift_all(&mut self) {
        let names: Vec<Namespace> = self.state.namespaces().map(|row| row.name.clone()).collect();
        if !self.state.has_feature(Feature::FairShare) {
            return;
        }
        for namespace in names {
            let change = ShareChange { maximum: Some(Amounts::default()), ..ShareChange::default() };
            self.run(None, Command::SetNamespace { namespace, is_new: false, change: Box::new(change) }).unwrap();
        }
    }
}

/// What the tasks of each namespace hold that are placed or run, and of those below it, from the rows alone.
fn held(state: &State) -> BTreeMap<Namespace, Resources> {
    let mut sums: BTreeMap<Namespace, Resources> = BTreeMap::new();
    for run in state.runs_newest_first(None) {
        for task in state.tasks_of(run.id).filter(|task| matches!(task.state, TaskState::Placed | TaskState::Running)) {
            let spec = &run.spec.tasks[task.id.step as usize];
            let mut next = Some(run.spec.namespace.clone()).filter(|_| spec.sub_run.is_none());
            while let Some(namespace) = next {
                let sum = sums.entry(namespace.clone()).or_default();
                *sum = sum.checked_add(spec.resources_of(task.choice)).unwrap();
                next = state.namespace(&namespace).and_then(|row| row.share.parent.clone());
            }
        }
    }
    sums
}
