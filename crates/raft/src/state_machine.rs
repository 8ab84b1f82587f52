//! openraft's state machine: `quorate_state::apply`, and its changes as rows on disk.

mod digest;
mod published;
mod rows;
mod touched;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use quorate_planted::Bug;
use quorate_proto::raft::v1 as pb;
use quorate_proto::rows as encoding;
use quorate_seams::{Batch, Durability, Table};
use quorate_state::{Change, FeatureSet, Meta, Revision, State};
use tokio::time::Instant;

use crate::log_store::LogStore;
use crate::measures::Measures;
use crate::snapshot::{Builder, Image, Received, Snapshot, TABLES, Views};
use crate::store::{self, Store};
use crate::type_config::{LogEntry, LogId, Outcome, Peer, ReplicaId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::{Error, features, log_store, wire};
use digest::Digest;

pub(crate) use published::Published;

/// Entries whose rows are written together. They are replied to only then.
const CHUNK_ENTRIES: usize = 64;
/// Bytes of rows written together, give or take an entry.
const CHUNK_BYTES: usize = 1 << 20;

/// The state and how far the log has come in it.
pub(crate) struct StateMachine {
    store: Store,
    published: Arc<Published>,
    /// What this replica can do; what asks for more stops it.
    features: FeatureSet,
    state: State,
    done: Done,
    /// None for a machine that serves nobody.
    measures: Option<Arc<Measures>>,
    /// Where the view is kept that is sent to others.
    views: Arc<Views>,
    /// Rows that nobody waits for, where [`Bug::RowsHeldPastPurge`] is planted; else always empty.
    held: Chunk,
}

/// What was applied; the row under [`store::APPLIED`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Done {
    log_id: Option<LogId>,
    membership: StoredMembership,
    /// Revision = base + index. Zero until a restore raises it.
    base: u64,
    digest: Digest,
    replica_max: ReplicaId,
}

/// Entries applied in memory whose rows are not written yet.
#[derive(Default)]
struct Chunk {
    batch: Batch,
    entries: usize,
    /// When the first of them began.
    since: Option<Instant>,
    replies: Vec<(ApplyResponder<TypeConfig>, Outcome)>,
}

impl StateMachine {
    /// Loads the state from its rows, for a replica that has these features.
    pub(crate) fn load(store: Store, published: Arc<Published>, features: FeatureSet) -> Result<Self, Error> {
        let view = store.disk().view();
        let done = Done::from_record(store::read(&*view, store::APPLIED)?.unwrap_or_default())?;
        let state = rows::load_view(view)?;
        features::check_state(&state, &features)?;
        done.check(&state)?;
        let broken = state.check();
        if let Some(first) = broken.first() {
            return Err(Error::Damaged(format!("{first} ({} findings in its rows)", broken.len())));
        }
        let views = Arc::default();
        let machine = Self { store, published, features, state, done, measures: None, views, held: Chunk::default() };
        machine.published.forget_touched(machine.state.revision());
        machine.publish();
        Ok(machine)
    }

    /// The same, measured.
    pub(crate) fn measured(self, measures: Arc<Measures>) -> Self {
        Self { measures: Some(measures), ..self }
    }

    /// The same, sharing the view that it hands out with whoever sends it.
    pub(crate) fn sending(self, views: Arc<Views>) -> Self {
        Self { views, ..self }
    }

    /// Applies what the log holds beyond what was applied, in memory, and adds its rows to a batch.
    /// Answers which entries these were. Only for a machine that serves nobody.
    pub(crate) fn replay(&mut self, log: &LogStore, batch: &mut Batch) -> Result<Range<u64>, Error> {
        let unreadable = |error: io::Error| Error::Format(error.to_string());
        let first = self.done.next_index();
        loop {
            let from = self.done.next_index();
            let entries = log.read(from, u64::MAX, CHUNK_BYTES).map_err(unreadable)?;
            if entries.is_empty() {
                return Ok(first..from);
            }
            for entry in entries {
                self.apply_entry(&entry, batch).map_err(unreadable)?;
            }
        }
    }

    /// The state as it is now.
    pub(crate) fn view(&self) -> &State {
        &self.state
    }

    /// The members as of now.
    pub(crate) fn peers(&self) -> Vec<(ReplicaId, Peer)> {
        self.done.membership.membership().nodes().map(|(id, peer)| (*id, peer.clone())).collect()
    }

    /// The highest replica id that was ever a member.
    pub(crate) fn replica_max(&self) -> ReplicaId {
        self.done.replica_max
    }

    /// Applies one entry in memory and adds its rows to the batch.
    fn apply_entry(&mut self, entry: &LogEntry, batch: &mut Batch) -> Result<Outcome, io::Error> {
        let revision = Revision(self.done.base + entry.log_id.index);
        let (changes, events, outcome) = match &entry.payload {
            EntryPayload::Normal(payload) => {
                let entry = payload.entry().map_err(|error| self.store.fail(&error))?;
                features::check_entry(&entry, &self.features).map_err(|error| self.store.fail(&error))?;
                let applied = quorate_state::apply(&self.state, revision, &entry);
                self.state = applied.next;
                (applied.changes, applied.events, Outcome(applied.replies))
            }
            EntryPayload::Membership(membership) => {
                self.done.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                let highest = membership.nodes().map(|(id, _)| *id).max().unwrap_or_default();
                self.done.replica_max = self.done.replica_max.max(highest);
                (self.pass(revision), vec![], Outcome::default())
            }
            EntryPayload::Blank => (self.pass(revision), vec![], Outcome::default()),
        };
        let mut hasher = self.done.digest.next(revision);
        for change in &changes {
            if let Change::EventsBelow(below) = change {
                // Before the rows can be missed, so that a reader who misses them learns why.
                self.published.forget_events_below(*below);
            }
            self.published.note_touched(revision, change);
            let write = encoding::encode_change(change);
            hasher.add(&write);
            rows::add(batch, write);
        }
        for event in &events {
            let (key, value) = encoding::encode_event(event);
            hasher.add_event(&key, &value);
            batch.put(Table::Events, key, value);
        }
        self.done.digest = hasher.done();
        self.done.log_id = Some(entry.log_id);
        self.published.note_digest(revision, self.done.digest);
        Ok(outcome)
    }

    /// An entry of openraft's own: only the revision moves.
    fn pass(&mut self, revision: Revision) -> Vec<Change> {
        let change = Change::Meta(Meta { revision, ..self.state.meta().clone() });
        self.state.commit(&change);
        vec![change]
    }

    /// Writes what was applied, shows it, and answers who waits for it.
    async fn flush(&mut self, chunk: &mut Chunk) -> Result<(), io::Error> {
        let Chunk { mut batch, entries, since, replies } = std::mem::take(chunk);
        if entries == 0 {
            return Ok(());
        }
        if quorate_planted::is(Bug::RowsHeldPastPurge) {
            self.held.batch.writes.append(&mut batch.writes);
            self.held.entries += entries;
            if replies.is_empty() && self.held.entries < CHUNK_ENTRIES {
                self.publish();
                return Ok(());
            }
            batch = std::mem::take(&mut self.held).batch;
        }
        store::put(&mut batch, store::APPLIED, &self.done.to_record());
        self.store.write_applied(batch).await?;
        self.publish();
        if let (Some(measures), Some(since)) = (&self.measures, since) {
            measures.rows_written(entries, since);
        }
        for (responder, outcome) in replies {
            responder.send(outcome);
        }
        Ok(())
    }

    fn publish(&self) {
        let Done { membership, replica_max, .. } = &self.done;
        self.published.publish(&self.state, self.done.next_index(), membership, *replica_max);
    }

    fn snapshot_meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.done.log_id, last_membership: self.done.membership.clone() }
    }

    async fn install(&mut self, meta: &SnapshotMeta, received: Received) -> Result<(), Error> {
        let rows = || match quorate_planted::is(Bug::RequestsLostInSnapshot) {
            true => rows::without_requests((received.rows)()),
            false => (received.rows)(),
        };
        let done = Done::from_record(received.applied)?;
        if (&done.log_id, &done.membership) != (&meta.last_log_id, &meta.last_membership) {
            return Err(Error::Format("a snapshot and its own record disagree on what it covers".into()));
        }
        // Read before it replaces anything: what cannot be read must not become our state.
        let state = rows::load(rows())?;
        features::check_state(&state, &self.features)?;
        done.check(&state)?;
        let mut and = Batch::default();
        store::put(&mut and, store::APPLIED, &done.to_record());
        self.published.forget_events_below(state.meta().events_from);
        self.held = Chunk::default();
        if quorate_planted::is(Bug::InstallKeepsRows) {
            for row in rows() {
                let (table, (key, value)) = row?;
                and.put(table, key, value);
            }
            self.store.disk().submit(and, Durability::Synced).await?;
        } else {
            if let Some(last) = &done.log_id {
                // With the rows, so that no crash leaves a log that ends before what was applied.
                log_store::cut(&mut and, last);
            }
            self.store.disk().replace(&TABLES, rows(), and).await?;
        }
        (self.state, self.done) = (state, done);
        self.published.forget_touched(self.state.revision());
        tracing::info!(revision = %self.state.revision(), "a snapshot was installed");
        self.publish();
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Image;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.done.log_id, self.done.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunk = Chunk::default();
        let mut bytes = 0;
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            chunk.since.get_or_insert_with(Instant::now);
            let before = chunk.batch.writes.len();
            let outcome = self.apply_entry(&entry, &mut chunk.batch)?;
            bytes += rows::bytes(&chunk.batch.writes[before..]);
            chunk.entries += 1;
            chunk.replies.extend(responder.map(|responder| (responder, outcome)));
            if chunk.entries >= CHUNK_ENTRIES || bytes >= CHUNK_BYTES {
                self.flush(&mut chunk).await?;
                bytes = 0;
                // Long catch-ups share the thread with elections.
                tokio::task::yield_now().await;
            }
        }
        self.flush(&mut chunk).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { store: self.store.clone(), meta: self.snapshot_meta(), view: self.store.disk().view() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, image: Image) -> Result<(), io::Error> {
        let received = image.open().map_err(|error| self.store.fail(&error))?;
        let store = self.store.clone();
        self.install(meta, received).await.map_err(|error| store.fail(&error))
    }

    /// What is on disk now, which may be newer than the snapshot that openraft last asked to build; or
    /// what a follower has some of already.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        if self.done.log_id.is_none() {
            return Ok(None);
        }
        let purged: Option<pb::Mark> = self.store.read(store::PURGED)?;
        let purged = purged.and_then(|mark| mark.log_id).map(|id| id.index);
        let fresh = || (self.snapshot_meta(), self.store.disk().view());
        let (meta, out) = self.views.hand_out(purged, fresh);
        Ok(Some(Snapshot { meta, snapshot: Image::View(out) }))
    }
}

impl Done {
    fn next_index(&self) -> u64 {
        self.log_id.map_or(0, |applied| applied.index + 1)
    }

    /// The rows and the record of one batch must name the same entry.
    fn check(&self, state: &State) -> Result<(), Error> {
        let expected = Revision(self.log_id.map_or(0, |applied| self.base + applied.index));
        if state.revision() == expected {
            Ok(())
        } else {
            Err(Error::Format(format!("rows of revision {}, applied record of {expected}", state.revision())))
        }
    }

    fn from_record(record: pb::Applied) -> Result<Self, Error> {
        let format = |error: wire::WireError| Error::Format(format!("the applied record: {error}"));
        let Some(log_id) = &record.log_id else { return Ok(Self::default()) };
        Ok(Self {
            log_id: Some(wire::log_id_from(log_id)),
            membership: wire::stored_membership_from(record.membership).map_err(format)?,
            base: record.base,
            digest: Digest::from_bytes(&record.digest).ok_or_else(|| format(wire::WireError::Wrong("digest")))?,
            replica_max: record.replica_max,
        })
    }

    fn to_record(&self) -> pb::Applied {
        pb::Applied {
            log_id: self.log_id.as_ref().map(wire::log_id_to),
            membership: Some(wire::stored_membership_to(&self.membership)),
            base: self.base,
            digest: self.digest.to_bytes(),
            replica_max: self.replica_max,
        }
    }
}

#[cfg(test)]
mod tests;
