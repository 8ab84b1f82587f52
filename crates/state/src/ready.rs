//! The tasks that wait for a node, in one line for each shape that a namespace asks for.
//!
//! Whoever serves them takes the lines together, by the places of their first tasks, and leaves a line
//! when its shape fits nowhere: what that costs does not grow with how many stand in it.
//!
//! A run stands in a line with all that it has of that shape, as one thing: to pause it, or to give it another place, moves
//! that, whether it is one task or a hundred thousand. What a run has that is paused stands aside, in no line.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Bound;
use std::sync::Arc;

use quorate_planted::Bug;
use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use crate::{
    Alternative, Driver, GangSpec, GpuModel, JobSpec, Namespace, OnRegionLoss, Place, ReadyKey, RegionName, Resources,
    Revision, Run, RunId, Task, TaskId, TaskSpec,
};

/// What placement looks at in a task: tasks of equal shape fit on the same nodes, the same one of them best.
///
/// It is the step of a job that looks like this; which of those that do makes no difference.
#[derive(Clone, Debug)]
pub struct Shape {
    job: Arc<JobSpec>,
    step: u32,
    /// Where they ran, if that matters.
    home: Option<RegionName>,
}

type Looks<'a> = (
    (u64, u64, u64),
    &'a [GpuModel],
    &'a [Alternative],
    Driver,
    &'a Place,
    Option<(&'a GangSpec, u32)>,
    // Of a task that has no home yet, it makes no difference what it would mean.
    Option<(&'a RegionName, &'a OnRegionLoss)>,
);

impl Shape {
    /// The shape of those of a step's tasks that have this home.
    fn of(run: &Run, step: u32, home: Option<&RegionName>) -> Self {
        Self { job: run.spec.clone(), step, home: home.cloned() }
    }

    /// Where they ran, if what their job says makes that matter.
    pub fn home(&self) -> Option<&RegionName> {
        self.home.as_ref()
    }

    /// The same but for the home.
    fn is_like(&self, other: &Self) -> bool {
        let without = |shape: &Self| Self { home: None, ..shape.clone() };
        without(self) == without(other)
    }

    /// A task that looks like this.
    pub fn task(&self) -> Option<&TaskSpec> {
        self.job.tasks.get(self.step as usize)
    }

    fn looks(&self) -> Option<Looks<'_>> {
        let TaskSpec { resources, gpu_models, alternatives, driver, place, gang, count, on_region_loss, .. } =
            self.task()?;
        let Resources { cpu_milli, memory_bytes, gpu_milli } = *resources;
        let amounts = (cpu_milli, memory_bytes, gpu_milli);
        // Gangs of different sizes fit in different places.
        let gang = gang.as_ref().map(|gang| (gang, *count));
        let home = self.home.as_ref().zip(on_region_loss.as_ref());
        Some((amounts, gpu_models, alternatives, *driver, place, gang, home))
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

/// A shape, of one namespace: those of equal shape are neighbours, by the namespaces of their jobs.
#[derive(Clone, Debug)]
struct Rank(Shape);

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0).then_with(|| self.0.job.namespace.cmp(&other.0.job.namespace))
    }
}

/// Where a run stands in the queue: the part of a [`ReadyKey`] that all of its tasks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RunPlace {
    priority_inverse: u8,
    submitted: Revision,
    item: u32,
    run: RunId,
}

/// Step and index of a task: its place among those of its run.
type Seat = (u32, u32);

impl RunPlace {
    fn of(place: ReadyKey) -> Self {
        let ReadyKey { priority_inverse, submitted, item, task } = place;
        Self { priority_inverse, submitted, item, run: task.run }
    }

    fn with(self, (step, index): Seat) -> ReadyKey {
        let Self { priority_inverse, submitted, item, run } = self;
        ReadyKey { priority_inverse, submitted, item, task: TaskId { run, step, index } }
    }
}

/// Where the tasks of a run stand: at this place in their lines, or aside while it is paused.
fn place_of(run: &Run) -> Option<RunPlace> {
    let is_aside = run.paused.is_some() && !quorate_planted::is(Bug::PauseIgnored);
    (!is_aside).then(|| RunPlace::of(ReadyKey::of(run, TaskId { run: run.id, step: 0, index: 0 })))
}

/// The runs of a line, each with its tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Standing {
    runs: Map<RunPlace, Set<Seat>>,
    tasks: usize,
}

/// The tasks of one shape and one namespace that wait for a node, the first to be served first.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    shape: &'a Shape,
    standing: &'a Standing,
}

impl<'a> Line<'a> {
    /// Their shape.
    pub fn shape(self) -> &'a Shape {
        self.shape
    }

    /// The namespace that they are of.
    pub fn namespace(self) -> &'a Namespace {
        &self.shape.job.namespace
    }

    /// How many they are.
    pub fn len(self) -> usize {
        self.standing.tasks
    }

    /// Nobody waits.
    pub fn is_empty(self) -> bool {
        self.standing.tasks == 0
    }

    /// All of them.
    pub fn places(self) -> impl Iterator<Item = ReadyKey> + 'a {
        let runs = self.standing.runs.iter();
        runs.flat_map(|(place, seats)| seats.iter().map(|seat| place.with(*seat)))
    }

    /// Those behind a place in the queue, whether or not a task stands there.
    pub fn places_after(self, place: ReadyKey) -> impl Iterator<Item = ReadyKey> + 'a {
        let (run, seat) = (RunPlace::of(place), (place.task.step, place.task.index));
        let runs = &self.standing.runs;
        let own =
            runs.get(&run).into_iter().flat_map(move |seats| seats.range((Bound::Excluded(seat), Bound::Unbounded)));
        let later = runs.range((Bound::Excluded(run), Bound::Unbounded));
        let later = later.flat_map(|(place, seats)| seats.iter().map(|seat| place.with(*seat)));
        own.map(move |seat| run.with(*seat)).chain(later)
    }
}

/// The lines, and what stands aside. No line is empty, no run in it, and no run that stands aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    lines: Map<Rank, Standing>,
    aside: Map<RunId, Map<Shape, Set<Seat>>>,
    count: usize,
}

impl Ready {
    /// A task of `run` has become ready.
    pub(crate) fn insert(&mut self, run: &Run, task: &Task) {
        let (shape, seat) = (Shape::of(run, task.id.step, task.home.as_ref()), (task.id.step, task.id.index));
        let mut more = 0;
        match place_of(run) {
            Some(place) => change(&mut self.lines, Rank(shape), |line| {
                change(&mut line.runs, place, |seats| {
                    let before = seats.size();
                    seats.insert_mut(seat);
                    more = seats.size() - before;
                });
                line.tasks += more;
            }),
            None => change(&mut self.aside, run.id, |shapes| change(shapes, shape, |seats| seats.insert_mut(seat))),
        }
        self.count += more;
    }

    /// A task of `run` is ready no more.
    pub(crate) fn remove(&mut self, run: &Run, task: &Task) {
        let (shape, seat) = (Shape::of(run, task.id.step, task.home.as_ref()), (task.id.step, task.id.index));
        let mut less = 0;
        match place_of(run) {
            Some(place) => thin(&mut self.lines, &Rank(shape), |line| {
                thin(&mut line.runs, &place, |seats| {
                    less = usize::from(seats.remove_mut(&seat));
                    seats.is_empty()
                });
                line.tasks -= less;
                line.tasks == 0
            }),
            None => thin(&mut self.aside, &run.id, |shapes| {
                thin(shapes, &shape, |seats| {
                    seats.remove_mut(&seat);
                    seats.is_empty()
                });
                shapes.is_empty()
            }),
        }
        self.count -= less;
    }

    /// A run is paused, or goes on, or has another priority; `steps` are those of it that have ready tasks. The cost grows
    /// with them, not with how many tasks they have.
    pub(crate) fn move_run(&mut self, old: &Run, new: &Run, steps: impl Iterator<Item = u32>) {
        let (from, to) = (place_of(old), place_of(new));
        if from == to {
            return;
        }
        let shapes: Vec<Shape> = steps.flat_map(|step| self.shapes_of(old, step)).collect();
        for shape in shapes {
            // Another step of the same shape may have taken it along.
            if let Some(seats) = self.take(new.id, from, &shape) {
                self.put(new.id, to, shape, seats);
            }
        }
    }

    fn take(&mut self, run: RunId, from: Option<RunPlace>, shape: &Shape) -> Option<Set<Seat>> {
        let mut taken: Option<Set<Seat>> = None;
        match from {
            Some(place) => {
                thin(&mut self.lines, &Rank(shape.clone()), |line| {
                    taken = line.runs.get(&place).cloned();
                    line.runs.remove_mut(&place);
                    line.tasks -= taken.as_ref().map_or(0, Set::size);
                    line.tasks == 0
                });
                self.count -= taken.as_ref().map_or(0, Set::size);
            }
            None => thin(&mut self.aside, &run, |shapes| {
                taken = shapes.get(shape).cloned();
                shapes.remove_mut(shape);
                shapes.is_empty()
            }),
        }
        taken
    }

    fn put(&mut self, run: RunId, to: Option<RunPlace>, shape: Shape, seats: Set<Seat>) {
        let Some(place) = to else {
            return change(&mut self.aside, run, |shapes| shapes.insert_mut(shape, seats));
        };
        self.count += seats.size();
        change(&mut self.lines, Rank(shape), |line| {
            line.tasks += seats.size();
            line.runs.insert_mut(place, seats);
        });
    }

    /// The shapes that ready tasks of a step have: one for each home.
    fn shapes_of(&self, run: &Run, step: u32) -> Vec<Shape> {
        let plain = Shape::of(run, step, None);
        if plain.task().is_none_or(|task| task.on_region_loss.is_none()) {
            return vec![plain];
        }
        match place_of(run) {
            Some(place) => {
                let from = self.lines.range(Rank(plain.clone())..).take_while(|(rank, _)| rank.0.is_like(&plain));
                let own = from.filter(|(rank, line)| {
                    rank.0.job.namespace == run.spec.namespace && line.runs.contains_key(&place)
                });
                own.map(|(rank, _)| rank.0.clone()).collect()
            }
            None => {
                let shapes = self.aside.get(&run.id).into_iter();
                let from = shapes.flat_map(|shapes| shapes.range(plain.clone()..));
                from.map(|(shape, _)| shape).take_while(|shape| shape.is_like(&plain)).cloned().collect()
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The ready tasks of a step, also while its run is paused: by index, those of one home after those of another.
    pub(crate) fn of_step(&self, run: &Run, step: u32) -> impl Iterator<Item = TaskId> {
        let (id, place) = (run.id, place_of(run));
        let seats = self.shapes_of(run, step).into_iter().filter_map(move |shape| match place {
            Some(place) => self.lines.get(&Rank(shape)).and_then(|line| line.runs.get(&place)),
            None => self.aside.get(&id).and_then(|shapes| shapes.get(&shape)),
        });
        let of_step = seats.flat_map(move |seats| seats.range((step, 0)..=(step, u32::MAX)));
        of_step.map(move |(step, index)| TaskId { run: id, step: *step, index: *index })
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines.iter().map(|(Rank(shape), standing)| Line { shape, standing })
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

/// Changes what a map has under a key, beginning with nothing.
fn change<K: Clone + Ord, V: Clone + Default>(map: &mut Map<K, V>, key: K, by: impl FnOnce(&mut V)) {
    let Some(value) = map.get_mut(&key) else {
        let mut value = V::default();
        by(&mut value);
        return map.insert_mut(key, value);
    };
    by(value);
}

/// Changes what a map has under a key, if it has it; `by` says whether nothing is left of it.
fn thin<K: Clone + Ord, V: Clone>(map: &mut Map<K, V>, key: &K, by: impl FnOnce(&mut V) -> bool) {
    if map.get_mut(key).is_some_and(by) {
        map.remove_mut(key);
    }
}
