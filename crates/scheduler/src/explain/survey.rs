//! Where a task could go and where it nearly could, with the queue left out of account.

use quorate_state::{State, TaskId};

use super::NearestMiss;
use super::nearest::misses;
use crate::placement::{CANDIDATES_MAX, Candidate, bound_to, candidates};
use crate::{LogNow, Observed};

/// Where a task could go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The nodes that can take it now, the best first; at most [`CANDIDATES_MAX`].
    pub candidates: Vec<Candidate>,
    /// Those that cannot and come nearest, the nearest first; at most as many.
    pub misses: Vec<NearestMiss>,
}

/// Looks over the nodes for one element of a task, by the first of its alternatives that fits anywhere, or its first. Nothing if the task has
/// no run, or is one itself.
pub fn survey(view: &State, observed: &Observed, now: LogNow, task: TaskId) -> Survey {
    let run = view.run(task.run);
    let spec = run.and_then(|run| Some((run, run.spec.tasks.get(task.step as usize)?)));
    let Some((run, spec)) = spec.filter(|(_, spec)| spec.sub_run.is_none()) else { return Survey::default() };
    let home = view.task(task).and_then(|task| task.home.as_ref());
    let bound = view.bound(home, spec, now.served);
    let of = (&**run, task.step);
    let mut first = None;
    for way in spec.choices().filter_map(|choice| spec.chosen(choice)) {
        let within = bound.regions().map(|regions| bound_to(&way, regions));
        let way = within.as_ref().unwrap_or(&way);
        let misses = misses(view, observed, of, way, CANDIDATES_MAX);
        let found = Survey { candidates: candidates(view, observed, of, way), misses };
        if !found.candidates.is_empty() {
            return found;
        }
        first.get_or_insert(found);
    }
    first.unwrap_or_default()
}
