//! Who was heard when in this term, and which epochs are past renewing: the rules of leases, given
//! a view and an instant.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_planted::Bug;
use quorate_scheduler::{NodeObserved, Observed};
use quorate_seams::BootInstant;
use quorate_state::{Epoch, Node, NodeName, NodeStatus, Served, State};

/// The leases of one term of leadership, without a clock.
#[derive(Debug, Default)]
pub(super) struct Leases {
    tenure: Option<Tenure>,
    nodes: BTreeMap<NodeName, Heard>,
    /// Epochs for which an expiry was proposed; the newest per node is enough, epochs rise.
    condemned: BTreeMap<NodeName, Epoch>,
    /// Sessions that have begun; never set back, so that no two of a process are confused.
    sessions: u64,
}

/// Names a session of an agent for ever: nobody leads twice in one term, and no process counts the same twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId {
    /// Of the leader that it is with.
    pub(crate) term: u64,
    pub(crate) number: u64,
}

#[derive(Debug)]
struct Tenure {
    term: u64,
    /// Not before the election, the start of the process, nor the first own entry.
    since: BootInstant,
}

#[derive(Debug)]
struct Heard {
    epoch: Epoch,
    /// Arrival of the newest confirmed renewal; before the first one, the instant at which this
    /// leader first saw the epoch.
    at: BootInstant,
    /// `at` is a sign of life, not the instant at which this leader began to look.
    confirmed: bool,
    /// The newest one in this term; what arrives late from another one is no report of it.
    session: Option<SessionId>,
    /// In that session.
    renewals: u32,
    /// In that session: what ran before it may have ended since without a word.
    reported: bool,
    /// That session has ended and no other has begun: nothing can be brought to the node now.
    left: bool,
}

/// An agent sends what it has to report before it renews for the second time in a session.
const RENEWALS_AFTER_REPORTS: u32 = 2;

impl Leases {
    pub(super) fn begin(&mut self, term: u64, now: BootInstant) {
        if self.tenure.as_ref().is_some_and(|tenure| tenure.term >= term) {
            return;
        }
        self.tenure = Some(Tenure { term, since: now });
        self.nodes.clear();
    }

    pub(super) fn end(&mut self, term: u64) {
        if self.tenure.as_ref().is_some_and(|tenure| tenure.term == term) {
            self.tenure = None;
        }
    }

    pub(super) fn observe(&mut self, view: &State, now: BootInstant, served: Served) -> Observed {
        let Some(since) = self.tenure.as_ref().map(|tenure| tenure.since) else { return Observed::default() };
        self.nodes.retain(|node, heard| view.node(node).is_some_and(|known| known.epoch <= heard.epoch));
        self.condemned.retain(|node, epoch| view.node(node).is_some_and(|known| known.epoch <= *epoch));
        let grace = longest_lease(view);
        let mut nodes = BTreeMap::new();
        for node in view.nodes() {
            let heard = self.seen(&node.name, node.epoch, now);
            if heard.epoch != node.epoch {
                // The view is older than what was heard: it has nothing to say of this node.
                continue;
            }
            let expires_at =
                (node.status == NodeStatus::Up).then(|| in_served(expiry(heard, since, grace, node), now, served));
            let observed = NodeObserved {
                epoch: node.epoch,
                expires_at,
                reported_this_term: heard.reported,
                heard_ms_ago: if heard.left { u64::MAX } else { millis(now.since(heard.at)) },
            };
            nodes.insert(node.name.clone(), observed);
        }
        Observed { nodes, ..Observed::default() }
    }

    /// The entry of this epoch, made if this is the first that is seen of it; that of a newer epoch
    /// when there is one already.
    fn seen(&mut self, node: &NodeName, epoch: Epoch, now: BootInstant) -> &mut Heard {
        let fresh =
            || Heard { epoch, at: now, confirmed: false, session: None, renewals: 0, reported: false, left: false };
        let heard = self.nodes.entry(node.clone()).or_insert_with(fresh);
        if heard.epoch < epoch {
            *heard = fresh();
        }
        heard
    }

    fn is_renewable(&self, view: &State, node: &NodeName, epoch: Epoch) -> bool {
        let granted = view.node(node).is_some_and(|known| known.epoch == epoch && known.status == NodeStatus::Up);
        let condemned = self.condemned.get(node).is_some_and(|condemned| *condemned >= epoch)
            && !quorate_planted::is(Bug::CondemnedRenewed);
        self.tenure.is_some() && granted && !condemned
    }

    /// A session begins with a lease granted just now. That alone is no report: what the agent has
    /// to say of its attempts comes after.
    pub(super) fn granted(&mut self, node: &NodeName, epoch: Epoch, now: BootInstant) -> SessionId {
        self.sessions += 1;
        let term = self.tenure.as_ref().map_or(0, |tenure| tenure.term);
        let session = SessionId { term, number: self.sessions };
        let heard = self.seen(node, epoch, now);
        if heard.epoch == epoch {
            heard.confirmed = true;
            heard.session = Some(session);
            heard.renewals = 0;
            heard.reported = false;
            heard.left = false;
        }
        session
    }

    /// A session has ended. Its node keeps its lease, but is given no more work until it is back.
    pub(super) fn left(&mut self, node: &NodeName, epoch: Epoch, session: SessionId) {
        if let Some(heard) = self.nodes.get_mut(node)
            && heard.epoch == epoch
            && heard.session == Some(session)
        {
            heard.left = true;
        }
    }

    /// A session begins with a lease from an earlier one; none when that cannot be renewed.
    pub(super) fn resume(
        &mut self,
        view: &State,
        node: &NodeName,
        epoch: Epoch,
        arrived: BootInstant,
    ) -> Option<SessionId> {
        self.sign_of_life(view, node, epoch, arrived).then(|| self.granted(node, epoch, arrived))
    }

    fn sign_of_life(&mut self, view: &State, node: &NodeName, epoch: Epoch, arrived: BootInstant) -> bool {
        let renewable = self.is_renewable(view, node, epoch);
        if renewable {
            let heard = self.seen(node, epoch, arrived);
            heard.at = heard.at.max(arrived);
            heard.confirmed = true;
        }
        renewable
    }

    /// Takes in a renewal that a round has confirmed. Answers whether the node counts as having
    /// reported because of it; `None` when the lease cannot be renewed.
    pub(super) fn renew(
        &mut self,
        view: &State,
        node: &NodeName,
        epoch: Epoch,
        session: SessionId,
        arrived: BootInstant,
    ) -> Option<bool> {
        if !self.sign_of_life(view, node, epoch, arrived) {
            return None;
        }
        let heard = self.seen(node, epoch, arrived);
        if heard.session != Some(session) {
            return Some(false);
        }
        heard.renewals = heard.renewals.saturating_add(1);
        let news = !heard.reported && heard.renewals >= RENEWALS_AFTER_REPORTS;
        heard.reported |= news;
        Some(news)
    }

    /// Reports of a session were applied. Answers whether the node counts as having reported because
    /// of it.
    pub(super) fn reported(&mut self, node: &NodeName, epoch: Epoch, session: SessionId) -> bool {
        match self.nodes.get_mut(node) {
            Some(heard) if heard.epoch == epoch && heard.session == Some(session) => {
                heard.confirmed = true;
                !std::mem::replace(&mut heard.reported, true)
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn heard_ms_ago(&self, node: &Node, now: BootInstant) -> Option<u64> {
        let heard = self.nodes.get(&node.name).filter(|heard| heard.epoch == node.epoch && heard.confirmed);
        heard.map(|heard| millis(now.since(heard.at)))
    }

    pub(super) fn condemn(
        &mut self,
        view: &State,
        leases: Vec<(NodeName, Epoch)>,
        now: BootInstant,
    ) -> Vec<(NodeName, Epoch)> {
        let Some(tenure) = &self.tenure else { return Vec::new() };
        let grace = longest_lease(view);
        let mut expired = Vec::new();
        for (name, epoch) in leases {
            let node = view.node(&name).filter(|node| node.epoch == epoch && node.status == NodeStatus::Up);
            let heard = self.nodes.get(&name).filter(|heard| heard.epoch == epoch);
            let (Some(node), Some(heard)) = (node, heard) else { continue };
            if expiry(heard, tenure.since, grace, node) <= now {
                tracing::warn!(node = %name, %epoch, term = tenure.term, "the lease has expired");
                self.condemned.insert(name.clone(), epoch);
                expired.push((name, epoch));
            }
        }
        expired
    }
}

/// The instant at which the server may call a lease expired.
fn expiry(heard: &Heard, tenure_since: BootInstant, grace: Duration, node: &Node) -> BootInstant {
    if quorate_planted::is(Bug::LostWithSession) && heard.left {
        return tenure_since;
    }
    if quorate_planted::is(Bug::NoTenureWait) {
        let lease_ms = if heard.confirmed { node.lease.server_ms } else { node.lease.agent_ms / 3 };
        return heard.at + Duration::from_millis(lease_ms);
    }
    let lease_ms = if quorate_planted::is(Bug::ExpiryIgnoresDrift) {
        node.lease.agent_ms
    } else if quorate_planted::is(Bug::CondemnedRenewed) {
        node.lease.agent_ms / 3 * 2
    } else {
        node.lease.server_ms
    };
    let own = heard.at + Duration::from_millis(lease_ms);
    own.max(tenure_since + grace)
}

/// The longest lease in force: what an earlier leader may have renewed without a trace.
fn longest_lease(view: &State) -> Duration {
    let up = view.nodes().filter(|node| node.status == NodeStatus::Up);
    Duration::from_millis(up.map(|node| node.lease.server_ms).max().unwrap_or(0))
}

/// An instant of the boot clock as log time, given the same instant on both.
fn in_served(at: BootInstant, now: BootInstant, served: Served) -> Served {
    let ahead = millis(at.since(now));
    let behind = millis(now.since(at));
    Served(served.0.saturating_add(ahead).saturating_sub(behind))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const LEASE_MS: u64 = 15_000;
    /// A session that began in another term, or never.
    const STRAY: SessionId = SessionId { term: 0, number: 0 };

    fn at(ms: u64) -> BootInstant {
        BootInstant::from_millis(100_000 + ms)
    }

    /// A leader since instant 0, with one node that registered before.
    fn scene() -> (World, Leases, NodeName, Epoch) {
        let mut world = World::new();
        let node = world.node("n1");
        let epoch = world.epoch(&node);
        assert_eq!(world.state.node(&node).unwrap().lease.server_ms, LEASE_MS);
        let mut leases = Leases::default();
        leases.begin(1, at(0));
        leases.observe(&world.state, at(0), Served(0));
        (world, leases, node, epoch)
    }

    /// What the lease controller would do on what it sees at `now`, up to the proposal.
    fn expire(world: &World, leases: &mut Leases, now: BootInstant) -> Vec<(NodeName, Epoch)> {
        let served = Served(1_000_000);
        let observed = leases.observe(&world.state, now, served);
        let due = observed.nodes.into_iter().filter(|(_, node)| node.expires_at.is_some_and(|at| at <= served));
        let due = due.map(|(name, node)| (name, node.epoch)).collect();
        leases.condemn(&world.state, due, now)
    }

    #[test]
    fn a_new_leader_waits_for_the_longest_lease_in_force() {
        let (world, mut leases, node, epoch) = scene();
        assert_eq!(expire(&world, &mut leases, at(1)), []);
        assert_eq!(expire(&world, &mut leases, at(LEASE_MS - 1)), []);
        assert_eq!(expire(&world, &mut leases, at(LEASE_MS)), [(node, epoch)]);
    }

    #[test]
    fn an_epoch_first_seen_late_is_waited_for_from_then_on() {
        let (mut world, mut leases, _, _) = scene();
        leases.observe(&world.state, at(1), Served(1));
        let late = world.node("n2");
        leases.observe(&world.state, at(10_000), Served(1));
        let expired = expire(&world, &mut leases, at(LEASE_MS + 1));
        assert!(expired.iter().all(|(node, _)| *node != late), "{expired:?}");
        assert_eq!(
            expire(&world, &mut leases, at(10_000 + LEASE_MS)).last(),
            Some(&(late.clone(), world.epoch(&late)))
        );
    }

    #[test]
    fn a_renewal_counts_from_its_arrival() {
        let (world, mut leases, node, epoch) = scene();
        assert!(leases.renew(&world.state, &node, epoch, STRAY, at(20_000)).is_some());
        assert_eq!(expire(&world, &mut leases, at(20_000 + LEASE_MS - 1)), []);
        assert_eq!(expire(&world, &mut leases, at(20_000 + LEASE_MS)), [(node, epoch)]);
    }

    #[test]
    fn a_renewal_between_the_look_and_the_proposal_saves_the_lease() {
        let (world, mut leases, node, epoch) = scene();
        leases.observe(&world.state, at(0), Served(0));
        let decided = vec![(node.clone(), epoch)];
        assert!(leases.renew(&world.state, &node, epoch, STRAY, at(LEASE_MS)).is_some());
        assert_eq!(leases.condemn(&world.state, decided, at(LEASE_MS + 1)), []);
        assert!(leases.renew(&world.state, &node, epoch, STRAY, at(LEASE_MS + 2)).is_some());
    }

    #[test]
    fn a_condemned_epoch_is_never_renewed_again() {
        let (mut world, mut leases, node, epoch) = scene();
        assert_eq!(expire(&world, &mut leases, at(LEASE_MS)).len(), 1);
        // The proposal came to nothing, and this replica was elected again.
        assert_eq!(leases.renew(&world.state, &node, epoch, STRAY, at(LEASE_MS + 1)), None);
        leases.begin(2, at(LEASE_MS + 2));
        leases.observe(&world.state, at(LEASE_MS + 3), Served(0));
        assert_eq!(leases.resume(&world.state, &node, epoch, at(LEASE_MS + 3)), None);

        world.node("n1");
        let epoch = world.epoch(&node);
        assert!(
            leases.renew(&world.state, &node, epoch, STRAY, at(LEASE_MS + 4)).is_some(),
            "a new epoch is a new lease"
        );
    }

    #[test]
    fn nobody_is_renewed_by_a_replica_that_does_not_lead() {
        let (world, mut leases, node, epoch) = scene();
        leases.end(1);
        assert_eq!(leases.renew(&world.state, &node, epoch, STRAY, at(1)), None);
        assert_eq!(expire(&world, &mut leases, at(1_000_000)), []);
    }

    #[test]
    fn a_lease_that_the_log_has_ended_is_not_renewed() {
        let (mut world, mut leases, node, epoch) = scene();
        world.apply(quorate_state::Command::ExpireLeases { leases: vec![(node.clone(), epoch)] });
        assert_eq!(leases.renew(&world.state, &node, epoch, STRAY, at(1)), None);
    }

    fn has_reported(world: &World, leases: &mut Leases, node: &NodeName) -> bool {
        leases.observe(&world.state, at(0), Served(0)).nodes[node].reported_this_term
    }

    #[test]
    fn a_node_has_reported_once_it_renews_for_the_second_time_in_a_session() {
        let (world, mut leases, node, epoch) = scene();
        let session = leases.granted(&node, epoch, at(0));
        assert!(!has_reported(&world, &mut leases, &node), "a registration is no report");
        assert_eq!(leases.renew(&world.state, &node, epoch, session, at(1)), Some(false));
        assert_eq!(leases.renew(&world.state, &node, epoch, session, at(2)), Some(true));
        assert!(has_reported(&world, &mut leases, &node));
        assert_eq!(leases.renew(&world.state, &node, epoch, session, at(3)), Some(false), "no news");
    }

    #[test]
    fn sessions_of_one_renewal_each_do_not_add_up() {
        let (world, mut leases, node, epoch) = scene();
        for session in 0..3 {
            let session = leases.resume(&world.state, &node, epoch, at(session)).unwrap();
            assert_eq!(leases.renew(&world.state, &node, epoch, session, at(10)), Some(false));
            assert!(!has_reported(&world, &mut leases, &node));
        }
    }

    #[test]
    fn a_new_session_has_yet_to_report_and_late_words_of_the_last_one_do_not_count() {
        let (world, mut leases, node, epoch) = scene();
        let first = leases.resume(&world.state, &node, epoch, at(1)).unwrap();
        assert!(leases.reported(&node, epoch, first));
        assert!(!leases.reported(&node, epoch, first), "no news");
        assert!(has_reported(&world, &mut leases, &node));

        let second = leases.resume(&world.state, &node, epoch, at(2)).unwrap();
        assert!(!has_reported(&world, &mut leases, &node));
        assert!(!leases.reported(&node, epoch, first));
        for late in 3..6 {
            assert_eq!(leases.renew(&world.state, &node, epoch, first, at(late)), Some(false));
        }
        assert!(!has_reported(&world, &mut leases, &node));
        assert!(leases.reported(&node, epoch, second));
    }

    #[test]
    fn a_node_whose_session_has_ended_is_silent_until_it_is_back() {
        let (world, mut leases, node, epoch) = scene();
        let silence = |leases: &mut Leases| leases.observe(&world.state, at(5), Served(0)).nodes[&node].heard_ms_ago;
        let first = leases.resume(&world.state, &node, epoch, at(1)).unwrap();
        leases.left(&node, epoch, first);
        assert_eq!(silence(&mut leases), u64::MAX);
        let second = leases.resume(&world.state, &node, epoch, at(2)).unwrap();
        assert_eq!(silence(&mut leases), 3);
        // The end of the session before is told late.
        leases.left(&node, epoch, first);
        assert_eq!(silence(&mut leases), 3);
        leases.left(&node, epoch, second);
        assert_eq!(silence(&mut leases), u64::MAX);
    }

    #[test]
    fn a_new_term_forgets_who_has_reported() {
        let (world, mut leases, node, epoch) = scene();
        let session = leases.resume(&world.state, &node, epoch, at(1)).unwrap();
        assert!(leases.reported(&node, epoch, session));
        leases.begin(2, at(4));
        assert!(!leases.reported(&node, epoch, session), "not seen in this term yet");
        leases.observe(&world.state, at(5), Served(0));
        assert!(!leases.reported(&node, epoch, session), "a session of the last term");
        let session = leases.resume(&world.state, &node, epoch, at(6)).unwrap();
        assert!(leases.reported(&node, epoch, session));
    }

    #[test]
    fn what_was_heard_of_a_new_epoch_outlives_a_look_at_an_older_view() {
        let (mut world, mut leases, node, _) = scene();
        let before = world.state.clone();
        world.node("n1");
        let epoch = world.epoch(&node);
        let session = leases.granted(&node, epoch, at(5));
        assert!(leases.reported(&node, epoch, session));
        assert!(leases.observe(&before, at(6), Served(0)).nodes.is_empty(), "an old view has nothing to say of it");
        assert!(leases.observe(&world.state, at(7), Served(0)).nodes[&node].reported_this_term);
    }

    #[test]
    fn a_late_call_for_an_old_term_changes_nothing() {
        let (world, mut leases, node, epoch) = scene();
        leases.begin(3, at(1_000));
        leases.observe(&world.state, at(1_000), Served(0));
        leases.begin(2, at(30_000));
        assert_eq!(expire(&world, &mut leases, at(1_000 + LEASE_MS)), [(node, epoch)]);
    }
}
