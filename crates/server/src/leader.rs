//! What this replica does while it leads: steps the controllers when there is something new, and
//! proposes what they decide.
//!
//! Each controller has at most one decision under way, and is stepped again only once its commands
//! were applied or refused: it would otherwise decide the same again from a view that does not show
//! them yet. Controllers do not wait for each other, so a task that becomes ready is placed while
//! another decision is still being written.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quorate_planted::Bug;
use quorate_raft::{LogTime, ProposeError, Role};
use quorate_scheduler::{Budget, Controller, LogNow, Note, Observed};
use quorate_state::{Command, Item, Namespace, PlacementOutcome, Principal, Rejection, Reply, Revision, Served, State};
use tokio_stream::StreamExt as _;

use crate::config::DEFAULT_NAMESPACE;
use crate::core::{Core, Shared};

/// Everything is looked at this often even if nothing seems to have changed: the net below every
/// other reason to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A controller none of whose commands took effect is left alone for this long: its view was out of
/// date, or it is wrong, and neither is helped by haste.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// A controller that asks to be woken sooner is woken after this many milliseconds.
const WAKE_MS_MIN: u64 = 5;
/// A controller whose commands could not be proposed is left alone for this long.
const FAILED_PAUSE: Duration = Duration::from_millis(200);

/// Leads whenever this replica is the leader; ends when it stops.
pub(crate) async fn drive(core: Shared) {
    let mut role = core.replica.role();
    loop {
        let leads = |role: &Role| matches!(role, Role::Leader { ready: true, .. });
        tokio::select! {
            biased;
            () = core.stopping.cancelled() => return,
            led = role.wait_for(leads) => if led.is_err() { return },
        }
        let Some(term) = core.leading() else { continue };
        core.liveness.begin(term);
        tracing::info!(term, "leading");
        tokio::select! {
            biased;
            () = core.deposed(term) => {}
            () = Box::pin(lead(&core, term)) => {}
            () = Box::pin(enable_features(&core)) => {}
        }
        core.liveness.end(term);
        tracing::info!(term, "not leading any more");
    }
}

async fn lead(core: &Core, term: u64) {
    initialise(core).await;
    let mut desks: Vec<Desk> = quorate_scheduler::controllers().into_iter().map(Desk::new).collect();
    let mut proposals: FuturesUnordered<BoxFuture<'_, (usize, Outcome)>> = FuturesUnordered::new();
    let mut applied = core.replica.applied();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut news = News::default();
    loop {
        applied.borrow_and_update();
        let view = core.replica.view();
        // None for the moment in which leadership has gone and `deposed` has not noticed yet.
        if let Some(time) = core.replica.log_time().filter(|time| time.term == term) {
            let mut sight = Sight { core, view: &view, time, observed: None };
            for (at, desk) in desks.iter_mut().enumerate() {
                if let Some(commands) = desk.step(&mut sight, news) {
                    proposals.push(Box::pin(async move {
                        wait_in_vain(core, &commands).await;
                        (at, propose(core, commands).await)
                    }));
                }
            }
        }
        let time = core.replica.log_time().filter(|time| time.term == term);
        let wake = time.and_then(|time| next_wake(&desks, time));
        tokio::select! {
            biased;
            Some((at, outcome)) = proposals.next(), if !proposals.is_empty() => {
                if let Some(desk) = desks.get_mut(at) {
                    desk.on_outcome(core, outcome);
                }
            }
            changed = applied.changed() => if changed.is_err() { return },
            () = core.liveness.changed() => news.observed += 1,
            () = sleep(wake) => {}
            _ = look.tick() => news.looks += 1,
        }
    }
}

/// Gives a new cluster its first rows; repeats until it has them.
async fn initialise(core: &Core) {
    while core.replica.view().settings().is_none() {
        let bootstrap = Command::Bootstrap {
            cluster: core.replica.identity().cluster,
            incarnation: 1,
            settings: Box::new(core.settings.clone()),
        };
        let namespace = Namespace::new(DEFAULT_NAMESPACE).ok();
        let namespace = namespace.map(|namespace| Command::CreateNamespace { namespace });
        // A new cluster has all that its founder can do from its first entry on.
        let features = core.replica.features_to_enable().await;
        match propose(core, std::iter::once(bootstrap).chain(namespace).chain(features).collect()).await {
            Outcome::Answered { effective, .. } if effective > 0 => {}
            Outcome::Answered { .. } => tokio::time::sleep(REFUSED_PAUSE).await,
            Outcome::Failed(error) => {
                tracing::warn!(%error, "the cluster could not be initialised yet");
                tokio::time::sleep(FAILED_PAUSE).await;
            }
        }
    }
}

/// Enables what every member can do, as soon as all of them say so. Members change their binaries when
/// they like, so they are asked again and again for as long as something is not enabled.
async fn enable_features(core: &Core) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if core.replica.view().settings().is_none() {
            continue;
        }
        let commands = core.replica.features_to_enable().await;
        if commands.is_empty() {
            continue;
        }
        match propose(core, commands.clone()).await {
            Outcome::Answered { effective: 0, .. } => {}
            Outcome::Answered { .. } => tracing::info!(?commands, "features are enabled"),
            Outcome::Failed(error) => tracing::warn!(%error, "features could not be enabled yet"),
        }
    }
}

/// Counts of reasons to look that are not in the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    /// Something else is observed.
    observed: u64,
    /// Regular looks.
    looks: u64,
}

/// What all desks see at one instant.
struct Sight<'a> {
    core: &'a Core,
    view: &'a State,
    time: LogTime,
    /// Gathered when the first of them needs it.
    observed: Option<Observed>,
}

impl Sight<'_> {
    fn observed(&mut self) -> &Observed {
        let Self { core, view, time, observed } = self;
        observed.get_or_insert_with(|| core.observe(view, time.served))
    }
}

/// A controller and what became of its last decision.
struct Desk {
    controller: Box<dyn Controller + Send + Sync>,
    /// Its commands are on their way.
    waiting: bool,
    /// What it saw last: the state's revision and the counts of other news.
    seen: Option<(Revision, News)>,
    wake_at: Option<Served>,
    /// Not to be stepped before.
    paused_until: Option<tokio::time::Instant>,
    notes: Vec<Note>,
}

/// What became of a decision.
enum Outcome {
    /// Every command was applied or refused.
    Answered { effective: usize, commands: usize },
    /// None was, or nobody knows.
    Failed(ProposeError),
}

impl Desk {
    fn new(controller: Box<dyn Controller + Send + Sync>) -> Self {
        Self { controller, waiting: false, seen: None, wake_at: None, paused_until: None, notes: Vec::new() }
    }

    /// Steps the controller if there is a reason to; its commands, if it has any.
    fn step(&mut self, sight: &mut Sight<'_>, news: News) -> Option<Vec<Command>> {
        let (core, view, time) = (sight.core, sight.view, sight.time);
        let due = self.wake_at.is_some_and(|wake_at| wake_at <= time.served);
        let seen = Some(self.looks_at(view, news));
        if self.waiting || (self.seen == seen && !due) {
            return None;
        }
        if self.controller.is_idle(view) {
            self.rest(seen);
            return None;
        }
        if self.paused_until.is_some_and(|until| tokio::time::Instant::now() < until) {
            return None;
        }
        self.paused_until = None;
        self.seen = seen;

        let name = self.controller.name();
        let now = LogNow { served: time.served, now: time.now };
        let nothing = Observed::default();
        let observed = if self.controller.observes(view, now) { sight.observed() } else { &nothing };
        let seed = core.seams.entropy.u64();
        let started = core.seams.clock.boot();
        let decision = self.controller.step(view, observed, now, seed, Budget::default());
        let took = core.seams.clock.boot().since(started);
        core.telemetry.stepped(name, took, &decision.report);
        if decision.report.notes != self.notes {
            decision.report.notes.iter().for_each(|note| tracing::warn!(controller = name, "{note}"));
            self.notes = decision.report.notes;
        }
        self.wake_at = decision.wake_at.map(|wake_at| wake_at.max(time.served.plus(WAKE_MS_MIN)));

        let commands: Vec<_> =
            decision.commands.into_iter().filter_map(|command| condemned(core, view, command)).collect();
        if commands.is_empty() {
            return None;
        }
        tracing::debug!(
            controller = name,
            revision = %view.revision(),
            served = time.served.0,
            seed,
            commands = commands.len(),
            ?took,
            "decided"
        );
        self.waiting = true;
        Some(commands)
    }

    /// Until something changes: an instant that nothing waits for any more would be due again and again.
    fn rest(&mut self, seen: Option<(Revision, News)>) {
        (self.seen, self.wake_at, self.paused_until) = (seen, None, None);
    }

    /// What must be another for a step to be worth it before its time.
    fn looks_at(&self, view: &State, news: News) -> (Revision, News) {
        if self.controller.is_timed() { (Revision(0), News { observed: 0, ..news }) } else { (view.revision(), news) }
    }

    fn on_outcome(&mut self, core: &Core, outcome: Outcome) {
        let name = self.controller.name();
        self.waiting = false;
        // The view has changed, or the commands are still to be given: look again either way.
        self.seen = None;
        match outcome {
            Outcome::Answered { effective, commands } => {
                core.telemetry.commanded(name, effective > 0);
                if effective == 0 {
                    tracing::debug!(controller = name, commands, "no command took effect");
                    self.pause(REFUSED_PAUSE);
                }
            }
            Outcome::Failed(error) => {
                tracing::warn!(controller = name, %error, "commands could not be proposed");
                self.pause(FAILED_PAUSE);
            }
        }
    }

    fn pause(&mut self, pause: Duration) {
        self.paused_until = Some(tokio::time::Instant::now() + pause);
    }
}

/// The earliest instant at which a desk wants to be looked at.
fn next_wake(desks: &[Desk], time: LogTime) -> Option<tokio::time::Instant> {
    let now = tokio::time::Instant::now();
    let wakes = desks.iter().filter(|desk| !desk.waiting).flat_map(|desk| {
        let due = desk.wake_at.map(|at| now + Duration::from_millis(at.0.saturating_sub(time.served.0)));
        [desk.paused_until, due.filter(|_| desk.paused_until.is_none())]
    });
    wakes.flatten().min()
}

async fn sleep(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Leases are condemned, and checked once more, at the last moment before the proposal.
fn condemned(core: &Core, view: &State, command: Command) -> Option<Command> {
    let Command::ExpireLeases { leases } = command else { return Some(command) };
    let leases = core.liveness.condemn(view, leases);
    (!leases.is_empty()).then_some(Command::ExpireLeases { leases })
}

/// The other half of a planted bug: leases are condemned early, and what comes in until they would have
/// run out is not looked at.
async fn wait_in_vain(core: &Core, commands: &[Command]) {
    let ends_leases = commands.iter().any(|command| matches!(command, Command::ExpireLeases { .. }));
    if quorate_planted::is(Bug::CondemnedRenewed) && ends_leases {
        let lease = core.replica.view().settings().map(|settings| settings.lease);
        let rest = lease.map_or(0, |lease| lease.server_ms.saturating_sub(lease.agent_ms / 3 * 2));
        tokio::time::sleep(Duration::from_millis(rest)).await;
    }
}

async fn propose(core: &Core, commands: Vec<Command>) -> Outcome {
    let count = commands.len();
    core.telemetry.proposed(count as u64);
    let item = |command| Item { principal: Principal::controller(), request: None, command };
    match core.replica.propose_all(commands.into_iter().map(item).collect()).await {
        Ok(replies) => {
            let effective = replies.iter().filter(|reply| is_effective(reply)).count();
            Outcome::Answered { effective, commands: count }
        }
        Err(error) => Outcome::Failed(error),
    }
}

fn is_effective(reply: &Result<Reply, Rejection>) -> bool {
    match reply {
        Ok(Reply::PlanCommitted(outcomes)) => {
            outcomes.iter().any(|outcome| matches!(outcome, PlacementOutcome::Placed(_)))
        }
        Ok(Reply::Counted(count)) => *count > 0,
        Ok(
            Reply::Done
            | Reply::Submitted { .. }
            | Reply::Cancelling { .. }
            | Reply::Annotated { .. }
            | Reply::Controlled { .. }
            | Reply::Registered { .. }
            | Reply::Reported(_),
        ) => true,
        Err(Rejection::Invariant(what)) => {
            tracing::error!(what, "a command was refused by an internal check");
            false
        }
        Err(rejection) => {
            tracing::debug!(%rejection, "a command was refused");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::Millis;

    use super::*;

    #[tokio::test]
    async fn nobody_is_woken_for_a_controller_that_came_to_rest_while_it_was_left_alone() {
        let mut desks: Vec<Desk> = quorate_scheduler::controllers().into_iter().map(Desk::new).collect();
        let time = LogTime { now: Millis(0), served: Served(10), term: 1 };
        assert_eq!(next_wake(&desks, time), None);
        let desk = desks.first_mut().unwrap();
        desk.wake_at = Some(Served(5));
        desk.pause(Duration::ZERO);
        assert!(next_wake(&desks, time).is_some());
        desks.first_mut().unwrap().rest(Some((Revision(7), News::default())));
        assert_eq!(next_wake(&desks, time), None);
    }
}
