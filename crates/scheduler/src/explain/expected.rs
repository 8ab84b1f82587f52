//! When a task that waits for room begins at the latest.

use std::fmt;

use quorate_state::{NodeName, RunId, State, TaskId};

use crate::placement::{Expected, plan};
use crate::{Budget, LogNow, Observed};

/// When a task begins at the latest, as far as is known: if what runs takes as long as it may, and nothing comes that goes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedStart {
    /// The node that is kept for it; it goes elsewhere if there is room earlier.
    pub node: NodeName,
    /// So many others are kept for the rest of its gang.
    pub others: u32,
    /// Within so many milliseconds.
    pub within_ms: u64,
}

/// When a task of a run, or a gang, begins at the latest; the first of each shape that waits for room is known of, if any is.
pub fn expected_starts(view: &State, observed: &Observed, now: LogNow, run: RunId) -> Vec<(TaskId, ExpectedStart)> {
    let plan = plan(view, observed, now, 0, Budget::default());
    let own = plan.explanations.into_iter().filter(|waits| waits.first.run == run);
    own.filter_map(|waits| Some((waits.first, expected_start(waits.expected?, now)))).collect()
}

pub(super) fn expected_start(Expected { node, others, by }: Expected, now: LogNow) -> ExpectedStart {
    let others = u32::try_from(others.len()).unwrap_or(u32::MAX);
    ExpectedStart { node, others, within_ms: by.0.saturating_sub(now.served.0) }
}

impl fmt::Display for ExpectedStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, others, within_ms } = self;
        write!(f, "expected to begin within {}, on node {node}", Span(*within_ms))?;
        match others {
            0 => Ok(()),
            1 => f.write_str(" and another one"),
            others => write!(f, " and {others} others"),
        }?;
        f.write_str(" if not elsewhere")
    }
}

/// Milliseconds, as people say them: to the second.
pub(super) struct Span(pub(super) u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_ceil(1_000);
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds} s"),
            (0, _) => write!(f, "{minutes} min {seconds} s"),
            _ => write!(f, "{hours} h {minutes} min"),
        }
    }
}
