//! openraft's own suite of what a store must do, on RocksDB; and what it does not ask.

use std::sync::Arc;

use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, RaftLogReader as _, StorageError};
use quorate_disk::RocksDisk;

use super::{LogStore, PurgeBound};
use crate::log_store::READ_BYTES_MAX;
use crate::state_machine::{Published, StateMachine};
use crate::store::Store;
use crate::type_config::{LogEntry, Payload, TypeConfig, log_id};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let (dir, store) = scratch();
        // The suite cuts off what it never applied.
        let anything = PurgeBound::default();
        anything.raise(u64::MAX);
        let published = Arc::new(Published::new(PurgeBound::default(), 1));
        let machine = StateMachine::load(store.clone(), published, quorate_state::FeatureSet::known()).unwrap();
        Ok((dir, LogStore::new(store, anything), machine))
    }
}

fn scratch() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let disk = RocksDisk::open(dir.path()).unwrap();
    (dir, Store::new(Arc::new(disk)))
}

fn entry(index: u64, bytes: usize) -> LogEntry {
    LogEntry { log_id: log_id(1, index), payload: EntryPayload::Normal(Payload::of(vec![7; bytes].into())) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_the_suite() {
    Suite::test_all(Builder).await.unwrap();
}

#[tokio::test]
async fn what_is_not_applied_is_not_cut_off() {
    let (_dir, store) = scratch();
    let bound = PurgeBound::default();
    let mut log = LogStore::new(store.clone(), bound.clone());
    log.blocking_append((0..5).map(|index| entry(index, 10))).await.unwrap();
    bound.raise(3);
    log.purge(log_id(1, 2)).await.unwrap();
    assert!(log.purge(log_id(1, 3)).await.is_err());
    assert!(store.failure().is_some_and(|why| why.contains("not applied")));
    assert_eq!(log.try_get_log_entries(..).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_hole_in_the_log_is_an_error() {
    let (_dir, store) = scratch();
    let mut log = LogStore::new(store, PurgeBound::default());
    log.blocking_append([entry(0, 10), entry(2, 10)]).await.unwrap();
    assert!(log.try_get_log_entries(0..3).await.is_err());
}

#[tokio::test]
async fn reading_for_sending_is_limited_by_bytes() {
    let (_dir, store) = scratch();
    let mut log = LogStore::new(store, PurgeBound::default());
    let large = READ_BYTES_MAX / 2 + 1;
    log.blocking_append((0..600).map(|index| entry(index, if index < 4 { large } else { 1 }))).await.unwrap();
    assert_eq!(log.limited_get_log_entries(0, 600).await.unwrap().len(), 2);
    assert_eq!(log.limited_get_log_entries(4, 600).await.unwrap().len(), 596);
    assert_eq!(log.try_get_log_entries(0..600).await.unwrap().len(), 600);
}

#[tokio::test]
async fn what_is_sent_never_begins_behind_a_cut() {
    let (_dir, store) = scratch();
    let bound = PurgeBound::default();
    let mut log = LogStore::new(store, bound.clone());
    log.blocking_append((0..10).map(|index| entry(index, 10))).await.unwrap();
    bound.raise(5);
    log.purge(log_id(1, 4)).await.unwrap();
    assert_eq!(log.limited_get_log_entries(3, 10).await.unwrap().len(), 0);
    assert_eq!(log.limited_get_log_entries(5, 10).await.unwrap().len(), 5);
}
