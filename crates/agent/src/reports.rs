//! Which attempts have news for the control plane, and which batches of it are on their way.
//!
//! Level, not edge: the outbox holds attempts, never texts. A batch is written from what is true
//! when it leaves, so what happens while earlier batches wait for their answer shares the next one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_state::{AttemptId, Token};

/// Attempts in one batch.
pub(crate) const REPORTS_PER_BATCH_MAX: usize = 512;
/// Batches sent and not answered. Two keep the line busy; more would only be smaller.
pub(crate) const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// An attempt as it was told: its version counts the changes of its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) attempt: AttemptId,
    pub(crate) token: Token,
    pub(crate) version: u64,
}

/// What is to be told, and what is being told.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// In the order in which the news arose; each attempt once.
    news: VecDeque<AttemptId>,
    queued: BTreeSet<AttemptId>,
    in_flight: BTreeMap<u64, Vec<Told>>,
    sequence: u64,
}

impl Outbox {
    /// There is news of this attempt.
    pub(crate) fn mark(&mut self, attempt: AttemptId) {
        if self.queued.insert(attempt) {
            self.news.push_back(attempt);
        }
    }

    /// Attempts for the next batch; empty when there is no news or enough is in flight.
    pub(crate) fn next(&mut self) -> Vec<AttemptId> {
        if self.in_flight.len() >= BATCHES_IN_FLIGHT_MAX {
            return Vec::new();
        }
        let count = self.news.len().min(REPORTS_PER_BATCH_MAX);
        let batch: Vec<AttemptId> = self.news.drain(..count).collect();
        for attempt in &batch {
            self.queued.remove(attempt);
        }
        batch
    }

    /// Names a batch that is about to be sent.
    pub(crate) fn sent(&mut self, told: Vec<Told>) -> u64 {
        self.sequence += 1;
        self.in_flight.insert(self.sequence, told);
        self.sequence
    }

    /// The batch was answered. Empty when it is not in flight (an answer of an earlier session).
    pub(crate) fn answered(&mut self, sequence: u64) -> Vec<Told> {
        self.in_flight.remove(&sequence).unwrap_or_default()
    }

    /// The session ended: whether the batches in flight arrived is unknown, so they are news again.
    /// Says of whom.
    pub(crate) fn session_ended(&mut self) -> Vec<AttemptId> {
        let unanswered: Vec<AttemptId> =
            std::mem::take(&mut self.in_flight).into_values().flatten().map(|told| told.attempt).collect();
        for attempt in &unanswered {
            self.mark(*attempt);
        }
        unanswered
    }

    /// Nothing to tell and nothing unanswered.
    pub(crate) fn is_empty(&self) -> bool {
        self.news.is_empty() && self.in_flight.is_empty()
    }

    /// There is news and room for a batch.
    pub(crate) fn is_ready(&self) -> bool {
        !self.news.is_empty() && self.in_flight.len() < BATCHES_IN_FLIGHT_MAX
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::{RunId, TaskId};

    use super::*;

    fn attempt(step: u32) -> AttemptId {
        AttemptId { task: TaskId { run: RunId(1), step, index: 0 }, number: 1 }
    }

    fn told(step: u32) -> Told {
        Told { attempt: attempt(step), token: Token(1), version: 1 }
    }

    #[test]
    fn news_of_one_attempt_is_told_once_per_batch() {
        let mut outbox = Outbox::default();
        outbox.mark(attempt(1));
        outbox.mark(attempt(2));
        outbox.mark(attempt(1));
        assert_eq!(outbox.next(), [attempt(1), attempt(2)]);
        assert_eq!(outbox.next(), []);
    }

    #[test]
    fn while_enough_is_unanswered_news_gathers() {
        let mut outbox = Outbox::default();
        for step in 0..BATCHES_IN_FLIGHT_MAX as u32 {
            outbox.mark(attempt(step));
            assert_eq!(outbox.next(), [attempt(step)]);
            outbox.sent(vec![told(step)]);
        }
        outbox.mark(attempt(8));
        outbox.mark(attempt(9));
        assert_eq!(outbox.next(), []);
        assert_eq!(outbox.answered(1), [told(0)]);
        assert_eq!(outbox.next(), [attempt(8), attempt(9)]);
    }

    #[test]
    fn what_was_not_answered_is_told_again_in_the_next_session() {
        let mut outbox = Outbox::default();
        outbox.mark(attempt(1));
        outbox.next();
        let sequence = outbox.sent(vec![told(1)]);
        assert_eq!(outbox.session_ended(), [attempt(1)]);
        assert_eq!(outbox.answered(sequence), [], "an answer of the old session no longer counts");
        assert_eq!(outbox.next(), [attempt(1)]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut outbox = Outbox::default();
        for step in 0..2 * REPORTS_PER_BATCH_MAX as u32 {
            outbox.mark(attempt(step));
        }
        assert_eq!(outbox.next().len(), REPORTS_PER_BATCH_MAX);
    }
}
