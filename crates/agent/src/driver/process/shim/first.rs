//! Starts an attempt's first process: born in its control groups where the kernel can do that, and with nothing of the
//! job's running before it is in all of them.
//!
//! Not by std's own way, because that forks where the shim stands. Moving a process between groups waits some ten
//! milliseconds for the kernel's grace period; being born in one, or moving a thread, does not, and a process that was
//! just forked has one thread.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::super::sys::{self, Born};

/// The control groups of an attempt, as one gets into them.
#[derive(Debug)]
pub(super) struct Ways {
    /// Its directory in version 2.
    group: Option<(PathBuf, File)>,
    /// Files of version 1 into which a thread writes "0" to enter.
    entrances: Vec<File>,
}

impl Ways {
    pub(super) fn open(group: Option<&Path>, entrances: impl Iterator<Item = PathBuf>) -> io::Result<Self> {
        let group = group.map(|path| Ok::<_, io::Error>((path.to_owned(), File::open(path)?))).transpose()?;
        let enter = |path: PathBuf| File::options().write(true).open(path);
        Ok(Self { group, entrances: entrances.map(enter).collect::<io::Result<_>>()? })
    }

    /// What is left to do for a new process.
    fn enter(&self, is_inside: bool) -> io::Result<()> {
        if let Some((path, _)) = self.group.as_ref().filter(|_| !is_inside) {
            fs::write(path.join("cgroup.procs"), "0")?;
        }
        self.entrances.iter().try_for_each(|mut entrance| entrance.write_all(b"0"))
    }
}

/// Starts it as a leader of its own session and group that dies with this process.
pub(super) fn start(command: &mut Command, ways: &Ways) -> io::Result<Pid> {
    let (mut ear, mut mouth) = io::pipe()?;
    let shim = rustix::process::getpid();
    match sys::fork_into(ways.group.as_ref().map(|(_, group)| group.as_fd()))? {
        Born::Child { is_inside } => {
            let error = match prepare(ways, is_inside, shim) {
                Ok(()) => command.exec(),
                Err(error) => error,
            };
            // Zero stands for what never reached the kernel.
            let number = error.raw_os_error().unwrap_or(0);
            let _ = mouth.write_all(&number.to_ne_bytes());
            sys::leave(1)
        }
        Born::Parent(child) => {
            drop(mouth);
            let mut number = [0; 4];
            // The line is closed without a word when the program begins.
            if ear.read_exact(&mut number).is_err() {
                return Ok(child);
            }
            let _ = waitpid(Some(child), WaitOptions::empty());
            Err(match i32::from_ne_bytes(number) {
                0 => io::Error::new(io::ErrorKind::InvalidInput, "there is a NUL byte in it"),
                number => io::Error::from_raw_os_error(number),
            })
        }
    }
}

/// What the child does before it becomes the program.
fn prepare(ways: &Ways, is_inside: bool, shim: Pid) -> io::Result<()> {
    // No program of the job's is to blame, and this number says so.
    ways.enter(is_inside).map_err(|_| io::Error::from_raw_os_error(libc::EIO))?;
    // What the shim hears by other means is for the task to hear as usual.
    sys::hold_back_no_signals()?;
    rustix::process::setsid()?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above took effect; then nobody would ever kill us.
    if rustix::process::getppid() != Some(shim) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}
