//! Which attempts have news for the control plane, and which batches of it are on their way.
//!
//! Level, not edge: the outbox holds attempts, never texts. A batch is written from what is true
//! when it leaves, so what happens while earlier batches wait for their answer shares the next one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_seams::BootInstant;
use quorate_state::{AttemptId, Token};

/// Attempts in one batch.
pub(crate) const REPORTS_PER_BATCH_MAX: usize = 512;
/// Bytes of what the attempts of one batch said of their ends: a batch is one message, which has a bound.
pub(crate) const OUTCOMES_PER_BATCH_BYTES_MAX: usize = 256 * 1024;
/// Batches sent and not answered. Two keep the line busy; more would only be smaller.
pub(crate) const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// How long news waits for company for each start that is on its way. What it costs one task is less than a
/// round of consensus; what it saves is a round for each. A start takes about as long, so that nobody waits for the room that
/// is told of here longer than those before him take anyway.
const LINGER: Duration = Duration::from_millis(3);
/// No more starts than these are waited for.
const COMING_MAX: u32 = 10;
/// With this much news, more company saves nothing.
const COMPANY_MAX: usize = 128;

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
    /// Since when the oldest of it has waited.
    since: BootInstant,
    in_flight: BTreeMap<u64, Vec<Told>>,
    sequence: u64,
}

impl Outbox {
    /// There is news of this attempt.
    pub(crate) fn mark(&mut self, attempt: AttemptId, now: BootInstant) {
        if self.queued.insert(attempt) {
            if self.news.is_empty() {
                self.since = now;
            }
            self.news.push_back(attempt);
        }
    }

    /// How long the next batch should wait while so many attempts are about to have news; none when there is none to
    /// send, or enough is in flight.
    pub(crate) fn due(&self, now: BootInstant, coming: usize) -> Option<Duration> {
        if self.news.is_empty() || self.in_flight.len() >= BATCHES_IN_FLIGHT_MAX {
            return None;
        }
        let alone = self.in_flight.is_empty() && coming == 0;
        if alone || self.news.len() >= COMPANY_MAX {
            return Some(Duration::ZERO);
        }
        let linger = LINGER * u32::try_from(coming).unwrap_or(COMING_MAX).clamp(1, COMING_MAX);
        Some(linger.saturating_sub(now.since(self.since)))
    }

    /// Attempts for the next batch.
    pub(crate) fn next(&mut self) -> Vec<AttemptId> {
        let count = self.news.len().min(REPORTS_PER_BATCH_MAX);
        let batch: Vec<AttemptId> = self.news.drain(..count).collect();
        for attempt in &batch {
            self.queued.remove(attempt);
        }
        batch
    }

    /// These did not fit into the batch: they are the first of the next one.
    pub(crate) fn put_back(&mut self, attempts: Vec<AttemptId>, now: BootInstant) {
        if !attempts.is_empty() && self.news.is_empty() {
            self.since = now;
        }
        for attempt in attempts.into_iter().rev() {
            if self.queued.insert(attempt) {
                self.news.push_front(attempt);
            }
        }
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
    pub(crate) fn session_ended(&mut self, now: BootInstant) -> Vec<AttemptId> {
        let unanswered: Vec<AttemptId> =
            std::mem::take(&mut self.in_flight).into_values().flatten().map(|told| told.attempt).collect();
        for attempt in &unanswered {
            self.mark(*attempt, now);
        }
        unanswered
    }

    /// Nothing to tell and nothing unanswered.
    pub(crate) fn is_empty(&self) -> bool {
        self.news.is_empty() && self.in_flight.is_empty()
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

    const NOW: BootInstant = BootInstant(Duration::from_secs(9));

    /// An outbox with news of these.
    fn outbox(steps: impl IntoIterator<Item = u32>) -> Outbox {
        let mut outbox = Outbox::default();
        steps.into_iter().for_each(|step| outbox.mark(attempt(step), NOW));
        outbox
    }

    #[test]
    fn news_of_one_attempt_is_told_once_per_batch() {
        let mut outbox = outbox([1, 2, 1]);
        assert_eq!(outbox.next(), [attempt(1), attempt(2)]);
        assert_eq!(outbox.due(NOW, 0), None);
    }

    #[test]
    fn news_waits_for_company_only_while_more_is_coming() {
        let mut outbox = outbox([1]);
        let after = |time| NOW + time;
        assert_eq!(outbox.due(NOW, 0), Some(Duration::ZERO), "a single task waits for nothing");
        assert_eq!(outbox.due(NOW, 1), Some(LINGER));
        assert_eq!(outbox.due(NOW, 4), Some(4 * LINGER), "as long as it takes that more are started");
        assert_eq!(outbox.due(NOW, 1_000), Some(COMING_MAX * LINGER));
        outbox.mark(attempt(2), after(LINGER / 2));
        assert_eq!(outbox.due(after(LINGER / 2), 1), Some(LINGER / 2), "the oldest counts");
        assert_eq!(outbox.due(after(LINGER * 2), 1), Some(Duration::ZERO));
        (0..COMPANY_MAX as u32).for_each(|step| outbox.mark(attempt(step), NOW));
        assert_eq!(outbox.due(NOW, 1_000), Some(Duration::ZERO));
    }

    #[test]
    fn while_enough_is_unanswered_news_gathers() {
        let mut outbox = outbox([]);
        for step in 0..BATCHES_IN_FLIGHT_MAX as u32 {
            outbox.mark(attempt(step), NOW);
            assert_eq!(outbox.next(), [attempt(step)]);
            outbox.sent(vec![told(step)]);
        }
        outbox.mark(attempt(8), NOW);
        assert_eq!(outbox.due(NOW + LINGER, 0), None);
        assert_eq!(outbox.answered(1), [told(0)]);
        assert_eq!(outbox.due(NOW, 0), Some(LINGER), "the answer to the other may bring more");
        assert_eq!(outbox.due(NOW + LINGER, 0), Some(Duration::ZERO));
    }

    #[test]
    fn what_was_not_answered_is_told_again_in_the_next_session() {
        let mut outbox = outbox([1]);
        outbox.next();
        let sequence = outbox.sent(vec![told(1)]);
        assert_eq!(outbox.session_ended(NOW), [attempt(1)]);
        assert_eq!(outbox.answered(sequence), [], "an answer of the old session no longer counts");
        assert_eq!(outbox.next(), [attempt(1)]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut outbox = outbox(0..2 * REPORTS_PER_BATCH_MAX as u32);
        assert_eq!(outbox.next().len(), REPORTS_PER_BATCH_MAX);
    }
}
