//! What attempts saw happen.

use std::sync::Arc;

use quorate_planted::Bug;
use quorate_state::{AttemptId, BAD_REFERENCE, Driver, ErrorType, Exit, OnNodeLoss, Outcome};

use super::tracked::{Cause, Standing, Tracked};
use super::{Node, NotStarted};
use crate::attempt::{self, Happened, Line, What};
use crate::driver::{Ending, Execution, Leftover};
use crate::journal::{self, Fact, Over};

/// Bytes of a message for people; longer ones are cut.
const MESSAGE_BYTES_MAX: usize = 1_024;

impl Node {
    pub(super) fn on_happened(&mut self, happened: Happened) {
        let Happened { attempt, token, what } = happened;
        let Some(one) = self.attempts.get_mut(&attempt).filter(|one| one.token == token) else { return };
        self.starting.remove(&attempt);
        match what {
            What::Running { process } => {
                one.ran = true;
                one.standing = Standing::Running;
                if let Some((pid, ticks)) = process {
                    self.journal.note([Fact::Spawned { attempt, pid, ticks }]);
                }
                self.news(attempt);
            }
            What::Silent { .. } if quorate_planted::is(Bug::SilenceUnheard) => {}
            What::Silent { lasts } if one.standing == Standing::Running => {
                one.silent = Some(lasts);
                self.news(attempt);
            }
            // It is being stopped already, or over.
            What::Silent { .. } => {}
            What::Stopping if one.is_over() => {}
            What::Stopping => {
                one.standing = Standing::Stopping;
                self.news(attempt);
            }
            What::Ended { ending, gone, stopped } => {
                // Its shim may have been faster than our own look at the clock.
                let now = self.fixed.clock.boot();
                if let Some(ended) = self.fence.deadline().filter(|deadline| ending.fenced && *deadline <= now) {
                    one.lease_ended(ended);
                }
                let is_forgotten = quorate_planted::is(Bug::EndsForgotten) && self.fence.epoch().is_none();
                let over = outcome(one.cause, ending, stopped);
                let over = Over { message: over.message.or(silence(one, stopped)), ..over };
                let over = if is_forgotten { Over { lost: true, ..Over::default() } } else { over };
                self.over(attempt, over, gone);
            }
            What::NeverStarted { why } => {
                let over = not_started(one.cause, why);
                self.over(attempt, over, true);
            }
            What::Gone => {
                let over = match &one.standing {
                    Standing::Over { over, .. } => over.clone(),
                    Standing::Starting | Standing::Running | Standing::Stopping => {
                        Over { lost: true, ..Over::default() }
                    }
                };
                self.over(attempt, over, true);
            }
        }
    }

    /// Tracks an attempt that is over already.
    pub(super) fn insert_over(&mut self, attempt: AttemptId, tracked: Tracked, over: Over) {
        self.attempts.insert(attempt, tracked);
        self.over(attempt, over, true);
    }

    fn over(&mut self, attempt: AttemptId, over: Over, gone: bool) {
        let Some(one) = self.attempts.get_mut(&attempt) else { return };
        let over = Over { message: over.message.map(cut), ..over };
        if !one.is_over() {
            let says_error = matches!(over.outcome.as_deref(), Some(Outcome::Error(_)));
            let outcome = match (over.lost, over.exit) {
                (true, _) => "lost",
                (false, Some(Exit::Code(0))) if !says_error => "succeeded",
                (false, _) => "failed",
            };
            self.fixed.metrics.ended.with_label_values(&[outcome]).inc();
        }
        if gone {
            if let Some(took) = one.outlived_lease(self.fixed.clock.boot()) {
                self.fixed.metrics.fence_seconds.observe(took.as_secs_f64());
            }
            self.fixed.outputs.end(attempt);
            self.journal.note([Fact::Gone { attempt, over: over.clone() }]);
        }
        one.standing = Standing::Over { over, gone };
        if one.refused && gone {
            self.leave(vec![attempt]);
        } else {
            self.news(attempt);
        }
    }

    /// What there is to tell of an attempt has changed.
    pub(super) fn news(&mut self, attempt: AttemptId) {
        if let Some(one) = self.attempts.get_mut(&attempt) {
            one.version += 1;
            if !one.refused {
                self.outbox.mark(attempt, self.fixed.clock.boot());
            }
        }
    }

    /// Nobody needs to hear of these again. They go once the newest revision seen, and that they
    /// went, are durable: an older desired set must not start them again, in this life or the next.
    pub(super) fn leave(&mut self, attempts: Vec<AttemptId>) {
        let leaving = |attempt: &AttemptId| {
            self.attempts.get_mut(attempt).is_some_and(|one| !std::mem::replace(&mut one.leaving, true))
        };
        let attempts: Vec<AttemptId> = attempts.into_iter().filter(leaving).collect();
        if attempts.is_empty() {
            return;
        }
        let facts = attempts.iter().map(|attempt| Fact::Forgotten { attempt: *attempt });
        let position = self.journal.note([Fact::Saw(self.desired.seen())].into_iter().chain(facts));
        self.forgetting.entry(position).or_default().extend(attempts);
    }

    pub(super) fn forget(&mut self, attempt: AttemptId) {
        if let Some(one) = self.attempts.remove(&attempt) {
            if let Some(driver) = self.fixed.drivers.get(one.driver) {
                driver.forget(attempt, one.token);
            }
            self.desired.forget(attempt, one.token);
            // A newer placement under the same name may have waited for this.
            self.waiting.insert(attempt);
        }
    }

    /// Takes over what an earlier life of this agent left.
    pub(crate) fn inherit(&mut self, attempt: AttemptId, left: journal::Attempt, fate: Fate) {
        // The promise is not journaled: whatever it was, a copy that does not go on has ended.
        let tracked = Tracked::known(left.token, OnNodeLoss::AtLeastOnce, left.driver, (left.choice, left.gpus));
        let lost = || Over { lost: true, message: Some("its agent was restarted".into()), ..Over::default() };
        match fate {
            Fate::Gone => self.insert_over(attempt, tracked, left.over.unwrap_or_else(lost)),
            Fate::GoesOn(execution, on_node_loss) => {
                let tracked = Tracked { on_node_loss, standing: Standing::Running, ran: true, ..tracked };
                let line = Line { attempt, token: left.token, events: self.events.0.clone() };
                let grace = self.fixed.config.limits.stop_grace;
                self.fixed.outputs.begin(attempt, left.driver);
                self.tasks.spawn(attempt::go_on(line, execution, tracked.wish.subscribe(), grace));
                self.attempts.insert(attempt, tracked);
                self.news(attempt);
            }
            Fate::Left(leftover) => {
                self.attempts.insert(attempt, tracked);
                self.over(attempt, lost(), false);
                if let Some(driver) = self.fixed.drivers.get(left.driver) {
                    let line = Line { attempt, token: left.token, events: self.events.0.clone() };
                    self.tasks.spawn(attempt::outlast(line, driver, leftover));
                }
            }
        }
    }
}

/// What became of an attempt that an earlier life of this agent began.
pub(crate) enum Fate {
    /// Nothing of it is left.
    Gone,
    /// It is over, and something of it could not be killed so far.
    Left(Leftover),
    /// It goes on, or it can be said how it ended.
    GoesOn(Box<dyn Execution>, OnNodeLoss),
}

/// How an end counts. What we killed on our own account has no outcome: it is lost, not failed. What
/// ended before it heard of its stop has its own outcome, whatever the cause.
fn outcome(cause: Option<Cause>, ending: Ending, stopped: bool) -> Over {
    let Ending { exit, message, outcome, payloads, usage, asked, fenced } = ending;
    // An earlier agent's reason to end it is forgotten: most likely it was its own end.
    let earlier = if fenced { Some(Cause::Lease) } else { asked.then_some(Cause::Shutdown) };
    let (cause, stopped) = (cause.or(earlier), stopped || asked || fenced);
    let lost = match cause.filter(|_| stopped) {
        None | Some(Cause::Asked) => None,
        // It may have ended by itself at the very last moment.
        Some(Cause::Lease) if matches!(exit, Some(Exit::Code(_))) => None,
        Some(Cause::Lease) => Some("killed: the node's lease ran out"),
        Some(Cause::Shutdown) => Some("stopped with its node's agent"),
    };
    let (outcome, payloads) = (outcome.filter(|_| lost.is_none()), payloads.filter(|_| lost.is_none()));
    Over { lost: lost.is_some(), stopped, exit, message: lost.map(Arc::from).or(message), outcome, payloads, usage }
}

/// What is to be said of one that was stopped after it had said nothing for too long.
fn silence(one: &Tracked, stopped: bool) -> Option<Arc<str>> {
    let lasts = one.silent.filter(|_| stopped)?;
    Some(format!("stopped: it said nothing for {} s", lasts.as_secs_f64()).into())
}

fn not_started(cause: Option<Cause>, why: NotStarted) -> Over {
    let stopped = why == NotStarted::Withdrawn;
    let outcome = match why {
        NotStarted::Flawed(_) => ErrorType::new(BAD_REFERENCE).ok().map(|error| Arc::new(Outcome::Error(error))),
        NotStarted::Job(_) | NotStarted::Node(_) | NotStarted::Withdrawn => None,
    };
    let (lost, message) = match why {
        NotStarted::Job(message) | NotStarted::Flawed(message) => (false, message),
        NotStarted::Node(message) => (true, message),
        NotStarted::Withdrawn => match cause {
            Some(Cause::Lease) => (true, "not started: the node's lease ran out".to_owned()),
            Some(Cause::Shutdown) => (true, "not started: the node's agent stops".to_owned()),
            None | Some(Cause::Asked) => (false, "stopped before it started".to_owned()),
        },
    };
    Over { lost, stopped, message: Some(message.into()), outcome, ..Over::default() }
}

fn cut(message: Arc<str>) -> Arc<str> {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message;
    }
    let mut end = MESSAGE_BYTES_MAX - '…'.len_utf8();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &message[..end]).into()
}

/// Whether a driver's attempts can outlive an agent at all, to know what to ask after a restart.
pub(crate) fn leftover(attempt: AttemptId, left: &journal::Attempt, boot_id: &str) -> Option<Leftover> {
    match (left.driver, &left.over) {
        (Driver::Process | Driver::Noop, Some(_)) => None,
        (Driver::Process | Driver::Noop, None) => {
            let (token, process) = (left.token, left.process);
            Some(Leftover { attempt, token, process, same_boot: &*left.boot_id == boot_id })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit: Exit) -> Ending {
        Ending { exit: Some(exit), ..Ending::default() }
    }

    #[test]
    fn what_we_killed_ourselves_is_lost_and_what_ended_by_itself_is_not() {
        let is_lost = |cause, exit| outcome(cause, ended(exit), true).lost;
        assert!(!is_lost(None, Exit::Signal(9)), "somebody else's kill is a failure");
        assert!(!is_lost(Some(Cause::Asked), Exit::Signal(15)));
        assert!(is_lost(Some(Cause::Lease), Exit::Signal(9)));
        assert!(!is_lost(Some(Cause::Lease), Exit::Code(0)));
        assert!(is_lost(Some(Cause::Shutdown), Exit::Code(0)));
        for cause in [Cause::Asked, Cause::Lease, Cause::Shutdown] {
            let over = outcome(Some(cause), ended(Exit::Signal(9)), false);
            assert!(!over.lost && !over.stopped, "{cause:?}: it ended before it heard of that");
        }
    }

    #[test]
    fn what_ended_without_an_agent_counts_by_what_its_shim_did() {
        let told = |exit, asked, fenced| outcome(None, Ending { asked, fenced, ..ended(exit) }, false);
        let lease = told(Exit::Signal(9), false, true);
        assert!(lease.lost && lease.stopped && lease.message.unwrap().contains("lease"));
        assert!(!told(Exit::Code(0), false, true).lost, "it came to its own end at the very last moment");
        assert!(told(Exit::Signal(15), true, false).lost, "why it was asked to end is forgotten");
        let own = told(Exit::Code(3), false, false);
        assert!(!own.lost && !own.stopped);
    }

    #[test]
    fn what_a_process_said_counts_only_if_its_end_does() {
        let said = Arc::new(Outcome::Result(b"1".as_slice().into()));
        let ending = |exit| Ending { outcome: Some(said.clone()), ..ended(exit) };
        assert_eq!(outcome(None, ending(Exit::Code(0)), false).outcome, Some(said.clone()));
        assert_eq!(outcome(Some(Cause::Shutdown), ending(Exit::Code(0)), true).outcome, None, "it is lost");
    }

    #[test]
    fn a_missing_program_is_the_jobs_failure_and_a_full_node_is_not() {
        assert!(!not_started(None, NotStarted::Job("no such program".into())).lost);
        assert!(not_started(None, NotStarted::Node("no memory".into())).lost);
        let flawed = not_started(None, NotStarted::Flawed("`a.result.x`: has no key \"x\"".into()));
        let error = Outcome::Error(ErrorType::new(BAD_REFERENCE).unwrap());
        assert_eq!((flawed.lost, flawed.outcome), (false, Some(Arc::new(error))));
        let withdrawn = not_started(Some(Cause::Asked), NotStarted::Withdrawn);
        assert!(!withdrawn.lost && withdrawn.stopped);
        assert!(not_started(Some(Cause::Lease), NotStarted::Withdrawn).lost);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "é".repeat(MESSAGE_BYTES_MAX);
        let short = cut(long.as_str().into());
        assert!(short.len() <= MESSAGE_BYTES_MAX && short.ends_with("é…"));
        let just = "x".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(&*cut(just.as_str().into()), just);
    }
}
