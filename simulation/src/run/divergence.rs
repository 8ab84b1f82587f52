//! A replica whose history differs: while it is away, the sum over all that it has applied is changed on its disk, as if
//! it had applied something else. Once it has stopped for that, an operator replaces it.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use quorate_proto::raft::v1 as pb;
use quorate_seams::{Batch, Table};

use super::{Violation, World};
use crate::facts::Fact;
use crate::hosts::{Order, Wish};
use crate::ledger::RaftRows as _;
use crate::scenario::Target;

/// It is asked to lead so long after it is back.
const LEADS_AFTER: Duration = Duration::from_millis(1_500);

impl World {
    /// A replica's history is changed while it is away. False when that cannot be now.
    pub(super) fn begin_diverge(
        &mut self,
        now: Duration,
        ends: Duration,
        target: Target,
        leads: bool,
    ) -> Result<bool, Violation> {
        let position = self.resolve(target);
        let all_run = (0..self.replicas.len()).all(|at| self.is_running(at) && self.voter(at).is_some());
        let Some((id, _)) = self.voter(position).filter(|_| all_run && self.common.desk.is_clear()) else {
            return Ok(false);
        };
        if !self.crash_replica(now, position, 100, ends)? {
            return Ok(false);
        }
        let Some(mut applied) = self.ledger.shadows()[position].live().record::<pb::Applied>(b"applied") else {
            return Ok(false);
        };
        applied.digest = applied.digest.iter().map(|byte| !byte).collect();
        let mut batch = Batch::default();
        batch.put(Table::Raft, &b"applied"[..], applied.encode_to_vec());
        self.replicas[position].disk.alter(&batch);
        self.facts.add_at(now, Fact::DiskAltered { replica: position, batch: Arc::new(batch) });
        self.hear()?;
        if leads {
            self.common.desk.put(Order { wish: Wish::Lead { id }, at: ends + LEADS_AFTER });
        }
        Ok(true)
    }
}
