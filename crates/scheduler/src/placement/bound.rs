//! What a task may take, and where it may go for that, the best first: its alternatives, and the regions that it is bound to now if its job says
//! what the loss of a region means.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_planted::Bug;
use quorate_state::{Bound, Choice, OnRegionLoss, OverQuota, Place, RegionName, Served, State, TaskSpec};

/// What is known of the shapes met in a plan that have a home or alternatives, by the number of their line.
#[derive(Default)]
pub(super) struct Bounds(BTreeMap<usize, Arc<Within>>);

/// Where the tasks of a shape may go.
pub(super) struct Within {
    /// Such a task by each of its alternatives, which may go to any region that it is bound to.
    pub(super) all: Vec<TaskSpec>,
    /// The same for each of those regions, to which alone it may go, by one alternative after the other: what it takes comes before
    /// where it is.
    each: Vec<TaskSpec>,
    /// When it may go elsewhere, if time alone brings that.
    pub(super) leaves: Option<Served>,
}

/// The ways in which a task may be placed, the best first.
#[derive(Clone, Copy)]
pub(super) struct Ways<'a> {
    tasks: &'a [TaskSpec],
    /// So many of them are of one alternative.
    per_choice: usize,
    /// Alternatives that are left out, a bit for each.
    closed: u32,
}

impl Bounds {
    /// Where the tasks of a shape may go that ran in `home`, and of which `task` is one.
    pub(super) fn within(
        &mut self,
        shape: usize,
        task: &TaskSpec,
        home: Option<&RegionName>,
        (view, served): (&State, Served),
    ) -> Arc<Within> {
        let within = || Arc::new(Within::of(task, view.bound(home, task, served)));
        self.0.entry(shape).or_insert_with(within).clone()
    }
}

impl Within {
    fn of(task: &TaskSpec, bound: Bound<'_>) -> Self {
        let leaves = if let Bound::Home { leaves, .. } = bound { leaves } else { None };
        let alternatives: Vec<TaskSpec> =
            task.choices().filter_map(|choice| task.chosen(choice)).map(|chosen| chosen.into_owned()).collect();
        let is_forgotten = matches!(bound, Bound::Home { leaves: None, .. }) && quorate_planted::is(Bug::StayForgotten);
        if is_forgotten && task.on_region_loss == Some(OnRegionLoss::Stay) {
            return Self { all: alternatives, each: Vec::new(), leaves };
        }
        let Some(regions) = bound.regions() else {
            return Self { each: alternatives.clone(), all: alternatives, leaves };
        };
        let in_each =
            |task: &TaskSpec| regions.iter().map(|region| bound_to(task, std::slice::from_ref(region))).collect();
        let each = alternatives.iter().flat_map(|task| -> Vec<TaskSpec> { in_each(task) }).collect();
        Self { all: alternatives.iter().map(|task| bound_to(task, regions)).collect(), each, leaves }
    }

    /// The ways to place such a task.
    pub(super) fn ways(&self) -> Ways<'_> {
        Ways { tasks: &self.each, per_choice: self.each.len() / self.all.len().max(1), closed: 0 }
    }
}

impl<'a> Ways<'a> {
    /// Of a task of which nothing is left to choose.
    pub(super) fn of_one(task: &'a TaskSpec) -> Self {
        Self { tasks: std::slice::from_ref(task), per_choice: 1, closed: 0 }
    }

    /// Without the alternatives of which `over` says something; what it says of the first, if none is left.
    pub(super) fn within_quota(self, over: impl Fn(Choice) -> Option<OverQuota>) -> Result<Self, OverQuota> {
        let first = over(Choice::FIRST);
        let choices = self.tasks.len().checked_div(self.per_choice).unwrap_or(1);
        if choices == 1 {
            return first.map_or(Ok(self), Err);
        }
        let is_over =
            |choice: &Choice| if *choice == Choice::FIRST { first.is_some() } else { over(*choice).is_some() };
        let all = (0..choices).filter_map(|number| Choice::of(u32::try_from(number).ok()?));
        let closed = all.filter(is_over).fold(0_u32, |closed, choice| closed | 1 << choice.number());
        match first {
            Some(over) if closed.count_ones() as usize == choices => Err(over),
            Some(_) | None => Ok(Self { closed, ..self }),
        }
    }

    /// Some of the alternatives are left out.
    pub(super) fn has_closed(self) -> bool {
        self.closed != 0
    }

    /// Those that are left, each with its place among all and the alternative that it takes.
    pub(super) fn open(self) -> impl Iterator<Item = (usize, Choice, &'a TaskSpec)> {
        let is_reversed = quorate_planted::is(Bug::LaterAlternativeFirst);
        let count = self.tasks.len();
        let places = (0..count).map(move |at| if is_reversed { count - 1 - at } else { at });
        places.filter_map(move |at| {
            let choice = Choice::of(u32::try_from(at / self.per_choice).ok()?)?;
            let task = self.tasks.get(at)?;
            (self.closed >> choice.number() & 1 == 0).then_some((at, choice, task))
        })
    }
}

/// A task that may go to these regions alone, which its place allows.
pub(crate) fn bound_to(task: &TaskSpec, regions: &[RegionName]) -> TaskSpec {
    TaskSpec { place: Place { regions: regions.to_vec(), ..task.place.clone() }, ..task.clone() }
}
