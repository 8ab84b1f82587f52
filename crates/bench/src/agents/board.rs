//! What all fake agents of a fleet have seen so far, for whoever measures them.

use std::collections::BTreeMap;

use quorate_proto::ApiError;
use quorate_seams::BootInstant;

use super::body::{Happened, Key};

/// Instants of registrations that are kept: several storms of the largest fleet.
const REGISTRATIONS_MAX: usize = 200_000;
/// Starts that are kept.
const STARTS_MAX: usize = 1_000_000;

/// What has been seen.
#[derive(Debug)]
pub(super) struct Board {
    agents: Vec<Standing>,
    with_session: usize,
    /// When agents were registered, in order.
    registrations: Vec<BootInstant>,
    /// Sessions that ended or did not come about, by reason.
    failures: BTreeMap<&'static str, u64>,
    starts: Vec<Start>,
    /// What runs, and on which agent.
    running: BTreeMap<Key, usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    has_session: bool,
    is_dead: bool,
    /// When it said something last.
    last_word: BootInstant,
}

/// An attempt has started.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) attempt: Key,
    pub(super) at: BootInstant,
}

impl Board {
    pub(super) fn new(agents: usize) -> Self {
        Self {
            agents: vec![Standing::default(); agents],
            with_session: 0,
            registrations: Vec::new(),
            failures: BTreeMap::new(),
            starts: Vec::new(),
            running: BTreeMap::new(),
        }
    }

    /// From now on only what happens from now on counts. What runs stays.
    pub(super) fn clear(&mut self) {
        self.registrations.clear();
        self.failures.clear();
        self.starts.clear();
    }

    /// An agent is registered and knows what it should run. Said again within its session, it changes nothing.
    pub(super) fn registered(&mut self, agent: usize, at: BootInstant) {
        let Some(standing) = self.agents.get_mut(agent).filter(|standing| !standing.is_dead) else { return };
        if std::mem::replace(&mut standing.has_session, true) {
            return;
        }
        self.with_session += 1;
        if self.registrations.len() < REGISTRATIONS_MAX {
            self.registrations.push(at);
        }
    }

    /// A session is over, or did not come about; none: its agent has ended it.
    pub(super) fn left(&mut self, agent: usize, why: Option<&'static str>) {
        if let Some(standing) = self.agents.get_mut(agent)
            && std::mem::replace(&mut standing.has_session, false)
        {
            self.with_session -= 1;
        }
        if let Some(why) = why {
            *self.failures.entry(why).or_default() += 1;
        }
    }

    pub(super) fn spoke(&mut self, agent: usize, at: BootInstant) {
        if let Some(standing) = self.agents.get_mut(agent) {
            standing.last_word = standing.last_word.max(at);
        }
    }

    pub(super) fn happened(&mut self, agent: usize, happened: &Happened, at: BootInstant) {
        if self.agents.get(agent).is_some_and(|standing| standing.is_dead) {
            return;
        }
        for attempt in &happened.started {
            self.running.insert(attempt.clone(), agent);
            if self.starts.len() < STARTS_MAX {
                self.starts.push(Start { attempt: attempt.clone(), at });
            }
        }
        for attempt in &happened.ended {
            if self.running.get(attempt) == Some(&agent) {
                self.running.remove(attempt);
            }
        }
    }

    /// The agent's machine is gone, and all that ran there. Its last word.
    pub(super) fn died(&mut self, agent: usize) -> BootInstant {
        self.left(agent, None);
        self.running.retain(|_, on| *on != agent);
        let Some(standing) = self.agents.get_mut(agent) else { return BootInstant::default() };
        standing.is_dead = true;
        standing.last_word
    }

    /// It has a machine again.
    pub(super) fn revived(&mut self, agent: usize) {
        if let Some(standing) = self.agents.get_mut(agent) {
            standing.is_dead = false;
        }
    }

    pub(super) fn with_session(&self) -> usize {
        self.with_session
    }

    pub(super) fn registrations(&self) -> &[BootInstant] {
        &self.registrations
    }

    pub(super) fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.failures.clone()
    }

    pub(super) fn starts(&self) -> &[Start] {
        &self.starts
    }

    /// What runs of this run, and where.
    pub(super) fn running(&self, run: &str) -> Vec<(Key, usize)> {
        let of_run = self.running.iter().filter(|((id, ..), _)| id == run);
        of_run.map(|(attempt, agent)| (attempt.clone(), *agent)).collect()
    }
}

/// The word for an error under which it is counted.
pub(super) fn word(error: &ApiError) -> &'static str {
    match error {
        ApiError::Invalid(_) => "invalid",
        ApiError::NotFound { .. } => "not_found",
        ApiError::Exists { .. } => "exists",
        ApiError::Stale(_) => "stale",
        ApiError::Precondition { .. } => "precondition",
        ApiError::Limit { .. } => "limit",
        ApiError::Overloaded { .. } => "overloaded",
        ApiError::NotLeader { .. } => "not_leader",
        ApiError::Unavailable(_) => "unavailable",
        ApiError::OutcomeUnknown(_) => "outcome_unknown",
        ApiError::Compacted { .. } => "compacted",
        ApiError::Denied(_) => "denied",
        ApiError::Cancelled(_) => "cancelled",
        ApiError::DeadlineExceeded(_) => "deadline_exceeded",
        ApiError::Internal { .. } => "internal",
        ApiError::Unsupported(_) => "unsupported",
        ApiError::Transport(_) => "transport",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_millis(millis)
    }

    #[test]
    fn a_session_counts_once_however_often_it_is_said() {
        let mut board = Board::new(2);
        board.registered(0, at(1));
        board.registered(0, at(2));
        assert_eq!((board.with_session(), board.registrations()), (1, &[at(1)][..]));
        board.left(0, Some("stale"));
        board.left(0, Some("stale"));
        assert_eq!((board.with_session(), board.failures().get("stale")), (0, Some(&2)));
        board.clear();
        assert_eq!((board.registrations().len(), board.failures().len()), (0, 0));
    }

    #[test]
    fn a_copy_that_ends_late_does_not_end_the_one_that_replaced_it() {
        let mut board = Board::new(2);
        let attempt = |number| ("r".to_owned(), 0, 0, number);
        let started = |number| Happened { started: vec![attempt(number)], ended: vec![] };
        board.happened(0, &started(1), at(1));
        board.died(0);
        board.happened(1, &started(2), at(2));
        board.happened(0, &Happened { started: vec![], ended: vec![attempt(1)] }, at(3));
        assert_eq!(board.running("r"), [(attempt(2), 1)]);
        assert_eq!(board.starts().len(), 2);
    }
}
