//! Tasks that may take down the nodes that they run on, by what the attempts say (ADR 0047).

use std::collections::BTreeSet;

use quorate_planted::Bug;

use crate::{NodeName, State, TaskId};

impl State {
    /// The nodes that went away while attempts of this task ran there, and have not come back with them. A release
    /// begins anew.
    pub fn suspect_nodes(&self, task: TaskId) -> BTreeSet<&NodeName> {
        self.attempts_of(task).filter(|attempt| attempt.suspect).map(|attempt| &attempt.node).collect()
    }

    /// Whether a task is not to be placed before somebody has looked at it. One that was never tried is not looked at
    /// closely: there may be very many of them.
    pub(crate) fn is_suspected(&self, task: TaskId) -> bool {
        let was_tried = self.task(task).is_some_and(|task| task.attempts > 0);
        let nodes_max = self.settings().map_or(0, |settings| settings.suspect_nodes_max as usize);
        let is_looked_at = was_tried && nodes_max > 0 && !quorate_planted::is(Bug::QuarantineSkipped);
        is_looked_at && self.suspect_nodes(task).len() >= nodes_max
    }
}
