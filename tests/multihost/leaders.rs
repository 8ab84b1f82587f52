//! Who leads, asked of every replica all the time, each on its own so that a silent one delays nobody.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};

use crate::hosts::REPLICAS;
use crate::sessions::{api_addresses, client};

/// Between two questions to a replica.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long it is given to answer.
const ASK: Duration = Duration::from_secs(1);

/// Who leads, by position, and in which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leader {
    pub(crate) term: u64,
    pub(crate) replica: usize,
}

/// What the replicas said.
#[derive(Clone, Default)]
pub(crate) struct Leaders(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    leaders: BTreeSet<Leader>,
    /// When each replica answered last.
    answered: [BootInstant; REPLICAS],
}

impl Leaders {
    /// Asks from now on, for as long as the runtime lives.
    pub(crate) fn watch() -> Self {
        let leaders = Self::default();
        for (replica, address) in api_addresses().into_iter().enumerate() {
            let leaders = leaders.clone();
            tokio::spawn(async move {
                let client = client(vec![address], ASK);
                loop {
                    if let Ok(status) = client.replica_status(v1::GetReplicaStatusRequest {}).await {
                        let leads = status.role() == v1::ReplicaRole::Leader;
                        leaders.answer(replica, leads.then_some(status.term));
                    }
                    tokio::time::sleep(ASK_EVERY).await;
                }
            });
        }
        leaders
    }

    fn answer(&self, replica: usize, leads_in: Option<u64>) {
        let mut seen = self.lock();
        seen.answered[replica] = SystemClock.boot();
        seen.leaders.extend(leads_in.map(|term| Leader { term, replica }));
    }

    /// The last who led.
    pub(crate) fn last(&self) -> Option<Leader> {
        self.lock().leaders.last().copied()
    }

    /// How many different ones there were.
    pub(crate) fn count(&self) -> usize {
        self.lock().leaders.len()
    }

    /// True when this replica has answered since then.
    pub(crate) fn has_answered(&self, replica: usize, since: BootInstant) -> bool {
        self.lock().answered[replica] > since
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_term_says_who_led_last() {
        let leaders = Leaders::default();
        leaders.answer(2, Some(4));
        leaders.answer(0, Some(7));
        leaders.answer(2, None);
        assert_eq!(leaders.last(), Some(Leader { term: 7, replica: 0 }));
        assert_eq!(leaders.count(), 2);
        assert!(leaders.has_answered(2, BootInstant::default()));
        assert!(!leaders.has_answered(1, BootInstant::default()));
    }
}
