//! A replica watches how fast it is: its own device, and its way to the others.
//!
//! A leader whose device stays slow passes leadership on to somebody whose does not (`verdict`, ADR 0032), and one
//! whose round trips are too long for its times says so (`times`). Here they are looked at and acted on;
//! both are decided by functions of what was seen.

mod times;
mod verdict;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use tokio::time::Instant;

use crate::join::{Registrar, has_caught_up};
use crate::lead::Lead;
use crate::network::Links;
use crate::type_config::{Metrics, Raft, ReplicaId};
use crate::{MemberError, Role, compare};
use verdict::{HandOver, Limits, Observed, Voter};

pub(crate) use times::go_together;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks from one question to those that do not answer to the next.
const KNOCK_EVERY: u64 = 10;
/// A hand-over is told of in the status for this long, and what does not change is said again after it.
const TOLD_FOR: Duration = Duration::from_secs(600);

/// What was found, for whoever asks.
#[derive(Default)]
pub(crate) struct Health(Mutex<Found>);

#[derive(Default)]
struct Found {
    /// What a wait for the device takes, while that stays slow.
    slow: Option<Duration>,
    /// Whom leadership was passed on to for it, and when.
    handed: Option<(HandOver, Instant)>,
    /// Why the times do not fit.
    times: Option<String>,
    /// When that was last said in the log.
    times_said: Option<Instant>,
}

impl Health {
    /// What an operator should know, in sentences; empty when all is well.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let found = self.lock();
        let slow = found.slow.map(|took| {
            format!("its disk is slow: a sync takes {} ms, see docs/operations/metrics.md", took.as_millis())
        });
        let handed = found.handed.as_ref().filter(|(_, at)| at.elapsed() <= TOLD_FOR).map(|(hand_over, at)| {
            let HandOver { to, own, theirs } = hand_over;
            format!(
                "it passed leadership on to replica {to} {} s ago: its own syncs took {} ms, that one's {} ms",
                at.elapsed().as_secs(),
                own.as_millis(),
                theirs.as_millis()
            )
        });
        slow.into_iter().chain(handed).chain(found.times.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What looking takes.
pub(crate) struct Watch {
    pub(crate) raft: Raft,
    pub(crate) lead: Arc<Lead>,
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) links: Links,
    pub(crate) health: Arc<Health>,
}

impl Watch {
    /// Looks for as long as it is polled.
    pub(crate) async fn run(self) {
        let Links { measures, tuning, .. } = &self.links;
        let limits = Limits::of(tuning);
        let mut slow_since: Option<Instant> = None;
        let mut led: Option<(u64, Instant)> = None;
        // Silent to heartbeats, and yet there.
        let mut there = BTreeSet::new();
        for look in 0_u64.. {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = Instant::now();
            let own = measures.syncs.typical();
            let slow = own.filter(|took| *took >= limits.slow);
            slow_since = slow.map(|_| slow_since.unwrap_or(now));
            let slow_for = slow_since.map_or(Duration::ZERO, |since| now - since);
            self.note_disk(slow.filter(|_| slow_for >= limits.slow_for));
            led = self.leading().map(|term| led.filter(|(known, _)| *known == term).unwrap_or((term, now)));
            let Some((term, since)) = led else {
                measures.peers.forget();
                self.note_times(None);
                continue;
            };
            let metrics = self.raft.metrics().borrow_watched().clone();
            let voters = self.voters(&metrics);
            if look % KNOCK_EVERY == 0 {
                there = self.knock(&voters, limits.patience).await;
            }
            self.note_times(self.worst_times(&voters, &there, limits.patience));
            let observed = Observed { own: own.unwrap_or_default(), slow_for, led_for: now - since, voters };
            if let Some(hand_over) = verdict::verdict(&observed, &limits) {
                self.hand_over(hand_over, term).await;
            }
        }
    }

    /// The term in which this replica leads and may speak for the cluster.
    fn leading(&self) -> Option<u64> {
        match *self.lead.role().borrow() {
            Role::Leader { term, ready: true, .. } => Some(term),
            Role::Leader { ready: false, .. } | Role::Follower { .. } => None,
        }
    }

    /// The other voters as this leader sees them.
    fn voters(&self, metrics: &Metrics) -> Vec<Voter> {
        if metrics.state != ServerState::Leader {
            return vec![];
        }
        let heard = |id: ReplicaId| metrics.heartbeat.as_ref()?.get(&id)?.map(|at| openraft::Instant::elapsed(&*at));
        let ids = metrics.membership_config.membership().voter_ids().filter(|id| *id != metrics.id);
        let voter = |id| Voter {
            id,
            caught_up: has_caught_up(metrics, id),
            silent: heard(id),
            sync: self.links.measures.peers.sync(id),
        };
        ids.map(voter).collect()
    }

    fn note_disk(&self, slow: Option<Duration>) {
        let before = std::mem::replace(&mut self.health.lock().slow, slow);
        self.links.measures.found_disk_slow(slow.is_some());
        if let (None, Some(took)) = (before, slow) {
            let sync_ms = whole_millis(took);
            tracing::warn!(sync_ms, limit_ms = self.links.tuning.slow_sync_ms, "this replica's disk is slow");
        }
    }

    /// Who of those that answer no heartbeat answers a question for which there is more time. It is that
    /// which tells a long way from a dead replica.
    async fn knock(&self, voters: &[Voter], patience: Duration) -> BTreeSet<ReplicaId> {
        if voters.iter().all(|voter| voter.answers_within(patience)) {
            return BTreeSet::new();
        }
        let reached = compare::reach(&self.raft, &self.links).await;
        reached.into_iter().filter(|(_, outcome)| outcome.is_ok()).map(|(id, _)| id).collect()
    }

    /// What the longest of the typical round trips does not fit into.
    fn worst_times(&self, voters: &[Voter], there: &BTreeSet<ReplicaId>, patience: Duration) -> Option<String> {
        let alive = voters.iter().filter(|voter| voter.answers_within(patience) || there.contains(&voter.id));
        let peers = &self.links.measures.peers;
        let (round_trip, peer) = alive.filter_map(|voter| Some((peers.round_trip(voter.id)?, voter.id))).max()?;
        times::too_short(&self.links.tuning, peer, round_trip)
    }

    /// Says it in the log now and then, not at each look.
    fn note_times(&self, wrong: Option<String>) {
        self.links.measures.found_times_too_short(wrong.is_some());
        let mut found = self.health.lock();
        if let Some(why) = wrong.as_ref().filter(|_| found.times_said.is_none_or(|said| said.elapsed() > TOLD_FOR)) {
            tracing::warn!("{why}");
            found.times_said = Some(Instant::now());
        }
        found.times = wrong;
    }

    async fn hand_over(&self, hand_over: HandOver, term: u64) {
        let HandOver { to, own, theirs } = hand_over;
        let (own_ms, theirs_ms) = (whole_millis(own), whole_millis(theirs));
        tracing::warn!(to, own_ms, theirs_ms, "this leader's disk is slow, another's is not: leadership is passed on");
        let patience = Duration::from_millis(self.links.tuning.election_ms_max);
        match self.registrar.transfer(&self.raft, &self.lead, Some(to), Some(term), patience).await {
            // A disk that is stuck also keeps us from learning that somebody else leads.
            Ok(_) | Err(MemberError::OutcomeUnknown(_)) => {
                self.links.measures.handed_over();
                self.health.lock().handed = Some((hand_over, Instant::now()));
            }
            // The next look finds the same, and tries again.
            Err(error) => tracing::warn!(%error, "leadership could not be passed on"),
        }
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
