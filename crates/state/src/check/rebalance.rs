//! What must hold of a rebalance: its budget is kept, and what it counts is what is on the move.

use quorate_planted::Bug;

use crate::{Feature, MOVES_AT_ONCE_MAX, State, StopReason};

impl State {
    pub(super) fn check_rebalance(&self, broken: &mut Vec<String>) {
        for row in self.moves() {
            let task = self.task(row.task);
            if task.is_none_or(|task| row.is_over(task)) {
                broken.push(format!("task {:?} is on the move, and stands as {task:?}", row.task));
            }
            let newest = task.and_then(|task| task.newest_attempt()).and_then(|newest| self.attempt(newest));
            if newest.is_none_or(|attempt| attempt.moved.is_none() || attempt.node != row.from) {
                broken.push(format!("task {:?} is on the move, and its newest attempt is {newest:?}", row.task));
            }
        }
        if self.moves_count() > MOVES_AT_ONCE_MAX as usize {
            broken.push(format!("{} tasks are on the move, {MOVES_AT_ONCE_MAX} may be", self.moves_count()));
        }
        if let Some(rebalance) = self.rebalance() {
            let moving = self.moves().filter(|row| row.rebalance == rebalance.number).count() as u64;
            let counted = u64::from(rebalance.arrived) + u64::from(rebalance.missed) + moving;
            if u64::from(rebalance.begun) != counted {
                broken.push(format!("{moving} tasks are on the move of {rebalance:?}"));
            }
            // What that bug does is to be seen from outside.
            let is_over =
                rebalance.begun > rebalance.terms.moves_max && !quorate_planted::is(Bug::MovesCountedByLeader);
            if is_over || rebalance.terms.limits().iter().any(|(_, value, least, most)| value < least || value > most) {
                broken.push(format!("beyond its budget: {rebalance:?}"));
            }
        }
        let mut was_used = self.rebalance.is_some() || self.moves_count() > 0;
        for attempt in self.attempts.values() {
            let is_moved = attempt.stop == Some(StopReason::Rebalanced);
            was_used |= is_moved;
            if is_moved != attempt.moved.is_some() {
                broken.push(format!("attempt {:?} is stopped for {:?}: {:?}", attempt.id, attempt.stop, attempt.moved));
            }
        }
        if was_used && !self.has_feature(Feature::Rebalance) {
            broken.push(format!("work was moved, and feature {} is not enabled", Feature::Rebalance));
        }
    }
}
