//! Jobs: submitted, planned, validated, listed, imported.

use std::collections::BTreeMap;

use quorate_proto::v1;
use serde::Serialize;

use super::run::{labels, run_word};
use super::table::{Rows, entry, faint, state};
use super::{Paint, View, plain, task, time};

/// `job run`.
#[derive(Debug, Serialize)]
pub(crate) struct JobSubmitted {
    run_id: String,
    namespace: String,
    job: String,
    version: u32,
    revision: u64,
    request_id: String,
    request_window_ms: u64,
}

impl JobSubmitted {
    /// What the server said of the job `namespace/job`.
    pub(crate) fn new(namespace: &str, job: &str, request_id: &str, response: v1::SubmitJobResponse) -> Self {
        Self {
            run_id: response.run_id,
            namespace: namespace.to_owned(),
            job: job.to_owned(),
            version: response.version,
            revision: response.revision,
            request_id: request_id.to_owned(),
            request_window_ms: response.request_window_ms,
        }
    }
}

impl View for JobSubmitted {
    const SCHEMA: &'static str = "quorate.v1.job_submitted/1";

    fn human(&self, _: Paint) -> String {
        format!("Run {} of {}/{} version {} is accepted", self.run_id, self.namespace, self.job, self.version)
    }
}

/// What placement says of one step now.
#[derive(Debug, Serialize)]
pub(crate) struct PlannedTask {
    task: String,
    count: u32,
    fits_empty: u32,
    fits_now: u32,
    reason: Option<task::Reason>,
}

/// `job plan`.
#[derive(Debug, Serialize)]
pub(crate) struct JobPlan {
    version: u32,
    current_version: u32,
    /// Submitting would make a new version.
    pub(crate) changed: bool,
    changes: Vec<String>,
    task_count: u32,
    tasks: Vec<PlannedTask>,
    revision: u64,
}

impl From<v1::PlanJobResponse> for JobPlan {
    fn from(response: v1::PlanJobResponse) -> Self {
        let planned = |planned: v1::PlannedTask| PlannedTask {
            task: planned.task,
            count: planned.count,
            fits_empty: planned.fits_empty,
            fits_now: planned.fits_now,
            reason: planned.reason.map(Into::into),
        };
        Self {
            changed: response.version != response.current_version,
            version: response.version,
            current_version: response.current_version,
            changes: response.changes,
            task_count: response.task_count,
            tasks: response.tasks.into_iter().map(planned).collect(),
            revision: response.revision,
        }
    }
}

impl View for JobPlan {
    const SCHEMA: &'static str = "quorate.v1.job_plan/1";

    fn human(&self, paint: Paint) -> String {
        let mut text = match (self.changed, self.current_version) {
            (false, version) => format!("No changes: it is version {version} already\n"),
            (true, 0) => {
                format!("A new job, version {}, {}\n", self.version, time::count(self.task_count.into(), "task"))
            }
            (true, current) => {
                format!(
                    "Version {current} would become {}, {}\n",
                    self.version,
                    time::count(self.task_count.into(), "task")
                )
            }
        };
        for change in &self.changes {
            text += &format!("  {}\n", plain(change));
        }
        let mut rows = Rows::new(paint, &["TASK", "COUNT", "FITS NOW", "FITS WHEN EMPTY", "WHY NOT"]);
        for planned in &self.tasks {
            rows.row(vec![
                entry(&planned.task),
                entry(planned.count.to_string()),
                entry(planned.fits_now.to_string()),
                entry(planned.fits_empty.to_string()),
                faint(planned.reason.as_ref().map_or("", |reason| reason.text.as_str())),
            ]);
        }
        text + "\n" + &rows.text()
    }
}

/// One thing wrong with a job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    /// From 1; absent when it is about the file as a whole.
    pub(crate) line: Option<usize>,
    /// From 1.
    pub(crate) column: Option<usize>,
    /// Path of the field.
    pub(crate) field: String,
    /// What is wrong and what would be right.
    pub(crate) message: String,
}

impl Violation {
    /// `file:line:column: field: message`.
    pub(crate) fn line_of(&self, origin: &str) -> String {
        let place = match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{origin}:{line}:{column}"),
            (Some(line), None) => format!("{origin}:{line}"),
            (None, _) => origin.to_owned(),
        };
        let field = if self.field.is_empty() { String::new() } else { format!(" {}:", self.field) };
        plain(&format!("{place}:{field} {}", self.message))
    }
}

/// `job validate`.
#[derive(Debug, Serialize)]
pub(crate) struct JobValidated {
    /// The file, or `-`.
    pub(crate) file: String,
    /// Nothing is wrong.
    pub(crate) valid: bool,
    /// The job, when it is valid.
    pub(crate) job: Option<String>,
    /// Tasks of one run, counts included.
    pub(crate) task_count: u64,
    /// All that is wrong.
    pub(crate) violations: Vec<Violation>,
}

impl View for JobValidated {
    const SCHEMA: &'static str = "quorate.v1.job_validated/1";

    fn human(&self, _: Paint) -> String {
        if let (true, Some(job)) = (self.valid, &self.job) {
            return format!("{}: {job} is valid, {}", self.file, time::count(self.task_count, "task"));
        }
        self.violations.iter().map(|violation| violation.line_of(&self.file)).collect::<Vec<_>>().join("\n")
    }
}

/// One job.
#[derive(Debug, Serialize)]
pub(crate) struct Job {
    namespace: String,
    name: String,
    version: u32,
    latest_run_id: String,
    latest_run_state: String,
    submitted_at_ms: u64,
    task_count: u32,
    labels: BTreeMap<String, String>,
}

impl From<v1::JobSummary> for Job {
    fn from(job: v1::JobSummary) -> Self {
        Self {
            latest_run_state: run_word(job.latest_run_state),
            namespace: job.namespace,
            name: job.name,
            version: job.version,
            latest_run_id: job.latest_run_id,
            submitted_at_ms: job.submitted_at_ms,
            task_count: job.task_count,
            labels: labels(job.labels),
        }
    }
}

/// `job list`.
#[derive(Debug, Serialize)]
pub(crate) struct JobList {
    /// By namespace and name.
    pub(crate) jobs: Vec<Job>,
    /// Of the state it was read from.
    pub(crate) revision: u64,
    /// There are more than were asked for.
    pub(crate) more: bool,
    /// Where they begin, if there are more.
    pub(crate) next_page_token: Option<String>,
}

impl View for JobList {
    const SCHEMA: &'static str = "quorate.v1.job_list/1";

    fn human(&self, paint: Paint) -> String {
        let mut rows = Rows::new(paint, &["JOB", "VERSION", "TASKS", "LATEST RUN", "STATE", "SUBMITTED"]);
        for job in &self.jobs {
            rows.row(vec![
                entry(format!("{}/{}", job.namespace, job.name)),
                entry(job.version.to_string()),
                entry(job.task_count.to_string()),
                entry(&job.latest_run_id),
                state(&job.latest_run_state),
                faint(time::instant(job.submitted_at_ms)),
            ]);
        }
        rows.text()
    }
}

/// `import wfformat`: the job file made of a workflow.
#[derive(Debug, Serialize)]
pub(crate) struct JobImported {
    /// `namespace/name`.
    pub(crate) job: String,
    /// Tasks in it.
    pub(crate) task_count: usize,
    /// What the job file has no place for.
    pub(crate) unmapped: Vec<String>,
    /// The job file, as TOML.
    pub(crate) toml: String,
}

impl View for JobImported {
    const SCHEMA: &'static str = "quorate.v1.job_imported/1";

    fn human(&self, _: Paint) -> String {
        self.toml.clone()
    }
}
