//! One task on a quiet cluster: how long from its submit until it runs.
//!
//! The task itself tells that it runs, by a line into a FIFO, so that the same is measured whoever ran it;
//! beside it stands when a caller of ours learns of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{OpenOptions, Receiver};

use super::burst::{TASK_RESOURCES, submit_and_watch};
use crate::Error;
use crate::jobs::{Work, job};
use crate::latency::Latencies;

/// Longest wait for a task to tell that it runs.
const TELL_WAIT: Duration = Duration::from_secs(60);

/// The pause before task `number`: never the same twice in a row, so that no timer is met in step.
pub(super) fn pause(number: u32) -> Duration {
    Duration::from_millis(u64::from(20 + number.wrapping_mul(37) % 101))
}

/// Where tasks tell that they run.
pub(super) struct Told {
    path: PathBuf,
    lines: Receiver,
    // After the reader: fields drop in order.
    _directory: TempDir,
}

/// How long one task took.
#[derive(Debug)]
pub(super) struct Took {
    /// Until it told that it ran.
    pub(super) told: Duration,
    /// Until the watch of its run said so.
    pub(super) seen: Latencies,
}

impl Told {
    /// A FIFO in a directory of its own.
    pub(super) fn make() -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        let directory = tempfile::Builder::new().prefix("quorate-").tempdir_in(&parent);
        let directory = directory.map_err(|source| Error::Write { path: parent, source })?;
        let path = directory.path().join("runs");
        let unwritable = |source| Error::Write { path: path.clone(), source };
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).map_err(|error| unwritable(error.into()))?;
        // Also for writing: otherwise it would read the end of input between two tasks.
        let lines = OpenOptions::new().read_write(true).open_receiver(&path).map_err(unwritable)?;
        Ok(Self { path, lines, _directory: directory })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    async fn wait(&mut self) -> Result<(), Error> {
        let told = tokio::time::timeout(TELL_WAIT, self.lines.read_u8()).await;
        let told = told.map_err(|_| Error::NotInTime {
            what: "a task that tells that it runs".to_owned(),
            waited: TELL_WAIT,
            detail: String::new(),
        })?;
        told.map(drop).map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Submits one task and waits until it runs, and then until it has ended.
    pub(super) async fn single(&mut self, client: &Client) -> Result<Took, Error> {
        let argv = ["/bin/sh", "-c", "echo > \"$0\"", &self.path().display().to_string()].map(str::to_owned).to_vec();
        let work =
            Work { job: "single".to_owned(), driver: v1::Driver::Process, argv, count: 1, resources: TASK_RESOURCES };
        let begun = SystemClock.boot();
        let watched = tokio::spawn(submit_and_watch(client.clone(), job(work), 1, Default::default()));
        self.wait().await?;
        let told = SystemClock.boot().since(begun);
        let watched = watched.await.map_err(|error| Error::Outcome(format!("a watch ended early: {error}")))??;
        Ok(Took { told, seen: watched.running })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_short_and_differ_from_one_to_the_next() {
        for number in 0..1_000 {
            assert!((20..=120).contains(&pause(number).as_millis()));
            assert_ne!(pause(number), pause(number + 1));
        }
    }

    #[tokio::test]
    async fn a_process_tells_through_the_fifo() {
        let mut told = Told::make().unwrap();
        for _ in 0..2 {
            let path = told.path().to_path_buf();
            let status = tokio::process::Command::new("/bin/sh").args(["-c", "echo > \"$0\""]).arg(path).status();
            let (status, waited) = tokio::join!(status, told.wait());
            assert!(status.unwrap().success());
            waited.unwrap();
        }
    }
}
