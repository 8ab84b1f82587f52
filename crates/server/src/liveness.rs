//! Leases in the leader's memory: who was heard when, renewals confirmed by a quorum, and which
//! lease may be called expired. `leases` is the bookkeeping without a clock.
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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_planted::Bug;
use quorate_scheduler::Observed;
use quorate_seams::{BootInstant, Clock};
use quorate_state::{Epoch, Node, NodeName, Served, State};
use tokio::sync::{Notify, mpsc};

use crate::core::Core;
use crate::sessions::Order;
use leases::Leases;
pub(crate) use leases::SessionId;

/// Renewals that wait for a round; further ones are dropped, and the agent asks again.
pub(crate) const RENEWALS_WAITING_MAX: usize = 65_536;
/// Up to this many are confirmed at once, whenever they come.
const RENEWALS_FEW: usize = 64;
/// With more than that, at most one round in this time.
const RENEWAL_TICK: Duration = Duration::from_millis(250);
/// A round takes no longer, or its renewals are dropped.
const ROUND_DEADLINE: Duration = Duration::from_secs(2);

/// A request to renew a lease, as it waits for its round.
pub(crate) struct Renewal {
    pub(crate) node: NodeName,
    pub(crate) epoch: Epoch,
    pub(crate) session: SessionId,
    /// On the agent's clock; goes back as it is.
    pub(crate) sent_at_ms: u64,
    /// On ours, stamped before the round that confirms it starts.
    pub(crate) arrived: BootInstant,
    /// The session that waits for the answer.
    pub(crate) answer: mpsc::Sender<Order>,
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
pub(crate) async fn confirm_renewals(core: Arc<Core>, mut waiting: mpsc::Receiver<Renewal>) {
    let mut batch = Vec::new();
    let mut last_round: Option<BootInstant> = None;
    let clock = core.seams.clock.clone();
    while waiting.recv_many(&mut batch, RENEWALS_WAITING_MAX).await > 0 {
        if let Some(last) = last_round.filter(|_| batch.len() > RENEWALS_FEW) {
            let rest = RENEWAL_TICK.saturating_sub(clock.boot().since(last));
            tokio::time::sleep(rest).await;
            while let Ok(more) = waiting.try_recv() {
                batch.push(more);
                if batch.len() >= RENEWALS_WAITING_MAX {
                    break;
                }
            }
        }
        last_round = Some(clock.boot());
        if quorate_planted::is(Bug::RenewalWithoutQuorum) {
            confirm(&core, batch.drain(..));
            continue;
        }
        match tokio::time::timeout(ROUND_DEADLINE, core.replica.barrier()).await {
            Ok(Ok(_)) => confirm(&core, batch.drain(..)),
            Ok(Err(error)) => tracing::debug!(%error, dropped = batch.len(), "renewals could not be confirmed"),
            Err(_) => tracing::warn!(dropped = batch.len(), "no quorum answered in time to confirm renewals"),
        }
        batch.clear();
    }
}

fn confirm(core: &Core, batch: impl Iterator<Item = Renewal>) {
    let now = core.seams.clock.boot();
    let mut leases = core.liveness.lock();
    // Under the lock: see `resume`.
    let view = core.replica.view();
    let mut news = false;
    for renewal in batch {
        let Renewal { node, epoch, session, sent_at_ms, arrived, answer } = renewal;
        let order = match leases.renew(&view, &node, epoch, session, arrived) {
            Some(reported) => {
                news |= reported;
                Order::Renewed { epoch, sent_at_ms }
            }
            None => Order::EpochOver,
        };
        core.telemetry.renewal(now.since(arrived), matches!(order, Order::Renewed { .. }));
        // A session whose queue is full is slow; its agent asks again.
        let _ = answer.try_send(order);
    }
    if news {
        core.liveness.changed.notify_one();
    }
}
