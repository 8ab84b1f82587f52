//! HyperQueue on the same machine, to measure beside ours: its server and one worker with as many slots as
//! there are cores, with its defaults, in a Python process that has its package.
//!
//! The package is what the project publishes for a machine without a compiler; server and worker in it
//! are the native ones. A task is `/bin/true`, its output goes to files as ours does.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Error;

/// What the Python process runs.
const PROGRAM: &str = include_str!("hyperqueue.py");
/// Longest wait for an answer: a burst of the most tasks on a slow machine.
const ANSWER_WAIT: Duration = Duration::from_secs(1_800);

/// The process, killed when dropped.
pub(super) struct HyperQueue {
    _process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    version: String,
    directory: TempDir,
}

#[derive(Serialize)]
struct Ask {
    /// 0: one task that tells when it runs.
    tasks: u32,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Answer {
    Ready { version: String },
    Took { seconds: f64 },
}

impl HyperQueue {
    /// Starts server and worker with `python`, which has the package.
    pub(super) async fn start(python: &Path, cores: usize) -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        let directory = tempfile::Builder::new().prefix("hyperqueue-").tempdir_in(&parent);
        let directory = directory.map_err(|source| Error::Write { path: parent, source })?;
        let path = directory.path().join("log");
        let log = std::fs::File::create(&path).map_err(|source| Error::Write { path, source })?;
        let mut command = Command::new(python);
        command.args(["-c", PROGRAM]).arg(directory.path()).arg(cores.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0).kill_on_drop(true);
        let mut process = command.spawn().map_err(|source| Error::Spawn { binary: python.to_path_buf(), source })?;
        let (Some(commands), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Error::Outcome("HyperQueue has no standard input or output".to_owned()));
        };
        let answers = BufReader::new(answers).lines();
        let mut started = Self { _process: process, commands, answers, version: String::new(), directory };
        match started.answer().await? {
            Answer::Ready { version } => started.version = version,
            Answer::Took { .. } => return Err(Error::Outcome("HyperQueue answered before it was asked".to_owned())),
        }
        Ok(started)
    }

    /// Its version.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Submits this many tasks at once; how long until all have ended comes back.
    pub(super) async fn burst(&mut self, tasks: u32) -> Result<Duration, Error> {
        self.ask(Ask { tasks: tasks.max(1) }).await
    }

    /// Submits one task; how long until it ran comes back.
    pub(super) async fn single(&mut self) -> Result<Duration, Error> {
        self.ask(Ask { tasks: 0 }).await
    }

    async fn ask(&mut self, ask: Ask) -> Result<Duration, Error> {
        let mut line = serde_json::to_string(&ask).map_err(|error| Error::Outcome(error.to_string()))?;
        line.push('\n');
        let written = self.commands.write_all(line.as_bytes()).await;
        written.map_err(|error| self.failed(&error.to_string()))?;
        match self.answer().await? {
            Answer::Took { seconds } => {
                Duration::try_from_secs_f64(seconds).map_err(|error| self.failed(&error.to_string()))
            }
            Answer::Ready { .. } => Err(self.failed("it answered as if it had begun again")),
        }
    }

    async fn answer(&mut self) -> Result<Answer, Error> {
        let next = tokio::time::timeout(ANSWER_WAIT, self.answers.next_line()).await.map_err(|_| Error::NotInTime {
            what: "an answer of HyperQueue".to_owned(),
            waited: ANSWER_WAIT,
            detail: String::new(),
        })?;
        let line = next.map_err(|error| self.failed(&error.to_string()))?.ok_or_else(|| self.failed("it ended"))?;
        serde_json::from_str(&line).map_err(|error| self.failed(&format!("{line:?}: {error}")))
    }

    fn failed(&self, why: &str) -> Error {
        let log = crate::process::tail(&self.directory.path().join("log"));
        Error::Outcome(format!("HyperQueue failed: {why}; the end of its log:\n{log}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_what_they_hold() {
        let read = |line: &str| serde_json::from_str::<Answer>(line);
        assert_eq!(read(r#"{"version":"v0.27.0"}"#).unwrap(), Answer::Ready { version: "v0.27.0".to_owned() });
        assert_eq!(read(r#"{"seconds":0.25}"#).unwrap(), Answer::Took { seconds: 0.25 });
        assert!(read("Traceback").is_err());
        assert_eq!(serde_json::to_string(&Ask { tasks: 7 }).unwrap(), r#"{"tasks":7}"#);
    }

    #[tokio::test]
    async fn a_python_without_the_package_fails_with_its_own_words() {
        // A shell takes `-c` as well, and does not know the language.
        let error = HyperQueue::start(Path::new("/bin/sh"), 2).await.err().unwrap().to_string();
        assert!(error.contains("HyperQueue failed: it ended; the end of its log:\n/"), "{error}");
    }
}
