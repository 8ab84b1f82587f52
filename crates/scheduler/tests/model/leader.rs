//! The leader: what it remembers of its nodes, and the real controllers, stepped as the server does.

use std::collections::BTreeMap;

use quorate_scheduler::{Budget, Controller, Decision, LogNow, NodeObserved, Observed, controllers};
use quorate_state::{Command, Epoch, Millis, Node, NodeName, NodeStatus, Served, Stamp, State};

/// A leader of one term.
pub(crate) struct Leader {
    pub(crate) term: u64,
    /// When its term began.
    since: u64,
    pub(crate) desks: Vec<Desk>,
    heard: BTreeMap<NodeName, Heard>,
    condemned: BTreeMap<NodeName, Epoch>,
    /// Counts what it hears that is in no log.
    pub(crate) news: u64,
}

/// A controller and what became of its last decision.
pub(crate) struct Desk {
    pub(crate) controller: Box<dyn Controller + Send + Sync>,
    /// Its commands are on their way.
    pub(crate) waiting: bool,
    /// What it saw last: a revision and the count of other news.
    pub(crate) seen: Option<(u64, u64)>,
    pub(crate) wake_at: Option<Served>,
}

struct Heard {
    epoch: Epoch,
    at: u64,
    reported: bool,
}

impl Leader {
    pub(crate) fn new(term: u64, clock: u64) -> Self {
        let desk = |controller| Desk { controller, waiting: false, seen: None, wake_at: None };
        let desks = controllers().into_iter().map(desk).collect();
        Self { term, since: clock, desks, heard: BTreeMap::new(), condemned: BTreeMap::new(), news: 0 }
    }

    pub(crate) fn stamp(&self, clock: u64) -> Stamp {
        // Every replica has another wall clock; the log's must not go back for that.
        let wall = Millis(1_000_000 + clock - self.term % 3 * 1_000);
        Stamp { wall, term: self.term, elapsed_ms: clock - self.since }
    }

    /// The log's clocks at this instant.
    pub(crate) fn now(&self, view: &State, clock: u64) -> LogNow {
        let (meta, stamp) = (view.meta(), self.stamp(clock));
        let counted = if meta.term == self.term { meta.elapsed_ms } else { 0 };
        LogNow { served: meta.served.plus(stamp.elapsed_ms.saturating_sub(counted)), now: meta.now.max(stamp.wall) }
    }

    pub(crate) fn observe(&mut self, view: &State, clock: u64) -> Observed {
        let served = self.now(view, clock).served;
        let mut observed = Observed::default();
        for node in view.nodes() {
            let heard = self.seen(&node.name, node.epoch, clock);
            let (at, reported) = (heard.at, heard.reported);
            let expiry = self.expiry(view, node, at);
            let expires_at = (node.status == NodeStatus::Up).then(|| {
                Served((served.0 + expiry.saturating_sub(clock)).saturating_sub(clock.saturating_sub(expiry)))
            });
            let seen =
                NodeObserved { epoch: node.epoch, expires_at, reported_this_term: reported, heard_ms_ago: clock - at };
            observed.nodes.insert(node.name.clone(), seen);
        }
        observed
    }

    fn seen(&mut self, node: &NodeName, epoch: Epoch, clock: u64) -> &mut Heard {
        let heard = self.heard.entry(node.clone()).or_insert(Heard { epoch, at: clock, reported: false });
        if heard.epoch < epoch {
            *heard = Heard { epoch, at: clock, reported: false };
        }
        heard
    }

    /// A new leader waits for the longest lease in force: another may have been renewed by the old one.
    fn expiry(&self, view: &State, node: &Node, heard_at: u64) -> u64 {
        let up = view.nodes().filter(|node| node.status == NodeStatus::Up);
        let longest = up.map(|node| node.lease.server_ms).max().unwrap_or(0);
        (heard_at + node.lease.server_ms).max(self.since + longest)
    }

    /// A node renews; false when that lease cannot be renewed.
    pub(crate) fn renew(&mut self, view: &State, node: &NodeName, epoch: Epoch, clock: u64) -> bool {
        let granted = view.node(node).is_some_and(|known| known.epoch == epoch && known.status == NodeStatus::Up);
        if !granted || self.condemned.get(node).is_some_and(|condemned| *condemned >= epoch) {
            return false;
        }
        let agent_ms = view.node(node).map_or(0, |node| node.lease.agent_ms);
        let heard = self.seen(node, epoch, clock);
        // After a silence it is in a new session, and has said nothing in that one.
        heard.reported &= clock - heard.at <= agent_ms;
        heard.at = clock;
        true
    }

    /// What a node had to say has been applied.
    pub(crate) fn reported(&mut self, node: &NodeName, epoch: Epoch) {
        if let Some(heard) = self.heard.get_mut(node).filter(|heard| heard.epoch == epoch && !heard.reported) {
            heard.reported = true;
            self.news += 1;
        }
    }

    /// Steps a controller; its commands as they are proposed.
    pub(crate) fn step(&mut self, desk: usize, view: &State, clock: u64, budget: u32) -> (Asked, Decision) {
        let observed = self.observe(view, clock);
        let asked = Asked { observed, now: self.now(view, clock), seed: clock ^ view.revision().0, budget };
        let desk = &mut self.desks[desk];
        let mut decision = asked.of(&mut *desk.controller, view);
        desk.wake_at = decision.wake_at;
        desk.seen = Some((view.revision().0, self.news));
        for command in &mut decision.commands {
            if let Command::ExpireLeases { leases } = command {
                check_brake(view, &asked, leases);
                self.condemned.extend(leases.iter().cloned());
            }
        }
        (asked, decision)
    }
}

/// Everything that a decision is made from, but the view.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) observed: Observed,
    pub(crate) now: LogNow,
    seed: u64,
    budget: u32,
}

impl Asked {
    pub(crate) fn of(&self, controller: &mut (dyn Controller + Send + Sync), view: &State) -> Decision {
        let budget = Budget { steps: self.budget };
        let decision = controller.step(view, &self.observed, self.now, self.seed, budget);
        if !controller.observes(view, self.now) {
            let blind = controller.step(view, &Observed::default(), self.now, self.seed, budget);
            assert_eq!(blind, decision, "{} looks at what it says it does not", controller.name());
        }
        decision
    }
}

/// P13: when more than half of a cluster of some size is silent, one lease ends in a second, for the
/// clusters here have less than 40 nodes.
fn check_brake(view: &State, asked: &Asked, leases: &[(NodeName, Epoch)]) {
    let served = asked.now.served;
    for cluster in view.clusters() {
        let (mut nodes, mut silent, mut lost_now) = (0, 0, 0);
        for node in view.nodes().filter(|node| node.cluster == cluster.name) {
            let seen = asked.observed.nodes[&node.name];
            let ran_out = seen.expires_at.is_some_and(|at| at <= served);
            let fell_silent = seen.reported_this_term && seen.heard_ms_ago > node.lease.agent_ms;
            match node.status {
                NodeStatus::Up => {
                    nodes += 1;
                    silent += u32::from(ran_out || fell_silent);
                }
                NodeStatus::Lost { at } => {
                    let is_recent = at.0 + 2 * node.lease.server_ms > served.0;
                    nodes += u32::from(is_recent);
                    silent += u32::from(is_recent);
                    lost_now += usize::from(at.0 + 1_000 > served.0);
                }
            }
        }
        let is_here = |name: &NodeName| view.node(name).is_some_and(|node| node.cluster == cluster.name);
        let ends = leases.iter().filter(|(name, _)| is_here(name)).count();
        let braked = silent >= 4 && silent * 2 > nodes;
        assert!(!braked || ends == 0 || ends + lost_now <= 1, "{ends} leases end while {silent} of {nodes} are silent");
    }
}
