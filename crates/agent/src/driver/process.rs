//! Runs attempts as processes of this machine, each the leader of a session and group of its own.
//!
//! **Invariant:** an attempt is called gone only when no process of its groups is left, because its
//! resources and, for `fenced` tasks, its next copy wait for exactly that.
//! **Invariant:** processes are started by threads that live as long as the driver, because the
//! kernel ends a child with the *thread* that started it (`PR_SET_PDEATHSIG`), and that is how a
//! task's first process dies with its agent, `kill -9` included.
//!
//! What the kernel does not do: the death signal is not inherited by what that process starts. After
//! `kill -9` of the agent, descendants run on until the agent starts again, which finds and kills
//! them (`recover`). Only a process beside each task that outlives the agent could do it earlier.
//! What a group cannot hold is a process that starts a session of its own. Its control group holds it
//! (`crate::cgroup`); on a machine without any it is found after a restart, by its environment.

mod group;
mod proc;
mod recover;
mod spawn;
mod sys;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use quorate_state::{AttemptId, Exit, Usage};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use super::{Driver, Ending, Event, Execution, Leftover, NotStarted, Start, Wish};
use crate::cgroup::{self, Cell, Cgroups};
use crate::error::Error;
use crate::tidy::{Slot, Tidier};
use crate::usage;
use crate::workspace::Workspace;
use group::Group;
use spawn::Spawned;

/// Threads that start processes: one fork and exec is mostly the kernel's time, so two keep a small
/// machine busy and more than four only fight for the same locks.
const SPAWNERS_MAX: usize = 4;
/// Starts that wait for a spawner; beyond, callers wait.
const SPAWN_QUEUE_MAX: usize = 256;

struct Request {
    start: Start,
    reply: oneshot::Sender<Result<Spawned, NotStarted>>,
}

/// Runs attempts as processes. Dropping it kills every process it started.
#[derive(Debug)]
pub struct ProcessDriver {
    spawners: mpsc::Sender<Request>,
    groups: Arc<Groups>,
}

/// The control groups, from the first attempt or the first look at what an earlier life left: by then the agent
/// has its data directory for itself.
#[derive(Debug)]
struct Groups {
    options: cgroup::Options,
    opened: OnceLock<Result<Option<Arc<Cgroups>>, String>>,
}

impl Groups {
    fn get(&self) -> Result<Option<&Arc<Cgroups>>, &str> {
        self.opened.get_or_init(|| Cgroups::open(&self.options)).as_ref().map(Option::as_ref).map_err(String::as_str)
    }
}

impl ProcessDriver {
    /// Starts the threads that will start processes.
    pub fn new(groups: cgroup::Options) -> Result<Self, Error> {
        let broken = |why: String| Error::Driver { driver: "process", why };
        group::own_pidfd().map_err(|errno| broken(format!("it needs pidfd_open (Linux 5.3 or newer): {errno}")))?;
        let (spawners, requests) = mpsc::channel::<Request>(SPAWN_QUEUE_MAX);
        let requests = Arc::new(Mutex::new(requests));
        let groups = Arc::new(Groups { options: groups, opened: OnceLock::new() });
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(SPAWNERS_MAX);
        for number in 0..count {
            let (requests, groups) = (requests.clone(), groups.clone());
            let body = move || serve(&requests, &groups);
            let thread = std::thread::Builder::new().name(format!("spawner-{number}")).spawn(body);
            thread.map_err(|error| broken(error.to_string()))?;
        }
        Ok(Self { spawners, groups })
    }
}

/// One spawner's life. Whoever waits for the next request holds the lock; starting a process does not.
fn serve(requests: &Mutex<mpsc::Receiver<Request>>, groups: &Groups) {
    loop {
        let request = requests.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Request { start, reply }) = request else { return };
        // A caller that is gone drops the answer, and with it kills the process.
        let _ = reply.send(spawn::spawn(&start, groups));
    }
}

#[async_trait]
impl Driver for ProcessDriver {
    async fn start(&self, start: Start) -> Result<Box<dyn Execution>, NotStarted> {
        let stopped = || NotStarted::Node("the process driver has stopped".into());
        let (attempt, tidier, mut wish) = (start.assignment.attempt, start.tidier.clone(), start.wish.clone());
        let slot = tokio::select! {
            biased;
            _ = wish.wait_for(|wish| *wish > Wish::Run) => return Err(NotStarted::Withdrawn),
            slot = tidier.slot() => slot.ok_or_else(stopped)?,
        };
        let (reply, answer) = oneshot::channel();
        self.spawners.send(Request { start, reply }).await.map_err(|_| stopped())?;
        let spawned = answer.await.map_err(|_| stopped())??;
        let (process, group, cell, pidfd) = (spawned.process, spawned.group, spawned.cell, spawned.pidfd);
        let files = Files { attempt, tidier, left: Some((slot, spawned.workspace)), gone: false };
        let pidfd =
            sys::watch(pidfd).map_err(|error| NotStarted::Node(format!("its process cannot be watched: {error}")))?;
        Ok(Box::new(Process { process, group, pidfd, cell, files, ended: false }))
    }

    async fn recover(&self, leftovers: Vec<Leftover>) -> BTreeSet<AttemptId> {
        let groups = self.groups.clone();
        let opened = tokio::task::spawn_blocking(move || groups.get().ok().flatten().cloned()).await;
        recover::recover(leftovers, opened.ok().flatten().as_deref()).await
    }
}

/// One attempt's processes.
struct Process {
    process: (u32, u64),
    /// Declared before the pidfd: dropped first, while the leader's number is certainly its own.
    group: Group,
    pidfd: AsyncFd<OwnedFd>,
    /// All of its processes, if there is such a thing here.
    cell: Option<Cell>,
    files: Files,
    ended: bool,
}

/// What an attempt has on the disk; given back when this is dropped, if nothing uses it any more.
struct Files {
    attempt: AttemptId,
    tidier: Arc<Tidier>,
    left: Option<(Slot, Workspace)>,
    gone: bool,
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some((slot, workspace)) = self.left.take().filter(|_| self.gone) {
            slot.tidy(self.attempt, workspace);
        }
    }
}

impl Process {
    /// The leader has ended, whether or not that was noticed yet.
    fn has_ended(&self) -> bool {
        self.ended || sys::has_ended(self.pidfd.get_ref())
    }

    /// SIGKILL to all of it: the group at one instant, and whatever has left it.
    fn kill_all(&self) {
        self.group.kill();
        if let Some(cell) = &self.cell {
            cell.kill();
        }
    }

    fn is_gone(&self) -> bool {
        self.group.is_gone() && self.cell.as_ref().is_none_or(Cell::is_empty)
    }

    /// What is to be said of its end beside its exit.
    fn ending(&self, status: i32, rusage: &libc::rusage, io: Option<(u64, u64)>) -> Ending {
        let exit = exit_of(status);
        let mut usage = usage::of(rusage, io);
        let Some(cell) = &self.cell else { return Ending { exit, message: None, usage } };
        usage.cpu_us = usage.cpu_us.max(cell.cpu_us());
        let limit = if exit == Some(Exit::Code(0)) { None } else { cell.ran_out_of_memory() };
        let message = limit.map(|bytes| {
            usage.memory_peak_bytes = usage.memory_peak_bytes.max(bytes);
            let mib = bytes >> 20;
            format!("out of memory: the kernel killed what used more than its {mib} MiB; raise `resources.memory`")
                .into()
        });
        Ending { exit, message, usage }
    }
}

#[async_trait]
impl Execution for Process {
    fn process(&self) -> Option<(u32, u64)> {
        Some(self.process)
    }

    async fn next(&mut self) -> Event {
        if self.ended {
            self.group.wait_until_gone().await;
            let mut looks = 0;
            while let Some(cell) = self.cell.as_ref().filter(|cell| !cell.is_empty()) {
                cell.kill();
                tokio::time::sleep(pause(looks)).await;
                looks += 1;
            }
            self.files.gone = true;
            return Event::Gone;
        }
        let ending = loop {
            let mut ready = match self.pidfd.readable().await {
                Ok(ready) => ready,
                Err(error) => break unwatched(&error.to_string()),
            };
            // The leader is dead and not reaped: its number still names its group, and its counters
            // can still be read.
            let io = proc::io(self.process.0);
            self.kill_all();
            match self.group.reap() {
                Ok(Some((status, rusage))) => break self.ending(status, &rusage, io),
                Ok(None) => ready.clear_ready(),
                Err(error) => break unwatched(&error.to_string()),
            }
        };
        self.ended = true;
        let gone = self.is_gone();
        self.files.gone = gone;
        Event::Ended { ending, gone }
    }

    fn stop(&mut self) -> bool {
        let hears = !self.has_ended();
        if hears {
            self.group.terminate();
        }
        hears
    }

    fn kill(&mut self) -> bool {
        let hears = !self.has_ended();
        self.kill_all();
        hears
    }

    fn tend(&mut self) {
        self.files.tidier.trim(self.files.attempt);
    }
}

/// Somebody else took the process's end: it happened, but how is not known.
fn unwatched(why: &str) -> Ending {
    let message = format!("its process ended and how is not known: {why}");
    Ending { exit: None, message: Some(message.into()), usage: Usage::default() }
}

/// When a process began, in ticks since boot.
pub(crate) fn began(process: u32) -> Option<u64> {
    proc::stat(process).map(|stat| stat.ticks)
}

fn exit_of(status: i32) -> Option<Exit> {
    if libc::WIFEXITED(status) {
        Some(Exit::Code(libc::WEXITSTATUS(status)))
    } else if libc::WIFSIGNALED(status) {
        Some(Exit::Signal(libc::WTERMSIG(status)))
    } else {
        None
    }
}

/// How long a recovered or killed group is polled for at the most, between two looks.
pub(super) const POLL_MS_MAX: u64 = 100;

/// The pause before look number `looks`: 1, 2, 4 … [`POLL_MS_MAX`] milliseconds.
fn pause(looks: u32) -> Duration {
    Duration::from_millis((1_u64 << looks.min(16)).min(POLL_MS_MAX))
}

#[cfg(test)]
mod tests;
