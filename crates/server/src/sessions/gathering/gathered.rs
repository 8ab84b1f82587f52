//! Whose renewals wait, what goes with the next message, and whom its answer is for: values alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_planted::Bug;
use quorate_proto::v1;
use tokio::sync::watch;

use super::super::limits::RENEWALS_PER_MESSAGE_MAX;

/// The first renewals of a session go with the rest of it, behind what its agent has to report: with the second one the
/// leader takes the node for one that has reported.
const RENEWALS_ALONE: u32 = 2;

/// The renewals of sessions that are passed on. Each session has at most one here, its newest, so that they are bounded as
/// sessions are.
#[derive(Default)]
pub(super) struct Gathered {
    next: u64,
    sessions: BTreeMap<u64, Session>,
    /// Those with a renewal that waits, in the order in which they began to wait.
    queue: VecDeque<u64>,
}

struct Session {
    name: v1::SessionName,
    /// Renewals that have not gone with the rest of it yet, of the first ones.
    alone: u32,
    waiting: Option<v1::Renew>,
    confirmed: watch::Sender<Option<v1::Renewed>>,
}

/// The renewals in a message that was not answered yet, in its order.
#[derive(Debug)]
pub(super) struct UnderWay(Vec<(u64, v1::Renew)>);

impl Gathered {
    pub(super) fn enter(&mut self, name: v1::SessionName) -> (u64, watch::Receiver<Option<v1::Renewed>>) {
        let (confirmed, receiver) = watch::channel(None);
        self.next += 1;
        self.sessions.insert(self.next, Session { name, alone: RENEWALS_ALONE, waiting: None, confirmed });
        (self.next, receiver)
    }

    pub(super) fn leave(&mut self, id: u64) {
        if self.sessions.remove(&id).is_some_and(|session| session.waiting.is_some()) {
            self.queue.retain(|waits| *waits != id);
        }
    }

    /// A session's agent asks for its lease. What it asked before and still waits is as good as answered with this.
    /// False: it must go with the rest of the session.
    pub(super) fn takes(&mut self, id: u64, renew: v1::Renew) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if quorate_planted::is(Bug::RelayRenews) {
            session.confirmed.send_replace(Some(v1::Renewed { epoch: renew.epoch, sent_at_ms: renew.sent_at_ms }));
        }
        if session.alone > 0 {
            session.alone -= 1;
            return false;
        }
        if session.waiting.replace(renew).is_none() {
            self.queue.push_back(id);
        }
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next message, of those that have waited longest; none when nobody waits.
    pub(super) fn take(&mut self) -> Option<(v1::RelayedRenewals, UnderWay)> {
        let first = self.queue.len().min(RENEWALS_PER_MESSAGE_MAX);
        let mut renewals = Vec::with_capacity(first);
        let mut under_way = Vec::with_capacity(first);
        for id in self.queue.drain(..first) {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let Some(renew) = session.waiting.take() else { continue };
            renewals.push(v1::RelayedRenewal { session: Some(session.name), epoch: renew.epoch });
            under_way.push((id, renew));
        }
        (!renewals.is_empty()).then_some((v1::RelayedRenewals { renewals }, UnderWay(under_way)))
    }

    /// Tells the sessions what the leader has confirmed; those that have ended since hear nothing.
    pub(super) fn answered(&mut self, under_way: &UnderWay, answer: &v1::RelayedRenewalsAnswer) {
        if !answer.confirmed {
            return;
        }
        let refused: BTreeSet<u32> = answer.refused.iter().copied().collect();
        for (place, (id, renew)) in (0..).zip(&under_way.0) {
            if let Some(session) = self.sessions.get(id)
                && !refused.contains(&place)
            {
                let renewed = v1::Renewed { epoch: renew.epoch, sent_at_ms: renew.sent_at_ms };
                session.confirmed.send_replace(Some(renewed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> v1::SessionName {
        v1::SessionName { term: 1, number }
    }

    fn renew(sent_at_ms: u64) -> v1::Renew {
        v1::Renew { epoch: 7, sent_at_ms }
    }

    fn confirmed(refused: &[u32]) -> v1::RelayedRenewalsAnswer {
        v1::RelayedRenewalsAnswer { confirmed: true, refused: refused.to_vec() }
    }

    /// A session that is past its first renewals.
    fn enter(gathered: &mut Gathered, number: u64) -> (u64, watch::Receiver<Option<v1::Renewed>>) {
        let (id, receiver) = gathered.enter(name(number));
        for early in 0..RENEWALS_ALONE {
            assert!(!gathered.takes(id, renew(early.into())), "that one goes with what the agent has to report");
        }
        (id, receiver)
    }

    fn waits(gathered: &mut Gathered, id: u64, renew: v1::Renew) {
        assert!(gathered.takes(id, renew));
    }

    /// The sessions in a message.
    fn numbers(message: &v1::RelayedRenewals) -> Vec<u64> {
        message.renewals.iter().map(|one| one.session.unwrap().number).collect()
    }

    /// What a session was told since it last looked.
    fn told(receiver: &mut watch::Receiver<Option<v1::Renewed>>) -> Option<u64> {
        if !receiver.has_changed().unwrap() {
            return None;
        }
        receiver.borrow_and_update().map(|renewed| renewed.sent_at_ms)
    }

    #[test]
    fn nobody_is_told_anything_before_the_leader_has_confirmed_it() {
        let mut gathered = Gathered::default();
        let (one, mut to_one) = enter(&mut gathered, 1);
        let (two, mut to_two) = enter(&mut gathered, 2);
        waits(&mut gathered, one, renew(10));
        waits(&mut gathered, two, renew(20));
        let (message, under_way) = gathered.take().unwrap();
        assert_eq!(numbers(&message), [1, 2]);
        assert_eq!((told(&mut to_one), told(&mut to_two)), (None, None));

        gathered.answered(&under_way, &v1::RelayedRenewalsAnswer::default());
        assert_eq!((told(&mut to_one), told(&mut to_two)), (None, None), "the leader could not tell");
        gathered.answered(&under_way, &confirmed(&[0]));
        assert_eq!((told(&mut to_one), told(&mut to_two)), (None, Some(20)), "the first was refused");
        assert!(gathered.take().is_none());
    }

    #[test]
    fn what_comes_while_a_message_is_under_way_waits_for_the_next_and_is_not_confirmed_by_it() {
        let mut gathered = Gathered::default();
        let (one, mut to_one) = enter(&mut gathered, 1);
        waits(&mut gathered, one, renew(10));
        let (_, under_way) = gathered.take().unwrap();
        waits(&mut gathered, one, renew(11));
        gathered.answered(&under_way, &confirmed(&[]));
        assert_eq!(told(&mut to_one), Some(10));
        let (_, under_way) = gathered.take().unwrap();
        gathered.answered(&under_way, &confirmed(&[]));
        assert_eq!(told(&mut to_one), Some(11));
    }

    #[test]
    fn a_session_waits_once_with_its_newest_and_who_waits_longest_goes_first() {
        let mut gathered = Gathered::default();
        let ids: Vec<u64> = (0..3).map(|number| enter(&mut gathered, number).0).collect();
        waits(&mut gathered, ids[2], renew(1));
        waits(&mut gathered, ids[0], renew(2));
        waits(&mut gathered, ids[2], renew(3));
        let (message, under_way) = gathered.take().unwrap();
        assert_eq!(numbers(&message), [2, 0]);
        assert_eq!(under_way.0, [(ids[2], renew(3)), (ids[0], renew(2))]);
    }

    #[test]
    fn a_message_is_bounded_and_the_rest_goes_with_the_next() {
        let mut gathered = Gathered::default();
        for number in 0..RENEWALS_PER_MESSAGE_MAX as u64 + 1 {
            let (id, _) = enter(&mut gathered, number);
            waits(&mut gathered, id, renew(number));
        }
        assert_eq!(gathered.take().unwrap().0.renewals.len(), RENEWALS_PER_MESSAGE_MAX);
        assert_eq!(numbers(&gathered.take().unwrap().0), [RENEWALS_PER_MESSAGE_MAX as u64]);
    }

    #[test]
    fn a_session_that_has_ended_is_not_passed_on_and_leaves_nothing() {
        let mut gathered = Gathered::default();
        let (one, _) = enter(&mut gathered, 1);
        let (two, mut to_two) = enter(&mut gathered, 2);
        waits(&mut gathered, one, renew(1));
        waits(&mut gathered, two, renew(2));
        gathered.leave(one);
        let (message, under_way) = gathered.take().unwrap();
        assert_eq!(numbers(&message), [2]);
        waits(&mut gathered, two, renew(3));
        gathered.leave(two);
        gathered.answered(&under_way, &confirmed(&[]));
        assert!(to_two.has_changed().is_err() || told(&mut to_two).is_none());
        assert!(gathered.is_empty() && gathered.sessions.is_empty());
    }
}
