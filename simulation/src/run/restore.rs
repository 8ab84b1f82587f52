//! The loss of the whole cluster, and the data's next life.

use std::time::Duration;

use quorate_proto::backup::Reader;
use quorate_proto::raft::v1 as pb;
use quorate_state::{OnNodeLoss, Run, State, Uuid};

use super::{Violation, World};
use crate::hosts::{Begin, Order, Wish};
use crate::ledger::{RaftRows as _, Step, rows_differ};
use crate::oracles;

/// The life of the data before the present one.
pub(super) struct Before {
    /// The last revision that it came to.
    revision: u64,
    incarnation: u64,
    /// What is to go on of it.
    kept: State,
}

impl World {
    /// An operator is ordered to take a backup.
    pub(super) fn begin_backup(&mut self, now: Duration) -> bool {
        let is_clear = self.common.desk.is_clear();
        if is_clear {
            self.common.desk.put(Order { wish: Wish::Backup, at: now });
        }
        is_clear
    }

    /// All replicas are lost, but for one perhaps; at `ends` a cluster goes on from the backup, or from that
    /// one. False as long as there is no backup.
    pub(super) fn begin_destroy(
        &mut self,
        now: Duration,
        ends: Duration,
        survivor: Option<usize>,
    ) -> Result<bool, Violation> {
        let Some(backup) = self.common.desk.backup().filter(|_| self.before.is_none()) else { return Ok(false) };
        if (0..self.replicas.len()).any(|at| self.voter(at).is_none() || !self.is_running(at)) {
            return Ok(false);
        }
        for position in 0..self.replicas.len() {
            self.crash_replica(now, position, 100, ends)?;
        }
        let first = survivor.unwrap_or(0);
        let lost: Vec<usize> = (0..self.replicas.len()).filter(|at| survivor != Some(*at)).collect();
        let stores = lost.iter().filter_map(|at| self.store(*at)).collect();
        for position in lost {
            self.renew(now, position)?;
        }
        let next = self.ledger.next_life();
        let ledger = std::mem::replace(&mut self.ledger, next);
        let Some(last) = ledger.state().map(|state| state.meta().clone()) else { return Ok(false) };
        let (begin, kept) = match survivor {
            Some(at) => (Begin::Recovered(stores), ledger.with_log_of(now, at).map_err(Violation::of_ledger)?),
            None => {
                let header = Reader::open(&backup[..]).map(|reader| reader.header().revision);
                let revision = header.map_err(|error| Violation::new("P19", format!("the backup: {error}")))?;
                (Begin::Restored(backup), ledger.at(revision).map(|step| step.after.clone()))
            }
        };
        let kept = kept.ok_or_else(|| Violation::new("P19", "what is to go on is in no history"))?;
        self.record.note(now, &format!("all is lost after revision {}; r{} goes on", last.revision, first + 1));
        self.replicas[first].go_on(begin);
        self.before = Some(Before { revision: last.revision.0, incarnation: last.incarnation, kept });
        self.oracles.retain(|oracle| oracle.outlives());
        self.oracles.extend(oracles::of_restored());
        Ok(true)
    }

    /// The store that a disk says it is.
    pub(super) fn store(&self, position: usize) -> Option<Uuid> {
        let identity = self.ledger.shadows()[position].live().record::<pb::Identity>(b"identity")?;
        Some(Uuid(u128::from_be_bytes(identity.store[..].try_into().ok()?)))
    }

    /// P19: a life begins with all that the backup held, above everything that the life before said.
    pub(super) fn judge_restored(&self, first: &Step) -> Result<(), Violation> {
        let Some(Before { revision, incarnation, kept }) = &self.before else { return Ok(()) };
        let wrong = |what: String| Err(Violation::new("P19", what));
        if first.revision.0 <= *revision {
            let begins = first.revision;
            return wrong(format!("the restored life begins at revision {begins}, the one before came to {revision}"));
        }
        let new = first.after.meta().incarnation;
        if new <= *incarnation {
            return wrong(format!("the restored life is incarnation {new}, the one before was {incarnation}"));
        }
        match rows_differ(kept, &first.after) {
            Some(what) => {
                let revision = kept.meta().revision;
                wrong(format!("what was restored is not the state at revision {revision}: {what}"))
            }
            None => Ok(()),
        }
    }

    /// True for a run that may wait for ever: the life before may have made its one start.
    pub(super) fn is_held(&self, run: &Run) -> bool {
        self.before.is_some()
            && run.submitted_revision.0 < self.ledger.base()
            && run.spec.tasks.iter().any(|task| task.on_node_loss == OnNodeLoss::AtMostOnce)
    }
}
