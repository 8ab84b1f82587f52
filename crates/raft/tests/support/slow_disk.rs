//! A disk in memory whose syncs take as long as a test says, or do not end.

use std::sync::Arc;
use std::time::Duration;

use quorate_seams::{Batch, Completion, Disk, DiskView, Durability, NewRows, Table};
use tokio::sync::watch;

use super::memory_disk::MemoryDisk;

/// How fast the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    /// As fast as memory.
    Fast,
    /// Each sync takes this long.
    Slow(Duration),
    /// No sync ends before the speed changes.
    Stuck,
}

#[derive(Clone)]
pub(crate) struct SlowDisk {
    disk: MemoryDisk,
    speed: Arc<watch::Sender<Speed>>,
}

impl Default for SlowDisk {
    fn default() -> Self {
        Self { disk: MemoryDisk::default(), speed: Arc::new(watch::Sender::new(Speed::Fast)) }
    }
}

impl SlowDisk {
    pub(crate) fn becomes(&self, speed: Speed) {
        self.speed.send_replace(speed);
    }
}

impl Disk for SlowDisk {
    fn submit(&self, batch: Batch, durability: Durability) -> Completion {
        let written = self.disk.submit(batch, durability);
        if durability == Durability::Buffered {
            return written;
        }
        let mut speed = self.speed.subscribe();
        Box::pin(async move {
            let now = *speed.borrow_and_update();
            match now {
                Speed::Fast => {}
                Speed::Slow(takes) => tokio::time::sleep(takes).await,
                // An error means that the disk is gone with its test.
                Speed::Stuck => drop(speed.wait_for(|speed| *speed != Speed::Stuck).await),
            }
            written.await
        })
    }

    fn view(&self) -> Arc<dyn DiskView> {
        self.disk.view()
    }

    fn replace(&self, tables: &[Table], rows: NewRows, and: Batch) -> Completion {
        self.disk.replace(tables, rows, and)
    }
}
