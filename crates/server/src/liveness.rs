//! Leases in the leader's memory: who was heard when, renewals confirmed by a quorum, and which
//! lease may be called expired. `leases` is the bookkeeping without a clock, `rounds` says which
//! renewals a round may confirm.
//!
//! Grant in the log, renewal in memory, truth from a quorum. The argument:
//!
//! 1. A renewal counts from the instant it *arrived*. The agent counts its own deadline from the
//!    instant it *sent* it, which is earlier, so the server's lease ends later by the margin that
//!    `LeaseTerms` guarantees.
//! 2. It counts only after a read-index round that started after it arrived: at some instant after
//!    the arrival this replica still led. A later leader therefore begins its own wait after that.
//! 3. A new leader knows of no renewal, so it expires nobody before the longest lease in force has
//!    passed since its own first entry was applied (which is after its election and its start).
//! 4. An expiry is decided and the epoch condemned under one lock: no renewal of it is confirmed
//!    between the decision and the proposal, nor ever after, whatever becomes of the proposal.

mod leases;
mod rounds;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::vec::Drain;

use quorate_planted::Bug;
use quorate_scheduler::Observed;
use quorate_seams::{BootInstant, Clock};
use quorate_state::{Epoch, Node, NodeName, Served, State};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::core::Core;
use crate::sessions::Order;
use leases::Leases;
pub(crate) use leases::SessionId;
use rounds::Confirm;

/// Renewals, or messages of many, that wait for a round; further ones are dropped, and the agent asks again.
pub(crate) const RENEWALS_WAITING_MAX: usize = 65_536;
/// A round takes no longer, or its renewals are dropped.
const ROUND_DEADLINE: Duration = Duration::from_secs(2);

/// A request to renew the lease of a node, in a session that is open here.
pub(crate) struct Renewal {
    pub(crate) node: NodeName,
    pub(crate) epoch: Epoch,
    pub(crate) session: SessionId,
    /// On our clock, stamped before the round that confirms it starts.
    pub(crate) arrived: BootInstant,
    /// To the session.
    pub(crate) orders: mpsc::Sender<Order>,
}

/// Renewals as they wait for their round.
pub(crate) enum Waiting {
    /// One that came in its session, which is answered.
    Alone {
        renewal: Renewal,
        /// On the agent's clock; goes back as it is.
        sent_at_ms: u64,
    },
    /// Those that came from a replica that passes their sessions on. It is told the places of those that are not renewed;
    /// `None` stands for a session that is not open here.
    Together { renewals: Vec<Option<Renewal>>, answer: oneshot::Sender<Vec<u32>> },
}

impl Waiting {
    /// How many they are.
    fn count(&self) -> usize {
        match self {
            Self::Alone { .. } => 1,
            Self::Together { renewals, .. } => renewals.len(),
        }
    }
}

/// The leader's knowledge of leases.
pub(crate) struct Liveness {
    clock: Arc<dyn Clock>,
    leases: Mutex<Leases>,
    changed: Notify,
}

impl Liveness {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, leases: Mutex::default(), changed: Notify::new() }
    }

    /// This replica leads from now on, and its own first entry is applied.
    /// Whoever notices first says so; later calls for the same term change nothing.
    pub(crate) fn begin(&self, term: u64) {
        let now = self.clock.boot();
        self.lock().begin(term, now);
    }

    /// This replica does not lead in that term any more.
    pub(crate) fn end(&self, term: u64) {
        self.lock().end(term);
    }

    /// What controllers may know of nodes. `served` is the log's time at this instant.
    pub(crate) fn observe(&self, view: &State, served: Served) -> Observed {
        let now = self.clock.boot();
        self.lock().observe(view, now, served)
    }

    /// A node was granted a lease through this leader, in the session that now begins.
    pub(crate) fn granted(&self, node: &NodeName, epoch: Epoch) -> SessionId {
        let now = self.clock.boot();
        self.lock().granted(node, epoch, now)
    }

    /// Milliseconds since the newest confirmed sign of life of a node; none when this leader has
    /// had none.
    pub(crate) fn heard_ms_ago(&self, node: &Node) -> Option<u64> {
        let now = self.clock.boot();
        self.lock().heard_ms_ago(node, now)
    }

    /// A node came back at `arrived` with a lease from an earlier session, and a round that started
    /// later has confirmed that this replica still led. Names the session that now begins when the
    /// lease is in force: it counts as renewed. `view` is called under the lock, so that nothing that was condemned, committed
    /// and forgotten meanwhile can look alive.
    pub(crate) fn resume(
        &self,
        view: impl FnOnce() -> Arc<State>,
        node: &NodeName,
        epoch: Epoch,
        arrived: BootInstant,
    ) -> Option<SessionId> {
        let mut leases = self.lock();
        leases.resume(&view(), node, epoch, arrived)
    }

    /// What a node had to report when this session of it began has been applied.
    pub(crate) fn reported(&self, node: &NodeName, epoch: Epoch, session: SessionId) {
        let news = self.lock().reported(node, epoch, session);
        if news {
            self.changed.notify_one();
        }
    }

    /// A session has ended: its node is given no more work until it is back.
    pub(crate) fn left(&self, node: &NodeName, epoch: Epoch, session: SessionId) {
        self.lock().left(node, epoch, session);
        self.changed.notify_one();
    }

    /// Of `leases`, those that are still expired; they are never renewed again.
    pub(crate) fn condemn(&self, view: &State, leases: Vec<(NodeName, Epoch)>) -> Vec<(NodeName, Epoch)> {
        let now = self.clock.boot();
        self.lock().condemn(view, leases, now)
    }

    /// Ends when controllers should look again.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Confirms renewals, many by one round, until the sessions that send them are gone.
pub(crate) async fn confirm_renewals(core: Arc<Core>, waiting: mpsc::Receiver<Waiting>) {
    let clock = core.seams.clock.clone();
    rounds::run(waiting, clock, Quorum(core)).await;
}

/// The quorum of this replica, and what it has confirmed.
struct Quorum(Arc<Core>);

impl Confirm for Quorum {
    async fn round(&mut self) -> bool {
        if quorate_planted::is(Bug::RenewalWithoutQuorum) {
            return true;
        }
        match tokio::time::timeout(ROUND_DEADLINE, self.0.replica.barrier()).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "renewals could not be confirmed");
                false
            }
            Err(_) => {
                tracing::warn!("no quorum answered in time to confirm renewals");
                false
            }
        }
    }

    fn confirmed(&mut self, waiting: Drain<'_, Waiting>) {
        let core = &self.0;
        let now = core.seams.clock.boot();
        let mut leases = core.liveness.lock();
        // Under the lock: see `resume`.
        let view = core.replica.view();
        let mut news = false;
        let mut renew = |renewal: &Renewal| {
            let Renewal { node, epoch, session, arrived, .. } = renewal;
            let renewed = leases.renew(&view, node, *epoch, *session, *arrived);
            news |= renewed == Some(true);
            core.telemetry.renewal(now.since(*arrived), renewed.is_some());
            renewed.is_some()
        };
        for one in waiting {
            // A session whose queue is full is slow; its agent asks again.
            match one {
                Waiting::Alone { renewal, sent_at_ms } => {
                    let epoch = renewal.epoch;
                    let renewed = renew(&renewal);
                    let order = if renewed { Order::Renewed { epoch, sent_at_ms } } else { Order::EpochOver };
                    let _ = renewal.orders.try_send(order);
                }
                Waiting::Together { renewals, answer } => {
                    let mut refused = Vec::new();
                    for (place, renewal) in (0..).zip(&renewals) {
                        let renewed = renewal.as_ref().is_some_and(&mut renew);
                        if !renewed {
                            refused.push(place);
                            renewal.iter().for_each(|over| drop(over.orders.try_send(Order::EpochOver)));
                        }
                    }
                    // The replica that passed them on may be gone.
                    let _ = answer.send(refused);
                }
            }
        }
        if news {
            core.liveness.changed.notify_one();
        }
    }
}
