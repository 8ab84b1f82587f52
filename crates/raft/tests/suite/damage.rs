//! A store that lost something that no loss of power takes does not start, says what to do, and stays
//! as it was found.

use bytes::Bytes;
use prost::Message as _;
use quorate_disk::RocksDisk;
use quorate_proto::raft::v1 as pb;
use quorate_raft::{Error, Formation};
use quorate_seams::{Batch, Disk as _, Durability, Row, Table};
use quorate_state::Command;

use crate::support::{cluster, eventually, propose, try_start};

/// A replica of its own cluster with some history, stopped: its directory.
async fn stopped() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let nodes = cluster([RocksDisk::open(directory.path()).unwrap()]).await;
    for number in 0..120 {
        let namespace = format!("n{number}").parse().unwrap();
        propose(&nodes, Command::CreateNamespace { namespace }).await.unwrap();
    }
    for node in nodes {
        node.replica.stop().await;
    }
    // What consensus had detached may still hold the store.
    eventually("the store is free", || RocksDisk::open(directory.path()).is_ok()).await;
    directory
}

fn rows(disk: &RocksDisk) -> Vec<(Table, Vec<Row>)> {
    Table::ALL.into_iter().map(|table| (table, disk.scan(table, &[], None, usize::MAX).unwrap())).collect()
}

fn record<M: prost::Message + Default>(disk: &RocksDisk, key: &str) -> M {
    M::decode(disk.get(Table::Raft, key.as_bytes()).unwrap().unwrap()).unwrap()
}

fn log(disk: &RocksDisk) -> Vec<Row> {
    disk.scan(Table::Log, &[], None, usize::MAX).unwrap()
}

fn put(key: &'static str, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::default();
    batch.put(Table::Raft, key, value);
    batch
}

/// Starts a replica on a store that `damage` was done to; it must refuse with `words`.
async fn refused(what: &str, words: &str, damage: impl FnOnce(&RocksDisk) -> Batch) {
    let directory = stopped().await;
    let disk = RocksDisk::open(directory.path()).unwrap();
    let batch = damage(&disk);
    disk.submit(batch, Durability::Synced).await.unwrap();
    drop(disk);
    let before = rows(&RocksDisk::open(directory.path()).unwrap());
    let started = try_start(Formation::Run, RocksDisk::open(directory.path()).unwrap(), "127.0.0.1:0").await;
    let Err(error) = started else { panic!("{what}: it starts") };
    let text = error.to_string();
    assert!(text.contains(words), "{what}: {text}");
    assert!(rows(&RocksDisk::open(directory.path()).unwrap()) == before, "{what}: its rows have changed");
    if matches!(error, Error::Damaged(_)) {
        assert!(text.contains("'quorate server join'") && text.contains("'quorate snapshot restore'"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_whole_is_refused() {
    refused("an entry of other bytes", "entry", |disk| {
        let (key, value) = log(disk).swap_remove(2);
        let mut value = value.to_vec();
        *value.last_mut().unwrap() ^= 0xff;
        let mut batch = Batch::default();
        batch.put(Table::Log, key, value);
        batch
    })
    .await;
    refused("a hole", "should be", |disk| {
        let mut batch = Batch::default();
        batch.delete(Table::Log, log(disk).swap_remove(2).0);
        batch
    })
    .await;
    refused("a beginning that is gone", "should be", |disk| {
        let mut batch = Batch::default();
        batch.delete(Table::Log, log(disk).swap_remove(0).0);
        batch
    })
    .await;
    refused("an end before what was applied", "was applied", |disk| {
        let rows = log(disk);
        let mut batch = Batch::default();
        batch.delete_range(Table::Log, rows[rows.len() - 2].0.clone(), vec![0xff; 9]);
        batch
    })
    .await;
    refused("an end before what was committed", "known to be committed", |disk| {
        let applied: pb::Applied = record(disk, "applied");
        let log_id = applied.log_id.map(|id| pb::LogId { index: id.index + 5, ..id });
        put("committed", pb::Mark { log_id }.encode_to_vec())
    })
    .await;
    refused("rows older than the log's beginning", "its log begins", |disk| {
        let applied: pb::Applied = record(disk, "applied");
        let log_id = applied.log_id.map(|id| pb::LogId { index: id.index + 1, ..id });
        let mut batch = put("purged", pb::Mark { log_id }.encode_to_vec());
        batch.delete_range(Table::Log, "", vec![0xff; 9]);
        batch
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_and_rows_that_are_not_what_was_written_are_refused() {
    refused("a vote of other bytes", "\"vote\"", |_| put("vote", &b"\xff\xff"[..])).await;
    refused("a vote that went back", "its vote is of term 0", |_| put("vote", pb::Vote::default().encode_to_vec()))
        .await;
    refused("a record of other bytes", "\"applied\"", |disk| {
        let mut bytes = disk.get(Table::Raft, b"applied").unwrap().unwrap().to_vec();
        bytes.truncate(bytes.len() - 1);
        put("applied", bytes)
    })
    .await;
    refused("a row of other bytes", "row", |disk| {
        let (key, value) = disk.scan(Table::State, &[], None, usize::MAX).unwrap().pop().unwrap();
        let mut batch = Batch::default();
        batch.put(Table::State, key, [&value[..], b"\xff"].concat());
        batch
    })
    .await;
    refused("no meta row", "rows of revision 0", |disk| {
        let (key, _) = disk.scan(Table::State, &[], None, 1).unwrap().pop().unwrap();
        let mut batch = Batch::default();
        batch.delete(Table::State, key);
        batch
    })
    .await;
    refused("a newer format", "use a newer version", |disk| {
        let identity = pb::Identity { format: 2, ..record(disk, "identity") };
        put("identity", identity.encode_to_vec())
    })
    .await;
    refused("a feature of a newer version, with a log that only that can read", "feature number 1000", |disk| {
        let (key, value) = log(disk).swap_remove(2);
        let mut batch = Batch::default();
        batch.put(Table::Log, key, [&value[..], b"\xff"].concat());
        batch.put(Table::State, &b"\x0d\0\0\x03\xe8"[..], &b"\x08\x01"[..]);
        batch
    })
    .await;
    refused("no identity", "rows but no identity", |_| {
        let mut batch = Batch::default();
        batch.delete(Table::Raft, "identity");
        batch
    })
    .await;
}
