//! Runs within runs: the task that a run is, and the runs that the tasks of one are.

use quorate_proto::v1;
use serde::Serialize;

use super::Paint;
use super::run::run_word;
use super::table::{Rows, entry, state};
use super::task::task_name;

/// The task that a run is.
#[derive(Debug, Serialize)]
pub(crate) struct Within {
    run_id: String,
    task: String,
    index: u32,
}

impl From<v1::ParentTask> for Within {
    fn from(parent: v1::ParentTask) -> Self {
        let v1::ParentTask { run_id, task, index } = parent;
        Self { run_id, task, index }
    }
}

impl Within {
    /// `0123456789abc train`, with the index of all but the first element.
    pub(super) fn words(&self) -> String {
        format!("{} {}", self.run_id, task_name(&self.task, self.index, self.index > 0))
    }
}

/// A run that a task of another is.
#[derive(Debug, Serialize)]
pub(crate) struct Child {
    task: String,
    index: u32,
    run_id: String,
    state: String,
    cancelling: bool,
}

impl From<v1::ChildRun> for Child {
    fn from(child: v1::ChildRun) -> Self {
        let v1::ChildRun { task, index, run_id, state, cancelling } = child;
        Self { task, index, run_id, state: run_word(state), cancelling }
    }
}

/// The runs that the tasks of a run are.
pub(super) fn table(children: &[Child], paint: Paint) -> String {
    let mut rows = Rows::new(paint, &["TASK", "RUN", "STATE"]);
    for child in children {
        let has_ended = matches!(child.state.as_str(), "succeeded" | "failed" | "cancelled");
        let cancelling = if child.cancelling && !has_ended { " (cancelling)" } else { "" };
        let several = children.iter().filter(|other| other.task == child.task).count() > 1;
        rows.row(vec![
            entry(task_name(&child.task, child.index, several || child.index > 0)),
            entry(&child.run_id),
            state(&format!("{}{cancelling}", child.state)),
        ]);
    }
    rows.text()
}
