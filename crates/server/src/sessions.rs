//! Sessions of agents: which node is connected to this leader, and how to say something to it.
//!
//! `door` is how they come in, `serve` is one session on the leader, `speaker` what it says to the agent, `desired` what the agent
//! should run, `reports` the way of what the agent saw into the log, `limits` how much it may say,
//! `relay` the session as a follower passes it on, `upstream` the connections that such sessions share,
//! `gathering` their renewals on the follower, and `relayed` these on the leader.

mod desired;
mod door;
mod limits;
mod reports;
mod serve;
mod speaker;

mod gathering;
mod relay;
mod relayed;
mod upstream;

pub(crate) use door::{Door, Incoming};
pub(crate) use gathering::{Gathering, pass_renewals_on};
pub(crate) use relay::{is_relayed, relay};
pub(crate) use relayed::take_renewals_in;
pub(crate) use serve::{Origin, serve};
pub(crate) use upstream::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, Upstreams};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_state::{Epoch, NodeName, Revision};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::core::Core;
use crate::distances::Distances;
use crate::liveness::SessionId;
use crate::usages::Usages;

/// Sessions served at once; as many nodes as one leader is meant for, and some.
pub(crate) const SESSIONS_MAX: usize = 20_000;
/// Orders that wait for one session.
const ORDERS_WAITING_MAX: usize = 128;
/// Messages that wait for one agent's connection.
pub(crate) const MESSAGES_WAITING_MAX: usize = 64;
/// Bytes of output asked for at once.
pub(crate) const LOG_CHUNK_BYTES_MAX: u32 = 64 * 1024;
/// Looks for an agent that is not connected, before its absence is reported.
const RETURN_LOOKS: u32 = 20;
/// Between two of them.
const RETURN_LOOK_EVERY: Duration = Duration::from_millis(100);
/// An agent answers a log request within this, on top of the time it was asked to wait.
const LOG_ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What other parts of the leader want of a session.
#[derive(Debug)]
pub(crate) enum Order {
    /// A renewal was confirmed.
    Renewed { epoch: Epoch, sent_at_ms: u64 },
    /// The lease can never be renewed again: the agent must register anew.
    EpochOver,
    /// A newer session of the same agent took over.
    Replaced,
    /// A reader wants some of an attempt's output. The request's id is set by the session.
    ReadLog { request: v1::LogRequest, answer: oneshot::Sender<v1::LogChunk> },
}

/// The sessions of this leader, by node.
#[derive(Default)]
pub(crate) struct Sessions {
    open: Mutex<Open>,
    /// What agents have said, in these sessions, of what runs on their nodes.
    pub(crate) usages: Usages,
    /// And of how far other regions are.
    pub(crate) distances: Distances,
}

#[derive(Default)]
struct Open {
    by_node: BTreeMap<NodeName, Registered>,
    /// The nodes of these sessions.
    nodes: BTreeMap<SessionId, NodeName>,
}

struct Registered {
    id: SessionId,
    orders: mpsc::Sender<Order>,
    news: Arc<Notify>,
}

/// A session's place among the open ones; it is given up when this is dropped.
pub(crate) struct Place<'a> {
    sessions: &'a Sessions,
    node: NodeName,
    id: SessionId,
    /// Comes back to this session, for whoever answers it later.
    pub(crate) sender: mpsc::Sender<Order>,
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Something of its node has changed: its row, or an attempt there.
    pub(crate) news: Arc<Notify>,
}

impl Sessions {
    /// Takes the node's place; a session that held it is told that it was replaced.
    pub(crate) fn enter(&self, node: &NodeName, id: SessionId) -> Result<Place<'_>, ApiError> {
        let (sender, orders) = mpsc::channel(ORDERS_WAITING_MAX);
        let mut open = self.lock();
        if open.by_node.len() >= SESSIONS_MAX && !open.by_node.contains_key(node) {
            return Err(ApiError::Limit {
                limit: "SESSIONS_MAX".into(),
                max: SESSIONS_MAX as u64,
                advice: "this leader serves no more agents".into(),
            });
        }
        let news = Arc::new(Notify::new());
        let registered = Registered { id, orders: sender.clone(), news: news.clone() };
        if let Some(old) = open.by_node.insert(node.clone(), registered) {
            open.nodes.remove(&old.id);
            // A full queue is closed with the last sender, which ends that session too.
            let _ = old.orders.try_send(Order::Replaced);
        }
        open.nodes.insert(id, node.clone());
        Ok(Place { sessions: self, node: node.clone(), id, sender, orders, news })
    }

    /// Something of these nodes has changed; none: perhaps of any.
    fn wake(&self, touched: Option<&BTreeSet<NodeName>>) {
        let open = self.lock();
        match touched {
            Some(nodes) => {
                let sessions = nodes.iter().filter_map(|node| open.by_node.get(node));
                sessions.for_each(|session| session.news.notify_one());
            }
            None => open.by_node.values().for_each(|session| session.news.notify_one()),
        }
    }

    /// Whose sessions these are, and the ways to them; `None` for those that are not open here.
    fn find(&self, ids: impl Iterator<Item = SessionId>) -> Vec<Option<(NodeName, mpsc::Sender<Order>)>> {
        let open = self.lock();
        let found = |id| {
            let node = open.nodes.get(&id)?;
            Some((node.clone(), open.by_node.get(node)?.orders.clone()))
        };
        ids.map(found).collect()
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.lock().by_node.len()
    }

    /// Asks a node's agent for output.
    pub(crate) async fn read_log(&self, node: &NodeName, request: v1::LogRequest) -> Result<v1::LogChunk, ApiError> {
        let absent = || ApiError::Precondition {
            what: "CONNECTED".into(),
            subject: format!("node {node}"),
            why: format!("node {node} keeps this output and is not connected: try again when its agent is back"),
        };
        let orders = self.orders_of(node).await.ok_or_else(absent)?;
        let deadline = LOG_ANSWER_DEADLINE + Duration::from_millis(request.wait_ms.into());
        let (answer, chunk) = oneshot::channel();
        let exchange = async {
            orders.send(Order::ReadLog { request, answer }).await.map_err(|_| absent())?;
            chunk.await.map_err(|_| absent())
        };
        match tokio::time::timeout(deadline, exchange).await {
            Ok(chunk) => chunk,
            Err(_) => Err(ApiError::Unavailable(format!("node {node} did not answer in time"))),
        }
    }

    /// The way to a node's agent; after a change of leader the agent needs a moment to come here.
    async fn orders_of(&self, node: &NodeName) -> Option<mpsc::Sender<Order>> {
        for _ in 0..RETURN_LOOKS {
            let orders = self.lock().by_node.get(node).map(|session| session.orders.clone());
            if orders.is_some() {
                return orders;
            }
            tokio::time::sleep(RETURN_LOOK_EVERY).await;
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the sessions of nodes that something has changed for, and only those, until the replica stops (ADR 0042). A
/// session that begins looks for itself, after it has taken its place.
pub(crate) async fn wake_touched(core: Arc<Core>) {
    let mut applied = core.replica.applied();
    let mut told = Revision(0);
    loop {
        let now = *applied.borrow_and_update();
        if core.sessions.count() > 0 {
            core.sessions.wake(core.replica.touched_nodes(told, now).as_ref());
        }
        told = now;
        tokio::select! {
            biased;
            () = core.stopping.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut open = self.sessions.lock();
        if open.by_node.get(&self.node).is_some_and(|session| session.id == self.id) {
            open.by_node.remove(&self.node);
            open.nodes.remove(&self.id);
            self.sessions.usages.left(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn id(number: u64) -> SessionId {
        SessionId { term: 1, number }
    }

    fn is_woken(place: &Place<'_>) -> bool {
        place.news.notified().now_or_never().is_some()
    }

    #[test]
    fn only_sessions_of_touched_nodes_are_woken_and_all_when_nobody_knows() {
        let sessions = Sessions::default();
        let one = sessions.enter(&node("one"), id(1)).unwrap();
        let other = sessions.enter(&node("other"), id(2)).unwrap();
        sessions.wake(Some(&[node("one"), node("gone")].into()));
        assert_eq!((is_woken(&one), is_woken(&other)), (true, false));
        assert!(!is_woken(&one), "once is enough");
        sessions.wake(None);
        assert_eq!((is_woken(&one), is_woken(&other)), (true, true));
    }

    #[test]
    fn the_session_that_took_over_is_woken_and_not_the_one_before() {
        let sessions = Sessions::default();
        let before = sessions.enter(&node("one"), id(1)).unwrap();
        let after = sessions.enter(&node("one"), id(2)).unwrap();
        drop(before);
        sessions.wake(Some(&[node("one")].into()));
        assert!(is_woken(&after));
    }

    #[test]
    fn a_session_is_found_by_its_name_until_it_ends_or_is_taken_over() {
        let sessions = Sessions::default();
        let found = |ids: &[SessionId]| -> Vec<Option<String>> {
            let found = sessions.find(ids.iter().copied()).into_iter();
            found.map(|one| one.map(|(node, _)| node.to_string())).collect()
        };
        let before = sessions.enter(&node("one"), id(1)).unwrap();
        let other = sessions.enter(&node("other"), id(2)).unwrap();
        let of_another_term = SessionId { term: 2, number: 1 };
        assert_eq!(found(&[id(2), id(1), of_another_term]), [Some("other".into()), Some("one".into()), None]);
        let after = sessions.enter(&node("one"), id(3)).unwrap();
        drop((before, other));
        assert_eq!(found(&[id(1), id(2), id(3)]), [None, None, Some("one".into())]);
        drop(after);
        assert_eq!(found(&[id(3)]), [None]);
    }
}
