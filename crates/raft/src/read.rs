//! Linearizable reads: one round serves everyone who asked before it began.
//!
//! The leader's round is one of the quorum (`quorum`). Any other replica asks the leader for one, and
//! waits until its own state is as new as the answer (`forward`). Either way a round that succeeds also
//! says from when on this replica's state had everything, which is what stale reads tell of their age.

mod forward;
mod quorum;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_seams::{BootInstant, Clock};
use quorate_state::Revision;
use tokio::sync::{mpsc, oneshot};

use crate::ReadError;

pub(crate) use forward::Forward;
pub(crate) use quorum::Quorum;

/// Readers that wait for the next round.
const WAITING_MAX: usize = 16_384;

type Answer = oneshot::Sender<Result<Revision, ReadError>>;

/// The queue of readers.
#[derive(Clone)]
pub(crate) struct Barrier(mpsc::Sender<Answer>);

/// A way to find that the state of this replica is new enough.
pub(crate) trait Round: Send + 'static {
    /// Ends when the state machine holds everything that was committed before the call; its revision then.
    fn run(&mut self) -> impl Future<Output = Result<Revision, ReadError>> + Send;

    /// What to say when that took too long.
    fn late(&self) -> ReadError;
}

/// When this replica last knew that its state had everything that was committed.
#[derive(Clone)]
pub(crate) struct UpToDate {
    clock: Arc<dyn Clock>,
    at: Arc<Mutex<Option<BootInstant>>>,
}

struct Rounds<R> {
    round: R,
    deadline: Duration,
    up_to_date: UpToDate,
}

impl Barrier {
    /// The queue, and the task that runs the rounds until the queue is dropped. A round that takes
    /// longer than `deadline` is given up.
    pub(crate) fn new<R: Round>(
        round: R,
        deadline: Duration,
        up_to_date: UpToDate,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), Rounds { round, deadline, up_to_date }.run(receiver))
    }

    /// A queue that refuses everyone.
    #[cfg(test)]
    pub(crate) fn closed() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// Ends when the state machine holds everything that was committed before the call.
    pub(crate) async fn pass(&self) -> Result<Revision, ReadError> {
        let (sender, receiver) = oneshot::channel();
        let stopping = || ReadError::Unavailable("this replica is stopping".into());
        self.0.try_send(sender).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                ReadError::Unavailable(format!("{WAITING_MAX} reads wait already: try again later"))
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        receiver.await.unwrap_or_else(|_| Err(stopping()))
    }
}

impl<R: Round> Rounds<R> {
    async fn run(mut self, mut waiting: mpsc::Receiver<Answer>) {
        let mut readers = Vec::new();
        // Whoever comes during a round waits for the next: it must begin after they asked.
        while waiting.recv_many(&mut readers, WAITING_MAX).await > 0 {
            let began = self.up_to_date.clock.boot();
            let outcome = match tokio::time::timeout(self.deadline, self.round.run()).await {
                Ok(outcome) => outcome,
                Err(_) => Err(self.round.late()),
            };
            if outcome.is_ok() {
                self.up_to_date.note(began);
            }
            for reader in readers.drain(..) {
                // Whoever dropped the future does not want to know.
                let _ = reader.send(outcome.clone());
            }
        }
    }
}

impl UpToDate {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, at: Arc::default() }
    }

    /// Everything that was committed by then is in every view taken after this call; none since the start
    /// of this replica is known.
    pub(crate) fn at(&self) -> Option<BootInstant> {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, began: BootInstant) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        *at = (*at).max(Some(began));
    }
}
