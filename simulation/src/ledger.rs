//! The one history that all replicas must share, put together from what they wrote to their disks,
//! and the state that follows from it.
//!
//! The ledger is the simulator's own reader of logs: it decodes the stored messages by itself and
//! applies each committed entry once, in order. A replica that applied another entry at the same
//! index, or came to another digest or to other rows, is caught here (C2, C5, C6).

mod shadow;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use quorate_proto::raft::v1 as pb;
use quorate_proto::rows::{RowWrite, SpecCache, decode_row, encode_change, is_archived};
use quorate_seams::{Table, Write};
use quorate_state::{Change, Entry, EventRow, Meta, Rejection, Reply, Revision, State};

use crate::facts::Fact;
use crate::rows::Kept;
pub(crate) use shadow::{RaftRows, Shadow};

/// One committed entry and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// When the first replica had applied it.
    pub(crate) at: Duration,
    /// Its place in the log.
    pub(crate) index: u64,
    /// The term of the leader that appended it.
    pub(crate) term: u64,
    /// Base + index.
    pub(crate) revision: Revision,
    /// What it says; none for consensus's own entries.
    pub(crate) entry: Option<Entry>,
    /// The state before it, with all runs that ever were, archived or not.
    pub(crate) before: State,
    /// The same after it.
    pub(crate) after: State,
    /// The state after it as replicas have it in memory: without what is archived.
    pub(crate) held: State,
    /// The rows it wrote.
    pub(crate) changes: Vec<Change>,
    /// What watchers are told.
    pub(crate) events: Vec<EventRow>,
    /// What the callers are answered, in the order of the entry's items.
    pub(crate) replies: Vec<Result<Reply, Rejection>>,
}

/// Who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// One list, or two while a change is under way.
    pub(crate) voters: Vec<Vec<u64>>,
    /// Voters and learners.
    pub(crate) replicas: Vec<u64>,
}

impl Membership {
    fn of(membership: pb::Membership) -> Self {
        Self {
            replicas: membership.peers.iter().map(|peer| peer.replica).collect(),
            voters: membership.configs.into_iter().map(|config| config.replicas).collect(),
        }
    }
}

/// The history so far.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Committed entries; the first has index 0.
    steps: Vec<Arc<Step>>,
    /// The revision of the first.
    base: u64,
    /// Their stored bytes, to hold against every other replica's.
    bytes: Vec<Bytes>,
    /// Committed memberships by the index of their entries.
    memberships: BTreeMap<u64, Membership>,
    /// What each replica's disk holds, by position in the scenario.
    shadows: Vec<Shadow>,
    /// The first digest seen at an index, and whose it is.
    digests: BTreeMap<u64, (Bytes, usize)>,
    /// Rows of the state, encoded, as they are at the newest step.
    rows: BTreeMap<Bytes, Bytes>,
    /// Snapshots installed from others.
    pub(crate) installed: u64,
    /// Rises whenever the voters, or the id on some disk, may have changed.
    who_changes: u64,
}

impl Ledger {
    /// A ledger over so many replicas.
    pub(crate) fn new(replicas: usize) -> Self {
        Self { shadows: (0..replicas).map(|_| Shadow::default()).collect(), ..Self::default() }
    }

    /// The ledger of a life that began at a revision.
    #[cfg(test)]
    pub(crate) fn of_life(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    /// All committed entries, in order; the first has index 0.
    pub(crate) fn steps(&self) -> &[Arc<Step>] {
        &self.steps
    }

    /// The history of the data's next life, of which nothing is known yet but who has which disk.
    pub(crate) fn next_life(&self) -> Self {
        // Until it has begun: above all that was said so far.
        let base = self.base + self.steps.len() as u64;
        let who_changes = self.who_changes + 1;
        Self { shadows: self.shadows.clone(), installed: self.installed, base, who_changes, ..Self::default() }
    }

    /// The state that the history gives with all that one replica has in its log, beyond what it has applied:
    /// what comes of it when nobody else is left. None if it has applied nothing.
    pub(crate) fn with_log_of(mut self, at: Duration, replica: usize) -> Result<Option<State>, String> {
        let disk = self.shadows[replica].live().clone();
        let Some(applied) = disk.applied().and_then(|applied| usize::try_from(applied).ok()) else { return Ok(None) };
        self.steps.truncate(applied + 1);
        while let Some(entry) = disk.entry(self.steps.len() as u64) {
            self.append(at, entry.clone())?;
        }
        Ok(self.state().cloned())
    }

    /// The revision at which this life of the data began, or above which it will; 0 for the first.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The step at a revision.
    pub(crate) fn at(&self, revision: u64) -> Option<&Step> {
        self.at_index(revision.checked_sub(self.base)?)
    }

    /// The step of an entry.
    pub(crate) fn at_index(&self, index: u64) -> Option<&Step> {
        self.steps.get(usize::try_from(index).ok()?).map(|step| &**step)
    }

    /// The stored bytes of a committed entry.
    pub(crate) fn stored(&self, index: u64) -> Option<&Bytes> {
        self.bytes.get(usize::try_from(index).ok()?)
    }

    /// The newest state.
    pub(crate) fn state(&self) -> Option<&State> {
        self.steps.last().map(|step| &step.after)
    }

    /// The disks of the replicas, as far as the ledger follows them.
    pub(crate) fn shadows(&self) -> &[Shadow] {
        &self.shadows
    }

    /// The voters in force at an index: one list, or two in a joint membership.
    pub(crate) fn voters_at(&self, index: u64) -> &[Vec<u64>] {
        self.memberships.range(..=index).next_back().map_or(&[], |(_, membership)| &membership.voters)
    }

    /// A number that differs from what it was whenever the newest voters, or the ids on disks, do.
    pub(crate) fn who_changes(&self) -> u64 {
        self.who_changes
    }

    /// The newest membership that is committed; none in an empty history.
    pub(crate) fn membership(&self) -> Option<&Membership> {
        self.memberships.last_key_value().map(|(_, membership)| membership)
    }

    /// The entry that took a replica out, once it was a member and is none any more.
    pub(crate) fn removed_at(&self, replica: u64) -> Option<u64> {
        let holds = |membership: &Membership| membership.replicas.contains(&replica);
        let mut newest_first = self.memberships.iter().rev().peekable();
        if newest_first.peek().is_none_or(|(_, newest)| holds(newest)) {
            return None;
        }
        let mut removed_at = None;
        for (index, membership) in newest_first {
            if holds(membership) {
                return removed_at;
            }
            removed_at = Some(*index);
        }
        None
    }

    /// Takes a fact in; returns the entries that are known to be committed because of it.
    pub(crate) fn take(&mut self, at: Duration, fact: &Fact) -> Result<Vec<Arc<Step>>, String> {
        match fact {
            Fact::Wrote { replica, number, batch, replaced } => {
                let shadow = &mut self.shadows[*replica];
                let moves = batch.writes.iter().any(is_applied);
                self.who_changes += u64::from(replaced.contains(&Table::Raft) || batch.writes.iter().any(is_identity));
                let before = if moves { shadow.live().applied() } else { None };
                self.installed += u64::from(!replaced.is_empty());
                shadow.write(*number, batch.clone(), replaced.clone());
                if moves { self.applied(at, *replica, before, !replaced.is_empty()) } else { Ok(vec![]) }
            }
            Fact::Synced { replica, through } => {
                self.shadows[*replica].sync(*through);
                Ok(vec![])
            }
            Fact::ReplicaGone { replica, survived } => {
                self.who_changes += 1;
                self.shadows[*replica].crash(*survived);
                self.check_rows(*replica).map(|()| vec![])
            }
            Fact::ReplicaRenewed { replica } => {
                self.who_changes += 1;
                self.shadows[*replica] = Shadow::default();
                Ok(vec![])
            }
            Fact::DiskAltered { replica, batch } => {
                self.shadows[*replica].alter(batch);
                Ok(vec![])
            }
            Fact::DiskImaged { replica } => {
                self.shadows[*replica].keep_image();
                Ok(vec![])
            }
            Fact::DiskReverted { replica } => {
                self.who_changes += 1;
                self.shadows[*replica].revert();
                self.check_rows(*replica).map(|()| vec![])
            }
            _ => Ok(vec![]),
        }
    }

    /// A replica says that it has applied up to an index: what is new is committed.
    fn applied(
        &mut self,
        at: Duration,
        replica: usize,
        before: Option<u64>,
        by_snapshot: bool,
    ) -> Result<Vec<Arc<Step>>, String> {
        let disk = self.shadows[replica].live();
        let Some(applied) = disk.record::<pb::Applied>(b"applied") else { return Ok(vec![]) };
        let Some(last) = applied.log_id.map(|id| id.index) else { return Ok(vec![]) };
        if by_snapshot && self.steps.is_empty() && applied.base > 0 {
            return self.resume(at, replica, &applied).map(|step| vec![step]);
        }
        let mut new = vec![];
        for index in before.map_or(0, |before| before + 1)..=last {
            let ours = self.bytes.get(usize::try_from(index).unwrap_or(usize::MAX));
            match (disk.entry(index), ours) {
                // What a snapshot brings may contradict the log, which is cut next.
                (Some(theirs), Some(ours)) if theirs != ours && !by_snapshot => {
                    return Err(format!(
                        "C2/C5 replica r{} applied another entry at index {index} than the one that was committed there",
                        replica + 1
                    ));
                }
                (Some(bytes), None) if !by_snapshot => new.push(bytes.clone()),
                // Known already, and received in a snapshot perhaps.
                (_, Some(_)) => {}
                (_, None) => {
                    return Err(format!(
                        "C5 replica r{} applied index {index}, which nobody has in a log",
                        replica + 1
                    ));
                }
            }
        }
        let is_altered = self.shadows[replica].is_altered();
        let digest = Some(applied.digest).filter(|digest| !digest.is_empty() && !is_altered);
        let mut steps = vec![];
        for bytes in new {
            steps.push(self.append(at, bytes)?);
        }
        match (self.digests.get(&last), digest) {
            (Some((first, whose)), Some(digest)) if *first != digest => {
                return Err(format!("C6 at revision {last} replicas r{} and r{} differ", whose + 1, replica + 1));
            }
            (None, Some(digest)) => {
                self.digests.insert(last, (digest, replica));
            }
            _ => {}
        }
        Ok(steps)
    }

    /// A life begins with the rows on a disk, at the entry with index 0.
    fn resume(&mut self, at: Duration, replica: usize, applied: &pb::Applied) -> Result<Arc<Step>, String> {
        let disk = self.shadows[replica].live();
        let state = loaded(disk)?;
        self.rows = disk.table(Table::State).map(|(key, value)| (key.clone(), value.clone())).collect();
        self.base = applied.base;
        let membership = applied.membership.clone().and_then(|stored| stored.membership).unwrap_or_default();
        self.joined(0, membership);
        let step = Arc::new(Step {
            at,
            index: 0,
            term: 0,
            revision: Revision(self.base),
            entry: None,
            before: state.clone(),
            after: state.clone(),
            held: state,
            changes: vec![],
            events: vec![],
            replies: vec![],
        });
        self.steps.push(step.clone());
        // Nobody has it in a log.
        self.bytes.push(Bytes::new());
        Ok(step)
    }

    /// Applies the next committed entry.
    fn append(&mut self, at: Duration, bytes: Bytes) -> Result<Arc<Step>, String> {
        let decoded = pb::LogEntry::decode(bytes.clone()).map_err(|error| format!("C7 a log entry: {error}"))?;
        let id = decoded.log_id.unwrap_or_default();
        let index = self.steps.len() as u64;
        if id.index != index {
            return Err(format!("C2 the entry stored at index {index} says it has index {}", id.index));
        }
        let revision = Revision(self.base + index);
        let before = self.state().cloned().unwrap_or_default();
        let held = self.steps.last().map(|step| step.held.clone()).unwrap_or_default();
        let passed = |before: &State| vec![Change::Meta(Meta { revision, ..before.meta().clone() })];
        let mut step = Step {
            at,
            index,
            term: id.term,
            revision,
            entry: None,
            after: before.clone(),
            held,
            before,
            changes: vec![],
            events: vec![],
            replies: vec![],
        };
        match decoded.payload {
            Some(pb::log_entry::Payload::Normal(payload)) => {
                let entry = quorate_proto::log::decode_entry(&payload);
                let entry = entry.map_err(|error| format!("C7 the entry at index {index}: {error}"))?;
                let applied = std::panic::catch_unwind(|| quorate_state::apply(&step.held, revision, &entry));
                let applied = applied.map_err(|_| format!("C7 apply panics at revision {index}: {entry:?}"))?;
                step.held = applied.next;
                (step.changes, step.events, step.replies) = (applied.changes, applied.events, applied.replies);
                step.entry = Some(entry);
            }
            Some(pb::log_entry::Payload::Membership(membership)) => {
                self.joined(index, membership);
                step.changes = passed(&step.before);
            }
            Some(pb::log_entry::Payload::Blank(_)) | None => step.changes = passed(&step.before),
        }
        if step.entry.is_none() {
            step.changes.iter().for_each(|change| step.held.commit(change));
        }
        for change in &step.changes {
            if !is_of_archive(change) {
                step.after.commit(change);
            }
            for write in encode_change(change).singles() {
                match write {
                    RowWrite::Put { key, value } => {
                        self.rows.insert(key, value);
                    }
                    RowWrite::Delete { key } => {
                        self.rows.remove(&key);
                    }
                    RowWrite::DeleteRange { from, to } => self.rows.retain(|key, _| !(&from..&to).contains(&key)),
                    RowWrite::DeleteEventsBelow { .. } | RowWrite::All(_) => {}
                }
            }
        }
        let step = Arc::new(step);
        self.steps.push(step.clone());
        self.bytes.push(bytes);
        Ok(step)
    }

    /// Who takes part from an index on.
    fn joined(&mut self, index: u64, membership: pb::Membership) {
        self.who_changes += 1;
        self.memberships.insert(index, Membership::of(membership));
    }

    /// C6: the rows that a disk holds are those that the history gives at the revision that the disk
    /// says it has applied; and they load into the very state.
    pub(crate) fn check_rows(&self, replica: usize) -> Result<(), String> {
        let disk = self.shadows[replica].live();
        let name = format!("r{}", replica + 1);
        let Some(applied) = disk.applied() else {
            return if disk.table(Table::State).next().is_none() {
                Ok(())
            } else {
                Err(format!("C6 {name} has rows of a state that it never applied"))
            };
        };
        let Some(step) = self.at_index(applied) else {
            return Err(format!("C6 {name} has applied revision {applied}, the history ends before"));
        };
        if applied + 1 == self.steps.len() as u64 {
            let theirs = disk.table(Table::State);
            if !theirs.eq(self.rows.iter()) {
                return Err(format!("C6 the rows of {name} at revision {applied} are not those of the history"));
            }
        }
        let state = loaded(disk).map_err(|error| format!("C6 a row of {name}: {error}"))?;
        if state == step.held {
            return Ok(());
        }
        let what = difference(&state, &step.held).unwrap_or_else(|| "something that has no words here".into());
        Err(format!("C6 the rows of {name} at revision {applied} give another state than the history: {what}"))
    }
}

/// True of a change that takes a run out of memory, and of what is kept in its place: to those who judge it goes on being
/// there.
fn is_of_archive(change: &Change) -> bool {
    matches!(
        change,
        Change::Segment(_)
            | Change::SegmentGone(_)
            | Change::Archived(_)
            | Change::Leaving(..)
            | Change::TaskArchived(..)
            | Change::AttemptArchived(..)
            | Change::Left(_)
            | Change::Version(_)
            | Change::VersionGone(_)
    )
}

/// The state that the rows on a disk give.
fn loaded(disk: &Kept) -> Result<State, String> {
    let mut state = State::default();
    let mut specs = SpecCache::default();
    for (key, value) in disk.table(Table::State).filter(|(key, _)| !is_archived(key)) {
        state.commit(&decode_row(key, value, &mut specs).map_err(|error| error.to_string())?);
    }
    Ok(state)
}

/// In what two states differ first, in words.
pub(crate) fn difference(one: &State, other: &State) -> Option<String> {
    if one.meta() != other.meta() {
        return Some(format!("meta: {:?} and {:?}", one.meta(), other.meta()));
    }
    rows_differ(one, other)
}

/// The first table in which two states differ, in words. What they say of themselves is left out.
pub(crate) fn rows_differ(one: &State, other: &State) -> Option<String> {
    macro_rules! compare {
        ($($what:literal: $read:expr;)*) => {$(
            let read = $read;
            let mut theirs = read(other);
            for mine in read(one) {
                let their = theirs.next();
                if their.as_ref() != Some(&mine) {
                    return Some(format!("{}: {mine:?} and {their:?}", $what));
                }
            }
            if let Some(their) = theirs.next() {
                return Some(format!("{}: nothing and {their:?}", $what));
            }
        )*};
    }
    if one.settings() != other.settings() {
        return Some("settings".into());
    }
    compare! {
        "namespaces": |state| namespaces(state);
        "jobs": |state| jobs(state);
        "runs": |state| runs(state);
        "nodes": |state| nodes(state);
        "clusters": |state| clusters(state);
    }
    for run in one.runs_newest_first(None) {
        compare! {
            "tasks": |state| tasks(state, run.id);
            "attempts": |state| attempts(state, run.id);
        }
    }
    (!one.ready().eq(other.ready())).then(|| "the queue".into())
}

type Boxed<'a, T> = Box<dyn Iterator<Item = T> + 'a>;

fn namespaces(state: &State) -> Boxed<'_, &std::sync::Arc<quorate_state::NamespaceRow>> {
    Box::new(state.namespaces())
}

fn jobs(state: &State) -> Boxed<'_, &std::sync::Arc<quorate_state::Job>> {
    Box::new(state.jobs())
}

fn runs(state: &State) -> Boxed<'_, &std::sync::Arc<quorate_state::Run>> {
    Box::new(state.runs_newest_first(None))
}

fn nodes(state: &State) -> Boxed<'_, &std::sync::Arc<quorate_state::Node>> {
    Box::new(state.nodes())
}

fn clusters(state: &State) -> Boxed<'_, &std::sync::Arc<quorate_state::Cluster>> {
    Box::new(state.clusters())
}

fn tasks(state: &State, run: quorate_state::RunId) -> Boxed<'_, &std::sync::Arc<quorate_state::Task>> {
    Box::new(state.tasks_of(run))
}

fn attempts(state: &State, run: quorate_state::RunId) -> Boxed<'_, &std::sync::Arc<quorate_state::Attempt>> {
    Box::new(state.attempts_of_run(run))
}

/// True when a write says how far the state has come.
fn is_applied(write: &Write) -> bool {
    matches!(write, Write::Put { table: Table::Raft, key, .. } if &key[..] == b"applied")
}

/// True when a write may change which replica a disk says it is.
fn is_identity(write: &Write) -> bool {
    match write {
        Write::Put { table, key, .. } | Write::Delete { table, key } => {
            *table == Table::Raft && &key[..] == b"identity"
        }
        Write::DeleteRange { table, .. } => *table == Table::Raft,
    }
}
