//! Rows of the replicated state, and of events, as keys and values.

mod archive;
mod key;
mod object;
mod rebalance;
mod reservation;
mod task;

mod event;
mod reply;

pub use archive::{
    ArchivedHead, Place, Word, archive_start, attempt_key, body_key, decode_archived_attempt, decode_archived_task,
    decode_body, decode_head, head_key, id_key, is_archived, place_of, run_of_id_key, segment_keys, task_key, word_key,
};
pub use event::{decode_event, encode_event, event_key, may_be_about};

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use quorate_state::{Change, Digest, Graph, JobSpec, RunId};

use crate::format::FormatError;
use crate::format::parts::{digest_from, digest_to, feature_from, settings_from, settings_to, spec_from};
use crate::log::v1 as pb;
use key::{Key, Kind};

/// What a change does to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowWrite {
    /// Sets a row of the state.
    Put {
        /// Its key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// Removes a row of the state.
    Delete {
        /// Its key.
        key: Bytes,
    },
    /// Removes all *event* rows whose key is below `to`.
    DeleteEventsBelow {
        /// The first event key that stays.
        to: Bytes,
    },
    /// Removes all rows of the state from one key to before another.
    DeleteRange {
        /// The first key that goes.
        from: Bytes,
        /// The first that stays.
        to: Bytes,
    },
    /// All of these, in this order.
    All(Vec<RowWrite>),
}

impl RowWrite {
    /// The writes that it consists of, each of one row or one range.
    pub fn singles(self) -> Vec<RowWrite> {
        match self {
            Self::All(writes) => writes,
            Self::Put { .. } | Self::Delete { .. } | Self::DeleteEventsBelow { .. } | Self::DeleteRange { .. } => {
                vec![self]
            }
        }
    }
}

/// Specs read so far: hands each run its own, and lets runs of one version of a job share it. Drop
/// it when loading is over.
#[derive(Debug, Default)]
pub struct SpecCache {
    runs: BTreeMap<RunId, (Digest, Shared)>,
    shared: BTreeMap<Digest, Shared>,
}

type Shared = (Arc<JobSpec>, Arc<Graph>);

impl SpecCache {
    /// The spec, as the one already read when that is equal. The digest only finds candidates:
    /// whoever proposed it may have been wrong.
    fn share(&mut self, digest: Digest, spec: JobSpec) -> Shared {
        match self.shared.get(&digest) {
            Some(known) if *known.0 == spec => known.clone(),
            Some(_) | None => {
                let graph = Arc::new(Graph::of(&spec));
                let shared = (Arc::new(spec), graph);
                self.shared.insert(digest, shared.clone());
                shared
            }
        }
    }
}

/// The row that a change writes or removes.
pub fn encode_change(change: &Change) -> RowWrite {
    let put = |key: Key, value: Vec<u8>| RowWrite::Put { key: key.done(), value: value.into() };
    match change {
        Change::Meta(meta) => put(Key::of(Kind::Meta), object::meta_to(meta).encode_to_vec()),
        Change::Settings(settings) => put(Key::of(Kind::Settings), settings_to(settings).encode_to_vec()),
        Change::Namespace(row) => {
            put(Key::of(Kind::Namespace).text(row.name.as_str()), object::namespace_to(row).encode_to_vec())
        }
        Change::Cluster(cluster) => {
            put(Key::of(Kind::Cluster).text(cluster.name.as_str()), object::cluster_to(cluster).encode_to_vec())
        }
        Change::Node(node) => put(Key::of(Kind::Node).text(node.name.as_str()), object::node_to(node).encode_to_vec()),
        Change::NodeGone(node) => RowWrite::Delete { key: Key::of(Kind::Node).text(node.as_str()).done() },
        Change::Job(job) => put(
            Key::of(Kind::Job).text(job.namespace.as_str()).text(job.name.as_str()),
            object::job_to(job).encode_to_vec(),
        ),
        Change::Spec(run, digest, spec) => {
            let value = pb::SpecRow { digest: digest_to(*digest), spec: Some(crate::convert::job::spec_to_wire(spec)) };
            put(Key::of(Kind::Spec).run(*run), value.encode_to_vec())
        }
        Change::Run(run) => put(Key::of(Kind::Run).run(run.id), object::run_to(run).encode_to_vec()),
        Change::Annotation(annotation) => put(
            Key::of(Kind::Annotation).run(annotation.run).text(annotation.key.as_str()),
            object::annotation_to(annotation).encode_to_vec(),
        ),
        Change::Task(task) => put(Key::of(Kind::Task).task(task.id), task::task_to(task).encode_to_vec()),
        Change::Step(step) => put(Key::of(Kind::Step).step(step.run, step.step), task::step_to(step).encode_to_vec()),
        Change::Attempt(attempt) => {
            put(Key::of(Kind::Attempt).attempt(attempt.id), task::attempt_to(attempt).encode_to_vec())
        }
        Change::Request(row) => put(Key::request(&row.key()), reply::request_to(row).encode_to_vec()),
        Change::Feature(row) => {
            put(Key::of(Kind::Feature).number(row.feature.number()), object::feature_to(row).encode_to_vec())
        }
        Change::JoinToken(token) => {
            put(Key::of(Kind::JoinToken).join_token(token.id()), object::join_token_to(token).encode_to_vec())
        }
        Change::JoinTokenGone(token) => RowWrite::Delete { key: Key::of(Kind::JoinToken).join_token(*token).done() },
        Change::Scope(row) => put(Key::scope(&row.scope), object::scope_to(row).encode_to_vec()),
        Change::ScopeGone(scope) => RowWrite::Delete { key: Key::scope(scope).done() },
        Change::RequestGone(key) => RowWrite::Delete { key: Key::request(key).done() },
        Change::EventsBelow(revision) => RowWrite::DeleteEventsBelow { to: event_key(*revision, 0) },
        Change::Segment(segment) => {
            put(Key::of(Kind::Segment).number(segment.number), archive::segment_to(segment).encode_to_vec())
        }
        Change::SegmentGone(segment) => {
            let (from, to) = segment_keys(*segment);
            let row = RowWrite::Delete { key: Key::of(Kind::Segment).number(*segment).done() };
            RowWrite::All(vec![row, RowWrite::DeleteRange { from, to }])
        }
        Change::Archived(archived) => archive::archived_to(archived),
        Change::Leaving(run, segment) => {
            put(Key::of(Kind::Leaving).run(*run), pb::LeavingRow { segment: *segment }.encode_to_vec())
        }
        Change::TaskArchived(segment, task) => archive::task_archived_to(*segment, task),
        Change::AttemptArchived(segment, attempt) => archive::attempt_archived_to(*segment, attempt),
        Change::Left(run) => RowWrite::Delete { key: Key::of(Kind::Leaving).run(*run).done() },
        Change::Version(row) => {
            put(Key::version((&row.namespace, &row.job, row.version)), archive::version_to(row).encode_to_vec())
        }
        Change::VersionGone((namespace, job, version)) => {
            RowWrite::Delete { key: Key::version((namespace, job, *version)).done() }
        }
        Change::Claim(claim) => put(Key::of(Kind::Claim).task(claim.task), task::claim_to(claim).encode_to_vec()),
        Change::ClaimGone(task) => RowWrite::Delete { key: Key::of(Kind::Claim).task(*task).done() },
        Change::Rebalance(row) => put(Key::of(Kind::Rebalance), rebalance::rebalance_to(row).encode_to_vec()),
        Change::Move(row) => put(Key::of(Kind::Move).task(row.task), rebalance::move_to(row).encode_to_vec()),
        Change::Reservation(row) => {
            put(Key::of(Kind::Reservation).text(row.name.as_str()), reservation::reservation_to(row).encode_to_vec())
        }
        Change::ReservationGone(name) => {
            RowWrite::Delete { key: Key::of(Kind::Reservation).text(name.as_str()).done() }
        }
        Change::MoveGone(task) => RowWrite::Delete { key: Key::of(Kind::Move).task(*task).done() },
    }
}

/// The keys of the rows that enable features: from the first, to before the second.
pub fn feature_keys() -> (Bytes, Bytes) {
    let first = Kind::Feature as u8;
    (Bytes::from(vec![first]), Bytes::from(vec![first + 1]))
}

/// The change that a row of the state stands for. Read rows in key order: it is the order in which
/// [`quorate_state::State::commit`] wants them, and the one that puts a spec before its run.
///
/// # Errors
/// Anything in the row that this version does not know: it is encoded again and must give the same bytes.
pub fn decode_row(key: &[u8], value: &[u8], specs: &mut SpecCache) -> Result<Change, FormatError> {
    let change = decode(key, value, specs)?;
    match encode_change(&change) {
        RowWrite::Put { key: same_key, value: same_value } if same_key == key && same_value == value => Ok(change),
        RowWrite::Put { .. }
        | RowWrite::Delete { .. }
        | RowWrite::DeleteEventsBelow { .. }
        | RowWrite::DeleteRange { .. }
        | RowWrite::All(_) => Err(FormatError::Unfaithful("a row")),
    }
}

fn decode(key: &[u8], value: &[u8], specs: &mut SpecCache) -> Result<Change, FormatError> {
    let mut parts = key::Parts::of(key);
    let kind = parts.kind()?;
    Ok(match kind {
        Kind::Meta => Change::Meta(object::meta_from(message("the meta row", value)?)?),
        Kind::Settings => Change::Settings(Arc::new(settings_from(message("the settings row", value)?)?)),
        Kind::Namespace => {
            let name = parts.name("namespace")?;
            Change::Namespace(Arc::new(object::namespace_from(name, message("a namespace row", value)?)?))
        }
        Kind::Cluster => {
            Change::Cluster(Arc::new(object::cluster_from(parts.name("cluster")?, &message("a cluster row", value)?)?))
        }
        Kind::Node => Change::Node(Arc::new(object::node_from(parts.name("node")?, message("a node row", value)?)?)),
        Kind::Job => {
            let (namespace, name) = (parts.name("namespace")?, parts.name("job")?);
            Change::Job(Arc::new(object::job_from(namespace, name, message("a job row", value)?, specs)?))
        }
        Kind::Spec => {
            let run = parts.run()?;
            let row: pb::SpecRow = message("a spec row", value)?;
            let digest = digest_from("digest", &row.digest)?;
            let shared = specs.share(digest, spec_from(row.spec)?);
            specs.runs.insert(run, (digest, shared.clone()));
            Change::Spec(run, digest, shared.0)
        }
        Kind::Run => Change::Run(Arc::new(object::run_from(parts.run()?, message("a run row", value)?, specs)?)),
        Kind::Task => Change::Task(Arc::new(task::task_from(parts.task()?, message("a task row", value)?)?)),
        Kind::Step => Change::Step(Arc::new(task::step_from(parts.step()?, message("a step row", value)?)?)),
        Kind::Attempt => {
            Change::Attempt(Arc::new(task::attempt_from(parts.attempt()?, message("an attempt row", value)?)?))
        }
        Kind::Request => {
            let key = parts.request()?;
            Change::Request(Arc::new(reply::request_from(key, message("a request row", value)?)?))
        }
        Kind::Feature => {
            let feature = feature_from(parts.number()?)?;
            Change::Feature(object::feature_from_row(feature, &message("a feature row", value)?))
        }
        // A key that is not that of its digest is found when the row is encoded again.
        Kind::JoinToken => {
            parts.join_token()?;
            Change::JoinToken(Arc::new(object::join_token_from(message("a join token row", value)?)?))
        }
        Kind::Segment => {
            let number = parts.number()?;
            Change::Segment(Arc::new(archive::segment_from(number, &message("a segment row", value)?)))
        }
        Kind::Leaving => {
            let run = parts.run()?;
            let row: pb::LeavingRow = message("the row of a run that leaves", value)?;
            Change::Leaving(run, row.segment)
        }
        Kind::Version => {
            let key = (parts.name("namespace")?, parts.name("job")?, parts.number()?);
            Change::Version(Arc::new(archive::version_from(key, message("a version row", value)?, specs)?))
        }
        Kind::Scope => {
            let scope = parts.scope()?;
            Change::Scope(Arc::new(object::scope_from(scope, message("the row of a cluster or a region", value)?)?))
        }
        Kind::Claim => {
            Change::Claim(Arc::new(task::claim_from(parts.task()?, message("the row of room that is kept", value)?)?))
        }
        Kind::Rebalance => {
            Change::Rebalance(Arc::new(rebalance::rebalance_from(message("the row of a rebalance", value)?)?))
        }
        Kind::Reservation => {
            let name = parts.name("a reservation's name")?;
            let row = message("the row of a reservation", value)?;
            Change::Reservation(Arc::new(reservation::reservation_from(name, row)?))
        }
        Kind::Move => {
            let task = parts.task()?;
            Change::Move(Arc::new(rebalance::move_from(task, &message("the row of a move", value)?)?))
        }
        Kind::Annotation => {
            let (run, key) = (parts.run()?, parts.name("annotation")?);
            Change::Annotation(Arc::new(object::annotation_from(run, key, message("an annotation row", value)?)))
        }
    })
}

fn message<M: Message + Default>(what: &'static str, value: &[u8]) -> Result<M, FormatError> {
    M::decode(value).map_err(|source| FormatError::Bytes { what, source })
}

#[cfg(test)]
mod tests;
