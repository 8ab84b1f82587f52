//! What whoever plans asks of the state again and again, and how it learns what has changed meanwhile.

use crate::index::{GpuShape, Load, Touch, TouchMark};
use crate::{NodeName, State};

impl State {
    /// All that a node holds, at once.
    pub fn load_on(&self, node: &NodeName) -> Load<'_> {
        self.index.load_on(node)
    }

    /// How far changes of nodes have come. None before the first.
    pub fn touch_mark(&self) -> Option<TouchMark> {
        self.index.touched().mark()
    }

    /// The nodes that have changed since, their rows or what they hold, each as often as it has. None if that is not known:
    /// this state may not go on from the one of the mark, or more has changed than is kept ([`crate::TOUCHES_KEPT`]).
    pub fn touched_since(&self, mark: &TouchMark) -> Option<impl Iterator<Item = (&NodeName, Touch)>> {
        self.index.touched().since(mark)
    }

    /// The shapes of tasks with GPUs that have not ended, and roughly how many have each; the most frequent first.
    pub fn gpu_shapes(&self) -> impl Iterator<Item = (&GpuShape, u64)> {
        self.index.asked().shapes()
    }
}
