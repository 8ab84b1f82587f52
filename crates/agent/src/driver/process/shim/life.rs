//! One shim's life: start the attempt's first process, say so, watch, and be there until nothing of it is left.
//!
//! It is told by signals what to do, because a handle on a process is all that the next life of the agent can be sure to
//! get of it: SIGTERM asks the attempt to end, SIGUSR1 ends it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use quorate_state::Exit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::super::group::Group;
use super::super::spawn::refused;
use super::super::{exit_of, proc, sys};
use super::first::{self, Ways};
use super::lease::{self, Timer};
use super::output::{self, Output};
use super::record::{self, Begun, Ended};
use super::wire::{self, Reply, Request};
use super::{ASK, KILL};
use crate::cgroup;
use crate::driver::NotStarted;
use crate::usage;

/// How often a shim looks whether its file is still there, and whether output that did not grow does now.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How soon what the attempt left behind is killed again.
const SWEEP_EVERY: Duration = Duration::from_millis(20);

/// Why the attempt was not started.
fn failed(what: &str, error: &io::Error) -> NotStarted {
    NotStarted::Node(format!("{what}: {error}"))
}

/// Lives; `agent` hears how it began, and `host` is the process that this one was forked by.
pub(super) fn live(request: &Request, agent: UnixStream, host: Pid) {
    let begun = Shim::begin(request, host);
    let reply = match &begun {
        Ok((_, begun)) => Reply { begun: Some(begun.clone()), ..Reply::default() },
        Err(NotStarted::Job(why) | NotStarted::Flawed(why)) => {
            Reply { why: why.clone(), is_job: true, ..Reply::default() }
        }
        Err(NotStarted::Node(why)) => Reply { why: why.clone(), ..Reply::default() },
        Err(NotStarted::Withdrawn) => Reply::default(),
    };
    // Written down, or never to be: the next life of the agent need not wait for this one any more.
    let _ = super::detach_lock();
    // Without an agent to hear it the attempt goes on: the record says that it runs.
    let _ = wire::send(&agent, &reply);
    drop(agent);
    if let Ok((shim, _)) = begun {
        shim.watch();
    }
}

struct Shim {
    host: Pid,
    leader: Pid,
    group: Group,
    room: Option<Room>,
    signals: File,
    lease: Option<Deadline>,
    record: File,
    report: PathBuf,
    output: Output,
    asked: bool,
    killed: bool,
    fenced: bool,
    room_killed: bool,
}

/// One of the attempt's control groups: that of version 2 where there is one, since every process of it is in all.
struct Room {
    dir: PathBuf,
    is_v2: bool,
}

/// When a `fenced` attempt must be dead.
struct Deadline {
    timer: Timer,
    file: PathBuf,
}

impl Shim {
    fn begin(request: &Request, host: Pid) -> Result<(Self, Begun), NotStarted> {
        let node = |what: &'static str| move |error: io::Error| failed(what, &error);
        let signals = sys::hear(&[Signal::CHILD, ASK, KILL]).map_err(node("its shim hears no signals"))?;
        let alone = || -> io::Result<()> {
            rustix::process::setsid()?;
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
            // Otherwise it only looks up: from then on it alone sees to the output.
            let word = if request.ends_with_agent { KILL } else { Signal::CHILD };
            rustix::process::set_parent_process_death_signal(Some(word))?;
            // The host may have ended before the line above took effect.
            if request.ends_with_agent && rustix::process::getppid() != Some(host) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        };
        alone().map_err(node("its shim cannot stand alone"))?;
        let lease = request.lease.as_ref().map(Deadline::of).transpose().map_err(node("its lease"))?;

        let Some((program, arguments)) = request.argv.split_first() else {
            return Err(NotStarted::Job("`run` is empty: there is no program to start".into()));
        };
        let append = |path: &[u8]| OpenOptions::new().append(true).open(wire::path(path));
        let stdout = append(&request.stdout).map_err(node("its output file cannot be opened"))?;
        let stderr = append(&request.stderr).map_err(node("its output file cannot be opened"))?;
        let copy = |file: &File| file.try_clone().map_err(node("its output file cannot be watched"));
        let output = Output::new([copy(&stdout)?, copy(&stderr)?], request.log_bytes_max);
        let room = Room::of(request);
        let entrances = request.entrances.iter().map(|path| wire::path(path).to_owned());
        let ways = Ways::open(request.group.as_ref().map(|path| wire::path(path)), entrances);
        let ways = ways.map_err(node("its control group cannot be entered"))?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(wire::path(&request.directory)).env_clear();
        let of = std::ffi::OsStr::from_bytes;
        command.envs(request.env.iter().map(|variable| (of(&variable.name), of(&variable.value))));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        // Before anything has begun: afterwards nothing may keep the attempt from being known.
        let record = record::prepare(wire::path(&request.record));
        let record = record.map_err(node("what its shim knows cannot be written down"))?;
        let leader = first::start(&mut command, &ways).map_err(|error| refused(program, &error))?;
        let group = Group::of(leader);

        let (own, pid) = (std::process::id(), leader.as_raw_nonzero().get().unsigned_abs());
        let ticks = |pid| proc::stat(pid).map_or(0, |stat| stat.ticks);
        let begun = Begun { shim: own, shim_ticks: ticks(own), pid, ticks: ticks(pid), ..request.begun.clone() };
        // What is not written down is not allowed to run: no later agent would find it. But it has begun, and ends as
        // everything does, with all that it has started.
        let killed = record::begin(&record, &begun).is_err();
        if killed {
            group.kill();
        }
        let report = wire::path(&request.report).to_owned();
        let (asked, fenced, room_killed) = (false, false, false);
        let shim = Self {
            host,
            leader,
            group,
            room,
            signals,
            lease,
            record,
            report,
            output,
            asked,
            killed,
            fenced,
            room_killed,
        };
        Ok((shim, begun))
    }

    /// Returns when no process of the attempt is left.
    fn watch(mut self) {
        while !self.has_ended() {
            let at_most = self.next_look();
            if self.wait(at_most) {
                self.fenced |= !sys::is_dead(self.leader);
                self.group.kill();
                self.kill_room();
            }
            if self.is_forgotten() {
                self.killed = true;
                self.group.kill();
            }
        }
        // Dead and not reaped: its number still names its group, and its counters can still be read.
        let io = proc::io(self.leader.as_raw_nonzero().get().unsigned_abs());
        self.obey();
        self.group.kill();
        let mut ended = match self.group.reap() {
            Ok(Some((status, rusage))) => {
                let exit = exit_of(status);
                // Whoever tells us to kill may be faster himself, by way of the control group.
                let asked = self.asked || self.killed && exit == Some(Exit::Signal(libc::SIGKILL));
                Ended::new(exit, usage::of(&rusage, io), asked, self.fenced)
            }
            Ok(None) | Err(_) => Ended { ended: true, ..Ended::default() },
        };
        ended.room_killed = self.room_killed;
        ended.reported = std::fs::symlink_metadata(&self.report).is_ok_and(|metadata| metadata.len() > 0);
        // Its room was taken when it was made. If it fails all the same, the agent finds no word of how it ended.
        let _ = record::end(&self.record, &ended);
        while sys::reap_others(None) {
            for pid in proc::children(std::process::id()) {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    // Ours and not reaped, so that the number is its own.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            if self.wait(SWEEP_EVERY) {
                // Written first: an agent that lives must not give this room to another attempt.
                ended.room_killed = true;
                let _ = record::end(&self.record, &ended);
            }
            if ended.room_killed {
                self.kill_room();
            }
        }
        // Nobody writes any more, and there may be no agent to cut what came last.
        self.output.trim();
    }

    /// Sees to the output, and says when to do so again.
    fn next_look(&mut self) -> Duration {
        // The host ends with the agent; an agent that lives looks by itself.
        let is_alone = rustix::process::getppid() != Some(self.host);
        let latest = if is_alone { output::LATEST } else { LOOK_EVERY };
        self.output.trim().map_or(latest, |soon| soon.min(latest))
    }

    /// True once the attempt's first process has ended; reaps what else has.
    fn has_ended(&self) -> bool {
        sys::reap_others(Some(self.leader));
        sys::is_dead(self.leader)
    }

    /// True when its file was removed: no agent will ever find this attempt again.
    fn is_forgotten(&self) -> bool {
        self.record.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Does what it was told since the last time.
    fn obey(&mut self) {
        for signal in sys::heard(&mut self.signals) {
            // One that has come to its own end already does not hear of it.
            self.asked |= signal != libc::SIGCHLD && !sys::is_dead(self.leader);
            if signal == ASK.as_raw() {
                self.group.terminate();
            } else if signal == KILL.as_raw() {
                self.killed = true;
                self.group.kill();
            }
        }
    }

    /// Ends what has left the process group as well. Once is enough in version 2; what begins meanwhile in version 1 is
    /// met by the sweep.
    fn kill_room(&mut self) {
        if let Some(Room { dir, is_v2 }) = &self.room {
            self.room_killed = true;
            cgroup::kill(dir, *is_v2);
        }
    }

    /// Waits for something to happen and does what it was told. True when the lease is over, which is said once.
    fn wait(&mut self, at_most: Duration) -> bool {
        let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
        watched.extend(self.lease.as_ref().map(|lease| PollFd::from_borrowed_fd(lease.timer.fires(), PollFlags::IN)));
        let at_most = Timespec::try_from(at_most).ok();
        let _ = poll(&mut watched, at_most.as_ref());
        let is_due = watched.get(1).is_some_and(|timer| timer.revents().contains(PollFlags::IN));
        self.obey();
        let is_over = is_due && self.lease.as_mut().is_some_and(|lease| !lease.renew());
        if is_over {
            self.lease = None;
        }
        is_over
    }
}

impl Room {
    fn of(request: &Request) -> Option<Self> {
        let group = request.group.as_ref().map(|dir| Self { dir: wire::path(dir).to_owned(), is_v2: true });
        group.or_else(|| {
            let dir = wire::path(request.entrances.first()?).parent()?.to_owned();
            Some(Self { dir, is_v2: false })
        })
    }
}

impl Deadline {
    fn of(lease: &wire::Lease) -> io::Result<Self> {
        let file = wire::path(&lease.file).to_owned();
        match Timer::until(lease.deadline_ms)? {
            Some(timer) => Ok(Self { timer, file }),
            None => Err(io::Error::other("it is over")),
        }
    }

    /// The timer fired: looks whether the lease has been renewed. False: it is over.
    fn renew(&mut self) -> bool {
        let timer = Timer::until(lease::read(&self.file)).ok().flatten();
        timer.is_some_and(|timer| {
            self.timer = timer;
            true
        })
    }
}
