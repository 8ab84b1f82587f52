//! When tasks begin that wait for room.

use quorate_proto::v1;
use serde::Serialize;

use super::task::task_name;
use super::time;

/// When a task begins at the latest, as far as is known.
#[derive(Debug, Serialize)]
pub(crate) struct Expected {
    /// It is kept for it; the task goes elsewhere if there is room earlier.
    node: String,
    /// So many others are kept for the rest of its gang.
    #[serde(skip_serializing_if = "is_none")]
    others: u32,
    within_ms: u64,
}

fn is_none(others: &u32) -> bool {
    *others == 0
}

impl From<v1::ExpectedStart> for Expected {
    fn from(start: v1::ExpectedStart) -> Self {
        let v1::ExpectedStart { node, within_ms, others } = start;
        Self { node, others, within_ms }
    }
}

/// The same, with the task.
#[derive(Debug, Serialize)]
pub(super) struct Start {
    task: String,
    index: u32,
    #[serde(flatten)]
    expected: Expected,
}

impl From<v1::TaskExpectedStart> for Start {
    fn from(start: v1::TaskExpectedStart) -> Self {
        let v1::TaskExpectedStart { task, index, start } = start;
        Self { task, index, expected: start.unwrap_or_default().into() }
    }
}

impl Start {
    pub(super) fn words(&self) -> String {
        let name = task_name(&self.task, self.index, self.index > 0);
        let Expected { node, others, within_ms } = &self.expected;
        let others = match others {
            0 => String::new(),
            1 => " and another node".into(),
            others => format!(" and {others} other nodes"),
        };
        format!("{name} begins within {}, on {node}{others} if not elsewhere", time::span(*within_ms))
    }
}
