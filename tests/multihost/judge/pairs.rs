//! How far apart two copies of a `fenced` task were, by what had made the second one necessary.

use std::fmt;

use super::copies::by_task;
use super::{End, Evidence};
use crate::ledger::Execution;

/// What befell the old copy's agent counts if it ended no earlier than this before the old copy's last instruction: the
/// lease that ran out was renewed for the last time within that. In microseconds, how long an agent relies on one.
const LEASE_US: u64 = 5_000_000;

/// What makes the copies of a task two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    AgentKilled,
    AgentPaused,
    AgentCutOneWay,
    AgentCut,
    AgentDiskFull,
    /// Leadership was passed on while the old copy's lease was renewed for the last time, or ran out.
    LeaderTransferred,
    /// None of these: the task failed or was killed, or nobody led for so long that leases ran out.
    Other,
}

/// All of them, in the order of the table.
const CAUSES: [Cause; 7] = [
    Cause::AgentKilled,
    Cause::AgentPaused,
    Cause::AgentCutOneWay,
    Cause::AgentCut,
    Cause::AgentDiskFull,
    Cause::LeaderTransferred,
    Cause::Other,
];

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AgentKilled => "agent killed",
            Self::AgentPaused => "agent paused",
            Self::AgentCutOneWay => "agent cut one-way",
            Self::AgentCut => "agent cut",
            Self::AgentDiskFull => "agent disk full",
            Self::LeaderTransferred => "leader transferred",
            Self::Other => "other",
        })
    }
}

impl Cause {
    /// Those of which a longer run must have seen some.
    pub(crate) fn is_wanted(self) -> bool {
        matches!(self, Self::AgentKilled | Self::AgentPaused | Self::AgentCutOneWay | Self::LeaderTransferred)
    }
}

/// Something that befell one agent, or all of them.
#[derive(Clone, Debug)]
pub(crate) struct Affair {
    pub(crate) cause: Cause,
    /// Whose agent; none for what concerns all.
    pub(crate) node: Option<String>,
    /// Microseconds since the machine was switched on.
    pub(crate) from_us: u64,
    pub(crate) to_us: u64,
}

/// What is known of one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) cause: Cause,
    /// Pairs of copies that followed each other, the first of which did not come to its own end.
    pub(crate) pairs: usize,
    /// From the last instruction of the first copy to the first one of the second, in microseconds; below zero they
    /// overlapped.
    pub(crate) gap_us_min: Option<i64>,
}

/// A row for each cause. A pair with several causes is in each of their rows.
pub(crate) fn table(evidence: &Evidence) -> Vec<Row> {
    let mut rows = CAUSES.map(|cause| Row { cause, pairs: 0, gap_us_min: None });
    for task in by_task(evidence, "fenced") {
        for pair in task.windows(2).filter(|pair| !pair[0].has_ended) {
            let (early, late) = (pair[0], pair[1]);
            let is_lost = is_lost(evidence, early);
            let relevant = |affair: &&Affair| {
                is_lost
                    && affair.node.as_ref().is_none_or(|node| *node == early.node)
                    && affair.from_us <= late.first_us
                    && affair.to_us + LEASE_US >= early.last_us
            };
            let causes: Vec<Cause> = evidence.affairs.iter().filter(relevant).map(|affair| affair.cause).collect();
            let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
            let gap_us = signed(late.first_us) - signed(early.last_us);
            for row in &mut rows {
                if causes.contains(&row.cause) || (causes.is_empty() && row.cause == Cause::Other) {
                    row.pairs += 1;
                    row.gap_us_min = Some(row.gap_us_min.map_or(gap_us, |least| least.min(gap_us)));
                }
            }
        }
    }
    rows.to_vec()
}

/// True when the cluster gave it up with its node; what failed by itself is tried again for another reason.
fn is_lost(evidence: &Evidence, one: &Execution) -> bool {
    let attempts = evidence.runs.get(&one.run).map_or(&[][..], |run| &run.attempts);
    attempts.iter().any(|(index, number, _, end)| (*index, *number, *end) == (one.index, one.attempt, End::Lost))
}
