//! What a plan leaves waiting, by shape, in the order of the queue.

use quorate_state::{OverQuota, TaskId};

use super::Expected;
use crate::explain::Checks;

/// What waits, by shape.
#[derive(Default)]
pub(super) struct Waits {
    pub(super) tasks: u64,
    pub(super) shapes: Vec<ShapeWait>,
}

/// The tasks of one shape, or a part of them.
pub(super) struct ShapeWait {
    pub(super) shape: usize,
    pub(super) first: TaskId,
    pub(super) tasks: usize,
    pub(super) over_quota: Option<OverQuota>,
    pub(super) would_delay: bool,
    pub(super) expected: Option<Expected>,
    /// If they are others than those of its shape.
    pub(super) checks: Option<Checks>,
}

impl ShapeWait {
    pub(super) fn of(shape: usize, first: TaskId, tasks: usize) -> Self {
        Self { shape, first, tasks, over_quota: None, would_delay: false, expected: None, checks: None }
    }
}

impl Waits {
    /// The first tasks of shapes that wait for room, in queue order, and the nodes that are kept for them.
    pub(super) fn without_room(&self) -> impl Iterator<Item = (TaskId, Option<&Expected>)> {
        self.shapes_without_room().map(|(_, first, expected)| (first, expected))
    }

    /// The numbers of these shapes, with the same.
    pub(super) fn shapes_without_room(&self) -> impl Iterator<Item = (usize, TaskId, Option<&Expected>)> {
        let waiting = self.shapes.iter().filter(|waits| waits.over_quota.is_none());
        waiting.map(|waits| (waits.shape, waits.first, waits.expected.as_ref()))
    }

    pub(super) fn add(&mut self, waits: ShapeWait) {
        self.tasks += waits.tasks as u64;
        self.shapes.push(waits);
    }
}
