//! Rows of the archive: runs that have ended, behind all rows that are loaded.
//!
//! All keys of a segment begin alike, so that it is forgotten by removing one range. In it lie, for each run: its head, by
//! its place in the submit order, the newest first; that place, by its id; its body, which is all but its tasks and
//! attempts, by its id; these; and an empty row for each word by which it can be searched for, with its place behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_state::{
    ArchivedRun, ArchivedStep, Attempt, AttemptId, Digest, Graph, JobName, JobSpec, Millis, Namespace, OnFailure,
    Revision, Run, RunId, RunState, StepCounts, Task, TaskId,
};

use super::key::{Key, Kind, Parts};
use super::{RowWrite, SpecCache, message, object, task};
use crate::convert::job::{labels_to_wire, spec_to_wire};
use crate::convert::run::run_state_to_wire;
use crate::format::FormatError;
use crate::format::parts::{digest_from, digest_to, labels_from, parsed, required, spec_from};
use crate::log::v1 as pb;

/// The first byte of every key of the archive; those of rows that are loaded are smaller.
const ARCHIVE: u8 = 64;

/// What a row of the archive is.
#[derive(Clone, Copy)]
enum Part {
    Head = 1,
    Id = 2,
    Body = 3,
    Task = 4,
    Attempt = 5,
    Word = 6,
}

/// True of a row that is not loaded into memory.
pub fn is_archived(key: &[u8]) -> bool {
    key.first().is_some_and(|kind| *kind >= ARCHIVE)
}

/// The first key behind all rows that are loaded.
pub fn archive_start() -> Bytes {
    Bytes::from_static(&[ARCHIVE])
}

/// Where a run lies among those of a segment. The smaller, the later it was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place([u8; 12]);

impl Place {
    /// Before all runs.
    pub const NEWEST: Self = Self([0; 12]);

    /// That of a run which was this item of that entry.
    pub fn of(revision: Revision, item: u32) -> Self {
        let mut bytes = [0; 12];
        let (high, low) = bytes.split_at_mut(8);
        high.copy_from_slice(&(!revision.0).to_be_bytes());
        low.copy_from_slice(&(!item).to_be_bytes());
        Self(bytes)
    }

    /// The entry by which it was submitted, and which of its items it was.
    pub fn submitted(self) -> (Revision, u32) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.0;
        (Revision(!u64::from_be_bytes([a, b, c, d, e, f, g, h])), !u32::from_be_bytes([i, j, k, l]))
    }

    /// As it ends a key.
    pub fn bytes(self) -> [u8; 12] {
        self.0
    }

    /// The place right before this one.
    pub fn before(self) -> Self {
        let (revision, item) = self.submitted();
        match item.checked_add(1) {
            Some(item) => Self::of(revision, item),
            None => Self::of(Revision(revision.0.saturating_add(1)), 0),
        }
    }

    /// The place right behind this one.
    pub fn next(self) -> Self {
        let (revision, item) = self.submitted();
        match item.checked_sub(1) {
            Some(item) => Self::of(revision, item),
            None => Self::of(Revision(revision.0.saturating_sub(1)), u32::MAX),
        }
    }
}

/// Something by which runs can be searched for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Its namespace.
    Namespace(Namespace),
    /// The name of its job, in whatever namespace.
    Job(JobName),
    /// How it ended.
    State(RunState),
    /// A label with its value.
    Label(String, String),
    /// A label with any value.
    LabelKey(String),
}

/// What lists show of an archived run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedHead {
    /// The run; its spec has what lists show, and no tasks.
    pub run: Run,
    /// Where its tasks stand.
    pub counts: StepCounts,
}

fn prefix(segment: u32, part: Part) -> BytesMut {
    let mut key = BytesMut::with_capacity(40);
    key.put_u8(ARCHIVE);
    key.put_u32(segment);
    key.put_u8(part as u8);
    key
}

fn of_run(segment: u32, part: Part, run: RunId) -> BytesMut {
    let mut key = prefix(segment, part);
    key.put_u64(run.0);
    key
}

fn put_task(key: &mut BytesMut, task: TaskId) {
    key.put_u32(task.step);
    key.put_u32(task.index);
}

/// The keys of a segment: from the first, to before the second.
pub fn segment_keys(segment: u32) -> (Bytes, Bytes) {
    let first = |segment: u64| {
        let mut key = BytesMut::from(&[ARCHIVE][..]);
        match u32::try_from(segment) {
            Ok(segment) => key.put_u32(segment),
            Err(_) => key[0] = ARCHIVE + 1,
        }
        key.freeze()
    };
    (first(segment.into()), first(u64::from(segment) + 1))
}

/// The key of the head at a place.
pub fn head_key(segment: u32, place: Place) -> Bytes {
    let mut key = prefix(segment, Part::Head);
    key.put_slice(&place.0);
    key.freeze()
}

/// The key of the place of a run.
pub fn id_key(segment: u32, run: RunId) -> Bytes {
    of_run(segment, Part::Id, run).freeze()
}

/// The key of the body of a run.
pub fn body_key(segment: u32, run: RunId) -> Bytes {
    of_run(segment, Part::Body, run).freeze()
}

/// The key of a task.
pub fn task_key(segment: u32, task: TaskId) -> Bytes {
    let mut key = of_run(segment, Part::Task, task.run);
    put_task(&mut key, task);
    key.freeze()
}

/// The key of an attempt.
pub fn attempt_key(segment: u32, attempt: AttemptId) -> Bytes {
    let mut key = of_run(segment, Part::Attempt, attempt.task.run);
    put_task(&mut key, attempt.task);
    key.put_u32(attempt.number);
    key.freeze()
}

/// The key under which a run at a place is found by a word.
pub fn word_key(segment: u32, word: &Word, place: Place) -> Bytes {
    let mut key = prefix(segment, Part::Word);
    let mut texts = |kind: u8, texts: &[&str]| {
        key.put_u8(kind);
        for text in texts {
            // Lengths instead of ends: words are compared for being equal alone.
            key.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            key.put_slice(text.as_bytes());
        }
    };
    match word {
        Word::Namespace(namespace) => texts(1, &[namespace.as_str()]),
        Word::Job(job) => texts(2, &[job.as_str()]),
        Word::State(state) => texts(3, &[run_state_to_wire(*state).as_str_name()]),
        Word::Label(name, value) => texts(4, &[name, value]),
        Word::LabelKey(name) => texts(5, &[name]),
    }
    key.put_slice(&place.0);
    key.freeze()
}

/// The place in a key of a head or of a word.
///
/// # Errors
/// A key that is too short for one.
pub fn place_of(key: &[u8]) -> Result<Place, FormatError> {
    key.last_chunk().map(|place| Place(*place)).ok_or_else(|| FormatError::Key(key.to_vec()))
}

/// The run in a key of a place by id.
///
/// # Errors
/// A key of another length.
pub fn run_of_id_key(key: &[u8]) -> Result<RunId, FormatError> {
    let run = key.last_chunk().filter(|_| key.len() == 14).map(|id| RunId(u64::from_be_bytes(*id)));
    run.ok_or_else(|| FormatError::Key(key.to_vec()))
}

fn words(run: &Run) -> Vec<Word> {
    let mut words =
        vec![Word::Namespace(run.spec.namespace.clone()), Word::Job(run.spec.name.clone()), Word::State(run.state)];
    for (key, value) in &run.spec.labels {
        words.push(Word::Label(key.clone(), value.clone()));
        words.push(Word::LabelKey(key.clone()));
    }
    words
}

/// Takes a run out of the rows that are loaded, and writes it behind them.
pub(super) fn archived_to(archived: &ArchivedRun) -> RowWrite {
    let (segment, run) = (archived.segment, &archived.run);
    let place = Place::of(run.submitted_revision, run.submitted_item);
    let delete = |key: Key| RowWrite::Delete { key: key.done() };
    let put = |key: Bytes, value: Vec<u8>| RowWrite::Put { key, value: value.into() };
    let mut writes = vec![
        delete(Key::of(Kind::Spec).run(run.id)),
        delete(Key::of(Kind::Run).run(run.id)),
        put(head_key(segment, place), head_to(archived).encode_to_vec()),
        put(id_key(segment, run.id), place.0.to_vec()),
        put(body_key(segment, run.id), body_to(archived).encode_to_vec()),
    ];
    writes.extend(archived.rows.iter().map(|row| delete(Key::of(Kind::Step).step(row.run, row.step))));
    let annotations = archived.annotations.iter();
    writes.extend(annotations.map(|found| delete(Key::of(Kind::Annotation).run(run.id).text(found.key.as_str()))));
    writes.extend(words(run).iter().map(|word| put(word_key(segment, word, place), Vec::new())));
    RowWrite::All(writes)
}

/// Moves the row of a task.
pub(super) fn task_archived_to(segment: u32, moved: &Task) -> RowWrite {
    RowWrite::All(vec![
        RowWrite::Delete { key: Key::of(Kind::Task).task(moved.id).done() },
        RowWrite::Put { key: task_key(segment, moved.id), value: task::task_to(moved).encode_to_vec().into() },
    ])
}

/// Moves the row of an attempt.
pub(super) fn attempt_archived_to(segment: u32, moved: &Attempt) -> RowWrite {
    RowWrite::All(vec![
        RowWrite::Delete { key: Key::of(Kind::Attempt).attempt(moved.id).done() },
        RowWrite::Put { key: attempt_key(segment, moved.id), value: task::attempt_to(moved).encode_to_vec().into() },
    ])
}

fn head_to(archived: &ArchivedRun) -> pb::ArchivedHead {
    let run = &archived.run;
    // What it was told, and what came out of it, may be large; it stands in the body.
    let row = pb::RunRow { args: String::new(), result: None, ..object::run_to(run) };
    pb::ArchivedHead {
        id: run.id.0,
        run: Some(row),
        namespace: run.spec.namespace.to_string(),
        job: run.spec.name.to_string(),
        priority: run.spec.priority.into(),
        labels: labels_to_wire(&run.spec.labels),
        counts: Some(counts_to(archived.counts())),
    }
}

fn body_to(archived: &ArchivedRun) -> pb::ArchivedBody {
    let run = &archived.run;
    pb::ArchivedBody {
        run: Some(object::run_to(run)),
        spec: Some(spec_to_wire(&run.spec)),
        steps: archived
            .steps
            .iter()
            .map(|step| pb::ArchivedStep { counts: Some(counts_to(step.counts)), rows: step.rows })
            .collect(),
        rows: archived
            .rows
            .iter()
            .map(|row| pb::ArchivedStepRow { step: row.step, row: Some(task::step_to(row)) })
            .collect(),
        annotations: archived
            .annotations
            .iter()
            .map(|found| pb::ArchivedAnnotation { key: found.key.to_string(), row: Some(object::annotation_to(found)) })
            .collect(),
        archived_at_ms: archived.archived_at.0,
    }
}

/// What lists show of the run whose head this is.
///
/// # Errors
/// A value that this version does not know.
pub fn decode_head(value: &[u8]) -> Result<ArchivedHead, FormatError> {
    let head: pb::ArchivedHead = message("the head of an archived run", value)?;
    let spec = JobSpec {
        namespace: parsed("namespace", &head.namespace)?,
        name: parsed("job", &head.job)?,
        priority: u8::try_from(head.priority).unwrap_or(u8::MAX),
        labels: labels_from(head.labels)?,
        on_failure: OnFailure::default(),
        timeout_ms: None,
        params: BTreeMap::new(),
        result: BTreeMap::new(),
        tasks: Vec::new(),
    };
    let row = required("run", head.run)?;
    Ok(ArchivedHead {
        run: run_from(RunId(head.id), row, spec)?,
        counts: counts_from(required("counts", head.counts)?),
    })
}

/// The run whose body this is.
///
/// # Errors
/// A value that this version does not know.
pub fn decode_body(segment: u32, run: RunId, value: &[u8]) -> Result<ArchivedRun, FormatError> {
    let body: pb::ArchivedBody = message("the body of an archived run", value)?;
    let step = |step: pb::ArchivedStep| {
        Ok::<_, FormatError>(ArchivedStep { counts: counts_from(required("counts", step.counts)?), rows: step.rows })
    };
    let row = |row: pb::ArchivedStepRow| task::step_from((run, row.step), required("row", row.row)?).map(Arc::new);
    let annotation = |found: pb::ArchivedAnnotation| {
        let (key, row) = (parsed("annotation", &found.key)?, required("row", found.row)?);
        Ok::<_, FormatError>(Arc::new(object::annotation_from(run, key, row)))
    };
    Ok(ArchivedRun {
        segment,
        run: Arc::new(run_from(run, required("run", body.run)?, spec_from(body.spec)?)?),
        steps: body.steps.into_iter().map(step).collect::<Result<_, _>>()?,
        rows: body.rows.into_iter().map(row).collect::<Result<_, _>>()?,
        annotations: body.annotations.into_iter().map(annotation).collect::<Result<_, _>>()?,
        archived_at: Millis(body.archived_at_ms),
    })
}

/// The task in a row of the archive.
///
/// # Errors
/// A row that this version does not know.
pub fn decode_archived_task(key: &[u8], value: &[u8]) -> Result<Task, FormatError> {
    task::task_from(Parts::behind(key, 6)?.task()?, message("an archived task", value)?)
}

/// The attempt in a row of the archive.
///
/// # Errors
/// A row that this version does not know.
pub fn decode_archived_attempt(key: &[u8], value: &[u8]) -> Result<Attempt, FormatError> {
    task::attempt_from(Parts::behind(key, 6)?.attempt()?, message("an archived attempt", value)?)
}

fn run_from(id: RunId, row: pb::RunRow, spec: JobSpec) -> Result<Run, FormatError> {
    let digest: Digest = digest_from("spec_digest", &row.spec_digest)?;
    let mut specs = SpecCache::default();
    let graph = Arc::new(Graph::of(&spec));
    specs.runs.insert(id, (digest, (Arc::new(spec), graph)));
    object::run_from(id, row, &specs)
}

/// A version of a job as a row.
pub(super) fn version_to(row: &quorate_state::VersionRow) -> pb::VersionRow {
    pb::VersionRow {
        first_run: row.first_run.0,
        runs: row.runs,
        spec_digest: digest_to(row.spec_digest),
        spec: Some(spec_to_wire(&row.spec)),
        args: row.args.to_string(),
        submitted_at_ms: row.submitted_at.0,
        principal: row.principal.to_string(),
    }
}

pub(super) fn version_from(
    (namespace, job, version): (Namespace, JobName, u32),
    row: pb::VersionRow,
    specs: &mut SpecCache,
) -> Result<quorate_state::VersionRow, FormatError> {
    let spec_digest = digest_from("spec_digest", &row.spec_digest)?;
    let (spec, _) = specs.share(spec_digest, spec_from(row.spec)?);
    Ok(quorate_state::VersionRow {
        namespace,
        job,
        version,
        first_run: RunId(row.first_run),
        runs: row.runs,
        spec_digest,
        spec,
        args: row.args.into(),
        submitted_at: Millis(row.submitted_at_ms),
        principal: quorate_state::Principal(row.principal.into()),
    })
}

/// A segment as a row.
pub(super) fn segment_to(segment: &quorate_state::Segment) -> pb::SegmentRow {
    pb::SegmentRow {
        runs: segment.runs,
        first_submitted: segment.first_submitted.0,
        last_submitted: segment.last_submitted.0,
        began_at_ms: segment.began_at.0,
        last_ended_ms: segment.last_ended.0,
        first_submitted_at_ms: segment.first_submitted_at.0,
        last_submitted_at_ms: segment.last_submitted_at.0,
    }
}

pub(super) fn segment_from(number: u32, row: &pb::SegmentRow) -> quorate_state::Segment {
    quorate_state::Segment {
        number,
        runs: row.runs,
        first_submitted: Revision(row.first_submitted),
        last_submitted: Revision(row.last_submitted),
        began_at: Millis(row.began_at_ms),
        last_ended: Millis(row.last_ended_ms),
        first_submitted_at: Millis(row.first_submitted_at_ms),
        last_submitted_at: Millis(row.last_submitted_at_ms),
    }
}

fn counts_to(counts: StepCounts) -> pb::Counts {
    pb::Counts {
        waiting: counts.waiting,
        quarantined: counts.quarantined,
        ready: counts.ready,
        placed: counts.placed,
        running: counts.running,
        succeeded: counts.succeeded,
        failed: counts.failed,
        cancelled: counts.cancelled,
        skipped: counts.skipped,
    }
}

fn counts_from(counts: pb::Counts) -> StepCounts {
    StepCounts {
        waiting: counts.waiting,
        quarantined: counts.quarantined,
        ready: counts.ready,
        placed: counts.placed,
        running: counts.running,
        succeeded: counts.succeeded,
        failed: counts.failed,
        cancelled: counts.cancelled,
        skipped: counts.skipped,
    }
}
