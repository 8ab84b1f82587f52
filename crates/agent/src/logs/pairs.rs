//! The two files of each attempt's output: made, or taken over from an attempt that has ended.
//!
//! Making a file costs a file system far more than giving one another name, above all where many are removed: ext4 steps
//! over every inode that was freed a short time ago. Most tasks write nothing, so their files go to the next; and where
//! as many are kept as may be, the oldest go.
//!
//! **Invariant:** a file has its new attempt's name before anything of that attempt is written to it, so that a reader who
//! finds it under the old name after reading has read what belongs to that.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use quorate_state::AttemptId;

use super::{Outputs, STDERR, STDOUT};

/// A run's directory may be cleaned away at the instant a new file wants to be in it.
const TRIES: u32 = 5;

/// Whose files may have another attempt's name.
enum Giver {
    /// One that wrote nothing.
    Silent(AttemptId),
    /// One whose output goes now, because as many are kept as may be.
    Oldest(AttemptId),
}

impl Outputs {
    /// Sees to the files for an attempt's standard output and error, and says where they are. Whoever writes them
    /// appends: that is what lets the agent drop the beginning of a file that a process writes.
    pub fn create(&self, attempt: AttemptId) -> io::Result<(PathBuf, PathBuf)> {
        let [out, err] = [STDOUT, STDERR].map(|ending| self.path(attempt, ending));
        if !out.exists() && self.giver().is_some_and(|giver| self.take_over(giver, attempt)) {
            return Ok((out, err));
        }
        for path in [&out, &err] {
            self.in_its_directory(path, || File::options().create(true).append(true).open(path).map(drop))?;
        }
        Ok((out, err))
    }

    /// Where an attempt's file is.
    pub(super) fn path(&self, attempt: AttemptId, ending: &str) -> PathBuf {
        let AttemptId { task, number } = attempt;
        let name = format!("{}.{}.{number}.{ending}", task.step, task.index);
        self.root.join(task.run.to_string()).join(name)
    }

    /// Whose files may be taken; from now on they are nobody else's.
    fn giver(&self) -> Option<Giver> {
        let mut kept = self.lock();
        if let Some(silent) = kept.silent.pop_front() {
            kept.given.insert(silent, 0);
            return Some(Giver::Silent(silent));
        }
        let (oldest, _) = kept.ended.front().copied()?;
        // What was given away has no files to give.
        if kept.ended.len() < self.limits.logs_kept_max || kept.given.contains_key(&oldest) {
            return None;
        }
        kept.drop_oldest();
        Some(Giver::Oldest(oldest))
    }

    /// False: it cannot be, and new files must be made.
    fn take_over(&self, giver: Giver, attempt: AttemptId) -> bool {
        match giver {
            Giver::Silent(silent) => match self.take_empty(silent, attempt) {
                Ok(ended_ms) => {
                    // If it is still kept.
                    self.lock().given.entry(silent).and_modify(|ended| *ended = ended_ms);
                    true
                }
                Err(_) => {
                    self.lock().given.remove(&silent);
                    false
                }
            },
            Giver::Oldest(oldest) => {
                let taken = self.take_emptied(oldest, attempt);
                if taken.is_err() {
                    self.remove_files_of(oldest);
                }
                self.remove_directory_of(oldest);
                taken.is_ok()
            }
        }
    }

    /// Takes files to which nothing was written; says when their attempt ended.
    fn take_empty(&self, silent: AttemptId, attempt: AttemptId) -> io::Result<u64> {
        let [out, err] = [STDOUT, STDERR].map(|ending| fs::metadata(self.path(silent, ending)));
        let (out, err) = (out?, err?);
        if out.len() + err.len() > 0 {
            return Err(io::Error::other("somebody wrote late"));
        }
        // Before it has no files: after a crash between the two they are found, and count.
        let ended_ms = age_ms(&out);
        self.silent().note(ended_ms, silent)?;
        self.rename(silent, attempt)?;
        Ok(ended_ms)
    }

    /// Takes files whose contents go.
    fn take_emptied(&self, oldest: AttemptId, attempt: AttemptId) -> io::Result<()> {
        // Nobody cuts the beginning out of what is another's by now.
        let _cutting = self.cutting();
        for ending in [STDOUT, STDERR] {
            // Before they have the new name: nothing of the old must ever stand under that.
            File::options().write(true).open(self.path(oldest, ending))?.set_len(0)?;
        }
        self.rename(oldest, attempt)
    }

    fn rename(&self, from: AttemptId, to: AttemptId) -> io::Result<()> {
        for ending in [STDOUT, STDERR] {
            let (from, to) = (self.path(from, ending), self.path(to, ending));
            self.in_its_directory(&to, || fs::rename(&from, &to))?;
        }
        Ok(())
    }

    /// Does something with `path`, whose directory may have to be made.
    fn in_its_directory(&self, path: &Path, act: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut tries = 0;
        loop {
            match act() {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => tries += 1,
                outcome => return outcome,
            }
            fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        }
    }

    pub(super) fn remove_files_of(&self, attempt: AttemptId) {
        for ending in [STDOUT, STDERR] {
            let _ = fs::remove_file(self.path(attempt, ending));
        }
    }

    /// Fails while other attempts of the run are kept, as it should.
    pub(super) fn remove_directory_of(&self, attempt: AttemptId) {
        let _ = self.path(attempt, STDOUT).parent().map(fs::remove_dir);
    }
}

/// How old an output is: when its file was last changed or given its name, in milliseconds since the Unix epoch.
pub(super) fn age_ms(metadata: &Metadata) -> u64 {
    let millis = metadata.ctime().saturating_mul(1_000).saturating_add(metadata.ctime_nsec() / 1_000_000);
    u64::try_from(millis).unwrap_or(0)
}

/// Whether `path` still names the file that was opened by it.
pub(super) fn is_still(path: &Path, opened: &Metadata) -> bool {
    fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (opened.dev(), opened.ino()))
}
