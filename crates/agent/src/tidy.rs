//! Gives back what ended attempts had on the disk, and keeps the output of running ones in bounds.
//!
//! A directory may be huge and a disk may hang. Who waits for that must not be a thread of the
//! runtime, because those notice the lease's end and kill. So two threads of this file wait: one
//! that removes, and one that cuts, so that a huge directory does not let outputs grow meanwhile. On a
//! runtime of one thread, which is what the simulator uses, they are tasks of it.

use std::io;
use std::sync::Arc;

use quorate_state::AttemptId;
use tokio::sync::{Semaphore, mpsc};

use crate::blocking::is_single_threaded;
use crate::logs::Outputs;
use crate::workspace::{Workspace, Workspaces};

/// Ended attempts that may wait for the disk, besides those that run. When a disk is further behind,
/// nothing starts until it has caught up.
const BACKLOG_MAX: usize = 1_024;
/// Outputs that wait to be cut; one that finds no place asks again a second later.
const CUTS_MAX: usize = 1_024;

/// The threads that wait for the disk. They end once nobody can ask them any more.
#[derive(Debug)]
pub struct Tidier {
    remains: mpsc::Sender<Remains>,
    cuts: mpsc::Sender<AttemptId>,
}

/// What an attempt leaves on the disk.
#[derive(Debug)]
struct Remains {
    attempt: AttemptId,
    workspace: Workspace,
}

/// An attempt's place in the queue, taken before it starts: so its end finds room and never waits.
#[derive(Debug)]
pub struct Slot(mpsc::OwnedPermit<Remains>);

impl Slot {
    /// Nothing of the attempt is left: its directory is removed or kept for the next, and its output
    /// counts as that of an ended attempt. Returns at once.
    pub fn tidy(self, attempt: AttemptId, workspace: Workspace) {
        self.0.send(Remains { attempt, workspace });
    }
}

impl Tidier {
    /// Starts the threads; `attempts_max` may run at once.
    pub fn start(outputs: Arc<Outputs>, workspaces: Arc<Workspaces>, attempts_max: usize) -> io::Result<Self> {
        let (tidier, remains, cuts) = Self::queues(attempts_max.saturating_add(BACKLOG_MAX));
        let trimmed = outputs.clone();
        thread("tidier", remains, move |Remains { attempt, workspace }| {
            workspaces.give_back(workspace);
            outputs.retire(attempt);
        })?;
        thread("trimmer", cuts, move |attempt| trimmed.trim(attempt))?;
        Ok(tidier)
    }

    fn queues(slots: usize) -> (Self, mpsc::Receiver<Remains>, mpsc::Receiver<AttemptId>) {
        let (remains, ended) = mpsc::channel(slots.clamp(1, Semaphore::MAX_PERMITS));
        let (cuts, grown) = mpsc::channel(CUTS_MAX);
        (Self { remains, cuts }, ended, grown)
    }

    /// Waits for a place in the queue. None: nobody works it off any more. Cancel-safe.
    pub async fn slot(&self) -> Option<Slot> {
        self.remains.clone().reserve_owned().await.ok().map(Slot)
    }

    /// Has an attempt's output cut to its bound, soon. Returns at once.
    pub fn trim(&self, attempt: AttemptId) {
        let _ = self.cuts.try_send(attempt);
    }
}

fn thread<T: Send + 'static>(
    name: &str,
    mut queue: mpsc::Receiver<T>,
    mut work: impl FnMut(T) + Send + 'static,
) -> io::Result<()> {
    if is_single_threaded() {
        tokio::spawn(async move {
            while let Some(one) = queue.recv().await {
                work(one);
            }
        });
        return Ok(());
    }
    let body = move || {
        while let Some(one) = queue.blocking_recv() {
            work(one);
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

/// What keeps a disk that hangs from answering, for tests.
#[cfg(test)]
pub(crate) struct Hung {
    _queues: (mpsc::Receiver<Remains>, mpsc::Receiver<AttemptId>),
}

#[cfg(test)]
impl Tidier {
    /// One whose disk hangs, with room for so many attempts.
    pub(crate) fn hung(slots: usize) -> (Self, Hung) {
        let (tidier, remains, cuts) = Self::queues(slots);
        (tidier, Hung { _queues: (remains, cuts) })
    }
}
