//! Where tasks may go whose job says what the loss of a region means: to which regions they are bound now, the best first.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_planted::Bug;
use quorate_state::{Bound, OnRegionLoss, Place, RegionName, Served, State, TaskSpec};

/// What is known of the shapes met in a plan that have a home, by the number of their line.
#[derive(Default)]
pub(super) struct Bounds(BTreeMap<usize, Arc<Within>>);

/// Where the tasks of a shape may go.
pub(super) struct Within {
    /// Such a task, which may go to any region that it is bound to.
    pub(super) all: TaskSpec,
    /// The same for each of those regions, the best first, to which alone it may go; one if it is bound to none.
    pub(super) each: Vec<TaskSpec>,
    /// When it may go elsewhere, if time alone brings that.
    pub(super) leaves: Option<Served>,
}

impl Bounds {
    /// Where the tasks of a shape may go that ran in `home`, and of which `task` is one.
    pub(super) fn within(
        &mut self,
        shape: usize,
        task: &TaskSpec,
        home: &RegionName,
        (view, served): (&State, Served),
    ) -> Arc<Within> {
        let within = || Arc::new(Within::of(task, view.bound(Some(home), task, served)));
        self.0.entry(shape).or_insert_with(within).clone()
    }
}

impl Within {
    fn of(task: &TaskSpec, bound: Bound<'_>) -> Self {
        let leaves = if let Bound::Home { leaves, .. } = bound { leaves } else { None };
        let is_forgotten = matches!(bound, Bound::Home { leaves: None, .. }) && quorate_planted::is(Bug::StayForgotten);
        if is_forgotten && task.on_region_loss == Some(OnRegionLoss::Stay) {
            return Self { all: task.clone(), each: Vec::new(), leaves };
        }
        let Some(regions) = bound.regions() else {
            return Self { all: task.clone(), each: vec![task.clone()], leaves };
        };
        let each = regions.iter().map(|region| bound_to(task, std::slice::from_ref(region))).collect();
        Self { all: bound_to(task, regions), each, leaves }
    }
}

/// A task that may go to these regions alone, which its place allows.
pub(crate) fn bound_to(task: &TaskSpec, regions: &[RegionName]) -> TaskSpec {
    TaskSpec { place: Place { regions: regions.to_vec(), ..task.place.clone() }, ..task.clone() }
}
