//! Reads a store to its end before it is opened to be written: what is damaged is refused, and found
//! again as it was.
//!
//! RocksDB looks at the checksum of a block when it reads it, which for some blocks is after weeks, and
//! it begins to write as soon as it is opened.

use std::path::Path;

use quorate_seams::DiskError;
use rocksdb::{DB, Options, ReadOptions};

use crate::error::{map, map_open};
use crate::options;

/// Refuses the store in `directory` if any of it cannot be read.
pub(crate) fn check(directory: &Path) -> Result<(), DiskError> {
    if !directory.join("CURRENT").exists() {
        return check_new(directory);
    }
    let open = |error| match map_open(directory, &error) {
        // One that the store's own list names.
        DiskError::Open(text) if text.contains("No such file") => DiskError::Corrupt(text),
        other => other,
    };
    let tables = DB::list_cf(&Options::default(), directory).map_err(open)?;
    let db = DB::open_cf_for_read_only(&options::reading(), directory, &tables, false).map_err(open)?;
    for table in tables {
        let Some(family) = db.cf_handle(&table) else { continue };
        let mut reading = ReadOptions::default();
        reading.set_verify_checksums(true);
        reading.fill_cache(false);
        let mut at = db.raw_iterator_cf_opt(family, reading);
        at.seek_to_first();
        while at.valid() {
            at.next();
        }
        at.status().map_err(|error| map(&error))?;
    }
    Ok(())
}

/// A store that was never finished being made has neither rows nor a log; RocksDB would make a new one
/// beside the remains of one that lost the file which names its parts.
fn check_new(directory: &Path) -> Result<(), DiskError> {
    let failed = |error: std::io::Error| DiskError::Open(format!("{}: {error}", directory.display()));
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "sst" || extension == "log") {
            return Err(DiskError::Corrupt(format!("{} is there, CURRENT is not", path.display())));
        }
    }
    Ok(())
}
