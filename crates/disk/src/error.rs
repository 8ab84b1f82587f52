//! What RocksDB's errors mean to the callers of the seam.

use std::path::Path;

use quorate_seams::DiskError;
use rocksdb::ErrorKind;

/// How the kernel words ENOSPC; RocksDB passes the sentence on, not the number.
const NO_SPACE: [&str; 2] = ["No space left on device", "Out of space"];

/// Maps an error of a read or a write.
pub(crate) fn map(error: &rocksdb::Error) -> DiskError {
    let text = error.to_string();
    if NO_SPACE.iter().any(|words| text.contains(words)) {
        DiskError::Full(text)
    } else if error.kind() == ErrorKind::Corruption {
        DiskError::Corrupt(text)
    } else {
        DiskError::Io(text)
    }
}

/// Maps an error of opening the store at `path`.
pub(crate) fn map_open(path: &Path, error: &rocksdb::Error) -> DiskError {
    let path = path.display();
    match map(error) {
        DiskError::Io(text) if text.to_lowercase().contains("lock") => {
            DiskError::Open(format!("{path} is in use by another quorate process: stop it first ({text})"))
        }
        DiskError::Io(text) => DiskError::Open(format!("{path}: {text}")),
        full_or_corrupt => full_or_corrupt,
    }
}

/// Maps an error of making the directory at `path`.
pub(crate) fn map_create(path: &Path, error: &std::io::Error) -> DiskError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => DiskError::Full(format!("{}: {error}", path.display())),
        _ => DiskError::Open(format!("{}: {error}", path.display())),
    }
}
