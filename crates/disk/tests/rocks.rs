//! RocksDB behind the disk seam: the contract, and what only a real disk can get wrong.

#[path = "suite/contract.rs"]
mod contract;

use std::os::unix::fs::PermissionsExt as _;

use quorate_disk::{RocksDisk, Setup, Sizes, Syncing};
use quorate_seams::{Batch, Disk as _, DiskError, Durability, Table};

#[tokio::test]
async fn it_keeps_the_contract() {
    contract::check_all(|| {
        let dir = tempfile::tempdir().unwrap();
        move || RocksDisk::open(dir.path().join("store")).unwrap()
    })
    .await;
}

#[tokio::test]
async fn waits_for_the_device_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RocksDisk::open(dir.path().join("store")).unwrap();
    let batch = |key: &'static [u8]| {
        let mut batch = Batch::default();
        batch.put(Table::State, key, b"value".as_slice());
        batch
    };
    disk.submit(batch(b"buffered"), Durability::Buffered).await.unwrap();
    assert_eq!(disk.syncs(), 0);
    disk.submit(batch(b"synced"), Durability::Synced).await.unwrap();
    assert_eq!(disk.syncs(), 1);
}

#[test]
fn who_is_told_of_a_sync_may_be_the_last_to_hold_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let disk = std::sync::Arc::new(RocksDisk::open(dir.path().join("store")).unwrap());
    let (held, (told, hears)) = (disk.clone(), std::sync::mpsc::sync_channel(1));
    let mut batch = Batch::default();
    batch.put(Table::State, b"key".as_slice(), b"value".as_slice());
    let done = move |outcome: Result<(), DiskError>| {
        drop(held);
        told.send(outcome.is_ok()).unwrap();
    };
    disk.submit_then(batch, Durability::Synced, Box::new(done));
    drop(disk);
    assert!(hears.recv_timeout(std::time::Duration::from_secs(20)).unwrap());
}

#[test]
fn it_says_how_much_room_the_device_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let space = RocksDisk::open(dir.path().join("store")).unwrap().space().unwrap();
    assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes, "{space:?}");
}

#[tokio::test]
async fn it_keeps_the_contract_without_threads() {
    contract::check_all(|| {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup { syncing: Syncing::Inline, ..Setup::default() };
        move || RocksDisk::open_with(dir.path().join("store"), setup).unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let first = RocksDisk::open(dir.path()).unwrap();
    let Err(DiskError::Open(why)) = RocksDisk::open(dir.path()) else { panic!("opened twice") };
    assert!(why.contains("in use by another quorate process"), "{why}");
    let view = first.view();
    drop(first);
    assert!(matches!(RocksDisk::open(dir.path()), Err(DiskError::Open(_))), "a view still reads from it");
    drop(view);
    RocksDisk::open(dir.path()).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(RocksDisk::open(file.join("store")), Err(DiskError::Open(_))));
}

#[test]
fn an_unwritable_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write anywhere, so there is nothing to see then.
    if std::fs::write(dir.path().join("probe"), "").is_err() {
        assert!(matches!(RocksDisk::open(dir.path().join("store")), Err(DiskError::Open(_))));
        assert!(matches!(RocksDisk::open(dir.path()), Err(DiskError::Open(_))));
    }
}

#[tokio::test]
async fn a_torn_tail_is_forgiven_and_damage_before_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RocksDisk::open(dir.path()).unwrap();
    for key in ["first", "second", "third"] {
        let mut batch = Batch::default();
        batch.put(Table::Log, key, vec![b'x'; 1000]);
        disk.submit(batch, Durability::Synced).await.unwrap();
    }
    // A copy, as a crash would leave it: closing in order would tidy up.
    let copy = |name: &str| {
        let to = dir.path().with_extension(name);
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "LOCK" {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
        to
    };
    let wal = |dir: &std::path::Path| {
        let logs = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .max_by_key(|path| std::fs::metadata(path).unwrap().len())
            .unwrap()
    };

    let torn = copy("torn");
    let log = std::fs::OpenOptions::new().write(true).open(wal(&torn)).unwrap();
    log.set_len(log.metadata().unwrap().len() - 100).unwrap();
    let reopened = RocksDisk::open(&torn).unwrap();
    assert!(reopened.get(Table::Log, b"second").unwrap().is_some());
    assert!(reopened.get(Table::Log, b"third").unwrap().is_none());

    let damaged = copy("damaged");
    let log = wal(&damaged);
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[500] ^= 0xff;
    std::fs::write(&log, bytes).unwrap();
    assert!(matches!(RocksDisk::open(&damaged), Err(DiskError::Corrupt(_))));
    drop(reopened);
    for dir in [torn, damaged] {
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_refused_when_a_later_log_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let sizes = Sizes { table_buffer: 64 << 10, ..Sizes::default() };
    let disk = RocksDisk::open_with(&store, Setup { sizes, ..Setup::default() }).unwrap();
    // Two rows that stay in memory keep the first log, while the rows after them begin another one.
    for (table, key, length) in [(Table::Log, "kept", 10), (Table::Log, "lost", 10), (Table::State, "long", 300_000)] {
        let mut batch = Batch::default();
        batch.put(table, key, vec![b'x'; length]);
        disk.submit(batch, Durability::Buffered).await.unwrap();
    }
    let mut batch = Batch::default();
    batch.put(Table::State, "later", "x");
    disk.submit(batch, Durability::Buffered).await.unwrap();

    let crashed = dir.path().join("crashed");
    std::fs::create_dir(&crashed).unwrap();
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(&store).unwrap() {
        let entry = entry.unwrap();
        let to = crashed.join(entry.file_name());
        std::fs::copy(entry.path(), &to).unwrap();
        logs.extend(to.extension().is_some_and(|extension| extension == "log").then_some(to));
    }
    logs.sort();
    assert!(logs.len() > 1, "{logs:?}");
    // A whole number of batches, or none at all: RocksDB itself sees nothing torn.
    let first = std::fs::read(&logs[0]).unwrap();
    let mut kept = 0;
    for batches in 0..3 {
        std::fs::write(&logs[0], &first[..kept]).unwrap();
        let Err(DiskError::Corrupt(why)) = RocksDisk::open(&crashed) else { panic!("{batches} batches, then a hole") };
        assert!(why.contains("writes are missing"), "{why}");
        kept += 7 + usize::from(u16::from_le_bytes([first[kept + 4], first[kept + 5]]));
    }
}

#[test]
fn the_directories_of_a_store_are_made() {
    let dir = tempfile::tempdir().unwrap();
    RocksDisk::open(dir.path().join("two/levels")).unwrap();
    assert!(dir.path().join("two/levels/CURRENT").exists());
}
