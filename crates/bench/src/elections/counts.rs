//! What replicas count of their elections, over all of them.

use crate::Error;
use crate::cost::metrics;

/// The counters of all replicas together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// The latest term that any of them has seen.
    pub(super) term: u64,
    /// Times that one found the leader silent and asked whether it would be voted for.
    pub(super) begun: u64,
    /// Times that a leader passed leadership on, for its disk.
    pub(super) handed_over: u64,
}

impl Counts {
    /// As the replicas at these addresses show them.
    pub(super) async fn read(addresses: &[String]) -> Result<Self, Error> {
        let mut all = Self::default();
        for address in addresses {
            all.term = all.term.max(metrics(address, &["quorate_term"]).await? as u64);
            all.begun += metrics(address, &["quorate_elections_begun_total"]).await? as u64;
            all.handed_over += metrics(address, &["quorate_leadership_handed_over_total"]).await? as u64;
        }
        Ok(all)
    }

    /// What was added since `before`: no replica has started in between.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            term: self.term.saturating_sub(before.term),
            begun: self.begun.saturating_sub(before.begun),
            handed_over: self.handed_over.saturating_sub(before.handed_over),
        }
    }

    /// Terms that began without anybody's intent.
    pub(super) fn false_elections(self) -> u64 {
        self.term.saturating_sub(self.handed_over)
    }
}

/// Who leads, by position, when exactly one says that it does.
pub(super) async fn leader(addresses: &[String]) -> Option<usize> {
    let mut leaders = Vec::new();
    for (replica, address) in addresses.iter().enumerate() {
        // One that is too busy to show it is asked again soon.
        if metrics(address, &["quorate_is_leader"]).await.is_ok_and(|leads| leads >= 1.0) {
            leaders.push(replica);
        }
    }
    if let [leader] = leaders[..] { Some(leader) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_for_a_slow_disk_is_no_false_election() {
        let before = Counts { term: 3, begun: 1, handed_over: 1 };
        let after = Counts { term: 6, begun: 4, handed_over: 2 };
        let since = after.since(before);
        assert_eq!(since, Counts { term: 3, begun: 3, handed_over: 1 });
        assert_eq!(since.false_elections(), 2);
        assert_eq!(before.since(before).false_elections(), 0);
    }
}
