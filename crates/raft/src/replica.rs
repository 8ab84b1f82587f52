//! One replica: how it starts, proposes, reads and stops.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver as _;
use quorate_proto::raft::v1 as pb;
use quorate_proto::rows::{decode_event, event_key};
use quorate_seams::{BootInstant, Shutdown, Table};
use quorate_state::{Command, EventRow, Item, Millis, NodeName, Rejection, Reply, Revision, RunId, State};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::departed;
use crate::features::Features;
use crate::formation::{self, Formed};
use crate::gate::Gate;
use crate::halt::Halt;
use crate::health::{self, Health};
use crate::history::{self, EventPlace, RunEvents};
use crate::join::{self, Applicant, Registrar};
use crate::lead::{self, Lead};
use crate::log_store::{LogStore, PurgeBound};
use crate::measures::Measures;
use crate::network::Links;
use crate::propose::Proposer;
use crate::read::{Barrier, Forward, Quorum, UpToDate};
use crate::service::{Inbox, Service};
use crate::snapshot::{self, Staging, Views};
use crate::state_machine::{Published, StateMachine};
use crate::store::{self, Store};
use crate::succession::{self, Heard};
use crate::type_config::{Membership, Peer, Raft};
use crate::{
    Addresses, Archive, Backup, Config, Error, FeatureStatus, Formation, Identity, LogStatus, LogTime, Member,
    MemberChange, MemberError, Members, ProposeError, ReadError, Role, Seams, StopReason, Tuning, compare, listener,
    members, opening, runtime,
};

/// Event rows of one page, whatever the caller asks for; the rest of the last revision comes on top.
const EVENTS_PAGE_MAX: usize = 10_000;
/// For everything that a replica started to end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// One replica. Cheap to clone; it runs until it is stopped, not until the last clone is dropped.
#[derive(Clone)]
pub struct Replica {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Identity,
    raft_address: SocketAddr,
    raft: Raft,
    store: Store,
    published: Arc<Published>,
    lead: Arc<Lead>,
    proposer: Proposer,
    barrier: Barrier,
    forward: Barrier,
    up_to_date: UpToDate,
    registrar: Arc<Registrar>,
    links: Links,
    health: Arc<Health>,
    /// A voter that is not heard for this long does not count as one that answers.
    patience: Duration,
    halt: Halt,
    tasks: TaskTracker,
}

/// Some of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsPage {
    /// In order; the rows of one revision are never torn apart.
    pub rows: Vec<EventRow>,
    /// Nothing up to here is missing.
    pub through: Revision,
    /// There may be more after `through` already.
    pub more: bool,
}

impl Replica {
    /// Opens the listener and the store, forms or joins a cluster, loads the state and starts
    /// consensus. A joiner that its cluster does not answer waits until `shutdown`.
    pub async fn start(config: Config, seams: Seams, shutdown: Shutdown) -> Result<Self, Error> {
        config.tuning.check()?;
        runtime::seed(&*seams.entropy);
        let bound = seams.network.bind(&config.listen).await;
        let bound = bound.map_err(|source| Error::Listen { address: config.listen.clone(), source })?;
        let raft_address = bound.local_addr();
        let Addresses { raft, api, agent } = config.advertise;
        let raft = if raft.is_empty() { raft_address.to_string() } else { raft };
        let store_unknown = quorate_state::Uuid::default();
        let peer = Peer { store: store_unknown, region: config.region, raft, api, agent };
        let applicant = Applicant { peer, learner: config.learner, tuning: config.tuning.clone() };
        // Before anything is written: a store that is refused stays as it was found.
        opening::check(&*seams.disk)?;
        let store = Store::new(seams.disk.clone());
        let purge_below = PurgeBound::default();
        let published = Arc::new(Published::new(purge_below.clone(), config.tuning.digest_every));
        let measures = Arc::new(Measures::new().map_err(|error| Error::Measures(error.to_string()))?);
        let own = config.tuning.features.clone();
        let features = Arc::new(Features::new(own.clone(), published.clone()));
        let machine = StateMachine::load(store.clone(), published.clone(), own)?.measured(measures.clone());
        let views = Arc::new(Views::default());
        let machine = machine.sending(views.clone());
        let Formed { identity, founder, start } =
            formation::form(&config.formation, &applicant, &seams, &shutdown).await?;
        let me = Peer { store: identity.store, ..applicant.peer.clone() };
        tracing::info!(cluster = %identity.cluster, replica = identity.replica, start = start.count, "this replica starts");

        let log = LogStore::new(store.clone(), purge_below).measured(measures.clone());
        let halt = Halt::new();
        let gate = Arc::new(Gate::new(identity, start, seams.disk.clone(), halt.clone(), published.clone()));
        let links = Links {
            gate: gate.clone(),
            network: seams.network.clone(),
            entropy: seams.entropy.clone(),
            halt: halt.clone(),
            measures: measures.clone(),
            views: views.clone(),
            tuning: config.tuning.clone(),
        };
        let consensus = |error: &dyn std::fmt::Display| Error::Consensus(error.to_string());
        let raft_config = raft_config(&config.tuning, identity).validate().map_err(|error| consensus(&error))?;
        let raft = Raft::build(identity.replica, Arc::new(raft_config), links.clone(), log, machine).await;
        let raft = raft.map_err(|fatal| match store.failure() {
            Some(failure) => Error::Format(failure.into()),
            None => consensus(&fatal),
        })?;
        gate.open(raft.clone());

        let lead = Arc::new(Lead::new(seams.clock.clone()));
        let (proposer, batches) =
            Proposer::new(raft.clone(), lead.clone(), features.clone(), measures.clone(), config.tuning.clone());
        let deadline = Duration::from_millis(2 * config.tuning.election_ms_max);
        let applied = published.revision();
        let up_to_date = UpToDate::new(seams.clock.clone());
        let quorum = Quorum { raft: raft.clone(), lead: lead.clone(), applied: applied.clone() };
        let (barrier, rounds) = Barrier::new(quorum, deadline, up_to_date.clone());
        let forward = Forward { raft: raft.clone(), lead: lead.clone(), applied, links: links.clone(), line: None };
        let (forward, forwarded) = Barrier::new(forward, deadline, up_to_date.clone());
        let registrar = Arc::new(Registrar::new(identity, published.clone(), features, config.tuning.clone()));
        let heard = Arc::new(Heard::new());
        let tasks = TaskTracker::new();
        let staging = Arc::new(tokio::sync::Mutex::new(Staging::new(store.clone())));
        let service = Service {
            gate,
            published: published.clone(),
            clock: seams.clock.clone(),
            registrar: registrar.clone(),
            barrier: barrier.clone(),
            measures: measures.clone(),
            heard: heard.clone(),
            links: links.clone(),
            inbox: Inbox { staging: staging.clone(), tasks: tasks.clone(), halt: halt.clone() },
        };
        let peers = match config.formation {
            Formation::Join { peers } => peers,
            Formation::Init | Formation::Run => vec![],
        };

        let stop = CancellationToken::new();
        tasks.spawn(listener::serve(bound, service, stop.clone()));
        raft.run();
        if founder && let Err(why) = initialize(&raft, identity.replica, &me).await {
            let _ = raft.shutdown().await;
            stop.cancel();
            return Err(Error::Consensus(why));
        }
        tasks.spawn(lead::watch(raft.clone(), lead.clone(), published.clone(), store.clone(), halt.clone()));
        tasks.spawn(until(stop.clone(), batches));
        tasks.spawn(until(stop.clone(), rounds));
        tasks.spawn(until(stop.clone(), forwarded));
        tasks.spawn(until(stop.clone(), snapshot::tidy(raft.clone(), views, staging, halt.clone())));
        tasks.spawn(until(stop.clone(), compare::watch(raft.clone(), published.clone(), links.clone())));
        let health = Arc::new(Health::default());
        let watch = health::Watch {
            raft: raft.clone(),
            lead: lead.clone(),
            registrar: registrar.clone(),
            links: links.clone(),
            health: health.clone(),
        };
        tasks.spawn(until(stop.clone(), watch.run()));
        let departed = departed::watch(raft.clone(), heard.clone(), links.clone(), measures.clone());
        tasks.spawn(until(stop.clone(), departed));
        let succession = succession::watch(raft.clone(), heard, measures, config.tuning.clone());
        tasks.spawn(until(stop.clone(), succession));
        let becoming = join::ask_until_voter(raft.clone(), seams.network.clone(), identity, applicant, peers);
        tasks.spawn(until(stop.clone(), becoming));
        let patience = Duration::from_millis(config.tuning.election_ms_min);
        tasks.spawn(end(raft.clone(), halt.clone(), shutdown, stop, patience));
        tasks.close();
        let inner = Inner {
            identity,
            raft_address,
            raft,
            store,
            published,
            lead,
            proposer,
            barrier,
            forward,
            up_to_date,
            registrar,
            links,
            health,
            patience: Duration::from_millis(config.tuning.election_ms_max),
            halt,
            tasks,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Who it is.
    pub fn identity(&self) -> Identity {
        self.inner.identity
    }

    /// The raft listener's address, with the real port.
    pub fn raft_address(&self) -> SocketAddr {
        self.inner.raft_address
    }

    /// Proposes one item, which shares a log entry with others. Ends when it is applied here.
    pub async fn propose(&self, item: Item) -> Result<Result<Reply, Rejection>, ProposeError> {
        let mut answers = self.propose_all(vec![item]).await?;
        answers.pop().ok_or_else(|| ProposeError::OutcomeUnknown("apply gave no answer".into()))
    }

    /// Proposes items in their order; so are the answers. They share one log entry where it can hold
    /// them, and else span several, one after the other with others' entries between them: then
    /// the first of them may be applied and the rest not, which is an outcome that is unknown.
    /// Refused only when the whole queue could not hold them, or an entry one of them.
    pub async fn propose_all(&self, items: Vec<Item>) -> Result<Vec<Result<Reply, Rejection>>, ProposeError> {
        let outcome = self.inner.proposer.propose(items).await;
        outcome.map_err(|error| match (error, self.inner.halt.reason()) {
            (ProposeError::NotLeader { leader: None }, Some(reason)) => ProposeError::Stopped(reason.to_string()),
            (error, _) => error,
        })
    }

    /// Asks a quorum who leads. When it ends well, this replica did after the call, and
    /// [`Self::view`] holds everything that was committed before the call and has at least the
    /// revision returned.
    pub async fn barrier(&self) -> Result<Revision, ReadError> {
        self.inner.barrier.pass().await
    }

    /// The same of the view, also on a replica that does not lead: it asks the leader, and waits for
    /// what it lacks. Sends callers to the leader when that takes too long.
    pub async fn catch_up(&self) -> Result<Revision, ReadError> {
        match self.barrier().await {
            Err(ReadError::NotLeader { leader: Some(_) }) => self.inner.forward.pass().await,
            outcome => outcome,
        }
    }

    /// Everything that was committed before this instant of this replica's clock is in every view
    /// taken after the call; none when this replica has not found itself up to date since it started.
    pub fn up_to_date_at(&self) -> Option<BootInstant> {
        self.inner.up_to_date.at()
    }

    /// The last applied state.
    pub fn view(&self) -> Arc<State> {
        self.inner.published.view()
    }

    /// Its revision, as it moves. Entries of consensus's own count too.
    pub fn applied(&self) -> watch::Receiver<Revision> {
        self.inner.published.revision()
    }

    /// The nodes whose rows or attempts changed after one revision and up to another, which [`Self::view`] has
    /// reached; none when that is not known any more, and any node may have changed.
    pub fn touched_nodes(&self, after: Revision, through: Revision) -> Option<BTreeSet<NodeName>> {
        self.inner.published.touched_nodes(after, through)
    }

    /// What this replica does at the moment.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.inner.lead.role()
    }

    /// The log's clocks, as an entry proposed now would set them; none unless leading and ready.
    pub fn log_time(&self) -> Option<LogTime> {
        self.inner.lead.log_time(&self.view())
    }

    /// About `limit` event rows after a revision: the rows of the last revision always come whole.
    pub fn events(&self, after: Revision, limit: usize) -> Result<EventsPage, ReadError> {
        let storage = |error: &dyn std::fmt::Display| ReadError::Storage(error.to_string());
        let view = self.inner.store.disk().view();
        let applied = store::read::<pb::Applied>(&*view, store::APPLIED).map_err(|error| storage(&error))?;
        let applied = applied.unwrap_or_default();
        let through = applied.log_id.map_or(0, |log_id| applied.base + log_id.index);
        let limit = limit.clamp(1, EVENTS_PAGE_MAX);
        let scan = |from: &[u8], to: Option<&[u8]>, limit| {
            view.scan(Table::Events, from, to, limit).map_err(|error| storage(&error))
        };
        let mut found = scan(&event_key(Revision(after.0 + 1), 0), None, limit)?;
        let full = found.len() == limit;
        let decode = |(key, value): &(bytes::Bytes, bytes::Bytes)| decode_event(key, value);
        if let Some(last) = found.last().filter(|_| full) {
            let revision = decode(last).map_err(|error| storage(&error))?.revision;
            let after_last = [&last.0, &[0][..]].concat();
            let rest = scan(&after_last, Some(&event_key(Revision(revision.0 + 1), 0)), usize::MAX)?;
            found.extend(rest);
        }
        // Asked after the view was taken: rows that were gone by then are announced by now.
        let from = self.inner.published.events_from();
        if after.0 + 1 < from.0 {
            return Err(ReadError::Compacted { from });
        }
        let rows: Vec<EventRow> =
            found.iter().map(decode).collect::<Result<_, _>>().map_err(|error| storage(&error))?;
        let last = rows.last().map(|row| row.revision).filter(|last| full && last.0 < through);
        Ok(EventsPage { rows, through: last.unwrap_or(Revision(through)), more: last.is_some() })
    }

    /// The archive of a state that [`Self::view`] has reached: what was archived since is in it as well, and what was
    /// forgotten since is not.
    pub fn archive(&self, state: &State) -> Archive {
        Archive::new(self.inner.store.disk().view(), state)
    }

    /// Event rows of one run, behind a place and up to a revision that is applied here, out of the next `rows_max`
    /// rows. Those below [`Self::events_from`], asked for after this, may be missing.
    pub fn run_events(
        &self,
        run: RunId,
        after: EventPlace,
        through: Revision,
        rows_max: usize,
    ) -> Result<RunEvents, ReadError> {
        let view = self.inner.store.disk().view();
        let rows_max = rows_max.clamp(1, EVENTS_PAGE_MAX);
        history::of_run(&*view, run, after, through, rows_max).map_err(|error| ReadError::Storage(error.to_string()))
    }

    /// A revision from one to another behind which, up to that, everything happened later than `at` by log time.
    pub fn revision_at(&self, from: Revision, through: Revision, at: Millis) -> Result<Revision, ReadError> {
        let view = self.inner.store.disk().view();
        history::up_to(&*view, from, through, at).map_err(|error| ReadError::Storage(error.to_string()))
    }

    /// Event rows below this may be gone. Ask after reading them.
    pub fn events_from(&self) -> Revision {
        self.inner.published.events_from()
    }

    /// Changes who takes part. Returns once the change is committed; asking again changes nothing twice.
    pub async fn change_members(&self, change: MemberChange) -> Result<(), MemberError> {
        let Inner { raft, lead, registrar, patience, .. } = &*self.inner;
        registrar.change(raft, lead, change, *patience).await
    }

    /// Passes leadership to a voter that has caught up, to the one with most of the log unless it is
    /// said to whom. Only in `term`, if one is named: asking again does not pass it on again. Returns
    /// who leads then.
    pub async fn transfer(&self, to: Option<u64>, term: Option<u64>) -> Result<u64, MemberError> {
        let Inner { raft, lead, registrar, patience, .. } = &*self.inner;
        registrar.transfer(raft, lead, to, term, *patience).await
    }

    /// Asks all members what they can do, and answers with the commands that enable what all of them can.
    /// They are for a leader to propose, in its term; nothing when there is nothing to enable, or this
    /// replica does not lead.
    pub async fn features_to_enable(&self) -> Vec<Command> {
        let Inner { raft, lead, registrar, links, .. } = &*self.inner;
        registrar.to_enable(raft, lead, links).await
    }

    /// The features that this version knows, by number: enabled, or what they wait for.
    pub fn features(&self) -> Vec<FeatureStatus> {
        self.inner.registrar.features.statuses(self.leads())
    }

    fn leads(&self) -> bool {
        matches!(*self.inner.lead.role().borrow(), Role::Leader { .. })
    }

    /// Asks every other replica for a sign of life, all at once: how long one took, or why none came.
    pub async fn reach(&self) -> Vec<(u64, Result<Duration, String>)> {
        compare::reach(&self.inner.raft, &self.inner.links).await
    }

    /// How long a sign of life to another replica takes and back, of those of which that is known: at a leader alone.
    pub fn round_trip(&self, replica: u64) -> Option<Duration> {
        self.inner.links.measures.peers.round_trip(replica)
    }

    /// What is measured of consensus, as of now.
    pub fn measured(&self) -> Vec<prometheus::proto::MetricFamily> {
        let Inner { links, raft, proposer, .. } = &*self.inner;
        links.measures.gather(raft, proposer.waiting(), proposer.unanswered())
    }

    /// What an operator should look after, in sentences; empty when all is well.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.inner.health.warnings();
        warnings.extend(self.inner.registrar.features.warnings(self.leads()));
        warnings
    }

    /// A point in time of all that is applied here, leader or not. `taken_at_ms` is what it says of
    /// its own time.
    pub fn backup(&self, taken_at_ms: u64) -> Result<Backup, ReadError> {
        Backup::take(self.inner.store.disk().view(), self.inner.identity.replica, taken_at_ms)
    }

    /// The replicas as this one knows them.
    pub fn members(&self) -> Members {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: std::collections::BTreeSet<u64> = membership.voter_ids().collect();
        let matched = |id: &u64| metrics.replication.as_ref()?.get(id)?.map(|matched| matched.index);
        let silent = |id: &u64| metrics.heartbeat.as_ref()?.get(id)?.map(|heard| heard.elapsed());
        let replicas = membership.nodes().map(|(id, peer)| Member {
            id: *id,
            store: peer.store,
            region: peer.region.clone(),
            addresses: Addresses { raft: peer.raft.clone(), api: peer.api.clone(), agent: peer.agent.clone() },
            voter: voters.contains(id),
            matched: matched(id),
            silent: silent(id),
        });
        Members { term: metrics.current_term, leader: metrics.current_leader, replicas: replicas.collect() }
    }

    /// No change of who takes part is under way, as far as this replica knows. Until one is over, a leader's
    /// loss may be the loss of the old majority or of the new one.
    pub fn is_settled(&self) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let one = Membership::get_joint_config(metrics.membership_config.membership()).len() <= 1;
        one && metrics.membership_config == metrics.committed_membership_config
    }

    /// Where its log stands.
    pub fn log_status(&self) -> LogStatus {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        LogStatus {
            last: metrics.last_log_index,
            committed: metrics.local_committed.map(|committed| committed.index),
            applied: metrics.last_applied.map(|applied| applied.index),
            snapshot: metrics.snapshot.map(|snapshot| snapshot.index),
            purged: metrics.purged.map(|purged| purged.index),
        }
    }

    /// Ends when this replica is no more, and says why. Whoever runs it should end then too.
    pub fn stopped(&self) -> impl Future<Output = StopReason> + Send + 'static {
        self.inner.halt.clone().stopped()
    }

    /// Passes leadership on, stops, and waits until everything it started has ended.
    pub async fn stop(self) {
        self.inner.halt.because(StopReason::Requested);
        if tokio::time::timeout(STOP_DEADLINE, self.inner.tasks.wait()).await.is_err() {
            tracing::warn!("some of this replica's tasks did not end in time");
        }
    }
}

/// Makes a founder the only member of its cluster, unless it was before.
async fn initialize(raft: &Raft, replica: u64, me: &Peer) -> Result<(), String> {
    if raft.is_initialized().await.map_err(|fatal| fatal.to_string())? {
        return Ok(());
    }
    let members = std::collections::BTreeMap::from([(replica, me.clone())]);
    raft.initialize(members).await.map_err(|error| error.to_string())
}

/// Waits for a reason to end, and ends consensus and everything else.
async fn end(raft: Raft, halt: Halt, shutdown: Shutdown, stop: CancellationToken, patience: Duration) {
    let reason = tokio::select! {
        biased;
        reason = halt.clone().stopped() => reason,
        () = shutdown.requested() => StopReason::Requested,
    };
    if reason == StopReason::Requested {
        let to = members::successor(&raft.metrics().borrow_watched(), patience);
        compare::hand_over(&raft, to, patience).await;
    }
    halt.because(reason);
    // An error means that consensus has ended already, in a way that is in the log.
    let _ = raft.shutdown().await;
    stop.cancel();
}

async fn until(stop: CancellationToken, task: impl Future<Output = ()>) {
    stop.run_until_cancelled_owned(task).await;
}

fn raft_config(tuning: &Tuning, identity: Identity) -> openraft::Config {
    openraft::Config {
        cluster_name: identity.cluster.to_string(),
        heartbeat_interval: tuning.heartbeat_ms,
        election_timeout_min: tuning.election_ms_min,
        election_timeout_max: tuning.election_ms_max,
        snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(tuning.snapshot_entries),
        max_in_snapshot_log_to_keep: tuning.keep_entries,
        // A replica that was cut off must not force elections on those that were not.
        enable_pre_vote: Some(true),
        // A disk that lost its log must be seen, not served.
        allow_log_reversion: Some(false),
        // A restarted leader stands for election like everyone else: its clock's term is over.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    }
}
