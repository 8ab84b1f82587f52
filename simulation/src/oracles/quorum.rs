//! Which disk belongs to which replica, who votes, and what a quorum of them is.

use std::collections::BTreeMap;

use prost::Message as _;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Batch, Table, Write};

use crate::ledger::{Ledger, RaftRows as _};
use crate::rows::Kept;
use crate::scenario::Scenario;

/// Positions in the scenario by replica id, as the disks themselves say. Ids are never reused, so
/// what was found once stays true until the disk is replaced.
#[derive(Default)]
pub(super) struct Members(BTreeMap<u64, usize>);

impl Members {
    /// The disk of a replica id, once it has one.
    pub(super) fn position(&mut self, replica: u64, ledger: &Ledger) -> Option<usize> {
        let is_there = |at: &usize| id_of(ledger.shadows()[*at].live()) == Some(replica);
        if !self.0.get(&replica).is_some_and(is_there) {
            self.0.remove(&replica);
            let ids = ledger.shadows().iter().map(|shadow| id_of(shadow.live()));
            self.0.extend(ids.enumerate().filter_map(|(position, id)| Some((id?, position))));
        }
        self.0.get(&replica).copied()
    }

    /// True when a majority of each list of voters has what is asked for.
    pub(super) fn is_quorum(&mut self, voters: &[Vec<u64>], ledger: &Ledger, has: impl Fn(usize) -> bool) -> bool {
        !voters.is_empty()
            && voters.iter().all(|list| {
                let count = list.iter().filter(|id| self.position(**id, ledger).is_some_and(&has)).count();
                count * 2 > list.len()
            })
    }
}

/// The replica id that a disk says it has.
pub(crate) fn id_of(disk: &Kept) -> Option<u64> {
    disk.record::<pb::Identity>(b"identity").map(|identity| identity.replica).filter(|id| *id > 0)
}

/// The voters that the replica with this disk goes by: those of the newest membership in its log,
/// committed or not.
pub(crate) fn voters_seen(disk: &Kept) -> Vec<Vec<u64>> {
    let applied = disk.record::<pb::Applied>(b"applied").unwrap_or_default();
    let from = applied.log_id.map_or(0, |id| id.index + 1);
    let newest = disk.range(Table::Log, &from.to_be_bytes(), None).rev().find_map(|(_, entry)| membership_in(entry));
    newest.or_else(|| applied.membership?.membership.map(voters_of)).unwrap_or_default()
}

/// The voters that a stored entry names, when it is about membership.
pub(crate) fn membership_in(entry: &bytes::Bytes) -> Option<Vec<Vec<u64>>> {
    match pb::LogEntry::decode(entry.clone()).ok()?.payload? {
        pb::log_entry::Payload::Membership(membership) => Some(voters_of(membership)),
        pb::log_entry::Payload::Normal(_) | pb::log_entry::Payload::Blank(_) => None,
    }
}

fn voters_of(membership: pb::Membership) -> Vec<Vec<u64>> {
    membership.configs.into_iter().map(|config| config.replicas).collect()
}

/// The record that a batch writes under a key of raft's.
pub(super) fn record_in<M: prost::Message + Default>(batch: &Batch, wanted: &[u8]) -> Option<M> {
    batch.writes.iter().rev().find_map(|write| match write {
        Write::Put { table: Table::Raft, key, value } if &key[..] == wanted => M::decode(value.clone()).ok(),
        Write::Put { .. } | Write::Delete { .. } | Write::DeleteRange { .. } => None,
    })
}

/// A replica's name in sentences.
pub(super) fn name(position: usize) -> String {
    Scenario::replica_host(position)
}
