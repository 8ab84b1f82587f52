//! Versions of jobs.

use quorate_proto::v1;
use serde::Serialize;

use super::table::{Rows, entry, faint};
use super::{Paint, View, plain, time};

/// One version of a job.
#[derive(Debug, Serialize)]
pub(crate) struct JobVersion {
    version: u32,
    submitted_at_ms: u64,
    principal: String,
    first_run_id: String,
    runs: u32,
    task_count: u32,
    spec_digest: String,
}

impl From<v1::JobVersion> for JobVersion {
    fn from(version: v1::JobVersion) -> Self {
        let v1::JobVersion { version, submitted_at_ms, principal, first_run_id, runs, task_count, spec_digest } =
            version;
        Self { version, submitted_at_ms, principal, first_run_id, runs, task_count, spec_digest }
    }
}

/// `job history`.
#[derive(Debug, Serialize)]
pub(crate) struct JobHistory {
    namespace: String,
    job: String,
    /// Nobody finds it under its name.
    deleted: bool,
    /// The newest first.
    versions: Vec<JobVersion>,
    /// There are more than were asked for.
    pub(crate) more: bool,
    revision: u64,
}

impl JobHistory {
    /// Nothing is known yet.
    pub(crate) fn of(job: &v1::JobRef) -> Self {
        let (namespace, job) = (job.namespace.clone(), job.name.clone());
        Self { namespace, job, deleted: false, versions: Vec::new(), more: false, revision: 0 }
    }

    /// How many versions are known.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.versions.len()).unwrap_or(u32::MAX)
    }

    /// Takes in a page. Where the next one begins, if there is one.
    pub(crate) fn take(&mut self, page: v1::ListJobVersionsResponse) -> String {
        self.versions.extend(page.versions.into_iter().map(Into::into));
        (self.deleted, self.revision) = (page.deleted, page.revision);
        self.more = !page.next_page_token.is_empty();
        page.next_page_token
    }
}

impl View for JobHistory {
    const SCHEMA: &'static str = "quorate.v1.job_history/1";

    fn human(&self, paint: Paint) -> String {
        let mut rows = Rows::new(paint, &["VERSION", "TASKS", "RUNS", "FIRST RUN", "SUBMITTED", "BY", "SPEC"]);
        for version in &self.versions {
            rows.row(vec![
                entry(version.version.to_string()),
                entry(version.task_count.to_string()),
                entry(version.runs.to_string()),
                entry(&version.first_run_id),
                faint(time::instant(version.submitted_at_ms)),
                faint(&version.principal),
                faint(version.spec_digest.chars().take(12).collect::<String>()),
            ]);
        }
        let deleted = format!("Job {}/{} is deleted\n", self.namespace, self.job);
        let text = rows.text();
        if self.deleted { deleted + &text } else { text }
    }
}

/// `job diff`.
#[derive(Debug, Serialize)]
pub(crate) struct JobDiff {
    /// The job's namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) job: String,
    /// What is compared.
    pub(crate) from: u32,
    /// What it is compared with.
    pub(crate) to: u32,
    /// A line each.
    pub(crate) changes: Vec<String>,
    /// Of the state it was read from.
    pub(crate) revision: u64,
}

impl View for JobDiff {
    const SCHEMA: &'static str = "quorate.v1.job_diff/1";

    fn human(&self, _: Paint) -> String {
        if self.changes.is_empty() {
            return format!("Versions {} and {} of {}/{} do not differ", self.from, self.to, self.namespace, self.job);
        }
        self.changes.iter().map(|change| plain(change)).collect::<Vec<_>>().join("\n")
    }
}

/// `job delete`.
#[derive(Debug, Serialize)]
pub(crate) struct JobDeleted {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) job: String,
}

impl View for JobDeleted {
    const SCHEMA: &'static str = "quorate.v1.job_deleted/1";

    fn human(&self, _: Paint) -> String {
        format!("Job {}/{} is deleted; its runs stay", self.namespace, self.job)
    }
}
