//! Replicas on which nobody may count any more, until an operator has put others in their places: those with an old image
//! of their disks, and those that have stopped because their history differs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::World;
use crate::hosts::{Order, Wish};

/// By position, whether an operator was ordered to replace it.
#[derive(Default)]
pub(super) struct Outcasts(BTreeMap<usize, bool>);

impl Outcasts {
    /// True while nobody may count on a replica.
    pub(super) fn is_out(&self, position: usize) -> bool {
        self.0.contains_key(&position)
    }

    /// True when there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From now on nobody may.
    pub(super) fn cast_out(&mut self, position: usize) {
        self.0.entry(position).or_default();
    }

    /// It has another disk.
    pub(super) fn renewed(&mut self, position: usize) {
        self.0.remove(&position);
    }
}

impl World {
    /// It has stopped for what it is, for the first time or again: an operator is ordered to replace it.
    pub(super) fn replace_outcast(&mut self, now: Duration, position: usize) {
        let Some((id, _)) = self.voter(position) else { return };
        let is_ordered = self.striking.outcasts.0.entry(position).or_default();
        if std::mem::replace(is_ordered, true) {
            return;
        }
        let learner = self.replicas[position].gives_way_to_learner();
        self.common.desk.put(Order { wish: Wish::Replace { position, id, learner, gives_up: false }, at: now });
    }
}
