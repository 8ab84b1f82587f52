//! Runs that have ended and are kept on disk alone: what is known of them in memory, and for how long they are kept.
//!
//! A run is archived whole, in one change that takes it out of the tables and writes it behind the rows of the state; the
//! rows of its tasks and attempts follow in pieces. From then on `apply` knows nothing of it but the segment in which it
//! lies. Segments are what is forgotten: each is one range of keys, so that nothing has to be looked up to remove it.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync as Map;

use crate::{
    Annotation, Attempt, Digest, Feature, Job, JobName, JobSpec, JobVersion, Millis, Namespace, Principal, Revision,
    Run, RunId, State, Step, StepCounts, Task,
};

/// How long runs that have ended are kept, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Runs that have ended are archived, the first to end first, while more of them than this are in memory.
    pub memory_runs_max: u64,
    /// The same while there are more tasks and attempts in memory, whosever they are.
    pub memory_rows_max: u64,
    /// Runs in the archive; with more, the oldest segment is forgotten.
    pub archive_runs_max: u64,
    /// A segment is forgotten when the last of its runs to end did so longer ago, in milliseconds; zero: never for that.
    pub archive_ms_max: u64,
    /// What happened longer ago than so many revisions is forgotten, also of runs that are kept.
    pub history_revisions_max: u64,
    /// Runs of one segment.
    pub segment_runs_max: u32,
}

/// With what the archive begins: part of what enabling its feature means, for good.
pub(crate) const RETENTION_FIRST: Retention = Retention {
    memory_runs_max: 10_000,
    memory_rows_max: 500_000,
    archive_runs_max: 1_000_000,
    archive_ms_max: 90 * 24 * 3_600 * 1_000,
    history_revisions_max: 50_000_000,
    segment_runs_max: 10_000,
};

impl Retention {
    /// The least and the most that each of the limits may be, by its name.
    pub fn limits(&self) -> [(&'static str, u64, u64, u64); 6] {
        [
            ("memory_runs_max", self.memory_runs_max, 0, 1_000_000),
            ("memory_rows_max", self.memory_rows_max, 0, 100_000_000),
            ("archive_runs_max", self.archive_runs_max, 0, 1_000_000_000),
            ("archive_ms_max", self.archive_ms_max, 0, 100 * 366 * 24 * 3_600 * 1_000),
            ("history_revisions_max", self.history_revisions_max, 1_000, 1 << 50),
            ("segment_runs_max", self.segment_runs_max.into(), 1, 100_000),
        ]
    }
}

/// A segment takes no more runs when its first was archived so long ago, in milliseconds of log time. Part of what the
/// feature means, as is the one below.
pub const SEGMENT_MS_MAX: u64 = 24 * 3_600 * 1_000;
/// Versions of a job whose specs are kept beyond their runs.
pub const VERSIONS_KEPT_MAX: usize = 100;

/// Runs that were archived one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Counts from 1, for good.
    pub number: u32,
    /// How many runs are in it.
    pub runs: u32,
    /// Where the first and the last of them in submit order were submitted.
    pub first_submitted: Revision,
    /// See [`Self::first_submitted`].
    pub last_submitted: Revision,
    /// When that was.
    pub first_submitted_at: Millis,
    /// See [`Self::first_submitted_at`].
    pub last_submitted_at: Millis,
    /// When the first of them was archived.
    pub began_at: Millis,
    /// When the last of them ended.
    pub last_ended: Millis,
}

impl Segment {
    /// True when it takes one more run at `now`.
    pub(crate) fn is_open(&self, now: Millis, runs_max: u32) -> bool {
        self.runs < runs_max && now.0.saturating_sub(self.began_at.0) < SEGMENT_MS_MAX
    }

    /// It with one more run.
    pub(crate) fn with(&self, run: &Run) -> Self {
        Self {
            runs: self.runs.saturating_add(1),
            first_submitted: self.first_submitted.min(run.submitted_revision),
            last_submitted: self.last_submitted.max(run.submitted_revision),
            first_submitted_at: self.first_submitted_at.min(run.submitted_at),
            last_submitted_at: self.last_submitted_at.max(run.submitted_at),
            last_ended: self.last_ended.max(run.ended_at.unwrap_or_default()),
            ..self.clone()
        }
    }
}

/// A run in the archive, without its tasks and attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedRun {
    /// The segment in which it lies.
    pub segment: u32,
    /// Its last row.
    pub run: Arc<Run>,
    /// Where the tasks of each of its steps stand.
    pub steps: Vec<ArchivedStep>,
    /// The rows of those steps that have one.
    pub rows: Vec<Arc<Step>>,
    /// What was left at it.
    pub annotations: Vec<Arc<Annotation>>,
    /// When it was archived: nothing has happened to it since.
    pub archived_at: Millis,
}

impl ArchivedRun {
    /// Where all its tasks stand.
    pub fn counts(&self) -> StepCounts {
        self.steps.iter().fold(StepCounts::default(), |sum, step| sum.more(step.counts))
    }
}

/// Where the tasks of a step of an archived run stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchivedStep {
    /// All elements.
    pub counts: StepCounts,
    /// Those that have rows.
    pub rows: u32,
}

/// A version of a job, kept beyond its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    /// Where the job lives.
    pub namespace: Namespace,
    /// Its name there.
    pub job: JobName,
    /// The number of the version.
    pub version: u32,
    /// The first run of it.
    pub first_run: RunId,
    /// Runs of it that are not in memory any more, also those that are not in the archive either.
    pub runs: u32,
    /// Digest of the spec.
    pub spec_digest: Digest,
    /// The spec.
    pub spec: Arc<JobSpec>,
    /// What the first run was told.
    pub args: Arc<str>,
    /// When that was submitted.
    pub submitted_at: Millis,
    /// By whom.
    pub principal: Principal,
}

/// What is known of the archive in memory; part of the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Archive {
    /// By number.
    pub(crate) segments: Map<u32, Arc<Segment>>,
    /// Runs of which some tasks are still in the tables, and the segment into which they go.
    pub(crate) leaving: Map<RunId, u32>,
    /// The versions of jobs of which runs have left.
    pub(crate) versions: Map<(Namespace, JobName, u32), Arc<VersionRow>>,
}

impl State {
    /// How long runs are kept; none before [`Feature::RunArchive`].
    pub fn retention(&self) -> Option<Retention> {
        self.settings().and_then(|settings| settings.retention).filter(|_| self.has_feature(Feature::RunArchive))
    }

    /// The segments of the archive, the oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.archive.segments.values()
    }

    /// How many runs are in the archive.
    pub fn archived_count(&self) -> u64 {
        self.archive.segments.values().map(|segment| u64::from(segment.runs)).sum()
    }

    /// Archived runs of which some tasks are still in memory, by id.
    pub fn leaving(&self) -> impl Iterator<Item = RunId> {
        self.archive.leaving.keys().copied()
    }

    /// Runs that have ended and can be archived, the first to end first: nothing of them holds room on a node, and no run
    /// in memory is a second try of them.
    pub fn archivable(&self) -> impl Iterator<Item = RunId> {
        self.index.finished().archivable()
    }

    /// How many runs are in memory that have ended.
    pub fn finished_count(&self) -> usize {
        self.runs.size().saturating_sub(self.unfinished_count())
    }

    /// Tasks and attempts in memory.
    pub fn rows_in_memory(&self) -> u64 {
        (self.tasks.size() + self.attempts.size()) as u64
    }

    /// The first run in memory in submit order.
    pub fn oldest_run(&self) -> Option<Revision> {
        self.index.oldest_submitted()
    }

    /// A version of a job, by its spec and what its first run was told.
    pub fn job_version(&self, namespace: &Namespace, name: &JobName, version: u32) -> Option<Arc<VersionRow>> {
        if let Some(kept) = self.archive.versions.get(&(namespace.clone(), name.clone(), version)) {
            return Some(kept.clone());
        }
        let first = self.index.job_version(namespace, name, version).and_then(|found| self.run(found.first_run))?;
        Some(Arc::new(VersionRow::of(first)))
    }

    /// The versions of a job, also of one that was deleted, the newest first; those before one, if it is given.
    pub fn job_versions(
        &self,
        namespace: &Namespace,
        name: &JobName,
        before: Option<u32>,
    ) -> impl Iterator<Item = JobVersion> {
        let key = |version: u32| (namespace.clone(), name.clone(), version);
        let last = before.map_or(Some(u32::MAX), |before| before.checked_sub(1));
        let kept = last.map(|last| self.archive.versions.range(key(0)..=key(last)));
        let kept = kept.into_iter().flatten().map(|(_, row)| JobVersion {
            version: row.version,
            first_run: row.first_run,
            runs: row.runs,
        });
        let mut all: std::collections::BTreeMap<u32, JobVersion> = kept.map(|found| (found.version, found)).collect();
        for live in self.index.job_versions(namespace, name, before) {
            let found = all.entry(live.version).or_insert(JobVersion { runs: 0, ..live });
            found.runs = found.runs.saturating_add(live.runs);
        }
        all.into_values().rev()
    }

    /// This state with an archived run in it, for readers: with these of its tasks and attempts, and counters as if it had
    /// all of them.
    pub fn with_archived(
        &self,
        archived: &ArchivedRun,
        tasks: impl IntoIterator<Item = Task>,
        attempts: impl IntoIterator<Item = Attempt>,
    ) -> Self {
        use crate::Change;
        let mut state = self.clone();
        let run = archived.run.id;
        state.commit(&Change::Run(archived.run.clone()));
        for row in &archived.rows {
            state.commit(&Change::Step(row.clone()));
        }
        for annotation in &archived.annotations {
            state.commit(&Change::Annotation(annotation.clone()));
        }
        tasks.into_iter().for_each(|task| state.commit(&Change::Task(Arc::new(task))));
        attempts.into_iter().for_each(|attempt| state.commit(&Change::Attempt(Arc::new(attempt))));
        state.index.show_archived(run, &archived.steps);
        state
    }

    /// The rows of a run that is leaving, or could be, at most `limit`: each task behind its attempts.
    pub(crate) fn rows_to_archive(&self, run: RunId, limit: usize) -> Vec<RowToArchive> {
        let mut rows = Vec::new();
        for task in self.tasks_of(run) {
            rows.extend(self.attempts_of(task.id).cloned().map(RowToArchive::Attempt));
            rows.push(RowToArchive::Task(task.clone()));
            if rows.len() >= limit {
                break;
            }
        }
        rows
    }
}

/// A row that goes from memory into the archive.
pub(crate) enum RowToArchive {
    Task(Arc<Task>),
    Attempt(Arc<Attempt>),
}

impl VersionRow {
    /// What a run says of the version of which it is the first run.
    pub(crate) fn of(run: &Run) -> Self {
        Self {
            namespace: run.spec.namespace.clone(),
            job: run.spec.name.clone(),
            version: run.job_version,
            first_run: run.id,
            runs: 0,
            spec_digest: run.spec_digest,
            spec: run.spec.clone(),
            args: run.args.clone(),
            submitted_at: run.submitted_at,
            principal: run.principal.clone(),
        }
    }
}

/// The newest run of a job, once that has ended and is not in memory any more.
pub(crate) fn without_latest(job: &Job, run: &Run) -> Job {
    Job { latest_ended: Some(run.state), ..job.clone() }
}
