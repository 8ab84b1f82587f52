//! The state of this node and the one loop that changes it: what the session says, what attempts
//! see, and the clock come in; steps go out.
//!
//! Nothing in the loop waits for a disk or for a process: those are tasks of their own. So the
//! lease's end is noticed in time even when the disk stands still.

mod distances;
mod happened;
mod measured;
mod tell;
mod told;
mod tracked;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_planted::Bug;
use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock, Network, Shutdown};
use quorate_state::{AttemptId, ClusterId, Driver, OnNodeLoss, Uuid};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::assignment::Assignment;
use crate::attempt::{self, Happened, Line};
use crate::config::{Config, Machine};
use crate::driver::{Drivers, NotStarted, Place, Start, Wish};
use crate::error::Error;
use crate::fence::Fence;
use crate::journal::{CLOSE_WAIT_MAX, Fact, Journal, Over, Progress};
use crate::logs::Outputs;
use crate::reconcile::{self, Desired, Known, Step, Touched};
use crate::reports::Outbox;
use crate::session::{Session, SessionEvent};
use crate::telemetry::Metrics;
use crate::tidy::Tidier;
use crate::workspace::Workspaces;
use distances::Distances;
use measured::Measurements;
use tracked::{Cause, Standing, Tracked};

pub(crate) use happened::{Fate, leftover};

/// Events of attempts that wait for the loop; the attempts wait when it is full.
pub(crate) const EVENTS_MAX: usize = 1_024;
/// Events taken in one turn, before anything else gets its turn.
const EVENTS_PER_TURN_MAX: usize = 256;
/// The loop looks at the clock at least this often: timers do not count the time that a machine
/// was suspended, the clock does.
const TURN_MAX: Duration = Duration::from_millis(200);
/// Attempts that end with the agent are given up on this long after their grace.
const KILL_WAIT_MAX: Duration = Duration::from_secs(2);

/// What never changes in an agent's life.
pub(crate) struct Fixed {
    pub(crate) config: Config,
    pub(crate) uuid: Uuid,
    pub(crate) machine: Machine,
    pub(crate) journal_uuid: Uuid,
    pub(crate) place: Arc<Place>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) drivers: Arc<dyn Drivers>,
    pub(crate) outputs: Arc<Outputs>,
    pub(crate) workspaces: Arc<Workspaces>,
    pub(crate) tidier: Arc<Tidier>,
    pub(crate) metrics: Arc<Metrics>,
}

/// This node.
pub(crate) struct Node {
    fixed: Fixed,
    session: Session,
    /// Where the session stands.
    talk: Talk,
    /// It was welcomed at least once in this life.
    known_here: bool,
    cluster: Option<ClusterId>,
    fence: Fence,
    desired: Desired,
    attempts: BTreeMap<AttemptId, Tracked>,
    /// Those that are about to run, so that there is news to come.
    starting: BTreeSet<AttemptId>,
    /// Wanted, but without room or lease so far.
    waiting: BTreeSet<AttemptId>,
    /// How long a kill may take, as granted with the lease.
    kill_bound: Duration,
    /// By when what was fenced must be gone.
    killed_by: Option<BootInstant>,
    outbox: Outbox,
    measurements: Measurements,
    distances: Distances,
    journal: Journal,
    /// Attempts to be forgotten once the journal is durable up to here.
    forgetting: BTreeMap<u64, Vec<AttemptId>>,
    events: (mpsc::Sender<Happened>, mpsc::Receiver<Happened>),
    tasks: JoinSet<()>,
    stopping: Option<Stopping>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Talk {
    /// There is no session.
    Silent,
    /// Hello was sent.
    Greeted { at: BootInstant },
    /// The control plane has welcomed us.
    Welcomed(Renewals),
}

/// Renewals of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Renewals {
    due: BootInstant,
    /// The newest one sent.
    last: BootInstant,
    /// The oldest one sent that was not answered.
    unanswered: Option<BootInstant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stopping {
    kill_at: BootInstant,
    end_at: BootInstant,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    More,
    Done,
}

impl Node {
    pub(crate) fn new(
        fixed: Fixed,
        session: Session,
        journal: Journal,
        cluster: Option<ClusterId>,
        desired: Desired,
    ) -> Self {
        Self {
            fixed,
            session,
            talk: Talk::Silent,
            known_here: false,
            cluster,
            fence: Fence::default(),
            desired,
            attempts: BTreeMap::new(),
            starting: BTreeSet::new(),
            waiting: BTreeSet::new(),
            kill_bound: Duration::ZERO,
            killed_by: None,
            outbox: Outbox::default(),
            measurements: Measurements::default(),
            distances: Distances::default(),
            journal,
            forgetting: BTreeMap::new(),
            events: mpsc::channel(EVENTS_MAX),
            tasks: JoinSet::new(),
            stopping: None,
        }
    }

    /// Lives until it is asked to stop, or cannot go on.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), Error> {
        let mut progress = self.journal.progress();
        let mut batch = Vec::with_capacity(EVENTS_PER_TURN_MAX);
        loop {
            let news = self.tell_news();
            let wake = self.next_wake(news);
            let turn = tokio::select! {
                biased;
                () = tokio::time::sleep(wake) => self.on_clock(),
                () = shutdown.requested(), if self.stopping.is_none() => self.begin_stop(),
                changed = progress.changed() => self.on_journal(changed.is_ok(), &mut progress)?,
                event = self.session.next() => self.on_session(event)?,
                Some(found) = self.measurements.found.1.recv() => {
                    self.on_measured(found);
                    Turn::More
                }
                Some(found) = self.distances.found.1.recv() => {
                    self.on_distances(found);
                    Turn::More
                }
                taken = self.events.1.recv_many(&mut batch, EVENTS_PER_TURN_MAX) => {
                    debug_assert!(taken > 0, "we hold a sender, so the channel stays open");
                    batch.drain(..).for_each(|event| self.on_happened(event));
                    Turn::More
                }
            };
            while let Some(ended) = self.tasks.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(%error, "a bug: an attempt is not watched any more");
                }
            }
            self.count();
            if turn == Turn::Done || self.is_done() {
                break;
            }
        }
        self.farewell().await;
        Ok(())
    }

    /// What is due by the clock.
    fn on_clock(&mut self) -> Turn {
        let now = self.fixed.clock.boot();
        let deadline = self.fence.deadline();
        if let Some(epoch) = self.fence.expire(now) {
            tracing::warn!(%epoch, "the lease is over: no renewal was confirmed in time");
            self.attempts.values_mut().for_each(|one| one.lease_ended(deadline.unwrap_or(now)));
            self.kill_fenced();
            self.killed_by = Some(now + self.kill_bound);
            self.lose_session("the lease is over");
        }
        if self.killed_by.is_some_and(|by| now >= by) {
            self.killed_by = None;
            self.check_killed();
        }
        if let Some(stopping) = self.stopping {
            if now >= stopping.end_at {
                return Turn::Done;
            }
            if now >= stopping.kill_at {
                self.wish_all(Wish::Kill);
            }
        }
        self.keep_session(now);
        self.measure(now);
        Turn::More
    }

    /// How long the loop may sleep.
    fn next_wake(&self, news: Option<Duration>) -> Duration {
        let now = self.fixed.clock.boot();
        let renewal = match self.talk {
            Talk::Welcomed(renewals) => Some(renewals.due),
            Talk::Silent | Talk::Greeted { .. } => None,
        };
        let stop =
            self.stopping.map(|stopping| if now < stopping.kill_at { stopping.kill_at } else { stopping.end_at });
        let measurement = self.measurements.due();
        let due = [self.fence.deadline(), renewal, stop, measurement].into_iter().flatten().map(|due| due.since(now));
        due.chain(news).fold(TURN_MAX, Duration::min)
    }

    fn on_journal(&mut self, open: bool, progress: &mut watch::Receiver<Progress>) -> Result<Turn, Error> {
        let now = progress.borrow_and_update().clone();
        match now {
            Progress::Durable(position) if open => {
                let later = self.forgetting.split_off(&(position + 1));
                for attempt in std::mem::replace(&mut self.forgetting, later).into_values().flatten() {
                    self.forget(attempt);
                }
                self.start_waiting();
                Ok(Turn::More)
            }
            Progress::Durable(_) => Err(Error::Journal("its writer has stopped".into())),
            Progress::Failed(why) => Err(Error::Journal(why)),
        }
    }

    fn on_session(&mut self, event: SessionEvent) -> Result<Turn, Error> {
        match event {
            SessionEvent::Due => self.greet(),
            SessionEvent::Opened { address } => tracing::debug!(address, "session opened"),
            SessionEvent::Received(message) => self.on_told(message)?,
            SessionEvent::Closed(closed) => {
                self.session_over();
                self.judge(closed)?;
            }
        }
        Ok(Turn::More)
    }

    /// Compares what should be with what is, for `touched`, and carries the steps out.
    fn reconcile(&mut self, touched: Touched) {
        // Until this session has said what should be here, what waits goes on waiting.
        if !self.desired.is_known() {
            return;
        }
        let attempts: BTreeSet<AttemptId> = match touched {
            Touched::All => {
                self.desired.attempts().chain(self.attempts.keys().copied()).chain(self.waiting.clone()).collect()
            }
            Touched::Some(some) => some,
        };
        let may_start = self.stopping.is_none() && self.fence.epoch().is_some();
        let room =
            if may_start { self.fixed.config.limits.attempts_max.saturating_sub(self.attempts.len()) } else { 0 };
        let known =
            |attempt| self.attempts.get(&attempt).map(|one| Known { token: one.token, wanted: one.is_wanted() });
        let steps = reconcile::steps(&self.desired, known, attempts.iter().copied(), room);
        for attempt in &attempts {
            self.waiting.remove(attempt);
        }
        self.waiting.extend(steps.waiting);
        let mut starts = Vec::new();
        for step in steps.now {
            match step {
                Step::Start(assignment) => starts.push(assignment),
                Step::Decline(assignment) => {
                    let message = Some("stopped before it started".into());
                    let over = Over { stopped: true, message, ..Over::default() };
                    self.insert_over(assignment.attempt, Tracked::new(&assignment), over);
                }
                Step::Disclaim(assignment) => {
                    let message = Some("never started: it was no longer wanted here".into());
                    let over = Over { lost: true, stopped: true, message, ..Over::default() };
                    self.insert_over(assignment.attempt, Tracked::new(&assignment), over);
                }
                Step::Stop(attempt) => self.wish(attempt, Wish::Stop, Cause::Asked),
            }
        }
        self.start(starts);
    }

    /// One append for all of them, then each goes its own way.
    fn start(&mut self, assignments: Vec<Arc<Assignment>>) {
        if assignments.is_empty() {
            return;
        }
        let started = assignments.iter().map(|one| Fact::Started {
            attempt: one.attempt,
            token: one.token,
            driver: one.driver,
            gpus: one.gpus,
            choice: one.choice.unwrap_or_default(),
        });
        let position = self.journal.push(started.chain([Fact::Saw(self.desired.seen())]));
        for assignment in assignments {
            let attempt = assignment.attempt;
            let tracked = Tracked::new(&assignment);
            let Some(driver) = self.fixed.drivers.get(assignment.driver) else {
                let message = format!("this agent has no {:?} driver", assignment.driver);
                self.insert_over(
                    attempt,
                    tracked,
                    Over { lost: true, message: Some(message.into()), ..Over::default() },
                );
                continue;
            };
            tracing::debug!(run = %attempt.task.run, task = %assignment.task, index = attempt.task.index, number = attempt.number, "starting");
            self.fixed.outputs.begin(attempt, assignment.driver);
            self.fixed.metrics.started.inc();
            let line = Line { attempt, token: assignment.token, events: self.events.0.clone() };
            let start = Start {
                assignment,
                place: self.fixed.place.clone(),
                outputs: self.fixed.outputs.clone(),
                workspaces: self.fixed.workspaces.clone(),
                tidier: self.fixed.tidier.clone(),
                wish: tracked.wish.subscribe(),
            };
            self.attempts.insert(attempt, tracked);
            self.starting.insert(attempt);
            let grace = self.fixed.config.limits.stop_grace;
            self.tasks.spawn(attempt::live(line, driver, start, self.journal.clone(), position, grace));
        }
    }

    fn start_waiting(&mut self) {
        if !self.waiting.is_empty() {
            self.reconcile(Touched::Some(self.waiting.clone()));
        }
    }

    /// Wants an attempt to end; the first cause is the one that counts.
    fn wish(&mut self, attempt: AttemptId, wish: Wish, cause: Cause) {
        if let Some(one) = self.attempts.get_mut(&attempt) {
            one.cause.get_or_insert(cause);
            one.wish.send_if_modified(|now| {
                let rises = *now < wish;
                *now = wish.max(*now);
                rises
            });
        }
    }

    fn kill_fenced(&mut self) {
        let fenced = |one: &Tracked| one.on_node_loss == OnNodeLoss::Fenced && !one.is_over();
        let fenced: Vec<AttemptId> =
            self.attempts.iter().filter(|(_, one)| fenced(one)).map(|(attempt, _)| *attempt).collect();
        for attempt in fenced {
            tracing::warn!(run = %attempt.task.run, step = attempt.task.step, index = attempt.task.index, "killed: its promise is `fenced`");
            self.fixed.metrics.fenced.inc();
            let wish = if quorate_planted::is(Bug::FenceAsksGently) { Wish::Stop } else { Wish::Kill };
            self.wish(attempt, wish, Cause::Lease);
        }
    }

    /// The control plane trusts the kill bound; somebody must know when it does not hold.
    fn check_killed(&self) {
        let late = |one: &Tracked| one.cause == Some(Cause::Lease) && !one.is_gone();
        for (attempt, _) in self.attempts.iter().filter(|(_, one)| late(one)) {
            tracing::error!(
                ?attempt,
                bound_ms = self.kill_bound.as_millis(),
                "killed at the lease's end and not gone within the kill bound: only its fencing token protects now"
            );
        }
    }

    fn wish_all(&mut self, wish: Wish) {
        let ends = |one: &Tracked| !one.is_over() && !self.outlives(one);
        let live: Vec<AttemptId> =
            self.attempts.iter().filter(|(_, one)| ends(one)).map(|(attempt, _)| *attempt).collect();
        for attempt in live {
            self.wish(attempt, wish, Cause::Shutdown);
        }
    }

    /// Tasks that go on without their agent are left alone; the others are asked to end first, and what became of
    /// them is told.
    fn begin_stop(&mut self) -> Turn {
        let grace = self.fixed.config.limits.shutdown_grace;
        let now = self.fixed.clock.boot();
        self.stopping = Some(Stopping { kill_at: now + grace, end_at: now + grace + KILL_WAIT_MAX });
        tracing::info!(attempts = self.attempts.len(), "stopping");
        self.wish_all(Wish::Stop);
        Turn::More
    }

    /// Asked to stop, nothing runs that ends with us, and what is to be told was told, or there is nobody to tell.
    fn is_done(&self) -> bool {
        if self.stopping.is_none() {
            return false;
        }
        // One that is about to run is waited for: the next life had rather find it than wonder.
        let goes_on =
            |one: &Tracked| matches!(one.standing, Standing::Running | Standing::Stopping) && self.outlives(one);
        let quiet = self.attempts.values().all(|one| one.is_gone() || goes_on(one));
        let told = self.outbox.is_empty() || matches!(self.talk, Talk::Silent);
        quiet && told
    }

    /// Whether an attempt goes on when this agent ends.
    fn outlives(&self, one: &Tracked) -> bool {
        self.fixed.drivers.get(one.driver).is_some_and(|driver| driver.outlives())
    }

    /// The drivers hear until when the lease lasts.
    fn lease_changed(&self) {
        let Some(deadline) = self.fence.deadline() else { return };
        for kind in [Driver::Process, Driver::Noop] {
            if let Some(driver) = self.fixed.drivers.get(kind) {
                driver.lease(deadline);
            }
        }
    }

    /// The journal's last facts spare the next life some questions.
    async fn farewell(&mut self) {
        self.tasks.shutdown().await;
        let position = self.journal.push([]);
        let _ = tokio::time::timeout(CLOSE_WAIT_MAX, self.journal.durable(position)).await;
        tracing::info!("stopped");
    }

    fn count(&self) {
        let metrics = &self.fixed.metrics;
        metrics.attempts.set(i64::try_from(self.attempts.len()).unwrap_or(i64::MAX));
        metrics.waiting.set(i64::try_from(self.waiting.len()).unwrap_or(i64::MAX));
        metrics.session.set(i64::from(matches!(self.talk, Talk::Welcomed(_))));
        let left = self.fence.deadline().map_or(Duration::ZERO, |deadline| deadline.since(self.fixed.clock.boot()));
        metrics.lease_ms.set(i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
    }

    /// Gives the session up for a reason of our own.
    fn lose_session(&mut self, why: &str) {
        if self.session.is_under_way() {
            tracing::info!(address = self.session.address(), why, "session given up");
            self.session.close();
        }
        self.session_over();
    }

    fn session_over(&mut self) {
        self.talk = Talk::Silent;
        self.measurements.end();
        self.distances.end();
        self.desired.session_opened();
        for attempt in self.outbox.session_ended(self.fixed.clock.boot()) {
            if let Some(one) = self.attempts.get_mut(&attempt) {
                one.running_told = false;
            }
        }
    }

    fn send(&self, message: v1::agent_message::Message) -> bool {
        self.session.try_send(message)
    }
}
