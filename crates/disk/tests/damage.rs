//! A store with flipped bytes, or without one of its files, does not open, and stays as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quorate_disk::{RocksDisk, Setup, Sizes};
use quorate_seams::{Batch, Disk as _, DiskError, Durability, Table};

/// A store with files of rows and a log, and the names of its files.
async fn store(directory: &Path) -> Vec<PathBuf> {
    // Small, so that tables become files.
    let sizes = Sizes { buffer: 64 << 10, table_buffer: 64 << 10, wal_max: 128 << 10 };
    let disk = RocksDisk::open_with(directory, Setup { sizes, ..Setup::default() }).unwrap();
    for number in 0..400_u32 {
        let mut batch = Batch::default();
        let value: Vec<u8> = (0..1000_u32).map(|at| (at.wrapping_mul(number + 7) >> 3) as u8).collect();
        batch.put(Table::State, number.to_be_bytes().to_vec(), value);
        disk.submit(batch, Durability::Buffered).await.unwrap();
    }
    disk.submit(Batch::default(), Durability::Synced).await.unwrap();
    drop(disk);
    content(directory).into_keys().collect()
}

fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}

fn refused(directory: &Path, what: &str) {
    let before = content(directory);
    let Err(error) = RocksDisk::open(directory) else { panic!("{what}: it opens") };
    assert!(matches!(error, DiskError::Corrupt(_)), "{what}: {error}");
    assert_eq!(content(directory), before, "{what}: it was changed");
}

#[tokio::test]
async fn flipped_bytes_of_rows_are_refused_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let files = store(directory.path()).await;
    let tables: Vec<_> = files.iter().filter(|path| has_extension(path, "sst")).collect();
    assert!(!tables.is_empty(), "{files:?}");
    for path in tables {
        let whole = std::fs::read(path).unwrap();
        for part in [8, 3, 2] {
            let mut flipped = whole.clone();
            flipped[whole.len() / part] ^= 0x20;
            std::fs::write(path, &flipped).unwrap();
            refused(directory.path(), &format!("byte {} of {}", whole.len() / part, path.display()));
        }
        std::fs::write(path, &whole).unwrap();
    }
    drop(RocksDisk::open(directory.path()).unwrap());
}

#[tokio::test]
async fn flipped_bytes_of_the_log_are_refused_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let files = store(directory.path()).await;
    let logs = files.iter().filter(|path| has_extension(path, "log"));
    let path = logs.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    std::fs::write(path, &bytes).unwrap();
    refused(directory.path(), "the log");
}

#[tokio::test]
async fn a_store_without_one_of_its_files_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let files = store(directory.path()).await;
    let table = files.iter().find(|path| has_extension(path, "sst")).unwrap();
    let manifest =
        files.iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST")).unwrap();
    for path in [table, manifest, &directory.path().join("CURRENT")] {
        let bytes = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        refused(directory.path(), &path.display().to_string());
        std::fs::write(path, bytes).unwrap();
    }
    drop(RocksDisk::open(directory.path()).unwrap());
}
