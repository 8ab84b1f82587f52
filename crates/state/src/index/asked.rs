//! What is typically asked for of GPUs: the shapes of the tasks that take any and have not ended.
//!
//! Whoever packs goes by it, and begins anew when it changes. So it tells roughly how many there are of each shape: it does
//! not change when one comes and another one goes.

use std::cmp::Reverse;

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use crate::{GpuModel, TaskSpec};

/// What one task takes, of those that take GPUs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuShape {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Thousandths of GPUs.
    pub gpu_milli: u64,
    /// Models of which they may be; none: of any.
    pub models: Vec<GpuModel>,
}

/// Shapes with how many tasks have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    counts: Map<GpuShape, u64>,
    /// The same by their rough numbers, the most frequent first.
    ranks: Set<(Reverse<u64>, GpuShape)>,
}

impl GpuShape {
    /// None of a task that takes none. Of one with alternatives it is the first: what will be taken of GPUs nobody knows before.
    pub(crate) fn of(task: &TaskSpec) -> Option<Self> {
        let resources = task.resources;
        (resources.gpu_milli > 0).then(|| Self {
            cpu_milli: resources.cpu_milli,
            memory_bytes: resources.memory_bytes,
            gpu_milli: resources.gpu_milli,
            models: task.gpu_models.clone(),
        })
    }
}

impl Asked {
    /// A task of this shape has come, or has ended.
    pub(crate) fn on_task(&mut self, shape: GpuShape, has_come: bool) {
        let before = self.counts.get(&shape).copied().unwrap_or_default();
        let now = if has_come { before.saturating_add(1) } else { before.saturating_sub(1) };
        if rough(before) != rough(now) {
            self.ranks.remove_mut(&(Reverse(rough(before)), shape.clone()));
            if now > 0 {
                self.ranks.insert_mut((Reverse(rough(now)), shape.clone()));
            }
        }
        if now > 0 {
            self.counts.insert_mut(shape, now);
        } else {
            self.counts.remove_mut(&shape);
        }
    }

    /// The shapes with their rough numbers, the most frequent first.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (&GpuShape, u64)> {
        self.ranks.iter().map(|(Reverse(count), shape)| (shape, *count))
    }
}

/// A number cut down to its first three binary digits: at most a fifth less.
fn rough(count: u64) -> u64 {
    let cut = count.checked_ilog2().unwrap_or_default().saturating_sub(2);
    count >> cut << cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_come_by_their_rough_numbers_and_go_with_their_last_task() {
        let shape = |gpu_milli| GpuShape { cpu_milli: 1, memory_bytes: 0, gpu_milli, models: vec![] };
        let mut asked = Asked::default();
        for count in 0..37_u64 {
            asked.on_task(shape(1_000), true);
            if count % 4 == 0 {
                asked.on_task(shape(500), true);
            }
        }
        let told = |asked: &Asked| asked.shapes().map(|(shape, count)| (shape.gpu_milli, count)).collect::<Vec<_>>();
        assert_eq!(told(&asked), [(1_000, 32), (500, 10)]);
        (0..5).for_each(|_| asked.on_task(shape(1_000), false));
        assert_eq!(told(&asked), [(1_000, 32), (500, 10)]);
        (0..32).for_each(|_| asked.on_task(shape(1_000), false));
        (0..10).for_each(|_| asked.on_task(shape(500), false));
        assert_eq!(asked, Asked::default());
    }

    #[test]
    fn a_rough_number_rises_with_the_number_and_is_at_most_a_fifth_less() {
        for count in 1..10_000_u64 {
            assert!(
                rough(count) <= count && rough(count) * 5 >= count * 4 && rough(count) <= rough(count + 1),
                "{count}"
            );
        }
        assert_eq!(rough(0), 0);
    }
}
