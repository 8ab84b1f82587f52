//! Who stands for election when the leader falls silent, and when.
//!
//! By itself openraft waits until the leader's lease is over (`election_ms_max`), and then for an election
//! time on top of it. Nobody votes before the lease is over, and a vote that could not be won is not
//! begun: pre-vote asks first, and changes nothing. So as soon as the lease is over the followers ask in
//! turn, two heartbeats after each other, which makes two candidates at once unlikely; what openraft does by
//! itself remains for when that fails (ADR 0033).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Tuning;
use crate::measures::Measures;
use crate::type_config::{Metrics, Raft};

/// Attempts of one follower in one silence; the rest is left to openraft.
const ATTEMPTS_MAX: u32 = 5;

/// When the leader was last heard.
pub(crate) struct Heard {
    began: Instant,
    /// Microseconds since then.
    last: AtomicU64,
    parted: Notify,
}

impl Heard {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0), parted: Notify::new() }
    }

    /// Something came from whoever leads.
    pub(crate) fn now(&self) {
        let since = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last.fetch_max(since, Ordering::Relaxed);
    }

    /// A connection from another replica has ended.
    pub(crate) fn parted(&self) {
        self.parted.notify_one();
    }

    /// Ends when a connection from another replica has ended since the last call.
    pub(crate) async fn parting(&self) {
        self.parted.notified().await;
    }

    /// When that was.
    pub(crate) fn last(&self) -> Instant {
        self.began + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }
}

/// A follower's place in the order of those that might succeed the leader of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    term: u64,
    /// From 0.
    place: u32,
    /// How many there are.
    of: u32,
}

/// The place of this replica, if it is a voter that follows somebody.
fn place(metrics: &Metrics) -> Option<Place> {
    let leader = metrics.current_leader.filter(|leader| *leader != metrics.id)?;
    if metrics.state != ServerState::Follower {
        return None;
    }
    // Ids come in order.
    let others = metrics.membership_config.membership().voter_ids().filter(|id| *id != leader);
    let heirs: Vec<_> = others.collect();
    let place = heirs.iter().position(|id| *id == metrics.id)?;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Place { term: metrics.current_term, place: count(place), of: count(heirs.len()) })
}

/// How long the leader must have been silent before the attempt of this number, from 0.
fn silence(tuning: &Tuning, place: Place, attempt: u32) -> Duration {
    let lease = Duration::from_millis(tuning.election_ms_max);
    let heartbeat = Duration::from_millis(tuning.heartbeat_ms);
    // One of them may have heard a heartbeat more than the other.
    let step = 2 * heartbeat;
    // openraft heard the leader a little later than we did.
    lease + heartbeat / 4 + step * place.place + step * place.of * attempt
}

/// Looks for as long as it is polled.
pub(crate) async fn watch(raft: Raft, heard: Arc<Heard>, measures: Arc<Measures>, tuning: Tuning) {
    let mut metrics = raft.metrics();
    let mut attempts = 0;
    let mut last = (heard.last(), None);
    loop {
        let now = place(&metrics.borrow_and_update());
        let Some(mine) = now else {
            if metrics.changed().await.is_err() {
                return;
            }
            continue;
        };
        let seen = (heard.last(), Some(mine));
        if seen != last {
            (attempts, last) = (0, seen);
        }
        let due = seen.0 + silence(&tuning, mine, attempts);
        if Instant::now() < due || attempts >= ATTEMPTS_MAX {
            // At the latest then there is something to do; a leader that is heard moves it on.
            let pause = due.saturating_duration_since(Instant::now()).max(Duration::from_millis(tuning.heartbeat_ms));
            tokio::time::sleep(pause).await;
            continue;
        }
        attempts += 1;
        measures.gave_leader_up();
        tracing::info!(term = mine.term, attempt = attempts, "the leader is silent: this replica asks for votes");
        // An error means that consensus has ended.
        if raft.trigger().elect(true).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_ask_in_turn_and_none_before_the_lease_is_over() {
        let tuning = Tuning::default();
        let (lease, step) =
            (Duration::from_millis(tuning.election_ms_max), 2 * Duration::from_millis(tuning.heartbeat_ms));
        let turns = (0..ATTEMPTS_MAX).flat_map(|attempt| {
            (0..4).map(move |place| Place { term: 1, place, of: 4 }).map(move |place| (place, attempt))
        });
        let turns: Vec<Duration> = turns.map(|(place, attempt)| silence(&tuning, place, attempt)).collect();
        assert!(turns[0] > lease && turns[0] < lease + step);
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] == step), "{turns:?}");
    }
}
