//! What all services of a replica share: a state to read, a way to propose, one shape of answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quorate_planted::Bug;
use quorate_proto::status::{ApiError, to_status};
use quorate_raft::{Hint, Members, ProposeError, ReadError, Replica, Role, Seams};
use quorate_scheduler::{Latencies, Observed};
use quorate_state::{Command, Item, Principal, Rejection, Reply, RequestKey, Revision, Served, Settings, State};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};
use tracing::Instrument as _;

use crate::liveness::{Liveness, Waiting};
use crate::room::Room;
use crate::services::{LogStreams, unknown_run};
use crate::sessions::{Door, Gathering, Sessions, Upstreams};
use crate::telemetry::Telemetry;
use crate::watch::Watches;

/// Submits that wait for the log at once. A fraction of what waits there in all, so that a flood of
/// new work leaves room for what ends the old: decisions, reports and cancels.
pub(crate) const SUBMITS_WAITING_MAX: usize = 4_096;
/// A read waits no longer for a quorum's word.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// A stream that has nothing to say waits no longer for a quorum's word that it may still speak.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(3);

/// The parts of a running replica.
pub(crate) struct Core {
    pub(crate) replica: Replica,
    pub(crate) seams: Seams,
    /// For `Bootstrap` alone: afterwards the settings are rows.
    pub(crate) settings: Settings,
    pub(crate) liveness: Liveness,
    pub(crate) renewals: mpsc::Sender<Waiting>,
    pub(crate) sessions: Sessions,
    /// Where these come in.
    pub(crate) door: Door,
    /// Where this replica passes sessions on.
    pub(crate) upstreams: Upstreams,
    /// The renewals of those sessions, on their way to the leader together.
    pub(crate) gathering: Gathering,
    /// One permit per replica that may pass renewals on to this one.
    pub(crate) relays: Arc<Semaphore>,
    pub(crate) watches: Watches,
    pub(crate) log_streams: LogStreams,
    pub(crate) telemetry: Telemetry,
    /// New work is refused when there is none.
    pub(crate) room: Room,
    /// One permit per submit that may wait for the log.
    pub(crate) submits: Semaphore,
    /// One permit per backup that is being read.
    pub(crate) snapshots: Arc<Semaphore>,
    /// Set when the replica stops: streams end, loops return.
    pub(crate) stopping: CancellationToken,
}

impl Core {
    /// The state as of now, for what the leader alone does: whatever was acknowledged to anyone before
    /// this call is in it. Other replicas name the leader.
    pub(crate) async fn read(&self) -> Result<Arc<State>, ApiError> {
        self.read_after(self.replica.barrier()).await
    }

    /// The same on any replica: one that does not lead asks the leader which state is new enough.
    pub(crate) async fn read_anywhere(&self) -> Result<Arc<State>, ApiError> {
        self.read_after(self.replica.catch_up()).await
    }

    async fn read_after(
        &self,
        barrier: impl Future<Output = Result<Revision, ReadError>>,
    ) -> Result<Arc<State>, ApiError> {
        let trusts_itself = quorate_planted::is(Bug::ReadWithoutBarrier)
            || (quorate_planted::is(Bug::DeposedLeaderReads) && self.leading().is_some());
        if quorate_planted::is(Bug::ReadHangs) && self.leading().is_none_or(|term| term > 1) {
            return std::future::pending().await;
        }
        if !trusts_itself {
            in_time(READ_DEADLINE, barrier, "try again later").await?;
        }
        self.view()
    }

    /// What is applied here, however old it may be.
    pub(crate) fn view(&self) -> Result<Arc<State>, ApiError> {
        let view = self.replica.view();
        if view.settings().is_none() {
            return Err(ApiError::Unavailable("the cluster is being initialised: try again in a moment".into()));
        }
        Ok(view)
    }

    /// Finds that this replica still led after the call, or that it cannot tell. A leader that is cut
    /// off has nothing to say and learns of nothing: streams that wait ask this now and then, so that
    /// their clients go where something happens.
    pub(crate) async fn confirm_leading(&self) -> Result<(), ApiError> {
        in_time(CONFIRM_DEADLINE, self.replica.barrier(), "ask another replica").await
    }

    /// Finds that this replica still hears what happens, led by itself or by another.
    pub(crate) async fn confirm_informed(&self) -> Result<(), ApiError> {
        in_time(CONFIRM_DEADLINE, self.replica.catch_up(), "ask another replica").await
    }

    /// What controllers may know beside the state, when the log's time is `served`.
    pub(crate) fn observe(&self, view: &State, served: Served) -> Observed {
        let mut observed = self.liveness.observe(view, served);
        let mut ways = self.sessions.distances.all();
        let Members { replicas, .. } = self.replica.members();
        let own = replicas.iter().find(|member| member.id == self.replica.identity().replica);
        for (own, member) in own.iter().flat_map(|own| replicas.iter().map(move |member| (own, member))) {
            let took = self.replica.round_trip(member.id).map(|took| took.as_micros());
            ways.extend(
                took.map(|took| (own.region.clone(), member.region.clone(), u64::try_from(took).unwrap_or(u64::MAX))),
            );
        }
        observed.latencies = Latencies::new(ways);
        observed
    }

    /// Carries a command out; the answer is that of `apply`, after it was applied here.
    pub(crate) async fn propose(
        &self,
        principal: Principal,
        request: Option<RequestKey>,
        command: Command,
    ) -> Result<Reply, ApiError> {
        self.telemetry.proposed(1);
        let proposed = self.replica.propose(Item { principal, request, command }).await;
        match proposed.map_err(propose_error)? {
            Ok(reply) => Ok(reply),
            Err(Rejection::Invariant(what)) => Err(self.internal(&what)),
            Err(Rejection::UnknownRun(run)) => Err(unknown_run(self, run)),
            Err(rejection) => Err(rejection.into()),
        }
    }

    /// Runs a method and gives its result the shape that tonic wants.
    pub(crate) async fn answer<T>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<Response<T>, Status> {
        let started = self.seams.clock.boot();
        // `run` and `task` are filled in by whoever finds out which are meant. A span costs more than many a
        // request: what is logged at `info` and above says itself what it is about.
        let span = tracing::debug_span!("rpc", method, run = tracing::field::Empty, task = tracing::field::Empty);
        let result = work.instrument(span.clone()).await;
        let _entered = span.enter();
        let status = result.as_ref().err().map(to_status);
        let code = status.as_ref().map_or(tonic::Code::Ok, Status::code);
        self.telemetry.answered(method, code, self.seams.clock.boot().since(started));
        if let Err(error) = &result {
            tracing::debug!(method, %error, "refused");
        }
        match (result, status) {
            (Ok(answer), _) => Ok(Response::new(answer)),
            (Err(_), Some(status)) => Err(status),
            (Err(error), None) => Err(to_status(&error)),
        }
    }

    /// A bug: the caller gets an id, the log gets the rest.
    pub(crate) fn internal(&self, what: &str) -> ApiError {
        let request = format!("{:016x}", self.seams.entropy.u64());
        tracing::error!(%request, what, "internal error");
        ApiError::Internal { request }
    }

    /// What to say when this replica does not lead.
    pub(crate) fn not_leader(&self) -> ApiError {
        ApiError::NotLeader { leader: self.leader().map(|hint| hint.api) }
    }

    /// Where the leader is, when it is another replica and known.
    pub(crate) fn leader(&self) -> Option<Hint> {
        match &*self.replica.role().borrow() {
            Role::Leader { .. } => None,
            Role::Follower { leader } => leader.clone(),
        }
    }

    /// Ends when this replica stops leading in `term`, or stops altogether.
    pub(crate) async fn deposed(&self, term: u64) {
        let mut role = self.replica.role();
        let led = |role: &Role| matches!(role, Role::Leader { term: now, ready: true, .. } if *now == term);
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => {}
            // An error means that the replica is gone.
            _ = role.wait_for(|role| !led(role)) => {}
        }
    }

    /// Refuses new work where this replica leads and its disk has no room for it. On others only the leader's disk counts:
    /// they send callers there, however little room they have themselves.
    pub(crate) fn admit_new_work(&self) -> Result<(), ApiError> {
        match &*self.replica.role().borrow() {
            Role::Leader { .. } => self.room.admit(),
            Role::Follower { .. } => Ok(()),
        }
    }

    /// The term in which this replica leads and may speak for the state, if it does.
    pub(crate) fn leading(&self) -> Option<u64> {
        match &*self.replica.role().borrow() {
            Role::Leader { term, ready: true, .. } => Some(*term),
            Role::Leader { ready: false, .. } | Role::Follower { .. } => None,
        }
    }
}

/// Waits for a quorum's word, but not for ever.
async fn in_time(
    deadline: Duration,
    barrier: impl Future<Output = Result<Revision, ReadError>>,
    advice: &str,
) -> Result<(), ApiError> {
    match tokio::time::timeout(deadline, barrier).await {
        Ok(passed) => passed.map(drop).map_err(read_error),
        Err(_) => Err(ApiError::Unavailable(format!("no quorum of replicas answers: {advice}"))),
    }
}

/// What a service keeps of the replica.
pub(crate) type Shared = Arc<Core>;

/// A failed read as the API says it.
pub(crate) fn read_error(error: ReadError) -> ApiError {
    match error {
        ReadError::NotLeader { leader } => ApiError::NotLeader { leader: leader.map(|hint| hint.api) },
        ReadError::Unavailable(why) => ApiError::Unavailable(why),
        ReadError::Compacted { from } => ApiError::Compacted { from },
        ReadError::Storage(why) => ApiError::Unavailable(format!("this replica's store failed: {why}")),
    }
}

/// A failed proposal as the API says it.
pub(crate) fn propose_error(error: ProposeError) -> ApiError {
    match error {
        ProposeError::NotLeader { leader } => ApiError::NotLeader { leader: leader.map(|hint| hint.api) },
        ProposeError::OutcomeUnknown(why) => ApiError::OutcomeUnknown(why),
        ProposeError::Overloaded { limit, max } => {
            ApiError::Overloaded { limit: limit.into(), max, advice: "the leader is busy: try again later".into() }
        }
        ProposeError::TooLarge { limit, max } => {
            ApiError::Limit { limit: limit.into(), max, advice: "split the request".into() }
        }
        ProposeError::Stopped(why) => ApiError::Unavailable(format!("this replica is stopping: {why}")),
        ProposeError::FeatureNotEnabled { feature, waits_for } => ApiError::Precondition {
            what: "FEATURE".into(),
            subject: feature.to_string(),
            why: format!("feature {feature} is not enabled yet: {waits_for}"),
        },
        ProposeError::Undecodable(why) => ApiError::Precondition {
            what: "ENCODABLE".into(),
            subject: "request".into(),
            why: format!("the request cannot be written to the log: {why}"),
        },
    }
}
