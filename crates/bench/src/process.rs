//! One child process: its log file, its signals, and its certain end.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

/// Of SIGTERM, in the masks of signals that the kernel tells.
const SIGTERM_BIT: u64 = 1 << 14;
/// Lines of a log that an error shows.
const LOG_TAIL_LINES: usize = 20;

/// One child process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    environment: Vec<(&'static str, &'static str)>,
    child: Option<Child>,
}

impl Process {
    /// A process that is not started yet.
    pub(crate) fn new(name: &str, binary: PathBuf, arguments: Vec<String>, log: PathBuf) -> Self {
        Self { name: name.to_owned(), binary, arguments, log, environment: Vec::new(), child: None }
    }

    /// Adds to its environment, which is otherwise without settings.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The process id while it has not been seen to end.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Runs another binary from the next start on.
    pub(crate) fn replace_binary(&mut self, binary: PathBuf) {
        self.binary = binary;
    }

    /// Gives the next start another argument in the place of this one.
    pub(crate) fn replace_argument(&mut self, old: &str, new: &str) {
        // The verb stands second; anything later is a value that may look the same.
        if let Some(argument) = self.arguments.get_mut(1).filter(|argument| *argument == old) {
            new.clone_into(argument);
        }
    }

    /// Gives `flag` another value from the next start on.
    pub(crate) fn replace_value(&mut self, flag: &str, value: &str) {
        let position = self.arguments.iter().position(|argument| argument == flag);
        match position.and_then(|position| self.arguments.get_mut(position + 1)) {
            Some(old) => value.clone_into(old),
            None => self.arguments.extend([flag.to_owned(), value.to_owned()]),
        }
    }

    /// Starts it; its output is appended to the log.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        let unwritable = |source| Error::Write { path: self.log.clone(), source };
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(unwritable)?;
        let same_log: File = log.try_clone().map_err(unwritable)?;
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(same_log).stderr(log);
        // A group of its own: Ctrl-C at the terminal reaches the starter, which then cleans up in order.
        command.process_group(0);
        for (name, _) in std::env::vars_os() {
            // A cluster is made of its options alone, not of settings meant for the caller.
            let text = name.to_string_lossy();
            if text.starts_with("QUORATE_") || text.starts_with("ETCD_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().copied());
        let child = command.spawn().map_err(|source| Error::Spawn { binary: self.binary.clone(), source })?;
        self.child = Some(child);
        Ok(())
    }

    /// Takes the processor away from it, as an overloaded machine would; its connections stay.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Gives the processor back.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// True once it takes SIGTERM itself; so soon after its start that it does not, the kernel ends it.
    pub(crate) fn heeds_sigterm(&self) -> bool {
        let status = self.pid().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let caught = status.as_deref().and_then(|status| status.lines().find_map(|line| line.strip_prefix("SigCgt:")));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        caught & SIGTERM_BIT != 0
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Kills it and waits for the kernel to bury it.
    pub(crate) fn kill9(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            // Only fails when somebody else has waited for our child.
            let _ = child.wait();
        }
    }

    /// True once it has ended; an error when it was not in order.
    pub(crate) fn has_ended(&mut self) -> Result<bool, Error> {
        let Some(child) = &mut self.child else { return Ok(true) };
        let status = match child.try_wait() {
            Ok(None) => return Ok(false),
            Ok(Some(status)) => Some(status),
            // Somebody else has waited for our child.
            Err(_) => None,
        };
        self.child = None;
        match status.filter(|status| !status.success()) {
            None => Ok(true),
            Some(status) => {
                Err(Error::EndedBadly { name: self.name.clone(), status: status.to_string(), log: tail(&self.log) })
            }
        }
    }

    /// An error when it was started and has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) else { return Ok(()) };
        self.child = None;
        Err(Error::Ended { name: self.name.clone(), status: status.to_string(), log: tail(&self.log) })
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself; its number stays its own until we have waited for it.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Process) {
        let directory = tempfile::tempdir().unwrap();
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let process = Process::new("shell", "/bin/sh".into(), arguments, directory.path().join("log"));
        (directory, process)
    }

    /// True while the kernel knows the process.
    fn exists(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let (_directory, mut process) = shell("sleep 60");
        process.start().unwrap();
        let pid = process.pid().unwrap();
        assert!(exists(pid));
        drop(process);
        assert!(!exists(pid));
    }

    #[test]
    fn an_early_end_is_reported_with_the_log() {
        let (_directory, mut process) = shell("echo the reason >&2; exit 3");
        process.start().unwrap();
        let error = loop {
            if let Err(error) = process.check() {
                break error.to_string();
            }
            std::thread::yield_now();
        };
        assert!(error.contains("the reason") && error.contains('3'), "{error}");
        assert!(process.check().is_ok(), "an end is reported once");
    }

    #[test]
    fn a_killed_process_is_buried_and_may_start_again() {
        let (_directory, mut process) = shell("read line");
        process.start().unwrap();
        assert!(!process.has_ended().unwrap());
        process.kill9();
        assert!(process.has_ended().unwrap());
        assert_eq!(process.pid(), None);
        process.start().unwrap();
        assert!(!process.has_ended().unwrap());
    }

    #[test]
    fn an_end_that_is_not_in_order_is_an_error() {
        let (_directory, mut process) = shell("trap 'echo undone >&2; kill -ABRT $$' TERM; echo; read line");
        process.start().unwrap();
        while std::fs::read_to_string(process.log()).unwrap_or_default().is_empty() {
            std::thread::yield_now();
        }
        process.terminate();
        let error = loop {
            match process.has_ended() {
                Ok(ended) => assert!(!ended),
                Err(error) => break error.to_string(),
            }
            std::thread::yield_now();
        };
        assert!(error.contains("signal: 6") && error.contains("undone"), "{error}");
        assert!(process.has_ended().unwrap());
    }

    #[test]
    fn standard_input_stays_open_and_closes_with_the_starter() {
        let (_directory, mut process) = shell("read line; exit 7");
        process.start().unwrap();
        assert!(process.check().is_ok());
        drop(process.child.as_mut().unwrap().stdin.take());
        let status = process.child.as_mut().unwrap().wait().unwrap();
        assert_eq!(status.code(), Some(7));
    }
}
