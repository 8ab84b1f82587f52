//! Disks that go back to an image of themselves: a copy is made while the replica runs, the replica starts once more,
//! and when all others have that start on their disks, the copy is put back. From then on nobody may count on it; once it
//! has stopped for what it is, an operator replaces it.

use std::time::Duration;

use quorate_proto::raft::v1 as pb;

use super::{Violation, World};
use crate::facts::Fact;
use crate::ledger::{RaftRows as _, Shadow};
use crate::oracles::quorum::voters_seen;
use crate::rows::Kept;
use crate::scenario::{Class, FaultWhat, Target};

/// How long the replica is away when it starts once more, and while its disk is changed.
const AWAY: Duration = Duration::from_millis(500);
/// An image of a replica that was alone leads by itself, for there is nobody whom it would ask (ADR 0014).
const VOTERS_MIN: usize = 2;

/// The copy that is to be put back.
#[derive(Default)]
pub(super) struct Images(Option<Taken>);

struct Taken {
    position: usize,
    copy: Kept,
    /// The start that is in it.
    start: u64,
    /// The replica is to start once more then, unless it has.
    starts_at: Option<Duration>,
    /// Put back not before.
    back_at: Duration,
    learner: bool,
}

impl Images {
    /// Nothing is put back any more.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

impl World {
    /// A copy is made of a disk. False when that cannot be now.
    pub(super) fn begin_old_image(
        &mut self,
        now: Duration,
        ends: Duration,
        target: Target,
        learner: bool,
    ) -> Result<bool, Violation> {
        let position = self.resolve(target);
        let striking = &self.striking;
        let is_free = striking.images.0.is_none() && striking.outcasts.is_empty() && self.common.desk.is_clear();
        if !is_free || !self.is_undisturbed(position) {
            return Ok(false);
        }
        self.hear()?;
        let disk = self.ledger.shadows()[position].durable();
        let voters = voters_seen(disk);
        let is_one_of_many = !voters.is_empty() && voters.iter().all(|list| list.len() >= VOTERS_MIN);
        let start = disk.record::<pb::Start>(b"start").map(|start| start.count);
        let (Some(start), Some(copy)) = (start.filter(|_| is_one_of_many), self.replicas[position].disk.image()) else {
            return Ok(false);
        };
        self.facts.add_at(now, Fact::DiskImaged { replica: position });
        self.hear()?;
        let starts_at = Some(now + (ends - now) / 2);
        self.striking.images.0 = Some(Taken { position, copy, start, starts_at, back_at: ends, learner });
        Ok(true)
    }

    /// Goes on with the copy that was made, if it is time.
    pub(super) fn put_image_back(&mut self, now: Duration) -> Result<(), Violation> {
        let Some(taken) = &self.striking.images.0 else { return Ok(()) };
        let (position, start, starts_at, back_at) = (taken.position, taken.start, taken.starts_at, taken.back_at);
        if starts_at.unwrap_or(back_at) > now || !self.is_undisturbed(position) {
            return Ok(());
        }
        if starts_at.is_some() {
            if let Some(taken) = &mut self.striking.images.0 {
                taken.starts_at = None;
            }
            return self.crash_replica(now, position, 100, now + AWAY).map(drop);
        }
        let what = FaultWhat::Crash { target: Target::Replica(position), kept_percent: 100 };
        let is_spared = self.scenario.spares_quorum && !self.spares_quorum(&what);
        if !self.is_known_to_all(position, start) || !self.is_core_enough(Some(position)) || is_spared {
            return Ok(());
        }
        let Some(Taken { copy, learner, .. }) = self.striking.images.0.take() else { return Ok(()) };
        self.crash_replica(now, position, 100, now + AWAY)?;
        self.replicas[position].disk.put_back(copy);
        self.replicas[position].give_way(learner);
        self.striking.outcasts.cast_out(position);
        self.facts.add_at(now, Fact::DiskReverted { replica: position });
        let what = format!("the disk of r{} is that of start {start} again", position + 1);
        self.facts.add_at(now, Fact::Fault { class: Class::OldImage, what });
        self.hear()
    }

    /// True when a replica runs as it should, on a disk without trouble.
    fn is_undisturbed(&self, position: usize) -> bool {
        let is_troubled = self.striking.under_way().any(|undo| undo.disk() == Some(position));
        self.is_running(position) && self.striking.replicas[position].paused_until.is_none() && !is_troubled
    }

    /// True when every other disk has a later start of a replica for good.
    fn is_known_to_all(&self, position: usize, start: u64) -> bool {
        let Some(store) = self.store(position) else { return false };
        let key = format!("start/{store}");
        let knows = |shadow: &Shadow| {
            let seen = shadow.durable().record::<pb::Start>(key.as_bytes());
            seen.is_some_and(|seen| seen.count > start)
        };
        self.ledger.shadows().iter().enumerate().all(|(at, shadow)| at == position || knows(shadow))
    }
}
