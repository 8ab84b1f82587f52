//! Makes batches durable. Normally a thread does: all that wait when it comes round share one sync.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use quorate_seams::{DiskError, Done};
use rocksdb::DB;

use crate::error::map;
use crate::options::Syncing;

/// The thread and the queue in front of it; without one, the submitter's own thread.
pub(crate) struct Syncer {
    db: Arc<DB>,
    shared: Arc<Shared>,
    syncing: Syncing,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    broken: OnceLock<DiskError>,
    /// Syncs that were done.
    count: AtomicU64,
}

/// One waiter per batch that was submitted and is not durable; whoever submits bounds them.
#[derive(Default)]
struct Queue {
    waiters: Vec<Done>,
    stopping: bool,
}

impl Syncer {
    /// Begins to sync `db`.
    pub(crate) fn start(db: Arc<DB>, syncing: Syncing) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = match syncing {
            Syncing::Inline => None,
            Syncing::Thread => {
                let (db, shared) = (db.clone(), shared.clone());
                Some(std::thread::Builder::new().name("disk-sync".into()).spawn(move || run(&db, &shared))?)
            }
        };
        Ok(Self { db, shared, syncing, thread })
    }

    /// True when everything is done on the submitter's thread.
    pub(crate) fn is_inline(&self) -> bool {
        self.syncing == Syncing::Inline
    }

    /// Why nothing is accepted any more, if so.
    pub(crate) fn broken(&self) -> Option<&DiskError> {
        self.shared.broken.get()
    }

    /// How many syncs were done.
    pub(crate) fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Refuses everything from now on: after a failed write or sync nobody knows what is on disk.
    pub(crate) fn set_broken(&self, error: &DiskError) {
        let _ = self.shared.broken.set(error.clone());
    }

    /// The same after a write that was to be synced with it. Bytes that the kernel gave up may be gone
    /// although they can still be read, and another sync would say nothing of them: where a thread does
    /// the syncs, the process ends here, before anybody can act on what it holds in memory.
    pub(crate) fn give_up(&self, error: &DiskError) {
        self.set_broken(error);
        // A full disk is noticed when bytes are written, before any sync of them.
        if !self.is_inline() && !matches!(error, DiskError::Full(_)) {
            abort(error);
        }
    }

    /// Calls `done` when everything written before this call is durable; on the thread, if there is one.
    pub(crate) fn synced(&self, done: Done) {
        if self.is_inline() {
            return done(sync(&self.db, &self.shared, Syncing::Inline));
        }
        lock(&self.shared.queue).waiters.push(done);
        self.shared.changed.notify_one();
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        lock(&self.shared.queue).stopping = true;
        self.shared.changed.notify_one();
        // Whoever was told of a sync may have held the store last.
        let other = |thread: &JoinHandle<()>| thread.thread().id() != std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(other) {
            let _ = thread.join();
        }
    }
}

fn run(db: &DB, shared: &Shared) {
    loop {
        let mut queue = lock(&shared.queue);
        while queue.waiters.is_empty() && !queue.stopping {
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.waiters.is_empty() {
            return;
        }
        let waiters = std::mem::take(&mut queue.waiters);
        drop(queue);
        let outcome = sync(db, shared, Syncing::Thread);
        waiters.into_iter().for_each(|done| done(outcome.clone()));
    }
}

fn sync(db: &DB, shared: &Shared, syncing: Syncing) -> Result<(), DiskError> {
    if let Some(error) = shared.broken.get() {
        return Err(error.clone());
    }
    shared.count.fetch_add(1, Ordering::Relaxed);
    db.flush_wal(true).map_err(|error| {
        let error = map(&error);
        let _ = shared.broken.set(error.clone());
        if syncing == Syncing::Thread {
            abort(&error);
        }
        error
    })
}

/// Ends the process without another word to anyone.
fn abort(error: &DiskError) -> ! {
    tracing::error!(%error, "a sync of the store failed: nothing since the last good one may be vouched for");
    std::process::abort();
}

fn lock(queue: &Mutex<Queue>) -> std::sync::MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
