//! One replica or agent: a process in its host's namespace, with a disk and a time of day of its own.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::process::{Pid, Signal, kill_process};

use crate::hosts::Host;
use crate::network::run;

/// Where a machine's disk is, below its directory,
const DISK: &str = "disk";
/// and on that what its process keeps.
const DATA: &str = "data";
/// Bytes of a disk: some times what an hour writes.
const DISK_BYTES: &str = "512m";
/// Bytes of a page, by which room is given.
const PAGE_BYTES: u64 = 4096;
/// More than any file was given.
const BEYOND_BYTES: u64 = 1 << 32;
/// How the kernel words it that there is no room, whoever passes the sentence on.
const NO_ROOM: &str = "No space left on device";
/// Lines of a log that are shown when its process has ended by itself.
const LOG_TAIL_LINES: usize = 15;

/// The longest election time of [`SETTINGS`].
pub(crate) const ELECTION_MS_MAX: u64 = 3_200;
/// Heartbeats and election times for round trips of up to 150 ms, as docs/cli.md advises, and a reserve that fits
/// the disk.
const SETTINGS: [(&str, &str); 4] = [
    ("QUORATE_SERVER_DISK_RESERVE", "16Mi"),
    ("QUORATE_SERVER_RAFT_HEARTBEAT", "160ms"),
    ("QUORATE_SERVER_RAFT_ELECTION_MIN", "1600ms"),
    ("QUORATE_SERVER_RAFT_ELECTION_MAX", "3200ms"),
];

/// What every machine is started with.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The `quorate` binary.
    pub(crate) quorate: PathBuf,
    /// The simulator, whose oracles judge.
    pub(crate) simulation: PathBuf,
    /// The library that shifts the time of day.
    pub(crate) wall_clock: PathBuf,
}

/// One replica or agent.
pub(crate) struct Machine {
    pub(crate) host: Host,
    programs: Programs,
    arguments: Vec<String>,
    directory: PathBuf,
    clock: File,
    child: Option<Child>,
}

impl Machine {
    /// A machine that is not started yet; `arguments` are those of the binary.
    pub(crate) fn new(
        host: Host,
        programs: &Programs,
        directory: &Path,
        arguments: Vec<String>,
    ) -> Result<Self, String> {
        let directory = directory.join(&host.name);
        let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
        let disk = directory.join(DISK);
        std::fs::create_dir_all(&disk).map_err(failed)?;
        let size = format!("size={DISK_BYTES}");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &disk.display().to_string()])?;
        let clock = directory.join("clock");
        std::fs::write(&clock, [0; 8]).map_err(failed)?;
        let clock = OpenOptions::new().write(true).open(&clock).map_err(failed)?;
        let data = disk.join(DATA).display().to_string();
        let arguments = [arguments, vec!["--data-dir".to_owned(), data, "--stop-with-stdin".to_owned()]].concat();
        Ok(Self { host, programs: programs.clone(), arguments, directory, clock, child: None })
    }

    /// Starts it, unless it runs; its output is appended to its log.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        if self.is_running() {
            return Ok(());
        }
        let failed = |error: std::io::Error| format!("{} does not start: {error}", self.host.name);
        let log = OpenOptions::new().create(true).append(true).open(self.log()).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host.name]).arg(&self.programs.quorate).args(&self.arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .envs(SETTINGS)
            .env("LD_PRELOAD", &self.programs.wall_clock)
            .env("WALL_CLOCK_FILE", self.directory.join("clock"));
        // The pipe's other end is ours: should we die, it stops.
        let child = command.stdin(Stdio::piped()).stdout(log).stderr(errors).spawn().map_err(failed)?;
        self.child = Some(child);
        // It is a member by its next start.
        for verb in self.arguments.iter_mut().filter(|argument| *argument == "init" || *argument == "join") {
            "run".clone_into(verb);
        }
        Ok(())
    }

    /// Kills it, and waits until the kernel has buried it.
    pub(crate) fn kill9(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Takes the processor away from it.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Gives the processor back.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Makes its time of day differ from ours by so many milliseconds.
    pub(crate) fn shift_clock(&self, by_ms: i64) -> Result<(), String> {
        self.clock.write_all_at(&by_ms.to_ne_bytes(), 0).map_err(|error| format!("{}: {error}", self.host.name))
    }

    /// Takes all room on its disk, also what its files were given beyond their ends. The process is stopped
    /// meanwhile, and goes on if `resumes`.
    pub(crate) fn fill_disk(&self, resumes: bool) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("the disk of {}: {error}", self.host.name);
        self.pause();
        let filled = self.until_stopped().and_then(|()| cut_ends(&self.disk())).and_then(|()| {
            let file = File::create(self.filler())?;
            let room = statvfs(self.disk())?;
            let bytes = room.f_bavail * room.f_frsize;
            if bytes > 0 {
                fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
            }
            Ok(())
        });
        if resumes {
            self.resume();
        }
        filled.map_err(failed)
    }

    /// Gives the room back.
    pub(crate) fn free_disk(&self) {
        // It may have been given back before.
        let _ = std::fs::remove_file(self.filler());
    }

    /// How much of its disk is taken, in MiB.
    pub(crate) fn disk_mib(&self) -> u64 {
        statvfs(self.disk()).map_or(0, |room| ((room.f_blocks - room.f_bfree) * room.f_frsize) >> 20)
    }

    /// How long its log is.
    pub(crate) fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.log()).map_or(0, |log| log.len())
    }

    /// True when it has complained of a full disk since its log was so long.
    pub(crate) fn has_missed_room(&self, log_bytes: u64) -> bool {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let since = usize::try_from(log_bytes).ok().and_then(|from| log.get(from..)).unwrap_or_default();
        String::from_utf8_lossy(since).contains(NO_ROOM)
    }

    /// True while it runs.
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// How it ended, once, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// What is said of one that ended when it should not have.
    pub(crate) fn obituary(&self, status: ExitStatus) -> String {
        let text = std::fs::read(self.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n    ");
        format!("{} ended ({status}); the end of its log:\n    {tail}", self.host.name)
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn disk(&self) -> PathBuf {
        self.directory.join(DISK)
    }

    fn filler(&self) -> PathBuf {
        self.disk().join("filler")
    }

    /// Waits until no thread of the process is in the middle of anything.
    fn until_stopped(&self) -> std::io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        loop {
            let mut has_moving = false;
            for thread in std::fs::read_dir(format!("/proc/{}/task", child.id()))? {
                let stat = std::fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
                // The state follows the name, which is in brackets: T is stopped, Z and X are over.
                let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
                has_moving |= !matches!(state, None | Some('T' | 'Z' | 'X'));
            }
            if !has_moving {
                return Ok(());
            }
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Its number stays its own until we have waited for it.
            let _ = kill_process(pid, signal);
        }
    }
}

/// The store of a replica, below the directory of all machines.
pub(crate) fn store_of(directory: &Path, host: &Host) -> PathBuf {
    directory.join(&host.name).join(DISK).join(DATA).join("store")
}

/// Takes back what files below `directory` were given beyond their ends: RocksDB asks for the room of its
/// log long before it writes there.
fn cut_ends(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            cut_ends(&path)?;
            continue;
        }
        let file = OpenOptions::new().write(true).open(&path)?;
        let end = file.metadata()?.len().next_multiple_of(PAGE_BYTES);
        fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, end, BEYOND_BYTES)?;
    }
    Ok(())
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill9();
    }
}
