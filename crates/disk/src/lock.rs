//! Who may look at a store: one process, and in it one holder.
//!
//! RocksDB locks its directory only when it opens it to write. What is looked at before that must not
//! change under the eyes of whoever looks, or a healthy store would be called damaged.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_seams::DiskError;
use rustix::fs::{FlockOperation, fcntl_lock};

/// The file that RocksDB locks too, which within one process does not disturb.
const FILE: &str = "LOCK";

/// Directories that this process holds. The kernel's lock is no help here: it belongs to the process,
/// and is gone as soon as any of its descriptors of that file is closed.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A store that is ours while this lives; outlive the database with it.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the store in `directory`, which is there.
    pub(crate) fn take(directory: &Path) -> Result<Arc<Self>, DiskError> {
        let failed = |error: std::io::Error| DiskError::Open(format!("{}: {error}", directory.display()));
        let path = directory.canonicalize().map_err(failed)?;
        let mut held = held();
        if held.contains(&path) {
            return Err(in_use(directory));
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(FILE)).map_err(failed)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => return Err(in_use(directory)),
            Err(error) => return Err(failed(error.into())),
        }
        held.insert(path.clone());
        Ok(Arc::new(Self { path, _file: file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        held().remove(&self.path);
    }
}

fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_use(directory: &Path) -> DiskError {
    DiskError::Open(format!("{} is in use by another quorate process: stop it first", directory.display()))
}
