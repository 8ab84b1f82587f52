//! Who this agent is: its data directory, which it holds alone, and the machine it runs on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use quorate_seams::{Entropy, FileJournal};
use quorate_state::Uuid;

use crate::config::{MACHINE_BYTES_MAX, Machine};
use crate::error::Error;

/// A data directory that no other agent can use while this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The kernel lets go of the lock when the process ends, however it ends.
    _lock: File,
}

impl DataDir {
    /// Makes it if need be, and takes it.
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::DataDir { path, source }
        };
        std::fs::create_dir_all(path).map_err(failed(path))?;
        let file = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&file).map_err(failed(&file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(Error::DataDir { path: file, source }),
        }
    }

    /// The node's identity: read, or minted and kept.
    pub(crate) fn uuid(&self, entropy: &dyn Entropy) -> Result<Uuid, Error> {
        let path = self.path.join("node-uuid");
        match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|error| Error::Damaged {
                why: format!("{error}; restore the file, or start with an empty data_dir as a new node"),
                path,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let uuid = Uuid(entropy.u128());
                self.keep(&path, &uuid.to_string()).map_err(|source| Error::DataDir { path, source })?;
                Ok(uuid)
            }
            Err(source) => Err(Error::DataDir { path, source }),
        }
    }

    /// Written beside and renamed: after a crash the file is whole or absent.
    fn keep(&self, path: &Path, text: &str) -> io::Result<()> {
        let part = path.with_extension("part");
        let mut file = File::create(&part)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&part, path)?;
        File::open(&self.path)?.sync_all()
    }

    /// Where attempts' output is kept.
    pub(crate) fn output(&self) -> PathBuf {
        self.path.join("output")
    }

    /// Where attempts run.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }
}

/// The journal of the agent with this data directory, for [`crate::Seams`]; makes the directory.
pub fn open_journal(data_dir: &Path) -> Result<FileJournal, Error> {
    std::fs::create_dir_all(data_dir).map_err(|source| Error::DataDir { path: data_dir.to_owned(), source })?;
    let path = data_dir.join("journal");
    FileJournal::open(&path).map_err(|source| Error::DataDir { path, source })
}

impl Machine {
    /// As the kernel says. A machine without a usable id of its own (a container) is known by `fallback`.
    pub(crate) fn read(fallback: Uuid) -> Result<Self, Error> {
        let path = Path::new("/proc/sys/kernel/random/boot_id");
        let boot_id =
            std::fs::read_to_string(path).map_err(|source| Error::DataDir { path: path.to_owned(), source })?;
        let machine_id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let machine_id = match machine_id.trim() {
            id if id.is_empty() || id.len() > MACHINE_BYTES_MAX => fallback.to_string(),
            id => id.to_owned(),
        };
        let boot_id = boot_id.trim().to_owned();
        if boot_id.len() > MACHINE_BYTES_MAX {
            let why =
                format!("it has over MACHINE_BYTES_MAX ({MACHINE_BYTES_MAX}) bytes; mount the kernel's own /proc");
            return Err(Error::Damaged { path: path.to_owned(), why });
        }
        Ok(Self { boot_id, machine_id })
    }
}

#[cfg(test)]
mod tests {
    use quorate_seams::SystemEntropy;

    use super::*;

    #[test]
    fn a_data_directory_serves_one_agent_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let held = DataDir::take(&path).unwrap();
        let error = DataDir::take(&path).unwrap_err();
        assert!(matches!(&error, Error::Locked { .. }), "{error}");
        assert!(error.to_string().contains("in use by another agent"), "{error}");
        drop(held);
        DataDir::take(&path).unwrap();
    }

    #[test]
    fn the_identity_is_minted_once() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::take(directory.path()).unwrap();
        let uuid = data.uuid(&SystemEntropy).unwrap();
        assert_eq!(data.uuid(&SystemEntropy).unwrap(), uuid);
        std::fs::write(directory.path().join("node-uuid"), "not one").unwrap();
        assert!(matches!(data.uuid(&SystemEntropy), Err(Error::Damaged { .. })));
    }

    #[test]
    fn an_unwritable_place_is_a_clear_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataDir::take(&file.join("agent")).unwrap_err();
        assert!(error.to_string().contains("cannot be used"), "{error}");
    }
}
