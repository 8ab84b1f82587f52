//! Why a node is not the place of a task.

use quorate_proto::v1;
use serde::Serialize;

use super::table::{self, Rows, entry};
use super::task::{Reason, task_name, task_word};
use super::{Paint, View, plain, time};

/// `node why-not`.
#[derive(Debug, Serialize)]
pub(crate) struct WhyNot {
    run_id: String,
    task: String,
    index: u32,
    node: String,
    /// Now, with the queue left out of account.
    fits: bool,
    /// The task is there.
    has_copy: bool,
    /// Where the leader would place it now.
    elsewhere: Option<String>,
    failed: Vec<Failed>,
    /// The answer in one sentence.
    text: String,
    /// The task's state, and why it is not running wherever.
    state: String,
    reason: Reason,
    revision: u64,
    #[serde(skip)]
    is_array: bool,
}

/// A check that the node fails.
#[derive(Debug, Serialize)]
struct Failed {
    check: String,
    wanted: String,
    found: String,
    missing_cpu_milli: u64,
    missing_memory_bytes: u64,
    missing_gpu_milli: u64,
}

impl WhyNot {
    /// What the server said of a task of `run_id` and a node.
    pub(crate) fn new(run_id: &str, node: &str, answer: v1::ExplainPlacementResponse) -> Self {
        let task = answer.task.unwrap_or_default();
        let failed = answer.failed.into_iter().map(|failed| Failed {
            check: failed.check,
            wanted: failed.wanted,
            found: failed.found,
            missing_cpu_milli: failed.missing_cpu_milli,
            missing_memory_bytes: failed.missing_memory_bytes,
            missing_gpu_milli: failed.missing_gpu_milli,
        });
        let failed: Vec<Failed> = failed.collect();
        Self {
            run_id: run_id.to_owned(),
            state: task_word(task.state),
            index: task.index,
            is_array: task.count > 1,
            task: task.task,
            node: node.to_owned(),
            fits: failed.is_empty(),
            has_copy: answer.has_copy,
            elsewhere: Some(answer.elsewhere).filter(|node| !node.is_empty()),
            failed,
            text: answer.text,
            reason: answer.reason.unwrap_or_default().into(),
            revision: answer.revision,
        }
    }
}

impl Failed {
    /// What would have to be free beside what is there, in words; empty when it is not about room.
    fn short_of(&self) -> String {
        let parts = [
            (self.missing_cpu_milli > 0).then(|| format!("{} cpu", time::cores(self.missing_cpu_milli))),
            (self.missing_memory_bytes > 0).then(|| time::bytes(self.missing_memory_bytes)),
            (self.missing_gpu_milli > 0).then(|| format!("{} gpu", time::cores(self.missing_gpu_milli))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl View for WhyNot {
    const SCHEMA: &'static str = "quorate.v1.why_not/1";

    fn human(&self, paint: Paint) -> String {
        let name = task_name(&self.task, self.index, self.is_array);
        let mut text = format!("{name} of run {} on node {}: {}\n", self.run_id, self.node, plain(&self.text));
        if !self.failed.is_empty() {
            let mut table = Rows::new(paint, &["CHECK", "WANTED", "FOUND", "SHORT OF"]);
            for failed in &self.failed {
                table.row(vec![
                    table::state(&failed.check),
                    entry(plain(&failed.wanted)),
                    entry(plain(&failed.found)),
                    entry(failed.short_of()),
                ]);
            }
            text += &format!("\n{}\n", table.text());
        }
        text += &format!("\nwherever: it is {}: {}", self.state, plain(&self.reason.text));
        text
    }
}
