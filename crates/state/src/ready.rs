//! The tasks that wait for a node, in one line for each shape.
//!
//! Whoever serves them takes the lines together, by the places of their first tasks, and leaves a line
//! when its shape fits nowhere: what that costs does not grow with how many stand in it.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use crate::{ClusterName, Driver, JobSpec, ReadyKey, RegionName, Resources, Run, Spread, TaskSpec};

/// What placement looks at in a task: tasks of equal shape fit on the same nodes, the same one of them best.
///
/// It is the step of a job that looks like this; which of those that do makes no difference.
#[derive(Clone, Debug)]
pub struct Shape {
    job: Arc<JobSpec>,
    step: u32,
}

type Looks<'a> = ((u64, u64), Driver, Spread, &'a [RegionName], &'a [ClusterName], &'a BTreeMap<String, String>);

impl Shape {
    /// The shape of a step's tasks.
    pub fn of(run: &Run, step: u32) -> Self {
        Self { job: run.spec.clone(), step }
    }

    /// A task that looks like this.
    pub fn task(&self) -> Option<&TaskSpec> {
        self.job.tasks.get(self.step as usize)
    }

    fn looks(&self) -> Option<Looks<'_>> {
        let TaskSpec { resources, driver, place, .. } = self.task()?;
        let Resources { cpu_milli, memory_bytes } = *resources;
        Some(((cpu_milli, memory_bytes), *driver, place.spread, &place.regions, &place.clusters, &place.labels))
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Shape {}

impl PartialOrd for Shape {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Shape {
    fn cmp(&self, other: &Self) -> Ordering {
        self.looks().cmp(&other.looks())
    }
}

/// The tasks of one shape that wait for a node, the first to be served first.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    shape: &'a Shape,
    places: &'a Set<ReadyKey>,
}

impl<'a> Line<'a> {
    /// Their shape.
    pub fn shape(self) -> &'a Shape {
        self.shape
    }

    /// How many they are.
    pub fn len(self) -> usize {
        self.places.size()
    }

    /// Nobody waits.
    pub fn is_empty(self) -> bool {
        self.places.is_empty()
    }

    /// All of them.
    pub fn places(self) -> impl Iterator<Item = ReadyKey> + 'a {
        self.places.iter().copied()
    }

    /// Those behind a place in the queue, whether or not a task stands there.
    pub fn places_after(self, place: ReadyKey) -> impl Iterator<Item = ReadyKey> + 'a {
        self.places.range((Bound::Excluded(place), Bound::Unbounded)).copied()
    }
}

/// The lines. None of them is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    lines: Map<Shape, Set<ReadyKey>>,
    count: usize,
}

impl Ready {
    pub(crate) fn insert(&mut self, shape: Shape, place: ReadyKey) {
        let Some(line) = self.lines.get_mut(&shape) else {
            self.lines.insert_mut(shape, Set::default().insert(place));
            self.count += 1;
            return;
        };
        let before = line.size();
        line.insert_mut(place);
        self.count += line.size() - before;
    }

    pub(crate) fn remove(&mut self, shape: &Shape, place: &ReadyKey) {
        let Some(line) = self.lines.get_mut(shape) else { return };
        self.count -= usize::from(line.remove_mut(place));
        if line.is_empty() {
            self.lines.remove_mut(shape);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn line(&self, shape: &Shape) -> Option<Line<'_>> {
        self.lines.get_key_value(shape).map(|(shape, places)| Line { shape, places })
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines.iter().map(|(shape, places)| Line { shape, places })
    }

    /// All tasks in the queue's order, over the lines.
    pub(crate) fn places(&self) -> impl Iterator<Item = ReadyKey> {
        let mut lines: Vec<_> = self.lines().map(Line::places).collect();
        let first = lines.iter_mut().enumerate().filter_map(|(line, places)| Some(Reverse((places.next()?, line))));
        let mut heads: BinaryHeap<_> = first.collect();
        std::iter::from_fn(move || {
            let mut head = heads.peek_mut()?;
            let Reverse((place, line)) = *head;
            match lines.get_mut(line).and_then(Iterator::next) {
                Some(next) => *head = Reverse((next, line)),
                None => {
                    std::collections::binary_heap::PeekMut::pop(head);
                }
            }
            Some(place)
        })
    }
}
