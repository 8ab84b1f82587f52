//! How long a sign of life takes there and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::measures::Measures;
use crate::type_config::ReplicaId;

/// The first request of a stream, which counts as a sign of life when it carries nothing: its answer
/// waits for no disk. openraft drops a heartbeat that is not answered when the next is due; then it took
/// at least that long, which is noted when this is dropped.
pub(super) struct Sign {
    measures: Arc<Measures>,
    target: ReplicaId,
    since: Instant,
    /// The request carries nothing.
    empty: Arc<AtomicBool>,
    /// One that is dropped sooner was not too slow.
    patience: Duration,
    open: bool,
}

impl Sign {
    pub(super) fn new(measures: Arc<Measures>, target: ReplicaId, heartbeat_ms: u64) -> Self {
        // openraft began to wait a little earlier than we do.
        let patience = Duration::from_millis(heartbeat_ms) * 9 / 10;
        Self { measures, target, since: Instant::now(), empty: Arc::default(), patience, open: true }
    }

    /// Where to say whether the first request carries nothing.
    pub(super) fn first(&self) -> Arc<AtomicBool> {
        self.empty.clone()
    }

    /// An answer came; only the first counts.
    pub(super) fn answered(&mut self) {
        if std::mem::take(&mut self.open) && self.empty.load(Ordering::SeqCst) {
            self.measures.peers.note_round_trip(self.target, self.since.elapsed());
        }
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        if self.since.elapsed() >= self.patience {
            self.answered();
        }
    }
}
