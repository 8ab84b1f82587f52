//! What became of a pause, a resume, another priority, or the cancel of many runs.

use quorate_proto::v1;
use serde::Serialize;

use super::{Paint, View, time};

/// `run pause`.
#[derive(Debug, Serialize)]
pub(crate) struct RunPaused {
    /// The run.
    pub(crate) run_id: String,
    /// Nothing of it is placed after that.
    pub(crate) revision: u64,
}

impl View for RunPaused {
    const SCHEMA: &'static str = "quorate.v1.run_paused/1";

    fn human(&self, _: Paint) -> String {
        format!("Run {} is paused: nothing of it is placed after revision {}", self.run_id, self.revision)
    }
}

/// `run resume`.
#[derive(Debug, Serialize)]
pub(crate) struct RunResumed {
    /// The run.
    pub(crate) run_id: String,
    /// Since then it goes on.
    pub(crate) revision: u64,
}

impl View for RunResumed {
    const SCHEMA: &'static str = "quorate.v1.run_resumed/1";

    fn human(&self, _: Paint) -> String {
        format!("Run {} goes on since revision {}", self.run_id, self.revision)
    }
}

/// `run priority`.
#[derive(Debug, Serialize)]
pub(crate) struct RunPrioritySet {
    /// The run.
    pub(crate) run_id: String,
    /// Its priority now.
    pub(crate) priority: u32,
    /// Since then.
    pub(crate) revision: u64,
}

impl View for RunPrioritySet {
    const SCHEMA: &'static str = "quorate.v1.run_priority_set/1";

    fn human(&self, _: Paint) -> String {
        format!("Run {} has priority {} since revision {}", self.run_id, self.priority, self.revision)
    }
}

/// `run cancel --all`.
#[derive(Debug, Serialize)]
pub(crate) struct RunAbandoned {
    run_id: String,
    ended_before: bool,
    revision: u64,
}

impl From<v1::AbandonRunResponse> for RunAbandoned {
    fn from(response: v1::AbandonRunResponse) -> Self {
        let v1::AbandonRunResponse { run_id, ended_before, revision } = response;
        Self { run_id, ended_before, revision }
    }
}

impl View for RunAbandoned {
    const SCHEMA: &'static str = "quorate.v1.run_abandoned/1";

    fn human(&self, _: Paint) -> String {
        if self.ended_before {
            return format!("Run {} had ended before", self.run_id);
        }
        let words = "is given up: nothing of it is placed, and nothing is undone, after revision";
        format!("Run {} {words} {}", self.run_id, self.revision)
    }
}

/// `run cancel` with flags that say which.
#[derive(Debug, Serialize)]
pub(crate) struct RunsCancelled {
    /// Nothing was cancelled.
    pub(crate) dry_run: bool,
    /// The runs that fit.
    pub(crate) run_ids: Vec<String>,
    /// How many of them are being cancelled by this.
    pub(crate) cancelled: u32,
}

impl View for RunsCancelled {
    const SCHEMA: &'static str = "quorate.v1.runs_cancelled/1";

    fn human(&self, _: Paint) -> String {
        let last = if self.dry_run {
            format!("{} would be cancelled", time::count(self.run_ids.len() as u64, "run"))
        } else {
            format!("{} are being cancelled", time::count(self.cancelled.into(), "run"))
        };
        self.run_ids.iter().chain([&last]).cloned().collect::<Vec<_>>().join("\n")
    }
}
