//! Leadership as the rest of the replica sees it: the role, and the clock of the term.

use std::sync::{Arc, Mutex, PoisonError};

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::Fatal;
use quorate_seams::{BootInstant, Clock};
use quorate_state::{Stamp, State};
use tokio::sync::watch;

use crate::halt::Halt;
use crate::log_clock::{self, LogClock};
use crate::state_machine::Published;
use crate::store::Store;
use crate::type_config::{Metrics, Raft, ServerMetrics};
use crate::{Hint, LogTime, Role, StopReason};

/// The role, kept up to date by [`watch`].
pub(crate) struct Lead {
    clock: Arc<dyn Clock>,
    role: watch::Sender<Role>,
    term: Mutex<Option<Term>>,
}

/// A term in which this replica may propose.
struct Term {
    since: BootInstant,
    clock: LogClock,
}

impl Lead {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, role: watch::Sender::new(Role::Follower { leader: None }), term: Mutex::default() }
    }

    /// The role, as it changes.
    pub(crate) fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// The leader to send callers to, where it is another.
    pub(crate) fn hint(&self) -> Option<Hint> {
        match &*self.role.borrow() {
            Role::Follower { leader } => leader.clone(),
            Role::Leader { .. } => None,
        }
    }

    /// The stamp for an entry proposed now; none when not leading, or not ready to.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let mut term = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        let term = term.as_mut()?;
        let elapsed = self.clock.boot().since(term.since).as_millis();
        Some(term.clock.stamp(u64::try_from(elapsed).unwrap_or(u64::MAX), self.clock.wall().0))
    }

    /// The log's clocks now; none when not leading, or not ready to.
    pub(crate) fn log_time(&self, view: &State) -> Option<LogTime> {
        self.stamp().map(|stamp| log_clock::after(view.meta(), stamp))
    }

    /// The role does not wait for an entry to be applied.
    fn is_settled(&self) -> bool {
        !matches!(&*self.role.borrow(), Role::Leader { ready: false, .. })
    }

    /// Follows what openraft says.
    fn update(&self, metrics: &Metrics, published: &Published) {
        let next = self.next(metrics);
        if *self.role.borrow() == next {
            return;
        }
        // The term's clock is there before anyone hears that we are ready, and gone before anyone
        // hears that we are not.
        let mut term = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        *term = match next {
            Role::Leader { term, since, ready: true } => {
                // Everything that earlier leaders stamped is applied by now.
                let log_now = published.view().meta().now;
                Some(Term { since, clock: LogClock::new(term, log_now, self.clock.wall().0) })
            }
            Role::Leader { ready: false, .. } | Role::Follower { .. } => None,
        };
        drop(term);
        match &next {
            Role::Leader { term, ready, .. } => tracing::info!(term, ready, "this replica leads"),
            Role::Follower { leader } => tracing::info!(leader = leader.as_ref().map(|hint| hint.id), "following"),
        }
        self.role.send_replace(next);
    }

    fn next(&self, metrics: &Metrics) -> Role {
        if metrics.state != ServerState::Leader {
            let leader = metrics.current_leader.filter(|id| *id != metrics.id);
            let membership = metrics.membership_config.membership();
            let hint = leader.and_then(|id| {
                let peer = membership.get_node(&id)?;
                Some(Hint { id, api: peer.api.clone(), agent: peer.agent.clone() })
            });
            return Role::Follower { leader: hint };
        }
        let term = metrics.current_term;
        let since = match &*self.role.borrow() {
            Role::Leader { term: known, since, .. } if *known == term => *since,
            Role::Leader { .. } | Role::Follower { .. } => self.clock.boot(),
        };
        // An applied entry of this very term can only be ours, and the first of them is the blank one.
        let ready = metrics.last_applied.is_some_and(|applied| applied.leader_id.term == term);
        Role::Leader { term, since, ready }
    }
}

/// Keeps the role up to date until openraft stops, and then says why it did.
///
/// openraft's full metrics change with every step of every entry, those of the server alone when the term, the
/// state, the leader or the membership do. So the former are looked at only where the latter have changed, and
/// while something is still to come that the latter do not show.
pub(crate) async fn watch(raft: Raft, lead: Arc<Lead>, published: Arc<Published>, store: Store, halt: Halt) {
    let (mut server, mut metrics) = (raft.server_metrics(), raft.metrics());
    loop {
        let of_server = server.borrow_and_update().clone();
        let now = metrics.borrow_and_update().clone();
        lead.update(&now, &published);
        if let Err(fatal) = &now.running_state {
            halt.because(match fatal {
                Fatal::Stopped => StopReason::Requested,
                Fatal::StorageError(error) => {
                    StopReason::Storage(store.failure().map_or_else(|| error.to_string(), Into::into))
                }
                Fatal::Panicked => StopReason::Internal("consensus panicked; the log above says where".into()),
            });
            break;
        }
        let is_settled = lead.is_settled() && shows(&now, &of_server);
        let is_over = tokio::select! {
            biased;
            // Both end together, after the last word of the full ones.
            changed = server.changed() => changed.is_err() && metrics.borrow_watched().running_state.is_ok(),
            changed = metrics.changed(), if !is_settled => changed.is_err(),
        };
        if is_over {
            halt.because(StopReason::Internal("consensus ended without a reason".into()));
            break;
        }
    }
    lead.term.lock().unwrap_or_else(PoisonError::into_inner).take();
    lead.role.send_replace(Role::Follower { leader: None });
}

/// The full metrics, which are sent last, have come to where those of the server are.
fn shows(metrics: &Metrics, of_server: &ServerMetrics) -> bool {
    (metrics.state, metrics.current_leader) == (of_server.state, of_server.current_leader)
        && metrics.vote == of_server.vote
        && metrics.membership_config == of_server.membership_config
}
