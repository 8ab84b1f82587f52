//! Directories for real files, in memory where there is such a place: syncs cost nothing there.

use std::path::Path;

use tempfile::TempDir;

/// Where Linux keeps a file system in memory for everyone.
const IN_MEMORY: &str = "/dev/shm";

/// An empty directory, removed when dropped.
pub(crate) fn directory(name: &str) -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(name);
    if Path::new(IN_MEMORY).is_dir() { builder.tempdir_in(IN_MEMORY) } else { builder.tempdir() }
}
