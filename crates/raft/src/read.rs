//! Linearizable reads: one round of the quorum serves everyone who asked before it began.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use quorate_state::Revision;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ReadError;
use crate::lead::Lead;
use crate::type_config::Raft;

/// Readers that wait for the next round.
const WAITING_MAX: usize = 16_384;

type Answer = oneshot::Sender<Result<Revision, ReadError>>;

/// The queue of readers.
pub(crate) struct Barrier(mpsc::Sender<Answer>);

/// What a round needs.
pub(crate) struct Rounds {
    pub(crate) raft: Raft,
    pub(crate) lead: Arc<Lead>,
    pub(crate) applied: watch::Receiver<Revision>,
    pub(crate) deadline: Duration,
}

impl Barrier {
    /// The queue, and the task that runs the rounds until the queue is dropped.
    pub(crate) fn new(rounds: Rounds) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), rounds.run(receiver))
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

impl Rounds {
    async fn run(mut self, mut waiting: mpsc::Receiver<Answer>) {
        let mut readers = Vec::new();
        // Whoever comes during a round waits for the next: it must begin after they asked.
        while waiting.recv_many(&mut readers, WAITING_MAX).await > 0 {
            let late = || ReadError::Unavailable("no quorum answered in time".into());
            let outcome = tokio::time::timeout(self.deadline, self.round()).await.unwrap_or_else(|_| Err(late()));
            for reader in readers.drain(..) {
                // Whoever dropped the future does not want to know.
                let _ = reader.send(outcome.clone());
            }
        }
    }

    async fn round(&mut self) -> Result<Revision, ReadError> {
        let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await.map_err(|error| match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(_)) => {
                ReadError::NotLeader { leader: self.lead.hint() }
            }
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(error)) => {
                ReadError::Unavailable(error.to_string())
            }
            RaftError::Fatal(fatal) => ReadError::Unavailable(fatal.to_string()),
        })?;
        let ready = linearizer.await_ready(&self.raft).await;
        ready.map_err(|fatal| ReadError::Unavailable(fatal.to_string()))?;
        Ok(*self.applied.borrow_and_update())
    }
}
