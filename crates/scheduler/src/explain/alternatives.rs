//! Why a task that may take one of several things is placed with none of them.

use std::fmt;

use quorate_state::{Bound, Run, State, Task, TaskSpec};

use super::nearest::diagnose_among;
use super::{ExpectedStart, Explanation, NoNodeFits};
use crate::Observed;
use crate::placement::bound_to;

/// Why each alternative of a task is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAlternative {
    /// By number: that no node fits, that it is over a quota, or that it would delay others.
    pub each: Vec<Explanation>,
    /// When it begins at the latest by any of them, if that is known.
    pub expected: Option<ExpectedStart>,
}

/// Looks for a node for one element of a step of a run within its bounds, with the queue left out of account.
pub(super) fn diagnose(
    view: &State,
    observed: &Observed,
    (run, step): (&Run, u32),
    (task, bound): (&TaskSpec, Bound<'_>),
) -> Result<(), NoNodeFits> {
    match bound.regions() {
        None => diagnose_among(view, observed, (run, step), task),
        Some(regions) => {
            let bound_spec = bound_to(task, regions);
            diagnose_among(view, observed, (run, step), &bound_spec)
                .map_err(|why| NoNodeFits { bound: regions.into(), ..why })
        }
    }
}

/// Why a task in the queue is placed with none of its alternatives; none where one fits, so that others come first.
/// `would_delay`: what fits is kept for others.
pub(super) fn no_alternative(
    view: &State,
    observed: &Observed,
    (run, spec, task): (&Run, &TaskSpec, &Task),
    bound: Bound<'_>,
    (would_delay, expected): (bool, Option<ExpectedStart>),
) -> Option<NoAlternative> {
    let ways = spec.choices().filter_map(|choice| spec.chosen(choice));
    let each: Option<Vec<Explanation>> = ways
        .map(|way| {
            if let Some(over) = view.over_quota_beside(task.id, &run.spec.namespace, way.resources, &[]) {
                return Some(Explanation::OverQuota(over));
            }
            match diagnose(view, observed, (run, task.id.step), (&way, bound)) {
                Err(why) => Some(Explanation::NoNodeFits(why)),
                Ok(()) => would_delay.then_some(Explanation::WouldDelay { expected: None }),
            }
        })
        .collect();
    each.map(|each| NoAlternative { each, expected })
}

impl fmt::Display for NoAlternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, why) in self.each.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}want[{number}]: {why}")?;
        }
        self.expected.as_ref().map_or(Ok(()), |expected| write!(f, "; {expected}"))
    }
}
