//! One attempt as the agent sees it: a handle on its shim, the shim's file, and its control group.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quorate_state::{AttemptId, Exit, Usage};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

use super::gauge::Gauge;
use super::records::Record;
use super::shim::{self, Begun, Ended, OnExit};
use super::{pause, proc, recover, sys, word};
use crate::cgroup::{Cell, Shortage};
use crate::driver::{Ending, Event, Execution, Leftover, Pulse};
use crate::report::{Ear, LastWord};
use crate::tidy::{Slot, Tidier};
use crate::workspace::Workspace;

/// How often a shim is looked at that does not end although its attempt's first process has.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What there is of an attempt once it runs.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) begun: Begun,
    /// Its shim; none once that has ended.
    pub(super) shim: Option<OwnedFd>,
    pub(super) record: Arc<Record>,
    pub(super) cell: Option<Cell>,
    pub(super) on_exit: OnExit,
    /// Something of it may be left although its shim has ended.
    pub(super) orphaned: bool,
}

impl Drop for Started {
    fn drop(&mut self) {
        // Whoever asked for it is gone, and so is the agent.
        match self.on_exit {
            OnExit::Kill => drop(self.shim.take().map(|shim| pidfd_send_signal(shim, shim::KILL))),
            OnExit::Leave => drop(self.cell.take().map(Cell::leave)),
        }
    }
}

/// One attempt's processes.
pub(super) struct Process {
    attempt: AttemptId,
    begun: Begun,
    shim: Option<AsyncFd<OwnedFd>>,
    record: Arc<Record>,
    /// All of its processes, if there is such a thing here.
    cell: Option<Cell>,
    gauge: Arc<Gauge>,
    on_exit: OnExit,
    files: Files,
    ended: bool,
    orphaned: bool,
}

/// What an attempt has on the disk; given back when this is dropped, if nothing uses it any more.
pub(super) struct Files {
    attempt: AttemptId,
    tidier: Arc<Tidier>,
    left: Option<(Slot, Workspace)>,
    gone: bool,
}

impl Files {
    /// `left`: its directory, and the room to give that back; none if it has none any more.
    pub(super) fn new(attempt: AttemptId, tidier: Arc<Tidier>, left: Option<(Slot, Workspace)>) -> Self {
        Self { attempt, tidier, left, gone: false }
    }

    fn report(&self) -> PathBuf {
        self.left.as_ref().map(|(_, workspace)| workspace.report()).unwrap_or_default()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some((slot, workspace)) = self.left.take().filter(|_| self.gone) {
            slot.tidy(self.attempt, workspace);
        }
    }
}

impl Process {
    pub(super) fn new(attempt: AttemptId, mut started: Started, files: Files) -> Self {
        let mut orphaned = started.orphaned;
        let (begun, record, on_exit) = (started.begun.clone(), started.record.clone(), started.on_exit);
        let cell = started.cell.take();
        let watched = started.shim.take().map(sys::watch).transpose();
        if let Err(error) = &watched {
            // It is ended below, as one whose shim has ended without a word.
            tracing::error!(?attempt, %error, "an attempt cannot be watched");
            orphaned = true;
        }
        let shim = watched.ok().flatten();
        let gauge = Arc::new(Gauge::new(begun.pid, begun.ticks, cell.as_ref().map(Cell::dial), files.report()));
        Self { attempt, begun, shim, record, cell, gauge, on_exit, files, ended: false, orphaned }
    }

    /// Measures it for as long as this is kept.
    pub(super) fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// The first process has ended, whether or not that was noticed yet.
    fn has_ended(&self) -> bool {
        let lives = || proc::stat(self.begun.pid).is_some_and(|stat| stat.lives() && stat.ticks == self.begun.ticks);
        self.ended || !lives()
    }

    fn tell(&self, signal: Signal) {
        if let Some(shim) = &self.shim {
            // It fails when the shim has ended, and then there is nobody to tell.
            let _ = pidfd_send_signal(shim.get_ref(), signal);
        }
    }

    /// SIGKILL to all of it: by the shim, and whatever has left its group.
    fn kill_all(&self) {
        self.tell(shim::KILL);
        if let Some(cell) = &self.cell {
            cell.kill();
        }
    }

    /// The room is not for another attempt if the shim has killed all in it, or does not say.
    fn note_kill(&self, said: Option<&Ended>) {
        if let Some(cell) = self.cell.as_ref().filter(|_| said.is_none_or(|ended| ended.room_killed)) {
            cell.spend();
        }
    }

    /// Waits for the end of the shim, for a while. True: it has ended. Cancel-safe.
    async fn shim_ended(&self) -> bool {
        let Some(shim) = &self.shim else { return true };
        tokio::select! {
            biased;
            ready = shim.readable() => ready.is_ok(),
            () = tokio::time::sleep(LOOK_EVERY) => false,
        }
    }

    /// How it ended, by the word of its shim.
    async fn said(&self) -> Option<Ended> {
        let (begun, ended) = match shim::read_now(self.record.path()) {
            Some(said) => said,
            None => {
                let record = self.record.clone();
                let read = tokio::task::spawn_blocking(move || shim::read_record(record.path())).await;
                read.ok().flatten()?
            }
        };
        ended.filter(|_| begun.shim == self.begun.shim && begun.shim_ticks == self.begun.shim_ticks)
    }

    /// What it has said of its end by itself.
    async fn last_word(&mut self, ended: &Ended) -> LastWord {
        if !ended.reported {
            return LastWord::default();
        }
        let (gauge, record, begun) = (self.gauge.clone(), self.record.clone(), self.begun.clone());
        let read = move || {
            if let Some(said) = word::kept(record.path(), &begun) {
                return (said, true);
            }
            let said = gauge.last_word();
            let kept = word::keep(record.path(), &begun, &said).inspect_err(|error| {
                tracing::warn!(path = %record.path().display(), %error, "what an attempt has said cannot be kept");
            });
            (said, kept.is_ok())
        };
        let (said, is_kept) = tokio::task::spawn_blocking(read).await.unwrap_or_default();
        if !is_kept {
            // The report stays where it is, for the next life.
            self.files.left = None;
        }
        said
    }

    /// What is to be said of its end beside its exit.
    fn ending(&self, ended: &Ended, word: LastWord) -> Ending {
        let (exit, mut usage) = (ended.exit(), ended.usage());
        usage.memory_peak_bytes = usage.memory_peak_bytes.max(self.gauge.memory_peak_bytes());
        let LastWord { outcome, words, payloads } = word;
        let words: Option<Arc<str>> = words.map(Into::into);
        let told = Ending { exit, outcome, payloads, asked: ended.asked, fenced: ended.fenced, ..Ending::default() };
        let Some(cell) = &self.cell else { return Ending { message: words, usage, ..told } };
        usage.cpu_us = usage.cpu_us.max(cell.cpu_us());
        let shortage = if exit == Some(Exit::Code(0)) { None } else { cell.ran_out_of_memory() };
        if let Some(Shortage::Own(bytes)) = shortage {
            usage.memory_peak_bytes = usage.memory_peak_bytes.max(bytes);
        }
        let message = shortage.map(|shortage| starved(shortage).into()).or(words);
        Ending { message, usage, ..told }
    }
}

#[async_trait]
impl Execution for Process {
    fn process(&self) -> Option<(u32, u64)> {
        Some((self.begun.pid, self.begun.ticks))
    }

    async fn next(&mut self) -> Event {
        if !self.ended {
            let (ending, gone) = loop {
                let gone = self.shim_ended().await;
                if !gone && !self.has_ended() {
                    continue;
                }
                match self.said().await {
                    Some(ended) => {
                        self.note_kill(Some(&ended));
                        let left = self.cell.as_ref().filter(|cell| !cell.is_empty());
                        if let Some(cell) = left {
                            cell.kill();
                        }
                        let gone = gone && !self.orphaned && left.is_none();
                        let word = self.last_word(&ended).await;
                        break (self.ending(&ended, word), gone);
                    }
                    None if gone => {
                        self.note_kill(None);
                        self.orphaned = true;
                        break (unwatched(), false);
                    }
                    None => {}
                }
            };
            self.ended = true;
            self.files.gone = gone;
            return Event::Ended { ending, gone };
        }
        while !self.shim_ended().await {}
        // The lease may have come to its end since.
        let said = self.said().await;
        self.note_kill(said.as_ref());
        let (attempt, process) = (self.attempt, Some((self.begun.pid, self.begun.ticks)));
        let token = quorate_state::Token::default();
        let left = Leftover { attempt, token, process, same_boot: true };
        while self.orphaned && !recover::recover(vec![left.clone()], None).await.is_empty() {}
        let mut looks = 0;
        while let Some(cell) = self.cell.as_ref().filter(|cell| !cell.is_empty()) {
            cell.kill();
            tokio::time::sleep(pause(looks)).await;
            looks += 1;
        }
        self.files.gone = true;
        Event::Gone
    }

    fn stop(&mut self) -> bool {
        let hears = !self.has_ended();
        if hears {
            self.tell(shim::ASK);
        }
        hears
    }

    fn kill(&mut self) -> bool {
        let hears = !self.has_ended();
        self.kill_all();
        hears
    }

    fn pulse(&self) -> Option<(Arc<dyn Pulse>, Duration)> {
        let silent_max = self.begun.silent_max()?;
        Some((Arc::new(Ear(self.files.report())), silent_max))
    }

    fn tend(&mut self) {
        self.files.tidier.trim(self.attempt);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.files.gone {
            return;
        }
        match self.on_exit {
            OnExit::Kill => self.kill_all(),
            OnExit::Leave => drop(self.cell.take().map(Cell::leave)),
        }
    }
}

/// Its shim ended before it could say anything.
fn unwatched() -> Ending {
    let message = "its shim was killed: how its process ended is not known";
    Ending { message: Some(message.into()), usage: Usage::default(), ..Ending::default() }
}

/// Why something was killed for want of memory, and who can do something about it.
fn starved(shortage: Shortage) -> String {
    let node =
        "killed for want of memory on its node: the machine, or a group around the agent, ran out, and the attempt";
    match shortage {
        Shortage::Own(bytes) => format!(
            "out of memory: it reached its limit of {} MiB, and the kernel killed a process of it; raise `resources.memory`",
            bytes >> 20
        ),
        Shortage::Outside(Some(bytes)) => format!("{node} had not reached its own limit of {} MiB", bytes >> 20),
        Shortage::Outside(None) => format!("{node} has no limit of its own"),
    }
}

/// A handle on a shim; none when that has ended.
pub(super) fn watch(begun: &Begun) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = number(begun.shim) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The number may be another's by now, unless this one began when the shim did.
        Ok(handle) => Ok(Some(handle).filter(|_| lives(begun))),
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Ends the attempt of a shim that there is no handle on, and waits for that.
pub(super) fn end_unwatched(begun: &Begun) {
    while let Some(pid) = number(begun.shim).filter(|_| lives(begun)) {
        let _ = kill_process(pid, shim::KILL);
        std::thread::yield_now();
    }
}

/// A handle on this process, to learn at the start whether the kernel has such handles.
pub(super) fn own_pidfd() -> Result<OwnedFd, Errno> {
    pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
}

fn lives(begun: &Begun) -> bool {
    proc::stat(begun.shim).is_some_and(|stat| stat.lives() && stat.ticks == begun.shim_ticks)
}

fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
