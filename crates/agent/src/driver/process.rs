//! Runs attempts as processes of this machine, each the leader of a session and group of its own, and each with a
//! shim beside it (`shim`) that is its parent and outlives the agent.
//!
//! **Invariant:** an attempt is called gone only when no process of its groups is left, because its
//! resources and, for `fenced` tasks, its next copy wait for exactly that.
//! **Invariant:** an attempt's first process dies with its shim (`PR_SET_PDEATHSIG`), because without one nobody
//! would take its end or hold its deadline.
//!
//! Read in this order: `spawn` (from an assignment to a request), `shim` (what carries it out), `records` (where it
//! writes what it knows), `running` (one attempt as the agent sees it), `gauge` (what it uses meanwhile), `survivors` and
//! `recover` (what an earlier life left).
//!
//! What a group cannot hold is a process that starts a session of its own. Its control group holds it
//! (`crate::cgroup`); on a machine without any it falls to the shim once its parent has ended, which kills it.

mod gauge;
mod group;
mod proc;
mod records;
mod recover;
mod running;
pub mod shim;
mod spawn;
mod survivors;
mod sys;
mod word;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc as std_mpsc};
use std::time::Duration;

use async_trait::async_trait;
use quorate_seams::BootInstant;
use quorate_state::{AttemptId, Exit, Token};
use tokio::sync::{mpsc, oneshot};

use super::{Driver, Execution, Leftover, Meter, NotStarted, Start, Survivor, Wish};
use crate::cgroup::{self, Cgroups};
use crate::error::Error;
use crate::tidy::Tidier;
use crate::workspace::Workspaces;
use gauge::Gauges;
use records::Records;
use running::{Files, Process, Started};
use spawn::Spawned;
use survivors::Found;

/// Threads that start processes: one fork and exec is mostly the kernel's time, so two keep a small
/// machine busy and more than four only fight for the same locks.
const SPAWNERS_MAX: usize = 4;
/// Starts that wait for a spawner; beyond, callers wait.
const SPAWN_QUEUE_MAX: usize = 256;

struct Request {
    start: Start,
    reply: oneshot::Sender<Result<Spawned, NotStarted>>,
}

/// Runs attempts as processes.
#[derive(Debug)]
pub struct ProcessDriver {
    spawners: mpsc::Sender<Request>,
    groups: Arc<Groups>,
    shims: Arc<Shims>,
    /// Wakes whoever tells the shims until when the lease lasts: that waits for the disk.
    clerk: std_mpsc::SyncSender<()>,
    /// Attempts that have outlived the agent before this one, until they are taken over.
    found: Mutex<BTreeMap<AttemptId, Found>>,
    gauges: Arc<Gauges>,
}

/// The control groups, from the first attempt or the first look at what an earlier life left: by then the agent
/// has its data directory for itself.
#[derive(Debug)]
struct Groups {
    options: cgroup::Options,
    /// Cells of attempts that go on, once that is known.
    spared: OnceLock<BTreeSet<String>>,
    opened: OnceLock<Result<Option<Arc<Cgroups>>, String>>,
}

impl Groups {
    fn get(&self) -> Result<Option<&Arc<Cgroups>>, &str> {
        let open = || Cgroups::open(&self.options, self.spared.get().cloned().unwrap_or_default());
        self.opened.get_or_init(open).as_ref().map(Option::as_ref).map_err(String::as_str)
    }
}

/// What is known of shims in general.
#[derive(Debug)]
struct Shims {
    options: shim::Options,
    /// Where their files are.
    directory: PathBuf,
    records: Arc<Records>,
    boot_id: String,
    /// When the lease is over as far as is known, in milliseconds since boot.
    deadline_ms: AtomicU64,
}

impl Shims {
    fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    fn lease(&self) -> PathBuf {
        self.directory.join("lease")
    }
}

impl ProcessDriver {
    /// Starts the threads that will have processes started.
    pub fn new(groups: cgroup::Options, shims: shim::Options) -> Result<Self, Error> {
        let broken = |why: String| Error::Driver { driver: "process", why };
        running::own_pidfd().map_err(|errno| broken(format!("it needs pidfd_open (Linux 5.3 or newer): {errno}")))?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot_id = boot_id.map_err(|error| broken(format!("which boot this is: {error}")))?;
        let directory = std::path::absolute(groups.data_dir.join("shims"));
        let directory = directory.map_err(|error| broken(error.to_string()))?;
        let (records, deadline_ms) = (Records::of(directory.clone()), AtomicU64::new(0));
        let boot_id = boot_id.trim().to_owned();
        let shims = Arc::new(Shims { options: shims, directory, records, boot_id, deadline_ms });
        let (spawners, requests) = mpsc::channel::<Request>(SPAWN_QUEUE_MAX);
        let requests = Arc::new(Mutex::new(requests));
        let groups = Arc::new(Groups { options: groups, spared: OnceLock::new(), opened: OnceLock::new() });
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(SPAWNERS_MAX);
        for number in 0..count {
            let (requests, groups, shims) = (requests.clone(), groups.clone(), shims.clone());
            let body = move || serve(&requests, &groups, &shims);
            let thread = std::thread::Builder::new().name(format!("spawner-{number}")).spawn(body);
            thread.map_err(|error| broken(error.to_string()))?;
        }
        let (clerk, news) = std_mpsc::sync_channel(1);
        let known = shims.clone();
        let thread = std::thread::Builder::new().name("shim-clerk".to_owned()).spawn(move || keep(&news, &known));
        thread.map_err(|error| broken(error.to_string()))?;
        Ok(Self { spawners, groups, shims, clerk, found: Mutex::default(), gauges: Arc::default() })
    }
}

/// One spawner's life. Whoever waits for the next request holds the lock; starting a process does not.
fn serve(requests: &Mutex<mpsc::Receiver<Request>>, groups: &Groups, shims: &Shims) {
    let mut host = None;
    loop {
        let request = requests.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Request { start, reply }) = request else { return };
        // A caller that is gone drops the answer, and the attempt is as one whose agent is gone.
        let _ = reply.send(spawn::spawn(&start, groups, shims, &mut host));
    }
}

/// The clerk's life.
fn keep(news: &std_mpsc::Receiver<()>, shims: &Shims) {
    let mut lease: Option<File> = None;
    let mut told_ms = 0;
    while let Ok(()) = news.recv() {
        let deadline_ms = shims.deadline_ms.load(Ordering::Relaxed);
        if deadline_ms == told_ms {
            continue;
        }
        let file = lease.take().map_or_else(|| shim::open_lease(&shims.lease()), Ok);
        match file.and_then(|file| shim::write_lease(&file, deadline_ms).map(|()| file)) {
            Ok(file) => {
                lease = Some(file);
                told_ms = deadline_ms;
            }
            Err(error) => tracing::error!(
                %error,
                "the shims do not hear of the lease: `fenced` attempts end when it would have ended before"
            ),
        }
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
        let Spawned { started, workspace } = answer.await.map_err(|_| stopped())??;
        let files = Files::new(attempt, tidier, Some((slot, workspace)));
        Ok(Box::new(self.watched(attempt, started, files)))
    }

    fn outlives(&self) -> bool {
        self.shims.options.on_exit == shim::OnExit::Leave
    }

    fn lease(&self, deadline: BootInstant) {
        self.shims.deadline_ms.store(deadline.as_millis(), Ordering::Relaxed);
        // With one word on its way it will find this as well.
        let _ = self.clerk.try_send(());
    }

    async fn survivors(&self, leftovers: Vec<Leftover>) -> Vec<Survivor> {
        let found = survivors::find(&self.shims, leftovers).await;
        let cells = found.values().filter_map(|found| found.begun.cell.as_ref()).map(|held| held.name.clone());
        // Asked once, before anything else is.
        let _ = self.groups.spared.set(cells.collect());
        let survivors = found.iter().map(|(attempt, found)| Survivor {
            attempt: *attempt,
            on_node_loss: shim::promised(found.begun.promise),
            workspace: found.begun.workspace.clone(),
        });
        let survivors = survivors.collect();
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        survivors
    }

    async fn resume(
        &self,
        attempt: AttemptId,
        workspaces: &Workspaces,
        tidier: &Arc<Tidier>,
    ) -> Option<Box<dyn Execution>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt)?;
        let workspace = found.has_workspace.then(|| workspaces.adopt(&found.begun.workspace));
        let groups = self.opened_groups().await;
        let cell = found.begun.cell.as_ref().and_then(|held| Some(groups?.adopt(held)));
        let left = match workspace {
            Some(workspace) => Some((tidier.slot().await?, workspace)),
            None => None,
        };
        let files = Files::new(attempt, tidier.clone(), left);
        let started = found.started(cell, self.shims.options.on_exit);
        Some(Box::new(self.watched(attempt, started, files)))
    }

    fn meter(&self) -> Option<Arc<dyn Meter>> {
        Some(self.gauges.clone())
    }

    fn forget(&self, attempt: AttemptId, token: Token) {
        self.gauges.remove(attempt);
        self.shims.records.forget(attempt, token);
    }

    async fn recover(&self, leftovers: Vec<Leftover>) -> BTreeSet<AttemptId> {
        recover::recover(leftovers, self.opened_groups().await.as_deref()).await
    }
}

impl ProcessDriver {
    fn watched(&self, attempt: AttemptId, started: Started, files: Files) -> Process {
        let process = Process::new(attempt, started, files);
        self.gauges.add(attempt, process.gauge());
        process
    }

    async fn opened_groups(&self) -> Option<Arc<Cgroups>> {
        let groups = self.groups.clone();
        let opened = tokio::task::spawn_blocking(move || groups.get().ok().flatten().cloned()).await;
        opened.ok().flatten()
    }
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
