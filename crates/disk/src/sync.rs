//! The thread that makes batches durable: all that wait when it comes round share one sync.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use quorate_seams::{Completion, DiskError};
use rocksdb::DB;
use tokio::sync::oneshot;

use crate::error::map;

type Waiter = oneshot::Sender<Result<(), DiskError>>;

/// The thread and the queue in front of it.
#[derive(Debug)]
pub(crate) struct SyncThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    broken: OnceLock<DiskError>,
}

/// One waiter per batch that was submitted and is not durable; whoever submits bounds them.
#[derive(Debug, Default)]
struct Queue {
    waiters: Vec<Waiter>,
    stopping: bool,
}

impl SyncThread {
    /// Starts the thread over `db`.
    pub(crate) fn start(db: Arc<DB>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("disk-sync".into()).spawn(move || run(&db, &theirs))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Why nothing is accepted any more, if so.
    pub(crate) fn broken(&self) -> Option<&DiskError> {
        self.shared.broken.get()
    }

    /// Refuses everything from now on: after a failed write or sync nobody knows what is on disk.
    pub(crate) fn set_broken(&self, error: &DiskError) {
        let _ = self.shared.broken.set(error.clone());
    }

    /// Ends when everything written before this call is durable.
    pub(crate) fn synced(&self) -> Completion {
        let (sender, receiver) = oneshot::channel();
        lock(&self.shared.queue).waiters.push(sender);
        self.shared.changed.notify_one();
        Box::pin(async move {
            receiver.await.unwrap_or_else(|_| Err(DiskError::Io("the store was closed before the sync".into())))
        })
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        lock(&self.shared.queue).stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
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
        let outcome = match shared.broken.get() {
            Some(error) => Err(error.clone()),
            None => db.flush_wal(true).map_err(|error| map(&error)),
        };
        if let Err(error) = &outcome {
            let _ = shared.broken.set(error.clone());
        }
        for waiter in waiters {
            // Whoever dropped the future does not want to know.
            let _ = waiter.send(outcome.clone());
        }
    }
}

fn lock(queue: &Mutex<Queue>) -> std::sync::MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
