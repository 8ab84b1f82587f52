//! Working directories: one for each attempt that runs, used again when it was left as it was found.
//!
//! Making and removing a directory takes a file system longer than starting a small program takes
//! the kernel. Most tasks leave nothing behind, so theirs go to the next.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::report;

/// Empty directories kept for use; more are not worth finding again.
const FREE_MAX: usize = 1_024;

/// Directories made by this process. Not counted per [`Workspaces`]: what an earlier agent of the
/// same process is still removing never has the name of something new.
static MADE: AtomicU64 = AtomicU64::new(0);

/// The working directories of a node.
#[derive(Debug)]
pub struct Workspaces {
    root: PathBuf,
    pool: Mutex<Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    free: Vec<Workspace>,
}

/// A directory that one attempt has for itself. One that is not given back stays until the agent
/// starts again, because something may still run in it.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    /// What it looked like when it was new: device, inode, mode, owner.
    pristine: (u64, u64, u32, u32),
}

impl Workspaces {
    /// Begins with none free: what an earlier life left below `root` is removed, except for those `spared` by
    /// name, in which attempts go on.
    pub fn open(root: PathBuf, spared: &BTreeSet<String>) -> io::Result<Self> {
        std::fs::create_dir_all(&root)?;
        for entry in std::fs::read_dir(&root)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| spared.contains(name)) {
                continue;
            }
            let remove = if entry.file_type()?.is_dir() { std::fs::remove_dir_all } else { std::fs::remove_file };
            match remove(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        // Tasks name it in their environment and may change directory, so it must not depend on ours.
        Ok(Self { root: root.canonicalize()?, pool: Mutex::default() })
    }

    /// An empty directory.
    pub fn take(&self) -> io::Result<Workspace> {
        if let Some(free) = self.lock().free.pop() {
            return Ok(free);
        }
        loop {
            let path = self.root.join(MADE.fetch_add(1, Ordering::Relaxed).to_string());
            match std::fs::create_dir(&path) {
                // An attempt of an earlier life has it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    let pristine = looks(&path)?;
                    return Ok(Workspace { path, pristine });
                }
            }
        }
    }

    /// The directory of an attempt that has outlived an agent, by its name.
    pub fn adopt(&self, name: &str) -> Workspace {
        // What it looked like is not known any more, so that it is removed in the end.
        Workspace { path: self.root.join(name), pristine: (0, 0, 0, 0) }
    }

    /// Takes it back once nothing runs in it any more, and removes what was left there.
    pub fn give_back(&self, workspace: Workspace) {
        let is_empty = || std::fs::read_dir(&workspace.path).is_ok_and(|mut entries| entries.next().is_none());
        let as_found = looks(&workspace.path).is_ok_and(|now| now == workspace.pristine) && is_empty();
        if !as_found {
            if let Err(error) = std::fs::remove_dir_all(&workspace.path) {
                tracing::warn!(path = %workspace.path.display(), %error, "a working directory is not removed now");
            }
            return;
        }
        let mut pool = self.lock();
        if pool.free.len() < FREE_MAX {
            pool.free.push(workspace);
        } else {
            drop(pool);
            let _ = std::fs::remove_dir(&workspace.path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workspace {
    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its attempt may say something of itself.
    pub fn report(&self) -> PathBuf {
        self.path.join(report::FILE)
    }

    /// What it is called among the others.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn looks(path: &Path) -> io::Result<(u64, u64, u32, u32)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino(), metadata.mode(), metadata.uid()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_a_directory_left_as_it_was_found_is_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let workspaces = Workspaces::open(directory.path().join("work"), &BTreeSet::new()).unwrap();
        let first = workspaces.take().unwrap();
        let path = first.path().to_owned();
        let second = workspaces.take().unwrap();
        assert_ne!(second.path(), path, "one at a time");
        workspaces.give_back(first);
        let again = workspaces.take().unwrap();
        assert_eq!(again.path(), path);

        fs::write(path.join("scratch"), "left").unwrap();
        workspaces.give_back(again);
        assert!(!path.exists());

        let mut given = second;
        for mode in [0o700, 0o777] {
            fs::set_permissions(given.path(), Permissions::from_mode(mode)).unwrap();
            let changed = given.path().to_owned();
            workspaces.give_back(given);
            given = workspaces.take().unwrap();
            assert_ne!(given.path(), changed);
            assert!(fs::read_dir(given.path()).unwrap().next().is_none());
        }
        // One that its task removed, or replaced by something else, is not handed out either.
        let path = given.path().to_owned();
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("/", &path).unwrap();
        workspaces.give_back(given);
        assert_ne!(workspaces.take().unwrap().path(), path);
        assert!(Path::new("/etc").exists());
    }

    #[test]
    fn what_an_earlier_life_left_is_removed_unless_an_attempt_goes_on_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("work");
        let next = MADE.load(Ordering::Relaxed).to_string();
        for name in [&next, "left"] {
            fs::create_dir_all(root.join(name).join("deep")).unwrap();
        }
        fs::write(root.join("file"), "left").unwrap();
        let workspaces = Workspaces::open(root.clone(), &BTreeSet::from([next.clone()])).unwrap();
        assert!(!root.join("left").exists() && !root.join("file").exists());
        let fresh = workspaces.take().unwrap();
        assert!(fresh.path().is_absolute());
        assert!(fs::read_dir(fresh.path()).unwrap().next().is_none());
        let adopted = workspaces.adopt(&next);
        assert!(adopted.path().join("deep").exists());
        workspaces.give_back(adopted);
        assert!(!root.join(next).exists());
    }
}
