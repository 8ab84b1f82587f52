//! The files of shims, used again: making and removing one takes a file system longer than all that is written there.
//!
//! A file is free for another attempt when nobody will ask for the one that it tells of, in this life of the agent or the
//! next. It says itself whose it is, so that nothing has to be written when that changes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use quorate_state::{AttemptId, Token};

/// All of an agent. There are as many as attempts were here at once and not forgotten.
#[derive(Debug)]
pub(super) struct Records {
    directory: PathBuf,
    made: AtomicU64,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    free: Vec<PathBuf>,
    /// Those of attempts that somebody may ask for.
    kept: BTreeMap<(AttemptId, Token), Arc<Record>>,
}

/// The file of one attempt's shim. It is free once it was forgotten and dropped.
#[derive(Debug)]
pub(super) struct Record {
    owner: Weak<Records>,
    path: PathBuf,
    is_spent: AtomicBool,
}

impl Records {
    /// Those below `directory`, which is made when the first one is.
    pub(super) fn of(directory: PathBuf) -> Arc<Self> {
        Arc::new(Self { directory, made: AtomicU64::new(0), shelf: Mutex::default() })
    }

    /// A file for a shim to write to, which may still say what its last one wrote.
    pub(super) fn take(self: &Arc<Self>) -> io::Result<Arc<Record>> {
        let free = self.lock().free.pop();
        let path = match free {
            Some(path) => path,
            None => self.make()?,
        };
        Ok(self.record(path))
    }

    fn make(&self) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.directory)?;
        loop {
            let path = self.directory.join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
            match File::create_new(&path) {
                Ok(_) => return Ok(path),
                // An attempt of an earlier life has it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One that an earlier life has left.
    pub(super) fn record(self: &Arc<Self>, path: PathBuf) -> Arc<Record> {
        Arc::new(Record { owner: Arc::downgrade(self), path, is_spent: AtomicBool::new(false) })
    }

    /// It tells of this attempt from now on, until that is forgotten.
    pub(super) fn keep(&self, attempt: AttemptId, token: Token, record: Arc<Record>) {
        let before = self.lock().kept.insert((attempt, token), record);
        // Not under the lock, which it may take.
        drop(before);
    }

    /// Nobody will ask for this attempt again.
    pub(super) fn forget(&self, attempt: AttemptId, token: Token) {
        let record = self.lock().kept.remove(&(attempt, token));
        if let Some(record) = record {
            record.spend();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Nobody will ask what it says.
    pub(super) fn spend(&self) {
        self.is_spent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade().filter(|_| *self.is_spent.get_mut()) {
            owner.lock().free.push(std::mem::take(&mut self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::{RunId, TaskId};

    use super::*;

    fn attempt(number: u32) -> AttemptId {
        AttemptId { task: TaskId { run: RunId(1), step: 0, index: 0 }, number }
    }

    #[test]
    fn a_file_is_used_again_when_nobody_will_ask_for_its_attempt() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::of(directory.path().join("shims"));
        let first = records.take().unwrap();
        let path = first.path().to_owned();
        records.keep(attempt(1), Token(1), first.clone());
        records.forget(attempt(1), Token(2));
        drop(first);
        let second = records.take().unwrap();
        assert_ne!(second.path(), path, "its attempt is not forgotten");
        let ended = records.lock().kept.get(&(attempt(1), Token(1))).cloned().unwrap();
        records.forget(attempt(1), Token(1));
        assert_ne!(records.take().unwrap().path(), path, "somebody may be reading it");
        drop(ended);
        assert_eq!(records.take().unwrap().path(), path);
        drop(second);
        assert!(records.lock().free.is_empty(), "what was not forgotten stays as it is");
    }

    #[test]
    fn what_an_earlier_life_left_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("0"), "left").unwrap();
        let records = Records::of(directory.path().to_owned());
        assert_eq!(records.take().unwrap().path(), directory.path().join("1"));
    }
}
