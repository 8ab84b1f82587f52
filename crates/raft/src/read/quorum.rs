//! The leader's round: it still leads, says a quorum, and has applied what was committed by then.

use std::sync::Arc;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use quorate_state::Revision;
use tokio::sync::watch;

use super::Round;
use crate::ReadError;
use crate::lead::Lead;
use crate::type_config::Raft;

/// What the leader's round needs.
pub(crate) struct Quorum {
    pub(crate) raft: Raft,
    pub(crate) lead: Arc<Lead>,
    pub(crate) applied: watch::Receiver<Revision>,
}

impl Round for Quorum {
    async fn run(&mut self) -> Result<Revision, ReadError> {
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

    fn late(&self) -> ReadError {
        ReadError::Unavailable("no quorum answered in time".into())
    }
}
