//! What a store must be before it may speak for a replica. Only looks: whatever it finds, the next
//! look, or a person's, finds the same.
//!
//! Log, vote, rows and records share one write-ahead log, and power loss takes a suffix of that. So no
//! crash leaves a log shorter than what was applied from it or known to be committed, a hole in it, or
//! a vote older than an entry: such a store lost something else, and with it promises that others rely
//! on. It must never vote or answer again.

use prost::Message;
use quorate_proto::format::FormatError;
use quorate_proto::raft::v1 as pb;
use quorate_proto::rows::{SpecCache, decode_row, feature_keys};
use quorate_seams::{Disk, DiskView, Table};

use crate::store::{self, STORE_FORMAT, log_key};
use crate::type_config::LogId;
use crate::{Error, refusal, wire};

/// Entries read from disk at once; each may be as large as an entry can be.
const PAGE_ROWS: usize = 64;

/// Refuses a store that is newer than this version, that must not be used again, or that is damaged.
pub(crate) fn check(disk: &dyn Disk) -> Result<(), Error> {
    let view = &*disk.view();
    let Some(identity) = record::<pb::Identity>(view, store::IDENTITY)? else { return Ok(()) };
    if identity.format > STORE_FORMAT {
        return Err(Error::NewerFormat { found: identity.format, max: STORE_FORMAT });
    }
    refusal::check(record(view, store::REFUSED)?)?;
    check_features(view)?;
    record::<pb::Start>(view, store::START)?;
    let vote = record::<pb::Vote>(view, store::VOTE)?.unwrap_or_default();
    let purged = mark(view, store::PURGED)?;
    let committed = mark(view, store::COMMITTED)?;
    let applied = record::<pb::Applied>(view, store::APPLIED)?.and_then(|applied| applied.log_id);
    let applied = applied.as_ref().map(wire::log_id_from);
    let last = walk(view, purged)?;
    let end = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
    let name = |id: Option<LogId>| id.map_or_else(|| "nothing".to_owned(), |id| format!("entry {}", id.index));
    for (what, mark) in [("applied", applied), ("known to be committed", committed)] {
        if end(last) < end(mark) {
            return Err(Error::Damaged(format!("its log ends with {}, {} was {what}", name(last), name(mark))));
        }
    }
    if end(purged) > end(applied) {
        return Err(Error::Damaged(format!(
            "its log begins after {}, its rows end with {}",
            name(purged),
            name(applied)
        )));
    }
    let term = last.map_or(0, |last| last.leader_id.term);
    if vote.term < term {
        return Err(Error::Damaged(format!("its vote is of term {}, its log of term {term}", vote.term)));
    }
    Ok(())
}

/// Refuses features that this version does not know, before their commands in the log look like damage.
fn check_features(view: &dyn DiskView) -> Result<(), Error> {
    let (from, to) = feature_keys();
    for (key, value) in view.scan(Table::State, &from, Some(&to), usize::MAX)? {
        decode_row(&key, &value, &mut SpecCache::default()).map_err(|error| Error::Format(error.to_string()))?;
    }
    Ok(())
}

/// Reads every entry there is; the last of them, or of what was cut off.
fn walk(view: &dyn DiskView, purged: Option<LogId>) -> Result<Option<LogId>, Error> {
    let mut last = purged;
    let mut from = log_key(0);
    loop {
        let rows = view.scan(Table::Log, &from, None, PAGE_ROWS)?;
        let Some((key, _)) = rows.last() else { return Ok(last) };
        // The least key after the last.
        from = [&key[..], &[0]].concat().into();
        for (key, value) in rows {
            let expected = last.map_or(0, |last| last.index + 1);
            let entry = wire::entry_decode(value);
            let entry = entry.map_err(|error| Error::Damaged(format!("entry {expected} of its log: {error}")))?;
            let (index, term) = (entry.log_id.index, entry.log_id.leader_id.term);
            if key != log_key(index) || index != expected {
                return Err(Error::Damaged(format!("entry {index} of its log is where entry {expected} should be")));
            }
            if last.is_some_and(|last| last.leader_id.term > term) {
                return Err(Error::Damaged(format!(
                    "entry {index} of its log is of an older term than the one before"
                )));
            }
            if let openraft::EntryPayload::Normal(payload) = &entry.payload {
                payload.entry().map_err(|error| {
                    let what = format!("entry {index} of its log: {error}");
                    // Nothing is wrong with the disk where a newer version is needed.
                    if matches!(error, FormatError::Feature { .. }) {
                        Error::Format(what)
                    } else {
                        Error::Damaged(what)
                    }
                })?;
            }
            last = Some(entry.log_id);
        }
    }
}

fn mark(view: &dyn DiskView, key: &[u8]) -> Result<Option<LogId>, Error> {
    let mark: Option<pb::Mark> = record(view, key)?;
    Ok(mark.and_then(|mark| mark.log_id.as_ref().map(wire::log_id_from)))
}

/// A record that decodes, and encodes to the bytes it came from: flipped bits often still decode.
fn record<M: Message + Default>(view: &dyn DiskView, key: &[u8]) -> Result<Option<M>, Error> {
    let Some(bytes) = view.get(Table::Raft, key)? else { return Ok(None) };
    let damaged = || Error::Damaged(format!("its record {:?} does not decode", String::from_utf8_lossy(key)));
    let record = M::decode(bytes.clone()).map_err(|_| damaged())?;
    if record.encode_to_vec() == bytes { Ok(Some(record)) } else { Err(damaged()) }
}
