//! What a life of the data that came from a backup, or from one survivor, must not do: it does not
//! know what the life before it did last.
//!
//! A `fenced` task may have a copy that was placed after the backup was taken. Its agent had a lease
//! from the earlier life and kills it when that is over, so nothing fenced is placed before the
//! longest lease and kill bound have passed. An `at_most_once` task without a known start may have
//! been started, and no time makes that certain: only a person may decide, and until then it is held.

use quorate_planted::Bug;

use crate::{ClusterId, Meta, OnNodeLoss, Revision, Run, Served, State, TaskSpec};

/// The base of a restored life is its second since the Unix epoch, shifted by so many bits. A life has
/// room for a million revisions per second of its age, and numbers stay below 2^53 for a long time.
pub const REVISIONS_PER_SECOND_BITS: u32 = 20;

/// Why a task is not placed although it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Until that instant, at which copies of an earlier life are certainly gone.
    Fenced { until: Served },
    /// For good: the life before may have made its one start. Its run can be cancelled.
    Once,
}

impl State {
    /// Why tasks of `spec`, a step of `run`, may not be placed at `now` whatever the room.
    pub fn held(&self, run: &Run, spec: &TaskSpec, now: Served) -> Option<Held> {
        let Meta { restored_at, fenced_until, .. } = self.meta;
        match spec.on_node_loss {
            OnNodeLoss::AtLeastOnce => None,
            OnNodeLoss::Fenced if quorate_planted::is(Bug::RestoreUnfenced) => None,
            OnNodeLoss::AtMostOnce if quorate_planted::is(Bug::RestoreReleasesOnce) => None,
            OnNodeLoss::Fenced => (now < fenced_until).then_some(Held::Fenced { until: fenced_until }),
            OnNodeLoss::AtMostOnce => (run.submitted_revision < restored_at).then_some(Held::Once),
        }
    }

    /// The meta row with which the next life begins, at the entry whose revision is `base`: a new
    /// identity, a new incarnation, which is the second of `base` and so ordered as bases are, and
    /// the instant before which nothing fenced is placed.
    pub fn next_life(&self, cluster: ClusterId, base: Revision) -> Meta {
        let granted = self.nodes.values().map(|node| node.lease);
        let to_be_granted = self.settings.iter().map(|settings| settings.lease);
        // The margin on top: the new leader's clock began a moment before its first entry was applied.
        let longest = granted.chain(to_be_granted).map(|lease| lease.server_ms + lease.kill_ms + lease.margin_ms).max();
        let incarnation = if quorate_planted::is(Bug::RestoreKeepsIncarnation) {
            self.meta.incarnation
        } else {
            base.0 >> REVISIONS_PER_SECOND_BITS
        };
        Meta {
            cluster,
            incarnation,
            revision: base,
            // Terms begin anew, and time goes on from where it stood.
            term: 0,
            elapsed_ms: 0,
            // What a watcher saw after the backup was taken is not in it: all must list anew.
            events_from: base,
            restored_at: base,
            fenced_until: self.meta.served.plus(longest.unwrap_or_default()),
            ..self.meta.clone()
        }
    }
}
