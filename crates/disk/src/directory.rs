//! The directory of a store, made so that it is still there after a loss of power.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes `path` and what is missing above it.
///
/// RocksDB syncs the names inside its directory, but not the directory's own name: without it a
/// crash could take everything that was acknowledged, and the next start would find an empty store.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    // Relative paths end in an empty one, which is the current directory.
    let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    if let Some(parent) = parent
        && !parent.is_dir()
    {
        make(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        outcome => outcome?,
    }
    // Also when it was there: the process that made it may have died before this line.
    parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
